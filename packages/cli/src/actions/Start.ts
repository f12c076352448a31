/** The service: live collection, spool, store and ring of one configuration. */
import { randomUUID } from "node:crypto"
import { statfs } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import {
  type ConfigError,
  isOfLeaseBefore,
  LeaderLease,
  LiveService,
  LiveStandby,
  leaseInstance,
  MarketSchema,
  type ProviderError,
  RememberedSymbols,
  type SpoolError,
  StoreError,
  StoreServerFault
} from "@data-manager/core"
import type { TimescaleStore } from "@data-manager/storage-timescale"
import { ShmPublication } from "@data-manager/transport-shm"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, Logger, References, Schedule } from "effect"
import type { Action } from "../Action.ts"
import * as ConfigFile from "../ConfigFile.ts"
import { type ControlPlace, controlPlace } from "../ControlPlace.ts"
import { dataDirectory, loadConfig, withServiceStoreOf } from "../Database.ts"
import { afterInterruption, ExitCode } from "../ExitCode.ts"
import { jsonLogger, type LevelSwitch, levelSwitch, stderrLogger, switched } from "../Log.ts"
import { plural, rate } from "../NumberText.ts"
import * as Output from "../Output.ts"
import * as Providers from "../Providers.ts"
import { ringPlace } from "../RingPlace.ts"
import * as RingWhenFree from "../RingWhenFree.ts"
import * as ServiceControl from "../ServiceControl.ts"
import * as ServiceSchedule from "../ServiceSchedule.ts"
import * as ServiceSymbols from "../ServiceSymbols.ts"
import * as ServiceTurns from "../ServiceTurns.ts"
import type { Session } from "../Session.ts"
import * as SymbolsFile from "../SymbolsFile.ts"

interface Options {
  readonly checkConfig: boolean
  readonly logFormat: "text" | "json" | undefined
}

const Gigabyte = 1_000_000_000

/** Folder of the spool; a relative path is looked for beside the configuration. */
const spoolFolder = (loaded: ConfigFile.LoadedConfig, session: Session): string =>
  resolve(
    loaded.file === undefined ? session.cwd : dirname(resolve(session.cwd, loaded.file)),
    loaded.config.spool.dir ?? join(dataDirectory(loaded), "spool")
  )

/** Free bytes of the file system of a folder, as far as it tells. */
const freeBytes = (folder: string): Effect.Effect<bigint | undefined> =>
  Effect.promise(() =>
    statfs(folder, { bigint: true }).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => undefined
    )
  )

/** The schemas that are collected where a symbol names none; the configuration's schema has checked them. */
const schemasOf = ({
  symbols
}: ConfigFile.LoadedConfig["config"]): ReadonlyArray<MarketSchema.MarketSchema> =>
  symbols.defaultSchemas.filter(MarketSchema.is)

/** One of several services may find the ring of its machine held by the one before. */
const ringLayer = Effect.fnUntraced(function* (session: Session, { config }: ConfigFile.LoadedConfig) {
  const { dir, name } = yield* ringPlace(session, { dir: undefined, owner: undefined })
  const kinds = new Set(schemasOf(config).map(MarketSchema.kind))
  const options: ShmPublication.ShmPublicationOptions = {
    name,
    dir,
    capacity: config.realtime.shm.ringBufferCapacity,
    kinds: (["trades", "quotes"] as const).filter((kind) => kind === "trades" || kinds.has(kind))
  }
  return config.ha.enabled ? RingWhenFree.layer(options) : ShmPublication.layer(options)
})

/** The spool of the configuration. */
const spoolOf = (session: Session, loaded: ConfigFile.LoadedConfig) => {
  const { spool } = loaded.config
  const folder = spoolFolder(loaded, session)
  return {
    folder,
    maxBytes: spool.maxSizeGb * Gigabyte,
    diskFloor: spool.diskFloorGb * Gigabyte,
    freeBytes: freeBytes(folder),
    fsyncInterval: spool.fsyncIntervalMs
  }
}

/** How single symbols are watched; undefined where they are not. */
const freshnessOf = ({ config: { health } }: ConfigFile.LoadedConfig) =>
  health.freshnessSeconds > 0 && health.symbolSilenceFactor > 0
    ? { quiet: `${health.freshnessSeconds} seconds` as const, factor: health.symbolSilenceFactor }
    : undefined

const serviceLayer = (
  session: Session,
  loaded: ConfigFile.LoadedConfig,
  fence: TimescaleStore.StoreFence | undefined
) =>
  LiveService.layer<ConfigError | ProviderError>({
    instance: fence === undefined ? randomUUID() : leaseInstance(fence, randomUUID()),
    isOver: fence === undefined ? undefined : isOfLeaseBefore(fence),
    spool: spoolOf(session, loaded),
    providers: (register) => Providers.makeAll(session, loaded, register),
    defaultSchemas: schemasOf(loaded.config),
    reload: `${loaded.config.realtime.reloadWindowMinutes} minutes`,
    freshness: freshnessOf(loaded)
  }).pipe(Layer.provide(NodeServices.layer))

/** One line now and then, for the log of a service. */
const report = (seconds: number) =>
  Effect.gen(function* () {
    const service = yield* LiveService.LiveService
    let before = 0n
    const look = Effect.gen(function* () {
      const { feeds, spool, writer } = yield* service.status
      const rows = feeds.reduce((sum, feed) => sum + feed.rows, 0n)
      const waiting = feeds.filter(({ state }) => state !== "running").length
      yield* Effect.logInfo(
        `${plural(Number(rows), "row")} so far, ${rate(Number(rows - before), seconds)}; ${plural(Number(writer.rows), "row")} written, ` +
          `${plural(Number(spool.rows), "row")} in the spool` +
          (waiting > 0 ? `; ${plural(waiting, "feed")} not running` : "")
      )
      before = rows
    })
    return yield* Effect.repeat(look, Schedule.spaced(`${seconds} seconds`)).pipe(
      Effect.andThen(Effect.never)
    )
  })

