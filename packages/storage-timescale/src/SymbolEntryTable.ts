/** The symbol registry as stored. Changes are announced on a channel, so that a running service can follow them. */
import { MarketSchema, type MarketStore, type StoreError, type SymbolEntry } from "@data-manager/core"
import { Effect } from "effect"
import { microsOf, type PgPool, type SqlRow, timestampParameter } from "./PgPool.ts"

/** Channel on which changes of the registry are announced (NOTIFY). */
export const SYMBOLS_CHANNEL = "dm_symbols"

interface EntryRow extends SqlRow {
  readonly provider: string
  readonly symbol: string
  readonly dataset: string
  readonly stype_in: string
  readonly schemas: ReadonlyArray<string>
  readonly enabled: boolean
  readonly source: SymbolEntry["source"]
  readonly discovered_at: bigint
  readonly removed_at: bigint | null
  readonly asset_class: string | null
  readonly exchange: string | null
  readonly metadata: { readonly [key: string]: unknown } | null
}

const selectEntries = /* sql */ `
  SELECT provider, symbol, dataset, stype_in, schemas, enabled, source, ${microsOf("discovered_at")} AS discovered_at,
         ${microsOf("removed_at")} AS removed_at, asset_class, exchange, metadata
  FROM symbol_entries ORDER BY symbol, provider`

const entryOf = (row: EntryRow): SymbolEntry => ({
  symbol: row.symbol,
  provider: row.provider,
  dataset: row.dataset,
  stypeIn: row.stype_in,
  // A schema of a newer version is left out, not refused.
  schemas: row.schemas.filter(MarketSchema.is),
  enabled: row.enabled,
  source: row.source,
  discoveredAt: row.discovered_at * 1000n,
  removedAt: row.removed_at === null ? undefined : row.removed_at * 1000n,
  assetClass: row.asset_class ?? undefined,
  exchange: row.exchange ?? undefined,
  metadata: row.metadata ?? undefined
})

const putStatement = /* sql */ `
  INSERT INTO symbol_entries AS e
    (provider, symbol, dataset, stype_in, schemas, enabled, source, discovered_at, removed_at, asset_class, exchange, metadata)
  SELECT provider, symbol, dataset, stype_in, ARRAY(SELECT jsonb_array_elements_text(schemas)), enabled, source,
         discovered_at, removed_at, asset_class, exchange, metadata
  FROM jsonb_to_recordset($1::jsonb) AS j (provider text, symbol text, dataset text, stype_in text, schemas jsonb,
    enabled boolean, source text, discovered_at timestamptz, removed_at timestamptz, asset_class text, exchange text,
    metadata jsonb)
  ORDER BY provider, symbol
  ON CONFLICT (provider, symbol) DO UPDATE SET
    dataset = EXCLUDED.dataset, stype_in = EXCLUDED.stype_in, schemas = EXCLUDED.schemas, enabled = EXCLUDED.enabled,
    source = EXCLUDED.source, discovered_at = EXCLUDED.discovered_at, removed_at = EXCLUDED.removed_at,
    asset_class = EXCLUDED.asset_class, exchange = EXCLUDED.exchange, metadata = EXCLUDED.metadata`

const recordOf = (entry: SymbolEntry) => ({
  provider: entry.provider,
  symbol: entry.symbol,
  dataset: entry.dataset,
  stype_in: entry.stypeIn,
  schemas: entry.schemas,
  enabled: entry.enabled,
  source: entry.source,
  discovered_at: timestampParameter(entry.discoveredAt),
  removed_at: entry.removedAt === undefined ? null : timestampParameter(entry.removedAt),
  asset_class: entry.assetClass ?? null,
  exchange: entry.exchange ?? null,
  metadata: entry.metadata ?? null
})

const put = Effect.fnUntraced(function* (pool: PgPool, entries: ReadonlyArray<SymbolEntry>) {
  if (entries.length === 0) return
  // The last of several entries of one symbol wins, as if they were put one after another.
  const byKey = new Map(entries.map((entry) => [`${entry.provider}\n${entry.symbol}`, recordOf(entry)]))
  yield* pool.transaction("put symbols", (connection) =>
    Effect.gen(function* () {
      yield* connection.query(putStatement, [JSON.stringify([...byKey.values()])])
      yield* connection.query("SELECT pg_notify($1, $2)", [SYMBOLS_CHANNEL, String(byKey.size)])
    })
  )
})

/** Says whether entries were written since: every write leaves rows with a newer transaction number. */
const selectVersion = /* sql */ `
  SELECT count(*) || ' ' || coalesce(sum(xmin::text::int8), 0) AS version FROM symbol_entries`

/** Entries of a service's size cost much to read, and are asked for every few seconds. */
const reading = (pool: PgPool): MarketStore["Service"]["symbolEntries"] => {
  let known: { readonly version: string; readonly entries: ReadonlyArray<SymbolEntry> } | undefined
  return Effect.gen(function* () {
    const [found] = yield* pool.query<{ readonly version: string }>(selectVersion)
    const { version } = found!
    if (known?.version === version) return known.entries
    // Written since the version was asked for: it is another one the next time.
    const entries = (yield* pool.query<EntryRow>(selectEntries)).map(entryOf)
    known = { version, entries }
    return entries
  })
}

/** The symbol registry's part of the store. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "symbolEntries" | "putSymbolEntries"> => ({
  symbolEntries: reading(pool),
  putSymbolEntries: (entries): Effect.Effect<void, StoreError> => put(pool, entries)
})
