/**
 * What was published lately, in memory: the newest rows by position, and what was told between them. One writer, any number of
 * cursors; a cursor that the writer has overtaken is told what it lost. Batches are kept as they came, nothing is copied.
 */

import { concat } from "./BatchConcat.ts"
import { isSelectable, selectRows } from "./BatchSelection.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { isReplay } from "./ReplayMark.ts"
import type { SubscriptionEvent } from "./Subscription.ts"
import { type SymbolSelection, topic } from "./SubscriptionKindTopic.ts"

/** A batch or a gap with its place. Positions are below 2^53. */
interface Entry {
  /** Position of the first row, or of the row after a gap. */
  readonly first: number
  readonly rows: number
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly event: Extract<SubscriptionEvent, { readonly _tag: "Batch" | "Gap" | "Repaired" }>
}

/** Entries at most, for a part of the rows: a batch of one row takes some 1.5 kB, as much as that of twenty. */
const RowsPerEntry = 4

/** A log of the newest `capacity` rows, in a quarter as many batches at most; one batch that is larger is kept whole. */
export class MemoryLog {
  readonly #capacity: number
  #entries: Array<Entry> = []
  /** Entries removed so far, and so the number of the first one kept. */
  #removed = 0
  /** Entries at the begin of the array that are removed and not yet cut off. */
  #dead = 0
  #held = 0
  #written = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** Position after the newest row. */
  get written(): number {
    return this.#written
  }

  /** Position of the oldest row that is kept. */
  get oldest(): number {
    return this.#entries[this.#dead]?.first ?? this.#written
  }

  append(batch: MarketBatch, at: number): void {
    this.#push({ first: this.#written, rows: batch.length, at, event: { _tag: "Batch", batch } })
    this.#written += batch.length
    this.#held += batch.length
    while (this.#held > this.#capacity && this.#dead < this.#entries.length - 1) this.#remove()
    this.#limitEntries()
  }

  /** Puts what is told between the rows. */
  tell(event: Extract<SubscriptionEvent, { readonly _tag: "Gap" | "Repaired" }>, at: number): void {
    this.#push({ first: this.#written, rows: 0, at, event })
    this.#limitEntries()
  }

  #limitEntries(): void {
    while (this.#entries.length - this.#dead > Math.max(1024, this.#capacity / RowsPerEntry)) this.#remove()
  }

  #push(entry: Entry): void {
    this.#entries.push(entry)
  }

  #remove(): void {
    this.#held -= this.#entries[this.#dead]!.rows
    this.#dead += 1
    this.#removed += 1
    if (this.#dead < 1024) return
    this.#entries = this.#entries.slice(this.#dead)
    this.#dead = 0
  }

  /** Number of the first entry that is kept. */
  get firstEntry(): number {
    return this.#removed
  }

  /** Number of the entry that comes next. */
  get nextEntry(): number {
    return this.#removed + this.#entries.length - this.#dead
  }

  /** The entry of a number that is kept. */
  entry(number: number): Entry {
    return this.#entries[this.#dead + number - this.#removed]!
  }

  /** Number of the entry that has a row of this position, or the first one after it. */
  entryAt(position: number): number {
    return this.#search(({ first, rows }) => first + rows <= position)
  }

  /** Position of the first row that was published at this time, milliseconds, or later. */
  positionAt(time: number): number {
    const number = this.#search(({ at }) => at < time)
    return number < this.nextEntry ? this.entry(number).first : this.#written
  }

  #search(isBefore: (entry: Entry) => boolean): number {
    let low = this.firstEntry
    let high = this.nextEntry
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (isBefore(this.entry(middle))) low = middle + 1
      else high = middle
    }
    return low
  }

  /**
   * The newest `depth` rows of each wanted symbol, oldest first, by symbol; symbols without rows are not there. Goes through
   * what is kept once.
   */
  last(selection: SymbolSelection, depth: number): ReadonlyMap<string, NewestRows> {
    const tails = new Map<string, Tail>()
    for (let number = this.nextEntry - 1; number >= this.firstEntry; number--) {
      const { event } = this.entry(number)
      const wanted = event._tag === "Batch" ? topic(selection, event.batch) : undefined
      if (wanted !== undefined) collect(tails, wanted, depth)
    }
    return new Map([...tails].map(([symbol, { batches }]) => [symbol, joined(batches)]))
  }
}

/** The newest rows of a symbol; `replayed` of them, the oldest ones, are a replay. */
export interface NewestRows {
  readonly batch: MarketBatch
  readonly replayed: number
}

/** Rows of a symbol, newest batch first. */
interface Tail {
  readonly batches: Array<MarketBatch>
  rows: number
}

const collect = (tails: Map<string, Tail>, batch: MarketBatch, depth: number): void => {
  if (!isSelectable(batch) || depth === 0) return
  const bySymbol = new Map<string, Array<number>>()
  for (let row = 0; row < batch.length; row++) {
    const symbol = batch.symbolAt(row)
    const rows = bySymbol.get(symbol)
    if (rows === undefined) bySymbol.set(symbol, [row])
    else rows.push(row)
  }
  for (const [symbol, rows] of bySymbol) {
    let tail = tails.get(symbol)
    if (tail === undefined) {
      tail = { batches: [], rows: 0 }
      tails.set(symbol, tail)
    }
    if (tail.rows >= depth) continue
    const taken = rows.slice(-(depth - tail.rows))
    tail.batches.push(selectRows(batch, taken))
    tail.rows += taken.length
  }
}

/** Rows of one symbol in one batch: they get the number that its newest rows have. */
const joined = (batches: ReadonlyArray<MarketBatch>): NewestRows => {
  const { columns, context } = batches[0]!
  const number = columns.instrument[0]!
  const ordered = batches.toReversed()
  let replayed = 0
  for (const batch of ordered) {
    if (!isReplay(batch)) break
    replayed += batch.length
  }
  return { batch: concat(ordered, { context, instrumentOf: () => number }), replayed }
}
