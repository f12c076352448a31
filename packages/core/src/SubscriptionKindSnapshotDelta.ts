/**
 * Snapshot + delta: the newest rows of each symbol, then every row that follows, none missing and none twice. A pure
 * operator for a stream in process; a transport that keeps history (the ring) takes the snapshot from that instead.
 */
import { copyTrades } from "./BatchSelection.ts"
import type { InstrumentId } from "./Instrument.ts"
import { SymbolSelection, topic } from "./SubscriptionKindTopic.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** The newest rows of one symbol, oldest first. */
export interface SymbolSnapshot {
  readonly symbol: string
  /** In order of arrival; several batches where the rows came in several. */
  readonly batches: ReadonlyArray<TradeBatch>
  readonly rows: number
  /** Whether there are as many rows as were asked for. */
  readonly complete: boolean
}

interface Tail {
  symbol: string
  batches: Array<TradeBatch>
  rows: number
}

/**
 * Remembers the newest `depth` rows of each wanted symbol as batches pass. A subscriber that joins takes `snapshot()` and
 * from then on every batch that is applied after it: the boundary is exact because both happen between two batches.
 */
export class SnapshotBuffer {
  readonly #depth: number
  readonly #selection: SymbolSelection
  readonly #tails = new Map<InstrumentId, Tail>()

  constructor(symbols: ReadonlyArray<string>, depth: number) {
    this.#selection = new SymbolSelection(symbols)
    this.#depth = depth
  }

  /** Takes a batch in; answers with its wanted rows, the delta for those who joined before. */
  apply(batch: TradeBatch): TradeBatch | undefined {
    const wanted = topic(this.#selection, batch)
    if (wanted === undefined || this.#depth === 0) return wanted
    const byInstrument = new Map<InstrumentId, Array<number>>()
    for (let i = 0; i < wanted.length; i++) {
      const id = wanted.columns.instrument[i]!
      const rows = byInstrument.get(id)
      if (rows === undefined) byInstrument.set(id, [i])
      else rows.push(i)
    }
    for (const [id, rows] of byInstrument) this.#append(id, wanted, rows.slice(-this.#depth))
    return wanted
  }

  /** What is remembered, one entry per symbol that has been seen. */
  snapshot(): ReadonlyArray<SymbolSnapshot> {
    return [...this.#tails.values()].map(({ symbol, batches, rows }) => ({
      symbol,
      batches: [...batches],
      rows,
      complete: rows === this.#depth
    }))
  }

  #append(id: InstrumentId, batch: TradeBatch, rows: ReadonlyArray<number>): void {
    let tail = this.#tails.get(id)
    if (tail === undefined) {
      tail = { symbol: batch.symbolAt(rows[0]!), batches: [], rows: 0 }
      this.#tails.set(id, tail)
    }
    tail.batches.push(copyTrades(batch, rows))
    tail.rows += rows.length
    this.#trim(tail)
  }

  #trim(tail: Tail): void {
    while (tail.rows > this.#depth) {
      const first = tail.batches[0]!
      const excess = Math.min(tail.rows - this.#depth, first.length)
      tail.rows -= excess
      if (excess === first.length) tail.batches.shift()
      else tail.batches[0] = first.slice(excess)
    }
  }
}
