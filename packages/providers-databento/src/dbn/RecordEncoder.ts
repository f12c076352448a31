/**
 * Record objects as DBN bytes, any version, with or without ts_out. Nothing is cut or rounded: what the version cannot
 * represent is refused. For simulators, tests and export; bulk producers write words themselves.
 */
import { DbnError } from "./DbnError.ts"
import { type DbnMetadataInit, encodeMetadata } from "./DbnMetadata.ts"
import type { DbnRecord, RecordHeader, RecordOf } from "./DbnRecord.ts"
import {
  camelCase,
  type DbnVersion,
  type FieldSpec,
  HEADER_BYTES,
  type Layout,
  type LayoutName,
  LEVEL_BYTES,
  layouts,
  MAX_RECORD_BYTES,
  TS_OUT_BYTES
} from "./Layout.ts"
import { layoutOf, rtypeName, rtypes } from "./Rtype.ts"
import { UNDEF_ORDER_SIZE, UNDEF_PRICE, UNDEF_TIMESTAMP } from "./Sentinel.ts"

/** How records are laid out in the stream that they are written to. */
export interface RecordFormat {
  readonly version: DbnVersion
  /** Every record carries its `tsOut`; default false. */
  readonly tsOut?: boolean | undefined
}

const refuse = (text: string): never => {
  throw new DbnError("unrepresentable", text)
}

type Fields = { readonly [name: string]: unknown }
type Writer = (record: Fields, view: DataView, bytes: Uint8Array, at: number, where: string) => void

const int = (value: unknown, low: number, high: number, what: string): number => {
  if (typeof value !== "number" || !Number.isInteger(value) || value < low || value > high)
    refuse(`${what} is ${String(value)}: an integer from ${low} to ${high} is needed`)
  return value as number
}

const bigInt = (value: unknown, low: bigint, high: bigint, what: string): bigint => {
  if (typeof value !== "bigint" || value < low || value > high)
    refuse(`${what} is ${String(value)}: a bigint from ${low} to ${high} is needed`)
  return value as bigint
}

const U64 = 0xffffffffffffffffn
const I64_MAX = 0x7fffffffffffffffn
const encoder = new TextEncoder()

const writeText = (value: unknown, bytes: Uint8Array, at: number, length: number, what: string): void => {
  if (typeof value !== "string" || value.includes("\0") || /\p{Surrogate}/u.test(value))
    refuse(`${what} is ${JSON.stringify(value)}: text without NUL is needed`)
  const encoded = encoder.encode(value as string)
  if (encoded.length >= length)
    refuse(
      `${what} ${JSON.stringify(value)} has ${encoded.length} bytes, at most ${length - 1} fit beside the closing NUL`
    )
  bytes.set(encoded, at)
}

const writeChar = (value: unknown, bytes: Uint8Array, at: number, what: string): void => {
  const code = value === "" ? 0 : typeof value === "string" ? value.charCodeAt(0) : -1
  if (typeof value !== "string" || value.length > 1 || code > 255 || (value.length === 1 && code === 0))
    refuse(`${what} is ${JSON.stringify(value)}: one character up to U+00FF, or none, is needed`)
  bytes[at] = code
}

const fieldWriter = (field: FieldSpec, name: string): Writer => {
  const [offset, wire, type, length] = field
  const what = (where: string): string => `${where}: ${wire}`
  switch (type) {
    case "u8":
    case "i8":
    case "u16":
    case "i16":
    case "u32":
    case "i32":
      return intWriter(type, offset, name, what)
    case "u64":
    case "ts":
      return (record, view, _b, at, where) =>
        view.setBigUint64(at + offset, bigInt(record[name], 0n, U64, what(where)), true)
    case "i64":
    case "px":
      return (record, view, _b, at, where) =>
        view.setBigInt64(at + offset, bigInt(record[name], -I64_MAX - 1n, I64_MAX, what(where)), true)
    case "char":
      return (record, _v, bytes, at, where) => writeChar(record[name], bytes, at + offset, what(where))
    case "cstr":
      return (record, _v, bytes, at, where) =>
        writeText(record[name], bytes, at + offset, length as number, what(where))
  }
}

const intWriter = (
  type: "u8" | "i8" | "u16" | "i16" | "u32" | "i32",
  offset: number,
  name: string,
  what: (where: string) => string
): Writer => {
  const bits = Number(type.slice(1))
  const low = type.startsWith("i") ? -(2 ** (bits - 1)) : 0
  const high = low + 2 ** bits - 1
  return (record, view, _b, at, where) => {
    const value = int(record[name], low, high, what(where))
    if (bits === 8) view.setInt8(at + offset, value)
    else if (bits === 16) view.setInt16(at + offset, value, true)
    else view.setInt32(at + offset, value, true)
  }
}

interface LayoutWriter {
  readonly names: ReadonlySet<string>
  readonly fields: ReadonlyArray<Writer>
  readonly levels: ReadonlyArray<Writer>
  readonly levelNames: ReadonlySet<string>
}

