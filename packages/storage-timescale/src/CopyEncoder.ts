/**
 * Batches as rows of their tables in binary COPY format: one loop per kind, no object or BigInt per ordinary row.
 *
 * Mantissas are brought to the scales of the instrument. A value that its scale cannot hold becomes NULL in the row and
 * an entry of `exact`, for the `*_exact` table. Absent values become NULL without an entry. Unsigned 16-bit publishers are
 * stored as the int2 with the same bits.
 */
import {
  ABSENT_I32,
  ABSENT_U16,
  ABSENT_U32,
  type BarBatch,
  type BookBatch,
  BookLevels,
  type MarketSchema,
  type QuoteBatch,
  type TradeBatch
} from "@data-manager/core"
import type { BatchScan } from "./BatchScan.ts"
import type { RowWriter } from "./RowWriter.ts"

/** Decimal places of prices and sizes, by series of the batch. */
export interface SeriesScales {
  readonly price: Int8Array
  readonly size: Int8Array
}

/** A value that is no int8 at the scale of its instrument. */
export interface ExactValue {
  readonly row: number
  /** Column of the table; `lane` is the level of a book, else 0. */
  readonly column: string
  readonly lane: number
  readonly mantissa: bigint
  readonly exponent: number
}

/** A batch on its way into its table. */
export interface EncodedBatch {
  /** Columns of the table, in the order of the fields. */
  readonly columns: ReadonlyArray<string>
  /** COPY chunks; to be run through once. Their memory is the writer's, see `RowWriter`. */
  readonly chunks: Iterable<Uint8Array>
  /** Filled while the chunks are made. */
  readonly exact: ReadonlyArray<ExactValue>
}

/** Table of each kind. */
export const tableOf: { readonly [K in MarketSchema.RowKind]: string } = {
  trades: "trade",
  quotes: "quote",
  bars: "bar",
  book: "book"
}

const tradeColumns = [
  "ts",
  "trade_key",
  "price",
  "size",
  "ts_recv",
  "instrument_id",
  "ts_in_delta",
  "ts_ns",
  "ts_recv_ns",
  "publisher",
  "side",
  "flags",
  "depth"
]
const quoteColumns = [
  "ts",
  "quote_key",
  "bid_price",
  "ask_price",
  "bid_size",
  "ask_size",
  "bid_count",
  "ask_count",
  "price",
  "size",
  "ts_other",
  "instrument_id",
  "ts_in_delta",
  "ts_ns",
  "ts_other_ns",
  "publisher",
  "bid_publisher",
  "ask_publisher",
  "schema",
  "side",
  "action",
  "flags",
  "depth"
]
const barColumns = [
  "ts",
  "open",
  "high",
  "low",
  "close",
  "trade_count",
  "instrument_id",
  "ts_ns",
  "schema",
  "publisher",
  "volume"
]
const bookColumns = [
  "ts",
  "book_key",
  "price",
  "size",
  "ts_other",
  "instrument_id",
  "ts_in_delta",
  "ts_ns",
  "ts_other_ns",
  "publisher",
  "schema",
  "side",
  "action",
  "flags",
  "depth",
  "bid_price",
  "ask_price",
  "bid_size",
  "ask_size",
  "bid_count",
  "ask_count"
]

/** Columns of each table as the encoder writes them. */
export const columnsOf: { readonly [K in MarketSchema.RowKind]: ReadonlyArray<string> } = {
  trades: tradeColumns,
  quotes: quoteColumns,
  bars: barColumns,
  book: bookColumns
}

/** The largest row in bytes: a book whose every field is present. */
export const MaxRowBytes = 2048

/** Writes rows from `from` on until the chunk is full; gives the first row that was not written. */
type Fill = (from: number) => number

/**
 * The rows of a batch. `numbered` adds the row's number as a last field `n` int4, for staging.
 */
export const encode = (
  writer: RowWriter,
  scan: BatchScan,
  scales: SeriesScales,
  numbered: boolean
): EncodedBatch => {
  const exact: Array<ExactValue> = []
  const fill = fillOf({ writer, scan, scales, numbered, exact })
  const columns = columnsOf[scan.kind]
  return { columns: numbered ? [...columns, "n"] : columns, chunks: chunks(writer, scan.length, fill), exact }
}

function* chunks(writer: RowWriter, rows: number, fill: Fill): Generator<Uint8Array> {
  writer.start()
  for (let row = fill(0); row < rows; row = fill(row)) yield writer.take()
  yield writer.finish()
}

interface Target {
  readonly writer: RowWriter
  readonly scan: BatchScan
  readonly scales: SeriesScales
  readonly numbered: boolean
  readonly exact: Array<ExactValue>
}

const fillOf = (target: Target): Fill => {
  const { batch } = target.scan
  switch (batch._tag) {
    case "TradeBatch":
      return (from) => fillTrades(target, batch, from)
    case "QuoteBatch":
      return (from) => fillQuotes(target, batch, from)
    case "BarBatch":
      return (from) => fillBars(target, batch, from)
    case "BookBatch":
      return (from) => fillBooks(target, batch, from)
  }
}

