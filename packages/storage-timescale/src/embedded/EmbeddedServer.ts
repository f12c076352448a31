/**
 * The embedded PostgreSQL: one server per data directory, shared by every process that uses it.
 *
 * The first `acquire` on a directory makes the cluster and starts the server; later ones, in this or another process,
 * find it running. Each holds a reference for its scope. When the last one is gone, also after `kill -9` of everybody, the
 * server stops by itself after the linger time. A server that crashed is started again while somebody holds it.
 */
import { resolve } from "node:path"
import { StoreContention, type StoreError, StoreIncompatible, StoreUnavailable } from "@data-manager/core"
import { Clock, Duration, Effect, type Redacted, type Scope } from "effect"
import { storeError } from "../PgError.ts"
import type { ServerAddress } from "../ServerAddress.ts"
import * as Attachment from "./Attachment.ts"
import * as Binaries from "./Binaries.ts"
import * as Cluster from "./Cluster.ts"
import * as Credentials from "./Credentials.ts"
import * as DataDirectory from "./DataDirectory.ts"
import { failure } from "./EmbeddedFailure.ts"
import * as Launch from "./Launch.ts"
import * as Postmaster from "./Postmaster.ts"
import * as Reference from "./Reference.ts"
import * as ServerLog from "./ServerLog.ts"
import { nameOf } from "./ServerUser.ts"
import * as Session from "./Session.ts"
import { freeDisk, type Listen, type Settings, usableMemory } from "./Settings.ts"

/** What server is wanted. */
export interface AcquireOptions {
  /** Made when missing. Must be empty or a data directory of Data Manager. */
  readonly dataDir: string
  /**
   * How long the server runs on without users; absent = 5 seconds. Like `settings` and `unsafe` it counts where this call
   * starts the server, and changes nothing of a running one.
   */
  readonly linger?: Duration.Input
  /** PostgreSQL settings that win over the usual ones. */
  readonly settings?: Settings
  /** No fsync: a crash of the machine destroys the database. For tests. */
  readonly unsafe?: boolean
  /** Where binaries are copied to that the server's user cannot read in place; absent = the user's cache folder. */
  readonly cacheDir?: string
  /** Bound on the start, recovery after a crash included; absent = 5 minutes. */
  readonly startTimeout?: Duration.Input
}

/** Other processes are waited for in real time, whatever clock a test has put in place. */
const inRealTime = Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())

const operation = "start embedded server"

interface Plan {
  readonly options: AcquireOptions
  readonly directory: DataDirectory.DataDirectory
  readonly binaries: Effect.Effect<Binaries.Binaries, StoreError>
  /** Whether a missing cluster is made. Not for a server that is only started again: its data would be gone. */
  readonly mayCreate: boolean
  readonly startTimeoutMillis: number
  readonly holder: Attachment.Holder
}

const makePlan = (options: AcquireOptions, holder: Attachment.Holder): Effect.Effect<Plan, StoreError> =>
  Effect.gen(function* () {
    const pack = yield* Binaries.find()
    const directory = yield* DataDirectory.open(options.dataDir, pack.major)
    const caches = [options.cacheDir ?? Binaries.defaultCacheDirectory(), directory.path]
    return {
      options,
      directory,
      binaries: yield* Effect.cached(Binaries.prepare(pack, directory.user, caches)),
      mayCreate: true,
      startTimeoutMillis: Duration.toMillis(options.startTimeout ?? "5 minutes"),
      holder
    }
  })

const clusterGone = (cluster: string): StoreError =>
  failure(
    operation,
    new StoreIncompatible({
      detail: `${cluster} was removed while it was in use`,
      hint: "restore it from a backup, or start again with an empty database"
    })
  )

/** Makes the cluster where there is none yet. */
const ensureCluster = ({ directory, binaries, mayCreate, options }: Plan): Effect.Effect<void, StoreError> =>
  Effect.gen(function* () {
    yield* DataDirectory.removeRemains(directory)
    if (DataDirectory.hasCluster(directory)) return
    if (!mayCreate) return yield* Effect.fail(clusterGone(directory.cluster))
    yield* Effect.logDebug("creating embedded database", { directory: directory.path })
    yield* Cluster.create(yield* binaries, directory, { sync: options.unsafe !== true })
  })

