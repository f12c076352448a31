/**
 * A frame of the spool: one entry of a feed as bytes, and back. Pure: memory in, memory out.
 *
 *     | header, 56 bytes | payload, a multiple of 8 bytes |              little-endian; a frame begins at a multiple of 8
 *
 *     header   0 u32  magic "DMSF"        4 u8   version        5 u8  kind (1 note, 2 trades, 3 quotes, 4 bars, 5 book)
 *              6 u16  bytes per row, 0    8 u32  payload bytes  12 u32 rows
 *             16 u64  frame number       24 i64  time of the append, ns since epoch
 *             32 i64  smallest time      40 i64  largest time of the rows, on either of their clocks; 0 where there is none
 *             48 u32  0                  52 u32  CRC-32C over bytes 0..48 and the payload
 *
 *     payload of rows    | u32 bytes of the description | u32 bytes of the text ids | columns | description | text ids | blanks |
 *     payload of a note  | JSON | blanks |
 *
 * The columns are those of the batch's layout, one after another, without padding. The description is JSON: session, provider,
 * dataset, kind of keys, and the names of the venues whose publishers occur. The text ids are a JSON array.
 *
 * What is not kept of a batch: the directory of its instruments. The ids in the columns are numbers that outlive the process (see
 * `LiveInstruments`); a reader says where ids of a dataset are looked up (`InstrumentsOf`), and without it rows show `#id`. A publisher that does not occur in the batch has no name after reading.
 */
import { ABSENT_I64_HIGH, ABSENT_I64_LOW } from "./Absent.ts"
import { BarBatch, BarLayout } from "./BarBatch.ts"
import type { BatchContext } from "./BatchContext.ts"
import * as Layout from "./BatchLayout.ts"
import { BookBatch, BookLayout } from "./BookBatch.ts"
import * as Crc32c from "./Crc32c.ts"
import type { FeedEntry, FeedRows, FeedSessionKey } from "./FeedEntry.ts"
import { emptyDirectory, type InstrumentDirectory } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import { QuoteBatch, QuoteLayout } from "./QuoteBatch.ts"
import * as SpoolNote from "./SpoolNote.ts"
import { TradeBatch, TradeLayout } from "./TradeBatch.ts"

/** Bytes of a header; frames and their payloads are multiples of `Unit`. */
export const HeaderBytes = 56
export const Unit = 8
/** Most bytes of a payload that a reader believes in. */
export const MaxPayloadBytes = 0x4000_0000

const Magic = 0x46534d44
const Version = 1
const ReservedAt = 48
const CrcAt = 52

const kinds = ["note", "trades", "quotes", "bars", "book"] as const
const kindOf = {
  TradeBatch: 2,
  QuoteBatch: 3,
  BarBatch: 4,
  BookBatch: 5
} as const satisfies Record<MarketBatch["_tag"], number>
const layouts: ReadonlyArray<Layout.BatchLayout | undefined> = [
  undefined,
  TradeLayout,
  QuoteLayout,
  BarLayout,
  BookLayout
]
const layoutOf = (kind: number): Layout.BatchLayout | undefined => layouts[kind - 1]

/**
 * Where the ids of a dataset's rows are looked up after reading. Asked now and then, not for every frame: the directory should
 * know instruments that are registered later, too.
 */
export type InstrumentsOf = (context: Pick<BatchContext, "provider" | "dataset">) => InstrumentDirectory

/** Memory that frames are written to and read from: one buffer under views of every width. */
export class FrameMemory {
  readonly u8: Uint8Array<ArrayBuffer>
  readonly i8: Int8Array<ArrayBuffer>
  readonly u16: Uint16Array<ArrayBuffer>
  readonly i32: Int32Array<ArrayBuffer>
  readonly u32: Uint32Array<ArrayBuffer>
  readonly view: DataView<ArrayBuffer>

  /** `buffer` is a multiple of 8 bytes. */
  constructor(buffer: ArrayBuffer) {
    this.u8 = new Uint8Array(buffer)
    this.i8 = new Int8Array(buffer)
    this.u16 = new Uint16Array(buffer)
    this.i32 = new Int32Array(buffer)
    this.u32 = new Uint32Array(buffer)
    this.view = new DataView(buffer)
  }

  get length(): number {
    return this.u8.length
  }

