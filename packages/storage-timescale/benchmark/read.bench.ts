/**
 * What it costs to read a symbol-day back: `readTrades` into columns, against a COPY of the same rows with its bytes
 * thrown away and against the driver's row objects; and what the `trades` view costs beside its base table. Interleaved;
 * medians. On which server: see `BenchDatabase.ts`.
 *
 *     npm run bench -- storage-timescale/read [-- --rows=1000000 --rounds=5]
 */
import {
  batchContext,
  type Instrument,
  type ListingClaim,
  type MarketStore,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect, Stream } from "effect"
import type pg from "pg"
import { to as copyTo } from "pg-copy-streams"
import { type BenchStore, runWith, withBenchStore } from "./BenchStore.ts"

const flag = (name: string, fallback: number): number => {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`))
  return found === undefined ? fallback : Number(found.slice(name.length + 3))
}
const rows = flag("rows", 1_000_000)
const rounds = flag("rounds", 5)
/** Rows of each of the other instruments of the day. */
const Others = 100
const rowsOfOther = Math.floor(rows / (4 * Others))

const day = UnixNanos.parse("2024-03-05")!
const range = { start: day, end: day + UnixNanos.PerDay }
const dataset = "BENCH.READ"

const times = new Map<string, Array<number>>()

const timed = async (name: string, work: () => Promise<unknown>): Promise<void> => {
  const from = performance.now()
  await work()
  times.set(name, [...(times.get(name) ?? []), (performance.now() - from) / 1000])
}

const median = (name: string): number => {
  const sorted = [...(times.get(name) ?? [])].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

type Store = MarketStore["Service"]

const claim = (rawSymbol: string): ListingClaim => ({
  provider: "bench",
  dataset,
  rawSymbol,
  valid: range,
  defaultPriceScale: 2,
  defaultSizeScale: 0
})

/** Trades of one instrument, spread over the day, with several to a microsecond now and then. */
const fill = (store: Store, instrument: Instrument, count: number, run: bigint, firstSegment: number) =>
  Effect.gen(function* () {
    const builder = tradeBuilder(batchContext({ provider: "bench", dataset }), 131_072)
    const step = Number(UnixNanos.PerDay) / count
    let segment = firstSegment
    for (let i = 0; i < count; i++) {
      const { columns } = builder
      const row = builder.length
      const time = day + BigInt(Math.floor((i - (i % 3)) * step))
      columns.tsEvent[row] = time
      columns.tsRecv[row] = time + 20_123n
      columns.tradeKey[row] = TradeKey.make(1, i, 0)
      columns.price[row] = BigInt(372_025 + (i % 400))
      columns.priceExponent[row] = -2
      columns.size[row] = BigInt(1 + (i % 20))
      columns.instrument[row] = instrument.id
      columns.tsInDelta[row] = 12_345
      columns.publisher[row] = 1
      columns.side[row] = i % 3
      columns.flags[row] = 128
      builder.length = row + 1
      if (builder.isFull || i === count - 1) yield* store.append(builder.flush(), { run, segment: segment++ })
    }
    return segment
  })

const prepare = (store: Store) =>
  Effect.gen(function* () {
    const names = Array.from({ length: Others + 1 }, (_, i) => `S${i}`)
    const instruments = yield* store.registerListings(names.map(claim))
    const run = yield* store.beginRun({ kind: "import", source: "bench", provider: "bench", dataset })
    let segment = 0
    for (const [i, instrument] of instruments.entries())
      segment = yield* fill(store, instrument, i === 0 ? rows : rowsOfOther, run.id, segment)
    yield* store.completeRun(run.id)
    return instruments
  })

/** Reads and touches every row, so that nothing is left undone. */
const read = async (store: Store, ids: ReadonlyArray<number>, expected: number): Promise<void> => {
  let count = 0
  let volume = 0
  await Effect.runPromise(
    Stream.runForEach(store.readTrades({ instruments: ids, range }), (batch) =>
      Effect.sync(() => {
        count += batch.length
        const { size } = batch.words
        for (let i = 0; i < batch.length; i++) volume += size[2 * i]!
      })
    )
  )
  if (count !== expected || volume === 0) throw new Error(`read ${count} rows instead of ${expected}`)
}

const discard = async (client: pg.Client, query: string, options = ""): Promise<void> => {
  let bytes = 0
  for await (const chunk of client.query(copyTo(`COPY (${query}) TO STDOUT ${options}`)))
    bytes += chunk.length
  if (bytes === 0) throw new Error("nothing was copied")
}

const columns =
  "ts, trade_key, price, size, ts_recv, instrument_id, ts_in_delta, ts_ns, ts_recv_ns, publisher, side, flags, depth"

const oneRound = async (store: Store, client: pg.Client, instruments: ReadonlyArray<Instrument>) => {
  const [symbol] = instruments
  const base = `FROM trade WHERE instrument_id = ${symbol!.id} AND ts >= '2024-03-05' AND ts < '2024-03-06'`
  const view = `FROM trades WHERE symbol = '${symbol!.symbol}' AND time >= '2024-03-05' AND time < '2024-03-06'`
  await timed("into columns", () => read(store, [symbol!.id], rows))
  await timed("COPY, bytes discarded", () =>
    discard(client, `SELECT ${columns} ${base} ORDER BY ts`, "(FORMAT binary)")
  )
  await timed("row objects", async () => {
    const result = await client.query(`SELECT ${columns} ${base} ORDER BY ts`)
    if (result.rows.length !== rows) throw new Error("rows are missing")
  })
  const all = instruments.map((each) => each.id)
  await timed("101 instruments merged", () => read(store, all, rows + Others * rowsOfOther))
  await timed("view, all columns", () => discard(client, `SELECT * ${view}`))
  await timed("table, all columns", () => discard(client, `SELECT * ${base}`))
  await timed("view, in time order", () => discard(client, `SELECT * ${view} ORDER BY time`))
  await timed("table, in time order", () => discard(client, `SELECT * ${base} ORDER BY ts`))
  await timed("view, four columns", () => discard(client, `SELECT time, price, quantity, side ${view}`))
  await timed("table, four columns", () => discard(client, `SELECT ts, price, size, side ${base}`))
  // The same exact values without the view: what is left is the view's own cost.
  await timed("table, four exact values", () =>
    discard(client, `SELECT ts, price * 0.01, size * 1::numeric, side ${base}`)
  )
}

const speed = (name: string, count: number): void => {
  const seconds = median(name)
  console.log(
    `${name.padEnd(26)} ${count.toLocaleString("en").padStart(10)} rows ${(seconds * 1000).toFixed(0).padStart(7)} ms ${(count / seconds / 1e6).toFixed(2).padStart(6)} M rows/s`
  )
}

const compare = (what: string, yardstick: string, bound: number, kind: "at least" | "at most"): void => {
  const ratio = kind === "at least" ? median(yardstick) / median(what) : median(what) / median(yardstick)
  const isMet = kind === "at least" ? ratio >= bound : ratio <= bound
  console.log(
    `${`${what} : ${yardstick}`.padEnd(50)} ${ratio.toFixed(2)}x (${kind} ${bound}) ${isMet ? "ok" : "MISSED"}`
  )
  if (!isMet) process.exitCode = 1
}

const measure = async ({ store, sql: client }: BenchStore): Promise<void> => {
  const instruments = await runWith(store, prepare(store))
  await client.query("SET timezone = 'UTC'")
  // As many venues as a consolidated feed has.
  await client.query(
    "INSERT INTO publishers SELECT d.id, n, 'VENUE' || n FROM datasets d, generate_series(1, 16) n ON CONFLICT DO NOTHING"
  )
  await client.query("VACUUM ANALYZE")
  for (let round = 0; round <= rounds; round++) {
    await oneRound(store, client, instruments)
    // The first round warms caches and the compiler.
    if (round === 0) times.clear()
    globalThis.gc?.()
  }
  speed("into columns", rows)
  speed("101 instruments merged", rows + Others * rowsOfOther)
  speed("COPY, bytes discarded", rows)
  speed("row objects", rows)
  for (const name of ["all columns", "in time order", "four columns"])
    for (const source of ["view", "table"]) speed(`${source}, ${name}`, rows)
  speed("table, four exact values", rows)
  const reached = rows / median("into columns") >= 1_000_000
  console.log(`1 M rows/s into columns: ${reached ? "reached" : "not reached in this run"}`)
  compare("into columns", "COPY, bytes discarded", 1, "at least")
  compare("into columns", "row objects", 3, "at least")
  compare("view, all columns", "table, all columns", 1.5, "at most")
  // The planner cannot know that a symbol is one instrument: it sorts what it reads, where the table is read in order.
  const sorting = median("view, in time order") / median("table, in time order")
  console.log(`view : table, both in time order ${sorting.toFixed(2)}x`)
  compare("view, four columns", "table, four exact values", 1.5, "at most")
}

await withBenchStore(measure)
