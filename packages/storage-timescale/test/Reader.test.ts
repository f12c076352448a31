import {
  type BatchContext,
  type MarketBatch,
  MarketSchema,
  type ReadRequest,
  type StoreError,
  TimeRange,
  type TradeBatch,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { BatchArbitrary, BatchRow, SeededRandom } from "@data-manager/testing"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as PgPool from "../src/PgPool.ts"
import * as Reader from "../src/Reader.ts"
import { clientConfig } from "../src/ServerAddress.ts"
import { appendAll, instruments as makeInstruments, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture
const scope = Effect.runSync(Scope.make())

beforeAll(async () => {
  store = await openStore()
}, 30_000)
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await store.close()
})

const at = (iso: string): bigint => UnixNanos.parse(iso)!
const always: TimeRange.TimeRange = { start: UnixNanos.Min, end: UnixNanos.Max }

const openPool = (maxConnections: number): Promise<PgPool.PgPool> =>
  Effect.runPromise(
    Scope.provide(PgPool.make({ client: clientConfig(store.database.address), maxConnections }), scope)
  )

interface Market {
  readonly ids: ReadonlyArray<number>
  readonly context: BatchContext
}

const scales = [
  [2, 0],
  [9, 3],
  [0, 8],
  [4, 0]
] as const

const put = (batches: ReadonlyArray<MarketBatch>) => store.run(appendAll(store.writer, batches))

/** Readers that cut a read in very different ways; all must give the same rows. */
const readers = (): ReadonlyArray<readonly [string, Reader.Reader]> =>
  (
    [
      ["whole slices", {}],
      ["slices of a few rows", { sliceBytes: 2_000 }],
      ["slices of one row, one at a time", { sliceBytes: 1, concurrency: 1 }],
      ["many at once", { sliceBytes: 20_000, concurrency: 3 }]
    ] as const
  ).map(([name, options]) => [name, Reader.make(store.writer.pool, options)])

const collect = async <B extends MarketBatch>(
  stream: Stream.Stream<B, StoreError>
): Promise<ReadonlyArray<B>> => store.run(Stream.runCollect(stream))

const expectRows = (
  actual: ReadonlyArray<MarketBatch>,
  expected: Array<BatchRow.BatchRow>,
  what: string
): void => {
  const got = BatchRow.ofAll(actual).map(BatchRow.text)
  assert.deepStrictEqual(got, expected.sort(BatchRow.readOrder).map(BatchRow.text), what)
}

const within = (range: TimeRange.TimeRange, ids?: ReadonlyArray<number>) => (row: BatchRow.BatchRow) =>
  TimeRange.contains(range, row.time) && (ids === undefined || ids.includes(row.instrument))

/** A trade batch from times, in the order given; keys are 0, 1, 2... unless told. */
const tradesAt = (
  { ids, context }: Market,
  times: ReadonlyArray<bigint>,
  more: (row: number) => {
    readonly key?: bigint
    readonly recv?: bigint
    readonly instrument?: number
  } = () => ({})
): TradeBatch => {
  const builder = tradeBuilder(context, times.length)
  times.forEach((time, i) => {
    const { key = TradeKey.make(1, i, 0), recv = time + 5n, instrument = ids[0]! } = more(i)
    builder.columns.tsEvent[i] = time
    builder.columns.tsRecv[i] = recv
    builder.columns.tradeKey[i] = key
    builder.columns.price[i] = BigInt(100 + i)
    builder.columns.size[i] = 1n
    builder.columns.instrument[i] = instrument
    builder.columns.publisher[i] = 1
  })
  builder.length = times.length
  return builder.flush()
}

