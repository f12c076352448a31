/**
 * What it costs to store trades: `append` with ledger and coverage in its transactions, against psql copying the same rows,
 * encoded beforehand, into the same table. Both without bars and day counts, and both with them: psql's are made by SQL
 * out of the rows that it copied. Interleaved, on an embedded server with its ordinary settings (fsync on).
 *
 *     npm run bench -- storage-timescale/append [-- --rows=10000000 --segment=262144 --rounds=3]
 */
import { execFile, spawnSync } from "node:child_process"
import { chmodSync, createReadStream, mkdtempSync, openSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { type BatchContext, batchContext, type TradeBatch, TradeKey, tradeBuilder } from "@data-manager/core"
import { Effect, Exit, Redacted, References, Scope } from "effect"
import * as Append from "../src/Append.ts"
import { scan } from "../src/BatchScan.ts"
import { columnsOf, encode, MaxRowBytes } from "../src/CopyEncoder.ts"
import { EmbeddedServer } from "../src/embedded/index.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig, type ServerAddress } from "../src/PgServer.ts"
import { barColumns } from "../src/Rollup.ts"
import { RowWriter } from "../src/RowWriter.ts"

const option = (name: string, fallback: number): number => {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`))
  return found === undefined ? fallback : Number(found.slice(name.length + 3))
}
const Rows = option("rows", 2_000_000)
const Segment = option("segment", 262_144)
const Rounds = option("rounds", 1)
const SymbolCounts = [option("symbols", 0)]
  .filter((count) => count > 0)
  .concat(option("symbols", 0) > 0 ? [] : [200, 20_000])

const dayStart = BigInt(Date.parse("2026-01-05T14:30:00Z")) * 1_000_000n
const dayNanos = 6.5 * 3600 * 1e9

/** A trading day: symbols by Zipf's law, prices that walk in ticks of 0.01, as Databento delivers them. */
class Day {
  readonly #symbols: number
  readonly #pick: Uint32Array
  readonly #ticks: Float64Array
  readonly #firstId: number
  #seed = 1
  #row = 0

  constructor(symbols: number, firstId: number) {
    this.#symbols = symbols
    this.#firstId = firstId
    this.#ticks = new Float64Array(symbols).fill(10_000)
    const weights = Float64Array.from({ length: symbols }, (_, i) => 1 / (i + 1))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    this.#pick = new Uint32Array(1 << 16)
    let at = 0
    let reached = 0
    for (let i = 0; i < symbols; i++) {
      reached += (weights[i]! / total) * this.#pick.length
      while (at < Math.min(reached, this.#pick.length)) this.#pick[at++] = i
    }
  }

  #random(): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) | 0
    return this.#seed >>> 0
  }

  /** The next trades; the same ones in every run. */
  next(context: BatchContext, rows: number): TradeBatch {
    const builder = tradeBuilder(context, rows)
    const { columns: c } = builder
    const step = dayNanos / Rows
    for (; builder.length < rows; builder.length++) {
      const i = builder.length
      const pick = this.#random() >>> 16
      // Symbols too rare for the table share a fifth of the rows.
      const symbol = this.#random() % 5 === 0 ? this.#random() % this.#symbols : this.#pick[pick]!
      this.#ticks[symbol]! += (this.#random() >>> 30) - 1
      const time = dayStart + BigInt(Math.floor(this.#row * step)) + BigInt(this.#random() % 1000)
      c.tsEvent[i] = time
      c.tsRecv[i] = time + 150_000n
      c.tradeKey[i] = TradeKey.make(1 + (symbol % 4), this.#row, 0)
      c.price[i] = BigInt(this.#ticks[symbol]!) * 10_000_000n
      c.priceExponent[i] = -9
      c.size[i] = BigInt(1 + (this.#random() % 500))
      c.instrument[i] = this.#firstId + symbol
      c.tsInDelta[i] = 12_000
      c.publisher[i] = 1 + (symbol % 4)
      c.side[i] = this.#random() % 3
      c.flags[i] = 128
      this.#row += 1
    }
    return builder.flush()
  }
}

const context = batchContext({ provider: "bench", dataset: "BENCH" })

const segments = function* (day: Day): Generator<TradeBatch> {
  for (let left = Rows; left > 0; left -= Segment) yield day.next(context, Math.min(left, Segment))
}

/** Writes the rows as one COPY file. */
const writeFile = (path: string, day: Day): void => {
  const file = openSync(path, "w")
  const writer = new RowWriter(MaxRowBytes)
  let isFirst = true
  for (const batch of segments(day)) {
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
}

const hasPsql = spawnSync("psql", ["--version"]).status === 0
const statement = `COPY trade (${columnsOf.trades.join(", ")}) FROM STDIN (FORMAT binary)`

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
  readonly file: string
  readonly firstId: number
  readonly symbols: number
}

/** Empties what the runs write. */
const clear = async ({ pool }: Bench): Promise<void> => {
  await Effect.runPromise(
    pool.query("TRUNCATE trade, bar_1m, bar_1h, bar_1d, row_days, ingest_runs, ingest_segments, coverage")
  )
  await Effect.runPromise(pool.query("CHECKPOINT"))
}

/** The address as libpq's environment: a password does not belong on a command line. */
const environmentOf = (address: ServerAddress): Record<string, string> => ({
  PGHOST: address.host,
  PGPORT: String(address.port),
  PGDATABASE: address.database,
  PGUSER: address.user,
  PGPASSWORD: address.password === undefined ? "" : Redacted.value(address.password)
})

/** Seconds that psql needs. */
const psql = async (bench: Bench, rollups: boolean): Promise<number> => {
  const from = performance.now()
  if (hasPsql) {
    const commands = ["-c", `\\${statement.toLowerCase().replace("stdin", `'${bench.file}'`)}`]
    if (rollups) commands.push("-c", sqlRollups)
    await promisify(execFile)("psql", ["-qX", "-v", "ON_ERROR_STOP=1", ...commands], {
      env: { ...process.env, ...environmentOf(bench.address) }
    })
  } else {
    const chunks: Array<Uint8Array> = []
    for await (const chunk of createReadStream(bench.file, { highWaterMark: 512 * 1024 })) chunks.push(chunk)
    const copied = performance.now()
    await Effect.runPromise(
      bench.pool.transaction("copy", (connection) =>
        Effect.flatMap(connection.copyIn(statement, chunks), () =>
          rollups ? connection.script(sqlRollups) : Effect.void
        )
      )
    )
    return (performance.now() - copied) / 1000
  }
  return (performance.now() - from) / 1000
}

/** Seconds inside `append`. The batches are made outside of the measurement. */
const append = async (bench: Bench, rollups: boolean): Promise<number> => {
  const partitions = Partitions.make(bench.pool)
  const store = Append.make(bench.pool, partitions, { rollups })
  const { id } = await Effect.runPromise(
    Ledger.make(bench.pool).beginRun({ kind: "import", source: "bench", provider: "bench", dataset: "BENCH" })
  )
  let seconds = 0
  let segment = 0
  for (const batch of segments(new Day(bench.symbols, bench.firstId))) {
    const isLast = (segment + 1) * Segment >= Rows
    const coverage = isLast
      ? Array.from({ length: bench.symbols }, (_, i) => ({
          instrument: bench.firstId + i,
          schema: "trades" as const,
          range: { start: dayStart, end: dayStart + BigInt(dayNanos) }
        }))
      : []
    const from = performance.now()
    const result = await Effect.runPromise(store.append(batch, { run: id, segment, coverage }))
    seconds += (performance.now() - from) / 1000
    if (result.inserted !== batch.length) throw new Error("rows were not inserted")
    segment += 1
  }
  return seconds
}

const makeInstruments = async (pool: PgPool.PgPool, symbols: number): Promise<number> => {
  const rows = await Effect.runPromise(
    pool.query<{ readonly id: number }>(
      `WITH d AS (INSERT INTO datasets (provider, name) VALUES ('bench', 'BENCH')
                  ON CONFLICT (provider, name) DO UPDATE SET name = EXCLUDED.name RETURNING id)
       INSERT INTO instruments (dataset_id, symbol, price_scale, size_scale, price_unit, size_unit)
       SELECT d.id, 'BENCH:S' || n, 2, 0, 0.01, 1 FROM d, generate_series(1, ${symbols}) n RETURNING id`
    )
  )
  return rows.reduce((least, row) => Math.min(least, row.id), Number.POSITIVE_INFINITY)
}

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!
const rate = (seconds: number): string =>
  Math.round(Rows / seconds)
    .toLocaleString("en")
    .padStart(11)

const main = Effect.gen(function* () {
  const root = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const made = mkdtempSync(join(tmpdir(), "dm-append-"))
      chmodSync(made, 0o755)
      return made
    }),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
  const address = yield* EmbeddedServer.acquire({ dataDir: join(root, "data"), linger: "0 seconds" })
  const pool = yield* PgPool.make({ client: clientConfig(address), maxConnections: 4 })
  yield* Migrations.make(pool).up()
  const yardstick = hasPsql ? "psql" : "COPY of the same bytes by node-postgres (no psql here)"
  console.log(
    `${Rows.toLocaleString("en")} trades, segments of ${Segment.toLocaleString("en")}, against ${yardstick}`
  )
  console.log("rows/s               append       psql   ratio")
  for (const symbols of SymbolCounts) {
    const firstId = yield* Effect.promise(() => makeInstruments(pool, symbols))
    const file = join(root, `trades-${symbols}.bin`)
    writeFile(file, new Day(symbols, firstId))
    chmodSync(file, 0o644)
    const bench: Bench = { address, pool, file, firstId, symbols }
    yield* Partitions.make(pool).ensure("trade", [Number(dayStart / 86_400_000_000_000n)])
    yield* Partitions.make(pool).ensure("bar_1m", [Number(dayStart / 86_400_000_000_000n)])
    yield* Partitions.make(pool).ensure("bar_1h", [Number(dayStart / 86_400_000_000_000n)])
    for (const rollups of [false, true]) {
      const ours: Array<number> = []
      const theirs: Array<number> = []
      for (let round = 0; round < Rounds; round++) {
        yield* Effect.promise(() => clear(bench))
        theirs.push(yield* Effect.promise(() => psql(bench, rollups)))
        yield* Effect.promise(() => clear(bench))
        ours.push(yield* Effect.promise(() => append(bench, rollups)))
      }
      const name = `${symbols.toLocaleString("en").padStart(6)} symbols ${rollups ? "+bars" : "     "}`
      const ratio = (median(theirs) / median(ours)).toFixed(2)
      console.log(`${name}${rate(median(ours))}${rate(median(theirs))}   ${ratio}`)
    }
    rmSync(file)
  }
  console.log(`peak resident memory of this process: ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`)
})

const scope = Effect.runSync(Scope.make())
const quiet = Effect.provideService(References.MinimumLogLevel, "Error")
const exit = await Effect.runPromiseExit(Scope.provide(main, scope).pipe(quiet))
await Effect.runPromise(Scope.close(scope, Exit.void))
if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
