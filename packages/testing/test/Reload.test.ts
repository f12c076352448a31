/** Recent rows back into an empty publication, before live ones: what comes out of it, in which order, and how it is marked. */
import {
  type Gap,
  InstrumentRegistry,
  LiveService,
  type MarketBatch,
  MarketStore,
  Publication,
  Reload,
  StoreError,
  StoreMigrations,
  StoreUnavailable,
  TradeBatch
} from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, FileSystem, Latch, Layer, Schedule, type Scope, Stream } from "effect"
import * as TestProvider from "../src/TestProvider.ts"
import { makeTape } from "../src/TestTape.ts"
import { TestVenue } from "../src/TestVenue.ts"
import { memoryDatabase } from "./MemoryStore.ts"

type Store = MarketStore["Service"]

const away = new StoreError({
  operation: "append",
  reason: new StoreUnavailable({ detail: "the database is away", hint: "" })
})

/** A store that can go away, and whose reads wait at a gate. */
const controlled = (store: Store) => {
  let isAway = false
  const gate = Latch.makeUnsafe(true)
  let reads = 0
  return {
    store: {
      ...store,
      append: (batch, claim) =>
        Effect.suspend(() => (isAway ? Effect.fail(away) : store.append(batch, claim))),
      readTrades: (request) =>
        Stream.unwrap(
          Effect.suspend(() => {
            reads += 1
            if (isAway) return Effect.fail(away)
            return Effect.as(gate.await, store.readTrades(request))
          })
        )
    } satisfies Store,
    gate,
    reads: () => reads,
    leave: () => {
      isAway = true
    },
    comeBack: () => {
      isAway = false
    }
  }
}

/** A publication that keeps everything: the rows as `SYMBOL KEY`, and whether they were a replay. */
const recorder = (capacity = 1_000_000) => {
  const rows: Array<{ readonly row: string; readonly isReplay: boolean }> = []
  const gaps: Array<Gap> = []
  let durable = 0n
  const add = (batch: MarketBatch): void => {
    if (!(batch instanceof TradeBatch)) return
    for (const { rawSymbol, tradeKey, tsEvent } of batch.rows())
      rows.push({ row: `${rawSymbol} ${tsEvent} ${tradeKey}`, isReplay: batch.context.replay !== undefined })
  }
  const publication = Publication.of({
    name: "recorder",
    kinds: ["trades"],
    publish: (batch) =>
      Effect.sync(() => {
        add(batch)
        return { position: BigInt(rows.length), demoted: 0 }
      }),
    publishGap: (gap) => Effect.sync(() => void gaps.push(gap)),
    markDurable: (_, position) =>
      Effect.sync(() => {
        if (position > durable) durable = position
      }),
    connectionCount: Effect.succeed(0),
    kept: () => ({ rows: rows.length, capacity })
  })
  return { publication, rows, gaps, durable: () => durable }
}

interface Setting {
  readonly store: Store
  readonly venue: TestVenue
  readonly folder: string
}

let instances = 0

const start = (
  { store, venue, folder }: Setting,
  publication: Publication["Service"],
  options: Partial<LiveService.LiveServiceOptions> = {}
) => {
  instances += 1
  return LiveService.make({
    instance: `reload-${instances}`,
    spool: { folder, maxBytes: 1e9 },
    providers: (register) =>
      Effect.succeed([TestProvider.make(venue, { register, capabilities: { replaySeconds: 0 } })]),
    drainTimeout: "2 seconds",
    reload: "1 hour",
    reloadTimeout: "3 seconds",
    ...options
  }).pipe(
    Effect.provide(
      InstrumentRegistry.layerWith({ pollInterval: "20 millis" }).pipe(
        Layer.provideMerge(Layer.succeed(MarketStore, store)),
        Layer.provideMerge(Layer.succeed(Publication, publication)),
        Layer.provideMerge(NodeServices.layer)
      )
    )
  )
}

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

/** A store in memory, a venue whose 600 trades of A, B and C are of a minute ago and happen when the test lets them. */
const within = <E>(
  use: (setting: Setting & ReturnType<typeof controlled>) => Effect.Effect<void, E, Scope.Scope>
) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const database = yield* memoryDatabase()
    yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(database.migrations))
    const store = yield* Effect.map(MarketStore, (each) => each).pipe(Effect.provide(database.store))
    // Another instrument than A has the first number: numbers of store and service differ.
    yield* store.registerListings([new TestVenue().claimOf("test", "Z")])
    yield* store.putSymbolEntries(["C", "B", "A"].map(entryOf))
    const tape = makeTape({
      symbols: ["A", "B", "C"],
      trades: 600,
      start: BigInt(Date.now() - 60_000) * 1_000_000n
    })
    const venue = new TestVenue({ tape, isManual: true })
    const folder = `${yield* fs.makeTempDirectoryScoped()}/spool`
    yield* use({ venue, folder, ...controlled(store) })
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const until = <E>(
  what: string,
  condition: () => boolean | Effect.Effect<boolean, E>
): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    const holds = condition()
    return typeof holds === "boolean" ? Effect.succeed(holds) : holds
  }).pipe(
    Effect.flatMap((holds) => (holds ? Effect.void : Effect.fail("not yet" as const))),
    Effect.retry({ schedule: Schedule.spaced("10 millis"), times: 1_500 }),
    Effect.catch((error) =>
      error === "not yet" ? Effect.die(new Error(`never: ${what}`)) : Effect.fail(error as E)
    )
  )

