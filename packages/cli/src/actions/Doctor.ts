/** Checks the environment: every problem comes with what to do about it. */
import { access, constants, stat, statfs } from "node:fs/promises"
import { dirname } from "node:path"
import { type ConfigError, DataManagerConfig, type StoreError } from "@data-manager/core"
import { ServerFacts } from "@data-manager/storage-timescale"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Clock, Effect } from "effect"
import type { Action } from "../Action.ts"
import type { LoadedConfig } from "../ConfigFile.ts"
import { dataDirectory, isEmbedded, loadConfig, withServer } from "../Database.ts"
import { unhealthy } from "../ExitCode.ts"
import { bytes, grouped } from "../NumberText.ts"
import * as Output from "../Output.ts"
import * as ProviderPackages from "../ProviderPackages.ts"
import type { Session } from "../Session.ts"
import { cells, printable } from "../Table.ts"

/** One thing that was looked at. */
export interface Check {
  readonly name: string
  /** `skipped`: cannot be told before something else is repaired or made. */
  readonly state: "ok" | "warning" | "failed" | "skipped"
  readonly detail: string
  /** What to do; with every warning and failure. */
  readonly fix?: string
}

const ok = (name: string, detail: string): Check => ({ name, state: "ok", detail })
const skipped = (name: string, detail: string): Check => ({ name, state: "skipped", detail })
const warning = (name: string, detail: string, fix: string): Check => ({
  name,
  state: "warning",
  detail,
  fix
})
const failed = (name: string, detail: string, fix: string): Check => ({ name, state: "failed", detail, fix })

const oldestNode = [22, 19] as const

/** Node itself; `dm` refuses to start on an older one, so this says which one it is. */
export const checkNode = (version: string, path: string): Check => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  const good = major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])
  return good
    ? ok("node", `${version} (${path})`)
    : failed("node", `${version} is too old`, "install Node 22.19 or newer")
}

const checkConfig = (loaded: LoadedConfig | undefined, error: ConfigError | undefined): Check => {
  if (error !== undefined)
    return failed("configuration", error.message.replaceAll("\n", "; "), "correct the file")
  const variables = loaded?.variables ?? []
  const overridden = variables.length === 0 ? "" : `, overridden by ${variables.join(", ")}`
  return ok("configuration", `${loaded?.file ?? "no file: built-in defaults"}${overridden}`)
}

const storeCheck = (
  name: string,
  good: string,
  check: Effect.Effect<unknown, StoreError>
): Effect.Effect<Check> =>
  Effect.match(check, {
    onSuccess: () => ok(name, good),
    onFailure: ({ reason }) =>
      failed(name, reason.detail, "hint" in reason && reason.hint !== "" ? reason.hint : "see dm status")
  })

/** The directory itself, or the nearest one above it that exists. */
const nearest = async (path: string): Promise<string> => {
  for (let at = path; ; at = dirname(at)) {
    const found = await stat(at).catch(() => undefined)
    if (found !== undefined || dirname(at) === at) return at
  }
}

const checkWritable = (path: string): Effect.Effect<Check> =>
  Effect.promise(async () => {
    const existing = await nearest(path)
    const writable = await access(existing, constants.W_OK).then(
      () => true,
      () => false
    )
    if (!writable)
      return failed(
        "data directory",
        `${existing} is not writable`,
        "choose another one with --data-dir or DM_DATA_DIR, or change its permissions"
      )
    return ok("data directory", existing === path ? path : `${path} (will be made)`)
  })

const gigabyte = 1024 ** 3

/** What is free where the data goes. */
export const judgeDisk = (free: number, path: string): Check => {
  const detail = `${bytes(free)} free for ${path}`
  const fix = "free some space, or move the data with --data-dir or DM_DATA_DIR"
  if (free < gigabyte) return failed("disk space", detail, fix)
  return free < 5 * gigabyte ? warning("disk space", detail, fix) : ok("disk space", detail)
}

const checkDisk = (path: string): Effect.Effect<Check> =>
  Effect.promise(async () => {
    const { bavail, bsize } = await statfs(await nearest(path))
    return judgeDisk(bavail * bsize, path)
  })

const embeddedChecks = (dataDir: string): Effect.Effect<ReadonlyArray<Check>> =>
  Effect.all([
    storeCheck(
      "embedded PostgreSQL",
      "binaries for this platform are installed",
      EmbeddedServer.check(dataDir)
    ),
    checkWritable(dataDir),
    checkDisk(dataDir)
  ])

const alter = (setting: string, value: string): string =>
  `ALTER SYSTEM SET ${setting} = '${value}', then restart the server`

