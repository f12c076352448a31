/**
 * Appending a batch: rows, exact values, bars, day counts, ledger segment and coverage in one transaction.
 *
 *     scan -> scales -> partitions -> { lock run | COPY into the table | bars | days | segment | coverage }
 *                                        on SQLSTATE 23505: roll back, and the same by the staged way
 *
 * The first try copies straight into the table: that is several times as fast as staging, and history usually brings new
 * rows. Writers share a lock; one that has to remove or complete stored rows takes it alone, so that nobody adds to a bar that is
 * being made anew. Contention and lost connections are retried here: the ledger tells whether a lost COMMIT happened.
 */
import {
  type AppendClaim,
  type AppendResult,
  type MarketBatch,
  type MarketStore,
  rowKind,
  StoreContention,
  StoreError,
  StoreInvalidData
} from "@data-manager/core"
import { Effect, Random } from "effect"
import { type BatchScan, countDays, scan as scanBatch } from "./BatchScan.ts"
import { encode, MaxRowBytes, type SeriesScales } from "./CopyEncoder.ts"
import * as CoverageTable from "./CoverageTable.ts"
import { exactChunks, exactColumns, MaxTextId, textIdChunks } from "./ExactRows.ts"
import * as Ledger from "./Ledger.ts"
import type { Partitions } from "./Partitions.ts"
import { codeOf } from "./PgError.ts"
import { isUniqueViolation, type PgConnection, type PgPool, type SqlRow } from "./PgPool.ts"
import * as Rollup from "./Rollup.ts"
import * as RollupRebuild from "./RollupRebuild.ts"
import * as RollupRefill from "./RollupRefill.ts"
import { type RowTable, rowTables } from "./RowTable.ts"
import { RowWriter } from "./RowWriter.ts"
import * as Staging from "./Staging.ts"
import { isAggregated as areAggregated } from "./timescale/Aggregates.ts"
import * as BarRefresh from "./timescale/BarRefresh.ts"
import * as OwnBars from "./timescale/OwnBars.ts"
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

/** How an attempt goes about it. */
interface Way {
  readonly staged: boolean
  /** Whether the write lock is held alone. */
  readonly alone: boolean
  /** An earlier attempt lost its connection and may have been committed. */
  readonly uncertain: boolean
}

/** A batch with what is known before the transaction. */
interface Prepared {
  readonly scan: BatchScan
  readonly scales: SeriesScales
  readonly table: RowTable
  readonly claim: AppendClaim
  readonly writer: RowWriter
  readonly rollups: boolean
}

