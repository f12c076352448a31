/**
 * A pool of PostgreSQL connections as Effects: queries, transactions, and binary COPY in both directions.
 *
 * A session goes back to the pool only when it is idle and outside a transaction. A statement that the server refused is
 * rolled back and its session kept; an interrupted statement, a COPY left early, a lost connection or a transaction of
 * unknown state destroy the session, so that the server rolls back and the pool never hands out half a conversation.
 */
import type { Writable } from "node:stream"
import { StoreError, UnixNanos } from "@data-manager/core"
import { Cause, Effect, Exit, type Scope } from "effect"
import pg from "pg"
import { from as copyFrom } from "pg-copy-streams"
import { connectFailure } from "./ConnectFailure.ts"
import { CopyOut, type CopySink } from "./CopyOut.ts"
import * as Fence from "./Fence.ts"
import { codeOf, storeError } from "./PgError.ts"

/** A row as the driver gives it: int8 as bigint, numeric and timestamps as text, arrays as arrays. */
export type SqlRow = { readonly [column: string]: unknown }

/** One session of the pool, in use by one fiber. */
export interface PgConnection {
  readonly query: <Row extends SqlRow = SqlRow>(
    sql: string,
    values?: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<Row>, StoreError>
  /**
   * Several statements in one round trip, without parameters: one result per statement. The caller writes values into
   * the text, so they may only be numbers and constants of this program.
   */
  readonly script: (sql: string) => Effect.Effect<ReadonlyArray<ReadonlyArray<SqlRow>>, StoreError>
  /**
   * `COPY ... FROM STDIN (FORMAT binary)`: sends the chunks in order, resolves with the number of rows.
   *
   * A chunk is asked for while the one before is on its way and may still be read until the one after it is asked for:
   * an iterable that fills two buffers by turns is safe. What the iterable throws fails the COPY.
   */
  readonly copyIn: (statement: string, chunks: Iterable<Uint8Array>) => Effect.Effect<number, StoreError>
  /**
   * `COPY (...) TO STDOUT (FORMAT binary)` straight into a sink, row bytes in place; resolves with the number of rows.
   * What the sink throws fails the COPY. A COPY that did not come to its end ends the session, not the pool.
   */
  readonly copyInto: (statement: string, sink: CopySink) => Effect.Effect<number, StoreError>
}

/** A pool; closed with its scope. */
export interface PgPool {
  readonly query: PgConnection["query"]
  /** Runs `use` on one session. */
  readonly withConnection: <A, E, R>(
    operation: string,
    use: (connection: PgConnection) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | StoreError, R>
  /** Runs `use` between BEGIN and COMMIT; failure and interruption roll back. */
  readonly transaction: <A, E, R>(
    operation: string,
    use: (connection: PgConnection) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | StoreError, R>
  /** A session held for the scope, for streams. */
  readonly connection: (operation: string) => Effect.Effect<PgConnection, StoreError, Scope.Scope>
}

const { builtins } = pg.types
// Arrays of int8 and of timestamptz, which node-postgres does not name.
const Int8Array1 = 1016
const TimestamptzArray = 1185
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") => {
    if (format !== "binary") {
      if (oid === builtins.INT8) return (text: string) => BigInt(text)
      if (oid === builtins.TIMESTAMPTZ || oid === builtins.TIMESTAMP || oid === builtins.DATE)
        return (text: string) => text
      if (oid === Int8Array1) return (text: string) => parseArray(text, BigInt)
      if (oid === TimestamptzArray)
        return (text: string) => parseArray(text, (item) => item.replace(/^"|"$/g, ""))
    }
    return pg.types.getTypeParser(oid, format as "text")
  }) as pg.CustomTypesConfig["getTypeParser"]
}

const parseArray = <A>(text: string, parse: (item: string) => A): ReadonlyArray<A | null> =>
  text === "{}"
    ? []
    : text
        .slice(1, -1)
        .split(",")
        .map((item) => (item === "NULL" ? null : parse(item)))

/** A `timestamptz` parameter for a time in nanoseconds: exact to the microsecond (rounded down). */
export const timestampParameter = (time: bigint): string => {
  const iso = UnixNanos.toIso(UnixNanos.floorMicros(time) * UnixNanos.PerMicro)
  return iso.replace(/(\.\d{6})\d{3}Z$/, "$1Z")
}

