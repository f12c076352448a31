/**
 * Columns over one ArrayBuffer: the memory shape that every batch kind shares.
 *
 *     | column 0: capacity x lanes values | column 1 ... | ...        64-bit columns first, then 32, 16, 8 bits
 *
 * Little-endian, fixed width, naturally aligned: the capacity is a multiple of 8 rows. Every 64-bit column also has a
 * view as 32-bit words (low word at 2i, high word at 2i+1): a loop over words costs about 7 ns a value where BigInt
 * elements cost about 25.
 */

/** Width and signedness of one column. */
export type ColumnType = "i64" | "u64" | "i32" | "u32" | "u16" | "i8" | "u8"

/** One column: its type and how many values a row has in it (10 for the levels of a book). */
export interface ColumnSpec {
  readonly type: ColumnType
  readonly lanes: number
}

/** The columns of a batch kind, in memory order. */
export type BatchLayout = { readonly [name: string]: ColumnSpec }

type ViewOf<T extends ColumnType> = T extends "i64"
  ? BigInt64Array<ArrayBuffer>
  : T extends "u64"
    ? BigUint64Array<ArrayBuffer>
    : T extends "i32"
      ? Int32Array<ArrayBuffer>
      : T extends "u32"
        ? Uint32Array<ArrayBuffer>
        : T extends "u16"
          ? Uint16Array<ArrayBuffer>
          : T extends "i8"
            ? Int8Array<ArrayBuffer>
            : Uint8Array<ArrayBuffer>

/** Typed-array views, one per column. */
export type Columns<L extends BatchLayout> = { readonly [K in keyof L]: ViewOf<L[K]["type"]> }

/** 32-bit word views of the 64-bit columns: low word at 2i, high word at 2i+1. */
export type ColumnWords<L extends BatchLayout> = {
  readonly [K in keyof L as L[K]["type"] extends "i64" | "u64" ? K : never]: Int32Array<ArrayBuffer>
}

/** A column with one value per row. */
export const column = <T extends ColumnType>(type: T): { readonly type: T; readonly lanes: 1 } => ({
  type,
  lanes: 1
})

/** A column with `lanes` values per row, row-major: value `lane` of row `i` stands at `i * lanes + lane`. */
export const lanes = <T extends ColumnType>(
  type: T,
  count: number
): { readonly type: T; readonly lanes: number } => ({
  type,
  lanes: count
})

const bytesOf: Record<ColumnType, number> = { i64: 8, u64: 8, i32: 4, u32: 4, u16: 2, i8: 1, u8: 1 }

/** Bytes that one row takes over all columns. */
export const rowBytes = (layout: BatchLayout): number =>
  Object.values(layout).reduce((sum, spec) => sum + bytesOf[spec.type] * spec.lanes, 0)

const view = (type: ColumnType, buffer: ArrayBuffer, offset: number, length: number) => {
  switch (type) {
    case "i64":
      return new BigInt64Array(buffer, offset, length)
    case "u64":
      return new BigUint64Array(buffer, offset, length)
    case "i32":
      return new Int32Array(buffer, offset, length)
    case "u32":
      return new Uint32Array(buffer, offset, length)
    case "u16":
      return new Uint16Array(buffer, offset, length)
    case "i8":
      return new Int8Array(buffer, offset, length)
    case "u8":
      return new Uint8Array(buffer, offset, length)
  }
}

/** The memory of a batch under construction or built: one buffer and views of it. */
export interface ColumnSet<L extends BatchLayout> {
  readonly buffer: ArrayBuffer
  readonly capacity: number
  /** See `ColumnViews`. */
  readonly room?: number | undefined
  readonly columns: Columns<L>
  readonly words: ColumnWords<L>
}

/** Views of a batch's columns. */
export interface ColumnViews<L extends BatchLayout> extends Pick<ColumnSet<L>, "columns" | "words"> {
  /** The one buffer that holds every column; undefined where that is not known. Asking each column costs more than a row. */
  readonly buffer?: ArrayBuffer | undefined
  /** Rows the buffer has room for, where every column begins at its place in the layout; 0 or undefined: elsewhere. */
  readonly room?: number | undefined
}

/** Columns in their places. Objects that are made from these by copying properties have no `room`: they may differ. */
class LaidOut<L extends BatchLayout> implements ColumnSet<L> {
  readonly buffer: ArrayBuffer
  readonly capacity: number
  readonly columns: Columns<L>
  readonly words: ColumnWords<L>
  readonly #room: number

  constructor(
    buffer: ArrayBuffer,
    capacity: number,
    columns: Columns<L>,
    words: ColumnWords<L>,
    room: number
  ) {
    this.buffer = buffer
    this.capacity = capacity
    this.columns = columns
    this.words = words
    this.#room = room
  }

  get room(): number {
    return this.#room
  }
}

/** A layout worked out once: live data makes a batch of a few rows for every read of a socket. */
interface Plan {
  readonly rowBytes: number
  readonly steps: ReadonlyArray<{
    readonly name: string
    readonly type: ColumnType
    readonly lanes: number
    readonly bytes: number
  }>
  /** Objects with every property in its place, to be cloned: filling one is a fraction of the cost of growing one. */
  readonly columns: Readonly<Record<string, unknown>>
  readonly words: Readonly<Record<string, unknown>>
}

