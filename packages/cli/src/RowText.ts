/**
 * Rows of batches as JSON and CSV, exact: times in ISO 8601 with nanoseconds, decimals and 64-bit numbers as text,
 * small numbers as numbers, absent values as null in JSON and as nothing in CSV.
 *
 * Names are those of the SQL side in snake case. Rows become strings directly from the columns.
 */
import {
  ABSENT_I32,
  ABSENT_I64,
  ABSENT_U16,
  ABSENT_U32,
  type BarBatch,
  type BatchByKind,
  type BookBatch,
  BookLevels,
  Decimal,
  MarketSchema,
  type QuoteBatch,
  Side,
  type TradeBatch
} from "@data-manager/core"
import { isoFormatter } from "./TimeText.ts"

/** How a value is written in JSON: a number, text that needs no escaping, or any text. */
type Form = "number" | "exact" | "text"

/** One column of the output; the text is empty where the value is absent. */
export interface Field<B> {
  readonly name: string
  readonly form: Form
  readonly text: (batch: B, i: number) => string
}

const field = <B>(name: string, form: Form, text: (batch: B, i: number) => string): Field<B> => ({
  name,
  form,
  text
})

/** A decimal without trailing zeros, empty where absent. */
const decimal = (mantissa: bigint, exponent: number): string =>
  mantissa === ABSENT_I64 ? "" : Decimal.shortText(mantissa, exponent)

const small = (value: number, absent: number): string => (value === absent ? "" : value.toString())

const venue = (batch: TradeBatch | QuoteBatch | BookBatch, i: number): string =>
  batch.context.venueOf(batch.columns.publisher[i]!) ??
  batch.context.instruments.get(batch.columns.instrument[i]!)?.exchange ??
  ""

const rawSymbol = (
  batch: { readonly context: TradeBatch["context"]; readonly columns: { readonly instrument: Uint32Array } },
  i: number
): string => {
  const id = batch.columns.instrument[i]!
  return batch.context.instruments.get(id)?.rawSymbol ?? `#${id}`
}

type Iso = (t: bigint) => string

const time = (iso: Iso, t: bigint): string => (t === ABSENT_I64 ? "" : iso(t))

const letter = (code: number): string => (code === 0 ? "" : String.fromCharCode(code))

/** What every row of an event has, around its own columns. */
const origin = <B extends TradeBatch | QuoteBatch | BookBatch>(iso: Iso): ReadonlyArray<Field<B>> => [
  field("ts_event", "exact", (b, i) => time(iso, b.columns.tsEvent[i]!)),
  field("ts_recv", "exact", (b, i) => time(iso, b.columns.tsRecv[i]!)),
  field("symbol", "text", (b, i) => b.symbolAt(i)),
  field("raw_symbol", "text", rawSymbol),
  field("provider", "text", (b) => b.context.provider),
  field("exchange", "text", venue)
]

const record = <B extends TradeBatch | QuoteBatch | BookBatch>(): ReadonlyArray<Field<B>> => [
  field("publisher", "number", (b, i) => b.columns.publisher[i]!.toString()),
  field("flags", "number", (b, i) => b.columns.flags[i]!.toString()),
  field("depth", "number", (b, i) => b.columns.depth[i]!.toString()),
  field("ts_in_delta", "number", (b, i) => small(b.columns.tsInDelta[i]!, ABSENT_I32))
]

const tradeFields = (iso: Iso): ReadonlyArray<Field<TradeBatch>> => [
  ...origin<TradeBatch>(iso),
  field("price", "exact", (b, i) => b.priceText(i)),
  field("size", "exact", (b, i) => b.sizeText(i)),
  field("side", "exact", (b, i) => Side.name(b.columns.side[i]!)),
  field("trade_id", "text", (b, i) => b.tradeIdAt(i)),
  field("trade_key", "exact", (b, i) => b.columns.tradeKey[i]!.toString()),
  ...record<TradeBatch>()
]

