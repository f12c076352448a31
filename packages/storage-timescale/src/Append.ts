/**
 * Appending a batch: rows, exact values, bars, day counts, ledger segment and coverage in one transaction.
 *
 *     scan -> scales -> partitions -> { lock run | COPY into the table | bars | days | segment | coverage }
 *                                        on SQLSTATE 23505: roll back, and the same by the staged way
 *
 * The first try copies straight into the table: that is several times as fast as staging, and history usually brings new
 * rows. Writers share a lock; one that has to remove or complete stored rows holds more (see `Hold`), so that nobody adds to
 * what is being made anew. Contention and lost connections are retried here: the ledger tells whether a lost COMMIT happened.
 */
import {
  type AppendClaim,
  type AppendResult,
  type MarketBatch,
  type MarketStore,
  rowKind,
  StoreError,
  StoreInvalidData
} from "@data-manager/core"
import { Effect, Random } from "effect"
import type { Counts, NeedsHold, Opened, Prepared, Way } from "./AppendAttempt.ts"
import * as AppendBars from "./AppendBars.ts"
import { type BatchScan, countDays, scan as scanBatch } from "./BatchScan.ts"
import { encode, MaxRowBytes } from "./CopyEncoder.ts"
import * as CoverageTable from "./CoverageTable.ts"
import { exactChunks, exactColumns, MaxTextId, textIdChunks } from "./ExactRows.ts"
import * as FeedSessionTable from "./FeedSessionTable.ts"
import * as Ledger from "./Ledger.ts"
import type { Partitions } from "./Partitions.ts"
import { codeOf } from "./PgError.ts"
import { isUniqueViolation, type PgConnection, type PgPool, type SqlRow } from "./PgPool.ts"
import * as Rollup from "./Rollup.ts"
import * as RollupRebuild from "./RollupRebuild.ts"
import * as RollupRefill from "./RollupRefill.ts"
import { rowTables } from "./RowTable.ts"
import { RowWriter } from "./RowWriter.ts"
import * as StagedAppend from "./StagedAppend.ts"
import * as Staging from "./Staging.ts"
import { isAggregated as areAggregated } from "./timescale/Aggregates.ts"
import * as BarRefresh from "./timescale/BarRefresh.ts"
import * as BulkAppend from "./timescale/BulkAppend.ts"
import * as BulkDays from "./timescale/BulkDays.ts"
import * as BulkTable from "./timescale/BulkTable.ts"
import * as WriteContext from "./WriteContext.ts"
import * as WriteLock from "./WriteLock.ts"

/** How batches are appended. */
export interface AppendOptions {
  /**
   * Whether bars and daily row counts are kept right with every append; default true. False is for measurements and for
   * loads after which both are made anew: they are wrong until then.
   */
  readonly rollups?: boolean | undefined
}

/** Tries beside the first one, after contention or a lost connection. */
const retries = 6

