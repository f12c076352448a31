import {
  batchContext,
  Decimal,
  LocalInstruments,
  type MarketBatch,
  type ProviderEvent,
  TradeBatch
} from "@data-manager/core"
import { Effect, Fiber, Stream } from "effect"
import { assert, describe, it } from "vitest"
import { DbnBatches } from "../../src/DbnBatches.ts"
import {
  blankRecord,
  dayOfDate,
  decodeBlocks,
  encodeMetadata,
  encodeRecord,
  NANOS_PER_DAY,
  type RecordBlock,
  zstdFrame
} from "../../src/dbn/index.ts"
import type { DataRequest } from "../../src/historical/HistoricalRequest.ts"
import type { BatchOptions } from "../../src/historical/Timeseries.ts"
import { SyntheticMarket } from "../../src/simulator/SyntheticMarket.ts"
import type { Answer, Asked } from "./ScriptedService.ts"
import { withService } from "./TestClient.ts"

const market = new SyntheticMarket({ trades: 30_000, symbols: 40 })
const concat = (chunks: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const list = [...chunks]
  const out = new Uint8Array(list.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of list) {
    out.set(chunk, at)
    at += chunk.length
  }
  return out
}
const file = concat(market.tradeFile())
const start = BigInt(dayOfDate(market.date)!) * NANOS_PER_DAY
const request: DataRequest = {
  dataset: "DBEQ.BASIC",
  symbols: market.instruments.map((instrument) => instrument.symbol),
  schema: "trades",
  range: { start, end: start + NANOS_PER_DAY }
}
const compressed = zstdFrame(file, { level: 1 })

const reply = (body: Uint8Array): Answer => ({
  body,
  headers: { "content-type": "application/octet-stream" }
})

/** Sends a body in pieces, and then what the test wants instead of an end. */
const pieces = (body: Uint8Array, size: number, end: "end" | "cut"): Answer => ({
  write: (response) => {
    for (let at = 0; at < body.length; at += size) response.write(body.subarray(at, at + size))
    if (end === "end") response.end()
    else setTimeout(() => response.destroy(), 50)
  }
})

const run = async (
  answer: (asked: Asked, count: number) => Answer,
  change: Partial<DataRequest> = {},
  options: Partial<BatchOptions> = {}
) => {
  const { register, directory } = LocalInstruments.make()
  const events: Array<ProviderEvent> = []
  const { result, asked } = await withService(answer, ({ timeseries }) =>
    Effect.result(
      Stream.runForEach(timeseries.batches({ ...request, ...change }, { register, ...options }), (event) =>
        Effect.sync(() => events.push(event))
      )
    )
  )
  const batches = events.flatMap((event) => (event._tag === "Batch" ? [event.batch] : []))
  return { result, asked, events, batches, directory }
}

/** Everything that tells a trade, by symbol instead of id. */
const rows = (batches: ReadonlyArray<MarketBatch>): ReadonlyArray<string> =>
  batches.flatMap((batch) => {
    assert.instanceOf(batch, TradeBatch)
    const { columns: c } = batch
    return Array.from(
      { length: batch.length },
      (_, i) =>
        `${c.tsRecv[i]} ${c.tsEvent[i]} ${batch.symbolAt(i)} ${c.tradeKey[i]} ${batch.priceText(i)} ${batch.sizeText(i)}`
    )
  })

