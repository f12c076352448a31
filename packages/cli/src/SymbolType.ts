/** How a symbol is meant, by the form in which it is written. */
import type { SymbolType } from "@data-manager/core"

/** `ES.FUT` is a parent, `ES.c.0` continuous, digits alone an instrument number, everything else the venue's own text. */
export const symbolTypeOf = (rawSymbol: string): SymbolType =>
  /^[^.]+\.(FUT|OPT|SPOT)$/.test(rawSymbol)
    ? "parent"
    : /^[^.]+\.[cnv]\.\d+$/.test(rawSymbol)
      ? "continuous"
      : /^\d+$/.test(rawSymbol)
        ? "instrument_id"
        : "raw_symbol"
