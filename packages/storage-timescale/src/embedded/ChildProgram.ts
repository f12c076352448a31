/** Runs a program to its end as a chosen user and collects what it prints. */
import { spawn } from "node:child_process"
import { type StoreError, StoreIncompatible } from "@data-manager/core"
import { Effect } from "effect"
import { codeOf, failure, ownServer } from "./EmbeddedFailure.ts"
import { nameOf, type ServerUser, spawnOptions } from "./ServerUser.ts"

/** How a program ended: its exit code (undefined after a signal) and stdout and stderr in one text. */
export interface Outcome {
  readonly code: number | undefined
  readonly output: string
}

/** What to run. */
export interface Program {
  readonly operation: string
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly user: ServerUser
  /** A directory that `user` can open. */
  readonly cwd: string
  readonly input?: string
}

const outputLimit = 64 * 1024

/**
 * Environment of the server's programs: nothing of the caller's, so that `PGDATA`, `LANG` or `LD_LIBRARY_PATH` of a shell
 * change nothing.
 */
export const environment = (extra: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
  LC_ALL: "C",
  ...extra
})

/** The program could not even be started. */
export const spawnFailure = (
  operation: string,
  command: string,
  user: ServerUser,
  cause: unknown
): StoreError => {
  const code = codeOf(cause) ?? "error"
  const who = nameOf(user)
  const switching = spawnOptions(user).uid !== undefined && (code === "EPERM" || code === "EINVAL")
  return failure(
    operation,
    new StoreIncompatible({
      detail: switching
        ? `this system does not let root run a program as ${who} (${code})`
        : `cannot run ${command} as ${who} (${code})`,
      hint: switching
        ? `start dm as an ordinary user, or ${ownServer}`
        : `check that the file exists, may be executed and fits this system; or ${ownServer}`
    }),
    cause
  )
}

/** Runs the program; interruption kills it. Fails only where it cannot be started. */
export const run = (program: Program): Effect.Effect<Outcome, StoreError> =>
  Effect.callback<Outcome, StoreError>((resume) => {
    const { operation, command, user } = program
    let output = ""
    const child = spawn(command, program.args, {
      cwd: program.cwd,
      env: environment(),
      stdio: ["pipe", "pipe", "pipe"],
      ...spawnOptions(user)
    })
    const collect = (chunk: Buffer) => {
      if (output.length < outputLimit) output += chunk.toString("utf8")
    }
    child.stdout.on("data", collect)
    child.stderr.on("data", collect)
    child.once("error", (cause) => resume(Effect.fail(spawnFailure(operation, command, user, cause))))
    child.once("close", (code) => resume(Effect.succeed({ code: code ?? undefined, output })))
    // A program that ends without reading its input is judged by its exit code.
    child.stdin.on("error", () => {})
    child.stdin.end(program.input ?? "")
    return Effect.sync(() => child.kill("SIGKILL"))
  })
