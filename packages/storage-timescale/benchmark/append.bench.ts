/**
 * What it costs to store trades, several ways in turns: `append` with ledger and coverage in its transactions; psql copying the
 * same rows, encoded beforehand, into the same table; into a heap without any index, which is the limit of the server; and the
 * original way (`OriginalTable.ts`). In time order and symbol by symbol; without bars and with them; as new rows, and once
 * more as duplicates. psql's bars are made by SQL out of the rows that it copied.
 *
 *     npm run bench -- storage-timescale/append [-- --rows=10000000 --segment=262144 --rounds=3 --symbols=20000]
 *
 * On which server: see `BenchDatabase.ts`.
 */
import { execFile, spawnSync } from "node:child_process"
import { chmodSync, closeSync, createReadStream, openSync, writeSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import type { TradeBatch } from "@data-manager/core"
import { Effect, Redacted } from "effect"
import type pg from "pg"
import * as Append from "../src/Append.ts"
import { scan } from "../src/BatchScan.ts"
import { columnsOf, encode, MaxRowBytes } from "../src/CopyEncoder.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig, type ServerAddress } from "../src/PgServer.ts"
import { barColumns } from "../src/Rollup.ts"
import { RowWriter } from "../src/RowWriter.ts"
import * as Aggregates from "../src/timescale/Aggregates.ts"
import * as BulkTable from "../src/timescale/BulkTable.ts"
import * as BenchDatabase from "./BenchDatabase.ts"
import { checkLeast, connect, main, median, option, quiet } from "./BenchStore.ts"
import * as OriginalTable from "./OriginalTable.ts"
import { type DayOptions, feeds, provider, sessionOf, TradingDay } from "./TradingDay.ts"

const Rows = option("rows", 2_000_000)
const Segment = option("segment", 262_144)
const Rounds = option("rounds", 1)
const Symbols = option("symbols", 20_000)
/** Rows of the original way: its speed falls with the size of its indexes, so that fewer rows are in its favour. */
const OriginalRows = Math.min(Rows, option("original", 200_000))

type Order = "time" | "symbol"
const orders: ReadonlyArray<Order> = ["time", "symbol"]

/** Writes the rows as one COPY file. */
const writeFile = (path: string, day: TradingDay): void => {
  const file = openSync(path, "w")
  const writer = new RowWriter(MaxRowBytes)
  let isFirst = true
  for (const batch of day.batches(Segment)) {
    const found = scan(batch)
    const scales = {
      price: new Int8Array(found.series.length).fill(2),
      size: new Int8Array(found.series.length)
    }
    const chunks = Array.from(encode(writer, found, scales, false).chunks, (chunk) => chunk.slice())
    // One header at the start and one trailer at the end of the file.
    if (!isFirst) chunks[0] = chunks[0]!.subarray(19)
    chunks.push(chunks.pop()!.subarray(0, -2))
    for (const chunk of chunks) writeSync(file, chunk)
    isFirst = false
  }
  writeSync(file, Buffer.from([255, 255]))
  closeSync(file)
  chmodSync(path, 0o644)
}

const hasPsql = spawnSync("psql", ["--version"]).status === 0
const copyInto = (table: string): string =>
  `COPY ${table} (${columnsOf.trades.join(", ")}) FROM STDIN (FORMAT binary)`

/** The bars and counts as SQL makes them out of the rows, the cheapest way that is as exact. */
const sqlRollups = `
  CREATE TEMP TABLE minute AS
  SELECT date_trunc('minute', ts, 'UTC') AS bucket, instrument_id,
    (array_agg(price * price_unit ORDER BY at, recv, trade_key))[1] AS open, max(price) * price_unit AS high,
    min(price) * price_unit AS low, (array_agg(price * price_unit ORDER BY at DESC, recv DESC, trade_key DESC))[1] AS close,
    sum(size) * size_unit AS volume, count(*) AS trade_count,
    min(at) AS open_at, (array_agg(recv ORDER BY at, recv, trade_key))[1] AS open_recv,
    (array_agg(trade_key ORDER BY at, recv, trade_key))[1] AS open_key,
    max(at) AS close_at, (array_agg(recv ORDER BY at DESC, recv DESC, trade_key DESC))[1] AS close_recv,
    (array_agg(trade_key ORDER BY at DESC, recv DESC, trade_key DESC))[1] AS close_key
  FROM (SELECT t.*, (extract(epoch FROM ts) * 1000000)::int8 * 1000 + ts_ns AS at,
          coalesce((extract(epoch FROM ts_recv) * 1000000)::int8 * 1000 + ts_recv_ns, 9223372036854775807) AS recv,
          i.price_unit, i.size_unit
        FROM trade t JOIN instruments i ON i.id = t.instrument_id WHERE price IS NOT NULL) t
  GROUP BY 1, 2, price_unit, size_unit;
  INSERT INTO bar_1m (${barColumns}) SELECT ${barColumns} FROM minute;
  ${[
    ["hour", "bar_1h", "bar_1m"],
    ["day", "bar_1d", "bar_1h"]
  ]
    .map(
      ([unit, table, finer]) => `INSERT INTO ${table} (${barColumns})
  SELECT date_trunc('${unit}', bucket, 'UTC'), instrument_id,
    (array_agg(open ORDER BY open_at, open_recv, open_key))[1], max(high), min(low),
    (array_agg(close ORDER BY close_at DESC, close_recv DESC, close_key DESC))[1], sum(volume), sum(trade_count),
    min(open_at), (array_agg(open_recv ORDER BY open_at, open_recv, open_key))[1],
    (array_agg(open_key ORDER BY open_at, open_recv, open_key))[1], max(close_at),
    (array_agg(close_recv ORDER BY close_at DESC, close_recv DESC, close_key DESC))[1],
    (array_agg(close_key ORDER BY close_at DESC, close_recv DESC, close_key DESC))[1]
  FROM ${finer} GROUP BY 1, 2;`
    )
    .join("\n")}
  INSERT INTO row_days SELECT instrument_id, 1, (ts AT TIME ZONE 'UTC')::date, count(*),
    min((extract(epoch FROM ts) * 1000000)::int8 * 1000 + ts_ns), max((extract(epoch FROM ts) * 1000000)::int8 * 1000 + ts_ns)
  FROM trade GROUP BY 1, 3;`

interface Bench {
  readonly address: ServerAddress
  readonly pool: PgPool.PgPool
  readonly sql: pg.Client
  readonly folder: string
  /** Instruments, the most traded one first. */
  readonly ids: ReadonlyArray<number>
  /** The server keeps the bars by itself. */
  readonly isAggregated: boolean
  readonly hasBulk: boolean
}

const dayOf = ({ ids }: Bench, order: Order, rows = Rows): DayOptions => ({ rows, ids, order })
const fileOf = ({ folder }: Bench, order: Order): string => join(folder, `${order}.bin`)

/** The address as libpq's environment: a password does not belong on a command line. */
const environmentOf = (address: ServerAddress): Record<string, string> => ({
  PGHOST: address.host,
  PGPORT: String(address.port),
  PGDATABASE: address.database,
  PGUSER: address.user,
  PGSSLMODE: address.ssl.mode,
  PGPASSWORD: address.password === undefined ? "" : Redacted.value(address.password)
})

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const from = performance.now()
  await work()
  return (performance.now() - from) / 1000
}