/** Collects the first trades of the tape, into the store or into the spool alone, with a service of its own. */
const collectFirst = (setting: Setting, trades: number, isStored = true) =>
  Effect.scoped(
    Effect.gen(function* () {
      const before = recorder()
      const { status } = yield* start(setting, before.publication, { reload: 0, drainTimeout: "50 millis" })
      yield* setting.venue.advance(trades)
      yield* until("collected", () => before.rows.length === trades)
      if (isStored)
        yield* until("stored", () => Effect.map(status, ({ writer }) => writer.rows === BigInt(trades)))
    })
  )

const tapeRows = (venue: TestVenue, from: number, to: number): ReadonlyArray<string> =>
  venue.tape.slice(from, to).map(({ symbol, tsEvent }) => `${symbol} ${tsEvent}`)
const withoutKey = (rows: ReadonlyArray<{ readonly row: string }>): ReadonlyArray<string> =>
  rows.map(({ row }) => row.slice(0, row.lastIndexOf(" ")))
const flags = (
  rows: ReadonlyArray<{ readonly isReplay: boolean }>
): ReadonlyArray<readonly [boolean, number]> =>
  rows.reduce<Array<readonly [boolean, number]>>((runs, { isReplay }) => {
    const last = runs.at(-1)
    if (last?.[0] === isReplay) runs[runs.length - 1] = [isReplay, last[1] + 1]
    else runs.push([isReplay, 1])
    return runs
  }, [])
const areOnce = (rows: ReadonlyArray<{ readonly row: string }>): boolean =>
  new Set(rows.map(({ row }) => row)).size === rows.length

describe("reload of a live service", () => {
  it.live("the stored past first, marked and durable, then live rows, none twice", () =>
    within((setting) =>
      Effect.gen(function* () {
        const { venue } = setting
        yield* collectFirst(setting, 300)
        const after = recorder()
        const { status } = yield* start(setting, after.publication)
        yield* venue.advance(100)
        yield* until("400 rows", () => after.rows.length === 400)
        assert.deepStrictEqual(flags(after.rows), [
          [true, 300],
          [false, 100]
        ])
        assert.isTrue(areOnce(after.rows))
        assert.sameMembers([...withoutKey(after.rows.slice(0, 300))], [...tapeRows(venue, 0, 300)])
        assert.sameMembers([...withoutKey(after.rows.slice(300))], [...tapeRows(venue, 300, 400)])
        yield* until("durable", () => after.durable() === 400n)
        assert.deepInclude((yield* status).reload, { state: "done", rows: 300, spooledRows: 0 })
      })
    )
  )

  it.live("live rows that come, and are stored, while the past is read come once, and behind it", () =>
    within((setting) =>
      Effect.gen(function* () {
        const { venue, gate, reads } = setting
        yield* collectFirst(setting, 300)
        const after = recorder()
        gate.closeUnsafe()
        const { status } = yield* start(setting, after.publication)
        yield* until("reading", () => reads() > 0)
        yield* venue.advance(120)
        yield* until("stored", () => Effect.map(status, ({ writer }) => writer.rows === 120n))
        assert.lengthOf(after.rows, 0)
        gate.openUnsafe()
        yield* until("420 rows", () => after.rows.length === 420)
        assert.deepStrictEqual(flags(after.rows), [
          [true, 300],
          [false, 120]
        ])
        assert.isTrue(areOnce(after.rows))
        // They were stored before they were published.
        yield* until("durable", () => after.durable() === 420n)
      })
    )
  )

  it.live("what is in the spool alone is not lost and comes once; it is durable when it is stored", () =>
    within((setting) =>
      Effect.gen(function* () {
        const { venue, leave, comeBack } = setting
        yield* collectFirst(setting, 200)
        leave()
        yield* collectSpooled(setting, 100)
        const after = recorder()
        const { status } = yield* start(setting, after.publication)
        yield* venue.advance(50)
        // The store is away: the past that only it has is not there.
        yield* until("150 rows", () => after.rows.length === 150)
        assert.deepStrictEqual(flags(after.rows), [
          [true, 100],
          [false, 50]
        ])
        assert.sameMembers([...withoutKey(after.rows.slice(0, 100))], [...tapeRows(venue, 200, 300)])
        assert.strictEqual(after.durable(), 0n)
        assert.deepInclude((yield* status).reload, { rows: 0, spooledRows: 100 })
        comeBack()
        yield* until("durable", () => after.durable() === 150n)
        assert.isTrue(areOnce(after.rows))
      })
    )
  )

  it.live("too many live rows are not held back any longer: they go on, all of them, without the past", () =>
    within((setting) =>
      Effect.gen(function* () {
        const { venue, gate, reads } = setting
        yield* collectFirst(setting, 300)
        const after = recorder(150)
        gate.closeUnsafe()
        const { status } = yield* start(setting, after.publication)
        yield* until("reading", () => reads() > 0)
        yield* venue.advance(200)
        yield* until("200 rows", () => after.rows.length === 200)
        gate.openUnsafe()
        yield* until("cut short", () => Effect.map(status, ({ reload }) => reload?.state === "cut-short"))
        yield* venue.advance(10)
        yield* until("210 rows", () => after.rows.length === 210)
        assert.deepStrictEqual(flags(after.rows), [[false, 210]])
        assert.isTrue(areOnce(after.rows))
      })
    )
  )

  it.live("a publication that has rows, keeps none, or is not to be filled, gets live rows alone", () =>
    within((setting) =>
      Effect.gen(function* () {
        yield* collectFirst(setting, 100)
        const used = recorder()
        const { kept: _, ...forgetful } = recorder().publication
        const cases = [
          [{ ...used.publication, kept: () => ({ rows: 1, capacity: 100 }) }, "1 hour"],
          [forgetful, "1 hour"],
          [used.publication, 0]
        ] as const
        for (const [publication, reload] of cases)
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { status } = yield* start(setting, publication, { reload })
              assert.isUndefined((yield* status).reload)
            })
          )
        assert.lengthOf(used.rows, 0)
      })
    )
  )
})

