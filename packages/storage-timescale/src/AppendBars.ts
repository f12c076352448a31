/**
 * Bars and day counts of a batch, in the transaction that appends it: added up, or made anew where stored rows were replaced,
 * completed or come back. Where bars are continuous aggregates, only those of instruments that aggregates cannot serve.
 */
import type { AppendClaim, StoreError } from "@data-manager/core"
import { Effect } from "effect"
import { NeedsHold, type Opened, type Prepared, type Way } from "./AppendAttempt.ts"
import { type BatchScan, countDays } from "./BatchScan.ts"
import * as Ledger from "./Ledger.ts"
import type { PgConnection, SqlRow } from "./PgPool.ts"
import * as Rollup from "./Rollup.ts"
import * as RollupRebuild from "./RollupRebuild.ts"
import * as RollupRefill from "./RollupRefill.ts"
import type { RowTable } from "./RowTable.ts"
import * as OwnBars from "./timescale/OwnBars.ts"

/**
 * Where bars are continuous aggregates: takes the bars of instruments into our own tables whose removed trades come back,
 * before they are written.
 */
export const adoptReturning = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, rollups }: Prepared,
  way: Way,
  { horizon, isAggregated }: Opened
) {
  if (!isAggregated || !rollups || scan.kind !== "trades") return
  if (horizon === undefined || scan.days[0]! >= horizon) return
  yield* adopt(connection, way, yield* OwnBars.lacking(connection, OwnBars.before(scan, horizon)))
})

/**
 * The same for those that have values which an aggregate cannot take, once they are written. Gives the instruments to whose
 * bars the batch is still to be added: those that were ours before. Undefined where all are.
 */
export const adoptExact = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, rollups }: Prepared,
  way: Way,
  { isAggregated }: Opened
) {
  if (!isAggregated || !rollups || scan.kind !== "trades") return undefined
  const { lackingExact, own } = yield* OwnBars.ownersOf(connection, scan)
  yield* adopt(connection, way, lackingExact)
  return own
})

const adopt = Effect.fnUntraced(function* (connection: PgConnection, way: Way, ids: ReadonlyArray<number>) {
  if (ids.length === 0) return
  if (way.hold !== "alone") return yield* new NeedsHold({ hold: "alone" })
  yield* OwnBars.adopt(connection, ids)
})

/** Makes bars and day counts of the instruments with replaced or completed rows anew; gives these instruments. */
export const rebuildChanged = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, rollups }: Prepared,
  table: RowTable,
  way: Way,
  { isAggregated }: Opened
) {
  if (!rollups) return undefined
  yield* RollupRebuild.touchReplaced(connection, table)
  if (isAggregated && !(yield* OwnBars.touchOwnOnly(connection))) {
    // The server makes the bars.
  } else if (table.kind === "trades") {
    if (way.hold !== "alone") return yield* new NeedsHold({ hold: "alone" })
    yield* RollupRebuild.rebuildBars(connection, scan)
  }
  yield* RollupRebuild.recountDays(connection, table, scan)
  const rows = yield* connection.query<SqlRow & { readonly id: number }>(
    `SELECT DISTINCT instrument_id AS id FROM gone_${table.table}`
  )
  return new Set(rows.map((row) => row.id))
})

/** 1 for every row that is to be added up: inserted, and not of an instrument that was made anew. */
export const selection = (
  { batch, length }: BatchScan,
  fresh: Uint8Array | undefined,
  rebuilt: ReadonlySet<number> | undefined
): Uint8Array | undefined => {
  if (rebuilt === undefined) return fresh
  const selected = fresh ?? new Uint8Array(length).fill(1)
  const { instrument } = batch.columns
  for (let row = 0; row < length; row++) if (rebuilt.has(instrument[row]!)) selected[row] = 0
  return selected
}

/** Adds the selected rows to day counts and bars. */
export const keepRollups = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, scales, writer, claim, rollups }: Prepared,
  way: Way,
  { horizon }: Opened,
  selected: Uint8Array | undefined,
  /** What `adoptExact` gave. */
  own: ReadonlySet<number> | undefined
) {
  if (!rollups) return
  const days = countDays(scan, selected)
  if (days.length === 0) return
  yield* Rollup.sendDays(connection, writer, scan, days)
  const { batch } = scan
  if (batch._tag !== "TradeBatch") return yield* Rollup.addDays(connection)
  const refilled = yield* RollupRefill.find(connection, scan, horizon)
  if (refilled !== undefined && way.hold !== "alone") return yield* new NeedsHold({ hold: "alone" })
  yield* Rollup.addDays(connection)
  const ours = own === undefined ? selected : OwnBars.rowsOf(scan, selected, own)
  if (ours === OwnBars.None) return
  const counting = refilled === undefined ? ours : RollupRefill.without(scan, refilled, ours)
  // Staged rows meet stored ones, so their bars do, too.
  const newAfter = way.staged ? Number.POSITIVE_INFINITY : yield* lastSecond(connection, claim)
  yield* Rollup.addBars(connection, writer, { batch, scan, scales, selected: counting, newAfter })
  if (refilled !== undefined) yield* RollupRefill.finish(connection, scan, refilled)
})

/** The second of the last row that the run has written, negative infinity where it has written none. */
const lastSecond = (connection: PgConnection, claim: AppendClaim): Effect.Effect<number, StoreError> =>
  // Live rows go into bars that have begun.
  claim.stream !== undefined
    ? Effect.succeed(Number.POSITIVE_INFINITY)
    : Effect.map(Ledger.lastTime(connection, claim), (time) =>
        time === undefined ? Number.NEGATIVE_INFINITY : Number(time / 1_000_000_000n)
      )
