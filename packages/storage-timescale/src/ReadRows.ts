/**
 * The rows that can be read: for each kind the SELECT list, and the decoder of exactly that list.
 *
 * Sending a field costs the server about 100 ns however small it is, so small columns travel together in one int8, put
 * together by shifts (a few ns each). `attributes`:
 *
 *     | 62..54 depth | 53..46 flags | 45..38 action | 37..36 side | 35..20 publisher | 19..10 ns of other | 9..0 ns of ts |
 *
 * Absent small values are sent as the batch's own sentinel; absent 64-bit ones as NULL.
 */
import {
  ABSENT_I32,
  ABSENT_I64,
  BookLayout,
  BookLevels,
  type InstrumentId,
  MarketSchema,
  QuoteLayout,
  TradeLayout,
  UnixNanos
} from "@data-manager/core"
import * as Field from "./CopyField.ts"
import { timestampLiteral } from "./PgPool.ts"
import { alignExact, type Cell, type ReadInstruments, RowColumns } from "./RowColumns.ts"
import { compareInt64 } from "./RowOrder.ts"

/** Instruments whose rows may carry more than their table's own columns; none: the fields are not even selected. */
export interface RowExtras {
  /** Those with values in the `*_exact` table. */
  readonly exact: ReadonlyArray<InstrumentId>
  /** Those whose trade ids are text. */
  readonly texts: ReadonlyArray<InstrumentId>
}

/** How a kind of rows is selected. The table's alias is `t`. */
export interface RowSelection {
  readonly table: string
  /** Tables whose partitions its rows lie in, where it is a view of them. */
  readonly storedIn?: ReadonlyArray<string> | undefined
  /** Time column, and whether `ts_ns` holds its rest beyond the microsecond. */
  readonly time: "ts" | "bucket"
  readonly hasRest: boolean
  /** Expressions that order the rows of one microsecond; `ReadableRows.position` gives their values of a row. */
  readonly ties: ReadonlyArray<string>
  readonly fields: (extras: RowExtras) => ReadonlyArray<string>
}

/** An int4[] constant. */
export const idList = (ids: ReadonlyArray<InstrumentId>): string => `'{${ids.join(",")}}'::int4[]`

/** A column shifted to its place; a mask where the column could hold more than its bits (publishers from 32,768 on). */
const small = (column: string, shift: number): string => {
  const mask = column === "publisher" ? 65535 : column === "side" ? 3 : undefined
  // PostgreSQL's bit operators all bind alike, from the left: every shift needs its own parentheses.
  return mask === undefined
    ? `(t.${column}::int8 << ${shift})`
    : `((t.${column}::int8 & ${mask}) << ${shift})`
}

const attributes = (other: string, columns: ReadonlyArray<readonly [string, number]>): string =>
  [
    "t.ts_ns::int8",
    `(coalesce(t.${other}, 0)::int8 << 10)`,
    ...columns.map(([column, shift]) => small(column, shift))
  ].join(" | ")

const delta = `(coalesce(t.ts_in_delta, ${ABSENT_I32})::int8 << 32) | t.instrument_id::int8`

/** Values of the exact table, each by its own subquery: only a NULL of an instrument that is flagged can have one. */
export const exactFields = (
  exact: ReadonlyArray<InstrumentId>,
  table: string,
  identity: ReadonlyArray<string>,
  columns: ReadonlyArray<string>,
  arrays: ReadonlyArray<string> = []
): ReadonlyArray<string> => {
  if (exact.length === 0) return []
  const same = ["instrument_id", "ts", ...identity].map((name) => `e.${name} = t.${name}`).join(" AND ")
  const flagged = `t.instrument_id = ANY (${idList(exact)})`
  const value = (column: string): string => `(SELECT e.${column} FROM ${table} e WHERE ${same})`
  return [
    ...columns.map((column) => `CASE WHEN t.${column} IS NULL AND ${flagged} THEN ${value(column)} END`),
    // An array of levels is never NULL itself.
    ...arrays.map((column) => `CASE WHEN ${flagged} THEN ${value(column)} END`)
  ]
}

