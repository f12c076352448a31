/** Whether every trade stands once, in the one table that its day belongs to: see `BulkTable`. */
import { assert } from "vitest"
import type { StoreFixture } from "./StoreFixture.ts"

const repeated = `
  SELECT instrument_id, ts, trade_key, count(*) AS times FROM trade_rows
  WHERE instrument_id = ANY($1) GROUP BY 1, 2, 3 HAVING count(*) > 1 LIMIT 5`

const daysIn = (table: string): string => `
  SELECT instrument_id, (ts AT TIME ZONE 'UTC')::date AS day,
         max((extract(epoch FROM ts) * 1000000)::int8 * 1000 + ts_ns) AS last_at
  FROM ${table} WHERE instrument_id = ANY($1) GROUP BY 1, 2`

const shared = `SELECT b.* FROM (${daysIn("trade_bulk")}) b JOIN (${daysIn("trade")}) t USING (instrument_id, day) LIMIT 5`

/** `last_at` may be that of a row that was replaced since. */
const misnamed = `
  SELECT instrument_id, day, n.last_at AS named, s.last_at AS stored
  FROM (SELECT * FROM bulk_days WHERE instrument_id = ANY($1)) n
  FULL JOIN (${daysIn("trade_bulk")}) s USING (instrument_id, day)
  WHERE n.last_at IS NULL OR s.last_at IS NULL OR n.last_at < s.last_at LIMIT 5`

/** Fails where trades of the instruments stand twice, or a day of one in two tables or in another than the ledger names. */
export const assertOwnership = async (store: StoreFixture, ids: ReadonlyArray<number>): Promise<void> => {
  assert.deepStrictEqual(await store.sql(repeated, [ids]), [], "trades that stand twice")
  const [bulk] = await store.sql("SELECT to_regclass('trade_bulk') IS NOT NULL AS found")
  if (!bulk!.found) return
  assert.deepStrictEqual(await store.sql(shared, [ids]), [], "days in both tables")
  assert.deepStrictEqual(await store.sql(misnamed, [ids]), [], "bulk_days")
}
