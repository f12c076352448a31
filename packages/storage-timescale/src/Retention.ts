/**
 * Retention without an extension: whole partitions of trades are dropped and their coverage is marked expired in one
 * transaction. Bars made from the trades stay; the days' row counts go with their rows.
 */
import { type StoreError, UnixNanos } from "@data-manager/core"
import { Clock, Duration, Effect, Schedule } from "effect"
import * as Partitions from "./Partitions.ts"
import type { PgConnection, PgPool } from "./PgPool.ts"
import { refreshPending } from "./timescale/BarRefresh.ts"
import * as BulkTable from "./timescale/BulkTable.ts"
import * as Chunks from "./timescale/Chunks.ts"
import { extensionSchema, layoutOf } from "./timescale/Layout.ts"

/** Drops whole partitions or chunks; tells how many, and the end of the last of them. */
const dropBefore = Effect.fnUntraced(function* (connection: PgConnection, before: bigint) {
  if ((yield* layoutOf(connection)) === "hypertable") {
    const tables = ["trade", ...((yield* BulkTable.exists(connection)) ? ["trade_bulk"] : [])]
    const gone = (yield* Chunks.list(connection, tables, { start: UnixNanos.Min, end: before })).filter(
      (chunk) => chunk.end <= before
    )
    if (gone.length === 0) return undefined
    const end = gone.reduce((last, chunk) => (chunk.end > last ? chunk.end : last), UnixNanos.Min)
    const schema = yield* extensionSchema(connection)
    for (const table of tables) {
      yield* connection.query(`SELECT ${schema}.drop_chunks('${table}', older_than => $1::timestamptz)`, [
        UnixNanos.toIso(end)
      ])
      // Of chunks that were cut otherwise.
      yield* connection.query(`DELETE FROM ${table} WHERE ts < $1::timestamptz`, [UnixNanos.toIso(end)])
    }
    return { count: gone.length, end }
  }
  const day = Partitions.dayOfTime(before)
  const gone = (yield* Partitions.list(connection, ["trade"])).filter((partition) => partition.to <= day)
  if (gone.length === 0) return undefined
  for (const partition of gone) yield* connection.query(`DROP TABLE ${partition.name}`)
  return { count: gone.length, end: BigInt(Math.max(...gone.map(({ to }) => to))) * UnixNanos.PerDay }
})

/**
 * Drops the partitions of trades that end at or before `before`. Coverage expires up to the end of the last of them: a
 * partition that reaches beyond `before` stays whole.
 */
export const expireTrades = Effect.fnUntraced(function* (pool: PgPool, before: bigint) {
  // Afterwards there is nothing to make late bars of.
  yield* refreshPending(pool, { start: UnixNanos.Min, end: before })
  return yield* pool.transaction(
    "expire trades",
    Effect.fnUntraced(function* (connection) {
      // Who waits for a lock makes everybody behind wait, too: rather fail as contention, to be tried again.
      yield* connection.query("SET LOCAL lock_timeout = '10s'")
      yield* Partitions.lock(connection)
      // First of all: it waits for running appends, which would in their turn wait for the coverage.
      const gone = yield* dropBefore(connection, before)
      if (gone === undefined) return { partitions: 0 }
      const { end } = gone
      yield* connection.query("SELECT forget_trades_before($1)", [UnixNanos.toIso(end)])
      return { partitions: gone.count }
    })
  )
})

/**
 * Applies `keepDays` now and once an hour, until interrupted; also folds old partitions and makes those ahead. What fails is
 * logged and tried again with the next round.
 */
export const maintain = (
  pool: PgPool,
  partitions: Partitions.Partitions,
  keepDays: number | undefined
): Effect.Effect<never> => {
  const expire = Effect.gen(function* () {
    if (keepDays === undefined) return
    const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
    const { partitions: dropped } = yield* expireTrades(pool, now - BigInt(keepDays) * UnixNanos.PerDay)
    if (dropped === 0) return
    yield* partitions.forget
    yield* Effect.logInfo("trades beyond their retention removed", {
      partitions: dropped,
      keep_days: keepDays
    })
  })
  const logged = (what: string, step: Effect.Effect<unknown, StoreError>): Effect.Effect<unknown> =>
    Effect.catch(step, (error) => Effect.logWarning(`${what} failed, next try in an hour: ${error.message}`))
  return Effect.gen(function* () {
    yield* logged("making partitions ahead", partitions.ensureAhead())
    yield* logged("making bars of late trades", refreshPending(pool))
    yield* logged("removing trades beyond their retention", expire)
    yield* logged("folding old partitions", partitions.fold)
  }).pipe(Effect.repeat(Schedule.spaced(Duration.hours(1))), Effect.andThen(Effect.never))
}
