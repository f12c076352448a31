/** TimescaleDB is on the server, and the user may not make the extension in this database. */
import { StoreMigrations } from "@data-manager/core"
import { Effect, Logger, Redacted } from "effect"
import pg from "pg"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { parse } from "../../src/PgServer.ts"
import { clientConfig } from "../../src/ServerAddress.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"
import { createDatabase, type TestDatabase } from "../TestServer.ts"
import { noServer, providedServers } from "./ProvidedServer.ts"

const server = providedServers.find(({ extension }) => extension !== undefined)

describe.skipIf(server === undefined)("a user without the right to make the extension", () => {
  let database: TestDatabase
  const role = `poor_${crypto.randomUUID().slice(0, 8)}`
  const asPoor = () => ({ ...database.address, user: role, password: Redacted.make("x") })

  const sql = async (text: string) => {
    const client = new pg.Client(clientConfig(database.address))
    await client.connect()
    try {
      return (await client.query(text)).rows as ReadonlyArray<Record<string, unknown>>
    } finally {
      await client.end()
    }
  }
  /** Migrates as this user; gives what was logged. */
  const migrate = async (): Promise<string> => {
    const lines: Array<string> = []
    const collect = Logger.make(({ message }) => void lines.push(String(message)))
    const up = StoreMigrations.use((migrations) => migrations.up()).pipe(
      Effect.provide(TimescaleStore.layerMigrations(asPoor())),
      Effect.provide(Logger.layer([collect]))
    )
    await Effect.runPromise(up)
    return lines.join("\n")
  }
  const found = () => Effect.runPromise(TimescaleStore.capabilities(asPoor()))

  beforeAll(async () => {
    database = await createDatabase(server!.url)
    await sql("DROP EXTENSION IF EXISTS timescaledb CASCADE")
    await sql(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`)
    await sql(`GRANT CREATE ON SCHEMA public TO ${role}`)
  }, 60_000)
  afterAll(async () => {
    if (database === undefined) return
    // Jobs of the server may be at work on the tables: they end with their database, and what the role owns with it.
    await database.drop()
    const client = new pg.Client(clientConfig(await Effect.runPromise(parse(server!.url))))
    await client.connect()
    await client.query(`DROP ROLE ${role}`)
    await client.end()
  })

  it("has the tables of plain PostgreSQL, and is told what an administrator does", async () => {
    assert.match(
      await migrate(),
      /^TimescaleDB \d\S* is on this server and not in this database, and this user may not create it: an administrator runs CREATE EXTENSION timescaledb in this database; then run dm migrate --up again/
    )
    const { edition, notes, partitioning } = await found()
    assert.deepStrictEqual([edition, partitioning], ["postgresql", "range"])
    assert.match(
      notes[0]!,
      /TimescaleDB \d\S* is on this server and not in this database: an administrator runs/
    )
  }, 60_000)

  it("has hypertables after the administrator has made it and the migrations ran again", async () => {
    await sql("CREATE EXTENSION timescaledb")
    assert.strictEqual(await migrate(), "")
    const { edition, partitioning } = await found()
    assert.match(edition, /^timescaledb-/)
    assert.strictEqual(partitioning, "hypertable")
  }, 60_000)
})

if (server === undefined)
  it("a user without the right to make the extension", (context) => context.skip(noServer))
