/**
 * What is looked at before a schema is changed: whether this server and this user can do it at all, and whether the place
 * is free. All of it is refused with a sentence, before the first statement that changes anything.
 */
import { StoreAccessDenied, StoreError, StoreIncompatible } from "@data-manager/core"
import { Effect } from "effect"
import type { PgConnection, SqlRow } from "./PgPool.ts"

/** Why a server takes no writes: it follows another one, or its settings say so. */
export type ReadOnly = "standby" | "setting"

/** SQL: what `readOnlyOf` reads. */
export const readOnlyColumns =
  "pg_is_in_recovery() AS recovering, current_setting('transaction_read_only')::bool AS read_only"

/** Whether writes are refused, and why. */
export const readOnlyOf = (row: {
  readonly recovering: boolean
  readonly read_only: boolean
}): ReadOnly | undefined => (row.recovering ? "standby" : row.read_only ? "setting" : undefined)

const wayOut = "use another database, or a schema of its own (?options=-csearch_path%3DNAME in the URL)"

/** A database or a schema that cannot be used as it is. */
export const unfit = (operation: string, detail: string, hint: string): StoreError =>
  new StoreError({
    operation,
    reason: new StoreIncompatible({ detail, hint: `${hint}; nothing was changed` })
  })

/** What is in the way is named, and the way around it. */
export const occupied = (operation: string, detail: string): StoreError => unfit(operation, detail, wayOut)

/** The error of a server that takes no writes. */
const readOnlyServer = (operation: string, why: ReadOnly): StoreError =>
  why === "standby"
    ? unfit(
        operation,
        "this server is a read-only standby",
        "name the primary in [database] url; what is stored can be read here all the same"
      )
    : unfit(
        operation,
        "default_transaction_read_only is on for this role, database or server",
        "switch it off (ALTER ROLE or ALTER DATABASE ... SET default_transaction_read_only = off), or name another login in [database] url"
      )

/** Refuses a server that takes no writes. */
export const requireWritable = Effect.fnUntraced(function* (
  connection: Pick<PgConnection, "query">,
  operation: string
) {
  const [row] = yield* connection.query<
    SqlRow & { readonly recovering: boolean; readonly read_only: boolean }
  >(`SELECT ${readOnlyColumns}`)
  const why = readOnlyOf(row!)
  if (why !== undefined) return yield* readOnlyServer(operation, why)
})

interface Place extends SqlRow {
  readonly schema: string | null
  readonly path: string
  readonly database: string
  readonly user: string
  readonly may_create: boolean | null
}

const placeQuery = /* sql */ `
  SELECT current_schema() AS schema, current_setting('search_path') AS path, current_database() AS database,
         current_user AS user, has_schema_privilege(current_schema(), 'CREATE') AS may_create`

/** Refuses where there is no schema to make tables in, or this user may make none in it. */
export const requirePlace = Effect.fnUntraced(function* (connection: PgConnection, operation: string) {
  const [row] = yield* connection.query<Place>(placeQuery)
  const { database, may_create, path, schema, user } = row!
  if (schema === null)
    return yield* unfit(
      operation,
      `database "${database}" has none of the schemas in the search path of "${user}" (${path})`,
      `make it (CREATE SCHEMA NAME AUTHORIZATION "${user}"), or correct search_path in the URL, the role or the database`
    )
  if (may_create !== true)
    return yield* new StoreError({
      operation,
      reason: new StoreAccessDenied({
        detail: `"${user}" may not make tables in schema "${schema}" of database "${database}"`,
        hint: `its owner runs GRANT CREATE ON SCHEMA "${schema}" TO "${user}", or you use a schema of your own; nothing was changed`
      })
    })
})

/** Names that statements would take. */
export interface Names {
  /** Of tables, indexes and views: they share one space. */
  readonly relations: ReadonlyArray<string>
  readonly routines: ReadonlyArray<string>
}

const takenQuery = /* sql */ `
  SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
           WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type'
           ELSE 'table' END || ' ' || c.relname AS what
  FROM pg_class c WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = ANY ($1)
  UNION ALL
  SELECT 'type ' || t.typname FROM pg_type t
  WHERE t.typnamespace = quote_ident(current_schema())::regnamespace AND t.typrelid = 0 AND t.typname = ANY ($1)
  UNION ALL
  SELECT DISTINCT 'function ' || p.proname FROM pg_proc p
  WHERE p.pronamespace = quote_ident(current_schema())::regnamespace AND p.proname = ANY ($2)
  ORDER BY 1`

/** Refuses where something of these names is there already: it belongs to somebody else. */
export const requireFree = Effect.fnUntraced(function* (
  connection: PgConnection,
  operation: string,
  { relations, routines }: Names
) {
  const rows = yield* connection.query<SqlRow & { readonly what: string }>(takenQuery, [relations, routines])
  if (rows.length === 0) return
  const shown = rows.slice(0, 12).map(({ what }) => what)
  const more = rows.length > shown.length ? ` and ${rows.length - shown.length} more` : ""
  return yield* occupied(
    operation,
    `this database has something of our names that is not ours: ${shown.join(", ")}${more}`
  )
})
