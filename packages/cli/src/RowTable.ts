/** Rows of batches as tables for people; every digit and nanosecond is kept. */
import {
  type Bar,
  type BarBatch,
  type Book,
  type BookBatch,
  Decimal,
  MarketSchema,
  type Quote,
  type QuoteBatch,
  type Trade,
  type TradeBatch
} from "@data-manager/core"
import type { Candle } from "./Chart.ts"
import { grouped } from "./NumberText.ts"
import type { Paint } from "./Paint.ts"
import { table } from "./Table.ts"
import { short } from "./TimeText.ts"

const decimal = (value: Decimal.Decimal | undefined): string =>
  value === undefined ? "" : grouped(Decimal.shortText(value.mantissa, value.exponent))

const rowsOf = <R>(batches: ReadonlyArray<{ readonly rows: () => Iterable<R> }>): ReadonlyArray<R> =>
  batches.flatMap((batch) => [...batch.rows()])

/** Trades below each other. */
export const tradeTable = (batches: ReadonlyArray<TradeBatch>, paint: Paint): ReadonlyArray<string> => {
  const trades: ReadonlyArray<Trade> = rowsOf(batches)
  const side = (cell: string, row: number): string =>
    trades[row]?.side === "buy" ? paint.green(cell) : trades[row]?.side === "sell" ? paint.red(cell) : cell
  return table(
    [
      { header: "ts_event" },
      { header: "price", align: "decimal", paint: side },
      { header: "size", align: "decimal" },
      { header: "side", paint: side },
      { header: "exchange" },
      { header: "trade_id", align: "right" }
    ],
    trades.map((t) => [
      short(t.tsEvent),
      decimal(t.price),
      decimal(t.size),
      t.side,
      t.exchange ?? "",
      t.tradeId
    ]),
    paint
  )
}

const isSampled = (schema: MarketSchema.MarketSchema | undefined): boolean =>
  schema !== undefined && MarketSchema.clock(schema) === "ts_recv"

const timeOf = (row: Quote | Book): string => {
  const time = isSampled(row.schema) ? row.tsRecv : row.tsEvent
  return time === undefined ? "" : short(time)
}

/** Quotes below each other; bid on the left, ask on the right. */
export const quoteTable = (batches: ReadonlyArray<QuoteBatch>, paint: Paint): ReadonlyArray<string> => {
  const quotes: ReadonlyArray<Quote> = rowsOf(batches)
  return table(
    [
      { header: isSampled(quotes[0]?.schema) ? "ts_recv" : "ts_event" },
      { header: "schema" },
      { header: "bid_size", align: "decimal" },
      { header: "bid", align: "decimal", paint: paint.green },
      { header: "ask", align: "decimal", paint: paint.red },
      { header: "ask_size", align: "decimal" },
      { header: "action" },
      { header: "price", align: "decimal" },
      { header: "size", align: "decimal" },
      { header: "side" }
    ],
    quotes.map((q) => [
      timeOf(q),
      q.schema ?? "",
      decimal(q.bidSize),
      decimal(q.bidPrice),
      decimal(q.askPrice),
      decimal(q.askSize),
      q.action,
      decimal(q.price),
      decimal(q.size),
      q.side
    ]),
    paint
  )
}

/** Bars below each other. */
export const barTable = (batches: ReadonlyArray<BarBatch>, paint: Paint): ReadonlyArray<string> => {
  const bars: ReadonlyArray<Bar> = rowsOf(batches)
  const direction = (cell: string, row: number): string => {
    const { open, close } = bars[row] ?? {}
    if (open === undefined || close === undefined) return cell
    return Decimal.compare(close, open) < 0 ? paint.red(cell) : paint.green(cell)
  }
  const session = bars.some(({ seconds }) => seconds === 0)
  return table(
    [
      { header: session ? "session" : "bucket" },
      { header: "open", align: "decimal" },
      { header: "high", align: "decimal" },
      { header: "low", align: "decimal" },
      { header: "close", align: "decimal", paint: direction },
      { header: "volume", align: "decimal" },
      { header: "trades", align: "right" }
    ],
    bars.map((b) => [
      short(b.start),
      decimal(b.open),
      decimal(b.high),
      decimal(b.low),
      decimal(b.close),
      decimal(b.volume),
      b.tradeCount === undefined ? "" : grouped(b.tradeCount)
    ]),
    paint
  )
}

const number = (value: Decimal.Decimal | undefined): number =>
  value === undefined ? Number.NaN : Decimal.toNumber(value)

/** Bars as candles for a chart; times of the day as labels, dates where bars are of a day, a session or longer. */
export const candlesOf = (batches: ReadonlyArray<BarBatch>): ReadonlyArray<Candle> =>
  (rowsOf(batches) as ReadonlyArray<Bar>).map((b) => {
    const time = short(b.start)
    return {
      open: number(b.open),
      high: number(b.high),
      low: number(b.low),
      close: number(b.close),
      volume: number(b.volume),
      label:
        b.seconds >= 86_400 || b.seconds === 0
          ? time.slice(5, 10)
          : (time.split(" ")[1] ?? "00:00").slice(0, 5)
    }
  })

/** Fraction digits of the prices, so that an axis is as exact as the bars are. */
export const priceDigits = (batches: ReadonlyArray<BarBatch>): number =>
  Math.max(
    0,
    ...(rowsOf(batches) as ReadonlyArray<Bar>).flatMap(({ high, low }) =>
      [high, low].map((price) => (price === undefined ? 0 : Decimal.scaleOf(price)))
    )
  )

/** Each book as a ladder: bids on the left, asks on the right, best on top. */
export const bookTables = (batches: ReadonlyArray<BookBatch>, paint: Paint): ReadonlyArray<string> =>
  (rowsOf(batches) as ReadonlyArray<Book>).flatMap((book, index) => {
    const levels = book.bids
      .map((bid, level) => ({ bid, ask: book.asks[level]!, level }))
      .filter(({ bid, ask }) => bid.price !== undefined || ask.price !== undefined)
    const what = [book.action, book.side, decimal(book.size), decimal(book.price)].filter(
      (text) => text !== ""
    )
    return [
      ...(index === 0 ? [] : [""]),
      `${paint.bold(timeOf(book))}  ${book.schema ?? ""}  ${what.join(" ")}`.trimEnd(),
      ...table(
        [
          { header: "level", align: "right" },
          { header: "bid_count", align: "right" },
          { header: "bid_size", align: "decimal" },
          { header: "bid", align: "decimal", paint: paint.green },
          { header: "ask", align: "decimal", paint: paint.red },
          { header: "ask_size", align: "decimal" },
          { header: "ask_count", align: "right" }
        ],
        levels.map(({ bid, ask, level }) => [
          level.toString(),
          bid.count?.toString() ?? "",
          decimal(bid.size),
          decimal(bid.price),
          decimal(ask.price),
          decimal(ask.size),
          ask.count?.toString() ?? ""
        ]),
        paint
      )
    ]
  })