const textField = (texts: ReadonlyArray<InstrumentId>): ReadonlyArray<string> =>
  texts.length === 0
    ? []
    : [
        `CASE WHEN t.instrument_id = ANY (${idList(texts)}) THEN (SELECT x.trade_id FROM trade_text_id x
         WHERE x.instrument_id = t.instrument_id AND x.ts = t.ts AND x.trade_key = t.trade_key) END`
      ]

/** How trades are selected. */
export const tradeSelection: RowSelection = {
  table: "trade_rows",
  storedIn: ["trade", "trade_bulk"],
  time: "ts",
  hasRest: true,
  ties: [
    "t.ts_ns",
    "coalesce(t.ts_recv, 'infinity')",
    "coalesce(t.ts_recv_ns, 0)",
    "t.trade_key",
    "t.instrument_id"
  ],
  fields: ({ exact, texts }) => [
    attributes("ts_recv_ns", [
      ["publisher", 20],
      ["side", 36],
      ["flags", 46],
      ["depth", 54]
    ]),
    delta,
    "t.ts",
    "t.ts_recv",
    "t.trade_key",
    "t.price",
    "t.size",
    ...exactFields(exact, "trade_exact", ["trade_key"], ["price", "size"]),
    ...textField(texts)
  ]
}

const updateAttributes = attributes("ts_other_ns", [
  ["publisher", 20],
  ["side", 36],
  ["action", 38],
  ["flags", 46],
  ["depth", 54]
])

/** Order within a microsecond: where rows are kept under tsRecv, the other clock has no part in it. */
const updateTies = (schema: MarketSchema.MarketSchema, key: string): ReadonlyArray<string> =>
  MarketSchema.clock(schema) === "ts_recv"
    ? ["t.ts_ns", key, "t.instrument_id"]
    : ["t.ts_ns", "coalesce(t.ts_other, 'infinity')", "coalesce(t.ts_other_ns, 0)", key, "t.instrument_id"]

/** How quotes are selected. */
export const quoteSelection = (schema: MarketSchema.MarketSchema): RowSelection => ({
  table: "quote",
  time: "ts",
  hasRest: true,
  ties: updateTies(schema, "t.quote_key"),
  fields: ({ exact }) => [
    updateAttributes,
    delta,
    // u32 sentinels: 2^32-1
    "(coalesce(t.bid_count, 4294967295) << 32) | coalesce(t.ask_count, 4294967295)",
    "((coalesce(t.bid_publisher, -1)::int8 & 65535) << 16) | (coalesce(t.ask_publisher, -1)::int8 & 65535)",
    "t.ts",
    "t.ts_other",
    "t.quote_key",
    "t.bid_price",
    "t.ask_price",
    "t.price",
    "t.bid_size",
    "t.ask_size",
    "t.size",
    ...exactFields(
      exact,
      "quote_exact",
      ["schema", "quote_key"],
      ["bid_price", "ask_price", "price", "bid_size", "ask_size", "size"]
    )
  ]
})

/** How books are selected. */
export const bookSelection = (schema: MarketSchema.MarketSchema): RowSelection => ({
  table: "book",
  time: "ts",
  hasRest: true,
  ties: updateTies(schema, "t.book_key"),
  fields: ({ exact }) => [
    updateAttributes,
    delta,
    "t.ts",
    "t.ts_other",
    "t.book_key",
    "t.price",
    "t.size",
    "t.bid_price",
    "t.ask_price",
    "t.bid_size",
    "t.ask_size",
    "t.bid_count",
    "t.ask_count",
    ...exactFields(
      exact,
      "book_exact",
      ["schema", "book_key"],
      ["price", "size"],
      ["bid_price", "ask_price", "bid_size", "ask_size"]
    )
  ]
})

const restOfTime = (low: number): number => low & 1023
const restOfOther = (low: number): number => (low >>> 10) & 1023
const publisherOf = (low: number, high: number): number => (low >>> 20) | ((high & 15) << 12)
const sideOf = (high: number): number => (high >>> 4) & 3
const actionOf = (high: number): number => (high >>> 6) & 255
const flagsOf = (high: number): number => (high >>> 14) & 255
const depthOf = (high: number): number => (high >>> 22) & 255

