// A TimescaleDB server for tests: PostgreSQL 17 with the Apache edition of TimescaleDB, as Debian 13 has them.
//
// - Its files are fetched and verified by debootstrap and unpacked into a folder of their own, once per machine. Nothing
//   is installed into the system, and no script of a package runs. Remove the folder to have newer packages next time.
// - Each server has an empty cluster in that folder, runs there by chroot as `nobody`, and is reached through a unix
//   socket that only this user and root can open. It ends with the process that started it, however that one ends.
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const SUITE = "trixie"
const PACKAGES = ["postgresql-17", "postgresql-17-timescaledb"]
const BIN = "/usr/lib/postgresql/17/bin"
const NOBODY = 65_534
const cache = "/var/cache/data-manager"

const makeLimitMs = 600_000
const startLimitMs = 60_000
const stopLimitMs = 15_000

const forTests = {
  listen_addresses: "",
  shared_preload_libraries: "timescaledb",
  "timescaledb.telemetry_level": "off",
  shared_buffers: "256MB",
  max_connections: "100",
  max_worker_processes: "32",
  max_locks_per_transaction: "1024",
  timezone: "UTC",
  log_timezone: "UTC",
  // The data is gone after the tests anyway.
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off"
}

/** There is no such server on this machine; the message says why, in one line. */
export class NotHere extends Error {}

const note = (text) => process.stderr.write(`timescale: ${text}\n`)

// ---------------------------------------------------------------------------------------------------------------------
// What this machine is

const readText = (path) => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

const isExecutable = (path) => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
const programPath = [process.env.PATH ?? "", systemPath].join(delimiter)
const findProgram = (name) =>
  programPath
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(isExecutable)

/** What `whyNot` looks at. */
export const thisMachine = () => ({
  platform: process.platform,
  uid: process.geteuid?.(),
  osRelease: readText("/etc/os-release"),
  has: (program) => findProgram(program) !== undefined
})

/** Why no server can be made here, in one line; undefined when it can. */
export const whyNot = ({ platform, uid, osRelease, has }) => {
  if (platform !== "linux" || !/^ID="?debian"?$/m.test(osRelease)) return "this machine is not Debian"
  if (uid !== 0) return "only root can make and enter its folder"
  const missing = ["apt-get", "dpkg-deb", "chroot", "wget", "gpgv"].find((program) => !has(program))
  return missing === undefined ? undefined : `there is no ${missing} here`
}

/** The mirror that apt takes Debian's packages from, out of `SITE ORIGIN LABEL` lines; undefined = debootstrap's own. */
export const mirrorOf = (lines) =>
  lines
    .split("\n")
    .map((line) => line.split(" "))
    .find(([site, origin, label]) => /^https?:/.test(site) && origin === "Debian" && label === "Debian")?.[0]

// ---------------------------------------------------------------------------------------------------------------------
// The folder

/**
 * Runs a program in a process group of its own, which is killed when the time is over or `signal` aborts. Answers with
 * its standard output; the last line it wrote is the error when it fails.
 */
const output = (file, argv, { signal, limitMs = 60_000, ...options } = {}) =>
  new Promise((done, refuse) => {
    const child = spawn(file, argv, {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      ...options,
      env: { PATH: programPath, LC_ALL: "C", TMPDIR: tmpdir(), ...proxies(), ...options.env }
    })
    const said = { out: "", all: "" }
    child.stdout.setEncoding("utf8").on("data", (text) => {
      said.out += text
      said.all += text
    })
    child.stderr.setEncoding("utf8").on("data", (text) => {
      said.all += text
    })
    let stopped
    const stop = (why) => {
      stopped = why
      try {
        process.kill(-child.pid, "SIGKILL")
      } catch {
        // The group has ended.
      }
    }
    const timer = setTimeout(() => stop(`not finished after ${limitMs / 1_000} s`), limitMs)
    const abort = () => stop("stopped")
    signal?.addEventListener("abort", abort)
    const finish = (why) => {
      clearTimeout(timer)
      signal?.removeEventListener("abort", abort)
      if (why === undefined) done(said.out)
      else refuse(new Error(`${file.split("/").pop()}: ${why}`))
    }
    child.on("error", (error) => finish(error.message))
    child.on("close", (code) => {
      if (stopped !== undefined) finish(stopped)
      else if (code === 0) finish(undefined)
      else finish(said.all.trimEnd().split("\n").pop() || `exit code ${code}`)
    })
  })

const proxies = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(https?|no)_proxy$/i.test(name)))

