/**
 * One pass over a batch before it is written: which instruments and schemas its rows are of, under which times the store
 * keeps them, which UTC days they touch. It refuses what the store has no place for, before anything is written.
 */
import {
  ABSENT_I64_HIGH,
  ABSENT_I64_LOW,
  type MarketBatch,
  MarketSchema,
  rowKind,
  StoreError,
  StoreInvalidData
} from "@data-manager/core"

/** A series: one instrument in one schema. Rows refer to it by its number within the batch. */
export interface SeriesTable {
  readonly length: number
  readonly instrument: Uint32Array
  /** Code of the market schema. */
  readonly schema: Uint8Array
}

/** Rows of one series on one UTC day. */
export interface DayCount {
  readonly series: number
  /** Days since 1970-01-01. */
  readonly day: number
  readonly rows: number
  /** Times of the first and the last of them, ns since the epoch. */
  readonly first: bigint
  readonly last: bigint
}

/** What the pass found. */
export interface BatchScan {
  readonly kind: MarketSchema.RowKind
  readonly batch: MarketBatch
  readonly length: number
  /** Number of the series of each row. */
  readonly seriesOf: Uint32Array
  readonly series: SeriesTable
  /** Times under which the store keeps the rows, as words; and the other clock of quotes and books. */
  readonly time: Int32Array
  readonly otherTime: Int32Array
  /** Publishers that occur, except 0, ascending. */
  readonly publishers: ReadonlyArray<number>
  /** UTC days that occur, ascending, as days since 1970-01-01. */
  readonly days: ReadonlyArray<number>
  /** Smallest and largest time, ns since the epoch. The batch has at least one row. */
  readonly first: bigint
  readonly last: bigint
}

const refuse = (batch: MarketBatch, detail: string): StoreError =>
  new StoreError({
    operation: `append ${rowKind(batch)}`,
    reason: new StoreInvalidData({ detail: `${detail}; nothing of this batch was written` })
  })

/** Schema of each row: one for all, or a column. */
interface RowSchemas {
  readonly of: (row: number) => number
  readonly time: Int32Array
  readonly otherTime: Int32Array
}

/** Scans a batch of at least one row; throws `StoreError` where the store has no place for a row. */
export const scan = (batch: MarketBatch): BatchScan => {
  const kind = rowKind(batch)
  const { instrument, publisher } = batch.columns
  const schemas = rowSchemas(batch)
  const series = new SeriesIndex()
  const seriesOf = new Uint32Array(batch.length)
  const days = new Set<number>()
  const isKnown = new Uint8Array(0x10000)
  const publishers: Array<number> = []
  const { time } = schemas
  let first = 0
  let last = 0
  let lastDay = Number.NaN
  for (let row = 0; row < batch.length; row++) {
    const low = time[2 * row]!
    const high = time[2 * row + 1]!
    if (high === ABSENT_I64_HIGH && low === ABSENT_I64_LOW) throw absentTime(batch, row)
    if (isBefore(time, row, first)) first = row
    if (isBefore(time, last, row)) last = row
    const day = dayOf(low, high)
    if (day !== lastDay) {
      lastDay = day
      days.add(day)
    }
    const id = publisher[row]!
    if (isKnown[id] === 0) {
      isKnown[id] = 1
      if (id > 0) publishers.push(id)
    }
    seriesOf[row] = series.find(instrument[row]!, schemas.of(row))
  }
  return {
    kind,
    batch,
    length: batch.length,
    seriesOf,
    series: series.table(),
    time,
    otherTime: schemas.otherTime,
    // One order for all writers: they lock the names of publishers in it.
    publishers: publishers.sort((a, b) => a - b),
    days: [...days].sort((a, b) => a - b),
    first: nanos(time, first),
    last: nanos(time, last)
  }
}

const absentTime = (batch: MarketBatch, row: number): StoreError =>
  refuse(
    batch,
    `row ${row} (${batch.symbolAt(row)}) has no time: the clock that orders its schema must be present`
  )

/** A day is 2^16 x 1,318,359,375 ns, so 48 bits decide exactly over the whole i64 range. */
export const dayOf = (low: number, high: number): number =>
  Math.floor((high * 65536 + (low >>> 16)) / 1318359375)

