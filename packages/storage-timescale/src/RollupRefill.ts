/**
 * Trades that retention has removed and that come back. Their bars were kept, so that adding the trades again would count
 * them twice: the bars of such a day stay as they are until all of its trades are back, and are then made anew.
 *
 * A day is incomplete while it has fewer stored rows than its bar counts trades. That is looked for only in times before
 * the retention horizon.
 */
import { MarketSchema } from "@data-manager/core"
import { Effect } from "effect"
import { type BatchScan, dayOf } from "./BatchScan.ts"
import type { PgConnection, SqlRow } from "./PgPool.ts"
import { bucketOf, dayOf as dayOfSql, rebuildBars } from "./RollupRebuild.ts"

/** First day (days since 1970-01-01) of which no trades were ever removed; undefined where none were removed at all. */
export type Horizon = number | undefined

/** Asks for the horizon. */
export const horizonQuery =
  "SELECT ceil(extract(epoch FROM expired_before) / 86400)::int4 AS day FROM retention_horizons WHERE kind = 'trades'"

/** The answer to `horizonQuery`. */
export const horizonOf = (rows: ReadonlyArray<SqlRow>): Horizon => rows[0]?.day as number | undefined

/** Temporary tables of a session, emptied at the end of every transaction. */
export const temporaryTables = /* sql */ `
  CREATE TEMP TABLE IF NOT EXISTS refilled_day (
    instrument_id int4, day date, PRIMARY KEY (instrument_id, day)
  ) ON COMMIT DELETE ROWS;`

/** Days that lack trades, as instrument and day. */
export type Refilled = ReadonlyMap<number, ReadonlySet<number>>

const schema = MarketSchema.code("trades")

/**
 * The days of the batch that lack trades which their bar counts; undefined where there are none. Call it after the
 * batch's days were sent and before they are added.
 */
export const find = Effect.fnUntraced(function* (
  connection: PgConnection,
  scan: BatchScan,
  horizon: Horizon
) {
  if (horizon === undefined || scan.days[0]! >= horizon) return undefined
  const rows = yield* connection.query<SqlRow & { readonly id: number; readonly day: number }>(
    `SELECT a.instrument_id AS id, a.day - date '1970-01-01' AS day
     FROM added_day a
     JOIN bar_1d b ON b.instrument_id = a.instrument_id AND b.bucket = a.day::timestamp AT TIME ZONE 'UTC'
     LEFT JOIN row_days d ON d.instrument_id = a.instrument_id AND d.schema = a.schema AND d.day = a.day
     WHERE a.day < date '1970-01-01' + $1::int4 AND b.trade_count > coalesce(d.rows, 0)`,
    [horizon]
  )
  if (rows.length === 0) return undefined
  const refilled = new Map<number, Set<number>>()
  for (const { id, day } of rows) refilled.set(id, (refilled.get(id) ?? new Set()).add(day))
  return refilled as Refilled
})

/** The selection without the rows of incomplete days. */
export const without = (
  { batch, time, length }: BatchScan,
  refilled: Refilled,
  selected: Uint8Array | undefined
): Uint8Array => {
  const rest = selected?.slice() ?? new Uint8Array(length).fill(1)
  const { instrument } = batch.columns
  for (let row = 0; row < length; row++)
    if (refilled.get(instrument[row]!)?.has(dayOf(time[2 * row]!, time[2 * row + 1]!)) === true) rest[row] = 0
  return rest
}

/** Makes the bars of the days anew that have all of their trades now. Call it after the days were added. */
export const finish = Effect.fnUntraced(function* (
  connection: PgConnection,
  scan: BatchScan,
  refilled: Refilled
) {
  const pairs = [...refilled].flatMap(([id, days]) => [...days].map((day) => [id, day] as const))
  yield* connection.query(
    `INSERT INTO refilled_day (instrument_id, day)
     SELECT r.id, date '1970-01-01' + r.day
     FROM unnest($1::int4[], $2::int4[]) AS r (id, day)
     JOIN row_days d ON d.instrument_id = r.id AND d.schema = ${schema} AND d.day = date '1970-01-01' + r.day
     JOIN bar_1d b ON b.instrument_id = r.id AND ${dayOfSql("b.bucket")} = d.day
     WHERE d.rows >= b.trade_count`,
    [pairs.map(([id]) => id), pairs.map(([, day]) => day)]
  )
  const day = "r.day::timestamp AT TIME ZONE 'UTC'"
  const inDay = (column: string): string => `${column} >= ${day} AND ${column} < ${day} + interval '24 hours'`
  yield* connection.query(
    `INSERT INTO touched_minute (instrument_id, bucket)
     SELECT b.instrument_id, b.bucket FROM refilled_day r
     JOIN bar_1m b ON b.instrument_id = r.instrument_id AND ${inDay("b.bucket")}
     UNION
     SELECT t.instrument_id, ${bucketOf(60, "t.ts")} FROM refilled_day r
     JOIN trade_rows t ON t.instrument_id = r.instrument_id AND ${inDay("t.ts")}`
  )
  yield* rebuildBars(connection, scan)
})
