/**
 * Decompression ahead of its reader: while one buffer is read, the next one is filled on Node's thread pool. Two buffers
 * of fixed size, used in turn.
 */
import type { ByteSource } from "./ByteSource.ts"
import type { DbnMetadata } from "./DbnMetadata.ts"
import { type ZstdLimits, ZstdSource } from "./ZstdSource.ts"

/** How work is shared between this thread and the pool. */
export interface ReadAheadOptions {
  /**
   * Bytes of each of the two buffers; default 128 KiB, the most that a zstd block decompresses to, so that one trip to the
   * pool fills one buffer.
   */
  readonly aheadBytes?: number | undefined
  /**
   * Compressed bytes of a block below which it is decompressed on this thread, because the trip would take longer: a live
   * capture has such blocks. Default 4096.
   */
  readonly leastAsideBytes?: number | undefined
}

const DEFAULT_AHEAD_BYTES = 128 * 1024
const DEFAULT_LEAST_ASIDE_BYTES = 4096

/** What one filling gave: bytes, then metadata or an error, where there is one. */
class Piece {
  readonly bytes: Uint8Array
  from = 0
  to = 0
  header: DbnMetadata | undefined
  error: unknown

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
  }

  get isRead(): boolean {
    return this.from === this.to && this.header === undefined && this.error === undefined
  }
}

/** Serves what was decompressed; `advance` waits for more. */
export class ZstdReadAhead implements ByteSource {
  readonly #source: ZstdSource
  readonly #leastAside: number
  #current: Piece
  #next: Piece
  /** Settled once `#next` is filled; never rejected. */
  #filling: Promise<void> | undefined

  constructor(limits: ZstdLimits, options: ReadAheadOptions) {
    const { aheadBytes = DEFAULT_AHEAD_BYTES, leastAsideBytes = DEFAULT_LEAST_ASIDE_BYTES } = options
    this.#source = new ZstdSource(limits)
    this.#leastAside = leastAsideBytes
    this.#current = new Piece(Math.max(1, aheadBytes))
    this.#next = new Piece(Math.max(1, aheadBytes))
  }

  push(chunk: Uint8Array): void {
    this.#source.push(chunk)
  }

  end(): void {}

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
    if (!this.#current.isRead) return true
    this.#filling ??= this.#fill()
    await this.#filling
    const piece = this.#next
    this.#next = this.#current
    this.#current = piece
    // Where the target was not filled, input is missing, or an error ended it: then nothing is left to do ahead.
    const hasMore = piece.to === piece.bytes.length || piece.header !== undefined
    this.#filling = hasMore ? this.#fill() : undefined
    return !piece.isRead
  }

  finish(): void {
    this.#source.finish()
  }

  close(): void {
    this.#source.close()
  }

  /** Settled once no other thread uses the input or the buffers. */
  async idle(): Promise<void> {
    await this.#filling
  }

  async #fill(): Promise<void> {
    const piece = this.#next
    piece.from = 0
    piece.to = 0
    try {
      piece.to = await this.#source.readAside(piece.bytes, 0, piece.bytes.length, this.#leastAside)
      piece.header = this.#source.takeHeader()
    } catch (error) {
      piece.error = error
    }
  }
}
