/**
 * Trades to bars, exactly: a pure fold over the columns of one batch.
 *
 * A partial bar is what the trades of one batch contribute to a bar. It remembers rows, not values: which trade opens,
 * is highest, is lowest, closes. So any mixture of exponents is exact, and nothing is copied. Opening and closing trades
 * are decided by (tsEvent in ns, tsRecv with absent last, tradeKey). Trades without a price make no bar; one without a
 * size counts and adds no volume.
 */
import { ABSENT_I64_HIGH, ABSENT_I64_LOW } from "./Absent.ts"
import * as Decimal from "./Decimal.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** Growable columns of partial bars. */
class BarTable {
  readonly batch: TradeBatch
  readonly seconds: number
  length = 0
  capacity = 256
  instrument = new Uint32Array(this.capacity)
  bucket = new Float64Array(this.capacity)
  openRow = new Int32Array(this.capacity)
  highRow = new Int32Array(this.capacity)
  lowRow = new Int32Array(this.capacity)
  closeRow = new Int32Array(this.capacity)
  tradeCount = new Float64Array(this.capacity)
  /** Volume mantissa at `volumeExponent`, exact while it is a safe integer; beyond, and where exponents differ, `wide`. */
  volume = new Float64Array(this.capacity)
  volumeExponent = new Int8Array(this.capacity)
  readonly wide = new Map<number, Decimal.Decimal>()
  #slots = new Int32Array(1024).fill(-1)

  constructor(batch: TradeBatch, seconds: number) {
    this.batch = batch
    this.seconds = seconds
  }

  /** Index of the bar, or -1 minus the index at which it was just opened. */
  find(instrument: number, bucket: number): number {
    const mask = this.#slots.length - 1
    let slot = hash(instrument, bucket) & mask
    for (;;) {
      const index = this.#slots[slot]!
      if (index === -1) break
      if (this.instrument[index] === instrument && this.bucket[index] === bucket) return index
      slot = (slot + 1) & mask
    }
    if (this.length === this.capacity) this.#growColumns()
    const index = this.length++
    this.instrument[index] = instrument
    this.bucket[index] = bucket
    this.#slots[slot] = index
    if (this.length * 2 > this.#slots.length) this.#growSlots()
    return -1 - index
  }

  #growColumns(): void {
    this.capacity *= 2
    const grow = <A extends Uint32Array | Float64Array | Int32Array | Int8Array>(from: A): A => {
      const to = new (from.constructor as new (n: number) => A)(this.capacity)
      to.set(from)
      return to
    }
    this.instrument = grow(this.instrument)
    this.bucket = grow(this.bucket)
    this.openRow = grow(this.openRow)
    this.highRow = grow(this.highRow)
    this.lowRow = grow(this.lowRow)
    this.closeRow = grow(this.closeRow)
    this.tradeCount = grow(this.tradeCount)
    this.volume = grow(this.volume)
    this.volumeExponent = grow(this.volumeExponent)
  }

  #growSlots(): void {
    this.#slots = new Int32Array(this.#slots.length * 2).fill(-1)
    const mask = this.#slots.length - 1
    for (let index = 0; index < this.length; index++) {
      let slot = hash(this.instrument[index]!, this.bucket[index]!) & mask
      while (this.#slots[slot] !== -1) slot = (slot + 1) & mask
      this.#slots[slot] = index
    }
  }
}

const hash = (instrument: number, bucket: number): number => {
  const h = Math.imul(instrument, 0x9e3779b1) ^ Math.imul(bucket, 0x85ebca6b)
  return h ^ (h >>> 15)
}

