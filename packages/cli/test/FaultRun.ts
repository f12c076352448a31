/**
 * Live collection of an endless market with real processes, to be disturbed by tests: simulator, service, database and
 * strategies. In the end the database and every strategy are held against what was traded, row by row.
 */
import type { ChildProcessWithoutNullStreams } from "node:child_process"
import { readFileSync } from "node:fs"
import { EndlessMarket, type EndlessSum, hashSql } from "@data-manager/providers-databento/simulator"
import { assert } from "vitest"
import {
  endStrategy,
  type MarketProcess,
  type Running,
  startMarket,
  startStrategy
} from "../benchmark/load/Processes.ts"
import {
  missed,
  type StrategyOptions,
  type StrategyReport,
  untold
} from "../benchmark/load/StrategyAccount.ts"
import { type Outcome, outcome, Workplace } from "./Dm.ts"
import { allInDatabase, inDatabase } from "./InDatabase.ts"
import { writeServiceConfig } from "./ServiceConfig.ts"

export const sleep = (millis: number): Promise<void> => new Promise((done) => setTimeout(done, millis))

/** How often each fault strikes: `DM_FAULT_ROUNDS`, or so often. */
export const roundsOr = (usual: number): number => Number(process.env.DM_FAULT_ROUNDS ?? usual)

/** Random moments that can be had again: the seed is `DM_FAULT_SEED`, or new, and printed. */
export const moments = (test: string): ((from: number, to: number) => number) => {
  const seed = Number(process.env.DM_FAULT_SEED ?? Date.now() % 1_000_000)
  console.log(`${test}: DM_FAULT_SEED=${seed}`)
  let state = seed
  return (from, to) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return from + (state / 2 ** 32) * (to - from)
  }
}

/** Rows of the market, `[from, to)`. */
export type Rows = readonly [from: number, to: number]

/** What the market is like, and what the service is told beside it. */
export interface FaultRunOptions {
  readonly symbols?: number | undefined
  readonly rate?: number | undefined
  /** Slots of the ring. */
  readonly capacity?: number | undefined
  /** Lines for `[spool]`. */
  readonly spool?: ReadonlyArray<string> | undefined
  /** Another place than a new one: whoever made it ends it. */
  readonly place?: Workplace | undefined
}

/** What the database has, and what it says about it. */
export interface Stored {
  readonly rows: number
  /** What is there. */
  readonly ranges: ReadonlyArray<Rows>
  /**
   * Rows between the first and the last one that are not there, other than those of the first millisecond: what happened at a
   * venue before the session began is left out where its microsecond may have begun before, too, and told.
   */
  readonly missing: number
}

const islands = /* sql */ `
  SELECT min(row)::float8 AS from, (max(row) + 1)::float8 AS to
  FROM (
    SELECT row, row - row_number() OVER (ORDER BY row) AS island
    FROM (SELECT DISTINCT (trade_key >> 16) & 4294967295 AS row FROM trade) rows
  ) numbered
  GROUP BY island ORDER BY 1`

const sums = /* sql */ `
  SELECT i.raw_symbol AS symbol, count(*)::float8 AS rows, sum(t.size)::float8 AS sizes,
         sum((t.price * i.price_unit * 100)::int8)::float8 AS ticks, sum(${hashSql})::float8 AS hashes
  FROM trade t JOIN instruments i ON i.id = t.instrument_id GROUP BY i.raw_symbol`

const held = /* sql */ `
  SELECT split_part(symbol, ':', 2) AS symbol, extract(epoch FROM start_time) * 1000000 AS from,
         extract(epoch FROM end_time) * 1000000 AS to
  FROM coverage_ranges WHERE state = 'held' AND schema = 'trades'`

/** A run. Close it, whatever happens. */
export class FaultRun {
  readonly place: Workplace
  readonly market: EndlessMarket
  readonly simulator: MarketProcess
  #running: Running
  #service: { readonly process: ChildProcessWithoutNullStreams; readonly ended: Promise<Outcome> } | undefined
  readonly #strategies = new Set<Running>()
  readonly #ownsPlace: boolean
  /** Errors that services wrote, for messages of failed tests. */
  readonly log: Array<string> = []

  private constructor(place: Workplace, simulator: MarketProcess, ownsPlace: boolean) {
    this.place = place
    this.#ownsPlace = ownsPlace
    this.simulator = simulator
    this.#running = simulator.running
    const { market } = simulator
    this.market = new EndlessMarket({ ...market, since: BigInt(market.since) })
  }

  /** Starts the simulator and writes the configuration; no service yet. */
  static async open(options: FaultRunOptions = {}): Promise<FaultRun> {
    const { capacity = 65_536, rate = 5_000, spool = ["disk_floor_gb = 0"], symbols = 300 } = options
    const place = options.place ?? new Workplace()
    const simulator = await startMarket({ symbols, rate })
    const { dataset, httpPort, port } = simulator
    writeServiceConfig(place.folder, {
      dataset,
      httpPort,
      livePort: port,
      ring: { name: ringOf(), dir: place.path("ring"), capacity },
      sections: { spool }
    })
    return new FaultRun(place, simulator, options.place === undefined)
  }

