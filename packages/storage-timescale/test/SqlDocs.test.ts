/** The queries of `docs/sql.md` run, and find something. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { instruments, openStore, type StoreFixture } from "./StoreFixture.ts"

const text = readFileSync(join(import.meta.dirname, "../../../docs/sql.md"), "utf8")
const queries = [...text.matchAll(/^## (.+)\n[\s\S]*?```sql\n([\s\S]*?)```/gm)].map(([, title, sql]) => ({
  title: title!,
  sql: sql!
}))

let store: StoreFixture
let symbol = ""

beforeAll(async () => {
  store = await openStore()
  const market = await instruments(store, [[2, 0]])
  const range = {
    start: UnixNanos.parse("2026-01-05T14:30:00Z")!,
    end: UnixNanos.parse("2026-01-05T16:30:00Z")!
  }
  const options = {
    context: market.context,
    instruments: market.ids,
    rows: 200,
    start: range.start,
    span: range.end - range.start,
    values: "grid" as const
  }
  const run = await store.run(
    store.writer.ledger.beginRun({ kind: "import", source: "docs", provider: "test", dataset: "TEST" })
  )
  const coverage = [{ instrument: market.ids[0]!, schema: "trades" as const, range }]
  await store.run(
    store.writer.append(BatchArbitrary.trades(new SeededRandom(1), options), {
      run: run.id,
      segment: 0,
      coverage
    })
  )
  await store.run(
    store.writer.append(BatchArbitrary.quotes(new SeededRandom(2), { ...options, schema: "mbp-1" }), {
      run: run.id,
      segment: 1
    })
  )
  symbol = `${market.context.dataset}:S0`
}, 60_000)
afterAll(() => store.close())

describe("queries for analysts", () => {
  it("are at least ten", () => assert.isAtLeast(queries.length, 10))

  for (const { sql, title } of queries)
    it(title, async () => {
      const rows = await store.sql(sql.replaceAll("DBEQ.BASIC:AA", symbol))
      assert.isNotEmpty(rows)
      const values = Object.values(rows[0]!)
      assert.isTrue(
        values.some((value) => value !== null),
        "nothing but NULL"
      )
    })

  it("find doubles that are the nearest to the exact values", async () => {
    const prices = (view: string) =>
      store.sql(
        `SELECT price::float8 AS price, quantity::float8 AS quantity FROM ${view} WHERE symbol = $1
        ORDER BY time, 1, 2`,
        [symbol]
      )
    const doubles = await prices("trades_float")
    assert.isNotEmpty(doubles)
    assert.deepStrictEqual(doubles, await prices("trades"))
  })
})
