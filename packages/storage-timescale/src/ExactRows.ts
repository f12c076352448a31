/**
 * Entries of the `*_exact` tables, and texts of trade ids, as COPY rows. Few rows have any, so that these are written by
 * row and not by column.
 */
import { BookLevels, type TradeBatch } from "@data-manager/core"
import { type BatchScan, nanos } from "./BatchScan.ts"
import type { ExactValue } from "./CopyEncoder.ts"
import { isLevels, type RowTable } from "./RowTable.ts"
import type { RowWriter } from "./RowWriter.ts"

/** Columns of the COPY; `numbered` adds the row's number as a last column. */
export const exactColumns = (table: RowTable, numbered: boolean): ReadonlyArray<string> => [
  ...table.key,
  ...table.scaled.map((column) => column.name),
  ...(numbered ? ["n"] : [])
]

/** Rows of the exact table, in the order of the batch. */
export function* exactChunks(
  writer: RowWriter,
  table: RowTable,
  scan: BatchScan,
  values: ReadonlyArray<ExactValue>,
  numbered: boolean
): Generator<Uint8Array> {
  writer.start()
  for (let from = 0; from < values.length; ) {
    const { row } = values[from]!
    let to = from + 1
    while (to < values.length && values[to]!.row === row) to += 1
    if (!writer.hasRoom) yield writer.take()
    writeExact(writer, table, scan, values.slice(from, to), numbered)
    from = to
  }
  yield writer.finish()
}

const writeExact = (
  writer: RowWriter,
  table: RowTable,
  scan: BatchScan,
  values: ReadonlyArray<ExactValue>,
  numbered: boolean
): void => {
  const { row } = values[0]!
  writer.row(exactColumns(table, numbered).length)
  writeKey(writer, table.key, scan, row)
  for (const column of table.scaled) {
    const own = values.filter((value) => value.column === column.name)
    if (own.length === 0) writer.null()
    else if (isLevels(table, column)) writeLevels(writer, own)
    else writer.numeric(own[0]!.mantissa, own[0]!.exponent)
  }
  if (numbered) writer.i32(row)
}

const writeLevels = (writer: RowWriter, values: ReadonlyArray<ExactValue>): void => {
  const start = writer.array("numeric", BookLevels)
  for (let lane = 0; lane < BookLevels; lane++) {
    const value = values.find((each) => each.lane === lane)
    if (value === undefined) writer.null()
    else writer.numeric(value.mantissa, value.exponent)
  }
  writer.endArray(start)
}

const writeKey = (writer: RowWriter, key: ReadonlyArray<string>, scan: BatchScan, row: number): void => {
  const { batch, series, seriesOf, time } = scan
  for (const column of key)
    switch (column) {
      case "instrument_id":
        writer.i32(batch.columns.instrument[row]!)
        break
      case "schema":
        writer.i16(series.schema[seriesOf[row]!]!)
        break
      case "ts":
        writer.time(time[2 * row]!, time[2 * row + 1]!)
        break
      case "publisher":
        writer.i16(batch.columns.publisher[row]!)
        break
      default:
        writer.i64BigInt(nanos(keyWords(scan), row))
    }
}

const keyWords = ({ batch }: BatchScan): Int32Array => {
  switch (batch._tag) {
    case "TradeBatch":
      return batch.words.tradeKey
    case "QuoteBatch":
      return batch.words.quoteKey
    case "BookBatch":
      return batch.words.bookKey
    case "BarBatch":
      throw new Error("bars have no key of their own")
  }
}

/** Bytes of a text id at most: longer ones are refused, so that a row fits its chunk. */
export const MaxTextId = 400

/** Rows of `trade_text_id`, where the batch has text ids. */
export function* textIdChunks(
  writer: RowWriter,
  table: RowTable,
  scan: BatchScan,
  textIds: NonNullable<TradeBatch["textIds"]>,
  numbered: boolean
): Generator<Uint8Array> {
  writer.start()
  for (let row = 0; row < scan.length; row++) {
    if (!writer.hasRoom) yield writer.take()
    writer.row(numbered ? 5 : 4)
    writeKey(writer, table.key, scan, row)
    writer.text(textIds[row]!)
    if (numbered) writer.i32(row)
  }
  yield writer.finish()
}
