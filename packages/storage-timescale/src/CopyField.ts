/**
 * Fields of binary COPY rows, written into batch columns without a BigInt or object per value.
 *
 * Each function reads the field whose length stands at `at`, writes value `i` of a column and gives the place behind the
 * field. 64-bit columns are written as 32-bit words, low word first.
 */
import { ABSENT_I64_HIGH, ABSENT_I64_LOW, Decimal } from "@data-manager/core"
import { CopyFormatError } from "./CopyDecoder.ts"

/** 2^32. */
const Word = 4294967296

// PostgreSQL counts microseconds from 2000-01-01T00:00:00Z; the columns count nanoseconds from 1970.
const EpochNanos = 946684800n * 1_000_000_000n
const EpochLow = Number(EpochNanos & 0xffffffffn)
const EpochHigh = Number(EpochNanos >> 32n)

const expect = (bytes: DataView, at: number, length: number): void => {
  if (bytes.getInt32(at) !== length)
    throw new CopyFormatError(`a field is ${bytes.getInt32(at)} bytes long instead of ${length}`)
}

/** An int8. */
export const int64 = (bytes: DataView, at: number, words: Int32Array, i: number): number => {
  expect(bytes, at, 8)
  words[2 * i + 1] = bytes.getInt32(at + 4)
  words[2 * i] = bytes.getInt32(at + 8)
  return at + 12
}

/** An int8, absent where it is NULL. */
export const int64OrAbsent = (bytes: DataView, at: number, words: Int32Array, i: number): number => {
  if (bytes.getInt32(at) !== -1) return int64(bytes, at, words, i)
  words[2 * i] = ABSENT_I64_LOW
  words[2 * i + 1] = ABSENT_I64_HIGH
  return at + 4
}

/** A timestamptz (microseconds) and the 0..999 ns beyond it, as nanoseconds since 1970. */
export const time = (bytes: DataView, at: number, rest: number, words: Int32Array, i: number): number => {
  expect(bytes, at, 8)
  // Below 2^43, so exact as a double.
  const low = bytes.getUint32(at + 8) * 1000 + EpochLow + rest
  const high = bytes.getInt32(at + 4) * 1000 + EpochHigh + Math.floor(low / Word)
  if (high !== (high | 0)) throw new CopyFormatError("a time lies outside the years 1677 to 2262")
  words[2 * i] = low | 0
  words[2 * i + 1] = high
  return at + 12
}

/** A timestamptz, absent where it is NULL. */
export const timeOrAbsent = (
  bytes: DataView,
  at: number,
  rest: number,
  words: Int32Array,
  i: number
): number => {
  if (bytes.getInt32(at) !== -1) return time(bytes, at, rest, words, i)
  words[2 * i] = ABSENT_I64_LOW
  words[2 * i + 1] = ABSENT_I64_HIGH
  return at + 4
}

/** An int4 as it is. */
export const int32 = (bytes: DataView, at: number): number => {
  expect(bytes, at, 4)
  return bytes.getInt32(at + 4)
}

/** High and low word of an int8 field, both signed: several small values travel in one. */
export const highWord = (bytes: DataView, at: number): number => {
  expect(bytes, at, 8)
  return bytes.getInt32(at + 4)
}
export const lowWord = (bytes: DataView, at: number): number => bytes.getInt32(at + 8)

const decoder = new TextDecoder("utf-8", { fatal: true })

/** Whether a field is NULL. */
export const isNull = (bytes: DataView, at: number): boolean => bytes.getInt32(at) === -1

/** Place behind a field of any length. */
export const skip = (bytes: DataView, at: number): number => at + 4 + Math.max(0, bytes.getInt32(at))

/** A text; undefined where it is NULL. */
export const text = (bytes: DataView, at: number): string | undefined =>
  isNull(bytes, at)
    ? undefined
    : decoder.decode(new Uint8Array(bytes.buffer, bytes.byteOffset + at + 4, bytes.getInt32(at)))

const Int8Oid = 20
const NumericOid = 1700

/**
 * The elements of a one-dimensional array, at most `most` of them: calls `each` with the element's number and the place
 * of its length. Gives the number of elements.
 */
export const elements = (
  bytes: DataView,
  at: number,
  oid: typeof Int8Oid | typeof NumericOid,
  most: number,
  each: (lane: number, at: number) => void
): number => {
  const length = bytes.getInt32(at)
  const end = at + 4 + length
  if (length < 12) throw new CopyFormatError("an array is cut off")
  const dimensions = bytes.getInt32(at + 4)
  if (dimensions === 0) return 0
  if (dimensions !== 1 || bytes.getInt32(at + 12) !== oid || length < 20)
    throw new CopyFormatError("an array is not the plain list that was asked for")
  const count = bytes.getInt32(at + 16)
  if (count < 0 || count > most)
    throw new CopyFormatError(`an array has ${count} elements, more than ${most}`)
  let next = at + 24
  for (let lane = 0; lane < count; lane++) {
    if (end - next < 4) throw new CopyFormatError("an array is cut off")
    const width = bytes.getInt32(next)
    if (width < -1 || width > end - next - 4) throw new CopyFormatError("an element of an array is cut off")
    each(lane, next)
    next += 4 + Math.max(0, width)
  }
  return count
}

