/**
 * The rows that were given on last, kept by reference: where a source begins again, and tells some of them once more, the repeats
 * are left out. While nothing begins again a row costs nothing.
 */
import { selectRows } from "./BatchSelection.ts"
import type * as MarketSchema from "./MarketSchema.ts"
import { type KeyedBatch, RowIndex } from "./RowIndex.ts"

/** Batches at most, for a part of the rows: lone rows take as much memory as twenty. */
const RowsPerBatch = 8

/** The newest rows of one schema. */
export class RecentRows {
  readonly #most: number
  readonly #clock: MarketSchema.RowClock
  #batches: Array<KeyedBatch> = []
  #first = 0
  #rows = 0
  #known: RowIndex | undefined

  /** `most`: rows that are remembered, at least, where they did not come nearly one by one. */
  constructor(most: number, clock: MarketSchema.RowClock) {
    this.#most = most
    this.#clock = clock
  }

  /** Rows were given on. */
  add(batch: KeyedBatch): void {
    if (batch.length === 0) return
    this.#batches.push(batch)
    this.#rows += batch.length
    while (
      this.#rows - this.#batches[this.#first]!.length >= this.#most ||
      this.#batches.length - this.#first > this.#most / RowsPerBatch
    ) {
      this.#rows -= this.#batches[this.#first]!.length
      this.#first += 1
    }
    if (this.#first < 1024) return
    this.#batches = this.#batches.slice(this.#first)
    this.#first = 0
  }

  /** From here on rows may come again. */
  beginRepeats(): void {
    const known = new RowIndex(this.#clock)
    for (let i = this.#first; i < this.#batches.length; i++) known.put(this.#batches[i]!)
    this.#known = known
  }

  /** From here on they do not. */
  endRepeats(): void {
    this.#known = undefined
  }

  /** Whether rows may be repeats. */
  get mayRepeat(): boolean {
    return this.#known !== undefined
  }

  /** The rows of a batch that are not repeats: the batch itself where all are. */
  without<B extends KeyedBatch>(batch: B): B {
    const known = this.#known
    if (known === undefined || known.size === 0) return batch
    const rows: Array<number> = []
    for (let row = 0; row < batch.length; row++) if (known.find(batch, row) < 0) rows.push(row)
    return rows.length === batch.length ? batch : selectRows(batch, rows)
  }
}
