/**
 * One chunk of a backfill: fetched, tried again where that may help, and stored with its coverage.
 *
 * The last rows of a chunk and its coverage are one transaction.
 */
import { Cause, Clock, Effect, Exit, Queue, Schedule, Stream } from "effect"
import type { BackfillNothing } from "./BackfillNothing.ts"
import type { BackfillChunk, BackfillPlan } from "./BackfillPlan.ts"
import type * as Coverage from "./Coverage.ts"
import type { ListingClaim } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { type AppendClaim, MarketStore } from "./MarketStore.ts"
import { AllSymbols, type Provider, type ProviderEvent } from "./Provider.ts"
import { isUnknownSymbols, ProviderError, ProviderTruncated } from "./ProviderError.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import * as TimeRange from "./TimeRange.ts"

/** How a plan is carried out. */
export interface RunOptions {
  /** Chunks fetched at the same time. Default 4. */
  readonly concurrency?: number | undefined
  /** Further tries of a chunk whose failure may pass. Default 3; 0 at a provider that bills: paying twice is a decision. */
  readonly retries?: number | undefined
  /** Compare the rows of each chunk with the provider's count, where it has one, before coverage is claimed. */
  readonly verify?: boolean | undefined
  /**
   * "bulk": trades are written in the store's bulk profile as far as they fit it (see \`AppendClaim\`), and the ordinary way
   * where not: what was paid for is kept. Default: the ordinary way.
   */
  readonly profile?: "bulk" | undefined
}