/** The append of a store. */
export const make = (
  pool: PgPool,
  partitions: Partitions,
  options: AppendOptions = {}
): Pick<MarketStore["Service"], "append"> => {
  const context = WriteContext.make(pool)
  const writers: Array<RowWriter> = []
  /** Runs whose last segment met stored rows: the next one will, too. */
  const meeting = new RunSet()
  const watch = BarRefresh.watch(pool)

  const prepare = Effect.fnUntraced(function* (batch: MarketBatch, claim: AppendClaim, writer: RowWriter) {
    const scan = yield* checked(batch)
    if (claim.profile === "bulk") {
      yield* BulkAppend.refuseUnfit(scan)
      yield* BulkAppend.refuseServer(pool)
    }
    const scales = yield* context.scales(scan)
    yield* context.describe(scan)
    const table = rowTables[scan.kind]
    const prepared: Prepared = { scan, scales, table, claim, writer, rollups: options.rollups ?? true }
    yield* ensurePartitions(partitions, prepared)
    if (scan.kind === "trades" && prepared.rollups) yield* watch(scan)
    return prepared
  })

  const appendRows = Effect.fnUntraced(function* (batch: MarketBatch, claim: AppendClaim, writer: RowWriter) {
    const prepared = yield* prepare(batch, claim, writer)
    const bulk = claim.profile === "bulk"
    // The bulk profile finds out by itself what it meets.
    const staged = meeting.has(claim.run) || (!bulk && (yield* mustStage(pool, prepared)))
    const way: Way = { staged, bulk, hold: "shared", evicts: false, uncertain: false }
    const result = yield* persistently(pool, partitions, prepared, way)
    if (result.duplicates + result.conflicts > 0) meeting.add(claim.run)
    else if (!result.skipped) meeting.delete(claim.run)
    return result
  })

  return {
    append: (batch, claim) =>
      batch.length === 0
        ? appendNothing(pool, batch, claim)
        : Effect.acquireUseRelease(
            Effect.sync(() => writers.pop() ?? new RowWriter(MaxRowBytes)),
            (writer) => appendRows(batch, claim, writer),
            // An interrupted COPY may still be reading the writer's memory.
            (writer, exit) => Effect.sync(() => exit._tag === "Success" && writers.push(writer))
          )
  }
}

/** The last runs that were put in. */
class RunSet {
  readonly #runs = new Set<bigint>()

  has(run: bigint): boolean {
    return this.#runs.has(run)
  }

