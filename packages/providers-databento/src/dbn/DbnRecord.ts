/**
 * Records as objects: fields in the vendor's words in camelCase, 64-bit values as bigint, texts as strings, sentinels
 * as they are. Types and readers are derived from the layout tables.
 */
import {
  type bidAskFields,
  camelCase,
  type consolidatedBidAskFields,
  type DbnVersion,
  type FieldSpec,
  HEADER_BYTES,
  type Layout,
  type LayoutFields,
  type LayoutName,
  LEVEL_BYTES,
  layouts,
  TS_OUT_BYTES,
  type WireType
} from "./Layout.ts"
import { layoutOf } from "./Rtype.ts"

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S

type Value<T extends WireType> = T extends "u64" | "i64" | "px" | "ts"
  ? bigint
  : T extends "char" | "cstr"
    ? string
    : number

type FieldsOf<S extends ReadonlyArray<FieldSpec>> = {
  -readonly [F in S[number] as Camel<F[1]>]: Value<F[2]>
}

/** One level of a book: prices in 1e-9. */
export type BidAsk = FieldsOf<typeof bidAskFields>
/** One consolidated level: publisher ids in place of order counts. */
export type ConsolidatedBidAsk = FieldsOf<typeof consolidatedBidAskFields>

type LevelsOf<N extends LayoutName> = N extends "mbp1" | "mbp10" | "bbo"
  ? { levels: Array<BidAsk> }
  : N extends "cmbp1" | "cbbo"
    ? { levels: Array<ConsolidatedBidAsk> }
    : unknown

/** What every record has. `length` is not among it: it follows from type, version and ts_out. */
export interface RecordHeader {
  rtype: number
  publisherId: number
  /** The vendor's number of the instrument, unique per dataset and day only. */
  instrumentId: number
  /** Venue time, ns since the epoch; 2^64-1 where undefined. */
  tsEvent: bigint
  /** Send time of the gateway, in streams that have it. */
  tsOut?: bigint
}

/** A record of the named struct. */
export type RecordOf<N extends LayoutName> = { type: N } & RecordHeader &
  FieldsOf<LayoutFields[N]> &
  LevelsOf<N>

/** A record of a type that this codec does not know. */
export interface UnknownRecord extends RecordHeader {
  type: "unknown"
  /** Bytes behind the header, without ts_out. */
  body: Uint8Array
}

/** Any record; `type` is the name of its struct. */
export type DbnRecord = { [N in LayoutName]: RecordOf<N> }[LayoutName] | UnknownRecord

export type MboRecord = RecordOf<"mbo">
export type TradeRecord = RecordOf<"trade">
export type Mbp1Record = RecordOf<"mbp1">
export type Mbp10Record = RecordOf<"mbp10">
export type BboRecord = RecordOf<"bbo">
export type Cmbp1Record = RecordOf<"cmbp1">
export type CbboRecord = RecordOf<"cbbo">
export type OhlcvRecord = RecordOf<"ohlcv">
export type StatusRecord = RecordOf<"status">
export type ImbalanceRecord = RecordOf<"imbalance">
export type StatRecord = RecordOf<"stat">
export type ErrorRecord = RecordOf<"error">
export type SystemRecord = RecordOf<"system">
export type SymbolMappingRecord = RecordOf<"symbol_mapping">
export type InstrumentDefRecord = RecordOf<"instrument_def">

/** Where a record stands and how it is laid out: a `RecordBlock`, or anything shaped like it. */
export interface RecordMemory {
  readonly bytes: Uint8Array
  readonly version: DbnVersion
  readonly tsOut: boolean
}

type Reader = (view: DataView, bytes: Uint8Array, at: number) => unknown

interface NamedReader {
  readonly name: string
  readonly read: Reader
}

const utf8 = new TextDecoder()

/** Text of a `cstr` field up to its first NUL; a field without NUL is taken whole. Invalid UTF-8 reads as U+FFFD. */
export const cstrText = (bytes: Uint8Array, at: number, length: number): string => {
  let end = at
  const limit = at + length
  let isAscii = true
  while (end < limit && bytes[end] !== 0) {
    if (bytes[end]! > 127) isAscii = false
    end++
  }
  if (!isAscii) return utf8.decode(bytes.subarray(at, end))
  let text = ""
  for (let i = at; i < end; i++) text += String.fromCharCode(bytes[i]!)
  return text
}

const reader = (field: FieldSpec): Reader => {
  const [offset, , type, length] = field
  switch (type) {
    case "u8":
      return (_, bytes, at) => bytes[at + offset]
    case "i8":
      return (view, _, at) => view.getInt8(at + offset)
    case "u16":
      return (view, _, at) => view.getUint16(at + offset, true)
    case "i16":
      return (view, _, at) => view.getInt16(at + offset, true)
    case "u32":
      return (view, _, at) => view.getUint32(at + offset, true)
    case "i32":
      return (view, _, at) => view.getInt32(at + offset, true)
    case "u64":
    case "ts":
      return (view, _, at) => view.getBigUint64(at + offset, true)
    case "i64":
    case "px":
      return (view, _, at) => view.getBigInt64(at + offset, true)
    case "char":
      return (_, bytes, at) => (bytes[at + offset] === 0 ? "" : String.fromCharCode(bytes[at + offset]!))
    case "cstr":
      return (_, bytes, at) => cstrText(bytes, at + offset, length as number)
  }
}

const named = (fields: ReadonlyArray<FieldSpec>): ReadonlyArray<NamedReader> =>
  fields.map((field) => ({ name: camelCase(field[1]), read: reader(field) }))

const levelReader = (layout: Layout): Reader | undefined => {
  const spec = layout.levels
  if (spec === undefined) return undefined
  const readers = named(spec.fields)
  return (view, bytes, at) =>
    Array.from({ length: spec.count }, (_, level) => {
      const base = at + spec.offset + level * LEVEL_BYTES
      const out: { [name: string]: unknown } = {}
      for (const field of readers) out[field.name] = field.read(view, bytes, base)
      return out
    })
}

const readersOf = new Map<LayoutName, { fields: ReadonlyArray<NamedReader>; levels: Reader | undefined }>(
  Object.values(layouts).map((layout) => [
    layout.name,
    { fields: named(layout.fields), levels: levelReader(layout) }
  ])
)

/**
 * The record at word `position` as an object. The record must be whole, as every record of a block is. Copies; costs
 * about a microsecond.
 */
export const decodeRecord = (memory: RecordMemory, position: number): DbnRecord => {
  const { bytes } = memory
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const at = position * 4
  const length = bytes[at]! * 4
  const rtype = bytes[at + 1]!
  const layout = layoutOf(rtype, memory.version)
  const record: { [name: string]: unknown } = {
    type: layout?.name ?? "unknown",
    rtype,
    publisherId: view.getUint16(at + 2, true),
    instrumentId: view.getUint32(at + 4, true),
    tsEvent: view.getBigUint64(at + 8, true)
  }
  const bodyEnd = at + length - (memory.tsOut ? TS_OUT_BYTES : 0)
  if (layout === undefined) record.body = bytes.slice(at + HEADER_BYTES, Math.max(at + HEADER_BYTES, bodyEnd))
  else {
    const readers = readersOf.get(layout.name)!
    for (const field of readers.fields) record[field.name] = field.read(view, bytes, at)
    if (readers.levels !== undefined) record.levels = readers.levels(view, bytes, at)
  }
  if (memory.tsOut && length >= HEADER_BYTES + TS_OUT_BYTES) record.tsOut = view.getBigUint64(bodyEnd, true)
  return record as unknown as DbnRecord
}
