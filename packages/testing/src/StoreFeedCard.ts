/** Cards S-550 to S-608: what live feeds hold, by their sessions. */
import {
  Coverage,
  crashNotes,
  type FeedNote,
  type InstrumentId,
  type MarketSchema,
  type MarketStore,
  type StoreError,
  type TimeRange,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect, Fiber } from "effect"
import { assert } from "vitest"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import * as FeedModel from "./FeedModel.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  append,
  appendAll,
  assertRefused,
  at,
  card,
  market,
  readTrades,
  type StoreCard,
  StoreFixture,
  theStore
} from "./StoreCard.ts"

type Store = MarketStore["Service"]

const nine = at("2024-09-02T09:00:00Z")
/** Seconds after nine. */
const second = (n: number): bigint => nine + BigInt(Math.round(n * 1e9))
const seconds = (from: number, to: number): TimeRange.TimeRange => ({ start: second(from), end: second(to) })
const week = { start: nine - 7n * UnixNanos.PerDay, end: nine + 7n * UnixNanos.PerDay }

/** The notes of one session; times in seconds after nine. */
const session = (key: string, dataset = key, schema: MarketSchema.MarketSchema = "trades") => ({
  started: (time: number): FeedNote => ({
    _tag: "SessionStarted",
    session: key,
    provider: "conformance",
    dataset,
    schema,
    at: second(time)
  }),
  joined: (instruments: ReadonlyArray<InstrumentId>, time: number): FeedNote => ({
    _tag: "InstrumentsJoined",
    session: key,
    instruments,
    at: second(time)
  }),
  left: (instruments: ReadonlyArray<InstrumentId>, time: number): FeedNote => ({
    _tag: "InstrumentsLeft",
    session: key,
    instruments,
    at: second(time)
  }),
  watermark: (time: number): FeedNote => ({ _tag: "Watermark", session: key, at: second(time) }),
  missing: (from: number, to: number, instruments?: ReadonlyArray<InstrumentId>): FeedNote => ({
    _tag: "RowsMissing",
    session: key,
    instruments,
    range: seconds(from, to),
    cause: "disconnect"
  }),
  ended: { _tag: "SessionEnded", session: key } as FeedNote
})

/** `10-20 25.5-30`: seconds after nine. */
const text = (set: Coverage.RangeSet): string =>
  set.map(({ start, end }) => [start, end].map((time) => `${Number(time - nine) / 1e9}`).join("-")).join(" ")

/** `held / missing / expired` of an instrument. */
const said = (store: Store, instrument: InstrumentId): Effect.Effect<string, StoreError> =>
  Effect.map(store.coverage({ instruments: [instrument], schema: "trades", range: week }), (spans) => {
    const { expired, held, missing } = Coverage.resolve(spans, week, week.end)
    return [held, missing, expired].map(text).join(" / ")
  })

const expectSaid = Effect.fnUntraced(function* (
  store: Store,
  instruments: ReadonlyArray<InstrumentId>,
  expected: ReadonlyArray<string>,
  what: string
) {
  const all: Array<string> = []
  for (const instrument of instruments) all.push(yield* said(store, instrument))
  assert.deepStrictEqual(all, expected, what)
})

/**
 * Prerequisite: two instruments.
 * Action: start a session, let one instrument join at its start and one later, move the watermark, once backward and once
 * to the inside of a microsecond; times of joining inside a microsecond, too.
 * Pass: each is held from its joining to the watermark, in whole microseconds rounded inward; nothing before the watermark
 * has moved; an earlier watermark changes nothing.
 */
const watermark = card("S-550", "a session holds from joining to the watermark", function* () {
  const { first, second: other } = yield* StoreFixture
  const { ids } = yield* market(first, "S.FEED.MARK", { symbols: 2 })
  const feed = session("S-550", "S.FEED.MARK")
  yield* first.noteFeed([feed.started(0), feed.joined([ids[0]!], 0)])
  yield* expectSaid(other, ids, [" /  / ", " /  / "], "nothing yet")
  yield* first.noteFeed([feed.watermark(10), feed.joined([ids[1]!], 4.0000001)])
  yield* expectSaid(other, ids, ["0-10 /  / ", "4.000001-10 /  / "], "up to the watermark")
  yield* first.noteFeed([feed.watermark(5)])
  yield* expectSaid(other, ids, ["0-10 /  / ", "4.000001-10 /  / "], "an earlier watermark")
  yield* first.noteFeed([feed.watermark(20.0000019), feed.joined([ids[1]!], -5)])
  yield* expectSaid(
    other,
    ids,
    ["0-20.000001 /  / ", "0-20.000001 /  / "],
    "earlier joining, not before the start"
  )
})

