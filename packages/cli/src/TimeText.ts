/** Times as text, exact to the nanosecond, and fast enough for every row of an export. */
import { UnixNanos } from "@data-manager/core"

const secondsOf = (t: bigint): bigint => {
  const q = t / UnixNanos.PerSecond
  return t % UnixNanos.PerSecond < 0n ? q - 1n : q
}

/**
 * ISO 8601 with nine digits, as `UnixNanos.toIso`, remembering the date of the last second: neighbouring rows share it.
 */
export const isoFormatter = (): ((t: bigint) => string) => {
  let start = 1n
  let end = 0n
  let prefix = ""
  return (t) => {
    if (t < start || t >= end) {
      start = secondsOf(t) * UnixNanos.PerSecond
      end = start + UnixNanos.PerSecond
      prefix = UnixNanos.toIso(start).slice(0, -10)
    }
    return `${prefix}${Number(t - start)
      .toString()
      .padStart(9, "0")}Z`
  }
}

/** As short as the time allows, never rounded: `2026-01-05`, `2026-01-05 14:30`, `2026-01-05 14:30:00.006001487`. */
export const short = (t: bigint): string =>
  UnixNanos.toIso(t)
    .slice(0, -1)
    .replace("T", " ")
    .replace(/\.?0+$/, "")
    .replace(/ 00:00:00$/, "")
    .replace(/( \d\d:\d\d):00$/, "$1")
