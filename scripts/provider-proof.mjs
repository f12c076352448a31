// usage: node scripts/provider-proof.mjs            (after `npm run build`)
// What somebody meets who writes a provider with nothing but the published packages: `dm` from tarballs in an empty folder
// outside of the workspace scaffolds a package, whose suite is red; with the sources of examples/05-provider-package it is
// green; it is packed and installed beside a configuration that names it; and `dm` fills a database from it.
import { spawn } from "node:child_process"
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { makeConsumer, makeReport, oldestNode, output, pack, publicPackages, quiet, run } from "./packing.mjs"
import { fetchNode, prepare, root } from "./toolchain.mjs"

const example = join(root, "examples", "05-provider-package")
const { attempt, finish } = makeReport()
const day = ["--start", "2026-01-05", "--end", "2026-01-06"]

/** Packages of the workspace come from their tarballs, everything else from the registry. */
const useTarballs = (folder, packed) => {
  const file = join(folder, "package.json")
  const manifest = JSON.parse(readFileSync(file, "utf8"))
  for (const { name, tarball } of packed)
    if (manifest.devDependencies[name] !== undefined) manifest.devDependencies[name] = `file:${tarball}`
  writeFileSync(file, JSON.stringify(manifest))
}

/** How many tests passed and failed, and everything that was printed. */
const suite = (options) => {
  const found = run("npm", ["test"], options)
  const text = `${found.stdout}${found.stderr}`
  const count = (word) => Number(new RegExp(`Tests .*?(\\d+) ${word}`).exec(text)?.[1] ?? 0)
  return { status: found.status, text, passed: count("passed"), failed: count("failed") }
}

const redProblem = (options) => {
  const { failed, status, text } = suite(options)
  const isRed = status !== 0 && failed > 20 && text.includes("not written yet")
  if (isRed) return console.log(`       ${failed} tests are red`)
  return `exit code ${status}, ${failed} failed:\n${text}`
}

const greenProblem = (options) => {
  const { failed, passed, status, text } = suite(options)
  if (status === 0 && passed > 20 && failed === 0) return console.log(`       ${passed} tests are green`)
  return `exit code ${status}, ${passed} passed, ${failed} failed:\n${text}`
}

/** Replaces what was scaffolded by what was written. */
const fill = (folder) => {
  for (const part of ["src", "test"]) {
    rmSync(join(folder, part), { recursive: true })
    cpSync(join(example, part), join(folder, part), { recursive: true })
  }
}

/** Starts the venue; gives the process and the line that says where it is. */
const startVenue = (folder, options) =>
  new Promise((done, fail) => {
    const venue = spawn("node", ["test/serve.ts"], {
      ...options,
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"]
    })
    const timer = setTimeout(() => fail(new Error("the venue does not start")), 30_000)
    let text = ""
    let told = ""
    venue.stderr.setEncoding("utf8").on("data", (part) => {
      told += part
    })
    venue.stdout.setEncoding("utf8").on("data", (part) => {
      text += part
      if (!text.includes("\n")) return
      clearTimeout(timer)
      done({ venue, place: JSON.parse(text) })
    })
    venue.once("close", () => {
      clearTimeout(timer)
      fail(new Error(`the venue ended: ${told}`))
    })
  })

