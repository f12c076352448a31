/**
 * Fetches history into the store: plans what is lacking, tells what it would take, and carries it out chunk by chunk.
 *
 * The last rows of a chunk and its coverage are one transaction. A chunk that was interrupted or killed is fetched again
 * and adds nothing twice; one that is finished is not fetched again. Rows replace what live collection has stored for the
 * same microseconds where they differ: the provider's history is the authority.
 */
import { Cause, Clock, Effect, Exit, Queue, Schedule, Stream } from "effect"
import {
  type BackfillChunk,
  type BackfillPlan,
  type BackfillRequest,
  type MeantInstrument,
  plan
} from "./BackfillPlan.ts"
import type * as Coverage from "./Coverage.ts"
import * as Decimal from "./Decimal.ts"
import type { ListingClaim } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { MarketStore } from "./MarketStore.ts"
import { AllSymbols, type Estimate, type Provider, type ProviderEvent } from "./Provider.ts"
import { ProviderBudgetExceeded, ProviderError, ProviderTruncated } from "./ProviderError.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import * as TimeRange from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** How a plan is made. */
export interface PrepareOptions {
  /** Longest chunk in days; the provider's own limit counts as well. Default 7. */
  readonly chunkDays?: number | undefined
}

/** How a plan is carried out. */
export interface RunOptions {
  /** Chunks fetched at the same time. Default 4. */
  readonly concurrency?: number | undefined
  /** Further tries of a chunk whose failure may pass. Default 3; 0 at a provider that bills: paying twice is a decision. */
  readonly retries?: number | undefined
  /** Compare the rows of each chunk with the provider's count, where it has one, before coverage is claimed. */
  readonly verify?: boolean | undefined
}

/** What became of a chunk. */
export interface ChunkSummary {
  readonly chunk: BackfillChunk
  readonly inserted: number
  readonly duplicates: number
  /** Rows that replaced others, or were replaced. */
  readonly conflicts: number
  /** Symbols of the chunk that the provider did not know in its time. */
  readonly unknown: ReadonlyArray<string>
  /** The ledger had the chunk already: nothing was fetched. */
  readonly known: boolean
  readonly seconds: number
}

/** Progress of a run. */
export type BackfillEvent =
  | { readonly _tag: "ChunkStarted"; readonly chunk: BackfillChunk }
  /** `rows` of the chunk are committed so far. */
  | { readonly _tag: "ChunkProgress"; readonly chunk: BackfillChunk; readonly rows: number }
  | { readonly _tag: "ChunkDone"; readonly summary: ChunkSummary }
  | {
      readonly _tag: "ChunkFailed"
      readonly chunk: BackfillChunk
      readonly error: ProviderError | StoreError
    }

/** Asks the provider and the store, and plans. Free of charge. */
export const prepare = Effect.fnUntraced(function* <R>(
  provider: Provider<R>,
  request: BackfillRequest,
  options: PrepareOptions = {}
) {
  const store = yield* MarketStore
  const { maxDays, maxSymbols } = provider.capabilities
  const available = yield* provider.availableRange(request)
  const meant = yield* meantInstruments(store, request)
  const instruments = [...new Set([...meant.values()].flatMap((list) => list.map((one) => one.instrument)))]
  const spans =
    instruments.length === 0
      ? []
      : yield* store.coverage({ instruments, schema: request.schema, range: request.range })
  const { chunkDays = 7 } = options
  return plan({
    request,
    available,
    meant,
    spans,
    chunkDays: maxDays > 0 ? Math.min(chunkDays, maxDays) : chunkDays,
    maxSymbols,
    now: BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  })
})