type Counts = Omit<AppendResult, "skipped">

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

  const prepare = Effect.fnUntraced(function* (batch: MarketBatch, claim: AppendClaim, writer: RowWriter) {
    const scan = yield* checked(batch)
    const scales = yield* context.scales(scan)
    yield* context.describe(scan)
    const table = rowTables[scan.kind]
    const prepared: Prepared = { scan, scales, table, claim, writer, rollups: options.rollups ?? true }
    yield* ensurePartitions(partitions, prepared)
    return prepared
  })

  const appendRows = Effect.fnUntraced(function* (batch: MarketBatch, claim: AppendClaim, writer: RowWriter) {
    const prepared = yield* prepare(batch, claim, writer)
    const staged = meeting.has(claim.run) || (yield* mustStage(pool, prepared))
    const result = yield* persistently(pool, partitions, prepared, staged)
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
      yield* CoverageTable.claim(connection, claim.coverage ?? [])
      return { ...counts, skipped: false }
    })
  )

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
  staged: boolean
) {
  let way: Way = { staged, alone: false, uncertain: false }
  for (let tries = 0; ; ) {
    const result = yield* Effect.result(attempt(pool, prepared, way))
    if (result._tag === "Success") return result.success
    const error = result.failure
    if (error._tag === "NeedsLock") {
      way = { ...way, alone: true }
      continue
    }
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

const hasNoPartition = (error: StoreError): boolean => codeOf(error.cause) === "23514"

const attempt = (
  pool: PgPool,
  prepared: Prepared,
  way: Way
): Effect.Effect<AppendResult, StoreError | Staging.NeedsLock> =>
  pool.transaction(
    operationOf(prepared.scan.batch),
    Effect.fnUntraced(function* (connection) {
      const { scan, claim } = prepared
      if (!(yield* Ledger.open(connection, claim)))
        return way.uncertain ? yield* Ledger.resultOf(connection, claim) : skipped
      const opened = yield* begin(connection, prepared, way)
      yield* adoptReturning(connection, prepared, way, opened)
      const counts = way.staged
        ? yield* writeStaged(connection, prepared, way, opened)
        : yield* writeDirectly(connection, prepared, way, opened)
      if (opened.isAggregated && prepared.rollups && scan.kind === "trades")
        yield* BarRefresh.note(connection, scan)
      yield* Ledger.record(connection, claim, scan.length, counts, scan)
      if (claim.coverage !== undefined) yield* CoverageTable.claim(connection, claim.coverage)
      return { ...counts, skipped: false }
    })
  )

/** What a transaction finds in the database when it begins. */
interface Opened {
  /** Up to where retention has removed rows. */
  readonly horizon: RollupRefill.Horizon
  /** Whether bars are continuous aggregates. */
  readonly isAggregated: boolean
}

/** Takes the write lock, makes the temporary tables, and asks up to where retention has removed rows. */
const begin = Effect.fnUntraced(function* (connection: PgConnection, prepared: Prepared, way: Way) {
  const results = yield* connection.script(
    [
      WriteLock.take(way.alone),
      `${RollupRefill.horizonQuery}; SELECT ${areAggregated} AS aggregated`,
      Rollup.temporaryTables,
      ...(way.staged ? [Staging.temporaryTables(prepared.table)] : []),
      ...(way.alone ? [RollupRebuild.temporaryTables, RollupRefill.temporaryTables] : [])
    ].join(";")
  )
  const opened: Opened = {
    horizon: RollupRefill.horizonOf(results[1]!),
    isAggregated: results[2]![0]!.aggregated as boolean
  }
  return opened
})

/**
 * Where bars are continuous aggregates: takes the bars of instruments into our own tables whose removed trades come back,
 * before they are written.
 */
const adoptReturning = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, rollups }: Prepared,
  way: Way,
  { horizon, isAggregated }: Opened
) {
  if (!isAggregated || !rollups || scan.kind !== "trades") return
  if (horizon === undefined || scan.days[0]! >= horizon) return
  yield* adopt(connection, way, yield* OwnBars.lacking(connection, OwnBars.before(scan, horizon)))
})

/** The same for those that have values which an aggregate cannot take, once they are written; gives these instruments. */
const adoptExact = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, rollups }: Prepared,
  way: Way,
  { isAggregated }: Opened
) {
  if (!isAggregated || !rollups || scan.kind !== "trades") return undefined
  const ids = yield* OwnBars.lackingExact(connection, scan)
  yield* adopt(connection, way, ids)
  return ids.length === 0 ? undefined : new Set(ids)
})

const adopt = Effect.fnUntraced(function* (connection: PgConnection, way: Way, ids: ReadonlyArray<number>) {
  if (ids.length === 0) return
  if (!way.alone) return yield* new Staging.NeedsLock()
  yield* OwnBars.adopt(connection, ids)
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
  const adopted = yield* adoptExact(connection, prepared, way, opened)
  yield* keepRollups(connection, prepared, way, opened, undefined, adopted)
  const counts: Counts = { inserted: scan.length, duplicates: 0, conflicts: 0 }
  return counts
})

const writeStaged = Effect.fnUntraced(function* (
  connection: PgConnection,
  prepared: Prepared,
  way: Way,
  opened: Opened
) {
  const { scan, scales, table, writer, claim } = prepared
  const encoded = encode(writer, scan, scales, true)
  yield* Staging.stage(connection, writer, table, scan, encoded)
  const exact = encoded.exact.length > 0 || (yield* hasRows(connection, table.exactTable))
  const staged: Staging.StagedBatch = {
    table,
    scan,
    run: claim.run,
    exact,
    textIds: Staging.textIdsOf(scan) !== undefined
  }
  const replaced =
    claim.onConflict === "replace"
      ? yield* Staging.findReplaced(connection, staged, yield* Ledger.lastTime(connection, claim))
      : { rows: 0, inBatch: 0 }
  if (replaced.rows > 0) {
    if (!way.alone) return yield* new Staging.NeedsLock()
    yield* Staging.removeReplaced(connection, staged)
  }
  const sorted = yield* Staging.insertFresh(connection, staged, way.alone)
  if (sorted.inserted + sorted.duplicates + sorted.conflicts !== scan.length)
    return yield* new StoreError({
      operation: operationOf(scan.batch),
      reason: new StoreContention({
        detail: "stored rows were removed while the batch was compared with them"
      })
    })
  const adopted = yield* adoptExact(connection, prepared, way, opened)
  const rebuilt =
    replaced.rows > 0 || (sorted.completed && table.kind === "trades")
      ? yield* rebuildChanged(connection, prepared, opened)
      : undefined
  if (sorted.inserted > 0)
    yield* keepRollups(connection, prepared, way, opened, selection(scan, sorted.fresh, rebuilt), adopted)
  const counts: Counts = {
    inserted: sorted.inserted - replaced.inBatch,
    duplicates: sorted.duplicates,
    conflicts: sorted.conflicts + replaced.inBatch
  }
  return counts
})