/** Bytes of an int8 field with its length. */
const Int8Field = 12

/** Values of a second clock's two tie expressions. */
const clockPosition = (time: bigint): string =>
  time === ABSENT_I64
    ? "timestamptz 'infinity', 0"
    : `${timestampLiteral(time)}, ${UnixNanos.nanosOfMicro(time)}`

const cell = (words: Int32Array, at: number, exact: Cell["exact"]): Cell => ({ words, at, exact })

/** Trades as they come. */
export class TradeRows extends RowColumns<typeof TradeLayout> {
  readonly fields: number
  readonly #exact: boolean

  constructor(instruments: ReadInstruments, capacity: number, exact: boolean, texts: boolean) {
    super(TradeLayout, instruments, capacity)
    this.#exact = exact
    this.fields = 7 + (exact ? 2 : 0) + (texts ? 1 : 0)
    if (texts) this.texts = []
  }

  get time(): Int32Array {
    return this.words.tsEvent
  }

  ties(a: number, b: number): number {
    return (
      compareInt64(this.words.tsRecv, a, b) ||
      compareInt64(this.words.tradeKey, a, b) ||
      this.columns.instrument[a]! - this.columns.instrument[b]!
    )
  }

  position(row: number): string {
    const { tsEvent, tsRecv, tradeKey, instrument } = this.columns
    return `${UnixNanos.nanosOfMicro(tsEvent[row]!)}, ${clockPosition(tsRecv[row]!)}, ${tradeKey[row]}, ${instrument[row]}`
  }

  decode(bytes: DataView, start: number): void {
    const i = this.nextRow()
    const { columns, words } = this
    const high = Field.highWord(bytes, start)
    const low = Field.lowWord(bytes, start)
    columns.publisher[i] = publisherOf(low, high)
    columns.side[i] = sideOf(high)
    columns.flags[i] = flagsOf(high)
    columns.depth[i] = depthOf(high)
    columns.tsInDelta[i] = Field.highWord(bytes, start + Int8Field)
    const id = Field.lowWord(bytes, start + Int8Field)
    const instrument = this.instruments.of(id)
    columns.instrument[i] = id
    columns.priceExponent[i] = instrument.priceExponent
    columns.sizeExponent[i] = instrument.sizeExponent
    let at = Field.time(bytes, start + 2 * Int8Field, restOfTime(low), words.tsEvent, i)
    at = Field.timeOrAbsent(bytes, at, restOfOther(low), words.tsRecv, i)
    at = Field.int64(bytes, at, words.tradeKey, i)
    at = Field.int64OrAbsent(bytes, at, words.price, i)
    at = Field.int64OrAbsent(bytes, at, words.size, i)
    if (this.#exact || this.texts !== undefined) this.#decodeExtras(bytes, at, i)
    this.length = i + 1
  }

  #decodeExtras(bytes: DataView, start: number, i: number): void {
    const { columns, words } = this
    let at = start
    if (this.#exact) {
      const price = cell(words.price, i, Field.decimal(bytes, at))
      at = Field.skip(bytes, at)
      const size = cell(words.size, i, Field.decimal(bytes, at))
      at = Field.skip(bytes, at)
      columns.priceExponent[i] = alignExact(columns.priceExponent[i]!, [price])
      columns.sizeExponent[i] = alignExact(columns.sizeExponent[i]!, [size])
    }
    if (this.texts !== undefined) this.texts[i] = Field.text(bytes, at) ?? ""
  }
}

/** Quotes of one schema as they come. */
export class QuoteRows extends RowColumns<typeof QuoteLayout> {
  readonly fields: number
  readonly #exact: boolean
  readonly #schema: number
  readonly #clock: MarketSchema.RowClock

  constructor(
    instruments: ReadInstruments,
    capacity: number,
    schema: MarketSchema.MarketSchema,
    exact: boolean
  ) {
    super(QuoteLayout, instruments, capacity)
    this.#exact = exact
    this.#schema = MarketSchema.code(schema)
    this.#clock = MarketSchema.clock(schema)
    this.fields = 13 + (exact ? 6 : 0)
  }

