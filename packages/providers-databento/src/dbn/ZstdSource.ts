/**
 * Compressed input: zstd frames back to back, skippable frames among them, legacy DBZ files being a skippable frame of
 * metadata with frames behind it. Whatever is decompressed so far is given out, so a live stream that flushes blocks
 * inside one endless frame is read block by block.
 */
import { ByteCollector } from "./ByteCollector.ts"
import { type ByteSource, ChunkQueue } from "./ByteSource.ts"
import { DbnError } from "./DbnError.ts"
import { DBZ_FIXED_BYTES, type DbnMetadata, decodeDbzMetadata } from "./DbnMetadata.ts"
import { ZstdFrameScanner } from "./ZstdFrame.ts"
import { Continue, ZstdHandle } from "./ZstdHandle.ts"

/** Limits that guard memory against hostile input. */
export interface ZstdLimits {
  /** Largest window that a frame may ask for, bytes. */
  readonly maxWindowBytes: number
  /** Largest DBZ metadata, compressed and decompressed, bytes. */
  readonly maxMetadataBytes: number
}

/** What the input in front of the source is part of. */
type Mode = "open" | "frame" | "skippable" | "dbz"

/** Content of a skippable frame that makes it DBZ metadata: "DBZ", version 1. */
const DBZ_MAGIC = 0x015a4244

/** Decompresses frames one after another. */
export class ZstdSource implements ByteSource {
  readonly #queue = new ChunkQueue()
  readonly #limits: ZstdLimits
  readonly #scanner: ZstdFrameScanner
  #handle: ZstdHandle | undefined
  #mode: Mode = "open"
  /** Input of the current frame that is handed to the decompressor: `#run[#runFrom, #runTo)`. */
  #run = new Uint8Array(0)
  #runFrom = 0
  #runTo = 0
  /** The decompressor has input to read, or may hold output that did not fit the last target. */
  #pending = false
  #skipped = new ByteCollector()
  #header: DbnMetadata | undefined
  #error: DbnError | undefined
  readonly #readsDbz: boolean

  /** `readsDbz` false: skippable frames are never looked into (inside DBZ metadata). */
  constructor(limits: ZstdLimits, readsDbz = true) {
    this.#limits = limits
    this.#readsDbz = readsDbz
    this.#scanner = new ZstdFrameScanner(limits.maxWindowBytes)
  }

  push(chunk: Uint8Array): void {
    this.#queue.push(chunk)
  }

  end(): void {}

