/**
 * The rows of a batch of trades as the columnstore wants them: by instrument, and within it by (microsecond, key). History
 * usually comes like that, or nearly: only series that are out of order are sorted.
 */
import { UnixNanos } from "@data-manager/core"
import { type BatchScan, nanos } from "../BatchScan.ts"

/** Rows in their order, and whether a key occurs twice. */
export interface BulkOrder {
  readonly rows: Uint32Array
  readonly hasRepeats: boolean
}

/** Compares the times under which the server keeps two rows, whole microseconds, then the keys. */
const comparison = ({ batch, time }: BatchScan): ((a: number, b: number) => number) => {
  if (batch._tag !== "TradeBatch") throw new Error(`the bulk order of ${batch._tag}`)
  const { tradeKey } = batch.words
  const words = (column: Int32Array, a: number, b: number): number => {
    const high = column[2 * a + 1]! - column[2 * b + 1]!
    return high !== 0 ? high : (column[2 * a]! >>> 0) - (column[2 * b]! >>> 0)
  }
  /** Most pairs are told apart without asking: within equal high words by their distance. */
  const isSameMicro = (a: number, b: number): boolean => {
    const isNear = Math.abs((time[2 * a]! >>> 0) - (time[2 * b]! >>> 0)) < 1000
    if (!isNear && time[2 * a + 1] === time[2 * b + 1]) return false
    return UnixNanos.floorMicros(nanos(time, a)) === UnixNanos.floorMicros(nanos(time, b))
  }
  return (a, b) => {
    const byTime = words(time, a, b)
    if (byTime !== 0 && !isSameMicro(a, b)) return byTime
    return words(tradeKey, a, b)
  }
}

/** Row numbers by series, each series in the order of the batch, and where each begins. */
const bySeries = ({ length, series, seriesOf }: BatchScan) => {
  const starts = new Uint32Array(series.length + 1)
  for (let row = 0; row < length; row++) starts[seriesOf[row]! + 1]! += 1
  for (let i = 0; i < series.length; i++) starts[i + 1]! += starts[i]!
  const next = starts.slice()
  const rows = new Uint32Array(length)
  for (let row = 0; row < length; row++) {
    const at = next[seriesOf[row]!]!
    next[seriesOf[row]!] = at + 1
    rows[at] = row
  }
  return { rows, starts }
}

/** The order of a batch of trades. */
export const orderOf = (scan: BatchScan): BulkOrder => {
  const compare = comparison(scan)
  const { rows, starts } = bySeries(scan)
  let hasRepeats = false
  for (let series = 0; series < scan.series.length; series++) {
    const own = rows.subarray(starts[series]!, starts[series + 1]!)
    if (!isSorted(own, compare)) own.sort(compare)
    for (let i = 1; i < own.length && !hasRepeats; i++) hasRepeats = compare(own[i - 1]!, own[i]!) === 0
  }
  return { rows, hasRepeats }
}

const isSorted = (rows: Uint32Array, compare: (a: number, b: number) => number): boolean => {
  for (let i = 1; i < rows.length; i++) if (compare(rows[i - 1]!, rows[i]!) > 0) return false
  return true
}
