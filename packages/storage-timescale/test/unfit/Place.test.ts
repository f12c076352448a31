/** Databases that migrations must not touch: rights that are missing, names that are taken, encodings, read-only logins. */
import { MarketStore, StoreMigrations } from "@data-manager/core"
import { Effect, Redacted } from "effect"
import pg from "pg"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Capabilities from "../../src/Capabilities.ts"
import * as Migrations from "../../src/Migrations.ts"
import { storeError } from "../../src/PgError.ts"
import { clientConfig, type ServerAddress, toUrl } from "../../src/ServerAddress.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"
import { createDatabase, type TestDatabase, whyMissing } from "../TestServer.ts"
import { assertSays, failureOf, migrate } from "./Refusal.ts"

const missing = await whyMissing()
if (missing !== undefined) it("databases that migrations must not touch", (context) => context.skip(missing))

describe.skipIf(missing !== undefined)("a database", () => {
  let database: TestDatabase
  const role = `poor_${crypto.randomUUID().slice(0, 8)}`
  const password = Redacted.make("x")

  const sql = async (text: string, address: ServerAddress = database.address) => {
    const client = new pg.Client(clientConfig(address))
    await client.connect()
    try {
      return (await client.query(text)).rows as ReadonlyArray<Record<string, unknown>>
    } finally {
      await client.end()
    }
  }
  const urlOf = (change: Partial<ServerAddress> = {}) =>
    Redacted.value(toUrl({ ...database.address, ...change }))
  const inSchema = (name: string) => ({ options: `-c search_path=${name}` })

  /** Everything there is in the database, so that what was changed shows. */
  const everything = () =>
    sql(`
      SELECT 'relation' AS kind, c.oid::text AS id, c.relname::text AS name, pg_get_viewdef(c.oid) AS text
      FROM pg_class c WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        AND c.relkind <> 't' AND c.relname NOT LIKE 'pg_toast%'
      UNION ALL
      SELECT 'routine', p.oid::text, p.proname::text, p.prosrc FROM pg_proc p
      WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
      UNION ALL SELECT 'schema', oid::text, nspname::text, '' FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'
      ORDER BY 1, 2`)

  /** The refusal of a migration that changes nothing. */
  const refused = async (url: string) => {
    const before = await everything()
    const error = await failureOf(migrate(url))
    assert.deepStrictEqual(await everything(), before)
    return error
  }

  beforeAll(async () => {
    database = await createDatabase()
    await sql(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`)
  })
  afterAll(async () => {
    await database?.drop()
  })

  it("in which this user may make no tables is refused with the grant that lets it", async () => {
    const error = await refused(urlOf({ user: role, password }))
    assertSays(
      error,
      "StoreAccessDenied",
      new RegExp(
        `migrate up: "${role}" may not make tables in schema "public" of database "\\w+"; its owner runs`
      ),
      new RegExp(`GRANT CREATE ON SCHEMA "public" TO "${role}".*nothing was changed`)
    )
  })

  it("without any schema of the search path is refused with the statement that makes one", async () => {
    assertSays(
      await refused(urlOf(inSchema("nowhere"))),
      "StoreIncompatible",
      /has none of the schemas in the search path of "\w+" \(nowhere\); make it \(CREATE SCHEMA NAME AUTHORIZATION/
    )
  })

  it("with tables, views, functions, indexes or types of our names is left as it is", async () => {
    await sql("CREATE SCHEMA taken")
    await sql("CREATE TABLE taken.trade (id int)")
    await sql("CREATE VIEW taken.trades AS SELECT 1 AS x")
    const all = await refused(urlOf(inSchema("taken")))
    assertSays(
      all,
      "StoreIncompatible",
      /something of our names that is not ours: table trade, view trades; use another database, or a schema of its own \(\?options=-csearch_path%3DNAME in the URL\); nothing was changed/
    )
    const others = [
      [
        "CREATE FUNCTION lonely.refuse_view_write() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function refuse_view_write"
      ],
      ["CREATE MATERIALIZED VIEW lonely.symbols AS SELECT 1 AS x", "materialized view symbols"],
      ["CREATE TYPE lonely.quote AS ENUM ('a')", "type quote"],
      [
        "CREATE TABLE lonely.other AS SELECT 1 AS x; CREATE INDEX trade_ts ON lonely.other (x)",
        "index trade_ts"
      ],
      ["CREATE SEQUENCE lonely.trade_bar_1m", "sequence trade_bar_1m"]
    ] as const
    for (const [statement, name] of others) {
      await sql("CREATE SCHEMA lonely")
      await sql(statement)
      const error = await refused(urlOf(inSchema("lonely")))
      assertSays(error, "StoreIncompatible", new RegExp(`that is not ours: ${name};`))
      await sql("DROP SCHEMA lonely CASCADE")
    }
  })

  it("with a migration table of another program is left as it is, and so is its status", async () => {
    await sql("CREATE SCHEMA rails")
    await sql("CREATE TABLE rails.schema_migrations (version text PRIMARY KEY)")
    const url = urlOf(inSchema("rails"))
    const said = /a table schema_migrations that is not ours; use another database, or a schema of its own/
    assertSays(await refused(url), "StoreIncompatible", said)
    const status = StoreMigrations.use((migrations) => migrations.status).pipe(
      Effect.provide(TimescaleStore.layerMigrations({ ...database.address, ...inSchema("rails") }))
    )
    assertSays(await failureOf(status), "StoreIncompatible", said)
  })

  it("with a table that a later migration would make is not migrated further", async () => {
    await sql("CREATE SCHEMA older")
    const address = { ...database.address, ...inSchema("older") }
    const first = StoreMigrations.use(({ up }) => up(1)).pipe(
      Effect.provide(TimescaleStore.layerMigrations(address))
    )
    await Effect.runPromise(first)
    await sql("CREATE TABLE older.bar_refreshes (mine int)")
    const error = await failureOf(migrate(urlOf(inSchema("older"))))
    assertSays(error, "StoreIncompatible", /that is not ours: table bar_refreshes;/)
    assert.deepStrictEqual(await sql("SELECT mine FROM older.bar_refreshes"), [])
  })

  it("in a schema whose name needs quotes works", async () => {
    await sql('CREATE SCHEMA "Market Data"')
    const url = urlOf({ options: '-c search_path="Market\\ Data"' })
    const states = await Effect.runPromise(migrate(url))
    assert.strictEqual(
      states.filter(({ appliedAt }) => appliedAt !== undefined).length,
      Migrations.NEWEST_VERSION
    )
    const [row] = await sql(
      "SELECT count(*) AS n FROM pg_class WHERE relnamespace = '\"Market Data\"'::regnamespace"
    )
    assert.isAbove(Number(row!.n), 30)
  })

  it("of another encoding is refused before anything is made", async () => {
    for (const encoding of ["LATIN1", "SQL_ASCII"]) {
      const name = `enc_${crypto.randomUUID().replaceAll("-", "")}`
      await sql(
        `CREATE DATABASE ${name} ENCODING '${encoding}' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'`
      )
      const address = { ...database.address, database: name }
      try {
        assertSays(
          await failureOf(migrate(urlOf({ database: name }))),
          "StoreIncompatible",
          new RegExp(
            `encoded in ${encoding}, .*CREATE DATABASE .* ENCODING 'UTF8' TEMPLATE template0 .*nothing was changed`
          )
        )
        const tables = await sql("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace", address)
        assert.isEmpty(tables)
        assertSays(
          await failureOf(
            Effect.scoped(
              Effect.provide(
                MarketStore.use(({ statistics }) => statistics),
                TimescaleStore.layer({ server: address })
              )
            )
          ),
          "StoreIncompatible",
          /encoded in/
        )
      } finally {
        await sql(`DROP DATABASE ${name} WITH (FORCE)`)
      }
    }
  })

  it("that a login may only read is read, and refuses migrations and writes", async () => {
    await sql("CREATE SCHEMA settled")
    const options = "-c search_path=settled"
    const url = urlOf({ options })
    await Effect.runPromise(migrate(url))
    const server = { ...database.address, options: `${options} -c default_transaction_read_only=on` }
    const said =
      /^migrate up: default_transaction_read_only is on for this role, database or server; switch it off/
    assertSays(await refused(urlOf({ options: server.options })), "StoreIncompatible", said)
    const use = Effect.gen(function* () {
      const store = yield* MarketStore
      assert.isTrue(store.capabilities.readOnly)
      assert.match(store.capabilities.notes[0]!, /default_transaction_read_only is on/)
      assert.strictEqual((yield* store.loadInstruments()).instruments.size, 0)
      return yield* Effect.flip(
        store.beginRun({ kind: "import", source: "x", provider: "test", dataset: "TEST" })
      )
    })
    const error = await Effect.runPromise(Effect.provide(use, TimescaleStore.layer({ server })))
    assertSays(error, "StoreIncompatible", /read-only transaction; this server takes no writes/)
    assert.isFalse(error.isRetryable)
  })
})

