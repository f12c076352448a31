/**
 * What TypeScript must know of `native/include/dm_ring.h`: offsets for tests and tools, codes, and in which order the
 * native side takes the columns of a batch. The header is the contract; tests pin this file to it.
 */
import { type BatchLayout, type GapCause, QuoteLayout, TradeLayout } from "@data-manager/core"

/** First bytes of a `.ring` file, little-endian: "DMRING01". */
export const Magic = 0x3130474e49524d44n
/** Readers refuse files of another major version. */
export const AbiMajor = 1
/** Slots a ring may have; the distance to an instrument's previous row has 24 bits. */
export const MinCapacity = 16
export const MaxCapacity = 1 << 24
/** Instruments a dictionary may have; index 65535 means "all instruments" in control records. */
export const MaxInstruments = 65_535
/** Readers a ring may have. */
export const MaxReaders = 128
/** Longest text id of a trade, in bytes. */
export const MaxTextId = 120

/** Byte offsets in the header of a `.ring` file. */
export const HeaderOffset = {
  magic: 0,
  abiMajor: 8,
  abiMinor: 10,
  headerBytes: 12,
  epoch: 16,
  capacity: 24,
  recordSize: 32,
  recordSchema: 36,
  dataOffset: 40,
  dictOffset: 48,
  dictCapacity: 56,
  dictEntry: 60,
  totalBytes: 64,
  segmentUuid: 72,
  timeOffset: 88,
  timeCapacity: 96,
  timeInterval: 100,
  baseSeq: 104,
  headerCrc: 120,
  writeSeq: 128,
  durableSeq: 192,
  heartbeatNs: 256,
  producerPid: 264,
  state: 268,
  startTime: 272,
  bootId: 280,
  wallNs: 296,
  dictCount: 384,
  epochs: 512,
  previousUuid: 768,
  replayCount: 896,
  replays: 1024
} as const

/** Byte offsets in a stretch of replay, of 64 bytes. */
export const ReplayOffset = {
  number: 0,
  firstSeq: 8,
  endSeq: 16,
  start: 24,
  end: 32,
  speedMilli: 40,
  cause: 44
} as const

/** Stretches of replay that a ring remembers. */
export const MaxReplays = 16

/** Why rows are a replay, by code from 1. Appended, never renumbered. */
export const replayCauses = ["window", "reload"] as const

/** Byte offsets in a trade slot of 64 bytes. */
export const TradeOffset = {
  stamp: 0,
  price: 8,
  size: 16,
  tsEvent: 24,
  tsRecv: 32,
  tradeKey: 40,
  instrument: 48,
  publisher: 50,
  tsInDelta: 52,
  priceExponent: 56,
  sizeExponent: 57,
  kindSide: 58,
  flags: 59,
  depthBack: 60
} as const

/** Byte offsets in a quote slot of 128 bytes. */
export const QuoteOffset = {
  stamp: 0,
  bidPrice: 8,
  askPrice: 16,
  tsEvent: 24,
  tsRecv: 32,
  quoteKey: 40,
  price: 48,
  size: 56,
  bidSize: 64,
  askSize: 72,
  bidCount: 80,
  askCount: 84,
  bidPublisher: 88,
  askPublisher: 90,
  schema: 92,
  action: 93,
  instrument: 112,
  publisher: 114,
  tsInDelta: 116,
  priceExponent: 120,
  sizeExponent: 121,
  kindSide: 122,
  flags: 123,
  depthBack: 124
} as const

/** Row kinds that have a ring, and their code in the header. */
export const RecordSchema = { trades: 1, quotes: 2 } as const
/** `trades` or `quotes`. */
export type RingKind = keyof typeof RecordSchema

/** Name of the file of a ring: trades under the name itself, quotes beside it. */
export const segmentName = (name: string, kind: RingKind): string =>
  kind === "trades" ? name : `${name}_quotes`

/** States of a producer, by code. */
export const stateNames = ["starting", "live", "closed", "retired"] as const

/** How a key was made, by code. */
export const keyKinds = ["sequenced", "venue-id", "text-hash"] as const

/** Asset classes, by code. Appended, never renumbered. */
export const assetClasses = [
  "unknown",
  "equity",
  "future",
  "option",
  "spread",
  "fx",
  "crypto",
  "bond",
  "index",
  "commodity"
] as const

/** Causes of gaps, by code from 1. Appended, never renumbered. */
export const gapCauses: ReadonlyArray<GapCause> = [
  "disconnect",
  "slow-reader",
  "sequence",
  "overflow",
  "provider",
  "crash",
  "disk-full",
  "silence"
]

/** Columns in the order in which the native side takes them. */
export const tradeColumns = [
  "tsEvent",
  "tsRecv",
  "tradeKey",
  "price",
  "size",
  "instrument",
  "tsInDelta",
  "publisher",
  "priceExponent",
  "sizeExponent",
  "side",
  "flags",
  "depth"
] as const satisfies ReadonlyArray<keyof typeof TradeLayout>

/** Columns in the order in which the native side takes them. */
export const quoteColumns = [
  "tsEvent",
  "tsRecv",
  "quoteKey",
  "bidPrice",
  "askPrice",
  "price",
  "bidSize",
  "askSize",
  "size",
  "bidCount",
  "askCount",
  "instrument",
  "tsInDelta",
  "publisher",
  "bidPublisher",
  "askPublisher",
  "priceExponent",
  "sizeExponent",
  "schema",
  "side",
  "action",
  "flags",
  "depth"
] as const satisfies ReadonlyArray<keyof typeof QuoteLayout>

/**
 * Bytes before each column per row of capacity, in native order, then the bytes of a whole row: a column set of capacity
 * C has column k at `offsets[k] * C`.
 */
const rowOffsets = (layout: BatchLayout.BatchLayout, order: ReadonlyArray<string>): Uint32Array => {
  const at = new Map<string, number>()
  const width = { i64: 8, u64: 8, i32: 4, u32: 4, u16: 2, i8: 1, u8: 1 }
  let bytes = 0
  for (const [name, spec] of Object.entries(layout)) {
    at.set(name, bytes)
    bytes += width[spec.type] * spec.lanes
  }
  return Uint32Array.from([...order.map((name) => at.get(name)!), bytes])
}

/** Column offsets per row of capacity of trade batches. */
export const tradeRowOffsets = rowOffsets(TradeLayout, tradeColumns)
/** Column offsets per row of capacity of quote batches. */
export const quoteRowOffsets = rowOffsets(QuoteLayout, quoteColumns)
