/** `symbology.resolve`: what symbols mean, day by day. */
import { dateOfDay, dateToIso } from "../dbn/IsoDate.ts"
import type { KnownSType } from "../dbn/SType.ts"
import { caseProblem, json } from "./HttpReply.ts"
import type { Endpoint } from "./MetadataEndpoint.ts"
import { jsonIntervals, type Resolution } from "./SymbolDirectory.ts"

/** The answer as the service and the `symbology.json` of batch jobs have it. */
export const symbologyJson = (
  resolution: Resolution,
  asked: {
    readonly symbols: ReadonlyArray<string>
    readonly stypeIn: KnownSType
    readonly stypeOut: KnownSType
    readonly first: number
    readonly end: number
  }
): { readonly [key: string]: unknown } => {
  const { partial, notFound, intervals } = resolution
  const isWhole = partial.length + notFound.length === 0
  const isNothing = intervals.size === 0
  return {
    result: Object.fromEntries([...intervals].map(([symbol, list]) => [symbol, jsonIntervals(list)])),
    symbols: asked.symbols,
    stype_in: asked.stypeIn,
    stype_out: asked.stypeOut,
    start_date: dateToIso(dateOfDay(asked.first)),
    end_date: dateToIso(dateOfDay(asked.end)),
    partial,
    not_found: notFound,
    message: isWhole ? "OK" : isNothing ? "Not found" : "Partially resolved",
    status: isWhole ? 0 : isNothing ? 2 : 1
  }
}

const resolve: Endpoint = (form, catalogue) => {
  const dataset = form.dataset(catalogue)
  form.required("symbols")
  form.required("start_date")
  const symbols = form.symbols()
  const stypeIn = form.stype("stype_in")
  const stypeOut = form.stype("stype_out")
  const first = form.day("start_date") as number
  const end = form.day("end_date") ?? first + 1
  if (first >= end)
    throw caseProblem(422, "symbology_invalid_date_range", "start_date is not before end_date")
  const resolution = dataset.symbols.resolve(symbols, stypeIn, stypeOut, first, end)
  const isPartial =
    resolution.intervals.size > 0 && resolution.partial.length + resolution.notFound.length > 0
  return json(symbologyJson(resolution, { symbols, stypeIn, stypeOut, first, end }), isPartial ? 206 : 200)
}

/** By the name behind `symbology.`. */
export const symbologyEndpoints: { readonly [name: string]: Endpoint } = { resolve }
