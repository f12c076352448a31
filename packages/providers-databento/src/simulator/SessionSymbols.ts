/** What the symbols of live requests mean: filters for records, mappings to announce, and what was not found. */
import { dayOfNanos, NANOS_PER_DAY } from "../dbn/IsoDate.ts"
import type { SimulatedDataset } from "./Catalogue.ts"
import type { MappedSymbol } from "./GatewayRecord.ts"
import { InstrumentFilter } from "./Selection.ts"
import type { Subscription } from "./SubscriptionLine.ts"
import { ALL_SYMBOLS, type DayInterval } from "./SymbolDirectory.ts"

/** A resolved request. */
export interface ResolvedRequest {
  readonly filter: InstrumentFilter
  /** In the order of their start. */
  readonly mappings: ReadonlyArray<MappedSymbol>
  readonly notFound: ReadonlyArray<string>
}

/** Resolves a request from `from` (ns since the epoch) on. */
export const resolveRequest = (
  dataset: SimulatedDataset,
  request: Pick<Subscription, "stypeIn" | "symbols">,
  from: bigint
): ResolvedRequest => {
  const filter = new InstrumentFilter()
  const mappings: Array<MappedSymbol> = []
  const notFound: Array<string> = []
  const first = dayOfNanos(from)
  const end = Math.max(first + 1, dataset.days.end)
  for (const symbol of new Set(request.symbols)) {
    if (symbol === ALL_SYMBOLS) {
      filter.isAll = true
      for (const it of dataset.symbols.listings(first, end))
        mappings.push(mapped(it, it.value.id, "raw_symbol", it.value.symbol, it.value.symbol))
      continue
    }
    const found = instruments(dataset, request.stypeIn, symbol, first, end)
    if (found.length === 0) notFound.push(symbol)
    for (const it of found) {
      filter.add(it)
      const raw = dataset.symbols.rawSymbol(it.value, it.start) ?? String(it.value)
      mappings.push(mapped(it, it.value, request.stypeIn, symbol, raw))
    }
  }
  mappings.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
  return { filter, mappings, notFound }
}

/** A continuous symbol keeps the contract that it means at first: sessions are not rolled. */
const instruments = (
  dataset: SimulatedDataset,
  stype: string,
  symbol: string,
  first: number,
  end: number
): ReadonlyArray<DayInterval<number>> => {
  const found = dataset.symbols.instruments(stype, symbol, first, end)
  return stype === "continuous" ? found.slice(0, 1).map((it) => ({ ...it, end })) : found
}

const mapped = (
  days: DayInterval<unknown>,
  instrumentId: number,
  stypeIn: string,
  symbolIn: string,
  rawSymbol: string
): MappedSymbol => ({
  instrumentId,
  stypeIn,
  symbolIn,
  rawSymbol,
  start: BigInt(days.start) * NANOS_PER_DAY,
  end: BigInt(days.end) * NANOS_PER_DAY
})
