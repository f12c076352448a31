/**
 * Planning a backfill of 20,000 symbols over five years against a store that holds nearly all of it: every symbol lacks two
 * weeks of its own, one in ten was listed late, every day has a revision. The yardstick is reading the coverage alone.
 *
 *     npm run bench -- storage-timescale/plan [-- --symbols=20000 --rounds=3]
 */
import { Backfill, type BackfillPlan, type Provider, UnixNanos } from "@data-manager/core"
import { Effect, Stream } from "effect"
import { type BenchStore, check, claimOf, median, runWith, withBenchStore } from "./BenchStore.ts"

const flag = (name: string, fallback: number): number => {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`))
  return found === undefined ? fallback : Number(found.slice(name.length + 3))
}
const symbols = flag("symbols", 20_000)
const rounds = flag("rounds", 3)
const dataset = "BENCH.PLAN"
const Day = UnixNanos.PerDay
const range = { start: UnixNanos.parse("2021-06-01")!, end: UnixNanos.parse("2026-06-01")! }
const days = Number((range.end - range.start) / Day)
const weeks = Math.floor(days / 7)
const weekAt = (week: number): bigint => range.start + BigInt(7 * week) * Day

const provider: Provider = {
  id: "bench",
  capabilities: {
    history: ["trades"],
    live: [],
    symbolTypes: ["raw_symbol"],
    replaySeconds: 0,
    consecutiveIds: false,
    billed: true,
    maxSymbols: 0,
    maxDays: 0,
    addSymbolsLive: false
  },
  history: () => Stream.empty,
  live: () => Stream.empty,
  discover: () => Stream.empty,
  availableRange: () => Effect.succeed(range),
  estimate: () => Effect.succeed({ requests: 1 }),
  revisions: () =>
    Effect.succeed(
      Array.from({ length: days }, (_, day) => {
        const start = range.start + BigInt(day) * Day
        return { range: { start, end: start + Day }, revision: UnixNanos.toDate(start + Day) }
      })
    ),
  health: Effect.succeed({ state: "idle", reconnects: 0, detail: "" })
}

const request: BackfillPlan.BackfillRequest = {
  dataset,
  symbols: Array.from({ length: symbols }, (_, i) => `SYM${i}`),
  stypeIn: "raw_symbol",
  schema: "trades",
  range
}

/** The weeks that a symbol lacks: many symbols share them, as after a few failed runs. */
const holesOf = (index: number): ReadonlyArray<number> =>
  [(index * 7) % 50, 60 + ((index * 13) % 50)].sort((a, b) => a - b)

const fill = async ({ store, sql }: BenchStore): Promise<void> => {
  const claims = request.symbols.map((_, i) => claimOf(dataset, i))
  const instruments = await runWith(store, store.registerListings(claims))
  const held = instruments.flatMap(({ id }, i) => {
    const [first, second] = holesOf(i) as [number, number]
    const edges = [
      range.start,
      weekAt(first),
      weekAt(first + 1),
      weekAt(second),
      weekAt(second + 1),
      range.end
    ]
    return [0, 2, 4].map((at) => ({
      instrument: id,
      schema: "trades" as const,
      range: { start: edges[at]!, end: edges[at + 1]! }
    }))
  })
  await runWith(store, store.claimCoverage(held))
  const none = instruments.flatMap(({ id }, i) =>
    i % 10 > 0
      ? []
      : [
          {
            instrument: id,
            schema: "trades" as const,
            state: "none" as const,
            range: { start: range.start - 90n * Day, end: range.start },
            checkedAt: range.end,
            expiresAt: UnixNanos.parse("2200-01-01")!
          }
        ]
  )
  await runWith(store, store.markCoverage(none))
  await sql.query(
    `INSERT INTO ingest_runs (kind, source, provider, dataset, schema, completed_at)
     SELECT 'backfill', 'week ' || n, 'bench', '${dataset}', 1, now() FROM generate_series(1, 100000) n`
  )
  await sql.query("VACUUM ANALYZE")
}

const seconds = async <A>(work: () => Promise<A>): Promise<readonly [number, A]> => {
  const from = performance.now()
  const value = await work()
  return [(performance.now() - from) / 1000, value]
}

const measure = async (bench: BenchStore): Promise<void> => {
  const { store } = bench
  await fill(bench)
  const plans: Array<number> = []
  const reads: Array<number> = []
  let chunks = 0
  let spans = 0
  for (let round = 0; round < rounds; round++) {
    const [planning, plan] = await seconds(() => runWith(store, Backfill.prepare(provider, request)))
    const [reading, coverage] = await seconds(() =>
      runWith(store, store.coverage({ schema: "trades", range }))
    )
    plans.push(planning)
    reads.push(reading)
    chunks = plan.chunks.length
    spans = coverage.length
    const lacking = plan.chunks.reduce(
      (sum, chunk) => sum + (chunk.range.end - chunk.range.start) * BigInt(chunk.symbols.length),
      0n
    )
    if (lacking !== BigInt(symbols) * 14n * Day) throw new Error(`${lacking} ns are planned`)
  }
  console.log(
    `${symbols.toLocaleString("en")} symbols over ${weeks} weeks, ${spans.toLocaleString("en")} spans, ` +
      `${chunks.toLocaleString("en")} chunks; medians of ${rounds}: planning ${median(plans).toFixed(2)} s, ` +
      `${(median(plans) / median(reads)).toFixed(2)}x reading the coverage alone`
  )
  check("planning, the slowest round", Math.max(...plans), "s", 5)
}

await withBenchStore(measure)