  add(run: bigint): void {
    this.#runs.add(run)
    if (this.#runs.size > 64) this.#runs.delete(this.#runs.values().next().value!)
  }

  delete(run: bigint): void {
    this.#runs.delete(run)
  }
}

const skipped: AppendResult = { inserted: 0, duplicates: 0, conflicts: 0, skipped: true }

/** A batch without rows: its segment and its coverage. */
const appendNothing = (pool: PgPool, batch: MarketBatch, claim: AppendClaim) =>
  pool.transaction(
    operationOf(batch),
    Effect.fnUntraced(function* (connection) {
      if (!(yield* Ledger.open(connection, claim))) return skipped
      const counts: Counts = { inserted: 0, duplicates: 0, conflicts: 0 }
      yield* Ledger.record(connection, claim, 0, counts, undefined)
      yield* claimTimes(connection, claim)
      return { ...counts, skipped: false }
    })
  )

/** What the append speaks for beside its rows. Sessions are locked before coverage. */
const claimTimes = Effect.fnUntraced(function* (connection: PgConnection, claim: AppendClaim) {
  yield* FeedSessionTable.note(connection, claim.feed ?? [])
  yield* CoverageTable.claim(connection, claim.coverage ?? [])
})

const operationOf = (batch: MarketBatch): string => `append ${rowKind(batch)}`

const checked = (batch: MarketBatch): Effect.Effect<BatchScan, StoreError> =>
  Effect.try({
    try: () => {
      const scan = scanBatch(batch)
      const texts = Staging.textIdsOf(scan)
      const tooLong = texts?.findIndex((text) => text.length > MaxTextId) ?? -1
      if (tooLong >= 0)
        throw refuse(batch, `the trade id of row ${tooLong} is longer than ${MaxTextId} characters`)
      if (texts !== undefined && texts.length < batch.length)
        throw refuse(batch, `${batch.length} rows have ${texts.length} trade ids`)
      return scan
    },
    catch: (cause) => cause as StoreError
  })

const refuse = (batch: MarketBatch, detail: string): StoreError =>
  new StoreError({
    operation: operationOf(batch),
    reason: new StoreInvalidData({ detail: `${detail}; nothing of this batch was written` })
  })

const ensurePartitions = Effect.fnUntraced(function* (partitions: Partitions, { scan, rollups }: Prepared) {
  yield* partitions.ensure(rowTables[scan.kind].table as Parameters<Partitions["ensure"]>[0], scan.days)
  if (scan.kind !== "trades" || !rollups) return
  yield* partitions.ensure("bar_1m", scan.days)
  yield* partitions.ensure("bar_1h", scan.days)
})

/**
 * Whether rows of the batch's time may be stored that COPY would not stumble over: replacing takes away rows of other
 * keys, too.
 */
const mustStage = Effect.fnUntraced(function* (pool: PgPool, { scan, claim, rollups }: Prepared) {
  if (claim.onConflict !== "replace") return false
  if (!rollups) return true
  const days = countDays(scan)
  const [found] = yield* pool.query<SqlRow & { readonly found: boolean }>(
    `SELECT EXISTS (
       SELECT FROM unnest($1::int4[], $2::int2[], $3::int4[], $4::int8[], $5::int8[])
         AS b (instrument_id, schema, day, first_at, last_at)
       JOIN row_days d ON d.instrument_id = b.instrument_id AND d.schema = b.schema
         AND d.day = date '1970-01-01' + b.day
       WHERE d.first_at <= b.last_at + 999 AND d.last_at >= b.first_at - 999
     ) AS found`,
    [
      days.map((day) => scan.series.instrument[day.series]),
      days.map((day) => scan.series.schema[day.series]),
      days.map((day) => day.day),
      days.map((day) => day.first),
      days.map((day) => day.last)
    ]
  )
  return found!.found
})

/** Attempts until one comes through; each is a transaction of its own. */
const persistently = Effect.fnUntraced(function* (
  pool: PgPool,
  partitions: Partitions,
  prepared: Prepared,
  first: Way
) {
  let way = first
  for (let tries = 0; ; ) {
    const result = yield* Effect.result(attempt(pool, prepared, way))
    if (result._tag === "Success") return result.success
    const error = result.failure
    const next = error._tag === "StoreError" ? undefined : otherWay(way, error)
    if (next !== undefined) {
      way = next
      continue
    }
    if (error._tag !== "StoreError") continue
    if (isUniqueViolation(error) && !way.staged) {
      way = { ...way, staged: true }
      continue
    }
    if (++tries > retries) return yield* error
    if (hasNoPartition(error)) {
      // Another process has removed the partition since it was looked for.
      yield* partitions.forget
      yield* ensurePartitions(partitions, prepared)
    } else if (error.reason._tag === "StoreUnavailable") way = { ...way, uncertain: true }
    else if (error.reason._tag !== "StoreContention" && !isUniqueViolation(error)) return yield* error
    yield* Effect.sleep(`${Math.round((0.5 + (yield* Random.next)) * 10 * 2 ** tries)} millis`)
  }
})

/** What an attempt has found out about how to go about it. */
type Finding = NeedsHold | BulkAppend.Overlap | BulkDays.InBulk

const otherWay = (way: Way, finding: Finding): Way => {
  switch (finding._tag) {
    case "NeedsHold":
      return { ...way, hold: finding.hold }
    case "InBulk":
      return { ...way, staged: true, evicts: true }
    case "BulkOverlap":
      return finding.isOrdinary
        ? { ...way, staged: true, bulk: false, evicts: true }
        : { ...way, staged: true }
  }
}

const hasNoPartition = (error: StoreError): boolean => codeOf(error.cause) === "23514"

const attempt = (
  pool: PgPool,
  prepared: Prepared,
  way: Way
): Effect.Effect<AppendResult, StoreError | Finding> =>
  pool.transaction(
    operationOf(prepared.scan.batch),
    Effect.fnUntraced(function* (connection) {
      const { scan, claim } = prepared
      if (!(yield* Ledger.open(connection, claim)))
        return way.uncertain ? yield* Ledger.resultOf(connection, claim) : skipped
      const opened = yield* begin(connection, prepared, way)
      yield* holdDays(connection, prepared, way, opened)
      const counts = yield* write(connection, prepared, way, opened)
      yield* Ledger.record(connection, claim, scan.length, counts, scan)
      yield* claimTimes(connection, claim)
      if (opened.isAggregated && prepared.rollups && scan.kind === "trades")
        yield* BarRefresh.note(connection, scan)
      return { ...counts, skipped: false }
    })
  )

/**
 * Takes the row locks of the batch's days, and their rows out of the bulk table, where that is due. Before an ordinary append
 * changes stored rows it always is: it counts the days anew by what is in the ordinary table.
 */
const holdDays = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, writer }: Prepared,
  { bulk, evicts, hold }: Way,
  { hasBulk }: Opened
) {
  const mayMeetBulk = hasBulk && !bulk && scan.kind === "trades"
  const isMoving = mayMeetBulk && (evicts || hold !== "shared")
  if (!isMoving && hold !== "days") return
  yield* Rollup.sendDays(connection, writer, scan, countDays(scan))
  yield* Rollup.lockDays(connection)
  if (isMoving) yield* BulkDays.evict(connection)
  yield* connection.query("DELETE FROM added_day")
})