/**
 * Prerequisite: four instruments in a session.
 * Action: one leaves and comes back twice; one leaves and joins at the same moment; one joins and leaves at the same moment; one
 * joins and leaves within a microsecond.
 * Pass: held is what each was there for.
 */
const leaving = card("S-554", "instruments leave a session and come back", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.FEED.LEFT", { symbols: 4 })
  const [one, two, three, four] = ids as [number, number, number, number]
  const feed = session("S-554", "S.FEED.LEFT")
  yield* store.noteFeed([feed.started(0), feed.joined([one, two], 0), feed.watermark(5)])
  yield* store.noteFeed([feed.left([one], 10), feed.joined([one], 20), feed.watermark(25)])
  yield* store.noteFeed([feed.left([two], 26), feed.joined([two], 26)])
  yield* store.noteFeed([feed.joined([three], 27), feed.left([three], 27)])
  yield* store.noteFeed([feed.joined([four], 28.0000002), feed.left([four], 28.0000009)])
  yield* store.noteFeed([feed.left([one], 30.0000015), feed.watermark(40), feed.joined([one], 35)])
  yield* expectSaid(
    store,
    ids,
    ["0-10 20-30.000001 35-40 /  / ", "0-40 /  / ", " /  / ", " /  / "],
    "held while in the session"
  )
})

/**
 * Prerequisite: three instruments, two of them in a session.
 * Action: rows of all are missing, and others of one alone, before and behind the watermark; one leaves; the third joins from a
 * time before; a part is claimed later.
 * Pass: exactly these times of these instruments are missing, with the cause, while they were in the session; what is claimed is
 * held, and stays so when all notes come again.
 */
const missing = card("S-558", "missing rows are missing until something claims them", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.FEED.MISSING", { symbols: 3 })
  const [one, two, three] = ids as [number, number, number]
  const feed = session("S-558", "S.FEED.MISSING")
  const notes = [
    feed.started(0),
    feed.joined([one, two], 0),
    feed.watermark(10),
    feed.missing(12, 14),
    feed.missing(16, 18, [two, three]),
    feed.left([two], 30),
    feed.watermark(40),
    feed.joined([three], 13),
    feed.missing(38.0000001, 50)
  ]
  for (const note of notes) yield* store.noteFeed([note])
  const before = [
    "0-12 14-38 / 12-14 38-50 / ",
    "0-12 14-16 18-30 / 12-14 16-18 / ",
    "14-16 18-38 / 13-14 16-18 38-50 / "
  ]
  yield* expectSaid(store, ids, before, "missing")
  const spans = yield* store.coverage({ instruments: ids, states: ["missing"] })
  assert.deepStrictEqual([...new Set(spans.map((span) => span.cause))], ["disconnect"])
  yield* store.claimCoverage([{ instrument: one, schema: "trades", range: seconds(11, 13) }])
  const after = ["0-13 14-38 / 13-14 38-50 / ", before[1]!, before[2]!]
  yield* expectSaid(store, ids, after, "claimed")
  yield* store.noteFeed(notes)
  yield* expectSaid(store, ids, after, "noted again")
})

/**
 * Prerequisite: a session with gaps.
 * Action: end it; note all of it again, and things that would change it; start another session of the same dataset.
 * Pass: what was held is held, and nothing else; the new session holds its own time.
 */
