/**
 * Which symbols are known and which are collected. Sources by precedence: database, configuration file, discovery.
 * Discovery adds unknown symbols and never changes or re-enables one; `remove` leaves a tombstone.
 */
import { Context, type Effect, type Stream } from "effect"
import type { Instrument, InstrumentDirectory, InstrumentId } from "./Instrument.ts"
import type { SymbolEntry } from "./MarketStore.ts"
import type { StoreError } from "./StoreError.ts"
import type { TimeRange } from "./TimeRange.ts"

/** A change that a running service follows. */
export type RegistryChange =
  | { readonly _tag: "Added"; readonly entry: SymbolEntry }
  | { readonly _tag: "Removed"; readonly entry: SymbolEntry }
  | { readonly _tag: "Changed"; readonly before: SymbolEntry; readonly entry: SymbolEntry }

/** Symbols, instruments, and the way from text to ids. */
export class InstrumentRegistry extends Context.Service<
  InstrumentRegistry,
  {
    /** Entries after precedence, tombstones left out unless asked for. */
    readonly entries: (filter?: {
      readonly provider?: string | undefined
      readonly enabled?: boolean | undefined
      readonly removed?: boolean | undefined
    }) => Effect.Effect<ReadonlyArray<SymbolEntry>, StoreError>
    /** Adds or re-adds a symbol as a database entry. */
    readonly add: (
      entry: Pick<SymbolEntry, "symbol" | "provider"> & Partial<SymbolEntry>
    ) => Effect.Effect<SymbolEntry, StoreError>
    /** Removes a symbol and leaves a tombstone. Its data stays. */
    readonly remove: (symbol: string) => Effect.Effect<SymbolEntry, StoreError>
    readonly setEnabled: (symbol: string, enabled: boolean) => Effect.Effect<SymbolEntry, StoreError>
    /** The instrument that a full or short text names during a time; unknown, ambiguous and spanning texts are errors. */
    readonly resolve: (text: string, range?: TimeRange) => Effect.Effect<Instrument, StoreError>
    readonly get: (id: InstrumentId) => Effect.Effect<Instrument | undefined, StoreError>
    readonly directory: Effect.Effect<InstrumentDirectory, StoreError>
    readonly changes: Stream.Stream<RegistryChange, StoreError>
  }
>()("@data-manager/core/InstrumentRegistry") {}