describe("a server", () => {
  const good = { version: "15.0", version_num: 150_000, encoding: "UTF8" }

  it("that is too old is refused, and the oldest one is not", () => {
    assert.isUndefined(Capabilities.refusalOf(good))
    assert.isUndefined(Capabilities.refusalOf({ ...good, version: "18.4", version_num: 180_004 }))
    for (const [version, version_num] of [
      ["14.22", 140_022],
      ["9.6.24", 90_624]
    ] as const) {
      const found = Capabilities.refusalOf({ ...good, version, version_num })
      assert.include(found!.detail, `PostgreSQL ${version}, which is too old`)
      assert.match(found!.hint, /use version 15 or newer.*nothing was changed/)
    }
  })

  it("whose TimescaleDB was updated beside the database says what to run", () => {
    const cause = Object.assign(
      new Error('could not access file "$libdir/timescaledb-2.18.0": No such file'),
      {
        code: "58P01"
      }
    )
    const error = storeError("query", cause)
    assertSays(error, "StoreIncompatible", /ALTER EXTENSION timescaledb UPDATE there, as the first statement/)
    const other = Object.assign(new Error('could not open file "base/1/2"'), { code: "58P01" })
    assertSays(storeError("query", other), "StoreServerFault", /SQLSTATE 58P01/)
  })
})
