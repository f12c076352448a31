/**
 * Shows the service of the configuration, where one runs, and the database: what it is, its migrations, tables and open imports.
 * Unhealthy ends with exit code 3.
 */
import {
  MarketStore,
  type MigrationState,
  type StoreCapabilities,
  type StoreError,
  StoreMigrations,
  type StoreStatistics,
  type TableCompression,
  UnixNanos
} from "@data-manager/core"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { Clock, Effect } from "effect"
import type { Action } from "../Action.ts"
import type { LoadedConfig } from "../ConfigFile.ts"
import { type ServiceStatus, serviceStatus } from "../ControlClient.ts"
import { type ControlPlace, controlPlace } from "../ControlPlace.ts"
import { dataDirectory, isEmbedded, loadConfig, withMigrationsOf, withStoreOf } from "../Database.ts"
import { unhealthy } from "../ExitCode.ts"
import { bytes, grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { serverText } from "../ServerText.ts"
import { serviceLines, stateText, watchedLines } from "../ServiceText.ts"
import type { Session } from "../Session.ts"
import { facts, table } from "../Table.ts"
import { isoFormatter, short } from "../TimeText.ts"
import { migrationsJson } from "./Migrate.ts"

interface Options {
  readonly watch: boolean
}

interface Found {
  readonly capabilities: StoreCapabilities
  readonly statistics: StoreStatistics
}

interface Report {
  readonly problems: ReadonlyArray<string>
  readonly kind: "embedded" | "outside"
  readonly dataDir: string | undefined
  readonly migrations: ReadonlyArray<MigrationState>
  readonly found: Found | undefined
  readonly service: ServiceStatus | undefined
  readonly milliseconds: number
}

const isHealthy = ({ problems, service }: Report): boolean =>
  problems.length === 0 && service?.health.healthy !== false

/** A service that collects although the database is away is degraded, not more. */
const stateOf = (report: Report): "healthy" | "degraded" | "unhealthy" => {
  if (isHealthy(report)) return "healthy"
  const { service } = report
  return service !== undefined && service.feeds.length > 0 && service.health.state !== "unhealthy"
    ? "degraded"
    : "unhealthy"
}

const lookAtStore = Effect.gen(function* () {
  const store = yield* MarketStore
  return { capabilities: store.capabilities, statistics: yield* store.statistics } satisfies Found
})

const migrationProblems = (migrations: ReadonlyArray<MigrationState>): ReadonlyArray<string> => {
  const missing = migrations.filter(({ appliedAt }) => appliedAt === undefined).length
  const drifted = migrations.filter((state) => state.drifted).length
  return [
    ...(missing > 0 ? [`${plural(missing, "migration")} not applied; run dm migrate --up`] : []),
    ...(drifted > 0 ? [`${plural(drifted, "migration")} differ from this program's; see dm migrate`] : [])
  ]
}

const absent = (dataDir: string): string =>
  `there is no database in ${dataDir} yet; dm import FILE... or dm migrate --up makes it`

/** A place that is configured wrongly keeps nobody from looking at the database. */
const controlPlaceOrNone = (session: Session, loaded: LoadedConfig): Effect.Effect<ControlPlace> =>
  Effect.catch(controlPlace(session, loaded), () => Effect.succeed({ socket: undefined, tcp: undefined }))

const inspect = (session: Session, loaded: LoadedConfig): Effect.Effect<Report> =>
  Effect.gen(function* () {
    const started = yield* Clock.currentTimeMillis
    const embedded = isEmbedded(loaded)
    const dataDir = embedded ? dataDirectory(loaded) : undefined
    const service = yield* serviceStatus(yield* controlPlaceOrNone(session, loaded))
    const base = {
      service,
      kind: embedded ? "embedded" : "outside",
      dataDir,
      migrations: [],
      found: undefined
    } as const
    const failure = (error: StoreError): Report => ({ ...base, problems: [error.message], milliseconds: 0 })
    const look = Effect.gen(function* () {
      if (dataDir !== undefined && (yield* EmbeddedServer.status(dataDir)).state === "absent")
        return { ...base, problems: [absent(dataDir)], milliseconds: 0 } satisfies Report
      const migrations = yield* withMigrationsOf(
        session,
        loaded,
        StoreMigrations.use(({ status }) => status)
      )
      const problems = migrationProblems(migrations)
      const found = problems.length > 0 ? undefined : yield* withStoreOf(session, loaded, lookAtStore)
      return { ...base, migrations, problems, found, milliseconds: 0 } satisfies Report
    })
    const report: Report = yield* Effect.catch(look, (error) => Effect.succeed(failure(error)))
    return { ...report, milliseconds: (yield* Clock.currentTimeMillis) - started }
  })

const databaseFacts = (report: Report): ReadonlyArray<readonly [string, string]> => {
  const where =
    report.kind === "embedded"
      ? `embedded, in ${report.dataDir}`
      : "the server that [database] url or DM_DATABASE_URL names"
  if (report.found === undefined) return [["database", where]]
  const { capabilities, statistics } = report.found
  const applied = report.migrations.filter(({ appliedAt }) => appliedAt !== undefined)
  return [
    ["database", where],
    ["server", serverText(capabilities)],
    ["schema", `version ${applied.at(-1)?.version ?? 0}`],
    ["size", bytes(statistics.databaseBytes)],
    ["imports", `${grouped(statistics.runs.completed)} complete, ${grouped(statistics.runs.open)} open`],
    ["conflicts", grouped(statistics.conflicts)]
  ]
}

/** `3, 11 x smaller`: how many partitions, and what it has brought. */
const compressionText = (compression: TableCompression | undefined): string => {
  if (compression === undefined) return ""
  const { bytesAfter, bytesBefore, partitions } = compression
  const ratio = bytesAfter === 0n ? undefined : Number(bytesBefore) / Number(bytesAfter)
  return `${grouped(partitions)}${ratio === undefined ? "" : `, ${ratio.toFixed(1)} x smaller`}`
}

const tableLines = (statistics: StoreStatistics, session: Session): ReadonlyArray<string> => {
  const isCompressed = statistics.tables.some(({ compression }) => compression !== undefined)
  return table(
    [
      { header: "table" },
      { header: "rows (about)", align: "right" },
      { header: "size", align: "right" },
      { header: "partitions", align: "right" },
      ...(isCompressed ? [{ header: "compressed", align: "right" } as const] : []),
      { header: "from" },
      { header: "to" }
    ],
    statistics.tables.map((one) => [
      one.table,
      grouped(one.rows),
      bytes(one.bytes),
      grouped(one.partitions),
      ...(isCompressed ? [compressionText(one.compression)] : []),
      one.oldest === undefined ? "" : short(one.oldest),
      one.newest === undefined ? "" : short(one.newest)
    ]),
    session.out
  )
}

/** What the server does by itself, and whether it works. */
const jobLines = (
  { aggregates = [], barsBehind, jobs = [] }: StoreStatistics,
  session: Session
): ReadonlyArray<string> => {
  const { out } = session
  const lags = new Map(aggregates.map(({ lagSeconds, name }) => [name, lagSeconds]))
  const lag = (table: string): string => {
    const seconds = lags.get(table)
    return seconds === undefined ? "" : `${grouped(seconds)} s`
  }
  if (jobs.length === 0) return []
  const behind =
    barsBehind === undefined || barsBehind.times === 0
      ? []
      : [out.dim(`note: bars of ${plural(barsBehind.times, "late time")} are made when they are read`)]
  const lines = table(
    [
      { header: "job of the server" },
      { header: "on" },
      { header: "last run" },
      { header: "next" },
      { header: "bars behind", align: "right" },
      { header: "state" }
    ],
    jobs.map(({ lastRunAt, nextRunAt, problem, purpose, table: on }) => [
      purpose,
      on,
      lastRunAt === undefined ? "" : short(lastRunAt).slice(0, 19),
      nextRunAt === undefined ? "" : short(nextRunAt).slice(0, 19),
      purpose === "bars" ? lag(on) : "",
      problem === undefined ? (lastRunAt === undefined ? "waits" : "ok") : `failed: ${problem}`
    ]),
    out
  )
  return ["", ...lines, ...behind]
}

/** Beyond this difference of clocks it is told. Milliseconds. */
const notableSkew = 5000

const clockLines = ({ clockSkewMillis = 0 }: StoreStatistics, session: Session): ReadonlyArray<string> => {
  if (Math.abs(clockSkewMillis) < notableSkew) return []
  const seconds = (Math.abs(clockSkewMillis) / 1000).toFixed(0)
  const side = clockSkewMillis < 0 ? "behind" : "ahead of"
  return [
    "",
    session.out.yellow(
      `warning: the server's clock is ${seconds} s ${side} this machine's; ages and retention are wrong by as much: ` +
        "synchronise both clocks (NTP)"
    )
  ]
}

const reportLines = (report: Report, session: Session, now: bigint): ReadonlyArray<string> => {
  const { out } = session
  const { found, problems, service } = report
  return [
    stateText(stateOf(report), out),
    ...problems.map((problem) => `  ${problem}`),
    ...(service?.health.reasons ?? []).map(({ detail }) => `  ${detail}`),
    "",
    ...(service === undefined ? [] : [...serviceLines(service, now, out), ""]),
    ...facts(databaseFacts(report), out),
    ...(found === undefined ? [] : ["", ...tableLines(found.statistics, session)]),
    ...(found === undefined ? [] : jobLines(found.statistics, session)),
    ...(found === undefined ? [] : clockLines(found.statistics, session)),
    ...(found === undefined || found.capabilities.notes.length === 0
      ? []
      : ["", ...found.capabilities.notes.map((text) => out.dim(`note: ${text}`))])
  ]
}

const print = (report: Report, session: Session): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Output.writeLine(reportLines(report, session, BigInt(now) * UnixNanos.PerMilli).join("\n"))
  )

