/** From symbols to other symbols, day by day. Free of charge. Source: fact sheet, "symbology.resolve". */
import type { ListingClaim, ProviderError, TimeRange } from "@data-manager/core"
import { Effect, Schema } from "effect"
import { dateFromIso, dayOfDate } from "../dbn/IsoDate.ts"
import type { SType } from "../dbn/SType.ts"
import { daysClaim } from "../MappingClaim.ts"
import { type HistoricalHttp, type Reply, together } from "./HistoricalHttp.ts"
import { datesOf, symbolLists } from "./HistoricalRequest.ts"
import * as ReplyShape from "./ReplyShape.ts"

/** What to resolve. */
export interface ResolveRequest {
  readonly dataset: string
  readonly symbols: ReadonlyArray<string>
  readonly stypeIn: SType
  readonly stypeOut: SType
  /** The UTC days that this range touches are resolved. */
  readonly range: TimeRange.TimeRange
}

/** What a symbol means from a day (inclusive) to another (exclusive), `YYYY-MM-DD`. */
export interface ResolvedInterval {
  readonly start: string
  readonly end: string
  readonly symbol: string
}

/** Answers by input symbol; a parent has several intervals at a time. */
export interface Resolution {
  readonly result: ReadonlyMap<string, ReadonlyArray<ResolvedInterval>>
  /** Resolved on some of the days. */
  readonly partial: ReadonlyArray<string>
  readonly notFound: ReadonlyArray<string>
}

const Answer = Schema.Struct({
  result: Schema.Record(
    Schema.String,
    Schema.Array(Schema.Struct({ d0: ReplyShape.Day, d1: ReplyShape.Day, s: Schema.String }))
  ),
  partial: ReplyShape.maybe(Schema.Array(Schema.String)),
  not_found: ReplyShape.maybe(Schema.Array(Schema.String))
})

/** Resolves symbols; lists of more than 2,000 are asked in parts. Intervals without a symbol are left out. */
export const resolve = (
  http: HistoricalHttp,
  request: ResolveRequest
): Effect.Effect<Reply<Resolution>, ProviderError> => {
  const path = "symbology.resolve"
  const days = datesOf(request.range)
  const ask = (symbols: string) =>
    http.json(
      {
        kind: "symbology",
        method: "POST",
        path,
        params: {
          dataset: request.dataset,
          symbols,
          stype_in: request.stypeIn,
          stype_out: request.stypeOut,
          start_date: days.start,
          end_date: days.end
        }
      },
      Answer,
      "a symbol resolution"
    )
  return symbolLists(path, request.symbols).pipe(
    Effect.flatMap((lists) => Effect.forEach(lists, ask, { concurrency: 4 })),
    Effect.map((replies) => together(replies, merged))
  )
}

const merged = (answers: ReadonlyArray<typeof Answer.Type>): Resolution => {
  const result = new Map<string, ReadonlyArray<ResolvedInterval>>()
  for (const answer of answers)
    for (const [symbol, intervals] of Object.entries(answer.result))
      result.set(
        symbol,
        intervals.flatMap(({ d0, d1, s }) =>
          s === "" || d0 >= d1 ? [] : [{ start: d0, end: d1, symbol: s }]
        )
      )
  return {
    result,
    partial: answers.flatMap((answer) => answer.partial ?? []),
    notFound: answers.flatMap((answer) => answer.not_found ?? [])
  }
}

/** What a resolution between raw symbols and instrument ids says, as listings. `stypeIn` is what was asked for. */
export const claimsOfResolution = (
  dataset: string,
  resolution: Resolution,
  stypeIn: "raw_symbol" | "instrument_id"
): ReadonlyArray<ListingClaim> =>
  [...resolution.result].flatMap(([asked, intervals]) =>
    intervals.flatMap(({ start, end, symbol }) => {
      const [id, text] = stypeIn === "raw_symbol" ? [symbol, asked] : [asked, symbol]
      const [startDay, endDay] = [dayOf(start), dayOf(end)]
      return startDay === undefined || endDay === undefined || !/^\d{1,10}$/.test(id)
        ? []
        : [daysClaim(dataset, Number(id), text, startDay, endDay)]
    })
  )

const dayOf = (text: string): number | undefined => {
  const date = dateFromIso(text)
  return date === undefined ? undefined : dayOfDate(date)
}
