/**
 * Bars from rows in read order, exactly: trades into bars, bars into longer ones, and bars for times without any.
 *
 * Because the rows come in (time, tsRecv, key) order, the first of a bar opens it and the last one closes it. A trade
 * without a price makes no part of a bar; one without a size counts and adds no volume. Volumes are added as doubles
 * while they are whole numbers that doubles hold, and as bigints beyond.
 */
import {
  ABSENT_I64_HIGH,
  ABSENT_I64_LOW,
  type BarBatch,
  BarFromProvider,
  BarFromTrades,
  type BarLayout,
  type BarSource,
  type BatchBuilder,
  barBuilder,
  Decimal,
  type TradeBatch,
  UnixNanos
} from "@data-manager/core"
import { fitVolume } from "./BarRows.ts"
import { storeDouble } from "./CopyField.ts"
import type { ReadContext } from "./ReadContext.ts"
import { alignExact, type Cell, ReadInstruments, storeInt64 } from "./RowColumns.ts"

/** What the fold makes. */
export interface BarFoldOptions {
  readonly context: ReadContext
  /** Length of the bars made. */
  readonly seconds: number
  readonly source: BarSource
  readonly batchRows: number
  /** Start of the last bar of each series, ns; times without trades are filled up to it. Undefined: nothing is filled. */
  readonly fillUntil: ReadonlyMap<number, bigint> | undefined
}

/** Number of a series: bars of one instrument and publisher. */
export const seriesKey = (instrument: number, publisher: number): number => instrument * 65536 + publisher

/** Places of the four prices in an accumulator. */
const Open = 0
const High = 1
const Low = 2
const Close = 3

/** One series: the bar being made, and the last close. */
class Series {
  readonly key: number
  readonly instrument: number
  readonly publisher: number
  readonly dataset: number
  readonly sizeExponent: number
  /** Words of open, high, low, close. */
  readonly prices = new Int32Array(8)
  readonly exponents = new Int8Array(4)
  hasPrice = false
  count = 0
  hasCount = true
  volume = 0
  volumeExponent = 0
  /** The volume where it is no safe integer at `volumeExponent`. */
  wide: Decimal.Decimal | undefined
  /** Whether the bar being made has a row. */
  isOpen = false
  /** Whether any bar was made that a filled one could repeat. */
  hasClose = false

  constructor(key: number, instrument: number, publisher: number, dataset: number, sizeExponent: number) {
    this.key = key
    this.instrument = instrument
    this.publisher = publisher
    this.dataset = dataset
    this.sizeExponent = sizeExponent
  }

  begin(): void {
    this.isOpen = true
    this.hasPrice = false
    this.count = 0
    this.hasCount = true
    this.volume = 0
    this.volumeExponent = this.sizeExponent
    this.wide = undefined
  }

  /** A price that may open, raise, lower and close the bar. */
  price(words: Int32Array, row: number, exponent: number): void {
    if (!this.hasPrice) {
      this.#set(Open, words, row, exponent)
      this.#set(High, words, row, exponent)
      this.#set(Low, words, row, exponent)
      this.hasPrice = true
    } else {
      this.raise(words, row, exponent)
      this.lower(words, row, exponent)
    }
    this.close(words, row, exponent)
  }

