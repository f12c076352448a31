/**
 * The memory of `dm import`: the most that the process ever holds resident must not grow with the file. Two files of made-up
 * trades, one four times as long as the other, each into an empty embedded server; bars and ledger are kept as always.
 *
 *     npm run bench -- cli/import [-- --trades=1000000 --symbols=2000]
 */
import { spawnSync } from "node:child_process"
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect } from "effect"
import { flagsOf } from "../test/BuiltDm.ts"

const option = (name: string, fallback: number): number => {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`))
  return found === undefined ? fallback : Number(found.slice(name.length + 3))
}
const trades = option("trades", 1_000_000)
const symbols = option("symbols", 2_000)
const mostMegabytes = 300

const bin = resolve(import.meta.dirname, "../src/bin.ts")
const program = ["--conditions=source", "--disable-warning=ExperimentalWarning", ...flagsOf(bin), bin]
/** Told by the process itself when it ends, as its last line. */
const teller =
  "data:text/javascript,process.on('exit',()=>process.stderr.write('\\npeak '+process.resourceUsage().maxRSS+'\\n'))"

const writeMarket = (path: string, count: number): void => {
  const file = openSync(path, "w")
  for (const chunk of new SyntheticMarket({ symbols, trades: count, seed: 1 }).tradeFile())
    writeSync(file, chunk)
  closeSync(file)
}

/** Runs `dm import` on a file; its peak in megabytes, and the seconds it took. */
const importFile = (path: string, env: NodeJS.ProcessEnv): readonly [megabytes: number, seconds: number] => {
  const from = performance.now()
  const { status, stderr } = spawnSync(process.execPath, ["--import", teller, ...program, "import", path], {
    env,
    encoding: "utf8"
  })
  const seconds = (performance.now() - from) / 1000
  if (status !== 0) throw new Error(`dm import ended with ${status}: ${stderr}`)
  const kibibytes = Number(/peak (\d+)/.exec(stderr)?.[1])
  return [kibibytes / 1024, seconds]
}

const measure = async (count: number): Promise<number> => {
  const folder = mkdtempSync(join(tmpdir(), "dm-import-"))
  // Started by root, the server runs as somebody else, who has to get to its directory.
  chmodSync(folder, 0o711)
  const dataDir = join(folder, "data")
  try {
    const path = join(folder, "day.dbn")
    writeMarket(path, count)
    const [megabytes, seconds] = importFile(path, { ...process.env, DM_DATA_DIR: dataDir })
    const rate = Math.round(count / seconds).toLocaleString("en")
    console.log(
      `${count.toLocaleString("en").padStart(11)} trades of ${symbols.toLocaleString("en")} symbols: ` +
        `${megabytes.toFixed(0).padStart(4)} MB at most, ${seconds.toFixed(1)} s, ${rate} rows/s`
    )
    return megabytes
  } finally {
    await Effect.runPromise(EmbeddedServer.stop(dataDir, { force: true }))
    rmSync(folder, { recursive: true, force: true })
  }
}

const few = await measure(trades)
const many = await measure(4 * trades)
const isMet = many <= mostMegabytes
console.log(
  `four times the file: ${(many / few).toFixed(2)}x; at most ${mostMegabytes} MB: ${isMet ? "ok" : "MISSED"}`
)
if (!isMet) process.exitCode = 1
