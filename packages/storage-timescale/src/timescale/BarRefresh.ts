/**
 * Bars below what the server has made, made again after late rows. The times of such rows are noted in the transaction that
 * writes them, and stay noted until their bars were made: by whoever reads bars of these times, or at the end of a run. So
 * bars are right whenever they are asked for, and no append waits for them.
 */
import { type StoreError, type TimeRange, UnixNanos } from "@data-manager/core"
import { Clock, Effect, Schedule } from "effect"
import type { BatchScan } from "../BatchScan.ts"
import { isContention } from "../Contention.ts"
import { codeOf } from "../PgError.ts"
import { microsOf, type PgConnection, type PgPool, type SqlRow } from "../PgPool.ts"
import { aggregates, aggregatesOf, exist, isAggregated, madeUntil } from "./Aggregates.ts"
import { extensionSchema } from "./Layout.ts"
import { horizonOf } from "./OwnBars.ts"

/** Age up to which rows are newer than anything that is made by itself; the server's policies leave the last minute out. */
const FRESH_SECONDS = 50

/**
 * Age from which bars are made: of whole bars that ended before. One that still runs would stand as it was made, while appends
 * of the newest rows note nothing; it is read from the trades instead.
 */
const ENDED_SECONDS = 60

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b)

/** Days of a batch that follow each other, as one time each. */
const timesOf = ({ days, first, last }: Pick<BatchScan, "days" | "first" | "last">) => {
  const starts: Array<string> = []
  const ends: Array<string> = []
  days.forEach((day, i) => {
    const start = BigInt(day) * UnixNanos.PerDay
    const end = start + UnixNanos.PerDay - UnixNanos.PerMicro
    const close = UnixNanos.toIso(end < last ? end : last)
    if (i > 0 && days[i - 1] === day - 1) ends[ends.length - 1] = close
    else {
      starts.push(UnixNanos.toIso(start > first ? start : first))
      ends.push(close)
    }
  })
  return { starts, ends }
}

/**
 * Notes that rows of these times were written or removed, unless they are so new that no bar was made of them. To be the last
 * thing before the commit: what is new now may not be when a lock was waited for.
 */
export const note = (
  connection: PgConnection,
  scan: Pick<BatchScan, "days" | "first" | "last">
): Effect.Effect<unknown, StoreError> => {
  const { ends, starts } = timesOf(scan)
  return connection.query(
    `INSERT INTO bar_refreshes (starts, ends)
     SELECT least(s, e), e FROM unnest($1::timestamptz[], $2::timestamptz[]) AS t (s, e)
     WHERE s < clock_timestamp() - interval '${FRESH_SECONDS} seconds'`,
    [starts, ends]
  )
}

/** How often live appends look whether the server makes bars. */
const WATCH_MILLIS = 60_000

/**
 * Seconds that the newest bar of each length may be old while trades come in: by then the server has made the next one, and
 * its next refresh begins before.
 */
const latestSeconds: { readonly [seconds: number]: number } = { 60: 300, 3600: 3 * 3600, 86400: 3 * 86_400 }

/** Notes all since the oldest of the newest bars, until the next look, where one is too old. */
const noteBacklog = Effect.fnUntraced(function* (connection: PgConnection, now: bigint) {
  const made = new Map(
    (yield* madeUntil(connection)).map(({ until, view }) => [view, until ?? UnixNanos.Min])
  )
  const late = aggregatesOf("trade").flatMap(({ seconds, view }) => {
    const until = made.get(view)
    const oldest = now - BigInt(latestSeconds[seconds]!) * UnixNanos.PerSecond
    return until !== undefined && until < oldest ? [until] : []
  })
  if (late.length === 0) return
  const end = now + BigInt(2 * WATCH_MILLIS) * UnixNanos.PerMilli
  yield* connection.query("INSERT INTO bar_refreshes (starts, ends) VALUES ($1, $2)", [
    UnixNanos.toIso(late.reduce(least)),
    UnixNanos.toIso(end)
  ])
})