const spoolFailure = (error: SpoolError): StoreError =>
  new StoreError({
    operation: "spool live rows",
    reason: new StoreServerFault({ detail: error.message }),
    cause: error
  })

/** What a service is started with. */
interface Start {
  readonly session: Session
  readonly loaded: ConfigFile.LoadedConfig
  readonly place: ControlPlace
  readonly level: LevelSwitch
  readonly symbols: ServiceSymbols.FollowedSymbols
}

const run = Effect.fnUntraced(function* (
  { level, loaded, place, session, symbols }: Start,
  fence: TimescaleStore.StoreFence | undefined
) {
  const ring = yield* ringLayer(session, loaded)
  const service = serviceLayer(session, loaded, fence).pipe(Layer.provide(ring))
  const control = ServiceControl.layer(session, loaded, place, level)
  const beside = ServiceSchedule.layer(session, loaded).pipe(Layer.provide(ring), Layer.provide(service))
  const work = Effect.gen(function* () {
    const { failure } = yield* LiveService.LiveService
    yield* Output.note("dm: collecting; Ctrl-C or SIGTERM ends it")
    yield* Effect.forkScoped(report(60))
    yield* Effect.forkScoped(symbols.follow)
    return yield* failure
  })
  const all = control.pipe(Layer.provideMerge(beside), Layer.provideMerge(service))
  return yield* Effect.scoped(Effect.provide(work, all)).pipe(
    Effect.catchTag("SpoolError", (error) => Effect.fail(spoolFailure(error)))
  )
})

/** Waits for the lease: writes what is left in the spool, and answers on the control plane. */
const standBy = ({ level, loaded, place, session }: Start) => {
  const service = LiveStandby.layer(spoolOf(session, loaded)).pipe(Layer.provide(NodeServices.layer))
  const work = Effect.andThen(Output.note("dm: standby; Ctrl-C or SIGTERM ends it"), Effect.never)
  const control = ServiceControl.layer(session, loaded, place, level).pipe(Layer.provide(service))
  return Effect.provide(work, control)
}

/** The service, alone or as one of several. */
const serve = Effect.fnUntraced(function* (start: Start) {
  const { loaded, session, symbols } = start
  const remembered = yield* RememberedSymbols.make(join(spoolFolder(loaded, session), "symbols.json")).pipe(
    Effect.provide(NodeServices.layer)
  )
  if (!loaded.config.ha.enabled)
    return yield* withServiceStoreOf(loaded, run(start, undefined), symbols.entries, { remembered })
  const lease = ServiceTurns.leaseOf(loaded)
  return yield* ServiceTurns.takeTurns(lease, {
    standby: withServiceStoreOf(loaded, standBy(start), symbols.entries, { remembered, isKeeper: false }),
    active: ({ epoch }) => {
      const fence = { name: lease.name, epoch }
      return withServiceStoreOf(loaded, run(start, fence), symbols.entries, { remembered, fence })
    }
  }).pipe(Effect.provideService(LeaderLease, lease))
})

/** Says whether the service would start, as far as that can be known without starting it. */
const check = (session: Session, loaded: ConfigFile.LoadedConfig) =>
  Effect.gen(function* () {
    const symbols = yield* SymbolsFile.load(ConfigFile.symbolsFile(loaded, session.cwd))
    yield* ringPlace(session, { dir: undefined, owner: undefined })
    const { socket, tcp } = yield* controlPlace(session, loaded)
    const providers = yield* Effect.scoped(Providers.makeAll(session, loaded, () => Effect.succeed([])))
    yield* Output.writeLine(
      [
        `configuration  ${loaded.file ?? "built-in defaults"}`,
        `symbols        ${plural(symbols.length, "symbol")} in the file, and what the database has`,
        `providers      ${providers.map(({ id }) => id).join(", ")}`,
        `spool          ${spoolFolder(loaded, session)}`,
        `control        ${[socket, tcp && `${tcp.host}:${tcp.port}`].filter(Boolean).join(", ") || "none"}`,
        "the configuration is good"
      ].join("\n")
    )
  })

/** The log of a service: everything is logged, and the switch lets through what is wanted at the time. */
const logLayer = (session: Session, { config }: ConfigFile.LoadedConfig, level: LevelSwitch) =>
  Layer.merge(
    Logger.layer([
      switched(config.service.logFormat === "json" ? jsonLogger : stderrLogger(session.err), level)
    ]),
    Layer.succeed(References.MinimumLogLevel, "All")
  )

const logFormatOf = (loaded: ConfigFile.LoadedConfig, { logFormat }: Options): ConfigFile.LoadedConfig =>
  logFormat === undefined
    ? loaded
    : { ...loaded, config: { ...loaded.config, service: { ...loaded.config.service, logFormat } } }

export const start = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    const loaded = logFormatOf(yield* loadConfig(session), options)
    yield* ServiceTurns.refuseEmbedded(loaded)
    if (options.checkConfig) return yield* check(session, loaded)
    const place = yield* controlPlace(session, loaded)
    const level = levelSwitch(session.logLevel ?? loaded.config.service.logLevel)
    afterInterruption(ExitCode.ok)
    const work = Effect.gen(function* () {
      const symbols = yield* ServiceSymbols.open(ConfigFile.symbolsFile(loaded, session.cwd))
      return yield* serve({ session, loaded, place, level, symbols })
    })
    return yield* Effect.provide(work, logLayer(session, loaded, level))
  })
