/**
 * Migration 1: the whole schema. Applied migrations are never edited; later changes are later migrations.
 * Views and functions are not here: they are code, made anew by every version (`../objects`).
 *
 * Values: int8 mantissas at the instrument's price_scale / size_scale. NULL in a value column means absent, unless the
 * row has an entry in its `*_exact` table: there stand the values that the scale cannot hold.
 * Times: timestamptz (microseconds) plus the 0..999 ns beyond it.
 * Row tables are partitioned by ts; their partitions are made ahead and on demand (`../Partitions.ts`).
 */
export const up = /* sql */ `
CREATE TABLE datasets (
  id          int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  provider    text NOT NULL,
  name        text NOT NULL,
  index_clock text NOT NULL DEFAULT 'ts_recv' CHECK (index_clock IN ('ts_recv', 'ts_event')),
  key_kind    text NOT NULL DEFAULT 'sequenced' CHECK (key_kind IN ('sequenced', 'venue-id', 'text-hash')),
  UNIQUE (provider, name)
);

CREATE TABLE publishers (
  dataset_id int4 NOT NULL REFERENCES datasets,
  id         int2 NOT NULL,
  venue      text NOT NULL,
  PRIMARY KEY (dataset_id, id)
);

CREATE TABLE market_schemas (
  code int2 PRIMARY KEY,
  name text NOT NULL UNIQUE
);

CREATE TABLE instruments (
  id            int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  dataset_id    int4 NOT NULL REFERENCES datasets,
  symbol        text NOT NULL,
  raw_symbol    text,
  price_scale   int2 NOT NULL CHECK (price_scale BETWEEN 0 AND 18),
  size_scale    int2 NOT NULL CHECK (size_scale BETWEEN 0 AND 18),
  price_unit    numeric NOT NULL,
  size_unit     numeric NOT NULL,
  asset_class   text NOT NULL DEFAULT 'unknown',
  exchange      text,
  activation    timestamptz,
  expiration    timestamptz,
  details       jsonb NOT NULL DEFAULT '{}',
  -- which row kinds have entries in their *_exact table: 1 trades, 2 quotes, 4 bars, 8 book
  exact_kinds   int2 NOT NULL DEFAULT 0,
  discovered_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX instruments_symbol ON instruments (symbol);
CREATE INDEX instruments_dataset ON instruments (dataset_id, raw_symbol);

CREATE TABLE listings (
  id            int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  dataset_id    int4 NOT NULL REFERENCES datasets,
  raw_symbol    text,
  native_id     int8,
  instrument_id int4 NOT NULL REFERENCES instruments,
  valid_from    timestamptz NOT NULL,
  valid_to      timestamptz NOT NULL,
  CHECK (valid_from < valid_to),
  CHECK (raw_symbol IS NOT NULL OR native_id IS NOT NULL)
);
CREATE INDEX listings_symbol ON listings (dataset_id, raw_symbol, valid_from);
CREATE INDEX listings_native ON listings (dataset_id, native_id, valid_from);
CREATE INDEX listings_instrument ON listings (instrument_id);

CREATE TABLE symbol_entries (
  provider      text NOT NULL,
  symbol        text NOT NULL,
  dataset       text NOT NULL,
  stype_in      text NOT NULL DEFAULT 'raw_symbol',
  schemas       text[] NOT NULL DEFAULT '{}',
  enabled       boolean NOT NULL DEFAULT true,
  source        text NOT NULL CHECK (source IN ('database', 'config', 'discovery')),
  discovered_at timestamptz NOT NULL DEFAULT now(),
  removed_at    timestamptz,
  asset_class   text,
  exchange      text,
  metadata      jsonb,
  PRIMARY KEY (provider, symbol)
);

-- columns by falling width, so that no row has padding inside
CREATE TABLE trade (
  ts            timestamptz NOT NULL,
  trade_key     int8 NOT NULL,
  price         int8,
  size          int8,
  ts_recv       timestamptz,
  instrument_id int4 NOT NULL,
  ts_in_delta   int4,
  ts_ns         int2 NOT NULL,
  ts_recv_ns    int2,
  publisher     int2 NOT NULL,
  side          int2 NOT NULL,
  flags         int2 NOT NULL,
  depth         int2 NOT NULL
) PARTITION BY RANGE (ts);
CREATE UNIQUE INDEX trade_identity ON trade (instrument_id, ts, trade_key);
CREATE INDEX trade_ts ON trade (ts);

CREATE TABLE trade_exact (
  instrument_id int4 NOT NULL,
  ts            timestamptz NOT NULL,
  trade_key     int8 NOT NULL,
  price         numeric,
  size          numeric,
  PRIMARY KEY (instrument_id, ts, trade_key)
);

CREATE TABLE trade_text_id (
  instrument_id int4 NOT NULL,
  ts            timestamptz NOT NULL,
  trade_key     int8 NOT NULL,
  trade_id      text NOT NULL,
  PRIMARY KEY (instrument_id, ts, trade_key)
);

-- ts is ts_event or ts_recv, whichever the schema's clock is; ts_other the other one
CREATE TABLE quote (
  ts            timestamptz NOT NULL,
  quote_key     int8 NOT NULL,
  bid_price     int8,
  ask_price     int8,
  bid_size      int8,
  ask_size      int8,
  bid_count     int8,
  ask_count     int8,
  price         int8,
  size          int8,
  ts_other      timestamptz,
  instrument_id int4 NOT NULL,
  ts_in_delta   int4,
  ts_ns         int2 NOT NULL,
  ts_other_ns   int2,
  publisher     int2 NOT NULL,
  bid_publisher int2,
  ask_publisher int2,
  schema        int2 NOT NULL,
  side          int2 NOT NULL,
  action        int2 NOT NULL,
  flags         int2 NOT NULL,
  depth         int2 NOT NULL
) PARTITION BY RANGE (ts);
CREATE UNIQUE INDEX quote_identity ON quote (instrument_id, schema, ts, quote_key);

CREATE TABLE quote_exact (
  instrument_id int4 NOT NULL,
  schema        int2 NOT NULL,
  ts            timestamptz NOT NULL,
  quote_key     int8 NOT NULL,
  bid_price     numeric,
  ask_price     numeric,
  bid_size      numeric,
  ask_size      numeric,
  price         numeric,
  size          numeric,
  PRIMARY KEY (instrument_id, schema, ts, quote_key)
);

-- the provider's own bars; bars made from trades stand in bar_1m, bar_1h, bar_1d
CREATE TABLE bar (
  ts            timestamptz NOT NULL,
  open          int8,
  high          int8,
  low           int8,
  close         int8,
  trade_count   int8,
  instrument_id int4 NOT NULL,
  ts_ns         int2 NOT NULL,
  schema        int2 NOT NULL,
  publisher     int2 NOT NULL,
  volume        numeric NOT NULL
) PARTITION BY RANGE (ts);
CREATE UNIQUE INDEX bar_identity ON bar (instrument_id, schema, ts, publisher);

CREATE TABLE bar_exact (
  instrument_id int4 NOT NULL,
  schema        int2 NOT NULL,
  ts            timestamptz NOT NULL,
  publisher     int2 NOT NULL,
  open          numeric,
  high          numeric,
  low           numeric,
  close         numeric,
  PRIMARY KEY (instrument_id, schema, ts, publisher)
);

-- ten levels a side, best first
CREATE TABLE book (
  ts            timestamptz NOT NULL,
  book_key      int8 NOT NULL,
  price         int8,
  size          int8,
  ts_other      timestamptz,
  instrument_id int4 NOT NULL,
  ts_in_delta   int4,
  ts_ns         int2 NOT NULL,
  ts_other_ns   int2,
  publisher     int2 NOT NULL,
  schema        int2 NOT NULL,
  side          int2 NOT NULL,
  action        int2 NOT NULL,
  flags         int2 NOT NULL,
  depth         int2 NOT NULL,
  bid_price     int8[] NOT NULL,
  ask_price     int8[] NOT NULL,
  bid_size      int8[] NOT NULL,
  ask_size      int8[] NOT NULL,
  bid_count     int8[] NOT NULL,
  ask_count     int8[] NOT NULL
) PARTITION BY RANGE (ts);
CREATE UNIQUE INDEX book_identity ON book (instrument_id, schema, ts, book_key);

CREATE TABLE book_exact (
  instrument_id int4 NOT NULL,
  schema        int2 NOT NULL,
  ts            timestamptz NOT NULL,
  book_key      int8 NOT NULL,
  price         numeric,
  size          numeric,
  bid_price     numeric[],
  ask_price     numeric[],
  bid_size      numeric[],
  ask_size      numeric[],
  PRIMARY KEY (instrument_id, schema, ts, book_key)
);

-- bars from trades, kept right in the transaction that writes the trades. Values are NUMERIC: sums outgrow an int8 and
-- some prices the scale. The *_at, *_recv, *_key columns order a bar's first and last trade: (tsEvent ns, tsRecv ns,
-- key), absent tsRecv last, so that two partial bars merge exactly.
CREATE TABLE bar_1m (
  bucket        timestamptz NOT NULL,
  instrument_id int4 NOT NULL,
  open          numeric NOT NULL,
  high          numeric NOT NULL,
  low           numeric NOT NULL,
  close         numeric NOT NULL,
  volume        numeric NOT NULL,
  trade_count   int8 NOT NULL,
  open_at       int8 NOT NULL,
  open_recv     int8 NOT NULL,
  open_key      int8 NOT NULL,
  close_at      int8 NOT NULL,
  close_recv    int8 NOT NULL,
  close_key     int8 NOT NULL
) PARTITION BY RANGE (bucket);
CREATE UNIQUE INDEX bar_1m_identity ON bar_1m (instrument_id, bucket);
CREATE TABLE bar_1h (LIKE bar_1m) PARTITION BY RANGE (bucket);
CREATE UNIQUE INDEX bar_1h_identity ON bar_1h (instrument_id, bucket);
-- merged into with every segment: room in the page keeps its updates out of the index
CREATE TABLE bar_1d (LIKE bar_1m INCLUDING ALL) WITH (fillfactor = 50);

-- rows per instrument, schema and UTC day, kept right in the same transaction
CREATE TABLE row_days (
  instrument_id int4 NOT NULL,
  schema        int2 NOT NULL,
  day           date NOT NULL,
  rows          int8 NOT NULL,
  first_at      int8 NOT NULL,
  last_at       int8 NOT NULL,
  PRIMARY KEY (instrument_id, schema, day)
) WITH (fillfactor = 50);

-- rows whose key met different content: the one that was not kept
CREATE TABLE row_conflicts (
  id            int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind          text NOT NULL CHECK (kind IN ('trades', 'quotes', 'bars', 'book')),
  instrument_id int4 NOT NULL,
  schema        int2 NOT NULL,
  ts            timestamptz NOT NULL,
  row_key       int8 NOT NULL,
  run_id        int8 NOT NULL,
  lost          text NOT NULL CHECK (lost IN ('new', 'stored')),
  content       jsonb NOT NULL,
  detected_at   timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX row_conflicts_once
  ON row_conflicts (kind, instrument_id, schema, ts, row_key, lost, md5(content::text));

CREATE TABLE ingest_runs (
  id           int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind         text NOT NULL,
  source       text NOT NULL,
  provider     text NOT NULL,
  dataset      text NOT NULL,
  schema       int2,
  fingerprint  text UNIQUE,
  started_at   timestamptz NOT NULL DEFAULT now(),
  completed_at timestamptz
);

CREATE TABLE ingest_segments (
  run_id       int8 NOT NULL REFERENCES ingest_runs ON DELETE CASCADE,
  segment      int4 NOT NULL,
  rows         int4 NOT NULL,
  inserted     int4 NOT NULL,
  duplicates   int4 NOT NULL,
  conflicts    int4 NOT NULL,
  first_ts     timestamptz,
  last_ts      timestamptz,
  committed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run_id, segment)
);

-- held ranges on the index clock
CREATE TABLE coverage (
  instrument_id int4 NOT NULL,
  schema        int2 NOT NULL,
  ranges        tstzmultirange NOT NULL,
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (instrument_id, schema)
);

-- every other state: missing (with its cause), none (asked, nothing there), expired (removed by retention)
CREATE TABLE coverage_marks (
  id            int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  instrument_id int4 NOT NULL,
  schema        int2 NOT NULL,
  state         text NOT NULL CHECK (state IN ('missing', 'none', 'expired')),
  range         tstzrange NOT NULL,
  cause         text,
  checked_at    timestamptz,
  expires_at    timestamptz
);
CREATE INDEX coverage_marks_instrument ON coverage_marks (instrument_id, schema);

-- up to where retention has ever removed rows of a kind: bars before it may count trades that are gone
CREATE TABLE retention_horizons (
  kind           text PRIMARY KEY CHECK (kind IN ('trades', 'quotes', 'bars', 'book')),
  expired_before timestamptz NOT NULL
);

-- live coverage: one row per feed session, its watermark moved by heartbeats, folded into coverage at its end
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

-- position of a spool or other ordered stream: compare-and-set in the transaction that writes its rows
CREATE TABLE stream_cursors (
  stream     text PRIMARY KEY,
  position   int8 NOT NULL,
  epoch      int8 NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- who is active among several services on one database
CREATE TABLE leases (
  name         text PRIMARY KEY,
  holder       text NOT NULL,
  epoch        int8 NOT NULL,
  heartbeat_at timestamptz NOT NULL
);
`

export const down = /* sql */ `
DROP TABLE leases, stream_cursors, feed_session_instruments, feed_sessions, retention_horizons, coverage_marks, coverage, ingest_segments,
  ingest_runs, row_conflicts, row_days, bar_1d, bar_1h, bar_1m, book_exact, book, bar_exact, bar, quote_exact, quote,
  trade_text_id, trade_exact, trade, symbol_entries, listings, instruments, market_schemas, publishers, datasets CASCADE;
`
