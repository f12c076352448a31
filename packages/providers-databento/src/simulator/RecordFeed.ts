/** Records of several tables in the order in which a gateway sends them. */
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import { intervalOf } from "./BarTable.ts"
import type { RecordTable } from "./RecordTable.ts"

/** Whether a row of a table belongs to the feed. */
export type RowFilter = (row: number) => boolean

/** Bars are known, and sent, when their interval is over: behind their index time by this much. */
const sendDelay = (schema: KnownSchema): bigint =>
  schema.startsWith("ohlcv") ? (intervalOf(schema) ?? 0n) : 0n

/** First row of a table that is sent at or after `time`. */
export const firstSentAt = (table: RecordTable, time: bigint): number =>
  table.firstAt(time - sendDelay(table.schema))

/** A position in one table. */
export class FeedCursor {
  readonly table: RecordTable
  /** Records stand for intervals whose end is announced. */
  readonly hasIntervals: boolean
  /** End of the interval whose records were sent last and whose end was not announced yet. */
  openInterval: bigint | undefined
  readonly #accepts: RowFilter | undefined
  readonly #delay: bigint
  readonly #end: number
  #row: number
  /** First row that was neither sent nor lost: rows from here to `#row` are not accepted. */
  #unsent: number

  /** Rows `[from, end)` that `accepts` (absent: all of them). */
  constructor(table: RecordTable, from: number, end: number, accepts?: RowFilter) {
    this.table = table
    this.hasIntervals = intervalOf(table.schema) !== undefined
    this.#accepts = accepts
    this.#delay = sendDelay(table.schema)
    this.#row = from
    this.#unsent = from
    this.#end = end
    this.#seek()
  }

  /** The row that is next; meaningless where `isDone`. */
  get row(): number {
    return this.#row
  }

  get isDone(): boolean {
    return this.#row >= this.#end
  }

  /** Time at which the next row is sent, ns since the epoch. */
  get time(): bigint {
    return this.table.times[this.#row]! + this.#delay
  }

  advance(): void {
    this.#row += 1
    this.#unsent = this.#row
    this.#seek()
  }

  /** The filter accepts more than before: rows from `from` on that were passed over are looked at again. */
  widen(from: number): void {
    this.#row = Math.max(this.#unsent, from)
    this.#seek()
  }

  /** How many rows from the next one on, at most `rows` and `bytes`, can be sent as one stretch; 0 where rows are filtered. */
  stretch(rows: number, bytes: number): number {
    if (this.#accepts !== undefined || this.hasIntervals) return 0
    const { offsets } = this.table
    const from = offsets[this.#row]!
    let count = Math.min(rows, this.#end - this.#row)
    if (offsets[this.#row + count]! - from > bytes) {
      // Records of a table are mostly of one length.
      count = Math.max(1, Math.min(count, Math.floor(bytes / (offsets[this.#row + 1]! - from))))
    }
    return count
  }

  /** Steps over a stretch. */
  skip(rows: number): void {
    this.#row += rows
    this.#unsent = this.#row
  }

  #seek(): void {
    if (this.#accepts === undefined) return
    while (this.#row < this.#end && !this.#accepts(this.#row)) this.#row += 1
  }
}

/** Cursors merged by the time at which their rows are sent; the first added wins a tie. */
export class RecordFeed {
  readonly cursors: Array<FeedCursor> = []

  add(cursor: FeedCursor): void {
    this.cursors.push(cursor)
  }

  /** The cursor whose row is next, undefined where all are done. */
  first(): FeedCursor | undefined {
    let found: FeedCursor | undefined
    for (const cursor of this.cursors)
      if (!cursor.isDone && (found === undefined || cursor.time < found.time)) found = cursor
    return found
  }

  /** Intervals that are over at `time`, except that of the cursor whose records go on. Marks them as announced. */
  closeIntervals(time: bigint | undefined): ReadonlyArray<{ schema: KnownSchema; end: bigint }> {
    const closed: Array<{ schema: KnownSchema; end: bigint }> = []
    for (const cursor of this.cursors) {
      const end = cursor.openInterval
      if (end === undefined || (time !== undefined && end >= time)) continue
      cursor.openInterval = undefined
      closed.push({ schema: cursor.table.schema, end })
    }
    return closed
  }
}