const launch = (plan: Plan, { notServer, port, socket }: Rounds) =>
  Effect.gen(function* () {
    const { directory, options } = plan
    return yield* Launch.launch({
      directory,
      binaries: yield* plan.binaries,
      settings: {
        memoryBytes: usableMemory(),
        diskBytes: freeDisk(directory.path),
        lingerMillis: Math.max(0, Math.round(Duration.toMillis(options.linger ?? "5 seconds"))),
        unsafe: options.unsafe === true,
        overrides: options.settings ?? {}
      },
      notServer,
      port,
      socket
    })
  })

/** What one round of the loop below leaves to the next. */
interface Rounds {
  launched: Launch.Launched | undefined
  /** A process id that a left-over lock file names and that is no server. */
  notServer: number | undefined
  /** Where the server listened before, when it has to be found again at the same place. */
  port: number | undefined
  /** Whether a unix socket can be had. */
  socket: boolean
  /** Why it is not ready yet. */
  why: string
}

/** Pauses between looks at a server that others start or stop. Milliseconds. */
const shortPause = 10
const longPause = 50
/** Age at which an unreadable pid file has surely no writer. Milliseconds. */
const quietTime = 10_000

/** Starts the server, unless that cannot be done yet. */
const startOnce = (plan: Plan, rounds: Rounds): Effect.Effect<void, StoreError> =>
  Effect.gen(function* () {
    const { directory } = plan
    yield* ensureCluster(plan)
    // Uninterruptible until it is noted: a server that nobody knows of would run on.
    const launched = yield* Effect.uninterruptible(
      Effect.tap(launch(plan, rounds), (launched) =>
        Effect.sync(() => {
          rounds.launched = launched
        })
      )
    )
    const progress = yield* Launch.awaitReady(directory, launched, plan.startTimeoutMillis)
    if (progress._tag === "Ready") return
    launched.started.release()
    rounds.launched = undefined
    rounds.notServer = progress._tag === "NotServer" ? progress.pid : undefined
    rounds.port = undefined
    if (progress._tag === "NoSocket") rounds.socket = false
    rounds.why = progress._tag === "NotServer" ? "a lock file was left over" : progress.why
    yield* Effect.sleep(shortPause)
  })

/** One look at the directory and what follows from it; true = attached. */
const round = (plan: Plan, rounds: Rounds): Effect.Effect<boolean, StoreError> =>
  Effect.gen(function* () {
    const { directory, holder } = plan
    const seen = yield* Postmaster.look(directory)
    switch (seen._tag) {
      case "Alive": {
        const { listen } = seen
        if (seen.status === "ready" && listen !== undefined) {
          const outcome = yield* Attachment.attach(directory, { ...seen, listen }, holder)
          if (outcome._tag === "Attached") return true
          rounds.why = outcome.why
        } else rounds.why = `the server is ${seen.status}`
        yield* Effect.sleep(seen.status === "starting" ? shortPause : longPause)
        return false
      }
      case "Unreadable":
        rounds.why = "the pid file of the server is not complete"
        yield* seen.ageMillis > quietTime ? Postmaster.removeUnreadable(directory) : Effect.sleep(longPause)
        return false
      case "Stale":
        if (seen.reused) rounds.notServer = seen.pid
        yield* startOnce(plan, rounds)
        return false
      case "Absent":
        yield* startOnce(plan, rounds)
        return false
    }
  })

const tooLong = (plan: Plan, rounds: Rounds): StoreError =>
  failure(
    operation,
    new StoreUnavailable({
      detail: `no server on ${plan.directory.path} after ${Math.round(plan.startTimeoutMillis / 1000)} s: ${rounds.why}`,
      hint: `try again; see the log in ${plan.directory.log}`
    })
  )

/**
 * Comes back with a reference on a running server, or with an error that waiting does not cure. A server that this call
 * started and cannot hand over is stopped by its guard.
 */
