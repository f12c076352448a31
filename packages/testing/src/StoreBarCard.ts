/** Cards S-710 to S-790: bars made from trades equal the exact model over the stored trades, whatever happened to them. */
import {
  type BarReadRequest,
  MarketSchema,
  type MarketStore,
  Timeframe,
  TimeRange,
  type TradeBatch,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"
import { assert } from "vitest"
import * as BarModel from "./BarModel.ts"
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
  cut,
  inReadOrder,
  type Market,
  market,
  readBars,
  type StoreCard,
  theStore,
  tradesOf
} from "./StoreCard.ts"

const midnight = at("2024-10-27")

/** Compares the bars of every timeframe with the model over these trades. */
const assertBars = (
  store: MarketStore["Service"],
  ids: ReadonlyArray<number>,
  trades: ReadonlyArray<TradeBatch>,
  timeframes: ReadonlyArray<Timeframe.Timeframe> = Timeframe.all
) =>
  Effect.forEach(
    timeframes,
    (timeframe) =>
      Effect.map(readBars(store, ids, timeframe), (rows) =>
        assertRows(rows, BarModel.bars(tradesOf(trades), timeframe), `bars of ${timeframe}`)
      ),
    { discard: true }
  )

interface Print {
  readonly time: bigint
  readonly recv?: bigint | undefined
  readonly sequence: number
  readonly price: bigint
  readonly size?: bigint | undefined
}

const prints = (to: Market, rows: ReadonlyArray<Print>): TradeBatch => {
  const builder = tradeBuilder(to.context, rows.length)
  const { columns: c } = builder
  rows.forEach((row, i) => {
    c.tsEvent[i] = row.time
    c.tsRecv[i] = row.recv ?? row.time
    c.tradeKey[i] = TradeKey.make(1, row.sequence, 0)
    c.price[i] = row.price
    c.priceExponent[i] = -2
    c.size[i] = row.size ?? 1n
    c.instrument[i] = to.ids[0]!
    c.publisher[i] = 1
  })
  builder.length = rows.length
  return builder.flush()
}

/**
 * Prerequisite: two instruments.
 * Action: append 2,500 trades over three days in order; read bars of every timeframe, of both and of one instrument.
 * Pass: open, high, low, close, volume and count of every bar equal the model; bars come by start and instrument.
 */
const everyTimeframe = card("S-710", "bars of every timeframe equal the exact model", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.FRAMES", { symbols: 2 })
  const batch = BatchArbitrary.trades(new SeededRandom(710), {
    context,
    instruments: ids,
    rows: 2_500,
    start: midnight,
    span: 3n * UnixNanos.PerDay
  })
  yield* appendAll(store, cut(batch, 500))
  yield* assertBars(store, ids, [batch])
  const one = tradesOf([batch]).filter((trade) => trade.instrument === ids[1])
  assertRows(yield* readBars(store, ids.slice(1), "15m"), BarModel.bars(one, "15m"), "one instrument")
})

/**
 * Prerequisite: one instrument.
 * Action: append trades of a day in a shuffled order, in batches that overlap, some of them twice, reading bars between.
 * Pass: after every step the bars equal the model over the trades stored so far.
 */
const lateAndRepeated = card("S-720", "late and repeated trades end in right bars", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.LATE")
  const random = new SeededRandom(720)
  const batch = BatchArbitrary.trades(random, {
    context,
    instruments: ids,
    rows: 600,
    start: midnight,
    span: UnixNanos.PerDay
  })
  const parts = random.shuffle(cut(batch, 60))
  const stored: Array<TradeBatch> = []
  for (const [i, part] of parts.entries()) {
    stored.push(part)
    yield* appendAll(store, i % 3 === 2 ? [part, stored[i - 1]!, part] : [part])
    yield* assertBars(store, ids, stored, i === parts.length - 1 ? Timeframe.all : ["1m", "4h", "1d"])
  }
})

/**
 * Prerequisite: one instrument.
 * Action: append trades of one nanosecond that differ in tsRecv, and of one tsRecv that differ in key, written last
 * first, the first and last ones of a minute in separate batches.
 * Pass: open is the first and close the last by (tsEvent, tsRecv, key), an absent tsRecv last, in all timeframes.
 */
