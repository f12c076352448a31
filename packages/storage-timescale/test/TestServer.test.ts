import pg from "pg"
import { assert, it } from "vitest"
import { createDatabase, whyMissing } from "./TestServer.ts"

const rows = async (url: string, sql: string): Promise<ReadonlyArray<unknown>> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

it("every database is empty, on one server, and can be dropped under an open session", async (context) => {
  const reason = await whyMissing()
  if (reason !== undefined) return context.skip(reason)
  const [one, two] = await Promise.all([createDatabase(), createDatabase()])
  await rows(one.url, "CREATE TABLE here AS SELECT 1 AS x")
  assert.deepStrictEqual(await rows(two.url, "SELECT to_regclass('here') AS found"), [{ found: null }])
  assert.deepStrictEqual(
    await rows(one.url, "SELECT pg_postmaster_start_time()"),
    await rows(two.url, "SELECT pg_postmaster_start_time()")
  )
  const open = new pg.Client({ connectionString: one.url })
  open.on("error", () => {})
  await open.connect()
  await one.drop()
  const refused = await rows(one.url, "SELECT 1").then(String, (error) => error.code)
  assert.strictEqual(refused, "3D000")
  const three = await createDatabase(two.url)
  assert.deepStrictEqual(await rows(three.url, "SHOW server_encoding"), [{ server_encoding: "UTF8" }])
  await three.drop()
  await two.drop()
})
