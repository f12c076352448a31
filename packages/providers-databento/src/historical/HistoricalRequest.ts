/** What can be asked of the historical service, and how it stands on the wire. Source: fact sheet, "Value formats". */
import { ProviderBadRequest, ProviderError, type TimeRange, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import type { SType } from "../dbn/SType.ts"

/** Every symbol of a dataset. */
export const AllSymbols = "ALL_SYMBOLS"

/** Symbols of one request of the service; longer lists are split and the answers put together. */
export const MaxSymbols = 2_000

/** Records of a dataset. */
export interface DataRequest {
  readonly dataset: string
  /** Raw symbols, parents, continuous or ids, as `stypeIn` says; `["ALL_SYMBOLS"]` for all. */
  readonly symbols: ReadonlyArray<string>
  readonly stypeIn?: SType | undefined
  readonly schema: KnownSchema
  /** On the index clock of the schema: ts_recv where it has one. */
  readonly range: TimeRange.TimeRange
  /** Largest number of records. */
  readonly limit?: bigint | undefined
}

/** Parameters by name; undefined ones are not sent. */
export type Params = Readonly<Record<string, string | undefined>>

const refuse = (operation: string, detail: string, hint: string): ProviderError =>
  new ProviderError({
    provider: "databento",
    operation,
    reason: new ProviderBadRequest({ detail, hint })
  })

/** The symbol lists of the requests that together ask for `symbols`: trimmed, without repetition, at most 2,000 each. */
export const symbolLists = (
  operation: string,
  symbols: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<string>, ProviderError> => {
  const unique = [...new Set(symbols.map((symbol) => symbol.trim()))]
  if (unique.length === 0)
    return Effect.fail(refuse(operation, "no symbols", `name some, or "${AllSymbols}"`))
  const bad = unique.find((symbol) => symbol === "" || symbol.includes(","))
  if (bad !== undefined)
    return Effect.fail(
      refuse(operation, `"${bad}" is not a symbol`, "give one symbol per element of the list")
    )
  if (unique.includes(AllSymbols))
    return unique.length === 1
      ? Effect.succeed([AllSymbols])
      : Effect.fail(refuse(operation, `${AllSymbols} beside other symbols`, "give it alone"))
  const lists: Array<string> = []
  for (let from = 0; from < unique.length; from += MaxSymbols)
    lists.push(unique.slice(from, from + MaxSymbols).join(","))
  return Effect.succeed(lists)
}

/** Refuses a range that holds no time, and a limit that nothing fits. */
export const checkData = (operation: string, request: DataRequest): Effect.Effect<void, ProviderError> => {
  const { start, end } = request.range
  if (start >= end)
    return Effect.fail(
      refuse(
        operation,
        `the range ${UnixNanos.toIso(start)} .. ${UnixNanos.toIso(end)} is empty`,
        "its end is exclusive and must be after its start"
      )
    )
  if (start < 0n)
    return Effect.fail(refuse(operation, `${UnixNanos.toIso(start)} is before 1970`, "no data is"))
  if (request.limit !== undefined && request.limit < 1n)
    return Effect.fail(
      refuse(operation, `a limit of ${request.limit} records`, "leave it out, or ask for at least one")
    )
  return Effect.void
}

/** The parameters that all requests for data share, for one symbol list. */
export const dataParams = (request: DataRequest, symbols: string): Params => ({
  dataset: request.dataset,
  symbols,
  schema: request.schema,
  stype_in: request.stypeIn ?? "raw_symbol",
  start: String(request.range.start),
  end: String(request.range.end),
  limit: request.limit === undefined ? undefined : String(request.limit)
})

const PerDay = UnixNanos.PerDay

/** The UTC days that a range touches: end rounded up unless it is midnight. Both as `YYYY-MM-DD`, end exclusive. */
export const datesOf = (range: TimeRange.TimeRange): { readonly start: string; readonly end: string } => ({
  start: UnixNanos.toDate(range.start),
  end: UnixNanos.toDate(UnixNanos.startOfDay(range.end + PerDay - 1n))
})
