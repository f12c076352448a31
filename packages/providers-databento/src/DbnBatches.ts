/**
 * Blocks of DBN records as batches: one builder per row kind, filled in stream order, handed out when full. Batches depend
 * on the records alone, not on how the input was cut into blocks.
 */
import {
  type BarBatch,
  type BatchContext,
  type BookBatch,
  barBuilder,
  bookBuilder,
  DefaultBatchRows,
  type MarketBatch,
  MarketSchema,
  type QuoteBatch,
  quoteBuilder,
  type TradeBatch,
  TradeKey,
  tradeBuilder
} from "@data-manager/core"
import { gatherBars, gatherBooks, gatherQuotes, gatherTrades, type QuoteShape } from "./DbnGather.ts"
import type { RecordBlock } from "./dbn/RecordBlock.ts"
import { Rtype, rtypeName } from "./dbn/Rtype.ts"

/** What `DbnBatches` needs. */
export interface DbnBatchOptions {
  readonly context: BatchContext
  /** Rows per batch of trades and quotes (default 65,536); books and bars take an eighth of it. */
  readonly batchRows?: number | undefined
  /**
   * Schema of records of rtype 1 where metadata does not tell: live streams of tbbo and mbp-1 look alike. Default `mbp-1`.
   */
  readonly mbp1Schema?: "mbp-1" | "tbbo" | undefined
  /** Sees every record that is not gathered: definitions, mappings, errors, order by order data, unknown types. */
  readonly onOther?: ((block: RecordBlock, position: number) => void) | undefined
}

type Gather = (block: RecordBlock, from: number) => number

const shape = (
  name: MarketSchema.MarketSchema,
  clock: QuoteShape["clock"],
  fields: ReadonlyArray<"action" | "depth" | "delta" | "sequence" | "consolidated">
): QuoteShape => ({
  schema: MarketSchema.code(name),
  name,
  clock,
  hasAction: fields.includes("action"),
  hasDepth: fields.includes("depth"),
  hasDelta: fields.includes("delta"),
  hasSequence: fields.includes("sequence"),
  isConsolidated: fields.includes("consolidated")
})

const quoteShapes: ReadonlyMap<number, QuoteShape> = new Map([
  [Rtype.mbp1, shape("mbp-1", "ts_event", ["action", "depth", "delta", "sequence"])],
  [Rtype.cmbp1, shape("cmbp-1", "ts_event", ["action", "delta", "consolidated"])],
  [Rtype.tcbbo, shape("tcbbo", "ts_event", ["action", "delta", "consolidated"])],
  [Rtype.bbo1s, shape("bbo-1s", "ts_recv", ["sequence"])],
  [Rtype.bbo1m, shape("bbo-1m", "ts_recv", ["sequence"])],
  [Rtype.cbbo1s, shape("cbbo-1s", "ts_recv", ["consolidated"])],
  [Rtype.cbbo1m, shape("cbbo-1m", "ts_recv", ["consolidated"])]
])
const tbboShape = shape("tbbo", "ts_event", ["action", "depth", "delta", "sequence"])

const barSeconds: ReadonlyMap<number, number> = new Map([
  [Rtype.ohlcv1s, 1],
  [Rtype.ohlcv1m, 60],
  [Rtype.ohlcv1h, 3600],
  [Rtype.ohlcv1d, 86400],
  [Rtype.ohlcvEod, 0]
])

/** Turns blocks of one dataset into batches. Single use: one decoder, one instance. */
export class DbnBatches {
  readonly #options: DbnBatchOptions
  readonly #rows: number
  // Made when the first record of their kind comes: most streams hold one kind.
  #trades: ReturnType<typeof tradeBuilder> | undefined
  #quotes: ReturnType<typeof quoteBuilder> | undefined
  #books: ReturnType<typeof bookBuilder> | undefined
  #bars: ReturnType<typeof barBuilder> | undefined
  readonly #gather: Array<Gather | undefined> = new Array(256)
  /** Keys count per schema: each has ordinals of its own. */
  readonly #ordinals = new Map<string, TradeKey.OrdinalCounter>()
  readonly #leftOut = new Map<string, number>()
  #segment = -1
  /** Records seen, stored or not. */
  records = 0

  constructor(options: DbnBatchOptions) {
    this.#options = options
    this.#rows = options.batchRows ?? DefaultBatchRows
  }

