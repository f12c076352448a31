/**
 * The store of market data: every row exactly once after any crash, with a ledger of what was written and a record of
 * which times are held. One contract for every database; `capabilities` tells what the one at hand can do.
 *
 * Times of rows are `MarketSchema.clock` times; coverage is on the index clock of dataset and schema. Ranges are
 * half-open. Reads come in (time ns, tsRecv, key, instrument) order as batches, an absent tsRecv last, bars by (start,
 * instrument, publisher); a batch is of one dataset. Interrupting a read frees its connection.
 */
import { Context, type Effect, type Stream } from "effect"
import type { BarBatch, BarSource } from "./BarBatch.ts"
import type { BookBatch } from "./BookBatch.ts"
import type { CoverageClaim, CoverageSpan, CoverageState } from "./Coverage.ts"
import type { FeedNote, OpenFeedSession } from "./FeedEntry.ts"
import type {
  Instrument,
  InstrumentDetails,
  InstrumentDirectory,
  InstrumentId,
  Listing,
  ListingClaim
} from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { Revision } from "./Provider.ts"
import type { QuoteBatch } from "./QuoteBatch.ts"
import type { StoreError } from "./StoreError.ts"
import type { Timeframe } from "./Timeframe.ts"
import type { TimeRange } from "./TimeRange.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** What was found at the other end, and what follows from it. */
export interface StoreCapabilities {
  readonly edition: "postgresql" | "timescaledb-apache" | "timescaledb-community"
  /** `18.4`, and the extension's version where there is one. */
  readonly serverVersion: string
  readonly extensionVersion?: string | undefined
  readonly embedded: boolean
  readonly partitioning: "range" | "hypertable"
  readonly compression: boolean
  readonly continuousAggregates: boolean
  readonly bulkProfile: boolean
  /** Set where the server takes no writes: a standby, or by its settings. Everything that is stored can be read. */
  readonly readOnly?: boolean | undefined
  /** Sentences for people: what is missing because of the edition. */
  readonly notes: ReadonlyArray<string>
}

/** Where rows come from, for the ledger. */
export interface IngestSource {
  readonly kind: "import" | "backfill" | "live" | "spool" | "replay"
  /** File path, request text or session name: for people. */
  readonly source: string
  readonly provider: string
  readonly dataset: string
  readonly schema?: MarketSchema | undefined
  /**
   * Names the content and how it is cut into segments (`sha256:... rows=65536`): a run of an equal fingerprint is
   * resumed, or answered as complete. Absent: always a new run.
   */
  readonly fingerprint?: string | undefined
}

/** A run of the ledger. */
export interface IngestRun {
  readonly id: bigint
  /** Segments 0 .. nextSegment-1 are committed; an append of one of them writes nothing. */
  readonly nextSegment: number
  /** Set where the whole source was written before. */
  readonly completedAt?: bigint | undefined
  /** Rows that the committed segments held. */
  readonly rows: bigint
}

/** Place and terms of an append; written in the same transaction as the rows. */
export type AppendClaim = AppendPlace & AppendTerms

/** Where an append stands in what it is a part of: this is what makes repeating it harmless. */
export type AppendPlace =
  | {
      readonly run: bigint
      /** Number of this append in its run, from 0, without holes. */
      readonly segment: number
      readonly stream?: undefined
    }
  | {
      /** The run that conflicts are told of. */
      readonly run: bigint
      readonly segment?: undefined
      /**
       * A piece of an ordered stream without an end, such as a spool, whose cursor the store keeps: positions `[from, to)`. A
       * piece behind the cursor is skipped, one that would leave a hole or begins in the middle of a committed one is refused.
       */
      readonly stream: { readonly name: string; readonly from: bigint; readonly to: bigint }
    }

/** What an append speaks for and how it is done. */
export interface AppendTerms {
  /** Ranges that are completely held once this append is in; usually on the last segment of a source. */
  readonly coverage?: ReadonlyArray<CoverageClaim> | undefined
  /**
   * What happens where a key meets different content. "keep" (default) leaves the stored row and keeps the new one as
   * a conflict. "replace" (authoritative history over live data) makes every microsecond of the batch, per instrument and
   * schema, what the batch has: stored rows there that differ or that the batch does not have become the conflicts. A
   * microsecond cut by a segment boundary goes on in the next segment of the run. Within one batch the first row of a key
   * counts.
   */
  readonly onConflict?: "keep" | "replace" | undefined
  /**
   * "bulk": trades of history, many rows of an instrument at a time, straight into the columnstore of a store whose
   * `capabilities.bulkProfile` is true; several times as fast. What does not fit it is refused with the reason. Which rows are
   * stored afterwards, and what is said of them, does not depend on it. Default: the ordinary way.
   */
  readonly profile?: "bulk" | undefined
  /**
   * What is known about live feeds beside these rows, in order; written in the same transaction, also with an empty batch.
   * Like the rows it is not looked at where the segment was committed before.
   */
  readonly feed?: ReadonlyArray<FeedNote> | undefined
}

