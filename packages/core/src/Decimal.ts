/**
 * Exact decimals: `mantissa x 10^exponent`, read and written as text without a float in between.
 * Equality is numeric (2.50 equals 2.5); nothing here ever rounds silently.
 */
import { BigDecimal } from "effect"

/** value = mantissa x 10^exponent. In batches the mantissa is an i64 and the exponent an i8. */
export interface Decimal {
  readonly mantissa: bigint
  readonly exponent: number
}

/** A decimal from its parts. */
export const make = (mantissa: bigint, exponent: number): Decimal => ({ mantissa, exponent })

/** Longest text that is read as a number: reading digits takes more than linear time, and no price has this many. */
export const MaxTextLength = 1_000

const pattern = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/

/**
 * Reads `12`, `-0.5`, `.5`, `1.`, `1e-8`; keeps the written precision (`1.50` is 150 x 10^-2).
 * Undefined where the text is not a decimal number or longer than `MaxTextLength`.
 */
export const parse = (text: string): Decimal | undefined => {
  if (text.length > MaxTextLength) return undefined
  const match = pattern.exec(text.trim())
  if (match === null) return undefined
  const [, sign, whole = "", fraction = "", power] = match
  if (whole === "" && fraction === "") return undefined
  const mantissa = BigInt(whole + fraction)
  return {
    mantissa: sign === "-" ? -mantissa : mantissa,
    exponent: (power === undefined ? 0 : Number(power)) - fraction.length
  }
}

const powers: Array<bigint> = Array.from({ length: 40 }, (_, n) => 10n ** BigInt(n))

/** 10^n for n >= 0. */
export const pow10 = (n: number): bigint => powers[n] ?? 10n ** BigInt(n)

/**
 * Plain decimal text with as many fraction digits as the exponent says: `(372025, -2)` is `3720.25`, `(5, 3)` is `5000`.
 * Never in scientific notation.
 */
export const text = (mantissa: bigint, exponent: number): string => {
  if (exponent >= 0) return (mantissa * pow10(exponent)).toString()
  const negative = mantissa < 0n
  const digits = (negative ? -mantissa : mantissa).toString().padStart(1 - exponent, "0")
  const split = digits.length + exponent
  return `${negative ? "-" : ""}${digits.slice(0, split)}.${digits.slice(split)}`
}

/** Like `text` without trailing zeros of the fraction: `3720.250000000` becomes `3720.25`, `5.000` becomes `5`. */
export const shortText = (mantissa: bigint, exponent: number): string => {
  const full = text(mantissa, exponent)
  return full.includes(".") ? full.replace(/\.?0+$/, "") : full
}

/** `text` of a decimal. */
export const format = (value: Decimal): string => text(value.mantissa, value.exponent)

/** -1, 0 or 1 by numeric value. */
export const compare = (a: Decimal, b: Decimal): -1 | 0 | 1 => {
  const exponent = Math.min(a.exponent, b.exponent)
  const x = a.mantissa * pow10(a.exponent - exponent)
  const y = b.mantissa * pow10(b.exponent - exponent)
  return x < y ? -1 : x > y ? 1 : 0
}

/** The exact sum, at the finer of both precisions. */
export const add = (a: Decimal, b: Decimal): Decimal => {
  const exponent = Math.min(a.exponent, b.exponent)
  const aligned = (value: Decimal): bigint => value.mantissa * pow10(value.exponent - exponent)
  return { mantissa: aligned(a) + aligned(b), exponent }
}

/** Numeric equality: 2.50 equals 2.5. */
export const equals = (a: Decimal, b: Decimal): boolean => compare(a, b) === 0

/** The mantissa at another exponent, or undefined where that would lose digits. */
export const rescale = (mantissa: bigint, exponent: number, target: number): bigint | undefined => {
  if (exponent >= target) return mantissa * pow10(exponent - target)
  const divisor = pow10(target - exponent)
  return mantissa % divisor === 0n ? mantissa / divisor : undefined
}

/** The same value with the shortest mantissa: 1500 x 10^-2 becomes 15 x 10^0. Zero is 0 x 10^0. */
export const normalize = (value: Decimal): Decimal => {
  if (value.mantissa === 0n) return { mantissa: 0n, exponent: 0 }
  let { mantissa, exponent } = value
  while (mantissa % 10n === 0n) {
    mantissa /= 10n
    exponent += 1
  }
  return { mantissa, exponent }
}

/** Nearest double; for charts and strategies, never for storage. */
export const toNumber = (value: Decimal): number => Number(format(value))

/** The same value as effect's BigDecimal. */
export const toBigDecimal = (value: Decimal): BigDecimal.BigDecimal =>
  BigDecimal.make(value.mantissa, -value.exponent)

/** From effect's BigDecimal, exactly. */
export const fromBigDecimal = (value: BigDecimal.BigDecimal): Decimal => ({
  mantissa: value.value,
  exponent: -value.scale
})

/** Number of fraction digits a value needs: 0.25 needs 2, 5000 needs 0. */
export const scaleOf = (value: Decimal): number => Math.max(0, -normalize(value).exponent)
