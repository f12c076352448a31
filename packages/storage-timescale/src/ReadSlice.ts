/**
 * A read cut along time into slices of a few hundred thousand rows each. A slice is read in one go and sorted in memory,
 * so neither side ever sorts more than a slice, a slow consumer holds no connection, and several slices can be read at
 * once. Slices always cover the whole range between them; what is known about the density of rows decides only where
 * the cuts are.
 */
import { type StoreError, TimeRange, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { microsOf, type PgPool, timestampLiteral, timestampParameter } from "./PgPool.ts"
import * as Chunks from "./timescale/Chunks.ts"

/** Part of a read. */
export interface ReadSlice extends TimeRange.TimeRange {
  /** How many rows it is expected to have. */
  readonly rows: number
}

/** Rows expected between `at` and `at + length`. */
interface Density {
  readonly at: bigint
  readonly length: bigint
  readonly rows: number
}

/** Where the number of rows per stretch of time is known from. */
export type DensitySource =
  /** Trades per hour. */
  | { readonly _tag: "Hours" }
  /** Rows of a schema per day, each instrument's counted up to `most`. */
  | { readonly _tag: "Days"; readonly schema: number; readonly most?: number | undefined }

/** Partitions that one window spans at most: planning grows with their number, and so do the locks. */
const WindowPartitions = 16

/** A stretch of time whose slices are worked out together. */
export type ReadWindow = TimeRange.TimeRange

/**
 * The windows of a read, in order: the partitions of its tables that touch the range, some of them together. Where there
 * is no partition there are no rows. An unpartitioned table is one window.
 */
export const windows = (
  pool: PgPool,
  tables: ReadonlyArray<string>,
  range: TimeRange.TimeRange,
  instruments: number
): Effect.Effect<ReadonlyArray<ReadWindow>, StoreError> =>
  Effect.map(partitions(pool, tables, range), (all) => {
    if (all === undefined) return TimeRange.isEmpty(range) ? [] : [range]
    const within = all.flatMap((partition) => TimeRange.intersect(partition, range) ?? [])
    // The counts of many instruments are a large answer: less time in one question.
    const together = instruments > 500 ? 1 : WindowPartitions
    const out: Array<ReadWindow> = []
    for (let i = 0; i < within.length; i += together) {
      const last = within[Math.min(i + together, within.length) - 1]!
      out.push({ start: within[i]!.start, end: last.end })
    }
    return out
  })

/** Ranges of the tables' partitions or chunks, in order; undefined where there are none or one of them takes any time. */
const partitions = Effect.fnUntraced(function* (
  pool: PgPool,
  tables: ReadonlyArray<string>,
  range: TimeRange.TimeRange
) {
  const found = yield* pool.query<{
    readonly table: string
    readonly partitioned: boolean
    readonly bounds: ReadonlyArray<string>
  }>(
    `SELECT t.relname AS table, t.relkind = 'p' AS partitioned,
       ARRAY(SELECT pg_get_expr(p.relpartbound, p.oid) FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhrelid
             WHERE h.inhparent = t.oid AND p.relispartition) AS bounds
     FROM pg_class t
     WHERE t.relnamespace = current_schema()::regnamespace AND t.relname = ANY ($1) AND t.relhassubclass`,
    [tables]
  )
  const bounds = found.flatMap((table) => table.bounds)
  if (found.length === 0 || bounds.includes("DEFAULT")) return undefined
  const chunked = found.flatMap(({ partitioned, table }) => (partitioned ? [] : [table]))
  return distinct([
    ...bounds.map(parseBound),
    ...(chunked.length > 0 ? yield* Chunks.list(pool, chunked, range) : [])
  ])
})

/** The same times in order, each once: chunks of two tables lie beside each other. */
const distinct = (ranges: ReadonlyArray<TimeRange.TimeRange>): ReadonlyArray<TimeRange.TimeRange> => {
  const out: Array<TimeRange.TimeRange> = []
  for (const { start, end } of [...ranges].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    const before = out[out.length - 1]
    if (before === undefined || start >= before.end) out.push({ start, end })
    else if (end > before.end) out[out.length - 1] = { start: before.start, end }
  }
  return out
}

/** `FOR VALUES FROM ('2026-01-05 00:00:00+00') TO ('2026-01-06 00:00:00+00')`; other ends are taken as open. */
const parseBound = (text: string): TimeRange.TimeRange => {
  const [, from = "", to = ""] = /^FOR VALUES FROM \('?([^')]*)'?\) TO \('?([^')]*)'?\)$/.exec(text) ?? []
  const time = (bound: string): bigint | undefined => UnixNanos.parse(bound.replace(/\+00$/, "Z"))
  return { start: time(from) ?? UnixNanos.Min, end: time(to) ?? UnixNanos.Max }
}

/** Slices of a window of at most about `target` rows; the first of a read is shorter, so that rows come soon. */
export const slices = (
  pool: PgPool,
  window: ReadWindow,
  instruments: ReadonlyArray<number>,
  source: DensitySource,
  target: number,
  isFirst: boolean
): Effect.Effect<ReadonlyArray<ReadSlice>, StoreError> =>
  Effect.map(
    source._tag === "Hours"
      ? rowsPerHour(pool, window, instruments)
      : rowsPerDay(pool, window, instruments, source),
    (density) => cut(window, density, target, isFirst ? Math.ceil(target / 8) : target)
  )

