/** Rows of a poll as batches over memory of their own. */
import { type BatchContext, QuoteBatch, TradeBatch } from "@data-manager/core"
import type { NativeCursor } from "./NativeAddon.ts"
import { quoteColumns, quoteRowOffsets, type RingKind, tradeRowOffsets } from "./RingLayout.ts"

// A view costs about as much as copying ten rows, and most readers look at few columns: views are made when first asked for.

/** Columns of a trade batch, viewed on demand. */
class TradeColumns {
  readonly #buffer: ArrayBuffer
  readonly #offset: number
  readonly #capacity: number
  readonly #rows: number
  #tsEvent: BigInt64Array<ArrayBuffer> | undefined
  #tsRecv: BigInt64Array<ArrayBuffer> | undefined
  #tradeKey: BigInt64Array<ArrayBuffer> | undefined
  #price: BigInt64Array<ArrayBuffer> | undefined
  #size: BigInt64Array<ArrayBuffer> | undefined
  #instrument: Uint32Array<ArrayBuffer> | undefined
  #tsInDelta: Int32Array<ArrayBuffer> | undefined
  #publisher: Uint16Array<ArrayBuffer> | undefined
  #priceExponent: Int8Array<ArrayBuffer> | undefined
  #sizeExponent: Int8Array<ArrayBuffer> | undefined
  #side: Uint8Array<ArrayBuffer> | undefined
  #flags: Uint8Array<ArrayBuffer> | undefined
  #depth: Uint8Array<ArrayBuffer> | undefined

  constructor(buffer: ArrayBuffer, offset: number, capacity: number, rows: number) {
    this.#buffer = buffer
    this.#offset = offset
    this.#capacity = capacity
    this.#rows = rows
  }

  get tsEvent(): BigInt64Array<ArrayBuffer> {
    this.#tsEvent ??= new BigInt64Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[0]! * this.#capacity,
      this.#rows
    )
    return this.#tsEvent
  }

  get tsRecv(): BigInt64Array<ArrayBuffer> {
    this.#tsRecv ??= new BigInt64Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[1]! * this.#capacity,
      this.#rows
    )
    return this.#tsRecv
  }

  get tradeKey(): BigInt64Array<ArrayBuffer> {
    this.#tradeKey ??= new BigInt64Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[2]! * this.#capacity,
      this.#rows
    )
    return this.#tradeKey
  }

  get price(): BigInt64Array<ArrayBuffer> {
    this.#price ??= new BigInt64Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[3]! * this.#capacity,
      this.#rows
    )
    return this.#price
  }

  get size(): BigInt64Array<ArrayBuffer> {
    this.#size ??= new BigInt64Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[4]! * this.#capacity,
      this.#rows
    )
    return this.#size
  }

  get instrument(): Uint32Array<ArrayBuffer> {
    this.#instrument ??= new Uint32Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[5]! * this.#capacity,
      this.#rows
    )
    return this.#instrument
  }

  get tsInDelta(): Int32Array<ArrayBuffer> {
    this.#tsInDelta ??= new Int32Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[6]! * this.#capacity,
      this.#rows
    )
    return this.#tsInDelta
  }

  get publisher(): Uint16Array<ArrayBuffer> {
    this.#publisher ??= new Uint16Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[7]! * this.#capacity,
      this.#rows
    )
    return this.#publisher
  }

  get priceExponent(): Int8Array<ArrayBuffer> {
    this.#priceExponent ??= new Int8Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[8]! * this.#capacity,
      this.#rows
    )
    return this.#priceExponent
  }

  get sizeExponent(): Int8Array<ArrayBuffer> {
    this.#sizeExponent ??= new Int8Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[9]! * this.#capacity,
      this.#rows
    )
    return this.#sizeExponent
  }

  get side(): Uint8Array<ArrayBuffer> {
    this.#side ??= new Uint8Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[10]! * this.#capacity,
      this.#rows
    )
    return this.#side
  }

  get flags(): Uint8Array<ArrayBuffer> {
    this.#flags ??= new Uint8Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[11]! * this.#capacity,
      this.#rows
    )
    return this.#flags
  }

  get depth(): Uint8Array<ArrayBuffer> {
    this.#depth ??= new Uint8Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[12]! * this.#capacity,
      this.#rows
    )
    return this.#depth
  }
}

