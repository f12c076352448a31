/**
 * Retention without an extension: whole partitions of trades are dropped and their coverage is marked expired in one
 * transaction. Bars made from the trades stay; the days' row counts go with their rows.
 */
import { MarketSchema, type StoreError, UnixNanos } from "@data-manager/core"
import { Clock, Duration, Effect, Schedule } from "effect"
import * as CoverageTable from "./CoverageTable.ts"
import * as Partitions from "./Partitions.ts"
import type { PgPool } from "./PgPool.ts"

/**
 * Drops the partitions of trades that end at or before `before`. Coverage expires up to the end of the last of them: a
 * partition that reaches beyond `before` stays whole.
 */
export const expireTrades = Effect.fnUntraced(function* (pool: PgPool, before: bigint) {
  return yield* pool.transaction(
    "expire trades",
    Effect.fnUntraced(function* (connection) {
      // Who waits for a lock makes everybody behind wait, too: rather fail as contention, to be tried again.
      yield* connection.query("SET LOCAL lock_timeout = '10s'")
      yield* Partitions.lock(connection)
      const day = Partitions.dayOfTime(before)
      const gone = (yield* Partitions.list(connection, ["trade"])).filter((partition) => partition.to <= day)
      if (gone.length === 0) return { partitions: 0 }
      const end = BigInt(Math.max(...gone.map((partition) => partition.to))) * UnixNanos.PerDay
      // First of all: it waits for running appends, which would in their turn wait for the coverage.
      for (const partition of gone) yield* connection.query(`DROP TABLE ${partition.name}`)
      const until = [UnixNanos.toIso(end)]
      yield* connection.query(
        `INSERT INTO retention_horizons AS h (kind, expired_before) VALUES ('trades', $1)
         ON CONFLICT (kind) DO UPDATE SET expired_before = greatest(h.expired_before, EXCLUDED.expired_before)`,
        until
      )
      yield* CoverageTable.expire(connection, "trades", end)
      yield* connection.query("DELETE FROM trade_exact WHERE ts < $1", until)
      yield* connection.query("DELETE FROM trade_text_id WHERE ts < $1", until)
      yield* connection.query("DELETE FROM row_days WHERE schema = $2 AND day < $1::timestamptz::date", [
        ...until,
        MarketSchema.code("trades")
      ])
      return { partitions: gone.length }
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
    yield* logged("removing trades beyond their retention", expire)
    yield* logged("folding old partitions", partitions.fold)
  }).pipe(Effect.repeat(Schedule.spaced(Duration.hours(1))), Effect.andThen(Effect.never))
}
