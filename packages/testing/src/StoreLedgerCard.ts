/** Cards S-310 to S-390: the ledger. Work that was done is not done again, work that failed left nothing. */
import { ABSENT_I64, type IngestSource, type TradeBatch } from "@data-manager/core"
import { Effect } from "effect"
import { assert } from "vitest"
import * as BarModel from "./BarModel.ts"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  append,
  appendAll,
  assertRefused,
  assertRows,
  at,
  card,
  cut,
  during,
  inReadOrder,
  type Market,
  market,
  readBars,
  readTrades,
  type StoreCard,
  StoreFixture,
  theStore,
  totals
} from "./StoreCard.ts"

const noon = at("2024-05-15T12:00:00Z")

const source = (dataset: string, fingerprint?: string): IngestSource => ({
  kind: "import",
  source: `${dataset}.dbn`,
  provider: "conformance",
  dataset,
  schema: "trades",
  fingerprint
})

const someTrades = (to: Market, seed: number, rows = 200) =>
  BatchArbitrary.trades(new SeededRandom(seed), {
    context: to.context,
    instruments: to.ids,
    rows,
    start: noon
  })

/**
 * Prerequisite: a run with one committed segment.
 * Action: append the same segment again; then another batch under the number of the committed segment.
 * Pass: both are answered as skipped with 0/0/0, and nothing changes.
 */
const skipped = card("S-310", "a committed segment is skipped", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.SKIPPED")
  const batch = someTrades(to, 310)
  const run = yield* store.beginRun(source("S.SKIPPED"))
  yield* append(store, batch, { run: run.id, segment: 0 })
  const nothing = { inserted: 0, duplicates: 0, conflicts: 0, skipped: true }
  assert.deepStrictEqual(yield* append(store, batch, { run: run.id, segment: 0 }), nothing)
  assert.deepStrictEqual(yield* append(store, someTrades(to, 311), { run: run.id, segment: 0 }), nothing)
  assertRows(yield* readTrades(store, to.ids), inReadOrder([batch]), "trades")
})

/**
 * Prerequisite: stored trades.
 * Action: append the same batch under another run, and once more under a third.
 * Pass: every row is a duplicate; rows and bars are as before.
 */
const repeated = card("S-320", "the same rows under another run are duplicates", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.REPEATED")
  const batch = someTrades(to, 320)
  assert.strictEqual(totals(yield* appendAll(store, [batch])), "200/0/0")
  assert.strictEqual(totals(yield* appendAll(store, [batch])), "0/200/0")
  assert.strictEqual(totals(yield* appendAll(store, [batch])), "0/200/0")
  assertRows(yield* readTrades(store, to.ids), inReadOrder([batch]), "trades")
  assertRows(yield* readBars(store, to.ids, "1m"), BarModel.bars(batch.rows(), "1m"), "bars")
})

/**
 * Prerequisite: one instrument.
 * Action: append rows 0..120, 80..160, 40..200 and 0..200 of one source.
 * Pass: only what was not there is inserted, the rest are duplicates, and the union is stored.
 */
const overlapping = card("S-330", "overlapping batches end in their union", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.OVERLAP")
  const batch = someTrades(to, 330)
  const parts = [batch.slice(0, 120), batch.slice(80, 160), batch.slice(40, 200), batch]
  const results = yield* appendAll(store, parts)
  assert.deepStrictEqual(
    results.map((result) => totals([result])),
    ["120/0/0", "40/40/0", "40/120/0", "0/200/0"]
  )
  assertRows(yield* readTrades(store, to.ids), inReadOrder([batch]), "trades")
})

/**
 * Prerequisite: none.
 * Action: begin a run, append 3 of 5 segments, begin it again with an equal fingerprint - as a program that was killed
 * does, on a connection of its own -, append the rest, complete it, begin it a third time.
 * Pass: the second begin answers the same run with nextSegment 3 and the rows of three segments; the third one with
 * completedAt set, nextSegment 5 and all rows. A source without a fingerprint, or with another one, is a new run.
 */
