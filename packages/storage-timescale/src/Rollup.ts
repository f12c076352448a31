/**
 * Bars from trades and daily row counts, kept right in the transaction that writes the rows.
 *
 * What a batch adds is folded in this process, sent to a temporary table and merged row by row: sums add up, extremes
 * compare, and the opening and closing trades are decided by (tsEvent ns, tsRecv ns, key) wherever they came from. So the
 * order of appends, and writers at the same time, make no difference.
 */
import { BarAggregator, type Decimal, type StoreError, type TradeBatch } from "@data-manager/core"
import { Effect } from "effect"
import type { BatchScan, DayCount } from "./BatchScan.ts"
import type { SeriesScales } from "./CopyEncoder.ts"
import { isUniqueViolation, type PgConnection } from "./PgPool.ts"
import type { RowWriter } from "./RowWriter.ts"

/** Lengths of the bars that are kept, in seconds, and their tables. */
export const barTables = [
  { seconds: 60, table: "bar_1m" },
  { seconds: 3600, table: "bar_1h" },
  { seconds: 86_400, table: "bar_1d" }
] as const

/** Columns of a bar, in the order in which they are sent. */
export const barColumns = [
  "bucket",
  "instrument_id",
  "open",
  "high",
  "low",
  "close",
  "volume",
  "trade_count",
  "open_at",
  "open_recv",
  "open_key",
  "close_at",
  "close_recv",
  "close_key"
].join(", ")

/** Temporary tables of a session, emptied at the end of every transaction. */
export const temporaryTables = /* sql */ `
  CREATE TEMP TABLE IF NOT EXISTS added_bar (seconds int4 NOT NULL, LIKE bar_1m) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS added_day (LIKE row_days) ON COMMIT DELETE ROWS;`

const mergeInto = (table: string, seconds: number): string => /* sql */ `
  INSERT INTO ${table} AS b (${barColumns})
  SELECT ${barColumns} FROM added_bar WHERE seconds = ${seconds}
  ON CONFLICT (instrument_id, bucket) DO UPDATE SET
    open = CASE WHEN ${opensEarlier} THEN EXCLUDED.open ELSE b.open END,
    open_at = CASE WHEN ${opensEarlier} THEN EXCLUDED.open_at ELSE b.open_at END,
    open_recv = CASE WHEN ${opensEarlier} THEN EXCLUDED.open_recv ELSE b.open_recv END,
    open_key = CASE WHEN ${opensEarlier} THEN EXCLUDED.open_key ELSE b.open_key END,
    close = CASE WHEN ${closesLater} THEN EXCLUDED.close ELSE b.close END,
    close_at = CASE WHEN ${closesLater} THEN EXCLUDED.close_at ELSE b.close_at END,
    close_recv = CASE WHEN ${closesLater} THEN EXCLUDED.close_recv ELSE b.close_recv END,
    close_key = CASE WHEN ${closesLater} THEN EXCLUDED.close_key ELSE b.close_key END,
    high = greatest(b.high, EXCLUDED.high),
    low = least(b.low, EXCLUDED.low),
    volume = b.volume + EXCLUDED.volume,
    trade_count = b.trade_count + EXCLUDED.trade_count`

const opensEarlier =
  "(EXCLUDED.open_at, EXCLUDED.open_recv, EXCLUDED.open_key) < (b.open_at, b.open_recv, b.open_key)"
const closesLater =
  "(EXCLUDED.close_at, EXCLUDED.close_recv, EXCLUDED.close_key) > (b.close_at, b.close_recv, b.close_key)"

const mergeBars = barTables.map(({ table, seconds }) => mergeInto(table, seconds)).join(";")

const mergeDays = /* sql */ `
  INSERT INTO row_days AS d SELECT * FROM added_day
  ON CONFLICT (instrument_id, schema, day) DO UPDATE SET
    rows = d.rows + EXCLUDED.rows,
    first_at = least(d.first_at, EXCLUDED.first_at),
    last_at = greatest(d.last_at, EXCLUDED.last_at)`