describe("rows of every kind", () => {
  it("come back in order from however the read is cut, ordinary and extreme ones", async () => {
    const market = await makeInstruments(store, scales)
    for (const values of ["grid", "extreme"] as const) {
      const options = {
        context: market.context,
        instruments: market.ids,
        rows: 70,
        start: at(values === "grid" ? "2024-03-05T23:40:00Z" : "2023-12-31T23:50:00Z"),
        values,
        bursts: 0.6
      }
      const trades = BatchArbitrary.trades(new SeededRandom(1), options)
      const quotes = BatchArbitrary.quotes(new SeededRandom(2), { ...options, schema: "mbp-1" })
      const sampled = BatchArbitrary.quotes(new SeededRandom(3), { ...options, schema: "bbo-1s" })
      const books = BatchArbitrary.books(new SeededRandom(4), { ...options, rows: 25, schema: "mbp-10" })
      const depth = BatchArbitrary.books(new SeededRandom(5), { ...options, rows: 25, schema: "depth" })
      await put([trades, quotes, sampled, books, depth])
      const range = { start: options.start, end: options.start + UnixNanos.PerDay }
      for (const [name, reader] of readers()) {
        for (const ids of [market.ids, market.ids.slice(1, 2)]) {
          const what = `${values}, ${name}, ${ids.length} instruments`
          const request = { instruments: ids, range }
          const expected = (batch: MarketBatch) => BatchRow.of(batch).filter(within(range, ids))
          expectRows(await collect(reader.readTrades(request)), expected(trades), `${what}, trades`)
          expectRows(
            await collect(reader.readQuotes({ ...request, schema: "mbp-1" })),
            expected(quotes),
            `${what}, mbp-1`
          )
          expectRows(
            await collect(reader.readQuotes({ ...request, schema: "bbo-1s" })),
            expected(sampled),
            `${what}, bbo-1s`
          )
          expectRows(
            await collect(reader.readBook({ ...request, schema: "mbp-10" })),
            expected(books),
            `${what}, mbp-10`
          )
          expectRows(
            await collect(reader.readBook({ ...request, schema: "depth" })),
            expected(depth),
            `${what}, depth`
          )
        }
      }
    }
  }, 120_000)

  it("have their text ids, in read order", async () => {
    const market = await makeInstruments(store, scales, { keyKind: "text-hash" })
    const start = at("2024-05-05T10:00:00Z")
    const trades = BatchArbitrary.trades(new SeededRandom(8), {
      context: market.context,
      instruments: market.ids,
      rows: 80,
      start
    })
    await put([trades])
    await store.sql("UPDATE datasets SET key_kind = 'text-hash' WHERE name = $1", [market.context.dataset])
    for (const [name, reader] of readers()) {
      const batches = await collect(reader.readTrades({ instruments: market.ids, range: always }))
      expectRows(batches, BatchRow.of(trades), name)
      assert.isTrue(batches.every((batch) => batch.textIds?.length === batch.length))
    }
  })
})

