/** Cards S-010 to S-190: what goes in comes out, exactly; what cannot be kept exactly is refused. */
import {
  ABSENT_I64,
  type BarBatch,
  batchContext,
  type MarketBatch,
  MarketSchema,
  type MarketStore,
  Side,
  TradeKey,
  tradeBuilder
} from "@data-manager/core"
import { Effect } from "effect"
import { assert } from "vitest"
import * as BarModel from "./BarModel.ts"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import * as BatchRow from "./BatchRow.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  always,
  append,
  appendAll,
  assertRefused,
  assertRows,
  at,
  card,
  collect,
  during,
  inReadOrder,
  market,
  readBars,
  readSchema,
  readTrades,
  type StoreCard,
  theStore,
  totals
} from "./StoreCard.ts"

const noon = at("2024-03-05T12:00:00Z")
const quoteSchemas = MarketSchema.all.filter((schema) => MarketSchema.kind(schema) === "quotes")
const bookSchemas = MarketSchema.all.filter((schema) => MarketSchema.kind(schema) === "book")

/** Bars of a provider, read by the timeframe of their length. */
const providerBars = (store: MarketStore["Service"], ids: ReadonlyArray<number>, batch: BarBatch) => {
  const timeframes = { 1: "1s", 60: "1m", 3600: "1h", 86400: "1d" } as const
  return readBars(store, ids, timeframes[batch.columns.seconds[0] as keyof typeof timeframes], {
    source: "provider"
  })
}

const roundTrip = (values: "grid" | "extreme", seed: number) =>
  function* () {
    const store = yield* theStore
    const { context, ids } = yield* market(store, `S.TRADES.${values}`, { symbols: 3 })
    const batch = BatchArbitrary.trades(new SeededRandom(seed), {
      context,
      instruments: ids,
      rows: values === "grid" ? 3_000 : 500,
      start: noon,
      values
    })
    assert.strictEqual(totals(yield* appendAll(store, [batch])), `${batch.length}/0/0`)
    assertRows(yield* readTrades(store, ids), inReadOrder([batch]), "trades")
  }

const quoteTrip = (values: "grid" | "extreme", seed: number) =>
  function* () {
    const store = yield* theStore
    const { context, ids } = yield* market(store, `S.QUOTES.${values}`, { symbols: 2 })
    for (const [i, schema] of quoteSchemas.entries()) {
      const random = new SeededRandom(seed + i)
      const batch = BatchArbitrary.quotes(random, {
        context,
        instruments: ids,
        rows: 200,
        start: noon,
        schema,
        values
      })
      assert.strictEqual(totals(yield* appendAll(store, [batch])), "200/0/0", schema)
      assertRows(yield* readSchema(store, "quotes", ids, schema), inReadOrder([batch]), schema)
    }
  }

const barTrip = (values: "grid" | "extreme", seed: number) =>
  function* () {
    const store = yield* theStore
    const { context, ids } = yield* market(store, `S.BARS.${values}`, { symbols: 2 })
    for (const [i, seconds] of [1, 60, 3600, 86400].entries()) {
      const random = new SeededRandom(seed + i)
      const batch = BatchArbitrary.bars(random, {
        context,
        instruments: ids,
        rows: 100,
        start: noon,
        seconds,
        values
      })
      assert.strictEqual(totals(yield* appendAll(store, [batch])), "100/0/0")
      assertRows(yield* providerBars(store, ids, batch), inReadOrder([batch]), `bars of ${seconds} s`)
    }
  }

const bookTrip = (values: "grid" | "extreme", seed: number) =>
  function* () {
    const store = yield* theStore
    const { context, ids } = yield* market(store, `S.BOOK.${values}`, { symbols: 2 })
    for (const [i, schema] of bookSchemas.entries()) {
      const random = new SeededRandom(seed + i)
      const batch = BatchArbitrary.books(random, {
        context,
        instruments: ids,
        rows: 150,
        start: noon,
        schema,
        values
      })
      assert.strictEqual(totals(yield* appendAll(store, [batch])), "150/0/0", schema)
      assertRows(yield* readSchema(store, "book", ids, schema), inReadOrder([batch]), schema)
    }
  }

