/**
 * DBN records straight into batch columns: the loops that every stored row passes through. 32-bit words in, 32-bit words
 * out; no object, bigint or DataView per record.
 *
 * A gatherer reads records of its type from word `from` on and returns the word where it stopped: at the end of the block,
 * at a record of another type, or because the builder is full. Columns hold the vendor's instrument ids; whoever
 * publishes the batch replaces them (`NativeInstrumentMap`).
 *
 * Absent values: the undefined price is the absent i64 already; undefined sizes and times are translated. A row without
 * the clock that its schema is stored by cannot be stored: it is counted and left out.
 */
import type {
  BarLayout,
  BatchBuilder,
  BookLayout,
  MarketBatch,
  QuoteLayout,
  TradeKey,
  TradeLayout
} from "@data-manager/core"
import {
  ABSENT_I32,
  ABSENT_I64_HIGH,
  ABSENT_I64_LOW,
  ABSENT_U16,
  ABSENT_U32,
  BarFromProvider
} from "@data-manager/core"
import type { RecordBlock } from "./dbn/RecordBlock.ts"
import { PRICE_EXPONENT } from "./dbn/Sentinel.ts"

/** Records that gave no row, by cause. */
export type CountLeftOut = (cause: string, records: number) => void

type Ordinals = TradeKey.OrdinalCounter
type Builder<L extends typeof TradeLayout | typeof QuoteLayout | typeof BarLayout | typeof BookLayout> =
  BatchBuilder<L, MarketBatch>

/** 'T' */
const TRADE = 0x54

/** Side letters on the wire as batch sides: B buy or bid, A sell or ask, everything else none. */
const sides = new Uint8Array(256)
sides[0x42] = 1
sides[0x41] = 2

/** Whether a u64 time is undefined, or beyond what an i64 column can hold. */
const isAbsentTime = (low: number, high: number): boolean =>
  high < 0 || (high === ABSENT_I64_HIGH && low === ABSENT_I64_LOW)

/** Trades (rtype 0) with action T; others are no trades of the `trades` schema and are counted. */
export const gatherTrades = (
  block: RecordBlock,
  from: number,
  builder: Builder<typeof TradeLayout>,
  ordinals: Ordinals,
  leftOut: CountLeftOut
): number => {
  const { words, end } = block
  const { tsEvent, tsRecv, tradeKey, price, size } = builder.words
  const { instrument, tsInDelta, publisher, side, flags, depth } = builder.columns
  const first = builder.length
  const { capacity } = builder
  let row = first
  let p = from
  while (p < end && row < capacity) {
    const head = words[p]!
    if ((head & 0xff00) !== 0) break
    const event = words[p + 7]!
    const low = words[p + 2]!
    const high = words[p + 3]!
    if ((event & 0xff) !== TRADE || isAbsentTime(low, high)) {
      leftOut((event & 0xff) === TRADE ? "trades without ts_event" : actionName("trades", event & 0xff), 1)
      p += head & 0xff
      continue
    }
    const native = words[p + 1]!
    const source = head >>> 16
    const sequence = words[p + 11]!
    const ordinal = ordinals.next(native, source, low, high, sequence)
    const j = row * 2
    const recvHigh = words[p + 9]!
    const quantity = words[p + 6]!
    tsEvent[j] = low
    tsEvent[j + 1] = high
    tsRecv[j] = recvHigh < 0 ? ABSENT_I64_LOW : words[p + 8]!
    tsRecv[j + 1] = recvHigh < 0 ? ABSENT_I64_HIGH : recvHigh
    tradeKey[j] = (sequence << 16) | ordinal
    tradeKey[j + 1] = (source << 16) | (sequence >>> 16)
    price[j] = words[p + 4]!
    price[j + 1] = words[p + 5]!
    size[j] = quantity
    size[j + 1] = quantity === -1 ? ABSENT_I64_HIGH : 0
    instrument[row] = native
    tsInDelta[row] = words[p + 10]!
    publisher[row] = source
    side[row] = sides[(event >>> 8) & 0xff]!
    flags[row] = event >>> 16
    depth[row] = event >>> 24
    row++
    p += head & 0xff
  }
  finish(builder, first, row)
  return p
}

/** What differs between the records of one top of book. */
export interface QuoteShape {
  /** Code of the market schema, for the rows. */
  readonly schema: number
  /** The schema's name, for counts. */
  readonly name: string
  /** Event-driven ones are stored by ts_event, sampled ones by ts_recv. */
  readonly clock: "ts_event" | "ts_recv"
  readonly hasAction: boolean
  readonly hasDepth: boolean
  readonly hasDelta: boolean
  readonly hasSequence: boolean
  /** Levels name the publisher of each side instead of counting orders. */
  readonly isConsolidated: boolean
}

