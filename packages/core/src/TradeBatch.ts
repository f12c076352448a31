/** Trades as columns, with row views for people. Column meanings: see `TradeLayout`. */
import { BatchBuilder, DefaultBatchRows } from "./BatchBuilder.ts"
import type { BatchContext } from "./BatchContext.ts"
import * as Layout from "./BatchLayout.ts"
import { decimalOf, numberAt, presentI32, presentI64, textOf } from "./ColumnValue.ts"
import type * as Decimal from "./Decimal.ts"
import type { InstrumentId } from "./Instrument.ts"
import * as Side from "./Side.ts"
import * as TradeKey from "./TradeKey.ts"

/**
 * Columns of a trade batch. Prices and sizes: value = mantissa x 10^exponent, both per row.
 *
 * - `tsEvent` venue clock, ns since epoch; never absent. DBN `ts_event`, Binance `T`.
 * - `tsRecv` first capture, ns; absent in some archives. DBN `ts_recv`.
 * - `tradeKey` identity beside instrument and microsecond, see `TradeKey`.
 * - `price`, `size` mantissas; absent as 2^63-1.
 * - `tsInDelta` ns from the venue's sending to `tsRecv`; absent as -2^31 (the vendor's lower clamp reads as absent too:
 *   both say that the send time is unknown). DBN `ts_in_delta`.
 * - `publisher` numeric source within the provider, 0 where there is none. DBN `publisher_id`.
 * - `side` aggressor, see `Side`. `flags` DBN record flags, 0 elsewhere. `depth` DBN book level, 0 elsewhere.
 */
export const TradeLayout = {
  tsEvent: Layout.column("i64"),
  tsRecv: Layout.column("i64"),
  tradeKey: Layout.column("i64"),
  price: Layout.column("i64"),
  size: Layout.column("i64"),
  instrument: Layout.column("u32"),
  tsInDelta: Layout.column("i32"),
  publisher: Layout.column("u16"),
  priceExponent: Layout.column("i8"),
  sizeExponent: Layout.column("i8"),
  side: Layout.column("u8"),
  flags: Layout.column("u8"),
  depth: Layout.column("u8")
} as const

/** One trade, materialised for people and tests; strategies loop over the columns instead. */
export interface Trade {
  readonly tsEvent: bigint
  readonly tsRecv: bigint | undefined
  readonly instrument: InstrumentId
  readonly symbol: string
  readonly rawSymbol: string
  readonly provider: string
  readonly dataset: string
  readonly exchange: string | undefined
  readonly price: Decimal.Decimal | undefined
  readonly size: Decimal.Decimal | undefined
  readonly side: "buy" | "sell" | "none"
  readonly tradeId: string
  readonly tradeKey: bigint
  readonly publisher: number
  readonly flags: number
  readonly depth: number
  readonly tsInDelta: number | undefined
}

/** Immutable columns of trades of one dataset. Views may be kept as long as the batch is; nobody writes to them. */
export class TradeBatch {
  readonly _tag = "TradeBatch"
  readonly context: BatchContext
  readonly length: number
  readonly columns: Layout.Columns<typeof TradeLayout>
  readonly words: Layout.ColumnWords<typeof TradeLayout>
  /** The one buffer that holds every column, where that is known. */
  readonly buffer: ArrayBuffer | undefined
  readonly #room: number
  /** Venue ids that are text, by row; only where `context.keyKind` is "text-hash". */
  readonly textIds: ReadonlyArray<string> | undefined

  constructor(
    context: BatchContext,
    views: Layout.ColumnViews<typeof TradeLayout>,
    length: number,
    textIds?: ReadonlyArray<string> | undefined
  ) {
    this.context = context
    this.columns = views.columns
    this.words = views.words
    this.buffer = views.buffer
    this.#room = views.buffer === undefined ? 0 : (views.room ?? 0)
    this.length = length
    this.textIds = textIds
  }

  /**
   * Rows that `buffer` was laid out for, where every column begins at its place in the layout: at its bytes per row before
   * it, times this. 0 where columns lie elsewhere, as those of a slice do.
   */
  get room(): number {
    return this.#room
  }

  /** Rows `[start, end)` over the same memory. */
  slice(start: number, end: number = this.length): TradeBatch {
    const from = Math.max(0, Math.min(start, this.length))
    const to = Math.max(from, Math.min(end, this.length))
    return new TradeBatch(
      this.context,
      Layout.window(TradeLayout, this, from, to),
      to - from,
      this.textIds?.slice(from, to)
    )
  }

  /** Price as a double, NaN where absent. For strategies and charts. */
  priceAt(i: number): number {
    return numberAt(this.words.price, i, this.columns.priceExponent[i]!)
  }

  /** Size as a double, NaN where absent. */
  sizeAt(i: number): number {
    return numberAt(this.words.size, i, this.columns.sizeExponent[i]!)
  }

  /** Exact price, undefined where absent. */
  priceDecimal(i: number): Decimal.Decimal | undefined {
    return decimalOf(this.columns.price[i]!, this.columns.priceExponent[i]!)
  }

  /** Exact size, undefined where absent. */
  sizeDecimal(i: number): Decimal.Decimal | undefined {
    return decimalOf(this.columns.size[i]!, this.columns.sizeExponent[i]!)
  }

  /** Exact price as text without trailing zeros, empty where absent. */
  priceText(i: number): string {
    return textOf(this.columns.price[i]!, this.columns.priceExponent[i]!)
  }

  /** Exact size as text without trailing zeros, empty where absent. */
  sizeText(i: number): string {
    return textOf(this.columns.size[i]!, this.columns.sizeExponent[i]!)
  }

  /** The venue's id as people write it. */
  tradeIdAt(i: number): string {
    return this.textIds?.[i] ?? TradeKey.text(this.context.keyKind, this.columns.tradeKey[i]!)
  }

  /** `DATASET:RAW_SYMBOL` of a row, `#id` where the instrument is not in the directory. */
  symbolAt(i: number): string {
    const id = this.columns.instrument[i]!
    return this.context.instruments.get(id)?.symbol ?? `#${id}`
  }

  /** One row as an object. */
  row(i: number): Trade {
    const c = this.columns
    const id = c.instrument[i]!
    const instrument = this.context.instruments.get(id)
    return {
      tsEvent: c.tsEvent[i]!,
      tsRecv: presentI64(c.tsRecv[i]!),
      instrument: id,
      symbol: instrument?.symbol ?? `#${id}`,
      rawSymbol: instrument?.rawSymbol ?? `#${id}`,
      provider: this.context.provider,
      dataset: this.context.dataset,
      exchange: this.context.venueOf(c.publisher[i]!) ?? instrument?.exchange,
      price: this.priceDecimal(i),
      size: this.sizeDecimal(i),
      side: Side.name(c.side[i]!),
      tradeId: this.tradeIdAt(i),
      tradeKey: c.tradeKey[i]!,
      publisher: c.publisher[i]!,
      flags: c.flags[i]!,
      depth: c.depth[i]!,
      tsInDelta: presentI32(c.tsInDelta[i]!)
    }
  }

  /** Rows one after another, for tests and small reads. */
  *rows(): IterableIterator<Trade> {
    for (let i = 0; i < this.length; i++) yield this.row(i)
  }
}

/** A builder of trade batches. */
export const tradeBuilder = (
  context: BatchContext,
  capacity: number = DefaultBatchRows
): BatchBuilder<typeof TradeLayout, TradeBatch> =>
  new BatchBuilder(
    TradeLayout,
    capacity,
    (set, length) => new TradeBatch(context, Layout.first(TradeLayout, set, length), length)
  )
