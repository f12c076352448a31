/**
 * The spool: live data on its way to the database, safe on disk while that is slow or away.
 *
 *     append -> memory -> segment files -> read -> store -> release
 *
 * An entry gets a running number, its frame number, from 1 on without holes over all files and restarts. `append` never waits:
 * one fiber gathers what is there, writes it, and syncs once per interval. A reader gets what is on disk for good, so the
 * database is never ahead of the disk. What does not fit any longer is dropped, the newest first, and `append` says so.
 *
 * A consumer keeps its position (the last frame that is committed) under `id` in the transaction that writes the rows. It goes on
 * with `read(position + 1n)` and calls `release(position)` now and then. Where its position is not below `opened.next` at the
 * start, the disk has lost frames that the database has: it calls `renew` and begins anew under the new id.
 */
import {
  Clock,
  Context,
  Deferred,
  Duration,
  Effect,
  Fiber,
  FileSystem,
  Layer,
  Path,
  type Scope,
  Stream
} from "effect"
import type { FeedEntry } from "./FeedEntry.ts"
import { SpoolBuffer } from "./SpoolBuffer.ts"
import { SpoolBehind, SpoolError } from "./SpoolError.ts"
import * as SpoolFile from "./SpoolFile.ts"
import type { InstrumentsOf } from "./SpoolFrame.ts"
import type { SpoolProcesses } from "./SpoolLock.ts"
import { SpoolMarks } from "./SpoolMarks.ts"
import type { SpoolOpened } from "./SpoolOpen.ts"
import * as SpoolOpen from "./SpoolOpen.ts"
import type { Spooled } from "./SpoolReader.ts"
import * as SpoolReader from "./SpoolReader.ts"
import { type SpoolDropCause, type SpoolDrops, SpoolRoom } from "./SpoolRoom.ts"
import { SpoolState } from "./SpoolState.ts"
import { SpoolWriter } from "./SpoolWriter.ts"

export type { InstrumentsOf } from "./SpoolFrame.ts"
export type { SpoolProcess, SpoolProcesses } from "./SpoolLock.ts"
export type { SpoolOpened } from "./SpoolOpen.ts"
export type { Spooled, SpooledEntry, SpoolHole } from "./SpoolReader.ts"
export type { SpoolDropCause, SpoolDrops } from "./SpoolRoom.ts"

/** Where and how to spool. */
export interface SpoolOptions {
  /** Folder of the files; made with mode 0700 where it is not there. */
  readonly folder: string
  /** Most bytes that the files and what waits for them may take. */
  readonly maxBytes: number
  /** Free bytes of the file system that are left to others; needs `freeBytes`. Default 0. */
  readonly diskFloor?: number | undefined
  /** Free bytes of the folder's file system, undefined where that is not known; asked about once a second. */
  readonly freeBytes?: Effect.Effect<bigint | undefined> | undefined
  /** Time between two syncs while data comes; default 20 ms. Zero syncs whatever is written. */
  readonly fsyncInterval?: Duration.Input | undefined
  /** Size at which a new file is begun; default 64 MiB, a sixteenth of `maxBytes` at most. A larger frame gets a file of its own. */
  readonly segmentBytes?: number | undefined
  /** Most bytes in memory that are not on disk yet; default 64 MiB. At half of it a sync does not wait for its time. */
  readonly memoryBytes?: number | undefined
  /** Where readers look up the instruments of a dataset; default: nowhere, rows show `#id`. */
  readonly instruments?: InstrumentsOf | undefined
  /** How processes are told apart; default: `/proc` of Linux. */
  readonly processes?: SpoolProcesses | undefined
}

/** What became of an entry. */
export type SpoolAppended =
  | { readonly _tag: "Appended"; readonly frame: bigint }
  | { readonly _tag: "Dropped"; readonly cause: SpoolDropCause }

/** What waits in the spool. */
export interface SpoolDepth {
  /** Frames that are not released. */
  readonly frames: bigint
  /** Their rows: exact where everything is released, else right to what comes in a tenth of a second. */
  readonly rows: bigint
  /** Bytes of the files, and in memory. Files go as a whole, so some of it may be released. */
  readonly bytes: number
  /** How long the oldest of them has been waiting; zero where there is none. */
  readonly age: Duration.Duration
  readonly dropped: { readonly [C in SpoolDropCause]: SpoolDrops }
  /** Why the disk takes nothing at the moment; it is tried again and again. */
  readonly problem?: string | undefined
}

