/**
 * The bulk profile: history copied straight into the columnstore.
 *
 *     order -> { lock days | COPY compressed, what reaches back into stored time as rows | days, segment, coverage }
 *                    on overlap with rows of other runs: roll back, and the same by the staged way
 *
 * It is for rows that come in time order, many of an instrument at a time, of instruments whose values an int8 holds; what
 * does not fit is refused. Days whose trades are in the ordinary table are completed there, by the ordinary way.
 */
import {
  type MarketBatch,
  type MarketSchema,
  StoreBadRequest,
  StoreError,
  selectTrades,
  UnixNanos
} from "@data-manager/core"
import { Data, Effect } from "effect"
import type { Counts, Opened, Prepared, Way } from "../AppendAttempt.ts"
import { type BatchScan, countDays, nanos, scan as scanBatch } from "../BatchScan.ts"
import { encode } from "../CopyEncoder.ts"
import { type PgConnection, type PgPool, type SqlRow, timestampLiteral } from "../PgPool.ts"
import * as Rollup from "../Rollup.ts"
import * as StagedAppend from "../StagedAppend.ts"
import * as Staging from "../Staging.ts"
import * as BulkOrder from "./BulkOrder.ts"
import * as BulkTable from "./BulkTable.ts"
import { OWN_BARS } from "./OwnBars.ts"

/** Fewest rows of an instrument in a batch of several, on the average: one compressed batch of the server. */
const FEWEST_ROWS = 1000

/** The attempt has to be made another way: stored rows may be among those of the batch. */
export class Overlap extends Data.TaggedError("BulkOverlap")<{
  /** Whether they are in the ordinary table. */
  readonly isOrdinary: boolean
}> {}

/** Refuses what the profile is not for. */
const refuse = (detail: string): StoreError =>
  new StoreError({
    operation: "append trades in bulk",
    reason: new StoreBadRequest({
      detail: `${detail}; nothing of this batch was written. Without the bulk profile it can be stored`
    })
  })

/** Refuses a batch that does not fit, before anything is asked of the server. */
export const refuseUnfit = ({ batch, kind, series }: BatchScan): Effect.Effect<void, StoreError> => {
  const reason = unfitness(batch, kind, series.length)
  return reason === undefined ? Effect.void : Effect.fail(refuse(reason))
}

const unfitness = (
  batch: MarketBatch,
  kind: MarketSchema.RowKind,
  instruments: number
): string | undefined => {
  if (batch._tag !== "TradeBatch") return `the bulk profile is for trades, these are ${kind}`
  if (batch.textIds !== undefined) return "the bulk profile has no place for trade ids that are text"
  if (instruments > 1 && batch.length < instruments * FEWEST_ROWS)
    return (
      `the bulk profile takes rows that are grouped by instrument, ${FEWEST_ROWS} of each or more on the average: ` +
      `these ${batch.length} rows are of ${instruments} instruments`
    )
  return undefined
}

/** Refuses every batch on a server that cannot do it. */
export const refuseServer = Effect.fnUntraced(function* (pool: PgPool) {
  if (yield* BulkTable.isUsable(pool)) return
  return yield* refuse(
    "the bulk profile takes TimescaleDB 2.21 or newer, community edition, with this schema up to date (`dm migrate --up`)"
  )
})

/** Writes the batch: in the transaction of the caller, who holds the write lock. */
export const write = (connection: PgConnection, prepared: Prepared, way: Way, opened: Opened) =>
  Effect.gen(function* () {
    yield* refuseInstruments(connection, prepared, opened)
    return way.staged
      ? yield* writeStaged(connection, prepared, way, opened)
      : yield* writeDirectly(connection, prepared)
  })

/** Refuses instruments and times that keep their bars in our own tables. */
const refuseInstruments = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scan }: Prepared,
  { horizon }: Opened
) {
  if (horizon !== undefined && scan.days[0]! < horizon)
    return yield* refuse("the bulk profile has no place for trades of times that retention has removed")
  const [own] = yield* connection.query<SqlRow & { readonly symbol: string }>(
    `SELECT symbol FROM instruments WHERE exact_kinds & ${OWN_BARS} <> 0 AND id = ANY ($1::int4[]) LIMIT 1`,
    [[...scan.series.instrument]]
  )
  if (own !== undefined)
    return yield* refuse(
      `${own.symbol} has values that its scale cannot hold, or trades that came back after retention: ` +
        "its bars are kept apart, and the bulk profile has no place for it"
    )
})