const fillTrades = (target: Target, batch: TradeBatch, from: number): number => {
  const { writer, scan, scales, numbered } = target
  const { tsEvent, tsRecv, tradeKey, price, size } = batch.words
  const { instrument, tsInDelta, publisher, priceExponent, sizeExponent, side, flags, depth } = batch.columns
  const fields = numbered ? 14 : 13
  let row = from
  for (; row < scan.length && writer.hasRoom; row++) {
    const series = scan.seriesOf[row]!
    const low = 2 * row
    const high = low + 1
    writer.row(fields)
    writer.time(tsEvent[low]!, tsEvent[high]!)
    const nanos = writer.nanos
    writer.i64(tradeKey[low]!, tradeKey[high]!)
    if (!writer.scaled(price[low]!, price[high]!, priceExponent[row]! + scales.price[series]!))
      keep(target, row, "price", batch.columns.price[row]!, priceExponent[row]!)
    if (!writer.scaled(size[low]!, size[high]!, sizeExponent[row]! + scales.size[series]!))
      keep(target, row, "size", batch.columns.size[row]!, sizeExponent[row]!)
    const received = writer.timeOrNull(tsRecv[low]!, tsRecv[high]!)
    writer.i32(instrument[row]!)
    if (tsInDelta[row] === ABSENT_I32) writer.null()
    else writer.i32(tsInDelta[row]!)
    writer.i16(nanos)
    if (received) writer.i16(writer.nanos)
    else writer.null()
    writer.i16(publisher[row]!)
    writer.i16(side[row]!)
    writer.i16(flags[row]!)
    writer.i16(depth[row]!)
    if (numbered) writer.i32(row)
  }
  return row
}

const fillQuotes = (target: Target, batch: QuoteBatch, from: number): number => {
  const { writer, scan, scales, numbered } = target
  const { time, otherTime } = scan
  const { quoteKey, bidPrice, askPrice, bidSize, askSize, price, size } = batch.words
  const c = batch.columns
  const fields = numbered ? 24 : 23
  let row = from
  for (; row < scan.length && writer.hasRoom; row++) {
    const series = scan.seriesOf[row]!
    const low = 2 * row
    const high = low + 1
    const priceExponent = c.priceExponent[row]!
    const sizeExponent = c.sizeExponent[row]!
    const priceShift = priceExponent + scales.price[series]!
    const sizeShift = sizeExponent + scales.size[series]!
    writer.row(fields)
    writer.time(time[low]!, time[high]!)
    const nanos = writer.nanos
    writer.i64(quoteKey[low]!, quoteKey[high]!)
    if (!writer.scaled(bidPrice[low]!, bidPrice[high]!, priceShift))
      keep(target, row, "bid_price", c.bidPrice[row]!, priceExponent)
    if (!writer.scaled(askPrice[low]!, askPrice[high]!, priceShift))
      keep(target, row, "ask_price", c.askPrice[row]!, priceExponent)
    if (!writer.scaled(bidSize[low]!, bidSize[high]!, sizeShift))
      keep(target, row, "bid_size", c.bidSize[row]!, sizeExponent)
    if (!writer.scaled(askSize[low]!, askSize[high]!, sizeShift))
      keep(target, row, "ask_size", c.askSize[row]!, sizeExponent)
    count(writer, c.bidCount[row]!)
    count(writer, c.askCount[row]!)
    if (!writer.scaled(price[low]!, price[high]!, priceShift))
      keep(target, row, "price", c.price[row]!, priceExponent)
    if (!writer.scaled(size[low]!, size[high]!, sizeShift))
      keep(target, row, "size", c.size[row]!, sizeExponent)
    const hasOther = writer.timeOrNull(otherTime[low]!, otherTime[high]!)
    writer.i32(c.instrument[row]!)
    if (c.tsInDelta[row] === ABSENT_I32) writer.null()
    else writer.i32(c.tsInDelta[row]!)
    writer.i16(nanos)
    if (hasOther) writer.i16(writer.nanos)
    else writer.null()
    writer.i16(c.publisher[row]!)
    venue(writer, c.bidPublisher[row]!)
    venue(writer, c.askPublisher[row]!)
    writer.i16(c.schema[row]!)
    writer.i16(c.side[row]!)
    writer.i16(c.action[row]!)
    writer.i16(c.flags[row]!)
    writer.i16(c.depth[row]!)
    if (numbered) writer.i32(row)
  }
  return row
}

const fillBars = (target: Target, batch: BarBatch, from: number): number => {
  const { writer, scan, scales, numbered } = target
  const { tsEvent, open, high, low, close, tradeCount } = batch.words
  const c = batch.columns
  let row = from
  for (; row < scan.length && writer.hasRoom; row++) {
    const series = scan.seriesOf[row]!
    const lo = 2 * row
    const hi = lo + 1
    const exponent = c.priceExponent[row]!
    const shift = exponent + scales.price[series]!
    writer.row(numbered ? 12 : 11)
    writer.time(tsEvent[lo]!, tsEvent[hi]!)
    const nanos = writer.nanos
    if (!writer.scaled(open[lo]!, open[hi]!, shift)) keep(target, row, "open", c.open[row]!, exponent)
    if (!writer.scaled(high[lo]!, high[hi]!, shift)) keep(target, row, "high", c.high[row]!, exponent)
    if (!writer.scaled(low[lo]!, low[hi]!, shift)) keep(target, row, "low", c.low[row]!, exponent)
    if (!writer.scaled(close[lo]!, close[hi]!, shift)) keep(target, row, "close", c.close[row]!, exponent)
    writer.i64OrNull(tradeCount[lo]!, tradeCount[hi]!)
    writer.i32(c.instrument[row]!)
    writer.i16(nanos)
    writer.i16(scan.series.schema[series]!)
    writer.i16(c.publisher[row]!)
    volume(writer, batch, row)
    if (numbered) writer.i32(row)
  }
  return row
}

