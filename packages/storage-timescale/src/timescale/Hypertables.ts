/**
 * Row tables from range partitions into hypertables and back, with their rows: what `dm migrate` does when a server gets
 * or loses the TimescaleDB extension. Each table is moved in the transaction of the caller: afterwards all of it is in the
 * new shape, or nothing has happened.
 */
import { type StoreError, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import * as Partitions from "../Partitions.ts"
import type { PgConnection, SqlRow } from "../PgPool.ts"
import { extensionSchema } from "./Layout.ts"

const Month = 30 * 24
const Year = 365 * 24

/** Hours that one chunk of a table covers; `rows` those of trades, quotes and books. */
const hoursOf = (table: Partitions.PartitionedTable, rows: number): number => {
  switch (table) {
    case "trade":
    case "quote":
    case "book":
      return rows
    case "bar":
    case "bar_1m":
      return Month
    case "bar_1h":
      return Year
  }
}

/** The indexes of a table, as statements that make them anew. */
const indexesOf = (
  connection: PgConnection,
  table: string
): Effect.Effect<ReadonlyArray<{ readonly name: string; readonly statement: string }>, StoreError> =>
  Effect.map(
    connection.query<SqlRow & { readonly name: string; readonly statement: string }>(
      `SELECT c.relname AS name, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') AS statement
       FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
       WHERE i.indrelid = $1::regclass ORDER BY c.relname`,
      [table]
    ),
    (rows) => rows
  )

/** Sets a table aside, its indexes by other names; gives the statements that make them anew. */
const setAside = Effect.fnUntraced(function* (connection: PgConnection, table: string) {
  const indexes = yield* indexesOf(connection, table)
  yield* connection.query(`ALTER TABLE ${table} RENAME TO ${table}_before`)
  for (const { name } of indexes) yield* connection.query(`ALTER INDEX ${name} RENAME TO ${name}_before`)
  return indexes.map(({ statement }) => statement)
})

const like = (table: string): string =>
  `CREATE TABLE ${table} (LIKE ${table}_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`

const toHypertable = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: Partitions.PartitionedTable,
  schema: string,
  hours: number
) {
  const indexes = yield* setAside(connection, table)
  yield* connection.query(like(table))
  // Bars of an hour are merged into again and again: room in the page keeps the updates out of the index.
  if (table === "bar_1h") yield* connection.query(`ALTER TABLE ${table} SET (fillfactor = 60)`)
  yield* connection.query(
    `SELECT ${schema}.create_hypertable($1::regclass,
       ${schema}.by_range($2::name, make_interval(hours => $3)), create_default_indexes => false)`,
    [table, Partitions.timeColumn(table), hoursOf(table, hours)]
  )
  yield* connection.query(`INSERT INTO ${table} SELECT * FROM ${table}_before`)
  for (const statement of indexes) yield* connection.query(statement)
  yield* connection.query(`DROP TABLE ${table}_before`)
})

/** Makes hypertables of all row tables, which must be range partitioned. */
export const fromPartitions = Effect.fnUntraced(function* (connection: PgConnection, hours: number) {
  const schema = yield* extensionSchema(connection)
  for (const table of Partitions.partitionedTables) yield* toHypertable(connection, table, schema, hours)
})

/** The chunks to come cover so many hours; those that exist stay as they are. */
export const setChunkHours = Effect.fnUntraced(function* (
  connection: PgConnection,
  schema: string,
  hours: number
) {
  const rows = yield* connection.query<SqlRow & { readonly table: Partitions.PartitionedTable }>(
    `SELECT hypertable_name::text AS table FROM timescaledb_information.dimensions
     WHERE hypertable_schema = current_schema() AND hypertable_name = ANY ($1)
       AND extract(epoch FROM time_interval) <> $2::float8 * 3600`,
    [["trade", "trade_bulk", "quote", "book"], hours]
  )
  for (const { table } of rows)
    yield* connection.query(
      `SELECT ${schema}.set_chunk_time_interval($1::regclass, make_interval(hours => $2))`,
      [table, hours]
    )
})

const daysQuery = (table: string, column: string): string => /* sql */ `
  SELECT DISTINCT ${column === "ts" ? "(ts AT TIME ZONE 'UTC')::date" : "(bucket AT TIME ZONE 'UTC')::date"}
    - date '1970-01-01' AS day
  FROM ${table} ORDER BY 1`

const moveIntoPartitions = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: Partitions.PartitionedTable,
  today: number
) {
  const days = yield* connection.query<SqlRow & { readonly day: number }>(
    daysQuery(`${table}_before`, Partitions.timeColumn(table))
  )
  yield* Partitions.createMissing(
    connection,
    table,
    days.map(({ day }) => day),
    today
  )
  yield* connection.query(`INSERT INTO ${table} SELECT * FROM ${table}_before`)
})

const toPartitions = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: Partitions.PartitionedTable,
  today: number,
  keepRows: boolean
) {
  const column = Partitions.timeColumn(table)
  const indexes = yield* setAside(connection, table)
  yield* connection.query(`${like(table)} PARTITION BY RANGE (${column})`)
  for (const statement of indexes) yield* connection.query(statement)
  if (keepRows) yield* moveIntoPartitions(connection, table, today)
  yield* connection.query(`DROP TABLE ${table}_before`)
})

/**
 * Makes range partitions of all row tables, which must be hypertables; empty ones, unless their rows are to be kept. `now`
 * decides which days are recent.
 */
export const toRangePartitions = Effect.fnUntraced(function* (
  connection: PgConnection,
  now: bigint,
  keepRows: boolean
) {
  const today = Number(now / UnixNanos.PerDay)
  for (const table of Partitions.partitionedTables) yield* toPartitions(connection, table, today, keepRows)
})
