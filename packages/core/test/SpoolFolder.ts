/** Spools in folders of their own, on real files, for tests. */
import * as NodePath from "@effect/platform-node/NodePath"
import { assert } from "@effect/vitest"
import { Effect, FileSystem, Latch, Layer, PlatformError, References, Stream } from "effect"
import { type FeedEntry, Spool, type SpoolError } from "../src/index.ts"
import { assertSameEntry } from "./SpoolEntries.ts"
import { Files } from "./SpoolFiles.ts"

export { Files }

/** Hundreds of spools are opened, and what a sync costs is not the question: files lie in memory where there is a place. */
const inMemory = "/dev/shm"

/** A path where a spool can be; what is there goes at the end. */
export const spoolFolder = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const directory = (yield* fs.exists(inMemory)) ? inMemory : undefined
  return `${yield* fs.makeTempDirectoryScoped({ directory, prefix: "dm-spool-" })}/spool`
})

type OpenSpool = Spool.Spool["Service"]

/** Opens a spool for the time of `use`. */
export const withSpool = <A, E, R>(
  options: Partial<Spool.SpoolOptions> & { readonly folder: string },
  use: (spool: OpenSpool) => Effect.Effect<A, E, R>
) => Effect.scoped(Effect.flatMap(Spool.make({ maxBytes: 1e9, ...options }), use))

/** Appends an entry that has to find room. */
export const append = (spool: OpenSpool, entry: FeedEntry): Effect.Effect<bigint> =>
  Effect.map(spool.append(entry), (result) =>
    result._tag === "Appended" ? result.frame : assert.fail(`dropped: ${result.cause}`)
  )

/** The next `count` elements from a frame on. */
export const take = (spool: OpenSpool, from: bigint, count: number) =>
  Stream.runCollect(Stream.take(spool.read(from), count))

/** Everything from a frame on up to what was appended before. */
export const readAll = (spool: OpenSpool, from = 1n) =>
  Effect.gen(function* () {
    yield* spool.flush
    const last = yield* spool.synced
    const found: Array<Spool.Spooled> = []
    if (last < from) return found
    yield* spool.read(from).pipe(
      Stream.tap((each) => Effect.sync(() => found.push(each))),
      Stream.takeUntil((each) => (each._tag === "SpooledEntry" ? each.frame : each.to) >= last),
      Stream.runDrain
    )
    return found
  })

/** `found` is `entries` with the numbers from `first` on. */
export const assertEntries = (
  found: ReadonlyArray<Spool.Spooled>,
  entries: ReadonlyArray<FeedEntry>,
  first = 1n
): void => {
  assert.strictEqual(found.length, entries.length)
  for (const [i, each] of found.entries()) {
    if (each._tag !== "SpooledEntry") assert.fail(each.detail)
    if (each.frame !== first + BigInt(i)) assert.fail(`frame ${each.frame} at place ${i}`)
    assertSameEntry(each.entry, entries[i]!)
  }
}

export const reasonOf = <A, R>(open: Effect.Effect<A, SpoolError, R>) =>
  Effect.map(Effect.flip(open), ({ reason }) => reason._tag)

/** Segment files of a folder, ascending. */
export const filesIn = (folder: string) =>
  Effect.map(
    Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readDirectory(folder)),
    (names) => names.filter((name) => name.endsWith(".spool")).sort()
  )

/** A disk that can be told to refuse. */
export class BadDisk {
  /** Bytes that writes still find room for; every write takes what there is, as `write(2)` does. */
  room = Number.POSITIVE_INFINITY
  failsSync = false
  failsTruncate = false
  failures = 0
  /** Syncs end while it is open. */
  readonly works = Latch.makeUnsafe(true)

  /** The file system on this disk. */
  get layer() {
    return Layer.effect(
      FileSystem.FileSystem,
      Effect.map(FileSystem.FileSystem, (fs) => ({
        ...fs,
        open: (...args: Parameters<FileSystem.FileSystem["open"]>) =>
          Effect.map(fs.open(...args), (file) => this.#over(file))
      }))
    ).pipe(Layer.provide(Files), Layer.merge(NodePath.layer))
  }

  #fail(method: string) {
    this.failures += 1
    return Effect.fail(
      PlatformError.systemError({ _tag: "Unknown", module: "FileSystem", method, description: "ENOSPC" })
    )
  }

  #over(file: FileSystem.File): FileSystem.File {
    return {
      [FileSystem.FileTypeId]: FileSystem.FileTypeId,
      stat: file.stat,
      seek: (offset, from) => file.seek(offset, from),
      read: (buffer, options) => file.read(buffer, options),
      readAlloc: (size, options) => file.readAlloc(size, options),
      write: (buffer) => file.write(buffer),
      sync: Effect.suspend(() =>
        this.failsSync ? this.#fail("sync") : Effect.andThen(this.works.await, file.sync)
      ),
      truncate: (length) => (this.failsTruncate ? this.#fail("truncate") : file.truncate(length)),
      writeAll: (buffer) => {
        const part = Math.min(buffer.length, this.room)
        this.room -= part
        const written = file.writeAll(buffer.subarray(0, part))
        return part === buffer.length ? written : Effect.andThen(written, this.#fail("writeAll"))
      }
    }
  }
}

/** Without the log lines that damage causes. */
export const quiet = Layer.succeed(References.MinimumLogLevel, "None")
