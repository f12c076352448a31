import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { zstdDecompressSync } from "node:zlib"
import type { StoreError } from "@data-manager/core"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { PgPool, PgServer } from "@data-manager/storage-timescale"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Scope } from "effect"
import { jsonLines, type Outcome, outcome, Workplace } from "./Dm.ts"
import { dbnFolder, skipReason } from "./TestData.ts"

const place = new Workplace()
const scope = Scope.makeUnsafe()
let server: PgServer.ServerAddress
let url = ""

const market = new SyntheticMarket({ symbols: 5, trades: 20_000 })
const [busiest] = market.instruments
const symbol = `${market.dataset}:${busiest!.symbol}`

// One server for all tests of this file; it outlives the commands, so that each of them only has to connect.
beforeAll(async () => {
  server = await Effect.runPromise(
    EmbeddedServer.acquire({ dataDir: place.dataDir, unsafe: true }).pipe(Scope.provide(scope))
  )
  url = Redacted.value(PgServer.toUrl(server))
  mkdirSync(place.path("files"))
  writeFileSync(place.path("files", "day.trades.dbn"), Buffer.concat([...market.tradeFile()]))
  writeFileSync(place.path("files", "day.definition.dbn"), market.definitionFile())
  writeFileSync(place.path("files", "day.mbp-1.dbn"), Buffer.concat([...market.quoteFile(4_000)]))
  writeFileSync(
    place.path("truncated.dbn"),
    readFileSync(place.path("files", "day.trades.dbn")).subarray(0, 50_000)
  )
  writeFileSync(place.path("empty.dbn"), "")
  writeFileSync(place.path("noise.dbn"), "this is no market data at all")
}, 60_000)

afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await place.close()
})

/** Runs statements as another client of the same server. */
const withPool = <A>(use: (pool: PgPool.PgPool) => Effect.Effect<A, StoreError>): Promise<A> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.flatMap(PgPool.make({ client: PgServer.clientConfig(server), maxConnections: 1 }), use)
    )
  )

const json = (result: Outcome) => {
  assert.strictEqual(
    result.stderr
      .split("\n")
      .filter((line) => line.startsWith("dm:"))
      .join("\n"),
    ""
  )
  return JSON.parse(result.stdout)
}

describe("before anything is held", () => {
  it("status, queries and coverage say so, and nothing is missing", async () => {
    const fresh = new Workplace()
    try {
      const [status, doctor] = await Promise.all([
        fresh.run(["status", "--json"]),
        fresh.run(["doctor", "--json"])
      ])
      assert.strictEqual(status.code, 3)
      const report = JSON.parse(status.stdout)
      assert.deepStrictEqual([report.healthy, report.database], [false, "embedded"])
      assert.match(report.problems[0], /there is no database in .* yet; dm import/)
      // Looking does not make a database.
      assert.isFalse(existsSync(join(fresh.dataDir, "postgres")))
      assert.strictEqual(doctor.code, 0)
      assert.isTrue(JSON.parse(doctor.stdout).healthy)
    } finally {
      await fresh.close()
    }
  })
})

