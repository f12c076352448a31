/** Collection without a store under load: how much a second, and how late. Simulator, service and strategy are processes. */
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import type { RelayRole } from "./BareRelay.ts"
import { Distribution, figure, heading, micros, millions, percent, sleep } from "./Figures.ts"
import {
  cpuOf,
  endStrategy,
  type MarketProcess,
  type Running,
  start,
  startMarket,
  startStrategy
} from "./Processes.ts"
import type { ServiceLine, ServiceOptions } from "./Service.ts"
import { missed, type StrategyReport, untold } from "./StrategyAccount.ts"

const service = resolve(import.meta.dirname, "Service.ts")
const relayProgram = resolve(import.meta.dirname, "BareRelay.ts")
const name = "load"

/** How much is sent, and for how long. */
export interface CollectOptions {
  readonly folder: string
  readonly symbols: number
  readonly rate: number
  readonly seconds: number
  /** Seconds before the measuring begins: listings are registered, code is compiled. */
  readonly warmUp: number
  readonly capacity: number
  readonly mode?: "park" | "linger" | undefined
  readonly hasSpool?: boolean | undefined
  readonly isTimed?: boolean | undefined
  readonly nodeFlags?: ReadonlyArray<string> | undefined
}

/** What came of it. */
interface Collected {
  readonly rate: number
  /** Share of one core. */
  readonly cpu: { readonly simulator: number; readonly service: number; readonly strategy: number }
  readonly rss: number
  readonly dropped: number
  readonly report: StrategyReport
  /** How far collection was behind the market at the end, rows. */
  readonly behind: number
}

const lastLine = (running: Running): ServiceLine => JSON.parse(running.lines().at(-1)!)

/** Starts everything, measures, ends everything. */
const collect = async (options: CollectOptions): Promise<Collected> => {
  const { capacity, folder, hasSpool, isTimed, mode, nodeFlags, rate, seconds, symbols, warmUp } = options
  const dir = join(folder, "ring")
  const timed = (file: string): string | undefined => (isTimed === true ? join(folder, file) : undefined)
  const market: MarketProcess = await startMarket({ symbols, rate, record: timed("sent") })
  const serviceOptions: ServiceOptions = {
    port: market.port,
    key: market.key,
    dataset: market.dataset,
    dir,
    name,
    capacity,
    spool: hasSpool === true ? join(folder, "spool") : undefined
  }
  const running = start(service, [JSON.stringify(serviceOptions)], { nodeFlags })
  await running.line()
  const strategy = await startStrategy({ dir, name, mode, arrivals: timed("arrivals") })
  await sleep(warmUp * 1_000)
  const processes = [market.running, running, strategy].map((each) => each.process.pid!)
  const first = lastLine(running)
  const cpu = processes.map(cpuOf)
  await sleep(seconds * 1_000)
  const last = lastLine(running)
  const used = processes.map((pid, i) => (cpuOf(pid) - cpu[i]!) / (seconds * 1_000))
  const report = await endStrategy(strategy)
  const passed = (BigInt(Date.now()) * 1_000_000n - BigInt(market.market.since)) / 1_000n
  await running.end()
  await market.running.end()
  return {
    rate: ((last.rows - first.rows) / (last.at - first.at)) * 1_000,
    cpu: { simulator: used[0]!, service: used[1]!, strategy: used[2]! },
    rss: last.rss,
    dropped: last.dropped,
    report,
    behind: Math.round((Number(passed) / 1e6) * rate) - (report.ranges.at(-1)?.[1] ?? 0)
  }
}

const tellCpu = ({ cpu, rss }: Collected): void => {
  const { service: own, simulator, strategy } = cpu
  figure(
    "share of a core",
    `service ${percent(own)}, simulator ${percent(simulator)}, strategy ${percent(strategy)}; ` +
      `resident memory of the service ${(rss / 1e6).toFixed(0)} MB`
  )
}

const tellLoss = ({ report }: Collected): void => {
  const holes = untold(report)
  const lost = missed(report)
  figure(
    "trades that the strategy missed, and was told of",
    `${lost} of ${report.rows + lost}, ${report.lost} told`,
    holes.length === 0 && report.lost === lost && report.repeated === 0,
    "every loss is told"
  )
}

