/** Half-open ranges of time `[start, end)` in nanoseconds: the one shape in which a period is asked for or held. */
import * as UnixNanos from "./UnixNanos.ts"

/** From `start` (inclusive) to `end` (exclusive), nanoseconds since the epoch. */
export interface TimeRange {
  readonly start: UnixNanos.UnixNanos
  readonly end: UnixNanos.UnixNanos
}

/** A range; `undefined` where `end` is not after `start`. */
export const make = (start: bigint, end: bigint): TimeRange | undefined =>
  start < end ? { start, end } : undefined

/** Whether the range holds no time at all. */
export const isEmpty = (range: TimeRange): boolean => range.start >= range.end

/** Whether `t` lies inside. */
export const contains = (range: TimeRange, t: bigint): boolean => range.start <= t && t < range.end

/** Whether the two share any time; an empty range shares none. */
export const overlaps = (a: TimeRange, b: TimeRange): boolean =>
  (a.start > b.start ? a.start : b.start) < (a.end < b.end ? a.end : b.end)

/** The shared part, if any. */
export const intersect = (a: TimeRange, b: TimeRange): TimeRange | undefined =>
  make(a.start > b.start ? a.start : b.start, a.end < b.end ? a.end : b.end)

/** The largest range of whole microseconds inside: start rounded up, end rounded down; `undefined` when none is left. */
export const inwardMicros = (range: TimeRange): TimeRange | undefined =>
  make(
    UnixNanos.ceilMicros(range.start) * UnixNanos.PerMicro,
    UnixNanos.floorMicros(range.end) * UnixNanos.PerMicro
  )

/** `2026-01-05T00:00:00.000000000Z .. 2026-01-06T00:00:00.000000000Z` */
export const format = (range: TimeRange): string =>
  `${UnixNanos.toIso(range.start)} .. ${UnixNanos.toIso(range.end)}`
