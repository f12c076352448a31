/** The time by which rows are asked for and mapped to symbols: `ts_recv` where the kind has it, else `ts_event`. */
import { ABSENT_I64, type MarketBatch } from "@data-manager/core"

/** Words of each row's index time. */
export const indexTimes = (batch: MarketBatch): Int32Array => {
  if (batch._tag === "BarBatch") return batch.words.tsEvent
  const { tsRecv, tsEvent } = batch.columns
  if (!hasAbsent(batch.words.tsRecv, batch.length)) return batch.words.tsRecv
  // Rare enough to pay a copy: rows without a receive time are dated by their event time.
  const times = BigInt64Array.from(tsRecv, (time, i) => (time === ABSENT_I64 ? tsEvent[i]! : time))
  return new Int32Array(times.buffer)
}

/** High word of the absent time; present ones end four seconds before it. */
const ABSENT_HIGH = 0x7fffffff

const hasAbsent = (words: Int32Array, length: number): boolean => {
  for (let at = 1; at < 2 * length; at += 2) if (words[at] === ABSENT_HIGH) return true
  return false
}

const indexTimeAt = (batch: MarketBatch, row: number): bigint => {
  const received = batch._tag === "BarBatch" ? ABSENT_I64 : batch.columns.tsRecv[row]!
  return received === ABSENT_I64 ? batch.columns.tsEvent[row]! : received
}

/** Index time of a batch's last row, nanoseconds; undefined in an empty batch. */
export const lastIndexTime = (batch: MarketBatch): bigint | undefined => {
  return batch.length === 0 ? undefined : indexTimeAt(batch, batch.length - 1)
}

/** The rows of a batch in index-time order that are not before `start`; shares the memory. */
export const rowsFrom = <B extends MarketBatch>(batch: B, start: bigint): B => {
  const isBefore = (row: number): boolean => indexTimeAt(batch, row) < start
  if (batch.length === 0 || !isBefore(0)) return batch
  let [low, high] = [0, batch.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBefore(middle)) low = middle + 1
    else high = middle
  }
  return batch.slice(low) as B
}
