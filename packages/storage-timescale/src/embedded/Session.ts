/** Database sessions of the supervisor itself: the ones that keep the server running, and short ones that ask it something. */
import { Socket } from "node:net"
import { Effect, type Redacted } from "effect"
import pg from "pg"
import { codeOf } from "../PgError.ts"
import { clientConfig, type ServerAddress } from "../ServerAddress.ts"
import type { Listen } from "./Settings.ts"

/** Limits that somebody may have set for every session would end the ones that must last. */
const unlimited = {
  options: [
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "client_connection_check_interval"
  ]
    .map((name) => `-c ${name}=0`)
    .concat("-c client_min_messages=notice")
    .join(" ")
}

/** How one login reaches a server that listens there. */
export const addressOf = (
  listen: Listen,
  user: string,
  password: Redacted.Redacted<string>,
  database: string
): ServerAddress => ({
  ...unlimited,
  host: listen.socketDirectory ?? "127.0.0.1",
  port: listen.port,
  database,
  user,
  password,
  ssl: { mode: "disable" }
})

/** A session and its socket, which can be cut without a word to the server. */
export interface Session {
  readonly client: pg.Client
  readonly socket: Socket
  /** Resolves when the session is over: the SQLSTATE with which the server ended it, if it said so. */
  readonly ended: Promise<string | undefined>
}

const opened = (client: pg.Client, socket: Socket): Session => {
  let state: string | undefined
  const ended = new Promise<string | undefined>((resolve) => {
    client.on("error", (cause) => {
      state ??= codeOf(cause)
    })
    // The end by a crash of another backend, or by an immediate shutdown, is announced as a warning.
    client.on("notice", ({ code }) => {
      if (code?.startsWith("57P") === true) state = code
    })
    client.once("end", () => resolve(state))
  })
  return { client, socket, ended }
}

/**
 * Opens a session. Fails with what the driver threw, for the caller to judge: a server that is just starting or stopping
 * is no error to somebody who waits for it. Interruption cuts the socket.
 */
export const connect = (address: ServerAddress, applicationName: string): Effect.Effect<Session, unknown> =>
  Effect.callback<Session, unknown>((resume) => {
    const socket = new Socket()
    const settings: pg.ClientConfig = {
      ...clientConfig({ ...address, connectTimeoutSeconds: 10 }, applicationName),
      stream: () => socket
    }
    const client = new pg.Client(settings)
    const session = opened(client, socket)
    client.connect().then(
      () => resume(Effect.succeed(session)),
      (cause) => {
        socket.destroy()
        resume(Effect.fail(cause))
      }
    )
    return Effect.sync(() => socket.destroy())
  })

/** Runs one statement; fails with what the driver threw. */
export const query = (
  { client }: Session,
  sql: string
): Effect.Effect<ReadonlyArray<Record<string, unknown>>, unknown> =>
  Effect.tryPromise({ try: () => client.query(sql), catch: (cause) => cause }).pipe(
    Effect.map((result) => result.rows)
  )

/** Ends a session; one that does not answer is cut. */
export const close = ({ client, socket }: Session): Effect.Effect<void> =>
  Effect.promise(() => client.end().catch(() => {})).pipe(
    Effect.timeoutOption("1 second"),
    Effect.andThen(Effect.sync(() => socket.destroy()))
  )

/** Runs `use` on a session of its own. */
export const using = <A, E>(
  address: ServerAddress,
  applicationName: string,
  use: (session: Session) => Effect.Effect<A, E>
): Effect.Effect<A, unknown> => Effect.acquireUseRelease(connect(address, applicationName), use, close)