const resume = card(
  "S-340",
  "an interrupted run is resumed, a complete one is answered as complete",
  function* () {
    const { first, second } = yield* StoreFixture
    const to = yield* market(first, "S.RESUME")
    const batch = someTrades(to, 340)
    const parts = cut(batch, 40)
    const begun = yield* first.beginRun(source("S.RESUME", "sha256:resume rows=40"))
    assert.deepStrictEqual([begun.nextSegment, begun.rows, begun.completedAt], [0, 0n, undefined])
    for (let segment = 0; segment < 3; segment++)
      yield* append(first, parts[segment]!, { run: begun.id, segment })
    const resumed = yield* second.beginRun(source("S.RESUME", "sha256:resume rows=40"))
    assert.deepStrictEqual(
      [resumed.id, resumed.nextSegment, resumed.rows, resumed.completedAt],
      [begun.id, 3, 120n, undefined]
    )
    for (let segment = 3; segment < 5; segment++)
      yield* append(second, parts[segment]!, { run: begun.id, segment })
    yield* second.completeRun(begun.id)
    const complete = yield* first.beginRun(source("S.RESUME", "sha256:resume rows=40"))
    assert.deepStrictEqual([complete.id, complete.nextSegment, complete.rows], [begun.id, 5, 200n])
    assert.isDefined(complete.completedAt)
    const others = [
      yield* first.beginRun(source("S.RESUME", "sha256:other rows=40")),
      yield* first.beginRun(source("S.RESUME")),
      yield* first.beginRun(source("S.RESUME"))
    ]
    for (const other of others)
      assert.deepStrictEqual([other.nextSegment, other.rows, other.completedAt], [0, 0n, undefined])
    assert.strictEqual(new Set([begun.id, ...others.map((other) => other.id)]).size, 4)
    assertRows(yield* readTrades(first, to.ids), inReadOrder([batch]), "trades")
  }
)

/**
 * Prerequisite: two programs.
 * Action: both begin a run with an equal fingerprint at the same time.
 * Pass: both are answered with the same run.
 */
const beginTogether = card("S-345", "two programs that begin one source get one run", function* () {
  const { first, second } = yield* StoreFixture
  const begin = [first, second, first, second].map((store) =>
    store.beginRun(source("S.TOGETHER", "sha256:together"))
  )
  const runs = yield* Effect.all(begin, { concurrency: "unbounded" })
  assert.strictEqual(new Set(runs.map((run) => run.id)).size, 1)
})

/**
 * Prerequisite: a run with one committed segment.
 * Action: append segment 2, leaving 1 out; append under a run that nobody began.
 * Pass: both are refused with a typed reason, nothing of them is stored, and segment 1 can follow.
 */
const holes = card("S-350", "a hole in the segments and an unknown run are refused", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.HOLES")
  const batch = someTrades(to, 350)
  const parts = cut(batch, 100)
  const run = yield* store.beginRun(source("S.HOLES", "sha256:holes"))
  yield* append(store, parts[0]!, { run: run.id, segment: 0 })
  const reasons = ["StoreInvalidData", "StoreBadRequest"] as const
  yield* assertRefused(store.append(parts[1]!, { run: run.id, segment: 2 }), reasons, "a hole")
  yield* assertRefused(
    store.append(parts[1]!, { run: run.id + 1_000_000n, segment: 0 }),
    reasons,
    "an unknown run"
  )
  yield* assertRefused(store.completeRun(run.id + 1_000_000n), reasons, "completing an unknown run")
  assertRows(yield* readTrades(store, to.ids), inReadOrder([parts[0]!]), "after what was refused")
  assert.strictEqual((yield* store.beginRun(source("S.HOLES", "sha256:holes"))).nextSegment, 1)
  assert.strictEqual((yield* append(store, parts[1]!, { run: run.id, segment: 1 })).inserted, 100)
})

