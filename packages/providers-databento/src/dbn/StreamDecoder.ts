/**
 * The DBN state machine: bytes of one DBN stream in, headers and blocks of whole records out. Split points of the input
 * do not matter. One fixed buffer; records are moved to a multiple of 4 bytes when they enter it, because the headers
 * of versions 1 and 2 leave them at odd offsets.
 *
 *     sniff --- "DBN" ---> header ---> records ---+--- "DBN" at a record limit (files joined with cat) ---> header
 *       |                                         |
 *       +---- a fragment, if the caller says so --+
 *
 * Everything whole is given out before an error is thrown.
 */
import { ByteCollector } from "./ByteCollector.ts"
import type { ByteSource } from "./ByteSource.ts"
import { DbnError, type DbnErrorPlace } from "./DbnError.ts"
import { type DbnMetadata, decodeMetadata, metadataLength, PRELUDE_BYTES } from "./DbnMetadata.ts"
import { FragmentVersion } from "./FragmentVersion.ts"
import { type DbnVersion, TS_OUT_BYTES } from "./Layout.ts"
import { RecordBlock } from "./RecordBlock.ts"
import { RecordUpgrade } from "./RecordUpgrade.ts"
import { layoutOf, minimumWords, rtypeName } from "./Rtype.ts"

/** What is known about records without a header. Both are inferred from record sizes where they are not given. */
export interface FragmentOptions {
  readonly version?: DbnVersion | undefined
  readonly tsOut?: boolean | undefined
}

/** Settings of a decoder. */
export interface DecoderOptions {
  /**
   * Version that records are upgraded to. 3 is the vendor's default; 2 refuses version 3 input; absent leaves every record
   * as it is.
   */
  readonly upgrade?: 2 | 3 | undefined
  /** Accept records without a header. Without it, such input is refused as not DBN. */
  readonly fragment?: FragmentOptions | undefined
  /** Bytes of the record buffer; default 64 KiB, which stays in a second-level cache. A block never exceeds it (four times, where version 1 is upgraded). */
  readonly bufferBytes?: number | undefined
  /** Largest header, bytes; default 128 MiB. */
  readonly maxMetadataBytes?: number | undefined
  /** Largest zstd window, bytes; default 128 MiB, as the zstd tools have it. */
  readonly maxWindowBytes?: number | undefined
}

export const DEFAULT_BUFFER_BYTES = 64 * 1024
export const DEFAULT_MAX_METADATA_BYTES = 128 * 1024 * 1024
export const DEFAULT_MAX_WINDOW_BYTES = 128 * 1024 * 1024

/** Room for the longest record (1020 bytes) and then some. */
const MIN_BUFFER_BYTES = 4096

const requireLittleEndian = (): void => {
  if (new Uint8Array(new Uint32Array([1]).buffer)[0] !== 1)
    throw new DbnError(
      "unsupported",
      "DBN is read in place as little-endian words; this machine is big-endian"
    )
}

/** "DB" as the low half of a record's first word, and "DBN" as its low three bytes. */
const DB = 0x4244
const DBN = 0x4e4244

const isHeaderWord = (word: number): boolean => {
  const version = (word >>> 24) & 0xff
  return (word & 0xffffff) === DBN && version >= 1 && version <= 3
}

/** Whether a record of this type has this length in some version, with ts_out or without. */
const isRecordSize = (rtype: number, length: number): boolean =>
  ([1, 2, 3] as const).some((version) => {
    const size = layoutOf(rtype, version)?.size
    return size === length || size === length - TS_OUT_BYTES
  })

type State = "sniff" | "header" | "records" | "failed"

