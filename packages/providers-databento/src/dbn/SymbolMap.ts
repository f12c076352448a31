/**
 * From instrument numbers to symbols at a point in time. Numbers are reused over the years and a symbol may change its
 * number, so a lookup needs the UTC day of the record: of its ts_recv where it has one, otherwise of its ts_event.
 */
import { DbnError } from "./DbnError.ts"
import type { DbnMetadata } from "./DbnMetadata.ts"
import { cstrText, type InstrumentDefRecord, type SymbolMappingRecord } from "./DbnRecord.ts"
import { dayOfDate, dayOfNanos, dayOfWords, NANOS_PER_DAY } from "./IsoDate.ts"
import { type DbnVersion, type FieldSpec, fieldBytes } from "./Layout.ts"
import type { RecordBlock } from "./RecordBlock.ts"
import { layoutOf, Rtype } from "./Rtype.ts"

/** Something that knows the symbol of a record. */
export interface SymbolSource {
  /** Symbol of the record at word `position`, undefined where it is not known. */
  readonly symbolOf: (block: RecordBlock, position: number) => string | undefined
}

const indexWords = new Map<DbnVersion, Uint8Array>(
  ([1, 2, 3] as const).map((version) => [
    version,
    Uint8Array.from({ length: 256 }, (_, rtype) => {
      const recv = layoutOf(rtype, version)?.fields.find((field) => field[1] === "ts_recv")
      return (recv?.[0] ?? 8) / 4
    })
  ])
)

/** Word offset of the index timestamp by record type: ts_recv where the struct has it, otherwise ts_event. */
export const indexTimeWords = (version: DbnVersion): Uint8Array => indexWords.get(version)!

/** Days since the epoch of the index timestamp of the record at word `position`. */
export const indexDay = (block: RecordBlock, position: number): number => {
  const { words } = block
  const word = position + indexTimeWords(block.version)[(words[position]! >>> 8) & 0xff]!
  return dayOfWords(words[word]!, words[word + 1]!)
}

/** Whether mappings lead from symbols to numbers ("normal") or from numbers to symbols. */
const isInverse = (metadata: DbnMetadata): boolean => {
  if (metadata.stypeOut === "instrument_id") return false
  if (metadata.stypeIn === "instrument_id") return true
  throw new DbnError(
    "usage",
    `no symbol map can be made from ${metadata.stypeIn} to ${metadata.stypeOut}: one of them has to be instrument_id`
  )
}

const instrumentId = (text: string): number => {
  const id = Number(text)
  if (!/^\d{1,10}$/.test(text) || id > 0xffffffff)
    throw new DbnError("corrupt", `metadata maps to ${JSON.stringify(text)}, which is no instrument id`)
  return id
}

/** One interval of a mapping, ready for lookup. Days since the epoch, half-open. */
export interface SymbolInterval {
  readonly instrumentId: number
  readonly start: number
  readonly end: number
  readonly symbol: string
}

/**
 * The intervals of metadata in their order: number, days, symbol. Empty intervals and those without a symbol are left
 * out. Throws `DbnError` where an interval ends before it begins or neither side is an instrument id.
 */
export const symbolIntervals = (metadata: DbnMetadata): Array<SymbolInterval> => {
  const list: Array<SymbolInterval> = []
  if (metadata.mappings.length === 0) return list
  const inverse = isInverse(metadata)
  for (const mapping of metadata.mappings)
    for (const interval of mapping.intervals) {
      if (interval.symbol === "" || interval.startDate === interval.endDate) continue
      if (interval.startDate > interval.endDate)
        throw new DbnError(
          "corrupt",
          `metadata: the mapping of ${JSON.stringify(mapping.rawSymbol)} ends (${interval.endDate}) before it begins (${interval.startDate})`
        )
      list.push({
        instrumentId: instrumentId(inverse ? mapping.rawSymbol : interval.symbol),
        start: dayOfDate(interval.startDate)!,
        end: dayOfDate(interval.endDate)!,
        symbol: inverse ? interval.symbol : mapping.rawSymbol
      })
    }
  return list
}

/** Sorted, non-overlapping intervals of one instrument. */
interface Timeline {
  readonly starts: ReadonlyArray<number>
  readonly ends: ReadonlyArray<number>
  readonly symbols: ReadonlyArray<string>
}

/**
 * Historical map: (instrument id, UTC day) to symbol. Intervals are kept, not days, and found by binary search, so years
 * of option chains stay small. Where intervals of one id overlap, the later one in the metadata wins.
 */
export class TsSymbolMap implements SymbolSource {
  readonly #timelines = new Map<number, Timeline>()

  constructor(intervals: Iterable<SymbolInterval>) {
    const byId = new Map<number, Array<SymbolInterval>>()
    for (const interval of intervals) {
      const list = byId.get(interval.instrumentId)
      if (list === undefined) byId.set(interval.instrumentId, [interval])
      else list.push(interval)
    }
    for (const [id, list] of byId) this.#timelines.set(id, timeline(list))
  }

  /** The map of a file. Throws `DbnError` where its mappings cannot be one. */
  static fromMetadata(metadata: DbnMetadata): TsSymbolMap {
    return new TsSymbolMap(symbolIntervals(metadata))
  }

  /** Number of instruments. */
  get size(): number {
    return this.#timelines.size
  }

