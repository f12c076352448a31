/**
 * How long the built `dm` takes to start, beside Node starting with an empty program, in interleaved rounds. Build first.
 *
 *     dm --help      < 0.5 s
 *     dm status      < 1 s against a running database
 */
import { spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect } from "effect"

const bin = resolve(import.meta.dirname, "../dist/bin.js")
const rounds = 15

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!

const timed = (args: ReadonlyArray<string>, env: NodeJS.ProcessEnv): number => {
  const started = performance.now()
  const { status, stderr } = spawnSync(process.execPath, args, { env, encoding: "utf8" })
  if (status !== 0) throw new Error(`${args.join(" ")} ended with ${status}: ${stderr}`)
  return performance.now() - started
}

if (!existsSync(bin)) {
  console.log("dm is not built: run `npm run build` first")
} else {
  const folder = mkdtempSync(join(tmpdir(), "dm-startup-"))
  // Started by root, the server runs as somebody else, who has to get to its directory.
  chmodSync(folder, 0o711)
  const empty = join(folder, "empty.mjs")
  writeFileSync(empty, "")
  const env = { ...process.env, DM_DATA_DIR: join(folder, "data") }
  const programs: { readonly [name: string]: ReadonlyArray<string> } = {
    "node, empty program": [empty],
    "dm --version": [bin, "--version"],
    "dm --help": [bin, "--help"],
    "dm import --help": [bin, "import", "--help"],
    "dm status": [bin, "status"]
  }
  const measure = Effect.gen(function* () {
    yield* EmbeddedServer.acquire({ dataDir: env.DM_DATA_DIR })
    timed([bin, "migrate", "--up"], env)
    const times = new Map<string, Array<number>>()
    // The first round fills the compile cache.
    for (let round = 0; round <= rounds; round++)
      for (const [name, args] of Object.entries(programs)) {
        const took = timed(args, env)
        if (round > 0) times.set(name, [...(times.get(name) ?? []), took])
      }
    const base = median(times.get("node, empty program")!)
    for (const [name, values] of times) {
      const middle = median(values)
      console.log(
        `${name.padEnd(22)} ${middle.toFixed(0).padStart(5)} ms   ${(middle / base).toFixed(2)}x   (best ${Math.min(...values).toFixed(0)})`
      )
    }
  })
  await Effect.runPromise(Effect.scoped(measure))
  await Effect.runPromise(EmbeddedServer.stop(env.DM_DATA_DIR, { force: true }))
  rmSync(folder, { recursive: true, force: true })
}