/** Decodes one uncompressed DBN stream that it pulls from a source. `DbnDecoder` wraps it for input of any container. */
export class StreamDecoder {
  readonly #source: ByteSource
  readonly #options: DecoderOptions
  readonly #maxMetadata: number
  readonly #bytes: Uint8Array<ArrayBuffer>
  readonly #words: Int32Array<ArrayBuffer>
  #state: State = "sniff"
  /** Unread bytes of the buffer: `[#from, #to)`; `#from` is a multiple of 4 while records are read. */
  #from = 0
  #to = 0
  /** Offset in the DBN stream of buffer position `#from`. */
  #offset = 0
  #header = new ByteCollector()
  #headerLength = 0
  #metadata: DbnMetadata | undefined
  #segment = -1
  #version: DbnVersion = 3
  #tsOut = false
  #minimum: Uint8Array = minimumWords(3, false)
  #fragment: FragmentVersion | undefined
  #upgrade: RecordUpgrade | undefined
  #ended = false
  #error: DbnError | undefined

  constructor(source: ByteSource, options: DecoderOptions = {}) {
    this.#source = source
    this.#options = options
    this.#maxMetadata = options.maxMetadataBytes ?? DEFAULT_MAX_METADATA_BYTES
    requireLittleEndian()
    const size = Math.max(MIN_BUFFER_BYTES, Math.ceil((options.bufferBytes ?? DEFAULT_BUFFER_BYTES) / 8) * 8)
    this.#bytes = new Uint8Array(new ArrayBuffer(size))
    this.#words = new Int32Array(this.#bytes.buffer)
  }

  /** The latest header, as stored; undefined before it was read, and in a fragment. */
  get metadata(): DbnMetadata | undefined {
    return this.#metadata
  }

  /** Bytes of the DBN stream that were decoded. */
  get offset(): number {
    return this.#offset
  }

  /** No more bytes will come: what is left over becomes a truncation error of `take`. */
  end(): void {
    this.#ended = true
  }