const Hour = 3600n * UnixNanos.PerSecond

const rowsPerHour = (pool: PgPool, window: ReadWindow, instruments: ReadonlyArray<number>) =>
  Effect.map(
    pool.query<{ readonly at: bigint; readonly rows: number }>(
      `SELECT ${microsOf("bucket")} AS at, sum(trade_count)::float8 AS rows FROM bars_1h
       WHERE instrument_id = ANY($1::int4[]) AND bucket >= $2 AND bucket < $3 GROUP BY bucket ORDER BY bucket`,
      [instruments, timestampParameter(window.start - Hour), timestampParameter(window.end)]
    ),
    (rows) => rows.map((row): Density => ({ at: row.at * UnixNanos.PerMicro, length: Hour, rows: row.rows }))
  )

const rowsPerDay = (
  pool: PgPool,
  window: ReadWindow,
  instruments: ReadonlyArray<number>,
  source: { readonly schema: number; readonly most?: number | undefined }
) =>
  Effect.map(
    pool.query<{ readonly day: number; readonly rows: number }>(
      `SELECT day - date '1970-01-01' AS day, sum(least(rows, $5::int8))::float8 AS rows FROM row_days
       WHERE instrument_id = ANY($1::int4[]) AND schema = $2 AND day >= $3::date AND day <= $4::date
       GROUP BY day ORDER BY day`,
      [
        instruments,
        source.schema,
        UnixNanos.toDate(window.start),
        UnixNanos.toDate(window.end),
        source.most ?? UnixNanos.Max
      ]
    ),
    (rows) =>
      rows.map((row): Density => {
        return { at: BigInt(row.day) * UnixNanos.PerDay, length: UnixNanos.PerDay, rows: row.rows }
      })
  )

/** Cuts a window so that each part has about `target` rows, the first one about `first`. */
const cut = (
  window: ReadWindow,
  density: ReadonlyArray<Density>,
  target: number,
  first: number
): ReadonlyArray<ReadSlice> => {
  const out: Array<ReadSlice> = []
  let start = window.start
  let rows = 0
  let limit = first
  const closeAt = (time: bigint): void => {
    const at = UnixNanos.floorMicros(time) * UnixNanos.PerMicro
    if (at > start && at < window.end) {
      out.push({ start, end: at, rows })
      start = at
      limit = target
    }
    rows = 0
  }
  for (const part of density) {
    if (rows > 0 && rows + part.rows > limit) closeAt(part.at)
    const pieces = Math.ceil(part.rows / limit)
    for (let piece = 1; piece < pieces; piece++) {
      rows += part.rows / pieces
      closeAt(part.at + (part.length * BigInt(piece)) / BigInt(pieces))
    }
    rows += part.rows / Math.max(1, pieces)
  }
  if (start < window.end) out.push({ start, end: window.end, rows })
  return out
}

/** The same time in `parts` slices; one where it is no longer than a microsecond. */
export const subdivide = (slice: ReadSlice, parts: number): ReadonlyArray<ReadSlice> => {
  const from = UnixNanos.floorMicros(slice.start)
  const width = UnixNanos.ceilMicros(slice.end) - from
  const pieces = width < BigInt(parts) ? width : BigInt(parts)
  const out: Array<ReadSlice> = []
  let { start } = slice
  for (let piece = 1n; piece <= pieces; piece++) {
    const end = piece === pieces ? slice.end : (from + (width * piece) / pieces) * UnixNanos.PerMicro
    out.push({ start, end, rows: slice.rows / Number(pieces) })
    start = end
  }
  return out
}

/** Row time within the range, exact to the nanosecond where `t.ts_ns` has the rest. Constants alone bound the column. */
export const timeCondition = (
  range: TimeRange.TimeRange,
  column: "ts" | "bucket",
  hasRest: boolean
): string => {
  const time = `t.${column}`
  // Without a rest a time is whole microseconds: those not before the start, and before the end.
  const start = hasRest ? UnixNanos.floorMicros(range.start) : UnixNanos.ceilMicros(range.start)
  const end = hasRest ? UnixNanos.floorMicros(range.end) : UnixNanos.ceilMicros(range.end)
  const [from, to] = [start, end].map((micros) => timestampLiteral(micros * UnixNanos.PerMicro))
  const startRest = hasRest ? UnixNanos.nanosOfMicro(range.start) : 0
  const endRest = hasRest ? UnixNanos.nanosOfMicro(range.end) : 0
  const conditions = [`${time} >= ${from}`]
  if (startRest > 0) conditions.push(`(${time} > ${from} OR t.ts_ns >= ${startRest})`)
  if (endRest === 0) conditions.push(`${time} < ${to}`)
  else conditions.push(`${time} <= ${to}`, `(${time} < ${to} OR t.ts_ns < ${endRest})`)
  return conditions.join(" AND ")
}

/** The range within what an i64 of nanoseconds holds. */
export const clampRange = (range: TimeRange.TimeRange): TimeRange.TimeRange => ({
  start: range.start < UnixNanos.Min ? UnixNanos.Min : range.start,
  end: range.end > UnixNanos.Max ? UnixNanos.Max : range.end
})
