/**
 * Reading a spool: entries in the order of their numbers, up to what is synced, then waiting for more. What was only written is
 * not given out: after a crash the database would know frames that the disk has lost, and their numbers would be given again.
 *
 * Every number is accounted for: a frame that is damaged or gone is told as a hole.
 */
import { Deferred, Effect, Exit, FileSystem, type PlatformError, Scope, Stream } from "effect"
import type { FeedEntry } from "./FeedEntry.ts"
import { SpoolError, SpoolIoFailed } from "./SpoolError.ts"
import * as SpoolFile from "./SpoolFile.ts"
import * as SpoolFrame from "./SpoolFrame.ts"
import type { Segment, SpoolState } from "./SpoolState.ts"

/** An entry as it was appended. */
export interface SpooledEntry {
  readonly _tag: "SpooledEntry"
  readonly frame: bigint
  /** When it was appended, ns since epoch. */
  readonly at: bigint
  readonly entry: FeedEntry
}

/** Frames that cannot be read: their rows and notes are lost. */
export interface SpoolHole {
  readonly _tag: "SpoolHole"
  /** Numbers of the frames, both inclusive. */
  readonly from: bigint
  readonly to: bigint
  /** What was found, with file and offset: for people. */
  readonly detail: string
}

/** Element of a read. */
export type Spooled = SpooledEntry | SpoolHole

/** Bytes of one read from disk; a larger frame is read at once. */
const PieceBytes = 1 << 20
/** Reads of a file given out together where as much is there: rows for one append of a writer that is behind. */
const PiecesAtOnce = 8

/** Place of a reader, and what it has open. */
class Cursor {
  readonly state: SpoolState
  /** Number of the frame that is wanted next. */
  next: bigint
  segment: Segment | undefined
  /** Where the wanted frame begins in the segment's file, or one before it. */
  offset = 0
  piece = SpoolFrame.FrameMemory.allocate(PieceBytes)
  readonly #decoder: SpoolFrame.FrameDecoder
  #file: { readonly handle: FileSystem.File; readonly scope: Scope.Closeable } | undefined

  constructor(state: SpoolState, decoder: SpoolFrame.FrameDecoder, from: bigint) {
    this.state = state
    this.#decoder = decoder
    this.next = from
  }

  /** Whether there is more on disk in the same file: files are done with one by one. */
  get hasMore(): boolean {
    return this.segment !== undefined && this.offset < this.segment.synced
  }

  hole(to: bigint, detail: string): SpoolHole {
    const hole: SpoolHole = { _tag: "SpoolHole", from: this.next, to, detail }
    this.next = to + 1n
    return hole
  }

  enter(segment: Segment): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.segment = segment
      this.offset = SpoolFile.HeaderBytes
      // Large frames and damage took more than is needed usually.
      if (this.piece.length > 8 * PieceBytes) this.piece = SpoolFrame.FrameMemory.allocate(PieceBytes)
      return this.close()
    })
  }

  open(segment: Segment): Effect.Effect<FileSystem.File, PlatformError.PlatformError, FileSystem.FileSystem> {
    return Effect.gen({ self: this }, function* () {
      if (this.#file !== undefined) return this.#file.handle
      const fs = yield* FileSystem.FileSystem
      const scope = yield* Scope.make()
      const handle = yield* Effect.provideService(fs.open(segment.path), Scope.Scope, scope)
      this.#file = { handle, scope }
      return handle
    }).pipe(Effect.uninterruptible)
  }

  close(): Effect.Effect<void> {
    const file = this.#file
    this.#file = undefined
    return file === undefined ? Effect.void : Scope.close(file.scope, Exit.void)
  }

  /** Reads bytes from `offset` on into the piece; answers with how many there were. */
  fill(file: FileSystem.File, wanted: number): Effect.Effect<number, PlatformError.PlatformError> {
    return Effect.gen({ self: this }, function* () {
      if (this.piece.length < wanted) this.piece = SpoolFrame.FrameMemory.allocate(wanted)
      let filled = 0
      while (filled < wanted) {
        const position = BigInt(this.offset + filled)
        const count = yield* file.read(this.piece.u8.subarray(filled, wanted), { position })
        if (count === 0) break
        filled += count
      }
      return filled
    })
  }

  /** Adds the entry of the frame at `at` of the piece, unless it comes before the wanted one. */
  take(header: SpoolFrame.FrameHeader, at: number, found: Array<Spooled>): void {
    if (header.number < this.next) return
    if (header.number > this.state.delivered) this.state.delivered = header.number
    try {
      const entry = this.#decoder.decode(this.piece, at, header)
      found.push({ _tag: "SpooledEntry", frame: header.number, at: header.at, entry })
      this.next = header.number + 1n
    } catch (cause) {
      if (!(cause instanceof SpoolFrame.FrameContentError)) throw cause
      found.push(this.hole(header.number, `frame ${header.number}: ${cause.message}`))
    }
  }
}

