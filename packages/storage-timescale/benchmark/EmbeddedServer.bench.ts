// What a program pays for the embedded server: the first start, a later one, and attaching to a running one, each beside
// the bare programs of PostgreSQL doing the same with nothing around them. Interleaved; medians.
import { execFileSync, spawn } from "node:child_process"
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Exit, Scope } from "effect"
import pg from "pg"
import type { Binaries } from "../src/embedded/index.ts"
import { EmbeddedServer } from "../src/embedded/index.ts"
import { clientConfig, type ServerAddress } from "../src/PgServer.ts"

const rounds = process.argv.includes("--quick") ? 3 : 7
const root = mkdtempSync(join(tmpdir(), "dm-bench-"))
chmodSync(root, 0o755)
const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
const folder = (name: string): string => {
  const path = join(root, name)
  mkdirSync(path)
  if (user.uid !== undefined) chownSync(path, user.uid, user.gid)
  return path
}
const times = new Map<string, Array<number>>()
const note = (name: string, from: number): void => {
  times.set(name, [...(times.get(name) ?? []), performance.now() - from])
}

const bareInit = (programs: Binaries, path: string): void => {
  const password = join(root, "password")
  writeFileSync(password, "x\n", { mode: 0o644 })
  const from = performance.now()
  const args = [
    "-D",
    path,
    "-U",
    "bare",
    "--pwfile",
    password,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C"
  ]
  execFileSync(programs.initdb, args, {
    ...user,
    cwd: path,
    stdio: "ignore",
    env: { LC_ALL: "C", PATH: "/usr/bin:/bin" }
  })
  note("initdb alone", from)
}

const connect = async (config: pg.ClientConfig): Promise<void> => {
  const client = new pg.Client(config)
  await client.connect()
  await client.query("SELECT 1")
  await client.end()
}

const bareStart = async (programs: Binaries, path: string): Promise<void> => {
  const from = performance.now()
  const args = ["-D", path, "-c", "listen_addresses=", "-c", `unix_socket_directories=${path}`]
  const child = spawn(programs.postgres, args, { ...user, cwd: path, stdio: "ignore" })
  const isReady = (): boolean => {
    try {
      return /^ready/m.test(readFileSync(join(path, "postmaster.pid"), "utf8"))
    } catch {
      return false
    }
  }
  while (!isReady()) await new Promise((resolve) => setTimeout(resolve, 2))
  await connect({ host: path, user: "bare", password: "x", database: "postgres" })
  note("postgres alone, default settings", from)
  child.kill("SIGINT")
  await new Promise((resolve) => child.once("exit", resolve))
}

const acquire = async (dataDir: string, name: string) => {
  const scope = await Effect.runPromise(Scope.make())
  const from = performance.now()
  const address: ServerAddress = await Effect.runPromise(
    EmbeddedServer.acquire({ dataDir, linger: "1 minute" }).pipe(Scope.provide(scope))
  )
  note(name, from)
  return { address, release: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

const oneRound = async (programs: Binaries, round: number): Promise<void> => {
  const dataDir = join(root, `ours${round}`)
  const first = await acquire(dataDir, "first start")
  await first.release()
  await Effect.runPromise(EmbeddedServer.stop(dataDir))
  const bare = folder(`bare${round}`)
  bareInit(programs, bare)
  const second = await acquire(dataDir, "later start")
  await bareStart(programs, bare)
  const third = await acquire(dataDir, "attach")
  const from = performance.now()
  await connect(clientConfig(third.address))
  note("one connection", from)
  await third.release()
  await second.release()
  await Effect.runPromise(EmbeddedServer.stop(dataDir))
  rmSync(dataDir, { recursive: true })
  rmSync(bare, { recursive: true })
}

const median = (name: string): number => {
  const sorted = [...(times.get(name) ?? [])].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

const table: ReadonlyArray<readonly [what: string, yardstick: string, most: number]> = [
  ["first start", "initdb alone", 3],
  ["later start", "postgres alone, default settings", 8],
  ["attach", "one connection", 6]
]

try {
  const programs = await Effect.runPromise(EmbeddedServer.binaries({ dataDir: root }))
  console.log(`PostgreSQL ${programs.version}, run from the ${programs.source}; ${rounds} rounds`)
  for (let round = 0; round < rounds; round++) await oneRound(programs, round)
  for (const [what, yardstick, most] of table) {
    const ratio = median(what) / median(yardstick)
    const verdict = ratio <= most ? "ok" : "MISSED"
    console.log(
      `${what.padEnd(12)} ${median(what).toFixed(0).padStart(6)} ms   ${yardstick.padEnd(33)} ${median(yardstick).toFixed(0).padStart(6)} ms   ratio ${ratio.toFixed(1)} (at most ${most}) ${verdict}`
    )
    if (ratio > most) process.exitCode = 1
  }
} finally {
  rmSync(root, { recursive: true, force: true })
}