const attachOrStart = (plan: Plan, port?: number): Effect.Effect<void, StoreError> =>
  Effect.suspend(() => {
    const rounds: Rounds = {
      launched: undefined,
      notServer: undefined,
      port,
      socket: true,
      why: "nothing tried"
    }
    return Effect.gen(function* () {
      while (!(yield* round(plan, rounds))) {
        // until attached
      }
    }).pipe(
      Effect.timeoutOrElse({
        // Its own bound speaks first where this call starts the server.
        duration: plan.startTimeoutMillis + 2000,
        orElse: () => Effect.fail(tooLong(plan, rounds))
      }),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (exit._tag === "Success") rounds.launched?.started.release()
          else rounds.launched?.started.abandon()
        })
      )
    )
  })

/** Holds the server again that somebody else starts after it was stopped on purpose; starts one that crashed. */
const follow = (plan: Plan, port: number | undefined): Effect.Effect<void, StoreError> =>
  Effect.gen(function* () {
    for (;;) {
      const seen = yield* Postmaster.look(plan.directory)
      // A pid file without its process: it did not stop, it was killed.
      if (seen._tag === "Stale") return yield* attachOrStart(plan, port)
      if (seen._tag === "Alive" && seen.status === "ready" && seen.listen !== undefined) {
        const { listen } = seen
        const outcome = yield* Attachment.attach(plan.directory, { ...seen, listen }, plan.holder)
        if (outcome._tag === "Attached") return
      }
      yield* Effect.sleep("1 second")
    }
  })

/** SQLSTATE of sessions ended by a shutdown, by `pg_terminate_backend` or by the death of the postmaster. */
const endedByServer = "57P01"

/** Waits until the session of the reference is over, and takes a new one. */
const renew = (plan: Plan): Effect.Effect<void, StoreError> =>
  Effect.gen(function* () {
    const { session } = plan.holder
    // Lost before, and not taken again since.
    if (session === undefined) return yield* attachOrStart(plan)
    const state = yield* Effect.promise(() => session.ended)
    yield* Effect.logWarning("lost the session with the embedded server", {
      directory: plan.directory.path,
      state: state ?? "connection closed"
    })
    const port = session.client.host.startsWith("/") ? undefined : session.client.port
    yield* state === endedByServer ? follow(plan, port) : attachOrStart(plan, port)
  })

/** Keeps the reference: a server that crashed is started again, one that was stopped on purpose is waited for. */
const keep = (plan: Plan): Effect.Effect<never> =>
  renew(plan).pipe(
    Effect.catch((error) =>
      Effect.logError(`the embedded server is lost: ${error.message}`).pipe(
        Effect.andThen(Effect.sleep("5 seconds"))
      )
    ),
    Effect.forever
  )

const tidyLogs = (plan: Plan): Effect.Effect<void> =>
  ServerLog.tidy(plan.directory).pipe(
    Effect.catch((error) => Effect.logDebug(error.message)),
    Effect.andThen(Effect.sleep("1 minute")),
    Effect.forever
  )

/** How the market data is reached on a server that listens there. */
const addressAt = (listen: Listen, password: Redacted.Redacted<string>): ServerAddress => ({
  host: listen.socketDirectory ?? "127.0.0.1",
  port: listen.port,
  database: Credentials.owner,
  user: Credentials.owner,
  password,
  ssl: { mode: "disable" }
})

const addressFor = (plan: Plan): Effect.Effect<ServerAddress, StoreError> =>
  Effect.map(Credentials.read(plan.directory.pgpass), (credentials) => {
    const client = plan.holder.session?.client
    const listen = client?.host.startsWith("/")
      ? { socketDirectory: client.host, port: client.port }
      : { port: client?.port ?? 0 }
    return addressAt(listen, credentials.owner)
  })

/**
 * A running server for the data directory, held until the scope closes. Safe when several processes call it at once.
 *
 * Fails with `StoreIncompatible` (no binaries for this platform, a cluster of another major version, a foreign
 * directory), `StoreAccessDenied` (permissions), `StoreExhausted` (disk, memory), `StoreUnavailable` (not ready in time).
 * Interruption while it starts leaves no server behind that nobody stops.
 */
