import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { symbolsTemplate } from "../src/ConfigDocs.ts"
import * as SymbolsFile from "../src/SymbolsFile.ts"

const folder = mkdtempSync(join(tmpdir(), "dm-symbols-"))
afterAll(() => rmSync(folder, { recursive: true }))

const problems = (text: string): ReadonlyArray<string> => {
  const parsed = SymbolsFile.parse(text, 0n)
  assert.isTrue(Result.isFailure(parsed))
  return Result.isFailure(parsed)
    ? parsed.failure.map(({ line, key, problem }) => `${line}: ${key}: ${problem}`)
    : []
}

describe("parse", () => {
  it("gives entries with what the form of a symbol says", () => {
    const text = [
      "[[symbols]]",
      'symbol = "GLBX.MDP3:ES.FUT"',
      'provider = "databento"',
      'schemas = ["trades", "mbp-1"]',
      "[[symbols]]",
      'symbol = "XNAS.ITCH:AAPL"',
      'provider = "databento"',
      "enabled = false",
      'asset_class = "equity"'
    ].join("\n")
    const [es, aapl] = Result.getOrThrow(SymbolsFile.parse(text, 5n))
    assert.deepInclude(es!, {
      symbol: "GLBX.MDP3:ES.FUT",
      dataset: "GLBX.MDP3",
      stypeIn: "parent",
      schemas: ["trades", "mbp-1"],
      enabled: true,
      source: "config",
      discoveredAt: 5n
    })
    assert.deepInclude(aapl!, { stypeIn: "raw_symbol", enabled: false, assetClass: "equity", schemas: [] })
  })

  it("takes the file that dm init writes", () => {
    assert.deepStrictEqual(Result.getOrThrow(SymbolsFile.parse(symbolsTemplate(), 0n)), [])
  })

  it("tells every problem with its line", () => {
    const text = [
      "# symbols",
      "[[symbols]]",
      'symbol = "GLBX.MDP3:ES.FUT"',
      'provider = "Data Bento"',
      "[[symbols]]",
      'symbl = "GLBX.MDP3:NQ.FUT"',
      'provider = "databento"',
      'stype_in = "smart"',
      'schemas = ["ticks"]',
      "[other]",
      "x = 1"
    ].join("\n")
    const found = problems(text)
    assert.deepStrictEqual(found.map((line) => line.split(": ").slice(0, 2).join(" ")).sort(), [
      "10 other",
      "4 provider",
      "5 symbol",
      "6 symbl",
      "8 stype_in",
      "9 schemas"
    ])
    assert.include(found.join("\n"), "did you mean symbol?")
    assert.include(found.join("\n"), '"smart" is not allowed; expected "raw_symbol", "parent"')
    assert.include(found.join("\n"), "is missing; expected text such as GLBX.MDP3:ES.FUT")
  })

  it("refuses a symbol without dataset, one that stands there twice, and what is no TOML", () => {
    const entry = (symbol: string): string => `[[symbols]]\nsymbol = "${symbol}"\nprovider = "databento"\n`
    assert.deepStrictEqual(problems(entry("ES.FUT") + entry("A.B:C") + entry("A.B:C")), [
      '2: symbol: "ES.FUT" names no dataset; write DATASET:SYMBOL',
      '8: symbol: "A.B:C" stands here a second time'
    ])
    assert.match(problems("[[symbols]\n")[0]!, /^1: : not valid TOML/)
    assert.match(problems("symbols = 3\n")[0]!, /symbols: expected \[\[symbols\]\] entries/)
    assert.match(problems("symbols = [3]\n")[0]!, /symbols: expected \[\[symbols\]\] entries/)
  })
})

describe("load", () => {
  it.effect("gives nothing for a file that is not there, and names the file that is wrong", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* SymbolsFile.load(join(folder, "none.toml")), [])
      const path = join(folder, "bad.toml")
      writeFileSync(path, "x = 1\n")
      const error = yield* Effect.flip(SymbolsFile.load(path))
      assert.strictEqual(error.message, `${path}:1: x: unknown key; this file holds [[symbols]] entries`)
      assert.match((yield* Effect.flip(SymbolsFile.load(folder))).message, /is not a file/)
    })
  )
})
