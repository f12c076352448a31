/** What an attempt to append a batch works with. */
import type { AppendClaim } from "@data-manager/core"
import type { BatchScan } from "./BatchScan.ts"
import type { SeriesScales } from "./CopyEncoder.ts"
import type { Horizon } from "./RollupRefill.ts"
import type { RowTable } from "./RowTable.ts"
import type { RowWriter } from "./RowWriter.ts"

/** How an attempt goes about it. */
export interface Way {
  readonly staged: boolean
  /** Whether the write lock is held alone. */
  readonly alone: boolean
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
}
