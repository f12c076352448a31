/**
 * Writing coverage: held ranges as one multirange per instrument and schema, every other state as marks. Times are whole
 * microseconds on the index clock; claims are rounded inward, marks outward.
 */
import {
  type Coverage,
  MarketSchema,
  type MarketStore,
  type StoreError,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"
import * as FeedGaps from "./FeedGaps.ts"
import { type PgConnection, type PgPool, timestampParameter } from "./PgPool.ts"

interface ClaimColumns {
  readonly instruments: Array<number>
  readonly schemas: Array<number>
  readonly starts: Array<string>
  readonly ends: Array<string>
}

/** Claims as arrays, in instrument and schema order: every writer locks rows in the same order. */
const columnsOf = (claims: ReadonlyArray<Coverage.CoverageClaim>): ClaimColumns => {
  const columns: ClaimColumns = { instruments: [], schemas: [], starts: [], ends: [] }
  const sorted = [...claims].sort(
    (a, b) => a.instrument - b.instrument || MarketSchema.code(a.schema) - MarketSchema.code(b.schema)
  )
  for (const claim of sorted) {
    const range = TimeRange.inwardMicros(claim.range)
    if (range === undefined) continue
    columns.instruments.push(claim.instrument)
    columns.schemas.push(MarketSchema.code(claim.schema))
    columns.starts.push(timestampParameter(range.start))
    columns.ends.push(timestampParameter(range.end))
  }
  return columns
}

const claimStatement = /* sql */ `
  INSERT INTO coverage AS held (instrument_id, schema, ranges)
  SELECT instrument, schema, range_agg(tstzrange(lower, upper))
  FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::timestamptz[]) AS claim (instrument, schema, lower, upper)
  GROUP BY instrument, schema ORDER BY instrument, schema
  ON CONFLICT (instrument_id, schema) DO UPDATE
    SET ranges = held.ranges + EXCLUDED.ranges, updated_at = now()
    WHERE NOT held.ranges @> EXCLUDED.ranges`

/** Parts of a mark that are held now say nothing any more: they are cut out, what is left of a mark stays. */
const trimMarks = /* sql */ `
  WITH claim AS (
    SELECT instrument AS instrument_id, schema, range_agg(tstzrange(lower, upper)) AS ranges
    FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::timestamptz[]) AS c (instrument, schema, lower, upper)
    GROUP BY 1, 2
  ), hit AS (
    DELETE FROM coverage_marks m USING claim
    WHERE m.instrument_id = claim.instrument_id AND m.schema = claim.schema AND claim.ranges && m.range
    RETURNING m.*, claim.ranges AS ranges
  )
  INSERT INTO coverage_marks (instrument_id, schema, state, range, cause, checked_at, expires_at)
  SELECT instrument_id, schema, state, rest, cause, checked_at, expires_at
  FROM hit, unnest(tstzmultirange(range) - ranges) AS rest`

/** Adds held ranges, on a connection whose transaction also writes the rows that they speak for. */
export const claim = Effect.fnUntraced(function* (
  connection: PgConnection,
  claims: ReadonlyArray<Coverage.CoverageClaim>
) {
  const { instruments, schemas, starts, ends } = columnsOf(claims)
  if (instruments.length === 0) return
  yield* connection.query(claimStatement, [instruments, schemas, starts, ends])
  yield* connection.query(trimMarks, [instruments, schemas, starts, ends])
})

const outward = (range: TimeRange.TimeRange): TimeRange.TimeRange => ({
  start: UnixNanos.floorMicros(range.start) * UnixNanos.PerMicro,
  end: UnixNanos.ceilMicros(range.end) * UnixNanos.PerMicro
})

const insertMarks = /* sql */ `
  INSERT INTO coverage_marks (instrument_id, schema, state, range, cause, checked_at, expires_at)
  SELECT instrument, schema, state, tstzrange(lower, upper), cause, checked, expires
  FROM unnest($1::int4[], $2::int2[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::timestamptz[],
              $8::timestamptz[]) AS m (instrument, schema, state, lower, upper, cause, checked, expires)
  WHERE lower < upper
    AND NOT EXISTS (
      SELECT FROM coverage_marks k
      WHERE k.instrument_id = instrument AND k.schema = m.schema AND k.state = m.state
        AND k.range @> tstzrange(lower, upper) AND k.cause IS NOT DISTINCT FROM m.cause
        AND k.checked_at IS NOT DISTINCT FROM m.checked AND k.expires_at IS NOT DISTINCT FROM m.expires)`

const optionalTime = (time: bigint | undefined): string | null =>
  time === undefined ? null : timestampParameter(time)

/** Takes ranges out of what is held: what has expired is there no more. */
const forget = /* sql */ `
  WITH gone AS (
    SELECT instrument, schema, range_agg(tstzrange(lower, upper)) AS ranges
    FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::timestamptz[]) AS c (instrument, schema, lower, upper)
    WHERE lower < upper GROUP BY 1, 2
  )
  UPDATE coverage c SET ranges = c.ranges - gone.ranges, updated_at = now()
  FROM gone WHERE c.instrument_id = gone.instrument AND c.schema = gone.schema AND c.ranges && gone.ranges`

/**
 * Adds marks of the states missing, none and expired; `held` spans become claims, `expired` ones are held no more.
 * Repeating a mark adds nothing.
 */
export const mark = Effect.fnUntraced(function* (
  connection: PgConnection,
  spans: ReadonlyArray<Coverage.CoverageSpan>
) {
  const held = spans.filter((span) => span.state === "held")
  if (held.length > 0) yield* claim(connection, held)
  const marks = spans.filter((span) => span.state !== "held")
  if (marks.length === 0) return
  const ranges = marks.map((span) => outward(span.range))
  const expired = marks.flatMap((span, i) => (span.state === "expired" ? [{ span, range: ranges[i]! }] : []))
  if (expired.length > 0) {
    const columns = [
      expired.map(({ span }) => span.instrument),
      expired.map(({ span }) => MarketSchema.code(span.schema)),
      expired.map(({ range }) => timestampParameter(range.start)),
      expired.map(({ range }) => timestampParameter(range.end))
    ] as const
    yield* FeedGaps.expire(connection, columns)
    yield* connection.query(forget, columns)
  }
  yield* connection.query(insertMarks, [
    marks.map((span) => span.instrument),
    marks.map((span) => MarketSchema.code(span.schema)),
    marks.map((span) => span.state),
    ranges.map((range) => timestampParameter(range.start)),
    ranges.map((range) => timestampParameter(range.end)),
    marks.map((span) => span.cause ?? null),
    marks.map((span) => optionalTime(span.checkedAt)),
    marks.map((span) => optionalTime(span.expiresAt))
  ])
})

/** The coverage part of the store that writes. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "claimCoverage" | "markCoverage"> => ({
  claimCoverage: (claims): Effect.Effect<void, StoreError> =>
    pool.transaction("claim coverage", (connection) => claim(connection, claims)),
  markCoverage: (spans): Effect.Effect<void, StoreError> =>
    pool.transaction("mark coverage", (connection) => mark(connection, spans))
})
