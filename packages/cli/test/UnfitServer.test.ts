/** `dm` in front of a server that is not as it should be: one readable message, the right exit code, nothing changed. */
import { writeFileSync } from "node:fs"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { PgPool, PgServer } from "@data-manager/storage-timescale"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect, Exit, Redacted, Scope } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { type Outcome, Workplace } from "./Dm.ts"

const place = new Workplace()
const scope = Scope.makeUnsafe()
const market = new SyntheticMarket({ symbols: 3, trades: 2_000 })
let server: PgServer.ServerAddress

const sql = (database: string, ...statements: ReadonlyArray<string>) =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const client = PgServer.clientConfig({ ...server, database })
        const pool = yield* PgPool.make({ client, maxConnections: 1 })
        let rows: ReadonlyArray<PgPool.SqlRow> = []
        for (const statement of statements) rows = yield* pool.query(statement)
        return rows
      })
    )
  )

beforeAll(async () => {
  server = await Effect.runPromise(
    EmbeddedServer.acquire({ dataDir: place.dataDir, unsafe: true }).pipe(Scope.provide(scope))
  )
  writeFileSync(place.path("day.dbn"), Buffer.concat([...market.tradeFile()]))
}, 60_000)
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await place.close()
})

/** Runs on a server that a URL names. */
const dm = (url: string, args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  place.run(args, { env: { DM_DATABASE_URL: url, ...env } })
const urlOf = (change: Partial<PgServer.ServerAddress>) =>
  Redacted.value(PgServer.toUrl({ ...server, ...change }))

/** Whether a run failed with this code, one message that matches, and nothing else on standard error. */
const assertSaid = (result: Outcome, code: number, message: RegExp): void => {
  assert.strictEqual(result.code, code, result.stderr)
  const lines = result.stderr.trimEnd().split("\n")
  assert.strictEqual(lines.length, 1, result.stderr)
  assert.match(lines[0]!, message)
  assert.notMatch(result.stderr, /\n\s+at /)
}
const assertUnhealthy = (result: Outcome, problem: RegExp): void => {
  assert.strictEqual(result.code, 3, result.stderr)
  const report = JSON.parse(result.stdout)
  assert.isFalse(report.healthy)
  assert.match(report.problems[0], problem)
}

describe("a server that is not as it should be", () => {
  it("cannot be reached, or lets nobody in", async () => {
    const nowhere = "postgresql://u:p@127.0.0.1:1/d"
    const said =
      /connect: no server listens at 127\.0\.0\.1:1 \(ECONNREFUSED\); start it, or correct host and port in \[database\] url/
    const wrong = urlOf({ password: Redacted.make("not-this-one") })
    const [migrate, load, status, denied] = await Promise.all([
      dm(nowhere, ["migrate", "--up"]),
      dm(nowhere, ["import", "day.dbn"]),
      dm(nowhere, ["status", "--json"]),
      dm(wrong, ["migrate", "--up"])
    ])
    assertSaid(migrate, 1, said)
    assertSaid(load, 1, said)
    assertUnhealthy(status, said)
    assertSaid(denied, 1, /^dm: connect: .*password authentication failed.*; check user and password/)
    assert.notInclude(denied.stderr, "not-this-one")
  })

  it("is named by a URL that cannot be used: exit code 2", async () => {
    const result = await dm("postgresql://u:p@127.0.0.1:1/d?sslmode=verify-ca", ["migrate", "--up"])
    assertSaid(
      result,
      2,
      /^dm: read database url: sslmode=verify-ca of the url needs the certificate authority/
    )
  })

  it("holds other people's tables of our names", async () => {
    await sql(server.database, "CREATE DATABASE taken")
    await sql("taken", "CREATE TABLE trade (mine int)", "CREATE VIEW trades AS SELECT 1 AS x")
    const url = urlOf({ database: "taken" })
    const [migrate, load, status] = await Promise.all([
      dm(url, ["migrate", "--up"]),
      dm(url, ["import", "day.dbn"]),
      dm(url, ["status", "--json"])
    ])
    assertSaid(
      migrate,
      1,
      /^dm: migrate up: .* not ours: table trade, view trades; use another database.*nothing was changed/
    )
    assertSaid(load, 1, /^dm: open the store: the schema is at version 0 of \d+; run `dm migrate --up`/)
    assertUnhealthy(status, /migrations not applied; run dm migrate --up/)
    const made = await sql(
      "taken",
      "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    assert.deepStrictEqual(
      made.map(({ relname }) => relname),
      ["trade", "trades"]
    )
  })

  it("takes no writes: what is stored is read, and an import says why it stores nothing", async () => {
    await sql(server.database, "CREATE DATABASE settled")
    const url = urlOf({ database: "settled" })
    const made = await dm(url, ["migrate", "--up"])
    assert.strictEqual(made.code, 0, made.stderr)
    assert.match(
      made.stderr,
      /applied \d+ migrations\nPostgreSQL \d+\.\d+, plain PostgreSQL; rows are kept in range partitions/
    )
    assert.strictEqual((await dm(url, ["import", "day.dbn"])).code, 0)
    await sql(server.database, "ALTER DATABASE settled SET default_transaction_read_only = on")
    const [migrate, load, status, query] = await Promise.all([
      dm(url, ["migrate", "--up"]),
      dm(url, ["import", "day.dbn", "--again"]),
      dm(url, ["status", "--json"]),
      dm(url, [
        "query",
        "trades",
        `${market.dataset}:${market.instruments[0]!.symbol}`,
        "--end",
        "2030-01-01",
        "--json"
      ])
    ])
    assertSaid(
      migrate,
      1,
      /^dm: migrate up: default_transaction_read_only is on .*switch it off .*nothing was changed/
    )
    assertSaid(load, 1, /^dm: day\.dbn: .*read-only transaction; this server takes no writes/)
    assert.strictEqual(status.code, 0, status.stdout)
    assert.isTrue(JSON.parse(status.stdout).server.read_only)
    assert.strictEqual(query.code, 0, query.stderr)
    assert.isNotEmpty(query.stdout)
  })

  it("has another clock: status says so", async () => {
    // This machine's clock, as the program sees it, goes 90 seconds behind.
    const shift = "const now = Date.now; Date.now = () => now() - 90_000"
    const options = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(shift)}` }
    const url = urlOf({ database: "settled" })
    const [skewed, right] = await Promise.all([dm(url, ["status"], options), dm(url, ["status"])])
    assert.strictEqual(skewed.code, 0, skewed.stderr)
    assert.match(skewed.stdout, /warning: the server's clock is (89|90|91) s ahead of this machine's.*NTP/)
    assert.notInclude(right.stdout, "warning")
  })
})
