/**
 * Fills the holes of everything that is collected, on a schedule: all enabled symbols, as far back as `lookbackDays`, up to
 * what the provider has. A run at a billed provider needs a budget, and a dearer plan is not started.
 */
import { Cause, Clock, type Cron, Effect, Layer, Schedule, Stream } from "effect"
import * as Backfill from "./Backfill.ts"
import type { BackfillChunk, BackfillPlan, BackfillRequest } from "./BackfillPlan.ts"
import type * as Decimal from "./Decimal.ts"
import { InstrumentRegistry } from "./InstrumentRegistry.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { MarketStore, SymbolEntry } from "./MarketStore.ts"
import type { Estimate, Provider, SymbolType } from "./Provider.ts"
import { ProviderBudgetExceeded, ProviderError } from "./ProviderError.ts"
import { ProviderRegistry } from "./ProviderRegistry.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What a run does. */
export interface BackfillRunOptions extends Backfill.PrepareOptions, Backfill.RunOptions {
  /** How far back holes are looked for. Default 7. */
  readonly lookbackDays?: number | undefined
  /** Most that one run may spend at one billed provider. Without it nothing is fetched there. */
  readonly maxCostUsd?: Decimal.Decimal | undefined
  /** Schemas of symbols that name none. Default: trades. */
  readonly defaultSchemas?: ReadonlyArray<MarketSchema> | undefined
}

/** When. */
export interface BackfillScheduleOptions extends BackfillRunOptions {
  /** With its time zone: `Cron.parse("0 2 * * *", "America/Chicago")`. */
  readonly cron: Cron.Cron
}

/** What one run did at one provider. */
export interface ProviderReport {
  readonly provider: string
  readonly estimate: Estimate | undefined
  readonly chunks: number
  readonly inserted: number
  readonly failed: ReadonlyArray<{
    readonly chunk: BackfillChunk
    readonly error: ProviderError | StoreError
  }>
  /** Nothing was fetched, and why. */
  readonly refused: ProviderError | StoreError | undefined
}

/** One run now, provider after provider; one that fails or is refused does not stop the others. */
export const runOnce = Effect.fnUntraced(function* (options: BackfillRunOptions) {
  const { all } = yield* ProviderRegistry
  const reports: Array<ProviderReport> = []
  for (const provider of all) {
    const report = yield* Effect.catch(runProvider(provider, options), (error) =>
      Effect.succeed(reportOf(provider, { refused: error }))
    )
    yield* logReport(report)
    reports.push(report)
  }
  return reports
})

/** Runs at every time of the schedule for as long as the layer lives. A run that takes longer than the pause skips times. */
export const layer = (
  options: BackfillScheduleOptions
): Layer.Layer<never, never, MarketStore | InstrumentRegistry | ProviderRegistry> =>
  Layer.effectDiscard(
    Effect.forkScoped(
      Effect.catchCause(runOnce(options), (cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.failCause(cause)
          : Effect.logError("scheduled backfill failed", cause)
      ).pipe(Effect.schedule(Schedule.cron(options.cron)))
    )
  )

const reportOf = (provider: Provider, rest: Partial<ProviderReport>): ProviderReport => ({
  provider: provider.id,
  estimate: undefined,
  chunks: 0,
  inserted: 0,
  failed: [],
  refused: undefined,
  ...rest
})

const runProvider = Effect.fnUntraced(function* (provider: Provider, options: BackfillRunOptions) {
  const registry = yield* InstrumentRegistry
  const entries = yield* registry.entries({ provider: provider.id, enabled: true })
  const requests = yield* requestsOf(provider, entries, options)
  if (requests.length === 0) return reportOf(provider, {})
  if (provider.capabilities.billed && options.maxCostUsd === undefined)
    return yield* new ProviderError({
      provider: provider.id,
      operation: "scheduled backfill",
      reason: new ProviderBudgetExceeded({
        detail: "this provider bills, and no budget is set: nothing was fetched; set [backfill] max_cost_usd"
      })
    })
  const plans: Array<BackfillPlan> = []
  for (const request of requests) plans.push(yield* Backfill.prepare(provider, request, options))
  const estimate = Backfill.sumEstimates(yield* Backfill.estimatePlans(provider, plans, options.maxCostUsd))
  yield* Backfill.checkBudget(provider, estimate, options.maxCostUsd)
  const failed: Array<ProviderReport["failed"][number]> = []
  let [chunks, inserted] = [0, 0]
  for (const plan of plans)
    yield* Stream.runForEach(Backfill.run(provider, plan, options), (event) =>
      Effect.sync(() => {
        if (event._tag === "ChunkFailed") failed.push(event)
        if (event._tag !== "ChunkDone") return
        chunks += 1
        inserted += event.summary.inserted
      })
    )
  return reportOf(provider, { estimate, chunks, inserted, failed })
})

/** A request per dataset, kind of symbol and schema. */
const requestsOf = Effect.fnUntraced(function* (
  provider: Provider,
  entries: ReadonlyArray<SymbolEntry>,
  { lookbackDays = 7, defaultSchemas = ["trades"] }: BackfillRunOptions
) {
  const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  const range = { start: now - BigInt(lookbackDays) * UnixNanos.PerDay, end: now }
  const requests = new Map<string, BackfillRequest & { readonly symbols: Array<string> }>()
  for (const { dataset, stypeIn, symbol, schemas } of entries)
    for (const schema of schemas.length === 0 ? defaultSchemas : schemas) {
      if (!provider.capabilities.history.includes(schema)) continue
      const key = `${dataset} ${stypeIn} ${schema}`
      const { rawSymbol } = SymbolText.parse(symbol)
      const known = requests.get(key)
      if (known !== undefined) known.symbols.push(rawSymbol)
      else requests.set(key, { dataset, stypeIn: stypeIn as SymbolType, schema, symbols: [rawSymbol], range })
    }
  return [...requests.values()]
})

const logReport = (report: ProviderReport): Effect.Effect<void> => {
  const { provider, chunks, inserted, failed, refused } = report
  if (refused !== undefined) return Effect.logWarning(`scheduled backfill: ${refused.message}`)
  const done = `scheduled backfill: ${provider}: ${inserted} new rows from ${chunks} chunks`
  if (failed.length === 0) return Effect.logInfo(done)
  const first = failed[0]!
  return Effect.logWarning(
    `${done}, ${failed.length} failed, the first: ${Backfill.describe(first.chunk)}: ${first.error.message}`
  )
}
