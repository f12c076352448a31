/**
 * What the server prints: one file per start. The size is bounded by the processes that use the server, which look at it
 * now and then: a server without users stops anyway.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import type { StoreError } from "@data-manager/core"
import { Clock, Effect } from "effect"
import { type DataDirectory, give } from "./DataDirectory.ts"
import { codeOf, fileFailure } from "./EmbeddedFailure.ts"

const pattern = /^server-\d{8}T\d{9}Z-[\da-f]{8}\.log$/
const keptFiles = 5
const mebibyte = 1024 * 1024
/** A file beyond this size is cut down to its last part. Bytes. */
const largest = 16 * mebibyte
const keptTail = mebibyte

/** An open log file. */
export interface LogFile {
  readonly path: string
  readonly handle: number
}

const attempt = <A>(path: string, body: () => A): Effect.Effect<A, StoreError> =>
  Effect.try({ try: body, catch: (cause) => fileFailure("write server log", path, cause) })

/** Opens a new file for a server about to start, appending, so that cutting it down leaves no hole. */
export const create = (directory: DataDirectory): Effect.Effect<LogFile, StoreError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const stamp = new Date(now).toISOString().replace(/[-:.]/g, "")
    const nonce = crypto.randomUUID().slice(0, 8)
    const path = join(directory.log, `server-${stamp}-${nonce}.log`)
    return attempt(path, () => {
      const handle = openSync(path, "ax", 0o600)
      give(path, directory.owner)
      return { path, handle }
    })
  })

/** Lets go of the file; the server has its own handle. */
export const close = (file: LogFile): Effect.Effect<void> => Effect.sync(() => closeSync(file.handle))

/** The last part of a file as text; empty when it is gone. Bytes. */
const tail = (path: string, bytes: number): string => {
  let handle: number
  try {
    handle = openSync(path, "r")
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return ""
    throw cause
  }
  try {
    const { size } = fstatSync(handle)
    const buffer = Buffer.alloc(Math.min(bytes, size))
    const read = readSync(handle, buffer, 0, buffer.length, Math.max(0, size - bytes))
    return buffer.toString("utf8", 0, read)
  } finally {
    closeSync(handle)
  }
}

/** What the server printed last. */
export const readTail = (path: string): Effect.Effect<string, StoreError> =>
  attempt(path, () => tail(path, 16 * 1024))

/** Removes the file of a start that came to nothing. */
export const remove = (file: LogFile): Effect.Effect<void, StoreError> =>
  attempt(file.path, () => rmSync(file.path, { force: true }))

/** The log files, newest first. */
export const files = (directory: DataDirectory): Effect.Effect<ReadonlyArray<string>, StoreError> =>
  attempt(directory.log, () =>
    readdirSync(directory.log)
      .filter((name) => pattern.test(name))
      .sort()
      .reverse()
      .map((name) => join(directory.log, name))
  )

const cut = (path: string): void => {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= largest) return
  const kept = tail(path, keptTail)
  const handle = openSync(path, "r+")
  try {
    ftruncateSync(handle, 0)
  } finally {
    closeSync(handle)
  }
  writeFileSync(path, `(cut to its last part)\n${kept.slice(kept.indexOf("\n") + 1)}`, { flag: "a" })
}

/** Keeps the newest files, and each of them small. */
export const tidy = (directory: DataDirectory): Effect.Effect<void, StoreError> =>
  Effect.flatMap(files(directory), (found) =>
    attempt(directory.log, () => {
      for (const path of found.slice(keptFiles)) rmSync(path, { force: true })
      for (const path of found.slice(0, keptFiles)) cut(path)
    })
  )