/**
 * Prerequisite: three instruments with two decimal places.
 * Action: append 3,000 trades with bursts of equal timestamps and absent values, read all of them.
 * Pass: every column of every row is what it was - price, size, nanoseconds of both clocks, side, flags, publisher,
 * sending delta, depth, key, trade id - and the rows come in read order.
 */
const trades = card("S-010", "trades come back exactly", roundTrip("grid", 10))

/**
 * Prerequisite: two instruments.
 * Action: append quotes of every quote schema, event-driven and sampled ones, read them schema by schema.
 * Pass: every column comes back, counts and publishers of both sides included, in the order of the schema's clock.
 */
const quotes = card("S-020", "quotes come back exactly", quoteTrip("grid", 20))

/**
 * Prerequisite: two instruments.
 * Action: append a provider's bars of a second, a minute, an hour and a day, read each length with source "provider".
 * Pass: every column comes back; absent prices and counts stay absent.
 */
const bars = card("S-030", "a provider's bars come back exactly", barTrip("grid", 30))

/**
 * Prerequisite: two instruments.
 * Action: append ten-level books of every book schema with 0 to 10 filled levels a side, read them schema by schema.
 * Pass: every level comes back, an absent size or count apart from 0.
 */
const books = card("S-040", "books come back exactly", bookTrip("grid", 40))

/**
 * Prerequisite: three instruments with two decimal places.
 * Action: append trades whose prices and sizes are at the edges of an i64 with exponents from -18 to 6, and whose other
 * columns take their smallest and largest values.
 * Pass: all of it comes back exactly.
 */
const tradeExtremes = card("S-050", "extreme trades come back exactly", roundTrip("extreme", 50))

/** As S-050, for the quotes of every schema. */
const quoteExtremes = card("S-052", "extreme quotes come back exactly", quoteTrip("extreme", 52))

/** As S-050, for a provider's bars, with volumes of up to 126 bits. */
const barExtremes = card("S-054", "extreme bars come back exactly", barTrip("extreme", 54))

/** As S-050, for books. */
const bookExtremes = card("S-056", "extreme books come back exactly", bookTrip("extreme", 56))

/**
 * Prerequisite: an instrument whose store scale holds two decimal places of a price and none of a size.
 * Action: append trades some of which need more: 100.125, 10^-12, 92,233,720,368,547.758, and such sizes.
 * Pass: all come back exactly, the fine ones among the ordinary ones, and the bars made from them are exact, too.
 */
const beyondScale = card("S-060", "values that the scale cannot hold come back and enter bars", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.SCALE")
  const odd: ReadonlyArray<readonly [bigint, number]> = [
    [100_125n, -3],
    [1n, -9],
    [1n, -12],
    [-25n, -4],
    [92_233_720_368_547_758n, -3],
    [100_250_000_000_000n, -12]
  ]
  const batch = BatchArbitrary.trades(new SeededRandom(60), {
    context,
    instruments: ids,
    rows: 240,
    start: noon,
    absent: 0
  })
  odd.forEach(([mantissa, exponent], i) => {
    batch.columns.price[i * 11 + 3] = mantissa
    batch.columns.priceExponent[i * 11 + 3] = exponent
    batch.columns.size[i * 17 + 5] = mantissa < 0n ? -mantissa : mantissa
    batch.columns.sizeExponent[i * 17 + 5] = exponent
  })
  yield* appendAll(store, [batch])
  assertRows(yield* readTrades(store, ids), inReadOrder([batch]), "trades")
  for (const timeframe of ["1m", "1h", "1d"] as const)
    assertRows(yield* readBars(store, ids, timeframe), BarModel.bars(batch.rows(), timeframe), timeframe)
})

