/** The days in the table of the bulk profile, as an ordinary append meets them. */
import { Data, Effect } from "effect"
import { columnsOf } from "../CopyEncoder.ts"
import type { PgConnection, SqlRow } from "../PgPool.ts"
import { bulkTrades } from "./BulkTable.ts"

/** Rows were written to the ordinary table whose day is in the bulk table: it has to be moved first. */
export class InBulk extends Data.TaggedError("InBulk")<Record<never, never>> {}

const named = "FROM bulk_days b JOIN added_day a ON a.instrument_id = b.instrument_id AND a.day = b.day"

/** Refuses to go on where days that the batch was added to are in the bulk table. Call it after they were added. */
export const refuse = Effect.fnUntraced(function* (connection: PgConnection) {
  const [row] = yield* connection.query<SqlRow & { readonly found: boolean }>(
    `SELECT EXISTS (SELECT ${named}) AS found`
  )
  if (row!.found) return yield* new InBulk()
})

/** Moves the days that `Rollup.sendDays` has sent, and `Rollup.lockDays` locked, into the ordinary table. */
export const evict = Effect.fnUntraced(function* (connection: PgConnection) {
  const days = yield* connection.query<SqlRow & { readonly day: string; readonly ids: string }>(
    `SELECT b.day::text AS day, string_agg(b.instrument_id::text, ',' ORDER BY b.instrument_id) AS ids ${named}
     GROUP BY b.day ORDER BY b.day`
  )
  const columns = columnsOf.trades.join(", ")
  for (const { day, ids } of days) {
    const rows = `${bulkTrades.table} WHERE instrument_id = ANY ('{${ids}}'::int4[])
      AND ts >= timestamptz '${day} 00:00:00+00' AND ts < timestamptz '${day} 00:00:00+00' + interval '24 hours'`
    yield* connection.script(
      `SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0;
       INSERT INTO trade (${columns}) SELECT ${columns} FROM ${rows};
       DELETE FROM ${rows};
       DELETE FROM bulk_days WHERE day = '${day}' AND instrument_id = ANY ('{${ids}}'::int4[]);
       INSERT INTO bar_refreshes (starts, ends) VALUES
         (timestamptz '${day} 00:00:00+00', timestamptz '${day} 00:00:00+00' + interval '24 hours' - interval '1 microsecond')`
    )
  }
})
