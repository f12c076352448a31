/**
 * No live append waits while stored rows are changed, moved or compressed: a transaction that does so is held open at its
 * end, and appends of the newest trades, of the same instruments and of others, commit meanwhile.
 */
import { ABSENT_I64, type AppendClaim, type TradeBatch, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, BatchRow, SeededRandom } from "@data-manager/testing"
import { Effect } from "effect"
import pg from "pg"
import { afterAll, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { clientConfig } from "../../src/ServerAddress.ts"
import { assertRollups } from "../NaiveRollup.ts"
import { assertOwnership } from "../Ownership.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { createDatabase } from "../TestServer.ts"
import { providedServers } from "./ProvidedServer.ts"

const server = providedServers.find(({ extension }) => extension !== undefined)

const Day = UnixNanos.PerDay

type Market = Awaited<ReturnType<typeof instruments>>

const trades = ({ context, ids }: Market, seed: number, start: bigint, span = 3600n): TradeBatch =>
  BatchArbitrary.trades(new SeededRandom(seed), {
    context,
    instruments: ids,
    rows: 400,
    start,
    span: span * UnixNanos.PerSecond,
    absent: 0
  })

const copyOf = (batch: TradeBatch): TradeBatch =>
  BatchRow.select(
    batch,
    Array.from({ length: batch.length }, (_, i) => i)
  )

const resized = (batch: TradeBatch): TradeBatch => {
  const copy = copyOf(batch)
  for (let i = 0; i < copy.length; i++) copy.columns.size[i]! += 1000n
  return copy
}

const withoutCapture = (batch: TradeBatch): TradeBatch => {
  const copy = copyOf(batch)
  copy.columns.tsRecv.fill(ABSENT_I64)
  return copy
}

const compress = "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('trade') c"

describe.skipIf(server === undefined)("live appends on TimescaleDB", { timeout: 60_000 }, () => {
  let store: StoreFixture
  let isCommunity = false
  let market: Market
  let others: Market
  /** Claims coverage for what nobody else writes: who locks it holds up whoever claims it. */
  let last: Market
  let day = UnixNanos.parse("2024-09-02T08:00:00Z")!

  beforeAll(async () => {
    store = await openStore(await createDatabase(server!.url))
    const [row] = await store.sql("SELECT to_regclass('trade_bulk') IS NOT NULL AS found")
    isCommunity = row!.found as boolean
    // The chunk of today is there, as it is on a server that has been taking trades.
    if (isCommunity) await store.run(appendAll(store.writer, [live(await instruments(store, [[2, 0]]))]))
  }, 120_000)
  afterAll(() => store.close())

  beforeEach(async () => {
    market = await instruments(store, [
      [2, 0],
      [4, 3]
    ])
    others = await instruments(store, [[2, 0]])
    last = await instruments(store, [[2, 0]])
    day += 30n * Day
  })

  let seed = 0
  const live = (own: Market): TradeBatch =>
    trades(own, seed++, BigInt(Date.now()) * 1_000_000n - UnixNanos.PerSecond, 1n)

  const coverageOf = (own: Market) =>
    own.ids.map((instrument) => ({
      instrument,
      schema: "trades" as const,
      range: { start: day, end: day + Day }
    }))

  /** Another session, in a transaction. */
  const session = async (sql: string): Promise<{ readonly end: () => Promise<void> }> => {
    const client = new pg.Client(clientConfig(store.database.address))
    await client.connect()
    await client.query(`BEGIN; ${sql}`)
    return {
      end: async () => {
        await client.query("ROLLBACK")
        await client.end()
      }
    }
  }

  /** Live appends commit: what waits longer than a busy machine needs waits for a lock. */
  const assertLive = async (): Promise<void> => {
    const other = await store.connect()
    for (const own of [market, others]) {
      const batch = live(own)
      const parts = [batch.slice(0, 200), batch.slice(100)]
      const results = await store.run(
        Effect.timeoutOrElse(appendAll(other, parts), {
          duration: "15 seconds",
          orElse: () =>
            Effect.flatMap(Effect.promise(waits), (who) =>
              Effect.die(`an append waits: ${JSON.stringify(who)}`)
            )
        })
      )
      assert.deepStrictEqual(
        results.map(({ inserted, duplicates }) => [inserted, duplicates]),
        [
          [200, 0],
          [200, 100]
        ]
      )
    }
  }
  /** Sessions that wait for a lock, and for what; not the server's own jobs. */
  const waits = () =>
    store.sql<{ readonly query: string }>(
      `SELECT left(query, 200) AS query FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'`
    )

  /** Appends are made while an append is open that has done everything but its claim of coverage. */
  const assertLiveBeside = async (
    batch: TradeBatch,
    claim: Pick<AppendClaim, "onConflict" | "profile">
  ): Promise<{ readonly inserted: number; readonly duplicates: number; readonly conflicts: number }> => {
    await store.run(appendAll(store.writer, [trades(last, 1, day)]))
    const { append, ledger } = store.writer
    const run = await store.run(
      ledger.beginRun({ kind: "import", source: "late", provider: "test", dataset: "TEST" })
    )
    await store.run(append(trades(last, 1, day), { run: run.id, segment: 0, coverage: coverageOf(last) }))
    const holder = await session(`SELECT FROM coverage WHERE instrument_id = ${last.ids[0]} FOR UPDATE`)
    const widened = coverageOf(last).map((one) => ({ ...one, range: { start: day - Day, end: day + Day } }))
    const late = store.run(append(batch, { run: run.id, segment: 1, coverage: widened, ...claim }))
    try {
      for (let tries = 0; (await waits()).length === 0; tries++) {
        assert.isBelow(tries, 300, "the late append waits for the coverage")
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      assert.match((await waits())[0]!.query, /INSERT INTO coverage/)
      await assertLive()
    } finally {
      await holder.end()
    }
    const result = await late
    for (const { ids } of [market, others]) {
      await assertOwnership(store, ids)
      await assertRollups(store, ids)
    }
    return result
  }

  it("commit while rows in a compressed chunk are replaced", async (context) => {
    if (!isCommunity) return context.skip("this edition does not compress")
    const batch = trades(market, 10, day)
    await store.run(appendAll(store.writer, [batch]))
    await store.sql(compress)
    const { conflicts } = await assertLiveBeside(resized(batch), { onConflict: "replace" })
    assert.strictEqual(conflicts, 400)
  })

  it("commit while rows in a compressed chunk are completed", async (context) => {
    if (!isCommunity) return context.skip("this edition does not compress")
    const batch = trades(market, 11, day)
    await store.run(appendAll(store.writer, [withoutCapture(batch)]))
    await store.sql(compress)
    const { duplicates } = await assertLiveBeside(batch, {})
    assert.strictEqual(duplicates, 400)
    const [left] = await store.sql("SELECT FROM trade WHERE ts_recv IS NULL AND instrument_id = ANY ($1)", [
      market.ids
    ])
    assert.isUndefined(left)
  })

  it("commit while new rows go into a compressed chunk", async (context) => {
    if (!isCommunity) return context.skip("this edition does not compress")
    const batch = trades(market, 12, day)
    await store.run(appendAll(store.writer, [batch.slice(0, 200)]))
    await store.sql(compress)
    const { inserted } = await assertLiveBeside(batch, {})
    assert.strictEqual(inserted, 200)
  })

  it("commit while a day in bulk is replaced", async (context) => {
    if (!isCommunity) return context.skip("this edition has no bulk profile")
    const own = { ...market, ids: market.ids.slice(0, 1) }
    const batch = trades(own, 13, day)
    await store.run(appendAll(store.writer, [batch], { profile: "bulk" }))
    const { conflicts } = await assertLiveBeside(resized(batch), { profile: "bulk", onConflict: "replace" })
    assert.strictEqual(conflicts, 400)
  })

  it("commit while a day is moved out of the bulk table", async (context) => {
    if (!isCommunity) return context.skip("this edition has no bulk profile")
    const own = { ...market, ids: market.ids.slice(0, 1) }
    const batch = trades(own, 14, day)
    await store.run(appendAll(store.writer, [batch.slice(0, 300)], { profile: "bulk" }))
    const { inserted } = await assertLiveBeside(batch, {})
    assert.strictEqual(inserted, 100)
  })

  it("commit while chunks are compressed", async (context) => {
    if (!isCommunity) return context.skip("this edition does not compress")
    const own = { ...market, ids: market.ids.slice(0, 1) }
    await store.run(appendAll(store.writer, [trades(market, 15, day)]))
    await store.run(appendAll(store.writer, [trades(own, 16, day + Day)], { profile: "bulk" }))
    const holder = await session(
      `SELECT compress_chunk(c, recompress => true)
       FROM (SELECT show_chunks('trade', older_than => now() - interval '2 days')
             UNION ALL SELECT show_chunks('trade_bulk', older_than => now() - interval '2 days')) s (c)`
    )
    try {
      const locks = await store.sql(
        `SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_database d ON d.oid = l.database
         WHERE d.datname = current_database() AND c.relname LIKE '%_chunk' AND l.granted
           AND l.mode IN ('ExclusiveLock', 'AccessExclusiveLock')`
      )
      assert.isNotEmpty(locks, "chunks are being compressed")
      await assertLive()
    } finally {
      await holder.end()
    }
  })
})

if (server === undefined)
  it("live appends on TimescaleDB", (context) => context.skip("no TimescaleDB server is named"))
