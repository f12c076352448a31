/** Rows of a poll as batches over memory of their own. */
import { type BatchContext, QuoteBatch, TradeBatch } from "@data-manager/core"
import type { NativeCursor } from "./NativeAddon.ts"
import { quoteColumns, quoteRowOffsets, type RingKind, tradeRowOffsets } from "./RingLayout.ts"

const [
  tsEvent,
  tsRecv,
  tradeKey,
  price,
  size,
  instrument,
  tsInDelta,
  publisher,
  priceExponent,
  sizeExponent,
  side,
  flags,
  depth,
  tradeBytes
] = tradeRowOffsets as unknown as ReadonlyArray<number> & { readonly length: 14 } as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number
]

/** Views are made one by one, without a loop over names: this is most of the cost of a small batch. */
const tradeBatch = (
  context: BatchContext,
  buffer: ArrayBuffer,
  capacity: number,
  rows: number,
  ids?: ReadonlyArray<string>
) =>
  new TradeBatch(
    context,
    {
      columns: {
        tsEvent: new BigInt64Array(buffer, tsEvent * capacity, rows),
        tsRecv: new BigInt64Array(buffer, tsRecv * capacity, rows),
        tradeKey: new BigInt64Array(buffer, tradeKey * capacity, rows),
        price: new BigInt64Array(buffer, price * capacity, rows),
        size: new BigInt64Array(buffer, size * capacity, rows),
        instrument: new Uint32Array(buffer, instrument * capacity, rows),
        tsInDelta: new Int32Array(buffer, tsInDelta * capacity, rows),
        publisher: new Uint16Array(buffer, publisher * capacity, rows),
        priceExponent: new Int8Array(buffer, priceExponent * capacity, rows),
        sizeExponent: new Int8Array(buffer, sizeExponent * capacity, rows),
        side: new Uint8Array(buffer, side * capacity, rows),
        flags: new Uint8Array(buffer, flags * capacity, rows),
        depth: new Uint8Array(buffer, depth * capacity, rows)
      },
      words: {
        tsEvent: new Int32Array(buffer, tsEvent * capacity, rows * 2),
        tsRecv: new Int32Array(buffer, tsRecv * capacity, rows * 2),
        tradeKey: new Int32Array(buffer, tradeKey * capacity, rows * 2),
        price: new Int32Array(buffer, price * capacity, rows * 2),
        size: new Int32Array(buffer, size * capacity, rows * 2)
      }
    },
    rows,
    ids
  )

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

const quoteBatch = (
  context: BatchContext,
  buffer: ArrayBuffer,
  capacity: number,
  rows: number
): QuoteBatch => {
  const columns: Record<string, unknown> = {}
  const words: Record<string, unknown> = {}
  for (let k = 0; k < quoteColumns.length; k++) {
    const name = quoteColumns[k]!
    const offset = quoteRowOffsets[k]! * capacity
    columns[name] = new viewOf[name](buffer, offset, rows)
    if (viewOf[name] === BigInt64Array) words[name] = new Int32Array(buffer, offset, rows * 2)
  }
  return new QuoteBatch(context, { columns, words } as unknown as QuoteBatch, rows)
}

/** The rows of one group of the last poll. The batch owns its memory. */
export const takeBatch = (
  kind: RingKind,
  cursor: NativeCursor,
  group: number,
  rows: number,
  context: BatchContext
): TradeBatch | QuoteBatch => {
  const capacity = (rows + 7) & ~7
  const trades = kind === "trades"
  const buffer = new ArrayBuffer(capacity * (trades ? tradeBytes : quoteRowOffsets[quoteColumns.length]!))
  cursor.take(group, buffer, capacity)
  if (!trades) return quoteBatch(context, buffer, capacity, rows)
  const ids = context.keyKind === "text-hash" ? cursor.texts(group) : undefined
  return tradeBatch(context, buffer, capacity, rows, ids)
}

/** A batch of no rows, for snapshots of symbols that have none. */
export const emptyBatch = (kind: RingKind, context: BatchContext): TradeBatch | QuoteBatch =>
  kind === "trades"
    ? tradeBatch(context, new ArrayBuffer(0), 0, 0)
    : quoteBatch(context, new ArrayBuffer(0), 0, 0)
