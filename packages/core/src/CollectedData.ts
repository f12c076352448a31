/** Which instruments the registry has collected, and in which schemas. */
import type { Instrument } from "./Instrument.ts"
import type * as MarketSchema from "./MarketSchema.ts"
import type { SymbolEntry } from "./MarketStore.ts"
import { AllSymbols } from "./Provider.ts"
import * as SymbolText from "./SymbolText.ts"

/** What the enabled entries ask for. Parents, continuous symbols and everything stand for all instruments of their dataset. */
export const collectedBy = (
  entries: ReadonlyArray<SymbolEntry>,
  defaultSchemas: ReadonlyArray<MarketSchema.MarketSchema>
) => {
  const names = new Map<string, Set<MarketSchema.MarketSchema>>()
  const datasets = new Set<string>()
  const schemas = new Set<MarketSchema.MarketSchema>()
  for (const { dataset, provider, schemas: named, stypeIn, symbol } of entries) {
    const { rawSymbol } = SymbolText.parse(symbol)
    const isOne = stypeIn === "raw_symbol" && rawSymbol !== AllSymbols
    const key = [provider, dataset, isOne ? rawSymbol : ""].join("\n")
    const known = names.get(key) ?? new Set()
    for (const schema of named.length === 0 ? defaultSchemas : named) {
      known.add(schema)
      schemas.add(schema)
    }
    names.set(key, known)
    datasets.add(dataset)
  }
  const schemasOf = ({ dataset, provider, rawSymbol }: Instrument) => [
    names.get([provider, dataset, rawSymbol].join("\n")),
    names.get([provider, dataset, ""].join("\n"))
  ]
  return {
    datasets,
    schemas,
    isNamed: (instrument: Instrument): boolean => schemasOf(instrument).some((found) => found !== undefined),
    isCollected: (instrument: Instrument, schema: MarketSchema.MarketSchema): boolean =>
      schemasOf(instrument).some((found) => found?.has(schema) === true)
  }
}
