import {
  type BarBatch,
  type BatchContext,
  Decimal,
  type MarketBatch,
  type StoreError,
  Timeframe,
  type TimeRange,
  UnixNanos
} from "@data-manager/core"
import { BatchArbitrary, BatchRow, SeededRandom } from "@data-manager/testing"
import { Effect, Stream } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as BarReader from "../src/BarReader.ts"
import { appendAll, instruments as makeInstruments, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture

beforeAll(async () => {
  store = await openStore()
}, 30_000)
afterAll(() => store.close())

const at = (iso: string): bigint => UnixNanos.parse(iso)!
const always: TimeRange.TimeRange = { start: UnixNanos.Min, end: UnixNanos.Max }
const put = (batches: ReadonlyArray<MarketBatch>) => store.run(appendAll(store.writer, batches))

/** Readers that cut a read in very different ways. */
const readers = () =>
  ([{}, { sliceBytes: 3_000 }, { sliceBytes: 100, concurrency: 1 }] as const).map((options) =>
    BarReader.make(store.writer.pool, options)
  )

const collect = (stream: Stream.Stream<BarBatch, StoreError>): Promise<ReadonlyArray<BarBatch>> =>
  store.run(Stream.runCollect(stream))

const text = (value: Decimal.Decimal | undefined): string =>
  value === undefined ? "-" : Decimal.shortText(value.mantissa, value.exponent)

/** Bars as lines that compare. */
const lines = (batches: ReadonlyArray<BarBatch>): Array<string> =>
  batches.flatMap((batch) =>
    [...batch.rows()].map((bar) =>
      [
        bar.instrument,
        bar.start / UnixNanos.PerSecond,
        text(bar.open),
        text(bar.high),
        text(bar.low),
        text(bar.close),
        text(bar.volume),
        bar.tradeCount
      ].join(" ")
    )
  )

/** The same by NUMERIC over the stored rows, the side table included. */
const byNumeric = async (ids: ReadonlyArray<number>, seconds: number): Promise<Array<string>> => {
  const order = "at, recv, key"
  const rows = await store.sql<{ readonly line: string }>(
    `WITH rows AS (
       SELECT t.instrument_id AS id, coalesce(t.price * i.price_unit, x.price) AS price,
         coalesce(t.size * i.size_unit, x.size, 0) AS size,
         extract(epoch FROM t.ts) * 1000000000 + t.ts_ns AS at,
         coalesce(extract(epoch FROM t.ts_recv) * 1000000000 + t.ts_recv_ns, 9223372036854775807) AS recv,
         t.trade_key AS key
       FROM trade t JOIN instruments i ON i.id = t.instrument_id
       LEFT JOIN trade_exact x USING (instrument_id, ts, trade_key) WHERE t.instrument_id = ANY ($1))
     SELECT concat_ws(' ', id, bucket, trim_scale(open), trim_scale(high), trim_scale(low), trim_scale(close),
         trim_scale(volume), trades) AS line
     FROM (SELECT id, trim_scale(floor(at / ($2 * 1000000000::numeric)) * $2) AS bucket,
         (array_agg(price ORDER BY ${order}))[1] AS open, max(price) AS high, min(price) AS low,
         (array_agg(price ORDER BY at DESC, recv DESC, key DESC))[1] AS close, sum(size) AS volume, count(*) AS trades
       FROM rows WHERE price IS NOT NULL GROUP BY 1, 2) b ORDER BY bucket, id`,
    [ids, seconds]
  )
  return rows.map((row) => row.line)
}

const scales = [
  [2, 0],
  [9, 3],
  [0, 8]
] as const

interface Market {
  readonly ids: ReadonlyArray<number>
  readonly context: BatchContext
}

describe("bars from trades", () => {
  it("equal a NUMERIC computation over the rows at every length", async () => {
    const market = await makeInstruments(store, scales)
    const options = { context: market.context, instruments: market.ids, bursts: 0.6, absent: 0.1 }
    await put([
      BatchArbitrary.trades(new SeededRandom(1), {
        ...options,
        rows: 400,
        start: at("2024-02-28T20:00:00Z"),
        span: 12n * 3_600n * UnixNanos.PerSecond
      }),
      BatchArbitrary.trades(new SeededRandom(2), {
        ...options,
        rows: 300,
        start: at("2024-02-28T20:00:00Z"),
        span: 40n * UnixNanos.PerSecond
      }),
      BatchArbitrary.trades(new SeededRandom(3), {
        ...options,
        rows: 60,
        start: at("1969-12-31T20:00:00Z"),
        span: 8n * 3_600n * UnixNanos.PerSecond
      })
    ])
    for (const timeframe of Timeframe.all) {
      const expected = await byNumeric(market.ids, Timeframe.seconds(timeframe))
      assert.isAbove(expected.length, 5)
      // The finest cut costs a round trip per few bars: the shortest and the longest bars stand for all.
      const cuts = ["1s", "1d"].includes(timeframe) ? readers() : readers().slice(0, 2)
      for (const reader of cuts)
        assert.deepStrictEqual(
          lines(await collect(reader.readBars({ instruments: market.ids, range: always, timeframe }))),
          expected,
          timeframe
        )
    }
  }, 120_000)

  it("are exact where scales do not hold the values and sums outgrow 64 bits", async () => {
    const market = await makeInstruments(store, [[2, 0]])
    const batch = BatchArbitrary.trades(new SeededRandom(4), {
      context: market.context,
      instruments: market.ids,
      rows: 120,
      start: at("2024-03-05T10:00:00Z"),
      span: 600n * UnixNanos.PerSecond
    })
    for (let i = 0; i < batch.length; i++) {
      batch.columns.price[i] = BigInt(100_000 + i * 37)
      batch.columns.priceExponent[i] = i % 5 === 0 ? -7 : -2
      batch.columns.size[i] = 9_223_372_036_854_775_000n - BigInt(i)
      batch.columns.sizeExponent[i] = i % 7 === 0 ? -3 : 0
    }
    await put([batch])
    for (const timeframe of ["1s", "1m", "5m", "1h", "1d"] as const)
      assert.deepStrictEqual(
        lines(await collect(readers()[1]!.readBars({ instruments: market.ids, range: always, timeframe }))),
        await byNumeric(market.ids, Timeframe.seconds(timeframe)),
        timeframe
      )
  })

  it("belong to a range by their start and keep their whole length", async () => {
    const market = await makeInstruments(store, [[2, 0]])
    const start = at("2024-04-02T00:00:00Z")
    await put([
      BatchArbitrary.trades(new SeededRandom(5), {
        context: market.context,
        instruments: market.ids,
        rows: 500,
        start,
        span: 3_600n * UnixNanos.PerSecond
      })
    ])
    const reader = readers()[0]!
    const minute = 60n * UnixNanos.PerSecond
    for (const timeframe of ["1s", "1m", "5m", "15m"] as const) {
      const read = (range: TimeRange.TimeRange) =>
        Effect.map(Stream.runCollect(reader.readBars({ instruments: market.ids, range, timeframe })), lines)
      const all = await store.run(read(always))
      for (const [from, to] of [
        [0n, minute],
        [1n, 10n * minute],
        [2n * minute, 12n * minute + 1n],
        [5n * minute, 5n * minute + 1n],
        [5n * minute + 1n, 10n * minute],
        [-5n, 5n]
      ] as const) {
        const range = { start: start + from, end: start + to }
        const expected = all.filter((line) => {
          const time = BigInt(line.split(" ")[1]!) * UnixNanos.PerSecond
          return time >= range.start && time < range.end
        })
        assert.deepStrictEqual(await store.run(read(range)), expected, `${timeframe} ${from} ${to}`)
      }
    }
  })

  it("respect batchRows, filled or not, and are of one dataset each", async () => {
    const markets: ReadonlyArray<Market> = [
      await makeInstruments(store, scales),
      await makeInstruments(store, scales)
    ]
    await put(
      markets.map(({ ids, context }, i) =>
        BatchArbitrary.trades(new SeededRandom(6 + i), {
          context,
          instruments: ids,
          rows: 200,
          start: at("2024-05-01T10:00:00Z")
        })
      )
    )
    const ids = markets.flatMap((market) => market.ids)
    for (const fill of [false, true])
      for (const timeframe of ["1m", "5m"] as const) {
        const whole = lines(
          await collect(readers()[0]!.readBars({ instruments: ids, range: always, timeframe, fill }))
        )
        for (const batchRows of [1, 3, 10]) {
          const read = await collect(
            readers()[0]!.readBars({ instruments: ids, range: always, timeframe, fill, batchRows })
          )
          assert.deepStrictEqual(lines(read), whole)
          assert.isTrue(read.every((batch) => batch.length >= 1 && batch.length <= batchRows))
          for (const batch of read) {
            const own = markets.find((market) => market.context.dataset === batch.context.dataset)!.ids
            for (const bar of batch.rows()) assert.include(own, bar.instrument)
          }
        }
      }
  })

  it("fill without end takes only what is asked of it", async () => {
    const market = await makeInstruments(store, [[2, 0]])
    const first = BatchArbitrary.trades(new SeededRandom(9), {
      context: market.context,
      instruments: market.ids,
      rows: 1,
      start: at("2014-01-01"),
      span: 1n,
      absent: 0
    })
    const last = BatchArbitrary.trades(new SeededRandom(10), {
      context: market.context,
      instruments: market.ids,
      rows: 1,
      start: at("2024-01-01"),
      span: 1n,
      absent: 0
    })
    await put([first, last])
    // Ten years of seconds lie between the two.
    const bars = await collect(
      readers()[0]!
        .readBars({ instruments: market.ids, range: always, timeframe: "1s", fill: true, batchRows: 100 })
        .pipe(Stream.take(3))
    )
    assert.strictEqual(
      bars.reduce((sum, batch) => sum + batch.length, 0),
      300
    )
    const close = text(bars[0]!.row(0).close)
    assert.deepStrictEqual(
      lines(bars)[299],
      `${market.ids[0]} ${at("2014-01-01") / UnixNanos.PerSecond + 299n} ${close} ${close} ${close} ${close} 0 0`
    )
  })
})

describe("a provider's bars", () => {
  const bars = (market: Market, seconds: number, rows: number, start: bigint, seed: number): BarBatch => {
    const batch = BatchArbitrary.bars(new SeededRandom(seed), {
      context: market.context,
      instruments: market.ids,
      rows,
      start,
      seconds,
      absent: 0
    })
    batch.columns.publisher.fill(1)
    return batch
  }

  it("are as the provider gave them at its own lengths, and nothing else there", async () => {
    const market = await makeInstruments(store, scales)
    const start = at("2024-06-03T00:00:00Z")
    const batches = [
      bars(market, 60, 90, start, 1),
      bars(market, 3600, 60, start, 2),
      bars(market, 86400, 30, start, 3)
    ]
    await put(batches)
    for (const reader of readers())
      for (const [i, timeframe] of (["1m", "1h", "1d"] as const).entries()) {
        const read = await collect(
          reader.readBars({ instruments: market.ids, range: always, timeframe, source: "provider" })
        )
        assert.deepStrictEqual(
          BatchRow.ofAll(read).map(BatchRow.text),
          BatchRow.of(batches[i]!).sort(BatchRow.readOrder).map(BatchRow.text)
        )
      }
    const seconds = await collect(
      readers()[0]!.readBars({ instruments: market.ids, range: always, timeframe: "1s", source: "provider" })
    )
    assert.deepStrictEqual(seconds, [])
  })

  it("make the other lengths from shorter ones: first opens, last closes, sums are exact", async () => {
    const market = await makeInstruments(store, [[2, 0]])
    const start = at("2024-07-01T00:00:00Z")
    const batch = bars(market, 60, 30, start, 4)
    await put([batch])
    const rows = [...batch.rows()]
    for (const [timeframe, size] of [
      ["5m", 5],
      ["15m", 15],
      ["30m", 30],
      ["4h", 30]
    ] as const) {
      const expected = Array.from({ length: 30 / size }, (_, n) => {
        const part = rows.slice(n * size, (n + 1) * size)
        const by = (sign: number, pick: (row: (typeof rows)[0]) => Decimal.Decimal) =>
          part.map(pick).reduce((a, b) => (Decimal.compare(a, b) * sign >= 0 ? a : b))
        const volume = part.reduce((sum, row) => sum + row.volume.mantissa, 0n)
        return [
          market.ids[0],
          part[0]!.start / UnixNanos.PerSecond,
          text(part[0]!.open),
          text(by(1, (row) => row.high!)),
          text(by(-1, (row) => row.low!)),
          text(part.at(-1)!.close),
          text({ mantissa: volume, exponent: part[0]!.volume.exponent }),
          part.reduce((sum, row) => sum + row.tradeCount!, 0n)
        ].join(" ")
      })
      for (const reader of readers())
        assert.deepStrictEqual(
          lines(
            await collect(
              reader.readBars({ instruments: market.ids, range: always, timeframe, source: "provider" })
            )
          ),
          expected,
          timeframe
        )
    }
  })

  it("that cannot make the length asked for are a typed error that names those they can", async () => {
    const market = await makeInstruments(store, [[2, 0]])
    await put([bars(market, 86400, 5, at("2024-08-01"), 5)])
    const read = (timeframe: Timeframe.Timeframe) =>
      Stream.runDrain(
        readers()[0]!.readBars({ instruments: market.ids, range: always, timeframe, source: "provider" })
      )
    const error = await store.run(Effect.flip(read("5m")))
    assert.strictEqual(error.reason._tag, "StoreBadRequest")
    assert.match(error.message, /cannot make bars of 5m.*offered: 1d$/)
    const unknown = await store.run(Effect.flip(read("7m" as Timeframe.Timeframe)))
    assert.match(
      unknown.message,
      /no bars of 7m.*offered: 1s, 1m, 5m, 15m, 30m, 1h, 4h, 1d, ohlcv-1s, .*ohlcv-eod$/
    )
  })
})
