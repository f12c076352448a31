/**
 * Range partitions of the row tables: made ahead and on demand, by UTC day for recent times and by month before, so that
 * fifteen years stay a few hundred tables. Times that no market has rows of share a partition each, so that a file of
 * nonsense cannot make thousands.
 *
 * A partition is made as a table of its own and then attached, which blocks neither readers nor writers of the others.
 * One advisory lock keeps processes from making the same one twice. What exists is remembered in the process; whoever
 * writes into a partition that another process has removed meanwhile sees SQLSTATE 23514 and calls `forget`.
 */
import { type StoreError, UnixNanos } from "@data-manager/core"
import { Clock, Effect } from "effect"
import { PARTITION_LOCK } from "./objects/retention.ts"
import type { PgConnection, PgPool, SqlRow } from "./PgPool.ts"
import { type Layout, layoutOf } from "./timescale/Layout.ts"

/** Tables that are partitioned. */
export type PartitionedTable = "trade" | "quote" | "book" | "bar" | "bar_1m" | "bar_1h"

/** How finely a table is cut: `recent` inside the window, `old` before. */
interface Cut {
  readonly recent: Unit
  readonly old: Unit
}

type Unit = "day" | "month" | "year"

const cuts: { readonly [T in PartitionedTable]: Cut } = {
  trade: { recent: "day", old: "month" },
  quote: { recent: "day", old: "month" },
  book: { recent: "day", old: "month" },
  bar: { recent: "month", old: "year" },
  bar_1m: { recent: "month", old: "year" },
  bar_1h: { recent: "year", old: "year" }
}

/** Every partitioned table. */
export const partitionedTables = Object.keys(cuts) as ReadonlyArray<PartitionedTable>

/** Days before now that are cut by day, by default. */
export const RECENT_DAYS = 30
/** Days from now on that are cut like recent ones; later ones by month, and after a year by year. */
const COMING_DAYS = 30
const FAR_DAYS = 400

/** Days since 1970-01-01, `[from, to)`. */
export interface DayRange {
  readonly from: number
  readonly to: number
}

/** A partition that exists. */
export interface Partition extends DayRange {
  readonly table: PartitionedTable
  readonly name: string
}

const dateOf = (day: number): Date => new Date(day * 86_400_000)
const dayNumber = (year: number, month: number, day: number): number => {
  const date = new Date(0)
  date.setUTCFullYear(year, month, day)
  return Math.floor(date.getTime() / 86_400_000)
}

/** Everything before 1990 and everything from 2100 on, as far as 64 bits of nanoseconds reach. */
const longAgo: DayRange = { from: dayNumber(1677, 0, 1), to: dayNumber(1990, 0, 1) }
const farAway: DayRange = { from: dayNumber(2100, 0, 1), to: dayNumber(2263, 0, 1) }

/** The unit of time that contains a day. */
const unitRange = (unit: Unit, day: number): DayRange => {
  const date = dateOf(day)
  const year = date.getUTCFullYear()
  const month = date.getUTCMonth()
  switch (unit) {
    case "day":
      return { from: day, to: day + 1 }
    case "month":
      return { from: dayNumber(year, month, 1), to: dayNumber(year, month + 1, 1) }
    case "year":
      return { from: dayNumber(year, 0, 1), to: dayNumber(year + 1, 0, 1) }
  }
}

const isoDay = (day: number): string => dateOf(day).toISOString().slice(0, 10)

/** `trade_p2026`, `trade_p202601`, `trade_p20260105`. */
const partitionName = (table: PartitionedTable, range: DayRange): string => {
  const digits = isoDay(range.from).replaceAll("-", "")
  const length = range.to - range.from === 1 ? 8 : range.to - range.from <= 31 ? 6 : 4
  return `${table}_p${digits.slice(0, length)}`
}

/** The column by which a table is cut. */
export const timeColumn = (table: PartitionedTable): "ts" | "bucket" =>
  table === "bar_1m" || table === "bar_1h" ? "bucket" : "ts"

/** A timestamptz literal of the start of a day. */
const bound = (day: number): string => `'${isoDay(day)} 00:00:00+00'`

const existingQuery = /* sql */ `
  SELECT p.relname AS table, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
  FROM pg_inherits i
  JOIN pg_class p ON p.oid = i.inhparent
  JOIN pg_class c ON c.oid = i.inhrelid
  WHERE p.relnamespace = quote_ident(current_schema())::regnamespace AND p.relname = ANY($1)`

