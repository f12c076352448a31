/**
 * The lease of a service on a PostgreSQL server: a row of `leases` with the epoch and a heartbeat, and a lock of the holder's
 * session.
 *
 * The lock tells of a process that has died: the server notices at once that its session is gone, and whoever waits gets the lock
 * with the next look. The heartbeat tells of one that is frozen or cut off, whose session the server still has: where the
 * heartbeat stands still for `silence`, by the clock of whoever waits and only while the server answers, the lease is taken
 * over. Taking over ends every session of the epochs before, see `Fence`, and raises the epoch in one transaction.
 */
import {
  LeaderLease,
  type Leadership,
  type LeaseRole,
  type LeaseStatus,
  StoreContention,
  StoreError,
  StoreUnavailable,
  UnixNanos
} from "@data-manager/core"
import { Clock, Deferred, Duration, Effect, Layer, Schedule, type Scope } from "effect"
import * as Fence from "./Fence.ts"
import * as PgPool from "./PgPool.ts"
import { clientConfig, type ServerAddress } from "./ServerAddress.ts"

/** A lease, and who wants it. */
export interface StoreLeaseOptions {
  /** Where the server is, or how that is found out: asked for with every session. */
  readonly server: ServerAddress | Effect.Effect<ServerAddress, StoreError>
  /** Services of one name are one that is active and its standbys. */
  readonly name: string
  /** Who this is, for people: `host process 4711`. */
  readonly holder: string
  /** Time between two heartbeats; default 1 second. */
  readonly heartbeat?: Duration.Input | undefined
  /** Time without a heartbeat after which a holder counts as frozen or cut off; default 4 seconds. */
  readonly silence?: Duration.Input | undefined
}

/** Time between two looks of one who waits, and between two tries to reach a server that is away. Milliseconds. */
const LookMillis = 150
const AwayMillis = 1000
/** A question that is not answered in this time is asked again on a session of its own. Milliseconds. */
const PatienceMillis = 5000

/** Second key of the holder's lock: no epoch is 0. */
const holderKey = 0
/** Second key of the lock under which one at a time takes over: no epoch becomes so large. */
const turnKey = 2_147_483_647

interface Look {
  readonly epoch: bigint
  readonly holder: string
  /** The heartbeat as text: it is only compared. */
  readonly heartbeat: string
  /** Whether the server was started after the last heartbeat: then nobody can hold the lock, and the holder may live. */
  readonly restarted: boolean
  /** Whether this session has the holder's lock now. */
  readonly locked: boolean
}

const lookStatement = (name: string): string => /* sql */ `
  WITH seen AS MATERIALIZED (
    SELECT epoch, holder, heartbeat_at::text AS heartbeat,
           heartbeat_at > '-infinity' AND heartbeat_at < pg_postmaster_start_time() AS restarted
    FROM leases WHERE name = $1
  )
  SELECT *, CASE WHEN restarted THEN false ELSE pg_try_advisory_lock(${Fence.lockKey(name)}, ${holderKey}) END AS locked
  FROM seen`

const madeStatement = /* sql */ `
  INSERT INTO leases (name, holder, epoch, heartbeat_at) VALUES ($1, '', 0, '-infinity') ON CONFLICT DO NOTHING`

/** Sessions of the epochs before, and the holder's. */
const sessionsOf = (name: string): string => /* sql */ `
  FROM (SELECT DISTINCT pid FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND pid <> pg_backend_pid()
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid::int8 = ${Fence.lockKey(name)}::int8 & 4294967295 AND objid::int8 < ${turnKey}) held`

const raiseStatement = /* sql */ `
  UPDATE leases SET epoch = epoch + 1, holder = $2, heartbeat_at = clock_timestamp() WHERE name = $1 RETURNING epoch`

const beatStatement = /* sql */ `
  UPDATE leases SET heartbeat_at = clock_timestamp() WHERE name = $1 AND epoch = $2 RETURNING epoch`

const now = Effect.map(Clock.currentTimeMillis, (millis) => BigInt(millis) * UnixNanos.PerMilli)

/** The lease as a layer; nothing happens before somebody acquires it. */
export const layer = (options: StoreLeaseOptions): Layer.Layer<LeaderLease> =>
  Layer.sync(LeaderLease, () => make(options))

/** The lease. */
export const make = (options: StoreLeaseOptions): LeaderLease["Service"] => {
  const lease = new Lease(options)
  return LeaderLease.of({ name: options.name, status: lease.status, acquire: lease.acquire })
}

class Lease {
  readonly #options: StoreLeaseOptions
  #role: LeaseRole = "standby"
  #epoch: bigint | undefined
  #holder: string | undefined
  /** The heartbeat of the last look, and when it was seen first. */
  #seen: string | undefined
  #heartbeatAt: bigint | undefined
  #problem: string | undefined

  constructor(options: StoreLeaseOptions) {
    this.#options = options
  }

  readonly status = (): LeaseStatus => ({
    name: this.#options.name,
    role: this.#role,
    epoch: this.#epoch,
    holder: this.#holder === "" ? undefined : this.#holder,
    heartbeatAt: this.#heartbeatAt,
    problem: this.#problem
  })

