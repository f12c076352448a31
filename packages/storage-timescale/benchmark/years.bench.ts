/**
 * One symbol over five years, a trade a day: how long the server plans a statement over all of it, and how long the store, which
 * cuts a read along the partitions, takes from the question to the first rows and to the last.
 *
 *     npm run bench -- storage-timescale/years [-- --years=5 --rounds=9]
 *
 * On which server: see `BenchDatabase.ts`.
 */
import { batchContext, type MarketStore, TradeKey, tradeBuilder, UnixNanos } from "@data-manager/core"
import { Effect, Stream } from "effect"
import type pg from "pg"
import { type BenchStore, check, median, option, runWith, withBenchStore } from "./BenchStore.ts"

const years = option("years", 5)
const rounds = option("rounds", 9)
const source = { provider: "bench", dataset: "BENCH.YEARS" }
const end = UnixNanos.parse("2026-06-01")!
const days = Math.round(365.25 * years)
const start = end - BigInt(days) * UnixNanos.PerDay
/** Days that are appended together. */
const together = 100

const fill = async (
  store: MarketStore["Service"]
): Promise<{ readonly id: number; readonly symbol: string }> => {
  const claim = {
    ...source,
    rawSymbol: "S",
    valid: { start, end },
    defaultPriceScale: 2,
    defaultSizeScale: 0
  }
  const [instrument] = await runWith(store, store.registerListings([claim]))
  const { id: run } = await runWith(store, store.beginRun({ kind: "import", source: "bench", ...source }))
  for (let first = 0; first < days; first += together) {
    const builder = tradeBuilder(batchContext(source), together)
    for (let day = first; day < Math.min(first + together, days); day++) {
      const { columns: c, length: i } = builder
      c.tsEvent[i] = start + BigInt(day) * UnixNanos.PerDay + 36_000n * UnixNanos.PerSecond
      c.tsRecv[i] = c.tsEvent[i]! + 100_000n
      c.tradeKey[i] = TradeKey.make(1, day, 0)
      c.price[i] = BigInt(10_000 + (day % 100))
      c.priceExponent[i] = -2
      c.size[i] = 100n
      c.instrument[i] = instrument!.id
      builder.length += 1
    }
    await runWith(store, store.append(builder.flush(), { run, segment: first / together }))
  }
  return instrument!
}

/** Milliseconds that the server plans, in a session that knows the tables already. */
const planning = async (sql: pg.Client, statement: string): Promise<ReadonlyArray<number>> => {
  const found: Array<number> = []
  for (let round = 0; round <= rounds; round++) {
    const { rows } = await sql.query(`EXPLAIN (SUMMARY, FORMAT JSON) ${statement}`)
    if (round > 0) found.push(rows[0]["QUERY PLAN"][0]["Planning Time"])
  }
  return found
}

const read = async (
  store: MarketStore["Service"],
  id: number
): Promise<readonly [first: number, all: number]> => {
  const from = performance.now()
  let first: number | undefined
  let count = 0
  await runWith(
    store,
    Stream.runForEach(store.readTrades({ instruments: [id], range: { start, end } }), (batch) =>
      Effect.sync(() => {
        first ??= performance.now() - from
        count += batch.length
      })
    )
  )
  if (count !== days) throw new Error(`${count} of ${days} rows came`)
  return [first!, performance.now() - from]
}

const measure = async ({ store, sql }: BenchStore): Promise<void> => {
  const { id, symbol } = await fill(store)
  await sql.query("ANALYZE")
  const { rows } = await sql.query(
    "SELECT count(*)::int4 AS n FROM pg_inherits WHERE inhparent = 'trade'::regclass"
  )
  const range = (column: string, from: bigint, to: bigint): string =>
    `${column} >= '${UnixNanos.toIso(from)}' AND ${column} < '${UnixNanos.toIso(to)}' ORDER BY ${column}`
  const table = (from: bigint): string =>
    `SELECT * FROM trade WHERE instrument_id = ${id} AND ${range("ts", from, end)}`
  const all = await planning(sql, table(start))
  const view = await planning(
    sql,
    `SELECT * FROM trades WHERE symbol = '${symbol}' AND ${range("time", start, end)}`
  )
  const day = await planning(sql, table(end - UnixNanos.PerDay))
  const reads: Array<readonly [number, number]> = []
  for (let round = 0; round <= rounds; round++) reads.push(await read(store, id))
  const [first, whole] = [0, 1].map((which) => median(reads.slice(1).map((each) => each[which]!)))
  console.log(
    `${years} years in ${rows[0].n.toLocaleString("en")} partitions, medians of ${rounds}, milliseconds`
  )
  for (const [what, value] of [
    ["planning: a day of the table", median(day)],
    ["planning: the view, all years", median(view)],
    ["the store: until the first rows", first],
    ["the store: all rows", whole]
  ] as const)
    console.log(`${what.padEnd(40)} ${value!.toFixed(2).padStart(10)}`)
  check("planning: one symbol, all years", median(all), "ms", 20)
}

await withBenchStore(measure)