/** Entries from a frame on, for ever. */
export const read = (
  state: SpoolState,
  from: bigint,
  instruments: SpoolFrame.InstrumentsOf | undefined
): Stream.Stream<Spooled, SpoolError, FileSystem.FileSystem> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const cursor = new Cursor(state, new SpoolFrame.FrameDecoder(instruments), from)
      yield* Effect.addFinalizer(() => cursor.close())
      return Stream.fromArrayEffect(more(cursor)).pipe(Stream.forever)
    })
  )

/** The next entries, at least one. */
const more = (cursor: Cursor): Effect.Effect<ReadonlyArray<Spooled>, SpoolError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    for (;;) {
      const changed = cursor.state.changed
      const found = yield* look(cursor)
      if (found === undefined) {
        yield* Deferred.await(changed)
        continue
      }
      const all = [...found]
      for (let pieces = 1; pieces < PiecesAtOnce && cursor.hasMore; pieces++)
        for (const each of (yield* look(cursor)) ?? []) all.push(each)
      if (all.length > 0) return all
    }
  })

/** A file as far as it could be read when it was looked at, and the number of the last frame in that. */
interface Reach {
  readonly segment: Segment
  readonly bytes: number
  readonly last: bigint
}

/** What comes next, possibly nothing yet known; undefined where there is nothing more on disk. */
const look = (
  cursor: Cursor
): Effect.Effect<ReadonlyArray<Spooled> | undefined, SpoolError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const { segments, synced } = cursor.state
    const index = lastAtOrBefore(segments, cursor.next)
    const segment = segments[index]
    if (segment === undefined) return [cursor.hole(segments[0]!.first - 1n, "no file has them any longer")]
    const following = segments[index + 1]
    const last = following === undefined ? synced.frame : following.first - 1n
    if (segment !== cursor.segment) yield* cursor.enter(segment)
    if (cursor.offset < segment.synced)
      return yield* readPiece(cursor, { segment, bytes: segment.synced, last }).pipe(
        Effect.mapError(ioFailed(segment))
      )
    return following === undefined ? undefined : [cursor.hole(last, `${segment.path} ends before them`)]
  })

const lastAtOrBefore = (segments: ReadonlyArray<Segment>, frame: bigint): number => {
  let index = segments.length - 1
  while (index >= 0 && segments[index]!.first > frame) index -= 1
  return index
}

const ioFailed = (segment: Segment) => (cause: PlatformError.PlatformError) =>
  new SpoolError({
    operation: `read spool file ${segment.path}`,
    reason: new SpoolIoFailed({
      detail: SpoolFile.ioDetail(cause),
      hint: "check the disk and the file's permissions"
    }),
    cause
  })

/** Reads on in a file. Nothing where there were only frames before the wanted one. */
const readPiece = Effect.fnUntraced(function* (cursor: Cursor, reach: Reach) {
  const opened = yield* Effect.result(cursor.open(reach.segment))
  if (opened._tag === "Failure") return yield* withoutFile(cursor, reach, opened.failure)
  const rest = reach.bytes - cursor.offset
  let end = yield* cursor.fill(opened.success, Math.min(PieceBytes, rest))
  const claimed = SpoolFrame.claimedBytes(cursor.piece, 0) ?? 0
  if (claimed > end && claimed <= rest) end = yield* cursor.fill(opened.success, claimed)
  const found: Array<Spooled> = []
  let at = 0
  while (at < end) {
    const header = SpoolFrame.inspect(cursor.piece, at, end)
    if (typeof header === "string" || header.number > cursor.next) break
    cursor.take(header, at, found)
    at += header.bytes
  }
  if (at === 0) return yield* readDamaged(cursor, reach, opened.success)
  cursor.offset += at
  return found
})

/** There is no whole frame of the wanted number at the cursor: goes to the next one in the file. */
const readDamaged = Effect.fnUntraced(function* (cursor: Cursor, reach: Reach, file: FileSystem.File) {
  const end = yield* cursor.fill(file, reach.bytes - cursor.offset)
  const next = SpoolFile.frameFrom(cursor.piece, 0, end, cursor.next)
  const last = next === undefined ? reach.last : next.header.number - 1n
  const bytes = next?.offset ?? reach.bytes - cursor.offset
  const detail = `${reach.segment.path} is damaged: ${bytes} bytes from byte ${cursor.offset} on`
  const found = last < cursor.next ? [] : [cursor.hole(last, detail)]
  cursor.offset += bytes
  return found
})

/** The file cannot be opened: it was released meanwhile, or somebody has removed it. */
const withoutFile = (
  cursor: Cursor,
  { segment, last }: Reach,
  error: PlatformError.PlatformError
): Effect.Effect<ReadonlyArray<Spooled>, PlatformError.PlatformError> => {
  if (!cursor.state.segments.includes(segment)) return Effect.succeed([])
  const isNewest = cursor.state.segments.at(-1) === segment
  if (error.reason._tag !== "NotFound" || isNewest) return Effect.fail(error)
  return Effect.succeed([cursor.hole(last, `${segment.path} is gone`)])
}
