/** Processes of a load run: the simulator, services and strategies, all from their sources, each ended by its own handle. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { createInterface } from "node:readline"
import type { MarketSeed, StrategyOptions, StrategyReport } from "./StrategyAccount.ts"

const flags = ["--conditions=source", "--disable-warning=ExperimentalWarning"]
const entry = (name: string): string => resolve(import.meta.dirname, name)
export const dm = resolve(import.meta.dirname, "../../src/bin.ts")

/** A process and the lines that it writes. */
export interface Running {
  readonly process: ChildProcess
  /** The next line; fails where the process has ended. */
  readonly line: () => Promise<string>
  /** Lines that nobody has taken yet, and forgets them. */
  readonly lines: () => ReadonlyArray<string>
  /** What it wrote as errors, so far. */
  readonly errors: () => string
  /** Signals, and waits for the end. */
  readonly end: (signal?: NodeJS.Signals) => Promise<void>
}

/** Starts a program of Node. */
export const start = (
  program: string,
  args: ReadonlyArray<string>,
  {
    cwd,
    env,
    nodeFlags = []
  }: {
    readonly env?: NodeJS.ProcessEnv | undefined
    readonly cwd?: string | undefined
    readonly nodeFlags?: ReadonlyArray<string> | undefined
  } = {}
): Running => {
  const child = spawn(process.execPath, [...flags, ...nodeFlags, program, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "pipe"]
  })
  const waiting: Array<string> = []
  const errors: Array<string> = []
  let wake = (): void => {}
  createInterface({ input: child.stdout! }).on("line", (line) => {
    waiting.push(line)
    wake()
  })
  child.stderr!.on("data", (chunk: Buffer) => {
    errors.push(chunk.toString())
    if (errors.length > 2000) errors.splice(0, 1000)
  })
  let hasEnded = false
  const ended = once(child, "close").then(() => {
    hasEnded = true
    wake()
  })
  return {
    process: child,
    line: async () => {
      while (waiting.length === 0) {
        if (hasEnded)
          throw new Error(
            `${program} ended with ${child.exitCode ?? child.signalCode}: ${errors.join("").slice(-2000)}`
          )
        await new Promise<void>((done) => {
          wake = done
        })
      }
      return waiting.shift()!
    },
    lines: () => waiting.splice(0),
    errors: () => errors.join(""),
    end: async (signal = "SIGTERM") => {
      child.kill(signal)
      // One that is stopped takes no other signal.
      if (signal !== "SIGSTOP") child.kill("SIGCONT")
      await ended
    }
  }
}

/** A simulator with an endless market. */
export interface MarketProcess {
  readonly running: Running
  readonly port: number
  readonly httpPort: number
  readonly key: string
  readonly dataset: string
  readonly market: MarketSeed
}

export interface MarketOptions {
  readonly symbols: number
  readonly rate: number
  readonly seed?: number | undefined
  /** ISO 8601. */
  readonly since?: string | undefined
  readonly record?: string | undefined
  readonly port?: number | undefined
  readonly httpPort?: number | undefined
}

/** ns of an ISO time with up to nine digits behind the second. */
const nanosOf = (iso: string): bigint => {
  const [seconds, rest = ""] = iso.replace("Z", "").split(".")
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(rest.padEnd(9, "0"))
}

/** Starts a simulator and waits until it is ready. */
export const startMarket = async (options: MarketOptions): Promise<MarketProcess> => {
  const { httpPort, port, rate, record, seed = 1, since, symbols } = options
  const given = (name: string, value: string | number | undefined): ReadonlyArray<string> =>
    value === undefined ? [] : [name, `${value}`]
  const running = start(dm, [
    ...["sim", "databento", "--endless", "--symbols", `${symbols}`, "--rate", `${rate}`, "--seed", `${seed}`],
    ...given("--since", since),
    ...given("--record", record),
    ...given("--live-port", port),
    ...given("--http-port", httpPort)
  ])
  const ready = JSON.parse(await running.line())
  return {
    running,
    port: ready.live_port,
    httpPort: ready.http_port,
    key: ready.key,
    dataset: ready.dataset,
    market: { symbols, rate, seed, since: `${nanosOf(ready.since)}` }
  }
}

/** Starts a strategy and waits until it reads. */
export const startStrategy = async (options: StrategyOptions): Promise<Running> => {
  const running = start(entry("Strategy.ts"), [JSON.stringify(options)])
  await running.line()
  return running
}

/** Ends a strategy and gives its account. */
export const endStrategy = async (strategy: Running): Promise<StrategyReport> => {
  strategy.process.kill("SIGTERM")
  const report: StrategyReport = JSON.parse(await strategy.line())
  await strategy.end()
  return report
}

/** Processor time of a process and its threads since its start, ms; from Linux. */
export const cpuOf = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ")
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** Resident memory of a process, bytes, and the part of it that no file and no other process shares. */
export const memoryOf = (pid: number): { readonly rss: number; readonly own: number } => {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  const of = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) * 1024
  return { rss: of("VmRSS"), own: of("RssAnon") }
}
