/**
 * Tells, while the gateway sends again what a stream had before a break, which rows are new. Exact, because each instrument's
 * rows come again in the same order: everything before the last row with the newest time that was given is old, and after
 * it as many older ones as had been given.
 */
import { ENTRY_WORDS, lateFrom, type SeenRows, slotOf } from "./SeenRows.ts"

/** Entry of a row that needs no more looking after. */
const DONE = -1

/** The repeated rows of one session. */
export class ReplayFilter {
  readonly #entries: Int32Array
  readonly #shift: number
  /** Entries that still drop rows, by schema code. */
  readonly #open = new Map<number, number>()

  /** `starts` are the schemas whose rows are sent again, and from when on, ns. */
  constructor(seen: SeenRows, starts: ReadonlyMap<number, bigint>) {
    const { entries, shift } = seen.snapshot()
    this.#entries = entries
    this.#shift = shift
    for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
      const code = entries[at + 1]! >>> 16
      const start = starts.get(code)
      if (start === undefined || entries[at + 5] === 0) {
        entries[at + 5] = DONE
        continue
      }
      this.#open.set(code, (this.#open.get(code) ?? 0) + 1)
      // Not all of the older rows come again: which of those that come are new cannot be counted. Rather one twice (it
      // has the same key) than one lost.
      if ((lateFrom(entries, at) ?? start) < start) entries[at + 6] = 0
    }
  }

  /** Whether nothing will be dropped any more. */
  get isDone(): boolean {
    return this.#open.size === 0
  }

  /** The replay of a schema is over: whatever comes now is new. */
  finish(code: number): void {
    if (!this.#open.delete(code)) return
    const entries = this.#entries
    for (let at = 0; at < entries.length; at += ENTRY_WORDS)
      if (entries[at + 1]! >>> 16 === code) entries[at + 5] = DONE
  }

  /** Whether a row is new. Every row of the session is to be shown, in order. */
  isNew(native: number, publisher: number, code: number, low: number, high: number): boolean {
    const entries = this.#entries
    const tag = publisher | (code << 16)
    let at = slotOf(native | 0, tag, this.#shift) * ENTRY_WORDS
    while (entries[at] !== (native | 0) || entries[at + 1] !== tag) {
      if (entries[at + 1] === 0) return true
      at = (at + ENTRY_WORDS) & (entries.length - 1)
    }
    const equalLeft = entries[at + 5]!
    if (equalLeft === DONE) return true
    const newestHigh = entries[at + 4]!
    const newestLow = entries[at + 3]! >>> 0
    const isEqual = high === newestHigh && low >>> 0 === newestLow
    if (high > newestHigh || (high === newestHigh && low >>> 0 > newestLow)) return this.#close(at, code)
    if (equalLeft > 0) {
      if (isEqual) entries[at + 5] = equalLeft - 1
      return false
    }
    // The rows behind the last one with the newest time: one more with it, or an older one too many, is new.
    if (isEqual || entries[at + 6] === 0) return this.#close(at, code)
    entries[at + 6]! -= 1
    return false
  }

  #close(at: number, code: number): true {
    this.#entries[at + 5] = DONE
    const left = (this.#open.get(code) ?? 0) - 1
    if (left > 0) this.#open.set(code, left)
    else this.#open.delete(code)
    return true
  }
}
