/**
 * Nanoseconds since 1970-01-01T00:00:00Z as a bigint in i64 range: the clock value of every row.
 * `Date` and `DateTime` hold milliseconds only; they never carry an event time.
 */

/** Nanoseconds since the epoch. */
export type UnixNanos = bigint

/** Nanoseconds in a microsecond, millisecond, second and day. */
export const PerMicro = 1_000n
export const PerMilli = 1_000_000n
export const PerSecond = 1_000_000_000n
export const PerDay = 86_400_000_000_000n

/** Smallest and largest time an i64 holds, without the absent value 2^63-1. */
export const Min = -9223372036854775808n
export const Max = 9223372036854775806n

const floorDiv = (a: bigint, b: bigint): bigint => {
  const q = a / b
  return a % b < 0n ? q - 1n : q
}

/** Whole microseconds, rounded down (also before 1970). */
export const floorMicros = (t: UnixNanos): bigint => floorDiv(t, PerMicro)

/** Whole microseconds, rounded up. */
export const ceilMicros = (t: UnixNanos): bigint => -floorDiv(-t, PerMicro)

/** The 0..999 nanoseconds beyond the whole microsecond. */
export const nanosOfMicro = (t: UnixNanos): number => Number(t - floorMicros(t) * PerMicro)

/** Nanoseconds from whole microseconds and a 0..999 rest. */
export const fromMicros = (micros: bigint, rest = 0): UnixNanos => micros * PerMicro + BigInt(rest)

/** Start of the UTC day that contains `t`. */
export const startOfDay = (t: UnixNanos): UnixNanos => floorDiv(t, PerDay) * PerDay

const pad = (value: number | bigint, width: number): string => String(value).padStart(width, "0")

/** ISO 8601 in UTC with exactly nine fraction digits: `2020-12-28T13:00:00.006001487Z`. */
export const toIso = (t: UnixNanos): string => {
  const seconds = floorDiv(t, PerSecond)
  const date = new Date(Number(seconds) * 1000)
  const year = date.getUTCFullYear()
  const yearText =
    year >= 0 && year <= 9999 ? pad(year, 4) : `${year < 0 ? "-" : "+"}${pad(Math.abs(year), 6)}`
  return (
    `${yearText}-${pad(date.getUTCMonth() + 1, 2)}-${pad(date.getUTCDate(), 2)}` +
    `T${pad(date.getUTCHours(), 2)}:${pad(date.getUTCMinutes(), 2)}:${pad(date.getUTCSeconds(), 2)}` +
    `.${pad(t - seconds * PerSecond, 9)}Z`
  )
}

/** UTC calendar date, `2020-12-28`. */
export const toDate = (t: UnixNanos): string => toIso(t).replace(/T.*$/, "")

const isoPattern =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(Z|[+-]\d{2}:?\d{2})?)?$/

/**
 * Reads an ISO 8601 date or date-time with up to nine fraction digits (UTC where no zone is given), or a plain integer
 * of nanoseconds since the epoch. Undefined where the text is neither, names no calendar date or lies outside i64, and
 * for integers of fewer than 16 digits: those are seconds, milliseconds or a compact date, not nanoseconds of any market.
 */
export const parse = (text: string): UnixNanos | undefined => {
  const trimmed = text.trim()
  if (/^-?\d{16,19}$/.test(trimmed)) return within(BigInt(trimmed))
  const match = isoPattern.exec(trimmed)
  if (match === null) return undefined
  const [, y, mo, d, h = "00", mi = "00", s = "00", fraction = "", zone = "Z"] = match
  const [year, month, day, hour, minute, second] = [y, mo, d, h, mi, s].map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number
  ]
  // Date.UTC reads the years 0..99 as 1900..1999; an i64 of nanoseconds reaches back to 1677 only.
  if (year < 100) return undefined
  const millis = Date.UTC(year, month - 1, day, hour, minute, second)
  const check = new Date(Date.UTC(year, month - 1, day))
  if (check.getUTCMonth() !== month - 1 || check.getUTCDate() !== day) return undefined
  if (hour > 23 || minute > 59 || second > 59) return undefined
  const offset = zone === "Z" ? 0 : offsetMinutes(zone)
  if (offset === undefined) return undefined
  const nanos = BigInt(fraction.padEnd(9, "0"))
  return within(BigInt(millis - offset * 60_000) * PerMilli + nanos)
}

const offsetMinutes = (zone: string): number | undefined => {
  const digits = zone.replace(/[^\d]/g, "")
  const hours = Number(digits.slice(0, 2))
  const minutes = Number(digits.slice(2))
  if (hours > 14 || minutes > 59) return undefined
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes)
}

const within = (t: bigint): UnixNanos | undefined => (t < Min || t > Max ? undefined : t)
