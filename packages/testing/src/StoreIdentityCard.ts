/** Cards S-210 to S-290: which rows are the same row, and what happens where they are not. */
import {
  ABSENT_I32,
  ABSENT_I64,
  type BookBatch,
  type ConflictRequest,
  type MarketBatch,
  type MarketStore,
  type QuoteBatch,
  type RowConflict,
  TradeBatch,
  TradeKey,
  tradeBuilder
} from "@data-manager/core"
import { Effect, Stream } from "effect"
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
  readSchema,
  readTrades,
  type StoreCard,
  theStore,
  totals
} from "./StoreCard.ts"

const noon = at("2024-04-10T12:00:00Z")

interface Print {
  readonly nanos?: bigint | undefined
  readonly sequence?: number | undefined
  readonly ordinal?: number | undefined
  readonly price: readonly [bigint, number]
  readonly size?: readonly [bigint, number] | undefined
  readonly side?: number | undefined
  /** Nanoseconds from noon to the capture; "none" where it is absent. */
  readonly recv?: bigint | "none" | undefined
  readonly delta?: number | undefined
}

/** A few trades written out, at noon plus nanoseconds; keys as a provider with sequences makes them. */
const prints = (to: Market, rows: ReadonlyArray<Print>): TradeBatch => {
  const builder = tradeBuilder(to.context, rows.length)
  const { columns: c } = builder
  rows.forEach((row, i) => {
    c.tsEvent[i] = noon + (row.nanos ?? 0n)
    c.tsRecv[i] = row.recv === "none" ? ABSENT_I64 : noon + (row.recv ?? 1_000n)
    c.tsInDelta[i] = row.delta ?? 0
    c.tradeKey[i] = TradeKey.make(1, row.sequence ?? 1, row.ordinal ?? 0)
    c.price[i] = row.price[0]
    c.priceExponent[i] = row.price[1]
    c.size[i] = row.size?.[0] ?? 1n
    c.sizeExponent[i] = row.size?.[1] ?? 0
    c.instrument[i] = to.ids[0]!
    c.publisher[i] = 1
    c.side[i] = row.side ?? 0
  })
  builder.length = rows.length
  return builder.flush()
}

/**
 * Prerequisite: one instrument.
 * Action: append two trades with one publisher, one sequence and one microsecond, but different nanoseconds; again.
 * Pass: both are stored, apart, in the order of their nanoseconds; the second time both are duplicates.
 */
const oneMicrosecond = card(
  "S-210",
  "one sequence in one microsecond at two nanoseconds is two trades",
  function* () {
    const store = yield* theStore
    const to = yield* market(store, "S.MICRO")
    const batch = prints(to, [
      { nanos: 100n, ordinal: 0, price: [10_000n, -2] },
      { nanos: 900n, ordinal: 1, price: [10_000n, -2] },
      // A later microsecond with the same key is another trade.
      { nanos: 1_000n, ordinal: 0, price: [10_000n, -2] }
    ])
    assert.strictEqual(totals(yield* appendAll(store, [batch])), "3/0/0")
    assert.strictEqual(totals(yield* appendAll(store, [batch])), "0/3/0")
    assertRows(yield* readTrades(store, to.ids), inReadOrder([batch]), "trades")
  }
)

/**
 * Prerequisite: one instrument, 600 trades of one microsecond and few sequences.
 * Action: append them cut into batches of 41, the cuts inside the groups.
 * Pass: all 600 are stored, in read order.
 */
const cutGroup = card("S-220", "a group cut by batch boundaries stays whole", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.GROUP")
  const rows = Array.from({ length: 600 }, (_, i) => ({
    nanos: BigInt(Math.floor(i / 3)),
    sequence: 1 + Math.floor(i / 250),
    ordinal: i % 250,
    price: [10_000n + BigInt(i), -2] as const
  }))
  const batch = prints(to, rows)
  assert.strictEqual(totals(yield* appendAll(store, cut(batch, 41))), "600/0/0")
  assertRows(yield* readTrades(store, to.ids), inReadOrder([batch]), "trades")
})

