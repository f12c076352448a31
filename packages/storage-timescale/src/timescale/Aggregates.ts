/**
 * Bars as continuous aggregates, each made of the shorter one: the server keeps them, and adds what it has not made yet when
 * they are read. Exact by construction: sums and extremes of int8 mantissas, opening and closing trades by (time ns, capture,
 * key). Instruments whose values int8 cannot hold are left to tables of our own (`OwnBars`).
 */
import { UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { microsOf, type PgConnection, type SqlRow } from "../PgPool.ts"

/** The aggregates, shortest bars first, and how the server keeps them. */
const lengths = [
  { name: "1m", seconds: 60, from: "1 hour", to: "1 minute", every: "1 minute" },
  { name: "1h", seconds: 3600, from: "3 hours", to: "1 hour", every: "1 hour" },
  { name: "1d", seconds: 86_400, from: "3 days", to: "1 day", every: "1 day" }
] as const

/** What the names of a table's aggregates begin with. */
const prefixes = { trade: "trade_bar", trade_bulk: "bulk_bar" } as const

/** A table of trades whose bars are aggregates. */
export type Source = keyof typeof prefixes

/** The aggregates of a table, shortest bars first. */
export const aggregatesOf = (source: Source) =>
  lengths.map((length) => ({ ...length, source, view: `${prefixes[source]}_${length.name}` }))

/** The aggregates of both tables. */
export const aggregates = [...aggregatesOf("trade"), ...aggregatesOf("trade_bulk")]

/** SQL: whether bars are continuous aggregates here. */
export const isAggregated = "to_regclass(quote_ident(current_schema()) || '.trade_bar_1m') IS NOT NULL"

const opens = "ORDER BY ts, ts_ns, ts_recv, ts_recv_ns, trade_key"
const closes = "ORDER BY ts DESC, ts_ns DESC, ts_recv DESC, ts_recv_ns DESC, trade_key DESC"

/** Absent captures come last, as NULLs do in ascending order; and first in descending order. */
const minutes = (schema: string, source: Source): string => /* sql */ `
  SELECT ${schema}.time_bucket('1 minute', ts) AS bucket, instrument_id,
         (array_agg(price ${opens}))[1] AS open, max(price) AS high, min(price) AS low,
         (array_agg(price ${closes}))[1] AS close,
         coalesce(sum(size), 0) AS volume, count(*) AS trade_count
  FROM ${source} WHERE price IS NOT NULL GROUP BY 1, 2`

const longer = (schema: string, seconds: number, shorter: string): string => /* sql */ `
  SELECT ${schema}.time_bucket('${seconds} seconds', bucket) AS bucket, instrument_id,
         ${schema}.first(open, bucket) AS open, max(high) AS high, min(low) AS low,
         ${schema}.last(close, bucket) AS close,
         sum(volume) AS volume, sum(trade_count)::int8 AS trade_count
  FROM ${shorter} GROUP BY 1, 2`

/** Makes the aggregates, with nothing in them yet: what they lack is read from the trades. */
export const create = Effect.fnUntraced(function* (connection: PgConnection, schema: string, source: Source) {
  const [minute, hour, day] = aggregatesOf(source)
  const make = (view: string, query: string) =>
    connection.query(
      `CREATE MATERIALIZED VIEW ${view} WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
       ${query} WITH NO DATA`
    )
  yield* make(minute!.view, minutes(schema, source))
  yield* make(hour!.view, longer(schema, hour!.seconds, minute!.view))
  yield* make(day!.view, longer(schema, day!.seconds, hour!.view))
})

/** Removes the aggregates. */
export const drop = Effect.fnUntraced(function* (connection: PgConnection) {
  for (const { view } of [...aggregates].reverse())
    yield* connection.query(`DROP MATERIALIZED VIEW IF EXISTS ${view}`)
})

/** SQL: the job `j` is of the aggregate `a`. Older versions name the table in which it keeps what was made. */
export const isJobOf = (j: string, a: string): string => /* sql */ `
  (${j}.hypertable_schema, ${j}.hypertable_name) IN ((${a}.view_schema, ${a}.view_name),
    (${a}.materialization_hypertable_schema, ${a}.materialization_hypertable_name))`

const policiesQuery = /* sql */ `
  SELECT a.view_name::text AS view FROM timescaledb_information.jobs j
  JOIN timescaledb_information.continuous_aggregates a ON ${isJobOf("j", "a")}
  WHERE j.proc_name = 'policy_refresh_continuous_aggregate' AND a.view_schema = current_schema()`

/** Lets the server keep the newest bars made. */
export const schedule = Effect.fnUntraced(function* (connection: PgConnection, schema: string) {
  const rows = yield* connection.query<SqlRow & { readonly view: string }>(policiesQuery)
  const scheduled = new Set(rows.map(({ view }) => view))
  for (const { view, from, to, every } of aggregates)
    if (!scheduled.has(view))
      yield* connection.query(
        `SELECT ${schema}.add_continuous_aggregate_policy('${view}', start_offset => interval '${from}',
           end_offset => interval '${to}', schedule_interval => interval '${every}')`
      )
})

/** Whether bars are continuous aggregates here. */
export const exist = (connection: Pick<PgConnection, "query">) =>
  Effect.map(
    connection.query<SqlRow & { readonly found: boolean }>(`SELECT ${isAggregated} AS found`),
    ([row]) => row!.found
  )

/** The tables in which aggregates keep what was made. */
const storageQuery = /* sql */ `
  SELECT view_name::text AS view,
         format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) AS storage
  FROM timescaledb_information.continuous_aggregates
  WHERE view_schema = current_schema() AND view_name = ANY ($1)`

/** Up to where the bars of an aggregate were made: the end of the newest one. */
export interface Made {
  readonly view: string
  /** ns since 1970; undefined where none was. */
  readonly until: bigint | undefined
}

/** Up to where the bars of the aggregates were made; what is newer is read from the trades. */
export const madeUntil = Effect.fnUntraced(function* (connection: Pick<PgConnection, "query">) {
  const stores = yield* connection.query<SqlRow & { readonly view: string; readonly storage: string }>(
    storageQuery,
    [aggregates.map(({ view }) => view)]
  )
  if (stores.length === 0) return []
  const newest = stores.map(
    ({ storage, view }) =>
      `SELECT '${view}' AS view, ${microsOf(`(SELECT max(bucket) FROM ${storage})`)} AS bucket`
  )
  const rows = yield* connection.query<SqlRow & { readonly view: string; readonly bucket: bigint | null }>(
    newest.join(" UNION ALL ")
  )
  const buckets = new Map(rows.map(({ bucket, view }) => [view, bucket]))
  return aggregates.flatMap(({ seconds, view }): ReadonlyArray<Made> => {
    const bucket = buckets.get(view)
    if (bucket === undefined) return []
    const length = BigInt(seconds) * UnixNanos.PerSecond
    return [{ view, until: bucket === null ? undefined : bucket * UnixNanos.PerMicro + length }]
  })
})