const ending = card("S-562", "a session that has ended holds what it held", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.FEED.ENDED", { symbols: 2 })
  const feed = session("S-562", "S.FEED.ENDED")
  const notes = [
    feed.started(0),
    feed.joined(ids, 0),
    feed.watermark(20),
    feed.missing(5, 6),
    feed.left([ids[1]!], 15)
  ]
  yield* store.noteFeed(notes)
  const expected = ["0-5 6-20 / 5-6 / ", "0-5 6-15 / 5-6 / "]
  yield* expectSaid(store, ids, expected, "before the end")
  yield* store.noteFeed([feed.ended])
  yield* expectSaid(store, ids, expected, "after the end")
  yield* store.noteFeed(notes)
  yield* store.noteFeed([feed.watermark(90), feed.joined([ids[1]!], 2), feed.left([ids[0]!], 3)])
  yield* store.noteFeed([feed.missing(8, 9), feed.ended])
  yield* expectSaid(store, ids, expected, "noted behind the end")
  const next = session("S-562 b", "S.FEED.ENDED")
  yield* store.noteFeed([next.started(30), next.joined(ids, 30), next.watermark(35)])
  yield* expectSaid(
    store,
    ids,
    ["0-5 6-20 30-35 / 5-6 / ", "0-5 6-15 30-35 / 5-6 / "],
    "the session after it"
  )
})

/**
 * Prerequisite: a session that is known.
 * Action: note something of an unknown session, behind something of the known one; the start of it, behind something of it; a
 * start of the known one with another schema; append rows with such notes.
 * Pass: all are refused, with the name of the session, and nothing of them is written.
 */
const unknown = card("S-566", "notes of an unknown session are refused, all of the call", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.FEED.UNKNOWN")
  const feed = session("S-566", "S.FEED.UNKNOWN")
  const other = session("S-566 never", "S.FEED.UNKNOWN")
  yield* store.noteFeed([feed.started(0), feed.joined(ids, 0), feed.watermark(10)])
  const refused: ReadonlyArray<ReadonlyArray<FeedNote>> = [
    [feed.watermark(20), other.watermark(20)],
    [other.joined(ids, 0), other.started(0)],
    [feed.watermark(30), session("S-566", "S.FEED.UNKNOWN", "mbp-1").started(0)]
  ]
  for (const notes of refused) {
    const error = yield* Effect.match(store.noteFeed(notes), {
      onSuccess: () => assert.fail("the notes were taken"),
      onFailure: (failure) => failure
    })
    assert.strictEqual(error.reason._tag, "StoreBadRequest")
    assert.include(error.message, "S-566")
  }
  const batch = BatchArbitrary.trades(new SeededRandom(566), {
    context,
    instruments: ids,
    rows: 10,
    start: nine
  })
  const run = yield* store.beginRun({
    kind: "live",
    source: "unknown",
    provider: "conformance",
    dataset: "S.FEED.UNKNOWN"
  })
  yield* assertRefused(
    store.append(batch, { run: run.id, segment: 0, feed: refused[0] }),
    ["StoreBadRequest"],
    "an append with notes of an unknown session"
  )
  assert.strictEqual((yield* readTrades(store, ids)).length, 0)
  yield* expectSaid(store, ids, ["0-10 /  / "], "as before")
  // A start that comes first makes it known.
  yield* store.noteFeed([other.started(10), other.joined(ids, 10), other.watermark(12)])
  yield* expectSaid(store, ids, ["0-12 /  / "], "started in the same call")
})

/**
 * Prerequisite: a run.
 * Action: append rows with notes, an empty batch with notes, and the first segment again with other notes.
 * Pass: notes are written with the rows, and without rows; those of a segment that is there already are not looked at.
 */
const appended = card("S-570", "notes come with rows, and with an empty batch", function* () {
  const store = yield* theStore
  const { context, ids } = yield* market(store, "S.FEED.APPEND")
  const feed = session("S-570", "S.FEED.APPEND")
  const batch = BatchArbitrary.trades(new SeededRandom(570), {
    context,
    instruments: ids,
    rows: 20,
    start: nine
  })
  const { id: run } = yield* store.beginRun({
    kind: "live",
    source: "appends",
    provider: "conformance",
    dataset: "S.FEED.APPEND"
  })
  const first = { run, segment: 0, feed: [feed.started(0), feed.joined(ids, 0), feed.watermark(10)] }
  assert.strictEqual((yield* append(store, batch, first)).inserted, 20)
  yield* expectSaid(store, ids, ["0-10 /  / "], "with rows")
  const none = tradeBuilder(context, 1).flush()
  const second = yield* append(store, none, { run, segment: 1, feed: [feed.watermark(30)] })
  assert.isFalse(second.skipped)
  yield* expectSaid(store, ids, ["0-30 /  / "], "with an empty batch")
  const again = yield* append(store, batch, { ...first, feed: [feed.watermark(50)] })
  assert.isTrue(again.skipped)
  yield* expectSaid(store, ids, ["0-30 /  / "], "with a segment that is there")
})

