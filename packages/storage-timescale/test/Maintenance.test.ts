import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Coverage, UnixNanos } from "@data-manager/core"
import { Effect, Exit, Scope } from "effect"
import pg from "pg"
import { afterAll, afterEach, assert, beforeAll, beforeEach, describe, it } from "vitest"
import * as Capabilities from "../src/Capabilities.ts"
import * as CoverageTable from "../src/CoverageTable.ts"
import { EmbeddedServer } from "../src/embedded/index.ts"
import * as InstrumentTable from "../src/InstrumentTable.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import * as Retention from "../src/Retention.ts"
import * as RevisionTable from "../src/RevisionTable.ts"
import { clientConfig } from "../src/ServerAddress.ts"
import * as Statistics from "../src/Statistics.ts"
import { fast } from "./embedded/FastServer.ts"

const dataDir = mkdtempSync(join(tmpdir(), "dm-maintenance-"))
const scope = Effect.runSync(Scope.make())
let server: PgPool.PgPool
let address: Effect.Success<ReturnType<typeof EmbeddedServer.acquire>>
let count = 0

/** Pools of one test; closed behind it. */
let testScope = scope

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>): Promise<A> =>
  Effect.runPromise(Effect.provideService(effect, Scope.Scope, testScope))

const poolOf = (database: string) =>
  PgPool.make({ client: clientConfig({ ...address, database }), maxConnections: 4 })

/** A pool on a database of its own, migrated where asked. */
const fresh = async (migrated = true): Promise<PgPool.PgPool> => {
  const name = `test_${++count}`
  await run(server.query(`CREATE DATABASE ${name}`))
  const pool = await run(poolOf(name))
  if (migrated) await run(Migrations.make(pool).up())
  return pool
}

beforeAll(async () => {
  address = await run(EmbeddedServer.acquire({ dataDir, linger: "0 seconds", ...fast }))
  server = await run(poolOf(address.database))
}, 60_000)

beforeEach(() => {
  testScope = Effect.runSync(Scope.make())
})

afterEach(() => Effect.runPromise(Scope.close(testScope, Exit.void)))

afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await Effect.runPromise(EmbeddedServer.stop(dataDir, { force: true }))
  rmSync(dataDir, { recursive: true, force: true })
}, 60_000)

const micros = (text: string): bigint => UnixNanos.parse(text)!
const dayOf = (text: string): number => Partitions.dayOfTime(micros(text))

describe("capabilities", () => {
  it("knows a plain server", async () => {
    const found = await run(Capabilities.detect(server, true))
    assert.strictEqual(found.edition, "postgresql")
    assert.match(found.serverVersion, /^\d+\.\d+$/)
    assert.isTrue(found.embedded)
  })
})