/** Keeps feed entries on disk until they are released. */
export class Spool extends Context.Service<
  Spool,
  {
    /** Names this spool and its numbers: a consumer's position belongs to it. `renew` changes it. */
    readonly id: Effect.Effect<string>
    readonly opened: SpoolOpened
    /**
     * Takes an entry: its frame number, or why there is no room for it. Never waits. Notes still find room where rows do not, so
     * that what was dropped can be told.
     */
    readonly append: (entry: FeedEntry) => Effect.Effect<SpoolAppended>
    /**
     * Completes at once while no more than half of the memory waits for the disk; else when that is so again, or after a second.
     * A disk that brings nothing away in that time, or refuses, is not waited for until it does. For whoever has many entries
     * at hand: they would find no room although the disk is quick enough.
     */
    readonly room: Effect.Effect<void>
    /** Number up to which everything is on disk. */
    readonly synced: Effect.Effect<bigint>
    /** Waits until everything that was appended before is on disk, without waiting for the interval. */
    readonly flush: Effect.Effect<void>
    /**
     * Entries from a frame on, in order, up to what is on disk, and then as it comes; it never ends. Every number is
     * accounted for: frames that are damaged, or no longer there, are told as a hole. Several readers may read at once.
     */
    readonly read: (from: bigint) => Stream.Stream<Spooled, SpoolError>
    /** Frames up to this one are done with: removes the files that hold no others. Fails with `SpoolBehind`, see there. */
    readonly release: (upTo: bigint) => Effect.Effect<void, SpoolError>
    /** Gives the spool a new id, written in a new file. Frames keep their numbers. */
    readonly renew: Effect.Effect<string>
    readonly depth: Effect.Effect<SpoolDepth>
  }
>()("@data-manager/core/Spool") {}

const megabyte = 1 << 20

/** Files go as a whole: room comes back in pieces of their size, so there have to be several. */
const segmentBytes = ({ maxBytes, segmentBytes: wanted }: SpoolOptions): number =>
  wanted ?? Math.min(64 * megabyte, Math.ceil(maxBytes / 16))

/** Opens a spool for the rest of the scope; at its end everything is written and synced. */
export const make = (
  options: SpoolOptions
): Effect.Effect<Spool["Service"], SpoolError, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const { folder, instruments } = options
    const found = yield* SpoolOpen.open(folder, options.processes)
    yield* tellOpened(folder, found.opened)
    const buffer = new SpoolBuffer(segmentBytes(options), found.start)
    const pathOf = (first: bigint) => path.join(folder, SpoolFile.nameOf(first))
    const state = new SpoolState(folder, pathOf, buffer, found)
    const spool = new Engine(state, options, yield* Clock.Clock)
    yield* spool.start(found)
    return Spool.of({
      id: Effect.sync(() => buffer.id),
      opened: found.opened,
      append: (entry) => Effect.sync(() => spool.append(entry)),
      room: spool.room,
      synced: Effect.sync(() => state.synced.frame),
      flush: spool.flush,
      read: (from) =>
        Stream.provideService(SpoolReader.read(state, from, instruments), FileSystem.FileSystem, fs),
      release: (upTo) => Effect.provideService(spool.release(upTo), FileSystem.FileSystem, fs),
      renew: spool.renew,
      depth: Effect.sync(() => spool.depth())
    })
  })

/** A spool as a layer. */
export const layer = (
  options: SpoolOptions
): Layer.Layer<Spool, SpoolError, FileSystem.FileSystem | Path.Path> => Layer.effect(Spool, make(options))

const tellOpened = (folder: string, { cut, damaged }: SpoolOpened): Effect.Effect<void> =>
  Effect.gen(function* () {
    if (cut !== undefined)
      yield* Effect.logWarning(
        `spool ${folder}: ${cut.bytes} bytes of an unfinished frame were cut from ${cut.file} at byte ${cut.offset}`
      )
    for (const each of damaged) yield* Effect.logError(`spool ${folder}: damaged: ${each}`)
  })

/** An open spool at work. */
class Engine {
  readonly #state: SpoolState
  readonly #room: SpoolRoom
  readonly #writer: SpoolWriter
  readonly #clock: Clock.Clock
  readonly #marks = new SpoolMarks()
  #isClosed = false

