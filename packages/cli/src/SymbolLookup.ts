/** From the symbols that users write to instruments. */
import {
  type Instrument,
  InstrumentRegistry,
  type StoreError,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"

/** The time that the command line names, open ends included; undefined where it names none. */
export const askedRange = (
  start: bigint | undefined,
  end: bigint | undefined
): TimeRange.TimeRange | undefined =>
  start === undefined && end === undefined
    ? undefined
    : TimeRange.make(start ?? UnixNanos.Min, end ?? UnixNanos.Max)

/** The instrument that a text names during a time. */
export const lookUp = (
  text: string,
  range: TimeRange.TimeRange | undefined
): Effect.Effect<Instrument, StoreError, InstrumentRegistry> =>
  InstrumentRegistry.use((registry) => registry.resolve(text, range))

/** The instruments of several texts, each once. */
export const lookUpAll = (
  texts: ReadonlyArray<string>,
  range: TimeRange.TimeRange | undefined
): Effect.Effect<ReadonlyArray<Instrument>, StoreError, InstrumentRegistry> =>
  Effect.gen(function* () {
    const found = new Map<number, Instrument>()
    for (const text of texts) {
      const instrument = yield* lookUp(text, range)
      found.set(instrument.id, instrument)
    }
    return [...found.values()]
  })

/** Whether a symbol fits a pattern with `*` for any text and `?` for one character; a short form fits its raw symbol. */
export const matchesPattern = (
  pattern: string,
  instrument: Pick<Instrument, "rawSymbol" | "symbol">
): boolean => {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".")
  const expression = new RegExp(`^${source}$`, "iu")
  return expression.test(instrument.symbol) || expression.test(instrument.rawSymbol)
}

/** Whether a discovered symbol fits any of the patterns of `[symbols] include`. */
export const includesSymbol =
  (include: ReadonlyArray<string>) =>
  (symbol: string): boolean =>
    include.some((pattern) =>
      matchesPattern(pattern, { symbol, rawSymbol: symbol.slice(symbol.indexOf(":") + 1) })
    )
