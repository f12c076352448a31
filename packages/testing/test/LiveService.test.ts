/** Live collection from a provider into a store, by way of hub and spool: what is stored, and what is said to be held. */
import {
  Coverage,
  InstrumentRegistry,
  isOfLeaseBefore,
  LiveDrain,
  LiveService,
  leaseInstance,
  MarketStore,
  type Provider,
  type Spool,
  StoreError,
  StoreFenced,
  StoreMigrations,
  StoreUnavailable
} from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, FileSystem, Layer, Schedule, Stream } from "effect"
import * as BatchRow from "../src/BatchRow.ts"
import * as TestProvider from "../src/TestProvider.ts"
import { TestVenue } from "../src/TestVenue.ts"
import { memoryDatabase } from "./MemoryStore.ts"

type Store = MarketStore["Service"]

const always = { start: 0n, end: 4_000_000_000_000_000_000n }

const away = new StoreError({
  operation: "append",
  reason: new StoreUnavailable({ detail: "the database is away", hint: "" })
})

/** A store that can go away. */
const switched = (store: Store) => {
  let isAway = false
  const withSwitch: Store = {
    ...store,
    append: (batch, claim) => Effect.suspend(() => (isAway ? Effect.fail(away) : store.append(batch, claim)))
  }
  return {
    store: withSwitch,
    leave: () => {
      isAway = true
    },
    comeBack: () => {
      isAway = false
    }
  }
}

interface Setting {
  readonly store: Store
  readonly venue: TestVenue
  readonly folder: string
  readonly spool?: Partial<Spool.SpoolOptions>
  readonly change?: (provider: Provider) => Provider
  readonly instance?: string
  readonly isOver?: (session: string) => boolean
  readonly replaySeconds?: number
  readonly drain?: Duration.Input
}

let instances = 0

/** A service over the venue, for the scope. */
const start = ({
  store,
  venue,
  folder,
  spool,
  instance,
  isOver,
  replaySeconds = 0,
  drain = "2 seconds",
  change = (provider) => provider
}: Setting) =>
  Effect.gen(function* () {
    instances += 1
    const registry = yield* InstrumentRegistry
    const service = yield* LiveService.make({
      instance: instance ?? `test-${instances}`,
      isOver,
      spool: { folder, maxBytes: 1e9, ...spool },
      providers: (register) =>
        Effect.succeed([change(TestProvider.make(venue, { register, capabilities: { replaySeconds } }))]),
      drainTimeout: drain
    })
    return { ...service, registry }
  }).pipe(
    Effect.provide(
      InstrumentRegistry.layerWith({ pollInterval: "20 millis" }).pipe(
        Layer.provideMerge(Layer.succeed(MarketStore, store)),
        Layer.provideMerge(NodeServices.layer)
      )
    )
  )

/** Runs with a migrated store in memory, a venue whose trades the test lets happen, and a folder for the spool. */
const within = <E>(
  use: (
    setting: Setting & ReturnType<typeof switched>
  ) => Effect.Effect<void, E, FileSystem.FileSystem | import("effect").Scope.Scope>
) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const database = yield* memoryDatabase()
    yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(database.migrations))
    const store = yield* Effect.map(MarketStore, (each) => each).pipe(Effect.provide(database.store))
    yield* store.putSymbolEntries(["A", "B", "C"].map(entryOf))
    const venue = new TestVenue({ isManual: true })
    const folder = `${yield* fs.makeTempDirectoryScoped()}/spool`
    yield* use({ venue, folder, ...switched(store) })
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const entryOf = (symbol: string) => ({
  symbol: `TEST:${symbol}`,
  provider: "test",
  dataset: "TEST",
  stypeIn: "raw_symbol",
  schemas: [],
  enabled: true,
  source: "database" as const,
  discoveredAt: 0n
})

/** Rows of the store, named by their symbols. */
const rowsOf = Effect.fnUntraced(function* (store: Store) {
  const { instruments } = yield* store.loadInstruments()
  const batches = yield* Stream.runCollect(
    store.readTrades({ instruments: [...instruments.keys()], range: always })
  )
  return BatchRow.ofAll(batches).map(({ instrument, ...row }) => ({
    ...row,
    symbol: instruments.get(instrument)!.rawSymbol
  }))
})

