/**
 * A day with everything that goes wrong: lost connections, rows that the venue drops, a database that is away for so long that
 * the spool overflows, a restart. Repaired, every row is there once, and all of the time is held.
 */
import {
  Coverage,
  GapRepair,
  InstrumentRegistry,
  LiveService,
  MarketStore,
  ProviderRegistry,
  StoreError,
  StoreMigrations,
  StoreUnavailable
} from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Schedule, Stream } from "effect"
import * as BatchRow from "../src/BatchRow.ts"
import * as TestProvider from "../src/TestProvider.ts"
import { makeTape } from "../src/TestTape.ts"
import { TAPE_START, TestVenue } from "../src/TestVenue.ts"
import { memoryDatabase } from "./MemoryStore.ts"

type Store = MarketStore["Service"]

const away = new StoreError({
  operation: "append",
  reason: new StoreUnavailable({ detail: "the database is away", hint: "" })
})

const until = <E>(what: string, condition: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.flatMap(condition, (holds) => (holds ? Effect.void : Effect.fail("not yet" as const))).pipe(
    Effect.retry({ schedule: Schedule.spaced("10 millis"), times: 1500 }),
    Effect.catch((error) =>
      error === "not yet" ? Effect.die(new Error(`never: ${what}`)) : Effect.fail(error)
    )
  )

/** Everything that is stored, by symbol and time of capture, sorted. */
const storedRows = Effect.fnUntraced(function* (store: Store) {
  const { instruments } = yield* store.loadInstruments()
  const range = { start: 0n, end: 4_000_000_000_000_000_000n }
  const batches = yield* Stream.runCollect(store.readTrades({ instruments: [...instruments.keys()], range }))
  return BatchRow.ofAll(batches)
    .map(({ instrument, key, tsRecv }) => `${instruments.get(instrument)!.rawSymbol} ${tsRecv} ${key}`)
    .sort()
})

/** Coverage of every instrument from the second row to the last but one. */
const coverageOf = Effect.fnUntraced(function* (store: Store, venue: TestVenue, rows: number) {
  const { instruments } = yield* store.loadInstruments()
  const spans = yield* store.coverage({ schema: "trades" })
  const within = { start: venue.tape[1]!.tsRecv + 1000n, end: venue.tape[rows - 1]!.tsRecv - 1000n }
  return [...instruments.keys()].map((id) =>
    Coverage.resolve(
      spans.filter(({ instrument }) => instrument === id),
      within,
      0n
    )
  )
})

describe("a day with faults", () => {
  it.live(
    "has no hole after its repair, and every row once",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const database = yield* memoryDatabase()
        yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(
          Effect.provide(database.migrations)
        )
        const memory = yield* Effect.map(MarketStore, (each) => each).pipe(Effect.provide(database.store))
        let isAway = false
        const store: Store = {
          ...memory,
          append: (batch, claim) =>
            Effect.suspend(() => (isAway ? Effect.fail(away) : memory.append(batch, claim)))
        }
        const tape = makeTape({ symbols: ["A", "B", "C"], trades: 1500, start: TAPE_START })
        const venue = new TestVenue({ isManual: true, tape })
        const folder = `${yield* fs.makeTempDirectoryScoped()}/spool`
        const context = yield* Layer.build(
          Layer.mergeAll(
            InstrumentRegistry.layerWith({ pollInterval: "20 millis" }),
            ProviderRegistry.layer([TestProvider.make(venue, { register: memory.registerListings })])
          ).pipe(Layer.provideMerge(Layer.succeed(MarketStore, store)))
        )
        yield* Effect.gen(function* () {
          const registry = yield* InstrumentRegistry
          for (const symbol of ["A", "B", "C"])
            yield* registry.add({ symbol: `TEST:${symbol}`, provider: "test" })
          /** Collects until the trade with this number has been collected. */
          const collect = (
            instance: string,
            work: (service: LiveService.LiveService["Service"]) => Effect.Effect<void>
          ) =>
            Effect.scoped(
              Effect.gen(function* () {
                const service = yield* LiveService.make({
                  instance,
                  spool: { folder, maxBytes: 15_000 },
                  providers: (register) =>
                    Effect.succeed([
                      TestProvider.make(venue, { register, capabilities: { replaySeconds: 0 } })
                    ]),
                  drainTimeout: "5 seconds"
                })
                yield* work(service)
              })
            )
          const at = (position: number) =>
            until(
              `trade ${position}`,
              Effect.sync(() => venue.position >= position)
            )
          yield* venue.fault({ type: "disconnect", afterRows: 40 })
          yield* venue.fault({ type: "loss", afterRows: 60, rows: 20 })
          yield* collect("first", ({ status }) =>
            Effect.gen(function* () {
              yield* venue.advance(300)
              yield* at(300)
              const written = Effect.map(
                status,
                ({ spool, writer }) => spool.rows === 0n && writer.rows > 200n
              )
              yield* until("all written", written)
              isAway = true
              yield* venue.advance(500)
              yield* at(800)
              assert.isAbove(Number((yield* status).dropped.overflow), 0)
              isAway = false
              yield* until("all written", written)
              yield* venue.advance(100)
              yield* at(900)
              yield* Effect.sleep("200 millis")
            })
          )
          // Nobody listens.
          yield* venue.advance(100)
          venue.position = 1000
          yield* collect("second", () =>
            Effect.gen(function* () {
              yield* venue.advance(300)
              yield* at(1300)
              yield* Effect.sleep("200 millis")
            })
          )
          const before = yield* storedRows(store)
          const repair = yield* GapRepair.make({ lookBack: "2000 days", interval: "1 hour" })
          yield* repair.round
          const { failed, open, repaired, rows } = repair.status()
          assert.deepStrictEqual([open, failed], [[], 0])
          assert.isAtLeast(repaired, 4)
          const expected = venue.tape
            .slice(0, 1300)
            .map(({ symbol, tsRecv }) => `${symbol} ${tsRecv}`)
            .sort()
          const after = yield* storedRows(store)
          assert.strictEqual(new Set(after).size, 1300)
          assert.deepStrictEqual(after.map((row) => row.replace(/ \S+$/, "")).sort(), expected)
          assert.strictEqual(rows, after.length - before.length)
          assert.isBelow(before.length, 1300)
          for (const { missing, unknown } of yield* coverageOf(store, venue, 1300))
            assert.deepStrictEqual([missing, unknown], [[], []])
        }).pipe(Effect.provide(context))
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    60_000
  )
})