/** The instruments that raw symbols have meant, by listing. Other kinds of symbols have none: their chunks go by ledger. */
const meantInstruments = Effect.fnUntraced(function* (
  store: MarketStore["Service"],
  request: BackfillRequest
) {
  const meant = new Map<string, Array<MeantInstrument>>()
  if (request.stypeIn !== "raw_symbol") return meant
  const asked = new Set(request.symbols)
  const { listings } = yield* store.loadInstruments([request.dataset])
  for (const { rawSymbol, instrument, valid } of listings) {
    if (!asked.has(rawSymbol)) continue
    const known = meant.get(rawSymbol)
    if (known === undefined) meant.set(rawSymbol, [{ instrument, valid }])
    else known.push({ instrument, valid })
  }
  return meant
})

/**
 * What a whole plan would take. Figures that the provider does not give for every chunk are absent; a chunk that it will not
 * serve as asked, such as one of unknown symbols, fails when it is fetched, not here.
 */
export const estimate = <R>(
  provider: Provider<R>,
  { chunks }: BackfillPlan
): Effect.Effect<Estimate, ProviderError, R> => {
  const one = (chunk: BackfillChunk) =>
    Effect.catch(provider.estimate(chunk), (error) =>
      error.reason._tag === "ProviderBadRequest" ? Effect.succeed({ requests: 1 }) : Effect.fail(error)
    )
  return Effect.map(Effect.forEach(chunks, one, { concurrency: 8 }), sumEstimates)
}

/** What several requests take together; a figure that one of them lacks is absent. */
export const sumEstimates = (parts: ReadonlyArray<Estimate>): Estimate => {
  const all = <A>(pick: (part: Estimate) => A | undefined): ReadonlyArray<A> | undefined => {
    const values = parts.map(pick)
    return values.includes(undefined) ? undefined : (values as ReadonlyArray<A>)
  }
  const sum = (values: ReadonlyArray<bigint> | undefined): bigint | undefined =>
    values?.reduce((a, b) => a + b, 0n)
  const weights = all((part) => part.weight)
  return {
    requests: parts.reduce((n, part) => n + part.requests, 0),
    records: sum(all((part) => part.records)),
    bytes: sum(all((part) => part.bytes)),
    costUsd: all((part) => part.costUsd)?.reduce(Decimal.add, Decimal.make(0n, 0)),
    weight:
      weights === undefined || weights.length === 0
        ? undefined
        : { units: weights.reduce((n, { units }) => n + units, 0), perMinute: weights[0]!.perMinute },
    seconds: all((part) => part.seconds)?.reduce((a, b) => a + b, 0)
  }
}

/** Refuses a plan that costs more than the limit, or whose price cannot be told, before anything is fetched. */
export const checkBudget = <R>(
  provider: Provider<R>,
  cost: Estimate,
  maxCostUsd: Decimal.Decimal | undefined
): Effect.Effect<void, ProviderError> => {
  if (maxCostUsd === undefined) return Effect.void
  const refuse = (detail: string, costUsd?: number) =>
    Effect.fail(
      new ProviderError({
        provider: provider.id,
        operation: "backfill",
        reason: new ProviderBudgetExceeded({ detail, costUsd, limitUsd: Decimal.toNumber(maxCostUsd) })
      })
    )
  const limit = `the limit is ${Decimal.format(maxCostUsd)} USD: nothing was fetched`
  if (cost.costUsd === undefined)
    return provider.capabilities.billed ? refuse(`the price cannot be told, ${limit}`) : Effect.void
  return Decimal.compare(cost.costUsd, maxCostUsd) <= 0
    ? Effect.void
    : refuse(`this costs ${Decimal.format(cost.costUsd)} USD, ${limit}`, Decimal.toNumber(cost.costUsd))
}

type Sink = Queue.Queue<BackfillEvent, Cause.Done>

/**
 * Carries a plan out. The stream never fails: what goes wrong with a chunk is its `ChunkFailed`, and the others go on.
 * Interrupting it keeps what is committed.
 */