const foundJson = ({ capabilities, statistics }: Found): object => {
  const iso = isoFormatter()
  const time = (t: bigint | undefined): string | null => (t === undefined ? null : iso(t))
  return {
    server: {
      edition: capabilities.edition,
      version: capabilities.serverVersion,
      extension: capabilities.extensionVersion ?? null,
      partitioning: capabilities.partitioning,
      compression: capabilities.compression,
      continuous_aggregates: capabilities.continuousAggregates,
      bulk_profile: capabilities.bulkProfile,
      read_only: capabilities.readOnly ?? false,
      notes: capabilities.notes
    },
    bytes: statistics.databaseBytes.toString(),
    conflicts: statistics.conflicts.toString(),
    runs: { completed: statistics.runs.completed.toString(), open: statistics.runs.open.toString() },
    jobs: (statistics.jobs ?? []).map((job) => ({
      purpose: job.purpose,
      table: job.table,
      last_run: time(job.lastRunAt),
      next_run: time(job.nextRunAt),
      failures: job.failures,
      problem: job.problem ?? null
    })),
    clock_skew_ms: Math.round(statistics.clockSkewMillis ?? 0),
    bars_behind: statistics.barsBehind?.times ?? 0,
    aggregates: (statistics.aggregates ?? []).map(({ lagSeconds, name }) => ({
      name,
      lag_seconds: lagSeconds ?? null
    })),
    tables: statistics.tables.map((one) => ({
      table: one.table,
      rows_estimate: one.rows.toString(),
      bytes: one.bytes.toString(),
      partitions: one.partitions,
      compression:
        one.compression === undefined
          ? null
          : {
              partitions: one.compression.partitions,
              bytes_before: one.compression.bytesBefore.toString(),
              bytes_after: one.compression.bytesAfter.toString()
            },
      oldest: time(one.oldest),
      newest: time(one.newest)
    }))
  }
}

