/** Time of feed sessions that is not held: noted as missing, revised by the provider, removed by retention. */
import { type RowsMissing, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { type PgConnection, type SqlRow, timestampParameter } from "./PgPool.ts"

/**
 * Takes `gone` (instrument_id, schema, ranges) out of coverage. What else may have claimed the same time is not known: it
 * counts as not held, too.
 */
export const cutFromCoverage = /* sql */ `
  locked AS (
    SELECT c.instrument_id, c.schema, gone.ranges
    FROM coverage c JOIN gone ON gone.instrument_id = c.instrument_id AND gone.schema = c.schema
    WHERE c.ranges && gone.ranges ORDER BY c.instrument_id, c.schema FOR UPDATE OF c
  ), cut AS (
    UPDATE coverage c SET ranges = c.ranges - locked.ranges, updated_at = now()
    FROM locked WHERE c.instrument_id = locked.instrument_id AND c.schema = locked.schema
  )`

/** Tells the instruments of a session about a gap, each as far as it does not know: $1 gap, $2 these instruments or NULL. */
const tellStatement = /* sql */ `
  WITH told AS (
    SELECT m.session_id, m.instrument_id, f.schema, g.cause, m.folded,
           m.collected * tstzmultirange(g.range) - m.lost AS part
    FROM feed_session_gaps g
      JOIN feed_sessions f ON f.id = g.session_id
      JOIN feed_session_instruments m ON m.session_id = g.session_id
    WHERE g.id = $1 AND m.collected && g.range AND ($2::int4[] IS NULL OR m.instrument_id = ANY($2))
  ), gone AS (
    SELECT instrument_id, schema, folded * part AS ranges FROM told WHERE folded && part
  ), ${cutFromCoverage}, marked AS (
    INSERT INTO coverage_marks (instrument_id, schema, state, range, cause)
    SELECT instrument_id, schema, 'missing', unnest(part), cause FROM told ORDER BY instrument_id
  )
  UPDATE feed_session_instruments m SET lost = m.lost + told.part, folded = m.folded - told.part
  FROM told
  WHERE m.session_id = told.session_id AND m.instrument_id = told.instrument_id AND NOT isempty(told.part)`

interface GapRow extends SqlRow {
  readonly id: bigint
  readonly instruments: ReadonlyArray<number> | null
}

/** The gap, unless it is known. */
const addStatement = /* sql */ `
  INSERT INTO feed_session_gaps (session_id, instruments, range, cause)
  SELECT $1, $2, gap, $5
  FROM (SELECT tstzrange($3, $4) AS gap) g
  WHERE NOT isempty(gap) AND NOT EXISTS (
    SELECT FROM feed_session_gaps k
    WHERE k.session_id = $1 AND k.instruments IS NOT DISTINCT FROM $2 AND k.range @> gap AND k.cause = $5)
  RETURNING id`

/** Rows of a session are missing. */
export const add = Effect.fnUntraced(function* (
  connection: PgConnection,
  session: bigint,
  { cause, instruments, range }: RowsMissing
) {
  if (range.start >= range.end) return
  const named = instruments === undefined ? null : [...new Set(instruments)].sort((a, b) => a - b)
  const [gap] = yield* connection.query<SqlRow & { readonly id: bigint }>(addStatement, [
    session,
    named,
    timestampParameter(range.start),
    timestampParameter(UnixNanos.ceilMicros(range.end) * UnixNanos.PerMicro),
    cause
  ])
  if (gap !== undefined) yield* connection.query(tellStatement, [gap.id, named])
})

/** Instruments have joined: what is missing in their sessions is missing of them, too. */
export const meet = Effect.fnUntraced(function* (
  connection: PgConnection,
  sessions: ReadonlyArray<bigint>,
  joined: ReadonlyArray<number>
) {
  const gaps = yield* connection.query<GapRow>(
    "SELECT id, instruments FROM feed_session_gaps WHERE session_id = ANY($1) ORDER BY id",
    [sessions]
  )
  for (const { id, instruments } of gaps) {
    const named = instruments === null ? undefined : new Set(instruments)
    const told = named === undefined ? joined : joined.filter((instrument) => named.has(instrument))
    if (told.length > 0) yield* connection.query(tellStatement, [id, told])
  }
})

/** Locks the open sessions of these schemas, before coverage. */
export const lockOpen = (connection: PgConnection, schemas: ReadonlyArray<number>) =>
  connection.query(
    "SELECT FROM feed_sessions WHERE ended_at IS NULL AND schema = ANY($1::int2[]) ORDER BY key FOR UPDATE",
    [schemas]
  )

/** Times that a provider has revised, as far as open sessions hold them; $1 provider, $2 dataset, $3 schema, $4 and $5 times. */
const reviseStatement = /* sql */ `
  INSERT INTO feed_session_gaps (session_id, range, cause)
  SELECT f.id, held.part, $6
  FROM feed_sessions f, unnest($4::timestamptz[], $5::timestamptz[]) AS g (lower, upper),
    LATERAL (SELECT tstzrange(lower, upper) * tstzrange(f.holds_from, greatest(f.holds_from, f.watermark)) AS part) held
  WHERE f.ended_at IS NULL AND f.provider = $1 AND f.dataset = $2 AND f.schema = $3 AND NOT isempty(held.part)
  ORDER BY f.id, held.part
  RETURNING id`

/** A provider has revised times: what sessions hold of them is held no longer. */
export const revise = Effect.fnUntraced(function* (
  connection: PgConnection,
  source: readonly [provider: string, dataset: string, schema: number],
  times: readonly [lower: ReadonlyArray<string>, upper: ReadonlyArray<string>],
  cause: string
) {
  yield* lockOpen(connection, [source[2]])
  const gaps = yield* connection.query<SqlRow & { readonly id: bigint }>(reviseStatement, [
    ...source,
    ...times,
    cause
  ])
  for (const { id } of gaps) yield* connection.query(tellStatement, [id, null])
})

/** Ranges of instruments that have expired, as far as open sessions hold them; $1 to $4 as columns. */
const expireStatement = /* sql */ `
  WITH gone AS (
    SELECT instrument, schema, range_agg(tstzrange(lower, upper)) AS ranges
    FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::timestamptz[]) AS c (instrument, schema, lower, upper)
    WHERE lower < upper GROUP BY 1, 2
  )
  UPDATE feed_session_instruments m
  SET lost = m.lost + m.collected * gone.ranges * tstzmultirange(tstzrange(NULL, f.watermark)),
      folded = m.folded - gone.ranges
  FROM gone, feed_sessions f
  WHERE f.id = m.session_id AND f.schema = gone.schema AND m.instrument_id = gone.instrument
    AND m.collected && gone.ranges`

/** What has expired is held by no session; the arguments are columns of instruments, schemas, starts and ends. */
export const expire = Effect.fnUntraced(function* (
  connection: PgConnection,
  columns: readonly [
    ReadonlyArray<number>,
    ReadonlyArray<number>,
    ReadonlyArray<string>,
    ReadonlyArray<string>
  ]
) {
  yield* lockOpen(connection, columns[1])
  yield* connection.query(expireStatement, columns)
})
