/**
 * Decompression ahead of its reader: while one buffer is read, the next one is filled on Node's thread pool. Two buffers
 * of fixed size, used in turn.
 *
 * Waking another thread takes tens of microseconds, a block of 128 KiB a few hundred: block by block nothing would be won.
 * Several blocks in one trip make that small, but where one of them is damaged, the library does not say how much it wrote
 * for those in front. So after damage the input is read once more from its start, block by block on this thread, and what
 * was given out before is left out.
 */
import type { ByteSource } from "./ByteSource.ts"
import type { DbnMetadata } from "./DbnMetadata.ts"
import { type ZstdLimits, ZstdSource } from "./ZstdSource.ts"

/** How work is shared between this thread and the pool. */
export interface ReadAheadOptions {
  /** Bytes of each of the two buffers; default 512 KiB. */
  readonly aheadBytes?: number | undefined
  /**
   * Compressed bytes below which the trip would take longer than the decompression, which then happens on this thread.
   * Default 4096.
   */
  readonly leastAsideBytes?: number | undefined
}

/** Input that a reader waits for: what follows the input so far, or all of it once more from its start. */
export type WantedInput = "more" | "start"

const DEFAULT_AHEAD_BYTES = 512 * 1024
const DEFAULT_LEAST_ASIDE_BYTES = 4096

/** What one filling gave: bytes, then metadata or an error, where there is one. */
class Piece {
  readonly bytes: Uint8Array
  from = 0
  to = 0
  header: DbnMetadata | undefined
  error: unknown
  /** Filled to the brim or up to metadata: there may be more. */
  isFull = false

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
  }

  get isRead(): boolean {
    return this.from === this.to && this.header === undefined && this.error === undefined
  }

  set(length: number, header: DbnMetadata | undefined): void {
    this.from = 0
    this.to = length
    this.header = header
    this.isFull = length === this.bytes.length || header !== undefined
  }
}

/** Serves what was decompressed; `advance` waits for more. */
export class ZstdReadAhead implements ByteSource {
  readonly #limits: ZstdLimits
  #leastAside: number
  #source: ZstdSource
  #current: Piece
  #next: Piece
  /** Settled once `#next` is filled; never rejected. */
  #filling: Promise<void> | undefined
  /** The second pass, whose errors are told. */
  #isExact = false
  #wantsStart = false
  /** What was given out: bytes, and metadata outside of them. */
  #givenBytes = 0
  #givenHeaders = 0
  /** The part of it that the second pass has yet to leave out. */
  #skipBytes = 0
  #skipHeaders = 0
  #closed = false

  constructor(limits: ZstdLimits, options: ReadAheadOptions) {
    const { aheadBytes = DEFAULT_AHEAD_BYTES, leastAsideBytes = DEFAULT_LEAST_ASIDE_BYTES } = options
    const size = Math.max(1, aheadBytes)
    this.#limits = limits
    this.#leastAside = leastAsideBytes
    this.#source = new ZstdSource(limits, { inStretches: true })
    this.#current = new Piece(size)
    this.#next = new Piece(size)
  }

  /** Takes further input, or the first of the input once more where its start is wanted, and begins to decompress it. */
  push(chunk: Uint8Array): void {
    if (this.#wantsStart) {
      // The filling that found damage gave nothing.
      this.#filling = undefined
      this.#wantsStart = false
    }
    this.#source.push(chunk)
    this.#filling ??= this.#fill()
  }

  end(): void {}

  /** Input that would be worked on while the current buffer is read; undefined where there is enough. */
  get wants(): WantedInput | undefined {
    if (this.#wantsStart) return "start"
    return this.#filling === undefined && this.#current.error === undefined ? "more" : undefined
  }

  read(target: Uint8Array, from: number, to: number): number {
    const piece = this.#current
    const length = Math.min(to - from, piece.to - piece.from)
    if (length === 0 && piece.error !== undefined) throw piece.error
    target.set(piece.bytes.subarray(piece.from, piece.from + length), from)
    piece.from += length
    return length
  }

  takeHeader(): DbnMetadata | undefined {
    const { header } = this.#current
    this.#current.header = undefined
    return header
  }

  /** Waits until there is something to `read`; false where all that was pushed has been read. */
  async advance(): Promise<boolean> {
    while (this.#current.isRead) {
      this.#filling ??= this.#fill()
      await this.#filling
      const piece = this.#next
      this.#next = this.#current
      this.#current = piece
      // A buffer that is not full ends where input is missing, or at an error: then nothing is left to do ahead.
      const hasMore = piece.isFull
      this.#filling = hasMore ? this.#fill() : undefined
      if (!hasMore) return !piece.isRead
    }
    return true
  }

  finish(): void {
    this.#source.finish()
  }

  close(): void {
    this.#closed = true
    this.#source.close()
  }

  /** Settled once no other thread uses the input or the buffers. */
  async idle(): Promise<void> {
    await this.#filling
  }

  async #fill(): Promise<void> {
    const piece = this.#next
    piece.set(0, undefined)
    try {
      const length = await this.#source.readAside(piece.bytes, 0, piece.bytes.length, this.#leastAside)
      piece.set(length, this.#source.takeHeader())
      this.#skip(piece)
    } catch (error) {
      if (this.#isExact || this.#closed) piece.error = error
      else this.#startAgain()
    }
  }

  /** Leaves out what the first pass gave, and counts the rest. */
  #skip(piece: Piece): void {
    const bytes = Math.min(this.#skipBytes, piece.to)
    this.#skipBytes -= bytes
    piece.from = bytes
    this.#givenBytes += piece.to - bytes
    if (piece.header === undefined) return
    if (this.#skipHeaders === 0) this.#givenHeaders += 1
    else {
      this.#skipHeaders -= 1
      piece.header = undefined
    }
  }

  #startAgain(): void {
    this.#source.close()
    this.#source = new ZstdSource(this.#limits)
    this.#isExact = true
    this.#leastAside = Number.POSITIVE_INFINITY
    this.#wantsStart = true
    this.#skipBytes = this.#givenBytes
    this.#skipHeaders = this.#givenHeaders
  }
}
