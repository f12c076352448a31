/** Data directories and processes for the tests of the embedded server; everything is gone when a test is. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statfsSync
} from "node:fs"
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import type { StoreError } from "@data-manager/core"
import { Effect, Exit, References, Scope } from "effect"
import { EmbeddedServer } from "../../src/embedded/index.ts"
import type { ServerAddress } from "../../src/ServerAddress.ts"
import { fast } from "./FastServer.ts"
import { delay } from "./Query.ts"

export const isRoot = process.getuid?.() === 0
export const nobody = { uid: 65_534, gid: 65_534 }

/** Why the group cannot run here; undefined = it can. */
export const missing = await Effect.runPromise(Effect.flip(EmbeddedServer.check(tmpdir()))).then(
  (error) => (error.operation === "find embedded server" ? error.message : undefined),
  () => undefined
)

const roomy = (path: string): boolean => {
  if (!existsSync(path)) return false
  const { bavail, bsize } = statfsSync(path)
  return bavail * bsize > 2 ** 31
}

/** Everything of these tests lies here: in memory where there is room, since they copy many clusters. */
export const root = mkdtempSync(join(roomy("/dev/shm") ? "/dev/shm" : tmpdir(), "dm-embedded-"))
// Servers and processes of other users pass through.
chmodSync(root, 0o1777)

export const run = <A>(effect: Effect.Effect<A, StoreError>): Promise<A> => Effect.runPromise(effect)
/** The typed error of an effect that must fail. */
export const failureOf = (effect: Effect.Effect<unknown, StoreError>): Promise<StoreError> =>
  Effect.runPromise(Effect.flip(effect))
/** The typed error of an `acquire` that must fail. */
export const refusalOf = (options: EmbeddedServer.AcquireOptions): Promise<StoreError> =>
  failureOf(Effect.scoped(EmbeddedServer.acquire(options)))

/** A server held by this process. */
export interface Held {
  readonly address: ServerAddress
  readonly release: () => Promise<void>
}

/** Another process that uses the server. */
export interface Process {
  readonly child: ChildProcess
  readonly next: () => Promise<Record<string, unknown>>
  readonly ask: (sql: string) => Promise<Record<string, unknown>>
  /** Lets go and ends. */
  readonly end: () => Promise<void>
  readonly kill: () => Promise<void>
}

export interface StartOptions {
  readonly linger?: string
  readonly uid?: number
  readonly gid?: number
}

const holder = fileURLToPath(new URL("./Holder.ts", import.meta.url))

const spawnHolder = (dataDir: string, { linger = "500 millis", ...user }: StartOptions): ChildProcess => {
  const own = (name: string): string => join(root, `${name}-${user.uid ?? "own"}`)
  return spawn(process.execPath, ["--conditions=source", holder, dataDir, linger], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      ...process.env,
      NODE_NO_WARNINGS: "1",
      // Halves the time that a process needs to load its modules.
      NODE_COMPILE_CACHE: own("code"),
      HOME: root,
      XDG_CACHE_HOME: own("cache")
    },
    ...user
  })
}

const talk = (child: ChildProcess): Process => {
  child.stdin?.on("error", () => {})
  const lines = createInterface({ input: child.stdout as Readable })[Symbol.asyncIterator]()
  const exited = once(child, "exit")
  const next = async () => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error("the process ended")
    return JSON.parse(value) as Record<string, unknown>
  }
  return {
    child,
    next,
    ask: (sql) => {
      child.stdin?.write(`${sql}\n`)
      return next()
    },
    end: async () => {
      child.stdin?.end()
      await exited
    },
    kill: async () => {
      child.kill("SIGKILL")
      await exited
    }
  }
}

let count = 0

/** What one test makes, and its end. */
export class Ground {
  private readonly directories = new Set<string>()
  private readonly children = new Set<ChildProcess>()
  private readonly scopes = new Set<Scope.Closeable>()

  /** A path for a data directory that does not exist yet. */
  path(): string {
    count += 1
    const path = join(root, `d${count}`)
    this.directories.add(path)
    return path
  }

  async acquire(dataDir: string, options: Partial<EmbeddedServer.AcquireOptions> = {}): Promise<Held> {
    this.directories.add(dataDir)
    const scope = await Effect.runPromise(Scope.make())
    this.scopes.add(scope)
    const release = async () => {
      this.scopes.delete(scope)
      await Effect.runPromise(Scope.close(scope, Exit.void))
    }
    const all = { ...fast, linger: "500 millis" as const, ...options, dataDir }
    const quiet = Effect.provideService(References.MinimumLogLevel, "Error")
    const address = await Effect.runPromise(EmbeddedServer.acquire(all).pipe(Scope.provide(scope), quiet))
    return { address, release }
  }

  start(dataDir: string, options: StartOptions = {}): Process {
    this.directories.add(dataDir)
    const child = spawnHolder(dataDir, options)
    this.children.add(child)
    child.once("exit", () => this.children.delete(child))
    return talk(child)
  }

  /** Ends every process and server, by their ids. */
  async clear(): Promise<void> {
    for (const child of this.children) child.kill("SIGKILL")
    for (const scope of this.scopes) await Effect.runPromise(Scope.close(scope, Exit.void))
    for (const dataDir of this.directories) {
      const stop = EmbeddedServer.stop(dataDir, { force: true, timeout: "3 seconds" })
      await Effect.runPromise(Effect.ignore(stop))
      await until(`processes in ${dataDir} end`, () => processesIn(dataDir).length === 0)
      await rm(dataDir, { recursive: true, force: true })
    }
  }
}

/** Polls until the condition holds; fails after the bound with what was waited for. */
export const until = async (
  what: string,
  condition: () => boolean,
  millis = 60_000,
  pause = 25
): Promise<number> => {
  const from = performance.now()
  while (!condition()) {
    if (performance.now() - from > millis) throw new Error(`not within ${millis} ms: ${what}`)
    await delay(pause)
  }
  return performance.now() - from
}

export const pidFile = (dataDir: string): string => join(dataDir, "postgres", "data", "postmaster.pid")

/** Process id in the pid file; undefined where there is none. */
export const serverPid = (dataDir: string): number | undefined => {
  try {
    const pid = Number.parseInt(readFileSync(pidFile(dataDir), "utf8"), 10)
    return Number.isNaN(pid) ? undefined : pid
  } catch {
    return undefined
  }
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** Whether the server of the directory has ended. */
export const isGone = (dataDir: string): boolean => {
  const pid = serverPid(dataDir)
  return pid === undefined || !isAlive(pid)
}

/** Processes whose working directory lies in a folder: servers, and what they left. Linux. */
export const processesIn = (folder: string): ReadonlyArray<number> =>
  existsSync("/proc/self")
    ? readdirSync("/proc")
        .filter((name) => /^\d+$/.test(name))
        .map(Number)
        .filter((pid) => {
          try {
            return `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${folder}/`)
          } catch {
            return false
          }
        })
    : []

/** A copy of a data directory, owners included. */
export const copyDirectory = async (from: string, to: string): Promise<void> => {
  await promisify(execFile)("cp", ["-a", from, to])
}
