import { UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { viewStatements } from "../src/objects/views.ts"
import { appendAll, instruments as makeInstruments, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture
let ids: ReadonlyArray<number>
let dataset: string
let symbol: string

const at = (iso: string): bigint => UnixNanos.parse(iso)!

beforeAll(async () => {
  store = await openStore()
  const market = await makeInstruments(
    store,
    Array.from({ length: 40 }, (_, i) => [i % 3, i % 2] as const)
  )
  ids = market.ids
  dataset = market.context.dataset
  symbol = `${dataset}:S0`
  const options = { context: market.context, instruments: ids }
  const days = ["2024-03-05", "2024-04-05", "2024-05-06"].map((day, i) =>
    BatchArbitrary.trades(new SeededRandom(i), {
      ...options,
      rows: 20_000,
      start: at(day),
      span: UnixNanos.PerDay
    })
  )
  const extreme = { ...options, start: at("2024-06-03T10:00:00Z"), rows: 200, values: "extreme" } as const
  await store.run(
    appendAll(store.writer, [
      ...days,
      BatchArbitrary.trades(new SeededRandom(7), {
        ...options,
        rows: 200,
        start: at("2024-06-03"),
        priceExponent: -9
      }),
      BatchArbitrary.quotes(new SeededRandom(8), { ...extreme, schema: "mbp-1" }),
      BatchArbitrary.quotes(new SeededRandom(9), { ...extreme, schema: "bbo-1s" }),
      BatchArbitrary.books(new SeededRandom(10), { ...extreme, rows: 60, schema: "mbp-10" }),
      BatchArbitrary.bars(new SeededRandom(11), { ...extreme, seconds: 60 })
    ])
  )
  await store.sql(
    // Publishers 1 and 3 of the rows have no venue: one before, one between those that have.
    `INSERT INTO publishers SELECT d.id, p.id, p.venue FROM datasets d, (VALUES (2, 'XNYS'), (5, '{"a,b\\')) p(id, venue)
     WHERE d.name = $1 ON CONFLICT (dataset_id, id) DO UPDATE SET venue = EXCLUDED.venue`,
    [dataset]
  )
  await store.sql("ANALYZE")
}, 60_000)
afterAll(() => store.close())

const explain = async (query: string): Promise<string> => {
  const rows = await store.sql<{ readonly "QUERY PLAN": string }>(`EXPLAIN ${query}`)
  return rows.map((row) => row["QUERY PLAN"]).join("\n")
}

/** Rows of one query that the other does not give. */
const difference = async (one: string, other: string): Promise<unknown> =>
  store.sql(`((${one}) EXCEPT ALL (${other})) UNION ALL ((${other}) EXCEPT ALL (${one})) LIMIT 5`)

describe("names and columns", () => {
  it("are those of the original design", async () => {
    const columns = async (view: string) =>
      (
        await store.sql<{ readonly c: string }>(
          "SELECT attname AS c FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum",
          [view]
        )
      )
        .map((row) => row.c)
        .join(" ")
    const bars = "bucket symbol open high low close volume trade_count"
    assert.strictEqual(
      await columns("trades"),
      "time symbol price quantity side trade_id provider raw_symbol exchange trade_key"
    )
    for (const view of ["ohlcv_1m", "ohlcv_1h", "ohlcv_1d"]) assert.strictEqual(await columns(view), bars)
    assert.strictEqual(
      await columns("symbols"),
      "id symbol provider raw_symbol asset_class exchange enabled discovered_at metadata"
    )
    assert.strictEqual(
      await columns("data_availability"),
      "symbol provider date trade_count first_trade last_trade"
    )
  })

  it("can be made again and again", async () => {
    for (const statement of [...viewStatements, ...viewStatements]) await store.sql(statement)
  })
})

describe("values", () => {
  it("of trades are exact, with the venue, the side and the id as people write it", async () => {
    const naive = `SELECT t.ts, d.name || ':' || i.raw_symbol, coalesce(t.price / 10::numeric ^ i.price_scale, x.price),
        coalesce(t.size / 10::numeric ^ i.size_scale, x.size), (ARRAY['N','B','S'])[t.side + 1],
        ((t.trade_key >> 16) & 4294967295) || coalesce('.' || nullif(t.trade_key & 65535, 0), ''), d.provider, i.raw_symbol,
        CASE t.publisher WHEN 2 THEN 'XNYS' END, t.trade_key
      FROM trade t JOIN instruments i ON i.id = t.instrument_id JOIN datasets d ON d.id = i.dataset_id
      LEFT JOIN trade_exact x USING (instrument_id, ts, trade_key)`
    const view =
      "SELECT time, symbol, price, quantity, side::text, trade_id, provider, raw_symbol, exchange, trade_key FROM trades"
    assert.deepStrictEqual(await difference(view, naive), [])
    const [exact] = await store.sql<{ readonly n: bigint }>("SELECT count(*) AS n FROM trade_exact")
    assert.isAbove(Number(exact!.n), 100)
  })

  it("of quotes, books and provider bars are exact", async () => {
    const unit = (column: string, scale: string) =>
      `coalesce(t.${column} / 10::numeric ^ i.${scale}, x.${column})`
    const from = (table: string, key: string) => `FROM ${table} t JOIN instruments i ON i.id = t.instrument_id
      LEFT JOIN ${table}_exact x USING (instrument_id, schema, ts, ${key})`
    assert.deepStrictEqual(
      await difference(
        "SELECT time, symbol, bid_price, ask_price, price, bid_size, ask_size, size, quote_key FROM quotes",
        `SELECT t.ts, i.symbol, ${["bid_price", "ask_price", "price"].map((c) => unit(c, "price_scale")).join()},
         ${["bid_size", "ask_size", "size"].map((c) => unit(c, "size_scale")).join()}, t.quote_key ${from("quote", "quote_key")}`
      ),
      []
    )
    assert.deepStrictEqual(
      await difference(
        "SELECT bucket, symbol, schema, open, high, low, close, volume, trade_count FROM provider_bars",
        `SELECT t.ts, i.symbol, 'ohlcv-1m', ${["open", "high", "low", "close"].map((c) => unit(c, "price_scale")).join()},
         t.volume, t.trade_count ${from("bar", "publisher")}`
      ),
      []
    )
    const level = (column: string, scale: string) =>
      `coalesce(t.${column}[n] / 10::numeric ^ i.${scale}, x.${column}[n])`
    assert.deepStrictEqual(
      await difference(
        "SELECT time, symbol, book_key, n, bid_price[n], ask_price[n], bid_size[n], ask_size[n] FROM books, generate_series(1, 10) n",
        `SELECT t.ts, i.symbol, t.book_key, n, ${level("bid_price", "price_scale")}, ${level("ask_price", "price_scale")},
         ${level("bid_size", "size_scale")}, ${level("ask_size", "size_scale")} ${from("book", "book_key")}, generate_series(1, 10) n`
      ),
      []
    )
  })

  it("of both clocks are told where a schema is kept under the second one", async () => {
    assert.deepStrictEqual(
      await difference(
        "SELECT quote_key, schema, ts_event, ts_recv FROM quotes",
        `SELECT quote_key, 'mbp-1', ts, ts_other FROM quote WHERE schema = 10
         UNION ALL SELECT quote_key, 'bbo-1s', ts_other, ts FROM quote WHERE schema = 12`
      ),
      []
    )
  })

  it("of bars and availability follow the trades", async () => {
    const [row] = await store.sql(
      `SELECT (SELECT sum(trade_count) FROM ohlcv_1d) = (SELECT count(price) FROM trades) AS bars,
         (SELECT sum(trade_count) FROM data_availability) = (SELECT count(*) FROM trades) AS days,
         (SELECT min(first_trade) FROM data_availability) = (SELECT min(time) FROM trades) AS first,
         (SELECT max(last_trade) FROM data_availability) = (SELECT max(time) FROM trades) AS last`
    )
    assert.deepStrictEqual(row as unknown, { bars: true, days: true, first: true, last: true })
  })

  it("of symbols join instruments with what the registry says, and tell entries that are no instrument", async () => {
    await store.sql(
      `INSERT INTO symbol_entries (provider, symbol, dataset, enabled, source, removed_at, metadata) VALUES
       ('test', $1 || ':S0', $1, true, 'database', NULL, '{"a":1}'), ('test', $1 || ':S1', $1, true, 'database', now(), NULL),
       ('test', $1 || ':ES.FUT', $1, true, 'config', NULL, NULL), ('test', $1 || ':OLD', $1, true, 'config', now(), NULL)`,
      [dataset]
    )
    const rows = await store.sql<{ readonly line: string }>(
      `SELECT concat_ws(' ', raw_symbol, id IS NULL, enabled, metadata) AS line FROM symbols
       WHERE symbol LIKE $1 || ':%' AND raw_symbol IN ('S0', 'S1', 'S2', 'ES.FUT', 'OLD') ORDER BY 1`,
      [dataset]
    )
    assert.deepStrictEqual(
      rows.map((row) => row.line),
      ["ES.FUT t t", 'S0 f t {"a": 1}', "S1 f f", "S2 f f"]
    )
  })

  it("of coverage tell ranges, marks and live sessions", async () => {
    const [id] = ids
    await store.sql(
      `INSERT INTO coverage VALUES (${id}, 50, '{[2030-01-01, 2030-01-02), [2030-01-05, 2030-01-06)}')`
    )
    await store.sql(
      `INSERT INTO coverage_marks (instrument_id, schema, state, range, cause) VALUES (${id}, 50, 'missing', '[2030-02-01, 2030-02-02)', 'gap')`
    )
    await store.sql(
      `WITH s AS (INSERT INTO feed_sessions (key, provider, dataset, schema, started_at, holds_from, watermark, folded_to)
         VALUES ('views', 'test', 'D', 50, '2030-03-01', '2030-03-01', '2030-03-05', '2030-03-01') RETURNING id)
       INSERT INTO feed_session_instruments (session_id, instrument_id, collected, lost)
       SELECT id, ${id}, '{[2030-03-02,)}', '{[2030-03-03, 2030-03-04)}' FROM s`
    )
    const rows = await store.sql<{ readonly line: string }>(
      `SELECT concat_ws(' ', state, start_time::date, end_time::date, cause) AS line FROM coverage_ranges
       WHERE symbol = $1 AND schema = 'mbp-10' AND start_time > '2029-01-01' ORDER BY start_time`,
      [symbol]
    )
    assert.deepStrictEqual(
      rows.map((row) => row.line),
      [
        "held 2030-01-01 2030-01-02",
        "held 2030-01-05 2030-01-06",
        "missing 2030-02-01 2030-02-02 gap",
        "held 2030-03-02 2030-03-03",
        "held 2030-03-04 2030-03-05"
      ]
    )
  })
})

describe("plans", () => {
  it("a symbol and a time use the index on instrument and time of the partitions needed", async () => {
    const plan = await explain(
      `SELECT * FROM trades WHERE symbol = '${symbol}' AND time >= '2024-04-05 10:00' AND time < '2024-04-05 12:00' ORDER BY time`
    )
    // Whether rows are fetched one by one or page by page depends on how they lie.
    assert.match(plan, /Index Scan (using|on) trade_p202404\w*instrument_id_ts_trade_key/, plan)
    assert.match(plan, /instrument_id = i\.id\) AND \(ts >= /)
    assert.notMatch(plan, /Seq Scan on trade_p|trade_p202403|trade_p202405/)
  })

  it("a provider's newest rows walk back the index on time and stop", async () => {
    const plan = await explain("SELECT * FROM trades WHERE provider = 'test' ORDER BY time DESC LIMIT 10")
    assert.match(plan, /Index Scan Backward using trade_p\w*ts_idx/)
    // No trade is sorted; the venues of a dataset are.
    assert.notMatch(plan, /Seq Scan on trade_p|Sort Key: t\.ts/)
  })

  it("what is the same for all trades of a dataset is computed once, not in each row", async () => {
    const plan = await explain(
      `(ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM trades WHERE symbol = '${symbol}' AND time >= '2024-04-05'`
    )
    // The datasets, with their venues, are looked at once each; trades meet no table of publishers.
    assert.match(plan, /Aggregate \(actual rows=1(\.00)? loops=\d\)/, plan)
    assert.notMatch(plan, /publishers.*loops=\d\d/, plan)
  })

  it("bars of a symbol use the index of instrument and start", async () => {
    const plan = await explain(
      `SELECT * FROM ohlcv_1m WHERE symbol = '${symbol}' AND bucket >= '2024-04-05 10:00' AND bucket < '2024-04-05 12:00' ORDER BY bucket`
    )
    assert.match(plan, /Index Scan using bar_1m_\w*instrument_id_bucket/)
  })
})

describe("writing", () => {
  it("to any view fails and says how data is written", async () => {
    const attempts = [
      "INSERT INTO trades (time) VALUES (now())",
      "DELETE FROM ohlcv_1m",
      `UPDATE symbols SET enabled = true WHERE symbol = '${symbol}'`,
      `DELETE FROM data_availability WHERE symbol = '${symbol}'`,
      "UPDATE quotes SET price = 1",
      "INSERT INTO coverage_ranges (symbol) VALUES ('x')"
    ]
    for (const sql of attempts) {
      const error = await store.run(Effect.flip(store.writer.pool.query(sql)))
      assert.match(error.message, /view "\w+" is read-only/, sql)
    }
  })
})
