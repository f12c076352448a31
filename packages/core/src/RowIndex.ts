/**
 * Finds rows by their identity: instrument, time in whole microseconds, key. Open addressing over typed arrays, no object per
 * row: a million rows take about 40 MB. For trades and quotes of one schema, with one numbering of instruments.
 */
import type * as MarketSchema from "./MarketSchema.ts"
import type { QuoteBatch } from "./QuoteBatch.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** Batches that have rows with an identity. */
export type KeyedBatch = TradeBatch | QuoteBatch

/** The column of the time under which the store keeps rows, ns. */
export const timesOf = (batch: KeyedBatch, clock: MarketSchema.RowClock): BigInt64Array =>
  clock === "ts_recv" ? batch.columns.tsRecv : batch.columns.tsEvent

const keysOf = (batch: KeyedBatch): { readonly keys: BigInt64Array; readonly words: Int32Array } =>
  batch._tag === "TradeBatch"
    ? { keys: batch.columns.tradeKey, words: batch.words.tradeKey }
    : { keys: batch.columns.quoteKey, words: batch.words.quoteKey }

/** Slots per row at most: below half full a search is short. */
const SlotsPerRow = 2

/** Rows by identity; each gets a number, from 0, in the order in which they were put. */
export class RowIndex {
  readonly #clock: MarketSchema.RowClock
  #slots = new Int32Array(1024)
  #instruments = new Uint32Array(512)
  #micros = new BigInt64Array(512)
  #keys = new BigInt64Array(512)
  #size = 0

  constructor(clock: MarketSchema.RowClock) {
    this.#clock = clock
  }

  /** Rows that were put. */
  get size(): number {
    return this.#size
  }

  /**
   * Puts rows of a batch. `numbers`, if given, receives the number of each; a row whose identity is there gets that one's
   * number.
   */
  put(batch: KeyedBatch, numbers?: Int32Array): void {
    this.#reserve(this.#size + batch.length)
    const times = timesOf(batch, this.#clock)
    const { instrument } = batch.columns
    const { keys, words } = keysOf(batch)
    for (let row = 0; row < batch.length; row++) {
      const micros = microsOf(times[row]!)
      const slot = this.#slotOf(instrument[row]!, micros, keys[row]!, words[2 * row]!)
      const known = this.#slots[slot]!
      if (known === 0) {
        this.#instruments[this.#size] = instrument[row]!
        this.#micros[this.#size] = micros
        this.#keys[this.#size] = keys[row]!
        this.#size += 1
        this.#slots[slot] = this.#size
      }
      if (numbers !== undefined) numbers[row] = this.#slots[slot]! - 1
    }
  }

  /** Number of the row of a batch, or -1. */
  find(batch: KeyedBatch, row: number): number {
    const { keys, words } = keysOf(batch)
    const micros = microsOf(timesOf(batch, this.#clock)[row]!)
    const slot = this.#slotOf(batch.columns.instrument[row]!, micros, keys[row]!, words[2 * row]!)
    return this.#slots[slot]! - 1
  }

  /** The slot of an identity, or the empty one where it belongs. */
  #slotOf(instrument: number, micros: bigint, key: bigint, keyWord: number): number {
    const mask = this.#slots.length - 1
    let slot = hash(instrument, Number(micros & 0xffffffffn) | 0, keyWord) & mask
    for (; ; slot = (slot + 1) & mask) {
      const at = this.#slots[slot]! - 1
      if (at < 0) return slot
      if (this.#keys[at] === key && this.#micros[at] === micros && this.#instruments[at] === instrument)
        return slot
    }
  }

  #reserve(rows: number): void {
    if (rows > this.#instruments.length) {
      const capacity = Math.max(rows, this.#instruments.length * 2)
      this.#instruments = grown(this.#instruments, new Uint32Array(capacity))
      this.#micros = grown(this.#micros, new BigInt64Array(capacity))
      this.#keys = grown(this.#keys, new BigInt64Array(capacity))
    }
    if (rows * SlotsPerRow <= this.#slots.length) return
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(rows * SlotsPerRow * 2)))
    const mask = this.#slots.length - 1
    for (let at = 0; at < this.#size; at++) {
      const low = Number(this.#micros[at]! & 0xffffffffn) | 0
      let slot = hash(this.#instruments[at]!, low, Number(this.#keys[at]! & 0xffffffffn) | 0) & mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = at + 1
    }
  }
}

/** Whole microseconds; the same for all rows of one, also before the epoch. */
const microsOf = (nanos: bigint): bigint => (nanos >= 0n ? nanos / 1000n : (nanos - 999n) / 1000n)

const grown = <A extends Uint32Array | BigInt64Array>(from: A, to: A): A => {
  to.set(from as never)
  return to
}

/** Mixes three words; the result may be negative. */
const hash = (a: number, b: number, c: number): number => {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
  return h ^ (h >>> 13)
}
