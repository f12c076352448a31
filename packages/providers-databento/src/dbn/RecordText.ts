/**
 * Records as text: JSON lines and CSV. Field writers are built once per layout from the tables; a record is a walk over
 * its writers. Nothing is allocated per record.
 *
 * Two JSON shapes: `canonical` keeps the wire order, flat, `length` included, and prints every value as it is; `vendor` is
 * what the vendor's converters and HTTP `encoding=json` print: header nested under `hd`, NUL characters null.
 * CSV is the vendor's, with its column order.
 */
import { DbnError } from "./DbnError.ts"
import {
  type DbnVersion,
  type FieldSpec,
  HEADER_BYTES,
  headerFields,
  type Layout,
  LEVEL_BYTES,
  TS_OUT_BYTES,
  textOrder
} from "./Layout.ts"
import type { RecordBlock } from "./RecordBlock.ts"
import { layoutOf } from "./Rtype.ts"
import type { SymbolSource } from "./SymbolMap.ts"
import { TextBuffer } from "./TextBuffer.ts"

/** How values are printed. */
export interface TextOptions {
  /** Prices as decimals with nine places, undefined ones null (JSON) or empty (CSV). Default: the raw integer. */
  readonly prettyPx?: boolean | undefined
  /** Times as ISO 8601 with nine places, undefined and zero ones null or empty. Default: raw nanoseconds. */
  readonly prettyTs?: boolean | undefined
  /** Adds `symbol` as the last key or column. */
  readonly symbols?: SymbolSource | undefined
}

/** Options of JSON lines. */
export interface JsonOptions extends TextOptions {
  /** Default `canonical`. */
  readonly shape?: "canonical" | "vendor" | undefined
}

/** Longest text of one record: ten levels, or 303 characters each escaped as \uXXXX, stay far below. */
const MAX_RECORD_TEXT = 16 * 1024

type Style = "json" | "json-vendor" | "csv"
/** Writes one piece of a record that begins at word `p`, byte `b`. */
type Piece = (out: TextBuffer, words: Int32Array, bytes: Uint8Array, p: number, b: number) => void

const asciiOf = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0))
const NULL = asciiOf("null")
const QUOTE = 0x22
const COMMA = 0x2c
const LF = 0x0a

/** Value writers: what stands behind the colon or between the commas. */
const value = (field: FieldSpec, shift: number, style: Style, options: TextOptions): Piece => {
  const [start, , type, length] = field
  const offset = start + shift
  switch (type) {
    case "u8":
      return (out, _w, bytes, _p, b) => out.uint(bytes[b + offset]!)
    case "i8":
      return (out, _w, bytes, _p, b) => out.int((bytes[b + offset]! << 24) >> 24)
    case "u16":
      return (out, _w, bytes, _p, b) => out.uint(bytes[b + offset]! | (bytes[b + offset + 1]! << 8))
    case "i16":
      return (out, _w, bytes, _p, b) =>
        out.int(((bytes[b + offset]! | (bytes[b + offset + 1]! << 8)) << 16) >> 16)
    case "u32":
      return (out, words, _b, p) => out.uint(words[p + offset / 4]! >>> 0)
    case "i32":
      return (out, words, _b, p) => out.int(words[p + offset / 4]!)
    case "char":
      return charValue(offset, style)
    case "cstr":
      return textValue(offset, length as number, style)
    default:
      return wide(type, offset / 4, style, options)
  }
}

const wide = (type: "u64" | "i64" | "px" | "ts", word: number, style: Style, options: TextOptions): Piece => {
  const absent: (out: TextBuffer) => void = style === "csv" ? () => {} : (out) => out.ascii(NULL)
  const quoted = (write: Piece): Piece =>
    style === "csv"
      ? write
      : (out, words, bytes, p, b) => {
          out.byte(QUOTE)
          write(out, words, bytes, p, b)
          out.byte(QUOTE)
        }
  if (type === "px" && options.prettyPx === true) {
    const write = quoted((out, words, _b, p) => out.nanos(words[p + word]!, words[p + word + 1]!))
    return (out, words, bytes, p, b) =>
      words[p + word] === -1 && words[p + word + 1] === 0x7fffffff
        ? absent(out)
        : write(out, words, bytes, p, b)
  }
  if (type === "ts" && options.prettyTs === true) {
    const write = quoted((out, words, _b, p) => out.iso(words[p + word]!, words[p + word + 1]!))
    return (out, words, bytes, p, b) => {
      const low = words[p + word]!
      const isAbsent = low === words[p + word + 1] && (low === 0 || low === -1)
      if (isAbsent) absent(out)
      else write(out, words, bytes, p, b)
    }
  }
  if (type === "u64" || type === "ts")
    return quoted((out, words, _b, p) => out.uint64(words[p + word]!, words[p + word + 1]!))
  return quoted((out, words, _b, p) => out.int64(words[p + word]!, words[p + word + 1]!))
}

