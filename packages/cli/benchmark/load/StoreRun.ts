/** `dm start` with everything that belongs to it, under load: what the database takes, and what it costs to stand by. */
import { get, type IncomingMessage } from "node:http"
import { join } from "node:path"
import { type FaultRun, withFaults } from "../../test/FaultRun.ts"
import { inDatabase } from "../../test/InDatabase.ts"
import { appendRate } from "./AppendRate.ts"
import { figure, heading, megabytes, millions, percent, sleep } from "./Figures.ts"
import { cpuOf, memoryOf } from "./Processes.ts"
import { missed } from "./StrategyAccount.ts"

/** Rows in the database, as the counts per day have it. */
const rowsStored = async ({ place }: FaultRun): Promise<number> =>
  (
    await inDatabase<{ readonly rows: number }>(
      place,
      "SELECT coalesce(sum(rows), 0)::float8 AS rows FROM row_days"
    )
  ).rows

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/** Rows that wait in the spool, as the service says. */
const rowsSpooled = ({ place }: FaultRun): Promise<number> =>
  new Promise((done, fail) => {
    const socketPath = join(place.dataDir, "control.sock")
    const take = (response: IncomingMessage): void => {
      let text = ""
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString()
      })
      response.on("end", () => done(Number(JSON.parse(text).spool.rows)))
    }
    get({ socketPath, path: "/status" }, take).on("error", fail)
  })

/** Waits until nothing is left to be written; seconds that it took. */
const drained = async (run: FaultRun, atMost: number): Promise<number> => {
  const from = performance.now()
  while (performance.now() - from < atMost * 1_000 && (await rowsSpooled(run)) > 0) await sleep(500)
  return (performance.now() - from) / 1_000
}

const spool = ["disk_floor_gb = 1", "max_size_gb = 30"]

/** How long, and how much. */
export interface StoreOptions {
  readonly symbols: number
  readonly seconds: number
  readonly burstSeconds: number
  readonly yardstickRows: number
}

/** What is stored per second while the market trades as much as the yardstick stores. */
const sustained = (options: StoreOptions, yardstick: number): Promise<number> =>
  withFaults({ symbols: options.symbols, rate: yardstick, capacity: 1 << 20, spool }, async (run) => {
    const service = run.startService()
    await run.awaitRow(0, 120)
    const strategy = await run.startStrategy({ market: undefined })
    await sleep(8_000)
    const [rows, cpu, from] = [await rowsStored(run), cpuOf(service.pid!), performance.now()]
    await sleep(options.seconds * 1_000)
    const seconds = (performance.now() - from) / 1_000
    const rate = ((await rowsStored(run)) - rows) / seconds
    const share = (cpuOf(service.pid!) - cpu) / (seconds * 1_000)
    const report = await run.endStrategy(strategy)
    const { own, rss } = memoryOf(service.pid!)
    figure("stored per second, everything running", millions(rate))
    figure(
      "the service meanwhile",
      `${percent(share)} of a core, ${megabytes(rss)} resident, ${megabytes(own)} of it its own; the strategy saw ${report.rows}, missed ${missed(report)} and was told of all`
    )
    await run.endMarket("SIGTERM")
    await drained(run, 600)
    await run.endService("SIGTERM")
    const stored = await run.compare()
    figure(
      "database against market, row by row",
      `${stored.rows} rows equal, ${stored.missing} missing`,
      stored.missing === 0,
      "none"
    )
    return rate
  })

/** Ten times what is sustained, for a while, and how long the database takes for it. */
const burst = ({ burstSeconds, symbols }: StoreOptions, rate: number): Promise<void> =>
  withFaults({ symbols, rate: 10 * rate, capacity: 1 << 20, spool }, async (run) => {
    const service = run.startService()
    await run.awaitRow(0, 120)
    const first = run.now()
    await sleep(burstSeconds * 1_000)
    const sent = run.now() - first
    await run.endMarket("SIGTERM")
    const atEnd = await rowsStored(run)
    const seconds = await drained(run, 3_600)
    const { own, rss } = memoryOf(service.pid!)
    await run.endService("SIGTERM")
    const stored = await run.compare()
    figure(
      `burst of ${millions(10 * rate)}/s for ${burstSeconds} s`,
      `${millions(sent)} rows; ${millions(atEnd)} of all stored at its end, the rest ${seconds.toFixed(0)} s later`
    )
    figure("memory of the service at the end", `${megabytes(rss)} resident, ${megabytes(own)} of it its own`)
    figure(
      "database against market, row by row",
      `${stored.rows} rows equal, ${stored.missing} missing`,
      stored.missing === 0,
      "none"
    )
  })

/** The database. */
export const database = async (options: StoreOptions): Promise<void> => {
  const { symbols, yardstickRows } = options
  heading(
    `${symbols} symbols into the embedded database: simulator, service, database and strategy on this machine`
  )
  const before = await appendRate(yardstickRows, symbols)
  const rate = await sustained(options, Math.round(before))
  const after = await appendRate(yardstickRows, symbols)
  const yardstick = (before + after) / 2
  figure("appends alone, before and after", `${millions(before)}/s, ${millions(after)}/s`)
  figure("share of that", `${(rate / yardstick).toFixed(2)}x`, rate >= 0.6 * yardstick, ">= 0.6x")
  await burst(options, Math.round(rate))
}

/** Memory over time, and processor time while next to nothing happens. */
export const standing = async (options: {
  readonly symbols: number
  readonly rate: number
  readonly seconds: number
}): Promise<void> => {
  const { rate, seconds, symbols } = options
  heading(`dm start with ${symbols} symbols: memory at ${rate} trades/s over ${seconds} s`)
  await withFaults({ symbols, rate, capacity: 1 << 18, spool }, async (run) => {
    const service = run.startService()
    await run.awaitRow(0, 120)
    await sleep(10_000)
    const samples: Array<{ readonly rss: number; readonly own: number }> = []
    for (const end = Date.now() + seconds * 1_000; Date.now() < end; await sleep(1_000))
      samples.push(memoryOf(service.pid!))
    const quarter = samples.length >> 2
    const of = (part: ReadonlyArray<(typeof samples)[number]>): number => median(part.map(({ rss }) => rss))
    const [first, last] = [of(samples.slice(quarter, 2 * quarter)), of(samples.slice(-quarter))]
    const most = Math.max(...samples.map(({ rss }) => rss))
    figure("resident memory, most", megabytes(most), most < 400e6, "< 400 MB")
    figure("of it its own, median", megabytes(median(samples.map(({ own }) => own))))
    figure(
      "second quarter, last quarter, median",
      `${megabytes(first)}, ${megabytes(last)}`,
      last < first * 1.05,
      "no growth beyond 5 %"
    )
  })
  heading(`dm start with ${symbols} symbols: processor time while one trade comes per second`)
  await withFaults({ symbols, rate: 1, capacity: 1 << 18, spool }, async (run) => {
    const service = run.startService()
    await run.awaitRow(0, 120)
    // Discovery comes a minute after the start: from then on the registry knows all symbols.
    await sleep(80_000)
    const idle = Math.max(30, seconds / 10)
    const cpu = cpuOf(service.pid!)
    await sleep(idle * 1_000)
    const share = (cpuOf(service.pid!) - cpu) / (idle * 1_000)
    figure("share of a core", percent(share), share < 0.02, "< 2 %")
  })
}
