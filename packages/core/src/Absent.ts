/**
 * Absent values in batches and rings. A column has no NULL, so one value of each width stands for "not there";
 * SQL turns it into NULL, JSON into null, and it never enters an aggregate.
 *
 * Databento's undefined price (2^63-1) and undefined quantity map to `ABSENT_I64` as they are; its undefined
 * timestamp (2^64-1) is translated by the decoder, because as an i64 it would be -1, a valid time.
 */

/** "Not there" in every i64 column: 2^63 - 1. */
export const ABSENT_I64 = 9223372036854775807n
/** Low 32-bit word of `ABSENT_I64`, as a signed integer. */
export const ABSENT_I64_LOW = -1
/** High 32-bit word of `ABSENT_I64`, as a signed integer. */
export const ABSENT_I64_HIGH = 0x7fffffff
/** "Not there" in every i32 column: -2^31. */
export const ABSENT_I32 = -2147483648
/** "Not there" in every u32 column: 2^32 - 1. */
export const ABSENT_U32 = 4294967295
/** "Not there" in every u16 column: 2^16 - 1. */
export const ABSENT_U16 = 65535
