/** The write side of a transport: batches go out to any number of subscriptions, lossy by default, never blocking. */
import { Context, type Effect } from "effect"
import type { MarketBatch } from "./MarketBatch.ts"
import type { Gap } from "./Provider.ts"
import type { TransportError } from "./TransportError.ts"

/** What became of a publish. */
export interface PublishResult {
  /** Position after the last row: rows published since the start of this producer generation. */
  readonly position: bigint
  /** Rows that were not taken because a subscriber with bounded blocking timed out; 0 where nothing blocks. */
  readonly refused: number
}

/** A running publication; its layer starts it, closing the scope stops it and tells the subscribers. */
export class Publication extends Context.Service<
  Publication,
  {
    readonly name: string
    readonly publish: (batch: MarketBatch) => Effect.Effect<PublishResult, TransportError>
    /** Tells subscribers of loss before the transport. */
    readonly publishGap: (gap: Gap) => Effect.Effect<void, TransportError>
    /** Everything up to this position is committed in the store: history and live meet here. */
    readonly markDurable: (position: bigint) => Effect.Effect<void, TransportError>
    readonly connectionCount: Effect.Effect<number>
  }
>()("@data-manager/core/Publication") {}
