/**
 * Schema migrations: each in its own transaction, under one advisory lock, so that several processes may start at once.
 *
 * Migrations are state and are never edited once released; a changed text of an applied one is reported as drift. Views
 * and functions are code: dropped before a migration runs, made anew after the last one and whenever their text changed
 * (remembered as version 0 of the ledger).
 */
import { createHash } from "node:crypto"
import {
  MarketSchema,
  type MigrationState,
  StoreBadRequest,
  StoreError,
  StoreIncompatible,
  type StoreMigrations
} from "@data-manager/core"
import { Effect, Schedule } from "effect"
import * as initial from "./migrations/0001_initial.ts"
import * as revisions from "./migrations/0002_revisions.ts"
import * as barRefreshes from "./migrations/0003_bar_refreshes.ts"
import * as bulkDays from "./migrations/0004_bulk_days.ts"
import * as feedSessions from "./migrations/0005_feed_sessions.ts"
import { codeObjects, dropStatements, namesOf, routineNames, viewNames } from "./objects/CodeObjects.ts"
import { microsOf, type PgConnection, type PgPool } from "./PgPool.ts"
import * as Preflight from "./Preflight.ts"
import { aggregates } from "./timescale/Aggregates.ts"
import { refreshPending } from "./timescale/BarRefresh.ts"
import * as BulkTable from "./timescale/BulkTable.ts"
import type { StoreSettings } from "./timescale/Settings.ts"
import * as Upgrade from "./timescale/Upgrade.ts"

interface Migration {
  readonly version: number
  readonly name: string
  readonly up: string
  readonly down: string
}

/** Every migration, oldest first; versions count from 1 without holes. */
export const migrations: ReadonlyArray<Migration> = [
  { version: 1, name: "initial", ...initial },
  { version: 2, name: "revisions", ...revisions },
  { version: 3, name: "bar refreshes", ...barRefreshes },
  { version: 4, name: "bulk days", ...bulkDays },
  { version: 5, name: "feed sessions", ...feedSessions }
]

/** From this version on the tables follow what the server can do. */
const FOLLOWING_VERSION = 4

/** Version of the schema that this program works with. */
export const NEWEST_VERSION = migrations.length

/** Held while migrations are looked at and run: "dmmigr" as a number. */
const MIGRATION_LOCK = 110_426_811_753_842n

const digest = (text: string): string => createHash("sha256").update(text).digest("hex")
const checksum = (migration: Migration): string => digest(migration.up)

/** Version under which the ledger remembers the text of the code objects. */
const OBJECTS_VERSION = 0

/** The statements of the code objects, as this database needs them. */
const objectsOf = (connection: PgConnection): Effect.Effect<ReadonlyArray<string>, StoreError> =>
  Effect.map(Upgrade.objectFacts(connection), codeObjects)

const objectsChecksum = (statements: ReadonlyArray<string>): string => digest(statements.join("\n"))

const incompatible = (operation: string, detail: string, hint: string): StoreError =>
  new StoreError({ operation, reason: new StoreIncompatible({ detail, hint }) })

interface Applied {
  readonly version: number
  readonly name: string
  readonly checksum: string
  readonly applied_at: bigint
  readonly [column: string]: unknown
}

const createLedger = /* sql */ `
  CREATE TABLE IF NOT EXISTS schema_migrations (
    version    int4 PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
  )`

/** Whether our ledger is there. A table of its name with other columns belongs to another program: that is refused. */
const hasLedger = Effect.fnUntraced(function* (connection: PgConnection) {
  const [table] = yield* connection.query<{ readonly found: boolean; readonly ours: boolean }>(
    `SELECT count(*) > 0 AS found,
            count(*) FILTER (WHERE attname IN ('version', 'name', 'checksum', 'applied_at')) = 4 AS ours
     FROM pg_attribute
     WHERE attrelid = to_regclass(quote_ident(current_schema()) || '.schema_migrations') AND attnum > 0
       AND NOT attisdropped`
  )
  if (table?.found !== true) return false
  if (table.ours) return true
  return yield* Preflight.occupied("migrate", "this database has a table schema_migrations that is not ours")
})

const appliedOf = Effect.fnUntraced(function* (connection: PgConnection) {
  if (!(yield* hasLedger(connection))) return []
  return yield* connection.query<Applied>(
    `SELECT version, name, checksum, ${microsOf("applied_at")} AS applied_at FROM schema_migrations
     WHERE version > ${OBJECTS_VERSION} ORDER BY version`
  )
})