const charValue = (offset: number, style: Style): Piece => {
  if (style === "csv") return (out, _w, bytes, _p, b) => csvText(out, bytes, b + offset, 1)
  return (out, _w, bytes, _p, b) => {
    const code = bytes[b + offset]!
    if (code === 0 && style === "json-vendor") return out.ascii(NULL)
    out.byte(QUOTE)
    if (code !== 0) out.jsonChar(code)
    out.byte(QUOTE)
  }
}

const textValue = (offset: number, length: number, style: Style): Piece => {
  if (style === "csv") return (out, _w, bytes, _p, b) => csvText(out, bytes, b + offset, length)
  return (out, _w, bytes, _p, b) => {
    out.byte(QUOTE)
    out.jsonText(bytes, b + offset, length)
    out.byte(QUOTE)
  }
}

/** Text up to its first NUL; in quotes where it holds a comma, a quote or a line break. */
const csvText = (out: TextBuffer, bytes: Uint8Array, from: number, length: number): void => {
  let end = from
  let needsQuotes = false
  for (; end < from + length && bytes[end] !== 0; end++) {
    const byte = bytes[end]!
    if (byte === QUOTE || byte === COMMA || byte === LF || byte === 0x0d) needsQuotes = true
  }
  if (needsQuotes) out.byte(QUOTE)
  for (let i = from; i < end; i++) {
    if (bytes[i] === QUOTE) out.byte(QUOTE)
    out.byte(bytes[i]!)
  }
  if (needsQuotes) out.byte(QUOTE)
}

const header = (name: string): FieldSpec =>
  headerFields.find((field) => field[1] === name) as unknown as FieldSpec
const tsOutField: FieldSpec = [0, "ts_out", "ts"]

/** A piece with constant text in front. */
const after = (prefix: string, piece: Piece): Piece => {
  const text = asciiOf(prefix)
  return (out, words, bytes, p, b) => {
    out.ascii(text)
    piece(out, words, bytes, p, b)
  }
}

const constant = (text: string): Piece => {
  const ascii = asciiOf(text)
  return (out) => out.ascii(ascii)
}

/** `ts_out` stands at the end of the record, wherever that is. */
const tsOutPiece = (style: Style, options: TextOptions): Piece => {
  const write = value(tsOutField, 0, style, options)
  return (out, words, bytes, p, b) => {
    const end = p + (words[p]! & 0xff) - TS_OUT_BYTES / 4
    write(out, words, bytes, end, b)
  }
}

/** Bytes behind the header of a record of unknown type, as hexadecimal text. */
const rawPiece =
  (style: Style, tsOut: boolean): Piece =>
  (out, words, bytes, p, b) => {
    const end = b + (words[p]! & 0xff) * 4 - (tsOut ? TS_OUT_BYTES : 0)
    if (style !== "csv") out.byte(QUOTE)
    out.hex(bytes, b + HEADER_BYTES, end)
    if (style !== "csv") out.byte(QUOTE)
  }

const jsonLevels = (layout: Layout, style: Style, options: TextOptions): ReadonlyArray<Piece> => {
  const spec = layout.levels
  if (spec === undefined) return []
  const pieces: Array<Piece> = []
  for (let level = 0; level < spec.count; level++)
    spec.fields.forEach((field, i) => {
      const open = i > 0 ? "," : level > 0 ? "},{" : ',"levels":[{'
      pieces.push(
        after(`${open}"${field[1]}":`, value(field, spec.offset + level * LEVEL_BYTES, style, options))
      )
    })
  return [...pieces, constant("}]")]
}

