/**
 * The order of rows in a read: (time, tsRecv, key, instrument), where an absent tsRecv, 2^63-1, comes last by itself.
 *
 * Rows come from the server in index order or in none: sorting them here costs about 50 ns a row, in the server several
 * hundred, and it never spills. Times are sorted 16 bits at a time; rows of one nanosecond are compared.
 */
/** Rows that can be put in order. */
export interface OrderableRows {
  readonly length: number
  /** Their time as words, low word first. */
  readonly time: Int32Array
  /** Negative, zero or positive: the order of two rows of one time. */
  readonly ties: (a: number, b: number) => number
}

/** Row numbers in read order; undefined where the rows stand in it already. */
export const readOrder = (rows: OrderableRows): Uint32Array | undefined => {
  const { time, length } = rows
  const compare = (a: number, b: number): number => compareInt64(time, a, b) || rows.ties(a, b)
  let i = 1
  while (i < length && compare(i - 1, i) <= 0) i += 1
  if (i >= length) return undefined
  if (length < SmallSort) return Uint32Array.from({ length }, (_, row) => row).sort(compare)
  const order = byTime(time, length)
  sortTies(order, time, rows.ties)
  return order
}

/** Below this the radix sort's 65,536 buckets cost more than comparing. */
const SmallSort = 8192

/** Compares values `a` and `b` of a 64-bit column given as words. */
export const compareInt64 = (words: Int32Array, a: number, b: number): number => {
  const high = words[2 * a + 1]! - words[2 * b + 1]!
  return high !== 0 ? high : (words[2 * a]! >>> 0) - (words[2 * b]! >>> 0)
}

const Buckets = 65_536

/** Row numbers by time: a least-significant-digit radix sort, so rows of equal times keep their order. */
const byTime = (time: Int32Array, rows: number): Uint32Array => {
  let from = new Uint32Array(rows)
  let to = new Uint32Array(rows)
  for (let i = 0; i < rows; i++) from[i] = i
  const counts = new Uint32Array(Buckets)
  for (let digit = 0; digit < 4; digit++) {
    const word = digit >> 1
    const shift = (digit & 1) * 16
    // Flipping the sign bit of the highest digit puts times before 1970 first.
    const flip = digit === 3 ? 0x8000 : 0
    counts.fill(0)
    for (let i = 0; i < rows; i++) counts[((time[2 * i + word]! >>> shift) & 0xffff) ^ flip]! += 1
    if (counts[((time[word]! >>> shift) & 0xffff) ^ flip] === rows) continue
    let place = 0
    for (let b = 0; b < Buckets; b++) {
      const count = counts[b]!
      counts[b] = place
      place += count
    }
    for (let i = 0; i < rows; i++) {
      const row = from[i]!
      const bucket = ((time[2 * row + word]! >>> shift) & 0xffff) ^ flip
      to[counts[bucket]!++] = row
    }
    ;[from, to] = [to, from]
  }
  return from
}

const sortTies = (order: Uint32Array, time: Int32Array, ties: (a: number, b: number) => number): void => {
  let start = 0
  for (let i = 1; i <= order.length; i++) {
    if (i < order.length && compareInt64(time, order[i]!, order[start]!) === 0) continue
    if (i - start > 1) order.subarray(start, i).sort(ties)
    start = i
  }
}
