import {
  Backfill,
  type BackfillPlan,
  batchContext,
  Decimal,
  type Estimate,
  type HistoryRequest,
  type ListingClaim,
  MarketStore,
  type Provider,
  ProviderDisconnected,
  ProviderError,
  type ProviderEvent,
  type StoreError,
  StoreMigrations,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { memoryDatabase } from "./MemoryStore.ts"

const Day = UnixNanos.PerDay
const base = 20_000n * Day
const Hour = 3600n * UnixNanos.PerSecond

const claimOf = (symbol: string): ListingClaim => ({
  provider: "test",
  dataset: "TEST",
  rawSymbol: symbol,
  valid: { start: base, end: base + 1_000n * Day },
  defaultPriceScale: 2,
  defaultSizeScale: 0
})

interface Script {
  /** Called before a request is answered; a failure ends it after its first batch. */
  readonly fail?: (request: HistoryRequest, count: number) => ProviderError | undefined
  readonly billed?: boolean
  readonly estimate?: (request: HistoryRequest) => Estimate
  /** What a parent means. */
  readonly children?: (symbol: string) => ReadonlyArray<string>
  /** Rows per batch. */
  readonly batchRows?: number
}

/** A trade an hour of every symbol that does not begin with X. */
const scripted = (store: MarketStore["Service"], script: Script = {}) => {
  const requests: Array<HistoryRequest> = []
  const history = (request: HistoryRequest): Stream.Stream<ProviderEvent, ProviderError | StoreError> =>
    Stream.unwrap(
      Effect.gen(function* () {
        requests.push(request)
        const failure = script.fail?.(request, requests.length)
        const children = script.children ?? ((symbol: string) => [symbol])
        const known = request.symbols.filter((symbol) => !symbol.startsWith("X"))
        const pairs = known.flatMap((asked) => children(asked).map((symbol) => ({ asked, symbol })))
        const claims = pairs.map(({ symbol }) => claimOf(symbol))
        const instruments = yield* store.registerListings(claims)
        const rows = instruments.flatMap(({ id }) => {
          const times: Array<readonly [number, bigint]> = []
          for (let t = request.range.start; t < request.range.end; t += Hour) times.push([id, t - (t % Hour)])
          return times.filter(([, t]) => t >= request.range.start)
        })
        rows.sort((a, b) => (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0))
        const size = script.batchRows ?? 50
        const events: Array<ProviderEvent> = pairs.map(({ asked }, i) => ({
          _tag: "Mapping",
          claim: claims[i]!,
          requested: asked
        }))
        for (let at = 0; at < rows.length; at += size) {
          const builder = tradeBuilder(batchContext({ provider: "test", dataset: "TEST" }), size)
          for (const [id, time] of rows.slice(at, at + size)) {
            const row = builder.length++
            builder.columns.instrument[row] = id
            builder.columns.tsEvent[row] = time
            builder.columns.tsRecv[row] = time
            builder.columns.tradeKey[row] = TradeKey.make(1, Number((time / Hour) % 4_294_967_296n), 0)
            builder.columns.price[row] = 100n
            builder.columns.priceExponent[row] = -2
            builder.columns.size[row] = 1n
          }
          events.push({ _tag: "Batch", batch: builder.flush() })
        }
        const all = Stream.fromIterable(events)
        return failure === undefined
          ? all
          : Stream.concat(Stream.take(all, pairs.length + 2), Stream.fail(failure))
      })
    )
  const provider: Provider = {
    id: "test",
    capabilities: {
      history: ["trades"],
      live: [],
      symbolTypes: ["raw_symbol", "parent"],
      replaySeconds: 0,
      consecutiveIds: false,
      billed: script.billed ?? false,
      maxSymbols: 0,
      maxDays: 0,
      addSymbolsLive: false
    },
    history: history as Provider["history"],
    live: () => Stream.empty,
    discover: () => Stream.empty,
    availableRange: () => Effect.succeed({ start: base, end: base + 100n * Day }),
    estimate: (request) => Effect.succeed(script.estimate?.(request) ?? { requests: 1 }),
    health: Effect.succeed({ state: "idle", reconnects: 0, detail: "" })
  }
  return { provider, requests }
}

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

/** Work with an empty store of its own. */
const withStore = <A, E>(work: (store: MarketStore["Service"]) => Effect.Effect<A, E, MarketStore>) =>
  Effect.gen(function* () {
    const database = yield* memoryDatabase()
    yield* StoreMigrations.use((migrations) => migrations.up()).pipe(Effect.provide(database.migrations))
    return yield* MarketStore.use(work).pipe(Effect.provide(database.store))
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
