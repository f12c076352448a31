/**
 * The header of a DBN stream: reading it, writing it, and showing it as JSON.
 *
 *     v1  "DBN" 1 length | dataset 16 | schema 2 | start 8 | end 8 | limit 8 | record_count 8 | stype_in 1 | stype_out 1 | ts_out 1                     | reserved 47 | lists
 *     v2+ "DBN" v length | dataset 16 | schema 2 | start 8 | end 8 | limit 8 |                  stype_in 1 | stype_out 1 | ts_out 1 | symbol_cstr_len 2 | reserved 53 | lists
 *
 * `length` counts the bytes behind the 8-byte prelude; records begin at 8 + length. The fixed part is 100 bytes in all
 * versions. Version 3 pads the lists with zeros so that records begin at a multiple of 8; versions 1 and 2 do not.
 */
import { DbnError, type DbnErrorPlace } from "./DbnError.ts"
import { type DbnSchema, schemaCode, schemaFromCode } from "./DbnSchema.ts"
import { isDate } from "./IsoDate.ts"
import type { DbnVersion } from "./Layout.ts"
import { UNDEF_TIMESTAMP } from "./Sentinel.ts"
import { type SType, stypeCode, stypeFromCode } from "./SType.ts"

/** Bytes of the prelude: "DBN", version, length. */
export const PRELUDE_BYTES = 8
/** Bytes of the fixed part behind the prelude. */
export const FIXED_BYTES = 100
/** Smallest legal `length`: the fixed part, `schema_definition_length` and four empty lists. */
export const MIN_METADATA_LENGTH = FIXED_BYTES + 20
/** Bytes of a symbol in the lists of version 1 and of DBZ. */
export const SYMBOL_CSTR_LEN_V1 = 22
/** Bytes of a symbol in the lists of versions 2 and 3. */
export const SYMBOL_CSTR_LEN = 71

/** One stretch of days in which a symbol had one meaning. */
export interface MappingInterval {
  /** First day, YYYYMMDD as a decimal number, UTC. */
  readonly startDate: number
  /** Day after the last one, YYYYMMDD. */
  readonly endDate: number
  /** The symbol in `stypeOut`; empty where there is no mapping in these days. */
  readonly symbol: string
}

/** What one requested symbol meant over time. */
export interface SymbolMapping {
  /** The symbol in `stypeIn`: the name is historical, it need not be a raw symbol. */
  readonly rawSymbol: string
  readonly intervals: ReadonlyArray<MappingInterval>
}

/** What the request asked for and how its symbols resolved. */
export interface DbnMetadata {
  /** 1 to 3; 0 where the data came from a DBZ file. */
  readonly version: 0 | DbnVersion
  readonly dataset: string
  /** Null for live and mixed streams. */
  readonly schema: DbnSchema | null
  /** First moment of the request, ns since the epoch; `UNDEF_TIMESTAMP` is possible. */
  readonly start: bigint
  /** First moment behind it, null where open. */
  readonly end: bigint | null
  /** Largest number of records asked for, null where there was no limit. */
  readonly limit: bigint | null
  /** Null in live streams. */
  readonly stypeIn: SType | null
  readonly stypeOut: SType | null
  /** Every record carries the gateway's send time as an 8-byte suffix. */
  readonly tsOut: boolean
  /** Bytes of a symbol in the lists. */
  readonly symbolCstrLen: number
  readonly symbols: ReadonlyArray<string>
  /** Symbols resolved on a part of the range. */
  readonly partial: ReadonlyArray<string>
  readonly notFound: ReadonlyArray<string>
  readonly mappings: ReadonlyArray<SymbolMapping>
  /** `length` of the prelude. Absent for DBZ. */
  readonly metadataLength?: number
  /** Zero bytes behind the lists. Absent for DBZ. */
  readonly metadataPadding?: number
  /** Present for DBZ alone. */
  readonly dbz?: {
    readonly recordCount: bigint
    readonly compression: number
    /** Bytes of the skippable frame that holds the metadata. */
    readonly frameSize: number
  }
}