/** Whether views and functions are those of this program. */
const objectsAreCurrent = Effect.fnUntraced(function* (connection: PgConnection) {
  const rows = yield* connection.query("SELECT FROM schema_migrations WHERE version = $1 AND checksum = $2", [
    OBJECTS_VERSION,
    objectsChecksum(yield* objectsOf(connection))
  ])
  return rows.length > 0
})

const statesOf = (applied: ReadonlyArray<Applied>): ReadonlyArray<MigrationState> => {
  const known = migrations.map((migration): MigrationState => {
    const row = applied.find((a) => a.version === migration.version)
    return {
      version: migration.version,
      name: migration.name,
      appliedAt: row === undefined ? undefined : row.applied_at * 1000n,
      drifted: row !== undefined && row.checksum !== checksum(migration)
    }
  })
  const newer = applied
    .filter((a) => a.version > NEWEST_VERSION)
    .map(
      (a): MigrationState => ({
        version: a.version,
        name: a.name,
        appliedAt: a.applied_at * 1000n,
        drifted: true
      })
    )
  return [...known, ...newer]
}

/** Tables and indexes that a migration makes. */
const relationsOf = ({ up }: Migration): ReadonlyArray<string> => [
  ...namesOf([up], "TABLE"),
  ...namesOf([up], "INDEX")
]

/** What a migration takes of names that no earlier one has: one may make a table of ours anew. */
const namesIn = (migration: Migration): Preflight.Names => {
  const before = new Set(migrations.filter(({ version }) => version < migration.version).flatMap(relationsOf))
  return { relations: relationsOf(migration).filter((name) => !before.has(name)), routines: [] }
}

/** Everything that may be made in a database that was never migrated, by migrations and code objects. */
const allNames = (): Preflight.Names => ({
  relations: [
    ...migrations.flatMap(relationsOf),
    ...viewNames,
    ...aggregates.map(({ view }) => view),
    ...BulkTable.names
  ],
  routines: routineNames
})

const refuseNewer = (applied: ReadonlyArray<Applied>): Effect.Effect<void, StoreError> => {
  const newest = applied.at(-1)?.version ?? 0
  return newest <= NEWEST_VERSION
    ? Effect.void
    : Effect.fail(
        incompatible(
          "migrate",
          `the schema is at version ${newest}, this program knows ${NEWEST_VERSION}`,
          "update Data Manager"
        )
      )
}

const badTarget = (operation: string, to: number): Effect.Effect<never, StoreError> =>
  Effect.fail(
    new StoreError({
      operation,
      reason: new StoreBadRequest({
        detail: `there is no version ${to}`,
        allowed: [`0 .. ${NEWEST_VERSION}`]
      })
    })
  )

/** Jobs of the server may be at work on the tables: they are met once more a little later. */
const persistence = { schedule: Schedule.exponential("200 millis"), times: 5 }

/** Runs `work` in one transaction while no other process migrates. */
const locked = <A, E>(
  pool: PgPool,
  operation: string,
  work: (connection: PgConnection) => Effect.Effect<A, E>
): Effect.Effect<A, E | StoreError> =>
  pool
    .transaction(operation, (connection) =>
      Effect.flatMap(connection.query("SELECT pg_advisory_xact_lock($1)", [MIGRATION_LOCK]), () =>
        work(connection)
      )
    )
    .pipe(
      Effect.retry({
        ...persistence,
        while: (error) => error instanceof StoreError && error.reason._tag === "StoreContention"
      })
    )

const makeObjects = Effect.fnUntraced(function* (connection: PgConnection) {
  const codes = MarketSchema.all.map((name) => MarketSchema.code(name))
  yield* connection.query(
    `INSERT INTO market_schemas SELECT * FROM unnest($1::int2[], $2::text[])
     ON CONFLICT (code) DO UPDATE SET name = EXCLUDED.name WHERE market_schemas.name <> EXCLUDED.name`,
    [codes, MarketSchema.all]
  )
  const statements = yield* objectsOf(connection)
  for (const statement of statements) yield* connection.query(statement)
  yield* connection.query(
    `INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, 'objects', $2)
     ON CONFLICT (version) DO UPDATE SET checksum = EXCLUDED.checksum, applied_at = now()`,
    [OBJECTS_VERSION, objectsChecksum(statements)]
  )
})

const dropObjects = Effect.fnUntraced(function* (connection: PgConnection) {
  for (const statement of dropStatements) yield* connection.query(statement)
  yield* connection.query("DELETE FROM schema_migrations WHERE version = $1", [OBJECTS_VERSION])
})

