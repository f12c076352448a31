/**
 * What a server can do beyond plain PostgreSQL, put to use on tables that exist: the extension is made where it may be, and
 * range partitions become hypertables. Part of every migration to the newest version, so that a database follows when its
 * server gets TimescaleDB.
 */
import type { StoreError } from "@data-manager/core"
import { Effect } from "effect"
import type { ObjectFacts } from "../objects/CodeObjects.ts"
import type { PgConnection } from "../PgPool.ts"
import * as Columnstore from "./Columnstore.ts"
import * as Hypertables from "./Hypertables.ts"
import { extension, layoutOf } from "./Layout.ts"
import * as RetentionJob from "./RetentionJob.ts"
import { DEFAULT_CHUNK_HOURS, DEFAULT_COMPRESS_AFTER_DAYS, type StoreSettings } from "./Settings.ts"

/**
 * Makes the extension in this database where the server has it. A user without the right to is no failure: the store works
 * without it, and its notes say what is missing.
 */
export const ensureExtension = Effect.fnUntraced(function* (connection: PgConnection) {
  const found = yield* extension(connection)
  if (found.installed !== undefined || found.available === undefined) return
  yield* connection
    .query("CREATE EXTENSION IF NOT EXISTS timescaledb")
    .pipe(
      Effect.catch((error) =>
        Effect.logInfo(
          `TimescaleDB ${found.available} is on this server and cannot be used in this database: ${error.message}`
        )
      )
    )
})

/** Whether the server can do more than the tables use. */
export const isDue = (connection: PgConnection): Effect.Effect<boolean, StoreError> =>
  Effect.gen(function* () {
    const { installed } = yield* extension(connection)
    return installed !== undefined && (yield* layoutOf(connection)) === "range"
  })

/** What the views and functions of this database depend on. */
export const objectFacts = Effect.fnUntraced(function* (connection: PgConnection) {
  const { installed, isCommunity } = yield* extension(connection)
  const hasJobs = installed !== undefined && isCommunity && (yield* layoutOf(connection)) === "hypertable"
  const facts: ObjectFacts = {
    jobSchema: hasJobs ? yield* Hypertables.extensionSchema(connection) : undefined
  }
  return facts
})

/** Moves the tables; views of them must not exist meanwhile. */
export const run = (connection: PgConnection, settings: StoreSettings): Effect.Effect<void, StoreError> =>
  Hypertables.fromPartitions(connection, settings.chunkHours ?? DEFAULT_CHUNK_HOURS)

/** Tells the server what to do by itself: chunks, compression, retention. Needs the code objects. */
export const configure = Effect.fnUntraced(function* (connection: PgConnection, settings: StoreSettings) {
  const { installed, isCommunity } = yield* extension(connection)
  if (installed === undefined || (yield* layoutOf(connection)) !== "hypertable") return
  const schema = yield* Hypertables.extensionSchema(connection)
  yield* Hypertables.setChunkHours(connection, schema, settings.chunkHours ?? DEFAULT_CHUNK_HOURS)
  if (!isCommunity) return
  yield* Columnstore.enable(connection)
  yield* Columnstore.schedule(connection, schema, settings.compressAfterDays ?? DEFAULT_COMPRESS_AFTER_DAYS)
  yield* RetentionJob.schedule(connection, schema, settings.tradesRetentionDays)
})