/** What became of the rows of an append. inserted + duplicates + conflicts = rows of the batch, unless `skipped`. */
export interface AppendResult {
  readonly inserted: number
  /**
   * Rows whose key was there with equal content. `tsRecv` and `tsInDelta` may be absent on one side: the stored row ends
   * with what either knows.
   */
  readonly duplicates: number
  /** Rows whose key was there with different content; both are kept, one of them as a conflict. */
  readonly conflicts: number
  /** The ledger had this segment already: nothing was written. */
  readonly skipped: boolean
}

/**
 * A key that met different content: the row that was set aside, and what stands under the key. Both are batches of one
 * row; `row(0)` gives it as an object.
 */
export interface RowConflict {
  readonly instrument: InstrumentId
  readonly schema: MarketSchema
  /**
   * Which of the two was set aside: "new" the row that came, the stored one stayed; "stored" the one that was there, history
   * replaced it.
   */
  readonly lost: "new" | "stored"
  readonly setAside: MarketBatch
  /** What is stored under the key now; undefined where history has no such row, or retention has removed it. */
  readonly stored: MarketBatch | undefined
  /** The run that met the conflict: that of the row that came. */
  readonly run: bigint
  readonly source: Pick<IngestSource, "kind" | "source" | "provider">
  /** When it was met, ns; whole microseconds of the database's clock. */
  readonly detectedAt: bigint
}

/** Which conflicts to read; the range is of the times under which the store keeps rows. */
export interface ConflictRequest {
  readonly instruments?: ReadonlyArray<InstrumentId> | undefined
  readonly schema?: MarketSchema | undefined
  readonly range?: TimeRange | undefined
}

/** What a provider says about the state of its data. */
export interface RevisionLook {
  readonly provider: string
  readonly dataset: string
  readonly schema: MarketSchema
  /** Without overlap; the same times at every look, such as UTC days. */
  readonly revisions: ReadonlyArray<Revision>
}

/** Which rows to read. */
export interface ReadRequest {
  readonly instruments: ReadonlyArray<InstrumentId>
  readonly range: TimeRange
  /** Largest number of rows per batch; default 65,536. */
  readonly batchRows?: number | undefined
}

/** Quotes and books of one schema. */
export interface SchemaReadRequest extends ReadRequest {
  readonly schema: MarketSchema
}

/**
 * Bars of one series, by length or by name. The range selects bars by their start; each of them is whole. Bars from
 * trades are made of the trades that have a price: see `BarBatch`.
 */
export type BarReadRequest = ReadRequest & {
  /**
   * Put a bar without trades (open = high = low = close = last close, volume 0, count 0) between two bars of an
   * instrument where there were none. Default false; not for session bars, which have no length.
   */
  readonly fill?: boolean | undefined
} & (
    | {
        readonly timeframe: Timeframe
        /** Default "trades": bars made from the stored trades. */
        readonly source?: BarSource | undefined
        readonly schema?: undefined
      }
    | {
        /** The provider's bars of this schema as it gave them: `ohlcv-eod` is one bar per session. */
        readonly schema: MarketSchema
        readonly source?: "provider" | undefined
        readonly timeframe?: undefined
      }
  )

/** Rows per instrument, schema and UTC day. */
export interface DailyAvailability {
  readonly instrument: InstrumentId
  readonly schema: MarketSchema
  /** Start of the UTC day, ns. */
  readonly day: bigint
  readonly rows: bigint
  readonly first: bigint
  readonly last: bigint
}

/** An entry of the symbol registry as stored; see `InstrumentRegistry`. */
export interface SymbolEntry {
  /** Canonical or provider text as collected: `GLBX.MDP3:ES.FUT`. */
  readonly symbol: string
  readonly provider: string
  readonly dataset: string
  readonly stypeIn: string
  /** Schemas to collect; empty means the configured default. */
  readonly schemas: ReadonlyArray<MarketSchema>
  readonly enabled: boolean
  readonly source: "database" | "config" | "discovery"
  readonly discoveredAt: bigint
  /** Tombstone: the symbol was removed on purpose and discovery must not bring it back. */
  readonly removedAt?: bigint | undefined
  readonly assetClass?: string | undefined
  readonly exchange?: string | undefined
  readonly metadata?: { readonly [key: string]: unknown } | undefined
}

