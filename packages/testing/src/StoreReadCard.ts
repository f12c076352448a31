/** Cards S-610 to S-690: reading - which rows, in which order, in which portions, and how a read ends. */
import { type MarketStore, type TradeBatch, TradeKey, tradeBuilder, UnixNanos } from "@data-manager/core"
import { Effect, Fiber, Stream } from "effect"
import { assert } from "vitest"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import * as BatchRow from "./BatchRow.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  always,
  appendAll,
  assertRows,
  at,
  card,
  collect,
  inReadOrder,
  type Market,
  market,
  readBars,
  readSchema,
  readTrades,
  type StoreCard,
  StoreFixture,
  theStore
} from "./StoreCard.ts"

const noon = at("2024-08-14T12:00:00Z")

/** Trades at these times, one row each, of the instruments in turn. */
const tradesAt = (to: Market, times: ReadonlyArray<bigint>): TradeBatch => {
  const builder = tradeBuilder(to.context, times.length)
  const { columns: c } = builder
  times.forEach((time, i) => {
    c.tsEvent[i] = time
    c.tsRecv[i] = time + 1_000n
    c.tradeKey[i] = TradeKey.make(1, i, 0)
    c.price[i] = BigInt(10_000 + i)
    c.priceExponent[i] = -2
    c.size[i] = 1n
    c.instrument[i] = to.ids[i % to.ids.length]!
    c.publisher[i] = 1
  })
  builder.length = times.length
  return builder.flush()
}

/**
 * Prerequisite: trades at, one nanosecond before and one nanosecond after the ends of a range.
 * Action: read [start, end), also with ends inside microseconds.
 * Pass: a row at start is in, a row at end is not, and nanoseconds decide.
 */
const halfOpen = card("S-610", "ranges are half-open to the nanosecond", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.HALFOPEN")
  const offsets = [
    -1n,
    0n,
    1n,
    499n,
    500n,
    501n,
    999_999n,
    1_000_000n,
    1_000_001n,
    1_000_499n,
    1_000_500n,
    1_000_501n
  ]
  const batch = tradesAt(
    to,
    offsets.map((offset) => noon + offset)
  )
  yield* appendAll(store, [batch])
  const ends: ReadonlyArray<readonly [bigint, bigint]> = [
    [0n, 1_000_000n],
    [500n, 1_000_500n],
    [1n, 1_000_001n],
    [500n, 501n],
    [501n, 999_999n]
  ]
  for (const [from, end] of ends) {
    const range = { start: noon + from, end: noon + end }
    const expected = inReadOrder([batch]).filter((row) => row.time >= range.start && row.time < range.end)
    assertRows(yield* readTrades(store, to.ids, { range }), expected, `[${from}, ${end})`)
  }
})

/**
 * Prerequisite: three instruments.
 * Action: append trades of 1969, 1970, two days, two months, two years and the year 2200, not in order; read all of
 * them, each year alone, and each instrument alone.
 * Pass: rows come in time order across all partitions.
 */
const acrossTime = card("S-620", "time order across instruments, days, months and years", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.ACROSS", { symbols: 3 })
  const moments = [
    "2024-08-14T23:59:59.999999999Z",
    "1969-12-31T23:59:59.999999999Z",
    "2200-06-01T12:00:00Z",
    "2024-08-15T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "2024-08-31T23:59:59.999999Z",
    "1970-01-01T00:00:00.000000001Z",
    "2024-09-01T00:00:00Z",
    "2023-12-31T23:59:59.999999999Z",
    "2024-01-01T00:00:00Z",
    "2024-02-29T12:00:00Z",
    "1999-12-31T00:00:00Z"
  ].flatMap((iso) => [at(iso), at(iso), at(iso) + 1_000n])
  const batch = tradesAt(to, moments)
  yield* appendAll(store, [batch])
  const expected = inReadOrder([batch])
  assertRows(yield* readTrades(store, to.ids), expected, "all of them")
  for (const year of ["1969", "1970", "1999", "2023", "2024", "2200"]) {
    const range = { start: at(`${year}-01-01`), end: at(`${Number(year) + 1}-01-01`) }
    const within = expected.filter((row) => row.time >= range.start && row.time < range.end)
    assertRows(yield* readTrades(store, to.ids, { range }), within, year)
  }
  for (const id of to.ids)
    assertRows(
      yield* readTrades(store, [id]),
      expected.filter((row) => row.instrument === id),
      `instrument ${id}`
    )
})