const equalTimes = card("S-730", "open and close among equal timestamps", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.OPENCLOSE")
  const absent = 2n ** 63n - 1n
  const time = midnight + 30_000_000_000n
  const rows: ReadonlyArray<Print> = [
    { time: time + 1n, recv: time + 9n, sequence: 1, price: 110n },
    { time: time + 1n, recv: absent, sequence: 0, price: 120n },
    { time: time + 1n, recv: time + 9n, sequence: 4, price: 130n },
    { time: time + 1n, recv: time + 10n, sequence: 2, price: 140n },
    { time, recv: time + 20n, sequence: 6, price: 150n },
    { time, recv: time + 20n, sequence: 5, price: 160n },
    { time, recv: time + 3n, sequence: 9, price: 170n },
    { time, recv: time + 2n, sequence: 8, price: 180n }
  ]
  const batches = [...rows].map((row) => prints(to, [row]))
  yield* appendAll(store, batches)
  yield* assertBars(store, to.ids, batches)
  const [minute] = yield* readBars(store, to.ids, "1m")
  assert.include(minute!.content, "open 1.8 high 1.8 low 1.1 close 1.2 ")
})

/**
 * Prerequisite: one instrument with live trades over some minutes.
 * Action: replace the trades that were the open, the high, the low and the close of bars by history with other prices;
 * one of the replaced trades was the only one of its minute and has no price afterwards.
 * Pass: bars equal the model over the trades as they are now; the minute without a price has no bar any more.
 */
const replaced = card("S-740", "bars follow trades that are replaced", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.BARREPLACE")
  const second = UnixNanos.PerSecond
  const live = prints(
    to,
    [0n, 10n, 20n, 30n, 70n, 200n].map((offset, i) => ({
      time: midnight + offset * second,
      sequence: i,
      price: [100n, 900n, 50n, 100n, 500n, 600n][i]!,
      size: BigInt(i + 1)
    }))
  )
  yield* appendAll(store, [live])
  yield* assertBars(store, to.ids, [live])
  const history = BatchRow.select(live, [0, 1, 2, 3, 4, 5])
  history.columns.price.set([101n, 110n, 99n, 103n, 500n, 2n ** 63n - 1n])
  yield* appendAll(store, [history], { onConflict: "replace" })
  yield* assertBars(store, to.ids, [history])
  assert.strictEqual((yield* readBars(store, to.ids, "1m")).length, 2)
})

/**
 * Prerequisite: one instrument.
 * Action: append trades whose sizes are near 2^63 each, in several batches.
 * Pass: the volume, beyond an i64, is exact.
 */
const hugeVolume = card("S-750", "volume beyond 64 bits is exact", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.VOLUME")
  const rows = Array.from({ length: 12 }, (_, i) => ({
    time: midnight + BigInt(i) * UnixNanos.PerSecond,
    sequence: i,
    price: 100n,
    size: 2n ** 63n - 2n - BigInt(i)
  }))
  const batch = prints(to, rows)
  yield* appendAll(store, cut(batch, 5))
  yield* assertBars(store, to.ids, [batch])
  const [bar] = yield* readBars(store, to.ids, "1d")
  assert.include(bar!.content, `volume ${12n * (2n ** 63n - 2n) - 66n} `)
})

/**
 * Prerequisite: two instruments with bars at the ends of a range and gaps between.
 * Action: read the range with fill.
 * Pass: every gap between two bars of an instrument is filled with bars of its last close, volume 0, count 0; bars with
 * trades are as without fill.
 */