  /**
   * Records that gave no row, by cause: the name of a type that has no table, or what a record lacks ("trades with action
   * C", "mbp-1 without ts_event").
   */
  get notStored(): ReadonlyMap<string, number> {
    return this.#leftOut
  }

  /**
   * Gathers a block. `emit` gets every batch that becomes full, in order; the instrument columns hold the vendor's ids.
   * Throws `TradeKeyError` where a key cannot be made (publisher beyond 15 bits, 65,537 equal rows).
   */
  add(block: RecordBlock, emit: (batch: MarketBatch) => void): void {
    if (block.segment !== this.#segment) this.#enter(block)
    const { words, end } = block
    let p = block.start
    while (p < end) {
      const rtype = (words[p]! >>> 8) & 0xff
      const gather = this.#gather[rtype]
      if (gather === undefined) {
        this.#other(block, p, rtype)
        p += words[p]! & 0xff
        continue
      }
      p = gather(block, p)
      this.#emitFull(emit)
    }
    this.records += block.length
  }

  /** Hands out what is gathered so far, full or not: at the end of input, or of what a live socket had. */
  flush(emit: (batch: MarketBatch) => void): void {
    for (const builder of [this.#trades, this.#quotes, this.#books, this.#bars])
      if (builder !== undefined && builder.length > 0) emit(builder.flush())
  }

  #emitFull(emit: (batch: MarketBatch) => void): void {
    if (this.#trades?.isFull === true) emit(this.#trades.flush())
    if (this.#quotes?.isFull === true) emit(this.#quotes.flush())
    if (this.#books?.isFull === true) emit(this.#books.flush())
    if (this.#bars?.isFull === true) emit(this.#bars.flush())
  }

  #count = (cause: string, records: number): void => {
    this.#leftOut.set(cause, (this.#leftOut.get(cause) ?? 0) + records)
  }

  #other(block: RecordBlock, position: number, rtype: number): void {
    this.#count(rtypeName(rtype), 1)
    this.#options.onOther?.(block, position)
  }

  #ordinalsOf(schema: string): TradeKey.OrdinalCounter {
    const known = this.#ordinals.get(schema) ?? new TradeKey.OrdinalCounter()
    this.#ordinals.set(schema, known)
    return known
  }

  /** Chooses the gatherer of each record type: some depend on the schema that the header names. */
  #enter(block: RecordBlock): void {
    this.#segment = block.segment
    const schema = block.metadata?.schema ?? undefined
    const trades = this.#ordinalsOf("trades")
    const { context } = this.#options
    this.#gather[Rtype.trade] = (block, from) => {
      this.#trades ??= tradeBuilder(context, this.#rows)
      return gatherTrades(block, from, this.#trades, trades, this.#count)
    }
    const books = this.#ordinalsOf("mbp-10")
    const bookSchema = MarketSchema.code("mbp-10")
    this.#gather[Rtype.mbp10] = (block, from) => {
      this.#books ??= bookBuilder(context, Math.ceil(this.#rows / 8))
      return gatherBooks(block, from, this.#books, books, this.#count, bookSchema)
    }
    for (const [rtype, known] of quoteShapes) {
      const isTbbo = rtype === Rtype.mbp1 && (schema ?? this.#options.mbp1Schema) === "tbbo"
      this.#gather[rtype] = this.#quoteGather(isTbbo ? tbboShape : known)
    }
    for (const [rtype, seconds] of barSeconds) this.#gather[rtype] = this.#barGather(seconds)
    // Bars of DBZ files all have one type; the header tells their length.
    const isBars = schema !== undefined && MarketSchema.is(schema) && MarketSchema.kind(schema) === "bars"
    this.#gather[Rtype.ohlcvDeprecated] = isBars
      ? this.#barGather(MarketSchema.seconds(schema as MarketSchema.MarketSchema))
      : undefined
  }

  #quoteGather(quote: QuoteShape): Gather {
    const ordinals = this.#ordinalsOf(quote.name)
    return (block, from) => {
      this.#quotes ??= quoteBuilder(this.#options.context, this.#rows)
      return gatherQuotes(block, from, this.#quotes, ordinals, this.#count, quote)
    }
  }

  #barGather(seconds: number): Gather {
    return (block, from) => {
      this.#bars ??= barBuilder(this.#options.context, Math.ceil(this.#rows / 8))
      return gatherBars(block, from, this.#bars, this.#count, seconds)
    }
  }
}

/** The batch kinds that `DbnBatches` gives. */
export type DbnBatch = TradeBatch | QuoteBatch | BookBatch | BarBatch