describe("order", () => {
  const start = at("2024-06-03T14:00:00Z")

  it("of one microsecond: nanosecond, tsRecv with absent last, key, instrument", async () => {
    const market = await makeInstruments(store, scales)
    const absent = 9223372036854775807n
    const [a, b, c] = market.ids as [number, number, number]
    const rows = [
      { time: start + 7n, recv: start + 9n, key: 1n, instrument: c },
      { time: start + 7n, recv: start + 9n, key: 1n, instrument: a },
      { time: start + 7n, recv: start + 9n, key: 0n, instrument: b },
      { time: start + 7n, recv: absent, key: -5n, instrument: a },
      { time: start + 7n, recv: start + 2_000n, key: 9n, instrument: a },
      { time: start + 6n, recv: absent, key: 99n, instrument: b },
      { time: start + 7n, recv: start - 1n, key: 12n, instrument: b },
      { time: start + 999n, recv: start, key: -9n, instrument: b },
      { time: start + 1_000n, recv: start, key: -10n, instrument: b }
    ]
    const batch = tradesAt(
      market,
      rows.map((row) => row.time),
      (i) => rows[i]!
    )
    await put([batch])
    for (const [name, reader] of readers()) {
      const read = await collect(reader.readTrades({ instruments: market.ids, range: always }))
      const order = read.flatMap((each) =>
        [...each.rows()].map((row) => `${row.instrument - a} ${row.tradeKey}`)
      )
      assert.deepStrictEqual(
        order,
        ["1 99", "1 12", "1 0", "0 1", "2 1", "0 9", "0 -5", "1 -9", "1 -10"],
        name
      )
    }
  })

  it("holds where more rows than a slice share one microsecond", async () => {
    const market = await makeInstruments(store, scales)
    const random = new SeededRandom(3)
    const times = Array.from({ length: 200 }, () => start + BigInt(random.below(3)))
    const batch = tradesAt(market, times, (i) => ({
      key: BigInt(i),
      recv: random.chance(0.2) ? 9223372036854775807n : start + BigInt(random.below(4)),
      instrument: random.pick(market.ids)
    }))
    const quotes = BatchArbitrary.quotes(random, {
      context: market.context,
      instruments: market.ids,
      rows: 150,
      start,
      span: 900n,
      schema: "cbbo-1s"
    })
    await put([batch, quotes])
    for (const [name, reader] of readers()) {
      for (const ids of [market.ids, market.ids.slice(0, 1)]) {
        const request = { instruments: ids, range: always }
        expectRows(
          await collect(reader.readTrades(request)),
          BatchRow.of(batch).filter(within(always, ids)),
          `trades, ${name}`
        )
        expectRows(
          await collect(reader.readQuotes({ ...request, schema: "cbbo-1s" })),
          BatchRow.of(quotes).filter(within(always, ids)),
          `quotes, ${name}`
        )
      }
    }
  }, 60_000)

  it("goes before the size of batches where a read spans datasets", async () => {
    const [one, two] = [await makeInstruments(store, scales), await makeInstruments(store, scales)]
    const times = Array.from({ length: 60 }, (_, i) => start + BigInt(i) * UnixNanos.PerSecond)
    const of = (market: Market, parity: number) =>
      tradesAt(
        market,
        times.filter((_, i) => Math.floor(i / 3) % 2 === parity)
      )
    const batches = [of(one, 0), of(two, 1)]
    await put(batches)
    for (const [name, reader] of readers()) {
      const ids = [...two.ids, ...one.ids]
      const read = await collect(reader.readTrades({ instruments: ids, range: always }))
      expectRows(read, BatchRow.ofAll(batches), name)
      for (const batch of read) {
        const own = batch.context.dataset === one.context.dataset ? one.ids : two.ids
        for (const row of batch.rows()) {
          assert.include(own, row.instrument)
          assert.strictEqual(row.dataset, batch.context.dataset)
        }
      }
      if (name === "whole slices") assert.isAtMost(read.length, 24)
    }
  })
})

describe("ranges", () => {
  it("are half-open to the nanosecond", async () => {
    const market = await makeInstruments(store, scales)
    const base = at("2024-07-01T00:00:00Z") - 3_000n
    const times = [0, 1, 998, 999, 1000, 1001, 1999, 2000, 2500, 2999, 3000, 3001, 3999, 4000].map(
      (n) => base + BigInt(n)
    )
    const batch = tradesAt(market, times)
    await put([batch])
    const bounds = [0, 1, 2, 999, 1000, 1001, 2000, 2500, 3000, 3001, 4000, 4001].map((n) => base + BigInt(n))
    const single = Reader.make(store.writer.pool)
    for (const start of bounds)
      for (const end of bounds) {
        const range = { start, end }
        const read = await collect(single.readTrades({ instruments: market.ids.slice(0, 1), range }))
        expectRows(read, BatchRow.of(batch).filter(within(range)), TimeRange.format(range))
      }
  }, 120_000)

  it("span days, months and years with nothing between, and end where they should", async () => {
    const market = await makeInstruments(store, scales)
    const times = [
      "2019-01-01T00:00:00Z",
      "2019-12-31T23:59:59.999999999Z",
      "2020-01-01T00:00:00Z",
      "2020-02-29T12:00:00Z",
      "2023-11-05T01:30:00Z",
      "2024-01-31T23:59:59.999999Z",
      "2024-02-01T00:00:00.000000001Z"
    ].map(at)
    const batch = tradesAt(market, times, (i) => ({ instrument: market.ids[i % 2]! }))
    await put([batch])
    const all = [...times, at("2018-01-01"), at("2030-01-01"), UnixNanos.Min, UnixNanos.Max]
    for (const [name, reader] of readers())
      for (const start of all)
        for (const end of [all[2]!, all[5]!, UnixNanos.Max]) {
          const range = { start, end }
          const read = await collect(reader.readTrades({ instruments: market.ids, range }))
          expectRows(read, BatchRow.of(batch).filter(within(range)), `${name} ${TimeRange.format(range)}`)
        }
  }, 60_000)

  it("that are empty, and reads of nobody, give nothing; bounds beyond 64 bits are the ends of time", async () => {
    const market = await makeInstruments(store, scales)
    const batch = tradesAt(market, [UnixNanos.Min, UnixNanos.Max - 1n])
    await put([batch])
    const reader = Reader.make(store.writer.pool)
    const read = (request: ReadRequest) => collect(reader.readTrades(request))
    assert.deepStrictEqual(await read({ instruments: [], range: always }), [])
    assert.deepStrictEqual(await read({ instruments: market.ids, range: { start: 5n, end: 5n } }), [])
    assert.deepStrictEqual(await read({ instruments: market.ids, range: { start: 6n, end: 5n } }), [])
    const beyond = { start: -(2n ** 80n), end: 2n ** 80n }
    expectRows(await read({ instruments: market.ids, range: beyond }), BatchRow.of(batch), "all of time")
    expectRows(await read({ instruments: market.ids, range: always }), BatchRow.of(batch), "always")
  })
})

