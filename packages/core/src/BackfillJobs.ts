/**
 * Backfills that are asked for while a service runs: each is planned and fetched in the background, can be looked at and
 * ended, and never ends the service.
 */
import { Cause, Clock, Context, Effect, Exit, Fiber, Layer, type Scope, Stream } from "effect"
import * as Backfill from "./Backfill.ts"
import type { BackfillPlan, BackfillRequest } from "./BackfillPlan.ts"
import * as Decimal from "./Decimal.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import { MarketStore } from "./MarketStore.ts"
import { type Provider, type SymbolType, symbolTypeOf } from "./Provider.ts"
import { ProviderRegistry } from "./ProviderRegistry.ts"
import * as SymbolText from "./SymbolText.ts"
import type { TimeRange } from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What somebody wants to hold. */
export interface BackfillOrder {
  /** Default: the only one, or the only one that says that it has history of the schema. */
  readonly provider?: string | undefined
  /** Of symbols that name none. */
  readonly dataset?: string | undefined
  readonly symbols: ReadonlyArray<string>
  /** Default: by the form of each symbol. */
  readonly stypeIn?: SymbolType | undefined
  readonly schema: MarketSchema
  readonly range: TimeRange
  /** Most that it may cost at a billed provider, US dollars. */
  readonly maxCostUsd?: Decimal.Decimal | undefined
}

/** How a backfill is going. */
export interface BackfillJobStatus {
  readonly id: string
  readonly provider: string
  readonly state: "planning" | "running" | "done" | "failed" | "cancelled"
  readonly chunks: { readonly total: number; readonly done: number; readonly failed: number }
  /** Rows that are new in the store, and such as it had. */
  readonly rows: number
  readonly duplicates: number
  readonly costUsd: Decimal.Decimal | undefined
  readonly startedAt: bigint
  readonly endedAt: bigint | undefined
  /** The first ten. */
  readonly errors: ReadonlyArray<string>
}

/** Why an order is not taken. "busy": later it may be. */
export interface BackfillRefused {
  readonly _tag: "BackfillRefused"
  readonly reason: "wrong" | "busy"
  readonly message: string
}

/** Backfills on request. */
export class BackfillJobs extends Context.Service<
  BackfillJobs,
  {
    readonly start: (order: BackfillOrder) => Effect.Effect<BackfillJobStatus, BackfillRefused>
    readonly get: (id: string) => BackfillJobStatus | undefined
    /** Ends a backfill, as far as it still runs; answers when it has ended. */
    readonly cancel: (id: string) => Effect.Effect<BackfillJobStatus | undefined>
  }
>()("@data-manager/core/BackfillJobs") {}

/** How backfills are carried out. */
export interface BackfillJobsOptions extends Backfill.PrepareOptions, Backfill.RunOptions {
  /** Backfills at the same time; default 2. */
  readonly most?: number | undefined
  /** Most that an order which names no limit may cost at a billed provider. Without it such an order is refused there. */
  readonly maxCostUsd?: Decimal.Decimal | undefined
}

/** Jobs that are remembered. */
const Remembered = 100
const ToldErrors = 10

interface Job {
  status: BackfillJobStatus
  fiber: Fiber.Fiber<void> | undefined
}

const isUnderWay = ({ status }: Job): boolean => status.state === "planning" || status.state === "running"

const refused = (reason: BackfillRefused["reason"], message: string): Effect.Effect<never, BackfillRefused> =>
  Effect.fail({ _tag: "BackfillRefused", reason, message })

const now = Effect.map(Clock.currentTimeMillis, (millis) => BigInt(millis) * UnixNanos.PerMilli)

class Jobs {
  readonly #options: BackfillJobsOptions
  readonly #registry: ProviderRegistry["Service"]
  readonly #store: MarketStore["Service"]
  readonly #scope: Scope.Scope
  /** Makes ids differ from those of an earlier run of the service. */
  readonly #era: string
  readonly #jobs = new Map<string, Job>()
  #count = 0

