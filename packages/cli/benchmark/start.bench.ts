/**
 * How long `dm` takes before it does anything: built as it is published, without Node's compile cache, and from its
 * sources, each beside an empty Node program in the same interleaved run; and `dm status` on a running embedded server.
 *
 *     npm run bench -- cli/start
 */
import { spawnSync } from "node:child_process"
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect } from "effect"
import { build } from "tsup"
import { bundle } from "../tsup.config.ts"

const rounds = 11
const here = import.meta.dirname
const sources = resolve(here, "../src/bin.ts")
// Within the package, so that what is not bundled is found as in an installed one.
const folder = resolve(here, "../.tsc/start-bench")
const bin = join(folder, "dist", "bin.js")
const dataDir = mkdtempSync(join(tmpdir(), "dm-bench-"))
chmodSync(dataDir, 0o711)

interface Case {
  readonly name: string
  readonly argv: ReadonlyArray<string>
  readonly env?: { readonly [name: string]: string }
  /** Milliseconds that the median may take. */
  readonly limit?: number
}

const cases: ReadonlyArray<Case> = [
  { name: "node, an empty program", argv: ["-e", "0"] },
  { name: "dm --version", argv: [bin, "--version"] },
  { name: "dm --help", argv: [bin, "--help"], limit: 500 },
  {
    name: "dm --help, no compile cache",
    argv: [bin, "--help"],
    env: { NODE_DISABLE_COMPILE_CACHE: "1" }
  },
  {
    name: "dm --help, from sources",
    argv: ["--conditions=source", "--disable-warning=ExperimentalWarning", sources, "--help"]
  },
  { name: "dm status", argv: [bin, "status", "--data-dir", dataDir], limit: 1_000 }
]

const once = ({ name, argv, env }: Case): number => {
  const started = performance.now()
  const { status, stderr } = spawnSync(process.execPath, argv, {
    encoding: "utf8",
    cwd: folder,
    env: { ...process.env, ...env }
  })
  if (status !== 0) throw new Error(`${name} ended with exit code ${status}: ${stderr}`)
  return performance.now() - started
}

const median = (times: ReadonlyArray<number>): number =>
  [...times].sort((a, b) => a - b)[times.length >> 1] ?? Number.NaN

const measure = Effect.sync(() => {
  const times = cases.map((): Array<number> => [])
  for (const one of cases) once(one)
  for (let round = 0; round < rounds; round++)
    for (const [i, one] of cases.entries()) times[i]!.push(once(one))
  const yardstick = median(times[0]!)
  const width = Math.max(...cases.map(({ name }) => name.length))
  console.log(`${"".padEnd(width)}    median      best   x node    limit`)
  let good = true
  for (const [i, { name, limit }] of cases.entries()) {
    const value = median(times[i]!)
    good &&= limit === undefined || value < limit
    const cells = [
      `${value.toFixed(0)} ms`.padStart(8),
      `${Math.min(...times[i]!).toFixed(0)} ms`.padStart(8),
      (value / yardstick).toFixed(1).padStart(7),
      (limit === undefined ? "" : `${limit} ms`).padStart(7)
    ]
    console.log(`${name.padEnd(width)}  ${cells.join("  ")}`)
  }
  return good
})

const program = Effect.gen(function* () {
  mkdirSync(folder, { recursive: true })
  copyFileSync(resolve(here, "../package.json"), join(folder, "package.json"))
  const entry = { bin: resolve(here, "../src/bin.ts") }
  const outDir = join(folder, "dist")
  yield* Effect.promise(() => build({ ...bundle, entry, config: false, silent: true, clean: false, outDir }))
  yield* EmbeddedServer.acquire({ dataDir })
  once({ name: "dm migrate", argv: [bin, "migrate", "--up", "--data-dir", dataDir] })
  return yield* measure
})

const good = await Effect.runPromise(Effect.scoped(program))
await Effect.runPromise(EmbeddedServer.stop(dataDir, { force: true }))
for (const path of [folder, dataDir]) rmSync(path, { recursive: true, force: true })
process.exitCode = good ? 0 : 1
