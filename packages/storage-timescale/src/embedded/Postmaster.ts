/**
 * The server process of a cluster: what its pid file says, whether the process it names really is that server, starting
 * it, and ending it.
 *
 * PostgreSQL itself keeps two servers from one cluster: the pid file is created exclusively, and a left-over one is
 * replaced only when its process and its shared memory are gone. Nothing here deletes the pid file of a server. The one
 * case that PostgreSQL cannot decide, a left-over file whose process id now belongs to something else, is told to it
 * through `PG_GRANDPARENT_PID`, the variable by which `pg_ctl` names a process id that is no server; it then runs its own
 * checks and replaces the file itself.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { readFileSync, readlinkSync, realpathSync, statSync } from "node:fs"
import { link, rename, rm } from "node:fs/promises"
import type { Socket } from "node:net"
import { join } from "node:path"
import { StoreAccessDenied, type StoreError } from "@data-manager/core"
import { Clock, Effect } from "effect"
import { environment, spawnFailure } from "./ChildProgram.ts"
import { type DataDirectory, isAlive } from "./DataDirectory.ts"
import { codeOf, failure, fileFailure } from "./EmbeddedFailure.ts"
import { nameOf, spawnOptions } from "./ServerUser.ts"
import type { Listen } from "./Settings.ts"

/** What a running server wrote into its pid file. Lines appear as it starts. */
export interface PidFile {
  readonly pid: number
  /** Start of the process. Seconds since the epoch. */
  readonly startedAt: number
  /** Where it listens, once it does. */
  readonly listen: Listen | undefined
  readonly status: "starting" | "ready" | "stopping"
}

/** What the cluster's pid file shows. */
export type Sighting =
  | { readonly _tag: "Absent" }
  /** The server named in the file runs. */
  | ({ readonly _tag: "Alive" } & PidFile)
  /** Left over: no such process, or one that is not this server. */
  | { readonly _tag: "Stale"; readonly pid: number; readonly reused: boolean }
  /** Left over from a start that was cut short by a power failure or a full disk: PostgreSQL wants it removed. */
  | { readonly _tag: "Unreadable"; readonly ageMillis: number }

const pidFileOf = (directory: DataDirectory): string => join(directory.cluster, "postmaster.pid")

const readText = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8")
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined
    throw cause
  }
}

const parse = (text: string): PidFile | undefined => {
  const [pid = "", , startedAt = "", port = "", socket = "", address = "", , status = ""] = text
    .split("\n")
    .map((line) => line.trim())
  if (!/^-?\d+$/.test(pid) || Number(pid) <= 0) return undefined
  const listens = /^\d+$/.test(port) && (socket !== "" || address !== "")
  return {
    pid: Number(pid),
    startedAt: Number(startedAt),
    listen: listens
      ? { port: Number(port), ...(socket === "" ? {} : { socketDirectory: socket }) }
      : undefined,
    // "standby" never happens here, and would accept sessions as well.
    status: status === "stopping" ? "stopping" : status === "" || status === "starting" ? "starting" : "ready"
  }
}

/**
 * Whether a process runs. One that has ended and whose parent does not collect it (a container without an init) still has
 * an entry, but runs no more.
 */
export const isRunning = (pid: number): boolean => isAlive(pid) && processState(pid) !== "Z"

/** State of a process as Linux shows it; undefined elsewhere. */
const processState = (pid: number): string | undefined => {
  if (process.platform !== "linux") return undefined
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "")[0]
  } catch {
    return undefined
  }
}

/** Seconds since the epoch at which a process started; undefined where the system does not tell. */
const processStart = (pid: number): number | undefined => {
  try {
    if (process.platform === "linux") {
      const boot = Number(/^btime (\d+)$/m.exec(readFileSync("/proc/stat", "utf8"))?.[1])
      // Field 22, in ticks of 1/100 s; the program's name before it may hold spaces.
      const ticks = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ")[19]
      return boot + Number(ticks) / 100
    }
    const text = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], {
      encoding: "utf8",
      env: environment({ TZ: "UTC" })
    })
    return Date.parse(`${text.trim()} UTC`) / 1000
  } catch {
    return undefined
  }
}

/** The working directory of a process, which for a server is its cluster; undefined where it may not be seen. */
const workingDirectory = (pid: number): string | undefined => {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return undefined
  }
}

/** Clock steps between the boot time and the recorded time make the two differ. Seconds. */
const startTolerance = 60

/** Whether the living process `pid` can be the server that wrote this file. In doubt it is. */
const isServer = (directory: DataDirectory, file: PidFile): boolean => {
  const cwd = workingDirectory(file.pid)
  if (cwd !== undefined) return cwd === realpathSync(directory.cluster)
  const started = processStart(file.pid)
  return started === undefined || !(Math.abs(started - file.startedAt) > startTolerance)
}

/** What the pid file says, without a look at the process. Undefined = no file, or not a whole one. */
export const read = (directory: DataDirectory): Effect.Effect<PidFile | undefined, StoreError> =>
  Effect.try({
    try: () => {
      const text = readText(pidFileOf(directory))
      return text === undefined ? undefined : parse(text)
    },
    catch: (cause) => fileFailure("look for embedded server", pidFileOf(directory), cause)
  })

