/** Opening a spool: its folder, its lock, what its files hold. */
import { Clock, Effect, FileSystem, Path, type PlatformError, type Scope } from "effect"
import type { BufferStart } from "./SpoolBuffer.ts"
import { SpoolError, SpoolIncompatible, SpoolIoFailed, SpoolUnusable } from "./SpoolError.ts"
import * as SpoolFile from "./SpoolFile.ts"
import * as SpoolLock from "./SpoolLock.ts"
import type { Mark } from "./SpoolMarks.ts"
import type { Segment } from "./SpoolState.ts"

/** What was found at the opening. */
export interface SpoolOpened {
  /** First frame that is still there; `next` where there is none. */
  readonly first: bigint
  /** Number of the next frame: those from here on are appended by this process. */
  readonly next: bigint
  /** Bytes at the end of the newest file that were no whole frame, and were cut. Nobody had been told that they were safe. */
  readonly cut?: { readonly file: string; readonly offset: number; readonly bytes: number } | undefined
  /** Damage that was found. `read` tells of it, too, as holes, and of what lies in older files: those are checked when read. */
  readonly damaged: ReadonlyArray<string>
}

/** A folder that was opened. */
export interface OpenFolder {
  readonly segments: Array<Segment>
  readonly start: BufferStart
  /** No file tells the id any longer: the new one has to be written down. */
  readonly mustRenew: boolean
  readonly marks: ReadonlyArray<Mark>
  readonly opened: SpoolOpened
}

type Io<A, E = PlatformError.PlatformError> = Effect.Effect<A, E, FileSystem.FileSystem | Path.Path>

const FolderMode = 0o700

/** Opens the folder for the rest of the scope; makes it where it is not there. */
export const open = (
  folder: string,
  processes: SpoolLock.SpoolProcesses | undefined
): Effect.Effect<OpenFolder, SpoolError, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function* () {
    yield* prepareFolder(folder)
    yield* SpoolLock.acquire(folder, processes)
    return yield* openFiles(folder).pipe(
      Effect.mapError((error) => (error._tag === "SpoolError" ? error : failedToOpen(folder, error)))
    )
  })

const unusable = (folder: string, detail: string, hint: string, cause?: unknown): SpoolError =>
  new SpoolError({ operation: `open spool ${folder}`, reason: new SpoolUnusable({ detail, hint }), cause })

const failedToOpen = (folder: string, cause: PlatformError.PlatformError): SpoolError => {
  if (cause.reason._tag === "PermissionDenied")
    return unusable(
      folder,
      SpoolFile.ioDetail(cause),
      "give the folder to this user (chown), or set another [spool] dir",
      cause
    )
  if (cause.reason._tag === "BadResource" || cause.reason._tag === "AlreadyExists")
    return unusable(
      folder,
      "there is a file where a folder should be",
      "remove it, or set another [spool] dir",
      cause
    )
  const hint = "free disk space or check the file system, then start again"
  const reason = new SpoolIoFailed({ detail: SpoolFile.ioDetail(cause), hint })
  return new SpoolError({ operation: `open spool ${folder}`, reason, cause })
}

const prepareFolder = (folder: string): Io<void, SpoolError> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    yield* fs.makeDirectory(folder, { recursive: true, mode: FolderMode })
    return yield* fs.stat(folder)
  }).pipe(
    Effect.mapError((error) => failedToOpen(folder, error)),
    Effect.flatMap(({ mode, type }) => {
      if (type !== "Directory")
        return Effect.fail(unusable(folder, "it is no folder", "remove it, or set another [spool] dir"))
      if ((mode & 0o077) === 0) return Effect.void
      const shown = (mode & 0o777).toString(8)
      return Effect.fail(
        unusable(folder, `other users may enter it (mode ${shown})`, `run \`chmod 700 ${folder}\``)
      )
    })
  )

const openFiles = Effect.fnUntraced(function* (folder: string) {
  const path = yield* Path.Path
  const names = yield* namesIn(folder)
  const files: Array<Headed> = []
  for (const name of names) files.push(yield* readHeader(folder, path.join(folder, name)))
  if (files.length === 0) {
    const first = path.join(folder, SpoolFile.nameOf(1n))
    files.push(yield* makeFile(folder, first, { id: newId(), rowsBefore: 0n }))
  }
  return yield* openNewest(folder, files)
})