  /** Memory of at least so many bytes. */
  static allocate(bytes: number): FrameMemory {
    return new FrameMemory(new ArrayBuffer(whole(bytes)))
  }

  /** Memory that holds these bytes. */
  static of(bytes: Uint8Array): FrameMemory {
    const memory = FrameMemory.allocate(bytes.length)
    memory.u8.set(bytes)
    return memory
  }
}

const whole = (bytes: number): number => Math.ceil(bytes / Unit) * Unit

// ---------------------------------------------------------------------------------------------------------------------
// Writing

/** What is written behind the columns. */
interface RowsText {
  readonly description: Uint8Array
  readonly textIds: Uint8Array
}

const noBytes = new Uint8Array(0)
const encodeText = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Descriptions of one context that are kept; sessions and sets of publishers are few. */
const KeptDescriptions = 256

/** Writes entries as frames: `measure` says how many bytes the next one takes, `write` puts it there. */
export class FrameEncoder {
  readonly #publishers = new PublisherSet()
  readonly #descriptions = new WeakMap<BatchContext, Map<string, Uint8Array>>()
  #entry: FeedEntry | undefined
  #text: RowsText | undefined
  #payload = 0

  /** Bytes of the frame of an entry, which `write` will write. */
  measure(entry: FeedEntry): number {
    this.#entry = entry
    this.#text = undefined
    if (entry._tag === "FeedRows") this.#measureRows(entry)
    else {
      const text: RowsText = { description: encodeText(SpoolNote.encode(entry)), textIds: noBytes }
      this.#text = text
      this.#payload = whole(text.description.length)
    }
    return HeaderBytes + this.#payload
  }

