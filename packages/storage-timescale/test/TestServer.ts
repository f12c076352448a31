/**
 * A PostgreSQL server for the tests of this package: the embedded one, started by the first test file that wants a
 * database, shared by all of them, and gone with the run. As vitest's global setup this file costs nothing where no test
 * asks for a database.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Exit, Redacted, References, Scope } from "effect"
import pg from "pg"
import { inject } from "vitest"
import type { TestProject } from "vitest/node"
import { EmbeddedServer } from "../src/embedded/index.ts"
import { clientConfig, negotiate, parse, type ServerAddress, toUrl } from "../src/PgServer.ts"

declare module "vitest" {
  export interface ProvidedContext {
    /** Folder of the run's server. */
    readonly testServerDirectory: string
  }
}

let folder: string | undefined

/** Before the run: a folder for the server. */
export const setup = (project: TestProject): void => {
  folder = mkdtempSync(join(tmpdir(), "dm-test-"))
  chmodSync(folder, 0o755)
  project.provide("testServerDirectory", join(folder, "data"))
}

/** After the run: ends the server by its process id, whoever still holds it. */
export const teardown = async (): Promise<void> => {
  if (folder === undefined) return
  await Effect.runPromise(EmbeddedServer.stop(join(folder, "data"), { force: true, timeout: "5 seconds" }))
  rmSync(folder, { recursive: true, force: true })
}

/** Why there is no embedded server here, for `context.skip(reason)`. On CI there must be one, so that tests fail. */
export const whyMissing = async (): Promise<string | undefined> => {
  const found = await Effect.runPromise(Effect.result(EmbeddedServer.check(inject("testServerDirectory"))))
  return found._tag === "Failure" && process.env.CI === undefined ? found.failure.message : undefined
}

/** A database of one test file. */
export interface TestDatabase {
  readonly address: ServerAddress
  /** `postgresql://...` with its password. */
  readonly url: string
  /** Ends every session in it and removes it; the last one lets go of the server. Call it in `afterAll`. */
  readonly drop: () => Promise<void>
}

interface Hold {
  readonly address: ServerAddress
  readonly release: () => Promise<void>
  databases: number
}

let hold: Promise<Hold> | undefined

const acquire = async (): Promise<Hold> => {
  const scope = await Effect.runPromise(Scope.make())
  const server = EmbeddedServer.acquire({
    dataDir: inject("testServerDirectory"),
    // Test files come one after the other.
    linger: "20 seconds",
    unsafe: true,
    settings: { shared_buffers: "128MB", max_connections: "100" }
  })
  const quiet = Effect.provideService(References.MinimumLogLevel, "Error")
  const address = await Effect.runPromise(server.pipe(Scope.provide(scope), quiet))
  return {
    address,
    databases: 0,
    release: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const execute = async (address: ServerAddress, sql: string): Promise<void> => {
  const client = new pg.Client(clientConfig(address))
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

const create = async (
  server: ServerAddress,
  release: () => Promise<void>,
  extension?: string
): Promise<TestDatabase> => {
  const database = `test_${crypto.randomUUID().replaceAll("-", "")}`
  await execute(server, `CREATE DATABASE ${database}`)
  const address = { ...server, database }
  if (extension !== undefined) await execute(address, `CREATE EXTENSION ${extension}`)
  return {
    address,
    url: Redacted.value(toUrl(address)),
    drop: async () => {
      await execute(server, `DROP DATABASE ${database} WITH (FORCE)`)
      await release()
    }
  }
}

/** A new, empty database on the embedded server, or on the server that `url` names, where it may get an extension. */
export const createDatabase = async (url?: string, extension?: string): Promise<TestDatabase> => {
  if (url !== undefined) {
    const address = await Effect.runPromise(Effect.flatMap(parse(url), negotiate))
    return create(address, async () => {}, extension)
  }
  hold ??= acquire()
  const held = await hold
  held.databases += 1
  return create(held.address, async () => {
    held.databases -= 1
    if (held.databases > 0) return
    hold = undefined
    await held.release()
  })
}
