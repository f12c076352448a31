import {
  BackfillSchedule,
  Decimal,
  InstrumentRegistry,
  type MarketStore,
  type Provider,
  ProviderRegistry,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Cron, Effect, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { base, Day, type Script, scripted, withStore } from "./ScriptedProvider.ts"

const millis = Number(base / UnixNanos.PerMilli)

/** Two collected symbols, one that is not, and a provider; the clock stands ten days after the provider's first. */
const withSymbols = <A, E>(
  script: Script,
  work: (
    provider: ReturnType<typeof scripted>,
    store: MarketStore["Service"]
  ) => Effect.Effect<A, E, MarketStore | InstrumentRegistry | ProviderRegistry>
) =>
  withStore((store) =>
    Effect.gen(function* () {
      yield* TestClock.setTime(millis + 10 * 86_400_000)
      const one = scripted(store, script)
      const services = Layer.merge(
        InstrumentRegistry.layer,
        ProviderRegistry.layer([one.provider as Provider])
      )
      return yield* Effect.gen(function* () {
        const registry = yield* InstrumentRegistry
        yield* registry.add({ symbol: "TEST:A", provider: "test" })
        yield* registry.add({ symbol: "TEST:B", provider: "test", schemas: ["trades", "mbp-1"] })
        yield* registry.add({ symbol: "TEST:OFF", provider: "test", enabled: false })
        return yield* work(one, store)
      }).pipe(Effect.provide(services))
    })
  )

const options = { lookbackDays: 3, chunkDays: 1, concurrency: 1 }

describe("a scheduled backfill", () => {
  it.effect("fills the holes of what is collected, as far back as told, and nothing else", () =>
    withSymbols({}, ({ requests }) =>
      Effect.gen(function* () {
        const [report] = yield* BackfillSchedule.runOnce(options)
        assert.deepStrictEqual([report?.chunks, report?.inserted, report?.failed.length], [3, 144, 0])
        // The provider has no mbp-1: it is not asked for it.
        assert.isTrue(requests.every((one) => one.schema === "trades" && one.symbols.join() === "A,B"))
        assert.strictEqual(requests[0]!.range.start, base + 7n * Day)
        assert.strictEqual(requests.at(-1)!.range.end, base + 10n * Day)
        const [again] = yield* BackfillSchedule.runOnce(options)
        assert.deepStrictEqual([again?.chunks, again?.inserted], [0, 0])
      })
    )
  )

  it.effect("fetches nothing at a provider that bills without a budget, or above it", () =>
    withSymbols(
      { billed: true, estimate: () => ({ requests: 1, costUsd: Decimal.parse("2")! }) },
      ({ requests }) =>
        Effect.gen(function* () {
          const [unlimited] = yield* BackfillSchedule.runOnce(options)
          assert.include(unlimited?.refused?.message, "no budget is set")
          const [dear] = yield* BackfillSchedule.runOnce({ ...options, maxCostUsd: Decimal.parse("5.99")! })
          assert.include(dear?.refused?.message, "costs 6 USD, the limit is 5.99 USD")
          assert.lengthOf(requests, 0)
          const [fine] = yield* BackfillSchedule.runOnce({ ...options, maxCostUsd: Decimal.parse("6")! })
          assert.strictEqual(fine?.chunks, 3)
        })
    )
  )

  it.effect("runs at the times of its schedule, in its time zone, and no more after its layer is gone", () =>
    withSymbols({}, ({ requests }) =>
      Effect.gen(function* () {
        const cron = Result.getOrThrow(Cron.parse("0 2 * * *", "America/Chicago"))
        yield* Effect.gen(function* () {
          // Midnight UTC is 19:00 in Chicago: the first run is seven hours away.
          yield* TestClock.adjust("6 hours")
          assert.lengthOf(requests, 0)
          yield* TestClock.adjust("1 hour")
          yield* TestClock.adjust("1 minute")
          assert.isAbove(requests.length, 0)
          const before = requests.length
          yield* TestClock.adjust("24 hours")
          yield* TestClock.adjust("1 minute")
          assert.isAbove(requests.length, before)
        }).pipe(Effect.provide(BackfillSchedule.layer({ ...options, cron })))
        const after = requests.length
        yield* TestClock.adjust("48 hours")
        assert.lengthOf(requests, after)
      })
    )
  )
})
