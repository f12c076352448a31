/** Holes in coverage: which are found, when they are fetched, and how they are closed. */
import {
  type Coverage,
  Decimal,
  GapRepair,
  InstrumentRegistry,
  type MarketStore,
  type Provider,
  ProviderError,
  ProviderRegistry,
  ProviderUnavailable,
  Publication,
  type Repaired,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import { base, Day, type Script, scripted, withStore } from "./ScriptedProvider.ts"

const Hour = 3600n * UnixNanos.PerSecond
const millis = (at: bigint): number => Number(at / UnixNanos.PerMilli)

interface Setting {
  readonly store: MarketStore["Service"]
  readonly one: ReturnType<typeof scripted>
  readonly repair: GapRepair.GapRepair["Service"]
  readonly ids: ReadonlyMap<string, number>
  readonly mark: (
    symbol: string,
    state: Coverage.CoverageState,
    from: bigint,
    to: bigint,
    cause?: string
  ) => Effect.Effect<void>
}

/** A store that knows A, B and C, of which A and B are collected; the clock stands at day ten. */
const within = <E>(
  script: Script & { readonly available?: () => bigint },
  options: GapRepair.GapRepairOptions,
  work: (setting: Setting) => Effect.Effect<void, E>,
  publication: Layer.Layer<Publication> = Layer.empty as Layer.Layer<never> as Layer.Layer<Publication>
) =>
  withStore((store) =>
    Effect.gen(function* () {
      yield* TestClock.setTime(millis(base + 10n * Day))
      const one = scripted(store, script)
      const { available } = script
      const provider = {
        ...one.provider,
        ...(available === undefined
          ? {}
          : { availableRange: () => Effect.sync(() => ({ start: base, end: available() })) })
      }
      const symbols = ["A", "B", "C", "X"]
      const known = yield* store.registerListings(
        symbols.map((rawSymbol) => ({
          provider: "test",
          dataset: "TEST",
          rawSymbol,
          valid: { start: base, end: base + 1000n * Day },
          defaultPriceScale: 2,
          defaultSizeScale: 0
        }))
      )
      const ids = new Map(known.map(({ id, rawSymbol }) => [rawSymbol, id]))
      const mark: Setting["mark"] = (symbol, state, from, to, cause) =>
        Effect.orDie(
          Effect.suspend(() => {
            const range = { start: base + from, end: base + to }
            const claim = { instrument: ids.get(symbol)!, schema: "trades" as const, range }
            return state === "held"
              ? store.claimCoverage([claim])
              : store.markCoverage([{ ...claim, state, cause }])
          })
        )
      const services = Layer.mergeAll(
        InstrumentRegistry.layer,
        ProviderRegistry.layer([provider as Provider]),
        publication
      )
      yield* Effect.gen(function* () {
        const registry = yield* InstrumentRegistry
        for (const symbol of ["A", "B", "X"])
          yield* registry.add({ symbol: `TEST:${symbol}`, provider: "test" })
        const repair = yield* GapRepair.make({ interval: "1000 days", ...options })
        yield* work({ store, one, repair, ids, mark })
      }).pipe(Effect.provide(services), Effect.scoped)
    })
  )

const nine = 9n * Day

describe("repair of gaps", () => {
  it.effect("closes holes of what is collected, each once, and tells them with their counts", () =>
    within({}, { delay: "15 minutes" }, ({ mark, one, repair }) =>
      Effect.gen(function* () {
        for (const symbol of ["A", "B"]) {
          yield* mark(symbol, "held", nine, nine + 2n * Hour)
          yield* mark(symbol, "missing", nine + 2n * Hour, nine + 4n * Hour, "disconnect")
          yield* mark(symbol, "held", nine + 4n * Hour, nine + 5n * Hour)
        }
        // Nothing is known of this hour, and of both around it.
        yield* mark("A", "held", nine + 6n * Hour, nine + 7n * Hour)
        yield* mark("C", "missing", nine, nine + Hour, "crash")
        yield* mark("B", "missing", nine + 9n * Hour, nine + 10n * Hour, "revised")
        const heard = yield* Effect.forkChild(repair.events.pipe(Stream.take(4), Stream.runCollect))
        yield* Effect.yieldNow
        yield* repair.round
        const events = yield* Fiber.join(heard)
        assert.deepStrictEqual(
          events.map(({ _tag, gap }) => [_tag, gap.cause, gap.symbols.join(), gap.range.start - base - nine]),
          [
            ["Gap", "disconnect", "A,B", 2n * Hour],
            ["Gap", "unexplained", "A", 5n * Hour],
            ["Repaired", "disconnect", "A,B", 2n * Hour],
            ["Repaired", "unexplained", "A", 5n * Hour]
          ]
        )
        assert.deepStrictEqual(
          events.flatMap((event) => (event._tag === "Repaired" ? [[event.inserted, event.by]] : [])),
          [
            [4, "repair"],
            [1, "repair"]
          ]
        )
        assert.deepStrictEqual(
          one.requests.map(({ symbols }) => symbols.join()),
          ["A,B", "A"]
        )
        yield* repair.round
        const { open, repaired, rows } = repair.status()
        assert.deepStrictEqual([open.length, repaired, rows, one.requests.length], [0, 2, 5, 2])
      })
    )
  )

  it.effect("waits for the delay, and until the provider has it, with pauses that grow", () => {
    let end = base + nine
    return within(
      { available: () => end },
      { delay: "2 hours", lookBack: "3 days" },
      ({ mark, one, repair }) =>
        Effect.gen(function* () {
          yield* mark("A", "missing", 10n * Day - Hour, 10n * Day, "overflow")
          yield* mark("A", "missing", 5n * Day, 5n * Day + Hour, "overflow")
          yield* repair.round
          const [gap] = repair.status().open
          assert.deepStrictEqual([repair.status().open.length, gap?.attempts], [1, 0])
          yield* TestClock.setTime(millis(base + 10n * Day + 2n * Hour))
          const waited: Array<bigint> = []
          for (let i = 0; i < 8; i++) {
            const [before] = repair.status().open
            yield* TestClock.setTime(millis(before!.nextAt))
            yield* repair.round
            const [after] = repair.status().open
            assert.include(after?.problem, "history ends at")
            waited.push((after!.nextAt - before!.nextAt) / (60n * UnixNanos.PerSecond))
          }
          assert.deepStrictEqual(waited, [1n, 2n, 4n, 8n, 16n, 32n, 60n, 60n])
          assert.strictEqual(one.requests.length, 0)
          end = base + 20n * Day
          yield* TestClock.setTime(millis(repair.status().open[0]!.nextAt))
          yield* repair.round
          const { failed, open, repaired, rows } = repair.status()
          assert.deepStrictEqual([open.length, repaired, rows, failed], [0, 1, 1, 8])
        })
    )
  })

  it.effect("stays open while a fetch fails, and closes where the provider has nothing", () => {
    const failure = new ProviderError({
      provider: "test",
      operation: "history",
      reason: new ProviderUnavailable({ detail: "down for maintenance" })
    })
    return within(
      { fail: (_, count) => (count === 1 ? failure : undefined) },
      { retries: 0 },
      ({ mark, repair, store, ids }) =>
        Effect.gen(function* () {
          yield* mark("A", "missing", nine, nine + 2n * Hour, "crash")
          yield* mark("X", "missing", nine + 3n * Hour, nine + 4n * Hour, "crash")
          yield* repair.round
          const [open] = repair.status().open
          assert.deepStrictEqual([open?.symbols, open?.attempts], [["A"], 1])
          assert.include(open?.problem, "down for maintenance")
          const spans = yield* store.coverage({ instruments: [ids.get("X")!], states: ["none"] })
          assert.lengthOf(spans, 1)
          yield* TestClock.setTime(millis(open!.nextAt))
          yield* repair.round
          assert.deepStrictEqual([repair.status().open.length, repair.status().repaired], [0, 2])
        })
    )
  })

  it.effect("claims nothing where the provider counts more rows than it sent", () =>
    within({ estimate: () => ({ requests: 1, records: 3n }) }, { retries: 0 }, ({ mark, repair }) =>
      Effect.gen(function* () {
        yield* mark("A", "missing", nine, nine + 2n * Hour, "crash")
        yield* repair.round
        assert.include(repair.status().open[0]?.problem, "counts 3 records and sent 2")
      })
    )
  )

  it.effect("spends at a provider that bills no more than a day's budget", () =>
    within(
      { billed: true, estimate: () => ({ requests: 1, costUsd: Decimal.parse("2")! }) },
      { maxCostUsd: Decimal.parse("5")! },
      ({ mark, one, repair }) =>
        Effect.gen(function* () {
          for (const [hour, cause] of (["crash", "overflow", "disconnect"] as const).entries())
            yield* mark("A", "missing", nine + BigInt(hour) * Hour, nine + BigInt(hour + 1) * Hour, cause)
          yield* repair.round
          assert.strictEqual(one.requests.length, 2)
          assert.include(repair.status().open[0]?.problem, "costs 2 USD, the limit is 1 USD")
          // The next day has a budget of its own.
          yield* TestClock.setTime(millis(base + 11n * Day))
          yield* repair.round
          assert.deepStrictEqual([one.requests.length, repair.status().open.length], [3, 0])
        })
    )
  )

  it.effect("notices that a backfill closed a hole", () =>
    within({}, { delay: "2 days" }, ({ mark, one, repair }) =>
      Effect.gen(function* () {
        yield* mark("A", "missing", nine, nine + 2n * Hour, "crash")
        yield* repair.round
        assert.lengthOf(repair.status().open, 1)
        yield* mark("A", "held", nine, nine + 2n * Hour)
        const heard = yield* Effect.forkChild(Stream.runHead(repair.events))
        yield* Effect.yieldNow
        yield* repair.round
        const event = Option.getOrThrow(yield* Fiber.join(heard))
        assert.deepStrictEqual([event._tag, event._tag === "Repaired" && event.by], ["Repaired", "other"])
        assert.strictEqual(one.requests.length, 0)
      })
    )
  )

  it.effect("tells the subscribers of a publication", () => {
    const told: Array<Repaired> = []
    const publication = Layer.succeed(
      Publication,
      Publication.of({
        name: "test",
        kinds: ["trades"],
        publish: () => Effect.die("no rows"),
        publishGap: () => Effect.void,
        publishRepaired: (repaired) => Effect.sync(() => void told.push(repaired)),
        markDurable: () => Effect.void,
        connectionCount: Effect.succeed(0)
      })
    )
    const work = ({ mark, repair }: Setting) =>
      Effect.gen(function* () {
        yield* mark("B", "missing", nine, nine + 2n * Hour, "crash")
        yield* repair.round
        const range = { start: base + nine, end: base + nine + 2n * Hour }
        assert.deepStrictEqual(told, [
          { _tag: "Repaired", dataset: "TEST", schema: "trades", symbols: ["B"], range, rows: 2n }
        ])
      })
    return within({}, {}, work, publication)
  })
})