/** A `timestamptz` constant for statements without parameters, rounded down to the microsecond. */
export const timestampLiteral = (time: bigint): string => `timestamptz '${timestampParameter(time)}'`

/** SQL expression that gives a timestamptz as whole microseconds since the epoch (bigint). */
export const microsOf = (expression: string): string => `(extract(epoch from ${expression}) * 1000000)::int8`

/** How a pool connects; `ServerAddress.clientConfig` makes the `client` part. */
export interface PgPoolOptions {
  readonly client: pg.ClientConfig
  readonly maxConnections: number
  /** Settings sent with every new session, beside UTC and ISO dates. */
  readonly sessionSettings?: { readonly [name: string]: string }
  /** The lease that the sessions belong to: they are ended when another service takes it over. */
  readonly fence?: Fence.Fence | undefined
  /** Whether everything is done under the lease alone, see `Fence`. Each query is a transaction then. Default false. */
  readonly isFenced?: boolean | undefined
}

/** One server session and what is known about its state. */
interface Session {
  readonly client: pg.PoolClient
  /** Statements sent and not yet answered. */
  pending: number
  /** A transaction is open or its end is unknown. */
  inTransaction: boolean
  /** A COPY was left in its middle: no further statement would be answered. */
  broken: boolean
}

const newSession = (client: pg.PoolClient): Session => ({
  client,
  pending: 0,
  inTransaction: false,
  broken: false
})

/** Whether somebody else may use the session. */
const isClean = (session: Session): boolean =>
  session.pending === 0 && !session.inTransaction && !session.broken

/**
 * Settings that decide what statements and values mean. A server, a database or a role may have set each of them to
 * something else: analysts like local times, and some programs need repeatable reads.
 */
const meaning = {
  timezone: "UTC",
  datestyle: "ISO, YMD",
  intervalstyle: "postgres",
  extra_float_digits: "1",
  bytea_output: "hex",
  standard_conforming_strings: "on",
  array_nulls: "on",
  quote_all_identifiers: "off",
  // A statement that has waited for a lock must see what the holder has committed.
  default_transaction_isolation: "read committed",
  client_min_messages: "warning"
} as const

/** Opens a pool. Sessions are made on demand; a first one is made now, so that a wrong address fails here. */
export const make = (options: PgPoolOptions): Effect.Effect<PgPool, StoreError, Scope.Scope> =>
  Effect.gen(function* () {
    const pool = yield* Effect.acquireRelease(
      Effect.sync(() => openPool(options)),
      (opened) => Effect.promise(() => opened.end())
    )
    // Statements on temporary tables, which have no statistics, look expensive enough to be compiled. They are not.
    const configure = sessionSetup(
      { ...meaning, jit: "off", ...options.sessionSettings },
      options.fence === undefined ? undefined : Fence.tagStatement(options.fence)
    )
    const fence = options.isFenced === true ? options.fence : undefined
    const connect = () => pool.connect().then(configure)
    const acquire = (operation: string): Effect.Effect<Session, StoreError, Scope.Scope> =>
      Effect.acquireRelease(
        takeClient(connect, (cause) => connectFailure(operation, options.client, cause)).pipe(
          Effect.map(newSession)
        ),
        (session) => Effect.sync(() => session.client.release(!isClean(session))),
        { interruptible: true }
      )
    const withSession = <A, E, R>(operation: string, use: (session: Session) => Effect.Effect<A, E, R>) =>
      Effect.scoped(Effect.flatMap(acquire(operation), use))
    const withConnection: PgPool["withConnection"] = (operation, use) =>
      withSession(operation, (session) => {
        const connection = connectionOf(session, operation)
        return fence === undefined
          ? use(connection)
          : Effect.andThen(looked(connection, operation, fence), use(connection))
      })
    const transaction: PgPool["transaction"] = (operation, use) =>
      withSession(operation, (session) => inTransaction(session, operation, fence, use))
    const query = <Row extends SqlRow>(sql: string, values?: ReadonlyArray<unknown>) =>
      (fence === undefined ? withConnection : transaction)("query", (connection) =>
        connection.query<Row>(sql, values)
      )
    yield* withConnection("connect", (connection) => connection.query("SELECT 1"))
    return {
      query,
      withConnection,
      transaction,
      connection: (operation) => Effect.map(acquire(operation), (session) => connectionOf(session, operation))
    }
  })

