/**
 * Compression of hypertables: columns in segments of one instrument, ordered by time, so that a read of one instrument
 * touches its own segments alone. The server compresses chunks by age, in a job of its own.
 */
import { Effect } from "effect"
import type { PgConnection, SqlRow } from "../PgPool.ts"
import { extension } from "./Layout.ts"

/** How the rows of a table lie in the columnstore; `bounds`: beside its times, the column whose extremes a segment tells. */
const layouts = {
  trade: { segmentBy: "instrument_id", orderBy: "ts, trade_key", bounds: "ts_recv" },
  trade_bulk: { segmentBy: "instrument_id", orderBy: "ts, trade_key", bounds: "ts_recv" },
  quote: { segmentBy: "instrument_id, schema", orderBy: "ts, quote_key", bounds: "ts_other" },
  book: { segmentBy: "instrument_id, schema", orderBy: "ts, book_key", bounds: "ts_other" },
  bar: { segmentBy: "instrument_id, schema", orderBy: "ts, publisher", bounds: "trade_count" }
} as const

/** Tables that are compressed. Bars made from trades are merged into and stay rows. */
export const compressedTables = Object.keys(layouts) as ReadonlyArray<keyof typeof layouts>

/** Whether a version of the extension is 2.22 or newer, where what is kept beside a segment can be chosen. */
const hasIndexOption = (version: string | undefined): boolean => {
  const [major = 0, minor = 0] = (version ?? "").split(".").map(Number)
  return major > 2 || (major === 2 && minor >= 22)
}

/**
 * The options of a table. Where nothing is said about it, the server keeps a Bloom filter of times and keys beside each segment,
 * for a tenth of the bytes, and no append or read is faster for it: the bounds of the times find the segments. It must be told
 * of some other index instead: with none at all, 2.29.2 crashes on the next ON CONFLICT.
 */
export const optionsOf = (table: keyof typeof layouts, version: string | undefined): string => {
  const { bounds, orderBy, segmentBy } = layouts[table]
  const index = hasIndexOption(version) ? `, timescaledb.compress_index = 'minmax(${bounds})'` : ""
  return `timescaledb.compress, timescaledb.compress_segmentby = '${segmentBy}', timescaledb.compress_orderby = '${orderBy}'${index}`
}

const enabledQuery = /* sql */ `
  SELECT hypertable_name::text AS table FROM timescaledb_information.hypertables
  WHERE hypertable_schema = current_schema() AND compression_enabled`

/** Lets chunks be compressed; changes nothing where that is so. */
export const enable = Effect.fnUntraced(function* (connection: PgConnection) {
  const rows = yield* connection.query<SqlRow & { readonly table: string }>(enabledQuery)
  const enabled = new Set(rows.map(({ table }) => table))
  const { installed } = yield* extension(connection)
  for (const table of compressedTables)
    if (!enabled.has(table))
      yield* connection.query(`ALTER TABLE ${table} SET (${optionsOf(table, installed)})`)
})

const policiesQuery = /* sql */ `
  SELECT hypertable_name::text AS table,
         extract(epoch FROM (config->>'compress_after')::interval)::float8 / 86400 AS days
  FROM timescaledb_information.jobs
  WHERE proc_name = 'policy_compression' AND hypertable_schema = current_schema()`

/** Compresses chunks older than so many days, from now on. `schema` is that of the extension's functions. */
export const schedule = Effect.fnUntraced(function* (connection: PgConnection, schema: string, days: number) {
  const rows = yield* connection.query<SqlRow & { readonly table: string; readonly days: number }>(
    policiesQuery
  )
  const scheduled = new Map(rows.map((row) => [row.table, row.days]))
  for (const table of compressedTables) {
    if (scheduled.get(table) === days) continue
    if (scheduled.has(table))
      yield* connection.query(`SELECT ${schema}.remove_compression_policy('${table}')`)
    yield* connection.query(
      `SELECT ${schema}.add_compression_policy('${table}', compress_after => make_interval(days => $1))`,
      [days]
    )
  }
})
