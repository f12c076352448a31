/**
 * The market store as layers: one database behind `MarketStore` and `StoreMigrations`.
 *
 * Writers and readers have pools of their own, so that a long read never keeps rows waiting; `maxConnections` counts both.
 */
import { MarketStore, type StoreCapabilities, type StoreError, StoreMigrations } from "@data-manager/core"
import { Context, Effect, Layer, type Scope } from "effect"
import * as Append from "./Append.ts"
import * as BarReader from "./BarReader.ts"
import * as Capabilities from "./Capabilities.ts"
import * as ConflictReader from "./ConflictReader.ts"
import * as CoverageReader from "./CoverageReader.ts"
import * as CoverageTable from "./CoverageTable.ts"
import { EmbeddedServer } from "./embedded/index.ts"
import * as FeedSessionTable from "./FeedSessionTable.ts"
import type { Fence } from "./Fence.ts"
import * as InstrumentTable from "./InstrumentTable.ts"
import * as Ledger from "./Ledger.ts"
import * as Migrations from "./Migrations.ts"
import * as Partitions from "./Partitions.ts"
import { codeOf } from "./PgError.ts"
import * as PgPool from "./PgPool.ts"
import * as Reader from "./Reader.ts"
import * as Retention from "./Retention.ts"
import * as RevisionTable from "./RevisionTable.ts"
import * as Roles from "./Roles.ts"
import { clientConfig, type ServerAddress } from "./ServerAddress.ts"
import * as Statistics from "./Statistics.ts"
import * as SymbolEntryTable from "./SymbolEntryTable.ts"
import type { StoreSettings } from "./timescale/Settings.ts"

/** Connections of a store, all pools together, by default. */
export const DEFAULT_MAX_CONNECTIONS = 10
/** Writers among them at the least and at the most: more bring nothing, their work is the server's. */
const FEWEST_WRITERS = 2
const MOST_WRITERS = 4

export type { Fence as StoreFence } from "./Fence.ts"
export type { RoleNames } from "./Roles.ts"
export type { StoreSettings } from "./timescale/Settings.ts"

/** How a store is opened. */
export interface StoreOptions {
  /** Where the server is; see `PgServer`. */
  readonly server: ServerAddress
  /** Whether it is the embedded one, for `capabilities`. Default false. */
  readonly embedded?: boolean | undefined
  /** Connections, all pools together; at least 4. Default 10. */
  readonly maxConnections?: number | undefined
  /**
   * "auto" applies missing migrations when the store opens; "require" (default) refuses a schema that is not the newest and
   * says what to run. A read-only server (a standby) is never changed: it is read, and every write fails.
   */
  readonly migrate?: "auto" | "require" | undefined
  /** What a TimescaleDB server is told when the store is migrated. */
  readonly settings?: StoreSettings | undefined
  readonly append?: Append.AppendOptions | undefined
  readonly reader?: Reader.ReaderOptions | undefined
  /**
   * The lease under which the store is opened, see `StoreLease`: once another service has it, every write fails with
   * `StoreFenced`. Absent: a store for everybody, such as commands use.
   */
  readonly fence?: Fence | undefined
}

/** How a store on the embedded server is opened. It is migrated when it opens. */
export interface EmbeddedOptions extends EmbeddedServer.AcquireOptions {
  readonly maxConnections?: number | undefined
}

const openPool = (
  server: ServerAddress,
  name: string,
  maxConnections: number,
  lease: Pick<PgPool.PgPoolOptions, "fence" | "isFenced"> = {}
): Effect.Effect<PgPool.PgPool, StoreError, Scope.Scope> =>
  PgPool.make({ client: clientConfig(server, name), maxConnections, ...lease })