const Flushes = 30
const PerFlush = 5

/** Flushes of five rows a second each, every one with its watermark. */
const writeFlushes = Effect.fnUntraced(function* (
  store: Store,
  to: { readonly context: Parameters<typeof tradeBuilder>[0]; readonly ids: ReadonlyArray<number> }
) {
  const feed = session("S-574", "S.FEED.TOGETHER")
  yield* store.noteFeed([feed.started(0), feed.joined(to.ids, 0)])
  const run = yield* store.beginRun({
    kind: "live",
    source: "flushes",
    provider: "conformance",
    dataset: "S.FEED.TOGETHER"
  })
  for (let segment = 0; segment < Flushes; segment++) {
    const batch = BatchArbitrary.trades(new SeededRandom(574 + segment), {
      context: to.context,
      instruments: to.ids,
      rows: PerFlush,
      start: second(segment),
      span: UnixNanos.PerSecond
    })
    yield* append(store, batch, { run: run.id, segment, feed: [feed.watermark(segment + 1)] })
  }
})

/**
 * Prerequisite: a writer that appends one second after another, each with its watermark.
 * Action: another program reads the coverage and then the rows, and the other way round, all the while.
 * Pass: at no moment is a second held whose rows are not there, nor are rows there whose second is not held.
 */
const together = card("S-574", "a watermark is visible exactly when its rows are", function* () {
  const { first, second: other } = yield* StoreFixture
  const to = yield* market(first, "S.FEED.TOGETHER")
  const held = Effect.map(other.coverage({ instruments: to.ids, states: ["held"] }), (spans) => {
    const set = Coverage.ranges(spans.map((span) => span.range))
    return Array.from({ length: Flushes }, (_, i) => Coverage.covers(set, seconds(i, i + 1)))
  })
  const stored = Effect.map(readTrades(other, to.ids), (rows) =>
    Array.from(
      { length: Flushes },
      (_, i) => rows.filter((row) => row.time >= second(i) && row.time < second(i + 1)).length
    )
  )
  let partly = 0
  const watch = Effect.gen(function* () {
    const [before, rows, after] = [yield* held, yield* stored, yield* held]
    for (let i = 0; i < Flushes; i++) {
      if (before[i]) assert.strictEqual(rows[i], PerFlush, `second ${i} was held without its rows`)
      if (rows[i]! > 0) assert.isTrue(after[i], `second ${i} has rows and is not held`)
    }
    if (rows.includes(0) && rows.some((count) => count > 0)) partly += 1
  })
  const writer = yield* Effect.forkChild(writeFlushes(first, to), { startImmediately: true })
  while (writer.pollUnsafe() === undefined) {
    yield* watch
    yield* Effect.yieldNow
  }
  yield* Fiber.join(writer)
  assert.deepStrictEqual(yield* held, new Array(Flushes).fill(true))
  assert.isAtLeast(partly, 1, "the reader saw the writer at work")
})

/**
 * Prerequisite: three sessions, one of them ended.
 * Action: ask for the open ones; end one of them as after a crash.
 * Pass: they come by key, with what was noted about them; after the crash the hole is missing with its cause and the session is no
 * longer open.
 */