  get #beat(): number {
    return Duration.toMillis(this.#options.heartbeat ?? "1 second")
  }

  get acquire(): Effect.Effect<Leadership, StoreError, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const lost = yield* Deferred.make<never, StoreError>()
      const held = yield* Deferred.make<bigint, StoreError>()
      // One fiber has the session from the first look to the end of the scope: the lock is of the session.
      yield* Effect.forkScoped(
        Effect.matchCauseEffect(this.#hold(held), {
          onFailure: (cause) =>
            Effect.andThen(Deferred.failCause(held, cause), Deferred.failCause(lost, cause)),
          onSuccess: () => Effect.void
        })
      )
      return { epoch: yield* Deferred.await(held), lost: Deferred.await(lost) }
    })
  }

  /** Waits for the lease, tells that it is held, and holds it until interrupted. Fails where it is lost. */
  #hold(taken: Deferred.Deferred<bigint, StoreError>): Effect.Effect<never, StoreError> {
    let epoch: bigint | undefined
    const session = Effect.scoped(
      Effect.gen({ self: this }, function* () {
        const connection = yield* this.#connect
        epoch ??= yield* this.#wait(connection)
        const held = epoch
        return yield* Effect.onInterrupt(
          Effect.andThen(Deferred.succeed(taken, held), this.#keep(connection, held)),
          () => this.#giveBack(held)
        )
      })
    )
    return Effect.ensuring(
      this.#persistently(session),
      Effect.sync(() => {
        this.#role = "standby"
      })
    )
  }

  get #connect(): Effect.Effect<PgPool.PgConnection, StoreError, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const { server } = this.#options
      const client = clientConfig(Effect.isEffect(server) ? yield* server : server, "dm-lease")
      const pool = yield* PgPool.make({
        client: { ...client, connectionTimeoutMillis: PatienceMillis },
        maxConnections: 1,
        sessionSettings: { idle_in_transaction_session_timeout: "5s", lock_timeout: "4s" }
      })
      const connection = yield* pool.connection("hold lease")
      const query: PgPool.PgConnection["query"] = (sql, values) => answered(connection.query(sql, values))
      return { ...connection, query }
    })
  }

  /** Again and again while the server is away or a session is lost. */
  #persistently<A>(work: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> {
    return work.pipe(
      Effect.tapError((error) =>
        Effect.suspend(() => {
          const isNew = this.#problem === undefined
          this.#problem = error.message
          return isNew && error.isRetryable
            ? Effect.logWarning(`lease ${this.#options.name}: ${error.message}`)
            : Effect.void
        })
      ),
      Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.spaced(`${AwayMillis} millis`) })
    )
  }

  /** Looks until the lease can be taken, and takes it. Gives the new epoch. */
  #wait(connection: PgPool.PgConnection): Effect.Effect<bigint, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { name, silence = "4 seconds" } = this.#options
      yield* connection.query(madeStatement, [name])
      let last: Look | undefined
      let quiet = 0
      let before = yield* Clock.currentTimeMillis
      while (true) {
        const look = yield* this.#look(connection)
        const at = yield* Clock.currentTimeMillis
        // Time in which the server did not answer is no silence of the holder: it was not answered either.
        quiet = look.heartbeat === last?.heartbeat ? quiet + Math.min(at - before, 4 * LookMillis) : 0
        before = at
        last = look
        if (look.locked || quiet >= Duration.toMillis(silence)) {
          const epoch = yield* this.#takeOver(connection, look, quiet)
          if (epoch !== undefined) return epoch
          quiet = 0
        }
        yield* Effect.sleep(`${LookMillis} millis`)
      }
    })
  }

  #look(connection: PgPool.PgConnection): Effect.Effect<Look, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { name } = this.#options
      const [look] = yield* connection.query<Look & PgPool.SqlRow>(lookStatement(name), [name])
      if (look === undefined) return yield* again("look at lease", `the lease ${name} was removed`)
      if (look.epoch !== this.#epoch || look.heartbeat !== this.#seen) this.#heartbeatAt = yield* now
      this.#seen = look.heartbeat
      if (look.heartbeat === "-infinity") this.#heartbeatAt = undefined
      this.#epoch = look.epoch
      this.#holder = look.holder
      this.#problem = undefined
      return look
    })
  }

  /** Ends the sessions of whoever had it, and raises the epoch; undefined where another one was faster. */
  #takeOver(
    connection: PgPool.PgConnection,
    seen: Look,
    quiet: number
  ): Effect.Effect<bigint | undefined, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { holder, name } = this.#options
      yield* connection.query("BEGIN")
      yield* connection.query(`SELECT pg_advisory_xact_lock(${Fence.lockKey(name)}, ${turnKey})`)
      const [found] = yield* connection.query<PgPool.SqlRow>(
        "SELECT epoch, heartbeat_at::text AS heartbeat FROM leases WHERE name = $1",
        [name]
      )
      if (found?.epoch !== seen.epoch || (!seen.locked && found.heartbeat !== seen.heartbeat)) {
        yield* connection.query("ROLLBACK")
        // The lock may have been taken before another one had its turn.
        yield* connection.query(`SELECT pg_advisory_unlock(${Fence.lockKey(name)}, ${holderKey})`)
        return undefined
      }
      const ended = yield* this.#endSessions(connection)
      yield* connection.query("SELECT FROM leases WHERE name = $1 FOR UPDATE", [name])
      const [row] = yield* connection.query<PgPool.SqlRow & { readonly epoch: bigint }>(raiseStatement, [
        name,
        holder
      ])
      yield* connection.query("COMMIT")
      this.#role = "active"
      this.#epoch = row!.epoch
      this.#holder = holder
      this.#heartbeatAt = yield* now
      yield* Effect.logInfo(`lease ${name}: active, epoch ${row!.epoch}${tookFrom(seen, quiet, ended)}`)
      return row!.epoch
    })
  }

  /** Ends the sessions of the epochs before, waits until they are gone, and takes the holder's lock. */
  #endSessions(connection: PgPool.PgConnection): Effect.Effect<number, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { name } = this.#options
      const ended = yield* connection.query(`SELECT pg_terminate_backend(pid) ${sessionsOf(name)}`)
      const tries = PatienceMillis / 10
      for (let i = 0; ; i++) {
        const [state] = yield* connection.query<PgPool.SqlRow & { readonly left: number }>(
          `SELECT count(*)::int4 AS left ${sessionsOf(name)}`
        )
        if (state!.left === 0) break
        if (i >= tries)
          return yield* again("take over lease", `${state!.left} sessions of the holder before do not end`)
        yield* Effect.sleep("10 millis")
      }
      yield* connection.query(`SELECT pg_try_advisory_lock(${Fence.lockKey(name)}, ${holderKey})`)
      return ended.length
    })
  }

  /** Heartbeats until interrupted. Fails with `StoreFenced` where it is another's. */
  #keep(connection: PgPool.PgConnection, epoch: bigint): Effect.Effect<never, StoreError> {
    const { name } = this.#options
    const beat = Effect.gen({ self: this }, function* () {
      const rows = yield* connection.query(beatStatement, [name, epoch])
      if (rows.length === 0) return yield* this.#lost(connection, epoch)
      // After a session that was lost; where the server still has the old one it is tried with the next heartbeat.
      if (!isLocked) {
        const [row] = yield* connection.query<PgPool.SqlRow>(
          `SELECT pg_try_advisory_lock(${Fence.lockKey(name)}, ${holderKey}) AS locked`
        )
        isLocked = row!.locked === true
      }
      this.#heartbeatAt = yield* now
      if (this.#problem !== undefined) yield* Effect.logInfo(`lease ${name}: held on, epoch ${epoch}`)
      this.#problem = undefined
      yield* Effect.sleep(`${this.#beat} millis`)
    })
    let isLocked = false
    return Effect.forever(beat)
  }

  #lost(connection: PgPool.PgConnection, epoch: bigint): Effect.Effect<never, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { name } = this.#options
      const [row] = yield* connection.query<
        PgPool.SqlRow & { readonly epoch: bigint; readonly holder: string }
      >("SELECT epoch, holder FROM leases WHERE name = $1", [name])
      this.#role = "standby"
      this.#epoch = row?.epoch
      this.#holder = row?.holder
      return yield* Fence.fenced("hold lease", { name, epoch }, row?.epoch ?? 0n, row?.holder ?? "nobody")
    })
  }

  /** An interrupted question may have left the session in its middle: this is asked on one of its own. */
  #giveBack(epoch: bigint): Effect.Effect<void> {
    const { name } = this.#options
    const given = Effect.flatMap(this.#connect, (connection) =>
      connection.query(
        "UPDATE leases SET heartbeat_at = '-infinity', holder = '' WHERE name = $1 AND epoch = $2",
        [name, epoch]
      )
    )
    return Effect.scoped(given).pipe(Effect.timeout("2 seconds"), Effect.ignore)
  }
}

const tookFrom = ({ heartbeat, holder, locked }: Look, quiet: number, ended: number): string => {
  if (heartbeat === "-infinity") return ""
  return locked
    ? `, taken over from ${holder}, which is gone`
    : `, taken over from ${holder}, which was silent for ${Math.round(quiet / 100) / 10} s; ${ended} sessions of it were ended`
}

/** A question that has its time. A server that does not answer is one that is away. */
const answered = <A>(question: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
  Effect.timeoutOrElse(question, {
    duration: `${PatienceMillis} millis`,
    orElse: () =>
      Effect.fail(
        new StoreError({
          operation: "hold lease",
          reason: new StoreUnavailable({
            detail: `the server has not answered for ${PatienceMillis / 1000} s`,
            hint: "check the network between here and there, and the server's load"
          })
        })
      )
  })

const again = (operation: string, detail: string): Effect.Effect<never, StoreError> =>
  Effect.fail(new StoreError({ operation, reason: new StoreContention({ detail }) }))