/**
 * Prerequisite: one instrument with a stored trade.
 * Action: append rows of its key and microsecond that differ in price, in size, in side, in the nanosecond; then the
 * same rows again under another run.
 * Pass: each is counted as a conflict, the stored row stays, and the statistics count what was set aside; again changes
 * nothing. Bars show the stored row.
 */
const keep = card("S-230", "a key with different content: the stored row is kept", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.KEEP")
  const base = { nanos: 100n, price: [10_000n, -2], size: [5n, 0], side: 1 } as const
  const stored = prints(
    to,
    [1, 2, 3, 4, 5].map((sequence) => ({ ...base, sequence }))
  )
  yield* appendAll(store, [stored])
  const before = (yield* store.statistics).conflicts
  const different = prints(to, [
    { ...base, sequence: 1, price: [10_001n, -2] },
    { ...base, sequence: 2, size: [6n, 0] },
    { ...base, sequence: 3, side: 2 },
    { ...base, sequence: 4, nanos: 101n },
    { ...base, sequence: 5 },
    { ...base, sequence: 6, price: [20_000n, -2] }
  ])
  assert.strictEqual(totals(yield* appendAll(store, [different], { onConflict: "keep" })), "1/1/4")
  const expected = inReadOrder([stored, different.slice(5, 6)])
  assertRows(yield* readTrades(store, to.ids), expected, "trades")
  assert.strictEqual((yield* store.statistics).conflicts - before, 4n, "conflicts in the statistics")
  // "keep" is what happens where nothing is said.
  assert.strictEqual(totals(yield* appendAll(store, [different])), "0/2/4")
  assertRows(yield* readTrades(store, to.ids), expected, "trades after a second time")
  assert.strictEqual((yield* store.statistics).conflicts - before, 4n, "conflicts after a second time")
  const rows = [...stored.rows(), ...different.slice(5, 6).rows()]
  assertRows(yield* readBars(store, to.ids, "1m"), BarModel.bars(rows, "1m"), "bars")
})

/**
 * Prerequisite: one instrument with live trades in four microseconds.
 * Action: append authoritative history with "replace": in the first microsecond one of two keys with another price and a
 * further key, in the second the same content, in the third another key than the stored one; nothing in the fourth.
 * Pass: each microsecond that history has is the history's alone - live rows there that it does not have are gone, and
 * kept as conflicts -, the fourth is untouched. A second time changes nothing.
 */
const replace = card("S-240", "history replaces whole microseconds", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.REPLACE")
  const live = prints(to, [
    { nanos: 100n, sequence: 1, price: [10_000n, -2] },
    { nanos: 200n, sequence: 2, price: [90_000n, -2] },
    { nanos: 1_100n, sequence: 3, price: [10_100n, -2] },
    { nanos: 2_100n, sequence: 4, price: [10_200n, -2] },
    { nanos: 3_100n, sequence: 6, price: [10_400n, -2] }
  ])
  yield* appendAll(store, [live])
  const before = (yield* store.statistics).conflicts
  const history = prints(to, [
    { nanos: 100n, sequence: 1, price: [10_050n, -2] },
    { nanos: 300n, sequence: 9, price: [10_060n, -2] },
    { nanos: 1_100n, sequence: 3, price: [10_100n, -2] },
    { nanos: 2_200n, sequence: 5, price: [10_300n, -2] }
  ])
  assert.strictEqual(totals(yield* appendAll(store, [history], { onConflict: "replace" })), "2/1/1")
  const kept = [live.slice(4), history]
  assertRows(yield* readTrades(store, to.ids), inReadOrder(kept), "trades")
  assert.strictEqual(
    (yield* store.statistics).conflicts - before,
    3n,
    "what was replaced is kept as a conflict"
  )
  const bars = BarModel.bars(
    kept.flatMap((batch) => [...batch.rows()]),
    "1m"
  )
  assertRows(yield* readBars(store, to.ids, "1m"), bars, "bars")
  assert.strictEqual(totals(yield* appendAll(store, [history], { onConflict: "replace" })), "0/4/0")
  assertRows(yield* readTrades(store, to.ids), inReadOrder(kept), "trades after a second time")
  assertRows(yield* readBars(store, to.ids, "1m"), bars, "bars after a second time")
})

