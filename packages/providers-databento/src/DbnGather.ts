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
import { BarFromProvider } from "@data-manager/core"
import type { RecordBlock } from "./dbn/RecordBlock.ts"
import { PRICE_EXPONENT } from "./dbn/Sentinel.ts"

/** Records that gave no row, by cause. */
export type CountLeftOut = (cause: string, records: number) => void

type Ordinals = TradeKey.OrdinalCounter
type Builder<L extends typeof TradeLayout | typeof QuoteLayout | typeof BarLayout | typeof BookLayout> =
  BatchBuilder<L, MarketBatch>

// The sentinels of the batches as constants of this module: an imported binding is looked up at every use, which costs
// the loops below a third of their speed.
/** High word of an absent i64; the low one is -1. */
const ABSENT_HIGH = 0x7fffffff
const ABSENT_I32 = -2147483648
const ABSENT_U32 = 0xffffffff
const ABSENT_U16 = 0xffff

/** 'T' */
const TRADE = 0x54

/** Side letters on the wire as batch sides: B buy or bid, A sell or ask, everything else none. */
const sides = new Uint8Array(256)
sides[0x42] = 1
sides[0x41] = 2

/**
 * Whether a u64 time, by its high word, is undefined or beyond what an i64 column can hold: from 2262-04-11T23:47:12Z on,
 * four seconds before the absent value.
 */
const isAbsentTime = (high: number): boolean => high >>> 0 >= ABSENT_HIGH

/**
 * Rows per tile. A loop over one row's dozen columns runs out of registers; loops over a few columns each, over as many
 * rows as fit the first-level cache, take two thirds of the time.
 */
const TILE_ROWS = 256

/** Trades (rtype 0) with action T; others are no trades of the `trades` schema and are counted. */
export const gatherTrades = (
  block: RecordBlock,
  from: number,
  builder: Builder<typeof TradeLayout>,
  ordinals: Ordinals,
  leftOut: CountLeftOut
): number => {
  const { words, end } = block
  const first = builder.length
  let p = from
  while (p < end && builder.length < builder.capacity) {
    const next = tradeTile(block, p, builder, ordinals)
    if (next === p) {
      const head = words[p]!
      if ((head & 0xff00) !== 0) break
      const action = words[p + 7]! & 0xff
      leftOut(action === TRADE ? "trades without ts_event" : actionName("trades", action), 1)
      p += head & 0xff
    } else p = next
  }
  fillExponents(builder, first, builder.length)
  return p
}

/** The longest run of storable trades of one length from word `from` on, at most a tile. */
const tradeTile = (
  block: RecordBlock,
  from: number,
  builder: Builder<typeof TradeLayout>,
  ordinals: Ordinals
): number => {
  const { words } = block
  const head = words[from]! & 0xffff
  const stride = head & 0xff
  if (head !== stride) return from
  const first = builder.length
  const limit = Math.min(block.end, from + Math.min(TILE_ROWS, builder.capacity - first) * stride)
  const end = tradeSmall(words, from, limit, head, builder)
  const row = first + (end - from) / stride
  tradeWide(words, from, end, stride, builder)
  const { instrument, publisher } = builder.columns
  ordinals.fill(instrument, publisher, builder.words.tsEvent, builder.words.tradeKey, first, row)
  builder.length = row
  return end
}

/** Narrow columns; returns the word of the first record that is not of the run. */
const tradeSmall = (
  words: Int32Array,
  from: number,
  limit: number,
  head: number,
  builder: Builder<typeof TradeLayout>
): number => {
  const { instrument, tsInDelta, publisher, side, flags, depth } = builder.columns
  const stride = head & 0xff
  let row = builder.length
  let p = from
  for (; p < limit; p += stride, row++) {
    const lead = words[p]!
    const event = words[p + 7]!
    if ((lead & 0xffff) !== head || (event & 0xff) !== TRADE) break
    if (isAbsentTime(words[p + 3]!)) break
    instrument[row] = words[p + 1]!
    tsInDelta[row] = words[p + 10]!
    publisher[row] = lead >>> 16
    side[row] = sides[(event >>> 8) & 0xff]!
    flags[row] = event >>> 16
    depth[row] = event >>> 24
  }
  return p
}