/** Ten (or however many) int8 lanes of row `i`; NULL elements and those beyond the array's end are absent. */
export const int64Lanes = (
  bytes: DataView,
  at: number,
  words: Int32Array,
  i: number,
  lanes: number
): number => {
  const first = i * lanes
  const count = elements(bytes, at, Int8Oid, lanes, (lane, place) => {
    int64OrAbsent(bytes, place, words, first + lane)
  })
  for (let lane = count; lane < lanes; lane++) {
    words[2 * (first + lane)] = ABSENT_I64_LOW
    words[2 * (first + lane) + 1] = ABSENT_I64_HIGH
  }
  return skip(bytes, at)
}

/** Lanes of counts: int8 elements that fit 32 bits; NULL elements and those beyond the end read as 2^32-1, absent. */
export const uint32Lanes = (
  bytes: DataView,
  at: number,
  values: Uint32Array,
  i: number,
  lanes: number
): number => {
  const first = i * lanes
  const count = elements(bytes, at, Int8Oid, lanes, (lane, place) => {
    if (isNull(bytes, place)) values[first + lane] = 0xffffffff
    else {
      if (highWord(bytes, place) !== 0) throw new CopyFormatError("a count does not fit 32 bits")
      values[first + lane] = lowWord(bytes, place)
    }
  })
  values.fill(0xffffffff, first + count, first + lanes)
  return skip(bytes, at)
}

/** Numeric elements of an array, undefined where NULL. */
export const decimalLanes = (
  bytes: DataView,
  at: number,
  lanes: number
): ReadonlyArray<Decimal.Decimal | undefined> | undefined => {
  if (isNull(bytes, at)) return undefined
  const out: Array<Decimal.Decimal | undefined> = []
  elements(bytes, at, NumericOid, lanes, (_, place) => {
    out.push(decimal(bytes, place))
  })
  return out
}

// A numeric on the wire: number of digits, weight of the first, sign, display scale (four i16), then base-10,000 digits.
const NumericHeader = 8
const Negative = 0x4000

const numericDigits = (bytes: DataView, at: number): number => {
  const length = bytes.getInt32(at)
  const digits = length < NumericHeader ? -1 : bytes.getInt16(at + 4)
  if (digits < 0 || length !== NumericHeader + 2 * digits) throw new CopyFormatError("a numeric is cut off")
  const sign = bytes.getUint16(at + 8)
  if (sign !== 0 && sign !== Negative) throw new CopyFormatError("a numeric is not a finite number")
  return digits
}

/** A numeric, exactly; undefined where it is NULL. */
export const decimal = (bytes: DataView, at: number): Decimal.Decimal | undefined => {
  if (isNull(bytes, at)) return undefined
  const digits = numericDigits(bytes, at)
  const weight = bytes.getInt16(at + 6)
  let mantissa = 0n
  for (let d = 0; d < digits; d++)
    mantissa = mantissa * 10000n + BigInt(bytes.getUint16(at + 4 + NumericHeader + 2 * d))
  return Decimal.normalize({
    mantissa: bytes.getUint16(at + 8) === Negative ? -mantissa : mantissa,
    exponent: 4 * (weight - digits + 1)
  })
}

const powers = Array.from({ length: 16 }, (_, n) => Number(`1e${n}`))

/**
 * A numeric times 10^scale as a double, where that is a whole number that a double holds exactly; NaN otherwise
 * (NULL included). Nearly every value of a bar takes this way; the rest goes through `decimal`.
 */
export const scaledNumeric = (bytes: DataView, at: number, scale: number): number => {
  if (isNull(bytes, at)) return Number.NaN
  const digits = numericDigits(bytes, at)
  if (digits === 0) return 0
  if (digits > 4) return Number.NaN
  let mantissa = 0
  for (let d = 0; d < digits; d++)
    mantissa = mantissa * 10000 + bytes.getUint16(at + 4 + NumericHeader + 2 * d)
  const exponent = 4 * (bytes.getInt16(at + 6) - digits + 1) + scale
  const power = powers[Math.abs(exponent)]
  if (power === undefined || mantissa > Number.MAX_SAFE_INTEGER) return Number.NaN
  if (exponent >= 0) mantissa *= power
  else {
    const divisor = power
    if (mantissa % divisor !== 0) return Number.NaN
    mantissa /= divisor
  }
  if (mantissa > Number.MAX_SAFE_INTEGER) return Number.NaN
  return bytes.getUint16(at + 8) === Negative ? -mantissa : mantissa
}

/** Writes a whole number that a double holds exactly as value `i` of a 64-bit column. */
export const storeDouble = (value: number, words: Int32Array, i: number): void => {
  words[2 * i] = value | 0
  words[2 * i + 1] = Math.floor(value / Word)
}