const open = card("S-578", "open sessions are found and ended after a crash", function* () {
  const { first, second: other } = yield* StoreFixture
  const { ids } = yield* market(first, "S.FEED.OPEN", { symbols: 3 })
  const [b, a, gone] = ["b", "a", "gone"].map((name) => session(`S-578 ${name}`, "S.FEED.OPEN"))
  yield* first.noteFeed([b!.started(0), b!.joined(ids, 1), b!.left([ids[0]!], 5), b!.watermark(10)])
  yield* first.noteFeed([a!.started(2.0000001), gone!.started(0), gone!.ended])
  const mine = Effect.map(other.openFeedSessions, (all) =>
    all.filter((each) => each.dataset === "S.FEED.OPEN")
  )
  const found = yield* mine
  assert.isTrue(found.every((each) => each.notedAt > 0n))
  const same = { provider: "conformance", dataset: "S.FEED.OPEN", schema: "trades" }
  assert.deepStrictEqual(
    found.map(({ notedAt: _, ...each }) => each),
    [
      {
        ...same,
        session: "S-578 a",
        startedAt: second(2.000001),
        watermark: second(2.000001),
        instruments: 0
      },
      { ...same, session: "S-578 b", startedAt: second(0), watermark: second(10), instruments: 2 }
    ] as never
  )
  yield* other.noteFeed(crashNotes(found[1]!, second(60)))
  assert.deepStrictEqual(
    (yield* mine).map((each) => each.session),
    ["S-578 a"]
  )
  yield* expectSaid(first, ids, ["1-5 /  / ", "1-10 / 10-60 / ", "1-10 / 10-60 / "], "after the crash")
  const spans = yield* first.coverage({ instruments: [ids[1]!], states: ["missing"] })
  assert.deepStrictEqual(
    spans.map((span) => span.cause),
    ["crash"]
  )
})

/**
 * Prerequisite: six sessions of one dataset with the same instruments.
 * Action: two programs note all of them at the same time, each session another time, and end them.
 * Pass: what each of them holds is held, of every instrument.
 */
const concurrent = card("S-582", "several programs note several sessions at once", function* () {
  const { first, second: other } = yield* StoreFixture
  const { ids } = yield* market(first, "S.FEED.MANY", { symbols: 8 })
  const one = (n: number) =>
    Effect.gen(function* () {
      const feed = session(`S-582 ${n}`, "S.FEED.MANY")
      const store = n % 2 === 0 ? first : other
      const from = n * 100
      yield* store.noteFeed([feed.started(from), feed.joined(n % 3 === 0 ? ids : ids.toReversed(), from)])
      for (let i = 1; i <= 10; i++) yield* store.noteFeed([feed.watermark(from + i)])
      yield* store.noteFeed([feed.missing(from + 2, from + 3), feed.ended])
    })
  yield* Effect.all(
    Array.from({ length: 6 }, (_, n) => one(n)),
    { concurrency: "unbounded" }
  )
  const starts = Array.from({ length: 6 }, (_, n) => n * 100)
  const held = starts.map((n) => `${n}-${n + 2} ${n + 3}-${n + 10}`).join(" ")
  const gaps = starts.map((n) => `${n + 2}-${n + 3}`).join(" ")
  yield* expectSaid(
    other,
    ids,
    ids.map(() => `${held} / ${gaps} / `),
    "all sessions"
  )
})

/** A feed of some hours whose times go on, with a few that come late. */
const someNotes = (
  random: SeededRandom,
  key: string,
  dataset: string,
  ids: ReadonlyArray<number>
): Array<FeedNote> => {
  const feed = session(key, dataset)
  const notes = [feed.started(0), feed.joined(random.shuffle([...ids]).slice(0, 2), 0)]
  let now = 0
  for (let i = 0; i < 25; i++) {
    now += random.below(900) + random.below(1_000_000_000) / 1e9
    const some = random.shuffle([...ids]).slice(0, random.between(1, ids.length))
    const late = random.chance(0.2) ? Math.max(0, now - random.below(5_000)) : now
    const what = random.below(10)
    if (what < 5) notes.push(feed.watermark(late))
    else if (what < 7) notes.push(feed.joined(some, late))
    else if (what < 8) notes.push(feed.left(some, now))
    else {
      const length = random.below(300) + 0.0000003
      notes.push(feed.missing(now, now + length, random.chance(0.5) ? some : undefined))
    }
  }
  return random.chance(0.5) ? [...notes, feed.ended] : notes
}

