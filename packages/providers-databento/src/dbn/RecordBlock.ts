/** Whole records in one stretch of memory: what a decoder gives out and what gatherers and text writers read. */
import type { DbnMetadata } from "./DbnMetadata.ts"
import { type DbnRecord, decodeRecord } from "./DbnRecord.ts"
import type { DbnVersion } from "./Layout.ts"

/**
 * Records back to back: the first one begins at word `start`, the next one `words[start] & 0xff` words later, until
 * `end`. Every record is whole, begins at a multiple of 4 bytes, has at least the 4 words of the header, and, where its
 * type is known, at least the length of its struct.
 *
 * The memory belongs to the decoder: it is valid until the next `take` or `close`. Copy what has to live longer.
 */
export class RecordBlock {
  /** Memory of the block; byte position of word `p` is `4 p`. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** The same memory as little-endian 32-bit words. */
  readonly words: Int32Array<ArrayBuffer>
  /** Word position of the first record. */
  readonly start: number
  /** Word position behind the last record; equal to `start` where the block announces a header alone. */
  readonly end: number
  /** Version that the records are laid out in: the one of the stream, or the one upgraded to. */
  readonly version: DbnVersion
  /** Every record ends with a ts_out. */
  readonly tsOut: boolean
  /** Header of the stream as it was stored (not upgraded); undefined in a fragment. */
  readonly metadata: DbnMetadata | undefined
  /** Counts headers: 0 for the first stream of the input, 1 for a second one appended to it, and so on. */
  readonly segment: number
  /** Offset of the first record in the DBN stream (as stored, headers included). */
  readonly offset: number
  /** Number of records. */
  readonly length: number

  constructor(init: {
    readonly bytes: Uint8Array<ArrayBuffer>
    readonly words: Int32Array<ArrayBuffer>
    readonly start: number
    readonly end: number
    readonly version: DbnVersion
    readonly tsOut: boolean
    readonly metadata: DbnMetadata | undefined
    readonly segment: number
    readonly offset: number
    readonly length: number
  }) {
    this.bytes = init.bytes
    this.words = init.words
    this.start = init.start
    this.end = init.end
    this.version = init.version
    this.tsOut = init.tsOut
    this.metadata = init.metadata
    this.segment = init.segment
    this.offset = init.offset
    this.length = init.length
  }

  /** The first `count` records, sharing the memory. */
  first(count: number): RecordBlock {
    if (count >= this.length) return this
    let end = this.start
    for (let n = 0; n < count; n++) end += this.words[end]! & 0xff
    return new RecordBlock({ ...this, end, length: Math.max(0, count) })
  }

  /** The records from word `start` to word `end`, which are where records of this block begin or end. Shares the memory. */
  between(start: number, end: number): RecordBlock {
    if (start === this.start && end === this.end) return this
    let length = 0
    for (let p = start; p < end; p += this.words[p]! & 0xff) length += 1
    return new RecordBlock({ ...this, start, end, offset: this.offset + 4 * (start - this.start), length })
  }

  /** Word positions of the records. */
  *positions(): IterableIterator<number> {
    for (let p = this.start; p < this.end; p += this.words[p]! & 0xff) yield p
  }

  /** The records as objects. For people, tests and rare record types; bulk data is read through `words`. */
  *records(): IterableIterator<DbnRecord> {
    for (let p = this.start; p < this.end; p += this.words[p]! & 0xff) yield decodeRecord(this, p)
  }

  /** Copies of the records' bytes, one array each. */
  *copies(): IterableIterator<Uint8Array> {
    for (let p = this.start; p < this.end; p += this.words[p]! & 0xff)
      yield this.bytes.slice(p * 4, (p + (this.words[p]! & 0xff)) * 4)
  }
}