describe("an import", () => {
  it("stores what is good, reports what is bad, and ends with exit code 1", async () => {
    const result = await place.run([
      "import",
      "files",
      "nowhere.dbn",
      "empty.dbn",
      "truncated.dbn",
      "noise.dbn",
      "--json"
    ])
    assert.strictEqual(result.code, 1, result.stderr)
    const report = JSON.parse(result.stdout)
    const outcomes = Object.fromEntries(
      report.files.map((file: { path: string; result: string }) => [
        file.path.replace(/^.*\//, ""),
        file.result
      ])
    )
    assert.deepStrictEqual(outcomes, {
      "day.definition.dbn": "imported",
      "day.mbp-1.dbn": "imported",
      "day.trades.dbn": "imported",
      "empty.dbn": "failed",
      "truncated.dbn": "failed",
      "noise.dbn": "failed"
    })
    assert.strictEqual(report.failed, 4)
    assert.deepStrictEqual(report.problems, ["nowhere.dbn: no such file"])
    assert.strictEqual(report.inserted, 24_000)
    const errors = result.stderr
      .trimEnd()
      .split("\n")
      .filter((line) => line.startsWith("dm: "))
    assert.strictEqual(errors.length, 4)
    assert.strictEqual(new Set(errors).size, 4)
  }, 60_000)

  it("adds nothing a second time and says so", async () => {
    const result = await place.run(["import", "files"])
    assert.strictEqual(result.code, 0, result.stderr)
    assert.match(result.stdout, /known already/)
    assert.match(result.stdout, /nothing new: all 3 files were imported before/)
  })

  it("shows what is in files without a database", async () => {
    const result = await place.run(["import", "--dry-run", "files/*.dbn", "--json"], {
      env: { DM_DATA_DIR: place.path("nothing-here") }
    })
    const report = json(result)
    assert.deepStrictEqual(
      report.files.map((file: { schema: string; records: number }) => [file.schema, file.records]),
      [
        ["definition", 5],
        ["mbp-1", 4_000],
        ["trades", 20_000]
      ]
    )
    assert.isFalse(existsSync(place.path("nothing-here")))
  })

  it("is undone by nothing: an interrupted one continues", async () => {
    const rows = 600_000
    const big = new SyntheticMarket({ symbols: 20, trades: rows, seed: 7, date: 20260106 })
    const path = place.path("big.dbn")
    writeFileSync(path, Buffer.concat([...big.tradeFile()]))
    const child = place.start(["import", path])
    const ended = outcome(child)
    await withPool((pool) =>
      Effect.gen(function* () {
        const committed = "SELECT EXISTS (SELECT FROM trade WHERE ts >= '2026-01-06') AS found"
        while (child.exitCode === null && (yield* pool.query(committed))[0]?.found !== true)
          yield* Effect.sleep("10 millis")
      })
    )
    child.kill("SIGINT")
    const interrupted = await ended
    assert.deepStrictEqual([interrupted.code, interrupted.signal], [130, null], interrupted.stderr)
    assert.match(interrupted.stderr, /interrupted.*the same command continues/)
    assert.strictEqual(interrupted.stdout, "")
    const finished = json(await place.run(["import", path, "--json"]))
    const [file] = finished.files
    assert.strictEqual(file.inserted + file.resumed, rows)
    assert.isAbove(file.resumed, 0)
    assert.isAbove(file.inserted, 0)
    assert.strictEqual(file.duplicates, 0)
  }, 90_000)
})

describe("conflicts", () => {
  it("are none where every key met its own content", async () => {
    const none = await place.run(["query", "conflicts"])
    assert.strictEqual(none.code, 0, none.stderr)
    assert.match(none.stderr, /no conflicts are stored/)
    assert.strictEqual((await place.run(["query", "conflicts", "--json"])).stdout, "")
  })

  it("are told by the import and can be looked at, both rows exact", async () => {
    const bytes = Buffer.concat([...market.tradeFile()])
    const records = bytes.length - market.trades * 48
    const changed = [3, 11].map((row) => {
      const at = records + row * 48 + 16
      const price = bytes.readBigInt64LE(at)
      bytes.writeBigInt64LE(price + 1n, at)
      return price
    })
    writeFileSync(place.path("changed.dbn"), bytes)
    const told = await place.run(["import", "changed.dbn"])
    assert.strictEqual(told.code, 0, told.stderr)
    assert.match(told.stdout, /2 rows met a stored row .* dm query conflicts shows them/)
    const shown = await place.run(["query", "conflicts", "--json"])
    const lines = jsonLines(shown.stdout) as unknown as ReadonlyArray<{
      readonly schema: string
      readonly lost: string
      readonly run: { readonly kind: string; readonly source: string }
      readonly stored: { readonly price: string; readonly trade_key: string }
      readonly set_aside: { readonly price: string; readonly trade_key: string }
    }>
    const nanos = (text: string): bigint => {
      const [whole = "", fraction = ""] = text.split(".")
      return BigInt(whole + fraction.padEnd(9, "0"))
    }
    assert.deepStrictEqual(
      lines.map((line) => [nanos(line.stored.price), nanos(line.set_aside.price)]),
      changed.map((price) => [price, price + 1n])
    )
    for (const line of lines) {
      assert.deepInclude(line, { schema: "trades", lost: "new" })
      assert.strictEqual(line.run.kind, "import")
      assert.match(line.run.source, /changed\.dbn$/)
      assert.deepStrictEqual({ ...line.set_aside, price: "" }, { ...line.stored, price: "" })
    }
    const table = await place.run(["query", "conflicts", `${market.dataset}:*`, "--limit", "1"])
    assert.include(table.stdout, `price ${lines[0]!.stored.price}`)
    assert.include(table.stdout, `price ${lines[0]!.set_aside.price}`)
    assert.match(table.stdout, /the new row +import of .*changed\.dbn/)
    assert.match(table.stderr, /the first 1 conflict of more; --limit 0 shows all/)
    const other = await place.run(["query", "conflicts", "--schema", "mbp-1"])
    assert.match(other.stderr, /no conflicts are stored/)
  })
})

describe("reading back", () => {
  const start = "2026-01-05"
  const end = "2026-01-06"

  it("query trades: exact rows as JSON lines, the newest as a table", async () => {
    const [lines, table] = await Promise.all([
      place.run(["query", "trades", symbol, "--start", start, "--end", end, "--json"]),
      place.run(["query", "trades", busiest!.symbol, "--end", end, "--limit", "3"])
    ])
    const rows = jsonLines(lines.stdout)
    assert.strictEqual(lines.code, 0, lines.stderr)
    assert.isAbove(rows.length, 1_000)
    for (const row of [rows[0]!, rows.at(-1)!]) {
      assert.match(String(row.ts_event), /^2026-01-05T\d\d:\d\d:\d\d\.\d{9}Z$/)
      assert.match(String(row.price), /^\d+(\.\d{1,2})?$/)
      assert.strictEqual(row.symbol, symbol)
    }
    const times = rows.map((row) => String(row.ts_event))
    assert.deepStrictEqual(times, [...times].sort())
    const shown = table.stdout.trimEnd().split("\n")
    assert.strictEqual(shown.length, 4)
    assert.match(shown[0]!, /^ts_event +price +size +side +exchange +trade_id$/)
    assert.isTrue(shown[3]!.startsWith(times.at(-1)!.slice(0, 10)))
  })

  it("query trades: a limit is told, and 0 is none", async () => {
    const [few, all] = await Promise.all([
      place.run(["query", "trades", symbol, "--start", start, "--end", end, "--limit", "2"]),
      place.run(["query", "trades", symbol, "--start", start, "--end", end, "--limit", "0"])
    ])
    assert.strictEqual(few.stdout.trimEnd().split("\n").length, 3)
    assert.match(few.stderr, /the first 2 rows of more; --limit 0 shows all/)
    assert.isAbove(all.stdout.split("\n").length, 1_000)
    assert.strictEqual(all.stderr, "")
  })

  it("query bars: candles and a table, and exact volumes that add up to the trades", async () => {
    const [picture, bars, trades] = await Promise.all([
      place.run(["query", "bars", symbol, "--start", start, "--end", end, "-t", "30m", "--no-color"]),
      place.run(["query", "bars", symbol, "--start", start, "--end", end, "-t", "1h", "--json"]),
      place.run(["query", "trades", symbol, "--start", start, "--end", end, "--json"])
    ])
    assert.match(picture.stdout, /[│┃╽╿]/)
    assert.match(picture.stdout, /bucket +open +high +low +close +volume +trades/)
    const sum = (rows: ReadonlyArray<{ readonly [key: string]: unknown }>, key: string): bigint =>
      rows.reduce((total, row) => total + BigInt(String(row[key])), 0n)
    assert.strictEqual(sum(jsonLines(bars.stdout), "volume"), sum(jsonLines(trades.stdout), "size"))
    assert.strictEqual(sum(jsonLines(bars.stdout), "trade_count"), BigInt(jsonLines(trades.stdout).length))
  })

  it("query quotes: both sides; a symbol, kind or range without data is told", async () => {
    const [quotes, book, later, unknown] = await Promise.all([
      place.run(["query", "quotes", symbol, "--limit", "2", "--json"]),
      place.run(["query", "book", symbol]),
      place.run(["query", "trades", symbol, "--start", "2030-01-01"]),
      place.run(["query", "trades", "NOSUCH"])
    ])
    const rows = jsonLines(quotes.stdout)
    assert.strictEqual(rows.length, 2)
    assert.strictEqual(rows[0]!.schema, "mbp-1")
    assert.match(String(rows[0]!.bid_price), /^\d/)
    assert.deepStrictEqual([book.code, book.stdout], [0, ""])
    assert.match(book.stderr, /no book of .* are held/)
    assert.deepStrictEqual([later.code, later.stdout], [0, ""])
    assert.match(later.stderr, /no trades of .* in this range; [\d,]+ trades rows are held from 2026-01-05/)
    assert.strictEqual(unknown.code, 1)
    assert.match(unknown.stderr, /unknown symbol "NOSUCH"/)
  })

  it("export: a compressed file, complete and exact, and a pipe", async () => {
    const range = ["--start", start, "--end", end]
    const [file, pipe] = await Promise.all([
      place.run(["export", "trades", symbol, ...range, "-o", "es.csv.zst"]),
      place.run(["export", "trades", "-s", symbol, ...range, "--format", "jsonl"])
    ])
    assert.strictEqual(file.code, 0, file.stderr)
    assert.strictEqual(file.stdout, "")
    assert.match(file.stderr, /wrote [\d,]+ rows .* to es\.csv\.zst/)
    const csv = zstdDecompressSync(readFileSync(place.path("es.csv.zst")))
      .toString()
      .trimEnd()
      .split("\n")
    const rows = jsonLines(pipe.stdout)
    assert.strictEqual(csv.length, rows.length + 1)
    const names = csv[0]!.split(",")
    for (const i of [0, 1, rows.length - 1]) {
      const cells = csv[i + 1]!.split(",")
      for (const name of names)
        assert.strictEqual(cells[names.indexOf(name)], String(rows[i]![name] ?? ""), name)
    }
    const again = await place.run(["export", "trades", symbol, "-o", "es.csv.zst"])
    assert.strictEqual(again.code, 1)
    assert.match(again.stderr, /exists and was not changed/)
  })

  it("coverage: ranges and days", async () => {
    const [ranges, days] = await Promise.all([
      place.run(["coverage", symbol, "--schema", "trades", "--end", end, "--json"]),
      place.run(["coverage", busiest!.symbol, "--daily", "--end", end, "--json"])
    ])
    const { coverage } = json(ranges)
    assert.deepStrictEqual(coverage, [
      {
        symbol,
        schema: "trades",
        state: "held",
        ranges: [{ start: "2026-01-05T00:00:00.000000000Z", end: "2026-01-06T00:00:00.000000000Z" }],
        causes: []
      }
    ])
    const trades = json(days).days.filter((one: { schema: string }) => one.schema === "trades")
    assert.strictEqual(trades.length, 1)
    assert.deepStrictEqual([trades[0].symbol, trades[0].date], [symbol, "2026-01-05"])
    const whole = await place.run(["coverage"])
    assert.match(whole.stdout, /^symbol +schema +state +from +to/)
  })
})

describe("symbols", () => {
  it("are listed, added, resolved and removed for good", async () => {
    mkdirSync(place.path("config"))
    const configured = '[[symbols]]\nsymbol = "GLBX.MDP3:NQ.c.0"\nprovider = "databento"\n'
    writeFileSync(place.path("config", "symbols.toml"), configured)
    const added = json(
      await place.run([
        "symbols",
        "add",
        "GLBX.MDP3:ES.FUT",
        "-p",
        "databento",
        "--schema",
        "trades",
        "--json"
      ])
    )
    assert.deepInclude(added, {
      symbol: "GLBX.MDP3:ES.FUT",
      stype_in: "parent",
      schemas: ["trades"],
      enabled: true
    })
    const [list, resolved] = await Promise.all([
      place.run(["symbols", "list", "-p", "databento", "--json"]),
      place.run(["symbols", "resolve", busiest!.symbol, "--json"])
    ])
    const known = json(list).symbols.map((one: { symbol: string }) => one.symbol)
    assert.include(known, symbol)
    assert.include(known, "GLBX.MDP3:ES.FUT")
    const file = json(list).symbols.find((one: { symbol: string }) => one.symbol === "GLBX.MDP3:NQ.c.0")
    assert.deepInclude(file.entry, { source: "config", stype_in: "continuous" })
    assert.strictEqual(json(resolved).resolved[0].symbol, symbol)
    const removed = await place.run(["symbols", "remove", "GLBX.MDP3:ES.FUT"])
    assert.deepStrictEqual(
      [removed.code, removed.stdout],
      [0, "no longer collects GLBX.MDP3:ES.FUT; its data stays\n"]
    )
    const [after, tombstones, missing] = await Promise.all([
      place.run(["symbols", "list", "-s", "GLBX.MDP3:*", "--json"]),
      place.run(["symbols", "list", "-s", "GLBX.MDP3:*", "--removed", "--json"]),
      place.run(["symbols", "remove", "GLBX.MDP3:NOSUCH"])
    ])
    const names = (result: Outcome) => json(result).symbols.map((one: { symbol: string }) => one.symbol)
    assert.deepStrictEqual(names(after), ["GLBX.MDP3:NQ.c.0"])
    assert.deepStrictEqual(names(tombstones), ["GLBX.MDP3:ES.FUT", "GLBX.MDP3:NQ.c.0"])
    assert.strictEqual(missing.code, 1)
  })
})

describe("the database", () => {
  it("status is healthy, doctor finds nothing wrong", async () => {
    const status = await place.run(["status", "--json"])
    const report = json(status)
    assert.strictEqual(status.code, 0)
    assert.isTrue(report.healthy)
    assert.isAbove(report.milliseconds, 0)
    assert.strictEqual(report.server.edition, "postgresql")
    assert.isAbove(Number(report.tables.find((one: { table: string }) => one.table === "trade").bytes), 0)
    const doctor = await place.run(["doctor"])
    assert.strictEqual(doctor.code, 0, doctor.stdout)
    assert.match(doctor.stdout, /✓ server version/)
    assert.match(doctor.stdout, /all right/)
  })

  it("outside: it must be migrated by hand, and a server that is away is unhealthy", async () => {
    const outside = { DM_DATABASE_URL: url.replace(/\/[^/?]*(\?|$)/, "/outside$1") }
    const away = { DM_DATABASE_URL: "postgresql://user:s3cret@127.0.0.1:1/x" }
    await withPool((pool) => pool.query("CREATE DATABASE outside"))
    const [refused, unhealthy, gone, pending] = await Promise.all([
      place.run(["query", "trades", "X"], { env: outside }),
      place.run(["status"], { env: outside }),
      place.run(["status", "--json"], { env: away }),
      place.run(["migrate", "--json"], { env: outside })
    ])
    assert.strictEqual(refused.code, 1)
    assert.match(refused.stderr, /dm migrate --up/)
    assert.strictEqual(unhealthy.code, 3)
    assert.match(unhealthy.stdout, /unhealthy[\s\S]*dm migrate --up/)
    assert.strictEqual(gone.code, 3)
    assert.isFalse(JSON.parse(gone.stdout).healthy)
    assert.isFalse((gone.stdout + gone.stderr).includes("s3cret"))
    assert.isTrue(json(pending).migrations.every((one: { applied_at: unknown }) => one.applied_at === null))
    const up = await place.run(["migrate", "--up"], { env: outside })
    assert.strictEqual(up.code, 0, up.stderr)
    assert.match(up.stderr, /applied \d+ migrations?/)
    const [healthy, twice] = await Promise.all([
      place.run(["status", "--json"], { env: outside }),
      place.run(["migrate", "--up"], { env: outside })
    ])
    assert.strictEqual(healthy.code, 0)
    assert.strictEqual(json(healthy).database, "outside")
    assert.match(twice.stderr, /nothing to do/)
    const down = await place.run(["migrate", "--down", "--to", "0", "--json"], { env: outside })
    assert.isTrue(json(down).migrations.every((one: { applied_at: unknown }) => one.applied_at === null))
  }, 60_000)
})

describe("the vendor's files", () => {
  it("are imported, what has no table is counted and named, and rows come back exactly", async (context) => {
    if (dbnFolder === undefined) return context.skip(skipReason)
    const files = ["trades.v3.dbn.zst", "mbp-10.v1.dbn.zst", "mbo.v3.dbn", "bbo-1s.v3.dbn.zst"]
    const result = await place.run([
      "import",
      ...files.map((name) => join(dbnFolder!, `test_data.${name}`)),
      "--json"
    ])
    assert.strictEqual(result.code, 0, result.stderr)
    assert.deepStrictEqual(JSON.parse(result.stdout).not_stored, { mbo: 2 })
    const trades = jsonLines(
      (await place.run(["query", "trades", "GLBX.MDP3:ESH1", "--start", "2020-12-28", "--json"])).stdout
    )
    assert.deepInclude(trades[0]!, {
      ts_event: "2020-12-28T13:00:00.098821953Z",
      ts_recv: "2020-12-28T13:00:00.099150057Z",
      symbol: "GLBX.MDP3:ESH1",
      price: "3720.25",
      size: "5",
      side: "sell",
      trade_id: "1170380",
      flags: 129,
      ts_in_delta: 19251
    })
    assert.strictEqual(trades.length, 2)
  })
})

describe("dm demo", () => {
  it("goes through everything in a database of its own", async () => {
    const demo = new Workplace()
    try {
      const args = [
        "demo",
        "--only",
        "history",
        "--trades",
        "30000",
        "--data-dir",
        demo.dataDir,
        "--no-color"
      ]
      const { code, stdout, stderr } = await demo.run(args, {
        env: { DM_DATABASE_URL: "postgresql://nobody@127.0.0.1:1/x" }
      })
      assert.strictEqual(code, 0, stderr)
      for (const part of [
        "30,000 trades of 200 symbols",
        "new rows",
        "Coverage",
        "Bars",
        "┃",
        "rows/s",
        "Try next"
      ])
        assert.include(stdout, part)
    } finally {
      await demo.close()
    }
  }, 60_000)
})

describe("dm demo, live", () => {
  it("runs the whole system, finds every trade in the database, and leaves nothing", async () => {
    const demo = new Workplace()
    try {
      const args = ["demo", "--only", "live", "--seconds", "2", "--rate", "2000", "--no-color"]
      const { code, stdout, stderr } = await demo.run(args, { env: { TMPDIR: demo.folder } })
      assert.strictEqual(code, 0, `${stdout}\n${stderr}`)
      for (const part of [
        "trades from the database, and live from here on",
        "healthy",
        ", 0 lost",
        "each of them once"
      ])
        assert.include(stdout, part)
      assert.deepStrictEqual(readdirSync(demo.folder), [])
    } finally {
      await demo.close()
    }
  }, 120_000)
})
