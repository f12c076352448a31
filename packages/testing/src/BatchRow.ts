/**
 * Rows of batches as plain values that can be compared: equal rows have equal text, whatever exponents their decimals
 * were written with. For tests: it makes several objects per row.
 */
import {
  ABSENT_I64,
  BarBatch,
  BarFromTrades,
  BarLayout,
  BatchLayout,
  BookBatch,
  BookLayout,
  Decimal,
  type MarketBatch,
  MarketSchema,
  QuoteBatch,
  QuoteLayout,
  TradeBatch,
  TradeLayout,
  UnixNanos
} from "@data-manager/core"

/** One row of any kind. */
export interface BatchRow {
  readonly instrument: number
  /** Market schema; for bars made from trades `bars` and their length, as `bars-60`. */
  readonly series: string
  /** The time under which the store keeps the row. */
  readonly time: bigint
  /** First capture, 2^63-1 where absent: absent comes last. */
  readonly tsRecv: bigint
  /** Key beside instrument, series and microsecond; the publisher for bars. */
  readonly key: bigint
  /** Every further column. */
  readonly content: string
  readonly isBar?: boolean | undefined
}

/** What makes a row that row: two rows of one identity cannot both be stored. */
export const identity = (row: BatchRow): string =>
  `${row.instrument} ${row.series} ${UnixNanos.floorMicros(row.time)} ${row.key}`

/** The whole row as a line for people; equal exactly where the rows are. */
export const text = (row: BatchRow): string =>
  `#${row.instrument} ${row.series} ${UnixNanos.toIso(row.time)} recv ${clock(row.tsRecv)} key ${row.key}: ${row.content}`

const clock = (time: bigint): string => (time === ABSENT_I64 ? "-" : UnixNanos.toIso(time))

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0)

/** Read order: (time ns, tsRecv, key, instrument); for bars (start, instrument, publisher). */
export const readOrder = (a: BatchRow, b: BatchRow): number =>
  compare(a.time, b.time) ||
  (a.isBar && b.isBar ? a.instrument - b.instrument : 0) ||
  compare(a.tsRecv, b.tsRecv) ||
  compare(a.key, b.key) ||
  a.instrument - b.instrument

/** The rows of a batch, in its order. */
export const of = (batch: MarketBatch): Array<BatchRow> => {
  switch (batch._tag) {
    case "TradeBatch":
      return each(batch, tradeRow)
    case "QuoteBatch":
      return each(batch, quoteRow)
    case "BarBatch":
      return each(batch, barRow)
    case "BookBatch":
      return each(batch, bookRow)
  }
}

/** The rows of several batches, one after another. */
export const ofAll = (batches: Iterable<MarketBatch>): Array<BatchRow> => [...batches].flatMap(of)

const each = <B extends MarketBatch>(batch: B, row: (batch: B, i: number) => BatchRow): Array<BatchRow> =>
  Array.from({ length: batch.length }, (_, i) => row(batch, i))

const decimal = (value: Decimal.Decimal | undefined): string =>
  value === undefined ? "-" : Decimal.shortText(value.mantissa, value.exponent)

const present = (value: bigint | number | undefined): string => (value === undefined ? "-" : `${value}`)

const tradeRow = (batch: TradeBatch, i: number): BatchRow => {
  const row = batch.row(i)
  return {
    instrument: row.instrument,
    series: "trades",
    time: row.tsEvent,
    tsRecv: batch.columns.tsRecv[i]!,
    key: row.tradeKey,
    content:
      `price ${decimal(row.price)} size ${decimal(row.size)} side ${row.side} publisher ${row.publisher} ` +
      `flags ${row.flags} depth ${row.depth} delta ${present(row.tsInDelta)} id ${row.tradeId}`
  }
}

const quoteRow = (batch: QuoteBatch, i: number): BatchRow => {
  const row = batch.row(i)
  return {
    instrument: row.instrument,
    series: row.schema ?? `schema-${batch.columns.schema[i]}`,
    time: batch.timeAt(i),
    tsRecv: batch.columns.tsRecv[i]!,
    key: row.quoteKey,
    content:
      `event ${clock(batch.columns.tsEvent[i]!)} ` +
      `bid ${decimal(row.bidSize)}@${decimal(row.bidPrice)} (${present(row.bidCount)}, ${present(row.bidPublisher)}) ` +
      `ask ${decimal(row.askSize)}@${decimal(row.askPrice)} (${present(row.askCount)}, ${present(row.askPublisher)}) ` +
      update(row)
  }
}