/**
 * Prerequisite: three instruments, 500 trades of which most share their nanosecond with others, some without tsRecv.
 * Action: append them in a shuffled order; read them, also by instruments named in another order.
 * Pass: rows come by (time ns, tsRecv, key, instrument), an absent tsRecv last, whatever the order of writing or asking.
 */
const equalTimes = card(
  "S-630",
  "equal timestamps keep the order (time, tsRecv, key, instrument)",
  function* () {
    const store = yield* theStore
    const to = yield* market(store, "S.EQUAL", { symbols: 3 })
    const random = new SeededRandom(630)
    const batch = tradesAt(
      to,
      Array.from({ length: 500 }, () => noon + BigInt(random.below(3)) * 500n + BigInt(random.below(2)))
    )
    for (let i = 0; i < batch.length; i++) {
      batch.columns.tsRecv[i] = random.chance(0.2) ? 2n ** 63n - 1n : noon + BigInt(random.below(3))
      batch.columns.tradeKey[i] = TradeKey.make(random.below(2), Math.floor(i / 3), 0)
    }
    const order = random.shuffle(Array.from({ length: batch.length }, (_, i) => i))
    yield* appendAll(store, [BatchRow.select(batch, order)])
    const expected = inReadOrder([batch])
    assertRows(yield* readTrades(store, to.ids), expected, "trades")
    assertRows(yield* readTrades(store, [...to.ids].reverse()), expected, "instruments in another order")
  }
)

/**
 * Prerequisite: 1,000 trades, 200 quotes, 200 books.
 * Action: read with batchRows of 1, 7, 999, 1000 and 5000, and without.
 * Pass: no batch is larger than asked for; the rows are the same and in the same order every time.
 */
const batchRows = card("S-640", "batchRows bounds every batch", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.BATCHROWS", { symbols: 2 })
  const options = { context, instruments: ids, start: noon }
  const trades = BatchArbitrary.trades(new SeededRandom(640), { ...options, rows: 1_000 })
  const quotes = BatchArbitrary.quotes(new SeededRandom(641), { ...options, rows: 200, schema: "mbp-1" })
  const books = BatchArbitrary.books(new SeededRandom(642), { ...options, rows: 200, schema: "mbp-10" })
  yield* appendAll(store, [trades, quotes, books])
  for (const rows of [1, 7, 999, 1_000, 5_000, undefined]) {
    const request = { instruments: ids, range: always, batchRows: rows }
    const read = yield* collect(store.readTrades(request))
    for (const batch of read) assert.isAtMost(batch.length, rows ?? 65_536)
    assertRows(BatchRow.ofAll(read), inReadOrder([trades]), `trades by ${rows}`)
    if (rows === 1) assert.strictEqual(read.filter((batch) => batch.length > 0).length, 1_000)
    const readQuotes = yield* collect(store.readQuotes({ ...request, schema: "mbp-1" }))
    for (const batch of readQuotes) assert.isAtMost(batch.length, rows ?? 65_536)
    assertRows(BatchRow.ofAll(readQuotes), inReadOrder([quotes]), `quotes by ${rows}`)
    const readBook = yield* collect(store.readBook({ ...request, schema: "mbp-10" }))
    for (const batch of readBook) assert.isAtMost(batch.length, rows ?? 65_536)
    assertRows(BatchRow.ofAll(readBook), inReadOrder([books]), `books by ${rows}`)
  }
})

