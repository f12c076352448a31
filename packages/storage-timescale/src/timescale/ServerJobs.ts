/** How the jobs of the server are doing that keep our tables: compression, bars, retention. */
import { type AggregateState, type ServerJob, type StoreError, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { microsOf, type PgConnection, type SqlRow } from "../PgPool.ts"
import { isJobOf, madeUntil } from "./Aggregates.ts"

interface JobRow extends SqlRow {
  readonly proc: string
  readonly table: string | null
  readonly last: bigint | null
  readonly next: bigint | null
  readonly failed: boolean | null
  readonly failures: bigint | null
  readonly error: string | null
}

/** A time that is not infinite: a job that never succeeded has one at the beginning of time. */
const finite = (column: string): string => `CASE WHEN isfinite(${column}) THEN ${microsOf(column)} END`

const jobsQuery = /* sql */ `
  SELECT j.proc_name::text AS proc, coalesce(a.view_name, j.hypertable_name)::text AS table,
         ${finite("s.last_run_started_at")} AS last, ${finite("s.next_start")} AS next,
         s.last_run_status = 'Failed' AS failed, s.total_failures AS failures,
         (SELECT e.err_message FROM timescaledb_information.job_errors e
          WHERE e.job_id = j.job_id ORDER BY e.finish_time DESC LIMIT 1) AS error
  FROM timescaledb_information.jobs j
  LEFT JOIN timescaledb_information.job_stats s ON s.job_id = j.job_id
  LEFT JOIN timescaledb_information.continuous_aggregates a
    ON a.view_schema = current_schema() AND ${isJobOf("j", "a")}
  WHERE (j.proc_name = 'policy_compression' AND j.hypertable_schema = current_schema())
     OR (j.proc_name = 'policy_refresh_continuous_aggregate' AND a.view_name IS NOT NULL)
     OR (j.proc_name = 'retire_trades' AND j.proc_schema = current_schema())
  ORDER BY 1, 2`

const purposes: { readonly [proc: string]: ServerJob["purpose"] } = {
  policy_compression: "compression",
  policy_refresh_continuous_aggregate: "bars",
  retire_trades: "retention"
}

const time = (micros: bigint | null): bigint | undefined =>
  micros === null ? undefined : micros * UnixNanos.PerMicro

/** The jobs of our tables on a server that has jobs. */
export const list = (connection: PgConnection): Effect.Effect<ReadonlyArray<ServerJob>, StoreError> =>
  Effect.map(connection.query<JobRow>(jobsQuery), (rows) =>
    rows.map((row) => ({
      purpose: purposes[row.proc]!,
      table: row.table ?? "trade",
      lastRunAt: time(row.last),
      nextRunAt: time(row.next),
      failures: Number(row.failures ?? 0n),
      problem: row.failed === true ? (row.error ?? "it failed, and the server does not say why") : undefined
    }))
  )

/** Times of late trades whose bars were not made yet, oldest first noted. */
export const barsBehind = (connection: PgConnection) =>
  Effect.map(
    connection.query<SqlRow & { readonly times: bigint; readonly since: bigint | null }>(
      `SELECT count(*) AS times, ${microsOf("min(noted_at)")} AS since FROM bar_refreshes`
    ),
    ([row]) => ({ times: Number(row!.times), since: time(row!.since) })
  )

/** How far behind the server's clock the bars are that it has made. */
export const aggregates = Effect.fnUntraced(function* (connection: PgConnection) {
  const [clock] = yield* connection.query<SqlRow & { readonly now: bigint }>(
    `SELECT ${microsOf("clock_timestamp()")} AS now`
  )
  const now = clock!.now * UnixNanos.PerMicro
  return (yield* madeUntil(connection)).map(
    ({ until, view }): AggregateState => ({
      name: view,
      lagSeconds: until === undefined ? undefined : Math.max(0, Number((now - until) / UnixNanos.PerSecond))
    })
  )
})