  get time(): Int32Array {
    return this.#clock === "ts_event" ? this.words.tsEvent : this.words.tsRecv
  }

  ties(a: number, b: number): number {
    return (
      compareInt64(this.words.tsRecv, a, b) ||
      compareInt64(this.words.quoteKey, a, b) ||
      this.columns.instrument[a]! - this.columns.instrument[b]!
    )
  }

  position(row: number): string {
    const { tsEvent, tsRecv, quoteKey, instrument } = this.columns
    const other = this.#clock === "ts_event" ? `${clockPosition(tsRecv[row]!)}, ` : ""
    const rest = UnixNanos.nanosOfMicro(this.#clock === "ts_event" ? tsEvent[row]! : tsRecv[row]!)
    return `${rest}, ${other}${quoteKey[row]}, ${instrument[row]}`
  }

  decode(bytes: DataView, start: number): void {
    const i = this.nextRow()
    const { columns, words } = this
    const high = Field.highWord(bytes, start)
    const low = Field.lowWord(bytes, start)
    columns.publisher[i] = publisherOf(low, high)
    columns.side[i] = sideOf(high)
    columns.action[i] = actionOf(high)
    columns.flags[i] = flagsOf(high)
    columns.depth[i] = depthOf(high)
    columns.schema[i] = this.#schema
    columns.tsInDelta[i] = Field.highWord(bytes, start + Int8Field)
    const id = Field.lowWord(bytes, start + Int8Field)
    const instrument = this.instruments.of(id)
    columns.instrument[i] = id
    columns.priceExponent[i] = instrument.priceExponent
    columns.sizeExponent[i] = instrument.sizeExponent
    columns.bidCount[i] = Field.highWord(bytes, start + 2 * Int8Field)
    columns.askCount[i] = Field.lowWord(bytes, start + 2 * Int8Field)
    Field.highWord(bytes, start + 3 * Int8Field)
    const publishers = Field.lowWord(bytes, start + 3 * Int8Field)
    columns.bidPublisher[i] = publishers >>> 16
    columns.askPublisher[i] = publishers
    const other = this.#clock === "ts_event" ? words.tsRecv : words.tsEvent
    let at = Field.time(bytes, start + 4 * Int8Field, restOfTime(low), this.time, i)
    at = Field.timeOrAbsent(bytes, at, restOfOther(low), other, i)
    at = Field.int64(bytes, at, words.quoteKey, i)
    at = Field.int64OrAbsent(bytes, at, words.bidPrice, i)
    at = Field.int64OrAbsent(bytes, at, words.askPrice, i)
    at = Field.int64OrAbsent(bytes, at, words.price, i)
    at = Field.int64OrAbsent(bytes, at, words.bidSize, i)
    at = Field.int64OrAbsent(bytes, at, words.askSize, i)
    at = Field.int64OrAbsent(bytes, at, words.size, i)
    if (this.#exact) this.#decodeExact(bytes, at, i)
    this.length = i + 1
  }

  #decodeExact(bytes: DataView, start: number, i: number): void {
    const { columns, words } = this
    let at = start
    const cells = [words.bidPrice, words.askPrice, words.price, words.bidSize, words.askSize, words.size].map(
      (column) => {
        const value = cell(column, i, Field.decimal(bytes, at))
        at = Field.skip(bytes, at)
        return value
      }
    )
    columns.priceExponent[i] = alignExact(columns.priceExponent[i]!, cells.slice(0, 3))
    columns.sizeExponent[i] = alignExact(columns.sizeExponent[i]!, cells.slice(3))
  }
}

/** Books of one schema as they come. */
export class BookRows extends RowColumns<typeof BookLayout> {
  readonly fields: number
  readonly #exact: boolean
  readonly #schema: number
  readonly #clock: MarketSchema.RowClock