/**
 * Prerequisite: 2,000 trades.
 * Action: fifty times: take the first batch of a read and leave; and interrupt a read in the middle. Then read all.
 * Pass: the last reads are answered, whole and right: no connection was lost to the reads that were left.
 */
const interrupted = card(
  "S-650",
  "reads that are left or interrupted give their connection back",
  function* () {
    const store = yield* theStore
    const { context, ids } = yield* market(store, "S.LEFT", { symbols: 2 })
    const batch = BatchArbitrary.trades(new SeededRandom(650), {
      context,
      instruments: ids,
      rows: 2_000,
      start: noon
    })
    yield* appendAll(store, [batch])
    const request = { instruments: ids, range: always, batchRows: 50 }
    const expected = inReadOrder([batch])
    for (let i = 0; i < 50; i++) {
      const taken = yield* collect(Stream.take(store.readTrades(request), 1))
      assertRows(BatchRow.ofAll(taken), expected.slice(0, taken[0]!.length), "the first batch")
      let seen = 0
      const reader = yield* Effect.forkChild(
        Stream.runForEach(store.readTrades(request), (part) =>
          Effect.suspend(() => {
            seen += part.length
            return seen >= 100 ? Effect.never : Effect.void
          })
        ),
        { startImmediately: true }
      )
      while (seen < 100 && reader.pollUnsafe() === undefined) yield* Effect.sleep("1 millis")
      yield* Fiber.interrupt(reader)
    }
    const reads = Array.from({ length: 8 }, () => readTrades(store, ids))
    for (const rows of yield* Effect.all(reads, { concurrency: "unbounded" }))
      assertRows(rows, expected, "after the interruptions")
    assertRows(
      yield* readBars(store, ids, "1m", { range: { start: 0n, end: 1n } }),
      [],
      "bars, too, are answered"
    )
  }
)

/**
 * Prerequisite: one instrument with trades.
 * Action: read no instrument, an instrument without rows, a range without rows, an empty and a reversed range, of every
 * kind.
 * Pass: each read ends without rows and without an error.
 */
const nothing = card("S-660", "reading nothing ends without rows", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.NOTHING", { symbols: 2 })
  const one = { ...to, ids: to.ids.slice(0, 1) }
  yield* appendAll(store, [tradesAt(one, [noon, noon + 1n])])
  const requests: ReadonlyArray<{
    instruments: ReadonlyArray<number>
    range: { start: bigint; end: bigint }
  }> = [
    { instruments: [], range: always },
    { instruments: to.ids.slice(1), range: always },
    { instruments: one.ids, range: { start: noon - 1_000n, end: noon } },
    { instruments: one.ids, range: { start: noon, end: noon } },
    { instruments: one.ids, range: { start: noon + 1_000n, end: noon } }
  ]
  for (const request of requests) {
    const what = `${request.instruments.length} instruments, ${request.range.start}..${request.range.end}`
    assertRows(yield* readTrades(store, request.instruments, request), [], what)
    assertRows(yield* readSchema(store, "quotes", request.instruments, "mbp-1", request), [], what)
    assertRows(yield* readSchema(store, "book", request.instruments, "mbp-10", request), [], what)
    assertRows(yield* readBars(store, request.instruments, "1m", { ...request, fill: true }), [], what)
  }
})

/**
 * Prerequisite: 800 instruments with one trade each, and one with many.
 * Action: read all 801, and then 400 of them.
 * Pass: exactly their rows, in order.
 */
