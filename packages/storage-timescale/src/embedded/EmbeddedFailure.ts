/** What goes wrong with files, programs and the embedded server itself, as `StoreError`s that say what to do. */
import { statfsSync } from "node:fs"
import {
  StoreAccessDenied,
  StoreError,
  type StoreErrorReason,
  StoreExhausted,
  StoreIncompatible,
  StoreServerFault,
  StoreUnavailable
} from "@data-manager/core"

/** The way out that always exists. */
export const ownServer = "use a PostgreSQL server of your own: [database] url or DM_DATABASE_URL"

/** Builds the error of one operation. */
export const failure = (operation: string, reason: StoreErrorReason, cause?: unknown): StoreError =>
  new StoreError({ operation, reason, ...(cause === undefined ? {} : { cause }) })

/** Node's error code (`ENOENT`, ...); undefined for anything else. */
export const codeOf = (cause: unknown): string | undefined => {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code
  return typeof code === "string" ? code : undefined
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

const diskFull = (detail: string): StoreExhausted =>
  new StoreExhausted({
    resource: "disk",
    detail,
    hint: "free space there, or choose another data directory (--data-dir, DM_DATA_DIR)"
  })

const denied = (detail: string): StoreAccessDenied =>
  new StoreAccessDenied({
    detail,
    hint: `choose a data directory that you may write (--data-dir, DM_DATA_DIR), or ${ownServer}`
  })

/** A file or directory operation on `path` failed: full disk, missing permission, anything else. */
export const fileFailure = (operation: string, path: string, cause: unknown): StoreError => {
  const code = codeOf(cause)
  const detail = `${path}: ${messageOf(cause)}`
  if (code === "ENOSPC" || code === "EDQUOT")
    return failure(operation, diskFull(`${path}: no space left (${code})`), cause)
  if (code === "EACCES" || code === "EPERM" || code === "EROFS")
    return failure(operation, denied(`${path}: no permission (${code})`), cause)
  return failure(operation, new StoreServerFault({ detail }), cause)
}

const mebibyte = 1024 * 1024

/** The error of a disk with less than `least` free; undefined where there is enough. Bytes. */
export const spaceFailure = (
  operation: string,
  path: string,
  least: number,
  purpose: string
): StoreError | undefined => {
  const { bavail, bsize } = statfsSync(path)
  const free = bavail * bsize
  if (free >= least) return undefined
  const detail = `${path}: no space left (${Math.floor(free / mebibyte)} MB free; ${purpose} needs ${least / mebibyte} MB)`
  return failure(operation, diskFull(detail))
}

/** Last lines of a program's output, short enough for one message. */
const lastLines = (output: string): string =>
  output
    .trim()
    .split("\n")
    .map((line) =>
      line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \w+ \[\d+\] (?:\S+@\S+ )?/, "").trim()
    )
    .filter((line) => line !== "")
    .slice(-4)
    .join(" | ")
    .slice(-800)

interface Symptom {
  readonly pattern: RegExp
  readonly reason: (detail: string) => StoreErrorReason
}

/** What `initdb` and `postgres` say, with LC_MESSAGES C, and what that means to people. First match wins. */
const symptoms: ReadonlyArray<Symptom> = [
  {
    pattern: /No space left on device|Disk quota exceeded|could not resize shared memory/i,
    reason: diskFull
  },
  {
    pattern: /error while loading shared libraries|image not found|Library not loaded|GLIBC_\d|libc\.so\.6/i,
    reason: (detail) => new StoreIncompatible({ detail, hint: `this system lacks a library; ${ownServer}` })
  },
  {
    pattern: /exec format error|cannot execute binary|bad CPU type/i,
    reason: (detail) =>
      new StoreIncompatible({ detail, hint: `the binaries are made for another processor; ${ownServer}` })
  },
  {
    pattern: /could not look up effective user ID/i,
    reason: (detail) =>
      new StoreIncompatible({
        detail,
        hint: `PostgreSQL needs a name for the user it runs as: add the id to /etc/passwd, run as a user that has a name, or ${ownServer}`
      })
  },
  { pattern: /Read-only file system|Permission denied/i, reason: denied },
  {
    pattern:
      /could not create shared memory segment|could not map anonymous shared memory|Cannot allocate memory/i,
    reason: (detail) =>
      new StoreExhausted({
        resource: "memory",
        detail,
        hint: "the server needs more memory than the system gives; lower the setting shared_buffers"
      })
  },
  {
    pattern: /database files are incompatible with server|was initialized by PostgreSQL version/i,
    reason: (detail) => new StoreIncompatible({ detail, hint: "see `dm doctor`" })
  },
  {
    pattern:
      /could not locate a valid checkpoint record|invalid checkpoint|could not open file "global\/pg_control"/i,
    reason: (detail) =>
      new StoreIncompatible({ detail, hint: "the data directory is damaged: restore it from a backup" })
  },
  {
    pattern: /already exists|is another postmaster|still in use/i,
    reason: (detail) =>
      new StoreUnavailable({ detail, hint: "another server holds the directory; try again" })
  }
]

/** A program ended without success: its own words, the likely meaning, and where the rest stands. */
export const programFailure = (operation: string, output: string, log?: string): StoreError => {
  const where = log === undefined ? "" : ` (log: ${log})`
  const detail = `${lastLines(output) || "the program ended without a message"}${where}`
  const symptom = symptoms.find(({ pattern }) => pattern.test(output))
  return failure(operation, symptom?.reason(detail) ?? new StoreServerFault({ detail }))
}
