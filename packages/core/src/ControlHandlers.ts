/**
 * The control plane of a live service: what `ControlApi` promises, over the services at hand. The program puts an HTTP server
 * under it, and says who may ask.
 */
import { Clock, Context, Effect, Layer, Option, type Scope } from "effect"
import { HttpEffect, HttpRouter, HttpServer, type HttpServerRequest } from "effect/http"
import { HttpApiBuilder, HttpApiMiddleware } from "effect/http-api"
import { BackfillJobs } from "./BackfillJobs.ts"
import * as ControlAccess from "./ControlAccess.ts"
import {
  type AddSymbol,
  ControlApi,
  ControlConflict,
  ControlMistakes,
  ControlRefused,
  ControlUnavailable,
  ControlUnknown,
  type StartBackfill
} from "./ControlApi.ts"
import * as Document from "./ControlDocument.ts"
import * as Health from "./ControlHealth.ts"
import * as Metrics from "./ControlMetrics.ts"
import { ControlWatch } from "./ControlWatch.ts"
import type { logLevels } from "./DataManagerConfig.ts"
import * as Decimal from "./Decimal.ts"
import { GapRepair, type GapRepairStatus } from "./GapRepair.ts"
import { InstrumentRegistry } from "./InstrumentRegistry.ts"
import { LiveService, type LiveServiceStatus } from "./LiveService.ts"
import * as MarketSchema from "./MarketSchema.ts"
import { symbolTypeOf } from "./Provider.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import * as TimeRange from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

type LogLevel = (typeof logLevels)[number]

/** What the program tells about itself. */
export interface ControlOptions {
  /** Name of the installation, and version of the program. */
  readonly name: string
  readonly version: string
  readonly pid: number
  readonly configFile: string | undefined
  readonly freshnessSeconds: number
  /** Whether symbols that are added and removed here have an effect, see `RegistryOptions.databaseOverrides`. */
  readonly databaseOverrides: boolean
  readonly process: Effect.Effect<Metrics.ProcessFacts>
  readonly logLevel: {
    readonly get: () => LogLevel
    readonly set: (level: LogLevel) => void
  }
}

/** A look at the service. */
export interface ControlLook {
  readonly status: LiveServiceStatus
  readonly reasons: ReadonlyArray<Health.HealthReason>
  readonly warnings: ReadonlyArray<Health.HealthWarning>
  /** Undefined where holes are not repaired. */
  readonly repair: GapRepairStatus | undefined
  /** ns since the epoch. */
  readonly now: bigint
}

/** The service as its control plane sees it. */
export class Control extends Context.Service<
  Control,
  {
    readonly options: ControlOptions
    readonly watch: ControlWatch
    readonly look: Effect.Effect<ControlLook>
    readonly metrics: Effect.Effect<ReadonlyArray<Metrics.MetricSample>>
  }
>()("@data-manager/core/Control") {}

/** Looks at the service now and then, for what only several looks can tell. Provide `GapRepair` where holes are repaired. */
export const layerControl = (options: ControlOptions): Layer.Layer<Control, never, LiveService> =>
  Layer.effect(
    Control,
    Effect.gen(function* () {
      const service = yield* LiveService
      const repairing = Option.getOrUndefined(yield* Effect.serviceOption(GapRepair))
      const watch = new ControlWatch()
      const look = Effect.gen(function* () {
        const status = yield* service.status
        const now = Metrics.atMillis(yield* Clock.currentTimeMillis)
        watch.look(status, now)
        const { freshnessSeconds } = options
        const reasons = Health.reasons(status, { freshnessSeconds, now, droppedAt: watch.droppedAt })
        const repair = repairing?.status()
        const warnings = Health.warnings(status, repair, now)
        return { status, reasons, warnings, repair, now } satisfies ControlLook
      })
      const metrics = Effect.gen(function* () {
        const { name, version } = options
        return Metrics.samples({ ...(yield* look), watch, name, version, process: yield* options.process })
      })
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(look, Effect.sleep("1 second"))))
      return Control.of({ options, watch, look, metrics })
    })
  )