  // -------------------------------------------------------------------------------------------------- processes

  /** The simulator's process. */
  get simulatorProcess(): Running["process"] {
    return this.#running.process
  }

  /** Ends the simulator with a signal and, where asked, starts another one with the same market. */
  async endMarket(signal: NodeJS.Signals): Promise<void> {
    await this.#running.end(signal)
  }

  /** Goes on with the same market in another process, on the same port. */
  async resumeMarket(): Promise<void> {
    const { httpPort, market, port } = this.simulator
    const since = BigInt(market.since)
    const iso = new Date(Number(since / 1_000_000n)).toISOString()
    const nanos = `${since % 1_000_000_000n}`.padStart(9, "0")
    this.#running = (
      await startMarket({ ...market, port, httpPort, since: `${iso.slice(0, 19)}.${nanos}Z` })
    ).running
  }

  /** Starts the service. */
  startService(env: { readonly [name: string]: string } = {}): ChildProcessWithoutNullStreams {
    const process = this.place.start(["start"], { env: { DATABENTO_API_KEY: this.simulator.key, ...env } })
    process.stderr.on("data", (chunk: Buffer) => this.log.push(chunk.toString()))
    this.#service = { process, ended: outcome(process) }
    return process
  }

  /** Ends the service with a signal and gives how it ended. */
  async endService(signal: NodeJS.Signals): Promise<Outcome> {
    const { ended, process } = this.#service!
    assert.isNull(process.exitCode, `the service ended by itself:\n${this.tail()}`)
    process.kill(signal)
    return ended
  }

  /** The last lines that services wrote. */
  tail(): string {
    return this.log.join("").slice(-6_000)
  }

  async startStrategy(options: Partial<StrategyOptions> = {}): Promise<Running> {
    const strategy = await startStrategy({
      dir: this.place.path("ring"),
      name: ringOf(),
      market: this.simulator.market,
      ...options
    })
    this.#strategies.add(strategy)
    return strategy
  }

  /** Ends a strategy and checks that it was told of everything that it did not see. */
  async endStrategy(strategy: Running): Promise<StrategyReport> {
    const report = await endStrategy(strategy)
    this.#strategies.delete(strategy)
    assert.strictEqual(report.wrong, 0, report.wrongFirst)
    assert.strictEqual(report.repeated, 0, "no row comes twice")
    const said = JSON.stringify({ ...report, ranges: report.ranges.slice(-20) })
    assert.deepStrictEqual(
      untold(report),
      [],
      `rows are missing that nothing told of: ${said}\n${this.tail()}`
    )
    if (report.covered.every(({ what }) => what === "lost"))
      assert.strictEqual(report.lost, missed(report), "rows seen and rows lost are the rows published")
    const counted = report.ranges.reduce((sum, [from, to]) => sum + to - from, 0)
    assert.strictEqual(report.rows, counted)
    return report
  }

  /** Pid of the embedded server. */
  databasePid(): number {
    return Number(
      readFileSync(this.place.path("data", "postgres", "data", "postmaster.pid"), "utf8").split("\n")[0]
    )
  }

  /** The embedded server and the processes that it has for its connections. */
  databasePids(): ReadonlyArray<number> {
    const server = this.databasePid()
    const children = readFileSync(`/proc/${server}/task/${server}/children`, "utf8")
    return [server, ...children.trim().split(" ").map(Number)]
  }

  /** Kills the embedded server, and waits until the service has started it again: nobody else does. */
  async killDatabase(): Promise<void> {
    const before = this.databasePid()
    process.kill(before, "SIGKILL")
    for (const end = Date.now() + 60_000; Date.now() < end; await sleep(200))
      if (this.#isServing(before)) return
    throw new Error(`nobody has started the database again:\n${this.tail()}`)
  }

  #isServing(before: number): boolean {
    try {
      const pid = this.databasePid()
      process.kill(pid, 0)
      return pid !== before
    } catch {
      return false
    }
  }

  // -------------------------------------------------------------------------------------------------- waiting

  /** The number of the trade that is due now. */
  now(): number {
    return this.market.firstAt(BigInt(Date.now()) * 1_000_000n)
  }

  /** Waits until the database has a trade, or a later one. */
  async awaitRow(row: number, seconds = 60): Promise<void> {
    const query =
      "SELECT coalesce(max((trade_key >> 16) & 4294967295), -1)::float8 AS last FROM trade WHERE ts_recv > now() - interval '10 minutes'"
    let last = -1
    for (const end = Date.now() + seconds * 1_000; Date.now() < end; await sleep(300)) {
      const { process } = this.#service!
      if (process.exitCode !== null)
        throw new Error(`the service ended with ${process.exitCode}:\n${this.tail()}`)
      // There may be no server at the moment, or no table yet.
      last = (await inDatabase<{ readonly last: number }>(this.place, query).catch(() => ({ last: -1 }))).last
      if (last >= row) return
    }
    throw new Error(`the database never had trade ${row}, the last one is ${last}:\n${this.tail()}`)
  }

  /** Waits until what was traded by now is stored, ends the market, then the service in order. */
  async finish(seconds = 120): Promise<void> {
    await this.awaitRow(this.now(), seconds)
    await this.endMarket("SIGTERM")
    const { code, signal, stderr } = await this.endService("SIGTERM")
    assert.deepStrictEqual([code, signal], [0, null], stderr)
  }

  // -------------------------------------------------------------------------------------------------- proofs

  /** Holds the database against the market: what is there is what was traded, and what is said to be held is there. */
  async compare(): Promise<Stored> {
    const ranges = (
      await allInDatabase<{ readonly from: number; readonly to: number }>(this.place, islands)
    ).map(({ from, to }): Rows => [from, to])
    const stored = await allInDatabase<EndlessSum & { readonly symbol: string }>(this.place, sums)
    const traded = this.#sumsOf(ranges)
    const bySymbol = new Map(stored.map(({ symbol, ...sum }) => [symbol, sum]))
    for (const [i, { symbol }] of this.market.day.instruments.entries()) {
      const sum = bySymbol.get(symbol) ?? { rows: 0, sizes: 0, ticks: 0, hashes: 0 }
      assert.deepStrictEqual({ ...sum }, traded[i], `stored and traded rows of ${symbol} differ`)
    }
    await this.#checkHeld(ranges)
    const [first, last] = [ranges[0]?.[0] ?? 0, ranges.at(-1)?.[1] ?? 0]
    const rows = ranges.reduce((sum, [from, to]) => sum + to - from, 0)
    const settled = first + Math.ceil(1_000_000 / this.market.step)
    const later = ranges.reduce((sum, [from, to]) => sum + Math.max(0, to - Math.max(from, settled)), 0)
    return { rows, ranges, missing: Math.max(0, last - settled) - later }
  }

  #sumsOf(ranges: ReadonlyArray<Rows>): ReadonlyArray<EndlessSum> {
    const total = this.market.day.instruments.map(() => ({ rows: 0, sizes: 0, ticks: 0, hashes: 0 }))
    for (const [from, to] of ranges)
      for (const [i, sum] of this.market.sums(from, to).entries()) {
        total[i]!.rows += sum.rows
        total[i]!.sizes += sum.sizes
        total[i]!.ticks += sum.ticks
        total[i]!.hashes += sum.hashes
      }
    return total
  }

  /** No trade that is not stored lies where its instrument is said to be held. */
  async #checkHeld(ranges: ReadonlyArray<Rows>): Promise<void> {
    const rows = await allInDatabase<{ readonly symbol: string; readonly from: string; readonly to: string }>(
      this.place,
      held
    )
    assert.isAbove(rows.length, 0, "something is held")
    const bySymbol = new Map<string, Array<readonly [bigint, bigint]>>()
    for (const { from, symbol, to } of rows) {
      const list = bySymbol.get(symbol) ?? []
      const micros = (text: string): bigint => BigInt(`${text}`.split(".")[0]!)
      bySymbol.set(symbol, [...list, [micros(from), micros(to)]])
    }
    let next = ranges[0]?.[0] ?? 0
    for (const [from, to] of ranges) {
      for (let row = next; row < from; row++) {
        const { instrument, tsRecv } = this.market.trade(row)
        const { symbol } = this.market.day.instruments[instrument]!
        const micro = tsRecv / 1_000n
        const claimed = bySymbol.get(symbol)?.find(([start, end]) => start <= micro && micro < end)
        assert.isUndefined(
          claimed,
          `trade ${row} of ${symbol} at ${tsRecv} is not stored, and said to be held; trades ${next} to ${from} are not stored; ` +
            `in all ${JSON.stringify(ranges)}\n${this.tail()}`
        )
      }
      next = to
    }
  }

  /** Ends everything that still runs and removes the place. */
  async close(): Promise<void> {
    for (const strategy of this.#strategies) await strategy.end("SIGKILL")
    if (this.#service !== undefined && this.#service.process.exitCode === null) {
      this.#service.process.kill("SIGCONT")
      this.#service.process.kill("SIGKILL")
      await this.#service.ended
    }
    if (this.#running.process.exitCode === null && this.#running.process.signalCode === null)
      await this.#running.end("SIGKILL")
    if (this.#ownsPlace) await this.place.close()
  }
}

const ringOf = (): string => `fault_${process.pid}`

/** Runs a test with a run of its own. */
export const withFaults = async <A = void>(
  options: FaultRunOptions,
  test: (run: FaultRun) => Promise<A>
): Promise<A> => {
  const run = await FaultRun.open(options)
  try {
    return await test(run)
  } finally {
    await run.close()
  }
}

/** What a test prints in the end, to be read. */
export const tell = (what: string, { missing, ranges, rows }: Stored, report?: StrategyReport): void =>
  console.log(
    `${what}: ${rows} rows stored in ${ranges.length} stretches, ${missing} not collected` +
      (report === undefined
        ? ""
        : `; the strategy saw ${report.rows}, missed ${missed(report)}, was told of ${report.covered.length} breaks`)
  )