  raise(words: Int32Array, row: number, exponent: number): void {
    if (this.#compare(High, words, row, exponent) < 0) this.#set(High, words, row, exponent)
  }

  lower(words: Int32Array, row: number, exponent: number): void {
    if (this.#compare(Low, words, row, exponent) > 0) this.#set(Low, words, row, exponent)
  }

  close(words: Int32Array, row: number, exponent: number): void {
    this.#set(Close, words, row, exponent)
  }

  /** All four of a bar; the first of a longer bar. */
  setAll(
    open: Int32Array,
    high: Int32Array,
    low: Int32Array,
    close: Int32Array,
    row: number,
    exponent: number
  ): void {
    this.#set(Open, open, row, exponent)
    this.#set(High, high, row, exponent)
    this.#set(Low, low, row, exponent)
    this.#set(Close, close, row, exponent)
    this.hasPrice = true
  }

  addVolume(mantissa: number, exponent: number): void {
    const sum = this.volume + mantissa
    if (this.wide === undefined && exponent === this.volumeExponent && Number.isSafeInteger(sum))
      this.volume = sum
    else this.addWide({ mantissa: BigInt(mantissa), exponent })
  }

  addWide(value: Decimal.Decimal): void {
    const held = this.wide ?? { mantissa: BigInt(this.volume), exponent: this.volumeExponent }
    const exponent = Math.min(held.exponent, value.exponent)
    this.wide = {
      mantissa:
        held.mantissa * Decimal.pow10(held.exponent - exponent) +
        value.mantissa * Decimal.pow10(value.exponent - exponent),
      exponent
    }
  }

  decimal(place: number): Decimal.Decimal {
    const low = BigInt(this.prices[2 * place]! >>> 0)
    return { mantissa: (BigInt(this.prices[2 * place + 1]!) << 32n) | low, exponent: this.exponents[place]! }
  }

  #set(place: number, words: Int32Array, row: number, exponent: number): void {
    this.prices[2 * place] = words[2 * row]!
    this.prices[2 * place + 1] = words[2 * row + 1]!
    this.exponents[place] = exponent
  }

  /** The held price against another one. */
  #compare(place: number, words: Int32Array, row: number, exponent: number): number {
    if (this.exponents[place] === exponent) {
      const high = this.prices[2 * place + 1]! - words[2 * row + 1]!
      return high !== 0 ? high : (this.prices[2 * place]! >>> 0) - (words[2 * row]! >>> 0)
    }
    const mantissa = (BigInt(words[2 * row + 1]!) << 32n) | BigInt(words[2 * row]! >>> 0)
    return Decimal.compare(this.decimal(place), { mantissa, exponent })
  }
}

type Builder = BatchBuilder<typeof BarLayout, BarBatch>

const Word = 4294967296
/** Bars are few: a batch of them need not be larger. */
const MaxRows = 8192

/** Makes bars. Feed it batches in read order, take what it yields, and `finish`. */
export class BarFold {
  readonly #options: BarFoldOptions
  readonly #instruments: ReadInstruments
  readonly #length: bigint
  readonly #series = new Map<number, Series>()
  #lastSeries: Series | undefined
  /** Series with a row in the bar being made. */
  #open: Array<Series> = []
  /** Series whose times without trades are being filled. */
  #filled = new Set<Series>()
  /** Start of the bars being made, and their end as words. */
  #start: bigint | undefined
  #endLow = 0
  #endHigh = 0
  readonly #builders = new Map<number, Builder>()
  /** The builder in use, and its dataset: rows of another one end its batch. */
  #builder: Builder | undefined
  #dataset = -1

  constructor(options: BarFoldOptions) {
    this.#options = options
    this.#instruments = new ReadInstruments(options.context.instruments)
    this.#length = BigInt(options.seconds) * UnixNanos.PerSecond
  }