const headerNames = ["type", "rtype", "publisherId", "instrumentId", "tsEvent", "tsOut"]

const layoutWriter = (layout: Layout): LayoutWriter => {
  const names = layout.fields.map((field) => camelCase(field[1]))
  const levelFields = layout.levels?.fields ?? []
  return {
    names: new Set([...headerNames, ...names, ...(layout.levels === undefined ? [] : ["levels"])]),
    fields: layout.fields.map((field, i) => fieldWriter(field, names[i] as string)),
    levels: levelFields.map((field) => fieldWriter(field, camelCase(field[1]))),
    levelNames: new Set(levelFields.map((field) => camelCase(field[1])))
  }
}

const writers = new Map<LayoutName, LayoutWriter>(
  Object.values(layouts).map((layout) => [layout.name, layoutWriter(layout)])
)

const checkNames = (fields: object, allowed: ReadonlySet<string>, where: string): void => {
  for (const name of Object.keys(fields))
    if (!allowed.has(name)) refuse(`${where}: ${JSON.stringify(name)} is no field of it`)
}

const layoutFor = (record: DbnRecord, format: RecordFormat): Layout | undefined => {
  const layout = layoutOf(int(record.rtype, 0, 255, "rtype"), format.version)
  if (layout?.name === record.type || (layout === undefined && record.type === "unknown")) return layout
  return refuse(
    `a record of type ${rtypeName(record.rtype)} is laid out as ${layout?.name ?? "unknown"} in DBN version ${format.version}, not as ${record.type}`
  )
}

const bodyBytes = (record: DbnRecord, layout: Layout | undefined): number => {
  if (layout !== undefined) return layout.size
  const body = (record as { readonly body?: unknown }).body
  if (!(body instanceof Uint8Array) || body.length % 4 !== 0)
    return refuse("the body of an unknown record has to be bytes, a multiple of 4 of them")
  return HEADER_BYTES + body.length
}

const writeHeader = (
  record: RecordHeader,
  length: number,
  view: DataView,
  at: number,
  where: string
): void => {
  view.setUint8(at, length / 4)
  view.setUint8(at + 1, record.rtype)
  view.setUint16(at + 2, int(record.publisherId, 0, 0xffff, `${where}: publisher_id`), true)
  view.setUint32(at + 4, int(record.instrumentId, 0, 0xffffffff, `${where}: instrument_id`), true)
  view.setBigUint64(at + 8, bigInt(record.tsEvent, 0n, U64, `${where}: ts_event`), true)
}

const writeLevels = (
  record: Fields,
  layout: Layout,
  writer: LayoutWriter,
  view: DataView,
  bytes: Uint8Array,
  at: number
): void => {
  const spec = layout.levels
  if (spec === undefined) return
  const list: ReadonlyArray<Fields> = Array.isArray(record.levels) ? record.levels : []
  if (list.length !== spec.count) refuse(`${layout.name}: exactly ${spec.count} levels are needed`)
  list.forEach((level, i) => {
    const where = `${layout.name}: level ${i}`
    checkNames(level, writer.levelNames, where)
    for (const write of writer.levels) write(level, view, bytes, at + spec.offset + i * LEVEL_BYTES, where)
  })
}

/**
 * Writes a record into `bytes` at `at` and returns its length. At least `MAX_RECORD_BYTES` of room is needed. Throws
 * `DbnError` `unrepresentable` for a missing, unknown or unfitting field; `bytes` then holds nothing of value there.
 */
export const writeRecord = (
  record: DbnRecord,
  format: RecordFormat,
  bytes: Uint8Array,
  at: number
): number => {
  const layout = layoutFor(record, format)
  const tsOut = format.tsOut === true
  const length = bodyBytes(record, layout) + (tsOut ? TS_OUT_BYTES : 0)
  if (length > MAX_RECORD_BYTES)
    refuse(`a record of ${length} bytes: at most ${MAX_RECORD_BYTES} are possible`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const where = record.type
  bytes.fill(0, at, at + length)
  writeHeader(record, length, view, at, where)
  if (layout === undefined) bytes.set((record as { readonly body: Uint8Array }).body, at + HEADER_BYTES)
  else {
    const writer = writers.get(layout.name)!
    checkNames(record, writer.names, where)
    const fields = record as unknown as Fields
    for (const write of writer.fields) write(fields, view, bytes, at, where)
    writeLevels(fields, layout, writer, view, bytes, at)
  }
  if (!tsOut && record.tsOut !== undefined) refuse(`${where}: ts_out in a stream without ts_out`)
  if (tsOut)
    view.setBigUint64(at + length - TS_OUT_BYTES, bigInt(record.tsOut, 0n, U64, `${where}: ts_out`), true)
  return length
}

/** One record as bytes of its own. Throws as `writeRecord`. */
export const encodeRecord = (record: DbnRecord, format: RecordFormat): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(MAX_RECORD_BYTES)
  return bytes.slice(0, writeRecord(record, format, bytes, 0))
}

