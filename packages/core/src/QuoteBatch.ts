/** Top-of-book quotes as columns: event-driven and sampled ones. Column meanings: see `QuoteLayout`. */
import { BatchBuilder, DefaultBatchRows } from "./BatchBuilder.ts"
import type { BatchContext } from "./BatchContext.ts"
import * as Layout from "./BatchLayout.ts"
import { decimalOf, numberAt, presentI32, presentI64, presentU16, presentU32 } from "./ColumnValue.ts"
import type * as Decimal from "./Decimal.ts"
import type { InstrumentId } from "./Instrument.ts"
import * as MarketSchema from "./MarketSchema.ts"
import * as Side from "./Side.ts"

/**
 * Columns of a quote batch.
 *
 * - `schema` code of the market schema of each row (`mbp-1`, `bbo-1s`, `cmbp-1`, `book-ticker`...). A row's time in the
 *   store is `tsEvent` or `tsRecv`, whichever `MarketSchema.clock` names; that one is never absent.
 * - `tsEvent` event-driven: venue clock of the update; sampled (`bbo`, `cbbo`): time of the last trade, absent when there
 *   was none. `tsRecv` first capture; sampled: end of the interval.
 * - `quoteKey` identity beside instrument, schema and microsecond: publisher, sequence (0 where the schema has none) and
 *   ordinal, as in `TradeKey`.
 * - `bidPrice`, `askPrice`, `bidSize`, `askSize` best levels after the update; absent as 2^63-1. `bidCount`, `askCount`
 *   orders at them; absent as 2^32-1. `bidPublisher`, `askPublisher` venue of each in consolidated schemas; absent 65535.
 * - `price`, `size`, `side`, `action`, `flags`, `depth`, `tsInDelta` of the update itself (sampled: of the last trade);
 *   `side` as on the wire turned into: action trade = aggressor, otherwise 1 the bid and 2 the ask was touched.
 *   `action` is the vendor's letter as ASCII, 0 where the schema has none.
 */
export const QuoteLayout = {
  tsEvent: Layout.column("i64"),
  tsRecv: Layout.column("i64"),
  quoteKey: Layout.column("i64"),
  bidPrice: Layout.column("i64"),
  askPrice: Layout.column("i64"),
  price: Layout.column("i64"),
  bidSize: Layout.column("i64"),
  askSize: Layout.column("i64"),
  size: Layout.column("i64"),
  bidCount: Layout.column("u32"),
  askCount: Layout.column("u32"),
  instrument: Layout.column("u32"),
  tsInDelta: Layout.column("i32"),
  publisher: Layout.column("u16"),
  bidPublisher: Layout.column("u16"),
  askPublisher: Layout.column("u16"),
  priceExponent: Layout.column("i8"),
  sizeExponent: Layout.column("i8"),
  schema: Layout.column("u8"),
  side: Layout.column("u8"),
  action: Layout.column("u8"),
  flags: Layout.column("u8"),
  depth: Layout.column("u8")
} as const

/** One quote, materialised for people and tests. */
export interface Quote {
  readonly schema: MarketSchema.MarketSchema | undefined
  readonly tsEvent: bigint | undefined
  readonly tsRecv: bigint | undefined
  readonly instrument: InstrumentId
  readonly symbol: string
  readonly quoteKey: bigint
  readonly bidPrice: Decimal.Decimal | undefined
  readonly askPrice: Decimal.Decimal | undefined
  readonly bidSize: Decimal.Decimal | undefined
  readonly askSize: Decimal.Decimal | undefined
  readonly bidCount: number | undefined
  readonly askCount: number | undefined
  readonly bidPublisher: number | undefined
  readonly askPublisher: number | undefined
  readonly price: Decimal.Decimal | undefined
  readonly size: Decimal.Decimal | undefined
  readonly side: "buy" | "sell" | "none"
  readonly action: string
  readonly publisher: number
  readonly flags: number
  readonly depth: number
  readonly tsInDelta: number | undefined
}