  #measureRows({ session, batch }: FeedRows): void {
    const description = this.#describe(session, batch)
    const ids = batch._tag === "TradeBatch" ? batch.textIds : undefined
    const textIds = ids === undefined ? noBytes : encodeText(JSON.stringify(ids.slice(0, batch.length)))
    this.#text = { description, textIds }
    const columns = batch.length * rowBytes[kindOf[batch._tag]]!
    this.#payload = whole(8 + columns + description.length + textIds.length)
  }

  /** Writes what was measured last at `offset`, a multiple of 8, as frame `number` of time `at`. */
  write(memory: FrameMemory, offset: number, number: bigint, at: bigint): void {
    const entry = this.#entry!
    const { description, textIds } = this.#text!
    const { view } = memory
    const rows = entry._tag === "FeedRows" ? entry.batch.length : 0
    const kind = entry._tag === "FeedRows" ? kindOf[entry.batch._tag] : 1
    view.setUint32(offset, Magic, true)
    view.setUint8(offset + 4, Version)
    view.setUint8(offset + 5, kind)
    view.setUint16(offset + 6, rowBytes[kind]!, true)
    view.setUint32(offset + 8, this.#payload, true)
    view.setUint32(offset + 12, rows, true)
    view.setBigUint64(offset + 16, number, true)
    view.setBigInt64(offset + 24, at, true)
    memory.i32.fill(0, (offset + 32) / 4, (offset + HeaderBytes) / 4)
    let end = offset + HeaderBytes
    if (entry._tag === "FeedRows") {
      view.setUint32(end, description.length, true)
      view.setUint32(end + 4, textIds.length, true)
      writeTimes(memory.i32, (offset + 32) / 4, entry.batch)
      end = writeColumns(memory, end + 8, entry.batch, layoutOf(kind)!)
    }
    memory.u8.set(description, end)
    memory.u8.set(textIds, end + description.length)
    end += description.length + textIds.length
    memory.u8.fill(0x20, end, offset + HeaderBytes + this.#payload)
    view.setUint32(offset + CrcAt, frameCrc(memory, offset, this.#payload), true)
  }

  /** The description of a batch; batches of one context and session usually have the same. */
  #describe(session: FeedSessionKey, batch: MarketBatch): Uint8Array {
    const { context } = batch
    const venues = this.#publishers.of(batch)
    let known = this.#descriptions.get(context)
    if (known === undefined) {
      known = new Map()
      this.#descriptions.set(context, known)
    }
    const { provider, dataset, keyKind } = context
    const text = JSON.stringify([session, provider, dataset, keyKind, venues])
    let bytes = known.get(text)
    if (bytes === undefined) {
      bytes = encodeText(text)
      if (known.size >= KeptDescriptions) known.clear()
      known.set(text, bytes)
    }
    return bytes
  }
}

const rowBytes: ReadonlyArray<number> = [
  0,
  0,
  ...layouts.slice(1).map((layout) => (layout === undefined ? 0 : Layout.rowBytes(layout)))
]

/** Finds the publishers that occur in a batch. */
class PublisherSet {
  readonly #seen = new Uint8Array(0x10000)
  readonly #found: Array<number> = []

  /** Number and venue of every publisher that occurs and has one. */
  of(batch: MarketBatch): Array<[publisher: number, venue: string]> {
    this.#look(batch.columns.publisher, batch.length)
    if (batch._tag === "QuoteBatch") {
      this.#look(batch.columns.bidPublisher, batch.length)
      this.#look(batch.columns.askPublisher, batch.length)
    }
    const venues: Array<[number, string]> = []
    for (const publisher of this.#found) {
      this.#seen[publisher] = 0
      const venue = batch.context.venueOf(publisher)
      if (venue !== undefined) venues.push([publisher, venue])
    }
    this.#found.length = 0
    return venues
  }

  #look(publishers: Uint16Array, rows: number): void {
    let last = -1
    for (let row = 0; row < rows; row++) {
      const publisher = publishers[row]!
      if (publisher === last) continue
      last = publisher
      if (this.#seen[publisher] === 1) continue
      this.#seen[publisher] = 1
      this.#found.push(publisher)
    }
  }
}

/** Below this many values a loop is cheaper than the calls that move them at once. */
const FewValues = 16

/** Copies the columns of a batch to `offset`; answers with the offset behind them. */
const writeColumns = (
  memory: FrameMemory,
  offset: number,
  batch: MarketBatch,
  layout: Layout.BatchLayout
): number => {
  const columns = batch.columns as unknown as Record<string, Int8Array>
  const words = batch.words as Record<string, Int32Array>
  let end = offset
  for (const name in layout) {
    const { type, lanes } = layout[name]!
    const count = batch.length * lanes
    switch (type) {
      case "i64":
      case "u64":
        end = writeValues(memory.i32, end, 4, words[name]!, 2 * count)
        break
      case "i32":
        end = writeValues(memory.i32, end, 4, columns[name]!, count)
        break
      case "u32":
        end = writeValues(memory.u32, end, 4, columns[name]!, count)
        break
      case "u16":
        end = writeValues(memory.u16, end, 2, columns[name]!, count)
        break
      case "i8":
        end = writeValues(memory.i8, end, 1, columns[name]!, count)
        break
      case "u8":
        end = writeValues(memory.u8, end, 1, columns[name]!, count)
        break
    }
  }
  return end
}

type Values = Int8Array | Uint8Array | Uint16Array | Int32Array | Uint32Array

const writeValues = (
  target: Values,
  offset: number,
  bytes: number,
  source: Values,
  count: number
): number => {
  const at = offset / bytes
  if (count > FewValues) target.set(source.subarray(0, count), at)
  else for (let i = 0; i < count; i++) target[at + i] = source[i]!
  return offset + count * bytes
}

/** Puts the smallest and the largest time of the rows at word `at` and `at + 2`, where any is present. */
const writeTimes = (target: Int32Array, at: number, batch: MarketBatch): void => {
  const span = new TimeSpan()
  span.over(batch.words.tsEvent, batch.length)
  if (batch._tag !== "BarBatch") span.over(batch.words.tsRecv, batch.length)
  if (!span.isEmpty) target.set(span.words, at)
}

/** Smallest and largest present value of 64-bit columns that are given as words. */
class TimeSpan {
  #firstHigh = 0x7fffffff
  #firstLow = 0xffffffff
  #lastHigh = -0x80000000
  #lastLow = 0
  isEmpty = true

  over(words: Int32Array, rows: number): void {
    let [firstHigh, firstLow] = [this.#firstHigh, this.#firstLow]
    let [lastHigh, lastLow] = [this.#lastHigh, this.#lastLow]
    for (let row = 0; row < rows; row++) {
      const high = words[2 * row + 1]!
      const word = words[2 * row]!
      if (high === ABSENT_I64_HIGH && word === ABSENT_I64_LOW) continue
      const low = word >>> 0
      this.isEmpty = false
      if (high < firstHigh || (high === firstHigh && low < firstLow)) {
        firstHigh = high
        firstLow = low
      }
      if (high > lastHigh || (high === lastHigh && low > lastLow)) {
        lastHigh = high
        lastLow = low
      }
    }
    this.#firstHigh = firstHigh
    this.#firstLow = firstLow
    this.#lastHigh = lastHigh
    this.#lastLow = lastLow
  }

  get words(): ReadonlyArray<number> {
    return [this.#firstLow, this.#firstHigh, this.#lastLow, this.#lastHigh]
  }
}

const frameCrc = (memory: FrameMemory, offset: number, payload: number): number => {
  const { i32 } = memory
  const header = offset / 4
  const crc = Crc32c.overWords(Crc32c.Start, i32, header, header + ReservedAt / 4)
  const body = (offset + HeaderBytes) / 4
  return Crc32c.finish(Crc32c.overWords(crc, i32, body, body + payload / 4))
}

// ---------------------------------------------------------------------------------------------------------------------
// Reading

/** What a header says. */
export interface FrameHeader {
  readonly kind: (typeof kinds)[number]
  readonly number: bigint
  readonly rows: number
  /** Bytes of the whole frame. */
  readonly bytes: number
  /** When it was appended, ns since epoch. */
  readonly at: bigint
  /** Smallest and largest time of its rows on either of their clocks; 0 where there is none. */
  readonly first: bigint
  readonly last: bigint
}

/**
 * The header of the frame at `offset`, a multiple of 8, of which everything before `end` is there. "short": it does not end
 * before `end`; "damaged": what is there is no whole frame.
 */
export const inspect = (
  memory: FrameMemory,
  offset: number,
  end: number
): FrameHeader | "short" | "damaged" => {
  const { view } = memory
  if (offset + HeaderBytes > end) return "short"
  const payload = view.getUint32(offset + 8, true)
  const kind = view.getUint8(offset + 5)
  if (view.getUint32(offset, true) !== Magic || view.getUint8(offset + 4) !== Version) return "damaged"
  if (payload > MaxPayloadBytes || payload % Unit !== 0) return "damaged"
  if (offset + HeaderBytes + payload > end) return "short"
  if (view.getUint32(offset + ReservedAt, true) !== 0) return "damaged"
  if (view.getUint32(offset + CrcAt, true) !== frameCrc(memory, offset, payload)) return "damaged"
  const name = kinds[kind - 1]
  if (name === undefined) return "damaged"
  return {
    kind: name,
    number: view.getBigUint64(offset + 16, true),
    rows: view.getUint32(offset + 12, true),
    bytes: HeaderBytes + payload,
    at: view.getBigInt64(offset + 24, true),
    first: view.getBigInt64(offset + 32, true),
    last: view.getBigInt64(offset + 40, true)
  }
}

/** Bytes of the frame at `offset` as far as its header can be believed; undefined where it cannot. */
export const claimedBytes = (memory: FrameMemory, offset: number): number | undefined => {
  if (offset + HeaderBytes > memory.length || memory.view.getUint32(offset, true) !== Magic) return undefined
  const payload = memory.view.getUint32(offset + 8, true)
  return payload > MaxPayloadBytes ? undefined : HeaderBytes + payload
}

/** The next whole frame at or behind `offset` whose number is at least `least`. */
export const find = (
  memory: FrameMemory,
  offset: number,
  end: number,
  least: bigint
): { readonly offset: number; readonly header: FrameHeader } | undefined => {
  for (let at = offset; at + HeaderBytes <= end; at += Unit) {
    if (memory.u32[at / 4] !== Magic) continue
    const header = inspect(memory, at, end)
    if (typeof header === "object" && header.number >= least) return { offset: at, header }
  }
  return undefined
}

/** A frame whose check sum is right says something that this program does not understand. */
export class FrameContentError extends Error {
  override readonly name = "FrameContentError"
}

/** Sessions and contexts that are kept; frames of equal descriptions share one. */
const KeptContexts = 1024

interface Described {
  readonly session: FeedSessionKey
  readonly context: BatchContext
}

/** Reads the entries of frames. Batches own their memory. */
export class FrameDecoder {
  readonly #instruments: InstrumentsOf
  readonly #described = new Map<string, Described>()
  readonly #text = new TextDecoder("utf-8", { fatal: true })

  constructor(instruments: InstrumentsOf = () => emptyDirectory) {
    this.#instruments = instruments
  }

  /** The entry of a frame that `inspect` found whole; throws `FrameContentError`. */
  decode(memory: FrameMemory, offset: number, header: FrameHeader): FeedEntry {
    try {
      const start = offset + HeaderBytes
      const end = offset + header.bytes
      if (header.kind === "note") return SpoolNote.decode(this.#text.decode(memory.u8.subarray(start, end)))
      return this.#rows(memory, offset, header)
    } catch (cause) {
      throw new FrameContentError(cause instanceof Error ? cause.message : String(cause), { cause })
    }
  }

  #rows(memory: FrameMemory, offset: number, { kind, rows, bytes }: FrameHeader): FeedRows {
    const { view } = memory
    const code = kinds.indexOf(kind) + 1
    const each = view.getUint16(offset + 6, true)
    if (each !== rowBytes[code])
      throw new FrameContentError(`rows of ${kind} have ${each} bytes, here ${rowBytes[code]}`)
    const start = offset + HeaderBytes + 8
    const description = start + rows * each
    const textIds = description + view.getUint32(start - 8, true)
    const end = textIds + view.getUint32(start - 4, true)
    if (end > offset + bytes) throw new FrameContentError(`${rows} rows do not fit into ${bytes} bytes`)
    const { session, context } = this.#describe(this.#text.decode(memory.u8.subarray(description, textIds)))
    const columns = memory.u8.buffer.slice(start, description)
    const ids = end === textIds ? undefined : this.#texts(memory.u8.subarray(textIds, end))
    return { _tag: "FeedRows", session, batch: batchOf(kind, context, columns, rows, ids) }
  }

  #texts(bytes: Uint8Array): ReadonlyArray<string> {
    const texts: unknown = JSON.parse(this.#text.decode(bytes))
    if (Array.isArray(texts) && texts.every((text) => typeof text === "string")) return texts
    throw new FrameContentError("the text ids are not a list of texts")
  }

  #describe(text: string): Described {
    const known = this.#described.get(text)
    if (known !== undefined) return known
    const { session, provider, dataset, keyKind, venues } = describedIn(text)
    const names = new Map(venues)
    const venueOf = (publisher: number): string | undefined => names.get(publisher)
    const instruments = this.#instruments({ provider, dataset })
    const described: Described = { session, context: { provider, dataset, keyKind, instruments, venueOf } }
    if (this.#described.size >= KeptContexts) this.#described.clear()
    this.#described.set(text, described)
    return described
  }
}

const keyKinds: ReadonlyArray<unknown> = ["sequenced", "venue-id", "text-hash"] satisfies ReadonlyArray<
  BatchContext["keyKind"]
>

/** The parts of a description, as `FrameEncoder` wrote them. */
const describedIn = (text: string) => {
  const parts: unknown = JSON.parse(text)
  if (!Array.isArray(parts) || parts.length !== 5)
    throw new FrameContentError("the description has other parts")
  const [session, provider, dataset, keyKind, venues] = parts as ReadonlyArray<unknown>
  if (typeof session !== "string" || typeof provider !== "string" || typeof dataset !== "string")
    throw new FrameContentError("session, provider and dataset are not texts")
  if (!keyKinds.includes(keyKind)) throw new FrameContentError(`there are no ${String(keyKind)} keys`)
  if (!Array.isArray(venues) || !venues.every(isVenue)) throw new FrameContentError("the venues are no pairs")
  return { session, provider, dataset, keyKind: keyKind as BatchContext["keyKind"], venues }
}

const isVenue = (pair: unknown): pair is [number, string] =>
  Array.isArray(pair) && pair.length === 2 && typeof pair[0] === "number" && typeof pair[1] === "string"

const batchOf = (
  kind: FrameHeader["kind"],
  context: BatchContext,
  columns: ArrayBuffer,
  rows: number,
  textIds: ReadonlyArray<string> | undefined
): MarketBatch => {
  switch (kind) {
    case "quotes":
      return new QuoteBatch(context, Layout.packed(QuoteLayout, columns, rows), rows)
    case "bars":
      return new BarBatch(context, Layout.packed(BarLayout, columns, rows), rows)
    case "book":
      return new BookBatch(context, Layout.packed(BookLayout, columns, rows), rows)
    default:
      return new TradeBatch(context, Layout.packed(TradeLayout, columns, rows), rows, textIds)
  }
}
