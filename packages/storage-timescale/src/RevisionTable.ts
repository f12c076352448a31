/** In which revision a provider had the data of a time: a changed one takes what was fetched before out of what is held. */
import {
  Coverage,
  MarketSchema,
  type MarketStore,
  type RevisionLook,
  type StoreError
} from "@data-manager/core"
import { Effect } from "effect"
import * as FeedGaps from "./FeedGaps.ts"
import { type PgPool, type SqlRow, timestampParameter } from "./PgPool.ts"

/** Notes the revisions and gives the times whose noted one was another. */
const noteStatement = /* sql */ `
  WITH given AS (
    SELECT tstzrange(lower, upper) AS range, revision
    FROM unnest($4::timestamptz[], $5::timestamptz[], $6::text[]) AS g (lower, upper, revision)
    WHERE lower < upper
  ), before AS (
    SELECT range, revision FROM data_revisions
    WHERE provider = $1 AND dataset = $2 AND schema = $3
    FOR UPDATE
  ), noted AS (
    INSERT INTO data_revisions AS known (provider, dataset, schema, range, revision)
    SELECT $1, $2, $3, range, revision FROM given ORDER BY range
    ON CONFLICT (provider, dataset, schema, range) DO UPDATE
      SET revision = EXCLUDED.revision, updated_at = now()
      WHERE known.revision <> EXCLUDED.revision
  )
  SELECT lower(given.range)::text AS lower, upper(given.range)::text AS upper
  FROM given JOIN before USING (range) WHERE before.revision <> given.revision`

/** $1 provider, $2 dataset, $3 schema, $4 and $5 the times, $6 the cause. */
const forgetStatement = /* sql */ `
  WITH gone AS (
    SELECT range_agg(tstzrange(lower, upper)) AS ranges
    FROM unnest($4::timestamptz[], $5::timestamptz[]) AS g (lower, upper)
  ), hit AS (
    SELECT c.instrument_id, c.ranges * gone.ranges AS lost
    FROM coverage c JOIN instruments i ON i.id = c.instrument_id JOIN datasets d ON d.id = i.dataset_id, gone
    WHERE d.provider = $1 AND d.name = $2 AND c.schema = $3 AND c.ranges && gone.ranges
    ORDER BY c.instrument_id FOR UPDATE OF c
  ), cut AS (
    UPDATE coverage c SET ranges = c.ranges - hit.lost, updated_at = now()
    FROM hit WHERE c.instrument_id = hit.instrument_id AND c.schema = $3
  )
  INSERT INTO coverage_marks (instrument_id, schema, state, range, cause)
  SELECT instrument_id, $3, 'missing', part, $6 FROM hit, unnest(lost) AS part`

interface TimeRow extends SqlRow {
  readonly lower: string
  readonly upper: string
}

const note = Effect.fnUntraced(function* (
  pool: PgPool,
  { provider, dataset, schema, revisions }: RevisionLook
) {
  if (revisions.length === 0) return
  const source = [provider, dataset, MarketSchema.code(schema)] as const
  yield* pool.transaction(
    "note revisions",
    Effect.fnUntraced(function* (connection) {
      const changed = yield* connection.query<TimeRow>(noteStatement, [
        ...source,
        revisions.map(({ range }) => timestampParameter(range.start)),
        revisions.map(({ range }) => timestampParameter(range.end)),
        revisions.map(({ revision }) => revision)
      ])
      if (changed.length === 0) return
      const times = [changed.map((row) => row.lower), changed.map((row) => row.upper)] as const
      yield* FeedGaps.revise(connection, source, times, Coverage.Revised)
      yield* connection.query(forgetStatement, [...source, ...times, Coverage.Revised])
    })
  )
})

/** The part of the store that knows revisions. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "noteRevisions"> => ({
  noteRevisions: (look): Effect.Effect<void, StoreError> => note(pool, look)
})
