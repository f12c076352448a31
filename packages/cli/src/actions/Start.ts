/** The service: live collection, spool, store and ring of one configuration. */
import { randomUUID } from "node:crypto"
import { statfs } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import {
  type ConfigError,
  LiveService,
  MarketSchema,
  type ProviderError,
  type SpoolError,
  StoreError,
  StoreServerFault
} from "@data-manager/core"
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
import * as ServiceControl from "../ServiceControl.ts"
import * as ServiceSchedule from "../ServiceSchedule.ts"
import * as ServiceSymbols from "../ServiceSymbols.ts"
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

const ringLayer = Effect.fnUntraced(function* (session: Session, { config }: ConfigFile.LoadedConfig) {
  const { dir, name } = yield* ringPlace(session, { dir: undefined, owner: undefined })
  const kinds = new Set(schemasOf(config).map(MarketSchema.kind))
  return ShmPublication.layer({
    name,
    dir,
    capacity: config.realtime.shm.ringBufferCapacity,
    kinds: (["trades", "quotes"] as const).filter((kind) => kind === "trades" || kinds.has(kind))
  })
})

const serviceLayer = (session: Session, loaded: ConfigFile.LoadedConfig) => {
  const { health, spool } = loaded.config
  const isWatched = health.freshnessSeconds > 0 && health.symbolSilenceFactor > 0
  const folder = spoolFolder(loaded, session)
  return LiveService.layer<ConfigError | ProviderError>({
    instance: randomUUID(),
    spool: {
      folder,
      maxBytes: spool.maxSizeGb * Gigabyte,
      diskFloor: spool.diskFloorGb * Gigabyte,
      freeBytes: freeBytes(folder),
      fsyncInterval: spool.fsyncIntervalMs
    },
    providers: (register) => Providers.makeAll(session, loaded, register),
    defaultSchemas: schemasOf(loaded.config),
    reload: `${loaded.config.realtime.reloadWindowMinutes} minutes`,
    freshness: isWatched
      ? { quiet: `${health.freshnessSeconds} seconds`, factor: health.symbolSilenceFactor }
      : undefined
  }).pipe(Layer.provide(NodeServices.layer))
}

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

const run = Effect.fnUntraced(function* ({ level, loaded, place, session, symbols }: Start) {
  const ring = yield* ringLayer(session, loaded)
  const service = serviceLayer(session, loaded).pipe(Layer.provide(ring))
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
    if (options.checkConfig) return yield* check(session, loaded)
    const place = yield* controlPlace(session, loaded)
    const level = levelSwitch(session.logLevel ?? loaded.config.service.logLevel)
    afterInterruption(ExitCode.ok)
    const work = Effect.gen(function* () {
      const symbols = yield* ServiceSymbols.open(ConfigFile.symbolsFile(loaded, session.cwd))
      const service = run({ session, loaded, place, level, symbols })
      return yield* withServiceStoreOf(loaded, service, symbols.entries)
    })
    return yield* Effect.provide(work, logLayer(session, loaded, level))
  })