const isBefore = (words: Int32Array, a: number, b: number): boolean => {
  const high = words[2 * a + 1]! - words[2 * b + 1]!
  return high !== 0 ? high < 0 : words[2 * a]! >>> 0 < words[2 * b]! >>> 0
}

/** Element `i` of a 64-bit column given as words. */
export const nanos = (words: Int32Array, i: number): bigint =>
  (BigInt(words[2 * i + 1]!) << 32n) | BigInt(words[2 * i]! >>> 0)

const rowSchemas = (batch: MarketBatch): RowSchemas => {
  switch (batch._tag) {
    case "TradeBatch": {
      const code = MarketSchema.code("trades")
      return { of: () => code, time: batch.words.tsEvent, otherTime: batch.words.tsRecv }
    }
    case "BarBatch":
      return barSchemas(batch)
    case "QuoteBatch":
    case "BookBatch":
      return clockedSchemas(batch)
  }
}

/** Bar length in seconds to the code of its schema. */
const barCodes = new Map(
  MarketSchema.all
    .filter((schema) => MarketSchema.kind(schema) === "bars")
    .map((schema) => [MarketSchema.seconds(schema), MarketSchema.code(schema)])
)

const barSchemas = (batch: Extract<MarketBatch, { _tag: "BarBatch" }>): RowSchemas => {
  const { seconds, source } = batch.columns
  for (let row = 0; row < batch.length; row++) {
    if (!barCodes.has(seconds[row]!))
      throw refuse(batch, `row ${row} is a bar of ${seconds[row]} seconds, which no schema has`)
    if (source[row] !== 2)
      throw refuse(
        batch,
        `row ${row} is not a bar of the provider: bars from trades are made by the store out of the trades`
      )
  }
  return {
    of: (row) => barCodes.get(seconds[row]!)!,
    time: batch.words.tsEvent,
    otherTime: batch.words.tsEvent
  }
}

const isReceiveClock = new Int8Array(256).fill(-1)
for (const schema of MarketSchema.all)
  isReceiveClock[MarketSchema.code(schema)] = MarketSchema.clock(schema) === "ts_recv" ? 1 : 0

const clockedSchemas = (batch: Extract<MarketBatch, { _tag: "QuoteBatch" | "BookBatch" }>): RowSchemas => {
  const { schema } = batch.columns
  const kind = rowKind(batch)
  const { tsEvent, tsRecv } = batch.words
  let receiving = 0
  let checked = -1
  for (let row = 0; row < batch.length; row++) {
    const code = schema[row]!
    if (code !== checked) {
      const name = MarketSchema.fromCode(code)
      if (name === undefined || MarketSchema.kind(name) !== kind)
        throw refuse(batch, `row ${row} has schema ${name ?? `code ${code}`}, which is not one of ${kind}`)
      checked = code
    }
    receiving += isReceiveClock[code]!
  }
  const of = (row: number): number => schema[row]!
  if (receiving === 0) return { of, time: tsEvent, otherTime: tsRecv }
  if (receiving === batch.length) return { of, time: tsRecv, otherTime: tsEvent }
  return { of, ...mixedClocks(batch.length, schema, tsEvent, tsRecv) }
}

/** Rows of several schemas whose clocks differ: copies, in which each row has its own. */
const mixedClocks = (rows: number, schema: Uint8Array, tsEvent: Int32Array, tsRecv: Int32Array) => {
  const time = tsEvent.slice(0, 2 * rows)
  const otherTime = tsRecv.slice(0, 2 * rows)
  for (let row = 0; row < rows; row++) {
    if (isReceiveClock[schema[row]!] === 0) continue
    for (const word of [2 * row, 2 * row + 1]) {
      time[word] = tsRecv[word]!
      otherTime[word] = tsEvent[word]!
    }
  }
  return { time, otherTime }
}

/** Series found so far, by instrument and schema: an open-addressing hash over typed arrays. */
class SeriesIndex {
  #slots = new Int32Array(1024).fill(-1)
  #instrument = new Uint32Array(512)
  #schema = new Uint8Array(512)
  #length = 0
  #last = -1