/** What psql needs to copy the file of an order into a table, and to run a script then. */
const psql = async (bench: Bench, order: Order, table: string, script?: string): Promise<number> => {
  const file = fileOf(bench, order)
  if (hasPsql) {
    const copy = `\\${copyInto(table).toLowerCase().replace("stdin", `'${file}'`)}`
    const commands = ["-c", copy, ...(script === undefined ? [] : ["-c", script])]
    return seconds(() =>
      promisify(execFile)("psql", ["-qX", "-v", "ON_ERROR_STOP=1", ...commands], {
        env: { ...process.env, ...environmentOf(bench.address) }
      })
    )
  }
  const chunks: Array<Uint8Array> = []
  for await (const chunk of createReadStream(file, { highWaterMark: 512 * 1024 })) chunks.push(chunk)
  return seconds(() =>
    Effect.runPromise(
      bench.pool.transaction("copy", (connection) =>
        Effect.flatMap(connection.copyIn(copyInto(table), chunks), () =>
          script === undefined ? Effect.void : connection.script(script)
        )
      )
    )
  )
}

/** What `append` takes, in one run of segments. The batches are made outside of the measurement. */
const append = async (
  bench: Bench,
  order: Order,
  rollups: boolean,
  profile?: "bulk" | undefined
): Promise<number> => {
  const store = Append.make(bench.pool, Partitions.make(bench.pool), { rollups })
  const { dataset } = feeds.equities
  const { id } = await quiet(
    Ledger.make(bench.pool).beginRun({ kind: "import", source: "bench", provider, dataset })
  )
  let taken = 0
  let segment = 0
  for (const batch of new TradingDay(dayOf(bench, order)).batches(Segment)) {
    const coverage =
      (segment + 1) * Segment < Rows
        ? []
        : bench.ids.map((instrument) => ({ instrument, schema: "trades" as const, range: sessionOf() }))
    taken += await seconds(() => quiet(store.append(batch, { run: id, segment, coverage, profile })))
    segment += 1
  }
  return taken
}

