/**
 * Migration 5: feed sessions have a key, instruments come back to them, and what is missing is kept with its cause. Nothing
 * has written to these tables before; rows that are there all the same have no key and go.
 */
export const up = /* sql */ `
DELETE FROM feed_session_instruments;
DELETE FROM feed_sessions;

ALTER TABLE feed_sessions
  DROP COLUMN folded_at,
  ADD COLUMN key text NOT NULL UNIQUE,
  -- where what it holds begins: its start, or up to where retention has removed rows
  ADD COLUMN holds_from timestamptz NOT NULL,
  -- the watermark when it was last folded into coverage
  ADD COLUMN folded_to timestamptz NOT NULL,
  ADD COLUMN noted_at timestamptz NOT NULL DEFAULT now();

-- rows of sessions that have not ended; the store looks after the reference
ALTER TABLE feed_session_instruments
  DROP CONSTRAINT feed_session_instruments_session_id_fkey,
  DROP COLUMN joined_at,
  DROP COLUMN left_at,
  DROP COLUMN exceptions,
  -- times of joining and of leaving, ns since 1970
  ADD COLUMN joined int8[] NOT NULL DEFAULT '{}',
  ADD COLUMN departed int8[] NOT NULL DEFAULT '{}',
  -- when it was in the session, made of these two
  ADD COLUMN collected tstzmultirange NOT NULL,
  -- what of that is not held
  ADD COLUMN lost tstzmultirange NOT NULL DEFAULT '{}',
  -- what of that stands in coverage
  ADD COLUMN folded tstzmultirange NOT NULL DEFAULT '{}';
CREATE INDEX feed_session_instruments_instrument ON feed_session_instruments (instrument_id);

-- time without rows, of these instruments or of all, for those that join later, too
CREATE TABLE feed_session_gaps (
  id          int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  session_id  int8 NOT NULL,
  instruments int4[],
  range       tstzrange NOT NULL,
  cause       text NOT NULL
);
CREATE INDEX feed_session_gaps_session ON feed_session_gaps (session_id);
`

export const down = /* sql */ `
DROP TABLE feed_session_gaps;
DROP INDEX feed_session_instruments_instrument;
DELETE FROM feed_session_instruments;
ALTER TABLE feed_session_instruments
  DROP COLUMN joined,
  DROP COLUMN departed,
  DROP COLUMN collected,
  DROP COLUMN lost,
  DROP COLUMN folded,
  ADD COLUMN joined_at timestamptz NOT NULL,
  ADD COLUMN left_at timestamptz,
  ADD COLUMN exceptions tstzmultirange NOT NULL DEFAULT '{}',
  ADD FOREIGN KEY (session_id) REFERENCES feed_sessions ON DELETE CASCADE;
ALTER TABLE feed_sessions
  DROP COLUMN key,
  DROP COLUMN holds_from,
  DROP COLUMN folded_to,
  DROP COLUMN noted_at,
  ADD COLUMN folded_at timestamptz;
`
