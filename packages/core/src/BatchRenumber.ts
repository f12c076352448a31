/** Batches with other numbers for their instruments. Only that column is new: everything else is shared. */
import type { BatchContext } from "./BatchContext.ts"
import { replaced } from "./BatchLayout.ts"
import type { Instrument, InstrumentDirectory, InstrumentId } from "./Instrument.ts"
import { QuoteBatch, QuoteLayout } from "./QuoteBatch.ts"
import type { KeyedBatch } from "./RowIndex.ts"
import { TradeBatch, TradeLayout } from "./TradeBatch.ts"

/** The rows of a batch, its instruments numbered as the context's directory has them. */
export const renumbered = <B extends KeyedBatch>(
  batch: B,
  context: BatchContext,
  numberOf: (id: InstrumentId) => InstrumentId
): B => {
  const instrument = new Uint32Array(batch.length)
  let [last, number] = [-1, -1]
  for (let row = 0; row < batch.length; row++) {
    const id = batch.columns.instrument[row]!
    if (id !== last) {
      last = id
      number = numberOf(id)
    }
    instrument[row] = number
  }
  return replacing(batch, context, instrument) as B
}

const replacing = (batch: KeyedBatch, context: BatchContext, instrument: Uint32Array): KeyedBatch =>
  batch._tag === "TradeBatch"
    ? new TradeBatch(
        context,
        replaced(TradeLayout, batch, "instrument", instrument),
        batch.length,
        batch.textIds
      )
    : new QuoteBatch(context, replaced(QuoteLayout, batch, "instrument", instrument), batch.length)

/**
 * Translates batches of several sources into one numbering: that of the instruments given, by their symbol. What is not among
 * them gets numbers of its own, from the top down, and is added to the directory.
 */
export class InstrumentTranslation {
  readonly #directory = new Map<InstrumentId, Instrument>()
  readonly #bySymbol = new Map<string, InstrumentId>()
  readonly #contexts = new WeakMap<BatchContext, BatchContext>()
  readonly #numbers = new WeakMap<InstrumentDirectory, Map<InstrumentId, InstrumentId>>()
  #next = 0xffff_ffff

  constructor(instruments: Iterable<Instrument>) {
    for (const instrument of instruments) this.know(instrument)
  }

  /** All instruments by the number that translated batches use. Grows. */
  get directory(): InstrumentDirectory {
    return this.#directory
  }

  /** An instrument with the number that it is to have. */
  know(instrument: Instrument): void {
    this.#directory.set(instrument.id, instrument)
    this.#bySymbol.set(instrument.symbol, instrument.id)
  }

  /** The batch in this numbering. */
  translate<B extends KeyedBatch>(batch: B): B {
    const { instruments } = batch.context
    let numbers = this.#numbers.get(instruments)
    if (numbers === undefined) {
      numbers = new Map()
      this.#numbers.set(instruments, numbers)
    }
    const known = numbers
    return renumbered(batch, this.#contextOf(batch.context), (id) => {
      const number = known.get(id)
      if (number !== undefined) return number
      const fresh = this.#numberOf(id, instruments)
      known.set(id, fresh)
      return fresh
    })
  }

  #contextOf(context: BatchContext): BatchContext {
    let translated = this.#contexts.get(context)
    if (translated === undefined) {
      translated = { ...context, instruments: this.#directory }
      this.#contexts.set(context, translated)
    }
    return translated
  }

  #numberOf(id: InstrumentId, instruments: InstrumentDirectory): InstrumentId {
    const instrument = instruments.get(id)
    const known = instrument === undefined ? undefined : this.#bySymbol.get(instrument.symbol)
    if (known !== undefined) return known
    const number = this.#next
    this.#next -= 1
    if (instrument !== undefined) this.know({ ...instrument, id: number })
    return number
  }
}