const tradeWide = (
  words: Int32Array,
  from: number,
  end: number,
  stride: number,
  builder: Builder<typeof TradeLayout>
): void => {
  const { tsEvent, tsRecv, price, size, tradeKey } = builder.words
  for (let p = from, j = builder.length * 2; p < end; p += stride, j += 2) {
    tsEvent[j] = words[p + 2]!
    tsEvent[j + 1] = words[p + 3]!
    price[j] = words[p + 4]!
    price[j + 1] = words[p + 5]!
    const received = words[p + 9]!
    tsRecv[j] = received < 0 ? -1 : words[p + 8]!
    tsRecv[j + 1] = received < 0 ? ABSENT_HIGH : received
    const quantity = words[p + 6]!
    size[j] = quantity
    size[j + 1] = quantity === -1 ? ABSENT_HIGH : 0
    // The sequence for now; keys are made of it once the tile's other columns are there.
    tradeKey[j] = words[p + 11]!
  }
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
  const rtype = words[from]! & 0xff00
  const first = builder.length
  let p = from
  while (p < end && builder.length < builder.capacity) {
    const head = words[p]!
    if ((head & 0xff00) !== rtype) break
    const next = quoteTile(block, p, builder, ordinals, shape)
    if (next === p) {
      leftOut(`${shape.name} without ${shape.clock}`, 1)
      p += head & 0xff
    } else p = next
  }
  builder.columns.schema.fill(shape.schema, first, builder.length)
  fillExponents(builder, first, builder.length)
  return p
}

/** The longest run of storable quotes of one type and length from word `from` on, at most a tile. */
const quoteTile = (
  block: RecordBlock,
  from: number,
  builder: Builder<typeof QuoteLayout>,
  ordinals: Ordinals,
  shape: QuoteShape
): number => {
  const { words } = block
  const head = words[from]! & 0xffff
  const stride = head & 0xff
  const first = builder.length
  const limit = Math.min(block.end, from + Math.min(TILE_ROWS, builder.capacity - first) * stride)
  const end = quoteSmall(words, from, limit, head, builder, shape)
  const row = first + (end - from) / stride
  quoteWide(words, from, end, stride, builder)
  quoteLevels(words, from, end, stride, builder)
  if (shape.isConsolidated) quoteVenues(words, from, end, stride, builder)
  else quoteCounts(words, from, end, stride, builder)
  quoteSequences(words, from, end, stride, builder, shape)
  const { instrument, publisher } = builder.columns
  const { tsEvent, tsRecv, quoteKey } = builder.words
  ordinals.fill(instrument, publisher, shape.clock === "ts_recv" ? tsRecv : tsEvent, quoteKey, first, row)
  builder.length = row
  return end
}

/** Narrow columns; returns the word of the first record that is not of the run. */
const quoteSmall = (
  words: Int32Array,
  from: number,
  limit: number,
  head: number,
  builder: Builder<typeof QuoteLayout>,
  shape: QuoteShape
): number => {
  const { instrument, tsInDelta, publisher, side, action, flags, depth } = builder.columns
  const { hasAction, hasDepth, hasDelta } = shape
  const time = shape.clock === "ts_recv" ? 8 : 2
  const stride = head & 0xff
  let row = builder.length
  let p = from
  for (; p < limit; p += stride, row++) {
    const lead = words[p]!
    if ((lead & 0xffff) !== head || isAbsentTime(words[p + time + 1]!)) break
    const event = words[p + 7]!
    instrument[row] = words[p + 1]!
    tsInDelta[row] = hasDelta ? words[p + 10]! : ABSENT_I32
    publisher[row] = lead >>> 16
    action[row] = hasAction ? event : 0
    side[row] = sides[(event >>> 8) & 0xff]!
    flags[row] = event >>> 16
    depth[row] = hasDepth ? event >>> 24 : 0
  }
  return p
}

const quoteWide = (
  words: Int32Array,
  from: number,
  end: number,
  stride: number,
  builder: Builder<typeof QuoteLayout>
): void => {
  const { tsEvent, tsRecv, price, size } = builder.words
  for (let p = from, j = builder.length * 2; p < end; p += stride, j += 2) {
    const event = words[p + 3]!
    tsEvent[j] = event < 0 ? -1 : words[p + 2]!
    tsEvent[j + 1] = event < 0 ? ABSENT_HIGH : event
    price[j] = words[p + 4]!
    price[j + 1] = words[p + 5]!
    const received = words[p + 9]!
    tsRecv[j] = received < 0 ? -1 : words[p + 8]!
    tsRecv[j + 1] = received < 0 ? ABSENT_HIGH : received
    const quantity = words[p + 6]!
    size[j] = quantity
    size[j + 1] = quantity === -1 ? ABSENT_HIGH : 0
  }
}

