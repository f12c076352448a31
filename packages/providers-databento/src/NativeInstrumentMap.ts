/**
 * From Databento's instrument ids to those of the registry, by UTC day.
 *
 * The vendor's ids are unique per dataset and day alone, so a mapping is an interval of days; a row's day is that of its
 * index time. Ids without an interval for a day are reported, so that the caller can register them and go on.
 */
import { dayOfWords } from "./dbn/IsoDate.ts"

interface DayInterval {
  readonly startDay: number
  readonly endDay: number
  readonly instrument: number
}

/** A vendor id that has no instrument on a day. */
export interface UnknownNativeId {
  readonly nativeId: number
  readonly day: number
}

/** Two words an entry, found by open addressing: the vendor's id, and the instrument plus one; 0 is a free entry. */
const FIRST_BITS = 9

/** The instruments of one day as far as rows have asked for them: a look costs a multiplication and mostly one cache line. */
class DayTable {
  #entries = new Int32Array(2 << FIRST_BITS)
  #shift = 32 - FIRST_BITS
  #size = 0

  clear(): void {
    if (this.#size > 0) this.#entries.fill(0)
    this.#size = 0
  }

  /** Where the entry of an id is, or the free one where it belongs. */
  #find(native: number): number {
    const entries = this.#entries
    let at = (Math.imul(native, 0x9e3779b1) >>> this.#shift) * 2
    while (entries[at + 1] !== 0 && entries[at] !== native) at = (at + 2) & (entries.length - 1)
    return at
  }

  add(native: number, instrument: number): void {
    if (this.#size * 4 >= this.#entries.length) this.#grow()
    const at = this.#find(native | 0)
    this.#entries[at] = native
    this.#entries[at + 1] = instrument + 1
    this.#size += 1
  }

  /** Replaces ids from `row` on for as long as they are known and their times have this high word; gives the first other row. */
  replace(ids: Uint32Array, timeWords: Int32Array, from: number, high: number): number {
    const entries = this.#entries
    const shift = this.#shift
    const mask = entries.length - 1
    let row = from
    for (; row < ids.length && timeWords[2 * row + 1] === high; row++) {
      const native = ids[row]! | 0
      let at = (Math.imul(native, 0x9e3779b1) >>> shift) * 2
      while (entries[at] !== native && entries[at + 1] !== 0) at = (at + 2) & mask
      const instrument = entries[at + 1]!
      if (instrument === 0) return row
      ids[row] = instrument - 1
    }
    return row
  }

  #grow(): void {
    const old = this.#entries
    this.#entries = new Int32Array(old.length * 2)
    this.#shift -= 1
    for (let at = 0; at < old.length; at += 2)
      if (old[at + 1] !== 0) {
        const to = this.#find(old[at]!)
        this.#entries[to] = old[at]!
        this.#entries[to + 1] = old[at + 1]!
      }
  }
}

/** Intervals of days per vendor id. */
export class NativeInstrumentMap {
  readonly #byNative = new Map<number, Array<DayInterval>>()
  readonly #found = new DayTable()
  #foundDay = Number.NaN

  /** From now on `nativeId` means `instrument` on days `[startDay, endDay)`. Later additions win where they overlap. */
  add(nativeId: number, startDay: number, endDay: number, instrument: number): void {
    this.#foundDay = Number.NaN
    const intervals = this.#byNative.get(nativeId)
    if (intervals === undefined) this.#byNative.set(nativeId, [{ startDay, endDay, instrument }])
    else intervals.unshift({ startDay, endDay, instrument })
  }

  /** The instrument of a vendor id on a day. */
  get(nativeId: number, day: number): number | undefined {
    return this.#interval(nativeId, day)?.instrument
  }

  #interval(nativeId: number, day: number): DayInterval | undefined {
    return this.#byNative.get(nativeId)?.find((i) => i.startDay <= day && day < i.endDay)
  }

  /**
   * Replaces vendor ids by instrument ids in `rows` of `ids`, in all of them where none are named; `timeWords` are the
   * 32-bit words of each row's index time. Gives the rows that it could not replace; those still hold the vendor's id.
   */
  assign(ids: Uint32Array, timeWords: Int32Array, rows?: ReadonlyArray<number>): Array<number> {
    const unknown: Array<number> = []
    if (rows !== undefined) {
      for (const row of rows) if (!this.#assignRow(ids, timeWords, row)) unknown.push(row)
      return unknown
    }
    for (let row = 0; row < ids.length; ) {
      const high = timeWords[2 * row + 1]!
      // Times of one high word are 4.3 s: of one day, nearly always.
      const day = dayOfWords(0, high)
      if (dayOfWords(-1, high) === day) {
        this.#turnTo(day)
        row = this.#found.replace(ids, timeWords, row, high)
        if (row === ids.length || timeWords[2 * row + 1] !== high) continue
      }
      if (!this.#assignRow(ids, timeWords, row)) unknown.push(row)
      row += 1
    }
    return unknown
  }

  /** Replaces the id of one row; whether it could. */
  #assignRow(ids: Uint32Array, timeWords: Int32Array, row: number): boolean {
    const day = dayOfWords(timeWords[2 * row]!, timeWords[2 * row + 1]!)
    const instrument = this.get(ids[row]!, day)
    if (instrument === undefined) return false
    this.#turnTo(day)
    this.#found.add(ids[row]!, instrument)
    ids[row] = instrument
    return true
  }

  /** Instruments found for another day are forgotten. */
  #turnTo(day: number): void {
    if (day !== this.#foundDay) this.#found.clear()
    this.#foundDay = day
  }

  /** Ids and days of rows that `assign` could not replace, each once. */
  unknownOf(ids: Uint32Array, timeWords: Int32Array, rows: ReadonlyArray<number>): Array<UnknownNativeId> {
    const seen = new Map<string, UnknownNativeId>()
    for (const row of rows) {
      const nativeId = ids[row]!
      const day = dayOfWords(timeWords[2 * row]!, timeWords[2 * row + 1]!)
      seen.set(`${nativeId}/${day}`, { nativeId, day })
    }
    return [...seen.values()]
  }
}
