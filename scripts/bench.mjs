// usage: npm run bench [-- NAME...] [-- --on=timescale] [-- --FLAG...]
// Runs the benchmarks of the packages one after another: every `packages/*/benchmark/*.bench.ts`, each a program that
// prints its own tables and ends with a code other than 0 when a figure misses its target. With names only those whose
// `package/name` contains one of them. Flags go to the benchmarks.
//
// Those of the store run on the embedded server, on the one that DM_BENCH_URL names, or, `--on=timescale`, on a TimescaleDB
// server that is fetched from Debian, started and ended (timescale-server.mjs), with settings of a server that keeps its data.
import { existsSync, readdirSync } from "node:fs"
import { availableParallelism, cpus, totalmem } from "node:os"
import { join } from "node:path"
import { prepare, root, run } from "./toolchain.mjs"

const listed = () =>
  readdirSync(join(root, "packages")).flatMap((name) => {
    const folder = join(root, "packages", name, "benchmark")
    const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".bench.ts")) : []
    return files
      .sort()
      .map((file) => ({ name: `${name}/${file.slice(0, -".bench.ts".length)}`, path: join(folder, file) }))
  })

const machine = () => {
  const memory = `${(totalmem() / 2 ** 30).toFixed(0)} GiB`
  return `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, ${memory}, Node ${process.versions.node}`
}

const flags = process.argv.slice(2).filter((argument) => argument.startsWith("-"))
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith("-"))
const all = listed()
const chosen = all.filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
if (chosen.length === 0) {
  const names = all.map(({ name }) => `\n  ${name}`).join("")
  const problem =
    wanted.length === 0 ? "there is no benchmark" : `no benchmark is called ${wanted.join(" or ")}`
  console.error(`bench: ${problem}${names && `; there are:${names}`}`)
  process.exit(2)
}

const { node, env } = await prepare()
console.log(machine())
const results = []

/** Runs the chosen ones; `more` is added to their environment. */
const runAll = async (more = {}) => {
  for (const { name, path } of chosen) {
    console.log(`\n=== ${name}`)
    const start = performance.now()
    const options = ["--conditions=source", "--expose-gc", "--disable-warning=ExperimentalWarning"]
    const code = await run(node, [...options, path, ...flags], { env: { ...env, ...more } })
    results.push({ name, code, seconds: (performance.now() - start) / 1_000 })
    if (code > 128) break // stopped by a signal: the user wants the rest stopped, too
  }
  return 0
}

/** As `dm` sets the embedded server, where it makes a difference. */
const keepsData = {
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  shared_buffers: "1GB",
  max_wal_size: "4GB",
  checkpoint_timeout: "15min"
}

if (flags.includes("--on=timescale")) {
  const { onServer } = await import("./test-timescale.mjs")
  const options = { ci: false, name: "bench", settings: keepsData }
  const code = await onServer(
    await import("./timescale-server.mjs"),
    (url) => runAll({ DM_BENCH_URL: url }),
    options
  )
  if (results.length === 0) process.exit(code)
} else await runAll()

console.log("\n=== all")
const width = Math.max(...results.map(({ name }) => name.length))
for (const { name, code, seconds } of results) {
  const outcome = code === 0 ? "ok" : `failed with exit code ${code}`
  console.log(`${name.padEnd(width)}  ${seconds.toFixed(1).padStart(7)} s  ${outcome}`)
}
process.exit(results.every(({ code }) => code === 0) ? 0 : 1)