/**
 * Prerequisite: one instrument with three live trades in one microsecond.
 * Action: append history of that microsecond with "replace", cut by a segment boundary; again under another run.
 * Pass: the microsecond is the history's, both parts of it: the second segment does not take the first one's rows for
 * live ones. The second time changes nothing.
 */
const replaceCut = card("S-245", "history of a microsecond that is cut by a segment", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.REPLACECUT")
  const live = prints(to, [
    { sequence: 1, price: [10_000n, -2] },
    { sequence: 2, price: [10_000n, -2] },
    { sequence: 3, price: [10_000n, -2] }
  ])
  yield* appendAll(store, [live])
  const history = prints(to, [
    { nanos: -5_000n, sequence: 1, price: [10_010n, -2] },
    { sequence: 1, price: [10_020n, -2] },
    { sequence: 2, price: [10_000n, -2] },
    { nanos: 10n, sequence: 4, price: [10_030n, -2] },
    { nanos: 5_000n, sequence: 5, price: [10_040n, -2] }
  ])
  for (const time of ["once", "twice"]) {
    yield* appendAll(store, [history.slice(0, 2), history.slice(2)], { onConflict: "replace" })
    assertRows(yield* readTrades(store, to.ids), inReadOrder([history]), `trades, ${time}`)
    assertRows(yield* readBars(store, to.ids, "1s"), BarModel.bars(history.rows(), "1s"), `bars, ${time}`)
  }
})

/**
 * Prerequisite: one instrument with two decimal places.
 * Action: append 2.50 and then 2.5; 100.125 (beyond the scale) and then 100.1250; a size of 3 and then 3.000.
 * Pass: the second ones are duplicates, not conflicts: equality is numeric.
 */
const numericEquality = card("S-250", "equal numbers written otherwise are duplicates", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.NUMERIC")
  const once = prints(to, [
    { sequence: 1, price: [250n, -2], size: [3n, 0] },
    { sequence: 2, price: [100_125n, -3], size: [5n, -1] }
  ])
  const otherwise = prints(to, [
    { sequence: 1, price: [2_500_000_000n, -9], size: [3_000n, -3] },
    { sequence: 2, price: [1_001_250n, -4], size: [50n, -2] }
  ])
  assert.strictEqual(totals(yield* appendAll(store, [once])), "2/0/0")
  assert.strictEqual(totals(yield* appendAll(store, [otherwise])), "0/2/0")
  assertRows(yield* readTrades(store, to.ids), inReadOrder([once]), "trades")
})

/**
 * Prerequisite: trades of a live feed, and the same from an archive without capture times; some of one nanosecond, so
 * that the capture time decides which of them is the last of a bar.
 * Action: append the live ones and then the archive's; the other way round; the archive's with "replace"; both in one
 * batch; each again. Then rows that lack the capture time and have another price, and rows of another capture time.
 * Pass: where one side lacks tsRecv or tsInDelta and all else is equal, the rows are duplicates and what is stored ends
 * with all that any of them knows: the live rows, in their order, with their bars. Another price is a conflict as ever,
 * and so are two capture times that contradict each other.
 */
