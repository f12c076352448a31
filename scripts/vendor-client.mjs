// usage: node scripts/with-toolchain.mjs node --conditions=source scripts/vendor-client.mjs [PYTHON]
// Lets the vendor's official Python client loose on `dm sim databento --synthetic --tls`. PYTHON is an interpreter that
// has the client: python3 -m venv DIR && DIR/bin/pip install databento. Ends with exit code 1 where anything differs.
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { SyntheticMarket } from "../packages/providers-databento/src/simulator/SyntheticMarket.ts"

const TRADES = 50_000
/** Where the second simulator's market begins: what is before has to be replayed. */
const LIVE_FROM = "2026-01-05T18:00:00Z"

const python = process.argv[2] ?? process.env.DM_PYTHON ?? "python3"
const bin = resolve(import.meta.dirname, "../packages/cli/src/bin.ts")
const folder = mkdtempSync(join(tmpdir(), "vendor-client-"))
const children = []

/** Starts a simulator and gives what it printed when it was ready. */
const startSimulator = (...args) =>
  new Promise((done, fail) => {
    const child = spawn(
      process.execPath,
      [
        "--conditions=source",
        "--disable-warning=ExperimentalWarning",
        bin,
        ...["sim", "databento", "--synthetic", "--tls", "--trades", String(TRADES), ...args]
      ],
      { stdio: ["ignore", "pipe", "inherit"] }
    )
    children.push(child)
    let text = ""
    child.stdout.on("data", (chunk) => {
      text += chunk
      if (text.includes("\n")) done(JSON.parse(text))
    })
    child.on("exit", (code) => fail(new Error(`the simulator ended with exit code ${code}`)))
  })

const stopped = (child) =>
  new Promise((done) => {
    if (child.exitCode !== null) return done(child.exitCode)
    child.removeAllListeners("exit")
    child.on("exit", (code) => done(code))
    child.kill("SIGTERM")
  })

try {
  const truth = join(folder, "trades.dbn")
  writeFileSync(truth, Buffer.concat([...new SyntheticMarket({ trades: TRADES }).tradeFile()]))
  const whole = await startSimulator()
  const late = await startSimulator("--live-from", LIVE_FROM)
  const setting = { truth, folder, live_from: LIVE_FROM, simulator: whole, late }
  const run = spawnSync(python, [resolve(import.meta.dirname, "vendor-client.py"), JSON.stringify(setting)], {
    stdio: "inherit",
    timeout: 300_000,
    env: { ...process.env, REQUESTS_CA_BUNDLE: whole.ca_file }
  })
  if (run.error !== undefined) throw run.error
  const codes = await Promise.all(children.map(stopped))
  console.log(`simulators ended with exit codes ${codes.join(", ")}`)
  process.exitCode = run.status === 0 && codes.every((code) => code === 130) ? 0 : 1
} finally {
  await Promise.all(children.map(stopped))
  rmSync(folder, { recursive: true, force: true })
}
