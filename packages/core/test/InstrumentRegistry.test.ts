import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import {
  directory,
  type Instrument,
  InstrumentRegistry,
  type Listing,
  MarketStore,
  type RegistryChange,
  type RegistryOptions,
  registryChanges,
  StoreError,
  StoreUnavailable,
  type SymbolEntry,
  SymbolText
} from "../src/index.ts"
import { capabilities } from "./StoreCapabilities.ts"

const entry = (symbol: string, rest: Partial<SymbolEntry> = {}): SymbolEntry => ({
  symbol,
  provider: "acme",
  dataset: "ACME.SPOT",
  stypeIn: "raw_symbol",
  schemas: [],
  enabled: true,
  source: "database",
  discoveredAt: 0n,
  ...rest
})

const unreachable = new StoreError({
  operation: "read symbols",
  reason: new StoreUnavailable({ detail: "no connection", hint: "" })
})

/** What the registry needs of a store, over two arrays. */
const setup = (stored: Array<SymbolEntry>, options: RegistryOptions = {}, away = { now: false }) => {
  const instruments = new Map<number, Instrument>()
  const listings: Array<Listing> = []
  let loads = 0
  const store = Layer.mock(MarketStore)({
    capabilities,
    symbolEntries: Effect.suspend(() => (away.now ? Effect.fail(unreachable) : Effect.succeed([...stored]))),
    putSymbolEntries: (entries) =>
      Effect.sync(() => {
        for (const put of entries) {
          const at = stored.findIndex((e) => e.symbol === put.symbol && e.provider === put.provider)
          if (at < 0) stored.push(put)
          else stored[at] = put
        }
      }),
    loadInstruments: () =>
      Effect.sync(() => {
        loads += 1
        return {
          instruments: new Map(instruments),
          listings: [...listings],
          directory: directory(instruments.values())
        }
      })
  })
  const list = (id: number, dataset: string, rawSymbol: string, start = 0n, end = 1000n): void => {
    const symbol = SymbolText.make(dataset, rawSymbol)
    const known = {
      provider: "acme",
      dataset,
      rawSymbol,
      symbol,
      priceScale: 9,
      sizeScale: 0,
      assetClass: "unknown"
    } as const
    instruments.set(id, { id, ...known })
    listings.push({ instrument: id, dataset, rawSymbol, valid: { start, end } })
  }
  return { layer: InstrumentRegistry.layerWith(options).pipe(Layer.provide(store)), list, loads: () => loads }
}