export const acquire = (options: AcquireOptions): Effect.Effect<ServerAddress, StoreError, Scope.Scope> =>
  Effect.gen(function* () {
    const holder: Attachment.Holder = { session: undefined }
    yield* Effect.addFinalizer(() => inRealTime(Attachment.detach(holder)))
    const plan = yield* makePlan(options, holder)
    yield* attachOrStart(plan)
    const address = yield* addressFor(plan)
    yield* Effect.forkScoped(keep({ ...plan, mayCreate: false }))
    yield* Effect.forkScoped(tidyLogs(plan))
    return address
  }).pipe(inRealTime)

/** What can be seen of the server of a data directory. */
export interface ServerStatus {
  /** `absent`: no cluster yet. `unreachable`: it runs, but does not answer (`problem` says why). */
  readonly state: "absent" | "stopped" | "starting" | "running" | "stopping" | "unreachable"
  /** Absolute path; what was asked for where it does not exist. */
  readonly dataDir: string
  /** User that the server runs as. */
  readonly user?: string
  readonly pid?: number
  /** PostgreSQL's version as the server tells it: `18.4`. */
  readonly version?: string
  /** When the server started. ISO 8601, UTC. */
  readonly startedAt?: string
  /** Where it listens and its login. */
  readonly address?: ServerAddress
  /** Processes that keep it running, longest first. */
  readonly references?: ReadonlyArray<Reference.Reference>
  /** Whether something stops it when nobody uses it any more. */
  readonly watched?: boolean
  /** Its newest log file. */
  readonly log?: string
  readonly problem?: string
}

const ask = (address: ServerAddress) =>
  Session.using(address, "dm-status", (session) =>
    Effect.gen(function* () {
      const rows = yield* Session.query(
        session,
        `SELECT current_setting('server_version') AS version,
           to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS started`
      )
      return {
        version: String(rows[0]?.version),
        startedAt: String(rows[0]?.started),
        references: yield* Reference.list(session),
        watched: yield* Reference.isWatched(session)
      }
    })
  )

const lookCloser = (
  directory: DataDirectory.DataDirectory,
  server: Attachment.Listening
): Effect.Effect<
  Pick<ServerStatus, "state" | "problem" | "address" | "references" | "watched">,
  StoreError
> =>
  Effect.gen(function* () {
    const { owner } = yield* Credentials.read(directory.pgpass)
    const address = addressAt(server.listen, owner)
    const login = Session.addressOf(server.listen, Credentials.owner, owner, Credentials.maintenanceDatabase)
    const asked = yield* Effect.result(ask(login))
    return asked._tag === "Success"
      ? { state: "running", address, ...asked.success }
      : { state: "unreachable", address, problem: storeError("connect", asked.failure).message }
  })

/** The server of a data directory as it is. Starts nothing, changes nothing, holds nothing. */
export const status = (dataDir: string): Effect.Effect<ServerStatus, StoreError> =>
  Effect.gen(function* () {
    const directory = yield* DataDirectory.find(dataDir)
    if (directory === undefined || !DataDirectory.hasCluster(directory))
      return { state: "absent", dataDir: directory?.path ?? dataDir } as const
    const [log] = yield* ServerLog.files(directory)
    const known = {
      dataDir: directory.path,
      user: nameOf(directory.user),
      ...(log === undefined ? {} : { log })
    }
    const seen = yield* Postmaster.look(directory)
    if (seen._tag !== "Alive") return { state: "stopped", ...known } as const
    const { pid, listen } = seen
    if (seen.status !== "ready" || listen === undefined)
      return { state: seen.status === "stopping" ? "stopping" : "starting", ...known, pid } as const
    return { ...known, pid, ...(yield* lookCloser(directory, { ...seen, listen })) }
  }).pipe(inRealTime)

/** How a server is stopped. */
export interface StopOptions {
  /** Also while processes use it; absent = false: the call then fails with `StoreContention` naming them. */
  readonly force?: boolean
  /** Bound on an orderly stop, after which the server is stopped at once; absent = 1 minute. */
  readonly timeout?: Duration.Input
}

const stopping = "stop embedded server"