const capture = card("S-255", "a row without its capture time is not another row", function* () {
  const store = yield* theStore
  const before = (yield* store.statistics).conflicts
  const rows: ReadonlyArray<Print> = [
    { nanos: 100n, sequence: 1, price: [10_000n, -2], recv: 900n, delta: 7 },
    { nanos: 100n, sequence: 2, price: [10_100n, -2], recv: 300n, delta: 8 },
    { nanos: 100n, sequence: 3, price: [10_200n, -2], recv: 600n, delta: 9 },
    { nanos: 5_000n, sequence: 4, price: [100_125n, -3], recv: 5_600n, delta: 10 }
  ]
  const archived = rows.map((row): Print => ({ ...row, recv: "none", delta: ABSENT_I32 }))
  const orders: ReadonlyArray<readonly ["keep" | "replace", ReadonlyArray<ReadonlyArray<Print>>]> = [
    ["keep", [rows, archived, rows]],
    ["keep", [archived, rows, archived]],
    ["replace", [rows, archived, archived]],
    ["replace", [archived, rows, archived]],
    ["keep", [[...archived, ...rows], archived]],
    // Each half of what the capture says by itself.
    ["keep", [archived, rows.map((row): Print => ({ ...row, recv: "none" })), rows]],
    ["keep", [archived, [...rows.map((row): Print => ({ ...row, delta: ABSENT_I32 })), ...rows]]]
  ]
  for (const [i, [onConflict, appends]] of orders.entries()) {
    const to = yield* market(store, `S.CAPTURE.${i}`)
    const counts: Array<string> = []
    for (const each of appends) {
      counts.push(totals(yield* appendAll(store, [prints(to, each)], { onConflict })))
    }
    const total = appends.flat().length
    const [first] = counts
    assert.strictEqual(first, `4/${appends[0]!.length - 4}/0`, `order ${i}`)
    assert.deepStrictEqual(
      counts.slice(1),
      appends.slice(1).map((each) => `0/${each.length}/0`),
      `order ${i}: ${total} rows`
    )
    const live = prints(to, rows)
    assertRows(yield* readTrades(store, to.ids), inReadOrder([live]), `trades, order ${i}`)
    for (const timeframe of ["1s", "1m", "1d"] as const)
      assertRows(
        yield* readBars(store, to.ids, timeframe),
        BarModel.bars(live.rows(), timeframe),
        `bars of ${timeframe}, order ${i}`
      )
  }
  assert.strictEqual((yield* store.statistics).conflicts - before, 0n, "no conflicts")
  const to = yield* market(store, "S.CAPTURE.DIFFERENT")
  yield* appendAll(store, [prints(to, rows)])
  const otherPrice = archived.map((row): Print => ({ ...row, price: [1n, 0] }))
  assert.strictEqual(totals(yield* appendAll(store, [prints(to, otherPrice)])), "0/0/4")
  const otherCapture = rows.map((row): Print => ({ ...row, recv: 77_000n }))
  assert.strictEqual(totals(yield* appendAll(store, [prints(to, otherCapture)])), "0/0/4")
  assertRows(yield* readTrades(store, to.ids), inReadOrder([prints(to, rows)]), "the stored rows stay")
})

/**
 * Prerequisite: two instruments; quotes and books by event time, and sampled quotes, whose other clock is the venue's.
 * Action: append each without its capture time and then with it, and the other way round; sampled quotes without the time
 * of their last trade and then with it.
 * Pass: quotes and books by event time are duplicates and end with the capture time. The time of the last trade is content:
 * with it and without it are two different rows.
 */
const captureOfOthers = card("S-257", "capture times of quotes and books", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.CAPTURE.OTHERS", { symbols: 2 })
  const options = { context, instruments: ids, rows: 30, start: noon, absent: 0 }
  const bare = <B extends QuoteBatch | BookBatch>(batch: B): B => {
    batch.columns.tsRecv.fill(ABSENT_I64)
    batch.columns.tsInDelta.fill(ABSENT_I32)
    return batch
  }
  for (const [i, order] of [
    [false, true],
    [true, false]
  ].entries()) {
    const start = noon + BigInt(i) * 3_600_000_000_000n
    const quotes = () =>
      BatchArbitrary.quotes(new SeededRandom(257), { ...options, start, schema: "mbp-1" as const })
    const books = () =>
      BatchArbitrary.books(new SeededRandom(258), { ...options, start, schema: "mbp-10" as const })
    for (const [n, isBare] of order.entries()) {
      const both = isBare ? [bare(quotes()), bare(books())] : [quotes(), books()]
      assert.strictEqual(totals(yield* appendAll(store, both)), n === 0 ? "60/0/0" : "0/60/0")
    }
    const range = { start, end: start + 3_600_000_000_000n }
    assertRows(yield* readSchema(store, "quotes", ids, "mbp-1", { range }), inReadOrder([quotes()]), "quotes")
    assertRows(yield* readSchema(store, "book", ids, "mbp-10", { range }), inReadOrder([books()]), "books")
  }
  const sampled = () =>
    BatchArbitrary.quotes(new SeededRandom(259), { ...options, schema: "bbo-1s" as const })
  const untraded = sampled()
  untraded.columns.tsEvent.fill(ABSENT_I64)
  assert.strictEqual(totals(yield* appendAll(store, [untraded])), "30/0/0")
  assert.strictEqual(totals(yield* appendAll(store, [sampled()])), "0/0/30")
})

