// usage: node scripts/pack-smoke.mjs            (after `npm run build`)
// What a user of the published packages meets: packs every package, checks what is inside, installs the tarballs with
// plain npm into an empty project under the oldest Node that `engines` allows, and there imports every export, checks
// the types of every export, runs `dm`, and sends rows through a shared-memory ring without a compiler.
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import {
  fits,
  makeConsumer,
  makeReport,
  oldestNode,
  output,
  pack,
  publicPackages,
  stepLimitMs
} from "./packing.mjs"
import { fetchNode, prepare } from "./toolchain.mjs"

const { attempt, finish } = makeReport()

// ---------------------------------------------------------------------------------------------------------------------
// One package

/** The files that `exports`, `main` and `bin` name, without the ones behind the workspace's own `source` condition. */
const namedFiles = ({ exports, main, bin }) => {
  const targets = (value) => {
    if (typeof value === "string") return [value]
    return Object.entries(value ?? {}).flatMap(([key, target]) => (key === "source" ? [] : targets(target)))
  }
  return [...targets(exports), ...targets(main), ...targets(bin)].filter((target) => !target.includes("*"))
}

const contentProblem = (tarball, env) => {
  const files = output("tar", ["-tzf", tarball], { env }).split("\n")
  const has = (path) => files.includes(`package/${path.replace(/^\.\//, "")}`)
  const manifest = JSON.parse(output("tar", ["-xzOf", tarball, "package/package.json"], { env }))
  const dependencies = {
    ...manifest.dependencies,
    ...manifest.optionalDependencies,
    ...manifest.peerDependencies
  }
  const problems = [
    ...["README.md", "LICENSE"].filter((name) => !has(name)).map((name) => `${name} is missing`),
    ...namedFiles(manifest)
      .filter((path) => !has(path))
      .map((path) => `${path} is named in package.json but missing: is the package built?`),
    ...files
      .filter((path) =>
        /(\.test\.|\.bench\.|\.tsbuildinfo$|^package\/(test|benchmark|node_modules)\/)/.test(path)
      )
      .map((path) => `${path} does not belong into a published package`),
    ...Object.entries(dependencies)
      .filter(([, range]) => /^(workspace|catalog|file|link):/.test(range))
      .map(([name, range]) => `the range of ${name} is "${range}", which npm does not know`)
  ]
  if (manifest.engines?.node !== ">=22.19") problems.push('engines.node is not ">=22.19"')
  return problems.length === 0 ? undefined : problems.join("\n")
}

const packOne = (found, destination, env) => {
  const { folder, manifest } = found
  const { name } = manifest
  if (!fits(manifest) && !existsSync(join(folder, manifest.main))) {
    console.log(`skipped ${name}: its compiler is not here, so it has no binary`)
    return [{ name, manifest, tarball: pack(found, destination, env) }]
  }
  let tarball
  attempt(`${name}: pack`, () => {
    tarball = pack(found, destination, env)
    return contentProblem(tarball, env)
  })
  if (tarball === undefined) return []
  attempt(`${name}: publint`, () => void output("publint", ["run", tarball, "--strict"], { env }))
  return [{ name, manifest, tarball }]
}

// ---------------------------------------------------------------------------------------------------------------------
// A project that uses them

const exportNames = ({ name, manifest }) =>
  Object.entries(manifest.exports ?? {})
    .filter(([subpath, target]) => target !== null && subpath !== "./package.json" && !subpath.includes("*"))
    .map(([subpath]) => name + subpath.slice(1))

/** Ends by itself only when the import leaves nothing running. */
const importProgram = `const name = process.argv[2]
if (Object.keys(await import(name)).length === 0) throw new Error(name + " exports nothing")
`

/** Publishes in one process; reads there, and in `dm`. argv: the ring's folder, the file of `dm`. */
const ringProgram = `import { execFileSync } from "node:child_process"
import { batchContext, directory, tradeBuilder } from "@data-manager/core"
import { RingReader, RingWriter } from "@data-manager/transport-shm"
const [dir, dm] = process.argv.slice(2)
const instrument = { id: 1, provider: "smoke", dataset: "SMOKE", rawSymbol: "A", symbol: "SMOKE:A", priceScale: 2, sizeScale: 0,
  assetClass: "equity", exchange: undefined }
const context = batchContext({ provider: "smoke", dataset: "SMOKE", instruments: directory([instrument]) })
const writer = new RingWriter({ dir, name: "smoke", capacity: 1024 })
const reader = new RingReader({ dir, name: "smoke" })
const builder = tradeBuilder(context, 10)
for (let i = 0; i < 10; i++) {
  builder.columns.instrument[i] = 1
  builder.columns.price[i] = BigInt(100 + i)
}
builder.length = 10
writer.publish(builder.flush())
const [event] = reader.poll()
const run = (...args) => execFileSync(process.execPath, [dm, ...args, "--dir", dir, "--json"], { encoding: "utf8" })
const rows = run("tail", "smoke", "--from", "oldest", "--limit", "10").trim().split("\\n").map((line) => JSON.parse(line).price)
const { rings } = JSON.parse(run("ring", "list"))
console.log(JSON.stringify({ read: [...event.batch.columns.price].map(Number), rows: rows.map(Number), ring: rings[0].name }))
reader.close()
writer.close()
`