/** Header and records as one DBN stream. Throws as `encodeMetadata` and `writeRecord`. */
export const encodeStream = (
  metadata: DbnMetadataInit,
  records: Iterable<DbnRecord>,
  version: DbnVersion = 3
): Uint8Array<ArrayBuffer> => {
  const writer = new RecordWriter({ version, tsOut: metadata.tsOut })
  writer.raw(encodeMetadata(metadata, version))
  for (const record of records) writer.record(record)
  return writer.flush()
}

/** Gathers records as bytes. */
export class RecordWriter {
  readonly format: RecordFormat
  #bytes = new Uint8Array(64 * 1024)
  #length = 0

  constructor(format: RecordFormat) {
    this.format = format
  }

  /** Bytes gathered since the last `flush`. */
  get length(): number {
    return this.#length
  }

  /** Adds a record. Throws as `writeRecord`, and has then added nothing. */
  record(record: DbnRecord): void {
    this.#reserve(MAX_RECORD_BYTES)
    this.#length += writeRecord(record, this.format, this.#bytes, this.#length)
  }

  /** Adds bytes as they are: a header, or records that are already encoded. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** What was gathered, as bytes of its own; the writer is empty afterwards. */
  flush(): Uint8Array<ArrayBuffer> {
    const out = this.#bytes.slice(0, this.#length)
    this.#length = 0
    return out
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#length + length, this.#bytes.length * 2))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
  }
}

/** What a field reads where the vendor has nothing to say, by type. */
const blankOfType: { readonly [type: string]: bigint | number | string } = {
  u8: 0,
  i8: 0,
  u16: 0,
  i16: 0,
  u32: 0,
  i32: 0,
  u64: 0n,
  i64: 0n,
  px: UNDEF_PRICE,
  ts: UNDEF_TIMESTAMP,
  char: "",
  cstr: ""
}

/** Fields of definitions whose integer has a value for "not there". */
const definitionBlanks: { readonly [type: string]: number } = {
  u8: 255,
  i8: 127,
  u16: 65535,
  i16: 32767,
  u32: 4294967295,
  i32: 2147483647
}

/** Integers of definitions that are counts or ids: zero where there is none. */
const definitionZeros = /^(leg_|underlying_id$|raw_instrument_id$|channel_id$)/

const blankOfName: { readonly [name: string]: bigint | number | string } = {
  action: "N",
  side: "N",
  unpaired_side: "N",
  leg_side: "N",
  auction_type: "~",
  significant_imbalance: "~",
  is_trading: "~",
  is_quoting: "~",
  is_short_sell_restricted: "~",
  size: UNDEF_ORDER_SIZE,
  paired_qty: UNDEF_ORDER_SIZE,
  total_imbalance_qty: UNDEF_ORDER_SIZE,
  market_imbalance_qty: UNDEF_ORDER_SIZE,
  unpaired_qty: UNDEF_ORDER_SIZE,
  code: 255,
  is_last: 255,
  match_algorithm: "F",
  security_update_action: "A",
  user_defined_instrument: "N"
}

const blank = (layout: Layout, field: FieldSpec): unknown => {
  const [, name, type] = field
  if (layout.name === "stat" && name === "quantity") return UNDEF_PRICE
  if (layout.name === "stat_v1" && name === "quantity") return 2147483647
  if (layout.name === "status" && name === "action") return 0
  if (name in blankOfName) return blankOfName[name]
  if (layout.name.startsWith("instrument_def") && !definitionZeros.test(name) && type in definitionBlanks)
    return definitionBlanks[type]
  return blankOfType[type]
}

/** The record type that a struct has where only one has it; bars, sampled quotes and cmbp1 need theirs told. */
const onlyRtype = (name: LayoutName): number | undefined => {
  const all = rtypes.filter((entry) => entry.layouts.includes(name))
  return all.length === 1 ? all[0]!.rtype : undefined
}

/**
 * A record of the named struct in which every field that is not given has its absent value: undefined price and time,
 * side none, empty text. `rtype` has to be given where several types share the struct.
 */
export const blankRecord = <N extends LayoutName>(
  name: N,
  fields: Partial<Omit<RecordOf<N>, "type">> = {}
): RecordOf<N> => {
  const layout = layouts[name]
  const rtype = (fields as Partial<RecordHeader>).rtype ?? onlyRtype(name)
  if (rtype === undefined) refuse(`several record types are laid out as ${name}: give rtype`)
  const record: { [name: string]: unknown } = {
    type: name,
    rtype,
    publisherId: 0,
    instrumentId: 0,
    tsEvent: UNDEF_TIMESTAMP
  }
  for (const field of layout.fields) record[camelCase(field[1])] = blank(layout, field)
  if (layout.levels !== undefined)
    record.levels = Array.from({ length: layout.levels.count }, () =>
      Object.fromEntries(
        layout.levels!.fields.map((field) => [camelCase(field[1]), field[2] === "px" ? UNDEF_PRICE : 0])
      )
    )
  return Object.assign(record, fields) as unknown as RecordOf<N>
}