describe("batches", () => {
  it("have at most batchRows rows and their own memory, and say what they are of", async () => {
    const market = await makeInstruments(store, scales)
    const start = at("2024-08-01T10:00:00Z")
    const batch = BatchArbitrary.trades(new SeededRandom(4), {
      context: market.context,
      instruments: market.ids,
      rows: 1000,
      start
    })
    await put([batch])
    await store.sql(
      "INSERT INTO publishers SELECT id, 2, 'XNYS' FROM datasets WHERE name = $1 ON CONFLICT (dataset_id, id) DO UPDATE SET venue = 'XNYS'",
      [market.context.dataset]
    )
    const reader = Reader.make(store.writer.pool)
    for (const batchRows of [1, 7, 64, 1000, 5000]) {
      const read = await collect(reader.readTrades({ instruments: market.ids, range: always, batchRows }))
      expectRows(read, BatchRow.of(batch), `${batchRows}`)
      assert.isTrue(read.every((each) => each.length >= 1 && each.length <= batchRows))
      // Twice as much memory as the rows take would mean that batches share it.
      assert.isAtMost(read[0]!.columns.tsEvent.buffer.byteLength, Math.max(8, Math.min(batchRows, 1000)) * 64)
    }
    const [first] = await collect(reader.readTrades({ instruments: market.ids, range: always }))
    assert.strictEqual(first!.context.provider, "test")
    assert.strictEqual(first!.context.keyKind, "sequenced")
    assert.strictEqual(first!.context.venueOf(2), "XNYS")
    assert.isUndefined(first!.context.venueOf(77))
    assert.match(first!.symbolAt(0), /^TEST\..*:S\d$/)
  })

  it("refuse to be of no rows, and reads of unknown instruments and schemas are typed errors", async () => {
    const market = await makeInstruments(store, scales)
    const reader = Reader.make(store.writer.pool)
    const refused = async <A>(stream: Stream.Stream<A, StoreError>): Promise<StoreError> => {
      const error = await store.run(Effect.flip(Stream.runDrain(stream)))
      assert.strictEqual(error.reason._tag, "StoreBadRequest")
      return error
    }
    const request = { instruments: market.ids, range: always }
    for (const batchRows of [0, -1, 1.5, Number.NaN])
      assert.match((await refused(reader.readTrades({ ...request, batchRows }))).message, /batchRows/)
    const unknown = [market.ids[0]!, 999_999_991, 999_999_992]
    assert.match(
      (await refused(reader.readTrades({ ...request, instruments: unknown }))).message,
      /no instrument #999999991, #999999992/
    )
    for (const id of [-1, 1.5, 2 ** 31])
      assert.match(
        (await refused(reader.readTrades({ ...request, instruments: [id] }))).message,
        /instrument id/
      )
    assert.match(
      (await refused(reader.readQuotes({ ...request, schema: "trades" }))).message,
      /trades has no quotes; offered: mbp-1, tbbo/
    )
    assert.match(
      (await refused(reader.readBook({ ...request, schema: "ohlcv-1m" }))).message,
      /has no book; offered: mbp-10, depth/
    )
  })
})

