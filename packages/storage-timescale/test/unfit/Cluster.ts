/**
 * Servers that are not as they should be: small clusters of their own, made of the same binaries as the embedded server,
 * with the settings, the access rules and the encoding that a test wants. Every one is ended by its process id.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { Effect, Redacted } from "effect"
import pg from "pg"
import { EmbeddedServer } from "../../src/embedded/index.ts"
import * as ServerUser from "../../src/embedded/ServerUser.ts"
import { clientConfig, type ServerAddress, toUrl } from "../../src/ServerAddress.ts"
import type { TestDatabase } from "../TestServer.ts"

const exec = promisify(execFile)

/** The superuser of every cluster and its password. */
export const admin = { user: "postgres", password: "admin-secret" } as const

/** Settings of a server, or lines of its `pg_hba.conf`. */
export interface ClusterOptions {
  readonly settings?: Readonly<Record<string, string>>
  /** Rules before the last one, which lets everybody in who has a password. */
  readonly access?: ReadonlyArray<string>
  readonly initdb?: ReadonlyArray<string>
  /** Folder that holds the programs of another version. */
  readonly programs?: string
}

const freePort = async (): Promise<number> => {
  const probe = createServer()
  probe.listen(0, "127.0.0.1")
  await once(probe, "listening")
  const { port } = probe.address() as { readonly port: number }
  probe.close()
  await once(probe, "close")
  return port
}

/** Where programs and folders of a server have to be for the user that it runs as. */
const programsOf = async (folder: string): Promise<string> => {
  const { root } = await Effect.runPromise(EmbeddedServer.binaries({ dataDir: folder }))
  return join(root, "bin")
}

const delay = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** A server that may be stopped and started again, with other settings. */
export class Cluster {
  readonly data: string
  readonly port: number
  readonly #programs: string
  readonly #user: ServerUser.ServerUser
  #process: ChildProcess | undefined
  #output = ""

  private constructor(data: string, programs: string, port: number, user: ServerUser.ServerUser) {
    this.data = data
    this.#programs = programs
    this.port = port
    this.#user = user
  }

  /** A cluster in a folder that the server's user owns; it does not run yet. */
  static async create(folder: string, options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = await Cluster.#at(folder, options)
    const { data } = cluster
    writeFileSync(join(folder, "password"), admin.password)
    const args = [
      ...["-D", data, "-U", admin.user, `--pwfile=${join(folder, "password")}`, "--auth=scram-sha-256"],
      ...(options.initdb ?? ["--encoding=UTF8", "--locale=C"]),
      "--no-sync"
    ]
    await exec(join(cluster.#programs, "initdb"), args, {
      ...ServerUser.spawnOptions(cluster.#user),
      env: {}
    })
    cluster.allow(options.access ?? [])
    return cluster
  }

  /** A cluster whose data lies in the folder already. */
  static async #at(folder: string, { programs }: ClusterOptions): Promise<Cluster> {
    const user = ServerUser.forDirectory(folder, join(folder, "data"))
    return new Cluster(join(folder, "data"), programs ?? (await programsOf(folder)), await freePort(), user)
  }

  /** A copy of this one's files, as it is now: a running server has to be in backup mode. */
  async copyTo(folder: string): Promise<Cluster> {
    const copy = await Cluster.#at(folder, { programs: this.#programs })
    await exec("cp", ["-a", this.data, copy.data])
    rmSync(join(copy.data, "postmaster.pid"), { force: true })
    return copy
  }

