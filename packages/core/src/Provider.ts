/**
 * What a source of market data offers. A provider is a value in an explicit list (`ProviderRegistry`), not a service
 * tag: two providers compose without a clash.
 *
 * Streams carry batches, gaps and symbol mappings. Interrupting a stream is how it is shut down; it then has released
 * its sockets and files.
 */
import type { Effect, Stream } from "effect"
import type * as Decimal from "./Decimal.ts"
import type { ListingClaim } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { ProviderError } from "./ProviderError.ts"
import type { TimeRange } from "./TimeRange.ts"

/** How the symbols of a request are meant. Providers without such forms accept "raw_symbol" alone. */
export type SymbolType = "raw_symbol" | "parent" | "continuous" | "instrument_id"

/**
 * How a symbol is meant by the form in which it is written: `ES.FUT` is a parent, `ES.c.0` continuous, digits alone an
 * instrument number, everything else the venue's own text.
 */
export const symbolTypeOf = (rawSymbol: string): SymbolType =>
  /^[^.]+\.(FUT|OPT|SPOT)$/.test(rawSymbol)
    ? "parent"
    : /^[^.]+\.[cnv]\.\d+$/.test(rawSymbol)
      ? "continuous"
      : /^\d+$/.test(rawSymbol)
        ? "instrument_id"
        : "raw_symbol"

/** Every symbol of a dataset, where a provider supports it. */
export const AllSymbols = "ALL_SYMBOLS"

/** What to collect or fetch. */
export interface Selection {
  readonly dataset: string
  readonly symbols: ReadonlyArray<string>
  readonly stypeIn: SymbolType
  readonly schema: MarketSchema
}

/** Past data, `[start, end)` on the index clock of the schema. */
export interface HistoryRequest extends Selection {
  readonly range: TimeRange
}

/** Lost or unavailable data: explicit, bounded, with its cause. */
export interface Gap {
  readonly _tag: "Gap"
  readonly dataset: string
  readonly schema: MarketSchema
  /** Native ids or texts concerned; undefined means all of the stream. */
  readonly symbols?: ReadonlyArray<string> | undefined
  readonly range: TimeRange
  /** Rows lost, where it can be counted (venues with consecutive ids). */
  readonly rows?: bigint | undefined
  readonly cause: GapCause
}

/** Why data is missing. "silence": a symbol was silent for so long that its stream is in doubt. */
export type GapCause =
  | "disconnect"
  | "slow-reader"
  | "sequence"
  | "overflow"
  | "provider"
  | "crash"
  | "disk-full"
  | "silence"

/** Text and native id belong together from here on. */
export interface Mapping {
  readonly _tag: "Mapping"
  readonly claim: ListingClaim
  /** What was asked for: `ES.c.0`. */
  readonly requested: string
}

/** Rows. */
export interface Batch {
  readonly _tag: "Batch"
  readonly batch: MarketBatch
}

/** Element of a provider stream. */
export type ProviderEvent = Batch | Gap | Mapping

/** What a request would take. Money, weight and time are present where the provider counts in them. */
export interface Estimate {
  readonly requests: number
  readonly records?: bigint | undefined
  readonly bytes?: bigint | undefined
  readonly costUsd?: Decimal.Decimal | undefined
  /** Units of the provider's own budget (Binance request weight), and how much of it a minute allows. */
  readonly weight?: { readonly units: number; readonly perMinute: number } | undefined
  readonly seconds?: number | undefined
}

/** How the provider has the data of a time now: another text than at an earlier look says that it was revised since. */
export interface Revision {
  readonly range: TimeRange
  /** Day of the last change, checksum of a file: compared, never understood. */
  readonly revision: string
}

/** What a provider can do, so that planners need not try. */
export interface ProviderCapabilities {
  readonly history: ReadonlyArray<MarketSchema>
  readonly live: ReadonlyArray<MarketSchema>
  readonly symbolTypes: ReadonlyArray<SymbolType>
  /** Live subscriptions that can start in the past, and how far back. */
  readonly replaySeconds: number
  /** Ids step by one per instrument, so that a missing id proves loss (Binance spot trades). */
  readonly consecutiveIds: boolean
  /** Requests cost money: they are never repeated blindly. */
  readonly billed: boolean
  /** Largest number of symbols and longest time of one history request; 0 means no limit. */
  readonly maxSymbols: number
  readonly maxDays: number
  /** Symbols can be added to a running stream. */
  readonly addSymbolsLive: boolean
  /**
   * The clock on which it indexes rows, for live coverage: requests, watermarks and gaps are in its terms. Default "ts_recv",
   * the first capture.
   */
  readonly indexClock?: "ts_recv" | "ts_event" | undefined
}

/** How a provider is doing. */
export interface ProviderHealth {
  readonly state: "healthy" | "degraded" | "down" | "idle"
  readonly lastDataAt?: bigint | undefined
  /** Receive time minus event time of the newest data, nanoseconds. */
  readonly lag?: bigint | undefined
  readonly reconnects: number
  readonly detail: string
}

/** A source of market data. */
export interface Provider<R = never> {
  /** `databento`; unique in a registry, lower case. */
  readonly id: string
  readonly capabilities: ProviderCapabilities
  /** Batches in index-clock order, whole groups, keys equal for any chunking. */
  readonly history: (request: HistoryRequest) => Stream.Stream<ProviderEvent, ProviderError, R>
  /**
   * Live data until interrupted; reconnects by itself, holes become `Gap`s. `from`, in time of the venue, asks for replay
   * of what has happened since.
   */
  readonly live: (
    selection: Selection,
    options?: { readonly from?: bigint | undefined }
  ) => Stream.Stream<ProviderEvent, ProviderError, R>
  /** Everything tradable, for the registry. */
  readonly discover: (dataset: string) => Stream.Stream<ListingClaim, ProviderError, R>
  /** What exists for a symbol. */
  readonly availableRange: (selection: Selection) => Effect.Effect<TimeRange, ProviderError, R>
  /** What a request would take, before anything is fetched or billed. */
  readonly estimate: (request: HistoryRequest) => Effect.Effect<Estimate, ProviderError, R>
  /** How the data of a request stands, where the provider tells: what was revised since it was fetched is fetched again. */
  readonly revisions?: (request: HistoryRequest) => Effect.Effect<ReadonlyArray<Revision>, ProviderError, R>
  readonly health: Effect.Effect<ProviderHealth, never, R>
}