describe("values of the exact table", () => {
  it("are found though they were stored while the read was under way", async () => {
    const market = await makeInstruments(store, [[2, 0]])
    const start = at("2024-09-02T10:00:00Z")
    const batch = tradesAt(
      market,
      Array.from({ length: 200 }, (_, i) => start + BigInt(i) * UnixNanos.PerSecond)
    )
    await put([batch])
    const late = tradesAt(market, [start + 3_600n * UnixNanos.PerSecond], () => ({ key: 1n }))
    late.columns.price[0] = 123456789n
    late.columns.priceExponent[0] = -9
    const reader = Reader.make(store.writer.pool, { sliceBytes: 600, concurrency: 1 })
    let seen = 0
    const rows: Array<BatchRow.BatchRow> = []
    await store.run(
      Stream.runForEach(reader.readTrades({ instruments: market.ids, range: always }), (each) =>
        Effect.gen(function* () {
          rows.push(...BatchRow.of(each))
          if (seen === 0) yield* appendAll(store.writer, [late])
          seen += each.length
        })
      )
    )
    assert.strictEqual(seen, 201)
    assert.deepStrictEqual(rows.at(-1), BatchRow.of(late)[0])
  })
})

describe("a read that is left early", () => {
  it("gives its connections back, fifty times in every way, with a pool of one", async () => {
    const market = await makeInstruments(store, scales)
    const start = at("2024-10-07T00:00:00Z")
    await put([
      BatchArbitrary.trades(new SeededRandom(6), {
        context: market.context,
        instruments: market.ids,
        rows: 3000,
        start,
        span: UnixNanos.PerDay
      })
    ])
    const pool = await openPool(1)
    const reader = Reader.make(pool, { sliceBytes: 3_000 })
    const request = { instruments: market.ids, range: always, batchRows: 10 }
    const usable = async (round: number) => {
      const rows = await store.run(Effect.timeout(pool.query("SELECT 1 AS one"), "10 seconds"))
      assert.strictEqual(rows.length, 1, `round ${round}`)
    }
    for (let round = 0; round < 50; round++) {
      const ways = [
        Stream.runDrain(Stream.take(reader.readTrades(request), 1 + (round % 7))),
        Effect.ignore(
          Stream.runForEach(reader.readTrades(request), () => Effect.fail(new Error("consumer")))
        ),
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(Stream.runDrain(reader.readTrades(request)))
          yield* Effect.sleep(`${round % 10} millis`)
          yield* Fiber.interrupt(fiber)
        }),
        Effect.scoped(Effect.flatten(Stream.toPull(reader.readTrades(request))))
      ]
      await store.run(ways[round % ways.length] as Effect.Effect<unknown>)
      await usable(round)
    }
    const whole = await collect(reader.readTrades(request))
    assert.strictEqual(
      whole.reduce((sum, batch) => sum + batch.length, 0),
      3000
    )
  }, 60_000)

  it("holds no connection while its consumer takes its time", async () => {
    const market = await makeInstruments(store, scales)
    const start = at("2024-11-04T00:00:00Z")
    await put([
      tradesAt(
        market,
        Array.from({ length: 500 }, (_, i) => start + BigInt(i))
      )
    ])
    const pool = await openPool(1)
    const reader = Reader.make(pool, { sliceBytes: 3_000 })
    let rows = 0
    await store.run(
      Stream.runForEach(reader.readTrades({ instruments: market.ids, range: always }), (batch) =>
        Effect.gen(function* () {
          rows += batch.length
          // The only connection of the pool is free for the consumer, in the middle of the read.
          yield* pool.query("SELECT 1")
          yield* Stream.runDrain(reader.readTrades({ instruments: market.ids, range: always }))
        })
      )
    )
    assert.strictEqual(rows, 500)
  })
})

