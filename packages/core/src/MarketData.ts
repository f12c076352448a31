/**
 * Market data for strategies: what is stored, what has to be fetched, and what is live, as one stream. The same strategy runs on
 * the live rows of its own process, on those of a service on this host, and on stored rows as a backtest: only the layer differs.
 *
 *     subscribe   Missing* -> Batch* (stored, in order of time) -> Live -> Batch* (as they come), Lost, Gap, ...
 *     history     Missing* -> Batch*
 */
import { Context, type Duration, Effect, Layer, Option, Stream } from "effect"
import type { ConfigError } from "./ConfigError.ts"
import type * as Decimal from "./Decimal.ts"
import type { Instrument } from "./Instrument.ts"
import { InstrumentRegistry } from "./InstrumentRegistry.ts"
import { liveRows } from "./MarketDataLive.ts"
import { historyOf, type MissingData, type StoredData } from "./MarketDataStored.ts"
import type * as MarketSchema from "./MarketSchema.ts"
import { MarketStore } from "./MarketStore.ts"
import type { ProviderError } from "./ProviderError.ts"
import { ProviderRegistry } from "./ProviderRegistry.ts"
import type { KeyedBatch } from "./RowIndex.ts"
import type { StoreError } from "./StoreError.ts"
import { Subscription, type SubscriptionEvent } from "./Subscription.ts"
import type * as TimeRange from "./TimeRange.ts"
import type { TransportError } from "./TransportError.ts"

export type { MissingData } from "./MarketDataStored.ts"

/** Which data. */
export interface MarketDataRequest {
  /** `DATASET:RAW_SYMBOL`, a raw symbol alone where it is unique, or `ALL_SYMBOLS`. */
  readonly symbols: ReadonlyArray<string>
  /** A schema of trades or quotes; default `trades`. */
  readonly schema?: MarketSchema.MarketSchema | undefined
  /** Fetch from the provider what the store lacks, before anything is given. Default false. */
  readonly fetchMissing?: boolean | undefined
  /** Most that fetching may cost, US dollars; at a provider that bills nothing is fetched without it. */
  readonly maxCostUsd?: Decimal.Decimal | undefined
}

/** Live data, and what was before. */
export interface SubscribeRequest extends MarketDataRequest {
  /** Begin of the stored data that comes first, ns; undefined: live data alone, from the next row on. */
  readonly from?: bigint | undefined
  /** How long to wait until the store has what was published before the subscription; default one minute. */
  readonly maxWait?: Duration.Input | undefined
  /** Live rows that may wait in memory while stored ones are read; default 1,000,000, about 100 MB. */
  readonly maxPending?: number | undefined
}

/** Stored data. */
export interface HistoryDataRequest extends MarketDataRequest {
  readonly range: TimeRange.TimeRange
}

/** From here on the rows of a stream are live. */
export interface LiveBegins {
  readonly _tag: "Live"
}

/** Rows. Instruments have the same numbers over the whole stream. */
export interface MarketRows {
  readonly _tag: "Batch"
  readonly batch: KeyedBatch
}

/** Element of a stream of market data. */
export type MarketEvent =
  | MarketRows
  | MissingData
  | LiveBegins
  | Extract<
      SubscriptionEvent,
      { readonly _tag: "Lost" | "Gap" | "Repaired" | "ProducerRestarted" | "ProducerLost" }
    >

/** What can go wrong. */
export type MarketDataError = StoreError | TransportError | ProviderError | ConfigError

/** Market data as streams. */
export class MarketData extends Context.Service<
  MarketData,
  {
    /**
     * Stored rows since `from`, then live ones. Between them none is missing and none comes twice: every row is in the store or
     * published after the subscription began, and one that is both is given once. Ends when it is interrupted; a backtest ends
     * with the stored data.
     */
    readonly subscribe: (request: SubscribeRequest) => Stream.Stream<MarketEvent, MarketDataError>
    /** Stored rows of a range of the times under which the store keeps them, in their order. */
    readonly history: (
      request: HistoryDataRequest
    ) => Stream.Stream<MarketRows | MissingData, StoreError | ProviderError | ConfigError>
    /** The instrument that a text names now. */
    readonly instrument: (symbol: string) => Effect.Effect<Instrument, StoreError>
  }
>()("@data-manager/core/MarketData") {
  /**
   * Stored and live data: live rows come from the `Subscription` at hand, which is a ring of this host, or the service in this
   * process. Give a `ProviderRegistry`, too, and missing data can be fetched. The subscription's batches must be its own: no
   * `reuseMemory`.
   */
  static readonly layer: Layer.Layer<MarketData, never, MarketStore | InstrumentRegistry | Subscription> =
    Layer.effect(
      MarketData,
      Effect.suspend(() => live)
    )

  /**
   * Stored data alone, for backtests: a subscription gives what is stored since its `from` and ends with the end of the range.
   * Rows of the range come as if they were live, behind `Live`; rows before it as stored ones.
   */
  static readonly layerStored = (
    range: TimeRange.TimeRange
  ): Layer.Layer<MarketData, never, MarketStore | InstrumentRegistry> =>
    Layer.effect(
      MarketData,
      Effect.suspend(() => backtest(range))
    )
}

/** Everything that a store alone can answer. */
const stored = Effect.gen(function* () {
  const store = yield* MarketStore
  const registry = yield* InstrumentRegistry
  const providers = yield* Effect.serviceOption(ProviderRegistry)
  const data: StoredData = { store, registry, providers: Option.getOrUndefined(providers)?.all ?? [] }
  return data
})

const live = Effect.gen(function* () {
  const data = yield* stored
  const subscription = yield* Subscription
  return MarketData.of({
    history: (request) => historyOf(data, request),
    subscribe: (request) => liveRows(data, subscription, request),
    instrument: (symbol) => data.registry.resolve(symbol)
  })
})

const backtest = (range: TimeRange.TimeRange) =>
  Effect.map(stored, (data) =>
    MarketData.of({
      history: (request) => historyOf(data, request),
      subscribe: (request) => replayed(data, range, request),
      instrument: (symbol) => data.registry.resolve(symbol, range)
    })
  )

/** What was stored before the range as stored, the range itself as live. */
const replayed = (
  data: StoredData,
  range: TimeRange.TimeRange,
  request: SubscribeRequest
): Stream.Stream<MarketEvent, MarketDataError> => {
  const { from = range.start } = request
  const before = { start: from, end: range.start }
  const past = from < range.start ? historyOf(data, { ...request, range: before }) : Stream.empty
  const live: Stream.Stream<MarketEvent> = Stream.succeed({ _tag: "Live" })
  return past.pipe(Stream.concat(live), Stream.concat(historyOf(data, { ...request, range })))
}
