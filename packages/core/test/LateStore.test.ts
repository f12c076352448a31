/** A store that is reached later, and the symbols that are remembered until then. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { InstrumentRegistry } from "../src/InstrumentRegistry.ts"
import * as LateStore from "../src/LateStore.ts"
import { MarketStore, type SymbolEntry } from "../src/MarketStore.ts"
import * as RememberedSymbols from "../src/RememberedSymbols.ts"
import { StoreAccessDenied, StoreError, StoreUnavailable } from "../src/StoreError.ts"

const away = new StoreError({
  operation: "connect",
  reason: new StoreUnavailable({ detail: "no server", hint: "start it" })
})
const denied = new StoreError({
  operation: "connect",
  reason: new StoreAccessDenied({ detail: "wrong password", hint: "" })
})

const entry = (symbol: string, difference: Partial<SymbolEntry> = {}): SymbolEntry => ({
  symbol: `TEST:${symbol}`,
  provider: "test",
  dataset: "TEST",
  stypeIn: "raw_symbol",
  schemas: ["trades"],
  enabled: true,
  source: "database",
  discoveredAt: 1_700_000_000_000_000_000n,
  ...difference
})

/** A store of symbols alone, which is there once `isThere` says so. */
const serverOf = (answer: () => StoreError | undefined, entries: ReadonlyArray<SymbolEntry>) =>
  Layer.effect(
    MarketStore,
    Effect.suspend(() => {
      const problem = answer()
      return problem === undefined
        ? Effect.succeed({
            symbolEntries: Effect.succeed(entries),
            readTrades: () => Stream.empty
          } as unknown as MarketStore["Service"])
        : Effect.fail(problem)
    })
  )

const options: LateStore.LateStoreOptions = {
  isAway: (error) => error.isRetryable,
  pause: "10 millis"
}

describe("a store that is reached later", () => {
  it.live("fails as one that is away until it is there, and says why", () =>
    Effect.gen(function* () {
      let problem: StoreError | undefined = away
      const context = yield* Layer.build(
        LateStore.layer(
          serverOf(() => problem, [entry("A")]),
          options
        )
      )
      const store = Context.get(context, MarketStore)
      const reach = Context.get(context, LateStore.StoreReach)
      assert.include(reach.problem(), "no server")
      const error = yield* Effect.flip(store.symbolEntries)
      assert.isTrue(error.isRetryable)
      assert.strictEqual(error.message, "connect: no server; start it")
      assert.isTrue((yield* Effect.flip(Stream.runDrain(store.readTrades({} as never)))).isRetryable)
      assert.include(store.capabilities.notes.join(), "not been reached")
      // Later it is no reason to end: somebody may mend it.
      problem = denied
      yield* Effect.sleep("60 millis")
      assert.include(reach.problem(), "wrong password")
      assert.isTrue((yield* Effect.flip(store.symbolEntries)).isRetryable)
      problem = undefined
      yield* Effect.sleep("60 millis")
      assert.isUndefined(reach.problem())
      assert.strictEqual((yield* store.symbolEntries).length, 1)
    })
  )

  it.live("ends the start where waiting cannot help", () =>
    Effect.gen(function* () {
      const built = Layer.build(
        LateStore.layer(
          serverOf(() => denied, []),
          options
        )
      )
      assert.strictEqual((yield* Effect.flip(built)).reason._tag, "StoreAccessDenied")
    })
  )
})

describe("remembered symbols", () => {
  const inFolder = <A, E>(use: (path: string) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.acquireUseRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "dm-remembered-"))),
      (folder) => use(join(folder, "spool", "symbols.json")),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
  const open = (path: string) => Effect.provide(RememberedSymbols.make(path), NodeFileSystem.layer)

  it.live("come back as they were; a damaged file is none", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const remembered = yield* open(path)
        assert.isUndefined(yield* remembered.read)
        const entries = [entry("A"), entry("B", { removedAt: 5n, assetClass: "equity", enabled: false })]
        yield* remembered.write(entries)
        assert.deepStrictEqual(yield* (yield* open(path)).read, entries)
        writeFileSync(path, "[{")
        assert.isUndefined(yield* remembered.read)
      })
    )
  )

  it.live("count until the store is there, after which what it says does", () =>
    inFolder((path) =>
      Effect.gen(function* () {
        const remembered = yield* open(path)
        yield* remembered.write([entry("OLD"), entry("GONE", { removedAt: 5n })])
        let problem: StoreError | undefined = away
        const store = LateStore.layer(
          serverOf(() => problem, [entry("NEW")]),
          options
        )
        const registry = InstrumentRegistry.layerWith({
          configured: [entry("FILE", { source: "config" }), entry("GONE", { source: "config" })],
          pollInterval: "20 millis",
          remembered
        })
        const context = yield* Layer.build(registry.pipe(Layer.provide(store)))
        const { entries, follow } = Context.get(context, InstrumentRegistry)
        const symbols = Effect.map(entries(), (all) => all.map(({ symbol }) => symbol))
        assert.deepStrictEqual(yield* symbols, ["TEST:FILE", "TEST:OLD"])
        const seen: Array<string> = []
        yield* Effect.forkScoped(
          Stream.runForEach(follow, ({ _tag, entry: { symbol } }) =>
            Effect.sync(() => seen.push(`${_tag} ${symbol}`))
          )
        )
        yield* Effect.sleep("60 millis")
        assert.deepStrictEqual(seen, ["Added TEST:FILE", "Added TEST:OLD"])
        problem = undefined
        yield* Effect.sleep("150 millis")
        assert.sameMembers(seen.slice(2), ["Added TEST:NEW", "Added TEST:GONE", "Removed TEST:OLD"])
        assert.deepStrictEqual(
          (yield* remembered.read)?.map(({ symbol }) => symbol),
          ["TEST:NEW"]
        )
      }).pipe(Effect.scoped)
    )
  )
})
