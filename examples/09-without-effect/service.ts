/** `dm start` as anybody would run it, collecting a simulated day. A program of yours does not need this file. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join, resolve } from "node:path"
import { createInterface } from "node:readline"

const folder = resolve(process.env.DM_DATA_DIR ?? "./data")
mkdirSync(folder, { recursive: true })
const dataDir = join(folder, "database")
const ring = { name: `without_effect_${process.pid}`, dir: join(folder, "ring") }

/** The `dm` of the package that stands beside. */
const dm = join(
  dirname(createRequire(import.meta.url).resolve("@data-manager/cli/package.json")),
  "src",
  "bin.ts"
)

const start = (args: ReadonlyArray<string>, env: Record<string, string> = {}): ChildProcess =>
  spawn(process.execPath, [...process.execArgv, dm, ...args], {
    cwd: folder,
    env: { ...process.env, DM_DATA_DIR: dataDir, ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })

/** The first line that has a text in it; the rest is read and thrown away. */
const lineWith = (stream: NodeJS.ReadableStream, text: string): Promise<string> =>
  new Promise((found, fail) => {
    let last = ""
    const lines = createInterface({ input: stream })
    lines.on("line", (line) => {
      last = line
      if (line.includes(text)) found(line)
    })
    lines.on("close", () => fail(new Error(`the program has ended: ${last}`)))
  })

const end = async (child: ChildProcess): Promise<void> => {
  child.kill("SIGTERM")
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
}

/** Starts simulator and service; resolves when the service collects. */
export const startService = async () => {
  const simulator = start(["sim", "databento", "--synthetic", "--trades", "60000", "--rate", "5000"])
  const { http_port, key, live_port } = JSON.parse(await lineWith(simulator.stdout!, "{"))
  const config = join(folder, "data-manager.toml")
  writeFileSync(
    config,
    `
[providers.databento]
historical_url = "http://127.0.0.1:${http_port}"
live_address = "127.0.0.1:${live_port}"
datasets = ["DBEQ.BASIC"]
[symbols]
config_file = "symbols.toml"
[realtime.shm]
name = "${ring.name}"
dir = "${ring.dir}"
[backfill]
enabled = false
[spool]
disk_floor_gb = 0
[control]
port = 0
`
  )
  writeFileSync(
    join(folder, "symbols.toml"),
    `[[symbols]]\nsymbol = "DBEQ.BASIC:ALL_SYMBOLS"\nprovider = "databento"\n`
  )
  const service = start(["-c", config, "start"], { DATABENTO_API_KEY: key })
  const stop = async () => {
    await end(service)
    await end(simulator)
  }
  try {
    await lineWith(service.stderr!, "collecting;")
  } catch (error) {
    await stop()
    throw error
  }
  return { dataDir, ring, [Symbol.asyncDispose]: stop }
}
