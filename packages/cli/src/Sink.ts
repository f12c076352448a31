/**
 * Where an export goes: standard output, or a file that appears under its name when it is complete. Compressed on the
 * way where asked for. Writing waits for the disk or pipe, so memory stays small.
 */
import { createWriteStream } from "node:fs"
import { rename, rm, stat } from "node:fs/promises"
import { Writable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { createGzip, createZstdCompress } from "node:zlib"
import { Effect, type Scope } from "effect"
import { CommandError } from "./ExitCode.ts"
import { problemText } from "./FileProblem.ts"
import * as Output from "./Output.ts"

/** How bytes are compressed. */
export type Compression = "none" | "gzip" | "zstd"

/** What is to be written where. */
export interface SinkOptions {
  /** A path, or `-` for standard output. */
  readonly path: string
  readonly compression: Compression
  /** Replace a file that exists. */
  readonly force: boolean
}

/** Takes text; the scope's end removes what was not finished. */
export interface Sink {
  readonly write: (text: string) => Effect.Effect<void, CommandError>
  /** Everything is written: flushes, and gives a file its name. */
  readonly finish: Effect.Effect<void, CommandError>
}

const failure =
  (path: string) =>
  (cause: unknown): CommandError =>
    new CommandError({ message: `cannot write ${path}: ${problemText(cause)}` })

/** Standard output as a stream that is not closed with the compressor, and that waits as `Output.write` does. */
const standardOutput = (): Writable =>
  new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      Effect.runCallback(Output.write(chunk), { onExit: () => done() })
    }
  })

const compressor = (compression: Compression) =>
  compression === "gzip" ? createGzip() : compression === "zstd" ? createZstdCompress() : undefined

interface Channel {
  readonly entry: Writable
  /** Resolves when the last byte has left. */
  readonly done: Promise<void>
}

/** Compressor and target as one. */
const connect = (target: Writable, compression: Compression): Channel => {
  const head = compressor(compression)
  if (head === undefined)
    return {
      entry: target,
      done: new Promise((resolve, reject) => {
        target.once("error", reject)
        target.once("finish", resolve)
      })
    }
  return { entry: head, done: pipeline(head, target) }
}

/**
 * Writes one text at a time and waits until it is taken. One listener stands for all writes: a listener for each would
 * stay with `done`, and with it its text, until the end.
 */
const writeTo = (path: string, { entry, done }: Channel) => {
  let onFailure: ((cause: unknown) => void) | undefined
  let broken: { readonly cause: unknown } | undefined
  done.catch((cause: unknown) => {
    broken = { cause }
    onFailure?.(cause)
  })
  return (text: string): Effect.Effect<void, CommandError> =>
    text === ""
      ? Effect.void
      : Effect.callback<void, CommandError>((resume) => {
          onFailure = (cause) => resume(Effect.fail(failure(path)(cause)))
          if (broken !== undefined) return onFailure(broken.cause)
          entry.write(text, (error) => {
            if (error === undefined || error === null) resume(Effect.void)
            else onFailure?.(error)
          })
        })
}

const toStandardOutput = (compression: Compression): Sink => {
  if (compression === "none") return { write: Output.write, finish: Effect.void }
  const channel = connect(standardOutput(), compression)
  return {
    write: writeTo("standard output", channel),
    finish: Effect.tryPromise({
      try: () => {
        channel.entry.end()
        return channel.done
      },
      catch: failure("standard output")
    })
  }
}

const toFile = (options: SinkOptions): Effect.Effect<Sink, CommandError, Scope.Scope> =>
  Effect.gen(function* () {
    const { path, compression, force } = options
    const existing = yield* Effect.promise(() => stat(path).catch(() => undefined))
    if (existing?.isDirectory() === true)
      return yield* new CommandError({ message: `cannot write ${path}: is a folder, not a file` })
    if (existing !== undefined && !force)
      return yield* new CommandError({ message: `${path} exists and was not changed; --force replaces it` })
    // A device or pipe has no other name to be written under.
    const temporary = existing !== undefined && !existing.isFile() ? path : `${path}.${process.pid}.part`
    let complete = false
    const channel = yield* Effect.acquireRelease(
      Effect.sync(() => connect(createWriteStream(temporary), compression)),
      ({ entry }) =>
        Effect.promise(async () => {
          if (complete) return
          entry.destroy()
          if (temporary !== path) await rm(temporary, { force: true })
        })
    )
    return {
      write: writeTo(path, channel),
      finish: Effect.tryPromise({
        try: async () => {
          channel.entry.end()
          await channel.done
          if (temporary !== path) await rename(temporary, path)
          complete = true
        },
        catch: failure(path)
      })
    }
  })

/** Opens the target; fails where it cannot be written or exists. */
export const open = (options: SinkOptions): Effect.Effect<Sink, CommandError, Scope.Scope> =>
  options.path === "-" ? Effect.succeed(toStandardOutput(options.compression)) : toFile(options)