/**
 * Looks before a live append, now and then, whether the server makes bars. A server whose jobs have not worked for long
 * begins behind what it left out when they work again, and takes that for made: so it is noted while it grows.
 */
export const watch = (pool: PgPool) => {
  let next = 0
  return Effect.fnUntraced(function* ({ last }: Pick<BatchScan, "last">) {
    const millis = yield* Clock.currentTimeMillis
    const now = BigInt(millis) * UnixNanos.PerMilli
    if (millis < next || last < now - BigInt(FRESH_SECONDS) * UnixNanos.PerSecond) return
    next = millis + WATCH_MILLIS
    const look = pool.withConnection("look after bars", (connection) =>
      Effect.flatMap(exist(connection), (isAggregated) =>
        isAggregated ? noteBacklog(connection, now) : Effect.void
      )
    )
    // The append tells itself what is wrong with the connection.
    yield* Effect.catch(look, (error) => {
      next = 0
      return Effect.logDebug(`whether the server makes bars is not known: ${error.message}`)
    })
  })
}

/** Held while noted times are worked off: "dmrefr" as a number. */
const REFRESH_LOCK = 110_426_895_770_226n

/** Times are put together up to this length: what was made of a part stays made when the rest fails. */
const LongestRefresh = 30n * UnixNanos.PerDay

interface Noted extends TimeRange.TimeRange {
  readonly ids: ReadonlyArray<bigint>
}

const pendingQuery = /* sql */ `
  SELECT id, ${microsOf("starts")} AS starts, ${microsOf("ends")} AS ends FROM bar_refreshes
  WHERE ends >= $1 AND starts < $2 ORDER BY starts`

/** Noted times that touch a range, overlapping ones and neighbours of a day as one. */
const pending = (connection: PgConnection, { start, end }: TimeRange.TimeRange) =>
  Effect.map(
    connection.query<SqlRow & { readonly id: bigint; readonly starts: bigint; readonly ends: bigint }>(
      pendingQuery,
      [UnixNanos.toIso(start), UnixNanos.toIso(end)]
    ),
    (rows) => {
      const out: Array<Noted> = []
      for (const row of rows) {
        const one = { start: row.starts * 1000n, end: row.ends * 1000n }
        const before = out[out.length - 1]
        const isApart = before === undefined || one.start > before.end + UnixNanos.PerDay
        if (isApart || one.end - before.start > LongestRefresh) out.push({ ...one, ids: [row.id] })
        else
          out[out.length - 1] = {
            start: before.start,
            end: one.end > before.end ? one.end : before.end,
            ids: [...before.ids, row.id]
          }
      }
      return out
    }
  )

const floor = (time: bigint, step: bigint): bigint => time - (((time % step) + step) % step)
const ceil = (time: bigint, step: bigint): bigint => -floor(-time, step)

interface Extension {
  readonly schema: string
  /** Further arguments of a refresh: all at once, where it would else be cut into many small ones. */
  readonly options: string
}

const optionsQuery =
  "SELECT max(pronargs) >= 5 AS known FROM pg_proc WHERE proname = 'refresh_continuous_aggregate'"

const extensionOf = Effect.fnUntraced(function* (connection: PgConnection) {
  const [row] = yield* connection.query<SqlRow & { readonly known: boolean }>(optionsQuery)
  const options = row!.known ? `, options => '{"buckets_per_batch": 0}'` : ""
  const found: Extension = { schema: yield* extensionSchema(connection), options }
  return found
})

/** Within which times bars may be made, and from where on they must be. */
interface Limits {
  /** Up to where those of each aggregate are made. */
  readonly made: ReadonlyMap<string, bigint | undefined>
  /** Up to where retention has removed trades. */
  readonly horizon: bigint | undefined
  /** From here on they still run. */
  readonly ended: bigint
}

const limitsOf = Effect.fnUntraced(function* (connection: PgConnection) {
  const [row] = yield* connection.query<SqlRow & { readonly ended: bigint }>(
    `SELECT ${microsOf(`clock_timestamp() - interval '${ENDED_SECONDS} seconds'`)} AS ended`
  )
  const made = yield* madeUntil(connection)
  const limits: Limits = {
    made: new Map(made.map(({ until, view }) => [view, until])),
    horizon: yield* horizonOf(connection),
    ended: row!.ended * UnixNanos.PerMicro
  }
  return limits
})