/** Throughput. */
export const throughput = async (options: CollectOptions, target: number): Promise<void> => {
  const { rate, seconds, symbols } = options
  heading(
    `${symbols} symbols, ${millions(rate)} trades/s sent for ${seconds} s: decode, hub${options.hasSpool ? ", spool" : ""}, ring, one strategy`
  )
  const collected = await collect(options)
  figure(
    "trades per second collected and published",
    millions(collected.rate),
    collected.rate >= target,
    `>= ${millions(target)}`
  )
  figure("behind the market at the end", `${((collected.behind / rate) * 1_000).toFixed(0)} ms`)
  tellLoss(collected)
  tellCpu(collected)
}

/** Time from the simulator's write to the strategy, of every trade. */
const latencies = (folder: string, warmUp: number): Distribution => {
  const sent = readFileSync(join(folder, "sent"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" "))
    .map(([, row, rows, at]) => [Number(row), Number(row) + Number(rows), Number(at)] as const)
  const arrivals: ReadonlyArray<number> = JSON.parse(readFileSync(join(folder, "arrivals"), "utf8"))
  const distribution = new Distribution()
  const begin = arrivals[2]! + warmUp * 1e9
  let k = 0
  for (let i = 0; i < arrivals.length; i += 3) {
    const [from, to, at] = [arrivals[i]!, arrivals[i + 1]!, arrivals[i + 2]!]
    if (at < begin) continue
    while (k < sent.length && sent[k]![1] <= from) k++
    for (let j = k; j < sent.length && sent[j]![0] < to; j++) {
      const rows = Math.min(to, sent[j]![1]) - Math.max(from, sent[j]![0])
      distribution.add(at - sent[j]![2], rows)
    }
  }
  return distribution
}

/** A trade on the wire, bytes. */
const TradeBytes = 48

/** Time of as many bytes through two hops in which nothing is done with them. */
const bareRelay = async ({ folder, rate, seconds }: CollectOptions): Promise<Distribution> => {
  const startAs = (role: RelayRole): Running => start(relayProgram, [JSON.stringify(role)])
  const path = join(folder, "relay")
  const bytes = Math.round(rate / 1_000) * TradeBytes
  const receiver = startAs({ role: "receive", bytes, path })
  await receiver.line()
  const sender = startAs({ role: "send", bytes })
  const { port } = JSON.parse(await sender.line())
  const relay = startAs({ role: "relay", port, path })
  await relay.line()
  await sleep(seconds * 1_000)
  receiver.process.kill("SIGTERM")
  const took: ReadonlyArray<number> = JSON.parse(await receiver.line())
  await Promise.all([receiver, sender, relay].map((each) => each.end()))
  const distribution = new Distribution()
  // Until code is compiled.
  for (const nanos of took.slice(took.length >> 2)) distribution.add(nanos, 1)
  return distribution
}

/** Latency, where the strategy waits as it is told, beside what the two hops between the processes cost by themselves. */
export const latency = async (
  options: CollectOptions,
  target: { readonly p50: number; readonly p99: number }
): Promise<void> => {
  const { mode = "park", rate, seconds, symbols } = options
  heading(
    `${symbols} symbols, ${rate} trades/s for ${seconds} s: from the simulator's write to the strategy (${mode})`
  )
  const bare = await bareRelay(options)
  const collected = await collect({ ...options, isTimed: true })
  const times = latencies(options.folder, options.warmUp)
  const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => times.quantile(share)) as [
    number,
    number,
    number
  ]
  figure("p50", micros(p50), p50 < target.p50, `< ${micros(target.p50)}`)
  figure("p99", micros(p99), p99 < target.p99, `< ${micros(target.p99)}`)
  const [b50, b99] = [bare.quantile(0.5), bare.quantile(0.99)]
  figure(
    "as many bytes through two bare sockets",
    `p50 ${micros(b50)}, p99 ${micros(b99)}: collecting takes ${(p50 / b50).toFixed(1)}x, ${(p99 / b99).toFixed(1)}x of that`
  )
  figure("p99.9, max", `${micros(p999)}, ${micros(times.quantile(1))} of ${times.rows} trades`)
  tellLoss(collected)
  tellCpu(collected)
}