/** Debian's debootstrap: the one that is installed, or its package unpacked into `work`. */
const findDebootstrap = async (work, signal) => {
  const installed = findProgram("debootstrap")
  if (installed !== undefined) return { file: installed, env: {}, scripts: "/usr/share/debootstrap/scripts" }
  const download = (...options) =>
    output("apt-get", [...options, "-qq", "-o", "APT::Sandbox::User=root", "download", "debootstrap"], {
      cwd: work,
      signal
    })
  await download().catch(async () => {
    // A machine whose package lists are missing or old gets new ones, which stay in `work`.
    const own = ["-o", `Dir::State::lists=${work}/lists`, "-o", `Dir::Cache=${work}/cache`]
    mkdirSync(join(work, "cache", "archives", "partial"), { recursive: true })
    mkdirSync(join(work, "lists", "partial"), { recursive: true })
    await output("apt-get", [...own, "-qq", "-o", "APT::Sandbox::User=root", "update"], {
      signal,
      limitMs: 120_000
    })
    await download(...own)
  })
  const archive = readdirSync(work).find((name) => name.endsWith(".deb"))
  if (archive === undefined) throw new Error("apt-get has no debootstrap")
  await output("dpkg-deb", ["-x", join(work, archive), work], { signal })
  const home = join(work, "usr", "share", "debootstrap")
  return {
    file: join(work, "usr", "sbin", "debootstrap"),
    env: { DEBOOTSTRAP_DIR: home },
    scripts: join(home, "scripts")
  }
}

const findMirror = async (signal) => {
  const format = "$(SITE) $(ORIGIN) $(LABEL)"
  const argv = ["indextargets", "--format", format, "Created-By: Packages"]
  return mirrorOf(await output("apt-get", argv, { signal }).catch(() => ""))
}

/** The accounts that programs in the folder know. */
const passwd = `root:x:0:0:root:/:/bin/sh\nnobody:x:${NOBODY}:${NOBODY}:nobody:/:/bin/sh\n`

const fill = async (folder, signal) => {
  const work = mkdtempSync(join(tmpdir(), "dm-debootstrap-"))
  const packages = join(folder, "var", "cache", "apt", "archives")
  try {
    const debootstrap = await findDebootstrap(work, signal)
    const mirror = await findMirror(signal)
    const what = ["--download-only", "--variant=minbase", `--include=${PACKAGES.join(",")}`, SUITE, folder]
    // An older Debian may not know the suite's name yet; all suites of today are made in the same way.
    const how = mirror === undefined ? [] : [mirror, join(debootstrap.scripts, "sid")]
    await output(debootstrap.file, [...what, ...how], { env: debootstrap.env, signal, limitMs: makeLimitMs })
    const archives = readdirSync(packages).filter((name) => name.endsWith(".deb"))
    for (const name of archives) await output("dpkg-deb", ["-x", join(packages, name), folder], { signal })
    rmSync(packages, { recursive: true })
    writeFileSync(join(folder, "packages.txt"), `${archives.sort().join("\n")}\n`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  writeFileSync(join(folder, "etc", "passwd"), passwd)
  chmodSync(join(folder, "etc", "passwd"), 0o644)
  for (const name of ["dev", "run"]) {
    mkdirSync(join(folder, name), { recursive: true })
    chmodSync(join(folder, name), 0o755)
  }
  await output("mknod", ["-m", "666", join(folder, "dev", "null"), "c", "1", "3"], { signal })
  await output("chroot", [folder, `${BIN}/postgres`, "--version"], { signal })
}

const isRunning = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === "EPERM"
  }
}

/** Removes what killed processes left: folders whose name ends with `.PID` of one that is gone. */
const removeLeftovers = (parent, prefix) => {
  for (const name of existsSync(parent) ? readdirSync(parent) : []) {
    const pid = name.startsWith(prefix) ? Number(/\.(\d+)$/.exec(name)?.[1]) : Number.NaN
    if (!Number.isNaN(pid) && !isRunning(pid)) rmSync(join(parent, name), { recursive: true, force: true })
  }
}

/**
 * The folder with the server's programs, made when it is not there yet; under its final name it is always whole. Two
 * processes that make it at the same time each make one, and the first one stays.
 */