/**
 * Prerequisite: six feeds of some hours each with four instruments.
 * Action: note them in parts of any size; between the parts, and after, note any prefix of what was noted again, in parts of any
 * other size.
 * Pass: held and missing are what the whole list of notes says, each time.
 */
const anyParts = card("S-586", "notes in any parts, repeated from the start, say the same", function* () {
  const store = yield* theStore
  for (let n = 0; n < 6; n++) {
    const random = new SeededRandom(586 + n)
    const dataset = `S.FEED.PARTS.${n}`
    const { ids } = yield* market(store, dataset, { symbols: 4 })
    const notes = someNotes(random, `S-586 ${n}`, dataset, ids)
    const give = Effect.fnUntraced(function* (list: ReadonlyArray<FeedNote>) {
      for (let from = 0; from < list.length; ) {
        const to = from + random.between(1, 6)
        yield* store.noteFeed(list.slice(from, to))
        from = to
      }
    })
    const middle = random.between(1, notes.length - 1)
    for (const [from, to] of [
      [0, middle],
      [middle, notes.length]
    ] as const) {
      yield* give(notes.slice(from, to))
      const known = notes.slice(0, to)
      yield* give(known.slice(0, random.between(1, known.length)))
      const mine = FeedModel.ofSession(known, `S-586 ${n}`)
      const expected = ids.map((id) => FeedModel.states(mine, id))
      yield* expectSaid(
        store,
        ids,
        expected.map(
          ({ held, missing }) => `${text(held)} / ${text(Coverage.intersect(missing, [week]))} / `
        ),
        `feed ${n}, ${known.length} of ${notes.length} notes`
      )
    }
  }
})

/**
 * Prerequisite: a session with a gap.
 * Action: let it go on for three days, an hour and a bit at a time; then note what concerns time long past: an instrument that was
 * there from the start, one that left, and missing rows.
 * Pass: held is one range up to the watermark without the gap, each time; what comes late counts as if it had come in time.
 */
const folding = card("S-590", "a session of days says what a short one says", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.FEED.DAYS", { symbols: 3 })
  const [one, two, three] = ids as [number, number, number]
  const feed = session("S-590", "S.FEED.DAYS")
  const hour = 3_600
  yield* store.noteFeed([feed.started(0), feed.joined([one, two], 0), feed.missing(10, 20)])
  for (let n = 1; n <= 48; n++) {
    yield* store.noteFeed([feed.watermark(n * 1.5 * hour)])
    const spans = yield* store.coverage({ instruments: [one], schema: "trades", states: ["held"] })
    assert.deepStrictEqual(
      spans.map((span) => text([span.range])),
      ["0-10", `20-${n * 1.5 * hour}`]
    )
  }
  const end = 72 * hour
  yield* store.noteFeed([feed.joined([three], 5)])
  yield* store.noteFeed([feed.left([two], 1_000), feed.joined([two], 2_000)])
  yield* store.noteFeed([feed.missing(3_000, 4_000), feed.missing(5_000, 6_000, [one])])
  const expected = [
    `0-10 20-3000 4000-5000 6000-${end} / 10-20 3000-4000 5000-6000 / `,
    `0-10 20-1000 2000-3000 4000-${end} / 10-20 3000-4000 / `,
    `5-10 20-3000 4000-${end} / 10-20 3000-4000 / `
  ]
  yield* expectSaid(store, ids, expected, "what comes late")
  yield* store.noteFeed([feed.ended])
  yield* expectSaid(store, ids, expected, "after the end")
})

/**
 * Prerequisite: a database of its own; trades of 1999 and 2002 and a session that has held all the time between and goes on,
 * one that has ended, and one of quotes; a second instrument joins only afterwards.
 * Action: expire trades before the middle of 2001; go on noting; end the session.
 * Pass: time before is expired, of both instruments not held; what follows is held; quotes are held as before.
 */