/** Top-of-book records of one type: mbp-1, tbbo, bbo, cmbp-1, tcbbo, cbbo. */
export const gatherQuotes = (
  block: RecordBlock,
  from: number,
  builder: Builder<typeof QuoteLayout>,
  ordinals: Ordinals,
  leftOut: CountLeftOut,
  shape: QuoteShape
): number => {
  const { words, end } = block
  const { tsEvent, tsRecv, quoteKey, bidPrice, askPrice, price, bidSize, askSize, size } = builder.words
  const { bidCount, askCount, instrument, tsInDelta, publisher, bidPublisher, askPublisher } = builder.columns
  const { side, action, flags, depth } = builder.columns
  const { hasAction, hasDepth, hasDelta, hasSequence, isConsolidated } = shape
  const byReceive = shape.clock === "ts_recv"
  const rtype = words[from]! & 0xff00
  const first = builder.length
  const { capacity } = builder
  let row = first
  let p = from
  while (p < end && row < capacity) {
    const head = words[p]!
    if ((head & 0xff00) !== rtype) break
    const eventLow = words[p + 2]!
    const eventHigh = words[p + 3]!
    const recvLow = words[p + 8]!
    const recvHigh = words[p + 9]!
    const low = byReceive ? recvLow : eventLow
    const high = byReceive ? recvHigh : eventHigh
    if (isAbsentTime(low, high)) {
      leftOut(`${shape.name} without ${shape.clock}`, 1)
      p += head & 0xff
      continue
    }
    const native = words[p + 1]!
    const source = head >>> 16
    const sequence = hasSequence ? words[p + 11]! : 0
    const ordinal = ordinals.next(native, source, low, high, sequence)
    const event = words[p + 7]!
    const j = row * 2
    tsEvent[j] = eventHigh < 0 ? ABSENT_I64_LOW : eventLow
    tsEvent[j + 1] = eventHigh < 0 ? ABSENT_I64_HIGH : eventHigh
    tsRecv[j] = recvHigh < 0 ? ABSENT_I64_LOW : recvLow
    tsRecv[j + 1] = recvHigh < 0 ? ABSENT_I64_HIGH : recvHigh
    quoteKey[j] = (sequence << 16) | ordinal
    quoteKey[j + 1] = (source << 16) | (sequence >>> 16)
    price[j] = words[p + 4]!
    price[j + 1] = words[p + 5]!
    bidPrice[j] = words[p + 12]!
    bidPrice[j + 1] = words[p + 13]!
    askPrice[j] = words[p + 14]!
    askPrice[j + 1] = words[p + 15]!
    const quantity = words[p + 6]!
    size[j] = quantity
    size[j + 1] = quantity === -1 ? ABSENT_I64_HIGH : 0
    const bid = words[p + 16]!
    bidSize[j] = bid
    bidSize[j + 1] = bid === -1 ? ABSENT_I64_HIGH : 0
    const ask = words[p + 17]!
    askSize[j] = ask
    askSize[j + 1] = ask === -1 ? ABSENT_I64_HIGH : 0
    bidCount[row] = isConsolidated ? ABSENT_U32 : words[p + 18]!
    askCount[row] = isConsolidated ? ABSENT_U32 : words[p + 19]!
    bidPublisher[row] = isConsolidated ? words[p + 18]! : ABSENT_U16
    askPublisher[row] = isConsolidated ? words[p + 19]! : ABSENT_U16
    instrument[row] = native
    tsInDelta[row] = hasDelta ? words[p + 10]! : ABSENT_I32
    publisher[row] = source
    action[row] = hasAction ? event : 0
    side[row] = sides[(event >>> 8) & 0xff]!
    flags[row] = event >>> 16
    depth[row] = hasDepth ? event >>> 24 : 0
    row++
    p += head & 0xff
  }
  builder.columns.schema.fill(shape.schema, first, row)
  finish(builder, first, row)
  return p
}

/** Words from one level of a book to the next. */
const LEVEL_WORDS = 8