const begin = Effect.fnUntraced(function* (connection: PgConnection) {
  yield* Preflight.requirePlace(connection, "migrate up")
  yield* Preflight.requireFree(connection, "migrate up", allNames())
  yield* connection.query(createLedger)
})

/** One version up or down, or none if another process was there first. */
const up = Effect.fnUntraced(function* (connection: PgConnection, target: number) {
  if (!(yield* hasLedger(connection))) yield* begin(connection)
  const applied = yield* appliedOf(connection)
  yield* refuseNewer(applied)
  const next = migrations.find((m) => m.version <= target && applied.every((a) => a.version !== m.version))
  if (next === undefined) {
    if ((applied.at(-1)?.version ?? 0) < NEWEST_VERSION || (yield* objectsAreCurrent(connection)))
      return false
    yield* dropObjects(connection)
    yield* makeObjects(connection)
    return false
  }
  yield* Preflight.requirePlace(connection, "migrate up")
  yield* Preflight.requireFree(connection, "migrate up", namesIn(next))
  yield* dropObjects(connection)
  yield* connection.query(next.up)
  yield* connection.query("INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)", [
    next.version,
    next.name,
    checksum(next)
  ])
  return true
})

const down = Effect.fnUntraced(function* (connection: PgConnection, target: number) {
  const applied = yield* appliedOf(connection)
  yield* refuseNewer(applied)
  const newest = applied.at(-1)
  if (newest === undefined || newest.version <= target) return false
  const migration = migrations[newest.version - 1]!
  yield* dropObjects(connection)
  if (migration.version <= FOLLOWING_VERSION) yield* Upgrade.undo(connection, target > 0)
  yield* connection.query(migration.down)
  yield* connection.query("DELETE FROM schema_migrations WHERE version = $1", [newest.version])
  return true
})

/** Makes of the schema what the server can do beyond plain PostgreSQL. */
const upgrade = Effect.fnUntraced(function* (pool: PgPool, settings: StoreSettings) {
  yield* pool.withConnection("create extension", Upgrade.ensureExtension)
  yield* locked(
    pool,
    "migrate up",
    Effect.fnUntraced(function* (connection) {
      if (yield* Upgrade.isDue(connection)) {
        yield* dropObjects(connection)
        yield* Upgrade.run(connection, settings)
        yield* makeObjects(connection)
      }
      yield* Upgrade.configure(connection, settings)
    })
  )
  yield* refreshPending(pool)
})

/** The migrations of the database behind a pool. */
export const make = (pool: PgPool, settings: StoreSettings = {}): StoreMigrations["Service"] => {
  const status = pool.withConnection("migration status", (connection) =>
    Effect.map(appliedOf(connection), statesOf)
  )
  const current = Effect.map(
    status,
    (states) => states.filter((s) => s.appliedAt !== undefined).at(-1)?.version ?? 0
  )
  const inRange = (version: number): boolean =>
    Number.isInteger(version) && version >= 0 && version <= NEWEST_VERSION
  return {
    status,
    up: Effect.fnUntraced(function* (to = NEWEST_VERSION) {
      if (!inRange(to)) return yield* badTarget("migrate up", to)
      yield* Preflight.requireWritable(pool, "migrate up")
      while (yield* locked(pool, "migrate up", (connection) => up(connection, to)));
      if (to === NEWEST_VERSION) yield* upgrade(pool, settings)
      return yield* status
    }),
    down: Effect.fnUntraced(function* (to?: number) {
      const target = to ?? Math.max(0, (yield* current) - 1)
      if (!inRange(target)) return yield* badTarget("migrate down", target)
      yield* Preflight.requireWritable(pool, "migrate down")
      while (yield* locked(pool, "migrate down", (connection) => down(connection, target)));
      return yield* status
    })
  }
}

/** Refuses to work on a schema that is not the one of this program. */
export const requireNewest = Effect.fnUntraced(function* (pool: PgPool) {
  const states = yield* make(pool).status
  const newest = states.filter((state) => state.appliedAt !== undefined).at(-1)?.version ?? 0
  if (newest > NEWEST_VERSION)
    return yield* Effect.fail(
      incompatible(
        "open the store",
        `the schema is at version ${newest}, this program knows ${NEWEST_VERSION}`,
        "update Data Manager"
      )
    )
  if (newest < NEWEST_VERSION)
    return yield* Effect.fail(
      incompatible(
        "open the store",
        `the schema is at version ${newest} of ${NEWEST_VERSION}`,
        "run `dm migrate --up`"
      )
    )
})
