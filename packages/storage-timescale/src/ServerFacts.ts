/** What a server says about itself: version, settings that matter, its clock, and the state of the schema. Reads only. */
import type { StoreError } from "@data-manager/core"
import { Effect } from "effect"
import * as ClockSkew from "./ClockSkew.ts"
import * as Migrations from "./Migrations.ts"
import * as PgPool from "./PgPool.ts"
import { clientConfig, describe, type ServerAddress } from "./ServerAddress.ts"

/** Facts for checks of the environment; nothing is refused, so that an unfit server can be described as well. */
export interface ServerFacts {
  /** Host and database for people, without the login. */
  readonly address: string
  readonly database: string
  /** `18.4` */
  readonly version: string
  /** `180004` for 18.4. */
  readonly versionNumber: number
  readonly encoding: string
  /** Zone that sessions get which do not choose one. */
  readonly timeZone: string
  /** Version of TimescaleDB, where the database has it, and its licence. */
  readonly extension: string | undefined
  readonly license: string | undefined
  readonly maxLocksPerTransaction: number
  /** Bytes. */
  readonly sharedBuffers: number
  /** The server's clock minus this machine's, half of the round trip taken off. Milliseconds. */
  readonly skewMillis: number
  /** Migrations that are not applied, and applied ones that this program does not know as they are. */
  readonly pendingMigrations: number
  readonly driftedMigrations: number
}

interface FactsRow extends PgPool.SqlRow {
  readonly database: string
  readonly version: string
  readonly version_number: number
  readonly encoding: string
  readonly time_zone: string
  readonly extension: string | null
  readonly license: string | null
  readonly max_locks: number
  readonly shared_buffers: number
}

// Sessions of this pool are set to UTC after they begin: `reset_val` is what others get.
const factsQuery = /* sql */ `
  SELECT current_database() AS database,
         split_part(current_setting('server_version'), ' ', 1) AS version,
         current_setting('server_version_num')::int4 AS version_number,
         current_setting('server_encoding') AS encoding,
         (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone') AS time_zone,
         (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS extension,
         current_setting('timescaledb.license', true) AS license,
         current_setting('max_locks_per_transaction')::int4 AS max_locks,
         pg_size_bytes(current_setting('shared_buffers'))::float8 AS shared_buffers`

/** Asks the server. Fails where it cannot be reached or refuses the login. */
export const read = (server: ServerAddress): Effect.Effect<ServerFacts, StoreError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const pool = yield* PgPool.make({ client: clientConfig(server, "dm-doctor"), maxConnections: 1 })
      const [row] = yield* pool.query<FactsRow>(factsQuery)
      const facts = row as FactsRow
      const migrations = yield* Migrations.make(pool).status
      return {
        address: describe(server),
        database: facts.database,
        version: facts.version,
        versionNumber: facts.version_number,
        encoding: facts.encoding,
        timeZone: facts.time_zone,
        extension: facts.extension ?? undefined,
        license: facts.license ?? undefined,
        maxLocksPerTransaction: facts.max_locks,
        sharedBuffers: facts.shared_buffers,
        skewMillis: yield* ClockSkew.measure(pool),
        pendingMigrations: migrations.filter(({ appliedAt }) => appliedAt === undefined).length,
        driftedMigrations: migrations.filter(({ drifted }) => drifted).length
      }
    })
  )
