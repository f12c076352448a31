/** Batches of one kind put together, with other numbers for their instruments: how pieces of a live feed become one append. */
import { BarBatch, BarLayout } from "./BarBatch.ts"
import type { BatchContext } from "./BatchContext.ts"
import * as Layout from "./BatchLayout.ts"
import { BookBatch, BookLayout } from "./BookBatch.ts"
import type { InstrumentId } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { QuoteBatch, QuoteLayout } from "./QuoteBatch.ts"
import { TradeBatch, TradeLayout } from "./TradeBatch.ts"

/** How batches are put together. */
export interface ConcatOptions {
  /** Context of the result: that of a dataset which all batches are of. */
  readonly context: BatchContext
  /** Number of an instrument in the result. Default: as it is. */
  readonly instrumentOf?: ((id: InstrumentId) => InstrumentId) | undefined
}

/** The rows of the batches, in order, in memory of their own. All are of one kind; there is at least one batch. */
export const concat = (batches: ReadonlyArray<MarketBatch>, options: ConcatOptions): MarketBatch => {
  const { context } = options
  const length = batches.reduce((sum, batch) => sum + batch.length, 0)
  switch (batches[0]!._tag) {
    case "TradeBatch":
      return new TradeBatch(
        context,
        gather(TradeLayout, ofTag(batches, "TradeBatch"), length, options),
        length,
        textIds(ofTag(batches, "TradeBatch"))
      )
    case "QuoteBatch":
      return new QuoteBatch(
        context,
        gather(QuoteLayout, ofTag(batches, "QuoteBatch"), length, options),
        length
      )
    case "BarBatch":
      return new BarBatch(context, gather(BarLayout, ofTag(batches, "BarBatch"), length, options), length)
    case "BookBatch":
      return new BookBatch(context, gather(BookLayout, ofTag(batches, "BookBatch"), length, options), length)
  }
}

const ofTag = <T extends MarketBatch["_tag"]>(
  batches: ReadonlyArray<MarketBatch>,
  tag: T
): ReadonlyArray<Extract<MarketBatch, { readonly _tag: T }>> => {
  const other = batches.find((batch) => batch._tag !== tag)
  if (other !== undefined) throw new TypeError(`a ${other._tag} among batches that begin with a ${tag}`)
  return batches as ReadonlyArray<Extract<MarketBatch, { readonly _tag: T }>>
}

/** Texts of all rows, where any batch has some. */
const textIds = (batches: ReadonlyArray<TradeBatch>): ReadonlyArray<string> | undefined =>
  batches.some((batch) => batch.textIds !== undefined)
    ? batches.flatMap((batch) => batch.textIds ?? Array.from({ length: batch.length }, () => ""))
    : undefined

interface Rows<L extends Layout.BatchLayout> {
  readonly length: number
  readonly columns: Layout.Columns<L>
}

const gather = <const L extends Layout.BatchLayout>(
  layout: L,
  batches: ReadonlyArray<Rows<L>>,
  length: number,
  { instrumentOf }: ConcatOptions
): Layout.ColumnViews<L> => {
  const set = Layout.allocate(layout, length)
  for (const [name, { lanes }] of Object.entries(layout)) {
    // The same column of one layout on both sides: the element types agree.
    const target = set.columns[name as keyof L] as Int8Array
    let at = 0
    for (const { columns, length: rows } of batches) {
      target.set((columns[name as keyof L] as Int8Array).subarray(0, rows * lanes), at)
      at += rows * lanes
    }
  }
  if (instrumentOf !== undefined)
    renumber(set.columns["instrument" as keyof L] as Uint32Array, length, instrumentOf)
  return Layout.first(layout, set, length)
}

const renumber = (
  column: Uint32Array,
  length: number,
  instrumentOf: (id: InstrumentId) => InstrumentId
): void => {
  let [last, number] = [-1, -1]
  for (let row = 0; row < length; row++) {
    const id = column[row]!
    if (id !== last) {
      last = id
      number = instrumentOf(id)
    }
    column[row] = number
  }
}
