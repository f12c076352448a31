/**
 * A pool of PostgreSQL connections as Effects: queries, transactions, and binary COPY in both directions.
 *
 * Interruption and failure inside a COPY or transaction destroy the connection instead of returning it, so the server
 * rolls back and the pool never hands out a session in an unknown state.
 */

import { once } from "node:events"
import type { Readable } from "node:stream"
import { type StoreError, UnixNanos } from "@data-manager/core"
import { Effect, type Scope, Stream } from "effect"
import pg from "pg"
import { from as copyFrom, to as copyTo } from "pg-copy-streams"
import { storeError } from "./PgError.ts"

/** A row as the driver gives it: int8 as bigint, numeric and timestamps as text, arrays as arrays. */
export type SqlRow = { readonly [column: string]: unknown }

/** One session of the pool, in use by one fiber. */
export interface PgConnection {
  readonly query: <Row extends SqlRow = SqlRow>(
    sql: string,
    values?: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<Row>, StoreError>
  /** `COPY ... FROM STDIN (FORMAT binary)`: sends the chunks in order, resolves with the number of rows. */
  readonly copyIn: (statement: string, chunks: Iterable<Uint8Array>) => Effect.Effect<number, StoreError>
  /** `COPY (...) TO STDOUT (FORMAT binary)`: raw chunks, cut anywhere. */
  readonly copyOut: (statement: string) => Stream.Stream<Uint8Array, StoreError>
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
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") => {
    if (format !== "binary") {
      if (oid === builtins.INT8) return (text: string) => BigInt(text)
      if (oid === builtins.TIMESTAMPTZ || oid === builtins.TIMESTAMP || oid === builtins.DATE)
        return (text: string) => text
      // int8[]: elements as bigint
      if (oid === 1016) return (text: string) => parseInt8Array(text)
    }
    return pg.types.getTypeParser(oid, format as "text")
  }) as pg.CustomTypesConfig["getTypeParser"]
}

const parseInt8Array = (text: string): ReadonlyArray<bigint | null> =>
  text === "{}"
    ? []
    : text
        .slice(1, -1)
        .split(",")
        .map((item) => (item === "NULL" ? null : BigInt(item)))

/** A `timestamptz` parameter for a time in nanoseconds: exact to the microsecond (rounded down). */
export const timestampParameter = (time: bigint): string => {
  const iso = UnixNanos.toIso(UnixNanos.floorMicros(time) * UnixNanos.PerMicro)
  return iso.replace(/(\.\d{6})\d{3}Z$/, "$1Z")
}

/** SQL expression that gives a timestamptz as whole microseconds since the epoch (bigint). */
export const microsOf = (expression: string): string => `(extract(epoch from ${expression}) * 1000000)::int8`

/** How a pool connects; see `PgServer` for where the settings come from. */
export interface PgPoolOptions {
  readonly client: pg.ClientConfig
  readonly maxConnections: number
  /** Settings sent with every new session. */
  readonly sessionSettings?: { readonly [name: string]: string }
}

/** Opens a pool. Sessions are made on demand; a first one is made now, so that a wrong address fails here. */
export const make = (options: PgPoolOptions): Effect.Effect<PgPool, StoreError, Scope.Scope> =>
  Effect.gen(function* () {
    const pool = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const made = new pg.Pool({
          ...options.client,
          types,
          max: options.maxConnections,
          idleTimeoutMillis: 30_000
        })
        // An idle session that the server ends is dropped by the pool; without a listener Node would exit.
        made.on("error", () => {})
        return made
      }),
      (made) => Effect.promise(() => made.end())
    )
    const settings = Object.entries({ timezone: "UTC", ...options.sessionSettings })
    const configured = new WeakSet<pg.PoolClient>()
    const configure = async (client: pg.PoolClient): Promise<pg.PoolClient> => {
      if (configured.has(client)) return client
      // A session that breaks while in use reports through its query; the event must not end the process.
      client.on("error", () => {})
      try {
        for (const [name, value] of settings)
          await client.query("SELECT set_config($1, $2, false)", [name, value])
      } catch (error) {
        client.release(true)
        throw error
      }
      configured.add(client)
      return client
    }
    const acquire = (operation: string) =>
      Effect.acquireRelease(
        Effect.tryPromise({
          try: () => pool.connect().then(configure),
          catch: (cause) => storeError(operation, cause)
        }),
        // Failure and interruption leave a session in an unknown state: it is destroyed.
        (client, exit) => Effect.sync(() => client.release(exit._tag === "Failure"))
      )
    const withConnection: PgPool["withConnection"] = (operation, use) =>
      Effect.scoped(Effect.flatMap(acquire(operation), (client) => use(connectionOf(client, operation))))
    const transaction: PgPool["transaction"] = (operation, use) =>
      withConnection(operation, (connection) =>
        Effect.gen(function* () {
          yield* connection.query("BEGIN")
          const result = yield* use(connection)
          yield* connection.query("COMMIT")
          return result
        })
      )
    yield* withConnection("connect", (connection) => connection.query("SELECT 1"))
    return {
      query: (sql, values) => withConnection("query", (connection) => connection.query(sql, values)) as never,
      withConnection,
      transaction,
      connection: (operation) => Effect.map(acquire(operation), (client) => connectionOf(client, operation))
    }
  })

const connectionOf = (client: pg.PoolClient, operation: string): PgConnection => ({
  query: <Row extends SqlRow>(sql: string, values?: ReadonlyArray<unknown>) =>
    Effect.tryPromise({
      try: () =>
        client.query(sql, values as Array<unknown> | undefined).then((result) => result.rows as Array<Row>),
      catch: (cause) => storeError(operation, cause)
    }),
  copyIn: (statement, chunks) =>
    Effect.tryPromise({
      try: (signal) => sendCopy(client, statement, chunks, signal),
      catch: (cause) => storeError(operation, cause)
    }),
  copyOut: (statement) =>
    Stream.fromAsyncIterable(receiveCopy(client, statement), (cause) => storeError(operation, cause))
})

const sendCopy = async (
  client: pg.PoolClient,
  statement: string,
  chunks: Iterable<Uint8Array>,
  signal: AbortSignal
): Promise<number> => {
  const sink = client.query(copyFrom(statement, { highWaterMark: 1 << 20 }))
  let failure: unknown
  const failed = new Promise<never>((_, reject) =>
    sink.once("error", (error) => {
      failure = error
      reject(error)
    })
  )
  failed.catch(() => {})
  for (const chunk of chunks) {
    if (signal.aborted) {
      sink.destroy()
      throw signal.reason
    }
    if (failure !== undefined) throw failure
    if (!sink.write(chunk)) await Promise.race([once(sink, "drain"), failed])
  }
  const finished = once(sink, "finish")
  sink.end()
  await Promise.race([finished, failed])
  return sink.rowCount
}

const receiveCopy = async function* (client: pg.PoolClient, statement: string): AsyncGenerator<Uint8Array> {
  const source = client.query(copyTo(statement)) as unknown as Readable
  for await (const chunk of source) yield chunk as Uint8Array
}