const write = Effect.fnUntraced(function* (
  connection: PgConnection,
  prepared: Prepared,
  way: Way,
  opened: Opened
) {
  if (way.bulk) return yield* BulkAppend.write(connection, prepared, way, opened)
  yield* AppendBars.adoptReturning(connection, prepared, way, opened)
  const counts = way.staged
    ? yield* StagedAppend.write(connection, prepared, way, opened)
    : yield* writeDirectly(connection, prepared, way, opened)
  if (opened.hasBulk && prepared.scan.kind === "trades") yield* BulkDays.refuse(connection)
  return counts
})

/** Takes the write lock, makes the temporary tables, and asks up to where retention has removed rows. */
const begin = Effect.fnUntraced(function* (connection: PgConnection, prepared: Prepared, way: Way) {
  const results = yield* connection.script(
    [
      WriteLock.take(way.hold === "alone"),
      `${RollupRefill.horizonQuery}; SELECT ${areAggregated} AS aggregated, ${BulkTable.isThere} AS bulk`,
      Rollup.temporaryTables,
      ...(way.staged ? [Staging.temporaryTables(way.bulk ? BulkTable.bulkTrades : prepared.table)] : []),
      ...(way.hold !== "shared" ? [RollupRebuild.temporaryTables, RollupRefill.temporaryTables] : [])
    ].join(";")
  )
  const opened: Opened = {
    horizon: RollupRefill.horizonOf(results[1]!),
    isAggregated: results[2]![0]!.aggregated as boolean,
    hasBulk: results[2]![0]!.bulk as boolean
  }
  return opened
})

const writeDirectly = Effect.fnUntraced(function* (
  connection: PgConnection,
  prepared: Prepared,
  way: Way,
  opened: Opened
) {
  const { scan, scales, table, writer } = prepared
  const encoded = encode(writer, scan, scales, false)
  yield* connection.copyIn(
    `COPY ${table.table} (${encoded.columns.join(", ")}) FROM STDIN (FORMAT binary)`,
    encoded.chunks
  )
  if (encoded.exact.length > 0) {
    yield* connection.copyIn(
      `COPY ${table.exactTable} (${exactColumns(table, false).join(", ")}) FROM STDIN (FORMAT binary)`,
      exactChunks(writer, table, scan, encoded.exact, false)
    )
    const ids = new Set(encoded.exact.map(({ row }) => scan.batch.columns.instrument[row]!))
    yield* Staging.flagInstruments(connection, table, [...ids].join(", "))
  }
  const textIds = Staging.textIdsOf(scan)
  if (textIds !== undefined)
    yield* connection.copyIn(
      "COPY trade_text_id (instrument_id, ts, trade_key, trade_id) FROM STDIN (FORMAT binary)",
      textIdChunks(writer, table, scan, textIds, false)
    )
  const own = yield* AppendBars.adoptExact(connection, prepared, way, opened)
  yield* AppendBars.keepRollups(connection, prepared, way, opened, undefined, own)
  const counts: Counts = { inserted: scan.length, duplicates: 0, conflicts: 0 }
  return counts
})
