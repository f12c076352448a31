/** Fetches history that the store lacks: plans, prices, refuses what is too dear, fetches, reports. */
import {
  Backfill,
  type BackfillPlan,
  type Decimal,
  type MarketSchema,
  type Provider,
  SymbolText,
  type SymbolType,
  symbolTypeOf,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Clock, Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import {
  type BackfillOutcome,
  outcomeJson,
  outcomeNotes,
  type PricedPlan,
  planNotes,
  planTable,
  unknownSymbols
} from "../BackfillReport.ts"
import { requireBulkProfile } from "../BulkProfile.ts"
import type { LoadedConfig } from "../ConfigFile.ts"
import { partlyFailed, UsageError } from "../ExitCode.ts"
import * as Output from "../Output.ts"
import { progressWriter } from "../Progress.ts"
import { type ConfiguredProvider, withProvider } from "../Providers.ts"
import type { Session } from "../Session.ts"

interface Options {
  readonly provider: string | undefined
  readonly symbols: ReadonlyArray<string>
  readonly dataset: string | undefined
  readonly schema: MarketSchema.MarketSchema | undefined
  readonly stypeIn: SymbolType | "auto"
  readonly start: bigint | undefined
  readonly end: bigint | undefined
  readonly dryRun: boolean
  readonly maxCost: Decimal.Decimal | undefined
  readonly bulk: boolean
  readonly verify: boolean
  readonly again: boolean
  readonly includeExpired: boolean
}

/** What is asked for, a request per dataset and kind of symbol. */
const requestsOf = Effect.fnUntraced(function* (
  options: Options,
  { provider, datasets }: ConfiguredProvider
) {
  const { start, symbols } = options
  if (symbols.length === 0)
    return yield* new UsageError({ message: "no symbols: name some with -s, such as -s GLBX.MDP3:ESH6" })
  if (start === undefined)
    return yield* new UsageError({ message: "no --start: say from when on, such as --start 2026-01-05" })
  const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  const range = TimeRange.make(start, options.end ?? now)
  if (range === undefined)
    return yield* new UsageError({ message: "--end is not after --start; the end is exclusive" })
  const requests = new Map<string, BackfillPlan.BackfillRequest>()
  for (const text of symbols) {
    const { dataset: named, rawSymbol } = SymbolText.parse(text)
    const dataset = named ?? options.dataset ?? (datasets.length === 1 ? datasets[0] : undefined)
    if (dataset === undefined)
      return yield* new UsageError({
        message: `"${text}" names no dataset: write ${datasets[0] ?? "DATASET"}:${text}, or give --dataset`
      })
    // A form that means something to one vendor is a name like any other to a provider that has no such forms.
    const form = symbolTypeOf(rawSymbol)
    const guess = provider.capabilities.symbolTypes.includes(form) ? form : "raw_symbol"
    const stypeIn = options.stypeIn === "auto" ? guess : options.stypeIn
    const key = `${dataset} ${stypeIn}`
    requests.set(key, {
      dataset,
      stypeIn,
      schema: options.schema ?? "trades",
      symbols: [...(requests.get(key)?.symbols ?? []), rawSymbol],
      range,
      again: options.again,
      includeExpired: options.includeExpired
    })
  }
  return [...requests.values()]
})

const fetchAll = Effect.fnUntraced(function* (
  session: Session,
  provider: Provider,
  plans: ReadonlyArray<PricedPlan>,
  options: Backfill.RunOptions
) {
  const progress = progressWriter(session.watched)
  const started = yield* Clock.currentTimeMillis
  const { records } = Backfill.sumEstimates(plans.map(({ estimate }) => estimate))
  const chunksTotal = plans.reduce((total, { plan }) => total + plan.chunks.length, 0)
  const done: Array<Backfill.ChunkSummary> = []
  const failed: Array<BackfillOutcome["failed"][number]> = []
  const rows = new Map<BackfillPlan.BackfillChunk, number>()
  const show = (label: string): Effect.Effect<void> =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const soFar = [...rows.values()].reduce((a, b) => a + b, 0)
      // Records stand for bytes where the provider has counted them, chunks where it has not.
      const [read, total] =
        records === undefined ? [done.length + failed.length, chunksTotal] : [soFar, Number(records)]
      const elapsedSeconds = (now - started) / 1000
      progress.show({ label, rows: soFar, bytesRead: read, bytesTotal: total, elapsedSeconds })
    })
  const onEvent = (event: Backfill.BackfillEvent): Effect.Effect<void> => {
    switch (event._tag) {
      case "ChunkStarted":
        return Effect.void
      case "ChunkProgress":
        rows.set(event.chunk, event.rows)
        return show(Backfill.describe(event.chunk))
      case "ChunkDone":
        done.push(event.summary)
        rows.set(event.summary.chunk, event.summary.inserted + event.summary.duplicates)
        return show(Backfill.describe(event.summary.chunk))
      case "ChunkFailed":
        failed.push(event)
        progress.clear()
        return Output.note(`dm: ${Backfill.describe(event.chunk)}: ${event.error.message}`)
    }
  }
  for (const { plan } of plans)
    yield* Stream.runForEach(Backfill.run(provider, plan, options), onEvent).pipe(
      Effect.ensuring(Effect.sync(progress.clear)),
      Effect.onInterrupt(() =>
        Output.note(
          `dm: interrupted; ${done.length} of ${chunksTotal} chunks are stored, the same command continues`
        )
      )
    )
  return {
    done,
    failed,
    seconds: ((yield* Clock.currentTimeMillis) - started) / 1000
  } satisfies BackfillOutcome
})