/**
 * Prerequisite: one instrument.
 * Action: append one batch that has a row twice, and a key with two different contents; nothing of it stored before.
 * Pass: the repeated row is stored once and counted as a duplicate; of the two contents the first is stored and the
 * second counted as a conflict.
 */
const withinBatch = card("S-260", "a batch that repeats or contradicts itself", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.WITHIN")
  const batch = prints(to, [
    { sequence: 1, price: [100n, -2] },
    { sequence: 2, price: [200n, -2] },
    { sequence: 1, price: [100n, -2] },
    { sequence: 2, price: [999n, -2] },
    { sequence: 3, price: [300n, -2] }
  ])
  assert.strictEqual(totals(yield* appendAll(store, [batch])), "3/1/1")
  assertRows(yield* readTrades(store, to.ids), inReadOrder([BatchRow.select(batch, [0, 1, 4])]), "trades")
})

/**
 * Prerequisite: two instruments with stored quotes, bars of a provider, and books.
 * Action: append each kind again with one column of one row changed; then each as it was.
 * Pass: the changed row is a conflict and the stored one stays, all others are duplicates; the statistics count the
 * conflicts.
 */
const otherKinds = card("S-270", "quotes, bars and books have the same guarantees", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.OTHERS", { symbols: 2 })
  const options = { context, instruments: ids, rows: 40, start: noon, absent: 0 }
  const make = () => ({
    quotes: BatchArbitrary.quotes(new SeededRandom(270), { ...options, schema: "mbp-1" }),
    bars: BatchArbitrary.bars(new SeededRandom(271), { ...options, seconds: 60 }),
    book: BatchArbitrary.books(new SeededRandom(272), { ...options, schema: "mbp-10" })
  })
  const stored = make()
  const all: ReadonlyArray<MarketBatch> = Object.values(stored)
  assert.strictEqual(totals(yield* appendAll(store, all)), "120/0/0")
  const before = (yield* store.statistics).conflicts
  const changed = make()
  changed.quotes.columns.askSize[7] = 123_456n
  changed.bars.columns.volumeLow[7] = 123_456n
  changed.book.columns.bidPrice[7 * 10] = 123_000_000_000n
  changed.book.columns.bidSize[7 * 10] = 123_456n
  assert.strictEqual(totals(yield* appendAll(store, Object.values(changed))), "0/117/3")
  assert.strictEqual(totals(yield* appendAll(store, all)), "0/120/0")
  assert.strictEqual((yield* store.statistics).conflicts - before, 3n)
  assertRows(yield* readSchema(store, "quotes", ids, "mbp-1"), inReadOrder([stored.quotes]), "quotes")
  assertRows(yield* readSchema(store, "book", ids, "mbp-10"), inReadOrder([stored.book]), "books")
  assertRows(yield* readBars(store, ids, "1m", { source: "provider" }), inReadOrder([stored.bars]), "bars")
})

/** A conflict as lines for people; equal exactly where what it tells is. */
const conflictText = ({ instrument, schema, lost, setAside, stored, run, source }: RowConflict): string =>
  [
    `#${instrument} ${schema}: the ${lost} row lost, run ${run} (${source.kind} ${source.source} of ${source.provider})`,
    ...BatchRow.of(setAside).map((row) => `  aside  ${BatchRow.text(row)}`),
    ...(stored === undefined
      ? ["  stored nothing"]
      : BatchRow.of(stored).map((row) => `  stored ${BatchRow.text(row)}`))
  ].join("\n")

const conflicts = (store: MarketStore["Service"], request: ConflictRequest) =>
  Effect.map(Stream.runCollect(store.conflicts(request)), (all) => all.map(conflictText))

