/**
 * Read-only views for analysts: `trades`, `ohlcv_*`, `symbols`, `data_availability` with the names and columns that SQL
 * written for the original design uses, and views of what came later. Values are exact NUMERIC: mantissa x the
 * instrument's unit, and the side table's value where the scale could not hold it (looked up only for a NULL of an
 * instrument that has any). The views are code, not state: each version makes them anew.
 *
 * A condition on `symbol` and `time` reaches the index on (instrument_id, ts, ...) of the partitions it needs; one on
 * `provider` with ORDER BY time DESC LIMIT walks back the index on ts.
 */
import { MarketSchema } from "@data-manager/core"
import { liveRanges } from "./feed.ts"

/** One row kind's flag in `instruments.exact_kinds`. */
const exactKind = { trades: 1, quotes: 2, bars: 4, book: 8 } as const

/** Mantissas of a column of `t` as NUMERIC. Whole sizes are most of all: they need no multiplication. */
const scaled = (column: string, of: "price" | "size"): string =>
  of === "size"
    ? `CASE i.size_scale WHEN 0 THEN t.${column}::numeric ELSE t.${column} * i.size_unit END`
    : `t.${column} * i.price_unit`

/** Exact value of a column of `t`, which has an exact table: NULL where it is absent. */
const value = (
  column: string,
  of: "price" | "size",
  exact: { readonly table: string; readonly identity: ReadonlyArray<string>; readonly kind: number }
): string => {
  const same = ["instrument_id", ...exact.identity].map((name) => `e.${name} = t.${name}`).join(" AND ")
  return `coalesce(${scaled(column, of)},
         CASE WHEN i.exact_kinds & ${exact.kind} <> 0 THEN (SELECT e.${column} FROM ${exact.table} e WHERE ${same}) END)`
}

/** Exact values of an array of ten levels. */
const levels = (column: string, unit: "price_unit" | "size_unit"): string =>
  `(SELECT array_agg(coalesce(l.v * i.${unit}, x.${column}[l.n]) ORDER BY l.n)
         FROM unnest(t.${column}) WITH ORDINALITY l(v, n)
         LEFT JOIN book_exact x ON l.v IS NULL AND i.exact_kinds & ${exactKind.book} <> 0 AND x.instrument_id = t.instrument_id
           AND x.schema = t.schema AND x.ts = t.ts AND x.book_key = t.book_key)`

const tradeExact = { table: "trade_exact", identity: ["ts", "trade_key"], kind: exactKind.trades }
const quoteExact = { table: "quote_exact", identity: ["schema", "ts", "quote_key"], kind: exactKind.quotes }
const barExact = { table: "bar_exact", identity: ["schema", "ts", "publisher"], kind: exactKind.bars }
const bookExact = { table: "book_exact", identity: ["schema", "ts", "book_key"], kind: exactKind.book }

// The type stands on the constants: a cast around the CASE would run for every row.
const side = (column: string): string =>
  `CASE ${column} WHEN 1 THEN 'B'::char(1) WHEN 2 THEN 'S'::char(1) ELSE 'N'::char(1) END`

/** An instrument that no definition has named yet shows its native number: `#5602`. */
const rawSymbol = "coalesce(i.raw_symbol, substr(i.symbol, length(d.name) + 2))"

/**
 * The datasets, with everything that is the same for all rows of one. OFFSET 0 is what makes it computed once per dataset:
 * without it the planner moves the expressions into the rows. The venues of the publishers are an array, which a row reads
 * in half the time of a join.
 */
const datasets = `(
    SELECT d.id, d.provider, d.name, d.key_kind, d.key_kind = 'sequenced' AS is_sequenced, v.before, v.venues
    FROM datasets d CROSS JOIN LATERAL (
      SELECT min(n.id) - 1 AS before, array_agg(p.venue ORDER BY n.id) AS venues
      FROM (SELECT generate_series(min(id)::int4, max(id)::int4) AS id FROM publishers WHERE dataset_id = d.id) n
        LEFT JOIN publishers p ON p.dataset_id = d.id AND p.id = n.id
    ) v
    OFFSET 0
  )`

/** The venue of a publisher; NULL where it is not known. */
const venue = (column: string): string => `d.venues[t.${column} - d.before]`
const exchange = `coalesce(${venue("publisher")}, i.exchange) AS exchange`

/** Instrument and dataset of rows `t`. */
const joins = `JOIN instruments i ON i.id = t.instrument_id
  JOIN ${datasets} d ON d.id = i.dataset_id`

/** int8 nanoseconds since the epoch as timestamptz, rounded down to the microsecond. */
const timeOfNanos = (column: string): string =>
  `timestamptz 'epoch' + ((${column} - (${column} % 1000 + 1000) % 1000) / 1000) * interval '1 microsecond'`

