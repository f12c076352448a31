/**
 * Instruments of a process that has no store: ids are given in the order in which listings come, and mean nothing elsewhere.
 * One instrument per dataset and raw symbol, or per native id where no text is known, whatever the time: for a program that
 * lives shorter than the venue takes to use a text again.
 */
import { Effect } from "effect"
import type { RegisterListings } from "./FileSource.ts"
import type { Instrument, InstrumentDirectory, InstrumentId, ListingClaim } from "./Instrument.ts"
import * as SymbolText from "./SymbolText.ts"

/** A registry in memory. */
export interface LocalInstruments {
  /** Gives a claim its instrument, the same one each time. Never fails. */
  readonly register: RegisterListings
  /** Grows as listings come. */
  readonly directory: InstrumentDirectory
}

/** An empty registry in memory. */
export const make = (): LocalInstruments => {
  const byText = new Map<string, Instrument>()
  const byId = new Map<InstrumentId, Instrument>()
  const instrumentOf = (claim: ListingClaim): Instrument => {
    const rawSymbol = claim.rawSymbol ?? `#${claim.nativeId}`
    const key = `${claim.provider}\0${claim.dataset}\0${rawSymbol}`
    const known = byText.get(key)
    if (known !== undefined) return known
    const instrument: Instrument = {
      id: byId.size + 1,
      provider: claim.provider,
      dataset: claim.dataset,
      rawSymbol,
      symbol: SymbolText.make(claim.dataset, rawSymbol),
      priceScale: claim.defaultPriceScale,
      sizeScale: claim.defaultSizeScale,
      assetClass: claim.details?.assetClass ?? "unknown",
      exchange: claim.details?.exchange
    }
    byText.set(key, instrument)
    byId.set(instrument.id, instrument)
    return instrument
  }
  return { register: (claims) => Effect.sync(() => claims.map(instrumentOf)), directory: byId }
}