const retention = card(
  "S-594",
  "what retention removes is held by no session",
  function* () {
    const { first: store, second: other } = yield* StoreFixture
    const { context, ids } = yield* market(store, "S.FEED.OLD", { symbols: 2 })
    const rows = { context, instruments: ids.slice(0, 1), rows: 20, span: UnixNanos.PerDay }
    yield* appendAll(
      store,
      ["1999-03-04", "2002-03-04"].map((day, i) =>
        BatchArbitrary.trades(new SeededRandom(594 + i), { ...rows, start: at(day) })
      )
    )
    const [start, end] = [at("1999-01-01"), at("2003-01-01")]
    const inSeconds = (time: bigint): number => Number(time - nine) / 1e9
    const feed = session("S-594", "S.FEED.OLD")
    const quotes = session("S-594 quotes", "S.FEED.OLD", "mbp-1")
    for (const each of [feed, quotes])
      yield* store.noteFeed([
        each.started(inSeconds(start)),
        each.joined(ids.slice(0, 1), inSeconds(start)),
        each.watermark(inSeconds(at("2000-05-05"))),
        each.watermark(inSeconds(end))
      ])
    const before = at("2001-06-15T12:00:00Z")
    assert.isAtLeast((yield* store.expireTrades(before)).partitions, 1)
    const within = { start, end: end + UnixNanos.PerDay }
    const resolved = (instrument: number, schema: MarketSchema.MarketSchema) =>
      Effect.map(other.coverage({ instruments: [instrument], schema }), (spans) =>
        Coverage.resolve(spans, within, within.end)
      )
    const states = yield* resolved(ids[0]!, "trades")
    assert.strictEqual(states.expired.length, 1)
    const edge = states.expired[0]!.end
    assert.isTrue(edge <= before && edge > at("1999-03-04"))
    assert.deepStrictEqual([states.held, states.expired], [[{ start: edge, end }], [{ start, end: edge }]])
    yield* store.noteFeed([
      feed.joined([ids[1]!], inSeconds(start)),
      feed.watermark(inSeconds(end) + 60),
      feed.ended
    ])
    const after = { start: edge, end: end + 60n * UnixNanos.PerSecond }
    const [one, two] = [yield* resolved(ids[0]!, "trades"), yield* resolved(ids[1]!, "trades")]
    assert.deepStrictEqual([one.held, one.expired], [[after], [{ start, end: edge }]])
    assert.deepStrictEqual([two.held, two.expired], [[after], []])
    assert.deepStrictEqual((yield* resolved(ids[0]!, "mbp-1")).held, [{ start, end }])
  },
  "own"
)

/**
 * Prerequisite: a session, and the noted revision of two of its hours.
 * Action: one of the hours is revised, and time is marked as expired, some of it behind the watermark; note everything again, and
 * go on.
 * Pass: the revised hour is missing with the cause "revised", the expired time expired up to the watermark; what follows is held.
 */
const revised = card("S-598", "what is revised or expired is held by no session", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.FEED.REVISED")
  const feed = session("S-598", "S.FEED.REVISED")
  const notes = [feed.started(0), feed.joined(ids, 0), feed.watermark(3_700), feed.watermark(9_000)]
  for (const note of notes) yield* store.noteFeed([note])
  const look = (revision: string) =>
    store.noteRevisions({
      provider: "conformance",
      dataset: "S.FEED.REVISED",
      schema: "trades",
      revisions: [
        { range: seconds(0, 3_600), revision: "1" },
        { range: seconds(3_600, 7_200), revision }
      ]
    })
  yield* look("1")
  yield* expectSaid(store, ids, ["0-9000 /  / "], "noted for the first time")
  yield* look("2")
  yield* expectSaid(store, ids, ["0-3600 7200-9000 / 3600-7200 / "], "revised")
  const spans = yield* store.coverage({ instruments: ids, states: ["missing"] })
  assert.isTrue(spans.every((span) => span.cause === Coverage.Revised))
  yield* store.markCoverage([
    { instrument: ids[0]!, schema: "trades", state: "expired", range: seconds(0, 1_000) },
    { instrument: ids[0]!, schema: "trades", state: "expired", range: seconds(8_500, 9_500) }
  ])
  yield* expectSaid(store, ids, ["1000-3600 7200-8500 / 3600-7200 / 0-1000 8500-9500"], "marked as expired")
  yield* store.noteFeed([...notes, feed.watermark(20_000)])
  const expected = "1000-3600 7200-8500 9000-20000 / 3600-7200 / 0-1000 8500-9000"
  yield* expectSaid(store, ids, [expected], "and on")
  yield* store.noteFeed([feed.ended])
  yield* expectSaid(store, ids, [expected], "ended")
})