const trades = `
CREATE OR REPLACE VIEW trades AS
SELECT t.ts AS time,
       i.symbol,
       ${value("price", "price", tradeExact)} AS price,
       ${value("size", "size", tradeExact)} AS quantity,
       ${side("t.side")} AS side,
       CASE
         WHEN d.is_sequenced THEN CASE
           WHEN t.trade_key & 65535 = 0 THEN ((t.trade_key >> 16) & 4294967295)::text
           ELSE ((t.trade_key >> 16) & 4294967295)::text || '.' || (t.trade_key & 65535)::text END
         WHEN d.key_kind = 'text-hash' THEN coalesce((SELECT x.trade_id FROM trade_text_id x
           WHERE x.instrument_id = t.instrument_id AND x.ts = t.ts AND x.trade_key = t.trade_key), t.trade_key::text)
         ELSE t.trade_key::text
       END AS trade_id,
       d.provider,
       ${rawSymbol} AS raw_symbol,
       ${exchange},
       t.trade_key
FROM trade_rows t ${joins}`

/** Doubles, for plots and statistics: the nearest one to each exact value. */
const tradesFloat = `
CREATE OR REPLACE VIEW trades_float AS
SELECT t.ts AS time,
       i.symbol,
       (${value("price", "price", tradeExact)})::float8 AS price,
       (${value("size", "size", tradeExact)})::float8 AS quantity,
       ${side("t.side")} AS side
FROM trade_rows t JOIN instruments i ON i.id = t.instrument_id`

const ohlcv = (view: string, bars: string): string => `
CREATE OR REPLACE VIEW ${view} AS
SELECT t.bucket, i.symbol, t.open, t.high, t.low, t.close, t.volume, t.trade_count
FROM ${bars} t JOIN instruments i ON i.id = t.instrument_id`

const receiveClock = MarketSchema.all.filter((name) => MarketSchema.clock(name) === "ts_recv")
const isReceiveClock = `t.schema IN (${receiveClock.map(MarketSchema.code).join(", ")})`
const clocks = `CASE WHEN ${isReceiveClock} THEN t.ts_other ELSE t.ts END AS ts_event,
       CASE WHEN ${isReceiveClock} THEN t.ts ELSE t.ts_other END AS ts_recv`
const action = "nullif(chr(greatest(t.action, 1)), chr(1)) AS action"

const quotes = `
CREATE OR REPLACE VIEW quotes AS
SELECT t.ts AS time,
       i.symbol,
       s.name AS schema,
       ${value("bid_price", "price", quoteExact)} AS bid_price,
       ${value("bid_size", "size", quoteExact)} AS bid_size,
       t.bid_count,
       ${value("ask_price", "price", quoteExact)} AS ask_price,
       ${value("ask_size", "size", quoteExact)} AS ask_size,
       t.ask_count,
       ${value("price", "price", quoteExact)} AS price,
       ${value("size", "size", quoteExact)} AS size,
       ${side("t.side")} AS side,
       ${action},
       ${clocks},
       d.provider,
       ${rawSymbol} AS raw_symbol,
       ${exchange},
       ${venue("bid_publisher")} AS bid_exchange,
       ${venue("ask_publisher")} AS ask_exchange,
       t.quote_key
FROM quote t ${joins} JOIN market_schemas s ON s.code = t.schema`

const books = `
CREATE OR REPLACE VIEW books AS
SELECT t.ts AS time,
       i.symbol,
       s.name AS schema,
       ${levels("bid_price", "price_unit")} AS bid_price,
       ${levels("bid_size", "size_unit")} AS bid_size,
       t.bid_count,
       ${levels("ask_price", "price_unit")} AS ask_price,
       ${levels("ask_size", "size_unit")} AS ask_size,
       t.ask_count,
       ${value("price", "price", bookExact)} AS price,
       ${value("size", "size", bookExact)} AS size,
       ${side("t.side")} AS side,
       ${action},
       ${clocks},
       d.provider,
       ${rawSymbol} AS raw_symbol,
       ${exchange},
       t.book_key
FROM book t ${joins} JOIN market_schemas s ON s.code = t.schema`

const providerBars = `
CREATE OR REPLACE VIEW provider_bars AS
SELECT t.ts AS bucket,
       i.symbol,
       s.name AS schema,
       ${value("open", "price", barExact)} AS open,
       ${value("high", "price", barExact)} AS high,
       ${value("low", "price", barExact)} AS low,
       ${value("close", "price", barExact)} AS close,
       t.volume,
       t.trade_count,
       d.provider,
       ${rawSymbol} AS raw_symbol,
       ${exchange}
FROM bar t ${joins} JOIN market_schemas s ON s.code = t.schema`

