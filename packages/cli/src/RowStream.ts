/** Rows as lines for people while they come: what is wider than anything before moves the column from there on. */
import { Decimal, type QuoteBatch, type TradeBatch } from "@data-manager/core"
import { grouped } from "./NumberText.ts"
import type { Paint } from "./Paint.ts"
import { cells, printable } from "./Table.ts"
import { short } from "./TimeText.ts"

interface Column {
  readonly header: string
  readonly width: number
  readonly right?: boolean
}

interface Line {
  readonly cells: ReadonlyArray<string>
  readonly side: string
}

const time: Column = { header: "ts_event", width: 29 }
const symbol: Column = { header: "symbol", width: 18 }
const right = (header: string, width: number): Column => ({ header, width, right: true })

const tradeColumns: ReadonlyArray<Column> = [
  time,
  symbol,
  right("price", 12),
  right("size", 10),
  { header: "side", width: 4 },
  { header: "exchange", width: 8 },
  { header: "trade_id", width: 8 }
]

const quoteColumns: ReadonlyArray<Column> = [
  time,
  symbol,
  { header: "schema", width: 6 },
  right("bid_size", 10),
  right("bid", 12),
  right("ask", 12),
  right("ask_size", 10),
  { header: "action", width: 6 }
]

const decimal = (value: Decimal.Decimal | undefined): string =>
  value === undefined ? "" : grouped(Decimal.shortText(value.mantissa, value.exponent))

const tradeLine = (batch: TradeBatch, i: number): Line => {
  const t = batch.row(i)
  return {
    side: t.side,
    cells: [
      short(t.tsEvent),
      t.symbol,
      decimal(t.price),
      decimal(t.size),
      t.side,
      t.exchange ?? "",
      t.tradeId
    ]
  }
}

const quoteLine = (batch: QuoteBatch, i: number): Line => {
  const q = batch.row(i)
  const at = q.tsEvent ?? q.tsRecv
  return {
    side: q.side,
    cells: [
      at === undefined ? "" : short(at),
      q.symbol,
      q.schema ?? "",
      decimal(q.bidSize),
      decimal(q.bidPrice),
      decimal(q.askPrice),
      decimal(q.askSize),
      q.action
    ]
  }
}

/** Lays out rows of one kind; the first call begins with the header. */
export const rowLines = (
  paint: Paint
): ((batch: TradeBatch | QuoteBatch, rows: number) => ReadonlyArray<string>) => {
  let columns: ReadonlyArray<Column> = []
  let widths: Array<number> = []
  const place = (texts: ReadonlyArray<string>, style: (text: string) => string): string =>
    texts
      .map((text, c) => {
        const bare = printable(text)
        widths[c] = Math.max(widths[c]!, cells(bare))
        const blanks = " ".repeat(widths[c]! - cells(bare))
        return columns[c]!.right === true ? blanks + style(bare) : style(bare) + blanks
      })
      .join("  ")
      .trimEnd()
  const styles: { readonly [side: string]: (text: string) => string } = {
    buy: paint.green,
    sell: paint.red
  }
  return (batch, rows) => {
    const lines: Array<string> = []
    if (columns.length === 0) {
      columns = batch._tag === "TradeBatch" ? tradeColumns : quoteColumns
      widths = columns.map(({ width }) => width)
      const names = columns.map(({ header }) => header)
      lines.push(place(names, paint.dim))
    }
    for (let i = 0; i < rows; i++) {
      const line = batch._tag === "TradeBatch" ? tradeLine(batch, i) : quoteLine(batch, i)
      lines.push(place(line.cells, styles[line.side] ?? ((text) => text)))
    }
    return lines
  }
}