/** State of one schema migration. */
export interface MigrationState {
  readonly version: number
  readonly name: string
  readonly appliedAt?: bigint | undefined
  /** Whether an applied migration's text differs from this program's. */
  readonly drifted: boolean
}

/** Everything that is stored about instruments. */
export interface InstrumentTables {
  readonly instruments: ReadonlyMap<InstrumentId, Instrument>
  readonly listings: ReadonlyArray<Listing>
  readonly directory: InstrumentDirectory
}

/** What compression has done to a table. */
export interface TableCompression {
  /** How many of its partitions are compressed. */
  readonly partitions: number
  /** Bytes of these, before and now. */
  readonly bytesBefore: bigint
  readonly bytesAfter: bigint
}

/** Something that the database server does for a store at its own times. */
export interface ServerJob {
  readonly purpose: "compression" | "bars" | "retention"
  /** Table or aggregate that it works on. */
  readonly table: string
  readonly lastRunAt?: bigint | undefined
  readonly nextRunAt?: bigint | undefined
  /** Runs that failed since the job was made. */
  readonly failures: number
  /** Why the last run failed; undefined where it did not. */
  readonly problem?: string | undefined
}

/** Bars that the database server makes of trades. */
export interface AggregateState {
  /** Name of the aggregate. */
  readonly name: string
  /**
   * Seconds from the end of the newest bar that was made to now; undefined where none was. Newer ones are read from the
   * trades, and while there are no trades it grows, too.
   */
  readonly lagSeconds?: number | undefined
}

/** Table sizes and ages for `dm status`. */
export interface StoreStatistics {
  readonly databaseBytes: bigint
  readonly tables: ReadonlyArray<{
    readonly table: string
    /** Estimate of the planner, exact after an analyse. */
    readonly rows: bigint
    readonly bytes: bigint
    readonly partitions: number
    readonly oldest?: bigint | undefined
    readonly newest?: bigint | undefined
    /** Undefined where nothing is compressed. */
    readonly compression?: TableCompression | undefined
  }>
  readonly conflicts: bigint
  readonly runs: { readonly completed: bigint; readonly open: bigint }
  /** Jobs of the server; none where it has no jobs. */
  readonly jobs?: ReadonlyArray<ServerJob> | undefined
  /** Late times whose bars the server has to make, and since when they wait; where it makes bars. */
  readonly barsBehind?: { readonly times: number; readonly since?: bigint | undefined } | undefined
  /** How far the server has come with making bars; where it makes them. */
  readonly aggregates?: ReadonlyArray<AggregateState> | undefined
  /** The server's clock minus this machine's, in milliseconds: retention by a job of the server goes by the server's. */
  readonly clockSkewMillis?: number | undefined
}

