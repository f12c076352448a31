/** Calendar days in UTC: YYYYMMDD numbers as in DBN metadata, days since the epoch, and ISO text. */

/** Days since 1970-01-01 of a YYYYMMDD number; undefined where it is no calendar date. */
export const dayOfDate = (date: number): number | undefined => {
  const year = Math.floor(date / 10000)
  const month = Math.floor(date / 100) % 100
  const day = date % 100
  if (!Number.isInteger(date) || year < 1 || year > 9999 || month < 1 || month > 12 || day < 1)
    return undefined
  const days = daysFromCivil(year, month, day)
  return dateOfDay(days) === date ? days : undefined
}

/** Whether a number is a calendar date YYYYMMDD. */
export const isDate = (date: number): boolean => dayOfDate(date) !== undefined

/** The YYYYMMDD number of days since the epoch. */
export const dateOfDay = (day: number): number => {
  const [year, month, dayOfMonth] = civilFromDays(day)
  return year * 10000 + month * 100 + dayOfMonth
}

/** `2020-12-28` as a YYYYMMDD number; undefined where the text is no such date. */
export const dateFromIso = (text: string): number | undefined => {
  const match = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text)
  if (match === null) return undefined
  const date = Number(match[1]) * 10000 + Number(match[2]) * 100 + Number(match[3])
  return isDate(date) ? date : undefined
}

/** A YYYYMMDD number as `2020-12-28`. */
export const dateToIso = (date: number): string => {
  const text = String(date).padStart(8, "0")
  return `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`
}

/** Nanoseconds of a UTC day. */
export const NANOS_PER_DAY = 86_400_000_000_000n

/** Days since the epoch of a time in nanoseconds. */
export const dayOfNanos = (nanos: bigint): number => {
  const quotient = nanos / NANOS_PER_DAY
  return Number(nanos < 0n && quotient * NANOS_PER_DAY !== nanos ? quotient - 1n : quotient)
}

/**
 * Days since the epoch of a u64 of nanoseconds given as 32-bit words, exact up to its last nanosecond: a day is
 * 65,536 x 1,318,359,375 ns, so the low 16 bits cannot decide.
 */
export const dayOfWords = (low: number, high: number): number =>
  Math.floor(((high >>> 0) * 65536 + (low >>> 16)) / 1318359375)

// Gregorian calendar arithmetic over 400-year eras that begin on 1 March.
const daysFromCivil = (year: number, month: number, day: number): number => {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  return (
    era * 146097 +
    yearOfEra * 365 +
    Math.floor(yearOfEra / 4) -
    Math.floor(yearOfEra / 100) +
    dayOfYear -
    719468
  )
}

/** Year, month and day of days since the epoch. */
export const civilFromDays = (days: number): readonly [year: number, month: number, day: number] => {
  const z = days + 719468
  const era = Math.floor(z / 146097)
  const dayOfEra = z - era * 146097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) /
      365
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shifted = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1
  const month = shifted + (shifted < 10 ? 3 : -9)
  return [yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day]
}
