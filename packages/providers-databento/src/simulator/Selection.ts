/** Rows of a table that a request asks for: instruments on their days, a range of index time, a limit. */
import { NANOS_PER_DAY } from "../dbn/IsoDate.ts"
import type { RecordBlock } from "../dbn/RecordBlock.ts"
import type { SimulatedDataset } from "./Catalogue.ts"
import type { RecordTable } from "./RecordTable.ts"
import { ALL_SYMBOLS, type DayInterval } from "./SymbolDirectory.ts"

/** Which instruments count, and when. Grows by `add` and `addAll`. */
export class InstrumentFilter {
  /** Every instrument, always. */
  isAll = false
  readonly #windows = new Map<number, Array<readonly [from: bigint, to: bigint]>>()

  /** An instrument on the days of an interval. */
  add(interval: DayInterval<number>): void {
    const window = [BigInt(interval.start) * NANOS_PER_DAY, BigInt(interval.end) * NANOS_PER_DAY] as const
    const list = this.#windows.get(interval.value)
    if (list === undefined) this.#windows.set(interval.value, [window])
    else list.push(window)
  }

  accepts(id: number, time: bigint): boolean {
    if (this.isAll) return true
    const windows = this.#windows.get(id)
    return windows?.some(([from, to]) => from <= time && time < to) ?? false
  }
}

/** The filter of a request's symbols on the days `[start, end)`. */
export const filterOf = (
  dataset: SimulatedDataset,
  symbols: ReadonlyArray<string>,
  stypeIn: string,
  start: number,
  end: number
): InstrumentFilter => {
  const filter = new InstrumentFilter()
  filter.isAll = symbols.length === 1 && symbols[0] === ALL_SYMBOLS
  if (!filter.isAll)
    for (const symbol of symbols)
      for (const interval of dataset.symbols.instruments(stypeIn, symbol, start, end)) filter.add(interval)
  return filter
}

const COPY_BYTES = 1 << 18

/** Selected rows of a table, in its order. */
export class Selection {
  readonly table: RecordTable
  readonly #from: number
  /** Undefined where the rows are all those from `#from` on. */
  readonly #rows: Uint32Array | undefined
  /** Number of rows. */
  readonly length: number

  private constructor(table: RecordTable, from: number, length: number, rows?: Uint32Array) {
    this.table = table
    this.#from = from
    this.#rows = rows
    this.length = length
  }

  /** Rows with index time in `[start, end)` that the filter accepts, at most `limit`. */
  static of(
    table: RecordTable,
    filter: InstrumentFilter,
    start: bigint,
    end: bigint,
    limit = Number.POSITIVE_INFINITY
  ): Selection {
    const from = table.firstAt(start)
    const to = Math.max(from, table.firstAt(end))
    if (filter.isAll) return new Selection(table, from, Math.min(limit, to - from))
    const rows = new Uint32Array(to - from)
    let length = 0
    for (let row = from; row < to && length < limit; row++)
      if (filter.accepts(table.ids[row]!, table.times[row]!)) rows[length++] = row
    return new Selection(table, from, length, rows.slice(0, length))
  }

  /** Row of the table at a position of the selection. */
  row(position: number): number {
    return this.#rows?.[position] ?? this.#from + position
  }

  /** Bytes of the selected records. */
  get byteLength(): number {
    const { offsets } = this.table
    if (this.#rows === undefined) return offsets[this.#from + this.length]! - offsets[this.#from]!
    let total = 0
    for (const row of this.#rows) total += offsets[row + 1]! - offsets[row]!
    return total
  }

  /** Positions `[from, to)` in pieces of about 256 KiB: blocks of records that share memory with the table. */
  *blocks(from = 0, to = this.length): Generator<RecordBlock, void, undefined> {
    let at = from
    while (at < to) {
      // A run of neighbouring rows is one block.
      const first = this.row(at)
      let last = first
      let next = at + 1
      const limit = this.table.offsets[first]! + COPY_BYTES
      while (next < to && this.row(next) === last + 1 && this.table.offsets[last + 2]! <= limit) {
        last++
        next++
      }
      yield this.table.block(first, last + 1)
      at = next
    }
  }

  /** The records of positions `[from, to)` in chunks of their own memory, or shared with the table where neighbours. */
  *chunks(from = 0, to = this.length): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
    if (this.#rows === undefined) {
      for (const block of this.blocks(from, to))
        yield this.table.bytes.subarray(block.start * 4, block.end * 4)
      return
    }
    const { bytes, offsets } = this.table
    let chunk = new Uint8Array(COPY_BYTES)
    let length = 0
    for (let at = from; at < to; at++) {
      const row = this.#rows[at]!
      const size = offsets[row + 1]! - offsets[row]!
      if (length + size > chunk.length) {
        yield chunk.subarray(0, length)
        chunk = new Uint8Array(COPY_BYTES)
        length = 0
      }
      chunk.set(bytes.subarray(offsets[row]!, offsets[row + 1]!), length)
      length += size
    }
    if (length > 0) yield chunk.subarray(0, length)
  }
}
