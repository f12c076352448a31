/** Starting the server of a data directory, and waiting until it can be used or has said why not. */
import { rmSync, statSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { type StoreError, StoreUnavailable } from "@data-manager/core"
import { Effect } from "effect"
import type { Binaries } from "./Binaries.ts"
import type { DataDirectory } from "./DataDirectory.ts"
import { failure, fileFailure, programFailure, spaceFailure } from "./EmbeddedFailure.ts"
import * as Postmaster from "./Postmaster.ts"
import * as ServerLog from "./ServerLog.ts"
import * as Settings from "./Settings.ts"

const operation = "start embedded server"

/** Longest path of a unix socket: `sun_path` with its final zero. Bytes. */
const longestSocketPath = process.platform === "darwin" ? 103 : 107
/** The socket's name holds it; programs that are given the directory alone look for this one. */
const socketPort = 5432

/** Port on the loopback interface that is free at this moment. */
const freePort: Effect.Effect<number, StoreError> = Effect.callback<number, StoreError>((resume) => {
  const probe = createServer()
  probe.once("error", (cause) => resume(Effect.fail(fileFailure(operation, "127.0.0.1", cause))))
  probe.listen({ host: "127.0.0.1", port: 0 }, () => {
    const address = probe.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    probe.close(() => resume(Effect.succeed(port)))
  })
})

/** Whether the server of this directory can have a unix socket. */
const fitsSocket = (directory: DataDirectory): boolean =>
  Buffer.byteLength(join(directory.run, `.s.PGSQL.${socketPort}`)) <= longestSocketPath

const chooseListen = ({
  directory,
  port,
  socket
}: LaunchInput): Effect.Effect<Settings.Listen, StoreError> =>
  socket && fitsSocket(directory)
    ? Effect.succeed({ socketDirectory: directory.run, port: socketPort })
    : Effect.map(port === undefined ? freePort : Effect.succeed(port), (port) => ({ port }))

/** What a start needs to know. */
export interface LaunchInput {
  readonly directory: DataDirectory
  readonly binaries: Binaries
  readonly settings: Omit<Settings.SettingsInput, "listen">
  /** A process id in a left-over pid file that is known to be no server. */
  readonly notServer: number | undefined
  /** Port to take again where there is no unix socket. */
  readonly port: number | undefined
  /** Whether to try a unix socket; not every file system has them. */
  readonly socket: boolean
}

/** A server that this process started, and where its messages go. */
export interface Launched {
  readonly started: Postmaster.Started
  readonly log: ServerLog.LogFile
}

/** Starts the server process. */
export const launch = (input: LaunchInput): Effect.Effect<Launched, StoreError> =>
  Effect.gen(function* () {
    const { directory, binaries, notServer } = input
    const listen = yield* chooseListen(input)
    const log = yield* ServerLog.create(directory)
    const settings = Settings.toArguments(Settings.make({ ...input.settings, listen }))
    const started = yield* Postmaster.start({
      directory,
      postgres: binaries.postgres,
      settings,
      log: log.handle,
      notServer
    }).pipe(Effect.ensuring(ServerLog.close(log)))
    return { started, log }
  })

const staleLock = /lock file "([^"]*)" already exists/
const namedProcess = /\(PID (\d+)\)/

/**
 * How a start went. Not ready: something passing is in the way, a process id in a lock file that is no server, or a file
 * system without unix sockets.
 */
export type Progress =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Later"; readonly why: string }
  | { readonly _tag: "NotServer"; readonly pid: number }
  | { readonly _tag: "NoSocket"; readonly why: string }

const later = (why: string): Progress => ({ _tag: "Later", why })

/** The cluster's lock was taken, the one of its own socket was not: whoever is named there is no server of this cluster. */
const judge = (directory: DataDirectory, output: string): Progress | undefined => {
  const path = staleLock.exec(output)?.[1]
  const pid = Number(namedProcess.exec(output)?.[1])
  if (path?.startsWith(directory.run) === true && pid > 0) return { _tag: "NotServer", pid }
  if (path !== undefined) return later("another server starts on this data directory")
  if (/lock file "[^"]*" is empty|bogus data in lock file/.test(output)) {
    removeOldSocketLock(directory)
    return later("the lock file of another server is not complete")
  }
  if (/pre-existing shared memory block/.test(output))
    return later("sessions of the server before are still ending")
  if (/could not (bind|create|set \w+ of).*Unix|Unix-domain socket/i.test(output))
    return { _tag: "NoSocket", why: "the data directory cannot hold a unix socket" }
  if (/Address already in use|could not bind/.test(output)) return later("the port was taken")
  return undefined
}

const quietTime = 10_000

/** The socket's lock, left incomplete by a power failure. Only a server of this cluster writes it. */
const removeOldSocketLock = (directory: DataDirectory): void => {
  const path = join(directory.run, `.s.PGSQL.${socketPort}.lock`)
  const changed = statSync(path, { throwIfNoEntry: false })?.mtimeMs
  if (changed !== undefined && Date.now() - changed > quietTime) rmSync(path, { force: true })
}

/** Room for a WAL segment. Bytes. */
const leastSpace = 16 * 1024 * 1024

const explain = (directory: DataDirectory, { log }: Launched): Effect.Effect<Progress, StoreError> =>
  Effect.gen(function* () {
    const output = yield* ServerLog.readTail(log.path)
    const judged = judge(directory, output)
    if (judged === undefined) {
      // On a full disk the log stays empty, too.
      const full = spaceFailure(operation, directory.path, leastSpace, "a server")
      return yield* Effect.fail(full ?? programFailure(operation, output, log.path))
    }
    yield* ServerLog.remove(log)
    return judged
  })

/** Pause between two looks. Milliseconds. */
const pause = 5

/**
 * Waits until the server is ready or has ended. One that recovers after a crash takes its time; fails with
 * `StoreUnavailable` after `timeoutMillis`, and with what the server said where it cannot start.
 */
export const awaitReady = (
  directory: DataDirectory,
  launched: Launched,
  timeoutMillis: number
): Effect.Effect<Progress, StoreError> =>
  Effect.gen(function* () {
    const { started } = launched
    for (;;) {
      if (started.ended() !== undefined) return yield* explain(directory, launched)
      const seen = yield* Postmaster.read(directory)
      if (seen?.pid === started.pid && seen.status === "ready") return { _tag: "Ready" } as const
      yield* Effect.sleep(pause)
    }
  }).pipe(
    Effect.timeoutOrElse({
      duration: timeoutMillis,
      orElse: () =>
        Effect.fail(
          failure(
            operation,
            new StoreUnavailable({
              detail: `the server was not ready after ${Math.round(timeoutMillis / 1000)} s (log: ${launched.log.path})`,
              hint: "after a crash it may need longer to recover: try again"
            })
          )
        )
    })
  )
