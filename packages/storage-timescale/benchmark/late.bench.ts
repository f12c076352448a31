/**
 * What late and repeated trades cost where rows are compressed: appends of 10,000 trades that are new, there already, or there
 * with other content, into days of 100,000 trades that are compressed or in bulk, as a multiple of appending as many new ones
 * into a day that is not compressed. And how long live appends take beside such a change. Interleaved, on the server that
 * `DM_BENCH_URL` names: TimescaleDB's community edition. No targets: the figures are for docs/operations.md.
 *
 *     DM_BENCH_URL=postgresql://... npm run bench -- storage-timescale/late [-- --rounds=5]
 */
import { randomUUID } from "node:crypto"
import {
  type AppendClaim,
  batchContext,
  selectTrades,
  type TradeBatch,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect, Exit, References, Scope } from "effect"
import * as Append from "../src/Append.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import * as Partitions from "../src/Partitions.ts"
import * as PgPool from "../src/PgPool.ts"
import { clientConfig, negotiate, parse, type ServerAddress } from "../src/PgServer.ts"
import { median } from "./BenchStore.ts"

const option = (name: string, fallback: number): number => {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`))
  return found === undefined ? fallback : Number(found.slice(name.length + 3))
}
const Rounds = option("rounds", 5)
const Stored = 100_000
const Late = 10_000
const LiveRows = 2000
const LiveAppends = 200
const Instruments = 10

const url = process.env.DM_BENCH_URL || process.env.DM_TEST_TIMESCALE_URL || ""
if (url === "") {
  console.log("skipped: DM_BENCH_URL names no TimescaleDB server of the community edition")
  process.exit(0)
}

const context = batchContext({ provider: "bench", dataset: "LATE" })

/** Trades in time order over a span, in turns of the instruments. */
const tradesOf = (ids: ReadonlyArray<number>, rows: number, start: bigint, span: bigint): TradeBatch => {
  const builder = tradeBuilder(context, rows)
  const { columns: c } = builder
  for (; builder.length < rows; builder.length++) {
    const i = builder.length
    const instrument = Math.floor(i / 7) % ids.length
    const time = start + (span * BigInt(i)) / BigInt(rows)
    c.tsEvent[i] = time
    c.tsRecv[i] = time + 150_000n
    c.tradeKey[i] = TradeKey.make(1, i, 0)
    c.price[i] = BigInt(10_000 + (Math.imul(i, 2654435761) >>> 27)) * 10_000_000n
    c.priceExponent[i] = -9
    c.size[i] = BigInt(1 + (Math.imul(i, 40503) & 255))
    c.instrument[i] = ids[instrument]!
    c.publisher[i] = 1
    c.side[i] = i % 3
    c.flags[i] = 128
  }
  return builder.flush()
}

const every = (batch: TradeBatch, step: number, isIn: boolean): TradeBatch =>
  selectTrades(
    batch,
    Uint32Array.from({ length: batch.length }, (_, i) => i).filter((i) => (i % step === 0) === isIn)
  )

const resized = (batch: TradeBatch, by: bigint): TradeBatch => {
  const copy = every(batch, 1, true)
  for (let i = 0; i < copy.length; i++) copy.columns.size[i]! += by
  return copy
}

/** A day: what is stored of it, and other trades among those. */
const dayOf = (ids: ReadonlyArray<number>, day: number) => {
  const start = UnixNanos.parse("2022-01-03T09:00:00Z")! + BigInt(day) * UnixNanos.PerDay
  const step = Stored / Late + 1
  const all = tradesOf(ids, Stored + Late, start, 8n * 3600n * UnixNanos.PerSecond)
  const stored = every(all, step, false)
  return { start, stored, fresh: every(all, step, true), repeated: every(stored, Stored / Late, true) }
}

type Day = ReturnType<typeof dayOf>
type Claim = Pick<AppendClaim, "onConflict" | "profile">

interface Case {
  readonly name: string
  readonly stored: "rows" | "compressed" | "bulk"
  readonly batch: (day: Day) => TradeBatch
  readonly claim?: Claim
}

const replacing = (day: Day): TradeBatch => resized(day.repeated, 1000n)
const inBulk = { profile: "bulk" } as const
const replace = { onConflict: "replace" } as const

const cases: ReadonlyArray<Case> = [
  { name: "rows: new", stored: "rows", batch: (day) => day.fresh },
  { name: "rows: repeated", stored: "rows", batch: (day) => day.repeated },
  { name: "rows: replaced", stored: "rows", batch: replacing, claim: replace },
  { name: "compressed: new", stored: "compressed", batch: (day) => day.fresh },
  { name: "compressed: repeated", stored: "compressed", batch: (day) => day.repeated },
  { name: "compressed: replaced", stored: "compressed", batch: replacing, claim: replace },
  { name: "bulk: new", stored: "bulk", batch: (day) => day.fresh, claim: inBulk },
  { name: "bulk: repeated", stored: "bulk", batch: (day) => day.repeated, claim: inBulk },
  { name: "bulk: replaced", stored: "bulk", batch: replacing, claim: { ...inBulk, ...replace } },
  { name: "bulk: new, ordinary append, the day is moved", stored: "bulk", batch: (day) => day.fresh }
]

interface Bench {
  readonly pool: PgPool.PgPool
  readonly append: (batch: TradeBatch, claim?: Claim) => Effect.Effect<void, unknown>
  readonly ids: ReadonlyArray<number>
}

const bench = Effect.fnUntraced(function* (server: ServerAddress) {
  const pool = yield* PgPool.make({ client: clientConfig(server), maxConnections: 4 })
  yield* Migrations.make(pool).up()
  const { append } = Append.make(pool, Partitions.make(pool))
  const ledger = Ledger.make(pool)
  const made: Bench = {
    pool,
    ids: yield* instruments(pool),
    append: Effect.fnUntraced(function* (batch: TradeBatch, claim: Claim = {}) {
      const source = { kind: "import", source: "bench", provider: "bench", dataset: "LATE" } as const
      const run = yield* ledger.beginRun(source)
      yield* append(batch, { run: run.id, segment: 0, ...claim })
    })
  }
  return made
})

const instruments = (pool: PgPool.PgPool) =>
  Effect.map(
    pool.query<{ readonly id: number }>(
      `WITH d AS (INSERT INTO datasets (provider, name) VALUES ('bench', 'LATE') RETURNING id)
       INSERT INTO instruments (dataset_id, symbol, price_scale, size_scale, price_unit, size_unit)
       SELECT d.id, 'LATE:S' || n, 2, 0, 0.01, 1 FROM d, generate_series(1, ${Instruments}) n RETURNING id`
    ),
    (rows) => rows.map(({ id }) => id)
  )

const seconds = <E>(work: Effect.Effect<void, E>): Effect.Effect<number, E> =>
  Effect.suspend(() => {
    const from = performance.now()
    return Effect.map(work, () => (performance.now() - from) / 1000)
  })

const compressDay = ({ pool }: Bench, { start }: Day) =>
  pool.query(
    `SELECT compress_chunk(c, if_not_compressed => true)
     FROM show_chunks('trade', newer_than => $1::timestamptz, older_than => $1::timestamptz + interval '1 day') c`,
    [UnixNanos.toIso(UnixNanos.startOfDay(start))]
  )

/** Stores a day as a case wants it. */
const store = Effect.fnUntraced(function* (to: Bench, day: Day, stored: Case["stored"]) {
  yield* to.append(day.stored, stored === "bulk" ? inBulk : {})
  if (stored === "compressed") yield* compressDay(to, day)
})

const compareCases = Effect.fnUntraced(function* (to: Bench) {
  const times = cases.map((): Array<number> => [])
  // The first round is for caches and catalogs.
  for (let round = 0; round <= Rounds; round++)
    for (const [i, { batch, claim, stored }] of cases.entries()) {
      const day = dayOf(to.ids, round * cases.length + i)
      yield* store(to, day, stored)
      const rows = batch(day)
      const took = yield* seconds(to.append(rows, claim))
      if (round > 0) times[i]!.push(took)
    }
  console.log(
    `${Late.toLocaleString("en")} trades into a day of ${Stored.toLocaleString("en")}, ${Rounds} rounds`
  )
  console.log(`${"".padEnd(46)} ${"ms".padStart(7)} ${"x new rows".padStart(11)}`)
  for (const [i, { name }] of cases.entries()) {
    const ratio = median(times[i]!.map((time, round) => time / times[0]![round]!))
    const millis = Math.round(1000 * median(times[i]!))
    console.log(`${name.padEnd(46)} ${String(millis).padStart(7)} ${ratio.toFixed(1).padStart(11)}`)
  }
})

let lives = 0

/** Seconds of some live appends, one after the other. */
const live = Effect.fnUntraced(function* (to: Bench, appends: number) {
  const times: Array<number> = []
  for (let i = 0; i < appends; i++) {
    const start = BigInt(Date.now()) * 1_000_000n + BigInt(lives++)
    times.push(yield* seconds(to.append(tradesOf(to.ids, LiveRows, start, 1_000_000n))))
  }
  return times
})

/** What goes on beside live appends, again and again; nothing where there is no work. */
type Beside = readonly [name: string, work: ((n: number) => Effect.Effect<void, unknown>) | undefined]

const beside = (to: Bench): ReadonlyArray<Beside> => {
  const changed = dayOf(to.ids, 1000)
  const older = UnixNanos.parse("2026-01-05T00:00:00Z")!
  return [
    ["alone", undefined],
    [
      "beside appends of new trades to an older day",
      (n) => to.append(tradesOf(to.ids, Late, older + BigInt(n) * UnixNanos.PerSecond, UnixNanos.PerSecond))
    ],
    [
      "beside one that replaces in a compressed day",
      (n) =>
        Effect.gen(function* () {
          if (n === 0) yield* store(to, changed, "rows")
          yield* compressDay(to, changed)
          yield* to.append(resized(changed.repeated, BigInt(n + 1)), replace)
        })
    ]
  ]
}

const percentile = (values: ReadonlyArray<number>, part: number): string => {
  const sorted = values.toSorted((a, b) => a - b)
  return (1000 * sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!)
    .toFixed(1)
    .padStart(8)
}

const compareLive = Effect.fnUntraced(function* (to: Bench) {
  const kinds = beside(to)
  const times = kinds.map((): Array<number> => [])
  const turns = kinds.map(() => 0)
  const blocks = 4
  yield* live(to, 20)
  for (let block = 0; block < blocks; block++)
    for (const [i, [, work]] of kinds.entries()) {
      let isDone = false
      const again = Effect.gen(function* () {
        while (!isDone) yield* work!(turns[i]!++)
      })
      const measured = Effect.map(live(to, LiveAppends / blocks), (found) => {
        isDone = true
        return found
      })
      const [found] = yield* Effect.all([measured, work === undefined ? Effect.void : again], {
        concurrency: 2
      })
      times[i]!.push(...found)
    }
  console.log(
    `\n${LiveAppends} live appends of ${LiveRows.toLocaleString("en")} trades of ${Instruments} instruments`
  )
  console.log(`${"ms".padEnd(46)} ${"p50".padStart(8)} ${"p99".padStart(8)} ${"most".padStart(8)}   turns`)
  for (const [i, [name]] of kinds.entries()) {
    const all = times[i]!
    console.log(
      `${name.padEnd(46)} ${percentile(all, 0.5)} ${percentile(all, 0.99)} ${percentile(all, 1)}   ${turns[i]}`
    )
  }
})

const execute = (server: ServerAddress, statement: string) =>
  Effect.scoped(
    Effect.flatMap(PgPool.make({ client: clientConfig(server), maxConnections: 1 }), (pool) =>
      pool.query(statement)
    )
  )

const main = Effect.gen(function* () {
  const server = yield* Effect.flatMap(parse(url), negotiate)
  const database = `bench_${randomUUID().replaceAll("-", "")}`
  yield* Effect.acquireRelease(execute(server, `CREATE DATABASE ${database}`), () =>
    Effect.orDie(execute(server, `DROP DATABASE ${database} WITH (FORCE)`))
  )
  const to = yield* bench({ ...server, database })
  const [facts] = yield* to.pool.query<{ readonly version: string; readonly bulk: boolean }>(
    `SELECT to_regclass('trade_bulk') IS NOT NULL AS bulk,
            concat_ws(', ', 'PostgreSQL ' || current_setting('server_version'),
              'TimescaleDB ' || (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
              'fsync ' || current_setting('fsync')) AS version`
  )
  console.log(facts!.version)
  if (!facts!.bulk) return console.log("skipped: this server is not of TimescaleDB's community edition")
  yield* compareCases(to)
  if (Rounds > 0) yield* compareLive(to)
})

const scope = Effect.runSync(Scope.make())
const quiet = Effect.provideService(References.MinimumLogLevel, "Error")
const exit = await Effect.runPromiseExit(Scope.provide(main, scope).pipe(quiet))
await Effect.runPromise(Scope.close(scope, exit))
if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
