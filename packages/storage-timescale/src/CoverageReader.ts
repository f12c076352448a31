/** Reading coverage: held ranges, marks, and what live feed sessions hold so far. */
import { type Coverage, MarketSchema, type MarketStore, type StoreError, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { liveRanges } from "./objects/feed.ts"
import { microsOf, type PgPool, type SqlRow, timestampParameter } from "./PgPool.ts"

interface SpanRow extends SqlRow {
  readonly instrument_id: number
  readonly schema: number
  readonly state: Coverage.CoverageState
  readonly start: bigint | null
  readonly finish: bigint | null
  readonly cause: string | null
  readonly checked_at: bigint | null
  readonly expires_at: bigint | null
}

/** $1 instruments or NULL, $2 schema or NULL, $3 and $4 range or NULL, $5 states or NULL. */
const spansQuery = /* sql */ `
  WITH held AS (
    SELECT instrument_id, schema, range_agg(part) AS ranges
    FROM (
      SELECT instrument_id, schema, unnest(ranges) AS part FROM coverage
      WHERE ($1::int4[] IS NULL OR instrument_id = ANY($1)) AND ($2::int2 IS NULL OR schema = $2)
      UNION ALL
      SELECT m.instrument_id, f.schema, unnest(${liveRanges})
      FROM feed_session_instruments m JOIN feed_sessions f ON f.id = m.session_id
      WHERE ($1 IS NULL OR m.instrument_id = ANY($1)) AND ($2 IS NULL OR f.schema = $2)
    ) parts
    GROUP BY instrument_id, schema
  ), spans AS (
    SELECT instrument_id, schema, 'held' AS state, unnest(ranges) AS range, NULL AS cause,
           NULL::timestamptz AS checked_at, NULL::timestamptz AS expires_at
    FROM held
    UNION ALL
    SELECT instrument_id, schema, state, range, cause, checked_at, expires_at FROM coverage_marks
    WHERE ($1 IS NULL OR instrument_id = ANY($1)) AND ($2 IS NULL OR schema = $2)
  )
  SELECT instrument_id, schema, state, ${microsOf("lower(range)")} AS start, ${microsOf("upper(range)")} AS finish,
         cause, ${microsOf("checked_at")} AS checked_at, ${microsOf("expires_at")} AS expires_at
  FROM spans
  WHERE range && tstzrange($3::timestamptz, $4::timestamptz) AND ($5::text[] IS NULL OR state = ANY($5))
  ORDER BY instrument_id, schema, lower(range), state`

const nanos = (micros: bigint | null): bigint | undefined =>
  micros === null ? undefined : micros * UnixNanos.PerMicro

const spanOf = (row: SpanRow): ReadonlyArray<Coverage.CoverageSpan> => {
  const schema = MarketSchema.fromCode(row.schema)
  if (schema === undefined) return []
  return [
    {
      instrument: row.instrument_id,
      schema,
      state: row.state,
      range: { start: nanos(row.start) ?? UnixNanos.Min, end: nanos(row.finish) ?? UnixNanos.Max },
      cause: row.cause ?? undefined,
      checkedAt: nanos(row.checked_at),
      expiresAt: nanos(row.expires_at)
    }
  ]
}

const bound = (time: bigint | undefined): string | null =>
  time === undefined ? null : timestampParameter(time)

/** The part of the store that reads coverage. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "coverage"> => ({
  coverage: ({
    instruments,
    schema,
    range,
    states
  }): Effect.Effect<ReadonlyArray<Coverage.CoverageSpan>, StoreError> =>
    Effect.map(
      pool.query<SpanRow>(spansQuery, [
        instruments ?? null,
        schema === undefined ? null : MarketSchema.code(schema),
        bound(range?.start),
        // Coverage is in whole microseconds: a bound between two of them takes the one that it cuts.
        range === undefined ? null : bound(UnixNanos.ceilMicros(range.end) * UnixNanos.PerMicro),
        states ?? null
      ]),
      (rows) => rows.flatMap(spanOf)
    )
})
