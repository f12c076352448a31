/**
 * Fetches history into the store: plans what is lacking, tells what it would take, and carries it out chunk by chunk.
 *
 * The last rows of a chunk and its coverage are one transaction. A chunk that was interrupted or killed is fetched again
 * and adds nothing twice; one that is finished is not fetched again. Rows replace what live collection has stored for the
 * same microseconds where they differ: the provider's history is the authority.
 */
import { Clock, Effect, Queue, Stream } from "effect"
import { type BackfillEvent, fetchChunk, type Job, type RunOptions } from "./BackfillFetch.ts"
import { BackfillNothing } from "./BackfillNothing.ts"
import { type BackfillPlan, type BackfillRequest, type MeantInstrument, plan } from "./BackfillPlan.ts"
import { MarketStore } from "./MarketStore.ts"
import type { Provider } from "./Provider.ts"
import * as TimeRange from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

export { checkBudget, estimate, estimatePlans, sumEstimates } from "./BackfillEstimate.ts"
export { type BackfillEvent, type ChunkSummary, describe, type RunOptions } from "./BackfillFetch.ts"

/** How a plan is made. */
export interface PrepareOptions {
  /** Longest chunk in days; the provider's own limit counts as well. Default 7. */
  readonly chunkDays?: number | undefined
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
  const revisions = yield* lookForRevisions(provider, store, request, available)
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
    revisions,
    now: BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  })
})

/** Asks how the provider has the data now. What it has revised since an earlier look is held no longer from here on. */
const lookForRevisions = Effect.fnUntraced(function* <R>(
  provider: Provider<R>,
  store: MarketStore["Service"],
  request: BackfillRequest,
  available: TimeRange.TimeRange
) {
  const range = TimeRange.intersect(request.range, available)
  if (provider.revisions === undefined || range === undefined) return []
  const { dataset, schema } = request
  const revisions = yield* provider.revisions({ ...request, range })
  if (revisions.length > 0) yield* store.noteRevisions({ provider: provider.id, dataset, schema, revisions })
  return revisions
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
 * Carries a plan out. The stream never fails: what goes wrong with a chunk is its `ChunkFailed`, and the others go on.
 * Interrupting it keeps what is committed.
 */
export const run = <R>(
  provider: Provider<R>,
  plan: BackfillPlan,
  options: RunOptions = {}
): Stream.Stream<BackfillEvent, never, MarketStore | R> =>
  Stream.callback<BackfillEvent, never, MarketStore | R>(
    Effect.fnUntraced(function* (queue) {
      const job: Job<R> = { provider, plan, options, queue, nothing: new BackfillNothing(plan) }
      yield* Effect.forEach(plan.chunks, (chunk) => fetchChunk(job, chunk), {
        concurrency: options.concurrency ?? 4,
        discard: true
      })
      // A symbol may have become known by a later chunk than those that it is not in; a store that fails here loses nothing.
      yield* Effect.ignore(job.nothing.settle())
      yield* Queue.end(queue)
    }),
    { bufferSize: 16 }
  )
