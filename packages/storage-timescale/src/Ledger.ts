/**
 * The ledger: runs name their content by a fingerprint, segments are numbered from 0 and committed with their rows.
 * Appends of one run lock its row, so that two processes with the same source take turns.
 */
import {
  type AppendPlace,
  type AppendResult,
  type IngestRun,
  type IngestSource,
  MarketSchema,
  type MarketStore,
  StoreBadRequest,
  StoreError
} from "@data-manager/core"
import { Effect } from "effect"
import { microsOf, type PgConnection, type PgPool, type SqlRow, timestampParameter } from "./PgPool.ts"
import { refreshPending } from "./timescale/BarRefresh.ts"
import { compressRun } from "./timescale/BulkTable.ts"

interface RunRow extends SqlRow {
  readonly id: bigint
  readonly completed: bigint | null
  readonly next_segment: number
  readonly rows: bigint
}

const beginStatement = /* sql */ `
  INSERT INTO ingest_runs (kind, source, provider, dataset, schema, fingerprint) VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (fingerprint) DO UPDATE SET source = EXCLUDED.source
  RETURNING id, ${microsOf("completed_at")} AS completed,
    (SELECT coalesce(max(s.segment) + 1, 0) FROM ingest_segments s WHERE s.run_id = ingest_runs.id) AS next_segment,
    (SELECT coalesce(sum(s.rows), 0)::int8 FROM ingest_segments s WHERE s.run_id = ingest_runs.id) AS rows`

const begin = Effect.fnUntraced(function* (pool: PgPool, source: IngestSource) {
  const values = [
    source.kind,
    source.source,
    source.provider,
    source.dataset,
    source.schema === undefined ? null : MarketSchema.code(source.schema),
    source.fingerprint ?? null
  ]
  const [row] = yield* pool.transaction("begin run", (connection) =>
    connection.query<RunRow>(beginStatement, values)
  )
  const run: IngestRun = {
    id: row!.id,
    nextSegment: row!.next_segment,
    completedAt: row!.completed === null ? undefined : row!.completed * 1000n,
    rows: row!.rows
  }
  return run
})

/**
 * Locks the run or the stream for this transaction. True where the piece may be written, false where it is committed already. A
 * run that does not exist, and a piece that leaves a hole, are refused.
 */
export const open = (connection: PgConnection, place: AppendPlace): Effect.Effect<boolean, StoreError> =>
  place.stream === undefined ? openSegment(connection, place) : openPiece(connection, place.stream)

/** Locks a stream's place and gives it; undefined where the stream has none yet. */
const lockCursor = (connection: PgConnection, name: string): Effect.Effect<bigint | undefined, StoreError> =>
  Effect.map(
    connection.query<SqlRow & { readonly position: bigint }>(
      "SELECT position FROM stream_cursors WHERE stream = $1 FOR UPDATE",
      [name]
    ),
    ([cursor]) => cursor?.position
  )

/** The first writer of a stream gives it a place; whoever begins at the same time waits and finds it. */
const beginCursor = (connection: PgConnection, name: string): Effect.Effect<bigint, StoreError> =>
  Effect.andThen(
    connection.query("INSERT INTO stream_cursors (stream, position) VALUES ($1, 0) ON CONFLICT DO NOTHING", [
      name
    ]),
    Effect.map(lockCursor(connection, name), (position) => position!)
  )

/** A piece of a stream. */
type Piece = NonNullable<AppendPlace["stream"]>

const openPiece = Effect.fnUntraced(function* (connection: PgConnection, { from, name, to }: Piece) {
  if (from >= to) return yield* refuse(`positions ${from} to ${to} are no piece of stream ${name}`)
  const position = (yield* lockCursor(connection, name)) ?? (yield* beginCursor(connection, name))
  if (to <= position) return false
  // A stream that nothing was written of begins where it begins.
  if (from === position || position === 0n) return true
  return yield* refuse(
    `stream ${name} is committed up to ${position}: a piece from ${from} to ${to} does not go on there`
  )
})