/** Instruments with their registry entry, and entries (a parent like ES.FUT, say) that are no instrument. */
const symbols = `
CREATE OR REPLACE VIEW symbols AS
SELECT i.id,
       i.symbol,
       d.provider,
       ${rawSymbol} AS raw_symbol,
       i.asset_class,
       i.exchange,
       coalesce(r.enabled AND r.removed_at IS NULL, false) AS enabled,
       least(i.discovered_at, r.discovered_at) AS discovered_at,
       nullif(coalesce(r.metadata, '{}') || (i.details - 'asOf'), '{}') AS metadata
FROM instruments i
  JOIN datasets d ON d.id = i.dataset_id
  LEFT JOIN symbol_entries r ON r.provider = d.provider AND r.symbol = i.symbol
UNION ALL
SELECT NULL,
       r.symbol,
       r.provider,
       CASE WHEN starts_with(r.symbol, r.dataset || ':') THEN substr(r.symbol, length(r.dataset) + 2) ELSE r.symbol END,
       r.asset_class,
       r.exchange,
       r.enabled,
       r.discovered_at,
       r.metadata
FROM symbol_entries r
WHERE r.removed_at IS NULL AND NOT EXISTS (
  SELECT FROM instruments i JOIN datasets d ON d.id = i.dataset_id
  WHERE i.symbol = r.symbol AND d.provider = r.provider)`

const availability = `
CREATE OR REPLACE VIEW data_availability AS
SELECT i.symbol,
       d.provider,
       t.day AS date,
       t.rows AS trade_count,
       ${timeOfNanos("t.first_at")} AS first_trade,
       ${timeOfNanos("t.last_at")} AS last_trade
FROM row_days t JOIN instruments i ON i.id = t.instrument_id JOIN datasets d ON d.id = i.dataset_id
WHERE t.schema = ${MarketSchema.code("trades")}`

/** What is held, by live sessions, too, and what is known to be missing, on the clock of `datasets.index_clock`. */
const coverageRanges = `
CREATE OR REPLACE VIEW coverage_ranges AS
SELECT i.symbol, d.provider, s.name AS schema, c.state, lower(c.range) AS start_time, upper(c.range) AS end_time,
       c.cause, c.checked_at, c.expires_at
FROM instruments i
  JOIN datasets d ON d.id = i.dataset_id
  CROSS JOIN LATERAL (
    SELECT schema, 'held' AS state, unnest(range_agg(range)) AS range, NULL AS cause,
           NULL::timestamptz AS checked_at, NULL::timestamptz AS expires_at
    FROM (
      SELECT schema, unnest(ranges) AS range FROM coverage WHERE instrument_id = i.id
      UNION ALL
      SELECT f.schema, unnest(${liveRanges})
      FROM feed_session_instruments m JOIN feed_sessions f ON f.id = m.session_id WHERE m.instrument_id = i.id
    ) held
    GROUP BY schema
    UNION ALL
    SELECT schema, state, range, cause, checked_at, expires_at FROM coverage_marks WHERE instrument_id = i.id
  ) c
  JOIN market_schemas s ON s.code = c.schema`

const views: ReadonlyArray<readonly [name: string, statement: string]> = [
  ["trades", trades],
  ["trades_float", tradesFloat],
  ["quotes", quotes],
  ["books", books],
  ["ohlcv_1m", ohlcv("ohlcv_1m", "bars_1m")],
  ["ohlcv_1h", ohlcv("ohlcv_1h", "bars_1h")],
  ["ohlcv_1d", ohlcv("ohlcv_1d", "bars_1d")],
  ["provider_bars", providerBars],
  ["symbols", symbols],
  ["data_availability", availability],
  ["coverage_ranges", coverageRanges]
]

/** Refuses to write to a view: rows enter through the store, which keeps keys, ledger, bars and coverage right. */
const refuseWrite = `
CREATE OR REPLACE FUNCTION refuse_view_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'view "%" is read-only', TG_TABLE_NAME
    USING ERRCODE = 'feature_not_supported',
          HINT = 'Data is written by dm import, dm backfill or MarketStore.append, which keep the ledger, bars and coverage right.';
END $$`

const refuseTrigger = (view: string): string => `
CREATE OR REPLACE TRIGGER ${view}_read_only INSTEAD OF INSERT OR UPDATE OR DELETE ON ${view}
FOR EACH ROW EXECUTE FUNCTION refuse_view_write()`

/** Statements that make the views, in order; running them again changes nothing. */
export const viewStatements: ReadonlyArray<string> = views.map(([, statement]) => statement)

/** Statements that keep everybody from writing to views. */
export const readOnlyStatements: ReadonlyArray<string> = [
  refuseWrite,
  ...["trade_rows", "bars_1m", "bars_1h", "bars_1d", ...views.map(([name]) => name)].map(refuseTrigger)
]