/**
 * Prerequisite: one instrument.
 * Action: append trades of which a third has no price, a third no size, and a minute in which no trade has a price.
 * Pass: what is absent comes back absent. No bar exists for the minute without a price; elsewhere bars are those of the
 * trades with a price, and a trade without a size adds nothing to the volume.
 */
const absentValues = card("S-070", "absent values stay absent and never enter bars", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.ABSENT")
  const batch = BatchArbitrary.trades(new SeededRandom(70), {
    context,
    instruments: ids,
    rows: 300,
    start: noon,
    span: 600n * 1_000_000_000n,
    absent: 0.33
  })
  const silent = { start: noon + 120_000_000_000n, end: noon + 180_000_000_000n }
  for (let i = 0; i < batch.length; i++) {
    const time = batch.columns.tsEvent[i]!
    if (time >= silent.start && time < silent.end) batch.columns.price[i] = ABSENT_I64
  }
  yield* appendAll(store, [batch])
  assertRows(yield* readTrades(store, ids), inReadOrder([batch]), "trades")
  const minutes = yield* readBars(store, ids, "1m")
  assertRows(minutes, BarModel.bars(batch.rows(), "1m"), "bars")
  assert.isFalse(
    minutes.some((row) => row.time === silent.start),
    "a minute without any price has no bar"
  )
})

/**
 * Prerequisite: datasets whose keys are sequenced, the venue's own ids, and hashes of text ids.
 * Action: append trades of each, read them.
 * Pass: the batches know provider, dataset, symbol and raw symbol of their rows, and every trade id reads as it did.
 */
const tradeIds = card("S-080", "batches that are read know their symbols and trade ids", function* () {
  const store = yield* theStore
  for (const keyKind of ["sequenced", "venue-id", "text-hash"] as const) {
    const { context, ids } = yield* market(store, `S.IDS.${keyKind}`, { symbols: 2, keyKind })
    const batch = BatchArbitrary.trades(new SeededRandom(80), {
      context,
      instruments: ids,
      rows: 60,
      start: noon
    })
    yield* appendAll(store, [batch])
    const read = yield* collect(store.readTrades({ instruments: ids, range: always }))
    const shown = (batches: Iterable<typeof batch>) =>
      [...batches].flatMap((each) =>
        [...each.rows()].map(
          (row) => `${row.provider} ${row.dataset} ${row.symbol} ${row.rawSymbol} ${row.tradeId}`
        )
      )
    assert.deepStrictEqual(shown(read).sort(), shown([batch]).sort(), keyKind)
    assert.include(shown(read).join(), `conformance S.IDS.${keyKind} S.IDS.${keyKind}:SYM0 SYM0 `)
  }
})

/**
 * Prerequisite: one instrument.
 * Action: append an empty batch of each kind; one of them claims coverage.
 * Pass: the result is 0/0/0 and not skipped, the segment counts, the coverage is there.
 */
const emptyBatch = card("S-090", "an empty batch is a segment like any other", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.EMPTY")
  const options = { context, instruments: ids, rows: 0, start: noon }
  const random = new SeededRandom(90)
  const run = yield* store.beginRun({
    kind: "import",
    source: "empty",
    provider: "conformance",
    dataset: "S.EMPTY",
    fingerprint: "S-090"
  })
  const range = during("2024-03-05", "2024-03-06")
  const empty: ReadonlyArray<MarketBatch> = [
    BatchArbitrary.trades(random, options),
    BatchArbitrary.quotes(random, { ...options, schema: "mbp-1" }),
    BatchArbitrary.bars(random, { ...options, seconds: 60 }),
    BatchArbitrary.books(random, { ...options, schema: "mbp-10" })
  ]
  for (const [segment, batch] of empty.entries()) {
    const coverage = segment === 0 ? [{ instrument: ids[0]!, schema: "trades" as const, range }] : []
    const result = yield* append(store, batch, { run: run.id, segment, coverage })
    assert.deepStrictEqual(result, { inserted: 0, duplicates: 0, conflicts: 0, skipped: false })
  }
  const again = yield* store.beginRun({
    kind: "import",
    source: "empty",
    provider: "conformance",
    dataset: "S.EMPTY",
    fingerprint: "S-090"
  })
  assert.deepStrictEqual([again.id, again.nextSegment, again.rows], [run.id, 4, 0n])
  const spans = yield* store.coverage({ instruments: ids })
  assert.deepStrictEqual(
    spans.map((span) => [span.state, span.range]),
    [["held", range]]
  )
})

