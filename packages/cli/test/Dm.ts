/** Runs the real `dm`, built as it is published, as another process, away from the configuration and data of whoever runs the tests. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect } from "effect"
import { inject } from "vitest"
import { type BuiltDm, commandOf } from "./BuiltDm.ts"

let given: BuiltDm | undefined

/** For whoever is no test: the program that is run from now on. */
export const useDm = (built: BuiltDm): void => {
  given = built
}

const dm = (): BuiltDm => given ?? inject("dm")

/** Where the built program finds the native part of rings. */
const addon = (): Record<string, string> => {
  const { ringAddon } = dm()
  return ringAddon === undefined ? {} : { DM_RING_ADDON: ringAddon }
}

/** How a run ended. */
export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** What a run gets beside its arguments. */
export interface RunOptions {
  readonly env?: { readonly [name: string]: string } | undefined
  readonly input?: string | Uint8Array | undefined
  readonly cwd?: string | undefined
}

const clean = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      (entry): entry is [string, string] =>
        entry[1] !== undefined && !/^(DM_|NO_COLOR$|FORCE_COLOR$)/.test(entry[0])
    )
  )

/** A place of its own: a working directory, and a data directory whose server is stopped at the end. */
export class Workplace {
  readonly folder = mkdtempSync(join(tmpdir(), "dm-cli-"))
  readonly dataDir = join(this.folder, "data")

  constructor() {
    // Started by root, the server runs as somebody else, who has to get to its directory.
    chmodSync(this.folder, 0o711)
  }

  path(...parts: ReadonlyArray<string>): string {
    return join(this.folder, ...parts)
  }

  /** Starts a run and gives the process. */
  start(args: ReadonlyArray<string>, options: RunOptions = {}): ChildProcessWithoutNullStreams {
    return spawn(process.execPath, [...commandOf(dm()), ...args], {
      cwd: options.cwd ?? this.folder,
      env: { ...clean(), ...addon(), DM_DATA_DIR: this.dataDir, TZ: "America/New_York", ...options.env },
      stdio: ["pipe", "pipe", "pipe"]
    })
  }

  /** Runs to the end. */
  run(args: ReadonlyArray<string>, options: RunOptions = {}): Promise<Outcome> {
    return outcome(this.start(args, options), options.input)
  }

  /** Stops the server, if one runs. */
  async stop(): Promise<void> {
    await Effect.runPromise(EmbeddedServer.stop(this.dataDir, { force: true }))
  }

  /** Stops the server, if one runs, and removes everything. */
  async close(): Promise<void> {
    await this.stop()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Waits for a process to end and collects what it wrote. */
export const outcome = (
  child: ChildProcessWithoutNullStreams,
  input: string | Uint8Array = ""
): Promise<Outcome> =>
  new Promise((done, fail) => {
    const out: Array<Buffer> = []
    const err: Array<Buffer> = []
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk))
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk))
    child.stdin.on("error", () => {})
    child.stdin.end(input)
    child.once("error", fail)
    child.once("close", (code, signal) =>
      done({
        code,
        signal,
        stdout: Buffer.concat(out).toString("utf8"),
        stderr: Buffer.concat(err).toString("utf8")
      })
    )
  })

/** JSON lines of a run's output. */
export const jsonLines = (text: string): ReadonlyArray<{ readonly [key: string]: unknown }> =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line))
