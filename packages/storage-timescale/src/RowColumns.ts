/**
 * Columns that grow while rows are decoded into them, and are used again for the next read. What leaves is a copy, so a
 * batch holds exactly its own rows.
 */
import { ABSENT_I64, BatchLayout, Decimal, type Instrument } from "@data-manager/core"
import { CopyFormatError, type RowDecoder } from "./CopyDecoder.ts"
import type { OrderableRows } from "./RowOrder.ts"

/** What a row needs to know about its instrument. */
export interface ReadInstrument {
  readonly instrument: Instrument
  /** Exponents of mantissas at the instrument's scales. */
  readonly priceExponent: number
  readonly sizeExponent: number
  /** Number of its dataset among those of the read. */
  readonly dataset: number
}

/** The instruments of one read, by id. Rows of one instrument often follow each other, so the last one is remembered. */
export class ReadInstruments {
  readonly all: ReadonlyMap<number, ReadInstrument>
  #lastId = -1
  #last: ReadInstrument | undefined

  constructor(all: ReadonlyMap<number, ReadInstrument>) {
    this.all = all
  }

  /** The instrument of a row. Throws where the read never asked for it. */
  of(id: number): ReadInstrument {
    if (id === this.#lastId) return this.#last!
    const found = this.all.get(id)
    if (found === undefined) throw new CopyFormatError(`a row of instrument #${id}, which was not asked for`)
    this.#lastId = id
    this.#last = found
    return found
  }
}

/** Rows that were decoded, whatever their kind. */
export interface ReadableRows extends RowDecoder, OrderableRows {
  limit: number
  readonly columns: { readonly instrument: Uint32Array }
  readonly texts: ReadonlyArray<string> | undefined
  readonly instruments: ReadInstruments
  readonly clear: () => void
  /** Values of the selection's tie expressions of a row, as SQL. */
  readonly position: (row: number) => string
}

/** A stored value that the columns of a batch cannot hold exactly. It is never rounded. */
export class Unrepresentable extends Error {
  override readonly name = "Unrepresentable"
}

/** More rows came than a read may hold in memory; the reader then takes shorter stretches of time. */
export class RowOverflow extends Error {
  override readonly name = "RowOverflow"
}

/** Column memory of one kind of row. Subclasses decode. */
export abstract class RowColumns<const L extends BatchLayout.BatchLayout>
  implements RowDecoder, OrderableRows
{
  abstract readonly fields: number
  readonly layout: L
  readonly instruments: ReadInstruments
  length = 0
  /** Largest number of rows; one more throws `RowOverflow`. */
  limit = Number.POSITIVE_INFINITY
  columns: BatchLayout.Columns<L>
  words: BatchLayout.ColumnWords<L>
  /** Text ids by row, where the read asks for them. */
  texts: Array<string> | undefined
  #capacity: number

  constructor(layout: L, instruments: ReadInstruments, capacity: number) {
    const set = BatchLayout.allocate(layout, capacity)
    this.layout = layout
    this.instruments = instruments
    this.columns = set.columns
    this.words = set.words
    this.#capacity = set.capacity
  }

  /** The time of the rows, as words. */
  abstract get time(): Int32Array

  /** Order of two rows of one time. */
  abstract ties(a: number, b: number): number

  abstract position(row: number): string

  abstract decode(bytes: DataView, at: number): void

  /** Forgets the rows and keeps the memory. */
  clear(): void {
    this.length = 0
    if (this.texts !== undefined) this.texts = []
  }

  /** Number of the next row; there is memory for it. */
  protected nextRow(): number {
    if (this.length >= this.limit) throw new RowOverflow(`more than ${this.limit} rows in one read`)
    if (this.length === this.#capacity) this.#grow()
    return this.length
  }

  #grow(): void {
    const set = BatchLayout.allocate(this.layout, this.#capacity * 2)
    for (const name of Object.keys(this.layout))
      (set.columns[name as keyof L] as Int8Array).set(this.columns[name as keyof L] as Int8Array)
    this.columns = set.columns
    this.words = set.words
    this.#capacity = set.capacity
  }

  /** Rows `[from, to)` of the given order (as they came where it is undefined), in memory of their own. */
  copy(
    order: Uint32Array | undefined,
    from: number,
    to: number
  ): Pick<BatchLayout.ColumnSet<L>, "columns" | "words"> {
    const set = BatchLayout.allocate(this.layout, to - from)
    for (const name of Object.keys(this.layout)) {
      const { type, lanes } = this.layout[name as keyof L] as BatchLayout.ColumnSpec
      const source = this.columns[name as keyof L]
      const target = set.columns[name as keyof L]
      if (order === undefined)
        (target as Int8Array).set((source as Int8Array).subarray(from * lanes, to * lanes))
      else gather[bytesOf[type]](order, from, to, source, target, lanes)
    }
    return BatchLayout.window(this.layout, set, 0, to - from)
  }
}

const bytesOf = { i64: 8, u64: 8, i32: 4, u32: 4, u16: 2, i8: 1, u8: 1 } as const

/**
 * Rows of a column in another order. One function per width, each always over the same class of array: a loop that sees
 * several classes is ten times slower. A 64-bit value is two 32-bit words.
 */
type Gather = (
  order: Uint32Array,
  from: number,
  to: number,
  source: ArrayBufferView,
  target: ArrayBufferView,
  lanes: number
) => void

const words = (view: ArrayBufferView): Int32Array =>
  new Int32Array(view.buffer, view.byteOffset, view.byteLength / 4)

const gather64: Gather = (order, from, to, source, target, lanes) => {
  const [read, write] = [words(source), words(target)]
  let at = 0
  for (let i = from; i < to; i++) {
    const end = 2 * lanes * (order[i]! + 1)
    for (let word = end - 2 * lanes; word < end; word += 2) {
      write[at] = read[word]!
      write[at + 1] = read[word + 1]!
      at += 2
    }
  }
}

const gather32: Gather = (order, from, to, source, target, lanes) => {
  const [read, write] = [words(source), words(target)]
  let at = 0
  for (let i = from; i < to; i++) {
    const end = lanes * (order[i]! + 1)
    for (let word = end - lanes; word < end; word++) write[at++] = read[word]!
  }
}

const gather16: Gather = (order, from, to, source, target, lanes) => {
  const read = new Uint16Array(source.buffer, source.byteOffset, source.byteLength / 2)
  const write = new Uint16Array(target.buffer, target.byteOffset, target.byteLength / 2)
  let at = 0
  for (let i = from; i < to; i++) {
    const end = lanes * (order[i]! + 1)
    for (let value = end - lanes; value < end; value++) write[at++] = read[value]!
  }
}

const gather8: Gather = (order, from, to, source, target, lanes) => {
  const read = new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
  const write = new Uint8Array(target.buffer, target.byteOffset, target.byteLength)
  let at = 0
  for (let i = from; i < to; i++) {
    const end = lanes * (order[i]! + 1)
    for (let value = end - lanes; value < end; value++) write[at++] = read[value]!
  }
}

const gather = { 8: gather64, 4: gather32, 2: gather16, 1: gather8 } as const

/** One 64-bit value of a row, in a column. */
export interface Cell {
  readonly words: Int32Array
  readonly at: number
  /** The value where the scale could not hold it. */
  readonly exact: Decimal.Decimal | undefined
}

const MinI64 = -(2n ** 63n)

const mantissaOf = (cell: Cell): bigint =>
  (BigInt(cell.words[2 * cell.at + 1]!) << 32n) | BigInt(cell.words[2 * cell.at]! >>> 0)

/**
 * Puts values from a `*_exact` table beside those of the ordinary column, all at one exponent, and gives that exponent.
 * The row came from a batch in which they shared one, so it exists; anything else is an error, never rounded.
 */
export const alignExact = (exponent: number, cells: ReadonlyArray<Cell>): number => {
  if (cells.every((cell) => cell.exact === undefined)) return exponent
  const values = cells.map((cell) => {
    if (cell.exact !== undefined) return cell.exact
    const mantissa = mantissaOf(cell)
    return mantissa === ABSENT_I64 ? undefined : Decimal.normalize({ mantissa, exponent })
  })
  const common = values.reduce(
    (least, value) =>
      value === undefined || value.mantissa === 0n ? least : Math.min(least, value.exponent),
    127
  )
  cells.forEach((cell, i) => {
    const value = values[i]
    if (value !== undefined) storeInt64(scaleUp(value, common), cell.words, cell.at)
  })
  if (common < -128) throw new Unrepresentable("a value has more than 128 decimal places")
  return common
}

const scaleUp = (value: Decimal.Decimal, exponent: number): bigint => {
  if (value.mantissa === 0n) return 0n
  if (value.exponent - exponent > 40) throw tooWide()
  const mantissa = value.mantissa * Decimal.pow10(value.exponent - exponent)
  if (mantissa >= ABSENT_I64 || mantissa < MinI64) throw tooWide()
  return mantissa
}

const tooWide = (): Unrepresentable =>
  new Unrepresentable("prices or sizes of one row are too far apart to share an exponent in 64 bits")

/** Writes an i64 as value `i` of a column. */
export const storeInt64 = (value: bigint, words: Int32Array, i: number): void => {
  words[2 * i] = Number(value & 0xffffffffn) | 0
  words[2 * i + 1] = Number(value >> 32n)
}