/**
 * Prerequisite: a run with one committed segment.
 * Action: append a segment with a claim whose last row is invalid.
 * Pass: it is refused, and ledger, rows, bars and coverage are those of the committed segment alone.
 */
const failedSegment = card("S-360", "a failed segment left nothing in the ledger", function* () {
  const store = yield* theStore
  const to = yield* market(store, "S.FAILED")
  const good = someTrades(to, 360)
  const run = yield* store.beginRun(source("S.FAILED", "sha256:failed"))
  yield* append(store, good, { run: run.id, segment: 0 })
  const bad = someTrades(to, 361)
  bad.columns.tsEvent[bad.length - 1] = ABSENT_I64
  const coverage = [
    { instrument: to.ids[0]!, schema: "trades" as const, range: during("2024-05-15", "2024-05-16") }
  ]
  yield* assertRefused(
    store.append(bad, { run: run.id, segment: 1, coverage }),
    ["StoreInvalidData", "StoreBadRequest"],
    "a row without a time"
  )
  const again = yield* store.beginRun(source("S.FAILED", "sha256:failed"))
  assert.deepStrictEqual([again.nextSegment, again.rows], [1, 200n])
  assertRows(yield* readTrades(store, to.ids), inReadOrder([good]), "trades")
  assertRows(yield* readBars(store, to.ids, "1m"), BarModel.bars(good.rows(), "1m"), "bars")
  assert.deepStrictEqual(yield* store.coverage({ instruments: to.ids }), [])
})

/**
 * Prerequisite: one instrument.
 * Action: append pieces of a stream: the first one, which does not begin at 0; the next; the first again; one that leaves a
 * hole; one that begins within a committed one; an empty one. Another program asks for the position.
 * Pass: rows and position move together, what is behind the position is skipped, the others are refused and leave nothing.
 */
const stream = card("S-370", "pieces of a stream are written once and in order", function* () {
  const { first: store, second } = yield* StoreFixture
  const to = yield* market(store, "S.STREAM")
  const [one, two, three] = cut(someTrades(to, 370), 70) as [TradeBatch, TradeBatch, TradeBatch]
  const name = "suite/stream"
  const { id: run } = yield* store.beginRun({ ...source("S.STREAM"), kind: "spool" })
  const place = (from: bigint, to: bigint) => ({ run, stream: { name, from, to } })
  assert.strictEqual(yield* second.streamPosition(name), 0n)
  assert.strictEqual((yield* append(store, one, place(11n, 20n))).inserted, one.length)
  assert.strictEqual(yield* second.streamPosition(name), 20n)
  assert.isTrue((yield* append(second, one, place(11n, 20n))).skipped)
  const reasons = ["StoreBadRequest"] as const
  yield* assertRefused(store.append(three, place(21n, 30n)), reasons, "a hole")
  yield* assertRefused(store.append(three, place(15n, 30n)), reasons, "within a committed piece")
  yield* assertRefused(store.append(three, place(20n, 20n)), reasons, "an empty piece")
  assert.strictEqual(yield* second.streamPosition(name), 20n)
  const results = yield* Effect.all(
    [store, second].map((each) => append(each, two, place(20n, 25n))),
    { concurrency: "unbounded" }
  )
  assert.deepStrictEqual(results.map(({ skipped }) => skipped).sort(), [false, true])
  yield* append(store, three.slice(0, 0), place(25n, 26n))
  assert.strictEqual(yield* second.streamPosition(name), 26n)
  assertRows(yield* readTrades(store, to.ids), inReadOrder([one, two]), "trades")
  const rows = [...one.rows(), ...two.rows()]
  assertRows(yield* readBars(second, to.ids, "1m"), BarModel.bars(rows, "1m"), "bars")
})

/** Cards S-310 to S-390. */
export const cards: ReadonlyArray<StoreCard> = [
  skipped,
  repeated,
  overlapping,
  resume,
  beginTogether,
  holes,
  failedSegment,
  stream
]