/**
 * Prerequisite: one instrument.
 * Action: append batches whose last row has no time, or an instrument that was never registered, each with a coverage
 * claim.
 * Pass: each is refused with a typed reason, and neither rows nor coverage of it are there: all or nothing. The store
 * works on.
 */
const refused = card("S-100", "a batch with one bad row is refused whole", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.REFUSED")
  const good = () =>
    BatchArbitrary.trades(new SeededRandom(100), { context, instruments: ids, rows: 50, start: noon })
  const run = yield* store.beginRun({
    kind: "import",
    source: "refused",
    provider: "conformance",
    dataset: "S.REFUSED"
  })
  const coverage = [
    { instrument: ids[0]!, schema: "trades" as const, range: during("2024-03-05", "2024-03-06") }
  ]
  const timeless = good()
  timeless.columns.tsEvent[49] = ABSENT_I64
  const foreign = good()
  foreign.columns.instrument[49] = 4_000_000_000
  for (const [what, batch] of [
    ["a row without a time", timeless],
    ["an unknown instrument", foreign]
  ] as const) {
    yield* assertRefused(
      store.append(batch, { run: run.id, segment: 0, coverage }),
      ["StoreInvalidData", "StoreBadRequest"],
      what
    )
    assertRows(yield* readTrades(store, ids), [], `after ${what}`)
    assert.deepStrictEqual(yield* store.coverage({ instruments: ids }), [], `after ${what}`)
  }
  const batch = good()
  assert.strictEqual((yield* append(store, batch, { run: run.id, segment: 0, coverage })).inserted, 50)
  assertRows(yield* readTrades(store, ids), inReadOrder([batch]), "the good batch")
})

/**
 * Prerequisite: one instrument.
 * Action: append trades with publishers 0, 32,767, 32,768 and 65,535.
 * Pass: those of 15 bits come back. One beyond comes back as it is or is refused as invalid data, never changed.
 */
const publishers = card("S-110", "publishers come back, or are refused beyond 15 bits", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.PUBLISHERS", { keyKind: "venue-id" })
  let minute = 0
  for (const publisher of [0, TradeKey.MaxPublisher, TradeKey.MaxPublisher + 1, 65_535]) {
    const start = noon + BigInt(++minute) * 60_000_000_000n
    const batch = BatchArbitrary.trades(new SeededRandom(110 + minute), {
      context,
      instruments: ids,
      rows: 5,
      start,
      span: 1_000_000_000n
    })
    batch.columns.publisher.fill(publisher)
    const range = { start, end: start + 60_000_000_000n }
    if (publisher <= TradeKey.MaxPublisher) yield* appendAll(store, [batch])
    else {
      const outcome = yield* Effect.result(appendAll(store, [batch]))
      if (outcome._tag === "Failure") {
        assert.strictEqual(outcome.failure.reason._tag, "StoreInvalidData", outcome.failure.message)
        assertRows(yield* readTrades(store, ids, { range }), [], `publisher ${publisher}, refused`)
        continue
      }
    }
    assertRows(yield* readTrades(store, ids, { range }), inReadOrder([batch]), `publisher ${publisher}`)
  }
})

/**
 * Prerequisite: one instrument.
 * Action: append trades with the keys 0, 1, 2^47, 2^63-2, 2^63-1 and -2^63, at one time.
 * Pass: all are kept apart and come back in key order. The largest key has the bits of the absent value and is a key.
 */
