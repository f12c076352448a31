/**
 * Bars and daily row counts made anew out of the stored rows, where adding up is not enough: stored rows were replaced, or
 * rows that retention had removed came back.
 *
 * The callers hold the write lock alone: a writer that adds to a bar at the same time would be lost.
 */
import { UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import type { PgConnection } from "./PgPool.ts"
import { barColumns, barTables } from "./Rollup.ts"
import type { RowTable } from "./RowTable.ts"
import { nestedLoops } from "./Staging.ts"

/** Temporary tables of a session, emptied at the end of every transaction. */
export const temporaryTables = /* sql */ `
  CREATE TEMP TABLE IF NOT EXISTS touched_minute (
    instrument_id int4, bucket timestamptz, PRIMARY KEY (instrument_id, bucket)
  ) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS touched_day (
    instrument_id int4, schema int2, day date, PRIMARY KEY (instrument_id, schema, day)
  ) ON COMMIT DELETE ROWS;`

/** A time before all others at which bars of every length start: 1600 began on a day, and days have 24 hours here. */
const origin = "timestamptz '1600-01-01 00:00:00+00'"

/** SQL: start of the bar of so many seconds that contains a time. */
export const bucketOf = (seconds: number, time: string): string =>
  `date_bin(interval '${seconds} seconds', ${time}, ${origin})`

/** SQL: UTC day of a time. */
export const dayOf = (time: string): string => `(${time} AT TIME ZONE 'UTC')::date`

/** SQL: a timestamptz and its 0..999 ns as nanoseconds since 1970. Numeric in between: the smallest time needs it. */
const nanosOf = (time: string, rest: string): string =>
  `(extract(epoch FROM ${time}) * 1000000000 + ${rest})::int8`

/** Times of the rows that may be touched: the planner then looks at their partitions alone. */
export interface Span {
  readonly first: bigint
  readonly last: bigint
}

/** SQL: the column lies in the whole UTC days of the span. */
const within = (column: string, { first, last }: Span): string => {
  const end = UnixNanos.startOfDay(last) + UnixNanos.PerDay
  return `${column} >= '${UnixNanos.toIso(UnixNanos.startOfDay(first))}' AND ${column} < '${UnixNanos.toIso(end)}'`
}

const opens = "ORDER BY open_at, open_recv, open_key"
const closes = "ORDER BY close_at DESC, close_recv DESC, close_key DESC"

/** SQL: one bar out of rows that have the columns of a bar, in the order of `barColumns`. */
const aggregated = `
  (array_agg(open ${opens}))[1], max(high), min(low), (array_agg(close ${closes}))[1],
  sum(volume), sum(trade_count)::int8,
  (array_agg(open_at ${opens}))[1], (array_agg(open_recv ${opens}))[1], (array_agg(open_key ${opens}))[1],
  (array_agg(close_at ${closes}))[1], (array_agg(close_recv ${closes}))[1], (array_agg(close_key ${closes}))[1]`

const minutesFromTrades = (span: Span): string => /* sql */ `
  INSERT INTO bar_1m (${barColumns})
  SELECT bucket, instrument_id, ${aggregated}
  FROM (
    SELECT t.bucket, t.instrument_id, r.price AS open, r.price AS high, r.price AS low, r.price AS close,
           r.size AS volume, 1 AS trade_count, r.at AS open_at, r.recv AS open_recv, r.trade_key AS open_key,
           r.at AS close_at, r.recv AS close_recv, r.trade_key AS close_key
    FROM touched_minute t
    CROSS JOIN LATERAL (
      SELECT coalesce(x.price, r.price * i.price_unit) AS price,
             coalesce(x.size, r.size * i.size_unit, 0) AS size,
             ${nanosOf("r.ts", "r.ts_ns")} AS at,
             coalesce(${nanosOf("r.ts_recv", "r.ts_recv_ns")}, 9223372036854775807) AS recv,
             r.trade_key
      FROM trade_rows r
      JOIN instruments i ON i.id = r.instrument_id
      LEFT JOIN trade_exact x
        ON x.instrument_id = r.instrument_id AND x.ts = r.ts AND x.trade_key = r.trade_key
      WHERE r.instrument_id = t.instrument_id AND r.ts >= t.bucket AND r.ts < t.bucket + interval '1 minute'
        AND ${within("r.ts", span)} OFFSET 0
    ) r
    WHERE r.price IS NOT NULL
  ) trades
  GROUP BY instrument_id, bucket`

const fromFiner = (table: string, seconds: number, finer: string, span: Span): string => /* sql */ `
  INSERT INTO ${table} (${barColumns})
  SELECT start, instrument, ${aggregated}
  FROM (${touched(seconds)}) h (instrument, start)
  CROSS JOIN LATERAL (
    SELECT * FROM ${finer} f
    WHERE f.instrument_id = h.instrument AND f.bucket >= h.start
      AND f.bucket < h.start + interval '${seconds} seconds' AND ${within("f.bucket", span)} OFFSET 0
  ) f
  GROUP BY instrument, start`

const touched = (seconds: number): string =>
  `SELECT DISTINCT instrument_id, ${bucketOf(seconds, "bucket")} FROM touched_minute`

const remove = (table: string, seconds: number, span: Span): string => /* sql */ `
  DELETE FROM ${table} b USING (${touched(seconds)}) t (instrument, start)
  WHERE b.instrument_id = t.instrument AND b.bucket = t.start AND ${within("b.bucket", span)}`

/** Makes the bars of the touched minutes, and the hours and days around them, anew. */
export const rebuildBars = Effect.fnUntraced(function* (connection: PgConnection, span: Span) {
  const [minute, hour, day] = barTables
  yield* nestedLoops(connection, [
    remove(minute.table, minute.seconds, span),
    minutesFromTrades(span),
    remove(hour.table, hour.seconds, span),
    fromFiner(hour.table, hour.seconds, minute.table, span),
    remove(day.table, day.seconds, span),
    fromFiner(day.table, day.seconds, hour.table, span)
  ])
})

/** Counts the rows of the touched days anew. */
export const recountDays = Effect.fnUntraced(function* (
  connection: PgConnection,
  { table, schema }: RowTable,
  span: Span
) {
  const ownSchema = schema === "schema" ? "r.schema = t.schema AND" : ""
  yield* nestedLoops(connection, [
    `DELETE FROM row_days d USING touched_day t
     WHERE d.instrument_id = t.instrument_id AND d.schema = t.schema AND d.day = t.day`,
    /* sql */ `
    INSERT INTO row_days (instrument_id, schema, day, rows, first_at, last_at)
    SELECT t.instrument_id, t.schema, t.day, count(*), min(r.at), max(r.at)
    FROM touched_day t
    CROSS JOIN LATERAL (
      SELECT ${nanosOf("r.ts", "r.ts_ns")} AS at FROM ${table} r
      WHERE r.instrument_id = t.instrument_id AND ${ownSchema}
        r.ts >= t.day::timestamp AT TIME ZONE 'UTC' AND r.ts < (t.day + 1)::timestamp AT TIME ZONE 'UTC'
        AND ${within("r.ts", span)} OFFSET 0
    ) r
    GROUP BY t.instrument_id, t.schema, t.day`
  ])
})

/** Names minutes and days of instruments with replaced rows as touched: those of the rows that went and that came. */
export const touchReplaced = Effect.fnUntraced(function* (connection: PgConnection, table: RowTable) {
  const gone = `gone_${table.table}`
  const came = `
    SELECT s.* FROM new_${table.table} s JOIN fresh_row USING (n)
    WHERE s.instrument_id IN (SELECT instrument_id FROM ${gone})`
  const schema = (alias: string): string => (table.schema === "schema" ? `${alias}.schema` : table.schema)
  yield* connection.script(
    `INSERT INTO touched_day (instrument_id, schema, day)
     SELECT g.instrument_id, ${schema("g")}::int2, ${dayOf("g.ts")} FROM ${gone} g
     UNION SELECT c.instrument_id, ${schema("c")}::int2, ${dayOf("c.ts")} FROM (${came}) c`
  )
  if (table.kind !== "trades") return
  yield* connection.script(
    `INSERT INTO touched_minute (instrument_id, bucket)
     SELECT instrument_id, ${bucketOf(60, "ts")} FROM ${gone}
     UNION SELECT instrument_id, ${bucketOf(60, "ts")} FROM (${came}) c`
  )
})
