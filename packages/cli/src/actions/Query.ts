/** Prints stored rows of one symbol: a table with a picture of bars, or JSON lines. */
import type {
  BarBatch,
  BookBatch,
  Instrument,
  MarketStore,
  QuoteBatch,
  StoreError,
  TradeBatch
} from "@data-manager/core"
import { Effect, Stream } from "effect"
import type { Action } from "../Action.ts"
import { candles } from "../Chart.ts"
import { withStore } from "../Database.ts"
import { grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import type { Paint } from "../Paint.ts"
import * as RowRead from "../RowRead.ts"
import { barTable, bookTables, candlesOf, priceDigits, quoteTable, tradeTable } from "../RowTable.ts"
import { rowWriter } from "../RowText.ts"
import type { Session } from "../Session.ts"
import { askedRange, lookUp } from "../SymbolLookup.ts"
import { short } from "../TimeText.ts"

type Options = RowRead.RowSelection & {
  readonly symbol: string
  readonly start: bigint | undefined
  readonly end: bigint | undefined
  readonly limit: number | undefined
}

type AnyBatch = RowRead.AnyBatch

const defaultLimits = { trades: 20, quotes: 20, bars: 60, book: 5 } as const

/** Rows of a table that are aligned with each other; longer results are several tables. */
const pageRows = 10_000

const limitOf = (options: Options, json: boolean): number => {
  if (options.limit !== undefined) return options.limit === 0 ? Number.POSITIVE_INFINITY : options.limit
  return json && options.start !== undefined ? Number.POSITIVE_INFINITY : defaultLimits[options.kind]
}

const tableOf = (
  kind: Options["kind"],
  batches: ReadonlyArray<AnyBatch>,
  paint: Paint
): ReadonlyArray<string> => {
  switch (kind) {
    case "trades":
      return tradeTable(batches as ReadonlyArray<TradeBatch>, paint)
    case "quotes":
      return quoteTable(batches as ReadonlyArray<QuoteBatch>, paint)
    case "bars":
      return barTable(batches as ReadonlyArray<BarBatch>, paint)
    case "book":
      return bookTables(batches as ReadonlyArray<BookBatch>, paint)
  }
}

const chartOf = (batches: ReadonlyArray<AnyBatch>, session: Session): ReadonlyArray<string> => {
  const bars = batches as ReadonlyArray<BarBatch>
  const digits = priceDigits(bars)
  const format = (price: number): string => grouped(price.toFixed(digits))
  const lines = candles(candlesOf(bars), { columns: session.columns, rows: 12 }, format, session.out)
  return lines.length === 0 ? [] : [...lines, ""]
}

const printJson = (kind: Options["kind"]): ((batch: AnyBatch) => Effect.Effect<void>) => {
  const { json } = rowWriter(kind) as { readonly json: (batch: AnyBatch, i: number) => string }
  return (batch) => {
    let text = ""
    for (let i = 0; i < batch.length; i++) text += `${json(batch, i)}\n`
    return Output.write(text)
  }
}

/** A printer that lays out pages; `finish` prints what is left. */
const tablePrinter = (options: Options, session: Session) => {
  let page: Array<AnyBatch> = []
  let rows = 0
  let pages = 0
  const flush = Effect.suspend(() => {
    if (rows === 0) return Effect.void
    const lines = [
      ...(pages > 0 ? [""] : options.kind === "bars" ? chartOf(page, session) : []),
      ...tableOf(options.kind, page, session.out)
    ]
    page = []
    rows = 0
    pages += 1
    return Output.writeLine(lines.join("\n"))
  })
  return {
    add: (batch: AnyBatch): Effect.Effect<void> =>
      Effect.suspend(() => {
        page.push(batch)
        rows += batch.length
        return rows >= pageRows ? flush : Effect.void
      }),
    finish: flush
  }
}

const nothing = (options: Options, instrument: Instrument, have: RowRead.Held | undefined): string => {
  const what = options.kind === "bars" ? `bars (${RowRead.sourceOf(options)})` : options.kind
  if (have === undefined)
    return `no ${what} of ${instrument.symbol} are held; see dm coverage ${instrument.symbol}`
  return (
    `no ${what} of ${instrument.symbol} in this range; ${grouped(have.rows)} ${have.schema} rows are held from ` +
    `${short(have.first)} to ${short(have.last)}`
  )
}

const printRows = (
  options: Options,
  session: Session,
  instrument: Instrument,
  have: RowRead.Held
): Effect.Effect<number, StoreError, MarketStore> =>
  Effect.gen(function* () {
    const limit = limitOf(options, session.json)
    const page = tablePrinter(options, session)
    const print = session.json ? printJson(options.kind) : page.add
    let rows = 0
    const show = (batch: AnyBatch): Effect.Effect<void> => {
      rows += batch.length
      return batch.length === 0 ? Effect.void : print(batch)
    }
    const ids = [instrument.id]
    if (options.start === undefined && Number.isFinite(limit)) {
      const batches = yield* RowRead.newest(options, have, ids, limit, options.end)
      yield* Effect.forEach(batches, show, { discard: true })
      yield* page.finish
      if (BigInt(rows) < have.rows && !session.json && options.limit === undefined && options.kind !== "bars")
        yield* Output.note(`the newest ${plural(rows, "row")}; --start and --limit show others`)
      return rows
    }
    const range = RowRead.rangeOf(options, have, options.start, options.end)
    if (range.start >= range.end) return 0
    const stream = RowRead.read(
      options,
      have.schema,
      ids,
      range,
      Number.isFinite(limit) ? Math.min(limit + 1, 65_536) : undefined
    )
    if (Number.isFinite(limit)) {
      const { batches, more } = yield* RowRead.firstRows(stream, limit)
      yield* Effect.forEach(batches, show, { discard: true })
      yield* page.finish
      if (more) yield* Output.note(`the first ${plural(rows, "row")} of more; --limit 0 shows all`)
    } else {
      yield* Stream.runForEach(stream, show)
      yield* page.finish
    }
    return rows
  })

export const query = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    yield* RowRead.checkRange(options.start, options.end)
    yield* RowRead.checkSelection(options)
    yield* withStore(
      session,
      Effect.gen(function* () {
        const instrument = yield* lookUp(options.symbol, askedRange(options.start, options.end))
        const have = yield* RowRead.held(options, [instrument.id])
        if (have !== undefined && have.others.length > 0)
          yield* Output.note(`showing ${have.schema}; also held: ${have.others.join(", ")} (--schema)`)
        const rows = have === undefined ? 0 : yield* printRows(options, session, instrument, have)
        if (rows === 0) yield* Output.note(nothing(options, instrument, have))
      })
    )
  })