/** Days of the batch that have other rows: where they are, and up to when they reach. */
interface MetDay extends SqlRow {
  readonly instrument: number
  /** NULL where they are in the ordinary table. */
  readonly last: bigint | null
  readonly first: bigint
  /** Whether all of them are of this run. */
  readonly own: boolean | null
}

const metDays = (connection: PgConnection, run: bigint) =>
  connection.query<MetDay>(
    `SELECT a.instrument_id AS instrument, s.last_at AS last, a.first_at AS first, s.run_id = $1 AS own
     FROM added_day a
     JOIN row_days d ON d.instrument_id = a.instrument_id AND d.schema = a.schema AND d.day = a.day
     LEFT JOIN bulk_days s ON s.instrument_id = a.instrument_id AND s.day = a.day
     WHERE d.rows > a.rows`,
    [run]
  )

/**
 * The newest stored time of each instrument whose rows are met in time. Of this run the order of rows may go back a little;
 * rows of others in the same microseconds may be the same rows.
 */
const reachedBack = Effect.fnUntraced(function* (connection: PgConnection, run: bigint) {
  const reached = new Map<number, bigint>()
  for (const { first, instrument, last, own } of yield* metDays(connection, run)) {
    if (last === null) return yield* new Overlap({ isOrdinary: true })
    if (first > last + 999n) continue
    if (own !== true) return yield* new Overlap({ isOrdinary: false })
    const known = reached.get(instrument)
    if (known === undefined || known < last) reached.set(instrument, last)
  }
  return reached
})

/** The rows in their order, those behind everything stored apart from those that reach back. */
const split = (scan: BatchScan, rows: Uint32Array, reached: ReadonlyMap<number, bigint>) => {
  if (reached.size === 0) return { ahead: rows, back: new Uint32Array(0) }
  const { instrument } = scan.batch.columns
  const isBack = (row: number): boolean => {
    const last = reached.get(instrument[row]!)
    return last !== undefined && nanos(scan.time, row) <= last + 999n
  }
  return { ahead: rows.filter((row) => !isBack(row)), back: rows.filter(isBack) }
}

const writeDirectly = Effect.fnUntraced(function* (connection: PgConnection, prepared: Prepared) {
  const { claim, scan, writer } = prepared
  const order = BulkOrder.orderOf(scan)
  if (order.hasRepeats) return yield* new Overlap({ isOrdinary: false })
  yield* Rollup.sendDays(connection, writer, scan, countDays(scan))
  // From here on the days are ours: their rows are locked.
  yield* Rollup.addDays(connection)
  const reached = yield* reachedBack(connection, claim.run)
  const { ahead, back } = split(scan, order.rows, reached)
  yield* connection.script(compressing(true))
  yield* copyRows(connection, prepared, ahead)
  // Rows between compressed ones stay rows until the server compresses their part anew.
  yield* connection.script(compressing(false))
  yield* copyRows(connection, prepared, back)
  if (back.length > 0) yield* refuseRepeats(connection, scan, reached)
  yield* nameDays(connection, claim.run)
  const counts: Counts = { inserted: scan.length, duplicates: 0, conflicts: 0 }
  return counts
})

/** The rows are sorted, and no two COPYs bring overlapping times of an instrument: the server need not sort again. */
const compressing = (isOn: boolean): string =>
  ["", "_client_sorted"]
    .map((suffix) => `SET LOCAL timescaledb.enable_direct_compress_copy${suffix} = ${isOn ? "on" : "off"}`)
    .join(";")

const copyRows = Effect.fnUntraced(function* (
  connection: PgConnection,
  { scales, scan, writer }: Prepared,
  rows: Uint32Array
) {
  const { batch } = scan
  if (rows.length === 0 || batch._tag !== "TradeBatch") return
  const chosen = scanBatch(selectTrades(batch, rows))
  const encoded = encode(writer, chosen, scalesOf(scan, chosen, scales), false)
  yield* connection.copyIn(
    `COPY ${BulkTable.bulkTrades.table} (${encoded.columns.join(", ")}) FROM STDIN (FORMAT binary)`,
    encoded.chunks
  )
  yield* refuseExact(chosen, encoded.exact[0]?.row)
})

