/** Chosen rows of a batch as a batch of their own. */
import * as Layout from "./BatchLayout.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { QuoteBatch, QuoteLayout } from "./QuoteBatch.ts"
import { TradeBatch, TradeLayout } from "./TradeBatch.ts"

const gather = <const L extends Layout.BatchLayout>(
  layout: L,
  from: Pick<Layout.ColumnSet<L>, "columns" | "words">,
  rows: ArrayLike<number>
): Pick<Layout.ColumnSet<L>, "columns" | "words"> => {
  const set = Layout.allocate(layout, rows.length)
  for (const [name, spec] of Object.entries(layout)) {
    // The same column of one layout on both sides: the element types agree.
    const source = from.columns[name as keyof L] as Int8Array
    const target = set.columns[name as keyof L] as Int8Array
    for (let i = 0; i < rows.length; i++)
      for (let lane = 0; lane < spec.lanes; lane++)
        target[i * spec.lanes + lane] = source[rows[i]! * spec.lanes + lane]!
  }
  return Layout.window(layout, set, 0, rows.length)
}

const isRun = (rows: ArrayLike<number>): boolean => {
  for (let i = 1; i < rows.length; i++) if (rows[i] !== rows[i - 1]! + 1) return false
  return true
}

/** Trades at the given row numbers. Consecutive rows share the memory of the batch, others are copied. */
export const selectTrades = (batch: TradeBatch, rows: ArrayLike<number>): TradeBatch => {
  if (rows.length > 0 && isRun(rows)) return batch.slice(rows[0]!, rows[0]! + rows.length)
  return copyTrades(batch, rows)
}

/** Trades at the given row numbers in memory of their own, so that few rows do not keep a large batch alive. */
export const copyTrades = (batch: TradeBatch, rows: ArrayLike<number>): TradeBatch => {
  const texts = batch.textIds
  const textIds = texts === undefined ? undefined : Array.from(rows, (i) => texts[i]!)
  return new TradeBatch(batch.context, gather(TradeLayout, batch, rows), rows.length, textIds)
}

/** Quotes at the given row numbers. Consecutive rows share the memory of the batch, others are copied. */
export const selectQuotes = (batch: QuoteBatch, rows: ArrayLike<number>): QuoteBatch => {
  if (rows.length > 0 && isRun(rows)) return batch.slice(rows[0]!, rows[0]! + rows.length)
  return new QuoteBatch(batch.context, gather(QuoteLayout, batch, rows), rows.length)
}

/** Chosen rows of a batch of trades or quotes. */
export const selectRows = <B extends TradeBatch | QuoteBatch>(batch: B, rows: ArrayLike<number>): B =>
  (batch._tag === "TradeBatch" ? selectTrades(batch, rows) : selectQuotes(batch, rows)) as B

/** Whether `selectRows` takes it. */
export const isSelectable = (batch: MarketBatch): batch is TradeBatch | QuoteBatch =>
  batch._tag === "TradeBatch" || batch._tag === "QuoteBatch"
