/** Cards S-410 to S-490: several writers and readers at once, and work that is interrupted. */
import { Coverage, type MarketStore, type StoreError } from "@data-manager/core"
import { Effect, Fiber } from "effect"
import { assert } from "vitest"
import * as BarModel from "./BarModel.ts"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  append,
  appendAll,
  assertRows,
  at,
  card,
  cut,
  inReadOrder,
  market,
  readBars,
  readTrades,
  type StoreCard,
  StoreFixture,
  theStore,
  totals
} from "./StoreCard.ts"

const noon = at("2024-06-12T12:00:00Z")

/** Repeats what failed for a reason that goes by, as every caller of a store does. */
const persistently = <A, R>(effect: Effect.Effect<A, StoreError, R>): Effect.Effect<A, StoreError, R> =>
  Effect.retry(effect, { times: 20, while: (error) => error.isRetryable })

/**
 * Prerequisite: six instruments.
 * Action: six writers in two programs append trades of one instrument each, in ten batches, at the same time.
 * Pass: every row is stored once, the bars of all are right.
 */
const apart = card("S-410", "concurrent writers of different instruments", function* () {
  const { first, second } = yield* StoreFixture
  const to = yield* market(first, "S.APART", { symbols: 6 })
  const batches = to.ids.map((id, i) =>
    BatchArbitrary.trades(new SeededRandom(410 + i), {
      context: to.context,
      instruments: [id],
      rows: 300,
      start: noon
    })
  )
  const results = yield* Effect.all(
    batches.map((batch, i) => persistently(appendAll(i % 2 === 0 ? first : second, cut(batch, 30)))),
    { concurrency: "unbounded" }
  )
  assert.strictEqual(totals(results.flat()), "1800/0/0")
  assertRows(yield* readTrades(first, to.ids), inReadOrder(batches), "trades")
  const rows = batches.flatMap((batch) => [...batch.rows()])
  assertRows(yield* readBars(second, to.ids, "1m"), BarModel.bars(rows, "1m"), "bars")
})

/**
 * Prerequisite: two instruments.
 * Action: four writers in two programs append overlapping parts of one source, each in its own order, at the same time.
 * Pass: the exact union is stored; the inserted rows of all results are as many as there are rows; bars are right.
 */
const overlapping = card("S-420", "concurrent writers of overlapping rows", function* () {
  const { first, second } = yield* StoreFixture
  const to = yield* market(first, "S.CROSSING", { symbols: 2 })
  const random = new SeededRandom(420)
  const batch = BatchArbitrary.trades(random, {
    context: to.context,
    instruments: to.ids,
    rows: 400,
    start: noon
  })
  const writers = [0, 100, 50, 0].map((from, i) => random.shuffle(cut(batch.slice(from, 400 - i * 20), 37)))
  const results = yield* Effect.all(
    writers.map((parts, i) => persistently(appendAll(i % 2 === 0 ? first : second, parts))),
    { concurrency: "unbounded" }
  )
  assertRows(yield* readTrades(first, to.ids), inReadOrder([batch]), "trades")
  const counts = results.flat()
  assert.isTrue(counts.every((result) => result.conflicts === 0))
  assert.isAtMost(
    counts.reduce((sum, result) => sum + result.inserted, 0),
    400
  )
  for (const timeframe of ["1m", "1h", "1d"] as const)
    assertRows(yield* readBars(second, to.ids, timeframe), BarModel.bars(batch.rows(), timeframe), timeframe)
})

/**
 * Prerequisite: one run.
 * Action: two programs append the same segment of it at the same time, twenty times.
 * Pass: of each segment exactly one is written, the other is skipped.
 */
