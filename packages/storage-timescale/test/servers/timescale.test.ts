/** What TimescaleDB does with tables that exist: moved in place and back, compressed, retired by the server. */
import { type TradeBatch, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Capabilities from "../../src/Capabilities.ts"
import * as Migrations from "../../src/Migrations.ts"
import * as Retention from "../../src/Retention.ts"
import * as Statistics from "../../src/Statistics.ts"
import type { StoreSettings } from "../../src/timescale/Settings.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { createDatabase } from "../TestServer.ts"
import { noServer, providedServers } from "./ProvidedServer.ts"

const server = providedServers.find(({ extension }) => extension !== undefined)

const start = UnixNanos.parse("2024-09-02T08:00:00Z")!
const Day = UnixNanos.PerDay

/** Trades of some hours of a day, the same ones for the same number. */
const batchOf = (
  { ids, context }: Awaited<ReturnType<typeof instruments>>,
  day: number,
  values: "grid" | "extreme" = "grid",
  from = start
): TradeBatch =>
  BatchArbitrary.trades(new SeededRandom(500 + day), {
    context,
    instruments: ids,
    rows: 800,
    start: from + BigInt(day) * Day,
    span: 6n * 3600n * UnixNanos.PerSecond,
    values
  })

const rowsQuery =
  "SELECT count(*) AS n, md5(string_agg(t::text, ',' ORDER BY instrument_id, ts, trade_key)) AS sum FROM trade t"
const barColumns =
  "bucket, instrument_id, trim_scale(open), trim_scale(high), trim_scale(low), trim_scale(close), trim_scale(volume), trade_count"
const barsQuery = (prefix: string): string =>
  ["1m", "1h", "1d"]
    .map((length) => `SELECT '${length}' AS length, ${barColumns} FROM ${prefix}_${length}`)
    .join(" UNION ALL ")
const barsSum = (prefix: string): string =>
  `SELECT count(*) AS n, md5(string_agg(b::text, ',' ORDER BY length, instrument_id, bucket)) AS sum FROM (${barsQuery(prefix)}) b`

describe.skipIf(server === undefined)("a database on TimescaleDB", { timeout: 120_000 }, () => {
  let store: StoreFixture
  let isCommunity = false
  const migrations = (settings?: StoreSettings) => Migrations.make(store.writer.pool, settings)
  const kinds = () =>
    store.sql<{ readonly name: string; readonly kind: string }>(
      "SELECT relname AS name, relkind AS kind FROM pg_class WHERE relname IN ('trade', 'bar_1h') AND relnamespace = 'public'::regnamespace ORDER BY 1"
    )

  /** Runs a job now. The server may run it at the same time: then one of the two is tried again. */
  const runJob = async (proc: string): Promise<void> => {
    const [job] = await store.sql<{ readonly id: number }>(
      "SELECT job_id AS id FROM timescaledb_information.jobs WHERE proc_name = $1",
      [proc]
    )
    for (let tries = 1; ; tries++)
      try {
        await store.sql(`CALL run_job(${job!.id})`)
        return
      } catch (error) {
        if (tries === 5 || !/deadlock|lock timeout/.test(String(error))) throw error
      }
  }

  beforeAll(async () => {
    if (server === undefined) return
    store = await openStore(await createDatabase(server.url))
    const { edition } = await store.run(Capabilities.detect(store.writer.pool, false))
    isCommunity = edition === "timescaledb-community"
  }, 120_000)
  afterAll(async () => {
    if (server !== undefined) await store.close()
  })

  it("is moved into hypertables and back with rows, bars and values beyond an int8", async () => {
    await store.run(migrations().down(0))
    // Version 2 does not ask what the server can do: a database of plain PostgreSQL.
    await store.run(migrations().up(2))
    assert.deepStrictEqual(
      (await kinds()).map(({ kind }) => kind),
      ["p", "p"]
    )
    const plain = await instruments(store, [
      [2, 0],
      [4, 3]
    ])
    const wild = await instruments(store, [[2, 0]])
    await store.run(
      appendAll(store.writer, [
        batchOf(plain, 0),
        batchOf(plain, 1),
        batchOf(plain, 40),
        batchOf(wild, 1, "extreme")
      ])
    )
    const rows = await store.sql(rowsQuery)
    const bars = await store.sql(barsSum("bar"))

    await store.run(migrations().up())
    assert.deepStrictEqual(
      (await kinds()).map(({ kind }) => kind),
      ["r", "r"]
    )
    assert.deepStrictEqual(await store.sql(rowsQuery), rows)
    assert.deepStrictEqual(await store.sql(barsSum("bars")), bars)
    const [hypertables] = await store.sql(
      "SELECT count(*) AS n FROM timescaledb_information.hypertables WHERE hypertable_schema = 'public'"
    )
    assert.deepStrictEqual(hypertables, { n: isCommunity ? 7n : 6n })

    await store.run(
      appendAll(store.writer, [
        batchOf(plain, 2),
        batchOf(plain, 1).slice(0, 300),
        batchOf(wild, 2, "extreme")
      ])
    )
    if (isCommunity) {
      const grouped = await instruments(store, [[2, 0]])
      await store.run(appendAll(store.writer, [batchOf(grouped, 3)], { profile: "bulk" }))
      assert.strictEqual((await store.sql("SELECT FROM trade_bulk")).length, 800)
    }
    const more = await store.sql(rowsQuery.replace("FROM trade t", "FROM trade_rows t"))
    await store.run(migrations().up())
    const moreBars = await store.sql(barsSum("bars"))

    await store.run(migrations().down(2))
    assert.deepStrictEqual(
      (await kinds()).map(({ kind }) => kind),
      ["p", "p"]
    )
    assert.deepStrictEqual(await store.sql(rowsQuery), more)
    assert.deepStrictEqual(await store.sql(barsSum("bar")), moreBars)
    await store.run(migrations().up())
    assert.deepStrictEqual(await store.sql(rowsQuery), more)
    assert.deepStrictEqual(await store.sql(barsSum("bars")), moreBars)
  })

  it("keeps rows and bars right when what is compressed is repeated, completed and replaced", async (context) => {
    if (!isCommunity) return context.skip("this edition does not compress")
    const market = await instruments(store, [[2, 0]])
    const whole = batchOf(market, 100)
    await store.run(appendAll(store.writer, [whole.slice(0, 500)]))
    await store.sql("SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('trade') c")
    const [again, rest] = await store.run(appendAll(store.writer, [whole.slice(0, 500), whole]))
    assert.deepStrictEqual([again?.inserted, again?.duplicates], [0, 500])
    assert.deepStrictEqual([rest?.inserted, rest?.duplicates], [300, 500])
    await store.sql("SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('trade') c")
    const other = batchOf(market, 101, "grid", start - Day)
    const [replaced] = await store.run(appendAll(store.writer, [other], { onConflict: "replace" }))
    assert.strictEqual(replaced!.inserted + replaced!.duplicates + replaced!.conflicts, 800)
    const [rows] = await store.sql<{ readonly n: bigint }>(
      "SELECT count(price) AS n FROM trade WHERE instrument_id = ANY ($1)",
      [market.ids]
    )
    const [bars] = await store
      .run(migrations().up())
      .then(() =>
        store.sql<{ readonly n: bigint }>(
          "SELECT sum(trade_count)::int8 AS n FROM bars_1d WHERE instrument_id = ANY ($1)",
          [market.ids]
        )
      )
    assert.deepStrictEqual(bars, rows)
  })

  it("takes quotes, books and bars that are compressed once more, and keeps bounds beside their segments alone", async (context) => {
    if (!isCommunity) return context.skip("this edition does not compress")
    const market = await instruments(store, [[2, 0]])
    const options = { context: market.context, instruments: market.ids, rows: 200, start }
    const batches = [
      BatchArbitrary.quotes(new SeededRandom(1), { ...options, schema: "mbp-1" }),
      BatchArbitrary.books(new SeededRandom(2), { ...options, schema: "mbp-10" }),
      BatchArbitrary.bars(new SeededRandom(3), { ...options, seconds: 60 })
    ]
    await store.run(appendAll(store.writer, batches))
    for (const table of ["quote", "book", "bar"])
      await store.sql(`SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('${table}') c`)
    const again = await store.run(appendAll(store.writer, batches))
    assert.deepStrictEqual(
      again.map(({ inserted, duplicates }) => [inserted, duplicates]),
      batches.map(({ length }) => [0, length])
    )
    const kept = await store.sql<{ readonly name: string }>(
      `SELECT DISTINCT a.attname AS name FROM _timescaledb_catalog.compression_settings s
       JOIN pg_attribute a ON a.attrelid = s.compress_relid WHERE a.attname LIKE '\\_ts\\_meta%'`
    )
    const names = kept.map(({ name }) => name).join(" ")
    assert.match(names, /_ts_meta_min_1/)
    assert.notMatch(names, /bloom/)
  })

  it("tells the server what to do by itself, and follows when that changes", async (context) => {
    if (!isCommunity) return context.skip("this edition has no jobs")
    const jobs = () =>
      store.sql<{ readonly proc: string; readonly config: object }>(
        `SELECT proc_name AS proc, config FROM timescaledb_information.jobs
         WHERE proc_name IN ('policy_compression', 'retire_trades', 'policy_refresh_continuous_aggregate')
           AND (hypertable_name = 'trade' OR proc_name = 'retire_trades') ORDER BY 1`
      )
    await store.run(migrations({ compressAfterDays: 3, tradesRetentionDays: 90 }).up())
    const set = await jobs()
    assert.deepStrictEqual(
      set.map(({ proc }) => proc),
      ["policy_compression", "retire_trades"]
    )
    assert.include(JSON.stringify(set[0]!.config), "3 days")
    assert.deepStrictEqual(set[1]!.config, { keep_days: 90 })
    await store.run(migrations({ compressAfterDays: 3, tradesRetentionDays: 90 }).up())
    assert.deepStrictEqual(await jobs(), set)
    const told = await store.run(Statistics.make(store.writer.pool).statistics)
    assert.deepStrictEqual(
      told.jobs?.map(({ purpose, table }) => `${purpose} ${table}`),
      [
        ...["bar", "book", "quote", "trade", "trade_bulk"].map((table) => `compression ${table}`),
        ...["bulk", "trade"].flatMap((source) =>
          ["1d", "1h", "1m"].map((length) => `bars ${source}_bar_${length}`)
        ),
        "retention trade"
      ]
    )
    assert.isDefined(told.barsBehind)
    await store.run(migrations().up())
    assert.deepStrictEqual(
      (await jobs()).map(({ proc }) => proc),
      ["policy_compression"]
    )
  })

  it("retires trades as a whole, keeps their bars, and has the same bars when the trades come back", async () => {
    const market = await instruments(store, [[2, 0]])
    const [id] = market.ids
    const old = [batchOf(market, 300), batchOf(market, 301)]
    const now = BigInt(Date.now()) * 1_000_000n
    const fresh = batchOf(market, 0, "grid", now - 5n * Day)
    const run = await store.run(
      store.writer.ledger.beginRun({ kind: "import", source: "retire", provider: "test", dataset: "TEST" })
    )
    const range = { start: start + 300n * Day, end: start + 301n * Day + Day / 4n }
    const coverage = [{ instrument: id!, schema: "trades" as const, range }]
    await store.run(store.writer.append(old[0]!, { run: run.id, segment: 0 }))
    await store.run(store.writer.append(old[1]!, { run: run.id, segment: 1, coverage }))
    await store.run(store.writer.append(fresh, { run: run.id, segment: 2 }))
    await store.run(store.writer.ledger.completeRun(run.id))
    const ofOne = `SELECT count(*) AS n, md5(string_agg(b::text, ',' ORDER BY length, bucket)) AS sum
      FROM (${barsQuery("bars")}) b WHERE instrument_id = ${id}`
    const bars = await store.sql(ofOne)

    if (isCommunity) {
      await store.run(migrations({ tradesRetentionDays: 30 }).up())
      await runJob("retire_trades")
      await store.run(migrations().up())
    } else await store.run(Retention.expireTrades(store.writer.pool, now - 30n * Day))

    const count = () =>
      store.sql<{ readonly n: bigint }>("SELECT count(*) AS n FROM trade WHERE instrument_id = $1", [id])
    assert.deepStrictEqual(await count(), [{ n: BigInt(fresh.length) }])
    const marks = await store.sql("SELECT state FROM coverage_marks WHERE instrument_id = $1", [id])
    assert.deepStrictEqual(marks, [{ state: "expired" }])
    assert.deepStrictEqual(await store.sql("SELECT FROM coverage WHERE instrument_id = $1", [id]), [])
    assert.deepStrictEqual(await store.sql(ofOne), bars, "bars of retired trades")

    await store.run(appendAll(store.writer, [old[0]!.slice(0, 200)]))
    assert.deepStrictEqual(await store.sql(ofOne), bars, "bars while a part of the trades is back")
    await store.run(appendAll(store.writer, old))
    assert.deepStrictEqual(await count(), [{ n: BigInt(fresh.length + 1600) }])
    await store.run(migrations().up())
    assert.deepStrictEqual(await store.sql(ofOne), bars, "bars when all trades are back")
  })
})

if (server === undefined) it("a database on TimescaleDB", (context) => context.skip(noServer))
