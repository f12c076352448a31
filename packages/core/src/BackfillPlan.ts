/**
 * What to fetch: the requested time minus what is held, cut into chunks that a provider can serve. Pure; the engine that
 * carries a plan out is `Backfill`.
 *
 * Chunks begin and end at UTC midnights, except where a hole does: plans made at different times ask for the same chunks.
 * Symbols with the same hole are fetched together.
 */
import * as Coverage from "./Coverage.ts"
import type { InstrumentId } from "./Instrument.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { HistoryRequest, Revision, Selection } from "./Provider.ts"
import * as TimeRange from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What somebody wants to hold. */
export interface BackfillRequest extends Selection {
  /** On the index clock of the schema. */
  readonly range: TimeRange.TimeRange
  /** Fetch again what retention has removed. Default false. */
  readonly includeExpired?: boolean | undefined
  /** Fetch again what is held: for data that the provider has revised. Default false. */
  readonly again?: boolean | undefined
}

/** An instrument that a symbol means during a time. */
export interface MeantInstrument {
  readonly instrument: InstrumentId
  readonly valid: TimeRange.TimeRange
}

/** What a plan is made from. */
export interface PlanInput {
  readonly request: BackfillRequest
  /** What exists at the provider; nothing outside of it is asked for. */
  readonly available: TimeRange.TimeRange
  /** The instruments of each symbol, as far as listings tell; without any, nothing of the symbol is taken for held. */
  readonly meant: ReadonlyMap<string, ReadonlyArray<MeantInstrument>>
  /** Coverage of those instruments in the schema of the request. */
  readonly spans: ReadonlyArray<Coverage.CoverageSpan>
  /** Longest chunk in days, at least 1. */
  readonly chunkDays: number
  /** Most symbols of a chunk; 0: no limit. */
  readonly maxSymbols: number
  /** Now, ns: a `none` that has expired is asked again. */
  readonly now: bigint
  /** How the provider has the data now, where it tells. */
  readonly revisions?: ReadonlyArray<Revision> | undefined
}

/** A part of a plan: one request of the provider. */
export interface BackfillChunk extends HistoryRequest {
  /** From 0, in the order in which chunks are fetched: oldest first. */
  readonly index: number
  /** The revisions that the provider told for this time. */
  readonly revision?: string | undefined
}

/** What is to be fetched, and what is not, and why. */
export interface BackfillPlan {
  readonly request: BackfillRequest
  readonly chunks: ReadonlyArray<BackfillChunk>
  /** Requested time that the provider has nothing for: before its first day, after its last. */
  readonly outside: Coverage.RangeSet
  /** Symbols of which everything is held or settled. */
  readonly complete: ReadonlyArray<string>
  /** Time of which the provider has revised something since it was fetched: fetched again. */
  readonly revised: Coverage.RangeSet
  /** The instruments of each symbol, as far as listings told. */
  readonly meant: PlanInput["meant"]
  /** Times of symbols that are not fetched because they are settled, in nanoseconds over all symbols. */
  readonly skipped: { readonly held: bigint; readonly expired: bigint; readonly none: bigint }
}

/** Makes the plan. */
export const plan = (input: PlanInput): BackfillPlan => {
  const { request, available, meant } = input
  const wanted = TimeRange.intersect(request.range, available)
  const outside = Coverage.subtract([request.range], [available])
  const skipped = { held: 0n, expired: 0n, none: 0n }
  if (wanted === undefined || request.symbols.length === 0)
    return { request, chunks: [], outside, complete: [], revised: [], meant, skipped }
  const spansOf = spansByInstrument(input.spans, request.schema)
  const groups = new Map<string, { readonly holes: Coverage.RangeSet; readonly symbols: Array<string> }>()
  const complete: Array<string> = []
  const revised: Array<TimeRange.TimeRange> = []
  for (const symbol of new Set(request.symbols)) {
    const holes = holesOf(input, symbol, wanted, spansOf, skipped)
    for (const { instrument } of meant.get(symbol) ?? [])
      revised.push(...revisedIn(spansOf.get(instrument) ?? [], holes))
    if (holes.length === 0) {
      complete.push(symbol)
      continue
    }
    const key = holes.map(({ start, end }) => `${start}-${end}`).join()
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { holes, symbols: [symbol] })
    else group.symbols.push(symbol)
  }
  const revisionOf = revisionTexts(input)
  const chunks = [...groups.values()].flatMap(({ holes, symbols }) => chunksOf(input, holes, symbols))
  chunks.sort((a, b) => (a.range.start < b.range.start ? -1 : a.range.start > b.range.start ? 1 : 0))
  return {
    request,
    chunks: chunks.map((chunk, index) => ({ ...chunk, index, revision: revisionOf(chunk.range) })),
    outside,
    complete,
    revised: Coverage.ranges(revised),
    meant,
    skipped
  }
}

