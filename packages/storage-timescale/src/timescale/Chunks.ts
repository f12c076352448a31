/** The chunks of hypertables: what partitions are elsewhere. */
import { type StoreError, type TimeRange, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { microsOf, type PgConnection, type SqlRow } from "../PgPool.ts"

/** One chunk. */
export interface Chunk extends TimeRange.TimeRange {
  readonly table: string
  /** With its schema, quoted: for use in statements. */
  readonly name: string
}

/** Chunks of the given hypertables that touch a range, by time. */
export const list = (
  connection: Pick<PgConnection, "query">,
  tables: ReadonlyArray<string>,
  range: TimeRange.TimeRange = { start: UnixNanos.Min, end: UnixNanos.Max }
): Effect.Effect<ReadonlyArray<Chunk>, StoreError> =>
  Effect.map(
    connection.query<
      SqlRow & {
        readonly table: string
        readonly name: string
        readonly start: bigint
        readonly end: bigint
      }
    >(
      `SELECT hypertable_name::text AS table, format('%I.%I', chunk_schema, chunk_name) AS name,
              ${microsOf("range_start")} AS start, ${microsOf("range_end")} AS end
       FROM timescaledb_information.chunks
       WHERE hypertable_schema = current_schema() AND hypertable_name = ANY($1)
         AND range_end > $2 AND range_start < $3
       ORDER BY range_start`,
      [tables, UnixNanos.toIso(range.start), UnixNanos.toIso(range.end)]
    ),
    (rows) =>
      rows.map(({ table, name, start, end }) => ({
        table,
        name,
        start: start * UnixNanos.PerMicro,
        end: end * UnixNanos.PerMicro
      }))
  )
