/**
 * The read side of a transport, the same in process, over shared memory and over a network.
 * A subscription has an id and a kind and ends with its client. Loss is an explicit `Lost` event, never silent.
 */
import { Context, type Effect, type Scope, type Stream } from "effect"
import type * as Decimal from "./Decimal.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { Gap } from "./Provider.ts"
import type { Repaired } from "./Publication.ts"
import type { TransportError } from "./TransportError.ts"

/**
 * Where reading starts. `Latest`: with the next row. `Oldest`: with the oldest row that the transport still has. `Sequence`:
 * at a position; what is gone by then is reported as lost. `Time`: with what was published at `time` (ns since the epoch)
 * or later, and possibly a few rows before. `LastPerSymbol`: the newest `count` rows of each symbol as snapshots, then
 * everything that follows them, with no row missing or repeated in between. `Durable`: with the first row that is not known to
 * be committed in the store, or the oldest that the transport still has, whichever is later: what comes before is in the store
 * as soon as `durable` of the subscription has reached its `start`.
 */
export type StartPosition =
  | { readonly _tag: "Latest" }
  | { readonly _tag: "Oldest" }
  | { readonly _tag: "Sequence"; readonly sequence: bigint }
  | { readonly _tag: "Time"; readonly time: bigint }
  | { readonly _tag: "LastPerSymbol"; readonly count: number }
  | { readonly _tag: "Durable" }

/**
 * What is delivered. Symbols are `DATASET:RAW_SYMBOL`, a raw symbol alone where it is unique, or `ALL_SYMBOLS`.
 * The conditions of `Filtered` combine with AND.
 */
export type SubscriptionKind =
  | { readonly _tag: "Topic"; readonly symbols: ReadonlyArray<string> }
  | {
      readonly _tag: "Filtered"
      readonly symbols: ReadonlyArray<string>
      /** Percent against the last delivered price of the symbol; the first trade passes. */
      readonly minPriceChangePct?: Decimal.Decimal | undefined
      readonly minQuantity?: Decimal.Decimal | undefined
      /** At most one per symbol and window: leading edge, the last one of a window at its end. */
      readonly throttleMillis?: number | undefined
    }
  | {
      readonly _tag: "SnapshotDelta"
      readonly symbols: ReadonlyArray<string>
      readonly snapshotDepth: number
    }

/** Element of a subscription's stream. */
export type SubscriptionEvent =
  | { readonly _tag: "Batch"; readonly batch: MarketBatch }
  /**
   * The newest rows of one symbol, oldest first; `complete` says whether they are as many as were asked for, `replayed` how
   * many of them, the oldest ones, are a replay. Where all of them are, the batch's context says so, too.
   */
  | {
      readonly _tag: "Snapshot"
      readonly symbol: string
      readonly batch: MarketBatch
      readonly complete: boolean
      readonly replayed?: number | undefined
    }
  /** Rows `[from, to)` of the publication were overwritten or dropped before this reader came to them. */
  | { readonly _tag: "Lost"; readonly from: bigint; readonly to: bigint; readonly cause: string }
  /** Rows were lost before they came to the publication. */
  | { readonly _tag: "Gap"; readonly gap: Gap }
  /** Rows that were told as lost are in the store now. */
  | { readonly _tag: "Repaired"; readonly repaired: Repaired }
  /** Another generation of the producer; its first row has this position. */
  | { readonly _tag: "ProducerRestarted"; readonly epoch: bigint; readonly position: bigint }
  /** Nobody publishes any more: the producer ended in order, or died. The subscription waits for the next one. */
  | { readonly _tag: "ProducerLost"; readonly cause: "closed" | "died" }

/** Identifies a subscription. */
export type SubscriptionId = string

/** A subscription as the control plane lists it. */
export interface SubscriptionInfo {
  readonly id: SubscriptionId
  readonly clientId: string
  readonly kind: SubscriptionKind
  readonly createdAt: bigint
  /** Rows delivered so far. */
  readonly delivered: bigint
  /** Rows of the wanted symbols held back, by the condition that held them back. */
  readonly suppressed: Suppressed
  /** Rows lost so far, and in how many gaps. */
  readonly lost: bigint
  readonly gaps: bigint
  /** Rows published that this reader has not come to yet. */
  readonly lag: bigint
  /** Everything before this position is committed in the store, 0 where nobody says so: there history and stream meet. */
  readonly durable: bigint
  /** Position of the next row that it looks at. */
  readonly position: bigint
  /** Position at which it began: it delivers, or tells as lost, what was published from there on. */
  readonly start: bigint
}

/** Rows held back, by cause: each row counts once, under the first condition that it failed. */
export interface Suppressed {
  readonly quantity: bigint
  readonly priceChange: bigint
  readonly throttle: bigint
}

/** An open subscription. Its scope ends it. */
export interface SubscriptionHandle {
  readonly info: Effect.Effect<SubscriptionInfo>
  /** Events as they come; slow consumers lose visibly, they do not slow the producer. */
  readonly receive: Stream.Stream<SubscriptionEvent, TransportError>
  /** For strategies with a loop of their own: what has arrived, at most `limit` rows, at once and without an Effect. */
  readonly poll: (limit: number) => ReadonlyArray<SubscriptionEvent>
  /**
   * Wants further symbols, from the next row that has not been read on; those that it wants already change nothing. Not for
   * snapshots: a snapshot is taken once, at the start.
   */
  readonly addSymbols: (symbols: ReadonlyArray<string>) => Effect.Effect<void, TransportError>
  /** Wants these symbols no longer. One that is wanted as part of `ALL_SYMBOLS` cannot be taken out, and the last one neither. */
  readonly removeSymbols: (symbols: ReadonlyArray<string>) => Effect.Effect<void, TransportError>
}

/** Connected to one publication. */
export class Subscription extends Context.Service<
  Subscription,
  {
    readonly name: string
    readonly subscribe: (
      kind: SubscriptionKind,
      start?: StartPosition
    ) => Effect.Effect<SubscriptionHandle, TransportError, Scope.Scope>
    readonly unsubscribe: (id: SubscriptionId) => Effect.Effect<void, TransportError>
    readonly list: Effect.Effect<ReadonlyArray<SubscriptionInfo>>
  }
>()("@data-manager/core/Subscription") {}