const openPool = (options: PgPoolOptions): pg.Pool => {
  const pool = new pg.Pool({
    ...options.client,
    types,
    max: options.maxConnections,
    idleTimeoutMillis: 30_000
  })
  // An idle session that the server ends is dropped by the pool; without a listener Node would exit.
  pool.on("error", () => {})
  // One that breaks while in use reports through its query. From the first moment on: the end may come with the greeting.
  pool.on("connect", (client) => client.on("error", () => {}))
  return pool
}

/** Waits for a client; a waiting fiber can be interrupted, and a client that comes too late goes back to the pool. */
const takeClient = (
  connect: () => Promise<pg.PoolClient>,
  failure: (cause: unknown) => StoreError
): Effect.Effect<pg.PoolClient, StoreError> =>
  Effect.suspend(() => {
    let taken: pg.PoolClient | undefined
    return Effect.tryPromise({
      try: async (signal) => {
        const client = await connect()
        if (signal.aborted) client.release()
        else taken = client
        return client
      },
      catch: failure
    }).pipe(Effect.onInterrupt(() => Effect.sync(() => taken?.release())))
  })

/** Sends the settings once per session, in one statement, and marks it. */
const sessionSetup = (settings: { readonly [name: string]: string }, tag: string | undefined) => {
  const names = Object.keys(settings)
  const sql = `SELECT ${names.map((_, i) => `set_config($${2 * i + 1}, $${2 * i + 2}, false)`).join(", ")}`
  const values = Object.entries(settings).flat()
  const configured = new WeakSet<pg.PoolClient>()
  return async (client: pg.PoolClient): Promise<pg.PoolClient> => {
    if (configured.has(client)) return client
    try {
      await client.query(sql, values)
      // A backend in a long statement then notices that its client is gone. Not every server platform can.
      await client.query("SET client_connection_check_interval = '5s'").catch(onlyServerError)
      if (tag !== undefined) await client.query(tag)
    } catch (error) {
      client.release(true)
      throw error
    }
    configured.add(client)
    return client
  }
}

const onlyServerError = (error: unknown): void => {
  if (!isServerError(error)) throw error
}

/** Whether the server answered with an error and the session goes on. */
const isServerError = (error: unknown): boolean => {
  const code = codeOf(error)
  // No SQLSTATE begins with E; socket codes do, and EPIPE has five letters, too.
  return code !== undefined && /^(?!E)[0-9A-Z]{5}$/.test(code) && !/^(08|57P)/.test(code)
}

/** Whether the server ends the session with its error. */
const isLast = (error: unknown): boolean =>
  /^(FATAL|PANIC)$/.test(String((error as { readonly severity?: unknown } | undefined)?.severity))

/** Refuses a connection whose lease is another's. It may be lost a moment later: only a transaction holds it. */
const looked = (connection: PgConnection, operation: string, fence: Fence.Fence) =>
  Effect.flatMap(connection.query(Fence.lookStatement(fence)), (found) =>
    Fence.check(operation, fence, found)
  )

/** Begins a transaction, under the lease where there is one: in one round trip. */
const begin = (connection: PgConnection, operation: string, fence: Fence.Fence | undefined) =>
  fence === undefined
    ? connection.query("BEGIN")
    : Effect.flatMap(connection.script(`BEGIN; ${Fence.lookStatement(fence)}`), ([, found]) =>
        Fence.check(operation, fence, found!)
      )

const inTransaction = <A, E, R>(
  session: Session,
  operation: string,
  fence: Fence.Fence | undefined,
  use: (connection: PgConnection) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | StoreError, R> => {
  const connection = connectionOf(session, operation)
  return Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      session.inTransaction = true
      const exit = yield* Effect.exit(
        restore(Effect.flatMap(begin(connection, operation, fence), () => use(connection)))
      )
      if (Exit.isSuccess(exit)) {
        yield* restore(connection.query("COMMIT"))
        session.inTransaction = false
        return exit.value
      }
      if (session.pending === 0 && !session.broken && !Cause.hasInterrupts(exit.cause)) {
        const back = yield* Effect.exit(connection.query("ROLLBACK"))
        // A session that cannot even roll back is destroyed.
        if (Exit.isSuccess(back)) session.inTransaction = false
      }
      return yield* Effect.failCause(exit.cause)
    })
  )
}