/** What the server says of itself, judged. Settings of the embedded server are ours; they are only shown. */
export const judgeServer = (facts: ServerFacts.ServerFacts, embedded: boolean): ReadonlyArray<Check> => {
  const version = facts.version
  const skew = Math.abs(facts.skewMillis)
  const locks = facts.maxLocksPerTransaction
  const buffers = facts.sharedBuffers
  return [
    facts.versionNumber >= 150_000
      ? ok("server version", `PostgreSQL ${version}`)
      : failed("server version", `PostgreSQL ${version} is too old`, "use PostgreSQL 15 or newer"),
    facts.encoding === "UTF8"
      ? ok("encoding", "UTF8")
      : failed("encoding", facts.encoding, "create the database with ENCODING 'UTF8' and name that one"),
    facts.extension === undefined
      ? ok("extension", "no TimescaleDB: range partitions and own rollups are used")
      : ok("extension", `TimescaleDB ${facts.extension} (${facts.license ?? "unknown licence"})`),
    embedded || locks >= 256
      ? ok("max_locks_per_transaction", grouped(locks))
      : warning(
          "max_locks_per_transaction",
          `${grouped(locks)}; a query over years touches thousands of partitions`,
          alter("max_locks_per_transaction", "4096")
        ),
    embedded || buffers >= 256 * 1024 ** 2
      ? ok("shared_buffers", bytes(buffers))
      : warning(
          "shared_buffers",
          `${bytes(buffers)}; the indexes of the newest day should fit`,
          alter("shared_buffers", "1GB (about a quarter of the memory)")
        ),
    facts.timeZone === "UTC" || facts.timeZone === "Etc/UTC"
      ? ok("time zone", facts.timeZone)
      : warning(
          "time zone",
          `${facts.timeZone}; dm itself always uses UTC, other SQL clients show local times`,
          `ALTER DATABASE "${facts.database}" SET timezone TO 'UTC'`
        ),
    skew <= 1000
      ? ok("clock", `server and this machine differ by ${skew.toFixed(0)} ms`)
      : warning(
          "clock",
          `server and this machine differ by ${(skew / 1000).toFixed(1)} s`,
          "synchronise both clocks (NTP); ages and freshness are wrong until then"
        ),
    facts.pendingMigrations === 0
      ? ok("migrations", "up to date")
      : failed("migrations", `${facts.pendingMigrations} not applied`, "dm migrate --up"),
    ...(facts.driftedMigrations === 0
      ? []
      : [
          failed(
            "migrations",
            `${facts.driftedMigrations} differ from this program's`,
            "use the version of dm that made the database, or move the data to a new one"
          )
        ])
  ]
}

const serverNames = [
  "server version",
  "encoding",
  "extension",
  "max_locks_per_transaction",
  "shared_buffers",
  "time zone",
  "clock",
  "migrations"
]

const skipServer = (why: string): ReadonlyArray<Check> => serverNames.map((name) => skipped(name, why))

const serverChecks = (session: Session, loaded: LoadedConfig): Effect.Effect<ReadonlyArray<Check>> =>
  Effect.gen(function* () {
    const embedded = isEmbedded(loaded)
    if (embedded) {
      const found = yield* Effect.result(EmbeddedServer.status(dataDirectory(loaded)))
      if (found._tag === "Success" && found.success.state === "absent")
        return [
          skipped("server", "no database yet; the first command that needs one makes it"),
          ...skipServer("no database yet")
        ]
    }
    const started = yield* Clock.currentTimeMillis
    const facts = yield* Effect.result(
      withServer(session, loaded, ({ address }) => ServerFacts.read(address))
    )
    if (facts._tag === "Failure") {
      const { reason } = facts.failure
      const fix =
        "hint" in reason && reason.hint !== "" ? reason.hint : "check [database] url or DM_DATABASE_URL"
      return [failed("server", reason.detail, fix), ...skipServer("the server cannot be reached")]
    }
    const took = (yield* Clock.currentTimeMillis) - started
    return [
      ok("server", `${facts.success.address} answers (${took} ms)`),
      ...judgeServer(facts.success, embedded)
    ]
  })

/** Whether the packages of providers can be loaded. What they connect to is not asked. */
const providerChecks = (session: Session, loaded: LoadedConfig): Effect.Effect<ReadonlyArray<Check>> =>
  Effect.forEach(Object.entries(loaded.config.providerPackages), ([id, { enabled }]) => {
    const name = `provider ${id}`
    if (!enabled) return Effect.succeed(skipped(name, "switched off"))
    return Effect.match(ProviderPackages.load(session, loaded, id), {
      onSuccess: ({ description }) => ok(name, description),
      onFailure: ({ message }) =>
        failed(name, message, `install or correct it, or write enabled = false in [providers.${id}]`)
    })
  })

const marks = { ok: "✓", warning: "!", failed: "✗", skipped: "-" } as const

const checkLines = (checks: ReadonlyArray<Check>, session: Session): ReadonlyArray<string> => {
  const { out } = session
  const width = Math.max(...checks.map(({ name }) => cells(name)))
  const color = { ok: out.green, warning: out.yellow, failed: out.red, skipped: out.dim }
  return checks.flatMap(({ name, state, detail, fix }) => [
    `${color[state](marks[state])} ${name}${" ".repeat(width - cells(name))}  ${printable(detail)}`,
    ...(fix === undefined ? [] : [`${" ".repeat(width + 4)}${out.cyan("fix:")} ${printable(fix)}`])
  ])
}

export const doctor = (session: Session): Action =>
  Effect.gen(function* () {
    const config = yield* Effect.result(loadConfig(session))
    const loaded: LoadedConfig =
      config._tag === "Success"
        ? config.success
        : { config: DataManagerConfig.defaults, file: undefined, variables: [] }
    const error = config._tag === "Failure" ? config.failure : undefined
    const checks: Array<Check> = [
      checkNode(process.versions.node, process.execPath),
      checkConfig(loaded, error)
    ]
    if (error === undefined) {
      if (isEmbedded(loaded)) checks.push(...(yield* embeddedChecks(dataDirectory(loaded))))
      checks.push(...(yield* providerChecks(session, loaded)))
      checks.push(...(yield* serverChecks(session, loaded)))
    } else
      checks.push(...["server", ...serverNames].map((name) => skipped(name, "the configuration is wrong")))
    const bad = checks.filter(({ state }) => state === "failed").length
    const warnings = checks.filter(({ state }) => state === "warning").length
    if (session.json) yield* Output.writeLine(JSON.stringify({ healthy: bad === 0, checks }))
    else {
      const lines = checkLines(checks, session)
      const verdict =
        bad > 0 ? `${bad} failed` : warnings > 0 ? `all right, with ${warnings} to look at` : "all right"
      yield* Output.writeLine([...lines, "", verdict].join("\n"))
    }
    if (bad > 0) return yield* unhealthy
  })