export const run = <R>(
  provider: Provider<R>,
  { chunks }: BackfillPlan,
  options: RunOptions = {}
): Stream.Stream<BackfillEvent, never, MarketStore | R> =>
  Stream.callback<BackfillEvent, never, MarketStore | R>(
    (queue) =>
      Effect.andThen(
        Effect.forEach(chunks, (chunk) => fetchChunk(provider, chunk, options, queue), {
          concurrency: options.concurrency ?? 4,
          discard: true
        }),
        Queue.end(queue)
      ),
    { bufferSize: 16 }
  )

const fetchChunk = Effect.fnUntraced(function* <R>(
  provider: Provider<R>,
  chunk: BackfillChunk,
  options: RunOptions,
  queue: Sink
) {
  yield* Queue.offer(queue, { _tag: "ChunkStarted", chunk })
  const retries = options.retries ?? (provider.capabilities.billed ? 0 : 3)
  const exit = yield* Effect.exit(
    Effect.retry(storeChunk(provider, chunk, options, queue), {
      schedule: Schedule.exponential("1 second").pipe(Schedule.jittered),
      times: retries,
      while: (error) => error.isRetryable
    })
  )
  if (Exit.isSuccess(exit)) yield* Queue.offer(queue, { _tag: "ChunkDone", summary: exit.value })
  else {
    const error = Cause.findErrorOption(exit.cause)
    if (error._tag === "None") return yield* Effect.failCause(exit.cause as Cause.Cause<never>)
    yield* Queue.offer(queue, { _tag: "ChunkFailed", chunk, error: error.value })
  }
})

/** What the events of a chunk have told so far. */
interface Heard {
  readonly claims: Array<ListingClaim>
  readonly requested: Set<string>
  inserted: number
  duplicates: number
  conflicts: number
  rows: number
  segment: number
}

/** Fetches and stores one chunk. */
const storeChunk = Effect.fnUntraced(function* <R>(
  provider: Provider<R>,
  chunk: BackfillChunk,
  options: RunOptions,
  queue: Sink
) {
  const started = yield* Clock.currentTimeMillis
  const store = yield* MarketStore
  const receipt =
    chunk.stypeIn === "raw_symbol" && !chunk.symbols.includes(AllSymbols)
      ? undefined
      : yield* store.beginRun(yield* receiptOf(provider, chunk))
  const heard: Heard = {
    claims: [],
    requested: new Set(),
    inserted: 0,
    duplicates: 0,
    conflicts: 0,
    rows: 0,
    segment: 0
  }
  if (receipt?.completedAt === undefined) {
    const ledger = yield* store.beginRun(sourceOf(provider, chunk))
    const last = yield* receive(provider, chunk, store, ledger.id, heard, queue)
    if (options.verify === true) yield* verify(provider, chunk, heard.rows + (last?.length ?? 0))
    const coverage = yield* coverageOf(store, chunk, heard.claims)
    if (last !== undefined) yield* append(store, ledger.id, last, heard, coverage)
    else if (coverage.length > 0) yield* store.claimCoverage(coverage)
    yield* store.completeRun(ledger.id)
    if (receipt !== undefined) yield* store.completeRun(receipt.id)
  }
  const { inserted, duplicates, conflicts } = heard
  return {
    chunk,
    inserted,
    duplicates,
    conflicts,
    unknown: unknownOf(chunk, heard),
    known: receipt?.completedAt !== undefined,
    seconds: ((yield* Clock.currentTimeMillis) - started) / 1000
  } satisfies ChunkSummary
})

/** Appends batches as they come; gives the last one, which waits for the coverage that goes with it. */
const receive = Effect.fnUntraced(function* <R>(
  provider: Provider<R>,
  chunk: BackfillChunk,
  store: MarketStore["Service"],
  run: bigint,
  heard: Heard,
  queue: Sink
) {
  let held: MarketBatch | undefined
  const onEvent = Effect.fnUntraced(function* (event: ProviderEvent) {
    if (event._tag === "Mapping") {
      heard.claims.push(event.claim)
      heard.requested.add(event.requested)
    }
    if (event._tag !== "Batch") return
    const previous = held
    held = event.batch
    if (previous === undefined) return
    yield* append(store, run, previous, heard, [])
    yield* Queue.offer(queue, { _tag: "ChunkProgress", chunk, rows: heard.rows })
  })
  yield* Stream.runForEach(provider.history(chunk), onEvent)
  return held as MarketBatch | undefined
})

