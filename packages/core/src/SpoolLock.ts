/**
 * One process has a spool open. The lock is a file whose name says who: `<pid>-<start time>-<boot>.lock`. A name stands for one
 * process for ever, so a lock of a process that is gone can be removed without a race: nobody will ever own that name again.
 * Whoever opens makes its own file first and looks for others then; of two that open at the same time at most one goes on.
 *
 * Processes of other machines and of other containers cannot be seen from here: a folder that several of them share is not
 * protected.
 */
import { Effect, FileSystem, Option, Path, type PlatformError, Random, type Scope } from "effect"
import { SpoolError, SpoolInUse, SpoolIoFailed, SpoolUnusable } from "./SpoolError.ts"
import * as SpoolFile from "./SpoolFile.ts"

/** A process: `id` is its number, `start` distinguishes it from others that had the number before. */
export interface SpoolProcess {
  readonly id: number
  /** Letters and digits; dots are allowed. */
  readonly start: string
}

/** How a spool finds out about processes. */
export interface SpoolProcesses {
  readonly self: Effect.Effect<SpoolProcess, unknown>
  readonly isRunning: (other: SpoolProcess) => Effect.Effect<boolean>
}

/** Processes as `/proc` of Linux shows them. Where there is none, nobody is recognised and a lock has to be removed by hand. */
export const linuxProcesses: Effect.Effect<SpoolProcesses, never, FileSystem.FileSystem> = Effect.map(
  FileSystem.FileSystem,
  (fs) => {
    // The name of a program may contain blanks and brackets; the fields behind it do not.
    const startOf = (id: string) =>
      Effect.map(
        fs.readFileString(`/proc/${id}/stat`),
        (text) => text.slice(text.lastIndexOf(")") + 2).split(" ")[19]!
      )
    const boot = Effect.map(fs.readFileString("/proc/sys/kernel/random/boot_id"), (text) => text.slice(0, 8))
    const processOf = (id: string) =>
      Effect.map(Effect.all([startOf(id), boot]), ([start, bootId]) => ({
        id: Number(id),
        start: `${start}.${bootId}`
      }))
    return {
      self: Effect.flatMap(fs.readLink("/proc/self"), processOf),
      isRunning: (other) =>
        Effect.map(Effect.option(processOf(String(other.id))), (found) =>
          Option.match(found, { onNone: () => false, onSome: ({ start }) => start === other.start })
        )
    }
  }
)

const unknownProcess: SpoolProcess = { id: 0, start: "unknown" }

const nameOf = ({ id, start }: SpoolProcess): string => `${id}-${start}.lock`

const processIn = (name: string): SpoolProcess | undefined => {
  const parts = /^(\d+)-([\w.]+)\.lock$/.exec(name)
  return parts === null ? undefined : { id: Number(parts[1]), start: parts[2]! }
}

const refusal = (folder: string, holder: SpoolProcess | undefined) =>
  new SpoolError({
    operation: `open spool ${folder}`,
    reason: new SpoolInUse({
      detail:
        holder === undefined
          ? "this process has it open already"
          : holder.id === 0
            ? "a process that cannot be told has it open"
            : `process ${holder.id} has it open`,
      hint:
        holder?.id === 0
          ? "if no other process uses it, remove the .lock file in it"
          : "stop that one, or set another [spool] dir"
    })
  })

const notLocked = (folder: string, self: SpoolProcess, cause: PlatformError.PlatformError): SpoolError => {
  const tag = cause.reason._tag
  if (tag === "AlreadyExists") return refusal(folder, self.id === 0 ? self : undefined)
  const detail = `cannot make a lock file: ${SpoolFile.ioDetail(cause)}`
  return new SpoolError({
    operation: `open spool ${folder}`,
    reason:
      tag === "PermissionDenied"
        ? new SpoolUnusable({
            detail,
            hint: "give the folder to this user (chown), or set another [spool] dir"
          })
        : new SpoolIoFailed({ detail, hint: "free disk space or check the file system, then start again" }),
    cause
  })
}

/** Attempts of two that open at the same time. */
const Attempts = 4

/** Holds the lock of a folder for the rest of the scope. Fails with `SpoolInUse`. */
export const acquire = (
  folder: string,
  processes?: SpoolProcesses | undefined
): Effect.Effect<void, SpoolError, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const known = processes ?? (yield* linuxProcesses)
      const self = yield* Effect.orElseSucceed(known.self, () => unknownProcess)
      for (let attempt = 1; ; attempt++) {
        const holder = yield* attemptLock(folder, self, known)
        if (holder === undefined) return yield* keep(folder, self)
        if (attempt === Attempts) return yield* refusal(folder, holder)
        yield* Effect.sleep(`${20 + Math.floor((yield* Random.next) * 60)} millis`)
      }
    })
  )

/** Makes the lock of this process and looks for others; answers with who holds the folder, undefined where it is ours. */
const attemptLock = Effect.fnUntraced(function* (
  folder: string,
  self: SpoolProcess,
  processes: SpoolProcesses
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const own = nameOf(self)
  yield* fs
    .writeFileString(path.join(folder, own), "", { flag: "wx", mode: 0o600 })
    .pipe(Effect.mapError((error) => notLocked(folder, self, error)))
  const names = yield* Effect.mapError(fs.readDirectory(folder), (error) => notLocked(folder, self, error))
  for (const name of names) {
    const other = name === own ? undefined : processIn(name)
    if (other === undefined) continue
    if (other.id === 0 || (yield* processes.isRunning(other))) {
      yield* Effect.ignore(fs.remove(path.join(folder, own)))
      return other
    }
    yield* Effect.ignore(fs.remove(path.join(folder, name)))
  }
  return undefined
})

const keep = Effect.fnUntraced(function* (folder: string, self: SpoolProcess) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(path.join(folder, nameOf(self)))))
})
