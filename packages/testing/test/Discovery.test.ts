import {
  Discovery,
  InstrumentRegistry,
  type ListingClaim,
  MarketStore,
  type Provider,
  ProviderDisconnected,
  ProviderError,
  StoreMigrations
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { memoryDatabase } from "./MemoryStore.ts"

const claim = (rawSymbol: string | undefined): ListingClaim => ({
  provider: "test",
  dataset: "TEST",
  rawSymbol,
  nativeId: 1,
  valid: { start: 0n, end: 1n },
  defaultPriceScale: 9,
  defaultSizeScale: 0,
  details: { assetClass: "future" }
})

const providerOf = (id: string, discover: Provider["discover"]): Provider => ({
  id,
  capabilities: {
    history: [],
    live: [],
    symbolTypes: ["raw_symbol"],
    replaySeconds: 0,
    consecutiveIds: false,
    billed: false,
    maxSymbols: 0,
    maxDays: 0,
    addSymbolsLive: false
  },
  history: () => Stream.empty,
  live: () => Stream.empty,
  discover,
  availableRange: () => Effect.succeed({ start: 0n, end: 1n }),
  estimate: () => Effect.succeed({ requests: 0 }),
  health: Effect.succeed({ state: "idle", reconnects: 0, detail: "" })
})

const broken = new ProviderError({
  provider: "broken",
  operation: "discover",
  reason: new ProviderDisconnected({ detail: "reset" })
})

/** Work with an empty store of its own. */
const withStore = <A, E>(work: Effect.Effect<A, E, MarketStore | InstrumentRegistry>) =>
  Effect.gen(function* () {
    const database = yield* memoryDatabase()
    yield* StoreMigrations.use((migrations) => migrations.up()).pipe(Effect.provide(database.migrations))
    return yield* Effect.provide(work, InstrumentRegistry.layer.pipe(Layer.provideMerge(database.store)))
  })

describe("discovery", () => {
  it.effect("adds what is unknown, collects what is included, and leaves everything else alone", () =>
    withStore(
      Effect.gen(function* () {
        const registry = yield* InstrumentRegistry
        yield* registry.add({ symbol: "TEST:KEPT", provider: "test", enabled: false, schemas: ["mbp-1"] })
        yield* registry.add({ symbol: "TEST:GONE", provider: "test" })
        yield* registry.remove("TEST:GONE")
        const names = ["ESH6", "ESM6", undefined, "CLH6", "KEPT", "GONE", "ESH6"]
        const provider = providerOf("test", () => Stream.fromIterable(names.map(claim)))
        const request = {
          provider,
          datasets: ["TEST"],
          includes: (symbol: string) => symbol.startsWith("TEST:ES")
        }
        assert.deepStrictEqual(yield* Stream.runCollect(Discovery.run([request])), [
          { _tag: "Discovered", provider: "test", dataset: "TEST", listed: 5, added: 3, included: 2 }
        ])
        const entries = yield* registry.entries({ removed: true })
        assert.deepStrictEqual(
          entries.map((entry) => [entry.symbol, entry.enabled, entry.source, entry.removedAt !== undefined]),
          [
            ["TEST:CLH6", false, "discovery", false],
            ["TEST:ESH6", true, "discovery", false],
            ["TEST:ESM6", true, "discovery", false],
            ["TEST:GONE", true, "database", true],
            ["TEST:KEPT", false, "database", false]
          ]
        )
        assert.strictEqual(entries[0]!.assetClass, "future")
        // Another look changes nothing, also where the rule has changed.
        const again = yield* Stream.runCollect(Discovery.run([{ ...request, includes: () => true }]))
        assert.strictEqual(again[0]?._tag === "Discovered" && again[0].added, 0)
        assert.deepStrictEqual(yield* registry.entries({ removed: true }), entries)
      })
    )
  )

  it.effect("tells a provider that fails and goes on with the others", () =>
    withStore(
      Effect.gen(function* () {
        const failing = providerOf("broken", () =>
          Stream.concat(Stream.make(claim("A")), Stream.fail(broken))
        )
        const fine = providerOf("fine", (dataset) =>
          Stream.fromIterable(Array.from({ length: 20_001 }, (_, i) => claim(`${dataset}${i}`)))
        )
        const outcomes = yield* Stream.runCollect(
          Discovery.run([
            { provider: failing, datasets: ["X", "Y"] },
            { provider: fine, datasets: ["Z"] }
          ])
        )
        assert.deepStrictEqual(
          outcomes.map((one) => [one._tag, one.dataset, one._tag === "Failed" ? one.error : one.added]),
          [
            ["Failed", "X", broken],
            ["Failed", "Y", broken],
            ["Discovered", "Z", 20_001]
          ]
        )
        const store = yield* MarketStore
        assert.lengthOf(yield* store.symbolEntries, 20_001)
      })
    )
  )
})