describe("what the server does", () => {
  it("one instrument's slice walks the index of the partitions it needs, without a sort", async () => {
    const market = await makeInstruments(store, scales)
    const days = ["2021-02-01", "2021-03-01", "2021-04-01"].map(at)
    await put([tradesAt(market, days)])
    const statements = await statementsOf((reader) =>
      Stream.runDrain(
        reader.readTrades({
          instruments: market.ids.slice(0, 1),
          range: { start: at("2021-03-01"), end: at("2021-03-02") }
        })
      )
    )
    const copies = statements.filter((text) => text.startsWith("COPY"))
    assert.strictEqual(copies.length, 1)
    const plan = await explain(copies[0]!)
    assert.match(plan, /Index Scan using trade_p202103/)
    assert.notMatch(plan, /Sort|Seq Scan|trade_p202102|trade_p202104/)
  })

  it("many instruments' slice is neither sorted nor spilt, and reads its own stretch of time", async () => {
    const market = await makeInstruments(
      store,
      Array.from({ length: 80 }, () => [2, 0] as const)
    )
    const start = at("2021-05-03T00:00:00Z")
    const random = new SeededRandom(9)
    await put([
      BatchArbitrary.trades(random, {
        context: market.context,
        instruments: market.ids,
        rows: 40_000,
        start,
        span: UnixNanos.PerDay
      })
    ])
    await store.sql("ANALYZE trade")
    const statements = await statementsOf(
      (reader) => Stream.runDrain(reader.readTrades({ instruments: market.ids, range: always })),
      { sliceBytes: 200_000 }
    )
    const copies = statements.filter((text) => text.startsWith("COPY"))
    assert.isAbove(copies.length, 5)
    for (const text of copies.slice(0, 4))
      assert.notMatch(await explain(text), /Sort|Seq Scan on trade_p202105/)
  })

  it("makes few statements of a sparse read over many partitions", async () => {
    const market = await makeInstruments(store, scales)
    const months = Array.from({ length: 24 }, (_, i) =>
      at(`20${15 + Math.floor(i / 12)}-${String((i % 12) + 1).padStart(2, "0")}-15`)
    )
    await put([tradesAt(market, months)])
    const statements = await statementsOf((reader) =>
      Stream.runDrain(reader.readTrades({ instruments: market.ids, range: always }))
    )
    const partitions = await store.sql("SELECT FROM pg_inherits WHERE inhparent = 'trade'::regclass")
    const copies = statements.filter((text) => text.startsWith("COPY"))
    assert.isAtMost(copies.length, Math.ceil(partitions.length / 16) + 1)
  })

  /** Statements that a reader sends. */
  const statementsOf = async (
    use: (reader: Reader.Reader) => Effect.Effect<unknown, StoreError>,
    options: Reader.ReaderOptions = {}
  ): Promise<ReadonlyArray<string>> => {
    const seen: Array<string> = []
    const { pool } = store.writer
    const spying: PgPool.PgPool = {
      ...pool,
      transaction: (operation, work) =>
        pool.transaction(operation, (connection) =>
          work({
            ...connection,
            copyInto: (statement, sink) => {
              seen.push(statement)
              return connection.copyInto(statement, sink)
            }
          })
        )
    }
    await store.run(use(Reader.make(spying, options)))
    return seen
  }

  const explain = async (copy: string): Promise<string> => {
    const query = /^COPY \(([\s\S]*)\) TO STDOUT/.exec(copy)![1]!
    const rows = await store.sql<{ readonly "QUERY PLAN": string }>(`EXPLAIN ${query}`)
    return rows.map((row) => row["QUERY PLAN"]).join("\n")
  }
})