const ascii = new TextDecoder("latin1")

/** Text of a NUL-padded field; a field without NUL is taken whole. */
const cstr = (bytes: Uint8Array, offset: number, length: number): string => {
  let end = offset
  const limit = offset + length
  while (end < limit && bytes[end] !== 0) end++
  return end === offset ? "" : ascii.decode(bytes.subarray(offset, end))
}

/** Reads the lists with bounds checks: every count in them comes from the input. */
class ListReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #symbolBytes: number
  readonly #place: (position: number) => DbnErrorPlace
  position: number

  constructor(
    bytes: Uint8Array,
    position: number,
    symbolBytes: number,
    place: (position: number) => DbnErrorPlace
  ) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#symbolBytes = symbolBytes
    this.#place = place
    this.position = position
  }

  u32(what: string): number {
    this.#need(4, what)
    const value = this.#view.getUint32(this.position, true)
    this.position += 4
    return value
  }

  /** A count of items of at least `itemBytes` bytes each, refused where they cannot all be there. */
  count(what: string, itemBytes: number): number {
    const at = this.position
    const value = this.u32(what)
    if (value > (this.#bytes.length - this.position) / itemBytes)
      throw new DbnError(
        "corrupt",
        `metadata: ${value} ${what} cannot fit into the ${this.#bytes.length - this.position} bytes that are left`,
        this.#place(at)
      )
    return value
  }

  symbol(what: string): string {
    this.#need(this.#symbolBytes, what)
    const text = cstr(this.#bytes, this.position, this.#symbolBytes)
    this.position += this.#symbolBytes
    return text
  }

  symbols(what: string): Array<string> {
    const count = this.count(what, this.#symbolBytes)
    const list = new Array<string>(count)
    for (let i = 0; i < count; i++) list[i] = this.symbol(what)
    return list
  }

  date(what: string): number {
    const at = this.position
    const value = this.u32(what)
    if (!isDate(value))
      throw new DbnError(
        "corrupt",
        `metadata: ${what} ${value} is no calendar date YYYYMMDD`,
        this.#place(at)
      )
    return value
  }

  mappings(): Array<SymbolMapping> {
    const count = this.count("mappings", this.#symbolBytes + 4)
    const list = new Array<SymbolMapping>(count)
    for (let i = 0; i < count; i++) {
      const rawSymbol = this.symbol("mapping")
      const intervals = new Array<MappingInterval>(this.count("intervals", this.#symbolBytes + 8))
      for (let k = 0; k < intervals.length; k++)
        intervals[k] = {
          startDate: this.date("start date"),
          endDate: this.date("end date"),
          symbol: this.symbol("interval")
        }
      list[i] = { rawSymbol, intervals }
    }
    return list
  }

  #need(length: number, what: string): void {
    if (this.position + length > this.#bytes.length)
      throw new DbnError("corrupt", `metadata ends inside its ${what}`, this.#place(this.position))
  }
}

const lists = (reader: ListReader, place: (position: number) => DbnErrorPlace) => {
  const at = reader.position
  const definition = reader.u32("schema definition length")
  if (definition !== 0)
    throw new DbnError(
      "unsupported",
      `metadata holds a schema definition of ${definition} bytes; no version of DBN defines one`,
      place(at)
    )
  return {
    symbols: reader.symbols("symbols"),
    partial: reader.symbols("partial symbols"),
    notFound: reader.symbols("symbols not found"),
    mappings: reader.mappings()
  }
}

const nullable = (value: bigint): bigint | null => (value === 0n || value === UNDEF_TIMESTAMP ? null : value)

/** `length` of a prelude that is all there; refuses what cannot be DBN metadata. */
export const metadataLength = (prelude: Uint8Array, place: DbnErrorPlace): number => {
  const version = prelude[3] as number
  if (version < 1 || version > 3)
    throw new DbnError(
      "unsupported",
      version > 3
        ? `DBN version ${version} is newer than this codec, which reads 1 to 3: update Data Manager`
        : `DBN version ${version} does not exist`,
      place
    )
  const length = new DataView(prelude.buffer, prelude.byteOffset, 8).getUint32(4, true)
  if (length < MIN_METADATA_LENGTH)
    throw new DbnError(
      "corrupt",
      `metadata length ${length} is below the smallest, ${MIN_METADATA_LENGTH}`,
      place
    )
  return length
}

/**
 * Reads a whole header: prelude and everything it announces, no byte more. `origin` is where the header begins in the
 * DBN stream, for error messages. Throws `DbnError` (`corrupt`, `unsupported`).
 */
export const decodeMetadata = (bytes: Uint8Array, origin = 0): DbnMetadata => {
  const place = (position: number): DbnErrorPlace => ({ offset: origin + position, space: "stream" })
  if (
    bytes.length < PRELUDE_BYTES ||
    bytes.length !== PRELUDE_BYTES + metadataLength(bytes.subarray(0, 8), place(0))
  )
    throw new DbnError("usage", "decodeMetadata takes exactly one header: 8 + length bytes", place(0))
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const version = bytes[3] as DbnVersion
  const tail = version === 1 ? 58 : 50
  const symbolCstrLen = version === 1 ? SYMBOL_CSTR_LEN_V1 : view.getUint16(53, true)
  // A shorter one would let a few bytes of input announce millions of empty symbols.
  if (symbolCstrLen < SYMBOL_CSTR_LEN_V1)
    throw new DbnError(
      "corrupt",
      `metadata: symbols of ${symbolCstrLen} bytes; the smallest are ${SYMBOL_CSTR_LEN_V1}`,
      place(53)
    )
  const reader = new ListReader(bytes, PRELUDE_BYTES + FIXED_BYTES, symbolCstrLen, place)
  const variable = lists(reader, place)
  return {
    version,
    dataset: cstr(bytes, 8, 16),
    schema: schemaFromCode(view.getUint16(24, true)),
    start: view.getBigUint64(26, true),
    end: nullable(view.getBigUint64(34, true)),
    limit: zeroIsNull(view.getBigUint64(42, true)),
    stypeIn: stypeFromCode(bytes[tail] as number),
    stypeOut: stypeFromCode(bytes[tail + 1] as number),
    tsOut: bytes[tail + 2] !== 0,
    symbolCstrLen,
    ...variable,
    metadataLength: bytes.length - PRELUDE_BYTES,
    metadataPadding: bytes.length - reader.position
  }
}

const zeroIsNull = (value: bigint): bigint | null => (value === 0n ? null : value)

/** Bytes of the fixed part of a DBZ frame, in front of its compressed lists. */
export const DBZ_FIXED_BYTES = 96

/**
 * Reads the metadata of a DBZ file: `frame` is the content of its skippable frame, `variable` the decompressed rest of
 * it. `origin` is where the frame's content begins in the input.
 */
export const decodeDbzMetadata = (frame: Uint8Array, variable: Uint8Array, origin: number): DbnMetadata => {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const place = (_position: number): DbnErrorPlace => ({
    offset: origin + DBZ_FIXED_BYTES,
    space: "input"
  })
  const reader = new ListReader(variable, 0, SYMBOL_CSTR_LEN_V1, place)
  return {
    version: 0,
    dataset: cstr(frame, 4, 16),
    schema: schemaFromCode(view.getUint16(20, true)),
    start: view.getBigUint64(22, true),
    end: nullable(view.getBigUint64(30, true)),
    limit: zeroIsNull(view.getBigUint64(38, true)),
    stypeIn: stypeFromCode(frame[55] as number),
    stypeOut: stypeFromCode(frame[56] as number),
    tsOut: false,
    symbolCstrLen: SYMBOL_CSTR_LEN_V1,
    ...lists(reader, place),
    dbz: {
      recordCount: view.getBigUint64(46, true),
      compression: frame[54] as number,
      frameSize: frame.length
    }
  }
}

/** What `encodeMetadata` needs; everything but the dataset has a default. */
export type DbnMetadataInit = Pick<DbnMetadata, "dataset"> &
  Partial<Omit<DbnMetadata, "dataset" | "version" | "metadataLength" | "metadataPadding" | "dbz">>

const refuse = (text: string): never => {
  throw new DbnError("unrepresentable", `metadata: ${text}`)
}

class HeaderWriter {
  readonly bytes: Uint8Array
  readonly #view: DataView
  readonly #symbolBytes: number
  position = PRELUDE_BYTES

  constructor(length: number, symbolBytes: number) {
    this.bytes = new Uint8Array(length)
    this.#view = new DataView(this.bytes.buffer)
    this.#symbolBytes = symbolBytes
  }

  text(value: string, length: number, what: string): void {
    if (value.length >= length)
      refuse(`${what} ${JSON.stringify(value)} has ${value.length} characters, at most ${length - 1} fit`)
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i)
      if (code === 0 || code > 127)
        refuse(`${what} ${JSON.stringify(value)} is not ASCII, which DBN metadata requires`)
      this.bytes[this.position + i] = code
    }
    this.position += length
  }

  u8(value: number): void {
    this.bytes[this.position++] = value
  }

  u16(value: number): void {
    this.#view.setUint16(this.position, value, true)
    this.position += 2
  }

  u32(value: number): void {
    this.#view.setUint32(this.position, value, true)
    this.position += 4
  }

  u64(value: bigint, what: string): void {
    if (value < 0n || value > UNDEF_TIMESTAMP) refuse(`${what} ${value} does not fit 64 bits`)
    this.#view.setBigUint64(this.position, value, true)
    this.position += 8
  }

  date(value: number, what: string): void {
    if (!isDate(value)) refuse(`${what} ${value} is no calendar date YYYYMMDD`)
    this.u32(value)
  }

  symbols(list: ReadonlyArray<string>, what: string): void {
    this.u32(list.length)
    for (const symbol of list) this.text(symbol, this.#symbolBytes, what)
  }
}

const listsLength = (init: DbnMetadataInit, symbolBytes: number): number => {
  const symbols = (init.symbols?.length ?? 0) + (init.partial?.length ?? 0) + (init.notFound?.length ?? 0)
  const mappings = (init.mappings ?? []).reduce(
    (sum, mapping) => sum + symbolBytes + 4 + mapping.intervals.length * (8 + symbolBytes),
    0
  )
  return 20 + symbols * symbolBytes + mappings
}

/**
 * The header of a stream in `version`, prelude included. Throws `DbnError` `unrepresentable` for what cannot be
 * written: text that is not ASCII or too long (dataset 15; symbols 21 in version 1, 70 after), a date that is none.
 */
export const encodeMetadata = (init: DbnMetadataInit, version: DbnVersion = 3): Uint8Array => {
  // Metadata of version 1 keeps its short symbol length when it is written as a later version: widen it.
  const cstrLen = version === 1 ? SYMBOL_CSTR_LEN_V1 : Math.max(SYMBOL_CSTR_LEN, init.symbolCstrLen ?? 0)
  const unpadded = FIXED_BYTES + listsLength(init, cstrLen)
  const length = version === 3 ? Math.ceil(unpadded / 8) * 8 : unpadded
  if (cstrLen > 0xffff) refuse(`symbols of ${cstrLen} bytes do not fit the 16-bit symbol length`)
  if (length > 0xffffffff) refuse(`${length} bytes do not fit the 32-bit length`)
  const out = new HeaderWriter(PRELUDE_BYTES + length, cstrLen)
  out.bytes.set([0x44, 0x42, 0x4e, version])
  out.position = 4
  out.u32(length)
  out.text(init.dataset, 16, "dataset")
  fixedPart(out, init, version, cstrLen)
  out.position = PRELUDE_BYTES + FIXED_BYTES
  out.u32(0)
  out.symbols(init.symbols ?? [], "symbol")
  out.symbols(init.partial ?? [], "partial symbol")
  out.symbols(init.notFound ?? [], "symbol not found")
  out.u32(init.mappings?.length ?? 0)
  for (const mapping of init.mappings ?? []) {
    out.text(mapping.rawSymbol, cstrLen, "mapped symbol")
    out.u32(mapping.intervals.length)
    for (const interval of mapping.intervals) {
      out.date(interval.startDate, "start date")
      out.date(interval.endDate, "end date")
      out.text(interval.symbol, cstrLen, "symbol of an interval")
    }
  }
  return out.bytes
}

const fixedPart = (out: HeaderWriter, init: DbnMetadataInit, version: DbnVersion, cstrLen: number): void => {
  const schema = schemaCode(init.schema ?? null)
  const stypeIn = stypeCode(init.stypeIn ?? null)
  const stypeOut = stypeCode(init.stypeOut === undefined ? "instrument_id" : init.stypeOut)
  out.u16(schema ?? refuse(`unknown schema ${init.schema}`))
  out.u64(init.start ?? UNDEF_TIMESTAMP, "start")
  out.u64(init.end ?? UNDEF_TIMESTAMP, "end")
  out.u64(init.limit ?? 0n, "limit")
  if (version === 1) out.u64(UNDEF_TIMESTAMP, "record count")
  out.u8(stypeIn ?? refuse(`unknown symbology type ${init.stypeIn}`))
  out.u8(stypeOut ?? refuse(`unknown symbology type ${init.stypeOut}`))
  out.u8(init.tsOut === true ? 1 : 0)
  if (version !== 1) out.u16(cstrLen)
}

/** Metadata as it reads after records were upgraded to `version` (never downwards; DBZ counts as version 1). */
export const upgradeMetadata = (metadata: DbnMetadata, version: DbnVersion): DbnMetadata => {
  if (metadata.version >= version) return metadata
  const { metadataLength: _length, metadataPadding: _padding, dbz: _dbz, ...rest } = metadata
  return {
    ...rest,
    version,
    symbolCstrLen: version === 1 ? SYMBOL_CSTR_LEN_V1 : SYMBOL_CSTR_LEN
  }
}

/**
 * Metadata as a JSON-safe object in the vendor's words: 64-bit numbers as decimal strings, null where the wire has the
 * null value, dates as YYYYMMDD numbers. What `dm dbn --metadata` prints.
 */
export const metadataToJson = (metadata: DbnMetadata): { readonly [key: string]: unknown } => ({
  version: metadata.version,
  dataset: metadata.dataset,
  schema: metadata.schema,
  start: metadata.start.toString(),
  end: metadata.end?.toString() ?? null,
  limit: metadata.limit?.toString() ?? null,
  stype_in: metadata.stypeIn,
  stype_out: metadata.stypeOut,
  ts_out: metadata.tsOut,
  symbol_cstr_len: metadata.symbolCstrLen,
  symbols: metadata.symbols,
  partial: metadata.partial,
  not_found: metadata.notFound,
  mappings: metadata.mappings.map((mapping) => ({
    raw_symbol: mapping.rawSymbol,
    intervals: mapping.intervals.map((interval) => ({
      start_date: interval.startDate,
      end_date: interval.endDate,
      symbol: interval.symbol
    }))
  })),
  ...(metadata.metadataLength === undefined ? {} : { metadata_length: metadata.metadataLength }),
  ...(metadata.metadataPadding === undefined ? {} : { metadata_padding: metadata.metadataPadding }),
  ...(metadata.dbz === undefined
    ? {}
    : {
        dbz_record_count: metadata.dbz.recordCount.toString(),
        dbz_compression: metadata.dbz.compression,
        dbz_frame_size: metadata.dbz.frameSize
      })
})