const append = Effect.fnUntraced(function* (
  store: MarketStore["Service"],
  run: bigint,
  batch: MarketBatch,
  heard: Heard,
  coverage: ReadonlyArray<Coverage.CoverageClaim>
) {
  const segment = heard.segment++
  const result = yield* store.append(batch, { run, segment, coverage, onConflict: "replace" })
  heard.rows += batch.length
  heard.inserted += result.inserted
  heard.duplicates += result.duplicates
  heard.conflicts += result.conflicts
})

/** What the chunk speaks for: its instruments, while their listings are valid. */
const coverageOf = Effect.fnUntraced(function* (
  store: MarketStore["Service"],
  chunk: BackfillChunk,
  claims: ReadonlyArray<ListingClaim>
) {
  if (claims.length === 0) return []
  const instruments = yield* store.registerListings(claims)
  const within = TimeRange.inwardMicros(chunk.range) ?? { start: 0n, end: 0n }
  return claims.flatMap((claim, i): ReadonlyArray<Coverage.CoverageClaim> => {
    const range = TimeRange.intersect(claim.valid, within)
    return range === undefined ? [] : [{ instrument: instruments[i]!.id, schema: chunk.schema, range }]
  })
})

const verify = <R>(
  provider: Provider<R>,
  chunk: BackfillChunk,
  rows: number
): Effect.Effect<void, ProviderError, R> =>
  Effect.flatMap(provider.estimate(chunk), ({ records }) => {
    if (records === undefined || BigInt(rows) >= records) return Effect.void
    const detail = `the provider counts ${records} records and sent ${rows}: nothing is claimed as held, fetch it again`
    return Effect.fail(
      new ProviderError({
        provider: provider.id,
        operation: describe(chunk),
        reason: new ProviderTruncated({ detail })
      })
    )
  })

const unknownOf = (chunk: BackfillChunk, { requested }: Heard): ReadonlyArray<string> =>
  requested.size === 0 || chunk.symbols.includes(AllSymbols)
    ? []
    : chunk.symbols.filter((symbol) => !requested.has(symbol))

const sourceOf = <R>(provider: Provider<R>, chunk: BackfillChunk) => ({
  kind: "backfill" as const,
  source: describe(chunk),
  provider: provider.id,
  dataset: chunk.dataset,
  schema: chunk.schema
})

/**
 * The ledger entry that says that a chunk of parents, continuous symbols or everything was fetched: which instruments those
 * mean is the provider's to say, so coverage alone cannot tell.
 */
const receiptOf = <R>(provider: Provider<R>, chunk: BackfillChunk) =>
  Effect.map(sha256([...chunk.symbols].sort().join(",")), (symbols) => ({
    ...sourceOf(provider, chunk),
    fingerprint: `backfill ${provider.id} ${chunk.dataset} ${chunk.schema} ${chunk.stypeIn} ${chunk.range.start} ${chunk.range.end} symbols=${symbols}`
  }))

const sha256 = (text: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const hash = await globalThis.crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))
    return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("")
  })

/** One line about a chunk, for people and the ledger. */
export const describe = (chunk: BackfillChunk): string => {
  const [first] = chunk.symbols
  const symbols = chunk.symbols.length === 1 ? first : `${first} and ${chunk.symbols.length - 1} more`
  return `${SymbolText.make(chunk.dataset, symbols ?? "")} ${chunk.schema} ${TimeRange.format(chunk.range)}`
}
