/** What comes late, again, or with other content, where TimescaleDB keeps bars and compresses rows. */
import { type TradeBatch, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, BatchRow, SeededRandom } from "@data-manager/testing"
import { Effect } from "effect"
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import { microsOf } from "../../src/PgPool.ts"
import * as Statistics from "../../src/Statistics.ts"
import * as BarRefresh from "../../src/timescale/BarRefresh.ts"
import { assertRollups } from "../NaiveRollup.ts"
import { assertOwnership } from "../Ownership.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { createDatabase } from "../TestServer.ts"
import { providedServers } from "./ProvidedServer.ts"

const server = providedServers.find(({ extension }) => extension !== undefined)

const start = UnixNanos.parse("2024-09-02T08:00:00Z")!
const Day = UnixNanos.PerDay
const Minute = 60n * UnixNanos.PerSecond

type Market = Awaited<ReturnType<typeof instruments>>

const trades = (
  { context, ids }: Market,
  seed: number,
  options: Partial<BatchArbitrary.BatchOptions> = {}
): TradeBatch =>
  BatchArbitrary.trades(new SeededRandom(seed), {
    context,
    instruments: ids,
    rows: 300,
    start,
    absent: 0,
    ...options
  })

describe.skipIf(server === undefined)("late and repeated trades on TimescaleDB", { timeout: 60_000 }, () => {
  let store: StoreFixture
  let isCommunity = false
  beforeAll(async () => {
    store = await openStore(await createDatabase(server!.url))
    const [row] = await store.sql("SELECT to_regclass('trade_bulk') IS NOT NULL AS found")
    isCommunity = row!.found as boolean
  }, 120_000)
  afterAll(() => store.close())

  let market: Market
  const ownMarket = async () => {
    market = await instruments(store, [
      [2, 0],
      [4, 3]
    ])
    return market
  }
  afterEach(async () => {
    await assertOwnership(store, market.ids)
    await assertRollups(store, market.ids)
  })

  it("moves a day out of the bulk table although rows of another day are replaced in the same batch", async (context) => {
    const own = { ...(await ownMarket()), ids: market.ids.slice(0, 1) }
    if (!isCommunity) return context.skip("this edition has no bulk profile")
    const both = trades(own, 1, { rows: 600, start: UnixNanos.startOfDay(start), span: 2n * Day })
    const second = both.columns.tsEvent.findIndex((time) => time >= UnixNanos.startOfDay(start) + Day)
    await store.run(appendAll(store.writer, [both.slice(0, second)]))
    await store.run(appendAll(store.writer, [both.slice(second)], { profile: "bulk" }))
    const changed = BatchRow.select(
      both,
      Array.from({ length: 600 }, (_, i) => i)
    )
    for (let i = 0; i < second; i += 10) changed.columns.size[i]! += 1000n
    const [result] = await store.run(appendAll(store.writer, [changed], { onConflict: "replace" }))
    const conflicts = Math.ceil(second / 10)
    assert.deepStrictEqual(result, { inserted: 0, duplicates: 600 - conflicts, conflicts, skipped: false })
  })

  it("has bars of the running hour and day that go on after late trades", async () => {
    await ownMarket()
    const now = BigInt(Date.now()) * 1_000_000n
    const late = trades(market, 3, { start: now - 5n * Minute, span: 3n * Minute })
    await store.run(appendAll(store.writer, [late]))
    await assertRollups(store, market.ids)
    if (isCommunity) {
      const { aggregates } = await store.run(Statistics.make(store.writer.pool).statistics)
      const lag = aggregates?.find(({ name }) => name === "trade_bar_1m")?.lagSeconds
      assert.isTrue(lag !== undefined && lag >= 60 && lag < 900, `bars are ${lag} s behind`)
    }
    const live = trades(market, 4, { start: now - UnixNanos.PerSecond, span: UnixNanos.PerSecond })
    await store.run(appendAll(store.writer, [live]))
    await assertRollups(store, market.ids)
  })

  it("has bars of trades that came live while the server made none, once newer bars are made", async (context) => {
    await ownMarket()
    if (!isCommunity) return context.skip("this edition does not make bars")
    const other = await openStore(await createDatabase(server!.url))
    try {
      const own = await instruments(other, [[2, 0]])
      for (const day of [0n, 10n, 20n, 30n, 40n]) {
        await other.run(appendAll(other.writer, [trades(own, 5, { start: start + day * Day })]))
        if (day === 20n || day === 40n) await assertRollups(other, own.ids)
        // As if these trades had been new when they were appended.
        else await other.sql("DELETE FROM bar_refreshes")
      }
    } finally {
      await other.close()
    }
  })

  it("has bars of trades that came live while the server's jobs did not work, once they work again", async (context) => {
    await ownMarket()
    if (!isCommunity) return context.skip("this edition does not make bars")
    const other = await openStore(await createDatabase(server!.url))
    try {
      const own = await instruments(other, [[2, 0]])
      const now = BigInt(Date.now()) * 1_000_000n
      const put = (seed: number, at: bigint) =>
        other.run(appendAll(other.writer, [trades(own, seed, { start: at, span: UnixNanos.PerSecond })]))
      await put(7, now - 600n * Minute)
      await assertRollups(other, own.ids)
      await put(8, now - 300n * Minute)
      await put(9, now - 10n * Minute)
      // As if these trades had been new when they were appended.
      await other.sql("DELETE FROM bar_refreshes")
      await put(10, now - UnixNanos.PerSecond)
      // The job, when it works again.
      await other.sql(
        "CALL refresh_continuous_aggregate('trade_bar_1m', now() - interval '1 hour', now() - interval '1 minute')"
      )
      await assertRollups(other, own.ids)
    } finally {
      await other.close()
    }
  })

  it("notes trades that were new when their append began and are not when it commits", async (context) => {
    await ownMarket()
    if (!isCommunity) return context.skip("this edition does not make bars")
    const [clock] = await store.sql<{ readonly now: bigint }>(`SELECT ${microsOf("now()")} AS now`)
    const at = clock!.now * 1000n - 49_500n * UnixNanos.PerMilli
    const scan = { days: [Number(at / Day)], first: at, last: at + 1000n }
    const noted = await store.run(
      store.writer.pool.transaction("note", (connection) =>
        Effect.gen(function* () {
          yield* connection.query("SELECT pg_sleep(1)")
          yield* BarRefresh.note(connection, scan)
          const rows = yield* connection.query("SELECT FROM bar_refreshes WHERE noted_at = now()")
          yield* connection.query("DELETE FROM bar_refreshes WHERE noted_at = now()")
          return rows.length
        })
      )
    )
    assert.strictEqual(noted, 1)
  })
})

if (server === undefined)
  it("late and repeated trades on TimescaleDB", (context) => context.skip("no TimescaleDB server is named"))
