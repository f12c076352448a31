/**
 * Who uses a server, and stopping it when nobody does. All of it happens inside the server, in advisory locks of the
 * maintenance database, so that the kernel's closing of a dead process's socket is all the bookkeeping there is.
 *
 *     reference   a session holds `inUse` shared for as long as its process uses the server
 *     watchdog    one session holds `watched` and looks for a moment when it can have `inUse` exclusively;
 *                 can it for the linger time, it keeps it and has the postmaster shut down fast
 *     a stopper   takes `inUse` exclusively first, like the watchdog
 *
 * So no server is stopped under somebody who holds a reference, and somebody who comes while it is being stopped waits
 * for the lock until the shutdown ends the session, and starts the server again.
 *
 * The watchdog is a PL/pgSQL loop and needs no process of its own: its client sends it and goes away. The backend notices
 * the closed socket only if it reads or writes, which it never does again.
 */
import { Effect } from "effect"
import type { ServerAddress } from "../ServerAddress.ts"
import * as Session from "./Session.ts"

/** Name of the reference sessions of a process in `pg_stat_activity`. */
export const applicationName = (pid: number): string => `dm-ref:${pid}`

/** Process id in the name of a reference session; undefined for any other session. */
export const processOf = (name: string): number | undefined => {
  const found = /^dm-ref:(\d+)$/.exec(name)
  return found === null ? undefined : Number(found[1])
}

const watchdogName = "dm-watchdog"

// Advisory lock keys: "dm" as two bytes, then which one.
const watched = "25709, 1"
const inUse = "25709, 2"

/** Takes the reference; waits while somebody decides whether the server may be stopped. */
export const hold = (session: Session.Session): Effect.Effect<void, unknown> =>
  Effect.asVoid(Session.query(session, `SELECT pg_advisory_lock_shared(${inUse})`))

/** Tries to become the only one, for stopping; the session must stay open until the server is gone. */
export const claim = (session: Session.Session): Effect.Effect<boolean, unknown> =>
  Effect.map(
    Session.query(session, `SELECT pg_try_advisory_lock(${inUse}) AS claimed`),
    (rows) => rows[0]?.claimed === true
  )

/** Whether a watchdog runs. */
export const isWatched = (session: Session.Session): Effect.Effect<boolean, unknown> =>
  Effect.map(
    Session.query(
      session,
      `SELECT CASE WHEN pg_try_advisory_lock_shared(${watched}) THEN NOT pg_advisory_unlock_shared(${watched}) ELSE true END AS watched`
    ),
    (rows) => rows[0]?.watched === true
  )

const watching = "data manager watchdog"

/** Every round is a transaction of its own, so that the loop never holds back vacuum. */
const watchdog = `DO $watchdog$
DECLARE
  postmaster CONSTANT text := split_part(pg_read_file('postmaster.pid'), E'\\n', 1);
  linger CONSTANT float8 := current_setting('data_manager.linger_ms')::float8 / 1000;
  round CONSTANT float8 := least(1, greatest(linger / 4, 0.02));
  idle float8 := 0;
BEGIN
  -- Somebody asking whether there is a watchdog holds the lock for a moment.
  FOR attempt IN 1..20 LOOP
    EXIT WHEN pg_try_advisory_lock(${watched});
    IF attempt = 20 THEN RETURN; END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
  EXECUTE format('COPY (SELECT %L) TO %L', postmaster || ' ' || split_part(pg_read_file('postmaster.pid'), E'\\n', 3),
    current_setting('data_directory') || '/data_manager.watched');
  RAISE NOTICE '${watching}';
  LOOP
    COMMIT;
    PERFORM pg_sleep(round);
    IF NOT pg_try_advisory_lock(${inUse}) THEN
      idle := 0;
      CONTINUE;
    END IF;
    idle := idle + round;
    IF idle >= linger THEN
      -- Exactly the process that this backend belongs to, while it surely exists.
      EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'cat >/dev/null; kill -INT ' || postmaster);
      PERFORM pg_sleep(3600);
    END IF;
    PERFORM pg_advisory_unlock(${inUse});
  END LOOP;
END
$watchdog$`

/** Runs until the watchdog has said that it watches, or has ended because another one does. */
const launch = ({ client, socket }: Session.Session): Effect.Effect<void, unknown> =>
  Effect.callback<void, unknown>((resume) => {
    const done = () => {
      // Cut, not ended: the server would take "terminate" only after the loop, but must not wait for anything.
      socket.destroy()
      resume(Effect.void)
    }
    client.on("notice", (notice) => {
      if (notice.message === watching) done()
    })
    client.query(watchdog).then(done, (cause) => resume(Effect.fail(cause)))
  })

/** Makes sure that a watchdog runs; `supervisor` is the login of the role that made the cluster. */
export const watch = (supervisor: ServerAddress): Effect.Effect<void, unknown> =>
  Effect.acquireUseRelease(Session.connect(supervisor, watchdogName), launch, ({ socket }) =>
    Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.timeoutOrElse({
      duration: "10 seconds",
      orElse: () => Effect.fail(new Error("timeout: the watchdog does not answer"))
    })
  )

/** A process that keeps the server running. */
export interface Reference {
  readonly pid: number
  /** When its session began. ISO 8601, UTC. */
  readonly since: string
}

/** The processes that hold references, longest first. Needs `pg_monitor`. */
export const list = (session: Session.Session): Effect.Effect<ReadonlyArray<Reference>, unknown> =>
  Effect.map(
    Session.query(
      session,
      `SELECT application_name AS name, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS since
       FROM pg_stat_activity WHERE application_name LIKE 'dm-ref:%' AND pid IN (
         SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 25709 AND objid = 2 AND granted
       ) ORDER BY backend_start`
    ),
    (rows) =>
      rows.flatMap(({ name, since }) => {
        const pid = processOf(String(name))
        return pid === undefined ? [] : [{ pid, since: String(since) }]
      })
  )