  /**
   * The next whole records; undefined where more input is needed, or, after `end`, where all was read. Every header gives
   * at least one block, an empty one if need be. Invalidates the block before. Throws `DbnError` once everything in
   * front of the error was given out, and the same one again on every further call.
   */
  take(): RecordBlock | undefined {
    if (this.#error !== undefined) throw this.#error
    try {
      return this.#next()
    } catch (error) {
      this.#error =
        error instanceof DbnError
          ? error
          : new DbnError("corrupt", String(error), undefined, { cause: error })
      throw this.#error
    }
  }

  #next(): RecordBlock | undefined {
    for (;;) {
      if (this.#state === "records") {
        const block = this.#scan()
        if (block !== undefined) return block
        // `#scan` found a header in place of a record.
        if (this.#state !== "records") continue
      } else if (this.#state === "header") {
        if (this.#collectHeader()) return this.#block(this.#from, this.#from, 0)
      } else if (this.#sniff()) continue
      if (this.#fill() > 0) continue
      const header = this.#source.takeHeader()
      return header === undefined ? this.#starved() : this.#beginDbz(header)
    }
  }

  /** Moves what is left to the front and reads behind it. */
  #fill(): number {
    const rest = this.#to - this.#from
    if (this.#from > 0) {
      if (rest > 0) this.#bytes.copyWithin(0, this.#from, this.#to)
      this.#from = 0
      this.#to = rest
    }
    const read = this.#source.read(this.#bytes, this.#to, this.#bytes.length)
    this.#to += read
    return read
  }

  #starved(): undefined {
    if (!this.#ended) return undefined
    this.#source.finish()
    const rest = this.#to - this.#from
    if (this.#state === "records" && rest === 0) return undefined
    if (this.#state === "sniff" && rest === 0) return this.#nothing()
    const inside = this.#state === "records" ? this.#recordText(rest) : "inside the metadata"
    throw new DbnError(
      "truncated",
      `the input ends ${inside}: it is incomplete, fetch it again; everything before was delivered`,
      this.#at(0)
    )
  }

  #recordText(rest: number): string {
    const length = this.#bytes[this.#from]! * 4
    return `inside a record, ${rest} of its ${length} bytes are there`
  }

  /** End of input without a single byte of DBN. */
  #nothing(): undefined {
    if (this.#options.fragment !== undefined) return undefined
    throw new DbnError("empty", "the input holds no data: expected DBN metadata", this.#at(0))
  }

  /** Decides what the stream begins with; true once decided. */
  #sniff(): boolean {
    const rest = this.#to - this.#from
    const lead = this.#bytes.subarray(this.#from, this.#from + Math.min(3, rest))
    const isDbn = lead.every((byte, i) => byte === [0x44, 0x42, 0x4e][i])
    if (rest < 3 && isDbn) return false
    if (isDbn) {
      this.#state = "header"
      return true
    }
    if (this.#options.fragment === undefined) {
      if (rest < 16 && !this.#ended) return false
      throw this.#notDbn(rest)
    }
    this.#beginFragment(this.#options.fragment)
    return true
  }

  #notDbn(rest: number): DbnError {
    const looksLikeRecords =
      rest >= 16 && isRecordSize(this.#bytes[this.#from + 1]!, this.#bytes[this.#from]! * 4)
    return new DbnError(
      "not-dbn",
      looksLikeRecords
        ? "no DBN metadata, but what may be a record: if this is a fragment, say so (option `fragment`, `dm dbn --dbn-version N`)"
        : 'not DBN: expected metadata that begins with "DBN", or zstd or DBZ data that holds it',
      this.#at(0)
    )
  }

  #beginFragment(options: FragmentOptions): void {
    this.#segment = 0
    this.#fragment = new FragmentVersion(options.version, options.tsOut)
    this.#state = "records"
    this.#layOut(this.#fragment.version, this.#fragment.tsOut)
  }

  #beginDbz(header: DbnMetadata): RecordBlock {
    if (this.#to > this.#from || this.#state === "header")
      throw new DbnError("corrupt", "DBZ metadata in the middle of a record", this.#at(0))
    this.#begin(header, 1)
    return this.#block(0, 0, 0)
  }

  #begin(metadata: DbnMetadata, version: DbnVersion): void {
    this.#metadata = metadata
    this.#segment += 1
    this.#fragment = undefined
    this.#state = "records"
    this.#layOut(version, metadata.tsOut)
  }

  #layOut(version: DbnVersion, tsOut: boolean): void {
    const target = this.#options.upgrade
    if (target !== undefined && version > target)
      throw new DbnError(
        "usage",
        `the input is DBN version ${version} and cannot be turned into version ${target}: there are no downgrades`,
        this.#at(0)
      )
    this.#version = version
    this.#tsOut = tsOut
    this.#minimum = minimumWords(version, tsOut)
    this.#upgrade =
      target === undefined || target === version ? undefined : new RecordUpgrade(version, target, tsOut)
  }

  /** Gathers the bytes of a header; true once it is read and records begin at `#from`. */
  #collectHeader(): boolean {
    if (this.#headerLength === 0 && !this.#prelude()) return false
    const wanted = this.#headerLength - this.#header.length
    const taken = Math.min(wanted, this.#to - this.#from)
    this.#header.append(this.#bytes, this.#from, this.#from + taken)
    this.#from += taken
    if (taken < wanted) return false
    const metadata = decodeMetadata(this.#header.bytes(), this.#offset)
    this.#offset += this.#headerLength
    this.#header = new ByteCollector()
    this.#headerLength = 0
    this.#align()
    this.#begin(metadata, metadata.version as DbnVersion)
    return true
  }

  /** Reads the length of the header once its prelude is there. */
  #prelude(): boolean {
    if (this.#to - this.#from < PRELUDE_BYTES) {
      // A version this codec does not know may not even have a length: refuse it as soon as it shows.
      if (this.#to - this.#from >= 4 && !isHeaderWord(this.#word(this.#from)))
        metadataLength(this.#bytes.slice(this.#from, this.#from + 8), this.#at(0))
      return false
    }
    const length = metadataLength(this.#bytes.subarray(this.#from, this.#from + PRELUDE_BYTES), this.#at(0))
    if (length > this.#maxMetadata)
      throw new DbnError(
        "too-large",
        `metadata of ${length} bytes, the limit is ${this.#maxMetadata}: raise maxMetadataBytes if the source is trusted`,
        this.#at(4)
      )
    this.#headerLength = PRELUDE_BYTES + length
    return true
  }

  #word(at: number): number {
    const b = this.#bytes
    return b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)
  }

  /** Moves the unread bytes so that records begin at a multiple of 4. */
  #align(): void {
    if (this.#from % 4 === 0) return
    this.#bytes.copyWithin(0, this.#from, this.#to)
    this.#to -= this.#from
    this.#from = 0
  }

  /**
   * The block of whole records at the front of the buffer; undefined where there is none. Stops in front of a header,
   * in front of a record that changes what is known about a fragment, and in front of damage.
   */
  #scan(): RecordBlock | undefined {
    const words = this.#words
    let minimum = this.#minimum
    const start = this.#from >>> 2
    const end = this.#to >>> 2
    let p = start
    let head = -1
    let length = 0
    let count = 0
    while (p < end) {
      const word = words[p]!
      if ((word & 0xffff) !== head) {
        length = word & 0xff
        if (length < 4 || length < minimum[(word >>> 8) & 0xff]! || (word & 0xffff) === DB) {
          if (this.#interrupts(word, p, start)) break
        }
        if (this.#fragment?.undecided === true) {
          if (this.#narrow(word, p, start)) break
          minimum = this.#minimum
        }
        // A header begins like a record of this type and length: look at each of them.
        head = (word & 0xffff) === DB ? -1 : word & 0xffff
      }
      if (p + length > end) break
      p += length
      count++
    }
    return count === 0 ? undefined : this.#block(start * 4, p * 4, count)
  }

  /**
   * A record that is not what it should be. True ends the block in front of it; called at the front of the buffer it
   * deals with it: a header changes the state, damage throws.
   */
  #interrupts(word: number, p: number, start: number): boolean {
    if (this.#metadata !== undefined && isHeaderWord(word)) {
      if (p === start) this.#state = "header"
      return true
    }
    const length = (word & 0xff) * 4
    const rtype = (word >>> 8) & 0xff
    const least = this.#minimum[rtype]! * 4
    if (length >= 16 && length >= least) return false
    if (this.#fragment?.undecided === true && length >= 16 && this.#fragment.allows(rtype, length))
      return false
    if (p > start) return true
    throw new DbnError(
      "corrupt",
      length < 16
        ? `a record of ${length} bytes cannot exist (its header alone has 16): the stream is damaged here`
        : `a ${rtypeName(rtype)} record of ${length} bytes is shorter than its struct in DBN version ${this.#version}, ${least} bytes: the stream is damaged here, or version or ts_out are wrong`,
      this.#at(0)
    )
  }

  /** Learns from a record of a fragment; true where that changes how records are laid out and the block must end. */
  #narrow(word: number, p: number, start: number): boolean {
    const fragment = this.#fragment!
    const length = (word & 0xff) * 4
    const rtype = (word >>> 8) & 0xff
    const next = fragment.after(rtype, length)
    const changes = next.version !== this.#version || next.tsOut !== this.#tsOut
    if (changes && p > start) return true
    this.#fragment = next
    if (changes) this.#layOut(next.version, next.tsOut)
    return false
  }

  /** Gives out buffer bytes `[from, to)`: `length` records. */
  #block(from: number, to: number, length: number): RecordBlock {
    const offset = this.#offset
    this.#from = to
    this.#offset += to - from
    const init = {
      bytes: this.#bytes,
      words: this.#words,
      start: from >>> 2,
      end: to >>> 2,
      version: this.#version,
      tsOut: this.#tsOut,
      metadata: this.#metadata,
      segment: this.#segment,
      offset,
      length
    }
    return this.#upgrade === undefined ? new RecordBlock(init) : this.#upgrade.block(init)
  }

  #at(delta: number): DbnErrorPlace {
    return { offset: this.#offset + delta, space: "stream" }
  }
}