  /** Symbol of an id on a day (days since the epoch, UTC). */
  onDay(id: number, day: number): string | undefined {
    const line = this.#timelines.get(id)
    if (line === undefined) return undefined
    let low = 0
    let high = line.starts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (line.starts[middle]! <= day) low = middle + 1
      else high = middle
    }
    const found = low - 1
    return found >= 0 && day < line.ends[found]! ? line.symbols[found] : undefined
  }

  /** Symbol of an id at a time in ns since the epoch. */
  at(id: number, nanos: bigint): string | undefined {
    return this.onDay(id, dayOfNanos(nanos))
  }

  symbolOf(block: RecordBlock, position: number): string | undefined {
    return this.onDay(block.words[position + 1]! >>> 0, indexDay(block, position))
  }
}

/** Lays intervals over each other, later ones on top: a sweep over their ends with the topmost open one on a heap. */
const timeline = (list: ReadonlyArray<SymbolInterval>): Timeline => {
  const starts: Array<number> = []
  const ends: Array<number> = []
  const symbols: Array<string> = []
  const order = list.map((_, i) => i).sort((a, b) => list[a]!.start - list[b]!.start)
  const days = [...new Set(list.flatMap((interval) => [interval.start, interval.end]))].sort((a, b) => a - b)
  const open = new MaxHeap()
  let next = 0
  for (let i = 0; i + 1 < days.length; i++) {
    while (next < order.length && list[order[next]!]!.start === days[i]) open.push(order[next++]!)
    while (open.top !== undefined && list[open.top]!.end <= days[i]!) open.pop()
    if (open.top === undefined) continue
    const { symbol } = list[open.top]!
    const last = symbols.length - 1
    if (last >= 0 && symbols[last] === symbol && ends[last] === days[i]) ends[last] = days[i + 1]!
    else {
      starts.push(days[i]!)
      ends.push(days[i + 1]!)
      symbols.push(symbol)
    }
  }
  return { starts, ends, symbols }
}

/** The largest of a changing set of numbers. */
class MaxHeap {
  readonly #items: Array<number> = []

  get top(): number | undefined {
    return this.#items[0]
  }

  push(value: number): void {
    const items = this.#items
    let i = items.push(value) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (items[parent]! >= value) break
      items[i] = items[parent]!
      i = parent
    }
    items[i] = value
  }

  pop(): void {
    const items = this.#items
    const last = items.pop()
    if (last === undefined || items.length === 0) return
    let i = 0
    for (let child = 1; child < items.length; child = 2 * i + 1) {
      if (child + 1 < items.length && items[child + 1]! > items[child]!) child++
      if (items[child]! <= last) break
      items[i] = items[child]!
      i = child
    }
    items[i] = last
  }
}

/**
 * Map of one day, or of a live session: instrument id to symbol, the last one written wins. Symbol mapping records set
 * the symbol of their header's id to their output symbol, definitions to their raw symbol.
 */
export class PitSymbolMap implements SymbolSource {
  readonly #symbols = new Map<number, string>()

  /**
   * The mappings of metadata on a UTC day (days since the epoch). Throws `DbnError` `usage` where the day lies outside the
   * metadata's range; an `end` at exactly midnight excludes that day.
   */
  static fromMetadata(metadata: DbnMetadata, day: number): PitSymbolMap {
    const first = dayOfNanos(metadata.start)
    const isBehind = metadata.end !== null && BigInt(day) * NANOS_PER_DAY >= metadata.end
    if (day < first || isBehind)
      throw new DbnError("usage", "the day of a symbol map lies outside the range of the metadata")
    const map = new PitSymbolMap()
    for (const interval of symbolIntervals(metadata))
      if (interval.start <= day && day < interval.end) map.set(interval.instrumentId, interval.symbol)
    return map
  }

  /** Number of instruments. */
  get size(): number {
    return this.#symbols.size
  }

  get(id: number): string | undefined {
    return this.#symbols.get(id)
  }

  set(id: number, symbol: string): void {
    this.#symbols.set(id, symbol)
  }

  /** Every id and its symbol. */
  entries(): IterableIterator<[number, string]> {
    return this.#symbols.entries()
  }

  /** Takes over what a mapping or definition record says. */
  onRecord(record: SymbolMappingRecord | InstrumentDefRecord): void {
    this.set(record.instrumentId, record.type === "instrument_def" ? record.rawSymbol : record.stypeOutSymbol)
  }

  /** Takes over what the record at `position` says, if it is a mapping or a definition of any version. */
  observe(block: RecordBlock, position: number): void {
    const rtype = (block.words[position]! >>> 8) & 0xff
    if (rtype !== Rtype.symbolMapping && rtype !== Rtype.instrumentDef) return
    const name = rtype === Rtype.symbolMapping ? "stype_out_symbol" : "raw_symbol"
    const field = layoutOf(rtype, block.version)?.fields.find((f) => f[1] === name) as FieldSpec
    const text = cstrText(block.bytes, position * 4 + field[0], fieldBytes(field))
    this.set(block.words[position + 1]! >>> 0, text)
  }

  /** Observes the record, then looks it up: for printing a live stream in order. */
  symbolOf(block: RecordBlock, position: number): string | undefined {
    this.observe(block, position)
    return this.get(block.words[position + 1]! >>> 0)
  }
}
