import {
  type BarReadRequest,
  barBuilder,
  batchContext,
  type DailyAvailability,
  MarketSchema,
  MarketStore,
  type QuoteBatch,
  quoteBuilder,
  type SchemaReadRequest,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import * as RowRead from "../src/RowRead.ts"

const context = batchContext({ provider: "test", dataset: "TEST" })
const day = UnixNanos.parse("2026-01-05")!
const second = UnixNanos.PerSecond

const quotes = (times: ReadonlyArray<bigint>): QuoteBatch => {
  const builder = quoteBuilder(context, Math.max(1, times.length))
  for (const time of times) {
    builder.columns.tsEvent[builder.length] = time
    builder.columns.schema[builder.length] = MarketSchema.code("mbp-1")
    builder.length += 1
  }
  return builder.flush()
}

const timesOf = (batches: ReadonlyArray<RowRead.AnyBatch>): ReadonlyArray<bigint> =>
  batches.flatMap((batch) => [...batch.columns.tsEvent.subarray(0, batch.length)])

/** A store with quotes at these times, in batches of seven rows; remembers which ranges were read. */
const storeWith = (times: ReadonlyArray<bigint>, days: ReadonlyArray<DailyAvailability> = []) => {
  const asked: Array<SchemaReadRequest> = []
  const barsAsked: Array<BarReadRequest> = []
  const layer = Layer.mock(MarketStore)({
    capabilities: {
      edition: "postgresql",
      serverVersion: "18",
      embedded: true,
      partitioning: "range",
      compression: false,
      continuousAggregates: false,
      bulkProfile: false,
      notes: []
    },
    availability: () => Effect.succeed(days),
    readQuotes: (request) => {
      asked.push(request)
      const rows = times.filter((t) => TimeRange.contains(request.range, t))
      const batches = Array.from({ length: Math.ceil(rows.length / 7) }, (_, i) =>
        quotes(rows.slice(i * 7, i * 7 + 7))
      )
      return Stream.fromIterable(batches)
    },
    readBars: (request) => {
      barsAsked.push(request)
      const builder = barBuilder(context)
      for (const t of times)
        if (TimeRange.contains(request.range, t)) builder.columns.tsEvent[builder.length++] = t
      return Stream.make(builder.flush())
    }
  })
  return { layer, asked, barsAsked }
}

const selection = { kind: "quotes" } as const
const have = (times: ReadonlyArray<bigint>): RowRead.Held => ({
  schema: "mbp-1",
  others: [],
  first: times[0]!,
  last: times.at(-1)!,
  rows: BigInt(times.length)
})

describe("newest", () => {
  const times = Array.from({ length: 100 }, (_, i) => day + BigInt(i) * 600n * second)

  it.effect("finds the last rows without reading the whole history", () =>
    Effect.gen(function* () {
      const { layer, asked } = storeWith(times)
      const found = yield* Effect.provide(RowRead.newest(selection, have(times), [1], 3, undefined), layer)
      assert.deepStrictEqual(timesOf(found), times.slice(-3))
      assert.isTrue(asked.every(({ range }) => range.start > times[0]!))
    })
  )

  it.effect("stops at an end, and at the first row", () =>
    Effect.gen(function* () {
      const { layer } = storeWith(times)
      const before = yield* Effect.provide(RowRead.newest(selection, have(times), [1], 3, times[10]!), layer)
      assert.deepStrictEqual(timesOf(before), times.slice(7, 10))
      const all = yield* Effect.provide(RowRead.newest(selection, have(times), [1], 1000, undefined), layer)
      assert.deepStrictEqual(timesOf(all), times)
      const none = yield* Effect.provide(RowRead.newest(selection, have(times), [1], 5, times[0]!), layer)
      assert.deepStrictEqual(timesOf(none), [])
    })
  )

  it.effect("asks for the provider's bars by their schema, days at a time where they have no length", () =>
    Effect.gen(function* () {
      const { layer, barsAsked } = storeWith(times)
      const bars = { kind: "bars", timeframe: "ohlcv-eod", fill: false } as const
      const found = yield* Effect.provide(RowRead.newest(bars, have(times), [1], 3, undefined), layer)
      assert.deepStrictEqual(timesOf(found), times.slice(-3))
      for (const { schema, timeframe } of barsAsked)
        assert.deepStrictEqual([schema, timeframe], ["ohlcv-eod", undefined])
    })
  )

  it.effect("asks for whole bars", () =>
    Effect.gen(function* () {
      const { layer, barsAsked } = storeWith(times)
      const bars = { kind: "bars", timeframe: "1h", source: "trades", fill: false } as const
      const odd = { ...have(times), first: day + 1n, last: day + 90n * 600n * second + 5n }
      yield* Effect.provide(RowRead.newest(bars, odd, [1], 2, undefined), layer)
      assert.isAbove(barsAsked.length, 0)
      for (const { range } of barsAsked) assert.strictEqual(range.start % (3600n * second), 0n)
    })
  )
})

describe("firstRows", () => {
  it.effect("cuts at the limit and tells whether there is more", () =>
    Effect.gen(function* () {
      const times = Array.from({ length: 20 }, (_, i) => BigInt(i))
      const { layer } = storeWith(times)
      const range = { start: 0n, end: 100n }
      const read = (limit: number) =>
        Effect.provide(RowRead.firstRows(RowRead.read(selection, "mbp-1", [1], range), limit), layer)
      for (const limit of [1, 6, 7, 8, 19]) {
        const { batches, more } = yield* read(limit)
        assert.deepStrictEqual([timesOf(batches).length, more], [limit, true])
      }
      for (const limit of [20, 21]) {
        const { batches, more } = yield* read(limit)
        assert.deepStrictEqual([timesOf(batches).length, more], [20, false])
      }
    })
  )
})

describe("last", () => {
  it.effect("keeps exactly the newest rows, wherever batches are cut", () =>
    Effect.gen(function* () {
      const batches = [quotes([1n, 2n]), quotes([3n]), quotes([]), quotes([4n, 5n, 6n])]
      for (let count = 1; count <= 8; count++) {
        const kept = yield* RowRead.last(Stream.fromIterable(batches), count)
        assert.deepStrictEqual(timesOf(kept), [1n, 2n, 3n, 4n, 5n, 6n].slice(-count))
      }
    })
  )
})

describe("held", () => {
  const of = (schema: MarketSchema.MarketSchema, first: bigint, last: bigint): DailyAvailability => ({
    instrument: 1,
    schema,
    day,
    rows: 5n,
    first,
    last
  })

  it.effect("prefers the first schema of the kind and names the others", () =>
    Effect.gen(function* () {
      const { layer } = storeWith(
        [],
        [of("bbo-1s", 5n, 9n), of("mbp-1", 3n, 4n), of("mbp-1", 7n, 8n), of("trades", 1n, 2n)]
      )
      const found = yield* Effect.provide(RowRead.held(selection, [1]), layer)
      assert.deepStrictEqual(found, { schema: "mbp-1", others: ["bbo-1s"], first: 3n, last: 8n, rows: 10n })
      const asked = yield* Effect.provide(RowRead.held({ kind: "quotes", schema: "bbo-1s" }, [1]), layer)
      assert.deepStrictEqual(asked, { schema: "bbo-1s", others: [], first: 5n, last: 9n, rows: 5n })
      assert.strictEqual(yield* Effect.provide(RowRead.held({ kind: "book" }, [1]), layer), undefined)
    })
  )

  it("reads bars from trades or from the provider's own", () => {
    const bars = { kind: "bars", fill: false } as const
    assert.deepStrictEqual(RowRead.candidates({ ...bars, timeframe: "5m", source: "trades" }), ["trades"])
    assert.deepStrictEqual(RowRead.candidates({ ...bars, timeframe: "1h", source: "provider" }), ["ohlcv-1h"])
    assert.deepStrictEqual(RowRead.candidates({ ...bars, timeframe: "5m", source: "provider" }), [])
    assert.deepStrictEqual(RowRead.candidates({ ...bars, timeframe: "5m" }), ["trades"])
    assert.deepStrictEqual(RowRead.candidates({ ...bars, timeframe: "ohlcv-eod" }), ["ohlcv-eod"])
  })
})
