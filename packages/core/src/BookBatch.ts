/** Order books of up to ten levels as columns. Column meanings: see `BookLayout`. */
import { BatchBuilder } from "./BatchBuilder.ts"
import type { BatchContext } from "./BatchContext.ts"
import * as Layout from "./BatchLayout.ts"
import { decimalOf, presentI32, presentI64, presentU32 } from "./ColumnValue.ts"
import type * as Decimal from "./Decimal.ts"
import type { InstrumentId } from "./Instrument.ts"
import * as MarketSchema from "./MarketSchema.ts"
import * as Side from "./Side.ts"

/** Levels per side. */
export const BookLevels = 10

/**
 * Columns of a book batch: the update as in `QuoteLayout`, then ten levels a side, best first, row-major
 * (level `l` of row `i` stands at `10 i + l`). Empty levels have an absent price, size 0 or absent, count 0 or absent.
 */
export const BookLayout = {
  tsEvent: Layout.column("i64"),
  tsRecv: Layout.column("i64"),
  bookKey: Layout.column("i64"),
  price: Layout.column("i64"),
  size: Layout.column("i64"),
  bidPrice: Layout.lanes("i64", BookLevels),
  askPrice: Layout.lanes("i64", BookLevels),
  bidSize: Layout.lanes("i64", BookLevels),
  askSize: Layout.lanes("i64", BookLevels),
  bidCount: Layout.lanes("u32", BookLevels),
  askCount: Layout.lanes("u32", BookLevels),
  instrument: Layout.column("u32"),
  tsInDelta: Layout.column("i32"),
  publisher: Layout.column("u16"),
  priceExponent: Layout.column("i8"),
  sizeExponent: Layout.column("i8"),
  schema: Layout.column("u8"),
  side: Layout.column("u8"),
  action: Layout.column("u8"),
  flags: Layout.column("u8"),
  depth: Layout.column("u8")
} as const

/** One level of one side. */
export interface BookLevel {
  readonly price: Decimal.Decimal | undefined
  readonly size: Decimal.Decimal | undefined
  readonly count: number | undefined
}

/** One book, materialised for people and tests. */
export interface Book {
  readonly schema: MarketSchema.MarketSchema | undefined
  readonly tsEvent: bigint | undefined
  readonly tsRecv: bigint | undefined
  readonly instrument: InstrumentId
  readonly symbol: string
  readonly bookKey: bigint
  readonly price: Decimal.Decimal | undefined
  readonly size: Decimal.Decimal | undefined
  readonly side: "buy" | "sell" | "none"
  readonly action: string
  readonly publisher: number
  readonly flags: number
  readonly depth: number
  readonly tsInDelta: number | undefined
  readonly bids: ReadonlyArray<BookLevel>
  readonly asks: ReadonlyArray<BookLevel>
}

/** Immutable columns of books of one dataset. */
export class BookBatch {
  readonly _tag = "BookBatch"
  readonly context: BatchContext
  readonly length: number
  readonly columns: Layout.Columns<typeof BookLayout>
  readonly words: Layout.ColumnWords<typeof BookLayout>

  constructor(
    context: BatchContext,
    views: Pick<Layout.ColumnSet<typeof BookLayout>, "columns" | "words">,
    length: number
  ) {
    this.context = context
    this.columns = views.columns
    this.words = views.words
    this.length = length
  }

  /** Rows `[start, end)` over the same memory. */
  slice(start: number, end: number = this.length): BookBatch {
    const from = Math.max(0, Math.min(start, this.length))
    const to = Math.max(from, Math.min(end, this.length))
    return new BookBatch(this.context, Layout.window(BookLayout, this, from, to), to - from)
  }

  /** `DATASET:RAW_SYMBOL` of a row, `#id` where the instrument is not in the directory. */
  symbolAt(i: number): string {
    const id = this.columns.instrument[i]!
    return this.context.instruments.get(id)?.symbol ?? `#${id}`
  }

  /** One row as an object. */
  row(i: number): Book {
    const c = this.columns
    const px = c.priceExponent[i]!
    const sz = c.sizeExponent[i]!
    const levels = (prices: BigInt64Array, sizes: BigInt64Array, counts: Uint32Array): Array<BookLevel> =>
      Array.from({ length: BookLevels }, (_, l) => ({
        price: decimalOf(prices[i * BookLevels + l]!, px),
        size: decimalOf(sizes[i * BookLevels + l]!, sz),
        count: presentU32(counts[i * BookLevels + l]!)
      }))
    return {
      schema: MarketSchema.fromCode(c.schema[i]!),
      tsEvent: presentI64(c.tsEvent[i]!),
      tsRecv: presentI64(c.tsRecv[i]!),
      instrument: c.instrument[i]!,
      symbol: this.symbolAt(i),
      bookKey: c.bookKey[i]!,
      price: decimalOf(c.price[i]!, px),
      size: decimalOf(c.size[i]!, sz),
      side: Side.name(c.side[i]!),
      action: c.action[i] === 0 ? "" : String.fromCharCode(c.action[i]!),
      publisher: c.publisher[i]!,
      flags: c.flags[i]!,
      depth: c.depth[i]!,
      tsInDelta: presentI32(c.tsInDelta[i]!),
      bids: levels(c.bidPrice, c.bidSize, c.bidCount),
      asks: levels(c.askPrice, c.askSize, c.askCount)
    }
  }

  /** Rows one after another, for tests and small reads. */
  *rows(): IterableIterator<Book> {
    for (let i = 0; i < this.length; i++) yield this.row(i)
  }
}

/** A builder of book batches. */
export const bookBuilder = (
  context: BatchContext,
  capacity = 8192
): BatchBuilder<typeof BookLayout, BookBatch> =>
  new BatchBuilder(
    BookLayout,
    capacity,
    (set, length) => new BookBatch(context, Layout.first(BookLayout, set, length), length)
  )