/** Every partition of the given tables, by time. */
export const list = (
  connection: PgConnection,
  tables: ReadonlyArray<PartitionedTable> = partitionedTables
): Effect.Effect<ReadonlyArray<Partition>, StoreError> =>
  Effect.map(
    connection.query<
      SqlRow & { readonly table: PartitionedTable; readonly name: string; readonly bounds: string }
    >(existingQuery, [tables]),
    (rows) =>
      rows
        .flatMap(({ table, name, bounds }) => {
          const days = [...bounds.matchAll(/'(\d{4})-(\d\d)-(\d\d)/g)].map((m) =>
            dayNumber(Number(m[1]), Number(m[2]) - 1, Number(m[3]))
          )
          return days.length === 2 ? [{ table, name, from: days[0]!, to: days[1]! }] : []
        })
        .sort((a, b) => a.from - b.from)
  )

/** The partition among sorted ones that contains a day. */
const find = (sorted: ReadonlyArray<DayRange>, day: number): DayRange | undefined => {
  let low = 0
  let high = sorted.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const range = sorted[middle]!
    if (day < range.from) high = middle - 1
    else if (day >= range.to) low = middle + 1
    else return range
  }
  return undefined
}

/** What a day outside of the recent window is put together with, where nothing of it exists yet. */
const coarseRange = (table: PartitionedTable, day: number, recentTo: number): DayRange => {
  if (day < longAgo.to) return longAgo
  if (day >= farAway.from) return farAway
  return unitRange(day < recentTo - COMING_DAYS + FAR_DAYS ? cuts[table].old : "year", day)
}

/**
 * The ranges to make so that every day lies in one: whole units, unless a part of the unit exists already. Days from
 * `recentFrom` to `recentTo` are cut finely.
 */
export const missingRanges = (
  table: PartitionedTable,
  existing: ReadonlyArray<DayRange>,
  days: ReadonlyArray<number>,
  recentFrom: number,
  recentTo = Number.POSITIVE_INFINITY
): ReadonlyArray<DayRange> => {
  const known = [...existing]
  const out: Array<DayRange> = []
  for (const day of days) {
    if (find(known, day) !== undefined) continue
    const coarse = coarseRange(table, day, recentTo)
    const isFree = known.every((range) => range.to <= coarse.from || coarse.to <= range.from)
    const isOutside = coarse.to <= recentFrom || coarse.from >= recentTo
    const range = isOutside && isFree ? coarse : unitRange(cuts[table].recent, day)
    out.push(range)
    known.push(range)
    known.sort((a, b) => a.from - b.from)
  }
  return out
}

/** New partitions per transaction: each takes a handful of the server's locks. */
const PER_TRANSACTION = 40

const create = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: PartitionedTable,
  range: DayRange
) {
  const name = partitionName(table, range)
  // Bars of an hour are merged into again and again: room in the page keeps the updates out of the index.
  const storage = table === "bar_1h" ? " WITH (fillfactor = 60)" : ""
  yield* connection.query(
    `CREATE TABLE ${name} (LIKE ${table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)${storage}`
  )
  yield* connection.query(
    `ALTER TABLE ${table} ATTACH PARTITION ${name} FOR VALUES FROM (${bound(range.from)}) TO (${bound(range.to)})`
  )
})

/** Makes the partitions of these days that do not exist, at most `most` of them; tells how many are left to make. */
export const createMissing = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: PartitionedTable,
  days: ReadonlyArray<number>,
  today: number,
  recentDays = RECENT_DAYS,
  most = Number.POSITIVE_INFINITY
) {
  const existing = yield* list(connection, [table])
  const missing = missingRanges(table, existing, days, today - recentDays, today + COMING_DAYS)
  for (const range of missing.slice(0, most)) yield* create(connection, table, range)
  return { made: Math.min(missing.length, most), left: Math.max(0, missing.length - most), existing }
})

/** Keeps other processes from making, folding or dropping partitions until this transaction ends. */
export const lock = (connection: PgConnection): Effect.Effect<unknown, StoreError> =>
  connection.query("SELECT pg_advisory_xact_lock($1)", [PARTITION_LOCK])

const withLock = <A>(
  pool: PgPool,
  operation: string,
  work: (connection: PgConnection) => Effect.Effect<A, StoreError>
): Effect.Effect<A, StoreError> =>
  pool.transaction(operation, (connection) => Effect.flatMap(lock(connection), () => work(connection)))

/** Partitions of one database, as far as this process knows them. */
export interface Partitions {
  /** Makes sure that every one of these days (days since 1970-01-01, ascending) has a partition. */
  readonly ensure: (table: PartitionedTable, days: ReadonlyArray<number>) => Effect.Effect<void, StoreError>
  /** Makes those of today and the coming days, so that live rows find them. */
  readonly ensureAhead: (days?: number) => Effect.Effect<void, StoreError>
  /** Drops what is remembered: another process has removed a partition. */
  readonly forget: Effect.Effect<void>
  /** Folds day partitions of months that lie behind the recent window into one partition a month. */
  readonly fold: Effect.Effect<{ readonly folded: ReadonlyArray<string> }, StoreError>
}

