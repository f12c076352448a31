import { readFileSync } from "node:fs"
import { ControlMetrics, DataManagerConfig } from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { Toml } from "effect/encoding"
import { commentedFile, referencePage, symbolsTemplate } from "../src/ConfigDocs.ts"
import { logLevels } from "../src/Session.ts"

const decoded = (text: string) => DataManagerConfig.decode(Result.getOrThrow(Toml.parse(text)))

/** The file with every commented-out setting switched on. */
const uncommented = (text: string): string => text.replace(/^# ([a-z_]+ = )/gm, "$1")

describe("docs/configuration.md", () => {
  it("is what the schema says; packages/cli/scripts/write-config-docs.ts writes it", () => {
    const committed = readFileSync(new URL("../../../docs/configuration.md", import.meta.url), "utf8")
    assert.strictEqual(committed, referencePage())
  })

  it("names every key and every variable", () => {
    const page = referencePage()
    for (const { key, env } of DataManagerConfig.keys) {
      assert.include(page, `| \`${key.split(".").at(-1)}\` |`)
      for (const name of env) assert.include(page, `\`${name}\``)
    }
  })

  it("shows a symbols.toml that is one", () => {
    const example = /(\[\[symbols\]\][\s\S]*?)```/.exec(referencePage())![1]!
    const parsed = Schema.decodeUnknownResult(DataManagerConfig.SymbolsFile)(
      Result.getOrThrow(Toml.parse(example))
    )
    assert.isTrue(Result.isSuccess(parsed))
  })
})

describe("docs/metrics.md", () => {
  it("is what the definitions say; packages/cli/scripts/write-config-docs.ts writes it", () => {
    const committed = readFileSync(new URL("../../../docs/metrics.md", import.meta.url), "utf8")
    assert.strictEqual(committed, ControlMetrics.referencePage())
  })
})

describe("the file of dm init", () => {
  it("means the defaults", () => {
    assert.deepStrictEqual(Result.getOrThrow(decoded(commentedFile())), DataManagerConfig.defaults)
  })

  it("has every key, and examples that are allowed", () => {
    const text = uncommented(commentedFile())
    assert.isTrue(Result.isSuccess(decoded(text)))
    for (const { key } of DataManagerConfig.keys)
      assert.match(text, new RegExp(`^${key.split(".").at(-1)} = `, "m"))
  })

  it("comes with a symbols.toml that collects nothing, and with its examples two symbols", () => {
    const entries = (text: string) =>
      Schema.decodeUnknownSync(DataManagerConfig.SymbolsFile)(Result.getOrThrow(Toml.parse(text))).symbols
    assert.deepStrictEqual(entries(symbolsTemplate()), [])
    const examples = symbolsTemplate().replace(/^# (\[\[|[a-z_]+ = )/gm, "$1")
    assert.deepStrictEqual(
      entries(examples).map(({ symbol }) => symbol),
      ["GLBX.MDP3:ES.FUT", "XNAS.ITCH:AAPL"]
    )
  })
})

it("the option --log-level knows the levels of the configuration", () => {
  assert.deepStrictEqual([...logLevels], [...DataManagerConfig.logLevels])
})