const Watching = HttpApiBuilder.group(
  ControlApi,
  "watching",
  Effect.fnUntraced(function* (handlers) {
    const { look, metrics, options, watch } = yield* Control
    const health = Effect.map(look, ({ reasons, status, warnings }) =>
      Document.health(status, reasons, warnings)
    )
    return handlers.handleAll({
      health: () =>
        Effect.flatMap(health, (found) => (found.healthy ? Effect.succeed(found) : Effect.fail(found))),
      ready: () =>
        Effect.flatMap(look, ({ status }) => {
          const found = Health.readiness(status)
          return found.ready ? Effect.succeed(found) : Effect.fail(found)
        }),
      status: () =>
        Effect.map(look, ({ status, ...found }) =>
          Document.status(status, { ...options, ...found, logLevel: options.logLevel.get(), watch })
        ),
      subscribers: () => Effect.map(look, ({ status }) => Document.subscribers(status)),
      metrics: () => Effect.map(metrics, Metrics.prometheusText)
    })
  })
)

const unavailable = (error: StoreError): ControlUnavailable =>
  new ControlUnavailable({ message: error.message })

const isBadRequest = ({ reason }: StoreError): boolean => reason._tag === "StoreBadRequest"

const Symbols = HttpApiBuilder.group(
  ControlApi,
  "symbols",
  Effect.fnUntraced(function* (handlers) {
    const registry = yield* InstrumentRegistry
    const { options } = yield* Control
    const changeable = options.databaseOverrides
      ? Effect.void
      : Effect.fail(
          new ControlConflict({
            message: "[symbols] database_enabled = false: symbols come from the configuration alone"
          })
        )
    return handlers.handleAll({
      list: () =>
        registry.entries().pipe(
          Effect.map((entries) => ({ symbols: entries.map(Document.symbol) })),
          Effect.mapError(unavailable)
        ),
      add: ({ payload }) =>
        Effect.gen(function* () {
          yield* changeable
          const entry = yield* Effect.mapError(registry.add(entryOf(payload)), (error) =>
            isBadRequest(error) ? new ControlRefused({ message: error.message }) : unavailable(error)
          )
          yield* Effect.logInfo(`control: ${entry.symbol} is added`)
          return Document.symbol(entry)
        }),
      remove: ({ params }) =>
        Effect.gen(function* () {
          yield* changeable
          const entry = yield* Effect.mapError(registry.remove(params.symbol), (error) =>
            isBadRequest(error) ? new ControlUnknown({ message: error.message }) : unavailable(error)
          )
          yield* Effect.logInfo(`control: ${entry.symbol} is removed`)
          return Document.symbol(entry)
        })
    })
  })
)

const entryOf = (payload: typeof AddSymbol.Type) => ({
  symbol: payload.symbol,
  provider: payload.provider,
  stypeIn: payload.stype_in ?? symbolTypeOf(SymbolText.parse(payload.symbol).rawSymbol),
  schemas: (payload.schemas ?? []).filter(MarketSchema.is),
  enabled: payload.enabled ?? true,
  assetClass: payload.asset_class,
  exchange: payload.exchange
})

const Subscriptions = HttpApiBuilder.group(
  ControlApi,
  "subscriptions",
  Effect.fnUntraced(function* (handlers) {
    const { memory, readers, status } = yield* LiveService
    const own = () => memory.subscriptions().map((info) => Document.subscription(info, info.rows))
    const others = Effect.gen(function* () {
      const { publication } = yield* status
      const found = yield* readers
      return found.map((each) => Document.reader(each, publication?.name ?? "publication"))
    })
    const list = Effect.map(others, (readersOfIt) => [...own(), ...readersOfIt])
    return handlers.handleAll({
      list: () => Effect.map(list, (subscriptions) => ({ subscriptions })),
      end: ({ params }) =>
        Effect.gen(function* () {
          const found = (yield* list).find(({ id }) => id === params.id)
          if (found === undefined)
            return yield* new ControlUnknown({ message: `there is no subscription ${params.id}` })
          if (found.transport !== "memory")
            return yield* new ControlConflict({
              message: `${found.client} reads the ring by itself: end its process${found.pid === null ? "" : ` (${found.pid})`}`
            })
          yield* Effect.ignore(memory.unsubscribe(found.id))
          yield* Effect.logInfo(`control: subscription ${found.id} of ${found.client} is ended`)
          return found
        })
    })
  })
)