/** Names of the segment files, ascending. Drafts that never got a name are removed. */
const namesIn = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const names = yield* fs.readDirectory(folder)
  for (const name of names)
    if (name.endsWith(".spool.new")) yield* Effect.ignore(fs.remove(path.join(folder, name)))
  return names.filter((name) => SpoolFile.firstOf(name) !== undefined).sort()
})

/** A new id of a spool. */
export const newId = (): string => crypto.randomUUID().replaceAll("-", "")

interface Headed extends Segment {
  readonly header: SpoolFile.SegmentHeader | "short" | "damaged"
}

const readHeader = Effect.fnUntraced(function* (folder: string, file: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const { size } = yield* fs.stat(file)
  const header = SpoolFile.decodeHeader(yield* SpoolFile.loadHeader(file))
  if (header === "newer")
    return yield* new SpoolError({
      operation: `open spool ${folder}`,
      reason: new SpoolIncompatible({
        detail: `${file} was written by a newer version`,
        hint: "start that version until the spool is empty, or set another [spool] dir"
      })
    })
  const first = SpoolFile.firstOf(path.basename(file))!
  // A header of another number belongs to another file: the name is what the files are ordered by.
  const isOwn = typeof header === "string" || header.first === first
  const headed: Headed = { path: file, first, synced: Number(size), header: isOwn ? header : "damaged" }
  return headed
})

const makeFile = Effect.fnUntraced(function* (
  folder: string,
  file: string,
  known: Pick<SpoolFile.SegmentHeader, "id" | "rowsBefore">
) {
  const path = yield* Path.Path
  const first = SpoolFile.firstOf(path.basename(file))!
  const header = { ...known, first, at: yield* Clock.currentTimeNanos }
  yield* SpoolFile.create(folder, file, header)
  const made: Headed = { path: file, first, synced: SpoolFile.HeaderBytes, header }
  return made
})

const openNewest = Effect.fnUntraced(function* (folder: string, files: Array<Headed>) {
  const headers = files.map(({ header }) => header).filter((header) => typeof header === "object")
  const known = headers.at(-1) ?? { id: newId(), rowsBefore: 0n }
  const found = files.at(-1)!
  const isShort = found.header === "short"
  if (isShort) files.splice(-1, 1, yield* makeFile(folder, found.path, known))
  const newest = files.at(-1)!
  const contents = yield* examineNewest(newest)
  const end = isShort ? 0 : contents.end
  const bytes = found.synced - end
  newest.synced = contents.end
  const folderOpened: OpenFolder = {
    segments: files,
    start: {
      id: known.id,
      frame: contents.next - 1n,
      rows: known.rowsBefore + contents.rows,
      fileBytes: contents.end
    },
    mustRenew: headers.length === 0 && !isShort,
    marks: headers.map(({ first, rowsBefore, at }) => ({ frame: first - 1n, rows: rowsBefore, at })),
    opened: {
      first: files[0]!.first,
      next: contents.next,
      cut: bytes > 0 ? { file: found.path, offset: end, bytes } : undefined,
      damaged: damageIn(files, contents)
    }
  }
  return folderOpened
})

/** Looks at every frame of the newest file, cuts what is behind the last whole one, and makes the rest safe on disk. */
const examineNewest = Effect.fnUntraced(function* ({ first, path }: Headed) {
  const { memory, length } = yield* SpoolFile.load(path)
  const contents = SpoolFile.examine(memory, length, first)
  yield* Effect.scoped(
    Effect.gen(function* () {
      const file = yield* SpoolFile.openToAppend(path)
      if (contents.end < length) yield* file.truncate(contents.end)
      // What a killed process has written may not be on disk yet, and readers are given what is.
      yield* file.sync
    })
  )
  return contents
})

const damageIn = (files: ReadonlyArray<Headed>, contents: SpoolFile.Contents): ReadonlyArray<string> => [
  ...files.filter(({ header }) => typeof header === "string").map(({ path }) => `${path}: the header`),
  ...contents.damaged.map(
    ({ offset, bytes, from, to }) =>
      `${files.at(-1)!.path}: ${bytes} bytes from byte ${offset} on, frames ${from} to ${to}`
  )
]