  constructor(
    options: BackfillJobsOptions,
    registry: ProviderRegistry["Service"],
    store: MarketStore["Service"],
    scope: Scope.Scope,
    era: string
  ) {
    this.#options = options
    this.#registry = registry
    this.#store = store
    this.#scope = scope
    this.#era = era
  }

  readonly get = (id: string): BackfillJobStatus | undefined => this.#jobs.get(id)?.status

  readonly start = (order: BackfillOrder): Effect.Effect<BackfillJobStatus, BackfillRefused> =>
    Effect.gen({ self: this }, function* () {
      const provider = yield* this.#providerOf(order)
      const requests = yield* requestsOf(provider, order)
      const { most = 2 } = this.#options
      if ([...this.#jobs.values()].filter(isUnderWay).length >= most)
        return yield* refused("busy", `${most} backfills are under way; wait for one of them, or end it`)
      const job = this.#remember(provider.id, yield* now)
      const maxCostUsd = order.maxCostUsd ?? this.#options.maxCostUsd
      yield* Effect.logInfo(`backfill ${job.status.id}: ${order.symbols.length} symbols from ${provider.id}`)
      job.fiber = yield* Effect.forkIn(this.#run(job, provider, requests, maxCostUsd), this.#scope)
      return job.status
    })

  readonly cancel = (id: string): Effect.Effect<BackfillJobStatus | undefined> =>
    Effect.suspend(() => {
      const job = this.#jobs.get(id)
      if (job?.fiber === undefined) return Effect.succeed(job?.status)
      return Effect.map(Fiber.interrupt(job.fiber), () => job.status)
    })

  #providerOf({ provider, schema }: BackfillOrder): Effect.Effect<Provider, BackfillRefused> {
    if (provider !== undefined)
      return Effect.catch(this.#registry.get(provider), (error) => refused("wrong", error.message))
    const able = this.#registry.all.filter(({ capabilities }) => capabilities.history.includes(schema))
    return able.length === 1
      ? Effect.succeed(able[0]!)
      : refused("wrong", `say which provider: ${able.map(({ id }) => id).join(", ") || "none"} has ${schema}`)
  }

  #remember(provider: string, startedAt: bigint): Job {
    this.#count += 1
    const id = `${this.#era}-${this.#count}`
    const job: Job = {
      fiber: undefined,
      status: {
        id,
        provider,
        state: "planning",
        chunks: { total: 0, done: 0, failed: 0 },
        rows: 0,
        duplicates: 0,
        costUsd: undefined,
        startedAt,
        endedAt: undefined,
        errors: []
      }
    }
    this.#jobs.set(id, job)
    for (const [old, each] of this.#jobs)
      if (this.#jobs.size > Remembered && !isUnderWay(each)) this.#jobs.delete(old)
    return job
  }

  /** Never fails: what goes wrong is the job's state. */
  #run(
    job: Job,
    provider: Provider,
    requests: ReadonlyArray<BackfillRequest>,
    maxCostUsd: Decimal.Decimal | undefined
  ): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const plans = yield* this.#plan(job, provider, requests, maxCostUsd)
      for (const plan of plans)
        yield* Stream.runForEach(Backfill.run(provider, plan, this.#options), (event) =>
          Effect.sync(() => note(job, event))
        )
    }).pipe(
      Effect.provideService(MarketStore, this.#store),
      Effect.exit,
      Effect.flatMap((exit) => this.#end(job, exit)),
      // An interrupted job is to be told, too.
      Effect.onInterrupt(() => this.#end(job, Exit.interrupt()))
    )
  }

  readonly #plan = Effect.fnUntraced(
    { self: this },
    function* (
      this: Jobs,
      job: Job,
      provider: Provider,
      requests: ReadonlyArray<BackfillRequest>,
      maxCostUsd: Decimal.Decimal | undefined
    ) {
      const plans: Array<BackfillPlan> = []
      for (const request of requests) plans.push(yield* Backfill.prepare(provider, request, this.#options))
      const limit = provider.capabilities.billed ? (maxCostUsd ?? Decimal.make(0n, 0)) : undefined
      const estimate = Backfill.sumEstimates(yield* Backfill.estimatePlans(provider, plans, limit))
      yield* Backfill.checkBudget(provider, estimate, limit)
      const total = plans.reduce((sum, { chunks }) => sum + chunks.length, 0)
      const chunks = { total, done: 0, failed: 0 }
      job.status = { ...job.status, state: "running", costUsd: estimate.costUsd, chunks }
      return plans
    }
  )

  #end(job: Job, exit: Exit.Exit<void, { readonly message: string }>): Effect.Effect<void> {
    return Effect.gen(function* () {
      if (!isUnderWay(job)) return
      const { chunks, errors, id, rows } = job.status
      const isCancelled = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
      const failure = Exit.isFailure(exit) && !isCancelled ? [textOf(exit.cause)] : []
      const isFailed = failure.length > 0 || chunks.failed > 0
      const state = isCancelled ? "cancelled" : isFailed ? "failed" : "done"
      job.status = { ...job.status, state, errors: [...errors, ...failure], endedAt: yield* now }
      const done = `backfill ${id} ${state}: ${rows} new rows, ${chunks.done} of ${chunks.total} chunks`
      yield* isFailed ? Effect.logWarning(`${done}; ${job.status.errors[0]}`) : Effect.logInfo(done)
    })
  }
}

const textOf = (cause: Cause.Cause<{ readonly message: string }>): string => {
  const error = Cause.findErrorOption(cause)
  return error._tag === "Some" ? error.value.message : "an internal error: see the log"
}

/** Counts what an event of a job tells. */
const note = (job: Job, event: Backfill.BackfillEvent): void => {
  const { status } = job
  const { chunks } = status
  if (event._tag === "ChunkDone")
    job.status = {
      ...status,
      chunks: { ...chunks, done: chunks.done + 1 },
      rows: status.rows + event.summary.inserted,
      duplicates: status.duplicates + event.summary.duplicates
    }
  if (event._tag === "ChunkFailed")
    job.status = {
      ...status,
      chunks: { ...chunks, failed: chunks.failed + 1 },
      errors: [...status.errors, `${Backfill.describe(event.chunk)}: ${event.error.message}`].slice(
        0,
        ToldErrors
      )
    }
}

/** A request per dataset and kind of symbol. */
const requestsOf = (
  { capabilities }: Provider,
  { dataset: fallback, range, schema, stypeIn, symbols }: BackfillOrder
): Effect.Effect<ReadonlyArray<BackfillRequest>, BackfillRefused> => {
  const requests = new Map<string, BackfillRequest & { readonly symbols: Array<string> }>()
  for (const text of symbols) {
    const { dataset = fallback, rawSymbol } = SymbolText.parse(text)
    if (dataset === undefined)
      return refused("wrong", `"${text}" names no dataset: write DATASET:${text}, or name one for all`)
    // A form that means something to one vendor is a name like any other to a provider that has no such forms.
    const form = symbolTypeOf(rawSymbol)
    const type = stypeIn ?? (capabilities.symbolTypes.includes(form) ? form : "raw_symbol")
    const known = requests.get(`${dataset} ${type}`)
    if (known !== undefined) known.symbols.push(rawSymbol)
    else requests.set(`${dataset} ${type}`, { dataset, stypeIn: type, schema, symbols: [rawSymbol], range })
  }
  return Effect.succeed([...requests.values()])
}

/** Backfills over the providers and the store at hand; those that run end with the layer. */
export const layer = (
  options: BackfillJobsOptions = {}
): Layer.Layer<BackfillJobs, never, ProviderRegistry | MarketStore> =>
  Layer.effect(
    BackfillJobs,
    Effect.gen(function* () {
      const era = (yield* Clock.currentTimeMillis).toString(36)
      const jobs = new Jobs(options, yield* ProviderRegistry, yield* MarketStore, yield* Effect.scope, era)
      return BackfillJobs.of({ start: jobs.start, get: jobs.get, cancel: jobs.cancel })
    })
  )
