/** Discovery by a service: soon after its start and every so often, whatever fails in between. */
import {
  DataManagerConfig,
  MarketStore,
  type StoreCapabilities,
  StoreError,
  StoreUnavailable,
  type SymbolEntry
} from "@data-manager/core"
import { TestProvider, TestVenue } from "@data-manager/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { discovery } from "../src/ServiceSchedule.ts"

const away = new StoreError({
  operation: "write symbols",
  reason: new StoreUnavailable({ detail: "no connection", hint: "" })
})

/** Discovery over a venue with A, B and C; `stored` is what it has written. */
const start = Effect.fnUntraced(function* (symbols: object, failures = 0) {
  const stored: Array<SymbolEntry> = []
  let fails = failures
  const store = Layer.mock(MarketStore)({
    capabilities: {} as StoreCapabilities,
    symbolEntries: Effect.sync(() => [...stored]),
    putSymbolEntries: (entries) =>
      Effect.suspend(() => {
        fails -= 1
        return fails >= 0 ? Effect.fail(away) : Effect.sync(() => void stored.push(...entries))
      })
  })
  const loaded = {
    file: undefined,
    variables: [],
    config: Result.getOrThrow(DataManagerConfig.decode({ symbols }))
  }
  const configured = [{ provider: TestProvider.make(new TestVenue()), datasets: ["TEST", "NOTHERE"] }]
  yield* Layer.build(Layer.provide(discovery(loaded, configured), store))
  return { stored }
})

describe("discovery by a service", () => {
  it.effect("finds symbols a minute after the start, and collects those of the patterns", () =>
    Effect.gen(function* () {
      const { stored } = yield* start({ include: ["TEST:A", "C*"] })
      yield* TestClock.adjust("59 seconds")
      assert.isEmpty(stored)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(
        stored.map(({ enabled, source, symbol }) => [symbol, enabled, source]),
        [
          ["TEST:A", true, "discovery"],
          ["TEST:B", false, "discovery"],
          ["TEST:C", true, "discovery"]
        ]
      )
    })
  )

  it.effect("tries again at its next time where the store was away", () =>
    Effect.gen(function* () {
      const { stored } = yield* start({ discovery_interval_hours: 2 }, 1)
      yield* TestClock.adjust("2 hours")
      assert.isEmpty(stored)
      yield* TestClock.adjust("2 minutes")
      assert.lengthOf(stored, 3)
    })
  )

  it.effect("does nothing where it is switched off", () =>
    Effect.gen(function* () {
      const { stored } = yield* start({ discovery_enabled: false })
      yield* TestClock.adjust("3 days")
      assert.isEmpty(stored)
    })
  )
})
