/**
 * What a card of the store suite is, and the few things that all cards do: register instruments of their own, append
 * with a ledger run, read everything back, compare.
 */
import {
  type AppendClaim,
  type AppendResult,
  type AppendTerms,
  type BarSource,
  type BatchContext,
  batchContext,
  type Instrument,
  type LeaderLease,
  type ListingClaim,
  type MarketBatch,
  type MarketSchema,
  type MarketStore,
  type ReadRequest,
  type StoreError,
  type StoreMigrations,
  type Timeframe,
  type TimeRange,
  type Trade,
  type TradeBatch,
  UnixNanos
} from "@data-manager/core"
import { Context, Effect, type Layer, type Scope, Stream } from "effect"
import { assert } from "vitest"
import * as BatchRow from "./BatchRow.ts"

/** One database, and how programs connect to it. Each build of a layer is one program: it has its own connections. */
export interface StoreDatabase {
  readonly migrations: Layer.Layer<StoreMigrations, StoreError>
  /** Needs the schema of `migrations.up()`. */
  readonly store: Layer.Layer<MarketStore, StoreError>
  /** Leases, where the store has them; without them the cards about leases are left out. */
  readonly leases?: StoreLeases | undefined
}

/** The leases of a database, and stores that write under one of them. Times are milliseconds. */
export interface StoreLeases {
  readonly lease: (options: {
    readonly name: string
    readonly holder: string
    readonly heartbeat: number
    readonly silence: number
  }) => Layer.Layer<LeaderLease>
  readonly store: (under: {
    readonly name: string
    readonly epoch: bigint
  }) => Layer.Layer<MarketStore, StoreError>
}

/** The store under test, as two programs on one migrated database would see it. */
export class StoreFixture extends Context.Service<
  StoreFixture,
  {
    readonly first: MarketStore["Service"]
    readonly second: MarketStore["Service"]
  }
>()("@data-manager/testing/StoreFixture") {}

/** A numbered requirement. Its check fails with a `StoreError` or dies with an assertion error. */
export type StoreCard =
  | {
      readonly id: string
      readonly title: string
      /** "shared": other cards use the database, too, each with instruments of its own. */
      readonly database: "shared" | "own"
      readonly check: Effect.Effect<void, StoreError, StoreFixture>
    }
  | {
      readonly id: string
      readonly title: string
      readonly database: "empty"
      /** Gets a database without any schema. */
      readonly check: (database: StoreDatabase) => Effect.Effect<void, StoreError, Scope.Scope>
    }

/** A card that works on the database of the whole suite, or on a migrated one of its own. */
export const card = (
  id: string,
  title: string,
  check: () => Generator<Effect.Effect<unknown, StoreError, StoreFixture>, void, never>,
  database: "shared" | "own" = "shared"
): StoreCard => ({ id, title, database, check: Effect.gen(check) })

/** The store alone, for cards that need one connection. */
export const theStore: Effect.Effect<MarketStore["Service"], never, StoreFixture> = Effect.map(
  StoreFixture,
  ({ first }) => first
)

/** All of the time that rows can have. */
export const always: TimeRange.TimeRange = { start: UnixNanos.Min, end: UnixNanos.Max }

/** A time from ISO text. */
export const at = (iso: string): bigint => {
  const time = UnixNanos.parse(iso)
  if (time === undefined) throw new Error(`${iso} is not a time`)
  return time
}

/** From and to, half-open, as ISO text. */
export const during = (start: string, end: string): TimeRange.TimeRange => ({
  start: at(start),
  end: at(end)
})

/** Instruments of one card: a dataset named after it, so that no card meets another's rows. */
export interface Market {
  readonly context: BatchContext
  readonly instruments: ReadonlyArray<Instrument>
  readonly ids: ReadonlyArray<number>
}

/** What the instruments of a card are like; two decimal places for prices and none for sizes by default. */
export interface MarketOptions extends Partial<Pick<BatchContext, "keyKind">> {
  readonly symbols?: number | undefined
  readonly priceScale?: number | undefined
  readonly sizeScale?: number | undefined
}

/** A listing that was and will be valid for all practical purposes. */
export const listing = (
  dataset: string,
  rawSymbol: string | undefined,
  more: Partial<ListingClaim> = {}
): ListingClaim => ({
  provider: "conformance",
  dataset,
  rawSymbol,
  valid: during("1900-01-01", "2250-01-01"),
  defaultPriceScale: 2,
  defaultSizeScale: 0,
  ...more
})

/** Registers the instruments of a card. */
export const market = (
  store: MarketStore["Service"],
  dataset: string,
  options: MarketOptions = {}
): Effect.Effect<Market, StoreError> =>
  Effect.gen(function* () {
    const names = Array.from({ length: options.symbols ?? 1 }, (_, i) => `SYM${i}`)
    const instruments = yield* store.registerListings(
      names.map((name) =>
        listing(dataset, name, {
          defaultPriceScale: options.priceScale ?? 2,
          defaultSizeScale: options.sizeScale ?? 0
        })
      )
    )
    const byId = new Map(instruments.map((instrument) => [instrument.id, instrument]))
    const context = batchContext({
      provider: "conformance",
      dataset,
      instruments: byId,
      keyKind: options.keyKind ?? "sequenced"
    })
    return { context, instruments, ids: instruments.map((instrument) => instrument.id) }
  })

