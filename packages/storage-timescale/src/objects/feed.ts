/** What a feed session holds, in SQL: for the store, the views and retention alike. */

/** int8 nanoseconds as timestamptz, whole microseconds downward. */
export const floorMicros = (ns: string): string =>
  `(timestamptz 'epoch' + ((${ns} - (${ns} % 1000 + 1000) % 1000) / 1000) * interval '1 microsecond')`

/** The same upward. */
const ceilMicros = (ns: string): string => floorMicros(`(${ns} + 999)`)

/**
 * When an instrument was in a session, of the times of joining and leaving in any order and as often as they come: from
 * joining to leaving, rounded inward. Both at the very same time change nothing.
 */
export const feedCollected = /* sql */ `
CREATE OR REPLACE FUNCTION feed_collected(joined int8[], departed int8[]) RETURNS tstzmultirange LANGUAGE sql STABLE AS $$
  SELECT coalesce(range_agg(tstzrange(starts, CASE WHEN ends IS NOT NULL THEN greatest(starts, ends) END)), '{}')
  FROM (
    SELECT joins, ${ceilMicros("at")} AS starts, ${floorMicros("lead(at) OVER (ORDER BY at)")} AS ends
    FROM (
      SELECT at, joins, lag(joins) OVER (ORDER BY at) AS before
      FROM (
        SELECT at, bool_or(joins) AS joins
        FROM (SELECT unnest(joined) AS at, true AS joins UNION ALL SELECT unnest(departed), false) note
        GROUP BY at HAVING bool_and(joins) = bool_or(joins)
      ) known
    ) change
    WHERE joins IS DISTINCT FROM before
  ) stay
  WHERE joins
$$`

/**
 * What session `f` holds of its instrument `m` beside what stands in coverage. Rows of instruments are those of open sessions
 * alone.
 */
export const liveRanges =
  "(m.collected * tstzmultirange(tstzrange(f.holds_from, greatest(f.holds_from, f.watermark))) - m.lost - m.folded)"