export const provideFolder = async ({ parent = cache, signal } = {}) => {
  const name = `${SUITE}-timescaledb-17`
  const folder = join(parent, name)
  if (existsSync(folder)) return folder
  const start = performance.now()
  note(`fetching TimescaleDB with debootstrap into ${folder}`)
  removeLeftovers(parent, `${name}.`)
  const partial = `${folder}.${process.pid}`
  try {
    mkdirSync(partial, { recursive: true })
    chmodSync(partial, 0o755)
    await fill(partial, signal)
    if (!existsSync(folder)) renameSync(partial, folder)
  } catch (error) {
    if (!existsSync(folder)) throw new NotHere(error.message)
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
  note(`fetched in ${((performance.now() - start) / 1_000).toFixed(0)} s`)
  return folder
}

const versionOf = (list, name) => new RegExp(`^${name}_(?:\\d+%3a)?([\\d.]+)`, "m").exec(list)?.[1] ?? "?"

/** For people: which versions lie in the folder. */
export const describeFolder = (folder) => {
  const list = readText(join(folder, "packages.txt"))
  const [server, extension] = PACKAGES.map((name) => versionOf(list, name))
  return `PostgreSQL ${server}, TimescaleDB ${extension} (Apache edition)`
}

// ---------------------------------------------------------------------------------------------------------------------
// The server

const asNobody = (folder, ...command) => [
  folder,
  "/usr/bin/setpriv",
  `--reuid=${NOBODY}`,
  `--regid=${NOBODY}`,
  "--clear-groups",
  // When the process that started it is gone, the kernel asks the server to end.
  "--pdeathsig=INT",
  ...command
]

const isReady = (data) => readText(join(data, "postmaster.pid")).split("\n")[7]?.trim() === "ready"

const waitUntilReady = async (server, data, log, signal) => {
  const end = performance.now() + startLimitMs
  while (!isReady(data)) {
    signal?.throwIfAborted()
    const ended = server.exitCode !== null || server.signalCode !== null
    if (ended || performance.now() > end) {
      const why = ended ? "the server ended at its start" : `the server is not ready after ${startLimitMs} ms`
      throw new Error(`${why}:\n${readText(log).slice(-4_000)}`)
    }
    await sleep(50)
  }
}

/** Ends the server, at the latest by SIGKILL. */
const stopServer = async (server) => {
  const ended = new Promise((done) => {
    if (server.exitCode !== null || server.signalCode !== null) done(true)
    else server.once("exit", () => done(true))
  })
  // Fast shutdown, immediate shutdown, and by force.
  for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"]) {
    server.kill(signal)
    const waiting = new AbortController()
    const late = sleep(stopLimitMs, false, { signal: waiting.signal }).catch(() => false)
    if (await Promise.race([ended, late])) return waiting.abort()
  }
}

/**
 * Starts a server with an empty cluster. `stop` ends it and removes its data. `settings` beside those for tests, instead of
 * them where they have the same name.
 *
 * @returns {Promise<{ url: string, pid: number, stop: () => Promise<void> }>}
 */
export const startServer = async (folder, { signal, settings = {} } = {}) => {
  // The path of a unix socket may have 107 characters.
  const runs = join(folder, "run")
  removeLeftovers(runs, "dm-")
  const own = join(runs, `dm-${randomUUID().slice(0, 8)}.${process.pid}`)
  mkdirSync(own, { mode: 0o700 })
  chownSync(own, NOBODY, NOBODY)
  const inside = own.slice(folder.length)
  const data = join(own, "data")
  const log = join(own, "log")
  const env = { PATH: `${BIN}:${systemPath}`, LC_ALL: "C" }
  let server
  const stop = async () => {
    if (server !== undefined) await stopServer(server)
    rmSync(own, { recursive: true, force: true })
  }
  try {
    const cluster = [
      "-D",
      `${inside}/data`,
      "-U",
      "postgres",
      "--auth=trust",
      "--encoding=UTF8",
      "--locale=C"
    ]
    await output("chroot", asNobody(folder, `${BIN}/initdb`, ...cluster, "--no-sync"), { env, signal })
    const options = Object.entries({ ...forTests, ...settings, unix_socket_directories: inside })
    const argv = options.flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const written = openSync(log, "w")
    server = spawn("chroot", asNobody(folder, `${BIN}/postgres`, "-D", `${inside}/data`, ...argv), {
      stdio: ["ignore", written, written],
      // Ctrl-C in a terminal is for the tests, which still need the server when they clean up.
      detached: true,
      env
    })
    server.on("error", () => {})
    await waitUntilReady(server, data, log, signal)
    return { url: `postgresql://postgres@${encodeURIComponent(own)}:5432/postgres`, pid: server.pid, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