/** Looks at the pid file and at the process it names. */
export const look = (directory: DataDirectory): Effect.Effect<Sighting, StoreError> => {
  const path = pidFileOf(directory)
  return Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.try({
      try: (): Sighting => {
        const text = readText(path)
        if (text === undefined) return { _tag: "Absent" }
        const file = parse(text)
        if (file === undefined) {
          const changed = statSync(path, { throwIfNoEntry: false })?.mtimeMs
          return changed === undefined ? { _tag: "Absent" } : { _tag: "Unreadable", ageMillis: now - changed }
        }
        if (!isAlive(file.pid)) return { _tag: "Stale", pid: file.pid, reused: false }
        if (!isRunning(file.pid) || !isServer(directory, file))
          return { _tag: "Stale", pid: file.pid, reused: true }
        return { _tag: "Alive", ...file }
      },
      catch: (cause) => fileFailure("look for embedded server", path, cause)
    })
  )
}

/**
 * Removes an unreadable pid file. A server writes its file at once, so one that stayed empty for a while has no server.
 * The file is moved aside first and put back should it have become another one in between.
 */
export const removeUnreadable = (directory: DataDirectory): Effect.Effect<void, StoreError> => {
  const path = pidFileOf(directory)
  const aside = `${path}.unreadable-${process.pid}-${crypto.randomUUID().slice(0, 8)}`
  return Effect.tryPromise({
    try: async () => {
      await rename(path, aside)
      const text = readText(aside)
      if (text !== undefined && parse(text) !== undefined) await link(aside, path)
      await rm(aside)
    },
    catch: (cause) => fileFailure("start embedded server", path, cause)
  }).pipe(
    Effect.catchIf(
      (error) => codeOf(error.cause) === "ENOENT",
      () => Effect.void
    )
  )
}

/**
 * Becomes the server, and leaves behind a guard that reads the starter's pipe (fd 3). "done" ends the guard. When the pipe
 * just closes, the starter died: without a watchdog, which writes process id and start time of its server into
 * `data_manager.watched`, nobody would ever stop this server, so the guard does.
 */
const script = `exec 3<&0 </dev/null
( (
  word= watched= line= start=
  IFS= read -r word <&3
  [ "$word" = done ] && exit
  sleep 1
  IFS= read -r watched <data_manager.watched
  { IFS= read -r line; IFS= read -r line; IFS= read -r start; } <postmaster.pid
  [ "$watched" = "$$ $start" ] || kill -INT "$$"
) >/dev/null 2>&1 & )
exec 3<&-
exec "$0" "$@"`

/** A server process that this process started. */
export interface Started {
  readonly pid: number
  /** Set when it has ended: its exit code, or the signal's name. */
  readonly ended: () => number | string | undefined
  /** Tells the guard that the server is looked after, and lets go of the process. */
  readonly release: () => void
  /** Lets go without a word: the guard stops the server unless it is watched. */
  readonly abandon: () => void
}

/** How a server is started. */
export interface StartInput {
  readonly directory: DataDirectory
  readonly postgres: string
  readonly settings: ReadonlyArray<string>
  /** Open file that takes what the server prints. */
  readonly log: number
  /** A process id in a left-over pid file that is known to be no server. */
  readonly notServer: number | undefined
}

const operation = "start embedded server"

const spawnServer = ({ directory, postgres, settings, log, notServer }: StartInput): ChildProcess =>
  spawn("/bin/sh", ["-c", script, postgres, "-D", directory.cluster, ...settings], {
    cwd: directory.cluster,
    env: environment(notServer === undefined ? {} : { PG_GRANDPARENT_PID: String(notServer) }),
    stdio: ["pipe", log, log],
    // A session of its own: Ctrl-C in a terminal is not for the server.
    detached: true,
    ...spawnOptions(directory.user)
  })

/** Starts the server; it runs on after this process. Returns at once: `look` tells when it is ready. */
export const start = (input: StartInput): Effect.Effect<Started, StoreError> =>
  Effect.callback<Started, StoreError>((resume) => {
    const child = spawnServer(input)
    const pipe = child.stdin as Socket
    let ended: number | string | undefined
    pipe.on("error", () => {})
    pipe.unref()
    child.unref()
    child.once("exit", (code, signal) => {
      ended = code ?? signal ?? "unknown"
    })
    child.once("error", (cause) =>
      resume(Effect.fail(spawnFailure(operation, input.postgres, input.directory.user, cause)))
    )
    child.once("spawn", () =>
      resume(
        Effect.succeed({
          pid: child.pid ?? 0,
          ended: () => ended,
          release: () => pipe.end("done\n"),
          abandon: () => {
            // An ended process has nothing to guard, and its id may belong to another one soon.
            if (ended === undefined) pipe.destroy()
            else pipe.end("done\n")
          }
        })
      )
    )
  })

/** Sends a signal to the server; nothing when it is gone. Fails with `StoreAccessDenied` for another user's server. */
export const signal = (
  directory: DataDirectory,
  pid: number,
  name: "SIGINT" | "SIGQUIT"
): Effect.Effect<void, StoreError> =>
  Effect.try({
    try: () => {
      try {
        process.kill(pid, name)
      } catch (cause) {
        if (codeOf(cause) !== "ESRCH") throw cause
      }
    },
    catch: (cause) =>
      failure(
        "stop embedded server",
        new StoreAccessDenied({
          detail: `the server (process ${pid}) runs as ${nameOf(directory.user)}`,
          hint: `stop it as ${nameOf(directory.user)} or as root`
        }),
        cause
      )
  })