/** Collects into the spool of a store that is away. */
const collectSpooled = (setting: Setting, trades: number) => collectFirst(setting, trades, false)

describe("reload", () => {
  it.live("puts back the newest rows, as many as are kept, and says since when they are whole", () =>
    within((setting) =>
      Effect.gen(function* () {
        const { store, venue } = setting
        yield* collectFirst(setting, 300)
        const { instruments } = yield* store.loadInstruments()
        const range = {
          start: venue.tape[0]!.tsEvent - 3_600_000_000_000n,
          end: venue.tape[299]!.tsEvent + 1n
        }
        const options = {
          store,
          range,
          instruments: [...instruments.keys()],
          schemas: ["trades" as const, "mbp-1" as const]
        }
        const whole = recorder()
        assert.deepStrictEqual(yield* Reload.reload({ ...options, publication: whole.publication }), {
          rows: 300,
          spooledRows: 0,
          since: range.start
        })
        assert.strictEqual(whole.durable(), 300n)
        const small = recorder(64)
        const done = yield* Reload.reload({ ...options, publication: small.publication })
        assert.strictEqual(done.rows, 64)
        assert.deepStrictEqual(small.rows, whole.rows.slice(-64))
        assert.strictEqual(`${done.since}`, small.rows[0]!.row.split(" ")[1])
      })
    )
  )

  it.live("ends when its time is up, with what is read by then", () =>
    within((setting) =>
      Effect.gen(function* () {
        const { store, venue, gate } = setting
        yield* collectFirst(setting, 100)
        gate.closeUnsafe()
        const { instruments } = yield* store.loadInstruments()
        const slow = recorder()
        const range = { start: venue.tape[0]!.tsEvent, end: venue.tape[99]!.tsEvent + 1n }
        const [time, done] = yield* Effect.timed(
          Reload.reload({
            store,
            range,
            publication: slow.publication,
            instruments: [...instruments.keys()],
            schemas: ["trades"],
            timeout: "100 millis"
          })
        )
        assert.deepStrictEqual(done, { rows: 0, spooledRows: 0, since: range.end })
        assert.isBelow(Duration.toMillis(time), 20_000)
      })
    )
  )

  it.live("of a dataset that is collected whole all that is listed; else what is named", () =>
    within((setting) =>
      Effect.gen(function* () {
        const { store, venue } = setting
        yield* collectFirst(setting, 30)
        const { instruments } = yield* store.loadInstruments()
        const symbolOf = (id: number) => instruments.get(id)!.rawSymbol
        const registry = yield* InstrumentRegistry.pipe(
          Effect.provide(Layer.provide(InstrumentRegistry.layer, Layer.succeed(MarketStore, store)))
        )
        const collected = Effect.map(
          Reload.collected(store, registry, venue.range, ["trades"]),
          ({ instruments: ids, schemas }) => [ids.map(symbolOf).sort().join(""), schemas]
        )
        assert.deepStrictEqual(yield* collected, ["ABC", ["trades"]])
        yield* registry.setEnabled("TEST:B", false)
        assert.deepStrictEqual(yield* collected, ["AC", ["trades"]])
        yield* registry.add({ ...entryOf("ALL_SYMBOLS"), schemas: ["mbp-1"] })
        const [all, schemas] = yield* collected
        assert.strictEqual(all, "ABC")
        assert.sameMembers([...(schemas as ReadonlyArray<string>)], ["trades", "mbp-1"])
      })
    )
  )
})