/** Begins a run of its own for these batches, appends them as its segments and completes it. */
export const appendAll = (
  store: MarketStore["Service"],
  batches: ReadonlyArray<MarketBatch>,
  claim: AppendTerms = {}
): Effect.Effect<ReadonlyArray<AppendResult>, StoreError> =>
  Effect.gen(function* () {
    const dataset = batches[0]?.context.dataset ?? "none"
    const run = yield* store.beginRun({
      kind: "import",
      source: `suite ${dataset}`,
      provider: "conformance",
      dataset
    })
    const results: Array<AppendResult> = []
    for (const [segment, batch] of batches.entries())
      results.push(yield* append(store, batch, { run: run.id, segment, ...claim }))
    yield* store.completeRun(run.id)
    return results
  })

/** Appends and checks that the result accounts for every row. */
export const append = (
  store: MarketStore["Service"],
  batch: MarketBatch,
  claim: AppendClaim
): Effect.Effect<AppendResult, StoreError> =>
  Effect.map(store.append(batch, claim), (result) => {
    const accounted = result.inserted + result.duplicates + result.conflicts
    assert.strictEqual(
      accounted,
      result.skipped ? 0 : batch.length,
      "inserted + duplicates + conflicts = rows of the batch"
    )
    return result
  })

/** Counts of several results together, as `inserted/duplicates/conflicts`. */
export const totals = (results: Iterable<AppendResult>): string => {
  let [inserted, duplicates, conflicts] = [0, 0, 0]
  for (const result of results) {
    inserted += result.inserted
    duplicates += result.duplicates
    conflicts += result.conflicts
  }
  return `${inserted}/${duplicates}/${conflicts}`
}

/** All batches of a read. */
export const collect = <B extends MarketBatch>(
  stream: Stream.Stream<B, StoreError>
): Effect.Effect<ReadonlyArray<B>, StoreError> => Stream.runCollect(stream)

/** The trades of these instruments, all of them unless told otherwise. */
export const readTrades = (
  store: MarketStore["Service"],
  instruments: ReadonlyArray<number>,
  request: Partial<ReadRequest> = {}
): Effect.Effect<Array<BatchRow.BatchRow>, StoreError> =>
  Effect.map(collect(store.readTrades({ instruments, range: always, ...request })), BatchRow.ofAll)

/** The quotes or books of these instruments in one schema. */
export const readSchema = (
  store: MarketStore["Service"],
  kind: "quotes" | "book",
  instruments: ReadonlyArray<number>,
  schema: MarketSchema.MarketSchema,
  request: Partial<ReadRequest> = {}
): Effect.Effect<Array<BatchRow.BatchRow>, StoreError> => {
  const whole = { instruments, schema, range: always, ...request }
  return kind === "quotes"
    ? Effect.map(collect(store.readQuotes(whole)), BatchRow.ofAll)
    : Effect.map(collect(store.readBook(whole)), BatchRow.ofAll)
}

/** The bars of these instruments: of a length, or of a schema of the provider's. */
export const readBars = (
  store: MarketStore["Service"],
  instruments: ReadonlyArray<number>,
  series: Timeframe.Timeframe | { readonly schema: MarketSchema.MarketSchema },
  request: Partial<ReadRequest> & { readonly source?: BarSource; readonly fill?: boolean } = {}
): Effect.Effect<Array<BatchRow.BatchRow>, StoreError> => {
  const { source, ...rows } = request
  const whole = { instruments, range: always, ...rows }
  return Effect.map(
    collect(
      store.readBars(
        typeof series === "string" ? { ...whole, timeframe: series, source } : { ...whole, ...series }
      )
    ),
    BatchRow.ofAll
  )
}

/** Row objects of several batches. */
export const tradesOf = (batches: Iterable<TradeBatch>): Array<Trade> =>
  [...batches].flatMap((batch) => [...batch.rows()])

/** The same rows in the same order; the message shows the first difference. */
export const assertRows = (
  actual: ReadonlyArray<BatchRow.BatchRow>,
  expected: ReadonlyArray<BatchRow.BatchRow>,
  what: string
): void => {
  const length = Math.max(actual.length, expected.length)
  for (let i = 0; i < length; i++) {
    const [got, wanted] = [actual[i], expected[i]].map((row) =>
      row === undefined ? "(none)" : BatchRow.text(row)
    )
    if (got !== wanted)
      assert.fail(
        `${what}: row ${i} differs (${actual.length} rows, expected ${expected.length})\n  expected ${wanted}\n  actual   ${got}`
      )
  }
}

/** The rows expected from these batches, in read order. */
export const inReadOrder = (batches: Iterable<MarketBatch>): Array<BatchRow.BatchRow> =>
  BatchRow.ofAll(batches).sort(BatchRow.readOrder)

/** Fails unless the effect fails with one of these reasons. */
export const assertRefused = <A, R>(
  effect: Effect.Effect<A, StoreError, R>,
  reasons: ReadonlyArray<StoreError["reason"]["_tag"]>,
  what: string
): Effect.Effect<void, never, R> =>
  Effect.match(effect, {
    onSuccess: () => assert.fail(`${what}: was accepted`),
    onFailure: (error) => {
      assert.include(reasons, error.reason._tag, `${what}: ${error.message}`)
    }
  })

/** Cuts a batch into parts of these many rows; the last part takes the rest. */
export const cut = <B extends MarketBatch>(batch: B, rows: number): Array<B> => {
  const parts: Array<B> = []
  for (let from = 0; from < batch.length; from += rows)
    parts.push(batch.slice(from, Math.min(batch.length, from + rows)) as B)
  return parts
}
