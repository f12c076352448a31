/**
 * Where the bytes of a DBN stream come from: pushed chunks as they are, or the same decompressed. Pull side of the
 * decoders; nothing here knows records.
 */
import type { DbnMetadata } from "./DbnMetadata.ts"

/** Gives bytes of one DBN stream, in order, at the pace of its reader. */
export interface ByteSource {
  /** Takes further input. The bytes are referenced, not copied, until they were read. */
  push(chunk: Uint8Array): void
  /** No more input will come. */
  end(): void
  /**
   * Fills `target[from, to)` as far as input allows and returns the number of bytes written. 0 means that everything
   * pushed was given out, or that `header` waits to be taken. Throws `DbnError` for damaged input, after the bytes in
   * front of the damage were given out; every later call throws the same.
   */
  read(target: Uint8Array, from: number, to: number): number
  /** Metadata that came outside the byte stream (DBZ); once taken, reading goes on behind it. */
  takeHeader(): DbnMetadata | undefined
  /** After `end` and a `read` of 0: throws a truncation error where the input ended inside a frame. */
  finish(): void
  close(): void
}

/** Chunks waiting to be read, with a position in the first one. */
export class ChunkQueue {
  #chunks: Array<Uint8Array> = []
  #first = 0
  /** Position of the next unread byte in `current`. */
  position = 0

  push(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#chunks.push(chunk)
  }

  /** The chunk that holds the next unread byte; undefined where all was read. */
  get current(): Uint8Array | undefined {
    for (;;) {
      const chunk = this.#chunks[this.#first]
      if (chunk === undefined || this.position < chunk.length) return chunk
      this.#drop()
    }
  }

  clear(): void {
    this.#chunks = []
    this.#first = 0
    this.position = 0
  }

  #drop(): void {
    this.position = 0
    this.#first += 1
    if (this.#first === this.#chunks.length) {
      this.#chunks.length = 0
      this.#first = 0
    } else if (this.#first > 1024) {
      this.#chunks = this.#chunks.slice(this.#first)
      this.#first = 0
    } else {
      // Let go of the bytes at once, of the slot later.
      this.#chunks[this.#first - 1] = none
    }
  }
}

const none = new Uint8Array(0)

/** Uncompressed input. */
export class PlainSource implements ByteSource {
  readonly #queue = new ChunkQueue()

  push(chunk: Uint8Array): void {
    this.#queue.push(chunk)
  }

  end(): void {}

  read(target: Uint8Array, from: number, to: number): number {
    let at = from
    while (at < to) {
      const chunk = this.#queue.current
      if (chunk === undefined) break
      const start = this.#queue.position
      const length = Math.min(to - at, chunk.length - start)
      target.set(start === 0 && length === chunk.length ? chunk : chunk.subarray(start, start + length), at)
      this.#queue.position += length
      at += length
    }
    return at - from
  }

  takeHeader(): undefined {
    return undefined
  }

  finish(): void {}

  close(): void {
    this.#queue.clear()
  }
}