const makeStore = Effect.fnUntraced(function* (options: StoreOptions) {
  const total = Math.max(FEWEST_WRITERS + 2, options.maxConnections ?? DEFAULT_MAX_CONNECTIONS)
  const writers = Math.min(MOST_WRITERS, Math.max(FEWEST_WRITERS, Math.floor(total / 3)))
  const { fence } = options
  const writing = yield* openPool(options.server, "dm-writer", writers, { fence, isFenced: true })
  const detect = Capabilities.detect(writing, options.embedded ?? false)
  const found = yield* detect
  const migrations = Migrations.make(writing, options.settings)
  // A server that takes no writes is read as it is.
  if (options.migrate === "auto" && !found.readOnly) yield* migrations.up()
  else yield* Migrations.requireNewest(writing)
  // Migrating can make the extension in this database.
  const capabilities = options.migrate === "auto" ? yield* detect : found
  const reading = yield* openPool(options.server, "dm-reader", total - writers, { fence })
  const partitions = Partitions.make(writing)
  const store: MarketStore["Service"] = {
    capabilities,
    ...Ledger.make(writing),
    ...Append.make(writing, partitions, options.append),
    ...CoverageTable.make(writing),
    ...CoverageReader.make(reading),
    ...RevisionTable.make(writing),
    ...FeedSessionTable.make(writing),
    ...Reader.make(reading, options.reader),
    ...BarReader.make(reading, options.reader),
    ...ConflictReader.make(reading),
    ...InstrumentTable.make(writing),
    ...SymbolEntryTable.make(writing),
    ...Statistics.make(reading),
    expireTrades: (before) => Effect.tap(Retention.expireTrades(writing, before), () => partitions.forget)
  }
  return Context.make(MarketStore, store).pipe(Context.add(StoreMigrations, migrations))
})

/** A store on a server of yours. */
export const layer = (options: StoreOptions): Layer.Layer<MarketStore | StoreMigrations, StoreError> =>
  Layer.effectContext(makeStore(options))

/** A store on the embedded server of a data directory, which runs as long as somebody uses it. */
export const layerEmbedded = (
  options: EmbeddedOptions
): Layer.Layer<MarketStore | StoreMigrations, StoreError> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { maxConnections, ...acquire } = options
      const server = yield* EmbeddedServer.acquire(acquire)
      return yield* makeStore({ server, embedded: true, maxConnections, migrate: "auto" })
    })
  )

/** Migrations alone, for a database whose schema is not there yet. */
export const layerMigrations = (
  server: ServerAddress,
  settings?: StoreSettings
): Layer.Layer<StoreMigrations, StoreError> =>
  Layer.effect(
    StoreMigrations,
    Effect.gen(function* () {
      const pool = yield* openPool(server, "dm-migrate", 2)
      yield* Capabilities.detect(pool, false)
      return Migrations.make(pool, settings)
    })
  )

/**
 * Whether a store could not be opened because its server does not run or cannot be reached at the moment: waiting can help. A name
 * that nobody knows is a mistake in the URL.
 */
export const isAway = (error: StoreError): boolean =>
  error.isRetryable && error.reason._tag !== "StoreContention" && codeOf(error.cause) !== "ENOTFOUND"

/** What the server is and can do, and how the tables in it use that. */
export const capabilities = (server: ServerAddress): Effect.Effect<StoreCapabilities, StoreError> =>
  Effect.scoped(Effect.flatMap(openPool(server, "dm-migrate", 1), (pool) => Capabilities.detect(pool, false)))

/** Hands the schema over to three roles, `PREFIX_owner`, `PREFIX_writer` and `PREFIX_reader`; see `Roles`. */
export const grantRoles = (
  server: ServerAddress,
  prefix: string
): Effect.Effect<Roles.RoleNames, StoreError> =>
  Effect.scoped(Effect.flatMap(openPool(server, "dm-migrate", 1), (pool) => Roles.grant(pool, prefix)))

/**
 * Housekeeping for as long as the layer lives: partitions made ahead and folded when old, and trades older than
 * `keepDays` removed (absent: kept for ever). For services; commands do not need it.
 */
export const layerMaintenance = (
  server: ServerAddress,
  keepDays?: number | undefined,
  fence?: Fence | undefined
): Layer.Layer<never, StoreError> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const pool = yield* openPool(server, "dm-maintenance", 2, { fence, isFenced: true })
      const upkeep = Retention.maintain(pool, Partitions.make(pool), keepDays)
      yield* Effect.forkScoped(
        Effect.tapCause(upkeep, (cause) => Effect.logError("maintenance of the store stopped", cause))
      )
    })
  )
