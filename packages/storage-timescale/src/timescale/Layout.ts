/**
 * What TimescaleDB is in a database, and how its row tables are cut along time: range partitions of our own, or hypertables of the TimescaleDB
 * extension. The catalog tells; nothing else remembers it.
 */
import type { StoreError } from "@data-manager/core"
import { Effect } from "effect"
import type { PgConnection, SqlRow } from "../PgPool.ts"

/** `none`: there are no tables of ours yet. */
export type Layout = "none" | "range" | "hypertable"

/** What TimescaleDB is here. */
export interface Extension {
  /** Version in this database; undefined where the extension is not made in it. */
  readonly installed: string | undefined
  /** Version that the server could make in it. */
  readonly available: string | undefined
  /** Whether the licence allows compression, policies and continuous aggregates. */
  readonly isCommunity: boolean
}

const extensionQuery = /* sql */ `
  SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS installed,
         (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb') AS available,
         current_setting('timescaledb.license', true) AS license`

/** What TimescaleDB is in this database. */
export const extension = (connection: Pick<PgConnection, "query">): Effect.Effect<Extension, StoreError> =>
  Effect.map(
    connection.query<
      SqlRow & {
        readonly installed: string | null
        readonly available: string | null
        readonly license: string | null
      }
    >(extensionQuery),
    ([row]) => ({
      installed: row!.installed ?? undefined,
      available: row!.available ?? undefined,
      isCommunity: row!.license === "timescale"
    })
  )

/** The schema in which the extension's functions are, quoted: it need not be on the search path. */
export const extensionSchema = (connection: Pick<PgConnection, "query">): Effect.Effect<string, StoreError> =>
  Effect.map(
    connection.query<SqlRow & { readonly name: string }>(
      `SELECT quote_ident(n.nspname) AS name FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
       WHERE e.extname = 'timescaledb'`
    ),
    ([row]) => row!.name
  )

/** How the table of trades is cut: all row tables are cut the same way. */
export const layoutOf = (connection: Pick<PgConnection, "query">): Effect.Effect<Layout, StoreError> =>
  Effect.gen(function* () {
    const [table] = yield* connection.query<SqlRow & { readonly kind: string | null }>(
      `SELECT relkind AS kind FROM pg_class WHERE oid = to_regclass(quote_ident(current_schema()) || '.trade')`
    )
    if (table === undefined) return "none"
    return table.kind === "p" ? "range" : "hypertable"
  })