/** Ten-level books (rtype 10). */
export const gatherBooks = (
  block: RecordBlock,
  from: number,
  builder: Builder<typeof BookLayout>,
  ordinals: Ordinals,
  leftOut: CountLeftOut,
  schema: number
): number => {
  const { words, end } = block
  const { tsEvent, tsRecv, bookKey, price, size } = builder.words
  const { instrument, tsInDelta, publisher, side, action, flags, depth } = builder.columns
  const rtype = words[from]! & 0xff00
  const first = builder.length
  const { capacity } = builder
  let row = first
  let p = from
  while (p < end && row < capacity) {
    const head = words[p]!
    if ((head & 0xff00) !== rtype) break
    const low = words[p + 2]!
    const high = words[p + 3]!
    if (isAbsentTime(low, high)) {
      leftOut("mbp-10 without ts_event", 1)
      p += head & 0xff
      continue
    }
    const native = words[p + 1]!
    const source = head >>> 16
    const sequence = words[p + 11]!
    const ordinal = ordinals.next(native, source, low, high, sequence)
    const event = words[p + 7]!
    const recvHigh = words[p + 9]!
    const quantity = words[p + 6]!
    const j = row * 2
    tsEvent[j] = low
    tsEvent[j + 1] = high
    tsRecv[j] = recvHigh < 0 ? ABSENT_I64_LOW : words[p + 8]!
    tsRecv[j + 1] = recvHigh < 0 ? ABSENT_I64_HIGH : recvHigh
    bookKey[j] = (sequence << 16) | ordinal
    bookKey[j + 1] = (source << 16) | (sequence >>> 16)
    price[j] = words[p + 4]!
    price[j + 1] = words[p + 5]!
    size[j] = quantity
    size[j + 1] = quantity === -1 ? ABSENT_I64_HIGH : 0
    instrument[row] = native
    tsInDelta[row] = words[p + 10]!
    publisher[row] = source
    action[row] = event
    side[row] = sides[(event >>> 8) & 0xff]!
    flags[row] = event >>> 16
    depth[row] = event >>> 24
    gatherLevels(words, p + 12, builder, row * 10)
    row++
    p += head & 0xff
  }
  builder.columns.schema.fill(schema, first, row)
  finish(builder, first, row)
  return p
}

/** The ten levels that begin at word `from`, into lanes from `lane` on. */
const gatherLevels = (
  words: Int32Array,
  from: number,
  builder: Builder<typeof BookLayout>,
  lane: number
): void => {
  const { bidPrice, askPrice, bidSize, askSize } = builder.words
  const { bidCount, askCount } = builder.columns
  let q = from
  for (let l = lane; l < lane + 10; l++) {
    const j = l * 2
    bidPrice[j] = words[q]!
    bidPrice[j + 1] = words[q + 1]!
    askPrice[j] = words[q + 2]!
    askPrice[j + 1] = words[q + 3]!
    const bid = words[q + 4]!
    bidSize[j] = bid
    bidSize[j + 1] = bid === -1 ? ABSENT_I64_HIGH : 0
    const ask = words[q + 5]!
    askSize[j] = ask
    askSize[j + 1] = ask === -1 ? ABSENT_I64_HIGH : 0
    bidCount[l] = words[q + 6]!
    askCount[l] = words[q + 7]!
    q += LEVEL_WORDS
  }
}

/** Bars of one type; `seconds` is their length, 0 for session bars. */
export const gatherBars = (
  block: RecordBlock,
  from: number,
  builder: Builder<typeof BarLayout>,
  leftOut: CountLeftOut,
  seconds: number
): number => {
  const { words, end } = block
  const { tsEvent, open, high, low, close, volumeLow, volumeHigh, tradeCount } = builder.words
  const { instrument, publisher, seconds: length } = builder.columns
  const rtype = words[from]! & 0xff00
  const first = builder.length
  const { capacity } = builder
  let row = first
  let p = from
  while (p < end && row < capacity) {
    const head = words[p]!
    if ((head & 0xff00) !== rtype) break
    const startLow = words[p + 2]!
    const startHigh = words[p + 3]!
    if (isAbsentTime(startLow, startHigh)) {
      leftOut("bars without ts_event", 1)
      p += head & 0xff
      continue
    }
    const j = row * 2
    tsEvent[j] = startLow
    tsEvent[j + 1] = startHigh
    open[j] = words[p + 4]!
    open[j + 1] = words[p + 5]!
    high[j] = words[p + 6]!
    high[j + 1] = words[p + 7]!
    low[j] = words[p + 8]!
    low[j + 1] = words[p + 9]!
    close[j] = words[p + 10]!
    close[j + 1] = words[p + 11]!
    volumeLow[j] = words[p + 12]!
    volumeLow[j + 1] = words[p + 13]!
    volumeHigh[j] = 0
    volumeHigh[j + 1] = 0
    tradeCount[j] = ABSENT_I64_LOW
    tradeCount[j + 1] = ABSENT_I64_HIGH
    instrument[row] = words[p + 1]!
    publisher[row] = head >>> 16
    length[row] = seconds
    row++
    p += head & 0xff
  }
  builder.columns.priceExponent.fill(PRICE_EXPONENT, first, row)
  builder.columns.volumeExponent.fill(0, first, row)
  builder.columns.source.fill(BarFromProvider, first, row)
  builder.length = row
  return p
}

/** Prices have nine decimal places, sizes none. */
const finish = (
  builder: Builder<typeof TradeLayout> | Builder<typeof QuoteLayout> | Builder<typeof BookLayout>,
  first: number,
  row: number
): void => {
  builder.columns.priceExponent.fill(PRICE_EXPONENT, first, row)
  builder.columns.sizeExponent.fill(0, first, row)
  builder.length = row
}

const actionName = (schema: string, action: number): string =>
  `${schema} with action ${action === 0 ? "none" : String.fromCharCode(action)}`
