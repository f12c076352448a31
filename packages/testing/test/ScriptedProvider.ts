/** A provider that does what a test says, and a store for its rows. */
import {
  batchContext,
  type Estimate,
  type HistoryRequest,
  type ListingClaim,
  MarketStore,
  type Provider,
  ProviderBadRequest,
  ProviderError,
  type ProviderEvent,
  type StoreError,
  StoreMigrations,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect, Stream } from "effect"
import { memoryDatabase } from "./MemoryStore.ts"

export const Day = UnixNanos.PerDay
export const base = 20_000n * Day
const Hour = 3600n * UnixNanos.PerSecond

const claimOf = (symbol: string, start = base): ListingClaim => ({
  provider: "test",
  dataset: "TEST",
  rawSymbol: symbol,
  valid: { start, end: base + 1_000n * Day },
  defaultPriceScale: 2,
  defaultSizeScale: 0
})

/** What a provider does. */
export interface Script {
  /** Called before a request is answered; a failure ends it after its first batch. */
  readonly fail?: (request: HistoryRequest, count: number) => ProviderError | undefined
  readonly billed?: boolean
  readonly estimate?: (request: HistoryRequest) => Estimate
  /** What a parent means. */
  readonly children?: (symbol: string) => ReadonlyArray<string>
  /** Rows per batch. */
  readonly batchRows?: number
  /** Before it, symbols that begin with N mean nothing. */
  readonly listedFrom?: bigint
  /** How the data of each day stands. */
  readonly revision?: (day: bigint) => string
}

const unknown = ({ symbols }: HistoryRequest): ProviderError =>
  new ProviderError({
    provider: "test",
    operation: "history",
    reason: new ProviderBadRequest({ detail: "unknown symbols", unknownSymbols: symbols })
  })

const revisionsOf =
  (revision: (day: bigint) => string) =>
  ({ range }: HistoryRequest) => {
    const days: Array<bigint> = []
    for (let day = UnixNanos.startOfDay(range.start); day < range.end; day += Day) days.push(day)
    return Effect.succeed(
      days.map((day) => ({ range: { start: day, end: day + Day }, revision: revision(day) }))
    )
  }

/** A trade an hour of every symbol that does not begin with X. */
export const scripted = (store: MarketStore["Service"], script: Script = {}) => {
  const requests: Array<HistoryRequest> = []
  const estimates: Array<HistoryRequest> = []
  const history = (request: HistoryRequest): Stream.Stream<ProviderEvent, ProviderError | StoreError> =>
    Stream.unwrap(
      Effect.gen(function* () {
        requests.push(request)
        const failure = script.fail?.(request, requests.length)
        const children = script.children ?? ((symbol: string) => [symbol])
        const listedFrom = (symbol: string) => (symbol.startsWith("N") ? (script.listedFrom ?? base) : base)
        const known = request.symbols.filter(
          (symbol) => !symbol.startsWith("X") && listedFrom(symbol) < request.range.end
        )
        if (known.length === 0) return Stream.fail(unknown(request))
        const pairs = known.flatMap((asked) => children(asked).map((symbol) => ({ asked, symbol })))
        const claims = pairs.map(({ asked, symbol }) => claimOf(symbol, listedFrom(asked)))
        const instruments = yield* store.registerListings(claims)
        const rows = instruments.flatMap(({ id }, i) => {
          const times: Array<readonly [number, bigint]> = []
          const { start } = claims[i]!.valid
          for (
            let t = request.range.start > start ? request.range.start : start;
            t < request.range.end;
            t += Hour
          )
            times.push([id, t - (t % Hour)])
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
    estimate: (request) => {
      estimates.push(request)
      return Effect.succeed(script.estimate?.(request) ?? { requests: 1 })
    },
    ...(script.revision === undefined ? {} : { revisions: revisionsOf(script.revision) }),
    health: Effect.succeed({ state: "idle", reconnects: 0, detail: "" })
  }
  return { provider, requests, estimates }
}

/** Work with an empty store of its own. */
export const withStore = <A, E>(work: (store: MarketStore["Service"]) => Effect.Effect<A, E, MarketStore>) =>
  Effect.gen(function* () {
    const database = yield* memoryDatabase()
    yield* StoreMigrations.use((migrations) => migrations.up()).pipe(Effect.provide(database.migrations))
    return yield* MarketStore.use(work).pipe(Effect.provide(database.store))
  })