  /** Bars that these trades complete. */
  *trades(batch: TradeBatch): Generator<BarBatch> {
    const { columns, words } = batch
    const { price, size, tsEvent } = words
    for (let i = 0; i < batch.length; i++) {
      if (price[2 * i] === ABSENT_I64_LOW && price[2 * i + 1] === ABSENT_I64_HIGH) continue
      if (!this.#isWithin(tsEvent, i)) yield* this.#advance(columns.tsEvent[i]!)
      const series = this.#of(columns.instrument[i]!, 0)
      series.price(price, i, columns.priceExponent[i]!)
      series.count += 1
      const [low, high] = [size[2 * i]!, size[2 * i + 1]!]
      if (low === ABSENT_I64_LOW && high === ABSENT_I64_HIGH) continue
      const mantissa = high * Word + (low >>> 0)
      if (Number.isSafeInteger(mantissa)) series.addVolume(mantissa, columns.sizeExponent[i]!)
      else series.addWide({ mantissa: columns.size[i]!, exponent: columns.sizeExponent[i]! })
    }
  }

  /** Longer bars that these bars complete. */
  *bars(batch: BarBatch): Generator<BarBatch> {
    const { columns, words } = batch
    for (let i = 0; i < batch.length; i++) {
      if (!this.#isWithin(words.tsEvent, i)) yield* this.#advance(columns.tsEvent[i]!)
      this.#addBar(batch, i)
    }
  }

  /** The bars of the last time. */
  *finish(): Generator<BarBatch> {
    if (this.#start !== undefined) yield* this.#complete(this.#start)
    yield* this.#flush()
  }

  #addBar({ columns, words }: BarBatch, i: number): void {
    const series = this.#of(columns.instrument[i]!, columns.publisher[i]!)
    const exponent = columns.priceExponent[i]!
    const { open, high, low, close } = words
    const has = (word: Int32Array): boolean =>
      word[2 * i] !== ABSENT_I64_LOW || word[2 * i + 1] !== ABSENT_I64_HIGH
    // A provider's bar without one of its prices adds none of them.
    if (has(open) && has(high) && has(low) && has(close)) {
      if (!series.hasPrice) series.setAll(open, high, low, close, i, exponent)
      else {
        series.raise(high, i, exponent)
        series.lower(low, i, exponent)
        series.close(close, i, exponent)
      }
    }
    // A sum with an unknown part is unknown.
    if (has(words.tradeCount)) series.count += Number(columns.tradeCount[i]!)
    else series.hasCount = false
    const volume = volumeNumber(words.volumeLow, words.volumeHigh, i)
    if (volume === undefined) {
      const mantissa = (columns.volumeHigh[i]! << 64n) + columns.volumeLow[i]!
      series.addWide({ mantissa, exponent: columns.volumeExponent[i]! })
    } else series.addVolume(volume, columns.volumeExponent[i]!)
  }

  #isWithin(time: Int32Array, i: number): boolean {
    const high = time[2 * i + 1]!
    if (this.#start === undefined || high > this.#endHigh) return false
    return high < this.#endHigh || time[2 * i]! >>> 0 < this.#endLow
  }

  /** The series of a row, with a bar begun. */
  #of(instrument: number, publisher: number): Series {
    const key = seriesKey(instrument, publisher)
    let series = this.#lastSeries?.key === key ? this.#lastSeries : this.#series.get(key)
    if (series === undefined) {
      const { dataset, sizeExponent } = this.#instruments.of(instrument)
      series = new Series(key, instrument, publisher, dataset, sizeExponent)
      this.#series.set(key, series)
    }
    this.#lastSeries = series
    if (!series.isOpen) {
      series.begin()
      this.#open.push(series)
    }
    return series
  }

  /** Completes the bars being made and begins those of `time`. */
  *#advance(time: bigint): Generator<BarBatch> {
    const start = floor(time, this.#length)
    if (this.#start !== undefined) {
      yield* this.#complete(this.#start)
      for (let gap = this.#start + this.#length; gap < start && this.#filled.size > 0; gap += this.#length)
        yield* this.#complete(gap)
    }
    this.#start = start
    const end = start + this.#length
    this.#endLow = Number(end & 0xffffffffn)
    this.#endHigh = Number(end >> 32n)
  }

  /** Puts the bars of one time out: those with rows and those to be filled, by instrument and publisher. */
  *#complete(start: bigint): Generator<BarBatch> {
    const due = [...this.#open, ...[...this.#filled].filter((series) => !series.isOpen)].sort(
      (a, b) => a.instrument - b.instrument || a.publisher - b.publisher
    )
    this.#open = []
    for (const series of due) {
      if (this.#dataset !== series.dataset) {
        yield* this.#flush()
        this.#use(series.dataset)
      }
      this.#put(series, start)
      series.isOpen = false
      this.#followFill(series, start)
      if (this.#builder!.length >= this.#options.batchRows || this.#builder!.isFull) yield* this.#flush()
    }
  }

  #use(dataset: number): void {
    let builder = this.#builders.get(dataset)
    if (builder === undefined) {
      const rows = Math.min(this.#options.batchRows, MaxRows)
      builder = barBuilder(this.#options.context.contexts[dataset]!, rows)
      this.#builders.set(dataset, builder)
    }
    this.#builder = builder
    this.#dataset = dataset
  }

  #followFill(series: Series, start: bigint): void {
    const last = this.#options.fillUntil?.get(series.key)
    if (last !== undefined && series.hasClose && start < last) this.#filled.add(series)
    else this.#filled.delete(series)
  }

  *#flush(): Generator<BarBatch> {
    if (this.#builder !== undefined && this.#builder.length > 0) yield this.#builder.flush()
  }

  #put(series: Series, start: bigint): void {
    const builder = this.#builder!
    const { columns, words } = builder
    const i = builder.length
    columns.tsEvent[i] = start
    columns.instrument[i] = series.instrument
    columns.publisher[i] = series.publisher
    columns.seconds[i] = this.#options.seconds
    columns.source[i] = this.#options.source === "provider" ? BarFromProvider : BarFromTrades
    if (series.isOpen) {
      this.#putRow(series, builder, i)
      series.hasClose = series.hasPrice
    } else {
      for (const column of [words.open, words.high, words.low, words.close])
        copyPrice(series, Close, column, i)
      columns.priceExponent[i] = series.exponents[Close]!
      columns.volumeExponent[i] = series.sizeExponent
      columns.volumeLow[i] = 0n
      columns.volumeHigh[i] = 0n
      columns.tradeCount[i] = 0n
    }
    builder.length = i + 1
  }

  #putRow(series: Series, builder: Builder, i: number): void {
    const { columns, words } = builder
    const places = [words.open, words.high, words.low, words.close]
    if (series.hasPrice) {
      for (const [place, column] of places.entries()) copyPrice(series, place, column, i)
      const [exponent] = series.exponents
      columns.priceExponent[i] = series.exponents.every((each) => each === exponent)
        ? exponent!
        : alignExact(
            exponent!,
            places.map((column, place): Cell => {
              return { words: column, at: i, exact: Decimal.normalize(series.decimal(place)) }
            })
          )
    } else {
      for (const column of places) {
        column[2 * i] = ABSENT_I64_LOW
        column[2 * i + 1] = ABSENT_I64_HIGH
      }
      columns.priceExponent[i] = 0
    }
    if (series.hasCount) storeDouble(series.count, words.tradeCount, i)
    else {
      words.tradeCount[2 * i] = ABSENT_I64_LOW
      words.tradeCount[2 * i + 1] = ABSENT_I64_HIGH
    }
    putVolume(series, builder, i)
  }
}

