/**
 * Frames between `append` and the disk. They lie in chunks of memory in the order of their numbers and stay until they are
 * synced: what the disk did not take can be written again, from the last synced byte on.
 *
 *     chunk  | synced | written | waiting | free |
 *                     ^ `written`         ^ `used`
 *
 * A chunk belongs to one segment file. One that begins a file says so (`begins`).
 */
import type { FeedEntry } from "./FeedEntry.ts"
import * as SpoolFile from "./SpoolFile.ts"
import { FrameEncoder, FrameMemory } from "./SpoolFrame.ts"

/** A segment file that a chunk begins. */
export interface SegmentBegin {
  readonly id: string
  readonly first: bigint
  readonly rowsBefore: bigint
  readonly at: bigint
}

/** Where the running counts stand. */
export interface Position {
  /** Number of the last frame. */
  readonly frame: bigint
  /** Rows of all frames up to it. */
  readonly rows: bigint
}

/** A piece of memory with whole frames. */
export class Chunk {
  readonly memory: FrameMemory
  begins: SegmentBegin | undefined
  /** Whether the file that it begins is there. */
  isBegun: boolean
  used = 0
  written = 0
  synced = 0
  /** Counts after the last frame in it. */
  end: Position

  constructor(memory: FrameMemory, begins: SegmentBegin | undefined, end: Position) {
    this.memory = memory
    this.begins = begins
    this.isBegun = begins === undefined
    this.end = end
  }
}

/** Usual size of a chunk; a larger frame gets one of its own. */
export const ChunkBytes = 1 << 20

/** Chunks kept for reuse. */
const KeptChunks = 8

/** Where appending goes on. */
export interface BufferStart extends Position {
  readonly id: string
  /** Bytes of the newest file. */
  readonly fileBytes: number
}

/** Queue of frames on their way to the disk. */
export class SpoolBuffer {
  readonly #encoder = new FrameEncoder()
  readonly #segmentBytes: number
  readonly #free: Array<FrameMemory> = []
  readonly chunks: Array<Chunk> = []
  #id: string
  #frame: bigint
  #rows: bigint
  /** Bytes of the file that the last frame goes to, once everything is written. */
  #fileBytes: number
  /** Bytes that are not synced. */
  bytes = 0

  constructor(segmentBytes: number, start: BufferStart) {
    this.#segmentBytes = segmentBytes
    this.#id = start.id
    this.#frame = start.frame
    this.#rows = start.rows
    this.#fileBytes = start.fileBytes
  }

  /** Counts after everything that was appended. */
  get end(): Position {
    return { frame: this.#frame, rows: this.#rows }
  }

  /** Whether a file is to be begun before anything else is written. */
  get hasUnbegun(): boolean {
    return this.chunks.some((chunk) => !chunk.isBegun)
  }

  get id(): string {
    return this.#id
  }

  /** Bytes that an entry takes; `push` puts the one measured last at the end. */
  measure(entry: FeedEntry): number {
    return this.#encoder.measure(entry)
  }

  push(entry: FeedEntry, size: number, at: bigint): bigint {
    const chunk = this.#chunkFor(size, at)
    const number = this.#frame + 1n
    this.#encoder.write(chunk.memory, chunk.used, number, at)
    this.#frame = number
    if (entry._tag === "FeedRows") this.#rows += BigInt(entry.batch.length)
    chunk.end = this.end
    chunk.used += size
    this.#fileBytes += size
    this.bytes += size
    return number
  }

  /** Goes on in a new file, under another id of the spool. */
  renew(id: string, at: bigint): void {
    this.#id = id
    this.#begin(0, at)
  }

  #chunkFor(size: number, at: bigint): Chunk {
    if (this.#fileBytes + size > this.#segmentBytes && this.#fileBytes > SpoolFile.HeaderBytes)
      return this.#begin(size, at)
    const last = this.chunks.at(-1)
    if (last !== undefined && last.used + size <= last.memory.length) return last
    return this.#add(size, undefined)
  }

  #begin(size: number, at: bigint): Chunk {
    this.#fileBytes = SpoolFile.HeaderBytes
    return this.#add(size, { id: this.#id, first: this.#frame + 1n, rowsBefore: this.#rows, at })
  }

  #add(size: number, begins: SegmentBegin | undefined): Chunk {
    const memory =
      size <= ChunkBytes ? (this.#free.pop() ?? FrameMemory.allocate(ChunkBytes)) : FrameMemory.allocate(size)
    const chunk = new Chunk(memory, begins, this.end)
    this.chunks.push(chunk)
    return chunk
  }

  /** What is not on disk yet, behind this position, goes into a file of its own. */
  restart({ frame, rows }: Position, at: bigint): void {
    const chunk = this.chunks[0]
    if (chunk === undefined) this.#begin(0, at)
    else if (chunk.isBegun) {
      chunk.begins = { id: this.#id, first: frame + 1n, rowsBefore: rows, at }
      chunk.isBegun = false
    }
  }

  /** Everything that is written is synced: its memory may be used again. */
  markSynced(): void {
    while (this.chunks.length > 0) {
      const chunk = this.chunks[0]!
      this.bytes -= chunk.written - chunk.synced
      chunk.synced = chunk.written
      if (chunk.synced < chunk.used || !chunk.isBegun) return
      this.chunks.shift()
      if (chunk.memory.length === ChunkBytes && this.#free.length < KeptChunks) this.#free.push(chunk.memory)
    }
  }

  /** What is not synced has to be written again. */
  rewind(): void {
    for (const chunk of this.chunks) chunk.written = chunk.synced
  }
}
