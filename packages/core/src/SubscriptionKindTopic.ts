/** Topic subscriptions: every row of the wanted symbols. A pure operator over batches. */
import { isSelectable, selectRows } from "./BatchSelection.ts"
import type { InstrumentDirectory, InstrumentId } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { AllSymbols } from "./Provider.ts"

/**
 * Which instruments a list of symbols means. A full form names one; a raw symbol alone names the first dataset that has
 * it, and only that one: a later instrument of another dataset with the same raw symbol is not delivered by surprise.
 */
export class SymbolSelection {
  #all: boolean
  readonly #wanted: Set<string>
  readonly #dataset = new Map<string, string>()
  #answers = new WeakMap<InstrumentDirectory, Map<InstrumentId, boolean>>()

  constructor(symbols: ReadonlyArray<string>) {
    this.#all = symbols.includes(AllSymbols)
    this.#wanted = new Set(symbols)
  }

  /** Whether everything is wanted. */
  get isAll(): boolean {
    return this.#all
  }

  /** The texts as they were given, in order. */
  get symbols(): ReadonlyArray<string> {
    return [...this.#wanted]
  }

  /** Wants further symbols. */
  add(symbols: ReadonlyArray<string>): void {
    for (const symbol of symbols) this.#wanted.add(symbol)
    this.#change()
  }

  /** Wants these texts no longer. */
  remove(symbols: ReadonlyArray<string>): void {
    for (const symbol of symbols) {
      this.#wanted.delete(symbol)
      this.#dataset.delete(symbol)
    }
    this.#change()
  }

  #change(): void {
    this.#all = this.#wanted.has(AllSymbols)
    this.#answers = new WeakMap()
  }

  /** What speaks against taking these texts out, or undefined. */
  removalProblem(symbols: ReadonlyArray<string>): string | undefined {
    const unknown = symbols.filter((symbol) => !this.#wanted.has(symbol))
    if (unknown.length > 0)
      return this.#all
        ? `"${unknown[0]}" is wanted as part of ${AllSymbols} and cannot be taken out alone`
        : `"${unknown[0]}" is not among the symbols of this subscription`
    return new Set(symbols).size === this.#wanted.size
      ? "a subscription needs a symbol; end it instead"
      : undefined
  }

  /** Whether an instrument with these texts is wanted. */
  matches(symbol: string, rawSymbol: string): boolean {
    if (this.#all || this.#wanted.has(symbol)) return true
    if (!this.#wanted.has(rawSymbol)) return false
    const dataset = symbol.slice(0, Math.max(0, symbol.length - rawSymbol.length))
    const first = this.#dataset.get(rawSymbol)
    if (first === undefined) this.#dataset.set(rawSymbol, dataset)
    return first === undefined || first === dataset
  }

  /** Whether an instrument of a directory is wanted. Unknown ones are asked about again. */
  wants(id: InstrumentId, directory: InstrumentDirectory): boolean {
    if (this.#all) return true
    let answers = this.#answers.get(directory)
    if (answers === undefined) {
      answers = new Map()
      this.#answers.set(directory, answers)
    }
    const known = answers.get(id)
    if (known !== undefined) return known
    const instrument = directory.get(id)
    if (instrument === undefined) return false
    const answer = this.matches(instrument.symbol, instrument.rawSymbol)
    answers.set(id, answer)
    return answer
  }
}

/** The rows of wanted symbols, or undefined where there are none. The batch itself where all are wanted. */
export const topic = <B extends MarketBatch>(selection: SymbolSelection, batch: B): B | undefined => {
  if (batch.length === 0) return undefined
  if (selection.isAll || !isSelectable(batch)) return batch
  const rows: Array<number> = []
  const { instrument } = batch.columns
  for (let i = 0; i < batch.length; i++)
    if (selection.wants(instrument[i]!, batch.context.instruments)) rows.push(i)
  if (rows.length === batch.length) return batch
  return rows.length === 0 ? undefined : selectRows(batch, rows)
}