const ringProblem = (dm, options) => {
  const dir = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "dm-pack-"))
  try {
    const text = output("node", ["ring.mjs", dir, dm], options)
    const numbers = Array.from({ length: 10 }, (_, i) => 100 + i)
    const expected = JSON.stringify({ read: numbers, rows: numbers, ring: "smoke" })
    return text.trim() === expected ? undefined : `printed ${text.trim()}, not ${expected}`
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

const checkTypes = (folder, names, workspaceEnv) => {
  const lines = names.map((name, index) => `import * as export${index} from "${name}"\nvoid export${index}\n`)
  writeFileSync(join(folder, "consumer.ts"), lines.join(""))
  const compilerOptions = {
    target: "ES2023",
    lib: ["ES2023", "ESNext.Disposable"],
    module: "NodeNext",
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    skipLibCheck: true,
    types: []
  }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }))
  output("tsc", ["-p", folder, "--pretty", "false"], { env: workspaceEnv })
}

const dmVersionProblem = (dm, version, options) => {
  const text = output(dm, ["--version"], options)
  return text.includes(version) ? undefined : `dm --version printed ${JSON.stringify(text)}, not ${version}`
}

const dmHelpProblem = (dm, options) => {
  const text = output(dm, ["--help"], options)
  return /\bdm\b/.test(text) && text.includes("import") ? undefined : `dm --help printed:\n${text}`
}

/** On a Node that is too old `dm` says so in one line and fails. */
const oldNodeProblem = (node, dm, folder) => {
  const found = spawnSync(node, [dm, "--version"], { cwd: folder, encoding: "utf8", timeout: stepLimitMs })
  const lines = found.stderr.trimEnd().split("\n")
  const isClear =
    found.status !== 0 && found.stdout === "" && lines.length === 1 && lines[0].includes("22.19")
  return isClear ? undefined : `exit code ${found.status}, printed:\n${found.stdout}${found.stderr}`
}

/** The Node that started the whole run, when it is too old for the packages. */
const olderNode = () => {
  const candidates = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "node"))
  return candidates.filter(existsSync).find((file) => {
    const version = spawnSync(file, ["--version"], { encoding: "utf8" }).stdout ?? ""
    return /^v(1[0-9]|2[01])\./.test(version)
  })
}

const useInProject = async (packed, folder, workspaceEnv) => {
  const node = await fetchNode(oldestNode)
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` }
  const options = { cwd: folder, env }
  const version = output("node", ["--version"], { env }).trim()
  if (
    !attempt(`npm install of ${packed.length} tarballs under Node ${version}`, () =>
      makeConsumer(folder, packed, env)
    )
  ) {
    return
  }
  const names = packed.flatMap(exportNames)
  writeFileSync(join(folder, "import.mjs"), importProgram)
  for (const name of names) {
    attempt(
      `import ${name}`,
      () => void output("node", ["import.mjs", name], { ...options, timeout: 30_000 })
    )
  }
  attempt("types of every export", () => checkTypes(folder, names, workspaceEnv))
  const cli = packed.find(({ manifest }) => manifest.bin?.dm !== undefined)
  const dm = join(folder, "node_modules", ".bin", "dm")
  attempt("dm --version", () => dmVersionProblem(dm, cli?.manifest.version, options))
  attempt("dm --help", () => dmHelpProblem(dm, options))
  if (packed.some(({ manifest }) => manifest.cpu !== undefined && fits(manifest))) {
    writeFileSync(join(folder, "ring.mjs"), ringProgram)
    // Nothing but Node is on the path: neither a compiler nor anything else.
    const bare = { ...options, env: { ...env, PATH: dirname(node) } }
    attempt("rows through a ring, without a compiler", () => ringProblem(realpathSync(dm), bare))
  } else
    console.log(`skipped rows through a ring: no prebuilt package for ${process.platform}-${process.arch}`)
  const old = olderNode()
  if (old === undefined) console.log("skipped dm on an old Node: no Node older than 22 on this machine")
  else attempt("dm on a Node that is too old says so in one line", () => oldNodeProblem(old, dm, folder))
}

const main = async () => {
  const { env } = await prepare({ pnpm: true })
  const work = mkdtempSync(join(tmpdir(), "dm-pack-"))
  try {
    const packed = publicPackages().flatMap((found) => packOne(found, work, env))
    await useInProject(packed, join(work, "consumer"), env)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  finish("pack")
}

await main()