/** What became of a chunk. */
export interface ChunkSummary {
  readonly chunk: BackfillChunk
  readonly inserted: number
  readonly duplicates: number
  /** Rows that replaced others, or were replaced. */
  readonly conflicts: number
  /** Rows that were to be written in the bulk profile and did not fit it, and why the first of them did not. */
  readonly unfit?: { readonly rows: number; readonly why: string } | undefined
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

type Sink = Queue.Queue<BackfillEvent, Cause.Done>

/** What the chunks of a run share. */
export interface Job<R> {
  readonly provider: Provider<R>
  readonly plan: BackfillPlan
  readonly options: RunOptions
  readonly queue: Sink
  readonly nothing: BackfillNothing
}

/** Fetches a chunk and says what became of it; fails never. */
export const fetchChunk = Effect.fnUntraced(function* <R>(job: Job<R>, chunk: BackfillChunk) {
  const { provider, options, queue } = job
  yield* Queue.offer(queue, { _tag: "ChunkStarted", chunk })
  const retries = options.retries ?? (provider.capabilities.billed ? 0 : 3)
  const exit = yield* Effect.exit(
    Effect.retry(storeChunk(job, chunk), {
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
  /** The symbol that each claim answers. */
  readonly requested: Array<string>
  inserted: number
  duplicates: number
  conflicts: number
  unfit: ChunkSummary["unfit"]
  rows: number
  segment: number
}

/** Fetches and stores one chunk. */
const storeChunk = Effect.fnUntraced(function* <R>(job: Job<R>, chunk: BackfillChunk) {
  const started = yield* Clock.currentTimeMillis
  const store = yield* MarketStore
  const heard: Heard = {
    claims: [],
    requested: [],
    inserted: 0,
    duplicates: 0,
    conflicts: 0,
    unfit: undefined,
    rows: 0,
    segment: 0
  }
  const receipt = yield* beginReceipt(job, chunk)
  const known = receipt?.completedAt !== undefined && !isAskedAgain(job.plan)
  if (!known) {
    yield* fetchAndStore(job, chunk, heard)
    if (receipt !== undefined) yield* store.completeRun(receipt.id)
  }
  const { inserted, duplicates, conflicts } = heard
  return {
    chunk,
    inserted,
    duplicates,
    conflicts,
    unfit: heard.unfit,
    unknown: known ? [] : unknownOf(chunk, heard),
    known,
    seconds: ((yield* Clock.currentTimeMillis) - started) / 1000
  } satisfies ChunkSummary
})

const isAskedAgain = ({ request }: BackfillPlan): boolean =>
  request.again === true || request.includeExpired === true

const fetchAndStore = Effect.fnUntraced(function* <R>(job: Job<R>, chunk: BackfillChunk, heard: Heard) {
  const { provider, options } = job
  const store = yield* MarketStore
  const ledger = yield* store.beginRun(sourceOf(provider, chunk))
  // Symbols that mean nothing in this time are an answer, not a failure: most have not been listed for ever.
  const last = yield* Effect.catch(receive(job, chunk, ledger.id, heard), (error) =>
    error._tag === "ProviderError" && isUnknownSymbols(error) ? Effect.undefined : Effect.fail(error)
  )
  const rows = heard.rows + (last?.length ?? 0)
  if (options.verify === true) yield* verify(provider, chunk, rows)
  const coverage = yield* coverageOf(job, chunk, heard, rows)
  if (last !== undefined) yield* append(store, options, ledger.id, last, heard, coverage)
  else if (coverage.length > 0) yield* store.claimCoverage(coverage)
  yield* job.nothing.settle()
  yield* store.completeRun(ledger.id)
})

/** Appends batches as they come; gives the last one, which waits for the coverage that goes with it. */
const receive = Effect.fnUntraced(function* <R>(
  job: Job<R>,
  chunk: BackfillChunk,
  run: bigint,
  heard: Heard
) {
  const { provider, queue } = job
  const store = yield* MarketStore
  let held: MarketBatch | undefined
  const onEvent = Effect.fnUntraced(function* (event: ProviderEvent) {
    if (event._tag === "Mapping") {
      heard.claims.push(event.claim)
      heard.requested.push(event.requested)
    }
    if (event._tag !== "Batch") return
    const previous = held
    held = event.batch
    if (previous === undefined) return
    yield* append(store, job.options, run, previous, heard, [])
    yield* Queue.offer(queue, { _tag: "ChunkProgress", chunk, rows: heard.rows })
  })
  yield* Stream.runForEach(provider.history(chunk), onEvent)
  return held as MarketBatch | undefined
})

const append = Effect.fnUntraced(function* (
  store: MarketStore["Service"],
  { profile }: RunOptions,
  run: bigint,
  batch: MarketBatch,
  heard: Heard,
  coverage: ReadonlyArray<Coverage.CoverageClaim>
) {
  const segment = heard.segment++
  const claim: AppendClaim = { run, segment, coverage, onConflict: "replace" }
  const ordinary = store.append(batch, claim)
  const result = yield* profile === undefined || batch._tag !== "TradeBatch"
    ? ordinary
    : Effect.catch(store.append(batch, { ...claim, profile }), (error) => {
        if (error.reason._tag !== "StoreBadRequest") return Effect.fail(error)
        heard.unfit = {
          rows: (heard.unfit?.rows ?? 0) + batch.length,
          why: heard.unfit?.why ?? error.reason.detail
        }
        return ordinary
      })
  heard.rows += batch.length
  heard.inserted += result.inserted
  heard.duplicates += result.duplicates
  heard.conflicts += result.conflicts
})

/** What the chunk speaks for: its instruments, while their listings are valid; in the rest of its time there is nothing. */
const coverageOf = Effect.fnUntraced(function* <R>(
  { nothing }: Job<R>,
  chunk: BackfillChunk,
  { claims, requested }: Heard,
  rows: number
) {
  const store = yield* MarketStore
  const instruments = claims.length === 0 ? [] : yield* store.registerListings(claims)
  if (isBySymbol(chunk) && (requested.length > 0 || rows === 0)) {
    const listed = new Map<string, Array<TimeRange.TimeRange>>(chunk.symbols.map((symbol) => [symbol, []]))
    for (const [i, symbol] of requested.entries()) {
      nothing.learn(symbol, instruments[i]!.id)
      listed.get(symbol)?.push(claims[i]!.valid)
    }
    for (const [symbol, ranges] of listed) nothing.add(symbol, chunk.range, ranges)
  }
  const within = TimeRange.inwardMicros(chunk.range) ?? { start: 0n, end: 0n }
  return claims.flatMap((claim, i): ReadonlyArray<Coverage.CoverageClaim> => {
    const range = TimeRange.intersect(claim.valid, within)
    return range === undefined ? [] : [{ instrument: instruments[i]!.id, schema: chunk.schema, range }]
  })
})

/** Whether coverage alone tells what of a chunk is settled: its symbols are instruments by name. */
const isBySymbol = ({ stypeIn, symbols }: BackfillChunk): boolean =>
  stypeIn === "raw_symbol" && !symbols.includes(AllSymbols)

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

/** Symbols that no mapping answered; a provider that sends rows without any does not tell. */
const unknownOf = (chunk: BackfillChunk, { requested, rows }: Heard): ReadonlyArray<string> => {
  if (chunk.symbols.includes(AllSymbols) || (requested.length === 0 && rows > 0)) return []
  const known = new Set(requested)
  return chunk.symbols.filter((symbol) => !known.has(symbol))
}

const sourceOf = <R>(provider: Provider<R>, chunk: BackfillChunk) => ({
  kind: "backfill" as const,
  source: describe(chunk),
  provider: provider.id,
  dataset: chunk.dataset,
  schema: chunk.schema
})

/**
 * The ledger entry that says that a chunk of parents, continuous symbols or everything was fetched, in this revision: which
 * instruments those mean is the provider's to say, so coverage alone cannot tell.
 */
const beginReceipt = Effect.fnUntraced(function* <R>({ provider }: Job<R>, chunk: BackfillChunk) {
  if (isBySymbol(chunk)) return undefined
  const { dataset, schema, stypeIn, range, revision } = chunk
  const symbols = yield* sha256([...chunk.symbols].sort().join(","))
  const revised = revision === undefined ? "" : ` revision=${yield* sha256(revision)}`
  return yield* (yield* MarketStore).beginRun({
    ...sourceOf(provider, chunk),
    fingerprint: `backfill ${provider.id} ${dataset} ${schema} ${stypeIn} ${range.start} ${range.end} symbols=${symbols}${revised}`
  })
})

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
