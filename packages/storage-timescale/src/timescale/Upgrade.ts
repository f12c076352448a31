/**
 * What a server can do beyond plain PostgreSQL, put to use on tables that exist: the extension is made where it may be, and
 * range partitions become hypertables. Part of every migration to the newest version, so that a database follows when its
 * server gets TimescaleDB.
 */
import { type StoreError, UnixNanos } from "@data-manager/core"
import { Clock, Effect } from "effect"
import type { ObjectFacts } from "../objects/CodeObjects.ts"
import { rowStatement } from "../objects/rows.ts"
import type { PgConnection } from "../PgPool.ts"
import * as WriteLock from "../WriteLock.ts"
import * as Aggregates from "./Aggregates.ts"
import * as BulkTable from "./BulkTable.ts"
import * as Columnstore from "./Columnstore.ts"
import * as Hypertables from "./Hypertables.ts"
import { extension, extensionSchema, layoutOf } from "./Layout.ts"
import * as OwnBars from "./OwnBars.ts"
import * as RetentionJob from "./RetentionJob.ts"
import { DEFAULT_CHUNK_HOURS, DEFAULT_COMPRESS_AFTER_DAYS, type StoreSettings } from "./Settings.ts"

/** Why the extension could not be made, and what an administrator does about it. */
const whyNot = ({ cause, message, reason }: StoreError): string => {
  if (reason._tag === "StoreAccessDenied")
    return "this user may not create it: an administrator runs CREATE EXTENSION timescaledb in this database"
  return /preload/.test(`${message} ${String((cause as { readonly hint?: unknown } | undefined)?.hint)}`)
    ? "it is not loaded: add timescaledb to the server's shared_preload_libraries and restart it"
    : message
}

/**
 * Makes the extension in this database where the server has it. A user without the right to is no failure: the store works
 * without it, and a warning says what is missing. The session may be lost on the way.
 */
export const ensureExtension = Effect.fnUntraced(function* (connection: PgConnection) {
  const found = yield* extension(connection)
  if (found.installed !== undefined || found.available === undefined) return
  yield* connection
    .query("CREATE EXTENSION IF NOT EXISTS timescaledb")
    .pipe(
      Effect.catch((error) =>
        Effect.logWarning(
          `TimescaleDB ${found.available} is on this server and not in this database, and ${whyNot(error)}; ` +
            "then run dm migrate --up again. Until then the tables are those of plain PostgreSQL"
        )
      )
    )
})

/** What the server can do, and what the tables use. */
const facts = Effect.fnUntraced(function* (connection: PgConnection) {
  const { installed, isCommunity } = yield* extension(connection)
  const layout = yield* layoutOf(connection)
  return {
    layout,
    canPartition: installed !== undefined,
    canAggregate: installed !== undefined && isCommunity,
    isAggregated: yield* Aggregates.exist(connection),
    hasBulk: yield* BulkTable.exists(connection)
  }
})

/** Whether the server can do more than the tables use. */
export const isDue = (connection: PgConnection): Effect.Effect<boolean, StoreError> =>
  Effect.map(
    facts(connection),
    ({ canAggregate, canPartition, hasBulk, isAggregated, layout }) =>
      (canPartition && layout === "range") || (canAggregate && !(isAggregated && hasBulk))
  )

/** What the views and functions of this database depend on. */
export const objectFacts = Effect.fnUntraced(function* (connection: PgConnection) {
  const { canAggregate, hasBulk, isAggregated, layout } = yield* facts(connection)
  const hasJobs = canAggregate && layout === "hypertable"
  const found: ObjectFacts = {
    jobSchema: hasJobs ? yield* extensionSchema(connection) : undefined,
    ownBarsBit: isAggregated ? OwnBars.OWN_BARS : undefined,
    hasBulk
  }
  return found
})

/** Moves the tables, and the bars; views of them must not exist meanwhile. */
export const run = Effect.fnUntraced(function* (connection: PgConnection, settings: StoreSettings) {
  // Writers that began before go on in the old way: they have to end first.
  yield* connection.query(WriteLock.take(true))
  const { canAggregate, hasBulk, isAggregated, layout } = yield* facts(connection)
  const chunkHours = settings.chunkHours ?? DEFAULT_CHUNK_HOURS
  if (layout === "range") yield* Hypertables.fromPartitions(connection, chunkHours)
  if (!canAggregate) return
  const schema = yield* extensionSchema(connection)
  if (!hasBulk) {
    yield* BulkTable.create(connection, schema, chunkHours)
    yield* Aggregates.create(connection, schema, "trade_bulk")
  }
  if (isAggregated) return
  yield* Aggregates.create(connection, schema, "trade")
  yield* OwnBars.handOver(connection)
})

/** Tells the server what to do by itself: chunks, compression, bars, retention. Needs the code objects. */
export const configure = Effect.fnUntraced(function* (connection: PgConnection, settings: StoreSettings) {
  const { canAggregate, layout } = yield* facts(connection)
  if (layout !== "hypertable") return
  const schema = yield* extensionSchema(connection)
  yield* Hypertables.setChunkHours(connection, schema, settings.chunkHours ?? DEFAULT_CHUNK_HOURS)
  if (!canAggregate) return
  yield* Columnstore.enable(connection)
  yield* Columnstore.schedule(connection, schema, settings.compressAfterDays ?? DEFAULT_COMPRESS_AFTER_DAYS)
  yield* Aggregates.schedule(connection, schema)
  yield* RetentionJob.schedule(connection, schema, settings.tradesRetentionDays)
})

/** Takes everything of TimescaleDB out of the tables again; `keep`: their rows and bars are wanted afterwards. */
export const undo = Effect.fnUntraced(function* (connection: PgConnection, keep: boolean) {
  yield* connection.query(WriteLock.take(true))
  const { hasBulk, isAggregated, layout } = yield* facts(connection)
  if (layout !== "hypertable") return
  const schema = yield* extensionSchema(connection)
  yield* RetentionJob.schedule(connection, schema, undefined)
  if (isAggregated) {
    if (keep) {
      yield* connection.query(rowStatement(hasBulk))
      yield* OwnBars.takeOver(connection)
      yield* connection.query("DROP VIEW trade_rows")
    }
    yield* Aggregates.drop(connection)
  }
  if (hasBulk) yield* BulkTable.dissolve(connection, keep)
  const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  yield* Hypertables.toRangePartitions(connection, now, keep)
})