const fill = card("S-760", "fill repeats the last close where there were no trades", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.FILL", { symbols: 2 })
  const minutes = [0, 1, 5, 6, 20, 29]
  const rows = minutes.map((minute, i) => ({
    time: midnight + BigInt(minute) * 60n * UnixNanos.PerSecond + 5n,
    sequence: i,
    price: BigInt(1_000 + i * 7)
  }))
  const one = prints(to, rows)
  const other = prints({ ...to, ids: to.ids.slice(1) }, [rows[0]!, { ...rows[3]!, price: 5n }, rows[5]!])
  yield* appendAll(store, [one, other])
  const range = { start: midnight, end: midnight + 30n * 60n * UnixNanos.PerSecond }
  for (const timeframe of ["1m", "5m", "15m"] as const)
    assertRows(
      yield* readBars(store, to.ids, timeframe, { range, fill: true }),
      BarModel.bars(tradesOf([one, other]), timeframe, true),
      timeframe
    )
})

/**
 * Prerequisite: one instrument with trades and, over the same time, a provider's bars of other values.
 * Action: read bars of both sources, and by default.
 * Pass: each source gives its own bars; the default is trades; more trades do not touch the provider's bars, nor more
 * provider bars those of the trades.
 */
const sources = card("S-770", "a provider's bars and bars from trades are two series", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.SOURCES")
  const options = { context, instruments: ids, start: midnight, absent: 0 }
  const trades = BatchArbitrary.trades(new SeededRandom(770), { ...options, rows: 300 })
  const bars = BatchArbitrary.bars(new SeededRandom(771), { ...options, rows: 90, seconds: 60 })
  yield* appendAll(store, [trades.slice(0, 150), bars.slice(0, 45), trades.slice(150), bars.slice(45)])
  const fromTrades = BarModel.bars(trades.rows(), "1m")
  assertRows(yield* readBars(store, ids, "1m"), fromTrades, "by default")
  assertRows(yield* readBars(store, ids, "1m", { source: "trades" }), fromTrades, "from trades")
  assertRows(yield* readBars(store, ids, "1m", { source: "provider" }), inReadOrder([bars]), "the provider's")
  assertRows(
    yield* readBars(store, ids, "1h", { source: "provider" }),
    [],
    "the provider has none of an hour"
  )
})

/**
 * Prerequisite: two instruments with a provider's bars of every schema at the same times, session bars among them, and
 * with trades.
 * Action: read each series by its schema, whole and in a range; ask for a schema that has no bars, for a length that is
 * not offered, and for session bars with the gaps filled.
 * Pass: every series comes back as it was stored, and no other's rows with it. The last three are refused with a typed
 * error; where something else could be asked for, it is listed.
 */
const byName = card("S-775", "every series of the provider's is read by its name", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.SERIES", { symbols: 2 })
  const options = { context, instruments: ids, start: midnight, absent: 0.2 }
  const schemas = MarketSchema.all.filter((schema) => MarketSchema.kind(schema) === "bars")
  const series = schemas.map((schema, i) => ({
    schema,
    bars: BatchArbitrary.bars(new SeededRandom(7750 + i), {
      ...options,
      rows: 50,
      seconds: MarketSchema.seconds(schema)
    })
  }))
  const trades = BatchArbitrary.trades(new SeededRandom(775), { ...options, rows: 50 })
  yield* appendAll(store, [trades, ...series.map(({ bars }) => bars)])
  for (const { schema, bars } of series) {
    const stored = inReadOrder([bars])
    assertRows(yield* readBars(store, ids, { schema }), stored, schema)
    const range = { start: stored[10]!.time, end: stored[30]!.time }
    const within = stored.filter(({ time }) => TimeRange.contains(range, time))
    assertRows(yield* readBars(store, ids, { schema }, { range }), within, `${schema} in a range`)
  }
  const refused = (request: object, allowed: ReadonlyArray<string>) =>
    Effect.match(collect(store.readBars({ instruments: ids, range: always, ...request } as BarReadRequest)), {
      onSuccess: () => assert.fail(`${JSON.stringify(request)} was accepted`),
      onFailure: ({ reason, message }) => {
        assert.strictEqual(reason._tag, "StoreBadRequest", message)
        for (const name of allowed) assert.include(message, name)
      }
    })
  yield* refused({ schema: "mbp-1" }, schemas)
  yield* refused({ timeframe: "2m" }, [...Timeframe.all, ...schemas])
  yield* refused({ schema: "ohlcv-eod", fill: true }, [])
})

