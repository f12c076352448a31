/**
 * The read side of a transport, the same in process, over shared memory and over a network.
 * A subscription has an id and a kind and ends with its client. Loss is an explicit `Lost` event, never silent.
 */
import { Context, type Effect, type Scope, type Stream } from "effect"
import type * as Decimal from "./Decimal.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { TransportError } from "./TransportError.ts"

/** Where reading starts. */
export type StartPosition =
  | { readonly _tag: "Latest" }
  | { readonly _tag: "Oldest" }
  | { readonly _tag: "Sequence"; readonly sequence: bigint }
  | { readonly _tag: "Time"; readonly time: bigint }
  | { readonly _tag: "LastPerSymbol"; readonly count: number }

/** What is delivered. */
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
  | { readonly _tag: "Snapshot"; readonly batch: MarketBatch; readonly complete: boolean }
  /** Rows `[from, to)` of the publication were overwritten or dropped before this reader came to them. */
  | { readonly _tag: "Lost"; readonly from: bigint; readonly to: bigint; readonly cause: string }
  | { readonly _tag: "ProducerRestarted"; readonly epoch: bigint }
  | { readonly _tag: "ProducerLost" }

/** Identifies a subscription. */
export type SubscriptionId = string

/** A subscription as the control plane lists it. */
export interface SubscriptionInfo {
  readonly id: SubscriptionId
  readonly clientId: string
  readonly kind: SubscriptionKind
  readonly createdAt: bigint
  /** Rows delivered, suppressed by filters and lost so far. */
  readonly delivered: bigint
  readonly suppressed: bigint
  readonly lost: bigint
}

/** An open subscription. Its scope ends it. */
export interface SubscriptionHandle {
  readonly info: Effect.Effect<SubscriptionInfo>
  /** Events as they come; slow consumers lose visibly, they do not slow the producer. */
  readonly receive: Stream.Stream<SubscriptionEvent, TransportError>
  /** For strategies with a loop of their own: what has arrived, at most `limit` rows, at once and without an Effect. */
  readonly poll: (limit: number) => ReadonlyArray<SubscriptionEvent>
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
