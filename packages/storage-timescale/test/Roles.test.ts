/** Who may do what: readers see everything and change nothing, writers append, also where partitions have to be made. */
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect, Redacted } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as PgPool from "../src/PgPool.ts"
import * as Roles from "../src/Roles.ts"
import { clientConfig } from "../src/ServerAddress.ts"
import { appendAll, instruments, openStore, openWriter, type StoreFixture } from "./StoreFixture.ts"

const prefix = `t${crypto.randomUUID().replaceAll("-", "").slice(0, 12)}`
const users = { reader: `${prefix}_ana`, writer: `${prefix}_feed` }
let store: StoreFixture

beforeAll(async () => {
  store = await openStore()
}, 120_000)
afterAll(async () => {
  const groups = [`${prefix}_reader`, `${prefix}_writer`, `${prefix}_owner`]
  await store.sql(`GRANT ${groups.join(", ")} TO current_user`)
  for (const name of groups) await store.sql(`DROP OWNED BY ${name} CASCADE`)
  for (const name of [users.reader, users.writer, ...groups]) await store.sql(`DROP ROLE IF EXISTS ${name}`)
  await store.close()
})

const as = (user: string) => ({
  ...store.database,
  address: { ...store.database.address, user, password: Redacted.make("secret") }
})

describe("roles", { timeout: 60_000 }, () => {
  it("are made once, and again without a change", async () => {
    const names = await store.run(Roles.grant(store.writer.pool, prefix))
    assert.deepStrictEqual(names, {
      owner: `${prefix}_owner`,
      writer: `${prefix}_writer`,
      reader: `${prefix}_reader`
    })
    assert.deepStrictEqual(await store.run(Roles.grant(store.writer.pool, prefix)), names)
    await store.sql(`CREATE ROLE ${users.reader} LOGIN PASSWORD 'secret' IN ROLE ${names.reader}`)
    await store.sql(`CREATE ROLE ${users.writer} LOGIN PASSWORD 'secret' IN ROLE ${names.writer}`)
  })

  it("let writers append, into partitions that are new, too", async () => {
    const market = await instruments(store, [[2, 0]])
    const batch = BatchArbitrary.trades(new SeededRandom(1), {
      context: market.context,
      instruments: market.ids,
      rows: 100,
      start: 1_500_000_000_000_000_000n,
      span: 1_000_000_000_000n,
      values: "grid"
    })
    const [result] = await Effect.runPromise(
      Effect.scoped(Effect.flatMap(openWriter(as(users.writer)), (writer) => appendAll(writer, [batch])))
    )
    assert.strictEqual(result!.inserted, 100)
  })

  it("let readers see everything, what comes later too, and change nothing", async () => {
    const tried = (sql: string) =>
      Effect.runPromise(
        Effect.scoped(
          Effect.flatMap(
            PgPool.make({ client: clientConfig(as(users.reader).address), maxConnections: 1 }),
            (pool) => Effect.result(pool.query(sql))
          )
        )
      )
    for (const view of ["trades", "ohlcv_1m", "symbols", "data_availability", "coverage_ranges", "trade"])
      assert.strictEqual((await tried(`SELECT count(*) FROM ${view}`))._tag, "Success", view)
    for (const sql of [
      "DELETE FROM trade",
      "INSERT INTO datasets (provider, name) VALUES ('x', 'y')",
      "DROP VIEW trades",
      "CREATE TABLE mine (a int)"
    ]) {
      const found = await tried(sql)
      assert.strictEqual(found._tag === "Failure" && found.failure.reason._tag, "StoreAccessDenied", sql)
    }
  })

  it("have names that are names", async () => {
    for (const name of ["", "A", "a b", "x; DROP TABLE trade", "1a", "a".repeat(42)]) {
      const error = await store.run(Effect.flip(Roles.grant(store.writer.pool, name)))
      assert.strictEqual(error.reason._tag, "StoreBadRequest")
    }
  })
})
