/**
 * Finds holes in what is held: time that is known to be missing, and time between two held ones of which nothing is known
 * (a service that was stopped and started again). Pure; `GapRepair` fills what is found.
 *
 * What a provider has revised is no hole: fetching a whole day of everything again is the scheduled backfill's decision.
 */
import * as Coverage from "./Coverage.ts"
import type { Instrument, InstrumentId } from "./Instrument.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { GapCause } from "./Provider.ts"
import type { TimeRange } from "./TimeRange.ts"

/** Cause of a hole that nobody has told: nothing was collected between two times that are held. */
export const Unexplained = "unexplained"

/** Every cause of a hole; a series of metrics is there from the start on. */
export const gapCauses: ReadonlyArray<GapCause | typeof Unexplained> = [
  "disconnect",
  "slow-reader",
  "sequence",
  "overflow",
  "provider",
  "crash",
  "disk-full",
  "silence",
  Unexplained
]

/** Time that is lacking, of all the instruments that lack it for the same cause. */
export interface GapHole {
  readonly provider: string
  readonly dataset: string
  readonly schema: MarketSchema
  /** On the index clock of the schema, whole microseconds. */
  readonly range: TimeRange
  /** A `GapCause`, or `Unexplained`. */
  readonly cause: string
  readonly instruments: ReadonlyArray<InstrumentId>
  /** Raw symbols of these instruments, in the same order. */
  readonly symbols: ReadonlyArray<string>
}

/** What is looked at. */
export interface GapScanInput {
  readonly instruments: ReadonlyMap<InstrumentId, Instrument>
  readonly spans: ReadonlyArray<Coverage.CoverageSpan>
  /** Whether an instrument is collected in a schema: holes of others are not looked for. */
  readonly isCollected: (instrument: Instrument, schema: MarketSchema) => boolean
  /** Holes are looked for, and cut, in here. */
  readonly within: TimeRange
  /** Now, ns. */
  readonly now: bigint
}

/** Names a hole: found again, it is the same one. */
export const keyOf = ({
  cause,
  dataset,
  provider,
  range,
  schema
}: Pick<GapHole, "cause" | "dataset" | "provider" | "range" | "schema">): string =>
  `${provider}\n${dataset}\n${schema}\n${range.start}\n${range.end}\n${cause}`

/** All holes, oldest first. */
export const scan = (input: GapScanInput): ReadonlyArray<GapHole> => {
  const holes = new Map<string, GapHole & { instruments: Array<InstrumentId>; symbols: Array<string> }>()
  for (const spans of bySeries(input.spans)) {
    const { instrument: id, schema } = spans[0]!
    const instrument = input.instruments.get(id)
    if (instrument === undefined || !input.isCollected(instrument, schema)) continue
    const { dataset, provider, rawSymbol } = instrument
    for (const { cause, range } of lackingOf(spans, input)) {
      const hole = { provider, dataset, schema, range, cause, instruments: [id], symbols: [rawSymbol] }
      const known = holes.get(keyOf(hole))
      if (known === undefined) {
        holes.set(keyOf(hole), hole)
        continue
      }
      known.instruments.push(id)
      known.symbols.push(rawSymbol)
    }
  }
  return inOrder([...holes.values()])
}

/** Holes of several scans, of other instruments each, as one scan would have found them. */
export const merge = (parts: Iterable<ReadonlyArray<GapHole>>): ReadonlyArray<GapHole> => {
  const merged = new Map<string, ReadonlyArray<GapHole>>()
  for (const part of parts)
    for (const hole of part) merged.set(keyOf(hole), [...(merged.get(keyOf(hole)) ?? []), hole])
  return inOrder(
    [...merged.values()].map((holes) => ({
      ...holes[0]!,
      instruments: holes.flatMap(({ instruments }) => instruments),
      symbols: holes.flatMap(({ symbols }) => symbols)
    }))
  )
}

/** Oldest first. */
const inOrder = (holes: ReadonlyArray<GapHole>): ReadonlyArray<GapHole> =>
  [...holes].sort((a, b) => (a.range.start < b.range.start ? -1 : 1))

/** Spans of each instrument and schema. */
const bySeries = (
  spans: ReadonlyArray<Coverage.CoverageSpan>
): Iterable<ReadonlyArray<Coverage.CoverageSpan>> => {
  const series = new Map<string, Array<Coverage.CoverageSpan>>()
  for (const span of spans) {
    const key = `${span.instrument} ${span.schema}`
    const known = series.get(key)
    if (known === undefined) series.set(key, [span])
    else known.push(span)
  }
  return series.values()
}

interface Lacking {
  readonly range: TimeRange
  readonly cause: string
}

/** What one instrument lacks in one schema. */
const lackingOf = (
  spans: ReadonlyArray<Coverage.CoverageSpan>,
  { now, within }: GapScanInput
): ReadonlyArray<Lacking> => {
  const { held, missing, unknown } = Coverage.resolve(spans, within, now)
  const lacking: Array<Lacking> = []
  let rest = missing
  for (const { cause = Unexplained, range, state } of spans) {
    if (rest.length === 0) break
    // A revised time is taken out as well: whatever else is said of it, the scheduled backfill fetches it.
    if (state !== "missing") continue
    const told = Coverage.intersect(rest, [range])
    if (cause !== Coverage.Revised) lacking.push(...told.map((part) => ({ range: part, cause })))
    rest = Coverage.subtract(rest, told)
  }
  const [first, last] = [held[0], held.at(-1)]
  if (first === undefined || last === undefined) return lacking
  const inner = { start: first.start, end: last.end }
  for (const range of Coverage.intersect(unknown, [inner])) lacking.push({ range, cause: Unexplained })
  return lacking
}

/** Whether nothing of a range is lacking any more, of any of these instruments: it is held, or there is nothing, or was. */
export const isSettled = (
  { instruments, range, schema }: Pick<GapHole, "instruments" | "range" | "schema">,
  spans: ReadonlyArray<Coverage.CoverageSpan>,
  now: bigint
): boolean => {
  const byInstrument = new Map<InstrumentId, Array<Coverage.CoverageSpan>>(
    instruments.map((instrument) => [instrument, []])
  )
  for (const span of spans) if (span.schema === schema) byInstrument.get(span.instrument)?.push(span)
  return [...byInstrument.values()].every((own) => {
    const { missing, unknown } = Coverage.resolve(own, range, now)
    return missing.length === 0 && unknown.length === 0
  })
}
