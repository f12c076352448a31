/** Bars as columns: the provider's own, or made from trades. Column meanings: see `BarLayout`. */
import { BatchBuilder } from "./BatchBuilder.ts"
import type { BatchContext } from "./BatchContext.ts"
import * as Layout from "./BatchLayout.ts"
import { decimalOf, numberAt, presentI64 } from "./ColumnValue.ts"
import type * as Decimal from "./Decimal.ts"
import type { InstrumentId } from "./Instrument.ts"

/** Where a bar comes from: the two are series of their own and are never mixed. */
export type BarSource = "trades" | "provider"

/**
 * Columns of a bar batch.
 *
 * - `tsEvent` start of the bar (inclusive), ns since epoch. `seconds` its length; 0 for session bars (`ohlcv-eod`).
 * - `open`, `high`, `low`, `close` mantissas at `priceExponent`; absent as 2^63-1.
 * - `volume`: 128 bits, because sums outgrow an i64: value = (volumeHigh x 2^64 + volumeLow) x 10^volumeExponent.
 * - `tradeCount` absent where the provider does not tell. `publisher` of the provider's bars, else 0.
 * - `source` 1 made from trades, 2 the provider's.
 *
 * A bar from trades is made of the trades that have a price; one without a size counts and adds nothing to the volume.
 * Open and close are the first and last of them by (tsEvent ns, tsRecv with absent last, tradeKey). Where no trade has a
 * price there is no bar.
 */
export const BarLayout = {
  tsEvent: Layout.column("i64"),
  open: Layout.column("i64"),
  high: Layout.column("i64"),
  low: Layout.column("i64"),
  close: Layout.column("i64"),
  volumeLow: Layout.column("u64"),
  volumeHigh: Layout.column("i64"),
  tradeCount: Layout.column("i64"),
  instrument: Layout.column("u32"),
  seconds: Layout.column("u32"),
  publisher: Layout.column("u16"),
  priceExponent: Layout.column("i8"),
  volumeExponent: Layout.column("i8"),
  source: Layout.column("u8")
} as const

/** Codes of the `source` column. */
export const BarFromTrades = 1
export const BarFromProvider = 2

/** One bar, materialised for people and tests. */
export interface Bar {
  readonly start: bigint
  readonly seconds: number
  readonly instrument: InstrumentId
  readonly symbol: string
  readonly open: Decimal.Decimal | undefined
  readonly high: Decimal.Decimal | undefined
  readonly low: Decimal.Decimal | undefined
  readonly close: Decimal.Decimal | undefined
  readonly volume: Decimal.Decimal
  readonly tradeCount: bigint | undefined
  readonly publisher: number
  readonly source: BarSource
}

/** Immutable columns of bars of one dataset. */
export class BarBatch {
  readonly _tag = "BarBatch"
  readonly context: BatchContext
  readonly length: number
  readonly columns: Layout.Columns<typeof BarLayout>
  readonly words: Layout.ColumnWords<typeof BarLayout>

  constructor(
    context: BatchContext,
    views: Pick<Layout.ColumnSet<typeof BarLayout>, "columns" | "words">,
    length: number
  ) {
    this.context = context
    this.columns = views.columns
    this.words = views.words
    this.length = length
  }

  /** Rows `[start, end)` over the same memory. */
  slice(start: number, end: number = this.length): BarBatch {
    const from = Math.max(0, Math.min(start, this.length))
    const to = Math.max(from, Math.min(end, this.length))
    return new BarBatch(this.context, Layout.window(BarLayout, this, from, to), to - from)
  }

  /** Exact volume of row `i`. */
  volumeDecimal(i: number): Decimal.Decimal {
    const mantissa = (this.columns.volumeHigh[i]! << 64n) + this.columns.volumeLow[i]!
    return { mantissa, exponent: this.columns.volumeExponent[i]! }
  }

  /** Close as a double, NaN where absent. */
  closeAt(i: number): number {
    return numberAt(this.words.close, i, this.columns.priceExponent[i]!)
  }

  /** `DATASET:RAW_SYMBOL` of a row, `#id` where the instrument is not in the directory. */
  symbolAt(i: number): string {
    const id = this.columns.instrument[i]!
    return this.context.instruments.get(id)?.symbol ?? `#${id}`
  }

  /** One row as an object. */
  row(i: number): Bar {
    const c = this.columns
    const px = c.priceExponent[i]!
    return {
      start: c.tsEvent[i]!,
      seconds: c.seconds[i]!,
      instrument: c.instrument[i]!,
      symbol: this.symbolAt(i),
      open: decimalOf(c.open[i]!, px),
      high: decimalOf(c.high[i]!, px),
      low: decimalOf(c.low[i]!, px),
      close: decimalOf(c.close[i]!, px),
      volume: this.volumeDecimal(i),
      tradeCount: presentI64(c.tradeCount[i]!),
      publisher: c.publisher[i]!,
      source: c.source[i] === BarFromProvider ? "provider" : "trades"
    }
  }

  /** Rows one after another, for tests and small reads. */
  *rows(): IterableIterator<Bar> {
    for (let i = 0; i < this.length; i++) yield this.row(i)
  }
}

/** A builder of bar batches. */
export const barBuilder = (
  context: BatchContext,
  capacity = 4096
): BatchBuilder<typeof BarLayout, BarBatch> =>
  new BatchBuilder(
    BarLayout,
    capacity,
    (set, length) => new BarBatch(context, Layout.first(BarLayout, set, length), length)
  )
