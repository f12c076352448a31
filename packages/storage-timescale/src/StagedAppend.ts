/**
 * Appending by the staged way: the batch in temporary tables, compared with what is stored. For rows that may be there
 * already, and for those that replace stored ones.
 */
import { StoreContention, StoreError } from "@data-manager/core"
import { Effect } from "effect"
import {
  type Counts,
  holdOfChanges,
  NeedsHold,
  type Opened,
  type Prepared,
  type Way
} from "./AppendAttempt.ts"
import * as AppendBars from "./AppendBars.ts"
import { encode } from "./CopyEncoder.ts"
import * as Ledger from "./Ledger.ts"
import type { PgConnection, SqlRow } from "./PgPool.ts"
import { timestampParameter } from "./PgPool.ts"
import * as Staging from "./Staging.ts"

/** Writes a batch into its ordinary table. */
export const write = Effect.fnUntraced(function* (
  connection: PgConnection,
  prepared: Prepared,
  way: Way,
  opened: Opened
) {
  const { scan, scales, table, writer, claim } = prepared
  const encoded = encode(writer, scan, scales, true)
  yield* Staging.stage(connection, writer, table, scan, encoded)
  const batch: Staging.StagedBatch = {
    table,
    scan,
    run: claim.run,
    exact: encoded.exact.length > 0 || (yield* hasRows(connection, table.exactTable)),
    textIds: Staging.textIdsOf(scan) !== undefined,
    isScanned: opened.hasBulk && (yield* isCompressed(connection, prepared))
  }
  return yield* settle(connection, batch, prepared, way, opened)
})

/** Sorts the staged rows out, and keeps bars and day counts right. */
export const settle = Effect.fnUntraced(function* (
  connection: PgConnection,
  batch: Staging.StagedBatch,
  prepared: Prepared,
  way: Way,
  opened: Opened
) {
  const { scan, claim } = prepared
  const { table } = batch
  const needed = holdOfChanges(prepared, opened)
  const lacking = way.hold === "shared" ? needed : undefined
  if (batch.isScanned) yield* connection.script(Staging.scanning)
  const replaced =
    claim.onConflict === "replace"
      ? yield* Staging.findReplaced(connection, batch, yield* Ledger.lastTime(connection, claim))
      : { rows: 0, inBatch: 0 }
  if (replaced.rows > 0) {
    if (lacking !== undefined) return yield* new NeedsHold({ hold: lacking })
    yield* Staging.removeReplaced(connection, batch)
  }
  const sorted = yield* Staging.insertFresh(connection, batch, lacking)
  if (sorted.inserted + sorted.duplicates + sorted.conflicts !== scan.length)
    return yield* new StoreError({
      operation: `append ${scan.kind}`,
      reason: new StoreContention({
        detail: "stored rows were removed while the batch was compared with them"
      })
    })
  const own = yield* AppendBars.adoptExact(connection, prepared, way, opened)
  const rebuilt =
    replaced.rows > 0 || (sorted.completed && table.kind === "trades")
      ? yield* AppendBars.rebuildChanged(connection, prepared, table, way, opened)
      : undefined
  if (sorted.inserted > 0)
    yield* AppendBars.keepRollups(
      connection,
      prepared,
      way,
      opened,
      AppendBars.selection(scan, sorted.fresh, rebuilt),
      own
    )
  const counts: Counts = {
    inserted: sorted.inserted - replaced.inBatch,
    duplicates: sorted.duplicates,
    conflicts: sorted.conflicts + replaced.inBatch
  }
  return counts
})

const hasRows = (connection: PgConnection, table: string): Effect.Effect<boolean, StoreError> =>
  Effect.map(
    connection.query<SqlRow & { readonly found: boolean }>(`SELECT EXISTS (SELECT FROM ${table}) AS found`),
    ([row]) => row!.found
  )

/** Whether chunks that the batch touches are in the columnstore. */
const isCompressed = (
  connection: PgConnection,
  { table, scan: { first, last } }: Prepared
): Effect.Effect<boolean, StoreError> =>
  Effect.map(
    connection.query<SqlRow & { readonly found: boolean }>(
      `SELECT EXISTS (
         SELECT FROM timescaledb_information.chunks
         WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND is_compressed
           AND range_start <= $3 AND range_end > $2
       ) AS found`,
      [table.table, timestampParameter(first), timestampParameter(last)]
    ),
    ([row]) => row!.found
  )
