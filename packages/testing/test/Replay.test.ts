// The replay of stored rows: what comes through the hub against a direct read of the store, and when it comes against the
// plainest reckoning of when it is due. Time is the test's own.
import {
  Hub,
  isReplay,
  type MarketBatch,
  MarketSchema,
  MarketStore,
  Publication,
  Replay,
  StoreMigrations,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as BatchArbitrary from "../src/BatchArbitrary.ts"
import * as BatchRow from "../src/BatchRow.ts"
import { SeededRandom } from "../src/SeededRandom.ts"
import { at, market } from "../src/StoreCard.ts"
import { memoryDatabase } from "./MemoryStore.ts"

type Store = MarketStore["Service"]

const start = at("2026-01-05T14:30:00Z")

const memoryStore: Effect.Effect<Store> = Effect.gen(function* () {
  const database = yield* memoryDatabase()
  yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(database.migrations))
  return yield* Effect.map(MarketStore, (store) => store).pipe(Effect.provide(database.store))
}).pipe(Effect.orDie)

/** A store with rows of several schemas in a period. Answers with the instruments. */
const filled = (store: Store, random: SeededRandom, span: bigint, rows: number, schemas = allSchemas) =>
  Effect.gen(function* () {
    const { context, ids } = yield* market(store, "S.REPLAY", { symbols: 3 })
    const { id: run } = yield* store.beginRun({
      kind: "import",
      source: "test",
      provider: "test",
      dataset: "S.REPLAY"
    })
    const options = { context, instruments: ids, rows, start, span, bursts: 0.4 }
    for (const [segment, schema] of schemas.entries()) {
      const batch =
        schema === "trades"
          ? BatchArbitrary.trades(random, options)
          : MarketSchema.kind(schema) === "quotes"
            ? BatchArbitrary.quotes(random, { ...options, schema })
            : BatchArbitrary.books(random, { ...options, schema })
      yield* store.append(batch, { run, segment })
    }
    return ids
  }).pipe(Effect.orDie)

const allSchemas: ReadonlyArray<MarketSchema.MarketSchema> = ["trades", "mbp-1", "bbo-1s", "mbp-10"]

/** A row as it came, and when: ns of the test's clock. */
interface Came {
  readonly row: BatchRow.BatchRow
  readonly at: bigint
}

/** A hub that writes down what comes. */
const recording = Effect.gen(function* () {
  const hub = Hub.make()
  const clock = yield* Clock.Clock
  const came: Array<Came> = []
  const batches: Array<MarketBatch> = []
  yield* hub.attach({
    name: "record",
    deliver: ({ entry }) => {
      if (entry._tag !== "FeedRows") return
      batches.push(entry.batch)
      for (const row of BatchRow.of(entry.batch)) came.push({ row, at: clock.monotonicTimeNanosUnsafe() })
    }
  })
  return { hub, came, batches }
})

/** Lets time pass in steps of chance until the work is done. */
const throughTime = <A, E>(work: Effect.Effect<A, E>, random: SeededRandom): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(work, { startImmediately: true })
    while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(Duration.millis(random.between(1, 700)))
    return yield* Fiber.join(fiber)
  })

const texts = (rows: ReadonlyArray<BatchRow.BatchRow>): ReadonlyArray<string> => rows.map(BatchRow.text)

/** The rows of a window as single reads of the store give them, put in order. */
const readDirectly = (store: Store, ids: ReadonlyArray<number>, schemas: typeof allSchemas, range: Range) =>
  Effect.gen(function* () {
    const rows: Array<BatchRow.BatchRow> = []
    for (const schema of schemas) {
      const batches = yield* Stream.runCollect(
        Replay.readWindow(store, { instruments: ids, schemas: [schema], range })
      )
      rows.push(...BatchRow.ofAll(batches))
    }
    return rows.map((row, i) => ({ row, i })).sort((a, b) => BatchRow.readOrder(a.row, b.row) || a.i - b.i)
  }).pipe(Effect.map((rows) => rows.map(({ row }) => row)))

interface Range {
  readonly start: bigint
  readonly end: bigint
}