const canonicalPieces = (
  layout: Layout | undefined,
  tsOut: boolean,
  options: TextOptions
): ReadonlyArray<Piece> => {
  const fields = [...headerFields, ...(layout?.fields ?? [])]
  return [
    ...fields.map((field, i) =>
      after(`${i === 0 ? "{" : ","}"${field[1]}":`, value(field, 0, "json", options))
    ),
    ...(layout === undefined
      ? [after(',"raw":', rawPiece("json", tsOut))]
      : jsonLevels(layout, "json", options)),
    ...(tsOut ? [after(',"ts_out":', tsOutPiece("json", options))] : [])
  ]
}

const vendorPieces = (
  layout: Layout | undefined,
  tsOut: boolean,
  options: TextOptions
): ReadonlyArray<Piece> => {
  const style = "json-vendor"
  const fields = layout === undefined ? [] : textOrder(layout)
  const recv = fields.find((field) => field[1] === "ts_recv")
  const rest = fields.filter((field) => field !== recv)
  return [
    ...(recv === undefined
      ? [constant("{")]
      : [after('{"ts_recv":', value(recv, 0, style, options)), constant(",")]),
    after('"hd":{"ts_event":', value(header("ts_event"), 0, style, options)),
    after(',"rtype":', value(header("rtype"), 0, style, options)),
    after(',"publisher_id":', value(header("publisher_id"), 0, style, options)),
    after(',"instrument_id":', value(header("instrument_id"), 0, style, options)),
    constant("}"),
    ...rest.map((field) => after(`,"${field[1]}":`, value(field, 0, style, options))),
    ...(layout === undefined
      ? [after(',"raw":', rawPiece(style, tsOut))]
      : jsonLevels(layout, style, options)),
    ...(tsOut ? [after(',"ts_out":', tsOutPiece(style, options))] : [])
  ]
}

interface Column {
  readonly name: string
  readonly piece: Piece
}

const csvColumns = (
  layout: Layout | undefined,
  tsOut: boolean,
  options: TextOptions
): ReadonlyArray<Column> => {
  const column = (field: FieldSpec, name = field[1], shift = 0): Column => ({
    name,
    piece: value(field, shift, "csv", options)
  })
  const fields = layout === undefined ? [] : textOrder(layout)
  const recv = fields.filter((field) => field[1] === "ts_recv")
  const spec = layout?.levels
  const levels = Array.from({ length: spec?.count ?? 0 }, (_, level) =>
    (spec?.fields ?? []).map((field) =>
      column(field, `${field[1]}_${String(level).padStart(2, "0")}`, spec!.offset + level * LEVEL_BYTES)
    )
  )
  return [
    ...recv.map((field) => column(field)),
    ...["ts_event", "rtype", "publisher_id", "instrument_id"].map((name) => column(header(name))),
    ...fields.filter((field) => !recv.includes(field)).map((field) => column(field)),
    ...(layout === undefined ? [{ name: "raw", piece: rawPiece("csv", tsOut) }] : levels.flat()),
    ...(tsOut ? [{ name: "ts_out", piece: tsOutPiece("csv", options) }] : [])
  ]
}

/** One value per record type, version and ts_out, made when first needed. */
class PerLayout<T> {
  readonly #known: Array<T | undefined> = []
  readonly #make: (layout: Layout | undefined, tsOut: boolean) => T

  constructor(make: (layout: Layout | undefined, tsOut: boolean) => T) {
    this.#make = make
  }

  get(rtype: number, version: DbnVersion, tsOut: boolean): T {
    const index = ((version - 1) * 2 + (tsOut ? 1 : 0)) * 256 + rtype
    let known = this.#known[index]
    if (known === undefined) {
      known = this.#make(layoutOf(rtype, version), tsOut)
      this.#known[index] = known
    }
    return known
  }
}

/** Writes records as JSON lines: one object per line, every line ended by LF. */
export class JsonLines {
  readonly #out = new TextBuffer()
  readonly #pieces: PerLayout<ReadonlyArray<Piece>>
  readonly #symbols: SymbolSource | undefined

  constructor(options: JsonOptions = {}) {
    const make = options.shape === "vendor" ? vendorPieces : canonicalPieces
    this.#pieces = new PerLayout((layout, tsOut) => make(layout, tsOut, options))
    this.#symbols = options.symbols
  }