const update = (row: {
  readonly price: Decimal.Decimal | undefined
  readonly size: Decimal.Decimal | undefined
  readonly side: string
  readonly action: string
  readonly publisher: number
  readonly flags: number
  readonly depth: number
  readonly tsInDelta: number | undefined
}): string =>
  `update ${decimal(row.size)}@${decimal(row.price)} side ${row.side} action '${row.action}' ` +
  `publisher ${row.publisher} flags ${row.flags} depth ${row.depth} delta ${present(row.tsInDelta)}`

const barSeries = new Map(
  MarketSchema.all
    .filter((schema) => MarketSchema.kind(schema) === "bars")
    .map((schema) => [MarketSchema.seconds(schema), schema as string])
)

const barRow = (batch: BarBatch, i: number): BatchRow => {
  const row = batch.row(i)
  const fromTrades = batch.columns.source[i] === BarFromTrades
  return {
    instrument: row.instrument,
    series: fromTrades
      ? `bars-${row.seconds}`
      : (barSeries.get(row.seconds) ?? `provider-bars-${row.seconds}`),
    time: row.start,
    tsRecv: ABSENT_I64,
    key: BigInt(row.publisher),
    content: barContent(row),
    isBar: true
  }
}

/** Content of a bar row: prices, volume and number of trades. */
export const barContent = (bar: {
  readonly open: Decimal.Decimal | undefined
  readonly high: Decimal.Decimal | undefined
  readonly low: Decimal.Decimal | undefined
  readonly close: Decimal.Decimal | undefined
  readonly volume: Decimal.Decimal
  readonly tradeCount: bigint | undefined
}): string =>
  `open ${decimal(bar.open)} high ${decimal(bar.high)} low ${decimal(bar.low)} close ${decimal(bar.close)} ` +
  `volume ${decimal(bar.volume)} trades ${present(bar.tradeCount)}`

const bookRow = (batch: BookBatch, i: number): BatchRow => {
  const row = batch.row(i)
  const time =
    row.schema !== undefined && MarketSchema.clock(row.schema) === "ts_recv"
      ? batch.columns.tsRecv[i]!
      : batch.columns.tsEvent[i]!
  const levels = (side: typeof row.bids) =>
    side.map((level) => `${decimal(level.size)}@${decimal(level.price)} (${present(level.count)})`).join(", ")
  return {
    instrument: row.instrument,
    series: row.schema ?? `schema-${batch.columns.schema[i]}`,
    time,
    tsRecv: batch.columns.tsRecv[i]!,
    key: row.bookKey,
    content: `event ${clock(batch.columns.tsEvent[i]!)} bids ${levels(row.bids)} asks ${levels(row.asks)} ${update(row)}`
  }
}

/** A new batch of these rows of a batch, in the order given; rows may repeat. */
export const select = <B extends MarketBatch>(batch: B, rows: ReadonlyArray<number>): B =>
  selectAny(batch, rows) as B

const selectAny = (batch: MarketBatch, rows: ReadonlyArray<number>): MarketBatch => {
  switch (batch._tag) {
    case "TradeBatch":
      return new TradeBatch(
        batch.context,
        gather(TradeLayout, batch, rows),
        rows.length,
        batch.textIds === undefined ? undefined : rows.map((i) => batch.textIds![i]!)
      )
    case "QuoteBatch":
      return new QuoteBatch(batch.context, gather(QuoteLayout, batch, rows), rows.length)
    case "BarBatch":
      return new BarBatch(batch.context, gather(BarLayout, batch, rows), rows.length)
    case "BookBatch":
      return new BookBatch(batch.context, gather(BookLayout, batch, rows), rows.length)
  }
}

const gather = <const L extends BatchLayout.BatchLayout>(
  layout: L,
  batch: { readonly columns: BatchLayout.Columns<L> },
  rows: ReadonlyArray<number>
): Pick<BatchLayout.ColumnSet<L>, "columns" | "words"> => {
  const target = BatchLayout.allocate(layout, rows.length)
  for (const [name, spec] of Object.entries<BatchLayout.ColumnSpec>(layout)) {
    const from = batch.columns[name as keyof L] as Int32Array
    const to = target.columns[name as keyof L] as Int32Array
    rows.forEach((row, i) => {
      for (let lane = 0; lane < spec.lanes; lane++) to[i * spec.lanes + lane] = from[row * spec.lanes + lane]!
    })
  }
  return BatchLayout.window(layout, target, 0, rows.length)
}
