/** What an attempt to append a batch works with. */
import type { AppendClaim, AppendResult } from "@data-manager/core"
import { Data } from "effect"
import type { BatchScan } from "./BatchScan.ts"
import type { SeriesScales } from "./CopyEncoder.ts"
import type { Horizon } from "./RollupRefill.ts"
import type { RowTable } from "./RowTable.ts"
import type { RowWriter } from "./RowWriter.ts"

/**
 * What an attempt keeps others from. All hold the write lock, most of them "shared". One that removes or completes stored rows
 * holds the row locks of its "days" from the beginning, too, so that nobody counts these days meanwhile; one that makes bars
 * anew which are added up elsewhere holds the write lock "alone".
 */
export type Hold = "shared" | "days" | "alone"

/** The attempt has to be made again with more held. */
export class NeedsHold extends Data.TaggedError("NeedsHold")<{ readonly hold: Exclude<Hold, "shared"> }> {}

/** How an attempt goes about it. */
export interface Way {
  readonly staged: boolean
  readonly hold: Hold
  /** Whether the rows go into the table of the bulk profile. */
  readonly bulk: boolean
  /** Whether the days of the batch that are in that table are moved out of it first. */
  readonly evicts: boolean
  /** An earlier attempt lost its connection and may have been committed. */
  readonly uncertain: boolean
}

/** A batch with what is known before the transaction. */
export interface Prepared {
  readonly scan: BatchScan
  readonly scales: SeriesScales
  readonly table: RowTable
  readonly claim: AppendClaim
  readonly writer: RowWriter
  readonly rollups: boolean
}

/** What a transaction finds in the database when it begins. */
export interface Opened {
  /** Up to where retention has removed rows. */
  readonly horizon: Horizon
  /** Whether bars are continuous aggregates. */
  readonly isAggregated: boolean
  /** Whether there is a table of the bulk profile. */
  readonly hasBulk: boolean
}

/** What became of the rows of an attempt. */
export type Counts = Omit<AppendResult, "skipped">

/** What an attempt has to hold that removes or completes stored rows. */
export const holdOfChanges = (
  { rollups, scan }: Prepared,
  { isAggregated }: Opened
): Exclude<Hold, "shared"> => (rollups && (isAggregated || scan.kind !== "trades") ? "days" : "alone")
