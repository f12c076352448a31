/**
 * The database of a command: the server that `[database] url` or `DM_DATABASE_URL` names, else the embedded one in the
 * data directory. The embedded one is started and migrated when needed; an outside one is migrated by `dm migrate --up`
 * alone.
 */
import {
  type ConfigError,
  type ConfiguredEntries,
  InstrumentRegistry,
  LateStore,
  type MarketStore,
  type RememberedSymbols,
  type StoreCapabilities,
  type StoreError,
  type StoreMigrations
} from "@data-manager/core"
import { PgServer, TimescaleStore } from "@data-manager/storage-timescale"
import { defaultDataDirectory, EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect, Layer, type Scope } from "effect"
import { atLogLevel } from "./Action.ts"
import * as ConfigFile from "./ConfigFile.ts"
import type { Session } from "./Session.ts"
import * as SymbolsFile from "./SymbolsFile.ts"

/** Where `dm demo` keeps its database: beside the usual place, never in it. */
export const demoDirectory = (): string => `${defaultDataDirectory()}-demo`

/** The configuration that the command line means. */
export const loadConfig = (session: Session): Effect.Effect<ConfigFile.LoadedConfig, ConfigError> =>
  ConfigFile.load({
    path: session.configPath,
    search: session.useConfig,
    dataDir: session.dataDir,
    env: session.env,
    cwd: session.cwd
  })

/** The server that `[database] url` names. Fails where it is away. */
export const outsideServer = (
  loaded: ConfigFile.LoadedConfig
): Effect.Effect<PgServer.ServerAddress, StoreError> =>
  Effect.map(Effect.scoped(open(loaded)), ({ address }) => address)

/** Whether the embedded server is used. */
export const isEmbedded = (loaded: ConfigFile.LoadedConfig): boolean =>
  loaded.config.database.url === undefined

/** The folder of the embedded server. */
export const dataDirectory = (loaded: ConfigFile.LoadedConfig): string =>
  loaded.config.database.dataDir ?? defaultDataDirectory()

const open = (
  loaded: ConfigFile.LoadedConfig
): Effect.Effect<PgServer.OpenServer, StoreError, Scope.Scope> => {
  const { url } = loaded.config.database
  return url === undefined
    ? Effect.map(EmbeddedServer.acquire({ dataDir: dataDirectory(loaded) }), (address) => ({
        address,
        embedded: true
      }))
    : PgServer.open({ url })
}

const withLogs =
  (session: Session, loaded: ConfigFile.LoadedConfig) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    atLogLevel(session.logLevel ?? loaded.config.service.logLevel)(effect)