const Crowd = 20_000

/**
 * Prerequisite: none of the instruments needs a name.
 * Action: 20,000 instruments join a session in one note; flushes move its watermark; rows of all are missing; it goes on for more
 * than an hour and ends.
 * Pass: all of them are held, before and after, without the missing time.
 */
const crowd = card(
  "S-602",
  "20,000 instruments in one session",
  function* () {
    const { first: store, second: other } = yield* StoreFixture
    const feed = session("S-602", "S.FEED.CROWD")
    const ids = Array.from({ length: Crowd }, (_, i) => 1_000_000 + i)
    yield* store.noteFeed([feed.started(0), feed.joined(ids, 0)])
    for (let i = 1; i <= 10; i++) yield* store.noteFeed([feed.watermark(i)])
    const check = (expected: string) =>
      Effect.map(other.coverage({ schema: "trades", states: ["held"] }), (spans) => {
        const byId = new Map<number, Array<TimeRange.TimeRange>>()
        for (const span of spans)
          byId.set(span.instrument, [...(byId.get(span.instrument) ?? []), span.range])
        assert.strictEqual(byId.size, Crowd)
        for (const id of ids) assert.strictEqual(text(byId.get(id) ?? []), expected)
      })
    yield* check("0-10")
    yield* store.noteFeed([feed.missing(4, 5), feed.watermark(4_000), feed.ended])
    yield* check("0-4 5-4000")
  },
  "own"
)

/**
 * Prerequisite: two instruments in a session of trades, one of them in one of quotes, too.
 * Action: ask by instrument, schema, range and state.
 * Pass: each answer holds exactly what was asked for.
 */
const filters = card("S-606", "live coverage is found by instrument, schema, range and state", function* () {
  const store = yield* theStore
  const { ids } = yield* market(store, "S.FEED.FILTERS", { symbols: 2 })
  const [one, two] = ids as [number, number]
  const trades = session("S-606", "S.FEED.FILTERS")
  const quotes = session("S-606 quotes", "S.FEED.FILTERS", "mbp-1")
  yield* store.noteFeed([
    trades.started(0),
    trades.joined(ids, 0),
    trades.left([two], 5),
    trades.watermark(9)
  ])
  yield* store.noteFeed([quotes.started(0), quotes.joined([one], 2), quotes.watermark(7)])
  yield* store.noteFeed([trades.missing(3, 4, [two])])
  const ask = (request: Parameters<Store["coverage"]>[0]) =>
    Effect.map(store.coverage(request), (spans) =>
      spans
        .filter((each) => ids.includes(each.instrument))
        .map((each) => {
          const name = each.instrument === one ? "one" : "two"
          return `${name} ${each.schema} ${each.state} ${text([each.range])}`
        })
        .sort()
    )
  const all = [
    "one mbp-1 held 2-7",
    "one trades held 0-9",
    "two trades held 0-3",
    "two trades held 4-5",
    "two trades missing 3-4"
  ]
  assert.deepStrictEqual(yield* ask({}), all)
  assert.deepStrictEqual(yield* ask({ instruments: [one] }), all.slice(0, 2))
  assert.deepStrictEqual(yield* ask({ instruments: ids, schema: "mbp-1" }), all.slice(0, 1))
  assert.deepStrictEqual(yield* ask({ instruments: ids, states: ["missing"] }), all.slice(4))
  assert.deepStrictEqual(yield* ask({ instruments: ids, range: seconds(7, 20) }), all.slice(1, 2))
  assert.deepStrictEqual(yield* ask({ instruments: [two], range: seconds(4, 9), states: ["held"] }), [
    all[3]!
  ])
})

/** Cards S-550 to S-608. */
export const cards: ReadonlyArray<StoreCard> = [
  watermark,
  leaving,
  missing,
  ending,
  unknown,
  appended,
  together,
  open,
  concurrent,
  anyParts,
  folding,
  retention,
  revised,
  crowd,
  filters
]