const hasRows = (connection: PgConnection, table: string): Effect.Effect<boolean, StoreError> =>
  Effect.map(
    connection.query<SqlRow & { readonly found: boolean }>(`SELECT EXISTS (SELECT FROM ${table}) AS found`),
    ([row]) => row!.found
  )

/** Makes bars and day counts of the instruments with replaced or completed rows anew; gives these instruments. */
const rebuildChanged = Effect.fnUntraced(function* (
  connection: PgConnection,
  { table, scan, rollups }: Prepared,
  { isAggregated }: Opened
) {
  if (!rollups) return undefined
  yield* RollupRebuild.touchReplaced(connection, table)
  if (isAggregated) yield* OwnBars.touchOwnOnly(connection)
  if (table.kind === "trades") yield* RollupRebuild.rebuildBars(connection, scan)
  yield* RollupRebuild.recountDays(connection, table, scan)
  const rows = yield* connection.query<SqlRow & { readonly id: number }>(
    `SELECT DISTINCT instrument_id AS id FROM gone_${table.table}`
  )
  return new Set(rows.map((row) => row.id))
})

/** 1 for every row that is to be added up: inserted, and not of an instrument that was made anew. */
const selection = (
  { batch, length }: BatchScan,
  fresh: Uint8Array | undefined,
  rebuilt: ReadonlySet<number> | undefined
): Uint8Array | undefined => {
  if (rebuilt === undefined) return fresh
  const selected = fresh ?? new Uint8Array(length).fill(1)
  const { instrument } = batch.columns
  for (let row = 0; row < length; row++) if (rebuilt.has(instrument[row]!)) selected[row] = 0
  return selected
}

/** Adds the selected rows to day counts and bars. */
const keepRollups = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan, scales, writer, claim, rollups }: Prepared,
  way: Way,
  { horizon, isAggregated }: Opened,
  selected: Uint8Array | undefined,
  /** Instruments whose bars have these rows already. */
  adopted: ReadonlySet<number> | undefined
) {
  if (!rollups) return
  const days = countDays(scan, selected)
  if (days.length === 0) return
  yield* Rollup.sendDays(connection, writer, scan, days)
  const { batch } = scan
  if (batch._tag !== "TradeBatch") return yield* Rollup.addDays(connection)
  const refilled = yield* RollupRefill.find(connection, scan, horizon)
  if (refilled !== undefined && !way.alone) return yield* new Staging.NeedsLock()
  yield* Rollup.addDays(connection)
  const ours = isAggregated ? yield* OwnBars.rowsOf(connection, scan, selected, adopted) : selected
  if (ours === OwnBars.None) return
  const counting = refilled === undefined ? ours : RollupRefill.without(scan, refilled, ours)
  // Staged rows meet stored ones, so their bars do, too.
  const newAfter = way.staged ? Number.POSITIVE_INFINITY : yield* lastSecond(connection, claim)
  yield* Rollup.addBars(connection, writer, { batch, scan, scales, selected: counting, newAfter })
  if (refilled !== undefined) yield* RollupRefill.finish(connection, scan, refilled)
})

/** The second of the last row that the run has written, negative infinity where it has written none. */
const lastSecond = (connection: PgConnection, claim: AppendClaim): Effect.Effect<number, StoreError> =>
  Effect.map(Ledger.lastTime(connection, claim), (time) =>
    time === undefined ? Number.NEGATIVE_INFINITY : Number(time / 1_000_000_000n)
  )