const connectionOf = (session: Session, operation: string): PgConnection => {
  const { client } = session
  const run = <A>(statement: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, StoreError> =>
    Effect.tryPromise({
      try: (signal) => {
        session.pending += 1
        return statement(signal)
          .catch((error) => {
            // The server says this with its last breath: the connection ends, though nobody has noticed it yet.
            if (isLast(error)) session.broken = true
            throw error
          })
          .finally(() => {
            session.pending -= 1
          })
      },
      catch: (cause) => storeError(operation, cause)
    })
  return {
    query: <Row extends SqlRow>(sql: string, values?: ReadonlyArray<unknown>) =>
      run((_) => client.query(sql, values as Array<unknown> | undefined).then((r) => r.rows as Array<Row>)),
    script: (sql) =>
      run((_) =>
        client.query(sql).then((results) => {
          // One statement gives one result, several give an array of them.
          const all: ReadonlyArray<pg.QueryResult> = Array.isArray(results) ? results : [results]
          return all.map((result) => result.rows as ReadonlyArray<SqlRow>)
        })
      ),
    copyIn: (statement, chunks) => run((signal) => sendCopy(session, statement, chunks, signal)),
    copyInto: (statement, sink) => run((_) => takeCopy(session, statement, sink))
  }
}

const nothing = new Uint8Array(0)

/**
 * Sends one chunk at a time: while it is on its way the next one is made. More at a time would gain nothing, and the
 * COPY stream would go on writing to a connection that it has given up when the server refuses a row in the middle.
 */
const sendCopy = async (
  session: Session,
  statement: string,
  chunks: Iterable<Uint8Array>,
  signal: AbortSignal
): Promise<number> => {
  const { sink, write, refused, check } = openCopy(session, statement)
  let onItsWay: Promise<void> = Promise.resolve()
  session.broken = true
  try {
    for (const chunk of chunks) {
      await Promise.race([onItsWay, refused])
      check(signal)
      onItsWay = write(chunk)
      onItsWay.catch(() => {})
      // Lets the socket and the abort signal have their turn before the next chunk is made.
      await new Promise(setImmediate)
    }
    await Promise.race([onItsWay, refused])
    check(signal)
    const finished = new Promise<void>((resolve) => sink.once("finish", resolve))
    sink.end()
    await Promise.race([finished, refused])
  } catch (error) {
    // The server has ended the COPY by itself where it answered with an error.
    if (isServerError(error)) session.broken = false
    throw error
  }
  session.broken = false
  return sink.rowCount
}

const openCopy = (session: Session, statement: string) => {
  const sink = session.client.query(copyFrom(statement))
  const { stream } = (session.client as unknown as { readonly connection: { readonly stream: Writable } })
    .connection
  let refusal: { readonly error: unknown } | undefined
  const refused = new Promise<never>((_, reject) =>
    sink.on("error", (error) => {
      refusal ??= { error }
      reject(error)
    })
  )
  refused.catch(() => {})
  return {
    sink,
    refused,
    /** Throws where the COPY is over: its stream must not be written to any more. */
    check: (signal: AbortSignal): void => {
      if (refusal !== undefined) throw refusal.error
      signal.throwIfAborted()
    },
    /** Resolves when the socket has taken the chunk's memory. */
    write: (chunk: Uint8Array): Promise<void> =>
      new Promise((resolve, reject) =>
        sink.write(chunk, (error) => {
          if (error) reject(error)
          // A chunk below the socket's high-water mark is answered at once, though its memory is still to be read.
          else if (stream.writableLength > 0) stream.write(nothing, () => resolve())
          else resolve()
        })
      )
  }
}

const takeCopy = async (session: Session, statement: string, sink: CopySink): Promise<number> => {
  session.broken = true
  const copy = new CopyOut(statement, sink)
  try {
    const rows = await session.client.query(copy).finished
    session.broken = false
    return rows
  } catch (error) {
    if (isServerError(error)) session.broken = false
    throw error
  }
}

/** Whether an error is the server's refusal of a row whose key is there already. */
export const isUniqueViolation = (error: unknown): boolean =>
  error instanceof StoreError && codeOf(error.cause) === "23505"
