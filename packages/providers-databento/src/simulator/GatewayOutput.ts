/** What a session has to send: text, then DBN, raw or as one endless zstd stream that is flushed with every batch. */
import { TS_OUT_BYTES } from "../dbn/Layout.ts"
import { layoutOf } from "../dbn/Rtype.ts"
import { ZstdEncoder } from "../dbn/ZstdEncoder.ts"
import type { RecordTable } from "./RecordTable.ts"

const CHUNK_BYTES = 1 << 16
const MAX_RECORD = 1024
/** A character that is no action and no side. */
const UNKNOWN_ENUM = 0x7a

/** Collects bytes; `take` gives out what was collected as chunks of their own or shared memory. */
export class GatewayOutput {
  /** What was collected before compression began. */
  readonly #plain: Array<Uint8Array> = []
  readonly #chunks: Array<Uint8Array> = []
  #chunk = new Uint8Array(0)
  #view = new DataView(this.#chunk.buffer)
  #from = 0
  #to = 0
  #length = 0
  /** Where in the chunk the last record begins. */
  #lastRecord = 0
  #zstd: ZstdEncoder | undefined

  /** Bytes collected since the last `take`, before compression. */
  get length(): number {
    return this.#length
  }

  /** Everything from here on is compressed. */
  compress(): void {
    this.#seal()
    this.#plain.push(...this.#chunks.splice(0))
    this.#zstd = new ZstdEncoder({ level: 1 })
  }

  text(line: string): void {
    this.bytes(new TextEncoder().encode(line))
  }

  /** Bytes that nobody changes any more. */
  bytes(bytes: Uint8Array): void {
    this.#seal()
    this.#chunks.push(bytes)
    this.#length += bytes.length
  }

  /** A row, with a send time where there is one, longer by zero bytes where asked. */
  record(table: RecordTable, row: number, tsOut: bigint | undefined, extraWords: number): void {
    if (this.#to + MAX_RECORD > this.#chunk.length) this.#grow()
    const from = table.offsets[row]!
    const size = table.offsets[row + 1]! - from
    const at = this.#to
    const total = Math.min(255 * 4, size + extraWords * 4 + (tsOut === undefined ? 0 : TS_OUT_BYTES))
    this.#chunk.set(table.bytes.subarray(from, from + size), at)
    if (total !== size) this.#chunk[at] = total / 4
    if (tsOut !== undefined) this.#view.setBigUint64(at + total - TS_OUT_BYTES, tsOut, true)
    this.#lastRecord = at
    this.#to += total
    this.#length += total
  }

  /** Puts an unknown action and side into the record that was written last, of the given row. */
  setEnums(table: RecordTable, row: number): void {
    const layout = layoutOf(table.bytes[table.offsets[row]! + 1]!, table.version)
    for (const [offset, name] of layout?.fields ?? [])
      if (name === "action" || name === "side") this.#chunk[this.#lastRecord + offset] = UNKNOWN_ENUM
  }

  /** What was collected, compressed where asked. */
  take(): ReadonlyArray<Uint8Array> {
    this.#seal()
    const chunks = this.#chunks.splice(0)
    this.#length = 0
    const zstd = this.#zstd
    if (zstd === undefined || chunks.length === 0) return chunks
    const packed = [...chunks.map((chunk) => zstd.push(chunk)), zstd.flush()]
    return [...this.#plain.splice(0), ...packed.filter((chunk) => chunk.length > 0)]
  }

  /** Frees the compressor. */
  close(): void {
    this.#zstd?.close()
  }

  #seal(): void {
    if (this.#to > this.#from) this.#chunks.push(this.#chunk.subarray(this.#from, this.#to))
    this.#from = this.#to
  }

  #grow(): void {
    this.#seal()
    this.#chunk = new Uint8Array(CHUNK_BYTES)
    this.#view = new DataView(this.#chunk.buffer)
    this.#from = 0
    this.#to = 0
  }
}