  /** The records of a block as UTF-8 bytes. The view is valid until the next call. */
  render(block: RecordBlock): Uint8Array<ArrayBuffer> {
    const out = this.#out
    const { words, bytes } = block
    out.clear()
    for (let p = block.start; p < block.end; p += words[p]! & 0xff) {
      out.reserve(MAX_RECORD_TEXT)
      const pieces = this.#pieces.get((words[p]! >>> 8) & 0xff, block.version, block.tsOut)
      for (let i = 0; i < pieces.length; i++) pieces[i]!(out, words, bytes, p, p * 4)
      if (this.#symbols !== undefined) jsonSymbol(out, this.#symbols.symbolOf(block, p))
      out.byte(0x7d)
      out.byte(LF)
    }
    return out.text()
  }
}

const SYMBOL_KEY = asciiOf(',"symbol":')

const jsonSymbol = (out: TextBuffer, symbol: string | undefined): void => {
  out.ascii(SYMBOL_KEY)
  if (symbol === undefined) {
    out.ascii(NULL)
    return
  }
  out.reserve(symbol.length * 6)
  out.byte(QUOTE)
  for (let i = 0; i < symbol.length; i++) out.jsonChar(symbol.charCodeAt(i))
  out.byte(QUOTE)
}

/** Options of CSV. */
export interface CsvOptions extends TextOptions {
  /** The header line in front of the records; default true. */
  readonly header?: boolean | undefined
  /**
   * What happens when the kind of records changes inside a stream: `reject` (default) throws, `header` writes the header
   * of the new kind and goes on.
   */
  readonly mixed?: "reject" | "header" | undefined
}

interface CsvKind {
  readonly header: Uint8Array
  readonly headerText: string
  readonly pieces: ReadonlyArray<Piece>
}

/** Writes records as CSV with the vendor's columns, lines ended by LF. */
export class CsvLines {
  readonly #out = new TextBuffer()
  readonly #kinds: PerLayout<CsvKind>
  readonly #options: CsvOptions
  #current: string | undefined

  constructor(options: CsvOptions = {}) {
    this.#options = options
    this.#kinds = new PerLayout((layout, tsOut) => {
      const columns = csvColumns(layout, tsOut, options)
      const names = columns.map((column) => column.name)
      const headerText = [...names, ...(options.symbols === undefined ? [] : ["symbol"])].join(",")
      return { headerText, header: asciiOf(`${headerText}\n`), pieces: columns.map((column) => column.piece) }
    })
  }

  /** The header line of a record type, for files without records. */
  header(rtype: number, version: DbnVersion = 3, tsOut = false): string {
    return `${this.#kinds.get(rtype, version, tsOut).headerText}\n`
  }

  /**
   * The records of a block, the header in front of the first ones. The view is valid until the next call. Throws
   * `DbnError` `usage` where records of another kind follow and `mixed` does not allow it.
   */
  render(block: RecordBlock): Uint8Array<ArrayBuffer> {
    const out = this.#out
    const { words, bytes } = block
    const symbols = this.#options.symbols
    out.clear()
    for (let p = block.start; p < block.end; p += words[p]! & 0xff) {
      out.reserve(MAX_RECORD_TEXT)
      const kind = this.#kinds.get((words[p]! >>> 8) & 0xff, block.version, block.tsOut)
      if (kind.headerText !== this.#current) this.#enter(kind)
      const { pieces } = kind
      for (let i = 0; i < pieces.length; i++) {
        if (i > 0) out.byte(COMMA)
        pieces[i]!(out, words, bytes, p, p * 4)
      }
      if (symbols !== undefined) csvSymbol(out, symbols.symbolOf(block, p))
      out.byte(LF)
    }
    return out.text()
  }

  #enter(kind: CsvKind): void {
    if (this.#current !== undefined && this.#options.mixed !== "header")
      throw new DbnError(
        "usage",
        "the stream mixes kinds of records, which one CSV table cannot hold: choose one schema, or use JSON"
      )
    this.#current = kind.headerText
    if (this.#options.header !== false) this.#out.ascii(kind.header)
  }
}

const encoder = new TextEncoder()

const csvSymbol = (out: TextBuffer, symbol: string | undefined): void => {
  out.byte(COMMA)
  if (symbol === undefined) return
  const bytes = encoder.encode(symbol)
  out.reserve(bytes.length * 2)
  csvText(out, bytes, 0, bytes.length)
}