  constructor(
    instruments: ReadInstruments,
    capacity: number,
    schema: MarketSchema.MarketSchema,
    exact: boolean
  ) {
    super(BookLayout, instruments, capacity)
    this.#exact = exact
    this.#schema = MarketSchema.code(schema)
    this.#clock = MarketSchema.clock(schema)
    this.fields = 13 + (exact ? 6 : 0)
  }

  get time(): Int32Array {
    return this.#clock === "ts_event" ? this.words.tsEvent : this.words.tsRecv
  }

  ties(a: number, b: number): number {
    return (
      compareInt64(this.words.tsRecv, a, b) ||
      compareInt64(this.words.bookKey, a, b) ||
      this.columns.instrument[a]! - this.columns.instrument[b]!
    )
  }

  position(row: number): string {
    const { tsEvent, tsRecv, bookKey, instrument } = this.columns
    const other = this.#clock === "ts_event" ? `${clockPosition(tsRecv[row]!)}, ` : ""
    const rest = UnixNanos.nanosOfMicro(this.#clock === "ts_event" ? tsEvent[row]! : tsRecv[row]!)
    return `${rest}, ${other}${bookKey[row]}, ${instrument[row]}`
  }

  decode(bytes: DataView, start: number): void {
    const i = this.nextRow()
    const { columns, words } = this
    const high = Field.highWord(bytes, start)
    const low = Field.lowWord(bytes, start)
    columns.publisher[i] = publisherOf(low, high)
    columns.side[i] = sideOf(high)
    columns.action[i] = actionOf(high)
    columns.flags[i] = flagsOf(high)
    columns.depth[i] = depthOf(high)
    columns.schema[i] = this.#schema
    columns.tsInDelta[i] = Field.highWord(bytes, start + Int8Field)
    const id = Field.lowWord(bytes, start + Int8Field)
    const instrument = this.instruments.of(id)
    columns.instrument[i] = id
    columns.priceExponent[i] = instrument.priceExponent
    columns.sizeExponent[i] = instrument.sizeExponent
    const other = this.#clock === "ts_event" ? words.tsRecv : words.tsEvent
    let at = Field.time(bytes, start + 2 * Int8Field, restOfTime(low), this.time, i)
    at = Field.timeOrAbsent(bytes, at, restOfOther(low), other, i)
    at = Field.int64(bytes, at, words.bookKey, i)
    at = Field.int64OrAbsent(bytes, at, words.price, i)
    at = Field.int64OrAbsent(bytes, at, words.size, i)
    at = Field.int64Lanes(bytes, at, words.bidPrice, i, BookLevels)
    at = Field.int64Lanes(bytes, at, words.askPrice, i, BookLevels)
    at = Field.int64Lanes(bytes, at, words.bidSize, i, BookLevels)
    at = Field.int64Lanes(bytes, at, words.askSize, i, BookLevels)
    at = Field.uint32Lanes(bytes, at, columns.bidCount, i, BookLevels)
    at = Field.uint32Lanes(bytes, at, columns.askCount, i, BookLevels)
    if (this.#exact) this.#decodeExact(bytes, at, i)
    this.length = i + 1
  }

  #decodeExact(bytes: DataView, start: number, i: number): void {
    const { columns, words } = this
    let at = start
    const single = (column: Int32Array): ReadonlyArray<Cell> => {
      const exact = Field.decimal(bytes, at)
      at = Field.skip(bytes, at)
      return [cell(column, i, exact)]
    }
    const levels = (column: Int32Array): ReadonlyArray<Cell> => {
      const exact = Field.decimalLanes(bytes, at, BookLevels)
      at = Field.skip(bytes, at)
      return Array.from({ length: BookLevels }, (_, l) => cell(column, i * BookLevels + l, exact?.[l]))
    }
    const price = single(words.price)
    const size = single(words.size)
    const prices = [...price, ...levels(words.bidPrice), ...levels(words.askPrice)]
    const sizes = [...size, ...levels(words.bidSize), ...levels(words.askSize)]
    columns.priceExponent[i] = alignExact(columns.priceExponent[i]!, prices)
    columns.sizeExponent[i] = alignExact(columns.sizeExponent[i]!, sizes)
  }
}