/** 32-bit words of the 64-bit columns, viewed on demand. */
class TradeWords {
  readonly #buffer: ArrayBuffer
  readonly #offset: number
  readonly #capacity: number
  readonly #rows: number
  #tsEvent: Int32Array<ArrayBuffer> | undefined
  #tsRecv: Int32Array<ArrayBuffer> | undefined
  #tradeKey: Int32Array<ArrayBuffer> | undefined
  #price: Int32Array<ArrayBuffer> | undefined
  #size: Int32Array<ArrayBuffer> | undefined

  constructor(buffer: ArrayBuffer, offset: number, capacity: number, rows: number) {
    this.#buffer = buffer
    this.#offset = offset
    this.#capacity = capacity
    this.#rows = rows
  }

  get tsEvent(): Int32Array<ArrayBuffer> {
    this.#tsEvent ??= new Int32Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[0]! * this.#capacity,
      this.#rows * 2
    )
    return this.#tsEvent
  }

  get tsRecv(): Int32Array<ArrayBuffer> {
    this.#tsRecv ??= new Int32Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[1]! * this.#capacity,
      this.#rows * 2
    )
    return this.#tsRecv
  }

  get tradeKey(): Int32Array<ArrayBuffer> {
    this.#tradeKey ??= new Int32Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[2]! * this.#capacity,
      this.#rows * 2
    )
    return this.#tradeKey
  }

  get price(): Int32Array<ArrayBuffer> {
    this.#price ??= new Int32Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[3]! * this.#capacity,
      this.#rows * 2
    )
    return this.#price
  }

  get size(): Int32Array<ArrayBuffer> {
    this.#size ??= new Int32Array(
      this.#buffer,
      this.#offset + tradeRowOffsets[4]! * this.#capacity,
      this.#rows * 2
    )
    return this.#size
  }
}

const tradeBatch = (
  context: BatchContext,
  memory: BatchMemory,
  rows: number,
  ids?: ReadonlyArray<string>
): TradeBatch => {
  const { buffer, offset, capacity } = memory
  const columns = new TradeColumns(buffer, offset, capacity, rows)
  const words = new TradeWords(buffer, offset, capacity, rows)
  return new TradeBatch(context, { columns, words, buffer }, rows, ids)
}

const viewOf = {
  tsEvent: BigInt64Array,
  tsRecv: BigInt64Array,
  quoteKey: BigInt64Array,
  bidPrice: BigInt64Array,
  askPrice: BigInt64Array,
  price: BigInt64Array,
  bidSize: BigInt64Array,
  askSize: BigInt64Array,
  size: BigInt64Array,
  bidCount: Uint32Array,
  askCount: Uint32Array,
  instrument: Uint32Array,
  tsInDelta: Int32Array,
  publisher: Uint16Array,
  bidPublisher: Uint16Array,
  askPublisher: Uint16Array,
  priceExponent: Int8Array,
  sizeExponent: Int8Array,
  schema: Uint8Array,
  side: Uint8Array,
  action: Uint8Array,
  flags: Uint8Array,
  depth: Uint8Array
} as const

const quoteBatch = (context: BatchContext, memory: BatchMemory, rows: number): QuoteBatch => {
  const { buffer, capacity } = memory
  const columns: Record<string, unknown> = {}
  const words: Record<string, unknown> = {}
  for (let k = 0; k < quoteColumns.length; k++) {
    const name = quoteColumns[k]!
    const offset = memory.offset + quoteRowOffsets[k]! * capacity
    columns[name] = new viewOf[name](buffer, offset, rows)
    if (viewOf[name] === BigInt64Array) words[name] = new Int32Array(buffer, offset, rows * 2)
  }
  return new QuoteBatch(context, { columns, words, buffer } as unknown as QuoteBatch, rows)
}