/** The conflict expected where these rows (of one row each) met in a run. */
const met = (
  run: bigint,
  lost: "new" | "stored",
  setAside: MarketBatch,
  stored: MarketBatch | undefined
): string =>
  conflictText({
    instrument: setAside.columns.instrument[0]!,
    schema: BatchRow.of(setAside)[0]!.series as RowConflict["schema"],
    lost,
    setAside,
    stored,
    run,
    source: { kind: "backfill", source: "suite conflicts", provider: "conformance" },
    detectedAt: 0n
  })

/** Begins a run of a name of its own and appends these batches; gives the run. */
const appendNamed = (
  store: MarketStore["Service"],
  batches: ReadonlyArray<MarketBatch>,
  onConflict: "keep" | "replace"
) =>
  Effect.gen(function* () {
    const { id } = yield* store.beginRun({
      kind: "backfill",
      source: "suite conflicts",
      provider: "conformance",
      dataset: batches[0]!.context.dataset
    })
    for (const [segment, batch] of batches.entries())
      yield* store.append(batch, { run: id, segment, onConflict })
    return id
  })

/**
 * Prerequisite: two instruments with stored trades, quotes, bars of a provider and books, every column at its edges.
 * Action: append each kind again with one row changed, twice; ask for the conflicts: of all, by instrument, by schema, and
 * in ranges that end and start with the row.
 * Pass: each kind's conflict is told once, with every column of both rows, which of them was set aside, and the run; and
 * exactly those that were asked for.
 */
const readConflicts = card("S-272", "conflicts of every kind can be read, both rows whole", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.CONFLICTS", { symbols: 2 })
  const options = { context, instruments: ids, rows: 40, start: noon, values: "extreme" as const }
  const stored: ReadonlyArray<MarketBatch> = [
    BatchArbitrary.trades(new SeededRandom(2720), options),
    BatchArbitrary.quotes(new SeededRandom(2721), { ...options, schema: "mbp-1" }),
    BatchArbitrary.quotes(new SeededRandom(2722), { ...options, schema: "bbo-1s" }),
    BatchArbitrary.bars(new SeededRandom(2723), { ...options, seconds: 60 }),
    BatchArbitrary.books(new SeededRandom(2724), { ...options, schema: "mbp-10" })
  ]
  yield* appendAll(store, stored)
  assert.deepStrictEqual(yield* conflicts(store, { instruments: ids }), [])
  const changed = stored.map((batch) => {
    const row = BatchRow.select(batch, [7])
    if (row._tag === "BarBatch") row.columns.volumeLow[0]! ^= 1n
    else row.columns.flags[0]! ^= 1
    return row
  })
  const run = yield* appendNamed(store, changed, "keep")
  yield* appendNamed(store, changed, "keep")
  const expected = changed.map((row, i) => met(run, "new", row, BatchRow.select(stored[i]!, [7])))
  assert.deepStrictEqual(yield* conflicts(store, { instruments: ids }), expected)
  const all = yield* conflicts(store, {})
  assert.includeMembers([...all], expected)
  assert.deepStrictEqual(yield* conflicts(store, { instruments: [] }), [])
  for (const id of ids)
    assert.deepStrictEqual(
      yield* conflicts(store, { instruments: [id] }),
      expected.filter((line) => line.startsWith(`#${id} `))
    )
  for (const [i, row] of changed.entries()) {
    const { time, series } = BatchRow.of(row)[0]!
    const schema = series as RowConflict["schema"]
    const within = (start: bigint, end: bigint) =>
      conflicts(store, { instruments: ids, schema, range: { start, end } })
    assert.deepStrictEqual(yield* conflicts(store, { instruments: ids, schema }), [expected[i]!], schema)
    assert.deepStrictEqual(yield* within(time, time + 1n), [expected[i]!], schema)
    assert.deepStrictEqual(yield* within(time - 10_000n, time), [], `${schema}, before`)
    assert.deepStrictEqual(yield* within(time + 1n, time + 10_000n), [], `${schema}, after`)
  }
})

