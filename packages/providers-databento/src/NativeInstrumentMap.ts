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

/** Intervals of days per vendor id. */
export class NativeInstrumentMap {
  readonly #byNative = new Map<number, Array<DayInterval>>()

  /** From now on `nativeId` means `instrument` on days `[startDay, endDay)`. Later additions win where they overlap. */
  add(nativeId: number, startDay: number, endDay: number, instrument: number): void {
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
    // Neighbouring rows are mostly of one day: the interval found for an id is kept while the day is the same.
    const found = new Map<number, number>()
    let foundDay = Number.NaN
    const count = rows?.length ?? ids.length
    for (let i = 0; i < count; i++) {
      const row = rows === undefined ? i : rows[i]!
      const day = dayOfWords(timeWords[2 * row]!, timeWords[2 * row + 1]!)
      if (day !== foundDay) {
        found.clear()
        foundDay = day
      }
      const native = ids[row]!
      let instrument = found.get(native)
      if (instrument === undefined) {
        instrument = this.get(native, day)
        if (instrument === undefined) {
          unknown.push(row)
          continue
        }
        found.set(native, instrument)
      }
      ids[row] = instrument
    }
    return unknown
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