const until = <E>(what: string, condition: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.flatMap(condition, (holds) => (holds ? Effect.void : Effect.fail("not yet" as const))).pipe(
    Effect.retry({ schedule: Schedule.spaced("10 millis"), times: 1500 }),
    Effect.catch((error) =>
      error === "not yet" ? Effect.die(new Error(`never: ${what}`)) : Effect.fail(error)
    )
  )

const storedRows = (store: Store) => Effect.map(rowsOf(store), (rows) => rows.length)

/** Time of the tape that is neither held nor missing, for all instruments; and what is missing, by cause. */
const unexplained = Effect.fnUntraced(function* (store: Store, venue: TestVenue, rows: number) {
  const { instruments } = yield* store.loadInstruments()
  const spans = yield* store.coverage({ schema: "trades" })
  // From the second row on: a session holds what comes after its first one.
  const range = { start: venue.tape[1]!.tsRecv + 1000n, end: venue.tape[rows - 1]!.tsRecv - 1000n }
  const causes = new Set(spans.flatMap(({ cause, state }) => (state === "missing" ? [cause] : [])))
  const lacking = [...instruments.keys()].flatMap(
    (id) =>
      Coverage.resolve(
        spans.filter((span) => span.instrument === id),
        range,
        0n
      ).unknown
  )
  return { lacking, causes: [...causes] }
})

/** The watermark follows its rows. Fails where time stays unexplained, or is missing for another cause. */
const awaitExplained = (store: Store, venue: TestVenue, rows: number, causes: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    yield* until(
      "all time explained",
      Effect.map(unexplained(store, venue, rows), ({ lacking }) => lacking.length === 0)
    )
    assert.deepStrictEqual((yield* unexplained(store, venue, rows)).causes, [...causes])
  })

/** A service that stores 50 rows and then leaves 150 in its spool. */
const collectAway = ({ leave, ...setting }: Setting & { readonly leave: () => void }) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { status } = yield* start(setting)
      yield* setting.venue.advance(50)
      yield* until(
        "50 rows",
        Effect.map(storedRows(setting.store), (rows) => rows === 50)
      )
      leave()
      yield* setting.venue.advance(150)
      yield* until(
        "200 collected",
        Effect.map(status, ({ feeds }) => feeds[0]?.rows === 200n)
      )
    })
  )

interface Term {
  readonly name: string
  readonly epoch: bigint
}

const another = new StoreError({
  operation: "append",
  reason: new StoreFenced({ lease: "main", epoch: 1n, current: 2n, detail: "the lease is another's" })
})

