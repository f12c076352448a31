/** What the server at the other end is and can do: found out once, when the store opens. */
import { type StoreCapabilities, StoreError, StoreIncompatible } from "@data-manager/core"
import { Effect } from "effect"
import type { PgPool } from "./PgPool.ts"
import { readOnlyColumns, readOnlyOf } from "./Preflight.ts"
import * as Aggregates from "./timescale/Aggregates.ts"
import * as BulkTable from "./timescale/BulkTable.ts"
import { extension, type Layout, layoutOf } from "./timescale/Layout.ts"

/** Oldest PostgreSQL that the store runs on: multiranges came with 14, `MERGE` and faster sorts with 15. */
export const OLDEST_SERVER = 15

/** What a server says of itself. */
export interface Facts {
  readonly version_num: number
  readonly version: string
  readonly recovering: boolean
  readonly read_only: boolean
  readonly extension: string | null
  readonly license: string | null
  readonly encoding: string
}

const factsQuery = /* sql */ `
  SELECT current_setting('server_version_num')::int4 AS version_num,
         split_part(current_setting('server_version'), ' ', 1) AS version,
         ${readOnlyColumns},
         (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS extension,
         current_setting('timescaledb.license', true) AS license,
         current_setting('server_encoding') AS encoding`

/** Why the store cannot use a server with these facts at all, and what to do; undefined where it can. */
export const refusalOf = ({
  encoding,
  version,
  version_num
}: Pick<Facts, "version" | "version_num" | "encoding">): StoreIncompatible | undefined => {
  if (version_num < OLDEST_SERVER * 10_000)
    return new StoreIncompatible({
      detail: `this server is PostgreSQL ${version}, which is too old`,
      hint: `use version ${OLDEST_SERVER} or newer, or leave [database] url out for the embedded server; nothing was changed`
    })
  if (encoding !== "UTF8")
    return new StoreIncompatible({
      detail: `this database is encoded in ${encoding}, which cannot hold every symbol and name`,
      hint: "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0 and name it in [database] url; nothing was changed"
    })
  return undefined
}

const editionOf = (facts: Facts): StoreCapabilities["edition"] =>
  facts.extension === null
    ? "postgresql"
    : facts.license === "apache"
      ? "timescaledb-apache"
      : "timescaledb-community"

const ranges =
  "rows are kept in range partitions, bars are kept up to date with every append, retention drops partitions"
const hypertables =
  "rows are kept in hypertables, bars are kept up to date with every append, retention drops chunks"

const aggregated =
  "rows are kept in hypertables and compressed by age, bars are continuous aggregates, retention is a job of the server"

/** What follows from the server, for people. */
const notesOf = (
  edition: StoreCapabilities["edition"],
  layout: Layout,
  isAggregated: boolean
): ReadonlyArray<string> => {
  const rows = layout === "hypertable" ? hypertables : ranges
  switch (edition) {
    case "postgresql":
      return [rows, "no compression: that takes TimescaleDB, community edition"]
    case "timescaledb-apache":
      return [
        rows,
        ...(layout === "range" ? [upgradeHint] : []),
        "no compression: this build of TimescaleDB is of the Apache licence; the community edition has it"
      ]
    case "timescaledb-community":
      return isAggregated ? [aggregated] : [rows, upgradeHint]
  }
}

const upgradeHint =
  "the TimescaleDB extension is there and not used by these tables yet: dm migrate --up moves them into hypertables"

/** An extension that the server has and this database has not. */
const unusedExtension = (pool: PgPool): Effect.Effect<ReadonlyArray<string>, StoreError> =>
  Effect.map(extension(pool), ({ available }) =>
    available === undefined
      ? []
      : [
          `TimescaleDB ${available} is on this server and not in this database: an administrator runs ` +
            "CREATE EXTENSION timescaledb in it, then dm migrate --up moves the tables into hypertables"
        ]
  )

const readOnlyNotes = {
  standby: "this server is a read-only standby: what is stored can be read, and is written on the primary",
  setting:
    "default_transaction_read_only is on: what is stored can be read, and nothing can be written by this login"
} as const

/** Asks the server; refuses one that is too old or not in UTF-8, before anything is changed. */
export const detect = Effect.fnUntraced(function* (pool: PgPool, embedded: boolean) {
  const [row] = yield* pool.query<Facts & { readonly [column: string]: unknown }>(factsQuery)
  const facts = row!
  const reason = refusalOf(facts)
  if (reason !== undefined) return yield* new StoreError({ operation: "open the store", reason })
  const readOnly = readOnlyOf(facts)
  const edition = editionOf(facts)
  const layout = yield* layoutOf(pool)
  const isAggregated = yield* Aggregates.exist(pool)
  const capabilities: StoreCapabilities = {
    edition,
    serverVersion: facts.version,
    extensionVersion: facts.extension ?? undefined,
    embedded,
    partitioning: layout === "hypertable" ? "hypertable" : "range",
    compression: edition === "timescaledb-community" && layout === "hypertable",
    continuousAggregates: isAggregated,
    bulkProfile: edition === "timescaledb-community" && (yield* BulkTable.isUsable(pool)),
    readOnly: readOnly !== undefined,
    notes: [
      ...(readOnly === undefined ? [] : [readOnlyNotes[readOnly]]),
      ...(embedded || facts.extension !== null ? [] : yield* unusedExtension(pool)),
      ...notesOf(edition, layout, isAggregated)
    ]
  }
  return capabilities
})
