// Runs a command under Node >= 22.19 and, where needed, pnpm >= 11, fetching through npx whatever this machine
// lacks, and installs the workspace when it is missing or older than its lockfile.
// Everything this script itself starts prints to stderr, so that `npm run --silent dm -- ...` keeps stdout clean.
// It must stay readable by Node 18 and 20.
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { delimiter, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

const windows = process.platform === "win32"
const self = fileURLToPath(import.meta.url)
const root = resolve(self, "../..")
const bin = join(root, "node_modules", ".bin")
const stamp = join(root, "node_modules", ".installed-lockfile")
const [command, ...args] = process.argv.slice(2)
if (command === undefined) {
  console.error("usage: node scripts/with-toolchain.mjs <command> [args...]")
  process.exit(2)
}

// npm exports its own settings as npm_config_*; pnpm and nested npm runs would pick them up.
const clean = Object.fromEntries(
  Object.entries(process.env).filter(([key]) => !/^npm_config_(?!registry$)/i.test(key))
)
const withBin = { ...clean, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}` }

const run = (file, argv, env, stdio = "inherit") =>
  new Promise((done) => {
    const child = spawn(file, argv, { stdio, env, shell: windows })
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal))
    child.on("error", (error) => {
      console.error(`with-toolchain: cannot run ${file}: ${error.message}`)
      done(127)
    })
    child.on("exit", (code, signal) => done(code ?? (signal === "SIGINT" ? 130 : signal === "SIGKILL" ? 137 : 143)))
  })

const [major, minor] = process.versions.node.split(".").map(Number)
const nodeIsNewEnough = major > 22 || (major === 22 && minor >= 19)
const pnpmIsThere = () => {
  const found = spawnSync("pnpm", ["--version"], { cwd: resolve(root, ".."), encoding: "utf8", env: clean, shell: windows })
  return found.status === 0 && Number(found.stdout.split(".")[0]) >= 11
}
const lockfile = () =>
  createHash("sha256").update(readFileSync(join(root, "pnpm-lock.yaml"))).digest("hex")
const isInstalled = () =>
  existsSync(join(root, "node_modules", ".modules.yaml")) &&
  existsSync(stamp) &&
  readFileSync(stamp, "utf8") === lockfile()

const installing = command === "pnpm" && (args[0] === "install" || args[0] === "add" || args[0] === "update")
const installed = installing || isInstalled()
const missing = []
if (process.env.DM_TOOLCHAIN !== "1") {
  if (!nodeIsNewEnough) missing.push("-p", "node@24")
  if ((command === "pnpm" || !installed) && !pnpmIsThere()) missing.push("-p", "pnpm@12")
}
if (missing.length > 0) {
  const argv = ["--yes", "--loglevel=error", ...missing, "--", "node", self, command, ...args]
  process.exit(await run(windows ? "npx.cmd" : "npx", argv, { ...clean, DM_TOOLCHAIN: "1" }))
}
if (!installed) {
  const code = await run("pnpm", ["--dir", root, "install", "--frozen-lockfile"], withBin, ["inherit", 2, "inherit"])
  if (code !== 0) process.exit(code)
  mkdirSync(join(root, "node_modules"), { recursive: true })
  writeFileSync(stamp, lockfile())
}
process.exit(await run(command, args, withBin))