interface BatchMemory {
  readonly buffer: ArrayBuffer
  readonly offset: number
  readonly capacity: number
}

const slabBytes = 65_536
const reusedBytes = 262_144
/** Elements of the largest array that V8 puts among its ordinary young objects, a little less. */
const ballastElements = 16_000

/**
 * Memory for batches. Allocating a buffer costs more than a small batch is worth, so small batches share a slab of
 * 64 KiB: a kept batch keeps at most that much. Unless asked for, memory is never used twice; a batch stays as it is.
 */
export class BatchAllocator {
  readonly #rowBytes: number
  readonly #reuse: boolean
  #slab = new ArrayBuffer(0)
  #used = 0
  #ballast: ReadonlyArray<unknown> = []

  /** With `reuse` all memory is used again after `reset`: for readers that are done with a batch when they poll again. */
  constructor(kind: RingKind, reuse = false) {
    this.#reuse = reuse
    this.#rowBytes = kind === "trades" ? tradeRowOffsets.at(-1)! : quoteRowOffsets.at(-1)!
  }

  /** Gives all memory back, where it may be used again. */
  reset(): void {
    if (this.#reuse) this.#used = 0
  }

  /** Memory of which `room` bytes from `used` on may be written before it is known for how many rows. */
  get slab(): ArrayBuffer {
    return this.#slab
  }

  get used(): number {
    return this.#used
  }

  /** Fresh memory has at most a quarter of a slab for one batch: a larger one has a buffer of its own, and pins no other. */
  get room(): number {
    const left = this.#slab.byteLength - this.#used
    return this.#reuse ? left : Math.min(left, slabBytes / 4)
  }

  /** Bytes in the heap that stand for the newest fresh memory. */
  get weight(): number {
    return this.#ballast.length * 8
  }

  /** Memory for so many rows. */
  allocate(rows: number): BatchMemory {
    const capacity = (rows + 7) & ~7
    const bytes = capacity * this.#rowBytes
    if (bytes > slabBytes / 4 && !this.#reuse) return { buffer: this.#fresh(bytes), offset: 0, capacity }
    if (this.#used + bytes > this.#slab.byteLength) {
      this.#slab = this.#reuse ? new ArrayBuffer(Math.max(bytes, reusedBytes)) : this.#fresh(slabBytes)
      this.#used = 0
    }
    const offset = this.#used
    this.#used += bytes
    return { buffer: this.#slab, offset, capacity }
  }

  /**
   * For V8 a buffer is a small object, however much it holds: dead ones lie about until 64 MiB of them make it mark its whole
   * heap. An array in the heap of the same size, dropped with the next one, makes young collections come in time instead,
   * which free the buffers and cost a fraction.
   */
  #fresh(bytes: number): ArrayBuffer {
    this.#ballast = new Array(Math.min(bytes >> 3, ballastElements))
    return new ArrayBuffer(bytes)
  }
}

/** The rows of one group of the last poll. `placed`: they stand in the memory that is allocated next. */
export const takeBatch = (
  kind: RingKind,
  cursor: NativeCursor,
  allocator: BatchAllocator,
  group: number,
  rows: number,
  context: BatchContext,
  placed = false
): TradeBatch | QuoteBatch => {
  const memory = allocator.allocate(rows)
  if (!placed) cursor.take(group, memory.buffer, memory.capacity, memory.offset)
  if (kind === "quotes") return quoteBatch(context, memory, rows)
  const ids = context.keyKind === "text-hash" ? cursor.texts(group) : undefined
  return tradeBatch(context, memory, rows, ids)
}

const noMemory: BatchMemory = { buffer: new ArrayBuffer(0), offset: 0, capacity: 0 }

/** A batch of no rows, for snapshots of symbols that have none. */
export const emptyBatch = (kind: RingKind, context: BatchContext): TradeBatch | QuoteBatch =>
  kind === "trades" ? tradeBatch(context, noMemory, 0) : quoteBatch(context, noMemory, 0)