const quoteLevels = (
  words: Int32Array,
  from: number,
  end: number,
  stride: number,
  builder: Builder<typeof QuoteLayout>
): void => {
  const { bidPrice, askPrice, bidSize, askSize } = builder.words
  for (let p = from, j = builder.length * 2; p < end; p += stride, j += 2) {
    bidPrice[j] = words[p + 12]!
    bidPrice[j + 1] = words[p + 13]!
    askPrice[j] = words[p + 14]!
    askPrice[j + 1] = words[p + 15]!
    const bid = words[p + 16]!
    bidSize[j] = bid
    bidSize[j + 1] = bid === -1 ? ABSENT_HIGH : 0
    const ask = words[p + 17]!
    askSize[j] = ask
    askSize[j + 1] = ask === -1 ? ABSENT_HIGH : 0
  }
}

/** Order counts of both sides; no venues. */
const quoteCounts = (
  words: Int32Array,
  from: number,
  end: number,
  stride: number,
  builder: Builder<typeof QuoteLayout>
): void => {
  const { bidCount, askCount, bidPublisher, askPublisher } = builder.columns
  let row = builder.length
  for (let p = from; p < end; p += stride, row++) {
    bidCount[row] = words[p + 18]!
    askCount[row] = words[p + 19]!
  }
  bidPublisher.fill(ABSENT_U16, builder.length, row)
  askPublisher.fill(ABSENT_U16, builder.length, row)
}

/** Venues of both sides; no order counts. */
const quoteVenues = (
  words: Int32Array,
  from: number,
  end: number,
  stride: number,
  builder: Builder<typeof QuoteLayout>
): void => {
  const { bidCount, askCount, bidPublisher, askPublisher } = builder.columns
  let row = builder.length
  for (let p = from; p < end; p += stride, row++) {
    bidPublisher[row] = words[p + 18]!
    askPublisher[row] = words[p + 19]!
  }
  bidCount.fill(ABSENT_U32, builder.length, row)
  askCount.fill(ABSENT_U32, builder.length, row)
}

/** Sequences where keys will stand; 0 in schemas without. */
const quoteSequences = (
  words: Int32Array,
  from: number,
  end: number,
  stride: number,
  builder: Builder<typeof QuoteLayout>,
  shape: QuoteShape
): void => {
  const { quoteKey } = builder.words
  if (!shape.hasSequence) {
    quoteKey.fill(0, builder.length * 2, (builder.length + (end - from) / stride) * 2)
    return
  }
  for (let p = from, j = builder.length * 2; p < end; p += stride, j += 2) quoteKey[j] = words[p + 11]!
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
    if (isAbsentTime(high)) {
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
    tsRecv[j] = recvHigh < 0 ? -1 : words[p + 8]!
    tsRecv[j + 1] = recvHigh < 0 ? ABSENT_HIGH : recvHigh
    bookKey[j] = (sequence << 16) | ordinal
    bookKey[j + 1] = (source << 16) | (sequence >>> 16)
    price[j] = words[p + 4]!
    price[j + 1] = words[p + 5]!
    size[j] = quantity
    size[j + 1] = quantity === -1 ? ABSENT_HIGH : 0
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
  builder.length = row
  builder.columns.schema.fill(schema, first, row)
  fillExponents(builder, first, row)
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
    bidSize[j + 1] = bid === -1 ? ABSENT_HIGH : 0
    const ask = words[q + 5]!
    askSize[j] = ask
    askSize[j + 1] = ask === -1 ? ABSENT_HIGH : 0
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
    if (isAbsentTime(startHigh)) {
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
    tradeCount[j] = -1
    tradeCount[j + 1] = ABSENT_HIGH
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
const fillExponents = (
  builder: Builder<typeof TradeLayout> | Builder<typeof QuoteLayout> | Builder<typeof BookLayout>,
  first: number,
  row: number
): void => {
  builder.columns.priceExponent.fill(PRICE_EXPONENT, first, row)
  builder.columns.sizeExponent.fill(0, first, row)
}

const actionName = (schema: string, action: number): string =>
  `${schema} with action ${action === 0 ? "none" : String.fromCharCode(action)}`