  find(instrument: number, schema: number): number {
    const last = this.#last
    if (last >= 0 && this.#instrument[last] === instrument && this.#schema[last] === schema) return last
    const mask = this.#slots.length - 1
    let slot = hash(instrument, schema) & mask
    for (;;) {
      const index = this.#slots[slot]!
      if (index === -1) break
      if (this.#instrument[index] === instrument && this.#schema[index] === schema) {
        this.#last = index
        return index
      }
      slot = (slot + 1) & mask
    }
    if (this.#length === this.#instrument.length) return this.#grow().find(instrument, schema)
    const index = this.#length++
    this.#slots[slot] = index
    this.#instrument[index] = instrument
    this.#schema[index] = schema
    this.#last = index
    return index
  }

  #grow(): this {
    const instrument = new Uint32Array(this.#length * 2)
    const schema = new Uint8Array(this.#length * 2)
    instrument.set(this.#instrument)
    schema.set(this.#schema)
    this.#instrument = instrument
    this.#schema = schema
    this.#slots = new Int32Array(this.#length * 4).fill(-1)
    const mask = this.#slots.length - 1
    for (let index = 0; index < this.#length; index++) {
      let slot = hash(instrument[index]!, schema[index]!) & mask
      while (this.#slots[slot] !== -1) slot = (slot + 1) & mask
      this.#slots[slot] = index
    }
    return this
  }

  table(): SeriesTable {
    return {
      length: this.#length,
      instrument: this.#instrument.subarray(0, this.#length),
      schema: this.#schema.subarray(0, this.#length)
    }
  }
}

const hash = (instrument: number, schema: number): number => {
  const h = Math.imul(instrument, 0x9e3779b1) ^ Math.imul(schema, 0x85ebca6b)
  return h ^ (h >>> 15)
}

/**
 * Rows, first and last time per series and UTC day. `selected`, where given, has a 1 for every row
 * that counts.
 */
export const countDays = (scan: BatchScan, selected?: Uint8Array | undefined): ReadonlyArray<DayCount> => {
  const { seriesOf, time, length } = scan
  const counts = new DayCounts(scan.series.length)
  for (let row = 0; row < length; row++) {
    if (selected !== undefined && selected[row] === 0) continue
    counts.add(seriesOf[row]!, dayOf(time[2 * row]!, time[2 * row + 1]!), row, time)
  }
  return counts.list(time)
}

class DayCounts {
  /** Entry that the series' last row went to, or -1. */
  readonly #current: Int32Array
  /** Entries of series with more than one day. Most batches have none. */
  readonly #further = new Map<number, number>()
  #series: Array<number> = []
  #day: Array<number> = []
  #rows: Array<number> = []
  #first: Array<number> = []
  #last: Array<number> = []

  constructor(series: number) {
    this.#current = new Int32Array(series).fill(-1)
  }

  add(series: number, day: number, row: number, time: Int32Array): void {
    let entry = this.#current[series]!
    if (entry === -1 || this.#day[entry] !== day) {
      entry = this.#entry(series, day, row)
      this.#current[series] = entry
    }
    this.#rows[entry]! += 1
    if (isBefore(time, row, this.#first[entry]!)) this.#first[entry] = row
    if (isBefore(time, this.#last[entry]!, row)) this.#last[entry] = row
  }

  #entry(series: number, day: number, row: number): number {
    const isFirst = this.#current[series] === -1
    // A day number takes 18 bits.
    const key = series * 0x80000 + day + 0x40000
    const found = isFirst ? undefined : this.#further.get(key)
    if (found !== undefined) return found
    if (!isFirst && this.#further.size === 0) this.#remember()
    const entry = this.#series.length
    if (this.#further.size > 0) this.#further.set(key, entry)
    this.#series.push(series)
    this.#day.push(day)
    this.#rows.push(0)
    this.#first.push(row)
    this.#last.push(row)
    return entry
  }

  /** Puts the entries so far into the map: from now on it knows all. */
  #remember(): void {
    this.#series.forEach((series, entry) => {
      this.#further.set(series * 0x80000 + this.#day[entry]! + 0x40000, entry)
    })
  }

  list(time: Int32Array): ReadonlyArray<DayCount> {
    return this.#series.map((series, entry) => ({
      series,
      day: this.#day[entry]!,
      rows: this.#rows[entry]!,
      first: nanos(time, this.#first[entry]!),
      last: nanos(time, this.#last[entry]!)
    }))
  }
}
