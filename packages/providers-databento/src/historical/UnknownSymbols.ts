/**
 * Symbols that mean nothing in a time. The service answers for the symbols that it knows and refuses a request that has none
 * of them; a list of more than 2,000 is several requests, of which one may be refused so.
 */
import { isUnknownSymbols, ProviderBadRequest, ProviderError } from "@data-manager/core"
import { Effect, Option } from "effect"
import type { HistoricalHttp } from "./HistoricalHttp.ts"
import { AllSymbols, type DataRequest } from "./HistoricalRequest.ts"
import { resolve } from "./Symbology.ts"

/**
 * The answers to the parts of a request, those left out whose symbols all mean nothing in its time. Where that is all of
 * them the error says so (`unknownSymbols`).
 */
export const answersOf = Effect.fnUntraced(function* <A>(
  http: HistoricalHttp,
  request: DataRequest,
  lists: ReadonlyArray<string>,
  ask: (symbols: string) => Effect.Effect<A, ProviderError>,
  concurrency: number
) {
  let unknown: ProviderError | undefined
  const one = (list: string): Effect.Effect<ReadonlyArray<A>, ProviderError> =>
    ask(list).pipe(
      Effect.map((answer) => [answer]),
      Effect.catch((error) => explained(http, request, list.split(","), error)),
      Effect.catch((error) => {
        if (!isUnknownSymbols(error)) return Effect.fail(error)
        unknown = error
        return Effect.succeed([])
      })
    )
  const answers = (yield* Effect.forEach(lists, one, { concurrency })).flat()
  if (answers.length === 0 && unknown !== undefined)
    return yield* withSymbols(unknown, request, request.symbols)
  return answers
})

/** The error of a request that the service refused; its symbology, which is free of charge, tells whether that is because of the symbols. */
const explained = Effect.fnUntraced(function* (
  http: HistoricalHttp,
  request: DataRequest,
  symbols: ReadonlyArray<string>,
  error: ProviderError
) {
  const { dataset, stypeIn = "raw_symbol", range } = request
  const isRefused = error.reason._tag === "ProviderBadRequest" && /^4\d\d: /.test(error.reason.detail)
  if (!isRefused || symbols.includes(AllSymbols)) return yield* error
  const stypeOut = stypeIn === "instrument_id" ? "raw_symbol" : "instrument_id"
  const resolved = yield* Effect.option(resolve(http, { dataset, symbols, stypeIn, stypeOut, range }))
  const isUnknown =
    Option.isSome(resolved) && [...resolved.value.value.result.values()].every((days) => days.length === 0)
  return yield* isUnknown ? withSymbols(error, request, symbols) : error
})

const withSymbols = (
  error: ProviderError,
  { dataset, stypeIn = "raw_symbol" }: DataRequest,
  unknownSymbols: ReadonlyArray<string>
): ProviderError => {
  const { reason } = error
  if (reason._tag !== "ProviderBadRequest") return error
  const names = unknownSymbols.length === 1 ? unknownSymbols[0] : `${unknownSymbols.length} symbols`
  return new ProviderError({
    provider: error.provider,
    operation: error.operation,
    reason: new ProviderBadRequest({
      detail: reason.detail,
      requestId: reason.requestId,
      hint: `${names}: no ${stypeIn} of ${dataset} in this time; check the spelling, the symbol type and the time`,
      unknownSymbols
    }),
    cause: error.cause
  })
}
