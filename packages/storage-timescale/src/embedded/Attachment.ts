/** Holding a running server: a reference session, taken so that the server cannot be on its way out. */
import { StoreAccessDenied, type StoreError } from "@data-manager/core"
import { Effect } from "effect"
import { codeOf, storeError } from "../PgError.ts"
import * as Credentials from "./Credentials.ts"
import type { DataDirectory } from "./DataDirectory.ts"
import { failure } from "./EmbeddedFailure.ts"
import * as Postmaster from "./Postmaster.ts"
import * as Reference from "./Reference.ts"
import * as Session from "./Session.ts"
import type { Listen } from "./Settings.ts"

const operation = "connect to embedded server"

/** A held server. The session may be replaced when the server was restarted. */
export interface Holder {
  session: Session.Session | undefined
}

/** A running server's pid file that also says where it listens. */
export type Listening = Postmaster.PidFile & { readonly listen: Listen }

/** What came of an attempt: attached, or not now and why. */
export type Outcome = { readonly _tag: "Attached" } | { readonly _tag: "Later"; readonly why: string }

/** Outcome of an attempt that may well succeed in a moment. */
export const later = (why: string): Outcome => ({ _tag: "Later", why })

/** Codes of a server that is starting, stopping, or just gone: somebody who waits comes again. */
const passing = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOENT",
  "EPIPE",
  "57P01",
  "57P02",
  "57P03",
  // The watchdog was asked for while the server shut down.
  "08006"
])

const isPassing = (cause: unknown): boolean => {
  const code = codeOf(cause)
  if (code !== undefined) return passing.has(code)
  return cause instanceof Error && /terminated|timeout|closed|not queryable/i.test(cause.message)
}

const describeCause = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

const typed = (directory: DataDirectory, cause: unknown): StoreError =>
  codeOf(cause) === "28P01"
    ? failure(
        operation,
        new StoreAccessDenied({
          detail: `the server refuses the password in ${directory.pgpass}`,
          hint: "restore that file from a backup, together with the cluster it belongs to"
        }),
        cause
      )
    : storeError(operation, cause)

/** Gives the reference back. */
export const detach = (holder: Holder): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { session } = holder
    holder.session = undefined
    return session === undefined ? Effect.void : Session.close(session)
  })

const openSession = ({ listen }: Listening, credentials: Credentials.Credentials, holder: Holder) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.map(
      restore(
        Session.connect(
          Session.addressOf(listen, Credentials.owner, credentials.owner, Credentials.maintenanceDatabase),
          Reference.applicationName(process.pid)
        )
      ),
      (session) => {
        holder.session = session
        return session
      }
    )
  )

/** The shutdown is written into the pid file before any session is ended: a lock granted by it is recognised here. */
const stillRuns = (directory: DataDirectory, pid: number): Effect.Effect<boolean, StoreError> =>
  Effect.map(Postmaster.read(directory), (seen) => seen?.pid === pid && seen.status === "ready")

const take = (directory: DataDirectory, server: Listening, holder: Holder) =>
  Effect.gen(function* () {
    const credentials = yield* Credentials.read(directory.pgpass)
    const session = yield* openSession(server, credentials, holder)
    yield* Reference.hold(session)
    if (!(yield* stillRuns(directory, server.pid))) return later("the server is shutting down")
    if (!(yield* Reference.isWatched(session))) {
      yield* Reference.watch(
        Session.addressOf(
          server.listen,
          Credentials.supervisor,
          credentials.supervisor,
          Credentials.maintenanceDatabase
        )
      )
    }
    return { _tag: "Attached" } as const
  })

/**
 * Takes a reference on the server and makes sure that it has a watchdog. "Later" where the server is starting, stopping
 * or gone; fails with `StoreError` where waiting does not help.
 */
export const attach = (
  directory: DataDirectory,
  server: Listening,
  holder: Holder
): Effect.Effect<Outcome, StoreError> =>
  take(directory, server, holder).pipe(
    Effect.catch((cause) =>
      isPassing(cause) ? Effect.succeed(later(describeCause(cause))) : Effect.fail(typed(directory, cause))
    ),
    Effect.onExit((exit) =>
      exit._tag === "Success" && exit.value._tag === "Attached" ? Effect.void : detach(holder)
    )
  )