/** The update of a quote or book, or the last trade where it is sampled. */
const update = <B extends QuoteBatch | BookBatch>(): ReadonlyArray<Field<B>> => [
  field("schema", "text", (b, i) => MarketSchema.fromCode(b.columns.schema[i]!) ?? ""),
  field("action", "text", (b, i) => letter(b.columns.action[i]!)),
  field("side", "exact", (b, i) => Side.name(b.columns.side[i]!)),
  field("price", "exact", (b, i) => decimal(b.columns.price[i]!, b.columns.priceExponent[i]!)),
  field("size", "exact", (b, i) => decimal(b.columns.size[i]!, b.columns.sizeExponent[i]!))
]

const quoteFields = (iso: Iso): ReadonlyArray<Field<QuoteBatch>> => [
  ...origin<QuoteBatch>(iso),
  ...update<QuoteBatch>(),
  field("bid_price", "exact", (b, i) => decimal(b.columns.bidPrice[i]!, b.columns.priceExponent[i]!)),
  field("ask_price", "exact", (b, i) => decimal(b.columns.askPrice[i]!, b.columns.priceExponent[i]!)),
  field("bid_size", "exact", (b, i) => decimal(b.columns.bidSize[i]!, b.columns.sizeExponent[i]!)),
  field("ask_size", "exact", (b, i) => decimal(b.columns.askSize[i]!, b.columns.sizeExponent[i]!)),
  field("bid_count", "number", (b, i) => small(b.columns.bidCount[i]!, ABSENT_U32)),
  field("ask_count", "number", (b, i) => small(b.columns.askCount[i]!, ABSENT_U32)),
  field("bid_publisher", "number", (b, i) => small(b.columns.bidPublisher[i]!, ABSENT_U16)),
  field("ask_publisher", "number", (b, i) => small(b.columns.askPublisher[i]!, ABSENT_U16)),
  field("quote_key", "exact", (b, i) => b.columns.quoteKey[i]!.toString()),
  ...record<QuoteBatch>()
]

const barPrice = (name: "open" | "high" | "low" | "close"): Field<BarBatch> =>
  field(name, "exact", (b, i) => decimal(b.columns[name][i]!, b.columns.priceExponent[i]!))

const barFields = (iso: Iso): ReadonlyArray<Field<BarBatch>> => [
  field("bucket", "exact", (b, i) => iso(b.columns.tsEvent[i]!)),
  field("seconds", "number", (b, i) => b.columns.seconds[i]!.toString()),
  field("symbol", "text", (b, i) => b.symbolAt(i)),
  field("raw_symbol", "text", rawSymbol),
  field("provider", "text", (b) => b.context.provider),
  barPrice("open"),
  barPrice("high"),
  barPrice("low"),
  barPrice("close"),
  field("volume", "exact", (b, i) => {
    const { mantissa, exponent } = b.volumeDecimal(i)
    return Decimal.shortText(mantissa, exponent)
  }),
  field("trade_count", "exact", (b, i) => {
    const count = b.columns.tradeCount[i]!
    return count === ABSENT_I64 ? "" : count.toString()
  }),
  field("publisher", "number", (b, i) => b.columns.publisher[i]!.toString()),
  field("source", "exact", (b, i) => (b.columns.source[i] === 2 ? "provider" : "trades"))
]

type LevelColumn = "bidPrice" | "askPrice" | "bidSize" | "askSize" | "bidCount" | "askCount"

const levelText = (b: BookBatch, column: LevelColumn, i: number, level: number): string => {
  const value = b.columns[column][i * BookLevels + level]!
  if (typeof value === "number") return small(value, ABSENT_U32)
  const exponent = column.endsWith("Price") ? b.columns.priceExponent[i]! : b.columns.sizeExponent[i]!
  return decimal(value, exponent)
}