/**
 * Makes the bars of a stretch of time: whole ones that have ended, and never of trades that retention has removed. The server
 * takes everything before the newest bar for made: so nothing is left out between those that are made and these.
 */
const refreshOne = Effect.fnUntraced(function* (
  connection: PgConnection,
  { options, schema }: Extension,
  range: TimeRange.TimeRange,
  { ended, horizon, made }: Limits
) {
  for (const { view, seconds } of aggregates) {
    const step = BigInt(seconds) * UnixNanos.PerSecond
    const from = least(range.start, made.get(view) ?? UnixNanos.Min)
    const begin = horizon !== undefined && from < horizon ? horizon : from
    // Longer bars are made of shorter ones, which retention leaves alone.
    const start = seconds === 60 && begin === horizon ? ceil(begin, step) : floor(begin, step)
    const end = least(floor(range.end, step) + step, floor(ended, step))
    if (start >= end) continue
    yield* connection.query(
      `CALL ${schema}.refresh_continuous_aggregate('${view}', $1::timestamptz, $2::timestamptz${options})`,
      [UnixNanos.toIso(start), UnixNanos.toIso(end)]
    )
  }
})

/** Makes the bars of noted times that touch a range. Needs a session outside of any transaction. */
const refresh = Effect.fnUntraced(function* (connection: PgConnection, range: TimeRange.TimeRange) {
  yield* connection.query("SELECT pg_advisory_lock($1)", [REFRESH_LOCK])
  const work = Effect.gen(function* () {
    const noted = yield* pending(connection, range)
    if (noted.length === 0) return
    const extension = yield* extensionOf(connection)
    for (const { ids, ...one } of noted) {
      yield* refreshOne(connection, extension, one, yield* limitsOf(connection))
      yield* connection.query("DELETE FROM bar_refreshes WHERE id = ANY ($1::int8[])", [ids])
    }
  })
  yield* Effect.ensuring(
    work,
    Effect.ignore(connection.query("SELECT pg_advisory_unlock($1)", [REFRESH_LOCK]))
  )
})

const always: TimeRange.TimeRange = { start: UnixNanos.Min, end: UnixNanos.Max }

/** Makes bars that are out of date within a range, by default all of them. Does nothing where bars are no aggregates. */
export const refreshPending = Effect.fnUntraced(function* (
  pool: PgPool,
  range: TimeRange.TimeRange = always
) {
  const [row] = yield* pool.query<SqlRow & { readonly due: boolean }>(
    `SELECT ${isAggregated} AND EXISTS (SELECT FROM bar_refreshes WHERE ends >= $1 AND starts < $2) AS due`,
    [UnixNanos.toIso(range.start), UnixNanos.toIso(range.end)]
  )
  if (!row!.due) return
  // The server refuses while its own job makes bars of the same time: that ends.
  yield* Effect.retry(
    pool.withConnection("make bars", (connection) => refresh(connection, range)),
    { while: isContention, times: 300, schedule: Schedule.spaced("200 millis").pipe(Schedule.jittered) }
  )
})

/** A standby, say: the bars are made on its primary. */
const isReadOnlyServer = (error: StoreError): boolean => codeOf(error.cause) === "25006"

/**
 * The same before bars are read. Only who may write can make them: to others the bars are shown as they are, and a log message
 * says so.
 */
export const refreshForReading = (
  pool: PgPool,
  range: TimeRange.TimeRange
): Effect.Effect<void, StoreError> =>
  refreshPending(pool, range).pipe(
    Effect.catch((error) =>
      error.reason._tag === "StoreAccessDenied" || isReadOnlyServer(error)
        ? Effect.logInfo(
            "bars of late trades are not made yet, and cannot be made by this user or on this server"
          )
        : Effect.fail(error)
    )
  )
