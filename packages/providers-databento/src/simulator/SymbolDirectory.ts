/**
 * Which symbol means which instrument on which days, learned from the headers of files, from definitions and from
 * mapping records. Answers for every pair of symbology types that the learned intervals allow.
 */

import type { MappingInterval } from "../dbn/DbnMetadata.ts"
import { dateOfDay, dateToIso } from "../dbn/IsoDate.ts"
import { entryOf } from "./MapEntry.ts"

/** An input means an output on the days `[start, end)`, counted since the epoch. */
export interface DayInterval<T> {
  readonly start: number
  readonly end: number
  readonly value: T
}

/** The symbol that stands for every instrument. */
export const ALL_SYMBOLS = "ALL_SYMBOLS"

/** What a request's symbols mean. */
export interface Resolution {
  /** By input symbol, in the order asked, those with at least one interval. */
  readonly intervals: ReadonlyMap<string, ReadonlyArray<DayInterval<string>>>
  /** Resolved on a part of the range. */
  readonly partial: ReadonlyArray<string>
  readonly notFound: ReadonlyArray<string>
}

type Timeline<T> = ReadonlyArray<DayInterval<T>>

/** Adds an interval to those of a key; equal neighbours become one. */
const put = <K, T>(map: Map<K, Array<DayInterval<T>>>, key: K, interval: DayInterval<T>): void => {
  const list = map.get(key)
  if (list === undefined) {
    map.set(key, [interval])
    return
  }
  const i = list.findIndex(
    (known) => known.value === interval.value && known.start <= interval.end && interval.start <= known.end
  )
  if (i < 0) {
    list.push(interval)
    return
  }
  const [known] = list.splice(i, 1) as [DayInterval<T>]
  put(map, key, {
    start: Math.min(known.start, interval.start),
    end: Math.max(known.end, interval.end),
    value: interval.value
  })
}

const clipped = <T>(list: Timeline<T>, start: number, end: number): Array<DayInterval<T>> =>
  list
    .map((it) => ({ ...it, start: Math.max(it.start, start), end: Math.min(it.end, end) }))
    .filter((it) => it.start < it.end)
    .sort((a, b) => a.start - b.start)

/** Whether intervals, sorted by start, leave no day of the range out. */
const covers = (list: Timeline<unknown>, start: number, end: number): boolean => {
  let day = start
  for (const it of list) {
    if (it.start > day) return false
    day = Math.max(day, it.end)
  }
  return day >= end
}

/** The symbols of one dataset. */
export class SymbolDirectory {
  /** By symbology type and symbol: instrument ids. */
  readonly #ids = new Map<string, Map<string, Array<DayInterval<number>>>>()
  /** By instrument id: raw symbols. */
  readonly #raw = new Map<number, Array<DayInterval<string>>>()

  /** Learns that `symbol` of a type means an instrument on the days `[start, end)`. */
  learn(stype: string, symbol: string, id: number, start: number, end: number): void {
    if (symbol === "" || start >= end) return
    const symbols = entryOf(this.#ids, stype, () => new Map<string, Array<DayInterval<number>>>())
    put(symbols, symbol, { start, end, value: id })
    if (stype === "raw_symbol") put(this.#raw, id, { start, end, value: symbol })
  }

  /** Raw symbols known. */
  rawSymbols(): ReadonlyArray<string> {
    return [...(this.#ids.get("raw_symbol")?.keys() ?? [])].sort()
  }

  /** Instruments with a raw symbol on a day of `[start, end)`, with the days. */
  listings(start: number, end: number): ReadonlyArray<DayInterval<{ id: number; symbol: string }>> {
    return [...this.#raw].flatMap(([id, list]) =>
      clipped(list, start, end).map((it) => ({ ...it, value: { id, symbol: it.value } }))
    )
  }

  /** Raw symbol of an instrument on a day. */
  rawSymbol(id: number, day: number): string | undefined {
    return this.#raw.get(id)?.find((it) => it.start <= day && day < it.end)?.value
  }

  /** Instruments that a symbol means, with the days, clipped to `[start, end)`. */
  instruments(stype: string, symbol: string, start: number, end: number): ReadonlyArray<DayInterval<number>> {
    if (stype !== "instrument_id") return clipped(this.#ids.get(stype)?.get(symbol) ?? [], start, end)
    const id = /^\d{1,10}$/.test(symbol) ? Number(symbol) : -1
    return clipped(this.#raw.get(id) ?? [], start, end).map((it) => ({ ...it, value: id }))
  }

  /** Every input symbol of a type, or of those asked for, as output symbols. Days `[start, end)`. */
  resolve(
    symbols: ReadonlyArray<string>,
    stypeIn: string,
    stypeOut: string,
    start: number,
    end: number
  ): Resolution {
    const intervals = new Map<string, ReadonlyArray<DayInterval<string>>>()
    const partial: Array<string> = []
    const notFound: Array<string> = []
    const isAll = symbols.length === 1 && symbols[0] === ALL_SYMBOLS
    for (const symbol of new Set(isAll ? this.rawSymbols() : symbols)) {
      const ids = this.instruments(isAll ? "raw_symbol" : stypeIn, symbol, start, end)
      const found = stypeOut === "instrument_id" ? ids.map(idText) : ids.flatMap((it) => this.#names(it))
      if (found.length > 0) intervals.set(symbol, found)
      if (found.length === 0 && !isAll) notFound.push(symbol)
      else if (!isAll && !covers(found, start, end)) partial.push(symbol)
    }
    return { intervals, partial, notFound }
  }

  #names(it: DayInterval<number>): ReadonlyArray<DayInterval<string>> {
    return clipped(this.#raw.get(it.value) ?? [], it.start, it.end)
  }
}

const idText = (it: DayInterval<number>): DayInterval<string> => ({ ...it, value: String(it.value) })

/** Intervals as the header of a file has them. */
export const metadataIntervals = (list: Timeline<string>): ReadonlyArray<MappingInterval> =>
  list.map((it) => ({ startDate: dateOfDay(it.start), endDate: dateOfDay(it.end), symbol: it.value }))

/** Intervals as `symbology.resolve` prints them. */
export const jsonIntervals = (list: Timeline<string>): ReadonlyArray<{ d0: string; d1: string; s: string }> =>
  list.map((it) => ({
    d0: dateToIso(dateOfDay(it.start)),
    d1: dateToIso(dateOfDay(it.end)),
    s: it.value
  }))