const keyExtremes = card("S-120", "every i64 is a key", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.KEYS", { keyKind: "venue-id" })
  const keys = [ABSENT_I64, 0n, ABSENT_I64 - 1n, 1n, -(2n ** 63n), 2n ** 47n, -1n]
  const builder = tradeBuilder(batchContext(context), keys.length)
  keys.forEach((key, i) => {
    const { columns: c } = builder
    c.tsEvent[i] = noon
    c.tsRecv[i] = noon
    c.tradeKey[i] = key
    c.price[i] = BigInt(i)
    c.priceExponent[i] = -2
    c.size[i] = 1n
    c.instrument[i] = ids[0]!
    c.side[i] = Side.None
    builder.length += 1
  })
  const batch = builder.flush()
  assert.strictEqual(totals(yield* appendAll(store, [batch])), `${keys.length}/0/0`)
  assert.strictEqual(totals(yield* appendAll(store, [batch])), `0/${keys.length}/0`)
  const read = yield* readTrades(store, ids)
  assertRows(read, inReadOrder([batch]), "trades")
  assert.deepStrictEqual(
    read.map((row) => row.key),
    [...keys].sort((a, b) => (a < b ? -1 : 1))
  )
})

/**
 * Prerequisite: one instrument.
 * Action: append a batch, then write over its memory, then read.
 * Pass: the store has the rows as they were. The batch itself is unchanged by the append: stores only read it.
 */
const readOnly = card("S-130", "a batch is read during the append and not kept", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.MEMORY")
  const batch = BatchArbitrary.trades(new SeededRandom(130), {
    context,
    instruments: ids,
    rows: 100,
    start: noon
  })
  const expected = inReadOrder([batch])
  const before = BatchRow.of(batch)
  yield* appendAll(store, [batch])
  assertRows(BatchRow.of(batch), before, "the batch after the append")
  batch.columns.price.fill(0n)
  batch.columns.tradeKey.fill(0n)
  assertRows(yield* readTrades(store, ids), expected, "trades")
})

/**
 * Prerequisite: one instrument.
 * Action: append slices from the middle of larger batches of every kind.
 * Pass: the rows of the slices are stored, and no others.
 */
const slices = card("S-140", "slices are stored as what they show", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.SLICES", { symbols: 2 })
  const options = { context, instruments: ids, rows: 64, start: noon }
  const random = new SeededRandom(140)
  const tradeSlice = BatchArbitrary.trades(random, options).slice(13, 29)
  const quoteSlice = BatchArbitrary.quotes(random, { ...options, schema: "mbp-1" }).slice(13, 29)
  const barSlice = BatchArbitrary.bars(random, { ...options, seconds: 60 }).slice(13, 29)
  const bookSlice = BatchArbitrary.books(random, { ...options, schema: "mbp-10" }).slice(13, 29)
  yield* appendAll(store, [tradeSlice, quoteSlice, barSlice, bookSlice])
  assertRows(yield* readTrades(store, ids), inReadOrder([tradeSlice]), "trades")
  assertRows(yield* readSchema(store, "quotes", ids, "mbp-1"), inReadOrder([quoteSlice]), "quotes")
  assertRows(yield* providerBars(store, ids, barSlice), inReadOrder([barSlice]), "bars")
  assertRows(yield* readSchema(store, "book", ids, "mbp-10"), inReadOrder([bookSlice]), "books")
})

/** Cards S-010 to S-190. */
export const cards: ReadonlyArray<StoreCard> = [
  trades,
  quotes,
  bars,
  books,
  tradeExtremes,
  quoteExtremes,
  barExtremes,
  bookExtremes,
  beyondScale,
  absentValues,
  tradeIds,
  emptyBatch,
  refused,
  publishers,
  keyExtremes,
  readOnly,
  slices
]
