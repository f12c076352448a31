import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type FileEvent, type ListingClaim, LocalInstruments, type MarketBatch } from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Stream } from "effect"
import { afterAll, assert, describe, it } from "vitest"
import { type DbnFileOptions, dbnFile } from "../src/DbnFileSource.ts"
import { DbnDecoder, zstdFrame } from "../src/dbn/index.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"
import { testData } from "./TestData.ts"

const scratch = mkdtempSync(join(tmpdir(), "dbn-file-"))
afterAll(() => rmSync(scratch, { recursive: true }))

/** Every column of a batch. */
const columnsOf = (batch: MarketBatch) =>
  Object.entries(batch.columns).map(([name, column]) => [name, column.slice(0, batch.length)] as const)

/** A registry in memory that remembers what it was told. */
const registry = () => {
  const claims: Array<ListingClaim> = []
  const { register } = LocalInstruments.make()
  return {
    claims,
    register: (batch: ReadonlyArray<ListingClaim>) => {
      claims.push(...batch)
      return register(batch)
    }
  }
}

const read = async (path: string, options: DbnFileOptions = {}) => {
  const { claims, register } = registry()
  const source = dbnFile(path, existsSync(path) ? statSync(path).size : 0, options)
  const events = await Effect.runPromise(
    Effect.scoped(Stream.runCollect(source.events(register))).pipe(Effect.provide(NodeServices.layer))
  )
  const batches = events.flatMap((event: FileEvent) => (event._tag === "Batch" ? [event.batch] : []))
  const end = events.at(-1)
  assert(end?._tag === "End")
  return { batches, end, claims, rows: batches.reduce((n, batch) => n + batch.length, 0) }
}

const headerError = (path: string) =>
  Effect.runPromise(Effect.flip(dbnFile(path, 0).header).pipe(Effect.provide(NodeServices.layer)))

describe.skipIf(testData === undefined)("DBN files as sources", () => {
  const file = (name: string): string => join(testData as string, "dbn", name)

  it("gives every row of every vendor file, and counts what has no table", async () => {
    const expected = JSON.parse(readFileSync(file("expected.json"), "utf8")) as {
      [name: string]: { record_count: number; rtypes: Array<number>; fragment: boolean }
    }
    const rowTypes = new Set([0, 1, 10, 17, 32, 33, 34, 35, 36, 177, 192, 193, 194, 195, 196])
    for (const name of readdirSync(file(".")).filter((n) => /\.(dbn|dbz|zst|frag)$/.test(n))) {
      const { end, rows } = await read(file(name))
      assert.isUndefined(end.failure, name)
      assert.strictEqual(end.records, expected[name]!.record_count, name)
      const others = [...end.notStored.values()].reduce((a, b) => a + b, 0)
      if (expected[name]!.rtypes.every((rtype) => rowTypes.has(rtype)))
        assert.strictEqual(rows, end.records, name)
      else if (expected[name]!.rtypes.every((rtype) => rtype === 19))
        assert.strictEqual(end.definitions, end.records)
      else assert.isAbove(others, 0, name)
    }
  })

  it("names instruments from the mappings and claims up to the last record of a limited file", async () => {
    const { batches, end } = await read(file("test_data.trades.v3.dbn.zst"))
    assert.strictEqual(batches[0]?.symbolAt(0), "GLBX.MDP3:ESH1")
    assert.deepStrictEqual(end.coverage, [
      {
        instrument: 1,
        schema: "trades",
        range: { start: 1609160400000000000n, end: 1609160400108142000n }
      }
    ])
    assert.match(end.notes.join(), /limit of 2 records/)
  })

  it("claims the intervals of each mapping, of a file that did not reach its limit, rounded inward", async () => {
    const { end, batches } = await read(file("synthetic.symbology.v3.dbn"))
    assert.deepStrictEqual(
      batches.flatMap((batch) => Array.from({ length: batch.length }, (_, i) => batch.symbolAt(i))),
      ["5482", "3403", "5482", "10252", "10252"].map((id) => `GLBX.MDP3:#${id}`)
    )
    assert.deepStrictEqual(
      end.coverage.map(({ range }) => range),
      [
        { start: 1764547200000000000n, end: 1766102400000000000n },
        { start: 1766102400000000000n, end: 1767225600000000000n },
        { start: 1765324800000000000n, end: 1767225600000000000n }
      ]
    )
    assert.match(end.notes.join(), /not found: ZZ\.c\.0/)
  })

  it("learns names from the mapping records of a live capture and claims nothing", async () => {
    const { batches, end } = await read(file("synthetic.live.v3.dbn"))
    const symbols = new Set(
      batches.flatMap((batch) => Array.from({ length: batch.length }, (_, i) => batch.symbolAt(i)))
    )
    assert.isTrue(
      [...symbols].every((symbol) => !symbol.includes("#")),
      [...symbols].join()
    )
    assert.deepStrictEqual(end.coverage, [])
  })

  it("turns definitions into claims with ticks, times and everything else as details", async () => {
    const { claims, end } = await read(file("test_data.definition.v3.dbn.zst"))
    assert.strictEqual(end.definitions, 2)
    const claim = claims.find((c) => c.details !== undefined)
    assert.strictEqual(claim?.rawSymbol, "MSFT")
    assert.strictEqual(claim?.details?.assetClass, "equity")
    assert.strictEqual(claim?.details?.metadata?.cfi, "")
    assert.strictEqual(typeof claim?.details?.metadata?.high_limit_price, "string")
  })

  it("delivers what a truncated file holds, then says so, and claims up to its last record", async () => {
    const path = join(scratch, "truncated.dbn")
    const bytes = readFileSync(file("test_data.trades.dbn"))
    writeFileSync(path, bytes)
    truncateSync(path, bytes.length - 5)
    const { end, rows } = await read(path)
    assert.strictEqual(rows, 1)
    assert.strictEqual(end.failure?.reason._tag, "ProviderTruncated")
    assert.match(end.failure?.message ?? "", /43 of its 48 bytes/)
    assert.strictEqual(end.coverage[0]?.range.end, 1609160400099150000n)
  })

  it("claims nothing once a file is damaged", async () => {
    const path = join(scratch, "damaged.dbn")
    const bytes = readFileSync(file("test_data.trades.dbn"))
    bytes[bytes.length - 48] = 0
    writeFileSync(path, bytes)
    const { end, rows } = await read(path)
    assert.strictEqual(rows, 1)
    assert.strictEqual(end.failure?.reason._tag, "ProviderMalformed")
    assert.deepStrictEqual(end.coverage, [])
  })

  it("reads joined files as one", async () => {
    const path = join(scratch, "joined.dbn")
    const bytes = readFileSync(file("test_data.trades.dbn"))
    writeFileSync(path, Buffer.concat([bytes, bytes]))
    const { rows, end } = await read(path)
    assert.strictEqual(rows, 4)
    assert.isUndefined(end.failure)
  })

  it("gives the same fingerprint to the same content anywhere, and another one to another cut", async () => {
    const path = join(scratch, "copy.dbn")
    writeFileSync(path, readFileSync(file("test_data.trades.dbn")))
    const print = (p: string, options: DbnFileOptions = {}) =>
      Effect.runPromise(dbnFile(p, 0, options).fingerprint.pipe(Effect.provide(NodeServices.layer)))
    assert.strictEqual(await print(path), await print(file("test_data.trades.dbn")))
    assert.notStrictEqual(await print(path), await print(path, { batchRows: 8 }))
  })
})

