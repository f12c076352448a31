/**
 * Migration 5: feed sessions have a key, instruments come back to them, and what is missing is kept with its cause. Nothing
 * has written to the tables of migration 1: they are made anew.
 */
export const up = /* sql */ `
DROP TABLE feed_session_instruments, feed_sessions;

CREATE TABLE feed_sessions (
  id         int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key        text NOT NULL UNIQUE,
  provider   text NOT NULL,
  dataset    text NOT NULL,
  schema     int2 NOT NULL,
  started_at timestamptz NOT NULL,
  -- where what it holds begins: its start, or up to where retention has removed rows
  holds_from timestamptz NOT NULL,
  watermark  timestamptz NOT NULL,
  -- the watermark when it was last folded into coverage
  folded_to  timestamptz NOT NULL,
  noted_at   timestamptz NOT NULL DEFAULT now(),
  ended_at   timestamptz
);

-- of sessions that have not ended
CREATE TABLE feed_session_instruments (
  session_id    int8 NOT NULL,
  instrument_id int4 NOT NULL,
  -- times of joining and of leaving, ns since 1970
  joined        int8[] NOT NULL DEFAULT '{}',
  departed      int8[] NOT NULL DEFAULT '{}',
  -- when it was in the session, made of these two
  collected     tstzmultirange NOT NULL,
  -- what of that is not held
  lost          tstzmultirange NOT NULL DEFAULT '{}',
  -- what of that stands in coverage
  folded        tstzmultirange NOT NULL DEFAULT '{}',
  PRIMARY KEY (session_id, instrument_id)
);
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
DROP TABLE feed_session_gaps, feed_session_instruments, feed_sessions;

CREATE TABLE feed_sessions (
  id         int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  provider   text NOT NULL,
  dataset    text NOT NULL,
  schema     int2 NOT NULL,
  started_at timestamptz NOT NULL,
  watermark  timestamptz NOT NULL,
  ended_at   timestamptz,
  folded_at  timestamptz
);
CREATE TABLE feed_session_instruments (
  session_id    int8 NOT NULL REFERENCES feed_sessions ON DELETE CASCADE,
  instrument_id int4 NOT NULL,
  joined_at     timestamptz NOT NULL,
  left_at       timestamptz,
  exceptions    tstzmultirange NOT NULL DEFAULT '{}',
  PRIMARY KEY (session_id, instrument_id)
);
`
