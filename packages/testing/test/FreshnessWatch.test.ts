/** What a watch over symbols keeps over a restart, and what it does about those that it cannot subscribe again. */
import { batchContext, FreshnessWatch, Hub, LocalInstruments } from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { batchOf, type TapeTrade } from "../src/TestTape.ts"
import { TestVenue } from "../src/TestVenue.ts"

const Minute = 60_000
/** Monday, 14:00 UTC. */
const monday = Date.UTC(2026, 0, 5, 14)

const tradeOf = (symbol: string, at: number): TapeTrade => ({
  symbol,
  tsEvent: BigInt(at) * 1_000_000n,
  tsRecv: BigInt(at) * 1_000_000n,
  sequence: at % 1_000_000_000,
  ordinal: 0,
  price: 100n,
  size: 1n,
  side: 0
})

/** A hub with a watch; `trade` lets so many minutes pass in which these symbols trade every second. */
const watched = (file: string, asked: Array<ReadonlyArray<string>> = []) =>
  Effect.gen(function* () {
    const { directory, register } = LocalInstruments.make()
    const venue = new TestVenue()
    const known = yield* register(["A", "B"].map((symbol) => venue.claimOf("test", symbol)))
    const ids = new Map(known.map(({ id, rawSymbol }) => [rawSymbol, id]))
    const context = batchContext({ provider: "test", dataset: "TEST", instruments: directory })
    const hub = Hub.make()
    const watch = yield* FreshnessWatch.attach({
      hub,
      file,
      instruments: directory,
      providers: [],
      quiet: "1 minute",
      resubscribe: (_, symbols) =>
        Effect.sync(() => {
          asked.push(symbols.map(({ symbol }) => symbol))
          return []
        })
    })
    yield* Effect.forkScoped(watch.run)
    const begin = Effect.sync(() =>
      hub.publishNow({
        _tag: "SessionStarted",
        session: "s",
        provider: "test",
        dataset: "TEST",
        schema: "trades",
        at: 1n
      })
    )
    const trade = (from: number, minutes: number, ...symbols: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        for (let now = from; now < from + minutes * Minute; now += 5000) {
          yield* TestClock.setTime(now)
          const trades = symbols.map((symbol) => tradeOf(symbol, now))
          const batch = batchOf(context, trades, (symbol) => ids.get(symbol)!)
          hub.publishNow({ _tag: "FeedRows", session: "s", batch })
        }
      })
    return { watch, begin, trade }
  })

const within = <E>(work: (file: string) => Effect.Effect<void, E, Scope.Scope | NodeServices.NodeServices>) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(monday)
    const fs = yield* FileSystem.FileSystem
    yield* work(`${yield* fs.makeTempDirectoryScoped()}/freshness.bin`)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("a watch over symbols", () => {
  it.effect("tells a symbol that cannot be subscribed again, and asks for it once", () =>
    within((file) =>
      Effect.gen(function* () {
        const asked: Array<ReadonlyArray<string>> = []
        const { begin, trade, watch } = yield* watched(file, asked)
        yield* begin
        yield* trade(monday, 20, "A", "B")
        assert.deepStrictEqual(watch.status().stale, [])
        yield* trade(monday + 20 * Minute, 10, "A")
        const { resubscribed, stale } = watch.status()
        assert.deepStrictEqual(
          stale.map((one) => [one.symbol, one.resubscribed]),
          [["TEST:B", undefined]]
        )
        assert.strictEqual(resubscribed, 0)
        assert.deepStrictEqual(asked, [["B"]])
        watch.forget({ provider: "test", dataset: "TEST", schema: "trades" }, "B")
        yield* trade(monday + 30 * Minute, 1, "A")
        assert.deepStrictEqual(watch.status().stale, [])
      })
    )
  )

  it.effect(
    "knows after a restart in which hours a feed trades, before it does; and a broken file is none",
    () =>
      within((file) =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { begin, trade } = yield* watched(file)
              yield* begin
              yield* trade(monday, 60, "A", "B")
              // An hour without trading is watched.
              yield* trade(monday + 60 * Minute, 70)
            })
          )
          const quiet = (at: number) =>
            Effect.scoped(
              Effect.gen(function* () {
                yield* TestClock.setTime(at)
                const { watch } = yield* watched(file)
                yield* TestClock.adjust("15 seconds")
                return watch.status().quiet.length
              })
            )
          assert.strictEqual(yield* quiet(monday + 24 * 60 * Minute + 10 * Minute), 0)
          assert.strictEqual(yield* quiet(monday + 25 * 60 * Minute + 10 * Minute), 1)
          const bytes = yield* fs.readFile(file)
          yield* fs.writeFile(file, bytes.subarray(0, bytes.length - 7))
          assert.strictEqual(yield* quiet(monday + 25 * 60 * Minute + 10 * Minute), 0)
        })
      )
  )
})