  constructor(state: SpoolState, options: SpoolOptions, clock: Clock.Clock) {
    const memoryBytes = options.memoryBytes ?? 64 * megabyte
    this.#state = state
    this.#clock = clock
    this.#room = new SpoolRoom(state, {
      maxBytes: options.maxBytes,
      memoryBytes,
      diskFloor: options.diskFloor ?? 0,
      freeBytes: options.freeBytes ?? Effect.undefined
    })
    const interval = Duration.fromInputUnsafe(options.fsyncInterval ?? "20 millis")
    this.#writer = new SpoolWriter(state, interval, memoryBytes)
  }

  /** Starts writing, for the rest of the scope. */
  start({ marks, mustRenew, start }: SpoolOpen.OpenFolder) {
    return Effect.gen({ self: this }, function* () {
      for (const mark of marks) this.#marks.set(mark)
      if (mustRenew) this.#renewAs(start.id)
      yield* this.#room.look
      const fiber = yield* Effect.forkScoped(this.#writer.run(this.#room.look))
      yield* Effect.addFinalizer(() => this.#close(fiber))
    })
  }

  #close(fiber: Fiber.Fiber<never>) {
    return Effect.gen({ self: this }, function* () {
      this.#isClosed = true
      yield* Fiber.interrupt(fiber)
      const problem = yield* this.#writer.finish
      if (problem === undefined) return
      const lost = this.#state.buffer.end.frame - this.#state.synced.frame
      yield* Effect.logError(
        `spool ${this.#state.folder}: closed with ${lost} frames that are not safe on disk: ${SpoolFile.ioDetail(problem)}`
      )
    })
  }

  append(entry: FeedEntry): SpoolAppended {
    if (this.#isClosed) throw new Error(`spool ${this.#state.folder}: append after it was closed`)
    const { buffer, wake } = this.#state
    const size = buffer.measure(entry)
    const cause = this.#room.take(entry, size)
    if (cause !== undefined) return { _tag: "Dropped", cause }
    const { frame: before, rows } = buffer.end
    const at = this.#clock.currentTimeNanosUnsafe()
    this.#marks.offer(before, rows, at)
    const frame = buffer.push(entry, size, at)
    wake.openUnsafe()
    return { _tag: "Appended", frame }
  }

  get room(): Effect.Effect<void> {
    return this.#room.wait
  }

  get flush(): Effect.Effect<void> {
    return Effect.suspend(() => this.#awaitSynced(this.#state.buffer.end.frame))
  }

  #awaitSynced(frame: bigint): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      for (;;) {
        const { buffer, changed, hurry, synced } = this.#state
        if (synced.frame >= frame && !buffer.hasUnbegun) return
        hurry.openUnsafe()
        yield* Deferred.await(changed)
      }
    })
  }

  release(upTo: bigint): Effect.Effect<void, SpoolError, FileSystem.FileSystem> {
    return Effect.gen({ self: this }, function* () {
      const state = this.#state
      if (upTo > state.delivered) return yield* this.#behind(upTo)
      if (upTo > state.released) state.released = upTo
      this.#marks.reach(state.released)
      while (state.segments.length > 1 && state.segments[1]!.first - 1n <= state.released)
        yield* removeFile(state.segments.shift()!.path)
      state.tellChange()
    })
  }

  #behind(upTo: bigint): SpoolError {
    const { delivered, folder } = this.#state
    return new SpoolError({
      operation: `release spool ${folder}`,
      reason: new SpoolBehind({
        detail: `nobody has read beyond frame ${delivered} here, but a position is ${upTo}: the disk has lost frames`,
        hint: "go on with a new id (renew) and read everything that is there"
      })
    })
  }

  get renew(): Effect.Effect<string> {
    return Effect.gen({ self: this }, function* () {
      const id = SpoolOpen.newId()
      this.#renewAs(id)
      yield* this.flush
      return id
    })
  }

  #renewAs(id: string): void {
    this.#state.buffer.renew(id, this.#clock.currentTimeNanosUnsafe())
    this.#state.wake.openUnsafe()
  }

  depth(): SpoolDepth {
    const { buffer, occupied, problem, released } = this.#state
    const frames = buffer.end.frame - released
    const mark = this.#marks.reach(released)
    const waited = this.#clock.currentTimeNanosUnsafe() - (mark?.at ?? 0n)
    return {
      frames,
      rows: frames === 0n ? 0n : buffer.end.rows - (mark?.rows ?? 0n),
      bytes: occupied,
      age: frames === 0n || waited < 0n ? Duration.zero : Duration.nanos(waited),
      dropped: this.#room.dropped,
      problem
    }
  }
}

/** A file that cannot be removed is no reason to stop: it is found again at the next opening. */
const removeFile = (path: string): Effect.Effect<void, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.remove(path)).pipe(
    Effect.catch((error) => Effect.logWarning(`spool: cannot remove ${path}: ${SpoolFile.ioDetail(error)}`))
  )