/** Runs `use` with the server open; nothing is migrated or changed. */
export const withServer = <A, E, R>(
  session: Session,
  loaded: ConfigFile.LoadedConfig,
  use: (server: PgServer.OpenServer) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | StoreError, Exclude<R, Scope.Scope>> =>
  Effect.scoped(Effect.flatMap(open(loaded), use)).pipe(withLogs(session, loaded))

/** What a TimescaleDB server is told, out of the configuration. */
const settingsOf = ({ config }: ConfigFile.LoadedConfig): TimescaleStore.StoreSettings => ({
  chunkHours: config.database.chunkIntervalHours,
  compressAfterDays: config.retention.compressAfterDays,
  tradesRetentionDays: config.retention.tradesRetentionDays
})

/** Connections of the housekeeping that a service does, and of its lease. */
const MaintenanceConnections = 2
const LeaseConnections = 1

/** What a service opens its store for. */
export interface ServiceStore {
  /** The lease under which it writes. */
  readonly fence?: TimescaleStore.StoreFence | undefined
  /** Whether it looks after the store; the standby does not. Default true. */
  readonly isKeeper?: boolean | undefined
  /** What the database had before, for a start while it is away. */
  readonly remembered: RememberedSymbols.RememberedSymbols
}

/** The store; a service looks after it as well, as long as it runs. */
const storeLayer = (
  loaded: ConfigFile.LoadedConfig,
  isService: boolean,
  fence?: TimescaleStore.StoreFence
): Layer.Layer<MarketStore | StoreMigrations, StoreError> =>
  Layer.unwrap(
    Effect.map(open(loaded), ({ address, embedded }) => {
      const { database, retention } = loaded.config
      const store = TimescaleStore.layer({
        server: address,
        embedded,
        maxConnections:
          database.maxConnections -
          (isService ? MaintenanceConnections : 0) -
          (fence === undefined ? 0 : LeaseConnections),
        settings: settingsOf(loaded),
        migrate: embedded ? "auto" : "require",
        fence
      })
      return isService
        ? TimescaleStore.layerMaintenance(address, retention.tradesRetentionDays, fence).pipe(
            Layer.provideMerge(store)
          )
        : store
    })
  )

type StoreServices = MarketStore | StoreMigrations | InstrumentRegistry

const registryLayer = (
  loaded: ConfigFile.LoadedConfig,
  configured: ConfiguredEntries,
  remembered?: RememberedSymbols.RememberedSymbols
) =>
  InstrumentRegistry.layerWith({
    configured,
    databaseOverrides: loaded.config.symbols.databaseEnabled,
    remembered
  })

const storeServices = (
  loaded: ConfigFile.LoadedConfig,
  configured: ConfiguredEntries
): Layer.Layer<StoreServices, StoreError> =>
  registryLayer(loaded, configured).pipe(Layer.provideMerge(storeLayer(loaded, false)))

/** Runs an effect with the store and the registry of a configuration. */
export const withStoreOf = <A, E, R>(
  session: Session,
  loaded: ConfigFile.LoadedConfig,
  effect: Effect.Effect<A, E, R>,
  configured: ConfiguredEntries = []
): Effect.Effect<A, E | StoreError, Exclude<R, StoreServices>> =>
  Effect.provide(effect, storeServices(loaded, configured)).pipe(withLogs(session, loaded))

type ServiceServices = MarketStore | InstrumentRegistry | LateStore.StoreReach

/**
 * `withStoreOf` for a service: the store is looked after, too, and the log is the caller's business. A server that is away is waited
 * for while the service runs already; the embedded one starts with the service.
 */
export const withServiceStoreOf = <A, E, R>(
  loaded: ConfigFile.LoadedConfig,
  effect: Effect.Effect<A, E, R>,
  configured: ConfiguredEntries,
  { fence, isKeeper = true, remembered }: ServiceStore
): Effect.Effect<A, E | StoreError, Exclude<R, ServiceServices>> => {
  const store = LateStore.layer(storeLayer(loaded, isKeeper, fence), {
    isAway: (error) => !isEmbedded(loaded) && TimescaleStore.isAway(error)
  })
  return Effect.provide(effect, registryLayer(loaded, configured, remembered).pipe(Layer.provideMerge(store)))
}

/** Runs an effect with the migrations of a configuration's database, whose schema need not be there. */
export const withMigrationsOf = <A, E, R>(
  session: Session,
  loaded: ConfigFile.LoadedConfig,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | StoreError, Exclude<Exclude<R, StoreMigrations>, Scope.Scope>> =>
  withServer(session, loaded, ({ address }) =>
    Effect.provide(effect, TimescaleStore.layerMigrations(address, settingsOf(loaded)))
  )

/** What the server of a configuration is and can do, and how the tables in it use that. */
export const capabilitiesOf = (
  session: Session,
  loaded: ConfigFile.LoadedConfig
): Effect.Effect<StoreCapabilities, StoreError> =>
  withServer(session, loaded, ({ address }) => TimescaleStore.capabilities(address))

/** Hands the tables of a configuration's database over to roles whose names begin with `prefix`. */
export const grantRolesOf = (
  session: Session,
  loaded: ConfigFile.LoadedConfig,
  prefix: string
): Effect.Effect<TimescaleStore.RoleNames, StoreError> =>
  withServer(session, loaded, ({ address }) => TimescaleStore.grantRoles(address, prefix))

/** `withStoreOf` the configuration that the command line means. */
export const withStore = <A, E, R>(
  session: Session,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | StoreError | ConfigError, Exclude<R, StoreServices>> =>
  Effect.flatMap(loadConfig(session), (loaded) => withStoreOf(session, loaded, effect))

/** `withStore`, and the registry knows the entries of the configuration's symbols file. */
export const withRegistry = <A, E, R>(
  session: Session,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | StoreError | ConfigError, Exclude<R, StoreServices>> =>
  Effect.gen(function* () {
    const loaded = yield* loadConfig(session)
    const configured = yield* SymbolsFile.load(ConfigFile.symbolsFile(loaded, session.cwd))
    return yield* withStoreOf(session, loaded, effect, configured)
  })