/** What the trades of one batch contribute to bars of one length, in order of first appearance. */
export interface PartialBars {
  readonly batch: TradeBatch
  /** Length of the bars. */
  readonly seconds: number
  readonly length: number
  readonly instrument: Uint32Array
  /** Start of each bar, whole seconds since the epoch. */
  readonly bucket: Float64Array
  /** Rows of `batch` that open, are highest, are lowest and close. Their prices are never absent. */
  readonly openRow: Int32Array
  readonly highRow: Int32Array
  readonly lowRow: Int32Array
  readonly closeRow: Int32Array
  readonly tradeCount: Float64Array
  /** Exact volume of bar `i`. */
  readonly volumeOf: (i: number) => Decimal.Decimal
}

const partialBars = (table: BarTable): PartialBars => ({
  batch: table.batch,
  seconds: table.seconds,
  length: table.length,
  instrument: table.instrument.subarray(0, table.length),
  bucket: table.bucket.subarray(0, table.length),
  openRow: table.openRow.subarray(0, table.length),
  highRow: table.highRow.subarray(0, table.length),
  lowRow: table.lowRow.subarray(0, table.length),
  closeRow: table.closeRow.subarray(0, table.length),
  tradeCount: table.tradeCount.subarray(0, table.length),
  volumeOf: (i) => volumeOf(table, i)
})

const volumeOf = (table: BarTable, i: number): Decimal.Decimal =>
  table.wide.get(i) ?? { mantissa: BigInt(table.volume[i]!), exponent: table.volumeExponent[i]! }

/**
 * Partial bars of one minute of the trades of a batch. `selected`, where given, has a 1 for every row that counts.
 * A minute is 2^11 x 29,296,875 ns, so 53 bits decide exactly over the whole i64 range.
 */
export const foldMinutes = (batch: TradeBatch, selected?: Uint8Array | undefined): PartialBars => {
  const table = new BarTable(batch, 60)
  const { tsEvent, price } = batch.words
  const { instrument } = batch.columns
  for (let row = 0; row < batch.length; row++) {
    if (selected !== undefined && selected[row] === 0) continue
    if (price[2 * row] === ABSENT_I64_LOW && price[2 * row + 1] === ABSENT_I64_HIGH) continue
    const minute = Math.floor((tsEvent[2 * row + 1]! * 2097152 + (tsEvent[2 * row]! >>> 11)) / 29296875)
    const found = table.find(instrument[row]!, minute * 60)
    if (found < 0) open(table, -1 - found, row)
    else extend(table, found, row)
  }
  return partialBars(table)
}

const open = (table: BarTable, bar: number, row: number): void => {
  table.openRow[bar] = row
  table.highRow[bar] = row
  table.lowRow[bar] = row
  table.closeRow[bar] = row
  table.tradeCount[bar] = 1
  table.volumeExponent[bar] = table.batch.columns.sizeExponent[row]!
  addSize(table, bar, row)
}

const extend = (table: BarTable, bar: number, row: number): void => {
  const { batch } = table
  if (isBefore(batch, row, table.openRow[bar]!)) table.openRow[bar] = row
  if (!isBefore(batch, row, table.closeRow[bar]!)) table.closeRow[bar] = row
  if (comparePrice(batch, row, table.highRow[bar]!) > 0) table.highRow[bar] = row
  if (comparePrice(batch, row, table.lowRow[bar]!) < 0) table.lowRow[bar] = row
  table.tradeCount[bar]! += 1
  addSize(table, bar, row)
}

const addSize = (table: BarTable, bar: number, row: number): void => {
  const { words, columns } = table.batch
  const low = words.size[2 * row]!
  const high = words.size[2 * row + 1]!
  if (low === ABSENT_I64_LOW && high === ABSENT_I64_HIGH) return
  const exponent = columns.sizeExponent[row]!
  if (exponent === table.volumeExponent[bar] && !table.wide.has(bar)) {
    // Both parts are exact while they and their sum are safe integers.
    const size = high * 4294967296 + (low >>> 0)
    const sum = table.volume[bar]! + size
    if (Number.isSafeInteger(size) && Number.isSafeInteger(sum)) {
      table.volume[bar] = sum
      return
    }
  }
  table.wide.set(bar, add(volumeOf(table, bar), { mantissa: columns.size[row]!, exponent }))
}