/** The scales of some of a batch's rows, whose series are numbered anew. */
const scalesOf = (scan: BatchScan, chosen: BatchScan, scales: Prepared["scales"]): Prepared["scales"] => {
  const number = new Map([...scan.series.instrument].map((id, i) => [id, i]))
  const of = (values: Int8Array): Int8Array =>
    Int8Array.from(chosen.series.instrument, (id) => values[number.get(id)!]!)
  return { price: of(scales.price), size: of(scales.size) }
}

const refuseExact = (scan: BatchScan, row: number | undefined): Effect.Effect<void, StoreError> =>
  row === undefined
    ? Effect.void
    : Effect.fail(
        refuse(
          `a value of ${scan.batch.symbolAt(row)} at ${UnixNanos.toIso(nanos(scan.time, row))} is finer or larger than its scale holds`
        )
      )

/** Rolls back where a key stands twice among the times that reach back. */
const refuseRepeats = Effect.fnUntraced(function* (
  connection: PgConnection,
  { first, last }: BatchScan,
  reached: ReadonlyMap<number, bigint>
) {
  const [found] = yield* connection.query<SqlRow & { readonly repeated: boolean }>(
    `SELECT EXISTS (
       SELECT FROM trade_bulk r WHERE r.instrument_id = ANY ($1::int4[])
         AND r.ts >= ${timestampLiteral(first)} AND r.ts <= ${timestampLiteral(newest(reached, last))}
       GROUP BY r.instrument_id, r.ts, r.trade_key HAVING count(*) > 1
     ) AS repeated`,
    [[...reached.keys()]]
  )
  if (found!.repeated) return yield* new Overlap({ isOrdinary: false })
})

const newest = (reached: ReadonlyMap<number, bigint>, last: bigint): bigint => {
  const times = [...reached.values()].reduce((a, b) => (a > b ? a : b))
  return times < last ? times : last
}

/** Names the days of the batch as being in the bulk table. */
const nameDays = (connection: PgConnection, run: bigint): Effect.Effect<unknown, StoreError> =>
  connection.query(
    `INSERT INTO bulk_days AS b (instrument_id, day, last_at, run_id)
     SELECT instrument_id, day, last_at, $1 FROM added_day
     ON CONFLICT (instrument_id, day) DO UPDATE SET
       last_at = greatest(b.last_at, EXCLUDED.last_at),
       run_id = CASE WHEN b.run_id = EXCLUDED.run_id THEN b.run_id END`,
    [run]
  )

const ordinaryDays = /* sql */ `
  SELECT EXISTS (
    SELECT FROM added_day a
    JOIN row_days d ON d.instrument_id = a.instrument_id AND d.schema = a.schema AND d.day = a.day
    WHERE d.rows > 0 AND NOT EXISTS (
      SELECT FROM bulk_days s WHERE s.instrument_id = a.instrument_id AND s.day = a.day)
  ) AS found`

/** The rows compared with the stored ones, read once; for the days of a download that comes again. */
const writeStaged = Effect.fnUntraced(function* (
  connection: PgConnection,
  prepared: Prepared,
  way: Way,
  opened: Opened
) {
  const { claim, scan, scales, writer } = prepared
  yield* Rollup.sendDays(connection, writer, scan, countDays(scan))
  yield* Rollup.lockDays(connection)
  const [days] = yield* connection.query<SqlRow & { readonly found: boolean }>(ordinaryDays)
  if (days!.found) return yield* new Overlap({ isOrdinary: true })
  yield* nameDays(connection, claim.run)
  yield* connection.query("DELETE FROM added_day")
  const encoded = encode(writer, scan, scales, true)
  yield* Staging.stage(connection, writer, BulkTable.bulkTrades, scan, encoded)
  yield* refuseExact(scan, encoded.exact[0]?.row)
  const staged: Staging.StagedBatch = {
    table: BulkTable.bulkTrades,
    scan,
    run: claim.run,
    exact: false,
    textIds: false,
    isScanned: true
  }
  return yield* StagedAppend.settle(connection, staged, prepared, way, opened)
})
