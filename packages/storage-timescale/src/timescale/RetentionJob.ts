/** Retention as a job of the server: trades go on time although no program of ours runs. */
import { Effect } from "effect"
import type { PgConnection, SqlRow } from "../PgPool.ts"

const jobQuery = /* sql */ `
  SELECT job_id AS id, (config->>'keep_days')::int4 AS days FROM timescaledb_information.jobs
  WHERE proc_name = 'retire_trades' AND proc_schema = current_schema()`

/**
 * Removes trades older than so many days once an hour, from now on; never, where `days` is undefined. `schema` is that of
 * the extension's functions.
 */
export const schedule = Effect.fnUntraced(function* (
  connection: PgConnection,
  schema: string,
  days: number | undefined
) {
  const [job] = yield* connection.query<SqlRow & { readonly id: number; readonly days: number }>(jobQuery)
  if (job !== undefined && job.days === days) return
  if (job !== undefined) yield* connection.query(`SELECT ${schema}.delete_job($1)`, [job.id])
  if (days === undefined) return
  yield* connection.query(
    `SELECT ${schema}.add_job((quote_ident(current_schema()) || '.retire_trades')::regproc, interval '1 hour',
       config => jsonb_build_object('keep_days', $1::int4))`,
    [days]
  )
})