  /** A file in the data directory, readable for the server alone. */
  write(name: string, text: string): void {
    const path = join(this.data, name)
    writeFileSync(path, text, { mode: 0o600 })
    if (ServerUser.isRoot()) chownSync(path, this.#user.uid, this.#user.gid)
  }

  /** Sets the rules of access; a running server takes them with `reload`. */
  allow(rules: ReadonlyArray<string>): void {
    this.write("pg_hba.conf", [...rules, "host all all 127.0.0.1/32 scram-sha-256", ""].join("\n"))
  }

  /** Starts the server and waits until it takes connections. */
  async start(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    const all = { shared_buffers: "16MB", fsync: "off", listen_addresses: "127.0.0.1", ...settings }
    const own = { ...all, unix_socket_directories: "", port: String(this.port) }
    this.#output = ""
    const args = Object.entries(own).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const child = spawn(join(this.#programs, "postgres"), ["-D", this.data, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {},
      cwd: this.data,
      ...ServerUser.spawnOptions(this.#user)
    })
    this.#process = child
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (text) => {
        this.#output += text
      })
    while (!this.#isReady()) {
      if (child.exitCode !== null) throw new Error(`the server ended: ${this.#output}`)
      await delay(10)
    }
  }

  #isReady(): boolean {
    try {
      const lines = readFileSync(join(this.data, "postmaster.pid"), "utf8").split("\n")
      return Number(lines[0]) === this.#process?.pid && /^(ready|standby)/.test(lines[7] ?? "")
    } catch {
      return false
    }
  }

  /** What the server has said since it was started. */
  get output(): string {
    return this.#output
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  get isRunning(): boolean {
    const child = this.#process
    return child !== undefined && child.exitCode === null && child.signalCode === null
  }

  reload(): void {
    this.#process?.kill("SIGHUP")
  }

  /** Ends the server: sessions are ended, data is kept. */
  async stop(signal: "SIGINT" | "SIGQUIT" | "SIGKILL" = "SIGINT"): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, "exit")
    child.kill(signal)
    const late = setTimeout(() => child.kill("SIGQUIT"), 10_000)
    await ended
    clearTimeout(late)
  }

  /** How it is reached. */
  address(change: Partial<ServerAddress> = {}): ServerAddress {
    return {
      host: "127.0.0.1",
      port: this.port,
      database: "postgres",
      user: admin.user,
      password: Redacted.make(admin.password),
      ssl: { mode: "disable" },
      ...change
    }
  }

  url(change: Partial<ServerAddress> = {}): string {
    return Redacted.value(toUrl(this.address(change)))
  }

  /** Runs statements as the superuser, each by itself; gives the rows of the last one. */
  async sql(
    statements: string | ReadonlyArray<string>,
    database = "postgres"
  ): Promise<ReadonlyArray<Record<string, unknown>>> {
    const client = new pg.Client(clientConfig(this.address({ database })))
    await client.connect()
    try {
      let rows: ReadonlyArray<Record<string, unknown>> = []
      for (const statement of [statements].flat()) rows = (await client.query(statement)).rows
      return rows
    } finally {
      await client.end()
    }
  }
}

/** The clusters of one test file. */
export class Clusters {
  readonly folder = mkdtempSync(join(tmpdir(), "dm-unfit-"))
  readonly #clusters: Array<Cluster> = []
  #count = 0

  constructor() {
    // The user that servers run as passes through.
    chmodSync(this.folder, 0o755)
  }

  /** A folder that the server's user owns. */
  newFolder(): string {
    const folder = mkdtempSync(join(this.folder, `c${++this.#count}-`))
    const user = ServerUser.forDirectory(folder, join(folder, "data"))
    if (ServerUser.isRoot()) chownSync(folder, user.uid, user.gid)
    return folder
  }

  /** A cluster in a folder of its own, or in the given one; it does not run yet. */
  async create(options: ClusterOptions = {}, folder = this.newFolder()): Promise<Cluster> {
    const cluster = await Cluster.create(folder, options)
    this.#clusters.push(cluster)
    return cluster
  }

  /** A new server that runs. */
  async start(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = await this.create(options)
    await cluster.start(options.settings)
    return cluster
  }

  async copy(cluster: Cluster): Promise<Cluster> {
    const copy = await cluster.copyTo(this.newFolder())
    this.#clusters.push(copy)
    return copy
  }

  /** Ends all servers. */
  async stop(): Promise<void> {
    for (const cluster of this.#clusters) await cluster.stop("SIGQUIT")
  }

  /** Ends all servers and removes everything. */
  async clear(): Promise<void> {
    await this.stop()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** The database of a cluster in the form that the fixtures of stores take; it goes with the cluster. */
export const databaseOf = (cluster: Cluster, change: Partial<ServerAddress> = {}): TestDatabase => ({
  address: cluster.address(change),
  url: cluster.url(change),
  drop: async () => {}
})