describe("InstrumentRegistry", () => {
  it.effect("lets the database win over the file, and the file over discovery", () => {
    const stored = [entry("A:1", { enabled: false }), entry("A:2", { source: "discovery", enabled: false })]
    const { layer } = setup(stored, {
      configured: ["A:1", "A:2", "A:3"].map((symbol) => entry(symbol, { source: "config" }))
    })
    return Effect.gen(function* () {
      const entries = yield* (yield* InstrumentRegistry).entries()
      assert.deepStrictEqual(
        entries.map((e) => [e.symbol, e.source, e.enabled]),
        [
          ["A:1", "database", false],
          ["A:2", "config", true],
          ["A:3", "config", true]
        ]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("leaves the database's word out where overrides are switched off", () => {
    const stored = [
      entry("A:1", { enabled: false }),
      entry("A:2", { removedAt: 5n }),
      entry("A:3"),
      entry("A:4", { source: "discovery" })
    ]
    const { layer } = setup(stored, {
      configured: ["A:1", "A:2"].map((symbol) => entry(symbol, { source: "config" })),
      databaseOverrides: false
    })
    return Effect.gen(function* () {
      const entries = yield* (yield* InstrumentRegistry).entries()
      assert.deepStrictEqual(
        entries.map((e) => [e.symbol, e.source, e.enabled]),
        [
          ["A:1", "config", true],
          ["A:2", "config", true],
          ["A:4", "discovery", true]
        ]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("resolves raw symbols with colons in their short and full forms", () => {
    const { layer, list } = setup([])
    list(1, "A", "UD:1V: C 1234")
    list(2, "UD", "1V: C 1234")
    list(3, "B", "X")
    return Effect.gen(function* () {
      const registry = yield* InstrumentRegistry
      assert.strictEqual((yield* registry.resolve("A:UD:1V: C 1234")).id, 1)
      // As a full form it names the instrument of dataset UD.
      assert.strictEqual((yield* registry.resolve("UD:1V: C 1234")).id, 2)
      assert.strictEqual((yield* registry.resolve("X")).id, 3)
      assert.match((yield* Effect.flip(registry.resolve("B:Y"))).message, /unknown symbol "B:Y"/)
    }).pipe(Effect.provide(layer))
  })

  it.effect("leaves a tombstone, hides it, and takes the symbol back", () => {
    const stored: Array<SymbolEntry> = []
    const { layer } = setup(stored, { configured: [entry("A:1", { source: "config" })] })
    return Effect.gen(function* () {
      const registry = yield* InstrumentRegistry
      yield* registry.remove("A:1")
      assert.deepStrictEqual(yield* registry.entries(), [])
      assert.strictEqual((yield* registry.entries({ removed: true })).length, 1)
      assert.match((yield* Effect.flip(registry.remove("A:1"))).message, /not in the registry/)
      yield* registry.add({ symbol: "1", provider: "acme", dataset: "A" })
      assert.deepStrictEqual(
        (yield* registry.entries()).map((e) => e.symbol),
        ["A:1"]
      )
      assert.match(
        (yield* Effect.flip(registry.add({ symbol: "1", provider: "acme" }))).message,
        /names no dataset/
      )
      assert.isFalse((yield* registry.setEnabled("1", false)).enabled)
    }).pipe(Effect.provide(layer))
  })

  it.effect("resolves texts, reads the store again before it gives up, and explains itself", () => {
    const { layer, list, loads } = setup([])
    list(1, "A.X", "ESM6", 0n, 100n)
    list(2, "A.X", "ESM6", 1000n, 1100n)
    list(3, "B.Y", "ESM6")
    return Effect.gen(function* () {
      const registry = yield* InstrumentRegistry
      assert.strictEqual((yield* registry.resolve("A.X:ESM6", { start: 10n, end: 20n })).id, 1)
      assert.strictEqual((yield* registry.resolve("A.X:ESM6", { start: 1010n, end: 1020n })).id, 2)
      assert.match(
        (yield* Effect.flip(registry.resolve("A.X:ESM6", { start: 0n, end: 2000n }))).message,
        /different instruments.*#1 in .*#2 in /
      )
      assert.match((yield* Effect.flip(registry.resolve("ESM6"))).message, /A\.X:ESM6, B\.Y:ESM6/)
      list(4, "A.X", "NQM6")
      const before = loads()
      assert.strictEqual((yield* registry.resolve("NQM6")).id, 4)
      assert.strictEqual(loads(), before + 1)
      assert.strictEqual((yield* registry.resolve("NQM6")).id, 4)
      assert.strictEqual(loads(), before + 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("streams what changed between two looks", () => {
    const stored = [entry("A:1")]
    const { layer } = setup(stored, { pollInterval: "1 second" })
    return Effect.gen(function* () {
      const { changes } = yield* InstrumentRegistry
      const seen = yield* Effect.forkChild(Stream.runCollect(Stream.take(changes, 2)), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      stored.push(entry("A:2"))
      stored[0] = entry("A:1", { removedAt: 5n })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(
        (yield* Fiber.join(seen)).map((change) => [change._tag, change.entry.symbol]),
        [
          ["Added", "A:2"],
          ["Removed", "A:1"]
        ]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("is followed from what there is, and through a database that is away", () => {
    const stored = [entry("A:1"), entry("A:0", { removedAt: 1n })]
    const away = { now: false }
    const { layer } = setup(stored, { pollInterval: "1 second" }, away)
    return Effect.gen(function* () {
      const { follow } = yield* InstrumentRegistry
      const seen = yield* Effect.forkChild(Stream.runCollect(Stream.take(follow, 3)), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      away.now = true
      yield* TestClock.adjust("5 seconds")
      stored.push(entry("A:2"))
      away.now = false
      yield* TestClock.adjust("2 seconds")
      stored[2] = entry("A:2", { enabled: false })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(
        (yield* Fiber.join(seen)).map((change) => [change._tag, change.entry.symbol, change.entry.enabled]),
        [
          ["Added", "A:1", true],
          ["Added", "A:2", true],
          ["Changed", "A:2", false]
        ]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("follows configured entries that change, without waiting for its next look", () =>
    Effect.gen(function* () {
      const of = (...symbols: ReadonlyArray<string>) =>
        symbols.map((symbol) => entry(symbol, { source: "config" }))
      const configured = yield* SubscriptionRef.make<ReadonlyArray<SymbolEntry>>(of("A:1", "A:2"))
      const { layer } = setup([entry("A:2", { enabled: false })], { configured, pollInterval: "1 hour" })
      const registry = yield* Effect.provide(InstrumentRegistry, layer)
      const seen = yield* Queue.unbounded<RegistryChange>()
      yield* Effect.forkChild(Stream.runForEach(registry.follow, (change) => Queue.offer(seen, change)))
      const next = Effect.map(Queue.take(seen), (change) => [
        change._tag,
        change.entry.symbol,
        change.entry.enabled
      ])
      assert.deepStrictEqual(yield* next, ["Added", "A:1", true])
      assert.deepStrictEqual(yield* next, ["Added", "A:2", false])
      // Its stream listens by now.
      yield* Effect.yieldNow
      yield* SubscriptionRef.set(configured, of("A:2", "A:3"))
      assert.deepStrictEqual(yield* next, ["Added", "A:3", true])
      assert.deepStrictEqual(yield* next, ["Removed", "A:1", true])
      assert.deepStrictEqual(
        (yield* registry.entries()).map(({ symbol }) => symbol),
        ["A:2", "A:3"]
      )
    })
  )

  it("tells a changed entry from an equal one", () => {
    assert.deepStrictEqual(registryChanges([entry("A:1")], [entry("A:1", { discoveredAt: 9n })]), [])
    assert.strictEqual(
      registryChanges([entry("A:1")], [entry("A:1", { enabled: false })])[0]?._tag,
      "Changed"
    )
  })
})