/** Some bars of one length, in the order in which they are written. */
interface BarList {
  readonly bars: BarAggregator.PartialBars
  readonly order: Uint32Array
}

/** What the bars of a batch are made of. */
export interface BarInput {
  readonly batch: TradeBatch
  readonly scan: BatchScan
  readonly scales: SeriesScales
  /** Where given, has a 1 for every row that counts. */
  readonly selected: Uint8Array | undefined
  /**
   * Minutes after this second are taken for new ones: history usually comes in time order, and copying new bars straight
   * into their table takes a third of the time of merging them. Where that was wrong they are merged.
   */
  readonly newAfter: number
}

/** Adds the trades of a batch to the bars. */
export const addBars = Effect.fnUntraced(function* (
  connection: PgConnection,
  writer: RowWriter,
  input: BarInput
) {
  const minutes = BarAggregator.foldMinutes(input.batch, input.selected)
  if (minutes.length === 0) return
  const hours = BarAggregator.foldBars(minutes, 3600)
  const days = BarAggregator.foldBars(hours, 86_400)
  const order = byInstrument(minutes)
  const isNew = (i: number): boolean => minutes.bucket[i]! > input.newAfter
  const fresh = order.filter(isNew)
  const isCopied =
    fresh.length > 0 && (yield* copyMinutes(connection, writer, { bars: minutes, order: fresh }, input))
  const known = isCopied ? order.filter((i) => !isNew(i)) : order
  yield* connection.copyIn(
    `COPY added_bar (${barColumns}, seconds) FROM STDIN (FORMAT binary)`,
    barChunks(writer, [{ bars: minutes, order: known }, listOf(hours), listOf(days)], input, true)
  )
  yield* connection.script(mergeBars)
})

const listOf = (bars: BarAggregator.PartialBars): BarList => ({ bars, order: byInstrument(bars) })

/** Copies minutes into their table; false, and nothing copied, where one of them was there already. */
const copyMinutes = Effect.fnUntraced(function* (
  connection: PgConnection,
  writer: RowWriter,
  list: BarList,
  input: BarInput
) {
  yield* connection.query("SAVEPOINT new_minutes")
  const copied = yield* Effect.result(
    connection.copyIn(
      `COPY bar_1m (${barColumns}) FROM STDIN (FORMAT binary)`,
      barChunks(writer, [list], input, false)
    )
  )
  if (copied._tag === "Success") {
    yield* connection.query("RELEASE SAVEPOINT new_minutes")
    return true
  }
  if (!isUniqueViolation(copied.failure)) return yield* copied.failure
  yield* connection.query("ROLLBACK TO SAVEPOINT new_minutes")
  return false
})

function* barChunks(
  writer: RowWriter,
  lists: ReadonlyArray<BarList>,
  input: BarInput,
  withSeconds: boolean
): Generator<Uint8Array> {
  writer.start()
  for (const { bars, order } of lists)
    for (const i of order) {
      if (!writer.hasRoom) yield writer.take()
      writeBar(writer, bars, i, input, withSeconds)
    }
  yield writer.finish()
}

/** Bars by instrument and time: neighbours in the index are written together, and all writers lock in one order. */
const byInstrument = (bars: BarAggregator.PartialBars): Uint32Array => {
  const { instrument, bucket } = bars
  return Uint32Array.from({ length: bars.length }, (_, i) => i).sort(
    (a, b) => instrument[a]! - instrument[b]! || bucket[a]! - bucket[b]!
  )
}

/** Seconds from 1970 to PostgreSQL's epoch. */
const epochSeconds = 946_684_800