const fillBooks = (target: Target, batch: BookBatch, from: number): number => {
  const { writer, scan, scales, numbered } = target
  const { time, otherTime } = scan
  const { bookKey, price, size, bidPrice, askPrice, bidSize, askSize } = batch.words
  const c = batch.columns
  let row = from
  for (; row < scan.length && writer.hasRoom; row++) {
    const series = scan.seriesOf[row]!
    const low = 2 * row
    const high = low + 1
    const priceExponent = c.priceExponent[row]!
    const sizeExponent = c.sizeExponent[row]!
    const priceShift = priceExponent + scales.price[series]!
    const sizeShift = sizeExponent + scales.size[series]!
    writer.row(numbered ? 22 : 21)
    writer.time(time[low]!, time[high]!)
    const nanos = writer.nanos
    writer.i64(bookKey[low]!, bookKey[high]!)
    if (!writer.scaled(price[low]!, price[high]!, priceShift))
      keep(target, row, "price", c.price[row]!, priceExponent)
    if (!writer.scaled(size[low]!, size[high]!, sizeShift))
      keep(target, row, "size", c.size[row]!, sizeExponent)
    const hasOther = writer.timeOrNull(otherTime[low]!, otherTime[high]!)
    writer.i32(c.instrument[row]!)
    if (c.tsInDelta[row] === ABSENT_I32) writer.null()
    else writer.i32(c.tsInDelta[row]!)
    writer.i16(nanos)
    if (hasOther) writer.i16(writer.nanos)
    else writer.null()
    writer.i16(c.publisher[row]!)
    writer.i16(c.schema[row]!)
    writer.i16(c.side[row]!)
    writer.i16(c.action[row]!)
    writer.i16(c.flags[row]!)
    writer.i16(c.depth[row]!)
    levels(target, row, "bid_price", bidPrice, c.bidPrice, priceExponent, priceShift)
    levels(target, row, "ask_price", askPrice, c.askPrice, priceExponent, priceShift)
    levels(target, row, "bid_size", bidSize, c.bidSize, sizeExponent, sizeShift)
    levels(target, row, "ask_size", askSize, c.askSize, sizeExponent, sizeShift)
    counts(writer, c.bidCount, row)
    counts(writer, c.askCount, row)
    if (numbered) writer.i32(row)
  }
  return row
}

const keep = (
  target: Target,
  row: number,
  column: string,
  mantissa: bigint,
  exponent: number,
  lane = 0
): void => {
  target.exact.push({ row, column, lane, mantissa, exponent })
}

const count = (writer: RowWriter, value: number): void => {
  if (value === ABSENT_U32) writer.null()
  else writer.i64(value | 0, 0)
}

const venue = (writer: RowWriter, publisher: number): void => {
  if (publisher === ABSENT_U16) writer.null()
  else writer.i16(publisher)
}

const levels = (
  target: Target,
  row: number,
  column: string,
  words: Int32Array,
  values: BigInt64Array,
  exponent: number,
  shift: number
): void => {
  const { writer } = target
  const start = writer.array("int8", BookLevels)
  for (let lane = 0; lane < BookLevels; lane++) {
    const i = row * BookLevels + lane
    if (!writer.scaled(words[2 * i]!, words[2 * i + 1]!, shift))
      keep(target, row, column, values[i]!, exponent, lane)
  }
  writer.endArray(start)
}

const counts = (writer: RowWriter, values: Uint32Array, row: number): void => {
  const start = writer.array("int8", BookLevels)
  for (let lane = 0; lane < BookLevels; lane++) count(writer, values[row * BookLevels + lane]!)
  writer.endArray(start)
}

/** Volume of a bar: 128 bits, nearly always within 2^53. */
const volume = (writer: RowWriter, batch: BarBatch, row: number): void => {
  const { volumeLow, volumeHigh } = batch.words
  const exponent = batch.columns.volumeExponent[row]!
  const middle = volumeLow[2 * row + 1]!
  const isSmall =
    volumeHigh[2 * row] === 0 && volumeHigh[2 * row + 1] === 0 && middle >= 0 && middle < 0x200000
  if (isSmall && exponent <= 0 && exponent >= -22)
    writer.numericNumber(middle * 4_294_967_296 + (volumeLow[2 * row]! >>> 0), exponent)
  else {
    const { mantissa } = batch.volumeDecimal(row)
    writer.numeric(mantissa, exponent)
  }
}