const awaitGone = (
  directory: DataDirectory.DataDirectory,
  pid: number,
  duration: Duration.Input
): Effect.Effect<boolean, StoreError> =>
  Effect.gen(function* () {
    for (;;) {
      if (!Postmaster.isRunning(pid)) return
      const seen = yield* Postmaster.look(directory)
      if (seen._tag === "Stale" || (seen._tag === "Alive" && seen.pid !== pid)) return
      yield* Effect.sleep(shortPause)
    }
  }).pipe(Effect.as(true), Effect.timeoutOrElse({ duration, orElse: () => Effect.succeed(false) }))

/** Fast shutdown, then, after the bound, the immediate one: the next start recovers. */
const shutDown = (
  directory: DataDirectory.DataDirectory,
  pid: number,
  timeout: Duration.Input
): Effect.Effect<void, StoreError> =>
  Effect.gen(function* () {
    yield* Postmaster.signal(directory, pid, "SIGINT")
    if (yield* awaitGone(directory, pid, timeout)) return
    yield* Postmaster.signal(directory, pid, "SIGQUIT")
    if (yield* awaitGone(directory, pid, "10 seconds")) return
    return yield* Effect.fail(
      failure(
        stopping,
        new StoreUnavailable({
          detail: `process ${pid} does not end`,
          hint: `see the log in ${directory.log}; do not remove postmaster.pid`
        })
      )
    )
  })

/** Stops the server unless somebody holds it. The claim is kept until it is gone, so that nobody comes in between. */
const stopUnused = (
  directory: DataDirectory.DataDirectory,
  server: Attachment.Listening,
  timeout: Duration.Input
) =>
  Effect.gen(function* () {
    const { supervisor } = yield* Credentials.read(directory.pgpass)
    const address = Session.addressOf(
      server.listen,
      Credentials.supervisor,
      supervisor,
      Credentials.maintenanceDatabase
    )
    yield* Session.using(address, "dm-stop", (session) =>
      Effect.gen(function* () {
        // The watchdog holds the claim for a moment now and then.
        for (let attempt = 1; !(yield* Reference.claim(session)); attempt++) {
          const users = yield* Reference.list(session)
          if (users.length > 0 || attempt === 20) {
            const who = users.map(({ pid }) => pid).join(", ")
            return yield* Effect.fail(
              failure(stopping, new StoreContention({ detail: `in use by process ${who || "unknown"}` }))
            )
          }
          yield* Effect.sleep(longPause)
        }
        yield* shutDown(directory, server.pid, timeout)
      })
    )
  }).pipe(Effect.mapError((cause) => storeError(stopping, cause)))

/** Stops the server of a data directory; nothing where none runs. Returns when it is gone. */
export const stop = (dataDir: string, options: StopOptions = {}): Effect.Effect<void, StoreError> =>
  Effect.gen(function* () {
    const directory = yield* DataDirectory.find(dataDir)
    if (directory === undefined) return
    const seen = yield* Postmaster.look(directory)
    if (seen._tag !== "Alive") return
    const { listen } = seen
    const timeout = options.timeout ?? "1 minute"
    yield* options.force === true || seen.status !== "ready" || listen === undefined
      ? shutDown(directory, seen.pid, timeout)
      : stopUnused(directory, { ...seen, listen }, timeout)
  }).pipe(inRealTime)

/**
 * Everything that can be checked without starting or changing anything: binaries for this platform, whose directory it
 * is, the cluster's version, and that the server's user gets there. Fails as `acquire` would.
 */
export const check = (dataDir: string): Effect.Effect<void, StoreError> =>
  Effect.flatMap(Binaries.find(), (pack) => DataDirectory.check(dataDir, pack.major))

/** The programs that a server on `dataDir` runs, made ready where needed. */
export const binaries = ({
  dataDir,
  cacheDir = Binaries.defaultCacheDirectory()
}: Pick<AcquireOptions, "dataDir" | "cacheDir">): Effect.Effect<Binaries.Binaries, StoreError> =>
  Effect.flatMap(Binaries.find(), (pack) =>
    Binaries.prepare(pack, DataDirectory.userOf(dataDir), [cacheDir, resolve(dataDir)])
  )
