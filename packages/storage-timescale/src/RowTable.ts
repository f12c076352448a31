/**
 * The tables of the four row kinds: what identifies a row, what its content is, where values stand that the scale of the
 * instrument cannot hold. SQL that treats all kinds alike is made from this.
 */
import { MarketSchema } from "@data-manager/core"
import { columnsOf, tableOf } from "./CopyEncoder.ts"

/** A column with an entry in the `*_exact` table where the scale cannot hold it. */
export interface ScaledColumn {
  readonly name: string
  readonly scale: "price" | "size"
}

/**
 * What the capture of a row says and not the venue: columns that are absent together. Where one of two rows lacks them
 * and the other has them, the rows are not different because of that.
 */
export interface CaptureColumns {
  /** The first one is NULL exactly where all are. */
  readonly names: ReadonlyArray<string>
  /** SQL on a row: they are of the capture here. In sampled quotes the other clock is the venue's: content. */
  readonly when: (alias: string) => string
}

/** One row kind in SQL. */
export interface RowTable {
  readonly kind: MarketSchema.RowKind
  readonly table: string
  /** What has all rows of the kind: the table, or a view of its tables. */
  readonly rows: string
  /** Whether an index keeps the key unique; where not, row locks of the days do: see `BulkTable`. */
  readonly hasUniqueKey: boolean
  readonly exactTable: string
  /** Bit of the kind in `instruments.exact_kinds`. */
  readonly exactBit: number
  /** Columns of the unique index; the last one tells rows of one time apart. */
  readonly key: ReadonlyArray<string>
  /** Every column, in the encoder's order. */
  readonly columns: ReadonlyArray<string>
  readonly scaled: ReadonlyArray<ScaledColumn>
  readonly capture: ReadonlyArray<CaptureColumns>
  /** Whether the scaled columns except price and size are arrays of ten levels. */
  readonly hasLevels: boolean
  /** SQL of the schema's code, on a row of the table. */
  readonly schema: string
}

const price = (name: string): ScaledColumn => ({ name, scale: "price" })
const size = (name: string): ScaledColumn => ({ name, scale: "size" })

/** The other clock is `tsRecv` in the schemas that are kept at `tsEvent`. */
const otherClock = (kind: MarketSchema.RowKind): CaptureColumns => {
  const codes = MarketSchema.all
    .filter((schema) => MarketSchema.kind(schema) === kind && MarketSchema.clock(schema) === "ts_event")
    .map((schema) => MarketSchema.code(schema))
  return { names: ["ts_other", "ts_other_ns"], when: (alias) => `${alias}.schema IN (${codes.join(", ")})` }
}

const receiveTime: { readonly [K in MarketSchema.RowKind]?: CaptureColumns } = {
  trades: { names: ["ts_recv", "ts_recv_ns"], when: () => "true" },
  quotes: otherClock("quotes"),
  book: otherClock("book")
}

/** Columns that the capture alone tells, by kind. */
const captureOf = (kind: MarketSchema.RowKind): ReadonlyArray<CaptureColumns> => {
  const time = receiveTime[kind]
  return time === undefined ? [] : [time, { names: ["ts_in_delta"], when: () => "true" }]
}

const rowTable = (
  kind: MarketSchema.RowKind,
  exactBit: number,
  key: ReadonlyArray<string>,
  scaled: ReadonlyArray<ScaledColumn>
): RowTable => ({
  kind,
  table: tableOf[kind],
  rows: kind === "trades" ? "trade_rows" : tableOf[kind],
  hasUniqueKey: true,
  exactTable: `${tableOf[kind]}_exact`,
  exactBit,
  key,
  columns: columnsOf[kind],
  scaled,
  capture: captureOf(kind),
  hasLevels: kind === "book",
  schema: kind === "trades" ? String(MarketSchema.code("trades")) : "schema"
})

/** The tables by row kind. */
export const rowTables: { readonly [K in MarketSchema.RowKind]: RowTable } = {
  trades: rowTable("trades", 1, ["instrument_id", "ts", "trade_key"], [price("price"), size("size")]),
  quotes: rowTable(
    "quotes",
    2,
    ["instrument_id", "schema", "ts", "quote_key"],
    [price("bid_price"), price("ask_price"), size("bid_size"), size("ask_size"), price("price"), size("size")]
  ),
  bars: rowTable(
    "bars",
    4,
    ["instrument_id", "schema", "ts", "publisher"],
    [price("open"), price("high"), price("low"), price("close")]
  ),
  book: rowTable(
    "book",
    8,
    ["instrument_id", "schema", "ts", "book_key"],
    [price("price"), size("size"), price("bid_price"), price("ask_price"), size("bid_size"), size("ask_size")]
  )
}

/** Whether a scaled column is an array of ten levels. */
export const isLevels = (table: RowTable, column: ScaledColumn): boolean =>
  table.hasLevels && column.name !== "price" && column.name !== "size"

/** The column of the key that tells rows of one time apart. */
export const rowKey = (table: RowTable): string => table.key[table.key.length - 1]!

/** Columns of the content that the venue or vendor tells: neither key nor capture. */
export const venueColumns = ({ columns, key, capture }: RowTable): ReadonlyArray<string> => {
  const others = new Set([...key, ...capture.flatMap(({ names }) => names)])
  return columns.filter((column) => !others.has(column))
}

/** `a.x, a.y` */
export const qualified = (alias: string, columns: ReadonlyArray<string>): string =>
  columns.map((column) => `${alias}.${column}`).join(", ")

/** `a.x = b.x AND a.y = b.y` */
export const equal = (a: string, b: string, columns: ReadonlyArray<string>): string =>
  columns.map((column) => `${a}.${column} = ${b}.${column}`).join(" AND ")