const run = Effect.fnUntraced(function* (
  session: Session,
  loaded: LoadedConfig,
  configured: ConfiguredProvider,
  options: Options
) {
  const { backfill } = loaded.config
  const { provider } = configured
  yield* requireBulkProfile(options.bulk)
  const requests = yield* requestsOf(options, configured)
  const unpriced = yield* Effect.forEach(requests, (request) =>
    Backfill.prepare(provider, request, { chunkDays: backfill.chunkSizeDays })
  )
  const estimates = yield* Backfill.estimatePlans(provider, unpriced, options.maxCost)
  const plans = unpriced.map((plan, i): PricedPlan => ({ plan, estimate: estimates[i]! }))
  const text = (lines: ReadonlyArray<string>): Effect.Effect<void> =>
    session.json || lines.length === 0 ? Effect.void : Output.writeLine(lines.join("\n"))
  const lacking = plans.filter(({ plan }) => plan.chunks.length > 0)
  if (lacking.length > 0) yield* text(planTable(lacking, session.out))
  yield* text(planNotes(plans))
  const whole = Backfill.sumEstimates(plans.map(({ estimate }) => estimate))
  yield* Backfill.checkBudget(provider, whole, options.maxCost)
  if (options.dryRun) {
    if (session.json) yield* Output.writeLine(JSON.stringify(outcomeJson(provider.id, plans, undefined)))
    else yield* Output.note("nothing was fetched; run without --dry-run to fetch it")
    return
  }
  const outcome = yield* fetchAll(session, provider, lacking, {
    concurrency: backfill.maxConcurrentRequests,
    verify: options.verify,
    profile: options.bulk ? "bulk" : undefined
  })
  if (session.json) yield* Output.writeLine(JSON.stringify(outcomeJson(provider.id, plans, outcome)))
  else if (lacking.length === 0) yield* text(["nothing to fetch"])
  else yield* text(["", ...outcomeNotes(provider.id, outcome)])
  if (outcome.failed.length > 0 || unknownSymbols(outcome).length > 0) return yield* partlyFailed
})

/** The dataset that the options name, where they do. */
const datasetOf = ({ dataset, symbols }: Options): string | undefined =>
  symbols.map((symbol) => SymbolText.parse(symbol).dataset).find((named) => named !== undefined) ?? dataset

export const backfill = (session: Session, options: Options): Action =>
  withProvider(session, { id: options.provider, dataset: datasetOf(options) }, (loaded, configured) =>
    run(session, loaded, configured, options)
  )
