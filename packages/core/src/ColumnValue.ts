/** Values of batch columns as single values: absent ones become undefined, NaN or empty text. */
import { ABSENT_I32, ABSENT_I64, ABSENT_I64_HIGH, ABSENT_I64_LOW, ABSENT_U16, ABSENT_U32 } from "./Absent.ts"
import * as Decimal from "./Decimal.ts"

// 10^0 .. 10^22: the powers of ten that a double holds exactly.
const exactPowers = Float64Array.from({ length: 23 }, (_, n) => Number(`1e${n}`))

/**
 * Row `i` of a 64-bit column, given by its 32-bit words, as the nearest double of mantissa x 10^exponent; NaN where
 * absent. Without a BigInt while the mantissa is below 2^53, which all but the finest prices are.
 */
export const numberAt = (words: Int32Array, i: number, exponent: number): number => {
  const low = words[2 * i]!
  const high = words[2 * i + 1]!
  if (high >= -0x200000 && high < 0x200000 && exponent <= 0 && exponent >= -22)
    return (high * 4294967296 + (low >>> 0)) / exactPowers[-exponent]!
  if (high === ABSENT_I64_HIGH && low === ABSENT_I64_LOW) return Number.NaN
  return toNumber((BigInt(high) << 32n) | BigInt(low >>> 0), exponent)
}

/** mantissa x 10^exponent as the nearest double. */
export const toNumber = (mantissa: bigint, exponent: number): number => {
  // Dividing by an exact power of ten keeps the result correctly rounded while the mantissa is below 2^53.
  if (exponent < 0 && exponent >= -22 && mantissa <= 9007199254740992n && mantissa >= -9007199254740992n)
    return Number(mantissa) / exactPowers[-exponent]!
  return Number(Decimal.text(mantissa, exponent))
}

/** A decimal, or undefined for the absent mantissa. */
export const decimalOf = (mantissa: bigint, exponent: number): Decimal.Decimal | undefined =>
  mantissa === ABSENT_I64 ? undefined : { mantissa, exponent }

/** Short exact text, or "" for the absent mantissa. */
export const textOf = (mantissa: bigint, exponent: number): string =>
  mantissa === ABSENT_I64 ? "" : Decimal.shortText(mantissa, exponent)

/** The value, or undefined where it is the absent one. */
export const presentI64 = (value: bigint): bigint | undefined => (value === ABSENT_I64 ? undefined : value)
/** The value, or undefined where it is the absent one. */
export const presentI32 = (value: number): number | undefined => (value === ABSENT_I32 ? undefined : value)
/** The value, or undefined where it is the absent one. */
export const presentU32 = (value: number): number | undefined => (value === ABSENT_U32 ? undefined : value)
/** The value, or undefined where it is the absent one. */
export const presentU16 = (value: number): number | undefined => (value === ABSENT_U16 ? undefined : value)
