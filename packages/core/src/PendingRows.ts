/**
 * Live rows that wait while stored ones are read: what the store turns out to have is taken out, the rest follows in the order
 * in which it came.
 */
import { selectRows } from "./BatchSelection.ts"
import type * as MarketSchema from "./MarketSchema.ts"
import { type KeyedBatch, RowIndex, timesOf } from "./RowIndex.ts"

/** A batch that waits. `numbers` are those of its rows in the index; undefined until it was looked for. */
interface Waiting {
  readonly batch: KeyedBatch
  numbers: Int32Array | undefined
}

/** Rows that wait. */
export class PendingRows {
  readonly #clock: MarketSchema.RowClock
  #waiting: Array<Waiting> = []
  #rows = 0
  /** Oldest time of them, ns. */
  #oldest: bigint | undefined
  #index: RowIndex
  #indexed = 0
  /** By number in the index: 1 where the row was taken out, or came twice. */
  #gone = new Uint8Array(0)

  constructor(clock: MarketSchema.RowClock) {
    this.#clock = clock
    this.#index = new RowIndex(clock)
  }

  /** Rows that wait, those taken out included. */
  get rows(): number {
    return this.#rows
  }

  add(batch: KeyedBatch): void {
    if (batch.length === 0) return
    this.#waiting.push({ batch, numbers: undefined })
    this.#rows += batch.length
    const times = timesOf(batch, this.#clock)
    for (let row = 0; row < batch.length; row++)
      if (this.#oldest === undefined || times[row]! < this.#oldest) this.#oldest = times[row]!
  }

  /** Takes the rows of a stored batch out. Its rows are in the order of their time. */
  takeOut(stored: KeyedBatch): void {
    if (this.#oldest === undefined || stored.length === 0) return
    const times = timesOf(stored, this.#clock)
    // Identity is by microsecond: another row of the same one may be the same row.
    const from = this.#oldest - 1000n
    if (times[stored.length - 1]! < from) return
    this.#lookUp()
    for (let row = stored.length - 1; row >= 0 && times[row]! >= from; row--) {
      const number = this.#index.find(stored, row)
      if (number >= 0) this.#gone[number] = 1
    }
  }

  /** Forgets rows of this time or later; gives how many. */
  forgetFrom(time: bigint): number {
    const kept: Array<KeyedBatch> = []
    const before = this.#rows
    for (const batch of this.take()) {
      const times = timesOf(batch, this.#clock)
      const rows: Array<number> = []
      for (let row = 0; row < batch.length; row++) if (times[row]! < time) rows.push(row)
      if (rows.length > 0) kept.push(rows.length === batch.length ? batch : selectRows(batch, rows))
    }
    for (const batch of kept) this.add(batch)
    return before - this.#rows
  }

  /** Everything that still waits, in order; nothing does afterwards. `isDistinct`: what came twice is given once. */
  take(isDistinct = false): ReadonlyArray<KeyedBatch> {
    const waiting = this.#waiting
    if (isDistinct) this.#lookUp()
    const gone = this.#gone
    const left = waiting.flatMap(({ batch, numbers }) => {
      if (numbers === undefined) return [batch]
      const rows: Array<number> = []
      for (let row = 0; row < batch.length; row++)
        if (gone[numbers[row]!] === 0) {
          gone[numbers[row]!] = 1
          rows.push(row)
        }
      if (rows.length === batch.length) return [batch]
      return rows.length === 0 ? [] : [selectRows(batch, rows)]
    })
    this.#waiting = []
    this.#rows = 0
    this.#oldest = undefined
    this.#index = new RowIndex(this.#clock)
    this.#indexed = 0
    this.#gone = new Uint8Array(0)
    return left
  }

  /** Puts what came since the last look into the index. */
  #lookUp(): void {
    for (; this.#indexed < this.#waiting.length; this.#indexed++) {
      const waiting = this.#waiting[this.#indexed]!
      waiting.numbers = new Int32Array(waiting.batch.length)
      this.#index.put(waiting.batch, waiting.numbers)
    }
    if (this.#gone.length >= this.#index.size) return
    const gone = new Uint8Array(this.#index.size * 2)
    gone.set(this.#gone)
    this.#gone = gone
  }
}