const levelFields: ReadonlyArray<Field<BookBatch>> = Array.from({ length: BookLevels }, (_, level) => {
  const number = level.toString().padStart(2, "0")
  const one = (name: string, column: LevelColumn): Field<BookBatch> =>
    field(`${name}_${number}`, column.endsWith("Count") ? "number" : "exact", (b, i) =>
      levelText(b, column, i, level)
    )
  return [
    one("bid_price", "bidPrice"),
    one("bid_size", "bidSize"),
    one("bid_count", "bidCount"),
    one("ask_price", "askPrice"),
    one("ask_size", "askSize"),
    one("ask_count", "askCount")
  ]
}).flat()

const bookUpdate = (iso: Iso): ReadonlyArray<Field<BookBatch>> => [
  ...origin<BookBatch>(iso),
  ...update<BookBatch>(),
  field("book_key", "exact", (b, i) => b.columns.bookKey[i]!.toString()),
  ...record<BookBatch>()
]

/** Text that stands in JSON as it is; nearly all is, and the test is a third of the cost of `JSON.stringify`. */
const plainText = /^[ !#-[\]-~]*$/

const jsonValue = (form: Form, text: string): string => {
  if (text === "") return "null"
  if (form === "number") return text
  return form === "exact" || plainText.test(text) ? `"${text}"` : JSON.stringify(text)
}

const jsonMembers = <B>(fields: ReadonlyArray<Field<B>>): ((batch: B, i: number) => string) => {
  const names = fields.map(({ name }) => `"${name}":`)
  return (batch, i) => {
    let line = ""
    for (let f = 0; f < fields.length; f++) {
      const { form, text } = fields[f]!
      line += `${f === 0 ? "" : ","}${names[f]}${jsonValue(form, text(batch, i))}`
    }
    return line
  }
}

const levelsJson = (b: BookBatch, side: "bid" | "ask", i: number): string => {
  const levels: Array<string> = []
  for (let level = 0; level < BookLevels; level++) {
    const price = levelText(b, `${side}Price`, i, level)
    if (price === "") continue
    const size = jsonValue("exact", levelText(b, `${side}Size`, i, level))
    const count = jsonValue("number", levelText(b, `${side}Count`, i, level))
    levels.push(`{"level":${level},"price":"${price}","size":${size},"count":${count}}`)
  }
  return `[${levels.join(",")}]`
}

const csvText = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

/** Writes rows of one kind. */
export interface RowWriter<B> {
  /** The columns of CSV. */
  readonly fields: ReadonlyArray<Field<B>>
  /** The header line of CSV, without line end. */
  readonly csvHeader: string
  readonly csv: (batch: B, i: number) => string
  readonly json: (batch: B, i: number) => string
}

const writer = <B>(
  csvFields: ReadonlyArray<Field<B>>,
  json: (batch: B, i: number) => string
): RowWriter<B> => ({
  fields: csvFields,
  csvHeader: csvFields.map(({ name }) => name).join(","),
  csv: (batch, i) => {
    let line = ""
    for (let f = 0; f < csvFields.length; f++) {
      const { form, text } = csvFields[f]!
      const value = text(batch, i)
      line += `${f === 0 ? "" : ","}${form === "text" ? csvText(value) : value}`
    }
    return line
  },
  json
})

const plainWriter = <B>(fields: ReadonlyArray<Field<B>>): RowWriter<B> => {
  const members = jsonMembers(fields)
  return writer(fields, (batch, i) => `{${members(batch, i)}}`)
}

/** A writer for the rows of a kind; it may be used for any number of batches, one after another. */
export const rowWriter = <K extends keyof BatchByKind>(kind: K): RowWriter<BatchByKind[K]> => {
  const iso = isoFormatter()
  const writers: { readonly [N in keyof BatchByKind]: () => RowWriter<BatchByKind[N]> } = {
    trades: () => plainWriter(tradeFields(iso)),
    quotes: () => plainWriter(quoteFields(iso)),
    bars: () => plainWriter(barFields(iso)),
    book: () => {
      const members = jsonMembers(bookUpdate(iso))
      return writer(
        [...bookUpdate(iso), ...levelFields],
        (b, i) => `{${members(b, i)},"bids":${levelsJson(b, "bid", i)},"asks":${levelsJson(b, "ask", i)}}`
      )
    }
  }
  return writers[kind]()
}