/** Reads and writes market data. */
export class MarketStore extends Context.Service<
  MarketStore,
  {
    readonly capabilities: StoreCapabilities

    /** Starts or resumes a run of the ledger. */
    readonly beginRun: (source: IngestSource) => Effect.Effect<IngestRun, StoreError>
    /** Marks a run as complete. */
    readonly completeRun: (run: bigint) => Effect.Effect<void, StoreError>
    /** Position after the last committed piece of a stream; 0 where there is none. */
    readonly streamPosition: (name: string) => Effect.Effect<bigint, StoreError>
    /**
     * Writes a batch of any kind in one transaction with its ledger segment and coverage. Repeating it (same run and
     * segment, or the same rows under another run) changes nothing. The batch is only read.
     */
    readonly append: (batch: MarketBatch, claim: AppendClaim) => Effect.Effect<AppendResult, StoreError>
    /** Writes coverage without rows: a source that was complete and empty, or a claim for rows already written. */
    readonly claimCoverage: (claims: ReadonlyArray<CoverageClaim>) => Effect.Effect<void, StoreError>
    /** Marks ranges as missing, none or expired. What is marked as expired is no longer held; held hides the others. */
    readonly markCoverage: (spans: ReadonlyArray<CoverageSpan>) => Effect.Effect<void, StoreError>
    /**
     * Notes in which revision a provider has the data of these times. Where it is another one than was noted before, held
     * time of the dataset and schema is held no longer, but missing with the cause "revised"; the rows stay. Times that
     * are noted for the first time change nothing.
     */
    readonly noteRevisions: (look: RevisionLook) => Effect.Effect<void, StoreError>
    /**
     * Notes what is known about live feeds, in order and all or nothing. What the sessions hold is coverage from here on; see
     * `FeedEntry`.
     */
    readonly noteFeed: (notes: ReadonlyArray<FeedNote>) => Effect.Effect<void, StoreError>
    /**
     * Sessions that have not ended, by key: several may be at work. A service that starts finds those that a crash has left
     * open by how it names its own, and ends them with `crashNotes`.
     */
    readonly openFeedSessions: Effect.Effect<ReadonlyArray<OpenFeedSession>, StoreError>
    /** Spans of the instruments that share time with the range, whole; of all instruments where the list is absent. */
    readonly coverage: (request: {
      readonly instruments?: ReadonlyArray<InstrumentId> | undefined
      readonly schema?: MarketSchema | undefined
      readonly range?: TimeRange | undefined
      readonly states?: ReadonlyArray<CoverageState> | undefined
    }) => Effect.Effect<ReadonlyArray<CoverageSpan>, StoreError>

    readonly readTrades: (request: ReadRequest) => Stream.Stream<TradeBatch, StoreError>
    readonly readQuotes: (request: SchemaReadRequest) => Stream.Stream<QuoteBatch, StoreError>
    readonly readBars: (request: BarReadRequest) => Stream.Stream<BarBatch, StoreError>
    readonly readBook: (request: SchemaReadRequest) => Stream.Stream<BookBatch, StoreError>
    /**
     * The newest `count` trades of each instrument, in read order across all of them; as always a batch is of one
     * dataset, and there is none where there are no trades. All of them stand in memory at once.
     */
    readonly lastTrades: (
      instruments: ReadonlyArray<InstrumentId>,
      count: number
    ) => Effect.Effect<ReadonlyArray<TradeBatch>, StoreError>
    /**
     * Rows that were set aside because their key met different content, in the order in which they were met; each
     * content once, however often it comes.
     */
    readonly conflicts: (request: ConflictRequest) => Stream.Stream<RowConflict, StoreError>
    readonly availability: (request: {
      readonly instruments?: ReadonlyArray<InstrumentId> | undefined
      readonly range?: TimeRange | undefined
    }) => Effect.Effect<ReadonlyArray<DailyAvailability>, StoreError>

    /**
     * Finds or makes the instruments of these claims, extends their listings, fills in details; ids in claim order.
     * A raw symbol that comes back after more than a year, or with another expiration, is another instrument.
     */
    readonly registerListings: (
      claims: ReadonlyArray<ListingClaim>
    ) => Effect.Effect<ReadonlyArray<Instrument>, StoreError>
    /** Instruments and listings, of some datasets or all. */
    readonly loadInstruments: (
      datasets?: ReadonlyArray<string>
    ) => Effect.Effect<InstrumentTables, StoreError>
    /** Details as far as definitions told them. */
    readonly instrumentDetails: (id: InstrumentId) => Effect.Effect<InstrumentDetails | undefined, StoreError>

    /** All entries, removed ones too. The same array as the last time where nothing was written since. */
    readonly symbolEntries: Effect.Effect<ReadonlyArray<SymbolEntry>, StoreError>
    readonly putSymbolEntries: (entries: ReadonlyArray<SymbolEntry>) => Effect.Effect<void, StoreError>

    /** Removes whole partitions of trades older than `before` and marks their coverage expired in the same transaction. */
    readonly expireTrades: (before: bigint) => Effect.Effect<{ readonly partitions: number }, StoreError>
    readonly statistics: Effect.Effect<StoreStatistics, StoreError>
  }
>()("@data-manager/core/MarketStore") {}

/** Schema migrations of a store; apart from `MarketStore`, which needs them applied. */
export class StoreMigrations extends Context.Service<
  StoreMigrations,
  {
    readonly status: Effect.Effect<ReadonlyArray<MigrationState>, StoreError>
    /** Applies everything up to `to` (default: all), each in its own transaction; safe with several processes. */
    readonly up: (to?: number) => Effect.Effect<ReadonlyArray<MigrationState>, StoreError>
    /** Takes back everything above `to` (default: the newest one). Data of the tables dropped is gone. */
    readonly down: (to?: number) => Effect.Effect<ReadonlyArray<MigrationState>, StoreError>
  }
>()("@data-manager/core/StoreMigrations") {}
