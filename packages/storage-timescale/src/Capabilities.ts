/** What the server at the other end is and can do: found out once, when the store opens. */
import { type StoreCapabilities, StoreError, StoreIncompatible } from "@data-manager/core"
import { Effect } from "effect"
import type { PgPool } from "./PgPool.ts"
import * as Aggregates from "./timescale/Aggregates.ts"
import * as BulkTable from "./timescale/BulkTable.ts"
import { type Layout, layoutOf } from "./timescale/Layout.ts"

/** Oldest PostgreSQL that the store runs on: multiranges came with 14, `MERGE` and faster sorts with 15. */
export const OLDEST_SERVER = 15

interface Facts {
  readonly version_num: number
  readonly version: string
  readonly recovering: boolean
  readonly extension: string | null
  readonly license: string | null
  readonly encoding: string
}

const factsQuery = /* sql */ `
  SELECT current_setting('server_version_num')::int4 AS version_num,
         split_part(current_setting('server_version'), ' ', 1) AS version,
         pg_is_in_recovery() AS recovering,
         (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS extension,
         current_setting('timescaledb.license', true) AS license,
         current_setting('server_encoding') AS encoding`

const refuse = (detail: string, hint: string): Effect.Effect<never, StoreError> =>
  Effect.fail(
    new StoreError({ operation: "open the store", reason: new StoreIncompatible({ detail, hint }) })
  )

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

/** Asks the server; refuses one that is too old, read-only or not in UTF-8, before anything is changed. */
export const detect = Effect.fnUntraced(function* (pool: PgPool, embedded: boolean) {
  const [facts] = yield* pool.query<Facts & { readonly [column: string]: unknown }>(factsQuery)
  if (facts === undefined) return yield* refuse("the server did not say what it is", "see `dm doctor`")
  if (facts.version_num < OLDEST_SERVER * 10_000)
    return yield* refuse(
      `PostgreSQL ${facts.version} is too old`,
      `use version ${OLDEST_SERVER} or newer, or leave [database] url out for the embedded server`
    )
  if (facts.recovering)
    return yield* refuse("this server is a read-only standby", "name the primary in [database] url")
  if (facts.encoding !== "UTF8")
    return yield* refuse(`the database is encoded in ${facts.encoding}`, "create it with ENCODING 'UTF8'")
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
    notes: notesOf(edition, layout, isAggregated)
  }
  return capabilities
})
