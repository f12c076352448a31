/**
 * The table of the bulk profile: trades without a unique key, so that the server may compress them while they are copied in.
 *
 * A day of an instrument is in one of the two tables as a whole: in `trade_bulk` where `bulk_days` names it, else in `trade`.
 * So a bar is made of the rows of one table, and a key is looked for in one table. What the unique key does elsewhere, the
 * row locks of `row_days` do here: every append of trades takes those of its days before it decides where its rows go.
 */
import { Effect } from "effect"
import { microsOf, type PgConnection, type PgPool, type SqlRow } from "../PgPool.ts"
import { type RowTable, rowTables } from "../RowTable.ts"
import * as Chunks from "./Chunks.ts"
import { extensionSchema } from "./Layout.ts"

/** The rows of `trade_bulk`, for SQL that treats all row tables alike. Exact values are never among them. */
export const bulkTrades: RowTable = {
  ...rowTables.trades,
  table: "trade_bulk",
  hasUniqueKey: false
}

/** What `create` makes. */
export const names = ["trade_bulk", "trade_bulk_rows"] as const

/** SQL: whether the table is there: on servers with TimescaleDB's community edition. */
export const isThere = "to_regclass(quote_ident(current_schema()) || '.trade_bulk') IS NOT NULL"

/** Whether the table is there. */
export const exists = (connection: Pick<PgConnection, "query">) =>
  Effect.map(
    connection.query<SqlRow & { readonly found: boolean }>(`SELECT ${isThere} AS found`),
    ([row]) => row!.found
  )

/** Whether the table is there and the server can compress what is copied into it: from TimescaleDB 2.21 on. */
export const isUsable = (connection: Pick<PgConnection, "query">) =>
  Effect.map(
    connection.query<SqlRow & { readonly usable: boolean }>(
      `SELECT ${isThere} AND current_setting('timescaledb.enable_direct_compress_copy', true) IS NOT NULL AS usable`
    ),
    ([row]) => row!.usable
  )

/** Makes the table. `schema` is that of the extension's functions. */
export const create = Effect.fnUntraced(function* (
  connection: PgConnection,
  schema: string,
  chunkHours: number
) {
  yield* connection.query("CREATE TABLE trade_bulk (LIKE trade INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
  yield* connection.query(
    `SELECT ${schema}.create_hypertable('trade_bulk'::regclass,
       ${schema}.by_range('ts', make_interval(hours => $1)), create_default_indexes => false)`,
    [chunkHours]
  )
  // Of the rows that are not compressed yet.
  yield* connection.query("CREATE INDEX trade_bulk_rows ON trade_bulk (instrument_id, ts, trade_key)")
})

/**
 * Compresses the rows of a run that went in between compressed ones. A part of the table that others work on is left to the
 * server's own job.
 */
export const compressRun = Effect.fnUntraced(function* (pool: PgPool, run: bigint) {
  if (!(yield* exists(pool))) return
  const [times] = yield* pool.query<SqlRow & { readonly first: bigint | null; readonly last: bigint | null }>(
    `SELECT ${microsOf("min(first_ts)")} AS first, ${microsOf("max(last_ts)")} AS last
     FROM ingest_segments WHERE run_id = $1`,
    [run]
  )
  if (times!.first === null || times!.last === null) return
  const schema = yield* extensionSchema(pool)
  const range = { start: times!.first * 1000n, end: times!.last * 1000n + 1000n }
  for (const { name } of yield* Chunks.list(pool, ["trade_bulk"], range))
    yield* pool
      .transaction("compress trades", (connection) =>
        Effect.andThen(
          connection.query("SET LOCAL lock_timeout = '5s'"),
          connection.query(`SELECT ${schema}.compress_chunk($1::regclass, if_not_compressed => true)`, [name])
        )
      )
      .pipe(
        Effect.catch((error) =>
          Effect.logDebug(`${name} is left to the server to compress: ${error.message}`)
        )
      )
})

/** Moves all rows back into `trade` and removes the table. */
export const dissolve = Effect.fnUntraced(function* (connection: PgConnection, keepRows: boolean) {
  if (keepRows) yield* connection.query("INSERT INTO trade SELECT * FROM trade_bulk")
  yield* connection.script("DROP TABLE trade_bulk; DELETE FROM bulk_days")
})