/** When each row is due, ns after the first one: silence takes its time, but not more than the longest gap. */
const dueTimes = (rows: ReadonlyArray<BatchRow.BatchRow>, speed: number, maxGap: number) => {
  let due = 0
  return rows.map((row, i) => {
    const gap = i === 0 ? 0 : Number(row.time - rows[i - 1]!.time) / speed
    due += Math.min(gap, maxGap)
    return due
  })
}

describe("replay", () => {
  it.effect.each(Array.from({ length: 24 }, (_, seed) => seed))(
    "order, content and times are those of the store: seed %i",
    (seed) =>
      Effect.gen(function* () {
        const random = new SeededRandom(seed)
        const store = yield* memoryStore
        const span = BigInt(random.pick([1, 60, 3_600])) * UnixNanos.PerSecond
        const ids = yield* filled(store, random, span, random.between(1, 120))
        const schemas = random.shuffle(allSchemas).slice(0, random.between(1, 4))
        const range = { start: start + span / 10n, end: start + span - span / 10n }
        const expected = yield* readDirectly(store, ids, schemas, range)
        const speed = random.pick([0.5, 1, 2.5, 10, 1_000, "max"] as const)
        const maxGap = random.pick([undefined, Duration.millis(random.between(0, 5_000))])
        const { hub, came, batches } = yield* recording
        const replay = yield* Replay.make({
          store,
          hub,
          schemas,
          range,
          speed,
          maxGap,
          instruments: ids,
          batchRows: random.between(1, 50)
        })
        const done = yield* speed === "max" ? replay.run : throughTime(replay.run, random)
        assert.deepStrictEqual(texts(came.map(({ row }) => row)), texts(expected))
        assert.isTrue(batches.every(isReplay))
        assert.strictEqual(done.rows, BigInt(expected.length))
        assert.deepStrictEqual([done.state, done.batches], ["ended", BigInt(batches.length)])
        if (speed === "max") {
          assert.isTrue(came.every((each) => each.at === came[0]!.at))
          return
        }
        const longest = maxGap === undefined ? Number.POSITIVE_INFINITY : Duration.toMillis(maxGap) * 1e6
        const due = dueTimes(expected, speed, longest)
        for (const [i, each] of came.entries()) {
          const late = Number(each.at - came[0]!.at) - due[i]!
          // Never early, but for the rounding of numbers; late by less than a timer's grain.
          assert.isAtLeast(late, -1_000, `row ${i}`)
          assert.isBelow(late, 1_001_000, `row ${i}`)
        }
        assert.isBelow(Number(done.worstBehind), 1_001_000)
        const last = expected.at(-1)
        if (last !== undefined && maxGap === undefined)
          assert.strictEqual(done.played, last.time - expected[0]!.time)
      }).pipe(Effect.scoped)
  )

  it.effect("rows that are due together go out together: no timer per row", () =>
    Effect.gen(function* () {
      const random = new SeededRandom(7)
      const store = yield* memoryStore
      const ids = yield* filled(store, random, UnixNanos.PerSecond, 5_000, ["trades"])
      const { hub, came, batches } = yield* recording
      const range = { start, end: start + UnixNanos.PerSecond }
      const replay = yield* Replay.make({
        store,
        hub,
        range,
        instruments: ids,
        schemas: ["trades"],
        speed: 10
      })
      yield* throughTime(replay.run, random)
      assert.strictEqual(came.length, 5_000)
      // A tenth of a second has a hundred grains.
      assert.isAtMost(batches.length, 110)
    }).pipe(Effect.scoped)
  )

  it.effect("an interrupted replay ends between two batches, and has said how far it came", () =>
    Effect.gen(function* () {
      const random = new SeededRandom(8)
      const store = yield* memoryStore
      const ids = yield* filled(store, random, 60n * UnixNanos.PerSecond, 200, ["trades"])
      const { hub, came } = yield* recording
      const range = { start, end: start + 60n * UnixNanos.PerSecond }
      const replay = yield* Replay.make({
        store,
        hub,
        range,
        instruments: ids,
        schemas: ["trades"],
        speed: 1
      })
      const fiber = yield* Effect.forkChild(replay.run, { startImmediately: true })
      yield* TestClock.adjust("20 seconds")
      yield* Fiber.interrupt(fiber)
      const { position, rows, state } = replay.status()
      assert.strictEqual(state, "ended")
      assert.strictEqual(Number(rows), came.length)
      assert.strictEqual(position, came.at(-1)!.row.time)
      assert.isAbove(came.length, 20)
      assert.isBelow(came.length, 180)
    }).pipe(Effect.scoped)
  )

  it.effect("a subscriber that blocks slows it down and loses nothing", () =>
    Effect.gen(function* () {
      const random = new SeededRandom(9)
      const store = yield* memoryStore
      const ids = yield* filled(store, random, UnixNanos.PerSecond, 2_000, ["trades"])
      const hub = Hub.make()
      const slow = yield* hub.subscribe({ name: "slow", policy: "block", capacity: 50 })
      const range = { start, end: start + UnixNanos.PerSecond }
      const replay = yield* Replay.make({
        store,
        hub,
        range,
        instruments: ids,
        schemas: ["trades"],
        speed: "max",
        batchRows: 20
      })
      const fiber = yield* Effect.forkChild(replay.run, { startImmediately: true })
      const rows: Array<BatchRow.BatchRow> = []
      while (rows.length < 2_000) {
        const events = yield* slow.take
        assert.isAtMost(slow.status().waiting, 70)
        for (const event of events)
          if (event._tag === "HubEntry" && event.entry._tag === "FeedRows")
            rows.push(...BatchRow.of(event.entry.batch))
          else assert.fail(`lost: ${event._tag}`)
        yield* Effect.yieldNow
      }
      yield* Fiber.join(fiber)
      const expected = yield* readDirectly(store, ids, ["trades"], range)
      assert.deepStrictEqual(texts(rows), texts(expected))
    }).pipe(Effect.scoped)
  )

  it.effect("what cannot be played is refused", () =>
    Effect.gen(function* () {
      const store = yield* memoryStore
      const window = { store, hub: Hub.make(), instruments: [1], range: { start, end: start + 1n } }
      const problem = (options: Partial<Replay.ReplayOptions>) =>
        Effect.map(
          Effect.flip(Replay.make({ ...window, schemas: ["trades"], speed: 1, ...options })),
          ({ message }) => message
        )
      assert.include(yield* problem({ speed: 0 }), "speed is 0")
      assert.include(yield* problem({ speed: Number.NaN }), "speed is NaN")
      assert.include(yield* problem({ schemas: [] }), "no schemas")
      assert.include(yield* problem({ schemas: ["ohlcv-1m"] }), "ohlcv-1m cannot be replayed")
    })
  )

  it.effect("holes of a window: what is neither held nor known to be empty, by instrument and schema", () =>
    Effect.gen(function* () {
      const store = yield* memoryStore
      const { ids } = yield* market(store, "S.HOLES", { symbols: 2 }).pipe(Effect.orDie)
      const [a, b] = ids as [number, number]
      const minute = 60n * UnixNanos.PerSecond
      const span = (from: bigint, to: bigint) => ({ start: start + from * minute, end: start + to * minute })
      yield* store.claimCoverage([{ instrument: a, schema: "trades", range: span(0n, 10n) }])
      yield* store.claimCoverage([{ instrument: b, schema: "trades", range: span(0n, 4n) }])
      yield* store.markCoverage([{ instrument: b, schema: "trades", state: "none", range: span(6n, 10n) }])
      const window = { instruments: ids, schemas: ["trades", "mbp-1"] as const, range: span(0n, 10n) }
      assert.deepStrictEqual(yield* Replay.holes(store, window), [
        { instrument: b, schema: "trades", ranges: [span(4n, 6n)] },
        { instrument: a, schema: "mbp-1", ranges: [span(0n, 10n)] },
        { instrument: b, schema: "mbp-1", ranges: [span(0n, 10n)] }
      ])
    }).pipe(Effect.orDie)
  )

  it.effect("waits for as many readers as are wanted", () =>
    Effect.gen(function* () {
      let connected = 0
      const publication = yield* Publication.pipe(
        Effect.provide(
          Layer.mock(Publication, { name: "test", kinds: [], connectionCount: Effect.sync(() => connected) })
        )
      )
      const fiber = yield* Effect.forkChild(Replay.awaitReaders(publication, 2), { startImmediately: true })
      connected = 1
      yield* TestClock.adjust("1 second")
      assert.isUndefined(fiber.pollUnsafe())
      connected = 2
      yield* TestClock.adjust("20 millis")
      assert.isDefined(fiber.pollUnsafe())
    })
  )
})