/**
 * Prerequisite: one instrument with trades over six hours.
 * Action: read ranges that start and end on bar starts, one nanosecond around them, and in the middle of bars.
 * Pass: the bars whose start lies in [start, end), each of them whole.
 */
const rangeByStart = card("S-780", "a range selects bars by their start", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.BARRANGE")
  const batch = BatchArbitrary.trades(new SeededRandom(780), {
    context,
    instruments: ids,
    rows: 900,
    start: midnight,
    span: 6n * 3_600n * UnixNanos.PerSecond
  })
  yield* appendAll(store, [batch])
  const hour = 3_600n * UnixNanos.PerSecond
  for (const timeframe of ["1s", "5m", "1h"] as const)
    for (const [from, to] of [
      [hour, 3n * hour],
      [hour + 1n, 3n * hour + 1n],
      [hour - 1n, 3n * hour - 1n],
      [hour + hour / 2n, 2n * hour + hour / 3n],
      [hour / 2n, hour / 2n + 1n]
    ] as const) {
      const range = { start: midnight + from, end: midnight + to }
      const expected = BarModel.bars(batch.rows(), timeframe).filter(
        (row) => row.time >= range.start && row.time < range.end
      )
      assertRows(yield* readBars(store, ids, timeframe, { range }), expected, `${timeframe} ${from}..${to}`)
    }
})

/**
 * Prerequisite: one instrument with trades on both sides of 1970, and in 2200.
 * Action: read bars of every timeframe.
 * Pass: bars start at multiples of their length since the epoch, before it as after it.
 */
const epoch = card("S-785", "bars before 1970 and in 2200", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.EPOCH")
  const times = [
    -1n,
    -60_000_000_000n,
    -60_000_000_001n,
    0n,
    -UnixNanos.PerDay,
    at("2200-01-01T23:59:59.999999999Z")
  ]
  const batch = prints(
    to,
    times.map((time, i) => ({ time, sequence: i, price: BigInt(100 + i) }))
  )
  yield* appendAll(store, [batch])
  yield* assertBars(store, to.ids, [batch])
})

/**
 * Prerequisite: one instrument.
 * Action: append two trades of one minute whose prices, 9 x 10^18 and 10^-9, no i64 holds at one exponent; read bars.
 * Pass: the bars are exact, or the read fails with a typed error. They are never rounded. The trades read exactly.
 */
const unrepresentable = card(
  "S-790",
  "a bar that cannot be written exactly is refused, not rounded",
  function* () {
    const store = yield* theStore
    const to = yield* market(store, "S.WIDE")
    const batch = prints(to, [
      { time: midnight, sequence: 0, price: 9_000_000_000_000_000_000n },
      { time: midnight + 1n, sequence: 1, price: 1n }
    ])
    batch.columns.priceExponent.set([0, -9])
    yield* appendAll(store, [batch])
    const outcome = yield* Effect.result(readBars(store, to.ids, "1m"))
    if (outcome._tag === "Success") assertRows(outcome.success, BarModel.bars(batch.rows(), "1m"), "bars")
    else
      assert.include(
        ["StoreInvalidData", "StoreBadRequest"],
        outcome.failure.reason._tag,
        outcome.failure.message
      )
    // Other instruments and times are not affected.
    const later = prints(to, [{ time: midnight + UnixNanos.PerDay, sequence: 2, price: 100n }])
    yield* appendAll(store, [later])
    const range = { start: midnight + UnixNanos.PerDay, end: midnight + 2n * UnixNanos.PerDay }
    assertRows(
      yield* readBars(store, to.ids, "1m", { range }),
      BarModel.bars(later.rows(), "1m"),
      "the next day"
    )
  }
)

/** Cards S-710 to S-790. */
export const cards: ReadonlyArray<StoreCard> = [
  everyTimeframe,
  lateAndRepeated,
  equalTimes,
  replaced,
  hugeVolume,
  fill,
  sources,
  byName,
  rangeByStart,
  epoch,
  unrepresentable
]
