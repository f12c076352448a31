/** Sizes and ages for `dm status`: from the catalog and the ends of indexes, never by counting rows. */
import {
  type MarketStore,
  type StoreError,
  type StoreStatistics,
  type TableCompression,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"
import * as ClockSkew from "./ClockSkew.ts"
import * as Partitions from "./Partitions.ts"
import { isTableMissing } from "./PgError.ts"
import { microsOf, type PgConnection, type PgPool, type SqlRow } from "./PgPool.ts"
import * as Aggregates from "./timescale/Aggregates.ts"
import { sizesQuery } from "./timescale/ChunkSizes.ts"
import * as Chunks from "./timescale/Chunks.ts"
import { extension, extensionSchema, layoutOf } from "./timescale/Layout.ts"
import * as ServerJobs from "./timescale/ServerJobs.ts"

const tables = ["trade", "trade_bulk", "quote", "book", "bar", "bar_1m", "bar_1h", "bar_1d"] as const

interface TableRow extends SqlRow {
  readonly table: (typeof tables)[number]
  readonly rows: bigint
  readonly bytes: bigint
  readonly partitions: bigint
  /** Chunks in the columnstore, and their bytes before and after; NULL where there is none. */
  readonly compressed?: bigint | null
  readonly before?: bigint | null
  readonly after?: bigint | null
}

/** A table that was never analysed has no estimate (-1): its pages tell roughly. */
const tablesQuery = /* sql */ `
  SELECT t.relname AS table, count(i.inhrelid) AS partitions,
         sum(pg_total_relation_size(c.oid))::int8 AS bytes,
         sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE pg_relation_size(c.oid) / 128 END)::int8 AS rows
  FROM pg_class t
  LEFT JOIN pg_inherits i ON i.inhparent = t.oid
  JOIN pg_class c ON c.oid = coalesce(i.inhrelid, t.oid)
  WHERE t.relnamespace = quote_ident(current_schema())::regnamespace AND t.relname = ANY($1)
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

/** A partition or chunk. */
type Part = Pick<Chunks.Chunk, "table" | "name" | "start" | "end">

/** Oldest or newest time in the first part from one end that has rows. */
const edge = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: string,
  parts: ReadonlyArray<Part>,
  aggregate: "min" | "max"
) {
  for (const { name } of parts) {
    const sql = `SELECT ${microsOf(`${aggregate}(${timeColumn(table)})`)} AS at FROM ${name}`
    // Retention, a job of the server's own perhaps, may have dropped the part since it was listed.
    const [row] = yield* Effect.catchIf(
      connection.query<SqlRow & { readonly at: bigint | null }>(sql),
      isTableMissing,
      () => Effect.succeed([])
    )
    if (row !== undefined && row.at !== null) return row.at * UnixNanos.PerMicro
  }
  return undefined
})

/** Only trades have an index that begins with time: of the others the parts' bounds tell. */
const ages = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: string,
  parts: ReadonlyArray<Part>
) {
  const own = parts.filter((part) => part.table === table)
  if (table === "trade")
    return {
      oldest: yield* edge(connection, table, own, "min"),
      newest: yield* edge(connection, table, [...own].reverse(), "max")
    }
  return { oldest: own[0]?.start, newest: own[own.length - 1]?.end }
})

/** Partitions or chunks of all tables, by time. */
const partsOf = Effect.fnUntraced(function* (connection: PgConnection, isHypertable: boolean) {
  if (isHypertable) return yield* Chunks.list(connection, tables)
  return (yield* Partitions.list(connection)).map(({ table, name, from, to }): Part => {
    return { table, name, start: BigInt(from) * UnixNanos.PerDay, end: BigInt(to) * UnixNanos.PerDay }
  })
})

/** Sizes of all tables; those of hypertables are told by the extension. */
const sizes = Effect.fnUntraced(function* (connection: PgConnection, isHypertable: boolean) {
  const found = yield* connection.query<TableRow>(tablesQuery, [tables])
  if (!isHypertable) return found
  const schema = yield* extensionSchema(connection)
  const hypertables = yield* connection.query<TableRow>(sizesQuery(schema), [tables])
  const names = new Set(hypertables.map(({ table }) => table))
  return [...hypertables, ...found.filter(({ table }) => !names.has(table))]
})

const statistics = (pool: PgPool): Effect.Effect<StoreStatistics, StoreError> =>
  pool.withConnection("read statistics", (connection) =>
    Effect.gen(function* () {
      const isHypertable = (yield* layoutOf(connection)) === "hypertable"
      const { isCommunity } = yield* extension(connection)
      const isAggregated = yield* Aggregates.exist(connection)
      const found = yield* sizes(connection, isHypertable)
      const parts = yield* partsOf(connection, isHypertable)
      const [totals] = yield* connection.query<TotalsRow>(totalsQuery)
      const rows = yield* Effect.forEach(
        tables.flatMap((table) => found.filter((row) => row.table === table)),
        (row) =>
          Effect.map(ages(connection, row.table, parts), ({ oldest, newest }) => ({
            table: row.table as string,
            rows: row.rows,
            bytes: row.bytes,
            partitions: Number(row.partitions),
            oldest,
            newest,
            compression: compressionOf(row)
          }))
      )
      return {
        databaseBytes: totals!.bytes,
        tables: rows,
        conflicts: totals!.conflicts,
        runs: { completed: totals!.completed, open: totals!.open },
        jobs: isHypertable && isCommunity ? yield* ServerJobs.list(connection) : undefined,
        barsBehind: isAggregated ? yield* ServerJobs.barsBehind(connection) : undefined,
        aggregates: isAggregated ? yield* ServerJobs.aggregates(connection) : undefined,
        clockSkewMillis: yield* ClockSkew.measure(connection)
      }
    })
  )

const compressionOf = ({ compressed, before, after }: TableRow): TableCompression | undefined =>
  compressed === undefined || compressed === null || compressed === 0n
    ? undefined
    : { partitions: Number(compressed), bytesBefore: before ?? 0n, bytesAfter: after ?? 0n }

/** The part of the store that tells sizes and ages. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "statistics"> => ({
  statistics: statistics(pool)
})