/** What a payload orders. */
const orderOf = Effect.fnUntraced(function* (payload: typeof StartBackfill.Type) {
  const refused = (message: string) => Effect.fail(new ControlRefused({ message }))
  const now = Metrics.atMillis(yield* Clock.currentTimeMillis)
  const start = UnixNanos.parse(payload.start)
  const end = payload.end === undefined ? now : UnixNanos.parse(payload.end)
  if (start === undefined || end === undefined)
    return yield* refused("start and end are ISO 8601 times such as 2026-01-05 or 2026-01-05T14:30:00Z")
  const range = TimeRange.make(start, end)
  if (range === undefined) return yield* refused("end is not after start; the end is exclusive")
  return {
    ...payload,
    stypeIn: payload.stype_in,
    schema: payload.schema ?? "trades",
    range,
    maxCostUsd:
      payload.max_cost_usd === undefined
        ? undefined
        : Decimal.make(BigInt(Math.round(payload.max_cost_usd * 10_000)), -4)
  }
})

const Backfills = HttpApiBuilder.group(
  ControlApi,
  "backfill",
  Effect.fnUntraced(function* (handlers) {
    const jobs = yield* BackfillJobs
    const unknown = (id: string) =>
      Effect.fail(
        new ControlUnknown({ message: `there is no backfill ${id}; the last hundred are remembered` })
      )
    return handlers.handleAll({
      start: ({ payload }) =>
        Effect.flatMap(orderOf(payload), jobs.start).pipe(
          Effect.map(Document.backfill),
          Effect.catchTag("BackfillRefused", ({ message, reason }) =>
            Effect.fail(
              reason === "busy" ? new ControlConflict({ message }) : new ControlRefused({ message })
            )
          )
        ),
      get: ({ params }) => {
        const job = jobs.get(params.id)
        return job === undefined ? unknown(params.id) : Effect.succeed(Document.backfill(job))
      },
      cancel: ({ params }) =>
        Effect.flatMap(jobs.cancel(params.id), (job) =>
          job === undefined ? unknown(params.id) : Effect.succeed(Document.backfill(job))
        )
    })
  })
)

const Log = HttpApiBuilder.group(
  ControlApi,
  "log",
  Effect.fnUntraced(function* (handlers) {
    const { options } = yield* Control
    return handlers.handleAll({
      setLevel: ({ payload }) =>
        Effect.as(
          Effect.sync(() => options.logLevel.set(payload.level)),
          payload
        )
    })
  })
)

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, " ")

const Mistakes = HttpApiMiddleware.layerSchemaErrorTransform(ControlMistakes, (error) =>
  // An answer that does not fit the contract is a mistake of ours, and no message of it goes out.
  error.kind === "Body" || error.kind === "ResponseHeaders"
    ? Effect.fail(error)
    : Effect.fail(
        new ControlRefused({ message: `${error.kind.toLowerCase()}: ${oneLine(error.cause.message)}` })
      )
)

/** The routes of a control plane, for whoever is let in; its document is at `/openapi.json`. */
const routes = (access: ControlAccess.ControlAccess) =>
  HttpApiBuilder.layer(ControlApi, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide([Watching, Symbols, Subscriptions, Backfills, Log]),
    Layer.provide(Mistakes),
    Layer.merge(ControlAccess.layer(access)),
    Layer.provide(HttpServer.layerServices)
  )

/** Answers requests, as the web platform has them; any HTTP server can be put in front of it. Works until the scope ends. */
export const webHandler = (
  access: ControlAccess.ControlAccess
): Effect.Effect<
  (request: Request) => Promise<Response>,
  never,
  Control | LiveService | InstrumentRegistry | BackfillJobs | Scope.Scope
> =>
  Effect.gen(function* () {
    const app = yield* HttpRouter.toHttpEffect(routes(access))
    const context = yield* Effect.context<never>()
    return HttpEffect.toWebHandlerWith<never, HttpServerRequest.HttpServerRequest | Scope.Scope>(context)(app)
  })