/** Immutable columns of quotes of one dataset. */
export class QuoteBatch {
  readonly _tag = "QuoteBatch"
  readonly context: BatchContext
  readonly length: number
  readonly columns: Layout.Columns<typeof QuoteLayout>
  readonly words: Layout.ColumnWords<typeof QuoteLayout>
  /** The one buffer that holds every column, where that is known. */
  readonly buffer: ArrayBuffer | undefined
  readonly #room: number

  constructor(context: BatchContext, views: Layout.ColumnViews<typeof QuoteLayout>, length: number) {
    this.context = context
    this.columns = views.columns
    this.words = views.words
    this.buffer = views.buffer
    this.#room = views.buffer === undefined ? 0 : (views.room ?? 0)
    this.length = length
  }

  /**
   * Rows that `buffer` was laid out for, where every column begins at its place in the layout: at its bytes per row before
   * it, times this. 0 where columns lie elsewhere, as those of a slice do.
   */
  get room(): number {
    return this.#room
  }

  /** Rows `[start, end)` over the same memory. */
  slice(start: number, end: number = this.length): QuoteBatch {
    const from = Math.max(0, Math.min(start, this.length))
    const to = Math.max(from, Math.min(end, this.length))
    return new QuoteBatch(this.context, Layout.window(QuoteLayout, this, from, to), to - from)
  }

  /** The time under which the store keeps row `i`. */
  timeAt(i: number): bigint {
    const schema = MarketSchema.fromCode(this.columns.schema[i]!)
    const receive = schema !== undefined && MarketSchema.clock(schema) === "ts_recv"
    return receive ? this.columns.tsRecv[i]! : this.columns.tsEvent[i]!
  }

  /** Best bid as a double, NaN where absent. */
  bidAt(i: number): number {
    return numberAt(this.words.bidPrice, i, this.columns.priceExponent[i]!)
  }

  /** Best ask as a double, NaN where absent. */
  askAt(i: number): number {
    return numberAt(this.words.askPrice, i, this.columns.priceExponent[i]!)
  }

  /** `DATASET:RAW_SYMBOL` of a row, `#id` where the instrument is not in the directory. */
  symbolAt(i: number): string {
    const id = this.columns.instrument[i]!
    return this.context.instruments.get(id)?.symbol ?? `#${id}`
  }

  /** One row as an object. */
  row(i: number): Quote {
    const c = this.columns
    const px = c.priceExponent[i]!
    const sz = c.sizeExponent[i]!
    return {
      schema: MarketSchema.fromCode(c.schema[i]!),
      tsEvent: presentI64(c.tsEvent[i]!),
      tsRecv: presentI64(c.tsRecv[i]!),
      instrument: c.instrument[i]!,
      symbol: this.symbolAt(i),
      quoteKey: c.quoteKey[i]!,
      bidPrice: decimalOf(c.bidPrice[i]!, px),
      askPrice: decimalOf(c.askPrice[i]!, px),
      bidSize: decimalOf(c.bidSize[i]!, sz),
      askSize: decimalOf(c.askSize[i]!, sz),
      bidCount: presentU32(c.bidCount[i]!),
      askCount: presentU32(c.askCount[i]!),
      bidPublisher: presentU16(c.bidPublisher[i]!),
      askPublisher: presentU16(c.askPublisher[i]!),
      price: decimalOf(c.price[i]!, px),
      size: decimalOf(c.size[i]!, sz),
      side: Side.name(c.side[i]!),
      action: c.action[i] === 0 ? "" : String.fromCharCode(c.action[i]!),
      publisher: c.publisher[i]!,
      flags: c.flags[i]!,
      depth: c.depth[i]!,
      tsInDelta: presentI32(c.tsInDelta[i]!)
    }
  }

  /** Rows one after another, for tests and small reads. */
  *rows(): IterableIterator<Quote> {
    for (let i = 0; i < this.length; i++) yield this.row(i)
  }
}

/** A builder of quote batches. */
export const quoteBuilder = (
  context: BatchContext,
  capacity: number = DefaultBatchRows
): BatchBuilder<typeof QuoteLayout, QuoteBatch> =>
  new BatchBuilder(
    QuoteLayout,
    capacity,
    (set, length) => new QuoteBatch(context, Layout.first(QuoteLayout, set, length), length)
  )
