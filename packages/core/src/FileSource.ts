/**
 * Files of market data as sources: what a provider package offers so that `FileImport` can store its files.
 * Everything is streamed; no file is ever held in memory.
 */
import type { Effect, Scope, Stream } from "effect"
import type { CoverageClaim } from "./Coverage.ts"
import type { Instrument, ListingClaim } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { ProviderError } from "./ProviderError.ts"
import type { StoreError } from "./StoreError.ts"

/** What a file says about itself before its rows are read. */
export interface FileHeader {
  readonly provider: string
  readonly dataset: string
  /** The vendor's name of what is inside: `trades`, `definition`; "mixed" where several kinds are. */
  readonly content: string
  /** Set where all of it is of one storable schema. */
  readonly schema?: MarketSchema | undefined
  /** Descriptions of instruments: imported before files with rows, so that scales and names are known. */
  readonly isDefinitions: boolean
}

/** Turns listing claims into instruments, in claim order. */
export type RegisterListings = (
  claims: ReadonlyArray<ListingClaim>
) => Effect.Effect<ReadonlyArray<Instrument>, StoreError>

/** Element of a file's stream, in file order; `End` is the last one. */
export type FileEvent =
  | { readonly _tag: "Batch"; readonly batch: MarketBatch; readonly bytesRead: number }
  /** Nothing to store, but progress: definitions, records that are not stored. */
  | { readonly _tag: "Advanced"; readonly bytesRead: number; readonly records: number }
  | FileEnd

/** How a file ended and what it speaks for. */
export interface FileEnd {
  readonly _tag: "End"
  /** Records in the file, stored or not. */
  readonly records: number
  /** Instruments that its definitions described. */
  readonly definitions: number
  /** Records that have no table yet, by the vendor's type name. */
  readonly notStored: ReadonlyMap<string, number>
  /** What is completely held once all batches are in. Less than the header says for limited or truncated files. */
  readonly coverage: ReadonlyArray<CoverageClaim>
  /** For people: why coverage was reduced, symbols that were not found. */
  readonly notes: ReadonlyArray<string>
  /** The file ended early or is corrupt; everything before was delivered. */
  readonly failure?: ProviderError | undefined
}

/** One file. */
export interface FileSource<R = never> {
  readonly path: string
  /** Size on disk; 0 where it cannot be told. */
  readonly bytes: number
  readonly header: Effect.Effect<FileHeader, ProviderError, R>
  /** Names the content and how it is cut into batches; equal for equal content wherever the file lies. */
  readonly fingerprint: Effect.Effect<string, ProviderError, R>
  /** Reads the file. The same content always gives the same batches, so that a ledger can resume by their number. */
  readonly events: (
    register: RegisterListings
  ) => Stream.Stream<FileEvent, ProviderError | StoreError, R | Scope.Scope>
}
