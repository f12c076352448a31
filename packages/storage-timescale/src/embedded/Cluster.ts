/**
 * Makes a cluster on first use: `initdb`, the role and the database, all under a temporary name beside the final one.
 * Only a complete `postgres/` appears, by one rename. A process killed on the way leaves a folder that is removed later
 * and never looked at, and of two that start at once the second finds the first one's result and uses it.
 */
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, writeFileSync } from "node:fs"
import { rename, rm } from "node:fs/promises"
import { join } from "node:path"
import { StoreError } from "@data-manager/core"
import { Effect, Redacted } from "effect"
import type { Binaries } from "./Binaries.ts"
import * as ChildProgram from "./ChildProgram.ts"
import * as Credentials from "./Credentials.ts"
import { type DataDirectory, give, homeLayout, initName } from "./DataDirectory.ts"
import { codeOf, fileFailure, programFailure, spaceFailure } from "./EmbeddedFailure.ts"
import type { ServerUser } from "./ServerUser.ts"

const operation = "create embedded database"
/** A new cluster takes 56 MB (measured) and its first WAL files grow at once. Bytes. */
const leastSpace = 128 * 1024 * 1024

const attempt = <A>(path: string, body: () => A | Promise<A>): Effect.Effect<A, StoreError> =>
  Effect.tryPromise({
    try: async () => body(),
    catch: (cause) => (cause instanceof StoreError ? cause : fileFailure(operation, path, cause))
  })

const makeFolder = (path: string, user: ServerUser, mode = 0o700): void => {
  mkdirSync(path, { mode })
  // mkdir obeys the umask.
  chmodSync(path, mode)
  give(path, user)
}

const initdb = (binaries: Binaries, user: ServerUser, cluster: string, passwordFile: string, sync: boolean) =>
  ChildProgram.run({
    operation,
    command: binaries.initdb,
    args: [
      `--pgdata=${cluster}`,
      `--username=${Credentials.supervisor}`,
      `--pwfile=${passwordFile}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--locale=C",
      "--locale-provider=builtin",
      "--builtin-locale=C.UTF-8",
      "--no-instructions",
      ...(sync ? [] : ["--no-sync"])
    ],
    user,
    cwd: cluster
  })

/** One statement per line, as a server in single-user mode wants them. */
const setup = ({ owner }: Credentials.Credentials): string =>
  [
    `CREATE ROLE ${Credentials.owner} LOGIN CREATEDB CREATEROLE PASSWORD '${Redacted.value(owner)}'`,
    // Statistics for `dm status`, ending sessions of a fenced holder, checkpoints and maintenance for benchmarks.
    `GRANT pg_monitor, pg_signal_backend, pg_checkpoint, pg_maintain TO ${Credentials.owner}`,
    `CREATE DATABASE ${Credentials.owner} OWNER ${Credentials.owner}`,
    ""
  ].join("\n")

const singleUser = (
  binaries: Binaries,
  user: ServerUser,
  cluster: string,
  input: string,
  sync: boolean
): Effect.Effect<void, StoreError> =>
  Effect.flatMap(
    ChildProgram.run({
      operation,
      command: binaries.postgres,
      args: [
        "--single",
        "-D",
        cluster,
        ...(sync ? [] : ["-c", "fsync=off"]),
        "-c",
        "log_min_error_statement=panic",
        Credentials.maintenanceDatabase
      ],
      user,
      cwd: cluster,
      input
    }),
    ({ code, output }) =>
      // It reports failed statements and goes on.
      code === 0 && !/ (ERROR|FATAL|PANIC): /.test(output)
        ? Effect.void
        : Effect.fail(programFailure(operation, output))
  )

const build = (binaries: Binaries, directory: DataDirectory, temporary: string, sync: boolean) =>
  Effect.gen(function* () {
    const { user, owner } = directory
    const parts = homeLayout(temporary)
    const passwordFile = join(parts.run, "password")
    const credentials = Credentials.make()
    yield* attempt(temporary, async () => {
      makeFolder(parts.cluster, user)
      makeFolder(parts.run, user)
      makeFolder(parts.log, owner)
      await Credentials.write(parts.pgpass, credentials)
      give(parts.pgpass, owner)
      writeFileSync(passwordFile, `${Redacted.value(credentials.supervisor)}\n`, { mode: 0o600, flag: "wx" })
      give(passwordFile, user)
    })
    const made = yield* initdb(binaries, user, parts.cluster, passwordFile, sync)
    if (made.code !== 0) return yield* Effect.fail(programFailure(operation, made.output))
    yield* attempt(passwordFile, () => rm(passwordFile))
    yield* singleUser(binaries, user, parts.cluster, setup(credentials), sync)
  })

const syncFolder = (path: string): void => {
  const handle = openSync(path, "r")
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

const publish = async (temporary: string, directory: DataDirectory): Promise<void> => {
  try {
    give(temporary, directory.owner)
    await rename(temporary, directory.home)
    syncFolder(directory.path)
  } catch (cause) {
    // Another process was first; its cluster is the one.
    if (codeOf(cause) !== "ENOTEMPTY" && codeOf(cause) !== "EEXIST") throw cause
  }
}

/**
 * Makes the cluster of `directory`, with its own passwords. Returns when a complete one is in place, whoever made it.
 * Fails with `StoreExhausted` on a full disk, else with what the programs said; nothing is left behind.
 */
export const create = (
  binaries: Binaries,
  directory: DataDirectory,
  options: { readonly sync: boolean }
): Effect.Effect<void, StoreError> => {
  const temporary = join(directory.path, initName(crypto.randomUUID().slice(0, 8)))
  const remove = Effect.promise(() => rm(temporary, { recursive: true, force: true }).catch(() => {}))
  return Effect.gen(function* () {
    yield* attempt(directory.path, () => {
      const full = spaceFailure(operation, directory.path, leastSpace, "a new database")
      if (full !== undefined) throw full
      // Closed to everybody else, but the server's user passes through.
      makeFolder(temporary, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }, 0o711)
    })
    yield* build(binaries, directory, temporary, options.sync)
    yield* attempt(directory.home, () => publish(temporary, directory))
  }).pipe(Effect.ensuring(remove))
}