  read(target: Uint8Array, from: number, to: number): number {
    if (this.#error !== undefined) throw this.#error
    let at = from
    try {
      while (at < to && this.#header === undefined) {
        if (this.#pending) at = this.#inflate(target, at, to)
        else if (!this.#advance()) break
      }
    } catch (error) {
      this.#fail(error)
      if (at === from) throw this.#error
    }
    return at - from
  }

  takeHeader(): DbnMetadata | undefined {
    const header = this.#header
    this.#header = undefined
    return header
  }

  finish(): void {
    if (this.#error !== undefined) throw this.#error
    if (this.#scanner.isIdle) return
    throw new DbnError(
      "truncated",
      "the compressed input ends inside a zstd frame: it is incomplete, fetch it again",
      { offset: this.#scanner.offset, space: "input" }
    )
  }

  close(): void {
    this.#handle?.close()
    this.#handle = undefined
    this.#queue.clear()
  }

  #fail(error: unknown): void {
    this.#error =
      error instanceof DbnError ? error : new DbnError("corrupt", String(error), undefined, { cause: error })
    this.close()
  }

  /** Takes the next piece of input; false where there is none. */
  #advance(): boolean {
    const chunk = this.#queue.current
    if (chunk === undefined) return false
    const from = this.#queue.position
    if (this.#mode === "open") {
      this.#queue.position = this.#scanner.openUnit(chunk, from, chunk.length)
      this.#begin()
      return true
    }
    const isContent = this.#scanner.isSkipping
    const to = this.#scanner.scan(chunk, from, chunk.length)
    this.#queue.position = to
    if (this.#mode === "frame") this.#feed(chunk, from, to)
    else this.#skip(chunk, from, isContent ? to : from)
    return true
  }

  #begin(): void {
    const magic = this.#scanner.magic.slice()
    const kind = this.#scanner.beginUnit()
    if (kind === undefined) return
    this.#mode = kind
    if (kind === "frame") this.#feed(magic, 0, 4)
    else this.#skipped = new ByteCollector()
  }

  #feed(input: Uint8Array<ArrayBufferLike>, from: number, to: number): void {
    this.#run = input as Uint8Array<ArrayBuffer>
    this.#runFrom = from
    this.#runTo = to
    this.#pending = true
  }

  #inflate(target: Uint8Array, from: number, to: number): number {
    this.#handle ??= ZstdHandle.decompressor(windowLog(this.#limits.maxWindowBytes))
    const handle = this.#handle
    const failure = handle.write(Continue, this.#run, this.#runFrom, this.#runTo, target, from, to)
    if (failure !== undefined) this.#damaged(failure)
    const at = to - handle.outputLeft
    const consumed = this.#runTo - handle.inputLeft
    if (consumed === this.#runFrom && at === from && consumed < this.#runTo)
      this.#damaged("the decompressor makes no progress")
    this.#runFrom = consumed
    // A target filled to the brim may have left output behind in the decompressor: ask again before moving on.
    if (at < to && consumed === this.#runTo) {
      this.#pending = false
      if (this.#scanner.finished) this.#mode = "open"
    }
    return at
  }

  #damaged(text: string): never {
    throw new DbnError("corrupt", `damaged zstd frame: ${text}`, {
      offset: this.#scanner.unitOffset,
      space: "input"
    })
  }

  /** Content of a skippable frame: dropped, unless it begins as DBZ metadata does. */
  #skip(chunk: Uint8Array, from: number, to: number): void {
    let at = from
    if (this.#readsDbz && this.#mode === "skippable" && this.#skipped.length < 4) {
      const lead = Math.min(to - at, 4 - this.#skipped.length)
      this.#skipped.append(chunk, at, at + lead)
      at += lead
      if (this.#skipped.word() === DBZ_MAGIC) this.#beginDbz()
    }
    if (this.#mode === "dbz") this.#skipped.append(chunk, at, to)
    if (!this.#scanner.finished) return
    if (this.#mode === "dbz") this.#header = this.#decodeDbz()
    this.#mode = "open"
  }

  #beginDbz(): void {
    const size = this.#scanner.skippableBytes
    if (size > this.#limits.maxMetadataBytes) throw tooLarge(size, this.#limits, this.#scanner.unitOffset)
    if (size < DBZ_FIXED_BYTES)
      throw new DbnError("corrupt", `DBZ metadata of ${size} bytes, at least ${DBZ_FIXED_BYTES} are needed`, {
        offset: this.#scanner.unitOffset,
        space: "input"
      })
    this.#mode = "dbz"
  }

  #decodeDbz(): DbnMetadata {
    const frame = this.#skipped.bytes()
    const origin = this.#scanner.unitOffset + 8
    return decodeDbzMetadata(frame, this.#inflateLists(frame.subarray(DBZ_FIXED_BYTES), origin), origin)
  }

  /** The compressed second half of DBZ metadata: zstd frames of their own. */
  #inflateLists(compressed: Uint8Array, origin: number): Uint8Array {
    const inner = new ZstdSource(this.#limits, false)
    const out = new ByteCollector()
    const piece = new Uint8Array(16384)
    try {
      inner.push(compressed)
      for (let n = inner.read(piece, 0, piece.length); n > 0; n = inner.read(piece, 0, piece.length)) {
        out.append(piece, 0, n)
        if (out.length > this.#limits.maxMetadataBytes) throw tooLarge(out.length, this.#limits, origin)
      }
      inner.finish()
    } catch (error) {
      if (error instanceof DbnError && error.reason === "too-large") throw error
      throw new DbnError(
        "corrupt",
        `DBZ metadata does not decompress: ${error instanceof Error ? error.message : String(error)}`,
        { offset: origin + DBZ_FIXED_BYTES, space: "input" },
        { cause: error }
      )
    } finally {
      inner.close()
    }
    return out.bytes()
  }
}

const tooLarge = (size: number, limits: ZstdLimits, offset: number): DbnError =>
  new DbnError(
    "too-large",
    `DBZ metadata of ${size} bytes, the limit is ${limits.maxMetadataBytes}: raise maxMetadataBytes if the source is trusted`,
    { offset, space: "input" }
  )

const windowLog = (bytes: number): number => Math.min(31, Math.max(10, Math.ceil(Math.log2(bytes))))
