/**
 * Symbol text: `DATASET:RAW_SYMBOL` in full (`GLBX.MDP3:ESM6`), or a short form (`ESM6`) where it is unique.
 * The dataset ends at the first colon; a raw symbol may contain blanks and further colons.
 */
import type { Instrument, InstrumentId, Listing } from "./Instrument.ts"
import * as TimeRange from "./TimeRange.ts"

/** The canonical text of a raw symbol in a dataset. */
export const make = (dataset: string, rawSymbol: string): string => `${dataset}:${rawSymbol}`

/** Dataset and raw symbol of a full form; the dataset is undefined for a short form. */
export const parse = (text: string): { readonly dataset: string | undefined; readonly rawSymbol: string } => {
  const colon = text.indexOf(":")
  return colon <= 0
    ? { dataset: undefined, rawSymbol: text }
    : { dataset: text.slice(0, colon), rawSymbol: text.slice(colon + 1) }
}

/** Why a text does not name one instrument. */
export type SymbolProblem =
  | { readonly _tag: "Unknown"; readonly text: string; readonly similar: ReadonlyArray<string> }
  | { readonly _tag: "Ambiguous"; readonly text: string; readonly candidates: ReadonlyArray<string> }
  | { readonly _tag: "SeveralListings"; readonly text: string; readonly listings: ReadonlyArray<Listing> }

/** One sentence for people, with what to do next. */
export const describe = (problem: SymbolProblem): string => {
  switch (problem._tag) {
    case "Unknown":
      return problem.similar.length === 0
        ? `unknown symbol "${problem.text}"; see \`dm symbols list\``
        : `unknown symbol "${problem.text}"; did you mean ${problem.similar.join(", ")}?`
    case "Ambiguous":
      return `"${problem.text}" names several instruments: ${problem.candidates.join(", ")}; write one of these`
    case "SeveralListings":
      return (
        `"${problem.text}" named different instruments during this time: ` +
        problem.listings.map((l) => `#${l.instrument} in ${TimeRange.format(l.valid)}`).join(" and ") +
        "; ask for each period separately"
      )
  }
}

/**
 * The one instrument that `text` names during `range` (at any time, where no range is given).
 * Several datasets with the raw symbol: ambiguous. Several instruments over time: an error naming their listings.
 */
export const resolve = (
  text: string,
  listings: ReadonlyArray<Listing>,
  instruments: ReadonlyMap<InstrumentId, Instrument>,
  range?: TimeRange.TimeRange | undefined
): { readonly instrument: InstrumentId } | SymbolProblem => {
  const asked = parse(text)
  const full = listings.filter((l) => l.dataset === asked.dataset && l.rawSymbol === asked.rawSymbol)
  // A raw symbol may itself contain a colon, so a text that is no full form is tried as a short one. Never both: what
  // an ambiguity error tells people to write must itself be unambiguous.
  const named = full.length > 0 ? full : listings.filter((l) => l.rawSymbol === text)
  if (named.length === 0) return { _tag: "Unknown", text, similar: similar(asked.rawSymbol, listings) }
  const symbols = [...new Set(named.map((l) => make(l.dataset, l.rawSymbol)))]
  if (symbols.length > 1) return { _tag: "Ambiguous", text, candidates: symbols.sort() }
  const during = range === undefined ? named : named.filter((l) => TimeRange.overlaps(l.valid, range))
  const ids = [...new Set((during.length > 0 ? during : named).map((l) => l.instrument))]
  const known = ids.filter((id) => instruments.has(id))
  if (known.length === 1) return { instrument: known[0]! }
  return { _tag: "SeveralListings", text, listings: during.length > 0 ? during : named }
}

const similar = (rawSymbol: string, listings: ReadonlyArray<Listing>): ReadonlyArray<string> => {
  const wanted = rawSymbol.toUpperCase()
  const found = new Set<string>()
  for (const l of listings) {
    const candidate = l.rawSymbol.toUpperCase()
    if (wanted.length > 0 && (candidate.startsWith(wanted) || candidate === wanted.slice(0, -1)))
      found.add(make(l.dataset, l.rawSymbol))
    if (found.size === 5) break
  }
  return [...found]
}