/** One way of storing the rows. */
interface Way {
  readonly name: string
  /** Seconds for `rows` of an order. */
  readonly run: (bench: Bench, order: Order) => Promise<number>
  /** Rows that it stores. Default all. */
  readonly rows?: number | undefined
  /** Where it begins with what the way before it left. Default false: with empty tables. */
  readonly follows?: boolean | undefined
  /** Servers and orders in which it is possible. Default all. */
  readonly suits?: ((bench: Bench, order: Order) => boolean) | undefined
}

const limit: Way = { name: "heap without index, psql", run: (bench, order) => psql(bench, order, "heap") }
const copied: Way = { name: "same table, psql", run: (bench, order) => psql(bench, order, "trade") }
const appended: Way = { name: "append", run: (bench, order) => append(bench, order, false) }
const repeated: Way = {
  name: "append, every row a duplicate",
  run: (bench, order) => append(bench, order, false),
  follows: true
}
const withBars: Way = { name: "append with bars", run: (bench, order) => append(bench, order, true) }
const copiedWithBars: Way = {
  name: "same table, psql, bars by SQL",
  run: (bench, order) => psql(bench, order, "trade", sqlRollups),
  suits: ({ isAggregated }) => !isAggregated
}
/**
 * With day counts, and bars noted to be made: the profile as a whole. It takes 1,000 rows of each instrument in a segment, and the
 * rarest of many have fewer: `--symbols=40` lets it in.
 */
const bulk: Way = {
  name: "bulk profile",
  run: (bench, order) => append(bench, order, true, "bulk"),
  suits: ({ hasBulk }, order) => hasBulk && order === "symbol" && Rows >= 20_000 * Symbols
}
const original: Way = {
  name: "original way",
  rows: OriginalRows,
  run: async (bench) => {
    const values = [...new TradingDay(dayOf(bench, "time", OriginalRows)).batches(OriginalRows)].flatMap(
      (batch: TradeBatch) => OriginalTable.valuesOf(batch)
    )
    return seconds(() => OriginalTable.insert(bench.sql, values))
  }
}
const ways: ReadonlyArray<Way> = [limit, copied, appended, repeated, copiedWithBars, withBars, bulk, original]

/** Least factors by which a way is to be faster than another one, by order. */
const targets: ReadonlyArray<readonly [way: Way, than: Way, least: { readonly [K in Order]?: number }]> = [
  [appended, copied, { time: 0.9, symbol: 0.9 }],
  [appended, limit, { time: 0.2, symbol: 0.35 }],
  [appended, original, { time: 7, symbol: 12 }],
  [repeated, limit, { time: 0.1 }],
  [bulk, limit, { symbol: 0.5 }],
  [bulk, original, { symbol: 15 }],
  [repeated, original, { time: 4 }]
]

const written =
  "TRUNCATE trade, bar_1m, bar_1h, bar_1d, row_days, row_conflicts, ingest_runs, ingest_segments, coverage, heap"

/** Empties what the ways write. */
const clear = async ({ hasBulk, sql }: Bench): Promise<void> => {
  await sql.query(hasBulk ? `${written}, trade_bulk, bulk_days` : written)
  await OriginalTable.clear(sql)
  await sql.query("CHECKPOINT")
}

