/**
 * Live coverage: one row per feed session with its watermark, one per instrument in it. A flush moves one row, however many
 * instruments there are. At the end of a session, and once an hour of its own time, what it holds is folded into `coverage`.
 *
 * Joining, leaving and gaps are kept as sets, and the watermark as a maximum: notes may come again and change nothing. Locks:
 * the sessions by key, then their instruments, then coverage by instrument.
 */
import {
  type FeedNote,
  type FeedSessionKey,
  MarketSchema,
  type MarketStore,
  type OpenFeedSession,
  type RowsMissing,
  type SessionStarted,
  StoreBadRequest,
  StoreError,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"
import * as FeedGaps from "./FeedGaps.ts"
import { floorMicros, liveRanges } from "./objects/feed.ts"
import { microsOf, type PgConnection, type PgPool, type SqlRow, timestampParameter } from "./PgPool.ts"

/** How much of a session's time is folded at once while it goes on. */
const foldEvery = 3_600n * UnixNanos.PerSecond

interface SessionRow extends SqlRow {
  readonly id: bigint
  readonly key: FeedSessionKey
  readonly provider: string
  readonly dataset: string
  readonly schema: number
  readonly watermark: bigint
  readonly folded_to: bigint
  readonly ended: boolean
}

/** A session as the notes leave it. */
interface Session {
  readonly row: SessionRow
  watermark: bigint
  ended: boolean
}

const upward = (time: bigint): string => timestampParameter(UnixNanos.ceilMicros(time) * UnixNanos.PerMicro)

const startStatement = /* sql */ `
  INSERT INTO feed_sessions (key, provider, dataset, schema, started_at, holds_from, watermark, folded_to)
  SELECT key, provider, dataset, schema, at, at, at, at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::int2[], $5::timestamptz[]) AS s (key, provider, dataset, schema, at)
  ORDER BY key
  ON CONFLICT (key) DO NOTHING
  RETURNING key`

/** Makes the sessions that begin; gives the keys that are new. */
const start = Effect.fnUntraced(function* (connection: PgConnection, notes: ReadonlyArray<FeedNote>) {
  const byKey = new Map<FeedSessionKey, SessionStarted>()
  for (const note of notes)
    if (note._tag === "SessionStarted" && !byKey.has(note.session)) byKey.set(note.session, note)
  if (byKey.size === 0) return new Set<FeedSessionKey>()
  const started = [...byKey.values()]
  const rows = yield* connection.query<SqlRow & { readonly key: FeedSessionKey }>(startStatement, [
    started.map((note) => note.session),
    started.map((note) => note.provider),
    started.map((note) => note.dataset),
    started.map((note) => MarketSchema.code(note.schema)),
    started.map((note) => upward(note.at))
  ])
  return new Set(rows.map((row) => row.key))
})

const lockStatement = /* sql */ `
  SELECT id, key, provider, dataset, schema, ${microsOf("watermark")} AS watermark,
         ${microsOf("folded_to")} AS folded_to, ended_at IS NOT NULL AS ended
  FROM feed_sessions WHERE key = ANY($1) ORDER BY key FOR UPDATE`

const lock = Effect.fnUntraced(function* (connection: PgConnection, notes: ReadonlyArray<FeedNote>) {
  const keys = [...new Set(notes.map((note) => note.session))]
  const rows = yield* connection.query<SessionRow>(lockStatement, [keys])
  return new Map(
    rows.map((row): [FeedSessionKey, Session] => [
      row.key,
      { row, watermark: row.watermark * UnixNanos.PerMicro, ended: row.ended }
    ])
  )
})

const refuse = (detail: string): StoreError =>
  new StoreError({ operation: "note feed", reason: new StoreBadRequest({ detail }) })

/** Why a note cannot be taken. `fresh`: sessions of which nothing was known and whose start has not come yet. */
const refusalOf = (
  note: FeedNote,
  session: Session | undefined,
  fresh: Set<FeedSessionKey>
): StoreError | undefined => {
  if (note._tag !== "SessionStarted")
    return session === undefined || fresh.has(note.session)
      ? refuse(`there is no feed session ${note.session}; note that it has started first`)
      : undefined
  const { dataset, provider, schema } = session!.row
  fresh.delete(note.session)
  return provider === note.provider && dataset === note.dataset && schema === MarketSchema.code(note.schema)
    ? undefined
    : refuse(
        `feed session ${note.session} is of ${provider} ${dataset} ${MarketSchema.fromCode(schema)}, ` +
          `not of ${note.provider} ${note.dataset} ${note.schema}; give another session another key`
      )
}

/** Joining or leaving, as columns: of the notes, and of their instruments with the number of the note. */
class Moves {
  readonly sessions: Array<bigint> = []
  readonly times: Array<bigint> = []
  readonly instruments: Array<number> = []
  readonly notes: Array<number> = []

  add(session: bigint, instruments: ReadonlyArray<number>, at: bigint): void {
    this.sessions.push(session)
    this.times.push(at)
    for (const instrument of instruments) {
      this.instruments.push(instrument)
      this.notes.push(this.times.length)
    }
  }
}

/** What the notes of one call come to. */
interface Changes {
  readonly sessions: ReadonlyMap<FeedSessionKey, Session>
  readonly joined: Moves
  readonly departed: Moves
  readonly missing: Array<{ readonly session: bigint; readonly note: RowsMissing }>
}

const gather = Effect.fnUntraced(function* (
  sessions: ReadonlyMap<FeedSessionKey, Session>,
  notes: ReadonlyArray<FeedNote>,
  fresh: Set<FeedSessionKey>
) {
  const changes: Changes = { sessions, joined: new Moves(), departed: new Moves(), missing: [] }
  for (const note of notes) {
    const session = sessions.get(note.session)
    const refusal = refusalOf(note, session, fresh)
    if (refusal !== undefined) return yield* refusal
    if (!session!.ended) take(changes, session!, note)
  }
  return changes
})

const take = (changes: Changes, session: Session, note: FeedNote): void => {
  const { id } = session.row
  switch (note._tag) {
    case "InstrumentsJoined":
      changes.joined.add(id, note.instruments, note.at)
      break
    case "InstrumentsLeft":
      changes.departed.add(id, note.instruments, note.at)
      break
    case "RowsMissing":
      changes.missing.push({ session: id, note })
      break
    case "Watermark":
      if (note.at > session.watermark) session.watermark = note.at
      break
    case "SessionEnded":
      session.ended = true
  }
}

/**
 * Makes the instruments of a session that are new (`collected`), and adds the times to those that are there: mostly one that is
 * later than all before (`later`). $1 sessions, $2 times and $3 the same as timestamps upward, of the notes; $4 instruments and
 * $5 the numbers of their notes.
 */
const moveStatement = (kind: "joined" | "departed", collected: string, later: string): string => /* sql */ `
  INSERT INTO feed_session_instruments AS m (session_id, instrument_id, ${kind}, collected)
  SELECT n.session, i.instrument, array_agg(DISTINCT n.at), ${collected}
  FROM unnest($4::int4[], $5::int4[]) AS i (instrument, note)
    JOIN unnest($1::int8[], $2::int8[], $3::timestamptz[]) WITH ORDINALITY AS n (session, at, micro, note)
      ON n.note = i.note
  GROUP BY n.session, i.instrument ORDER BY n.session, i.instrument
  ON CONFLICT (session_id, instrument_id) DO UPDATE
    SET ${kind} = m.${kind} || EXCLUDED.${kind},
        collected = CASE
          WHEN cardinality(EXCLUDED.${kind}) = 1 AND EXCLUDED.${kind}[1] > ALL (m.joined || m.departed) THEN ${later}
          ELSE feed_collected(m.joined || EXCLUDED.joined, m.departed || EXCLUDED.departed) END
    WHERE NOT m.${kind} @> EXCLUDED.${kind}`

const joinStatement = moveStatement(
  "joined",
  "tstzmultirange(tstzrange(min(n.micro), NULL))",
  "m.collected + EXCLUDED.collected"
)
const leaveStatement = moveStatement(
  "departed",
  "'{}'",
  `m.collected * tstzmultirange(tstzrange(NULL, ${floorMicros("EXCLUDED.departed[1]")}))`
)

const move = (connection: PgConnection, statement: string, moves: Moves) =>
  connection.query(statement, [
    moves.sessions,
    moves.times,
    moves.times.map(upward),
    moves.instruments,
    moves.notes
  ])

const join = Effect.fnUntraced(function* (connection: PgConnection, moves: Moves) {
  if (moves.instruments.length === 0) return
  yield* move(connection, joinStatement, moves)
  yield* FeedGaps.meet(connection, [...new Set(moves.sessions)], moves.instruments)
})

/** Takes time out of coverage that was folded before it was known that the instrument had left. */
const unfoldDeparted = /* sql */ `
  WITH gone AS (
    SELECT m.session_id, m.instrument_id, f.schema, m.folded - m.collected AS ranges
    FROM feed_session_instruments m JOIN feed_sessions f ON f.id = m.session_id
    WHERE m.session_id = ANY($1) AND NOT m.collected @> m.folded
  ), ${FeedGaps.cutFromCoverage}
  UPDATE feed_session_instruments m SET folded = m.folded - gone.ranges
  FROM gone WHERE m.session_id = gone.session_id AND m.instrument_id = gone.instrument_id`

const leave = Effect.fnUntraced(function* (connection: PgConnection, moves: Moves) {
  if (moves.instruments.length === 0) return
  yield* move(connection, leaveStatement, moves)
  yield* connection.query(unfoldDeparted, [[...new Set(moves.sessions)]])
})

const saveStatement = /* sql */ `
  UPDATE feed_sessions f
  SET watermark = greatest(f.watermark, s.watermark), noted_at = now(),
      ended_at = CASE WHEN s.ended THEN now() END
  FROM unnest($1::int8[], $2::timestamptz[], $3::bool[]) AS s (id, watermark, ended)
  WHERE f.id = s.id`

/** Adds what a session holds to coverage. Marks stay as they are: held hides them. */
const foldStatement = /* sql */ `
  WITH live AS (
    SELECT m.instrument_id, f.schema, ${liveRanges} AS ranges
    FROM feed_session_instruments m JOIN feed_sessions f ON f.id = m.session_id WHERE m.session_id = $1
  ), added AS (
    INSERT INTO coverage AS held (instrument_id, schema, ranges)
    SELECT instrument_id, schema, ranges FROM live WHERE NOT isempty(ranges) ORDER BY instrument_id
    ON CONFLICT (instrument_id, schema) DO UPDATE
      SET ranges = held.ranges + EXCLUDED.ranges, updated_at = now()
      WHERE NOT held.ranges @> EXCLUDED.ranges
  ), noted AS (
    UPDATE feed_sessions SET folded_to = watermark WHERE id = $1
  )
  UPDATE feed_session_instruments m SET folded = m.folded + live.ranges
  FROM live WHERE m.session_id = $1 AND m.instrument_id = live.instrument_id AND NOT isempty(live.ranges)`

/** Writes the watermarks down, and folds the sessions that have ended or gone on for long enough. */
const settle = Effect.fnUntraced(function* (connection: PgConnection, sessions: Iterable<Session>) {
  const open = [...sessions].filter(({ row }) => !row.ended)
  if (open.length === 0) return
  yield* connection.query(saveStatement, [
    open.map(({ row }) => row.id),
    open.map(({ watermark }) => timestampParameter(watermark)),
    open.map(({ ended }) => ended)
  ])
  for (const { ended, row, watermark } of open) {
    if (!ended && watermark - row.folded_to * UnixNanos.PerMicro < foldEvery) continue
    yield* connection.query(foldStatement, [row.id])
    if (!ended) continue
    yield* connection.query("DELETE FROM feed_session_instruments WHERE session_id = $1", [row.id])
    yield* connection.query("DELETE FROM feed_session_gaps WHERE session_id = $1", [row.id])
  }
})

/** Notes what is known about feeds, on a connection whose transaction also writes the rows. */
export const note = Effect.fnUntraced(function* (connection: PgConnection, notes: ReadonlyArray<FeedNote>) {
  if (notes.length === 0) return
  const fresh = yield* start(connection, notes)
  const sessions = yield* lock(connection, notes)
  const { departed, joined, missing } = yield* gather(sessions, notes, fresh)
  yield* join(connection, joined)
  yield* leave(connection, departed)
  for (const { note, session } of missing) yield* FeedGaps.add(connection, session, note)
  yield* settle(connection, sessions.values())
})

interface OpenRow extends SqlRow {
  readonly key: FeedSessionKey
  readonly provider: string
  readonly dataset: string
  readonly schema: number
  readonly started_at: bigint
  readonly watermark: bigint
  readonly noted_at: bigint
  readonly instruments: number
}

const openStatement = /* sql */ `
  SELECT key, provider, dataset, schema, ${microsOf("started_at")} AS started_at, ${microsOf("watermark")} AS watermark,
         ${microsOf("noted_at")} AS noted_at,
         (SELECT count(*)::int4 FROM feed_session_instruments m
          WHERE m.session_id = f.id AND upper_inf(m.collected)) AS instruments
  FROM feed_sessions f WHERE ended_at IS NULL ORDER BY key COLLATE "C"`

const openSessionOf = (row: OpenRow): ReadonlyArray<OpenFeedSession> => {
  const schema = MarketSchema.fromCode(row.schema)
  if (schema === undefined) return []
  return [
    {
      session: row.key,
      provider: row.provider,
      dataset: row.dataset,
      schema,
      startedAt: row.started_at * UnixNanos.PerMicro,
      watermark: row.watermark * UnixNanos.PerMicro,
      instruments: row.instruments,
      notedAt: row.noted_at * UnixNanos.PerMicro
    }
  ]
}

/** The part of the store that knows feeds. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "noteFeed" | "openFeedSessions"> => ({
  noteFeed: (notes): Effect.Effect<void, StoreError> =>
    pool.transaction("note feed", (connection) => note(connection, notes)),
  openFeedSessions: Effect.map(pool.query<OpenRow>(openStatement), (rows) => rows.flatMap(openSessionOf))
})