describe("migrations", () => {
  it("go up, tell their state, go down to nothing and up again", async () => {
    const pool = await fresh(false)
    const { status, up, down } = Migrations.make(pool)
    const before = await run(status)
    assert.strictEqual(before.length, Migrations.NEWEST_VERSION)
    assert.isTrue(before.every((s) => s.appliedAt === undefined))
    const [applied] = await run(up())
    assert.isDefined(applied?.appliedAt)
    assert.isFalse(applied?.drifted)
    await run(pool.query("SELECT * FROM trades"))
    await run(down(0))
    const left = await run(
      pool.query(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
      )
    )
    assert.deepStrictEqual(left, [{ relname: "schema_migrations" }])
    assert.isDefined((await run(up()))[0]?.appliedAt)
  })

  it("run once when several processes start at once", async () => {
    const pool = await fresh(false)
    const states = await run(
      Effect.all(
        Array.from({ length: 4 }, () => Migrations.make(pool).up()),
        { concurrency: 4 }
      )
    )
    assert.isTrue(states.every((state) => state.every((s) => s.appliedAt !== undefined)))
  })

  it("make views anew when their text changed, and only then", async () => {
    const pool = await fresh()
    const stamp = "SELECT xmin::text AS stamp FROM schema_migrations WHERE version = 0"
    const before = await run(pool.query(stamp))
    await run(Migrations.make(pool).up())
    assert.deepStrictEqual(await run(pool.query(stamp)), before)
    await run(pool.query("UPDATE schema_migrations SET checksum = 'old' WHERE version = 0"))
    await run(Migrations.make(pool).up())
    assert.notDeepEqual(await run(pool.query(stamp)), before)
    await run(pool.query("SELECT * FROM ohlcv_1m"))
  })

  it("report drift and refuse a newer schema", async () => {
    const pool = await fresh()
    await run(pool.query("UPDATE schema_migrations SET checksum = 'other' WHERE version = 1"))
    assert.isTrue((await run(Migrations.make(pool).status))[0]?.drifted)
    await run(pool.query("INSERT INTO schema_migrations VALUES (99, 'future', 'x')"))
    const error = await run(Effect.flip(Migrations.make(pool).up()))
    assert.match(error.message, /version 99.*update Data Manager/)
    assert.match((await run(Effect.flip(Migrations.requireNewest(pool)))).message, /version 99/)
  })

  it("change nothing in a database with other people's tables of our names", async () => {
    const pool = await fresh(false)
    await run(pool.query("CREATE TABLE instruments (mine text)"))
    const error = await run(Effect.flip(Migrations.make(pool).up()))
    assert.match(error.message, /not ours: table instruments;/)
    assert.deepStrictEqual(
      await run(
        pool.query(
          "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
      ),
      [{ relname: "instruments" }]
    )
  })

  it("leave another program's table of migrations alone", async () => {
    const pool = await fresh(false)
    await run(pool.query("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)"))
    for (const attempt of [Migrations.make(pool).up(), Migrations.make(pool).status])
      assert.match(
        (await run(Effect.flip(attempt))).message,
        /schema_migrations that is not ours.*another database/
      )
  })

  it("are asked for where they lack", async () => {
    const pool = await fresh(false)
    assert.match((await run(Effect.flip(Migrations.requireNewest(pool)))).message, /dm migrate --up/)
  })
})

describe("partitions", () => {
  it("are days in the recent window, months before, and leave existing ones alone", () => {
    const day = (text: string): number => dayOf(text)
    const recent = day("2026-01-10")
    const ranges = (days: ReadonlyArray<string>, existing: ReadonlyArray<Partitions.DayRange> = []) =>
      Partitions.missingRanges("trade", existing, days.map(day), recent)
    assert.deepStrictEqual(ranges(["2025-11-05", "2025-11-06"]), [
      { from: day("2025-11-01"), to: day("2025-12-01") }
    ])
    // January reaches into the window, so it is cut by day.
    assert.deepStrictEqual(ranges(["2026-01-03"]), [{ from: day("2026-01-03"), to: day("2026-01-04") }])
    const oneDay = { from: day("2025-11-05"), to: day("2025-11-06") }
    assert.deepStrictEqual(ranges(["2025-11-05", "2025-11-06"], [oneDay]), [
      { from: day("2025-11-06"), to: day("2025-11-07") }
    ])
  })

  it("take rows from 1677 to 2262, also when several writers ask at once", async () => {
    const pool = await fresh()
    const days = ["1677-09-22", "1969-12-31", "1970-01-01", "2020-02-29", "2262-04-11"].map(dayOf)
    const all = Partitions.partitionedTables.map((table) => Partitions.make(pool).ensure(table, days))
    await run(Effect.all([...all, ...all], { concurrency: 4 }))
    for (const day of days) {
      const ts = `to_timestamp(${day} * 86400.0)`
      await run(pool.query(`INSERT INTO trade VALUES (${ts}, 1, 1, 1, NULL, 1, NULL, 0, NULL, 1, 0, 0, 0)`))
    }
    assert.deepStrictEqual(await run(pool.query("SELECT count(*) AS n FROM trade")), [{ n: 5n }])
  })

  it("stay few whatever times a file of nonsense has", async () => {
    const pool = await fresh()
    const first = dayOf("1677-09-22")
    const days = Array.from({ length: 1000 }, (_, i) => first + i * 213)
    await run(Partitions.make(pool).ensure("quote", days))
    const [made] = await run(
      pool.query<{ n: number }>(
        "SELECT count(*)::int4 AS n FROM pg_inherits WHERE inhparent = 'quote'::regclass"
      )
    )
    // One before 1990, one from 2100 on, months and years in between: 110 years hold some 190 of these days.
    assert.isBelow(made!.n, 200)
    for (const [before, last] of [
      ["1989-12-31", "1990-01-01"],
      ["2099-12-31", "2100-01-01"]
    ] as const)
      await run(Partitions.make(pool).ensure("quote", [dayOf(before), dayOf(last)]))
  })

  it("of days fold into their month without losing a row", async () => {
    const pool = await fresh()
    // A window that held everything when the rows came, and ends behind them now.
    const days = ["2020-03-01", "2020-03-02", "2020-03-31", "2020-04-01"].map(dayOf)
    await run(Partitions.make(pool, 100_000).ensure("trade", days))
    for (const day of days)
      await run(
        pool.query(
          `INSERT INTO trade SELECT to_timestamp(${day} * 86400.0) + n * interval '1 second', n, 1, 1, NULL, 1, NULL, 0, NULL, 1, 0, 0, 0
           FROM generate_series(1, 100) n`
        )
      )
    const { folded } = await run(Partitions.make(pool).fold)
    assert.deepStrictEqual(folded, ["trade_p202003", "trade_p202004"])
    assert.deepStrictEqual(await run(pool.query("SELECT count(*) AS n FROM trade_p202003")), [{ n: 300n }])
    assert.deepStrictEqual(await run(pool.query("SELECT count(*) AS n FROM trade")), [{ n: 400n }])
    const error = await run(Effect.flip(pool.query("INSERT INTO trade SELECT * FROM trade LIMIT 1")))
    assert.match(error.message, /duplicate key/)
  })
})

describe("ledger", () => {
  const source = { kind: "import", source: "a.dbn", provider: "test", dataset: "TEST" } as const

  it("resumes a run by its fingerprint and answers a complete one", async () => {
    const pool = await fresh()
    const { beginRun, completeRun } = Ledger.make(pool)
    const first = await run(beginRun({ ...source, fingerprint: "f" }))
    const write = (segment: number) =>
      run(
        pool.transaction("test", (connection) =>
          Effect.gen(function* () {
            const fresh = yield* Ledger.open(connection, { run: first.id, segment })
            const result = { inserted: 5, duplicates: 0, conflicts: 0 }
            if (fresh) yield* Ledger.record(connection, { run: first.id, segment }, 5, result, undefined)
            return fresh
          })
        )
      )
    assert.deepStrictEqual([await write(0), await write(0), await write(1)], [true, false, true])
    const again = await run(beginRun({ ...source, source: "moved.dbn", fingerprint: "f" }))
    assert.deepStrictEqual(again, { id: first.id, nextSegment: 2, completedAt: undefined, rows: 10n })
    await run(completeRun(first.id))
    assert.isDefined((await run(beginRun({ ...source, fingerprint: "f" }))).completedAt)
    assert.notStrictEqual((await run(beginRun(source))).id, (await run(beginRun(source))).id)
  })

  it("refuses a run that was never begun and a hole between segments", async () => {
    const pool = await fresh()
    const { id } = await run(Ledger.make(pool).beginRun(source))
    const open = (runId: bigint, segment: number) =>
      run(Effect.flip(pool.transaction("test", (c) => Ledger.open(c, { run: runId, segment }))))
    assert.match((await open(99n, 0)).message, /no run 99/)
    assert.match((await open(id, 3)).message, /leave a hole: the next one is 0/)
  })
})

describe("coverage", () => {
  const range = (start: string, end: string) => ({ start: micros(start), end: micros(end) })
  const held = (pool: PgPool.PgPool) =>
    run(pool.query("SELECT instrument_id, ranges::text AS ranges FROM coverage ORDER BY 1"))
  const marks = (pool: PgPool.PgPool) =>
    run(pool.query("SELECT state, range::text AS range, cause FROM coverage_marks ORDER BY range, state"))

  it("unions claims, rounds them inward, and cuts them out of marks", async () => {
    const pool = await fresh()
    const { claimCoverage, markCoverage } = CoverageTable.make(pool)
    const missing: Coverage.CoverageSpan = {
      instrument: 1,
      schema: "trades",
      state: "missing",
      range: range("2026-01-01", "2026-01-03"),
      cause: "disconnect"
    }
    await run(markCoverage([missing, missing]))
    await run(markCoverage([missing]))
    assert.strictEqual((await marks(pool)).length, 2)
    await run(pool.query("DELETE FROM coverage_marks WHERE id = (SELECT min(id) FROM coverage_marks)"))
    const claim = (start: bigint, end: bigint) => ({
      instrument: 1,
      schema: "trades" as const,
      range: { start, end }
    })
    const noon = micros("2026-01-01T12:00")
    await run(claimCoverage([claim(noon + 1n, noon + 5_999n), claim(noon + 5_000n, micros("2026-01-02"))]))
    await run(claimCoverage([claim(noon + 1n, noon + 5_999n)]))
    assert.deepStrictEqual(await held(pool), [
      { instrument_id: 1, ranges: '{["2026-01-01 12:00:00.000001+00","2026-01-02 00:00:00+00")}' }
    ])
    assert.deepStrictEqual(await marks(pool), [
      {
        state: "missing",
        range: '["2026-01-01 00:00:00+00","2026-01-01 12:00:00.000001+00")',
        cause: "disconnect"
      },
      { state: "missing", range: '["2026-01-02 00:00:00+00","2026-01-03 00:00:00+00")', cause: "disconnect" }
    ])
  })

  it("claims twenty thousand instruments in one statement", async () => {
    const pool = await fresh()
    const claims = Array.from({ length: 20_000 }, (_, i) => ({
      instrument: 20_000 - i,
      schema: "trades" as const,
      range: range("2026-01-01", "2026-01-02")
    }))
    await run(CoverageTable.make(pool).claimCoverage(claims))
    assert.deepStrictEqual(await run(pool.query("SELECT count(*) AS n FROM coverage")), [{ n: 20_000n }])
  })

  it("of what the provider has revised is held no longer, in that dataset and schema alone", async () => {
    const pool = await fresh()
    const claims = ["A", "B"].map((dataset) => ({
      provider: "acme",
      dataset,
      rawSymbol: "X",
      valid: range("2026-01-01", "2027-01-01"),
      defaultPriceScale: 2,
      defaultSizeScale: 0
    }))
    const [one, two] = (await run(InstrumentTable.make(pool).registerListings(claims))).map(({ id }) => id)
    const whole = range("2026-01-01T06:00", "2026-01-04")
    const claim = (instrument: number, schema: "trades" | "mbp-1") => ({ instrument, schema, range: whole })
    const { claimCoverage } = CoverageTable.make(pool)
    await run(claimCoverage([claim(one!, "trades"), claim(one!, "mbp-1"), claim(two!, "trades")]))
    const note = (...revisions: ReadonlyArray<string>) =>
      run(
        RevisionTable.make(pool).noteRevisions({
          provider: "acme",
          dataset: "A",
          schema: "trades",
          revisions: revisions.map((revision, i) => ({
            range: range(`2026-01-0${i + 1}`, `2026-01-0${i + 2}`),
            revision
          }))
        })
      )
    const rows = () =>
      run(
        pool.query(
          "SELECT instrument_id AS i, schema AS s, ranges::text AS r FROM coverage ORDER BY instrument_id, schema"
        )
      )
    const before = await rows()
    await note("v1", "v1", "v1")
    await note("v1", "v1", "v1")
    await note("v1")
    assert.deepStrictEqual(await rows(), before)
    await note("v2", "v1", "v2", "v1")
    const [revised, ...rest] = await rows()
    assert.deepStrictEqual(revised, {
      i: one,
      s: 1,
      r: '{["2026-01-02 00:00:00+00","2026-01-03 00:00:00+00")}'
    })
    assert.deepStrictEqual(rest, before.slice(1))
    assert.deepStrictEqual(await marks(pool), [
      { state: "missing", range: '["2026-01-01 06:00:00+00","2026-01-02 00:00:00+00")', cause: "revised" },
      { state: "missing", range: '["2026-01-03 00:00:00+00","2026-01-04 00:00:00+00")', cause: "revised" }
    ])
    await run(claimCoverage([claim(one!, "trades")]))
    await note("v2", "v1", "v2", "v1")
    assert.deepStrictEqual([await rows(), await marks(pool)], [before, []])
  })

  it("expires with the partitions that retention drops, whole ones alone", async () => {
    const pool = await fresh()
    const days = ["2020-01-15", "2020-02-15", "2020-03-15"].map(dayOf)
    await run(Partitions.make(pool).ensure("trade", days))
    await run(
      CoverageTable.make(pool).claimCoverage([
        { instrument: 1, schema: "trades", range: range("2020-01-10", "2020-03-20") },
        { instrument: 1, schema: "mbp-1", range: range("2020-01-10", "2020-03-20") }
      ])
    )
    assert.deepStrictEqual(await run(Retention.expireTrades(pool, micros("2020-02-20"))), { partitions: 1 })
    assert.deepStrictEqual(
      await run(pool.query("SELECT schema, ranges::text AS ranges FROM coverage ORDER BY 1")),
      [
        { schema: 1, ranges: '{["2020-02-01 00:00:00+00","2020-03-20 00:00:00+00")}' },
        { schema: 10, ranges: '{["2020-01-10 00:00:00+00","2020-03-20 00:00:00+00")}' }
      ]
    )
    assert.deepStrictEqual(await marks(pool), [
      { state: "expired", range: '["2020-01-10 00:00:00+00","2020-02-01 00:00:00+00")', cause: null }
    ])
    assert.deepStrictEqual(await run(Retention.expireTrades(pool, micros("2020-02-20"))), { partitions: 0 })
  })
})

describe("statistics", () => {
  it("do without a partition that is dropped while they are read", async () => {
    const pool = await fresh()
    await run(Partitions.make(pool).ensure("trade", ["2020-01-15", "2020-02-15"].map(dayOf)))
    // They count conflicts after they have listed the partitions, and before they look into them.
    const [found] = await run(pool.query("SELECT current_database() AS name"))
    const client = new pg.Client(clientConfig({ ...address, database: `${found!.name}` }))
    await client.connect()
    await client.query("BEGIN; LOCK row_conflicts IN ACCESS EXCLUSIVE MODE")
    const reading = run(Statistics.make(pool).statistics)
    const waiting = "SELECT count(*)::int4 AS waiting FROM pg_locks WHERE NOT granted"
    while ((await client.query(waiting)).rows[0].waiting === 0)
      await new Promise((done) => setTimeout(done, 5))
    assert.deepStrictEqual(await run(Retention.expireTrades(pool, micros("2020-02-05"))), { partitions: 1 })
    await client.query("ROLLBACK")
    await client.end()
    const trade = (await reading).tables.find(({ table }) => table === "trade")
    assert.deepStrictEqual([trade?.oldest, trade?.newest], [undefined, undefined])
  })
})