describe("the last trades", () => {
  it("are the newest of each instrument in read order, over days, months and years", async () => {
    const market = await makeInstruments(store, scales)
    const [a, b, c, d] = market.ids as [number, number, number, number]
    const random = new SeededRandom(12)
    const rows = [
      ...["2018-05-01", "2020-06-01T05:00:00Z", "2020-06-01T05:00:00.000000001Z", "2022-01-01"].map(
        (t) => [a, t] as const
      ),
      ...["2022-01-01", "2022-01-01T00:00:00.000000900Z", "2022-01-01T10:00:00Z"].map((t) => [b, t] as const),
      ...["2016-01-01"].map((t) => [c, t] as const)
    ].map(([instrument, text]) => ({ instrument, time: at(text) }))
    const shuffled = random.shuffle(rows)
    const batch = tradesAt(
      market,
      shuffled.map((row) => row.time),
      (i) => ({
        instrument: shuffled[i]!.instrument,
        recv: random.chance(0.3) ? 9223372036854775807n : at("2023-01-01") + BigInt(random.below(1000))
      })
    )
    await put([batch])
    const reader = Reader.make(store.writer.pool)
    for (const count of [0, 1, 2, 3, 100]) {
      const expected = [a, b, c].flatMap((id) =>
        BatchRow.of(batch)
          .filter((row) => row.instrument === id)
          .sort(BatchRow.readOrder)
          .slice(count === 0 ? Number.POSITIVE_INFINITY : -count)
      )
      const last = await store.run(reader.lastTrades([d, c, b, a, a], count))
      expectRows(last, expected, `${count}`)
    }
    assert.strictEqual((await store.run(reader.lastTrades([], 5))).length, 0)
  })

  it("count by read order within one microsecond, exact values and text ids included", async () => {
    const market = await makeInstruments(store, [[0, 0]], { keyKind: "text-hash" })
    const batch = BatchArbitrary.trades(new SeededRandom(13), {
      context: market.context,
      instruments: market.ids,
      rows: 60,
      start: at("2024-12-02T10:00:00Z"),
      span: 5_000n,
      values: "extreme",
      bursts: 0.9
    })
    await put([batch])
    await store.sql("UPDATE datasets SET key_kind = 'text-hash' WHERE name = $1", [market.context.dataset])
    const inOrder = BatchRow.of(batch).sort(BatchRow.readOrder)
    for (const count of [1, 5, 17, 59, 60])
      expectRows(
        await store.run(Reader.make(store.writer.pool).lastTrades(market.ids, count)),
        inOrder.slice(-count),
        `${count}`
      )
  })

  it("are refused where memory could not hold them", async () => {
    const one = await makeInstruments(store, scales)
    const reader = Reader.make(store.writer.pool)
    const refused = async (ids: ReadonlyArray<number>, count: number): Promise<string> => {
      const error = await store.run(Effect.flip(reader.lastTrades(ids, count)))
      assert.strictEqual(error.reason._tag, "StoreBadRequest")
      return error.message
    }
    assert.match(await refused(one.ids, 2_000_000), /read a range/)
    assert.match(await refused(one.ids, -1), /not a number of trades/)
    assert.match(await refused(one.ids, 0.5), /not a number of trades/)
  })
})

describe("availability", () => {
  it("tells rows per instrument, schema and day", async () => {
    const market = await makeInstruments(store, scales)
    const start = at("2025-01-06T22:00:00Z")
    const options = {
      context: market.context,
      instruments: market.ids,
      rows: 200,
      start,
      span: UnixNanos.PerDay
    }
    const batches = [
      BatchArbitrary.trades(new SeededRandom(14), options),
      BatchArbitrary.quotes(new SeededRandom(15), { ...options, schema: "tbbo" })
    ]
    await put(batches)
    const expected = new Map<string, { rows: bigint; first: bigint; last: bigint }>()
    for (const row of BatchRow.ofAll(batches)) {
      const key = `${UnixNanos.startOfDay(row.time)} ${row.instrument} ${MarketSchema.code(row.series as "trades")}`
      const found = expected.get(key) ?? { rows: 0n, first: row.time, last: row.time }
      expected.set(key, {
        rows: found.rows + 1n,
        first: row.time < found.first ? row.time : found.first,
        last: row.time > found.last ? row.time : found.last
      })
    }
    const reader = Reader.make(store.writer.pool)
    const found = await store.run(reader.availability({ instruments: market.ids }))
    assert.deepStrictEqual(
      found.map((each) => [
        `${each.day} ${each.instrument} ${MarketSchema.code(each.schema)}`,
        each.rows,
        each.first,
        each.last
      ]),
      [...expected]
        .sort(([x], [y]) => (order(x) < order(y) ? -1 : 1))
        .map(([key, e]) => [key, e.rows, e.first, e.last])
    )
    const second = UnixNanos.startOfDay(start) + UnixNanos.PerDay
    const days = async (range: TimeRange.TimeRange) =>
      new Set(
        (await store.run(reader.availability({ instruments: market.ids, range }))).map((each) => each.day)
      ).size
    assert.strictEqual(await days({ start: second, end: second + 1n }), 1)
    assert.strictEqual(await days({ start: second - 1n, end: second }), 1)
    assert.strictEqual(await days({ start: second - 1n, end: second + 1n }), 2)
    assert.strictEqual(await days({ start: second, end: second }), 0)
    assert.isAtLeast((await store.run(reader.availability({}))).length, found.length)
  })
})

/** Sorts `day instrument schema` by number. */
const order = (key: string): string =>
  key
    .split(" ")
    .map((part) => part.padStart(20, "0"))
    .join(" ")