const sameSegment = card("S-430", "one segment by two programs at once is written once", function* () {
  const { first, second } = yield* StoreFixture
  const to = yield* market(first, "S.SEGMENT")
  const batch = BatchArbitrary.trades(new SeededRandom(430), {
    context: to.context,
    instruments: to.ids,
    rows: 200,
    start: noon
  })
  const run = yield* first.beginRun({
    kind: "backfill",
    source: "one segment",
    provider: "conformance",
    dataset: "S.SEGMENT"
  })
  for (const [segment, part] of cut(batch, 10).entries()) {
    const results = yield* Effect.all(
      [first, second].map((store) => persistently(append(store, part, { run: run.id, segment }))),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(
      results.map((result) => result.skipped).sort(),
      [false, true],
      `segment ${segment}`
    )
    assert.strictEqual(totals(results), "10/0/0")
  }
  assertRows(yield* readTrades(first, to.ids), inReadOrder([batch]), "trades")
})

/**
 * Prerequisite: a writer that appends one minute after another, each with a claim for its minute.
 * Action: another program reads the coverage and then the rows, and the other way round, all the while.
 * Pass: at no moment is a minute claimed whose rows are not there, nor are rows there whose minute is not claimed.
 */
const claimWithRows = card("S-440", "a claim is visible exactly when its rows are", function* () {
  const { first, second } = yield* StoreFixture
  const to = yield* market(first, "S.CLAIM")
  const [instrument, minutes, perMinute] = [to.ids[0]!, 30, 5]
  const minute = (i: number) => ({
    start: noon + BigInt(i) * 60_000_000_000n,
    end: noon + BigInt(i + 1) * 60_000_000_000n
  })
  const write = Effect.gen(function* () {
    const run = yield* first.beginRun({
      kind: "backfill",
      source: "minutes",
      provider: "conformance",
      dataset: "S.CLAIM"
    })
    for (let segment = 0; segment < minutes; segment++) {
      const range = minute(segment)
      const batch = BatchArbitrary.trades(new SeededRandom(440 + segment), {
        context: to.context,
        instruments: to.ids,
        rows: perMinute,
        start: range.start,
        span: 60_000_000_000n
      })
      yield* append(first, batch, {
        run: run.id,
        segment,
        coverage: [{ instrument, schema: "trades", range }]
      })
    }
  })
  const held = Effect.map(second.coverage({ instruments: to.ids, states: ["held"] }), (spans) => {
    const set = Coverage.ranges(spans.map((span) => span.range))
    return Array.from({ length: minutes }, (_, i) => Coverage.covers(set, minute(i)))
  })
  const stored = Effect.map(readTrades(second, to.ids), (rows) =>
    Array.from(
      { length: minutes },
      (_, i) => rows.filter((row) => row.time >= minute(i).start && row.time < minute(i).end).length
    )
  )
  let partly = 0
  const watch = Effect.gen(function* () {
    const claimed = yield* held
    const rows = yield* stored
    const claimedAfter = yield* held
    for (let i = 0; i < minutes; i++) {
      assert.include([0, perMinute], rows[i]!, `minute ${i} has all of its rows or none`)
      if (claimed[i]) assert.strictEqual(rows[i], perMinute, `minute ${i} was claimed without its rows`)
      if (rows[i] === perMinute) assert.isTrue(claimedAfter[i], `minute ${i} has rows without a claim`)
    }
    if (rows.some((count) => count > 0) && rows.some((count) => count === 0)) partly += 1
  })
  const writer = yield* Effect.forkChild(write, { startImmediately: true })
  while (writer.pollUnsafe() === undefined) {
    yield* watch
    yield* Effect.yieldNow
  }
  yield* Fiber.join(writer)
  yield* watch
  assert.strictEqual((yield* held).filter(Boolean).length, minutes)
  assert.isAtLeast(partly, 1, "the reader saw the writer at work")
})

/**
 * Prerequisite: one run.
 * Action: interrupt appends with a claim after 0 to 12 ms, twenty times; read ledger, rows and coverage; append again
 * what is not there.
 * Pass: each append happened whole or not at all, and the store works on.
 */
const interruptedAppend = card("S-450", "an interrupted append happened whole or not at all", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.CUT")
  const source = {
    kind: "import",
    source: "cut",
    provider: "conformance",
    dataset: "S.CUT",
    fingerprint: "S-450"
  } as const
  const batch = BatchArbitrary.trades(new SeededRandom(450), {
    context: to.context,
    instruments: to.ids,
    rows: 1_000,
    start: noon,
    bursts: 0
  })
  const parts = cut(batch, 50)
  for (const [segment, part] of parts.entries()) {
    const run = yield* store.beginRun(source)
    assert.strictEqual(run.nextSegment, segment)
    const claim = {
      run: run.id,
      segment,
      coverage: [
        {
          instrument: to.ids[0]!,
          schema: "trades" as const,
          range: { start: noon + BigInt(segment) * 1_000_000n, end: noon + BigInt(segment + 1) * 1_000_000n }
        }
      ]
    }
    const fiber = yield* Effect.forkChild(store.append(part, claim), { startImmediately: true })
    yield* Effect.sleep(`${segment % 13} millis`)
    yield* Fiber.interrupt(fiber)
    yield* assertWholeOrNothing(store, source, to.ids, batch, segment)
    yield* persistently(append(store, part, claim))
  }
  assertRows(yield* readTrades(store, to.ids), inReadOrder([batch]), "trades")
  assertRows(yield* readBars(store, to.ids, "1m"), BarModel.bars(batch.rows(), "1m"), "bars")
})

const assertWholeOrNothing = (
  store: MarketStore["Service"],
  source: Parameters<MarketStore["Service"]["beginRun"]>[0],
  ids: ReadonlyArray<number>,
  batch: ReturnType<typeof BatchArbitrary.trades>,
  segment: number
) =>
  Effect.gen(function* () {
    // The interrupted transaction may still be ending: wait until the ledger and the rows agree for good.
    const { nextSegment } = yield* persistently(store.beginRun(source))
    assert.include([segment, segment + 1], nextSegment)
    const rows = yield* readTrades(store, ids)
    const claimed = yield* store.coverage({ instruments: ids })
    const after = (yield* persistently(store.beginRun(source))).nextSegment
    if (nextSegment !== after) return
    assertRows(rows, inReadOrder([batch.slice(0, nextSegment * 50)]), `after the cut of segment ${segment}`)
    assert.strictEqual(
      Coverage.duration(Coverage.ranges(claimed.map((span) => span.range))),
      BigInt(nextSegment) * 1_000_000n
    )
  })

/** Cards S-410 to S-490. */
export const cards: ReadonlyArray<StoreCard> = [
  apart,
  overlapping,
  sameSegment,
  claimWithRows,
  interruptedAppend
]