/**
 * Prerequisite: trades with text ids; live trades; an instrument with 1,100 trades.
 * Action: append a trade with another text id; replace live trades by history that has another price for one and does
 * not have the other; append all 1,100 with another size.
 * Pass: both ids are told. What history replaced was the stored row, and the history's stands in its place, or nothing.
 * All 1,100 are told, in their order.
 */
const moreConflicts = card(
  "S-274",
  "conflicts of text ids, of replaced rows, and many of them",
  function* () {
    const store = yield* theStore
    const named = yield* market(store, "S.CONFLICTS.TEXT", { keyKind: "text-hash" })
    const withText = (text: string) => {
      const batch = prints(named, [{ price: [1n, 0] }])
      return new TradeBatch(named.context, batch, 1, [text])
    }
    yield* appendAll(store, [withText("one")])
    const textRun = yield* appendNamed(store, [withText('an other, ünlike "id"')], "keep")
    assert.deepStrictEqual(yield* conflicts(store, { instruments: named.ids }), [
      met(textRun, "new", withText('an other, ünlike "id"'), withText("one"))
    ])
    const to = yield* market(store, "S.CONFLICTS.REPLACED")
    const live = prints(to, [
      { sequence: 1, price: [10_000n, -2] },
      { sequence: 2, price: [100_125n, -3] }
    ])
    const history = prints(to, [{ sequence: 1, price: [10_001n, -2] }])
    yield* appendAll(store, [live])
    const run = yield* appendNamed(store, [history], "replace")
    const replaced = yield* conflicts(store, { instruments: to.ids })
    assert.deepStrictEqual(
      [...replaced].sort(),
      [met(run, "stored", live.slice(0, 1), history), met(run, "stored", live.slice(1), undefined)].sort()
    )
    const many = yield* market(store, "S.CONFLICTS.MANY")
    const rows = Array.from(
      { length: 1_100 },
      (_, i): Print => ({ nanos: BigInt(i) * 1_000n, sequence: i, price: [BigInt(i), -2] })
    )
    const first = prints(many, rows)
    const second = prints(
      many,
      rows.map((row): Print => ({ ...row, size: [2n, 0] }))
    )
    yield* appendAll(store, [first])
    const manyRun = yield* appendNamed(store, cut(second, 400), "keep")
    assert.deepStrictEqual(
      yield* conflicts(store, { instruments: many.ids }),
      rows.map((_, i) => met(manyRun, "new", second.slice(i, i + 1), first.slice(i, i + 1)))
    )
  }
)

/**
 * Prerequisite: two instruments.
 * Action: append rows of one key and microsecond for each instrument, and quotes of one key and microsecond in two
 * schemas.
 * Pass: all are stored: instrument and schema belong to the identity.
 */
const sameKey = card("S-280", "one key of two instruments or two schemas is two rows", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.SAMEKEY", { symbols: 2 })
  const one = prints(to, [{ price: [100n, -2] }])
  const other = BatchRow.select(one, [0])
  other.columns.instrument[0] = to.ids[1]!
  assert.strictEqual(totals(yield* appendAll(store, [one, other])), "2/0/0")
  assertRows(yield* readTrades(store, to.ids), inReadOrder([one, other]), "trades")
  const options = {
    context: to.context,
    instruments: to.ids,
    rows: 20,
    start: noon,
    schema: "mbp-1" as const
  }
  const quotes = BatchArbitrary.quotes(new SeededRandom(280), options)
  const tops = BatchArbitrary.quotes(new SeededRandom(280), { ...options, schema: "tbbo" as const })
  assert.strictEqual(totals(yield* appendAll(store, [quotes, tops])), "40/0/0")
  const read = yield* collect(store.readQuotes({ instruments: to.ids, range: always, schema: "tbbo" }))
  assertRows(BatchRow.ofAll(read), inReadOrder([tops]), "the schema asked for, and no other")
})

/** Cards S-210 to S-290. */
export const cards: ReadonlyArray<StoreCard> = [
  oneMicrosecond,
  cutGroup,
  keep,
  replace,
  replaceCut,
  numericEquality,
  capture,
  captureOfOthers,
  withinBatch,
  otherKinds,
  readConflicts,
  moreConflicts,
  sameKey
]