const plans = new WeakMap<BatchLayout, Plan>()

const planOf = (layout: BatchLayout): Plan => {
  const known = plans.get(layout)
  if (known !== undefined) return known
  const steps = Object.entries(layout).map(([name, { type, lanes }]) => ({
    name,
    type,
    lanes,
    bytes: bytesOf[type]
  }))
  const blank = (names: ReadonlyArray<string>) => Object.fromEntries(names.map((name) => [name, none]))
  const plan: Plan = {
    rowBytes: rowBytes(layout),
    steps,
    columns: blank(steps.map(({ name }) => name)),
    words: blank(steps.filter(({ bytes }) => bytes === 8).map(({ name }) => name))
  }
  plans.set(layout, plan)
  return plan
}

const none = new Int32Array(0)

/** Memory is laid out for a multiple of 8 rows, so that every column is aligned. */
const padded = (rows: number): number => Math.max(8, Math.ceil(rows / 8) * 8)

/** Zeroed columns for at least `rows` rows (rounded up to a multiple of 8). */
export const allocate = <const L extends BatchLayout>(layout: L, rows: number): ColumnSet<L> =>
  allocateViews(layout, padded(rows))

/** Zeroed columns whose views hold exactly `rows` rows. */
export const allocateExactly = <const L extends BatchLayout>(layout: L, rows: number): ColumnSet<L> =>
  allocateViews(layout, rows)

const allocateViews = <const L extends BatchLayout>(layout: L, rows: number): ColumnSet<L> => {
  const room = padded(rows)
  return viewsOf(layout, new ArrayBuffer(room * rowBytesOf(layout)), rows, room)
}

/**
 * Columns of exactly `rows` rows that stand one after another in a buffer from its start on, without padding. They are aligned:
 * wide columns come first. Only where the number of rows is a multiple of 8 is that the layout of a batch with that much room.
 */
export const packed = <const L extends BatchLayout>(
  layout: L,
  buffer: ArrayBuffer,
  rows: number
): ColumnSet<L> => viewsOf(layout, buffer, rows, rows)

const rowBytesOf = (layout: BatchLayout): number => planOf(layout).rowBytes

const viewsOf = <const L extends BatchLayout>(
  layout: L,
  buffer: ArrayBuffer,
  rows: number,
  room: number
): ColumnSet<L> => {
  const plan = planOf(layout)
  const columns = { ...plan.columns }
  const words = { ...plan.words }
  let offset = 0
  for (const { name, type, lanes, bytes } of plan.steps) {
    columns[name] = view(type, buffer, offset, rows * lanes)
    if (bytes === 8) words[name] = new Int32Array(buffer, offset, rows * lanes * 2)
    offset += room * lanes * bytes
  }
  const laidOut = room % 8 === 0 ? room : 0
  return new LaidOut(buffer, rows, columns as Columns<L>, words as ColumnWords<L>, laidOut)
}

/** The first `rows` rows of a column set: the set itself where those are all. Shares the memory. */
export const first = <const L extends BatchLayout>(
  layout: L,
  set: ColumnSet<L>,
  rows: number
): ColumnViews<L> => (rows === set.capacity ? set : window(layout, set, 0, rows))

/** Views of rows `[start, end)` of a column set; shares the memory. */
export const window = <const L extends BatchLayout>(
  layout: L,
  set: ColumnViews<L>,
  start: number,
  end: number
): ColumnViews<L> => {
  const plan = planOf(layout)
  const columns = { ...plan.columns }
  const words = { ...plan.words }
  for (const { name, lanes, bytes } of plan.steps) {
    const from = start * lanes
    const to = end * lanes
    columns[name] = set.columns[name as keyof L].subarray(from, to)
    if (bytes === 8) words[name] = (set.words as Record<string, Int32Array>)[name]!.subarray(from * 2, to * 2)
  }
  const { buffer, room } = set
  if (start > 0 || buffer === undefined || room === undefined)
    return { columns: columns as Columns<L>, words: words as ColumnWords<L>, buffer }
  return new LaidOut(buffer, end, columns as Columns<L>, words as ColumnWords<L>, room)
}

/** A column set with another column in the place of one; everything else is shared, whatever kind of object it stands in. */
export const replaced = <const L extends BatchLayout>(
  layout: L,
  { columns, words }: Pick<ColumnViews<L>, "columns" | "words">,
  name: keyof L & string,
  column: ArrayBufferView
): Pick<ColumnViews<L>, "columns" | "words"> => {
  const plan = planOf(layout)
  const all: Record<string, unknown> = { ...plan.columns }
  const halves: Record<string, unknown> = { ...plan.words }
  for (const { name: each, bytes } of plan.steps) {
    all[each] = columns[each as keyof L]
    if (bytes === 8) halves[each] = (words as Record<string, Int32Array>)[each]
  }
  all[name] = column
  return { columns: all as Columns<L>, words: halves as ColumnWords<L> }
}
