/** Stored data for `MarketData`: which instruments are meant, what is lacking and may be fetched, and the rows. */
import { Clock, Effect, Stream } from "effect"
import * as Backfill from "./Backfill.ts"
import { ConfigError } from "./ConfigError.ts"
import * as Coverage from "./Coverage.ts"
import * as Decimal from "./Decimal.ts"
import type { Instrument, InstrumentId } from "./Instrument.ts"
import type { InstrumentRegistry } from "./InstrumentRegistry.ts"
import * as MarketSchema from "./MarketSchema.ts"
import { MarketStore } from "./MarketStore.ts"
import { AllSymbols, type Provider } from "./Provider.ts"
import type { ProviderError } from "./ProviderError.ts"
import type { KeyedBatch } from "./RowIndex.ts"
import { StoreBadRequest, StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import type * as TimeRange from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** Where stored data comes from. */
export interface StoredData {
  readonly store: MarketStore["Service"]
  readonly registry: InstrumentRegistry["Service"]
  /** Who may be asked for what is lacking. */
  readonly providers: ReadonlyArray<Provider>
}

/** What of it is wanted. */
export interface StoredRequest {
  readonly symbols: ReadonlyArray<string>
  readonly schema?: MarketSchema.MarketSchema | undefined
  readonly range: TimeRange.TimeRange
  readonly fetchMissing?: boolean | undefined
  readonly maxCostUsd?: Decimal.Decimal | undefined
}

/** Time of which not everything is stored: rows of it may be missing in the stream. */
export interface MissingData {
  readonly _tag: "Missing"
  readonly schema: MarketSchema.MarketSchema
  /** Full forms. */
  readonly symbols: ReadonlyArray<string>
  readonly range: TimeRange.TimeRange
  /** As coverage has it: `disconnect`, `crash`, `expired`...; `unknown` where nobody has ever asked for it. */
  readonly cause: string
}

/** Stored rows. */
export interface StoredRows {
  readonly _tag: "Batch"
  readonly batch: KeyedBatch
}

/** What symbols mean during a time. */
export interface Meant {
  readonly instruments: ReadonlyArray<Instrument>
  /** Texts that name nothing that is stored. */
  readonly unknown: ReadonlyArray<string>
}

const refused = (operation: string, detail: string): StoreError =>
  new StoreError({ operation, reason: new StoreBadRequest({ detail }) })

/** The instruments of a request. Ambiguous texts and those that meant several instruments are errors. */
export const meant = Effect.fnUntraced(function* (
  { registry, store }: StoredData,
  symbols: ReadonlyArray<string>,
  range: TimeRange.TimeRange
) {
  if (symbols.includes(AllSymbols)) {
    const known = yield* store.loadInstruments()
    return { instruments: [...known.instruments.values()], unknown: [] } satisfies Meant
  }
  const instruments = new Map<number, Instrument>()
  const unknown: Array<string> = []
  for (const text of new Set(symbols)) {
    const found = yield* registry.lookup(text, range)
    if (!("_tag" in found)) instruments.set(found.id, found)
    else if (found._tag === "Unknown") unknown.push(text)
    else return yield* Effect.fail(refused("resolve symbol", SymbolText.describe(found)))
  }
  return { instruments: [...instruments.values()], unknown } satisfies Meant
})

/** Rows of instruments in a range. */
export const rowsOf = (
  { store }: StoredData,
  schema: MarketSchema.MarketSchema,
  instruments: ReadonlyArray<Instrument>,
  range: TimeRange.TimeRange
): Stream.Stream<KeyedBatch, StoreError> => {
  const request = { instruments: instruments.map(({ id }) => id), range }
  if (instruments.length === 0) return Stream.empty
  switch (MarketSchema.kind(schema)) {
    case "trades":
      return store.readTrades(request)
    case "quotes":
      return store.readQuotes({ ...request, schema })
    default:
      return Stream.fail(unfit(schema))
  }
}

/** The error for schemas that have no stream. */
export const unfit = (schema: MarketSchema.MarketSchema): StoreError =>
  refused(
    "read market data",
    `${schema} is neither trades nor quotes; read bars and books from the store itself`
  )

/** Missing time of a range, as events; the same hole of many symbols is one. */
export const missingIn = Effect.fnUntraced(function* (
  { store }: StoredData,
  schema: MarketSchema.MarketSchema,
  instruments: ReadonlyArray<Instrument>,
  range: TimeRange.TimeRange
) {
  const ids = instruments.map(({ id }) => id)
  const spans = ids.length === 0 ? [] : yield* store.coverage({ instruments: ids, schema, range })
  const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  const byInstrument = new Map<InstrumentId, Array<Coverage.CoverageSpan>>()
  for (const span of spans) {
    const known = byInstrument.get(span.instrument)
    if (known === undefined) byInstrument.set(span.instrument, [span])
    else known.push(span)
  }
  const groups = new Map<string, MissingData & { readonly symbols: Array<string> }>()
  for (const { id, symbol } of instruments)
    for (const [cause, hole] of holesOf(byInstrument.get(id) ?? [], range, now)) {
      const key = `${hole.start} ${hole.end} ${cause}`
      const known = groups.get(key)
      if (known === undefined)
        groups.set(key, { _tag: "Missing", schema, symbols: [symbol], range: hole, cause })
      else known.symbols.push(symbol)
    }
  return [...groups.values()].sort((a, b) => (a.range.start < b.range.start ? -1 : 1))
})

type Hole = readonly [cause: string, range: TimeRange.TimeRange]

const holesOf = (
  spans: ReadonlyArray<Coverage.CoverageSpan>,
  range: TimeRange.TimeRange,
  now: bigint
): ReadonlyArray<Hole> => {
  const { expired, missing, unknown } = Coverage.resolve(spans, range, now)
  const causeOf = (hole: TimeRange.TimeRange): string =>
    spans.find(
      (span) => span.state === "missing" && span.range.start < hole.end && span.range.end > hole.start
    )?.cause ?? "unknown"
  return [
    ...expired.map((hole): Hole => ["expired", hole]),
    ...missing.map((hole): Hole => [causeOf(hole), hole]),
    ...unknown.map((hole): Hole => ["unknown", hole])
  ]
}

/** Stored data of a range: first what is missing, after fetching where that is wanted, then the rows. */
export const historyOf = (
  data: StoredData,
  request: StoredRequest
): Stream.Stream<StoredRows | MissingData, StoreError | ProviderError | ConfigError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { range, schema = "trades", symbols } = request
      if (request.fetchMissing === true) yield* fetchMissing(data, request)
      const { instruments, unknown } = yield* meant(data, symbols, range)
      if (unknown.length > 0)
        return yield* Effect.fail(
          refused("resolve symbol", `nothing is stored of ${unknown.join(", ")}; see \`dm symbols list\``)
        )
      const missing = yield* missingIn(data, schema, instruments, range)
      const rows = Stream.map(
        rowsOf(data, schema, instruments, range),
        (batch): StoredRows => ({ _tag: "Batch", batch })
      )
      return Stream.concat(Stream.fromIterable(missing), rows)
    })
  )

