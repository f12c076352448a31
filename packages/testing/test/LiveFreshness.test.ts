/** A symbol that falls silent on a connection that lives: it is told, and subscribed again by itself. */
import {
  Coverage,
  InstrumentRegistry,
  type LiveService,
  MarketStore,
  type Provider,
  type ProviderEvent,
  LiveService as Service,
  StoreMigrations,
  selectRows
} from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Schedule, Stream } from "effect"
import * as BatchRow from "../src/BatchRow.ts"
import * as TestProvider from "../src/TestProvider.ts"
import { makeTape } from "../src/TestTape.ts"
import { TAPE_START, TestVenue } from "../src/TestVenue.ts"
import { memoryDatabase } from "./MemoryStore.ts"

type Store = MarketStore["Service"]

const until = <E>(what: string, condition: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.flatMap(condition, (holds) => (holds ? Effect.void : Effect.fail("not yet" as const))).pipe(
    Effect.retry({ schedule: Schedule.spaced("10 millis"), times: 1500 }),
    Effect.catch((error) =>
      error === "not yet" ? Effect.die(new Error(`never: ${what}`)) : Effect.fail(error)
    )
  )

/** Leaves out rows of B in streams that were opened before it was told to, and of more symbols than B. */
const losing = (provider: Provider, loses: { isMuted: boolean }): Provider => ({
  ...provider,
  live: (selection, options) => {
    const isAlone = selection.symbols.length === 1
    const without = (event: ProviderEvent): ReadonlyArray<ProviderEvent> => {
      if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch" || !loses.isMuted || isAlone)
        return [event]
      const { columns, context, length } = event.batch
      const rows = Array.from({ length }, (_, row) => row).filter(
        (row) => context.instruments.get(columns.instrument[row]!)?.rawSymbol !== "B"
      )
      return rows.length === 0 ? [] : [{ _tag: "Batch", batch: selectRows(event.batch, rows) }]
    }
    return provider.live(selection, options).pipe(Stream.map(without), Stream.flattenIterable)
  }
})

/** A service over a venue whose symbol B can be lost; a folder for its spool. */
const within = (
  symbols: ReadonlyArray<string>,
  use: (setting: {
    readonly store: Store
    readonly venue: TestVenue
    readonly loses: { isMuted: boolean }
    readonly status: Effect.Effect<LiveService.LiveServiceStatus>
    /** Trades happen for so long. */
    readonly trade: (millis: number) => Effect.Effect<void>
  }) => Effect.Effect<void, unknown, import("effect").Scope.Scope>
) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const database = yield* memoryDatabase()
    yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(database.migrations))
    const store = yield* Effect.map(MarketStore, (each) => each).pipe(Effect.provide(database.store))
    yield* store.putSymbolEntries(
      symbols.map((symbol) => ({
        symbol: `TEST:${symbol}`,
        provider: "test",
        dataset: "TEST",
        stypeIn: "raw_symbol",
        schemas: [],
        enabled: true,
        source: "database" as const,
        discoveredAt: 0n
      }))
    )
    const tape = makeTape({ symbols: ["A", "B", "C"], trades: 20_000, start: TAPE_START })
    const venue = new TestVenue({ isManual: true, tape })
    const loses = { isMuted: false }
    const folder = `${yield* fs.makeTempDirectoryScoped()}/spool`
    const start = Service.make({
      instance: "test",
      spool: { folder, maxBytes: 1e9 },
      providers: (register) => Effect.succeed([losing(TestProvider.make(venue, { register }), loses)]),
      freshness: { quiet: "200 millis", interval: "50 millis" },
      drainTimeout: "5 seconds"
    }).pipe(
      Effect.provide(
        InstrumentRegistry.layerWith({ pollInterval: "20 millis" }).pipe(
          Layer.provideMerge(Layer.succeed(MarketStore, store))
        )
      )
    )
    // What was learned outlives the service.
    yield* Effect.addFinalizer(() =>
      Effect.map(Effect.orDie(fs.readFileString(`${folder}/freshness.bin`)), (text) => {
        const { feeds } = JSON.parse(text.slice(0, text.indexOf("\n")))
        assert.deepStrictEqual(
          feeds.map(({ key }: { readonly key: string }) => key),
          ["test\nTEST\ntrades"]
        )
      })
    )
    const trade = (millis: number) =>
      Effect.repeat(Effect.andThen(venue.advance(6), Effect.sleep("10 millis")), {
        times: Math.ceil(millis / 10)
      }).pipe(Effect.asVoid)
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { status } = yield* start
        yield* use({ store, venue, loses, status, trade })
      })
    )
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const staleOf = (status: Effect.Effect<LiveService.LiveServiceStatus>) =>
  Effect.map(status, ({ freshness }) => freshness!.stale.map(({ symbol }) => symbol))

describe("freshness of single symbols", () => {
  it.live(
    "a symbol that falls silent is subscribed again by itself, and what it may have lost is known",
    () =>
      within(["A", "B", "C"], ({ loses, status, store, trade, venue }) =>
        Effect.gen(function* () {
          yield* trade(2500)
          assert.deepStrictEqual(yield* staleOf(status), [])
          loses.isMuted = true
          // Until the end of the tape, where nobody stops it: on a slow machine it takes longer until silence is too long.
          const trading = yield* Effect.forkScoped(trade(60_000))
          yield* until(
            "B is subscribed again",
            Effect.map(status, ({ feeds }) => feeds.length === 2)
          )
          const { feeds } = yield* status
          assert.deepStrictEqual(feeds[1]!.selection.symbols, ["B"])
          yield* until(
            "B is fresh again",
            Effect.map(
              status,
              ({ freshness }) => freshness!.stale.length === 0 && freshness!.resubscribed > 0
            )
          )
          yield* Effect.sleep("500 millis")
          const now = yield* status
          assert.strictEqual(now.freshness!.resubscribed, 1)
          yield* Fiber.interrupt(trading)
          // Replay has brought what was lost: every row that has happened is stored, each once.
          const { instruments } = yield* store.loadInstruments()
          const ids = [...instruments.keys()]
          const range = { start: 0n, end: 4_000_000_000_000_000_000n }
          const rows = Effect.map(
            Stream.runCollect(store.readTrades({ instruments: ids, range })),
            (batches) => BatchRow.ofAll(batches).length
          )
          yield* until(
            "every row",
            Effect.map(rows, (count) => count >= venue.position)
          )
          const b = [...instruments.values()].find(({ rawSymbol }) => rawSymbol === "B")!
          const spans = yield* store.coverage({ instruments: [b.id], schema: "trades" })
          const silence = spans.filter(({ cause }) => cause === "silence")
          assert.lengthOf(silence, 1)
          // No time in which B's rows were lost is said to be held by the stream that lost them: the replay holds it.
          const { unknown } = Coverage.resolve(spans, silence[0]!.range, 0n)
          assert.deepStrictEqual(unknown, [])
        })
      )
  )

  it.live("nobody is stale where the feed as a whole is silent", () =>
    within(["A", "B"], ({ status, trade }) =>
      Effect.gen(function* () {
        yield* trade(1500)
        // The venue stops as a whole: nobody is stale.
        yield* Effect.sleep("1 second")
        const { feeds, freshness } = yield* status
        assert.deepStrictEqual([freshness!.stale, freshness!.resubscribed, feeds.length], [[], 0, 1])
      })
    )
  )
})