const add = (a: Decimal.Decimal, b: Decimal.Decimal): Decimal.Decimal => {
  const exponent = Math.min(a.exponent, b.exponent)
  const mantissa =
    a.mantissa * Decimal.pow10(a.exponent - exponent) + b.mantissa * Decimal.pow10(b.exponent - exponent)
  return { mantissa, exponent }
}

/** Whether row `a` comes before row `b` in (tsEvent, tsRecv, tradeKey) order. */
const isBefore = (batch: TradeBatch, a: number, b: number): boolean => {
  const { tsEvent, tsRecv, tradeKey } = batch.words
  const byEvent = compareWords(tsEvent, a, b)
  if (byEvent !== 0) return byEvent < 0
  const byRecv = compareWords(tsRecv, a, b)
  if (byRecv !== 0) return byRecv < 0
  return compareWords(tradeKey, a, b) < 0
}

/** Signed 64-bit comparison of two elements, by words. */
const compareWords = (words: Int32Array, a: number, b: number): number => {
  const high = words[2 * a + 1]! - words[2 * b + 1]!
  return high !== 0 ? high : (words[2 * a]! >>> 0) - (words[2 * b]! >>> 0)
}

const comparePrice = (batch: TradeBatch, a: number, b: number): number => {
  const { price, priceExponent } = batch.columns
  if (priceExponent[a] === priceExponent[b]) return compareWords(batch.words.price, a, b)
  return Decimal.compare(
    { mantissa: price[a]!, exponent: priceExponent[a]! },
    { mantissa: price[b]!, exponent: priceExponent[b]! }
  )
}

/** Longer partial bars from shorter ones of the same batch; `seconds` is a multiple of theirs. */
export const foldBars = (bars: PartialBars, seconds: number): PartialBars => {
  const { batch } = bars
  const table = new BarTable(batch, seconds)
  for (let i = 0; i < bars.length; i++) {
    const bucket = Math.floor(bars.bucket[i]! / seconds) * seconds
    const found = table.find(bars.instrument[i]!, bucket)
    const bar = found < 0 ? -1 - found : found
    if (found < 0) {
      table.openRow[bar] = bars.openRow[i]!
      table.highRow[bar] = bars.highRow[i]!
      table.lowRow[bar] = bars.lowRow[i]!
      table.closeRow[bar] = bars.closeRow[i]!
    } else {
      if (isBefore(batch, bars.openRow[i]!, table.openRow[bar]!)) table.openRow[bar] = bars.openRow[i]!
      if (!isBefore(batch, bars.closeRow[i]!, table.closeRow[bar]!)) table.closeRow[bar] = bars.closeRow[i]!
      if (comparePrice(batch, bars.highRow[i]!, table.highRow[bar]!) > 0)
        table.highRow[bar] = bars.highRow[i]!
      if (comparePrice(batch, bars.lowRow[i]!, table.lowRow[bar]!) < 0) table.lowRow[bar] = bars.lowRow[i]!
    }
    table.tradeCount[bar]! += bars.tradeCount[i]!
    addVolume(table, bar, bars.volumeOf(i), found < 0)
  }
  return partialBars(table)
}

const addVolume = (table: BarTable, bar: number, volume: Decimal.Decimal, isFirst: boolean): void => {
  if (isFirst) table.volumeExponent[bar] = volume.exponent
  const sum = add(isFirst ? { mantissa: 0n, exponent: volume.exponent } : volumeOf(table, bar), volume)
  const mantissa = Number(sum.mantissa)
  if (!table.wide.has(bar) && sum.exponent === table.volumeExponent[bar] && Number.isSafeInteger(mantissa))
    table.volume[bar] = mantissa
  else table.wide.set(bar, sum)
}
