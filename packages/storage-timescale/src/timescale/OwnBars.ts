/**
 * Instruments whose bars stand in tables of our own although the server has continuous aggregates: those with values that an
 * int8 at their scale cannot hold, and those whose removed trades come back. A bit of the instrument says so; from then on
 * its bars are kept as they are on a server without aggregates.
 */
import { UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { type BatchScan, dayOf } from "../BatchScan.ts"
import { microsOf, type PgConnection, type SqlRow } from "../PgPool.ts"
import { barColumns, barTables } from "../Rollup.ts"
import * as RollupRebuild from "../RollupRebuild.ts"
import { aggregates } from "./Aggregates.ts"

/** In `instruments.exact_kinds`, beside the bits of the row kinds: bars stand in our own tables. */
export const OWN_BARS = 16

const instrumentsOf = ({ series }: BatchScan): ReadonlyArray<number> => [
  ...new Set(series.instrument.subarray(0, series.length))
]

/** Those of the instruments whose bars are not ours. */
export const lacking = (connection: PgConnection, ids: Iterable<number>) =>
  Effect.map(
    connection.query<SqlRow & { readonly id: number }>(
      `SELECT id FROM instruments WHERE exact_kinds & ${OWN_BARS} = 0 AND id = ANY ($1::int4[]) ORDER BY id`,
      [[...ids]]
    ),
    (rows) => rows.map(({ id }) => id)
  )

/** Instruments of a batch whose bars are not the server's, or must not be. */
export interface Owners {
  /** Whose bars are ours. */
  readonly own: ReadonlySet<number>
  /** With values beyond an int8, whose bars are not ours yet. */
  readonly lackingExact: ReadonlyArray<number>
}

/** Asks for the owners of a batch's bars. */
export const ownersOf = (connection: PgConnection, scan: BatchScan) =>
  Effect.map(
    connection.query<SqlRow & { readonly id: number; readonly own: boolean }>(
      `SELECT id, exact_kinds & ${OWN_BARS} <> 0 AS own FROM instruments
       WHERE exact_kinds & ${OWN_BARS + 1} <> 0 AND id = ANY ($1::int4[]) ORDER BY id`,
      [instrumentsOf(scan)]
    ),
    (rows): Owners => ({
      own: new Set(rows.filter(({ own }) => own).map(({ id }) => id)),
      lackingExact: rows.filter(({ own }) => !own).map(({ id }) => id)
    })
  )

/** Instruments with rows before a day (days since 1970-01-01). */
export const before = ({ batch, length, time }: BatchScan, day: number): ReadonlySet<number> => {
  const { instrument } = batch.columns
  const ids = new Set<number>()
  for (let row = 0; row < length; row++)
    if (dayOf(time[2 * row]!, time[2 * row + 1]!) < day) ids.add(instrument[row]!)
  return ids
}

/** No row at all. */
export const None = Symbol("none")

/** Of the selected rows (all, where undefined), those of the instruments. */
export const rowsOf = (
  { batch, length }: BatchScan,
  selected: Uint8Array | undefined,
  own: ReadonlySet<number>
): Uint8Array | typeof None => {
  if (own.size === 0) return None
  const { instrument } = batch.columns
  const ours = new Uint8Array(length)
  for (let row = 0; row < length; row++) if (selected?.[row] !== 0 && own.has(instrument[row]!)) ours[row] = 1
  return ours
}

/** Takes minutes of instruments whose bars the server keeps out of those that are to be made anew; tells whether any are left. */
export const touchOwnOnly = (connection: PgConnection) =>
  Effect.map(
    connection.script(
      `DELETE FROM touched_minute WHERE instrument_id NOT IN (
         SELECT id FROM instruments WHERE exact_kinds & ${OWN_BARS} <> 0);
       SELECT EXISTS (SELECT FROM touched_minute) AS found`
    ),
    (results) => results[1]![0]!.found as boolean
  )

/** Nanoseconds since 1970 of a bucket's start, as SQL. */
const nanos = "(extract(epoch FROM a.bucket) * 1000000000)::int8"

/**
 * Bars of times whose trades retention has removed, out of an aggregate. Which trades opened and closed them is not known
 * any more: they are taken for the first and the last moment.
 */
const frozen = (table: string, view: string, seconds: number): string => /* sql */ `
  INSERT INTO ${table} (${barColumns})
  SELECT a.bucket, a.instrument_id, a.open * i.price_unit, a.high * i.price_unit, a.low * i.price_unit,
         a.close * i.price_unit, a.volume * i.size_unit, a.trade_count,
         ${nanos}, 9223372036854775807, 0, ${nanos} + ${seconds}::int8 * 1000000000 - 1, 9223372036854775807, 0
  FROM ${view} a JOIN instruments i ON i.id = a.instrument_id
  WHERE a.instrument_id = ANY ($1::int4[]) AND a.bucket + interval '${seconds} seconds' <= $2`

const everything = { first: UnixNanos.Min, last: UnixNanos.Max }

const horizonQuery = "SELECT expired_before FROM retention_horizons WHERE kind = 'trades'"

/** Up to where retention has removed trades. */
export const horizonOf = (connection: PgConnection) =>
  Effect.map(
    connection.query<SqlRow & { readonly at: bigint }>(
      `SELECT ${microsOf("expired_before")} AS at FROM (${horizonQuery}) h`
    ),
    ([row]) => (row === undefined ? undefined : row.at * 1000n)
  )

/**
 * Takes the bars of instruments into our own tables: of removed trades as they are, all others out of the trades. The caller
 * holds the write lock alone, and has the temporary tables of rebuilding.
 */
export const adopt = Effect.fnUntraced(function* (connection: PgConnection, ids: ReadonlyArray<number>) {
  const horizon = yield* horizonOf(connection)
  if (horizon !== undefined)
    for (const { seconds, view } of aggregates) {
      const { table } = barTables.find((bars) => bars.seconds === seconds)!
      yield* connection.query(frozen(table, view, seconds), [ids, UnixNanos.toIso(horizon)])
    }
  yield* connection.query(
    `INSERT INTO touched_minute (instrument_id, bucket)
     SELECT DISTINCT instrument_id, ${RollupRebuild.bucketOf(60, "ts")} FROM trade_rows
     WHERE instrument_id = ANY ($1::int4[])`,
    [ids]
  )
  yield* RollupRebuild.rebuildBars(connection, everything)
  yield* connection.query("DELETE FROM touched_minute")
  yield* connection.query(
    `UPDATE instruments SET exact_kinds = exact_kinds | ${OWN_BARS}
     WHERE id IN (SELECT id FROM instruments WHERE id = ANY ($1::int4[]) ORDER BY id FOR NO KEY UPDATE)`,
    [ids]
  )
})

/**
 * Leaves the bars in our own tables to aggregates that were just made, except those of instruments that have to stay: with
 * values beyond int8, and with bars of trades that are gone. The others' are noted to be made.
 */
export const handOver = Effect.fnUntraced(function* (connection: PgConnection) {
  yield* connection.script(
    `UPDATE instruments SET exact_kinds = exact_kinds | ${OWN_BARS}
     WHERE exact_kinds & ${OWN_BARS} = 0 AND (exact_kinds & 1 <> 0
       OR id IN (SELECT instrument_id FROM bar_1h WHERE bucket < (${horizonQuery})));
     ${barTables
       .map(
         ({ table }) => `DELETE FROM ${table} WHERE instrument_id NOT IN (
           SELECT id FROM instruments WHERE exact_kinds & ${OWN_BARS} <> 0)`
       )
       .join(";")};
     INSERT INTO bar_refreshes (starts, ends)
     SELECT range_start, range_end - interval '1 microsecond' FROM timescaledb_information.chunks
     WHERE hypertable_schema = current_schema() AND hypertable_name IN ('trade', 'trade_bulk')`
  )
})

/** Takes the bars of all instruments back into our own tables. */
export const takeOver = Effect.fnUntraced(function* (connection: PgConnection) {
  const rows = yield* connection.query<SqlRow & { readonly id: number }>(
    `SELECT id FROM instruments WHERE exact_kinds & ${OWN_BARS} = 0`
  )
  yield* connection.script(RollupRebuild.temporaryTables)
  yield* adopt(
    connection,
    rows.map(({ id }) => id)
  )
  yield* connection.query(`UPDATE instruments SET exact_kinds = exact_kinds & ~${OWN_BARS}::int2`)
})