const writeBar = (
  writer: RowWriter,
  bars: BarAggregator.PartialBars,
  i: number,
  { scan, scales, batch }: BarInput,
  withSeconds: boolean
): void => {
  const open = bars.openRow[i]!
  const close = bars.closeRow[i]!
  const series = scan.seriesOf[open]!
  const priceScale = scales.price[series]!
  writer.row(withSeconds ? 15 : 14)
  // A multiple of 60,000,000 below 2^61: exact as a double.
  writer.i64Number((bars.bucket[i]! - epochSeconds) * 1_000_000)
  writer.i32(bars.instrument[i]!)
  price(writer, batch, open, priceScale)
  price(writer, batch, bars.highRow[i]!, priceScale)
  price(writer, batch, bars.lowRow[i]!, priceScale)
  price(writer, batch, close, priceScale)
  volume(writer, bars.volumeOf(i), scales.size[series]!)
  writer.i64Number(bars.tradeCount[i]!)
  rank(writer, batch, open)
  rank(writer, batch, close)
  if (withSeconds) writer.i32(bars.seconds)
}

const price = (writer: RowWriter, batch: TradeBatch, row: number, scale: number): void => {
  const { price: words } = batch.words
  const exponent = batch.columns.priceExponent[row]!
  if (!writer.scaledNumeric(words[2 * row]!, words[2 * row + 1]!, exponent, scale))
    writer.numeric(batch.columns.price[row]!, exponent)
}

const volume = (writer: RowWriter, value: Decimal.Decimal, scale: number): void => {
  const mantissa = Number(value.mantissa)
  if (!Number.isSafeInteger(mantissa) || !writer.scaledNumericNumber(mantissa, value.exponent, scale))
    writer.numeric(value.mantissa, value.exponent)
}

const rank = (writer: RowWriter, batch: TradeBatch, row: number): void => {
  const { tsEvent, tsRecv, tradeKey } = batch.words
  writer.i64(tsEvent[2 * row]!, tsEvent[2 * row + 1]!)
  writer.i64(tsRecv[2 * row]!, tsRecv[2 * row + 1]!)
  writer.i64(tradeKey[2 * row]!, tradeKey[2 * row + 1]!)
}

/** Days from 1970 to PostgreSQL's epoch. */
const epochDays = 10_957

/** Sends day counts to the temporary table, by instrument, schema and day. */
export const sendDays = (
  connection: PgConnection,
  writer: RowWriter,
  scan: BatchScan,
  counts: ReadonlyArray<DayCount>
): Effect.Effect<number, StoreError> =>
  connection.copyIn(
    "COPY added_day (instrument_id, schema, day, rows, first_at, last_at) FROM STDIN (FORMAT binary)",
    dayChunks(writer, scan, counts)
  )

function* dayChunks(
  writer: RowWriter,
  { series }: BatchScan,
  counts: ReadonlyArray<DayCount>
): Generator<Uint8Array> {
  const { instrument, schema } = series
  const sorted = [...counts].sort(
    (a, b) =>
      instrument[a.series]! - instrument[b.series]! || schema[a.series]! - schema[b.series]! || a.day - b.day
  )
  writer.start()
  for (const count of sorted) {
    if (!writer.hasRoom) yield writer.take()
    writer.row(6)
    writer.i32(instrument[count.series]!)
    writer.i16(schema[count.series]!)
    writer.i32(count.day - epochDays)
    writer.i64Number(count.rows)
    writer.i64BigInt(count.first)
    writer.i64BigInt(count.last)
  }
  yield writer.finish()
}

/** Takes the row locks of the days that `sendDays` has sent, and makes the rows that are missing. */
export const lockDays = (connection: PgConnection): Effect.Effect<unknown, StoreError> =>
  connection.query(/* sql */ `
    INSERT INTO row_days AS d (instrument_id, schema, day, rows, first_at, last_at)
    SELECT instrument_id, schema, day, 0, first_at, last_at FROM added_day
    ON CONFLICT (instrument_id, schema, day) DO UPDATE SET rows = d.rows`)

/** Adds what `sendDays` has sent to the daily row counts. */
export const addDays = (connection: PgConnection): Effect.Effect<unknown, StoreError> =>
  connection.query(mergeDays)