/** The same rows straight from the file. */
const expected = (() => {
  const symbols = new Map(market.instruments.map((instrument) => [instrument.id, instrument]))
  const context = batchContext({ provider: "databento", dataset: "DBEQ.BASIC" })
  const batches = new DbnBatches({ context })
  const out: Array<string> = []
  const take = (batch: MarketBatch) => {
    for (const row of rows([batch]))
      out.push(row.replace(/#(\d+)/, (_, id) => `DBEQ.BASIC:${symbols.get(Number(id))!.symbol}`))
  }
  for (const block of decodeBlocks([file])) batches.add(block, take)
  batches.flush(take)
  return out
})()

/** The records of some instruments as a file of their own, as the service would send them. */
const part = (symbols: ReadonlySet<string>): Uint8Array => {
  const ids = new Set(market.instruments.filter((i) => symbols.has(i.symbol)).map((i) => i.id))
  const chunks: Array<Uint8Array> = []
  let header: RecordBlock["metadata"]
  for (const block of decodeBlocks([file])) {
    header = block.metadata
    for (const p of block.positions())
      if (ids.has(block.words[p + 1]!))
        chunks.push(block.bytes.slice(p * 4, (p + (block.words[p]! & 0xff)) * 4))
  }
  const { mappings, ...rest } = header!
  const input = { ...rest, mappings: mappings.filter((m) => symbols.has(m.rawSymbol)) }
  return zstdFrame(concat([encodeMetadata(input), ...chunks]), { level: 1 })
}

describe("get_range", () => {
  it("gives every row of the reply with its instrument, and the mappings before the rows", async () => {
    const { result, batches, events, asked } = await run(() => pieces(compressed, 10_007, "end"))
    assert.strictEqual(result._tag, "Success")
    assert.deepStrictEqual(rows(batches), expected)
    assert.deepStrictEqual(asked[0]!.params, {
      dataset: "DBEQ.BASIC",
      symbols: request.symbols.join(","),
      schema: "trades",
      stype_in: "raw_symbol",
      stype_out: "instrument_id",
      start: String(start),
      end: String(start + NANOS_PER_DAY),
      encoding: "dbn",
      compression: "zstd"
    })
    const kinds = events.map((event) => event._tag)
    assert.strictEqual(kinds.lastIndexOf("Mapping"), market.instruments.length - 1)
    const [first] = events
    assert.strictEqual(first?._tag === "Mapping" && first.requested, market.instruments[0]!.symbol)
  })

  it("merges the replies of a list of more than 2,000 symbols in time order", async () => {
    const many = Array.from({ length: 4_100 }, (_, i) => `NONE${i}`)
    // Every third list holds some of the market's symbols.
    const symbols = [...many]
    for (const [i, { symbol }] of market.instruments.entries())
      symbols.splice(((i * 997) % 4_100) + 1, 0, symbol)
    const { result, batches, asked } = await run(
      ({ params }) => reply(part(new Set(params.symbols!.split(",")))),
      { symbols },
      { batchRows: 1_000 }
    )
    assert.strictEqual(result._tag, "Success")
    assert.lengthOf(asked, 3)
    assert.deepStrictEqual([...rows(batches)].sort(), [...expected].sort())
    const times = batches.flatMap((batch) => [
      ...(batch as TradeBatch).columns.tsRecv.subarray(0, batch.length)
    ])
    assert.deepStrictEqual(
      times,
      [...times].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
    )
  })

  it("asks for the names that a reply of ALL_SYMBOLS lacks", async () => {
    let header: RecordBlock["metadata"]
    for (const block of decodeBlocks([file])) header = block.metadata
    const { length } = encodeMetadata(header!)
    const nameless = concat([
      encodeMetadata({ ...header!, mappings: [], symbols: ["ALL_SYMBOLS"] }),
      file.subarray(length)
    ])
    const { result, batches } = await run(
      ({ path }) =>
        path.endsWith("resolve")
          ? {
              body: {
                result: Object.fromEntries(
                  market.instruments.map(({ symbol, id }) => [
                    symbol,
                    [{ d0: "2026-01-05", d1: "2026-01-06", s: String(id) }]
                  ])
                )
              }
            }
          : reply(zstdFrame(nameless, { level: 1 })),
      { symbols: ["ALL_SYMBOLS"] }
    )
    assert.strictEqual(result._tag, "Success")
    assert.deepStrictEqual(rows(batches), expected)
  })

  it("asks for the raw symbols behind a parent", async () => {
    const id = market.instruments[0]!.id
    const header = encodeMetadata({
      dataset: "DBEQ.BASIC",
      schema: "trades",
      stypeIn: "parent",
      stypeOut: "instrument_id",
      symbols: ["AA.FUT"],
      mappings: [
        {
          rawSymbol: "AA.FUT",
          intervals: [{ startDate: market.date, endDate: market.date + 1, symbol: String(id) }]
        }
      ]
    })
    const trade = encodeRecord(
      { ...blankRecord("trade"), action: "T", instrumentId: id, tsEvent: start, tsRecv: start },
      { version: 3 }
    )
    const { result, batches, events, asked } = await run(
      ({ path }) =>
        path.endsWith("resolve")
          ? { body: { result: { [id]: [{ d0: "2026-01-05", d1: "2026-01-06", s: "AAH6" }] } } }
          : reply(concat([header, trade])),
      { symbols: ["AA.FUT"], stypeIn: "parent" }
    )
    assert.strictEqual(result._tag, "Success")
    assert.strictEqual(batches[0]?._tag === "TradeBatch" && batches[0].symbolAt(0), "DBEQ.BASIC:AAH6")
    assert.strictEqual(events[0]?._tag === "Mapping" && events[0].requested, "AA.FUT")
    assert.deepStrictEqual(
      asked.map((one) => one.params.stype_in),
      ["parent", "instrument_id"]
    )
  })

  it.each([
    [
      "a connection that breaks",
      pieces(compressed.subarray(0, 200_000), 50_000, "cut"),
      "ProviderDisconnected"
    ],
    [
      "a zstd frame that is not closed",
      reply(compressed.subarray(0, compressed.length - 20_000)),
      "ProviderTruncated"
    ],
    ["an end inside a record", reply(file.subarray(0, file.length - 7)), "ProviderTruncated"],
    ["damage", reply(concat([file.subarray(0, 400_000), new Uint8Array(64)])), "ProviderMalformed"],
    ["an HTML page", reply(new TextEncoder().encode("<html>")), "ProviderMalformed"],
    ["nothing at all", reply(new Uint8Array(0)), "ProviderTruncated"]
  ] as const)("gives the whole rows before %s, then the error", async (_, answer, tag) => {
    const { result, batches } = await run(() => answer)
    assert.strictEqual(
      result._tag === "Failure" && "reason" in result.failure && result.failure.reason._tag,
      tag
    )
    const got = rows(batches)
    assert.deepStrictEqual(got, expected.slice(0, got.length))
    assert.isBelow(got.length, expected.length)
    if (tag === "ProviderTruncated" && got.length > 0) assert.isAbove(got.length, 20_000)
  })

  it("notices that records are missing where it is asked to count", async () => {
    const answer =
      (count: bigint) =>
      ({ path }: Asked) =>
        path.endsWith("get_record_count") ? { body: String(count) } : reply(compressed)
    const complete = await run(answer(30_000n), {}, { verifyCount: true })
    assert.strictEqual(complete.result._tag, "Success")
    const short = await run(answer(30_001n), {}, { verifyCount: true })
    assert.strictEqual(
      short.result._tag === "Failure" && "reason" in short.result.failure && short.result.failure.reason._tag,
      "ProviderTruncated"
    )
    assert.lengthOf(rows(short.batches), 30_000)
  })

  it("fetches nothing that costs more, or is more, than the limit", async () => {
    const answer = ({ path }: Asked): Answer => {
      if (path.endsWith("get_cost")) return { body: "1.25" }
      return path.endsWith("get_billable_size") ? { body: "4800" } : reply(compressed)
    }
    const refused = async (options: object) => {
      const { asked, result } = await run(answer, {}, options)
      assert.deepStrictEqual(asked.map((one) => one.path).sort(), [
        "/v0/metadata.get_billable_size",
        "/v0/metadata.get_cost"
      ])
      return result._tag === "Failure" ? result.failure.message : ""
    }
    const dear = await refused({ maxCostUsd: Decimal.parse("1.249")! })
    assert.include(dear, "costs 1.25 USD for 4800 bytes, the limit is 1.249 USD: nothing was fetched")
    assert.include(await refused({ maxBytes: 4799n }), "the limit is 4799 bytes: nothing was fetched")
    const fine = await run(answer, {}, { maxCostUsd: Decimal.parse("1.25")!, maxBytes: 4800n })
    assert.strictEqual(fine.result._tag, "Success")
  })

  it("closes the connection when the stream is left, and reads no further than the consumer", async () => {
    let sent = 0
    let closed = false
    const endless = zstdFrame(
      concat([file, ...Array.from({ length: 40 }, () => file.subarray(encodedHeader))]),
      { level: 1 }
    )
    const { register } = LocalInstruments.make()
    await withService(
      () => ({
        write: (response) => {
          response.on("close", () => {
            closed = true
          })
          const more = () => {
            while (sent < endless.length) {
              const chunk = endless.subarray(sent, sent + 65_536)
              sent += chunk.length
              if (!response.write(chunk)) return void response.once("drain", more)
            }
            response.end()
          }
          more()
        }
      }),
      ({ timeseries }) =>
        Effect.gen(function* () {
          const taken = yield* Effect.forkChild(
            Stream.runForEach(timeseries.batches(request, { register, batchRows: 1_000 }), (event) =>
              event._tag === "Batch" ? Effect.never : Effect.void
            )
          )
          yield* Effect.sleep("1 second")
          yield* Fiber.interrupt(taken)
          for (let i = 0; i < 100 && !closed; i++) yield* Effect.sleep("10 millis")
        })
    )
    assert.isTrue(closed)
    assert.isBelow(sent, endless.length)
  })
})

const encodedHeader = (() => {
  let header: RecordBlock["metadata"]
  for (const block of decodeBlocks([file])) header = block.metadata
  return encodeMetadata(header!).length
})()
