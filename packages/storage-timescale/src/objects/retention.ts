/**
 * Functions of retention. What goes with rows that are removed stands here once, for the store that drops partitions by
 * itself and for the job of a server that does.
 */
import { MarketSchema } from "@data-manager/core"
import { liveRanges } from "./feed.ts"

const trades = MarketSchema.code("trades")

/** Forgets everything that speaks for trades before a time, which are gone: coverage becomes `expired`. Bars stay. */
export const forgetTrades = /* sql */ `
CREATE OR REPLACE FUNCTION forget_trades_before(until timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO retention_horizons AS h (kind, expired_before) VALUES ('trades', until)
  ON CONFLICT (kind) DO UPDATE SET expired_before = greatest(h.expired_before, EXCLUDED.expired_before);
  -- sessions before coverage, as who notes a feed locks them
  PERFORM FROM feed_sessions WHERE schema = ${trades} AND ended_at IS NULL ORDER BY key FOR UPDATE;
  INSERT INTO coverage_marks (instrument_id, schema, state, range)
  SELECT instrument_id, ${trades}, 'expired', unnest(range_agg(held) * tstzmultirange(tstzrange(NULL, until)))
  FROM (
    SELECT instrument_id, unnest(ranges) AS held FROM coverage WHERE schema = ${trades}
    UNION ALL
    SELECT m.instrument_id, unnest(${liveRanges})
    FROM feed_session_instruments m JOIN feed_sessions f ON f.id = m.session_id WHERE f.schema = ${trades}
  ) all_held
  WHERE held && tstzrange(NULL, until)
  GROUP BY instrument_id ORDER BY instrument_id;
  UPDATE feed_session_instruments m SET folded = m.folded - tstzmultirange(tstzrange(NULL, until))
  FROM feed_sessions f
  WHERE f.id = m.session_id AND f.schema = ${trades} AND m.folded && tstzrange(NULL, until);
  UPDATE feed_sessions SET holds_from = until
  WHERE schema = ${trades} AND ended_at IS NULL AND holds_from < until;
  UPDATE coverage SET ranges = ranges - tstzmultirange(tstzrange(NULL, until)), updated_at = now()
  WHERE schema = ${trades} AND ranges && tstzrange(NULL, until);
  DELETE FROM coverage WHERE schema = ${trades} AND isempty(ranges);
  DELETE FROM trade_exact WHERE ts < until;
  DELETE FROM trade_text_id WHERE ts < until;
  DELETE FROM bulk_days WHERE day < (until AT TIME ZONE 'UTC')::date;
  DELETE FROM row_days WHERE schema = ${trades} AND day < (until AT TIME ZONE 'UTC')::date;
END $$`

/** Held while partitions or chunks are made, folded or dropped: "dmpart" as a number. */
export const PARTITION_LOCK = 110_426_845_442_676n

/**
 * The job that removes trades older than `keep_days`, chunks as a whole and what speaks for them in one transaction.
 * `schema` is that of the extension's functions.
 */
export const retireTrades = (schema: string): string => /* sql */ `
CREATE OR REPLACE PROCEDURE retire_trades(job_id int, config jsonb) LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  edge timestamptz;
BEGIN
  PERFORM set_config('lock_timeout', '10s', true);
  PERFORM pg_advisory_xact_lock(${PARTITION_LOCK});
  SELECT max(range_end) INTO edge FROM timescaledb_information.chunks
  WHERE hypertable_schema = current_schema() AND hypertable_name IN ('trade', 'trade_bulk')
    AND range_end <= now() - make_interval(days => (config->>'keep_days')::int);
  -- bars of late trades are made first: afterwards there is nothing to make them of
  IF edge IS NULL OR EXISTS (SELECT FROM bar_refreshes WHERE starts < edge) THEN RETURN; END IF;
  PERFORM ${schema}.drop_chunks('trade', older_than => edge);
  PERFORM ${schema}.drop_chunks('trade_bulk', older_than => edge);
  -- of chunks that were cut otherwise
  DELETE FROM trade WHERE ts < edge;
  DELETE FROM trade_bulk WHERE ts < edge;
  PERFORM forget_trades_before(edge);
END $$`