/** Fills a database through the loaded package, and looks at it. */
const useLoaded = (dm, place, project, options) => {
  const { env, live, url } = place
  const table = `[providers.acme]\npackage = "acme-provider"\nurl = "${url}"\nlive = "${live}"\n`
  writeFileSync(join(project, "data-manager.toml"), table)
  const call = (args) => {
    const found = run(dm, args, { ...options, env: { ...options.env, ...env } })
    if (`${found.stdout}${found.stderr}`.includes(env.ACME_KEY))
      throw new Error(`dm ${args[0]} tells the key`)
    if (found.status !== 0)
      throw new Error(`dm ${args.join(" ")}: ${found.status}\n${found.stdout}${found.stderr}`)
    return found.stdout
  }
  attempt("dm symbols discover -p acme", () => {
    const [found] = JSON.parse(call(["symbols", "discover", "-p", "acme", "--json"])).datasets
    return found.added === 3 ? undefined : `found ${JSON.stringify(found)}, not 3 symbols`
  })
  let stored = 0
  attempt("dm backfill -p acme", () => {
    const args = ["backfill", "-p", "acme", "-s", "BTC-EUR,ETH-EUR,SOL-EUR", ...day, "--verify", "--json"]
    const { chunks, failed } = JSON.parse(call(args))
    stored = chunks.reduce((sum, { inserted }) => sum + inserted, 0)
    return stored === 5_000 && failed.length === 0 ? undefined : `stored ${stored} rows, not 5000`
  })
  attempt("dm backfill -p acme, again", () => {
    const text = call(["backfill", "-p", "acme", "-s", "BTC-EUR", ...day])
    return text.includes("nothing to fetch") ? undefined : `printed:\n${text}`
  })
  attempt("dm query trades ACME.SPOT:BTC-EUR", () => {
    const text = call(["query", "trades", "ACME.SPOT:BTC-EUR", ...day, "--limit", "3", "--json"])
    const rows = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
    console.log(rows.map(({ price, size, ts_event }) => `       ${ts_event} ${price} x ${size}`).join("\n"))
    return rows.length === 3 && rows.every(({ symbol }) => symbol === "ACME.SPOT:BTC-EUR") ? undefined : text
  })
}

/** The database of `dm` goes on for some seconds; its folder is to be removed now. */
const stopDatabase = (project, dataDir, options) => {
  const program = `import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Effect } from "effect"
await Effect.runPromise(EmbeddedServer.stop(process.argv[2], { force: true }))
`
  writeFileSync(join(project, "stop.mjs"), program)
  output("node", ["stop.mjs", dataDir], { ...options, cwd: project })
}

const prove = async (work, workspaceEnv) => {
  const packed = publicPackages().map((found) => ({
    name: found.manifest.name,
    manifest: found.manifest,
    tarball: pack(found, work, workspaceEnv)
  }))
  const node = await fetchNode(oldestNode)
  const dataDir = join(work, "data")
  const env = {
    ...process.env,
    PATH: `${dirname(node)}${delimiter}${process.env.PATH}`,
    DM_DATA_DIR: dataDir,
    NO_COLOR: "1"
  }
  const project = join(work, "project")
  const provider = join(project, "acme-provider")
  const here = { cwd: project, env }
  const there = { cwd: provider, env }
  const dm = join(project, "node_modules", ".bin", "dm")
  const steps = [
    [
      `npm install of ${packed.length} tarballs under Node ${oldestNode}`,
      () => makeConsumer(project, packed, env)
    ],
    ["dm provider new acme", () => void output(dm, ["provider", "new", "acme"], here)],
    [
      "npm install in the new package",
      () => {
        useTarballs(provider, packed)
        output("npm", ["install", ...quiet], there)
      }
    ],
    ["its types are right", () => void output("npm", ["run", "typecheck"], there)],
    ["its suite is red", () => redProblem(there)],
    ["the sources of the example are put in", () => fill(provider)],
    ["its types are right with them", () => void output("npm", ["run", "typecheck"], there)],
    ["its suite is green", () => greenProblem(there)],
    [
      "npm pack, and npm install beside the configuration",
      () => {
        output("npm", ["pack", ...quiet], there)
        const tarball = readdirSync(provider).find((name) => name.endsWith(".tgz"))
        output("npm", ["install", ...quiet, join(provider, tarball)], here)
      }
    ]
  ]
  // Each step stands on the ones before it.
  for (const [name, work] of steps) if (!attempt(name, work)) return
  const { place, venue } = await startVenue(provider, { env })
  try {
    useLoaded(dm, place, project, here)
  } finally {
    venue.removeAllListeners("close").kill()
    attempt("the database stops", () => stopDatabase(project, dataDir, { env }))
  }
}

const main = async () => {
  const { env } = await prepare({ pnpm: true })
  const work = mkdtempSync(join(tmpdir(), "dm-provider-"))
  // Started by root, the database runs as another user, who has to get to its folder.
  chmodSync(work, 0o711)
  try {
    await prove(work, env)
  } finally {
    rmSync(work, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 })
  }
  finish("provider package")
}

await main()
