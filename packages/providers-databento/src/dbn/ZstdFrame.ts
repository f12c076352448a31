/**
 * Where zstd frames begin and end, found without decompressing: headers are read, block contents stepped over.
 *
 *     frame      28 B5 2F FD | descriptor 1 | window 0..1 | dictionary id 0..4 | content size 0..8 | blocks ... | checksum 0 or 4
 *     block      header 3: last (1 bit), type (2 bits), size (21 bits) | content: size bytes, or 1 byte where type is RLE
 *     skippable  5x 2A 4D 18 | size 4 | content
 *
 * Needed because Node stops silently behind the first frame, because a file that ends inside a frame must be told from
 * one that ends behind it, and because a window size in a header is a request for that much memory. RFC 8878.
 */
import { DbnError, type DbnErrorPlace } from "./DbnError.ts"

/** First word of a zstd frame. */
export const ZSTD_MAGIC = 0xfd2fb528
/** First word of a skippable frame, its low four bits being free. */
export const SKIPPABLE_MAGIC = 0x184d2a50

/** Whether a little-endian first word begins a skippable frame. */
export const isSkippable = (word: number): boolean => (word & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC

const MAX_BLOCK_BYTES = 128 * 1024

/** What the scanner stands in: between frames, in one of the parts of a frame, in a skippable frame. */
type Part = "magic" | "header" | "block-header" | "block" | "checksum" | "skip-size" | "skip"

/** What the bytes of a run belong to. */
export type RunKind = "frame" | "skippable"

/** Steps over compressed input of any split and finds the ends of frames. Holds a few bytes of state. */
export class ZstdFrameScanner {
  readonly #maxWindow: number
  readonly #small = new Uint8Array(18)
  #part: Part = "magic"
  /** Bytes of the current part that are in `#small`, or, in a block or skippable content, still to come. */
  #have = 0
  #left = 0
  #blockLimit = MAX_BLOCK_BYTES
  #hasChecksum = false
  #lastBlock = false
  /** Set where `scan` has to return. */
  #pause = false
  /** Input bytes seen. */
  #offset = 0
  #unitOffset = 0
  /** Whether the run that `scan` just returned completes its frame. */
  finished = false
  /** Size of the skippable frame that the scanner is in. */
  skippableBytes = 0

  /** `maxWindow`: largest window in bytes that a frame may ask for. */
  constructor(maxWindow: number) {
    this.#maxWindow = maxWindow
  }

  /** Between two frames, where input may end. */
  get isIdle(): boolean {
    return this.#part === "magic" && this.#have === 0
  }

  /** Input bytes seen so far. */
  get offset(): number {
    return this.#offset
  }

  /** Where the frame began that the scanner is in. */
  get unitOffset(): number {
    return this.#unitOffset
  }

  /** The first four bytes of the frame whose first word `openUnit` completed. */
  get magic(): Uint8Array {
    return this.#small.subarray(0, 4)
  }

  /**
   * Between frames: takes bytes of the next first word. Returns the position behind them; `kind` is set once the word is
   * complete. Its bytes are then in `magic`.
   */
  openUnit(bytes: Uint8Array, from: number, to: number): number {
    if (this.#have === 0) this.#unitOffset = this.#offset
    return this.#collect(bytes, from, to, 4)
  }

  /** Kind of the frame after `openUnit`, undefined while its first word is incomplete. Begins the frame. */
  beginUnit(): RunKind | undefined {
    if (this.#have < 4) return undefined
    const word = this.#little(0, 4)
    if (word !== ZSTD_MAGIC && !isSkippable(word))
      throw new DbnError(
        "corrupt",
        `bytes that begin no zstd frame (${hex(this.#small.subarray(0, 4))}) follow a zstd frame: the file is damaged or something else was appended`,
        this.#at(this.#unitOffset)
      )
    this.#have = 0
    this.finished = false
    this.#part = word === ZSTD_MAGIC ? "header" : "skip-size"
    return word === ZSTD_MAGIC ? "frame" : "skippable"
  }

  /**
   * Inside a frame: the position up to which `bytes[from, to)` belong to it, at most to the end of one block, or to the
   * beginning of skippable content. Sets `finished` when the last byte of the frame was seen. Throws `DbnError` for what
   * is no valid frame or asks for too large a window.
   */
  scan(bytes: Uint8Array, from: number, to: number): number {
    let at = from
    this.#pause = false
    while (at < to && !this.#pause) at = this.#step(bytes, at, to)
    return at
  }

  #step(bytes: Uint8Array, from: number, to: number): number {
    switch (this.#part) {
      case "header":
        return this.#header(bytes, from, to)
      case "block-header":
        return this.#blockHeader(bytes, from, to)
      case "skip-size":
        return this.#skipSize(bytes, from, to)
      case "checksum": {
        const at = this.#collect(bytes, from, to, 4)
        if (this.#have === 4) this.#finish()
        return at
      }
      default: {
        const taken = Math.min(this.#left, to - from)
        this.#left -= taken
        this.#offset += taken
        if (this.#left === 0) this.#contentEnd()
        return from + taken
      }
    }
  }

  #header(bytes: Uint8Array, from: number, to: number): number {
    let at = this.#collect(bytes, from, to, 1)
    const descriptor = this.#small[0] as number
    const single = (descriptor & 0x20) !== 0
    const sizeFlag = descriptor >> 6
    const sizeBytes = sizeFlag === 0 ? (single ? 1 : 0) : 1 << sizeFlag
    const idBytes = [0, 1, 2, 4][descriptor & 3] as number
    const length = 1 + (single ? 0 : 1) + idBytes + sizeBytes
    at = this.#collect(bytes, at, to, length)
    if (this.#have < length) return at
    if ((descriptor & 0x08) !== 0)
      throw new DbnError("corrupt", "zstd frame header with its reserved bit set", this.#at(this.#unitOffset))
    const idAt = single ? 1 : 2
    if (this.#little(idAt, idBytes) !== 0)
      throw new DbnError(
        "unsupported",
        `zstd frame made with dictionary ${this.#little(idAt, idBytes)}: decompress it with that dictionary first`,
        this.#at(this.#unitOffset)
      )
    const window = single ? this.#contentSize(idAt + idBytes, sizeBytes) : this.#windowSize()
    if (window > this.#maxWindow)
      throw new DbnError(
        "too-large",
        `zstd frame asks for a window of ${window} bytes, the limit is ${this.#maxWindow}: raise maxWindowBytes if the source is trusted`,
        this.#at(this.#unitOffset)
      )
    this.#blockLimit = Math.min(Math.max(window, 1), MAX_BLOCK_BYTES)
    this.#hasChecksum = (descriptor & 0x04) !== 0
    this.#enter("block-header")
    return at
  }

  #windowSize(): number {
    const descriptor = this.#small[1] as number
    const base = 2 ** (10 + (descriptor >> 3))
    return base + (base / 8) * (descriptor & 7)
  }

  #contentSize(at: number, length: number): number {
    return this.#little(at, length) + (length === 2 ? 256 : 0)
  }

  #blockHeader(bytes: Uint8Array, from: number, to: number): number {
    const at = this.#collect(bytes, from, to, 3)
    if (this.#have < 3) return at
    const header = this.#little(0, 3)
    const type = (header >> 1) & 3
    const size = header >> 3
    if (type === 3 || size > this.#blockLimit)
      throw new DbnError(
        "corrupt",
        type === 3
          ? "zstd block of the reserved type"
          : `zstd block of ${size} bytes, at most ${this.#blockLimit} are allowed`,
        this.#at(this.#offset - 3)
      )
    this.#lastBlock = (header & 1) === 1
    this.#enter("block")
    this.#left = type === 1 ? 1 : size
    if (this.#left === 0) this.#contentEnd()
    return at
  }

  #skipSize(bytes: Uint8Array, from: number, to: number): number {
    const at = this.#collect(bytes, from, to, 4)
    if (this.#have < 4) return at
    this.skippableBytes = this.#little(0, 4)
    this.#left = this.skippableBytes
    this.#enter("skip")
    this.#pause = true
    if (this.#left === 0) this.#contentEnd()
    return at
  }

  /** The next bytes are content of a skippable frame. */
  get isSkipping(): boolean {
    return this.#part === "skip"
  }

  #contentEnd(): void {
    this.#pause = true
    if (this.#part === "skip") this.#finish()
    else if (!this.#lastBlock) this.#enter("block-header")
    else if (this.#hasChecksum) this.#enter("checksum")
    else this.#finish()
  }

  #finish(): void {
    this.finished = true
    this.#pause = true
    this.#enter("magic")
  }

  #enter(part: Part): void {
    this.#part = part
    this.#have = 0
  }

  /** Gathers bytes until `#small` holds `length` of them. */
  #collect(bytes: Uint8Array, from: number, to: number, length: number): number {
    let at = from
    while (this.#have < length && at < to) {
      this.#small[this.#have++] = bytes[at++] as number
      this.#offset++
    }
    return at
  }

  #little(at: number, length: number): number {
    let value = 0
    for (let i = length - 1; i >= 0; i--) value = value * 256 + (this.#small[at + i] as number)
    return value
  }

  #at(offset: number): DbnErrorPlace {
    return { offset, space: "input" }
  }
}

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ")
