/**
 * What a provider is tested against: a venue on this machine that speaks the protocol of the provider, serves a tape
 * whose rows are known, and does what a card asks for.
 */
import type {
  ConfigError,
  MarketBatch,
  MarketSchema,
  Provider,
  ProviderError,
  TimeRange
} from "@data-manager/core"
import type { Clock, Effect, Scope } from "effect"

/** With what the provider introduces itself. `wrong`: well formed, and nobody's. `malformed`: cannot be one. */
export type Credentials = "valid" | "wrong" | "malformed" | "missing"

/**
 * One thing that goes wrong. Those of history strike the next request for rows, those of live data the next session;
 * `afterRows` counts the rows that this session has sent.
 */
export type ProviderFault =
  /** The answer ends in its middle: the connection is gone. */
  | { readonly type: "historyCut" }
  /** The service fails on its side. */
  | { readonly type: "historyUnavailable" }
  /** Too many requests. */
  | { readonly type: "historyRateLimited" }
  /** An answer that is not of the protocol, such as the page of a proxy. */
  | { readonly type: "historyGarbage" }
  /** The session ends in order, without a word. */
  | { readonly type: "disconnect"; readonly afterRows: number }
  /** The connection is reset. */
  | { readonly type: "reset"; readonly afterRows: number }
  /** Nothing more comes, and the connection stays open. */
  | { readonly type: "stall"; readonly afterRows: number }
  /** The service leaves out the next `rows` rows for good, as far as its protocol lets a client know. */
  | { readonly type: "loss"; readonly afterRows: number; readonly rows: number }

/** One service, for one card. */
export interface ProviderService {
  /** A provider of its own over this service. Missing or malformed credentials may be refused at once. */
  readonly connect: (
    credentials: Credentials
  ) => Effect.Effect<Provider, ProviderError | ConfigError, Scope.Scope>
  readonly dataset: string
  /** Raw symbols, at least two, each with rows in every schema that has rows. */
  readonly symbols: ReadonlyArray<string>
  /** A well-formed symbol that the service does not have. */
  readonly unknownSymbol: string
  /**
   * The tape: every row that the service has, in index-clock order, made without the code under test. Instruments are named
   * by the context of each batch. At least 200 rows of one schema, some of which share their microsecond. Empty for
   * schemas that are not tested.
   */
  readonly rows: (schema: MarketSchema.MarketSchema) => ReadonlyArray<MarketBatch>
  /** What the service says that it has; contains every row. */
  readonly range: TimeRange.TimeRange
  /** The index clock: by which time rows are asked for and ordered. */
  readonly clock: (schema: MarketSchema.MarketSchema) => MarketSchema.RowClock
  /**
   * Arms a fault. Live data: the first session of the service plays the tape from its beginning, later ones go on where the
   * tape is, and give again what is asked for by `from` or by resuming, where the provider has replay.
   */
  readonly fault: (fault: ProviderFault) => Effect.Effect<void>
  /** Connections and requests that are open. */
  readonly open: Effect.Effect<number>
  /** Requests for rows of the past that were begun, refused ones included. */
  readonly historyRequests: Effect.Effect<number>
  /** Texts that must not appear anywhere: keys of all credentials. */
  readonly secrets: ReadonlyArray<string>
}

/** How services are made. */
export interface ProviderUnderTest<E> {
  /** A service that nobody else uses; it ends with the scope. Called once per card. */
  readonly service: Effect.Effect<ProviderService, E, Scope.Scope>
  /**
   * The clock that service and provider see, made once per card. A fast one (`FastClock.make`) makes backoff and
   * heartbeats short; default: real time.
   */
  readonly clock?: (() => Clock.Clock) | undefined
}
