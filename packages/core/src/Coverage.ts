/**
 * What is held is data, too: sets of half-open time ranges and the algebra on them, and the states that a time can be
 * in for one instrument and schema. A range set is sorted, its ranges do not touch and are not empty.
 */
import type { InstrumentId } from "./Instrument.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import * as TimeRange from "./TimeRange.ts"

/** Sorted, disjoint, non-touching, non-empty ranges. Make one with `ranges`. */
export type RangeSet = ReadonlyArray<TimeRange.TimeRange>

/** No time at all. */
export const empty: RangeSet = []

/** The range set of any ranges: sorted, merged where they overlap or touch, empty ones left out. */
export const ranges = (input: Iterable<TimeRange.TimeRange>): RangeSet => {
  const sorted = [...input]
    .filter((range) => !TimeRange.isEmpty(range))
    .sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
  const out: Array<TimeRange.TimeRange> = []
  for (const range of sorted) {
    const last = out[out.length - 1]
    if (last !== undefined && range.start <= last.end) {
      if (range.end > last.end) out[out.length - 1] = { start: last.start, end: range.end }
    } else out.push(range)
  }
  return out
}

/** Times in either. */
export const union = (a: RangeSet, b: RangeSet): RangeSet => ranges([...a, ...b])

/** Times in both. */
export const intersect = (a: RangeSet, b: RangeSet): RangeSet => {
  const out: Array<TimeRange.TimeRange> = []
  let i = 0
  let j = 0
  while (i < a.length && j < b.length) {
    const shared = TimeRange.intersect(a[i]!, b[j]!)
    if (shared !== undefined) out.push(shared)
    if (a[i]!.end < b[j]!.end) i += 1
    else j += 1
  }
  return out
}

/** Times of `a` that are not in `b`. */
export const subtract = (a: RangeSet, b: RangeSet): RangeSet => {
  const out: Array<TimeRange.TimeRange> = []
  let j = 0
  for (const range of a) {
    let start = range.start
    while (j < b.length && b[j]!.end <= start) j += 1
    for (let k = j; k < b.length && b[k]!.start < range.end; k++) {
      if (b[k]!.start > start) out.push({ start, end: b[k]!.start })
      if (b[k]!.end > start) start = b[k]!.end
    }
    if (start < range.end) out.push({ start, end: range.end })
  }
  return out
}

/** Whether every moment of `range` is in the set. */
export const covers = (set: RangeSet, range: TimeRange.TimeRange): boolean =>
  TimeRange.isEmpty(range) || subtract([range], set).length === 0

/** Nanoseconds in the set. */
export const duration = (set: RangeSet): bigint =>
  set.reduce((sum, range) => sum + (range.end - range.start), 0n)

/**
 * - `held`: every row that the source has for this time is stored.
 * - `missing`: known to be lacking, with a cause (disconnect, drop, failed chunk).
 * - `none`: the source said it has nothing here; from `expiresAt` on that is `missing`, to be asked again.
 * - `expired`: was held, removed by retention; not fetched again unless asked.
 */
export type CoverageState = "held" | "missing" | "none" | "expired"

/** Precedence where states overlap, strongest first. */
export const states: ReadonlyArray<CoverageState> = ["held", "expired", "none", "missing"]

/** Cause of time that is missing because the provider has revised its data since it was fetched. */
export const Revised = "revised"

/** One range in one state. Times are on the index clock of the dataset and schema, whole microseconds. */
export interface CoverageSpan {
  readonly instrument: InstrumentId
  readonly schema: MarketSchema
  readonly state: CoverageState
  readonly range: TimeRange.TimeRange
  readonly cause?: string | undefined
  readonly checkedAt?: bigint | undefined
  readonly expiresAt?: bigint | undefined
}

/** One claim to be recorded with the rows it speaks for. */
export interface CoverageClaim {
  readonly instrument: InstrumentId
  readonly schema: MarketSchema
  readonly range: TimeRange.TimeRange
}

/** What a span says at the time `now` (ns): a `none` whose check has expired says no more than that rows are missing. */
export const stateAt = (
  { state, expiresAt }: Pick<CoverageSpan, "state" | "expiresAt">,
  now: bigint
): CoverageState => (state === "none" && expiresAt !== undefined && expiresAt <= now ? "missing" : state)

/**
 * The ranges of each state within `within` at the time `now` (ns, from Effect's `Clock`), without overlap: a stronger state
 * hides a weaker one; the rest is unknown.
 */
export const resolve = (
  spans: Iterable<CoverageSpan>,
  within: TimeRange.TimeRange,
  now: bigint
): { readonly [S in CoverageState | "unknown"]: RangeSet } => {
  const byState: Record<CoverageState, Array<TimeRange.TimeRange>> = {
    held: [],
    expired: [],
    none: [],
    missing: []
  }
  for (const span of spans) byState[stateAt(span, now)].push(span.range)
  const out = { held: empty, expired: empty, none: empty, missing: empty, unknown: empty }
  let rest = ranges([within])
  for (const state of states) {
    const set = ranges(byState[state])
    out[state] = intersect(rest, set)
    rest = subtract(rest, set)
  }
  out.unknown = rest
  return out
}
