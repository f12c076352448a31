/** What the parts of an open spool share: the files, the frames in memory, how far the disk is, and who waits for it. */
import { Deferred, Effect, Latch } from "effect"
import type { Position, SpoolBuffer } from "./SpoolBuffer.ts"

/** A segment file. */
export interface Segment {
  readonly path: string
  readonly first: bigint
  /** Bytes on disk, up to which it may be read. */
  synced: number
}

/** Mutable state; everything runs on one thread. */
export class SpoolState {
  readonly folder: string
  /** Path of the file that begins with a frame. */
  readonly pathOf: (first: bigint) => string
  readonly buffer: SpoolBuffer
  /** Ascending; the last one is appended to. */
  readonly segments: Array<Segment>
  /** Up to where everything is on disk. */
  synced: Position
  /** Largest frame that a reader was given, or that was there at the opening. */
  delivered: bigint
  /** Everything up to it is done with. */
  released: bigint
  /** What the disk said last, while it does not take what it should. */
  problem: string | undefined
  /** Rows are refused because the file system has too little room. */
  isShort = false
  /** Opened where there is something to write. */
  readonly wake = Latch.makeUnsafe(false)
  /** Opened where writing and syncing must not wait for the end of the interval. */
  readonly hurry = Latch.makeUnsafe(false)
  #changed = Deferred.makeUnsafe<void>()
  #fileBytes: number

  constructor(
    folder: string,
    pathOf: (first: bigint) => string,
    buffer: SpoolBuffer,
    opened: {
      readonly segments: Array<Segment>
      readonly start: Position
      readonly opened: { readonly first: bigint }
    }
  ) {
    this.folder = folder
    this.pathOf = pathOf
    this.buffer = buffer
    const { frame, rows } = opened.start
    this.segments = opened.segments
    this.#fileBytes = sizeOf(opened.segments)
    this.synced = { frame, rows }
    this.delivered = frame
    this.released = opened.opened.first - 1n
  }

  /** Bytes of files and memory. */
  get occupied(): number {
    return this.#fileBytes + this.buffer.bytes
  }

  /** Done at the next change of `synced` or `segments`. Take it before looking at them, or the change may be missed. */
  get changed(): Deferred.Deferred<void> {
    return this.#changed
  }

  /** After a change of `synced` or `segments`. */
  tellChange(): void {
    this.#fileBytes = sizeOf(this.segments)
    const before = this.#changed
    this.#changed = Deferred.makeUnsafe()
    Deferred.doneUnsafe(before, Effect.void)
  }
}

const sizeOf = (segments: ReadonlyArray<Segment>): number =>
  segments.reduce((bytes, { synced }) => bytes + synced, 0)
