/**
 * Filling a batch: write row `length` into the columns, then raise `length`; `flush` hands the memory to a batch and
 * starts over with fresh memory, so a built batch never changes.
 */
import * as Layout from "./BatchLayout.ts"

/** Default rows per batch of bulk sources. */
export const DefaultBatchRows = 65_536

/** Column memory being filled. `build` turns the first `length` rows into a batch of its kind. */
export class BatchBuilder<const L extends Layout.BatchLayout, B> {
  readonly layout: L
  readonly capacity: number
  /** Rows written so far. Writers fill row `length` of every column, then raise it; never beyond `capacity`. */
  length = 0
  #set: Layout.ColumnSet<L>
  readonly #build: (set: Layout.ColumnSet<L>, length: number) => B

  constructor(layout: L, capacity: number, build: (set: Layout.ColumnSet<L>, length: number) => B) {
    this.layout = layout
    this.#set = Layout.allocate(layout, capacity)
    this.capacity = this.#set.capacity
    this.#build = build
  }

  /** Typed-array views over the memory being filled; replaced by `flush`, so do not keep them across it. */
  get columns(): Layout.Columns<L> {
    return this.#set.columns
  }

  /** 32-bit word views of the 64-bit columns; replaced by `flush`. */
  get words(): Layout.ColumnWords<L> {
    return this.#set.words
  }

  get isFull(): boolean {
    return this.length >= this.capacity
  }

  /** The rows so far as an immutable batch (possibly of length 0); the builder is empty afterwards. */
  flush(): B {
    const set = this.#set
    const length = this.length
    // A sparse batch would pin memory sized for a full one: copy what is used.
    const own = length * 4 < this.capacity ? compact(this.layout, set, length) : set
    if (own === set) this.#set = Layout.allocate(this.layout, this.capacity)
    this.length = 0
    return this.#build(own, length)
  }
}

const compact = <const L extends Layout.BatchLayout>(
  layout: L,
  set: Layout.ColumnSet<L>,
  length: number
): Layout.ColumnSet<L> => {
  const target = Layout.allocateExactly(layout, length)
  const from = set.columns as unknown as Record<string, Int8Array>
  const to = target.columns as unknown as Record<string, Int8Array>
  const fromWords = set.words as Record<string, Int32Array>
  const toWords = target.words as Record<string, Int32Array>
  for (const name in layout) {
    const values = length * layout[name]!.lanes
    const words = fromWords[name]
    // Same column of the same layout on both sides, so the element types agree.
    if (words === undefined) move(from[name]!, to[name]!, values)
    else move(words, toWords[name]!, values * 2)
  }
  return target
}

/** Below this many values a loop is cheaper than the calls that move them at once: a lone trade is one row. */
const FewValues = 16

/** Moves the first `values` elements; the builder goes on with the memory of `from`, where writers find zeros again. */
const move = (from: Int8Array | Int32Array, to: Int8Array | Int32Array, values: number): void => {
  if (values > FewValues) {
    to.set(from.subarray(0, values))
    from.fill(0, 0, values)
    return
  }
  for (let i = 0; i < values; i++) {
    to[i] = from[i]!
    from[i] = 0
  }
}