const printJson = (report: Report): Effect.Effect<void> =>
  Output.writeLine(
    JSON.stringify({
      healthy: isHealthy(report),
      state: stateOf(report),
      problems: report.problems,
      service: report.service ?? null,
      database: report.kind,
      data_dir: report.dataDir ?? null,
      migrations: migrationsJson(report.migrations),
      ...(report.found === undefined ? {} : foundJson(report.found)),
      milliseconds: report.milliseconds
    })
  )

/** Puts the cursor where the picture before began, and removes what is below it. */
const again = (lines: number): string => `\u001b[${lines}A\u001b[J`

/** Shows the service again and again, until interrupted; a terminal gets one picture, anything else one after the other. */
const watchService = Effect.fnUntraced(function* (session: Session, loaded: LoadedConfig) {
  const place = yield* controlPlaceOrNone(session, loaded)
  let shown = 0
  const look = Effect.gen(function* () {
    const service = yield* serviceStatus(place)
    if (session.json) return yield* Output.writeLine(JSON.stringify({ service: service ?? null }))
    const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
    const lines = service === undefined ? ["no service runs"] : watchedLines(service, now, session.out)
    yield* Output.write(`${shown > 0 && process.stdout.isTTY ? again(shown) : ""}${lines.join("\n")}\n`)
    shown = lines.length
  })
  return yield* Effect.forever(Effect.andThen(look, Effect.sleep("1 second")))
})

export const status = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    const loaded = yield* loadConfig(session)
    if (options.watch) return yield* watchService(session, loaded)
    const report = yield* inspect(session, loaded)
    yield* session.json ? printJson(report) : print(report, session)
    if (!isHealthy(report)) return yield* unhealthy
  })
