/**
 * Downloads one file: under a temporary name, resumed where it stopped, checked against its SHA-256 over the whole file,
 * then renamed. A file that stands under its own name is complete.
 */
import { createHash, type Hash } from "node:crypto"
import { join } from "node:path"
import {
  ProviderBadRequest,
  ProviderError,
  type ProviderErrorReason,
  ProviderMalformed,
  ProviderTruncated
} from "@data-manager/core"
import { Effect, FileSystem, Option, type PlatformError, Stream } from "effect"
import type { Call, HistoricalHttp } from "./HistoricalHttp.ts"

/** A file of a job. */
export interface RemoteFile {
  readonly filename: string
  /** Bytes. */
  readonly size: number
  /** `sha256:` and 64 hexadecimal digits. */
  readonly hash: string
  readonly url: string
}

/** How to download. */
export interface DownloadOptions {
  /** Tries in a row that bring no byte before giving up. Default 5. */
  readonly retries?: number | undefined
  /** Sees how much of a file is there, after every chunk. */
  readonly onProgress?: ((file: RemoteFile, bytes: number) => Effect.Effect<void>) | undefined
}

const PartSuffix = ".part"

/** Downloads a file into a directory and gives its path. */
export const download = Effect.fnUntraced(function* (
  http: HistoricalHttp,
  file: RemoteFile,
  directory: string,
  options: DownloadOptions = {}
) {
  const fs = yield* FileSystem.FileSystem
  const operation = `download ${file.filename}`
  const fail = (reason: ProviderErrorReason, cause?: unknown) =>
    new ProviderError({ provider: "databento", operation, reason, cause })
  const local: Local = (effect) => Effect.mapError(effect, (error) => fail(localReason(error), error))
  const expected = yield* expectedHash(http, file, fail)
  const path = join(directory, file.filename)
  yield* local(fs.makeDirectory(directory, { recursive: true }))
  if (yield* local(fs.exists(path))) {
    const { hash } = yield* local(hashFile(fs, path))
    if (hash.digest("hex") === expected) return path
    return yield* fail(
      new ProviderBadRequest({
        detail: `${path} is there already and is another file`,
        hint: "move it away, or download into another directory"
      })
    )
  }
  const part = `${path}${PartSuffix}`
  yield* fetchPart(http, file, part, options, local, fail)
  const { hash, bytes } = yield* local(hashFile(fs, part))
  if (hash.digest("hex") !== expected) {
    yield* local(fs.remove(part))
    return yield* fail(
      new ProviderMalformed({
        detail: `the ${bytes} bytes that came are not the file (its SHA-256 differs): they were deleted, download it again`
      })
    )
  }
  yield* local(fs.rename(part, path))
  return path
})

type Fail = (reason: ProviderErrorReason, cause?: unknown) => ProviderError
type Local = <A, R>(
  effect: Effect.Effect<A, PlatformError.PlatformError, R>
) => Effect.Effect<A, ProviderError, R>

/** Brings the part up to the size of the file. Bytes that came make good for earlier failures. */
const fetchPart = Effect.fnUntraced(function* (
  http: HistoricalHttp,
  file: RemoteFile,
  part: string,
  options: DownloadOptions,
  local: Local,
  fail: Fail
) {
  const fs = yield* FileSystem.FileSystem
  const { retries = 5 } = options
  for (let failures = 0; ; ) {
    const before = yield* local(partSize(fs, part, file.size))
    if (before === file.size) return
    const outcome = yield* Effect.result(receive(http, file, part, before, options, local))
    const now = yield* local(partSize(fs, part, file.size))
    if (now === file.size) return
    failures = now > before ? 1 : failures + 1
    if (outcome._tag === "Failure" && !outcome.failure.isRetryable) return yield* outcome.failure
    if (failures > retries)
      return yield* outcome._tag === "Failure"
        ? outcome.failure
        : fail(new ProviderTruncated({ detail: "the connection ended before the file did", offset: now }))
    yield* Effect.sleep("500 millis")
  }
})

/** One request, from the first missing byte on, appended to the part. */
const receive = Effect.fnUntraced(function* (
  http: HistoricalHttp,
  file: RemoteFile,
  part: string,
  held: number,
  options: DownloadOptions,
  local: Local
) {
  const fs = yield* FileSystem.FileSystem
  const call: Call = {
    kind: "jobs",
    method: "GET",
    path: file.url,
    headers: { accept: "application/octet-stream", ...(held > 0 ? { range: `bytes=${held}-` } : {}) }
  }
  const reply = yield* http.open(call)
  // A server that does not resume sends the file from its beginning.
  const resumes = reply.status === 206
  let bytes = resumes ? held : 0
  yield* Effect.scoped(
    Effect.gen(function* () {
      const out = yield* local(fs.open(part, { flag: resumes ? "a" : "w" }))
      yield* Stream.runForEach(reply.value, (chunk) => {
        const room = file.size - bytes
        const fitting = chunk.length > room ? chunk.subarray(0, room) : chunk
        bytes += fitting.length
        const written = local(out.writeAll(fitting))
        return options.onProgress === undefined
          ? written
          : Effect.andThen(written, options.onProgress(file, bytes))
      })
      yield* local(out.sync)
    })
  )
})

/** Bytes of the part that are there; a part larger than the file is of another one and is dropped. */
const partSize = (fs: FileSystem.FileSystem, part: string, size: number) =>
  Effect.gen(function* () {
    if (!(yield* fs.exists(part))) return 0
    const held = Number((yield* fs.stat(part)).size)
    if (held <= size) return held
    yield* fs.remove(part)
    return 0
  })

const hashFile = (fs: FileSystem.FileSystem, path: string) =>
  Effect.suspend(() => {
    const hash: Hash = createHash("sha256")
    let bytes = 0
    const read = Stream.runForEach(fs.stream(path, { chunkSize: 1 << 20 }), (chunk) =>
      Effect.sync(() => {
        hash.update(chunk)
        bytes += chunk.length
      })
    )
    return Effect.map(read, () => ({ hash, bytes }))
  })

/** Checks what the service says about the file: the name must not leave the directory, nor the key the service's host. */
const expectedHash = (
  http: HistoricalHttp,
  file: RemoteFile,
  fail: Fail
): Effect.Effect<string, ProviderError> => {
  const bad = (detail: string) => Effect.fail(fail(new ProviderMalformed({ detail })))
  if (!/^[\w.+=@-][\w.+=@ -]{0,254}$/.test(file.filename) || /^\.+$/.test(file.filename))
    return bad(`the service names a file ${JSON.stringify(file.filename)}: not a name for a file here`)
  const host = Option.getOrUndefined(Option.liftThrowable(() => new URL(file.url).host)())
  if (host !== http.host) return bad(`the file's address is at ${host ?? file.url}, not at ${http.host}`)
  const [, hash] = /^sha256:([0-9a-f]{64})$/.exec(file.hash.toLowerCase()) ?? []
  return hash === undefined
    ? bad(`the file's hash is ${JSON.stringify(file.hash)}, not a SHA-256`)
    : Effect.succeed(hash)
}

const localReason = (error: PlatformError.PlatformError): ProviderErrorReason =>
  new ProviderBadRequest({
    detail: error.message,
    hint: /ENOSPC|EDQUOT/.test(String(error.cause ?? error.message))
      ? "the disk is full: make room; the download goes on where it stopped"
      : "check the directory"
  })
