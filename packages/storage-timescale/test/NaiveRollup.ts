/** Bars and day counts computed by SQL from the stored rows alone, to compare those that appends kept. */
import { UnixNanos } from "@data-manager/core"
import { assert } from "vitest"
import * as Aggregates from "../src/timescale/Aggregates.ts"
import * as BarRefresh from "../src/timescale/BarRefresh.ts"
import type { StoreFixture } from "./StoreFixture.ts"

const everything = { start: UnixNanos.Min, end: UnixNanos.Max }

const nanos = (time: string, rest: string): string =>
  `(extract(epoch FROM ${time}) * 1000000000 + ${rest})::int8`

const trades = `
  SELECT t.instrument_id, t.ts, coalesce(x.price, t.price * i.price_unit) AS price,
         coalesce(x.size, t.size * i.size_unit, 0) AS size,
         ${nanos("t.ts", "t.ts_ns")} AS at,
         coalesce(${nanos("t.ts_recv", "t.ts_recv_ns")}, 9223372036854775807) AS recv, t.trade_key AS key
  FROM trade_rows t JOIN instruments i ON i.id = t.instrument_id
  LEFT JOIN trade_exact x USING (instrument_id, ts, trade_key)
  WHERE t.instrument_id = ANY($1)`

/** Columns that only bars in tables of our own have. */
const ranks = ", min(at) AS open_at, max(at) AS close_at"

const bars = (unit: string, more: string): string => `
  SELECT instrument_id, date_trunc('${unit}', ts, 'UTC') AS bucket,
         (array_agg(price ORDER BY at, recv, key))[1] AS open, max(price) AS high, min(price) AS low,
         (array_agg(price ORDER BY at DESC, recv DESC, key DESC))[1] AS close, sum(size) AS volume,
         count(*) AS trade_count${more}
  FROM (${trades}) t WHERE price IS NOT NULL GROUP BY 1, 2`

const difference = (stored: string, naive: string): string => `
  (SELECT 'missing' AS side, n.* FROM (${naive}) n EXCEPT SELECT 'missing', s.* FROM (${stored}) s)
  UNION ALL
  (SELECT 'surplus' AS side, s.* FROM (${stored}) s EXCEPT SELECT 'surplus', n.* FROM (${naive}) n) LIMIT 5`

const barNames = "instrument_id, bucket, open, high, low, close, volume, trade_count"

/** Fails where a bar or a day count of the instruments is not what the rows say. */
export const assertRollups = async (store: StoreFixture, ids: ReadonlyArray<number>): Promise<void> => {
  await assertBars(store, ids)
  await assertDays(store, ids)
}

/** The bars: where the server makes them, after what is behind was made as for a reader. */
const assertBars = async (store: StoreFixture, ids: ReadonlyArray<number>): Promise<void> => {
  const isAggregated = await store.run(Aggregates.exist(store.writer.pool))
  if (isAggregated) await store.run(BarRefresh.refreshForReading(store.writer.pool, everything))
  for (const [length, unit] of [
    ["1m", "minute"],
    ["1h", "hour"],
    ["1d", "day"]
  ] as const) {
    const [table, more] = isAggregated ? [`bars_${length}`, ""] : [`bar_${length}`, ranks]
    const stored = `SELECT ${barNames}${more === "" ? "" : ", open_at, close_at"} FROM ${table}
      WHERE instrument_id = ANY($1)`
    assert.deepStrictEqual(await store.sql(difference(stored, bars(unit, more)), [ids]), [], table)
  }
}

const assertDays = async (store: StoreFixture, ids: ReadonlyArray<number>): Promise<void> => {
  const days = ["trade_rows", "quote", "bar", "book"].map(
    (table) => `SELECT instrument_id, ${table === "trade_rows" ? "1::int2" : "schema"} AS schema,
                (ts AT TIME ZONE 'UTC')::date AS day, count(*) AS rows,
                min(${nanos("ts", "ts_ns")}) AS first_at, max(${nanos("ts", "ts_ns")}) AS last_at
         FROM ${table} WHERE instrument_id = ANY($1) GROUP BY 1, 2, 3`
  )
  const stored =
    "SELECT instrument_id, schema, day, rows, first_at, last_at FROM row_days WHERE instrument_id = ANY($1)"
  assert.deepStrictEqual(await store.sql(difference(stored, days.join(" UNION ALL ")), [ids]), [], "row_days")
}
