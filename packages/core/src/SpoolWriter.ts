/**
 * The fiber that brings frames to the disk: it writes what is there, and syncs once per interval. Whatever the file system
 * refuses (no space, no device) is tried again: the file is cut at its last synced byte, so that there is never half a frame in
 * the middle, and everything behind it is written anew from memory. That is also the way after a failed sync, after which a
 * kernel may have thrown away what it was given.
 */
import { Clock, Duration, Effect, Exit, type FileSystem, Latch, type PlatformError, Scope } from "effect"
import type { Chunk, Position } from "./SpoolBuffer.ts"
import * as SpoolFile from "./SpoolFile.ts"
import type { SpoolState } from "./SpoolState.ts"

/** Pause between two writes while a sync is not due: small frames come together in one write. */
const Pace = Duration.millis(5)

/** Pause before what failed is tried again. */
const RetryPause = Duration.millis(250)

type Io<A> = Effect.Effect<A, PlatformError.PlatformError, FileSystem.FileSystem>

/** What the writer has open. */
export class SpoolWriter {
  readonly #state: SpoolState
  readonly #interval: number
  readonly #memoryBytes: number
  #file: { readonly handle: FileSystem.File; readonly scope: Scope.Closeable } | undefined
  /** Bytes of the newest file, synced or not. */
  #fileBytes: number
  #written: Position
  /** When the first frame was written that is not synced, ms. */
  #unsyncedSince: number | undefined
  #mustCut = false

  constructor(state: SpoolState, fsyncInterval: Duration.Duration, memoryBytes: number) {
    this.#state = state
    this.#interval = Duration.toMillis(fsyncInterval)
    this.#memoryBytes = memoryBytes
    this.#fileBytes = state.segments.at(-1)!.synced
    this.#written = state.synced
  }

