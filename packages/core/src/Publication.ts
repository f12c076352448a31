/** The write side of a transport: batches go out to any number of subscriptions, lossy by default, never blocking. */
import { Context, type Effect } from "effect"
import type { MarketBatch } from "./MarketBatch.ts"
import type { MarketSchema, RowKind } from "./MarketSchema.ts"
import type { Gap } from "./Provider.ts"
import type { TimeRange } from "./TimeRange.ts"
import type { TransportError } from "./TransportError.ts"

/** What became of a publish. */
export interface PublishResult {
  /** Position after the last row, counted over all generations of the producer; a long text id takes several. */
  readonly position: bigint
  /** Subscribers with bounded blocking that were given up during this call and may lose rows from now on. */
  readonly demoted: number
}

/** A reader of a publication, as far as that knows it. What a reader of another process says of itself is not to be trusted. */
export interface PublicationReader {
  /** Unique among those who read at the time. */
  readonly id: string
  readonly client: string
  readonly kind: RowKind
  /** Process id, where it is another process of this host. */
  readonly pid?: number | undefined
  readonly delivered: bigint
  readonly gaps: bigint
  readonly lost: bigint
  /** Rows published that it has not read. */
  readonly lag: bigint
}

/** Rows of a time that had been told as lost are in the store. */
export interface Repaired {
  readonly _tag: "Repaired"
  readonly dataset: string
  readonly schema: MarketSchema
  /** Texts concerned; undefined means all that were told. */
  readonly symbols?: ReadonlyArray<string> | undefined
  /** On the index clock of the schema: everything in it is held now. */
  readonly range: TimeRange
  /** Rows that the repair has added to the store, of all the symbols together. */
  readonly rows: bigint
}

/** A running publication; its layer starts it, closing the scope stops it and tells the subscribers. */
export class Publication extends Context.Service<
  Publication,
  {
    readonly name: string
    /** Row kinds it takes; another kind is a bad request. */
    readonly kinds: ReadonlyArray<RowKind>
    readonly publish: (batch: MarketBatch) => Effect.Effect<PublishResult, TransportError>
    /** Tells subscribers of loss before the transport. */
    readonly publishGap: (gap: Gap) => Effect.Effect<void, TransportError>
    /** Tells subscribers that lost time was repaired; absent where the transport has no way to. */
    readonly publishRepaired?: ((repaired: Repaired) => Effect.Effect<void, TransportError>) | undefined
    /** Everything up to this position is committed in the store: history and live meet here. */
    readonly markDurable: (kind: RowKind, position: bigint) => Effect.Effect<void, TransportError>
    readonly connectionCount: Effect.Effect<number>
    /** Who reads, where the publication can tell. */
    readonly readers?: Effect.Effect<ReadonlyArray<PublicationReader>> | undefined
    /**
     * What it keeps of a kind for those who come later; absent, or undefined: nothing. `rows` are there, of `capacity` at
     * most: where none are, a service puts recent rows back, see `Reload`.
     */
    readonly kept?:
      | ((kind: RowKind) => { readonly rows: number; readonly capacity: number } | undefined)
      | undefined
  }
>()("@data-manager/core/Publication") {}