/** Partitions of the database behind `pool`. */
export const make = (pool: PgPool, recentDays: number = RECENT_DAYS): Partitions => {
  const known = new Map<PartitionedTable, ReadonlyArray<Partition>>()
  const remember = (found: ReadonlyArray<Partition>, tables: ReadonlyArray<PartitionedTable>): void => {
    for (const table of tables)
      known.set(
        table,
        found.filter((partition) => partition.table === table)
      )
  }
  const today = Effect.map(Clock.currentTimeMillis, (millis) => Math.floor(millis / 86_400_000))

  /** Hypertables make their chunks by themselves. Remembered until a row finds no place: tables can be moved back. */
  let layout: Layout | undefined
  const isOurs = Effect.gen(function* () {
    if (layout !== "hypertable") layout = yield* layoutOf(pool)
    return layout === "range"
  })

  const ensure: Partitions["ensure"] = Effect.fnUntraced(function* (table, days) {
    const cached = known.get(table) ?? []
    if (days.every((day) => find(cached, day) !== undefined) || !(yield* isOurs)) return
    const now = yield* today
    const round = Effect.fnUntraced(function* (connection: PgConnection) {
      const { existing, left, made } = yield* createMissing(
        connection,
        table,
        days,
        now,
        recentDays,
        PER_TRANSACTION
      )
      return { found: made === 0 ? existing : yield* list(connection, [table]), isDone: left === 0 }
    })
    for (let isDone = false; !isDone; ) {
      const made = yield* withLock(pool, "make partitions", round)
      remember(made.found, [table])
      isDone = made.isDone
    }
  })

  return {
    ensure,
    ensureAhead: Effect.fnUntraced(function* (days = 2) {
      const now = yield* today
      const wanted = Array.from({ length: days + 1 }, (_, i) => now + i)
      for (const table of partitionedTables) yield* ensure(table, wanted)
    }),
    forget: Effect.sync(() => {
      known.clear()
      layout = undefined
    }),
    fold: Effect.gen(function* () {
      if (!(yield* isOurs)) return { folded: [] }
      const recentFrom = (yield* today) - recentDays
      const folded: Array<string> = []
      for (const table of ["trade", "quote", "book"] as const) {
        const existing = yield* pool.withConnection("list partitions", (connection) =>
          list(connection, [table])
        )
        for (const month of foldableMonths(existing, recentFrom)) {
          yield* withLock(pool, "fold partitions", (connection) => foldMonth(connection, table, month))
          folded.push(partitionName(table, month))
        }
      }
      known.clear()
      return { folded }
    })
  }
}

/** Months behind the window that are cut by day. */
const foldableMonths = (existing: ReadonlyArray<Partition>, recentFrom: number): ReadonlyArray<DayRange> => {
  const months = new Map<number, DayRange>()
  for (const partition of existing) {
    const month = unitRange("month", partition.from)
    if (partition.to - partition.from === 1 && month.to <= recentFrom) months.set(month.from, month)
  }
  return [...months.values()]
}

/** Moves the rows of a month's day partitions into one of the month. Readers wait for the swap alone, not for the copy. */
const foldMonth = Effect.fnUntraced(function* (
  connection: PgConnection,
  table: PartitionedTable,
  month: DayRange
) {
  const days = (yield* list(connection, [table])).filter((p) => p.from >= month.from && p.to <= month.to)
  if (days.length === 0 || days.some((p) => p.to - p.from > 1)) return
  // Who waits for a lock makes everybody behind wait, too: rather fail, and try again with the next round.
  yield* connection.query("SET LOCAL lock_timeout = '10s'")
  const name = partitionName(table, month)
  yield* connection.query(`CREATE TABLE ${name} (LIKE ${table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`)
  // Writers of these days wait; readers go on until the swap.
  for (const day of days) yield* connection.query(`LOCK TABLE ${day.name} IN SHARE ROW EXCLUSIVE MODE`)
  for (const day of days) yield* connection.query(`INSERT INTO ${name} SELECT * FROM ${day.name}`)
  // The bounds as a constraint spare ATTACH its scan.
  yield* connection.query(
    `ALTER TABLE ${name} ADD CONSTRAINT ${name}_bounds
     CHECK (${timeColumn(table)} >= ${bound(month.from)} AND ${timeColumn(table)} < ${bound(month.to)})`
  )
  for (const day of days) yield* connection.query(`DROP TABLE ${day.name}`)
  yield* connection.query(
    `ALTER TABLE ${table} ATTACH PARTITION ${name} FOR VALUES FROM (${bound(month.from)}) TO (${bound(month.to)})`
  )
  yield* connection.query(`ALTER TABLE ${name} DROP CONSTRAINT ${name}_bounds`)
})

/** The UTC day of a time in nanoseconds, as days since 1970-01-01. */
export const dayOfTime = (time: bigint): number => Number(UnixNanos.startOfDay(time) / UnixNanos.PerDay)