const manyInstruments = card("S-670", "hundreds of instruments in one read", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.MANY", { symbols: 801 })
  const each = tradesAt(
    { ...to, ids: to.ids.slice(0, 800) },
    Array.from({ length: 800 }, (_, i) => noon + BigInt(i * 7))
  )
  const busy = tradesAt(
    { ...to, ids: to.ids.slice(800) },
    Array.from({ length: 500 }, (_, i) => noon + BigInt(i * 11))
  )
  yield* appendAll(store, [each, busy])
  assertRows(yield* readTrades(store, to.ids), inReadOrder([each, busy]), "all")
  const some = to.ids.filter((_, i) => i % 2 === 0)
  const expected = inReadOrder([each, busy]).filter((row) => some.includes(row.instrument))
  assertRows(yield* readTrades(store, some), expected, "some")
})

/**
 * Prerequisite: an instrument in each of two datasets, with trades that take turns, and a stretch of one alone.
 * Action: read both together; ask for the last 4 and the last 30 trades of both, and the last of one.
 * Pass: rows come in time order across both; every batch is of one dataset and knows the symbols of its rows. The last
 * trades are those of each instrument, none crowded out by the other dataset's.
 */
const twoDatasets = card("S-675", "a read over two datasets gives batches of one dataset each", function* () {
  const store = yield* theStore
  const [one, two] = [yield* market(store, "S.TWO.A"), yield* market(store, "S.TWO.B")]
  const a = tradesAt(
    one,
    Array.from({ length: 40 }, (_, i) => noon + BigInt(i) * 1_000n)
  )
  const b = tradesAt(
    two,
    Array.from({ length: 15 }, (_, i) => noon + BigInt(i) * 1_000n + 500n)
  )
  yield* appendAll(store, [a])
  yield* appendAll(store, [b])
  const ids = [...two.ids, ...one.ids]
  const read = yield* collect(store.readTrades({ instruments: ids, range: always }))
  assertRows(BatchRow.ofAll(read), inReadOrder([a, b]), "both")
  const last: Array<TradeBatch> = []
  for (const count of [4, 30]) {
    const newest = yield* store.lastTrades(ids, count)
    const expected = inReadOrder([a.slice(40 - count), b.slice(Math.max(0, 15 - count))])
    assertRows(BatchRow.ofAll(newest), expected, `the last ${count}`)
    last.push(...newest)
  }
  assertRows(
    BatchRow.ofAll(yield* store.lastTrades(two.ids, 3)),
    inReadOrder([b.slice(12)]),
    "the last of one"
  )
  const ofOne = new Set(one.ids)
  for (const batch of [...read, ...last]) {
    const datasets = new Set(
      [...batch.columns.instrument].map((id) => (ofOne.has(id) ? "S.TWO.A" : "S.TWO.B"))
    )
    assert.deepStrictEqual([...datasets], batch.length === 0 ? [] : [batch.context.dataset])
    for (const row of batch.rows()) assert.strictEqual(row.symbol, `${batch.context.dataset}:SYM0`)
  }
})

/**
 * Prerequisite: three instruments: with 40 trades over two years, with 3, and with none.
 * Action: ask for the last 5 and the last 1,000 trades of them; for the last one of one; for none.
 * Pass: the newest of each instrument by read order, all in read order.
 */
const last = card("S-680", "the newest trades of each instrument", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.LAST", { symbols: 3 })
  const random = new SeededRandom(680)
  const days = Array.from({ length: 40 }, () => noon - BigInt(random.below(730)) * UnixNanos.PerDay)
  // The newest four share a nanosecond: the key decides which of them are among the last.
  const busy = tradesAt({ ...to, ids: [to.ids[0]!] }, [...days, noon + 5n, noon + 5n, noon + 5n, noon + 5n])
  const quiet = tradesAt({ ...to, ids: [to.ids[1]!] }, [noon - 5n, at("2019-01-01"), noon + 1n])
  yield* appendAll(store, [busy, quiet])
  const newest = (ids: ReadonlyArray<number>, count: number) =>
    ids
      .flatMap((id) => {
        const rows = inReadOrder([busy, quiet]).filter((row) => row.instrument === id)
        return rows.slice(Math.max(0, rows.length - count))
      })
      .sort(BatchRow.readOrder)
  for (const [ids, count] of [
    [to.ids, 5],
    [to.ids, 2],
    [to.ids, 1_000],
    [[to.ids[1]!], 1],
    [[to.ids[2]!], 3],
    [[], 3]
  ] as const)
    assertRows(
      BatchRow.ofAll(yield* store.lastTrades(ids, count)),
      newest(ids, count),
      `last ${count} of ${ids.length}`
    )
})

