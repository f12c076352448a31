/**
 * Loss that shows in the rows: a venue that numbers the trades of an instrument one by one has sent what is between two numbers,
 * and it did not come. For providers whose `capabilities.consecutiveIds` says that they do.
 */
import type { InstrumentId } from "./Instrument.ts"
import type { TimeRange } from "./TimeRange.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** Trades of an instrument that did not come. */
export interface SequenceHole {
  readonly instrument: InstrumentId
  /** How many. */
  readonly rows: bigint
  /** From the trade before them to the one behind them, ns of the venue's clock; both may share their moment with one that is missing. */
  readonly range: TimeRange
}

const none: ReadonlyArray<SequenceHole> = []

/** The newest number of each instrument. Instruments are numbered densely, as a live service numbers them. */
export class SequenceCheck {
  #keys = new BigInt64Array(0)
  #times = new BigInt64Array(0)
  #known = new Uint8Array(0)

  /** What the rows of a batch, in the order in which they came, say is missing before them. Repeats and late rows say nothing. */
  holes(batch: TradeBatch): ReadonlyArray<SequenceHole> {
    let holes: Array<SequenceHole> | undefined
    const { instrument, tradeKey, tsEvent } = batch.columns
    for (let row = 0; row < batch.length; row++) {
      const id = instrument[row]!
      if (id >= this.#known.length) this.#grow(id + 1)
      const key = tradeKey[row]!
      if (this.#known[id] === 1) {
        const last = this.#keys[id]!
        if (key <= last) continue
        if (key > last + 1n) {
          holes ??= []
          const range = { start: this.#times[id]!, end: tsEvent[row]! + 1n }
          holes.push({ instrument: id, rows: key - last - 1n, range })
        }
      }
      this.#known[id] = 1
      this.#keys[id] = key
      this.#times[id] = tsEvent[row]!
    }
    return holes ?? none
  }

  #grow(size: number): void {
    const room = Math.max(size, this.#known.length * 2, 1024)
    const [keys, times, known] = [new BigInt64Array(room), new BigInt64Array(room), new Uint8Array(room)]
    keys.set(this.#keys)
    times.set(this.#times)
    known.set(this.#known)
    this.#keys = keys
    this.#times = times
    this.#known = known
  }
}