describe("a live service", () => {
  it.live("stores every row once, and says that the time is held", () =>
    within(({ store, venue, folder }) =>
      Effect.gen(function* () {
        const { status } = yield* start({ store, venue, folder })
        yield* venue.advance(600)
        yield* until(
          "600 rows",
          Effect.map(storedRows(store), (rows) => rows === 600)
        )
        const rows = yield* rowsOf(store)
        const expected = venue.tape.map(({ symbol, tsRecv }) => `${symbol} ${tsRecv}`).sort()
        assert.deepStrictEqual(rows.map((row) => `${row.symbol} ${row.tsRecv}`).sort(), expected)
        yield* awaitExplained(store, venue, 600, [])
        const now = yield* status
        assert.strictEqual(now.feeds[0]?.rows, 600n)
        assert.strictEqual(now.writer.rows, 600n)
        assert.strictEqual(now.spool.rows, 0n)
      })
    )
  )

  it.live("goes on while the store is away, and catches up", () =>
    within(({ store, venue, folder, leave, comeBack }) =>
      Effect.gen(function* () {
        const { status } = yield* start({ store, venue, folder })
        yield* venue.advance(100)
        yield* until(
          "100 rows",
          Effect.map(storedRows(store), (rows) => rows === 100)
        )
        leave()
        yield* venue.advance(300)
        yield* until(
          "400 collected",
          Effect.map(status, ({ feeds }) => feeds[0]?.rows === 400n)
        )
        yield* until(
          "a problem",
          Effect.map(status, ({ writer }) => writer.problem !== undefined)
        )
        assert.strictEqual(yield* storedRows(store), 100)
        comeBack()
        yield* until(
          "400 rows",
          Effect.map(storedRows(store), (rows) => rows === 400)
        )
        assert.isUndefined((yield* status).writer.problem)
        yield* awaitExplained(store, venue, 400, [])
      })
    )
  )

  it.live("keeps what the store did not take for its next start, which names the hole", () =>
    within(({ store, venue, folder, leave, comeBack }) =>
      Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const { status } = yield* start({ store, venue, folder })
            yield* venue.advance(50)
            yield* until(
              "50 rows",
              Effect.map(storedRows(store), (rows) => rows === 50)
            )
            leave()
            yield* venue.advance(150)
            yield* until(
              "200 collected",
              Effect.map(status, ({ feeds }) => feeds[0]?.rows === 200n)
            )
          })
        )
        assert.strictEqual(yield* storedRows(store), 50)
        comeBack()
        yield* start({ store, venue, folder })
        yield* until(
          "200 rows",
          Effect.map(storedRows(store), (rows) => rows === 200)
        )
        yield* venue.advance(100)
        yield* until(
          "300 rows",
          Effect.map(storedRows(store), (rows) => rows === 300)
        )
        assert.lengthOf(yield* store.openFeedSessions, 1)
      })
    )
  )

  it.live("leaves in its spool what can be written without it, once, and ends its sessions then", () =>
    within(({ store, venue, folder, leave, comeBack }) =>
      Effect.gen(function* () {
        yield* collectAway({ store, venue, folder, leave })
        assert.strictEqual(yield* storedRows(store), 50)
        assert.lengthOf(yield* store.openFeedSessions, 1)
        comeBack()
        const drained = yield* LiveDrain.run({ folder, maxBytes: 1e9 }, store)
        assert.strictEqual(drained.rows, 150n)
        assert.strictEqual(yield* storedRows(store), 200)
        assert.deepStrictEqual(yield* store.openFeedSessions, [])
        yield* awaitExplained(store, venue, 200, [])
        const again = yield* LiveDrain.run({ folder, maxBytes: 1e9 }, store)
        assert.deepStrictEqual([again.rows, again.duplicates], [0n, 0n])
      }).pipe(Effect.provide(NodeServices.layer))
    )
  )

  it.live("goes on where the one before had the lease, and what that had left changes nothing", () =>
    within(({ store, venue, folder, leave, comeBack }) =>
      Effect.gen(function* () {
        const [one, two] = [1n, 2n].map((epoch) => ({ name: "main", epoch })) as [Term, Term]
        yield* collectAway({ store, venue, folder, leave, instance: leaseInstance(one, "x") })
        comeBack()
        yield* start({
          ...{ store, venue, folder: `${folder}-2`, replaySeconds: 86_400 },
          instance: leaseInstance(two, "y"),
          isOver: isOfLeaseBefore(two)
        })
        yield* venue.advance(100)
        yield* until(
          "300 rows",
          Effect.map(storedRows(store), (rows) => rows === 300)
        )
        yield* awaitExplained(store, venue, 300, [])
        yield* until(
          "one session",
          Effect.map(store.openFeedSessions, (open) => open.length === 1)
        )
        const { duplicates, rows } = yield* LiveDrain.run({ folder, maxBytes: 1e9 }, store)
        assert.deepStrictEqual([rows, duplicates], [0n, 150n])
        assert.strictEqual(yield* storedRows(store), 300)
        assert.lengthOf(yield* store.openFeedSessions, 1, "that of the one that is active")
        yield* awaitExplained(store, venue, 300, [])
      }).pipe(Effect.provide(NodeServices.layer))
    )
  )

  it.live("records what nobody can replay as missing", () =>
    within(({ store, venue, folder, leave, comeBack }) =>
      Effect.gen(function* () {
        const [one, two] = [1n, 2n].map((epoch) => ({ name: "main", epoch })) as [Term, Term]
        yield* collectAway({ store, venue, folder, leave, instance: leaseInstance(one, "x") })
        comeBack()
        yield* start({
          ...{ store, venue, folder: `${folder}-2` },
          instance: leaseInstance(two, "y"),
          isOver: isOfLeaseBefore(two)
        })
        yield* venue.advance(100)
        yield* until(
          "150 rows",
          Effect.map(storedRows(store), (rows) => rows === 150)
        )
        yield* awaitExplained(store, venue, 300, ["crash"])
      })
    )
  )

  it.live("ends at once where its store is another's, and does not wait for what it cannot write", () =>
    within(({ store, venue, folder }) =>
      Effect.gen(function* () {
        const fenced: Store = { ...store, append: () => Effect.fail(another) }
        const ended = Effect.scoped(
          Effect.gen(function* () {
            const { failure } = yield* start({ store: fenced, venue, folder, drain: "5 minutes" })
            yield* venue.advance(50)
            return yield* Effect.flip(failure)
          })
        )
        assert.strictEqual(yield* Effect.timeout(ended, "20 seconds"), another)
      })
    )
  )

  it.live("holds nothing of the time whose entries were damaged on the disk", () =>
    within(({ store, venue, folder, leave, comeBack }) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        yield* Effect.scoped(
          Effect.gen(function* () {
            const { status } = yield* start({ store, venue, folder })
            yield* venue.advance(50)
            yield* until(
              "50 rows",
              Effect.map(storedRows(store), (rows) => rows === 50)
            )
            leave()
            for (let rows = 80; rows <= 200; rows += 30) {
              yield* venue.advance(30)
              yield* until(
                `${rows} collected`,
                Effect.map(status, ({ feeds }) => feeds[0]?.rows === BigInt(rows))
              )
              yield* Effect.sleep("120 millis")
            }
          })
        )
        const names = (yield* fs.readDirectory(folder)).filter((name) => name.endsWith(".spool")).sort()
        const file = `${folder}/${names.at(-1)}`
        const bytes = yield* fs.readFile(file)
        yield* fs.writeFile(
          file,
          bytes.fill(0, Math.floor(bytes.length * 0.4), Math.floor(bytes.length * 0.6))
        )
        comeBack()
        const { status } = yield* start({ store, venue, folder })
        yield* until(
          "an empty spool",
          Effect.map(status, ({ spool }) => spool.rows === 0n)
        )
        const stored = new Set((yield* rowsOf(store)).map((row) => `${row.symbol} ${row.tsRecv}`))
        const lost = venue.tape
          .slice(0, 200)
          .filter(({ symbol, tsRecv }) => !stored.has(`${symbol} ${tsRecv}`))
        assert.isAbove(lost.length, 0)
        assert.isAbove(stored.size, 50)
        const { instruments } = yield* store.loadInstruments()
        const spans = yield* store.coverage({ schema: "trades" })
        for (const { symbol, tsRecv } of lost) {
          const [id] = [...instruments.values()]
            .filter(({ rawSymbol }) => rawSymbol === symbol)
            .map((each) => each.id)
          const { held } = Coverage.resolve(
            spans.filter((span) => span.instrument === id),
            { start: tsRecv, end: tsRecv + 1n },
            0n
          )
          assert.deepStrictEqual(held, [], `${symbol} ${tsRecv} is not stored`)
        }
      })
    )
  )

  it.live("names what a connection lost", () =>
    within(({ store, venue, folder }) =>
      Effect.gen(function* () {
        yield* venue.fault({ type: "loss", afterRows: 40, rows: 20 })
        yield* start({ store, venue, folder })
        yield* venue.advance(200)
        yield* until(
          "180 rows",
          Effect.map(storedRows(store), (rows) => rows === 180)
        )
        yield* awaitExplained(store, venue, 200, ["provider"])
      })
    )
  )

  it.live("drops the newest where the spool is full, and names what it dropped", () =>
    within(({ store, venue, folder, leave, comeBack }) =>
      Effect.gen(function* () {
        const { status } = yield* start({ store, venue, folder, spool: { maxBytes: 15_000 } })
        yield* venue.advance(64)
        yield* until(
          "64 rows",
          Effect.map(storedRows(store), (rows) => rows === 64)
        )
        leave()
        yield* venue.advance(400)
        yield* until(
          "464 collected",
          Effect.map(status, ({ feeds }) => feeds[0]?.rows === 464n)
        )
        const { overflow } = (yield* status).dropped
        assert.isAbove(Number(overflow), 0)
        comeBack()
        const kept = 464 - Number(overflow)
        yield* until(
          "what was kept",
          Effect.map(storedRows(store), (rows) => rows === kept)
        )
        yield* until(
          "an empty spool",
          Effect.map(status, ({ spool }) => spool.rows === 0n)
        )
        yield* venue.advance(100)
        yield* until(
          "100 more",
          Effect.map(storedRows(store), (rows) => rows === kept + 100)
        )
        yield* awaitExplained(store, venue, 564, ["overflow"])
      })
    )
  )

  it.live("follows the registry: symbols come and go", () =>
    within(({ store, venue, folder }) =>
      Effect.gen(function* () {
        yield* store.putSymbolEntries([{ ...entryOf("C"), enabled: false }])
        const { status } = yield* start({ store, venue, folder })
        yield* until(
          "a feed",
          Effect.map(status, ({ feeds }) => feeds.length === 1)
        )
        yield* venue.advance(100)
        const of = (symbols: string, from: number, to: number) =>
          venue.tape.slice(from, to).filter(({ symbol }) => symbols.includes(symbol)).length
        yield* until(
          "A and B",
          Effect.map(storedRows(store), (rows) => rows === of("AB", 0, 100))
        )
        yield* store.putSymbolEntries([{ ...entryOf("C"), enabled: true }])
        yield* until(
          "two feeds",
          Effect.map(status, ({ feeds }) => feeds.length === 2)
        )
        yield* store.putSymbolEntries([{ ...entryOf("A"), enabled: false }])
        yield* Effect.sleep("200 millis")
        yield* venue.advance(100)
        const expected = of("AB", 0, 100) + of("BC", 100, 200)
        yield* until(
          "B and C",
          Effect.map(storedRows(store), (rows) => rows === expected)
        )
        yield* Effect.sleep("100 millis")
        assert.strictEqual(yield* storedRows(store), expected)
      })
    )
  )

  it.live("a stream that is begun anew holds nothing of symbols that were left out", () =>
    within(({ store, venue, folder }) =>
      Effect.gen(function* () {
        let streams = 0
        const ended = (provider: Provider): Provider => ({
          ...provider,
          // The first stream ends after a hundred events.
          live: (selection, options) => {
            streams += 1
            const live = provider.live(selection, options)
            return streams === 1 ? Stream.take(live, 100) : live
          }
        })
        const { status } = yield* start({ store, venue, folder, change: ended })
        yield* venue.advance(60)
        yield* until(
          "60 rows",
          Effect.map(storedRows(store), (rows) => rows === 60)
        )
        yield* store.putSymbolEntries([{ ...entryOf("A"), enabled: false }])
        yield* Effect.sleep("200 millis")
        for (let i = 0; i < 100; i++) yield* Effect.andThen(venue.advance(1), Effect.yieldNow)
        yield* until(
          "the second stream",
          Effect.sync(() => streams === 2)
        )
        yield* venue.advance(200)
        yield* until(
          "the rest",
          Effect.map(status, ({ spool, writer }) => spool.rows === 0n && writer.rows > 150n)
        )
        yield* Effect.sleep("300 millis")
        const { instruments } = yield* store.loadInstruments()
        const endOf = (symbol: string) =>
          Effect.map(
            store.coverage({
              instruments: [...instruments.values()].flatMap((one) =>
                one.rawSymbol === symbol ? [one.id] : []
              ),
              states: ["held"]
            }),
            (spans) => spans.reduce((end, { range }) => (range.end > end ? range.end : end), 0n)
          )
        assert.isBelow(Number(yield* endOf("A")), Number(venue.tape[100]!.tsRecv))
        assert.isAbove(Number(yield* endOf("B")), Number(venue.tape[300]!.tsRecv))
      })
    )
  )
})