const copyPrice = (series: Series, place: number, column: Int32Array, i: number): void => {
  column[2 * i] = series.prices[2 * place]!
  column[2 * i + 1] = series.prices[2 * place + 1]!
}

const putVolume = (series: Series, builder: Builder, i: number): void => {
  const { columns, words } = builder
  const { wide } = series
  if (wide === undefined && series.volume >= 0) {
    columns.volumeExponent[i] = series.volumeExponent
    storeDouble(series.volume, words.volumeLow, i)
    columns.volumeHigh[i] = 0n
    return
  }
  const total = fitVolume(
    wide ?? { mantissa: BigInt(series.volume), exponent: series.volumeExponent },
    series.sizeExponent
  )
  columns.volumeExponent[i] = total.exponent
  columns.volumeLow[i] = BigInt.asUintN(64, total.mantissa)
  storeInt64(total.mantissa >> 64n, words.volumeHigh, i)
}

/** A volume that a double holds exactly. */
const volumeNumber = (low: Int32Array, high: Int32Array, i: number): number | undefined => {
  if (high[2 * i] !== 0 || high[2 * i + 1] !== 0) return undefined
  const mantissa = (low[2 * i + 1]! >>> 0) * Word + (low[2 * i]! >>> 0)
  return Number.isSafeInteger(mantissa) ? mantissa : undefined
}

/** The largest multiple of `length` that is not after `time`. */
export const floor = (time: bigint, length: bigint): bigint => {
  const rest = time % length
  return rest < 0n ? time - rest - length : time - rest
}
