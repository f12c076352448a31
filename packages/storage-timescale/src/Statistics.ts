/** Sizes and ages for `dm status`: from the catalog and the ends of indexes, never by counting rows. */
import { type MarketStore, type StoreError, type StoreStatistics, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { list, type Partition, type PartitionedTable } from "./Partitions.ts"
import { microsOf, type PgConnection, type PgPool, type SqlRow } from "./PgPool.ts"

const tables = ["trade", "quote", "book", "bar", "bar_1m", "bar_1h", "bar_1d"] as const

interface TableRow extends SqlRow {
  readonly table: (typeof tables)[number]
  readonly rows: bigint
  readonly bytes: bigint
  readonly partitions: bigint
}

/** A table that was never analysed has no estimate (-1): its pages tell roughly. */
const tablesQuery = /* sql */ `
  SELECT t.relname AS table, count(i.inhrelid) AS partitions,
         sum(pg_total_relation_size(c.oid))::int8 AS bytes,
         sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE pg_relation_size(c.oid) / 128 END)::int8 AS rows
  FROM pg_class t
  LEFT JOIN pg_inherits i ON i.inhparent = t.oid
  JOIN pg_class c ON c.oid = coalesce(i.inhrelid, t.oid)
  WHERE t.relnamespace = current_schema()::regnamespace AND t.relname = ANY($1)
  GROUP BY t.relname`

const totalsQuery = /* sql */ `
  SELECT pg_database_size(current_database())::int8 AS bytes,
         (SELECT count(*) FROM row_conflicts) AS conflicts,
         (SELECT count(*) FROM ingest_runs WHERE completed_at IS NOT NULL) AS completed,
         (SELECT count(*) FROM ingest_runs WHERE completed_at IS NULL) AS open`

interface TotalsRow extends SqlRow {
  readonly bytes: bigint
  readonly conflicts: bigint
  readonly completed: bigint
  readonly open: bigint
}

const timeColumn = (table: string): string => (table.startsWith("bar_") ? "bucket" : "ts")

/** Oldest or newest time in the first partition from one end that has rows. */
const edge = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: string,
  partitions: ReadonlyArray<Pick<Partition, "name">>,
  aggregate: "min" | "max"
) {
  for (const { name } of partitions) {
    const [row] = yield* connection.query<SqlRow & { readonly at: bigint | null }>(
      `SELECT ${microsOf(`${aggregate}(${timeColumn(table)})`)} AS at FROM ${name}`
    )
    if (row !== undefined && row.at !== null) return row.at * UnixNanos.PerMicro
  }
  return undefined
})

/** Only trades have an index that begins with time: of the others the partitions' bounds tell. */
const ages = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: string,
  partitions: ReadonlyArray<Partition>
) {
  const own = partitions.filter((partition) => partition.table === (table as PartitionedTable))
  if (table === "trade")
    return {
      oldest: yield* edge(connection, table, own, "min"),
      newest: yield* edge(connection, table, [...own].reverse(), "max")
    }
  const [first, last] = [own[0], own[own.length - 1]]
  return {
    oldest: first === undefined ? undefined : BigInt(first.from) * UnixNanos.PerDay,
    newest: last === undefined ? undefined : BigInt(last.to) * UnixNanos.PerDay
  }
})

const statistics = (pool: PgPool): Effect.Effect<StoreStatistics, StoreError> =>
  pool.withConnection("read statistics", (connection) =>
    Effect.gen(function* () {
      const found = yield* connection.query<TableRow>(tablesQuery, [tables])
      const partitions = yield* list(connection)
      const [totals] = yield* connection.query<TotalsRow>(totalsQuery)
      const rows = yield* Effect.forEach(
        tables.flatMap((table) => found.filter((row) => row.table === table)),
        (row) =>
          Effect.map(ages(connection, row.table, partitions), ({ oldest, newest }) => ({
            table: row.table as string,
            rows: row.rows,
            bytes: row.bytes,
            partitions: Number(row.partitions),
            oldest,
            newest
          }))
      )
      return {
        databaseBytes: totals!.bytes,
        tables: rows,
        conflicts: totals!.conflicts,
        runs: { completed: totals!.completed, open: totals!.open }
      }
    })
  )

/** The part of the store that tells sizes and ages. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "statistics"> => ({
  statistics: statistics(pool)
})
