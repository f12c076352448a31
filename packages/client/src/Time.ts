/** Times as callers have them, as nanoseconds since the epoch. */
import { type TimeRange, UnixNanos } from "@data-manager/core"

/** Nanoseconds since the epoch, a `Date`, or ISO 8601 text in UTC: `2026-01-05`, `2026-01-05T14:30:00.5Z`. */
export type Time = bigint | Date | string

/** A time in nanoseconds. Throws `RangeError` where it is none; `name` says whose it was. */
export const nanos = (name: string, time: Time): bigint => {
  if (typeof time === "bigint") return time
  if (typeof time === "string") {
    const parsed = UnixNanos.parse(time)
    if (parsed === undefined)
      throw new RangeError(`${name}: "${time}" is no time; write 2026-01-05 or 2026-01-05T14:30:00Z`)
    return parsed
  }
  const millis = time.getTime()
  if (Number.isNaN(millis)) throw new RangeError(`${name}: an invalid Date`)
  return BigInt(millis) * UnixNanos.PerMilli
}

/** `[start, end)`. Throws `RangeError` where that is no range. */
export const rangeOf = ({
  end,
  start
}: {
  readonly start: Time
  readonly end?: Time | undefined
}): TimeRange.TimeRange => {
  const range = {
    start: nanos("start", start),
    end: end === undefined ? UnixNanos.Max : nanos("end", end)
  }
  if (range.start >= range.end) throw new RangeError("start: it is not before the end")
  return range
}
