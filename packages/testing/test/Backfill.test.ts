import {
  Backfill,
  type BackfillPlan,
  Decimal,
  type HistoryRequest,
  type MarketStore,
  type Provider,
  ProviderDisconnected,
  ProviderError,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { base, Day, type Script, scripted, withStore } from "./ScriptedProvider.ts"

const request = (change: Partial<BackfillPlan.BackfillRequest> = {}): BackfillPlan.BackfillRequest => ({
  dataset: "TEST",
  symbols: ["A", "B"],
  stypeIn: "raw_symbol",
  schema: "trades",
  range: { start: base, end: base + 3n * Day },
  ...change
})

const disconnected = new ProviderError({
  provider: "test",
  operation: "history",
  reason: new ProviderDisconnected({ detail: "reset" })
})

/** Plans and runs; what happened to the chunks, in the order in which they ended. */
const backfill = Effect.fnUntraced(function* (
  provider: Provider,
  what: BackfillPlan.BackfillRequest,
  options: Backfill.RunOptions = { concurrency: 1 }
) {
  const plan = yield* Backfill.prepare(provider, what, { chunkDays: 1 })
  const events = yield* Stream.runCollect(Backfill.run(provider, plan, options))
  const done = events.flatMap((event) => (event._tag === "ChunkDone" ? [event.summary] : []))
  const failed = events.flatMap((event) => (event._tag === "ChunkFailed" ? [event] : []))
  return { plan, events, done, failed }
})

const rowsOf = Effect.fnUntraced(function* (store: MarketStore["Service"]) {
  const { instruments } = yield* store.loadInstruments()
  const batches = yield* Stream.runCollect(
    store.readTrades({ instruments: [...instruments.keys()], range: { start: base, end: base + 100n * Day } })
  )
  return batches.reduce((sum, batch) => sum + batch.length, 0)
})

describe("a backfill", () => {
  it.effect("stores what is lacking, claims it, and asks for nothing the next time", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const { provider, requests } = scripted(store)
        const first = yield* backfill(provider, request())
        assert.deepStrictEqual(
          first.done.map((one) => [one.inserted, one.duplicates, one.conflicts, one.known]),
          [
            [48, 0, 0, false],
            [48, 0, 0, false],
            [48, 0, 0, false]
          ]
        )
        assert.strictEqual(yield* rowsOf(store), 144)
        assert.lengthOf(requests, 3)
        const second = yield* backfill(provider, request())
        assert.deepStrictEqual(second.plan.chunks, [])
        assert.deepStrictEqual(second.plan.complete, ["A", "B"])
        const more = yield* backfill(provider, request({ symbols: ["A", "B", "C"] }))
        assert.isTrue(more.plan.chunks.every((chunk) => chunk.symbols.join() === "C"))
        assert.strictEqual(yield* rowsOf(store), 216)
      })
    )
  )

  it.effect("tells symbols that the provider does not know, and does not claim them", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const { provider } = scripted(store)
        const { done } = yield* backfill(provider, request({ symbols: ["A", "X1"] }))
        assert.deepStrictEqual(
          done.map((one) => one.unknown),
          [["X1"], ["X1"], ["X1"]]
        )
        const again = yield* Backfill.prepare(provider, request({ symbols: ["A", "X1"] }))
        assert.deepStrictEqual(again.complete, ["A"])
        assert.deepStrictEqual(
          again.chunks.map((chunk) => chunk.symbols),
          [["X1"]]
        )
        // Alone, too, it is an answer and no failure.
        const alone = yield* backfill(provider, request({ symbols: ["X1"] }))
        assert.lengthOf(alone.failed, 0)
        assert.deepStrictEqual(
          alone.done.map((one) => [one.inserted, one.unknown]),
          [
            [0, ["X1"]],
            [0, ["X1"]],
            [0, ["X1"]]
          ]
        )
      })
    )
  )

  it.effect("remembers when a symbol was not listed yet, and asks again when that has expired", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const now = Number((base + 60n * Day) / UnixNanos.PerMilli)
        yield* TestClock.setTime(now)
        const { provider, requests } = scripted(store, { listedFrom: base + Day + Day / 2n })
        const late = request({ symbols: ["N1"] })
        const first = yield* backfill(provider, late)
        assert.deepStrictEqual(
          first.done.map((one) => [one.inserted, one.unknown]),
          [
            [0, ["N1"]],
            [12, []],
            [24, []]
          ]
        )
        assert.lengthOf(requests, 3)
        const second = yield* Backfill.prepare(provider, late, { chunkDays: 1 })
        assert.deepStrictEqual([second.complete, second.skipped.none], [["N1"], Day + Day / 2n])
        // Old times are asked again after a month.
        yield* TestClock.setTime(now + 29 * 86_400_000)
        assert.lengthOf((yield* Backfill.prepare(provider, late, { chunkDays: 1 })).chunks, 0)
        yield* TestClock.setTime(now + 31 * 86_400_000)
        const third = yield* backfill(provider, late)
        assert.deepStrictEqual(
          requests.slice(3).map(({ range }) => [range.start - base, range.end - base]),
          [
            [0n, Day],
            [Day, Day + Day / 2n]
          ]
        )
        assert.lengthOf(third.failed, 0)
        assert.lengthOf((yield* Backfill.prepare(provider, late, { chunkDays: 1 })).chunks, 0)
      })
    )
  )

  it.effect("fetches again what the provider has revised since, and that alone", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const revised = base + Day
        let change = "2026-01-10"
        const script: Script = { revision: (day) => (day === revised ? change : "2026-01-10") }
        const { provider, requests } = scripted(store, script)
        yield* backfill(provider, request())
        assert.lengthOf((yield* Backfill.prepare(provider, request(), { chunkDays: 1 })).chunks, 0)
        change = "2026-02-20"
        const plan = yield* Backfill.prepare(provider, request(), { chunkDays: 1 })
        assert.deepStrictEqual(plan.revised, [{ start: revised, end: revised + Day }])
        requests.length = 0
        const { done } = yield* backfill(provider, request())
        assert.deepStrictEqual(
          requests.map(({ range, symbols }) => [range.start, range.end, symbols.join()]),
          [[revised, revised + Day, "A,B"]]
        )
        assert.deepStrictEqual([done[0]!.inserted, done[0]!.duplicates], [0, 48])
        const settled = yield* Backfill.prepare(provider, request(), { chunkDays: 1 })
        assert.deepStrictEqual([settled.chunks, settled.revised], [[], []])
      })
    )
  )

  it.effect("fetches what retention removed only where that is asked for", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const { provider, requests } = scripted(store)
        yield* backfill(provider, request({ symbols: ["A"] }))
        const [instrument] = yield* store.registerListings([
          {
            provider: "test",
            dataset: "TEST",
            rawSymbol: "A",
            valid: { start: base, end: base + Day },
            defaultPriceScale: 2,
            defaultSizeScale: 0
          }
        ])
        const range = { start: base, end: base + Day }
        yield* store.markCoverage([{ instrument: instrument!.id, schema: "trades", state: "expired", range }])
        const plan = yield* Backfill.prepare(provider, request({ symbols: ["A"] }), { chunkDays: 1 })
        assert.deepStrictEqual([plan.complete, plan.skipped.expired], [["A"], Day])
        requests.length = 0
        yield* backfill(provider, request({ symbols: ["A"], includeExpired: true }))
        assert.deepStrictEqual(
          requests.map((one) => one.range),
          [range]
        )
      })
    )
  )

  it.effect("of years is priced in few calls, and near the limit chunk by chunk", () =>
    withStore((store) =>
      Effect.gen(function* () {
        // Each request costs a cent more than its days: what a chunk fetches beside its own time.
        const cents = ({ range }: HistoryRequest) => 100n * ((range.end - range.start) / Day) + 1n
        const { provider, estimates } = scripted(store, {
          billed: true,
          estimate: (one) => ({ requests: 2, costUsd: Decimal.make(cents(one), -2) })
        })
        const years = request({ range: { start: base, end: base + 100n * Day } })
        const plan = yield* Backfill.prepare(provider, years, { chunkDays: 1 })
        const cost = yield* Backfill.estimate(provider, plan)
        assert.deepStrictEqual([cost.requests, Decimal.format(cost.costUsd!)], [200, "100.01"])
        assert.lengthOf(estimates, 1)
        const limited = (limit: string) =>
          Effect.map(Backfill.estimatePlans(provider, [plan], Decimal.parse(limit)!), (parts) =>
            Decimal.format(parts[0]!.costUsd!)
          )
        // Far above and far below the limit it does not matter.
        assert.strictEqual(yield* limited("150"), "100.01")
        assert.strictEqual(yield* limited("50"), "100.01")
        assert.lengthOf(estimates, 3)
        assert.strictEqual(yield* limited("100.5"), "101.00")
        assert.lengthOf(estimates, 104)
      })
    )
  )

  it.effect("goes on after a chunk that fails, reports it, and the next run fetches it alone", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const dying = scripted(store, {
          batchRows: 10,
          fail: ({ range }) => (range.start === base + Day ? disconnected : undefined)
        })
        const first = yield* backfill(dying.provider, request(), { concurrency: 2, retries: 0 })
        assert.lengthOf(first.done, 2)
        assert.strictEqual(first.failed[0]!.chunk.range.start, base + Day)
        assert.strictEqual(first.failed[0]!.error, disconnected)
        // Rows that came before the failure are stored, but not claimed.
        const partial = yield* rowsOf(store)
        assert.isAbove(partial, 96)
        assert.isBelow(partial, 144)
        const healthy = scripted(store, { batchRows: 7 })
        const second = yield* backfill(healthy.provider, request())
        assert.lengthOf(healthy.requests, 1)
        assert.strictEqual(second.done[0]!.inserted, 144 - partial)
        assert.strictEqual(second.done[0]!.duplicates, partial - 96)
        assert.strictEqual(yield* rowsOf(store), 144)
      })
    )
  )

  it.effect("tries again what may pass, and never by itself where that costs money", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const flaky: Script = { fail: (_, count) => (count <= 2 ? disconnected : undefined) }
        const free = scripted(store, flaky)
        const running = yield* Effect.forkChild(backfill(free.provider, request({ symbols: ["A"] })))
        for (let second = 0; second < 20; second++) yield* TestClock.adjust("1 second")
        const { done, failed } = yield* Fiber.join(running)
        assert.lengthOf(failed, 0)
        assert.lengthOf(done, 3)
        assert.lengthOf(free.requests, 5)
        const billed = scripted(store, { ...flaky, billed: true })
        const paid = yield* backfill(billed.provider, request({ symbols: ["B"] }))
        assert.lengthOf(paid.failed, 2)
        assert.lengthOf(billed.requests, 3)
      })
    )
  )

  it.effect("claims nothing where rows are fewer than the provider counts", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const { provider } = scripted(store, { estimate: () => ({ requests: 1, records: 49n }) })
        const { done, failed } = yield* backfill(provider, request(), { verify: true })
        assert.lengthOf(done, 0)
        assert.include(failed[0]!.error.message, "counts 49 records and sent 48")
        assert.lengthOf((yield* Backfill.prepare(provider, request(), { chunkDays: 1 })).chunks, 3)
        const right = scripted(store, { estimate: () => ({ requests: 1, records: 48n }) })
        const verified = yield* backfill(right.provider, request(), { verify: true })
        assert.lengthOf(verified.done, 3)
      })
    )
  )

  it.effect("of a parent is in the ledger: what is finished is not fetched again", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const children = (symbol: string) => [`${symbol}H6`, `${symbol}M6`]
        const { provider, requests } = scripted(store, { children })
        const parent = request({ symbols: ["ES.FUT"], stypeIn: "parent" })
        const first = yield* backfill(provider, parent)
        assert.deepStrictEqual(
          first.done.map((one) => [one.inserted, one.unknown.length]),
          [
            [48, 0],
            [48, 0],
            [48, 0]
          ]
        )
        assert.lengthOf(requests, 3)
        const second = yield* backfill(provider, parent)
        assert.isTrue(second.done.every((one) => one.known && one.inserted === 0))
        assert.lengthOf(requests, 3)
        const again = yield* backfill(provider, { ...parent, again: true })
        assert.isTrue(again.done.every((one) => !one.known && one.duplicates === 48))
        assert.lengthOf(requests, 6)
        // Its children are held as themselves.
        const child = yield* Backfill.prepare(provider, request({ symbols: ["ES.FUTH6"] }))
        assert.deepStrictEqual(child.complete, ["ES.FUTH6"])
      })
    )
  )

  it.effect("adds up what a plan takes, and refuses what costs too much or cannot be told", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const dear = scripted(store, {
          billed: true,
          estimate: () => ({
            requests: 2,
            records: 5n,
            bytes: 7n,
            costUsd: Decimal.parse("0.10")!,
            seconds: 1.5
          })
        })
        const plan = yield* Backfill.prepare(dear.provider, request(), { chunkDays: 1 })
        const cost = yield* Backfill.estimate(dear.provider, plan)
        assert.deepStrictEqual(
          [cost.requests, cost.records, cost.bytes, Decimal.format(cost.costUsd!), cost.seconds],
          [6, 15n, 21n, "0.30", 4.5]
        )
        yield* Backfill.checkBudget(dear.provider, cost, Decimal.parse("0.3"))
        const refused = yield* Effect.flip(Backfill.checkBudget(dear.provider, cost, Decimal.parse("0.29")))
        assert.include(refused.message, "costs 0.30 USD, the limit is 0.29 USD")
        const unknown = yield* Effect.flip(
          Backfill.checkBudget(dear.provider, { requests: 1 }, Decimal.parse("5"))
        )
        assert.include(unknown.message, "the price cannot be told")
        assert.lengthOf(dear.requests, 0)
      })
    )
  )

  it.effect("that is interrupted keeps what is committed, and the next one ends in the same rows", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const { provider } = scripted(store, { batchRows: 5 })
        const plan = yield* Backfill.prepare(provider, request(), { chunkDays: 1 })
        yield* Stream.runDrain(Stream.take(Backfill.run(provider, plan, { concurrency: 1 }), 14))
        const partial = yield* rowsOf(store)
        assert.isAbove(partial, 0)
        assert.isBelow(partial, 144)
        yield* backfill(provider, request())
        assert.strictEqual(yield* rowsOf(store), 144)
      })
    )
  )
})
