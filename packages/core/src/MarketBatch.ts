/** Any batch. */
import type { BarBatch } from "./BarBatch.ts"
import type { BookBatch } from "./BookBatch.ts"
import type { RowKind } from "./MarketSchema.ts"
import type { QuoteBatch } from "./QuoteBatch.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** One stream element, one hub message, one COPY, one ring claim. */
export type MarketBatch = TradeBatch | QuoteBatch | BarBatch | BookBatch

/** The batch class of a row kind. */
export interface BatchByKind {
  readonly trades: TradeBatch
  readonly quotes: QuoteBatch
  readonly bars: BarBatch
  readonly book: BookBatch
}

/** Which of the four kinds a batch is. */
export const rowKind = (batch: MarketBatch): RowKind => {
  switch (batch._tag) {
    case "TradeBatch":
      return "trades"
    case "QuoteBatch":
      return "quotes"
    case "BarBatch":
      return "bars"
    case "BookBatch":
      return "book"
  }
}
