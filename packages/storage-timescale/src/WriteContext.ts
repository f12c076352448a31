/**
 * What writing a batch needs to know about its instruments and its dataset, from the database and remembered: scales,
 * which are fixed at registration; the dataset's id and how its trade keys are made; names of publishers.
 */
import { type BatchContext, type MarketBatch, StoreError, StoreInvalidData } from "@data-manager/core"
import { Effect } from "effect"
import type { BatchScan } from "./BatchScan.ts"
import type { SeriesScales } from "./CopyEncoder.ts"
import type { PgPool, SqlRow } from "./PgPool.ts"

/** Instruments remembered at most; beyond, everything is forgotten and asked for again. */
const rememberedInstruments = 500_000

/** Knowledge of one store about what it writes. */
export interface WriteContext {
  /** Scales of the series of a batch. Fails where an instrument is not registered. */
  readonly scales: (scan: BatchScan) => Effect.Effect<SeriesScales, StoreError>
  /** Writes down what the context of a batch says about its dataset and publishers, where that is new. */
  readonly describe: (scan: BatchScan) => Effect.Effect<void, StoreError>
}

/** Knowledge of the store behind a pool. */
export const make = (pool: PgPool): WriteContext => ({
  scales: scalesReader(pool),
  describe: contextWriter(pool)
})

interface ScaleRow extends SqlRow {
  readonly id: number
  readonly price_scale: number
  readonly size_scale: number
}

const scalesReader = (pool: PgPool): WriteContext["scales"] => {
  // price scale x 32 + size scale: both are 0..18
  const known = new Map<number, number>()
  const load = Effect.fnUntraced(function* (scan: BatchScan) {
    const { instrument, length } = scan.series
    const missing = new Set<number>()
    for (let i = 0; i < length; i++) if (!known.has(instrument[i]!)) missing.add(instrument[i]!)
    if (missing.size === 0) return
    if (known.size + missing.size > rememberedInstruments) {
      known.clear()
      for (let i = 0; i < length; i++) missing.add(instrument[i]!)
    }
    const rows = yield* pool.query<ScaleRow>(
      "SELECT id, price_scale, size_scale FROM instruments WHERE id = ANY($1::int8[])",
      [[...missing]]
    )
    for (const row of rows) {
      known.set(row.id, row.price_scale * 32 + row.size_scale)
      missing.delete(row.id)
    }
    if (missing.size > 0) return yield* unknownInstruments(scan.batch, [...missing])
  })
  return Effect.fnUntraced(function* (scan) {
    yield* load(scan)
    const { instrument, length } = scan.series
    const scales: SeriesScales = { price: new Int8Array(length), size: new Int8Array(length) }
    for (let i = 0; i < length; i++) {
      const packed = known.get(instrument[i]!)!
      scales.price[i] = packed >> 5
      scales.size[i] = packed & 31
    }
    return scales
  })
}

const unknownInstruments = (
  batch: MarketBatch,
  ids: ReadonlyArray<number>
): Effect.Effect<never, StoreError> => {
  const shown = ids.slice(0, 5).map((id) => `#${id}`)
  const more = ids.length > shown.length ? ` and ${ids.length - shown.length} more` : ""
  return Effect.fail(
    new StoreError({
      operation: "append",
      reason: new StoreInvalidData({
        detail:
          `instruments ${shown.join(", ")}${more} of dataset ${batch.context.dataset} are not registered; ` +
          "register their listings first; nothing of this batch was written"
      })
    })
  )
}

/** What has been written about one dataset. */
interface KnownDataset {
  readonly id: number
  keyKind: string | undefined
  readonly publishers: Map<number, string>
}

const contextWriter = (pool: PgPool): WriteContext["describe"] => {
  const known = new Map<string, KnownDataset>()
  return Effect.fnUntraced(function* ({ batch, publishers }) {
    const { context } = batch
    const name = JSON.stringify([context.provider, context.dataset])
    const dataset = known.get(name) ?? (yield* findDataset(pool, context))
    known.set(name, dataset)
    if (batch._tag === "TradeBatch" && dataset.keyKind !== context.keyKind) {
      yield* pool.query("UPDATE datasets SET key_kind = $2 WHERE id = $1 AND key_kind <> $2", [
        dataset.id,
        context.keyKind
      ])
      dataset.keyKind = context.keyKind
    }
    yield* namePublishers(pool, dataset, publishers, context)
  })
}

const findDataset = Effect.fnUntraced(function* (pool: PgPool, context: BatchContext) {
  const names = [context.provider, context.dataset]
  const find = pool.query<SqlRow & { readonly id: number }>(
    "SELECT id FROM datasets WHERE provider = $1 AND name = $2",
    names
  )
  let rows = yield* find
  if (rows.length === 0) {
    yield* pool.query("INSERT INTO datasets (provider, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", names)
    rows = yield* find
  }
  const dataset: KnownDataset = { id: rows[0]!.id, keyKind: undefined, publishers: new Map() }
  return dataset
})

/** Publishers are stored as the int2 with the bits of the u16. */
const asInt2 = (publisher: number): number => (publisher << 16) >> 16

const namePublishers = Effect.fnUntraced(function* (
  pool: PgPool,
  dataset: KnownDataset,
  publishers: ReadonlyArray<number>,
  context: BatchContext
) {
  const fresh: Array<readonly [number, string]> = []
  for (const id of publishers) {
    const venue = context.venueOf(id)
    if (venue !== undefined && dataset.publishers.get(id) !== venue) fresh.push([id, venue])
  }
  if (fresh.length === 0) return
  yield* pool.query(
    `INSERT INTO publishers (dataset_id, id, venue)
     SELECT $1, id, venue FROM unnest($2::int2[], $3::text[]) AS p (id, venue) ORDER BY id
     ON CONFLICT (dataset_id, id) DO UPDATE SET venue = EXCLUDED.venue WHERE publishers.venue <> EXCLUDED.venue`,
    [dataset.id, fresh.map(([id]) => asInt2(id)), fresh.map(([, venue]) => venue)]
  )
  for (const [id, venue] of fresh) dataset.publishers.set(id, venue)
})