const openSegment = Effect.fnUntraced(function* (
  connection: PgConnection,
  { run, segment }: AppendPlace & { readonly segment: number }
) {
  if (!Number.isInteger(segment) || segment < 0)
    return yield* refuse(`${segment} is no segment: they are numbered from 0`)
  // Two statements of one round trip: the second one looks only after the lock is held.
  const [found, state] = yield* connection.script(
    `SELECT FROM ingest_runs WHERE id = ${run} FOR UPDATE;
     SELECT coalesce(max(segment) + 1, 0) AS next FROM ingest_segments WHERE run_id = ${run}`
  )
  if (found!.length === 0) return yield* refuse(`there is no run ${run}; begin one first`)
  const next = state![0]!.next as number
  if (segment > next)
    return yield* refuse(`segment ${segment} of run ${run} would leave a hole: the next one is ${next}`)
  return segment === next
})

/**
 * What a committed append came to: for one whose answer was lost with its connection. Of a stream's piece that is not kept: it
 * counts as skipped.
 */
export const resultOf = Effect.fnUntraced(function* (
  connection: PgConnection,
  { run, segment, stream }: AppendPlace
) {
  if (stream !== undefined) {
    const nothing: AppendResult = { inserted: 0, duplicates: 0, conflicts: 0, skipped: true }
    return nothing
  }
  const [row] = yield* connection.query<SqlRow & Omit<AppendResult, "skipped">>(
    "SELECT inserted, duplicates, conflicts FROM ingest_segments WHERE run_id = $1 AND segment = $2",
    [run, segment]
  )
  const { inserted, duplicates, conflicts } = row!
  const result: AppendResult = { inserted, duplicates, conflicts, skipped: false }
  return result
})

/** Largest time of the run's committed rows, in whole microseconds as ns since the epoch. Of a stream it is not kept. */
export const lastTime = (
  connection: PgConnection,
  { run }: AppendPlace
): Effect.Effect<bigint | undefined, StoreError> =>
  Effect.map(
    connection.query<SqlRow & { readonly last: bigint | null }>(
      `SELECT ${microsOf("max(last_ts)")} AS last FROM ingest_segments WHERE run_id = $1`,
      [run]
    ),
    ([row]) => (row!.last === null ? undefined : row!.last * 1000n)
  )

const refuse = (detail: string): Effect.Effect<never, StoreError> =>
  Effect.fail(new StoreError({ operation: "append", reason: new StoreBadRequest({ detail }) }))

/** Records an append, in the transaction that wrote its rows. */
export const record = (
  connection: PgConnection,
  { run, segment, stream }: AppendPlace,
  rows: number,
  result: Omit<AppendResult, "skipped">,
  times: { readonly first: bigint; readonly last: bigint } | undefined
): Effect.Effect<unknown, StoreError> => {
  if (stream !== undefined)
    return connection.query("UPDATE stream_cursors SET position = $2, updated_at = now() WHERE stream = $1", [
      stream.name,
      stream.to
    ])
  return connection.query(
    `INSERT INTO ingest_segments (run_id, segment, rows, inserted, duplicates, conflicts, first_ts, last_ts)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      run,
      segment,
      rows,
      result.inserted,
      result.duplicates,
      result.conflicts,
      times === undefined ? null : timestampParameter(times.first),
      times === undefined ? null : timestampParameter(times.last)
    ]
  )
}

/** The ledger part of the store. */
export const make = (
  pool: PgPool
): Pick<MarketStore["Service"], "beginRun" | "completeRun" | "streamPosition"> => ({
  streamPosition: (name) =>
    Effect.map(
      pool.query<SqlRow & { readonly position: bigint }>(
        "SELECT position FROM stream_cursors WHERE stream = $1",
        [name]
      ),
      ([cursor]) => cursor?.position ?? 0n
    ),
  beginRun: (source) => begin(pool, source),
  completeRun: (run) =>
    Effect.flatMap(
      pool.query(
        "UPDATE ingest_runs SET completed_at = coalesce(completed_at, now()) WHERE id = $1 RETURNING id",
        [run]
      ),
      (rows) =>
        rows.length === 0
          ? refuse(`there is no run ${run}; begin one first`)
          : Effect.andThen(compressRun(pool, run), refreshPending(pool))
    )
})