  /** Writes for ever. `look` runs before every round. */
  run(
    look: Effect.Effect<Duration.Duration | undefined>
  ): Effect.Effect<never, never, FileSystem.FileSystem> {
    return Effect.forever(
      Effect.gen({ self: this }, function* () {
        const idle = yield* look
        yield* this.#awaitWork(idle)
        const result = yield* Effect.uninterruptible(Effect.result(this.#round()))
        if (result._tag === "Success") return
        yield* this.#failed(result.failure)
        yield* Effect.sleep(RetryPause)
      })
    )
  }

  /** Brings everything to the disk once, and closes the file. Answers with what went wrong. */
  get finish(): Effect.Effect<PlatformError.PlatformError | undefined, never, FileSystem.FileSystem> {
    return Effect.gen({ self: this }, function* () {
      const result = yield* Effect.result(Effect.andThen(this.#write(Number.POSITIVE_INFINITY), this.#sync()))
      if (this.#mustCut) yield* Effect.ignore(this.#cut())
      yield* this.#close()
      return result._tag === "Failure" ? result.failure : undefined
    })
  }

  #awaitWork(idle: Duration.Duration | undefined) {
    return Effect.suspend(() => {
      const { buffer, wake } = this.#state
      if (buffer.bytes > 0 || buffer.hasUnbegun) return Effect.void
      wake.closeUnsafe()
      return idle === undefined ? wake.await : Effect.asVoid(Effect.timeoutOption(wake.await, idle))
    })
  }

  #round(): Io<void> {
    return Effect.gen({ self: this }, function* () {
      yield* this.#write(this.#mostUnsynced)
      const now = yield* Clock.currentTimeMillis
      const since = this.#unsyncedSince ?? now
      const due = since + this.#interval
      // Where the wall clock was set back, nobody knows how long it has been.
      if (now >= due || now < since || this.#isPressed) return yield* this.#sync()
      const pause = Duration.min(Pace, Duration.millis(due - now))
      yield* Effect.interruptible(Effect.timeoutOption(this.#state.hurry.await, pause))
    })
  }

  get #isPressed(): boolean {
    const { buffer, hurry } = this.#state
    return Latch.isOpen(hurry) || buffer.bytes > this.#memoryBytes / 2 || this.#unsynced >= this.#mostUnsynced
  }

  /** A sync comes at the latest when so much is written. */
  get #mostUnsynced(): number {
    return this.#memoryBytes / 4
  }

  /** Bytes that were written since the last sync. */
  get #unsynced(): number {
    return this.#fileBytes - this.#state.segments.at(-1)!.synced
  }

  /** Writes what is there, until so many bytes wait for a sync: memory comes back with syncs alone. */
  #write(most: number): Io<void> {
    return Effect.gen({ self: this }, function* () {
      if (this.#mustCut) yield* this.#cut()
      if (this.#state.problem !== undefined || this.#state.isShort) yield* this.#makeRoom()
      const { chunks } = this.#state.buffer
      // Chunks are added at the end meanwhile, and those at the front go when a new file is begun.
      for (let chunk = nextChunk(chunks); chunk !== undefined; chunk = nextChunk(chunks)) {
        yield* this.#writeChunk(chunk)
        if (this.#unsynced >= most) return
      }
    })
  }

  #writeChunk(chunk: Chunk): Io<void> {
    return Effect.gen({ self: this }, function* () {
      if (!chunk.isBegun) yield* this.#begin(chunk)
      const { used, end, written } = chunk
      if (used === written) return
      const file = yield* this.#open()
      // From here on the file may hold more than is known.
      this.#mustCut = true
      yield* Effect.tapError(file.writeAll(chunk.memory.u8.subarray(written, used)), () => this.#keep(file))
      this.#mustCut = false
      this.#fileBytes += used - written
      chunk.written = used
      this.#written = end
      this.#unsyncedSince ??= yield* Clock.currentTimeMillis
    })
  }

  /**
   * What was written whole before a write that failed is synced, where that works: a disk with room for a part of what waits
   * takes that part, and does not begin with it again and again.
   */
  #keep(file: FileSystem.File): Effect.Effect<void, never, FileSystem.FileSystem> {
    return Effect.suspend(() => {
      if (this.#unsynced <= 0) return Effect.void
      return Effect.ignore(Effect.andThen(file.truncate(this.#fileBytes), this.#sync()))
    })
  }

  /** Goes over to a new file: the one before it is complete. */
  #begin(chunk: Chunk): Io<void> {
    return Effect.gen({ self: this }, function* () {
      yield* this.#sync()
      const { folder, segments } = this.#state
      const begins = chunk.begins!
      const path = this.#state.pathOf(begins.first)
      yield* SpoolFile.create(folder, path, begins)
      yield* this.#close()
      this.#fileBytes = SpoolFile.HeaderBytes
      chunk.isBegun = true
      // A file without a frame is replaced by one of the same name.
      if (segments.at(-1)!.first === begins.first) segments.pop()
      segments.push({ path, first: begins.first, synced: this.#fileBytes })
      this.#state.tellChange()
    })
  }

  #sync(): Io<void> {
    return Effect.gen({ self: this }, function* () {
      const { buffer, hurry, segments } = this.#state
      hurry.closeUnsafe()
      const segment = segments.at(-1)!
      if (this.#unsynced > 0) {
        const file = yield* this.#open()
        this.#mustCut = true
        yield* file.sync
        this.#mustCut = false
      }
      segment.synced = this.#fileBytes
      buffer.markSynced()
      this.#unsyncedSince = undefined
      this.#state.synced = this.#written
      this.#state.tellChange()
      yield* this.#recovered()
    })
  }

  #cut(): Io<void> {
    return Effect.gen({ self: this }, function* () {
      const file = yield* this.#open()
      const { synced } = this.#state.segments.at(-1)!
      yield* file.truncate(synced)
      this.#fileBytes = synced
      this.#written = this.#state.synced
      this.#unsyncedSince = undefined
      this.#mustCut = false
    })
  }

  /**
   * The disk takes nothing more, or rows are refused for its sake, and everything in the only file is done with: its frames
   * go, so that there is room for the next file. Else a disk that this one file has filled would stay full although nothing waits. A crash between the two
   * leaves numbers that the consumer is ahead of, as after a loss of the disk.
   */
  #makeRoom(): Io<void> {
    return Effect.gen({ self: this }, function* () {
      const { buffer, released, segments, synced } = this.#state
      const segment = segments[0]!
      if (segments.length > 1 || released < synced.frame || segment.synced <= SpoolFile.HeaderBytes) return
      buffer.restart(synced, yield* Clock.currentTimeNanos)
      const file = yield* this.#open()
      yield* file.truncate(SpoolFile.HeaderBytes)
      segment.synced = SpoolFile.HeaderBytes
      this.#fileBytes = SpoolFile.HeaderBytes
      this.#state.tellChange()
    })
  }

  #open(): Io<FileSystem.File> {
    return Effect.gen({ self: this }, function* () {
      if (this.#file !== undefined) return this.#file.handle
      const scope = yield* Scope.make()
      const handle = yield* SpoolFile.openToAppend(this.#state.segments.at(-1)!.path).pipe(
        Effect.provideService(Scope.Scope, scope),
        Effect.tapError(() => Scope.close(scope, Exit.void))
      )
      this.#file = { handle, scope }
      return handle
    })
  }

  #close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const file = this.#file
      this.#file = undefined
      return file === undefined ? Effect.void : Scope.close(file.scope, Exit.void)
    })
  }

  #failed(error: PlatformError.PlatformError): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { folder, problem, buffer } = this.#state
      buffer.rewind()
      this.#mustCut = true
      this.#state.problem = SpoolFile.ioDetail(error)
      return problem === undefined
        ? Effect.logWarning(`spool ${folder}: cannot write, trying again: ${SpoolFile.ioDetail(error)}`)
        : Effect.void
    })
  }

  #recovered(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#state.problem === undefined) return Effect.void
      this.#state.problem = undefined
      return Effect.logInfo(`spool ${this.#state.folder}: writing again`)
    })
  }
}

/** The first chunk with something to write or a file to begin. */
const nextChunk = (chunks: ReadonlyArray<Chunk>): Chunk | undefined =>
  chunks.find((chunk) => !chunk.isBegun || chunk.written < chunk.used)