describe("compressed files of many blocks", () => {
  const rows = 40_000
  const raw = Buffer.concat([...new SyntheticMarket({ trades: rows }).tradeFile()])
  const frames = [raw.subarray(0, 700_000), raw.subarray(700_000)].map((part) =>
    zstdFrame(part, { checksum: true })
  )
  const whole = join(scratch, "whole.dbn.zst")
  writeFileSync(whole, Buffer.concat(frames))

  it("give the rows of the raw file", { timeout: 60_000 }, async () => {
    const plain = join(scratch, "plain.dbn")
    writeFileSync(plain, raw)
    const [expected, got] = [await read(plain), await read(whole)]
    assert.strictEqual(got.rows, rows)
    assert.isUndefined(got.end.failure)
    assert.deepStrictEqual(got.batches.map(columnsOf), expected.batches.map(columnsOf))
    assert.deepStrictEqual(got.end, expected.end)
  })

  it("give every whole row in front of damage, once", async () => {
    for (const at of [10, frames[0]!.length - 1, frames[0]!.length + 2, statSync(whole).size - 1]) {
      const bytes = new Uint8Array(readFileSync(whole))
      bytes[at]! ^= 4
      const path = join(scratch, "damaged.dbn.zst")
      writeFileSync(path, bytes)
      const decoder = new DbnDecoder({ upgrade: 3 })
      let expected = 0
      let message = ""
      try {
        decoder.push(bytes)
        for (let block = decoder.take(); block !== undefined; block = decoder.take()) expected += block.length
      } catch (error) {
        message = (error as Error).message
      }
      decoder.close()
      assert.notStrictEqual(message, "", `${at}`)
      if (at === 10) {
        assert.include((await headerError(path)).message, message)
        continue
      }
      const { end, rows: got } = await read(path)
      assert.strictEqual(got, expected, `${at}`)
      assert.strictEqual(end.records, expected)
      assert.include(end.failure?.message, message)
      assert.deepStrictEqual(end.coverage, [])
    }
  })

  it("may be left at any moment", { timeout: 60_000 }, async () => {
    const big = join(scratch, "big.dbn.zst")
    writeFileSync(big, zstdFrame(Buffer.concat([...new SyntheticMarket({ trades: 200_000 }).tradeFile()])))
    const { register } = registry()
    for (let round = 0; round < 60; round++) {
      const source = dbnFile(big, statSync(big).size, { batchRows: 4096 })
      const reading = source.events(register).pipe(Stream.take(round % 20), Stream.runDrain)
      const program =
        round % 2 === 0
          ? reading
          : Effect.raceFirst(
              reading,
              Effect.promise(() => sleep(round % 15))
            )
      await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
    }
  })
})

describe("files that cannot be read", () => {
  it("tells a missing, an empty, a foreign file and a folder apart", async () => {
    const empty = join(scratch, "empty.dbn")
    writeFileSync(empty, "")
    const foreign = join(scratch, "foreign.dbn")
    writeFileSync(foreign, "symbol,price,size\nESH1,1,2\n".repeat(3))
    const messages = await Promise.all(
      [join(scratch, "missing.dbn"), empty, foreign, scratch].map(headerError)
    )
    assert.match(messages[0]!.message, /no such file/)
    assert.match(messages[1]!.message, /holds no data/)
    assert.match(messages[2]!.message, /not DBN/)
    assert.notMatch(messages[3]!.message, /no such file/)
    assert.strictEqual(new Set(messages.map((error) => error.message)).size, 4)
  })
})