const daysOf = (rows: ReadonlyArray<BatchRow.BatchRow>): ReadonlyArray<string> => {
  const groups = new Map<string, Array<bigint>>()
  for (const row of rows) {
    const group = `#${row.instrument} ${row.series} ${UnixNanos.toDate(row.time)}`
    groups.set(group, [...(groups.get(group) ?? []), row.time])
  }
  return [...groups]
    .map(([group, times]) => {
      const sorted = [...times].sort((a, b) => (a < b ? -1 : 1))
      return `${group}: ${times.length} rows, ${UnixNanos.toIso(sorted[0]!)} .. ${UnixNanos.toIso(sorted[times.length - 1]!)}`
    })
    .sort()
}

const availability = (
  store: MarketStore["Service"],
  request: Parameters<MarketStore["Service"]["availability"]>[0]
) =>
  Effect.map(store.availability(request), (days) =>
    days
      .map(
        (day) =>
          `#${day.instrument} ${day.schema} ${UnixNanos.toDate(day.day)}: ${day.rows} rows, ` +
          `${UnixNanos.toIso(day.first)} .. ${UnixNanos.toIso(day.last)}`
      )
      .sort()
  )

/**
 * Prerequisite: trades, quotes, provider bars and books over several days, some rows written twice and late.
 * Action: ask for the daily availability, of all and of one instrument and of one day.
 * Pass: rows, first and last of every instrument, schema and UTC day, to the nanosecond, as the stored rows have them.
 */
const daily = card("S-690", "daily availability equals the stored rows", function* () {
  const { first: store, second } = yield* StoreFixture
  const { context, ids } = yield* market(store, "S.DAILY", { symbols: 2 })
  const options = { context, instruments: ids, start: noon, span: 4n * UnixNanos.PerDay }
  const trades = BatchArbitrary.trades(new SeededRandom(690), { ...options, rows: 400 })
  const quotes = BatchArbitrary.quotes(new SeededRandom(691), { ...options, rows: 100, schema: "bbo-1s" })
  const bars = BatchArbitrary.bars(new SeededRandom(692), { ...options, rows: 100, seconds: 3600 })
  const books = BatchArbitrary.books(new SeededRandom(693), { ...options, rows: 100, schema: "mbp-10" })
  const all = [trades, quotes, bars, books]
  yield* appendAll(store, [
    trades.slice(200),
    trades.slice(100, 300),
    trades.slice(0, 150),
    quotes,
    bars,
    books
  ])
  yield* appendAll(store, all)
  const expected = daysOf(BatchRow.ofAll(all))
  assert.deepStrictEqual(yield* availability(second, { instruments: ids }), expected)
  const one = expected.filter((line) => line.startsWith(`#${ids[1]} `))
  assert.deepStrictEqual(yield* availability(second, { instruments: ids.slice(1) }), one)
  const range = { start: at("2024-08-15"), end: at("2024-08-16") }
  assert.deepStrictEqual(
    yield* availability(second, { instruments: ids, range }),
    expected.filter((line) => line.includes("2024-08-15:"))
  )
})

/** Cards S-610 to S-690. */
export const cards: ReadonlyArray<StoreCard> = [
  halfOpen,
  acrossTime,
  equalTimes,
  batchRows,
  interrupted,
  nothing,
  manyInstruments,
  twoDatasets,
  last,
  daily
]
