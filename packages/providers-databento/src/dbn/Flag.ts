/** Bits of the `flags` field of market records. */

/** Last record of the venue event for this instrument: only then is a book consistent. */
export const LAST = 128
/** Top-of-book record, not an individual order. */
export const TOB = 64
/** From a replay or snapshot. */
export const SNAPSHOT = 32
/** Aggregated price level, not an individual order. */
export const MBP = 16
/** `ts_recv` is inaccurate. */
export const BAD_TS_RECV = 8
/** The channel had a gap that could not be repaired. */
export const MAYBE_BAD_BOOK = 4
/** Meaning depends on the publisher. */
export const PUBLISHER_SPECIFIC = 2

const names: ReadonlyArray<readonly [number, string]> = [
  [LAST, "LAST"],
  [TOB, "TOB"],
  [SNAPSHOT, "SNAPSHOT"],
  [MBP, "MBP"],
  [BAD_TS_RECV, "BAD_TS_RECV"],
  [MAYBE_BAD_BOOK, "MAYBE_BAD_BOOK"],
  [PUBLISHER_SPECIFIC, "PUBLISHER_SPECIFIC"]
]

/** Names of the bits that are set, highest first. */
export const describe = (flags: number): ReadonlyArray<string> =>
  names.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name)