const makeInstruments = async (sql: pg.Client): Promise<ReadonlyArray<number>> => {
  const { dataset, priceScale, sizeScale } = feeds.equities
  const { rows } = await sql.query<{ readonly id: number }>(
    `WITH d AS (INSERT INTO datasets (provider, name) VALUES ('${provider}', '${dataset}') RETURNING id)
     INSERT INTO instruments (dataset_id, symbol, price_scale, size_scale, price_unit, size_unit)
     SELECT d.id, 'BENCH:S' || n, ${priceScale}, ${sizeScale}, 0.01, 1 FROM d, generate_series(1, ${Symbols}) n RETURNING id`
  )
  return rows.map(({ id }) => id)
}

const prepare = Effect.gen(function* () {
  const folder = yield* BenchDatabase.folder("append")
  const address = yield* BenchDatabase.database()
  const pool = yield* PgPool.make({ client: clientConfig(address), maxConnections: 4 })
  yield* Migrations.make(pool).up()
  const sql = yield* connect(address)
  const partitions = Partitions.make(pool)
  const day = Number(sessionOf().start / 86_400_000_000_000n)
  for (const table of ["trade", "bar_1m", "bar_1h"] as const) yield* partitions.ensure(table, [day])
  const isAggregated = yield* Aggregates.exist(pool)
  const hasBulk = yield* BulkTable.isUsable(pool)
  return yield* Effect.promise(async (): Promise<Bench> => {
    console.log(await BenchDatabase.describe(sql, BenchDatabase.named === ""))
    await sql.query("CREATE TABLE heap (LIKE trade)")
    await OriginalTable.make(sql)
    const bench = { address, pool, sql, folder, ids: await makeInstruments(sql), isAggregated, hasBulk }
    for (const order of orders) writeFile(fileOf(bench, order), new TradingDay(dayOf(bench, order)))
    return bench
  })
})

const keyOf = (order: Order, way: Way): string => `${order}: ${way.name}`

/** Rows per second of every way that is possible here. */
const measure = async (bench: Bench): Promise<ReadonlyMap<string, number>> => {
  const possibleIn = (order: Order) => ways.filter(({ suits }) => suits?.(bench, order) !== false)
  const taken = new Map<string, Array<number>>()
  for (let round = 0; round < Rounds; round++)
    for (const order of orders)
      for (const way of possibleIn(order)) {
        if (way.follows !== true) await clear(bench)
        const key = keyOf(order, way)
        taken.set(key, [...(taken.get(key) ?? []), await way.run(bench, order)])
      }
  const rates = orders.flatMap((order) =>
    possibleIn(order).map((way) => {
      const key = keyOf(order, way)
      return [key, (way.rows ?? Rows) / median(taken.get(key)!)] as const
    })
  )
  return new Map(rates)
}

const report = (rates: ReadonlyMap<string, number>): void => {
  const rate = (order: Order, way: Way): number => rates.get(keyOf(order, way)) ?? Number.NaN
  const cell = (value: number): string => (Number.isNaN(value) ? "" : value.toFixed(2)).padStart(9)
  for (const order of orders) {
    const name = order === "time" ? "in time order" : "symbol by symbol"
    console.log(`\n${name.padEnd(34)}      rows/s    x limit x original     x psql`)
    for (const way of ways) {
      const own = rate(order, way)
      if (Number.isNaN(own)) continue
      const ratios = [limit, original, way === withBars ? copiedWithBars : copied].map((other) =>
        cell(own / rate(order, other))
      )
      console.log(
        `${way.name.padEnd(34)} ${Math.round(own).toLocaleString("en").padStart(11)}  ${ratios.join("  ")}`
      )
    }
  }
  console.log("")
  for (const [way, than, least] of targets)
    for (const order of orders)
      if (least[order] !== undefined && rates.has(keyOf(order, way)))
        checkLeast(
          `${way.name} : ${than.name}, by ${order}`,
          rate(order, way) / rate(order, than),
          "x",
          least[order]
        )
}

const work = Effect.gen(function* () {
  const bench = yield* prepare
  console.log(
    `${Rows.toLocaleString("en")} trades of ${Symbols.toLocaleString("en")} symbols, segments of ${Segment.toLocaleString("en")}, ` +
      `${Rounds} rounds${hasPsql ? "" : "; no psql here: the same bytes by node-postgres"}`
  )
  report(yield* Effect.promise(() => measure(bench)))
})

await main(work)