/** The part of `holes` that was held until the provider revised it. */
const revisedIn = (
  spans: ReadonlyArray<Coverage.CoverageSpan>,
  holes: Coverage.RangeSet
): Coverage.RangeSet => {
  const revised = spans.filter(({ state, cause }) => state === "missing" && cause === Coverage.Revised)
  return Coverage.intersect(holes, Coverage.ranges(revised.map(({ range }) => range)))
}

/** The revisions of a time as one text; undefined where the provider tells none. Many chunks are of the same time. */
const revisionTexts = ({ revisions = [] }: PlanInput) => {
  const known = new Map<string, string | undefined>()
  return (range: TimeRange.TimeRange): string | undefined => {
    if (revisions.length === 0) return undefined
    const key = `${range.start} ${range.end}`
    if (known.has(key)) return known.get(key)
    const told = revisions.filter((one) => TimeRange.overlaps(one.range, range)).map((one) => one.revision)
    const text = told.length === 0 ? undefined : [...new Set(told)].join()
    known.set(key, text)
    return text
  }
}

type SpansOf = ReadonlyMap<InstrumentId, ReadonlyArray<Coverage.CoverageSpan>>

const spansByInstrument = (spans: ReadonlyArray<Coverage.CoverageSpan>, schema: MarketSchema): SpansOf => {
  const byInstrument = new Map<InstrumentId, Array<Coverage.CoverageSpan>>()
  for (const span of spans) {
    if (span.schema !== schema) continue
    const known = byInstrument.get(span.instrument)
    if (known === undefined) byInstrument.set(span.instrument, [span])
    else known.push(span)
  }
  return byInstrument
}

/** The part of `wanted` that has to be fetched for a symbol. */
const holesOf = (
  { request, meant, now }: PlanInput,
  symbol: string,
  wanted: TimeRange.TimeRange,
  spansOf: SpansOf,
  skipped: { held: bigint; expired: bigint; none: bigint }
): Coverage.RangeSet => {
  let holes = Coverage.ranges([wanted])
  for (const { instrument, valid } of meant.get(symbol) ?? []) {
    const spans = spansOf.get(instrument)
    if (spans === undefined) continue
    // That there is nothing under a name is said of times in which it is not listed, too.
    const { none } = Coverage.resolve(spans, wanted, now)
    const within = TimeRange.intersect(valid, wanted)
    const { held, expired } =
      within === undefined ? { held: [], expired: [] } : Coverage.resolve(spans, within, now)
    const settled = [
      ...(request.again === true ? [] : held),
      ...(request.includeExpired === true ? [] : expired),
      ...none
    ]
    if (request.again !== true) skipped.held += Coverage.duration(held)
    if (request.includeExpired !== true) skipped.expired += Coverage.duration(expired)
    skipped.none += Coverage.duration(none)
    holes = Coverage.subtract(holes, Coverage.ranges(settled))
  }
  return holes
}

const chunksOf = (
  { request, chunkDays, maxSymbols }: PlanInput,
  holes: Coverage.RangeSet,
  symbols: ReadonlyArray<string>
): ReadonlyArray<Omit<BackfillChunk, "index">> => {
  const { dataset, stypeIn, schema } = request
  const ranges = holes.flatMap((hole) => cutByDays(hole, chunkDays))
  const lists = maxSymbols === 0 ? [symbols] : cutList(symbols, maxSymbols)
  return ranges.flatMap((range) => lists.map((list) => ({ dataset, symbols: list, stypeIn, schema, range })))
}

/** Pieces of at most `days` UTC days; inner ends are midnights, at multiples of `days` since the epoch. */
const cutByDays = (range: TimeRange.TimeRange, days: number): ReadonlyArray<TimeRange.TimeRange> => {
  const step = BigInt(Math.max(1, Math.floor(days))) * UnixNanos.PerDay
  const out: Array<TimeRange.TimeRange> = []
  let { start } = range
  while (start < range.end) {
    const next = (start / step + 1n) * step
    const end = next < range.end ? next : range.end
    out.push({ start, end })
    start = end
  }
  return out
}

const cutList = <A>(list: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> => {
  const out: Array<ReadonlyArray<A>> = []
  for (let from = 0; from < list.length; from += size) out.push(list.slice(from, from + size))
  return out
}
