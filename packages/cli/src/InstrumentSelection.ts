/** The instruments that a command line means: all, those of a provider, those named or matching a pattern. */
import { type Instrument, type InstrumentId, MarketStore, type TimeRange } from "@data-manager/core"
import { Effect } from "effect"
import { askedRange, lookUp, matchesPattern } from "./SymbolLookup.ts"

/** What a command line says about instruments and time. */
export interface SelectionOptions {
  readonly names: ReadonlyArray<string>
  readonly symbols: ReadonlyArray<string>
  readonly provider?: string | undefined
  readonly start: bigint | undefined
  readonly end: bigint | undefined
}

/** Instruments by id, and the time named. */
export interface Selected {
  readonly instruments: ReadonlyMap<InstrumentId, Instrument>
  readonly range: TimeRange.TimeRange | undefined
  /** For a request of the store: the ids, undefined where all instruments are meant. */
  readonly ids: ReadonlyArray<InstrumentId> | undefined
}

/** Whether fewer than all instruments are meant. */
export const narrowed = (options: SelectionOptions): boolean =>
  options.provider !== undefined || options.names.length + options.symbols.length > 0

/** Finds the instruments; a name that is none, or several, fails. */
export const select = (options: SelectionOptions) =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    const { instruments } = yield* store.loadInstruments()
    const range = askedRange(options.start, options.end)
    const texts = [...options.names, ...options.symbols]
    const ids = new Set<InstrumentId>()
    for (const text of texts) {
      if (/[*?]/.test(text)) {
        for (const instrument of instruments.values())
          if (matchesPattern(text, instrument)) ids.add(instrument.id)
      } else ids.add((yield* lookUp(text, range)).id)
    }
    const chosen = [...instruments.values()].filter(
      (instrument) =>
        (texts.length === 0 || ids.has(instrument.id)) &&
        (options.provider === undefined || instrument.provider === options.provider)
    )
    return {
      instruments: new Map(chosen.map((one) => [one.id, one])),
      range,
      ids: narrowed(options) ? chosen.map(({ id }) => id) : undefined
    } satisfies Selected
  })
