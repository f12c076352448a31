/**
 * Three roles for a database that several people and programs share, as groups without a login: the owner of all tables,
 * writers, who act as the owner because partitions and aggregates can be made by an owner alone, and readers, who see
 * everything and change nothing. Users are made members of them: `CREATE ROLE ana LOGIN PASSWORD '...' IN ROLE md_reader`.
 */
import { StoreBadRequest, StoreError } from "@data-manager/core"
import { Effect } from "effect"
import type { PgConnection, PgPool, SqlRow } from "./PgPool.ts"
import { aggregates } from "./timescale/Aggregates.ts"

/** Names of the three roles. */
export interface RoleNames {
  readonly owner: string
  readonly writer: string
  readonly reader: string
}

const operation = "grant roles"

/** Names that are words need no quotes anywhere, and cannot be anything but names. */
const isPrefix = (text: string): boolean => /^[a-z][a-z0-9_]{0,40}$/.test(text)

const namesOf = (prefix: string): RoleNames => ({
  owner: `${prefix}_owner`,
  writer: `${prefix}_writer`,
  reader: `${prefix}_reader`
})

const ensureRole = Effect.fnUntraced(function* (connection: PgConnection, name: string) {
  const found = yield* connection.query("SELECT FROM pg_roles WHERE rolname = $1", [name])
  if (found.length === 0) yield* connection.query(`CREATE ROLE ${name} NOLOGIN`)
})

const ownQuery = /* sql */ `
  SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind AS kind,
         EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i') AS internal
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
  ORDER BY c.relname`

const routinesQuery = /* sql */ `
  SELECT p.oid::regprocedure::text AS name FROM pg_proc p
  WHERE p.pronamespace = quote_ident(current_schema())::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')`

const partitionsQuery = /* sql */ `
  SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = current_schema() AND c.relispartition AND c.relkind = 'r'`

type Named = SqlRow & { readonly name: string }

/** A continuous aggregate is listed as a view, and is not one. */
const whatIs = (kind: string, name: string): string => {
  if (kind !== "v") return "TABLE"
  return aggregates.some(({ view }) => name.endsWith(`.${view}`)) ? "MATERIALIZED VIEW" : "VIEW"
}

/** Gives every table, view, sequence and routine of the schema to the owner. */
const reassign = Effect.fnUntraced(function* (connection: PgConnection, owner: string) {
  const relations = yield* connection.query<Named & { readonly kind: string; readonly internal: boolean }>(
    ownQuery
  )
  // A sequence of an identity column goes with its table.
  for (const { internal, kind, name } of relations)
    if (!(kind === "S" && internal))
      yield* connection.query(`ALTER ${whatIs(kind, name)} ${name} OWNER TO ${owner}`)
  for (const { name } of yield* connection.query<Named>(partitionsQuery))
    yield* connection.query(`ALTER TABLE ${name} OWNER TO ${owner}`)
  for (const { name } of yield* connection.query<Named>(routinesQuery))
    yield* connection.query(`ALTER ROUTINE ${name} OWNER TO ${owner}`)
})

/** What a reader may see, now and of what the owner makes later. */
const grantReading = (schema: string, { owner, reader }: RoleNames): ReadonlyArray<string> => [
  `GRANT USAGE ON SCHEMA ${schema} TO ${reader}`,
  `GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ${reader}`,
  `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} IN SCHEMA ${schema} GRANT SELECT ON TABLES TO ${reader}`
]

/**
 * Makes the roles where they are missing and hands the schema over to them, in one transaction. Repeating it changes nothing.
 * The user needs CREATEROLE, and to own the tables.
 */
export const grant = (pool: PgPool, prefix: string): Effect.Effect<RoleNames, StoreError> =>
  Effect.gen(function* () {
    if (!isPrefix(prefix))
      return yield* new StoreError({
        operation,
        reason: new StoreBadRequest({
          detail: `"${prefix}" cannot begin names of roles`,
          allowed: ["a lower-case letter, then letters, digits and underscores, 41 characters at most"]
        })
      })
    const names = namesOf(prefix)
    return yield* pool.transaction(
      operation,
      Effect.fnUntraced(function* (connection) {
        for (const name of [names.owner, names.writer, names.reader]) yield* ensureRole(connection, name)
        const [place] = yield* connection.query<
          SqlRow & { readonly schema: string; readonly database: string; readonly self: string }
        >(
          `SELECT quote_ident(current_schema()) AS schema, quote_ident(current_database()) AS database,
                  quote_ident(current_user) AS self`
        )
        const { database, schema, self } = place!
        // To give something away one has to be a member of whom it is given to.
        yield* connection.query(`GRANT ${names.owner} TO ${self}, ${names.writer}`)
        yield* connection.query(`GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${names.owner}`)
        yield* connection.query(`GRANT CONNECT, TEMPORARY ON DATABASE ${database} TO ${names.owner}`)
        yield* connection.query(`GRANT CONNECT ON DATABASE ${database} TO ${names.reader}`)
        yield* reassign(connection, names.owner)
        for (const statement of grantReading(schema, names)) yield* connection.query(statement)
        return names
      })
    )
  })
