// usage: node scripts/run-examples.mjs [NAME...] [--folder FOLDER]
// Runs the examples as their readers would: each folder under `examples/` is a member of the workspace with a `start`
// script, and an example passes when
//   - its types are right (where it has a tsconfig.json),
//   - `start` ends with exit code 0 within its time limit: 120 s, or `"config": { "timeLimitSeconds": N }` in package.json,
//   - its output has every line of `expected.txt`, in that order, where that file exists. Other lines may stand between.
//     A line between slashes, /like this [0-9]+/, is a regular expression for the whole line.
// Data goes to a folder of its own (DM_DATA_DIR), which is removed afterwards.
import { spawn } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { prepare, root } from "./toolchain.mjs"

const killGraceMs = 5_000
const keptOutput = 4_000

/** Runs a program in its own process group; kills the whole group when the time is over. */
const runLimited = (file, argv, { limitMs, ...options }) =>
  new Promise((done) => {
    const child = spawn(file, argv, { stdio: ["ignore", "pipe", "pipe"], detached: true, ...options })
    const output = { stdout: "", all: "" }
    child.stdout.setEncoding("utf8").on("data", (text) => {
      output.stdout += text
      output.all += text
    })
    child.stderr.setEncoding("utf8").on("data", (text) => {
      output.all += text
    })
    const killGroup = (signal) => {
      try {
        process.kill(-child.pid, signal)
      } catch {
        // The group has ended.
      }
    }
    const timers = [
      setTimeout(killGroup, limitMs, "SIGTERM"),
      setTimeout(killGroup, limitMs + killGraceMs, "SIGKILL")
    ]
    const stop = () => killGroup("SIGTERM")
    process.once("SIGINT", stop).once("SIGTERM", stop)
    const start = performance.now()
    const finish = (code) => {
      for (const timer of timers) clearTimeout(timer)
      process.removeListener("SIGINT", stop).removeListener("SIGTERM", stop)
      const seconds = (performance.now() - start) / 1_000
      done({ code, seconds, timedOut: seconds * 1_000 >= limitMs, ...output })
    }
    child.on("error", (error) => {
      output.all += error.message
      finish(127)
    })
    child.on("close", (code, signal) => finish(code ?? signal))
  })

/** The first line of `expected` that the output lacks, or that comes too early there; undefined when all are found. */
export const missingLine = (expected, output) => {
  const lines = output.split("\n").map((line) => line.trimEnd())
  let at = 0
  for (const wanted of expected.split("\n").map((line) => line.trimEnd())) {
    if (wanted === "") continue
    const pattern = /^\/.+\/$/.test(wanted) ? new RegExp(`^(?:${wanted.slice(1, -1)})$`) : undefined
    const found = lines.findIndex((line, index) => index >= at && (pattern?.test(line) ?? line === wanted))
    if (found === -1) return wanted
    at = found + 1
  }
  return undefined
}

const failureOf = async (folder, env) => {
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  if (manifest.scripts?.start === undefined) return { reason: 'package.json has no "start" script' }
  if (existsSync(join(folder, "tsconfig.json"))) {
    const types = await runLimited("tsc", ["--noEmit", "--pretty", "false", "-p", folder], {
      limitMs: 120_000,
      env
    })
    if (types.code !== 0) return { reason: "its types are wrong", output: types.all }
  }
  const limitMs = 1_000 * (manifest.config?.timeLimitSeconds ?? 120)
  const result = await runLimited("npm", ["run", "--silent", "start"], { limitMs, cwd: folder, env })
  if (result.timedOut) return { reason: `not finished after ${limitMs / 1_000} s`, output: result.all }
  if (result.code !== 0) return { reason: `ended with ${result.code}`, output: result.all }
  const expected = join(folder, "expected.txt")
  const missing = existsSync(expected)
    ? missingLine(readFileSync(expected, "utf8"), result.stdout)
    : undefined
  if (missing !== undefined) return { reason: `its output has no line "${missing}"`, output: result.all }
  return undefined
}

const runAll = async (folders) => {
  const { env } = await prepare()
  let failed = 0
  for (const { name, path } of folders) {
    const data = mkdtempSync(join(tmpdir(), "dm-example-"))
    // Started by root, a database runs as somebody else, who has to get to folders in it.
    chmodSync(data, 0o711)
    const start = performance.now()
    try {
      const failure = await failureOf(path, { ...env, DM_DATA_DIR: data })
      const seconds = ((performance.now() - start) / 1_000).toFixed(1)
      console.log(`${name}: ${failure === undefined ? "ok" : `failed, ${failure.reason}`} (${seconds} s)`)
      if (failure === undefined) continue
      failed++
      if (failure.output) console.log(failure.output.slice(-keptOutput).replace(/^/gm, "    "))
    } finally {
      rmSync(data, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 })
    }
  }
  return failed
}

const main = async () => {
  const argv = process.argv.slice(2)
  const option = argv.indexOf("--folder")
  const parent = option === -1 ? join(root, "examples") : resolve(argv.splice(option, 2)[1])
  const folders = (existsSync(parent) ? readdirSync(parent) : [])
    .filter((name) => existsSync(join(parent, name, "package.json")))
    .filter((name) => argv.length === 0 || argv.some((part) => name.includes(part)))
    .map((name) => ({ name, path: join(parent, name) }))
  if (folders.length === 0) {
    console.log(`examples: none in ${parent}${argv.length === 0 ? "" : ` is called ${argv.join(" or ")}`}`)
    process.exit(1)
  }
  const failed = await runAll(folders)
  console.log(`examples: ${folders.length - failed} passed, ${failed} failed`)
  process.exit(failed === 0 ? 0 : 1)
}

if (process.argv[1] === import.meta.filename) await main()
