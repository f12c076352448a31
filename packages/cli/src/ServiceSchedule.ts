/** What a service does beside collecting: scheduled backfill, repair of holes and discovery. Each logs what it does, and never ends the service. */
import {
  BackfillJobs,
  BackfillSchedule,
  Decimal,
  Discovery,
  GapRepair,
  MarketSchema,
  MarketStore,
  ProviderRegistry
} from "@data-manager/core"
import { Cause, Cron, Effect, Layer, Stream } from "effect"
import type { LoadedConfig } from "./ConfigFile.ts"
import { plural } from "./NumberText.ts"
import { type ConfiguredProvider, makeConfigured } from "./Providers.ts"
import type { Session } from "./Session.ts"
import { includesSymbol } from "./SymbolLookup.ts"

/** US dollars as the configuration has them, to a hundredth of a cent. */
const dollars = (amount: number): Decimal.Decimal => Decimal.make(BigInt(Math.round(amount * 10_000)), -4)

const backfillOptions = ({ config }: LoadedConfig) => ({
  chunkDays: config.backfill.chunkSizeDays,
  concurrency: config.backfill.maxConcurrentRequests,
  maxCostUsd: dollars(config.backfill.maxCostUsd)
})

/** Scheduled backfill, where it is enabled. */
const schedule = (loaded: LoadedConfig) => {
  const { backfill, symbols } = loaded.config
  if (!backfill.enabled) return Layer.empty
  return Layer.unwrap(
    Effect.gen(function* () {
      const cron = yield* Effect.orDie(Effect.fromResult(Cron.parse(backfill.schedule, backfill.timezone)))
      yield* Effect.logInfo(
        `scheduled backfill: next at ${Cron.next(cron).toISOString()} ("${backfill.schedule}" ${backfill.timezone})`
      )
      return BackfillSchedule.layer({
        ...backfillOptions(loaded),
        cron,
        lookbackDays: backfill.lookbackDays,
        defaultSchemas: symbols.defaultSchemas.filter(MarketSchema.is)
      })
    })
  )
}

/** Repair of holes, where it and backfills are enabled; repairs are told in the ring, where there is one. */
const repair = (loaded: LoadedConfig) => {
  const { backfill, gapRepair, symbols } = loaded.config
  if (!backfill.enabled || !gapRepair.enabled) return Layer.empty
  return GapRepair.layer({
    ...backfillOptions(loaded),
    delay: `${gapRepair.delayMinutes} minutes`,
    lookBack: `${gapRepair.lookBackDays} days`,
    interval: `${gapRepair.intervalSeconds} seconds`,
    maxCostUsd: dollars(gapRepair.maxCostUsd),
    defaultSchemas: symbols.defaultSchemas.filter(MarketSchema.is)
  })
}

const discoverOnce = (loaded: LoadedConfig, configured: ReadonlyArray<ConfiguredProvider>) =>
  Stream.runForEach(
    Discovery.run(
      configured.map((one) => ({ ...one, includes: includesSymbol(loaded.config.symbols.include) }))
    ),
    (outcome) =>
      outcome._tag === "Failed"
        ? Effect.logWarning(`discovery: ${outcome.dataset}: ${outcome.error.message}`)
        : Effect.logInfo(
            `discovery: ${outcome.dataset}: ${plural(outcome.listed, "symbol")} listed, ${outcome.added} new, ` +
              `${outcome.included} of them collected`
          )
  )

/** A service that has just begun collects first. */
const DiscoveryBegins = "1 minute"

/** Discovery soon after the start and every so often, where it is enabled. */
export const discovery = (loaded: LoadedConfig, configured: ReadonlyArray<ConfiguredProvider>) => {
  const { discoveryEnabled, discoveryIntervalHours } = loaded.config.symbols
  if (!discoveryEnabled) return Layer.empty
  const round = Effect.catchCause(discoverOnce(loaded, configured), (cause) =>
    Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause) : Effect.logError("discovery failed", cause)
  )
  return Layer.effectDiscard(
    Effect.sleep(DiscoveryBegins).pipe(
      Effect.andThen(Effect.forever(Effect.andThen(round, Effect.sleep(`${discoveryIntervalHours} hours`)))),
      Effect.forkScoped
    )
  )
}

/** Backfills on request and on schedule, repair, and discovery, by providers of their own that number instruments as the store does. */
export const layer = (session: Session, loaded: LoadedConfig) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { registerListings } = yield* MarketStore
      // They were told already where they cannot be made.
      const configured = yield* Effect.catch(makeConfigured(session, loaded, registerListings), () =>
        Effect.succeed<ReadonlyArray<ConfiguredProvider>>([])
      )
      const providers = ProviderRegistry.layer(configured.map(({ provider }) => provider))
      return Layer.mergeAll(
        BackfillJobs.layer(backfillOptions(loaded)),
        schedule(loaded),
        repair(loaded),
        discovery(loaded, configured)
      ).pipe(Layer.provide(providers))
    })
  )