/** Fetches what the store lacks of a request. What cannot be fetched fails it: nobody is to take the rest for everything. */
export const fetchMissing = Effect.fnUntraced(
  function* (data: StoredData, request: StoredRequest) {
    const { range, schema = "trades" } = request
    for (const [provider, dataset, symbols] of yield* sourcesOf(data, request)) {
      const wanted = { dataset, symbols, stypeIn: "raw_symbol" as const, schema, range }
      const plan = yield* Backfill.prepare(provider, wanted)
      const limit = provider.capabilities.billed ? (request.maxCostUsd ?? Decimal.make(0n, 0)) : undefined
      const estimates = yield* Backfill.estimatePlans(provider, [plan], limit)
      yield* Backfill.checkBudget(provider, Backfill.sumEstimates(estimates), limit)
      yield* Stream.runForEach(Backfill.run(provider, plan), (event) =>
        event._tag === "ChunkFailed" ? Effect.fail(event.error) : Effect.void
      )
    }
  },
  (effect, data) => Effect.provideService(effect, MarketStore, data.store)
)

type Source = readonly [provider: Provider, dataset: string, symbols: ReadonlyArray<string>]

/** Who has which symbols: as the registry says, for those that it does not know the only provider that has the schema. */
const sourcesOf = Effect.fnUntraced(function* (data: StoredData, request: StoredRequest) {
  const { range, schema = "trades", symbols } = request
  const { instruments, unknown } = yield* meant(data, symbols, range)
  const groups = new Map<string, { readonly source: Source; readonly symbols: Array<string> }>()
  const put = (provider: Provider, dataset: string, rawSymbol: string): void => {
    const key = `${provider.id} ${dataset}`
    const known = groups.get(key)
    const list = known?.symbols ?? []
    list.push(rawSymbol)
    if (known === undefined) groups.set(key, { source: [provider, dataset, list], symbols: list })
  }
  for (const { dataset, provider: id, rawSymbol } of instruments)
    put(yield* providerOf(data, id, schema), dataset, rawSymbol)
  for (const text of unknown) {
    const { dataset, rawSymbol } = SymbolText.parse(text)
    if (dataset === undefined)
      return yield* Effect.fail(
        refused("resolve symbol", `"${text}" names no dataset: write DATASET:${text}`)
      )
    put(yield* providerOf(data, undefined, schema), dataset, rawSymbol)
  }
  return [...groups.values()].map(({ source }) => source)
})

const providerOf = (
  { providers }: StoredData,
  id: string | undefined,
  schema: MarketSchema.MarketSchema
): Effect.Effect<Provider, ConfigError> => {
  const able = providers.filter(
    (provider) => (id ?? provider.id) === provider.id && provider.capabilities.history.includes(schema)
  )
  if (able.length === 1) return Effect.succeed(able[0]!)
  const known = providers.map((provider) => provider.id).join(", ") || "none"
  const whose = id === undefined ? `one provider of ${schema}` : `the provider "${id}" with ${schema}`
  return Effect.fail(
    new ConfigError({
      source: "providers",
      issues: [{ key: "", problem: `missing data needs ${whose}; given: ${known}` }]
    })
  )
}
