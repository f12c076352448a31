/**
 * Which symbols are known and which are collected. Sources by precedence: database, configuration file, discovery.
 * Discovery adds unknown symbols and never changes or re-enables one; `remove` leaves a tombstone.
 */
import { Clock, Context, type Duration, Effect, Layer, Ref, Schedule, Stream, SubscriptionRef } from "effect"
import type { Instrument, InstrumentDirectory, InstrumentId, Listing } from "./Instrument.ts"
import { type InstrumentTables, MarketStore, type SymbolEntry } from "./MarketStore.ts"
import type { RememberedSymbols } from "./RememberedSymbols.ts"
import { StoreBadRequest, StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import type { TimeRange } from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** A change that a running service follows. */
export type RegistryChange =
  | { readonly _tag: "Added"; readonly entry: SymbolEntry }
  | { readonly _tag: "Removed"; readonly entry: SymbolEntry }
  | { readonly _tag: "Changed"; readonly before: SymbolEntry; readonly entry: SymbolEntry }

/** Symbols, instruments, and the way from text to ids. */
export class InstrumentRegistry extends Context.Service<
  InstrumentRegistry,
  {
    /** Entries after precedence, tombstones left out unless asked for. */
    readonly entries: (filter?: {
      readonly provider?: string | undefined
      readonly enabled?: boolean | undefined
      readonly removed?: boolean | undefined
    }) => Effect.Effect<ReadonlyArray<SymbolEntry>, StoreError>
    /** Adds or re-adds a symbol as a database entry. */
    readonly add: (
      entry: Pick<SymbolEntry, "symbol" | "provider"> & Partial<SymbolEntry>
    ) => Effect.Effect<SymbolEntry, StoreError>
    /** Removes a symbol and leaves a tombstone. Its data stays. */
    readonly remove: (symbol: string) => Effect.Effect<SymbolEntry, StoreError>
    readonly setEnabled: (symbol: string, enabled: boolean) => Effect.Effect<SymbolEntry, StoreError>
    /** The instrument that a full or short text names during a time; unknown, ambiguous and spanning texts are errors. */
    readonly resolve: (text: string, range?: TimeRange) => Effect.Effect<Instrument, StoreError>
    /** The same, with what speaks against it as a value: for those who can go on without. */
    readonly lookup: (
      text: string,
      range?: TimeRange
    ) => Effect.Effect<Instrument | SymbolText.SymbolProblem, StoreError>
    readonly get: (id: InstrumentId) => Effect.Effect<Instrument | undefined, StoreError>
    readonly directory: Effect.Effect<InstrumentDirectory, StoreError>
    /** What changes from the first look of the stream on, by this program or any other on the same database. */
    readonly changes: Stream.Stream<RegistryChange, StoreError>
    /** The same, with every entry of the first look as `Added`: what a service follows, so that nothing falls in between. */
    readonly follow: Stream.Stream<RegistryChange, StoreError>
  }
>()("@data-manager/core/InstrumentRegistry") {
  /** A registry over the store at hand; `RegistryOptions` add a configuration file's entries and the polling interval. */
  static readonly layerWith = (
    options: RegistryOptions
  ): Layer.Layer<InstrumentRegistry, StoreError, MarketStore> =>
    Layer.effect(
      InstrumentRegistry,
      Effect.flatMap(MarketStore, (store) => make(store, options))
    )

  /** A registry over the store at hand, without configured entries. */
  static readonly layer: Layer.Layer<InstrumentRegistry, StoreError, MarketStore> =
    InstrumentRegistry.layerWith({})
}

/** Entries of a configuration file. */
export type ConfiguredEntries =
  | ReadonlyArray<SymbolEntry>
  | SubscriptionRef.SubscriptionRef<ReadonlyArray<SymbolEntry>>

/** What a registry takes beside the store. */
export interface RegistryOptions {
  /**
   * Entries of a configuration file; database entries of the same provider and symbol win over them. Those of a reference may
   * change: who follows is told at once.
   */
  readonly configured?: ConfiguredEntries | undefined
  /**
   * Whether what the database says of a symbol goes before the configuration; default true. Without it, additions,
   * removals and switches made in the database have no effect, and the configuration and discovery alone count.
   */
  readonly databaseOverrides?: boolean | undefined
  /** How often `changes` looks; default 5 seconds. */
  readonly pollInterval?: Duration.Input | undefined
  /** What the database had before: it counts until the database is reached for the first time. */
  readonly remembered?: RememberedSymbols | undefined
}

type Service = InstrumentRegistry["Service"]

const keyOf = (entry: Pick<SymbolEntry, "provider" | "symbol">): string =>
  `${entry.provider}\n${entry.symbol}`

const badRequest = (operation: string, detail: string): StoreError =>
  new StoreError({ operation, reason: new StoreBadRequest({ detail }) })

const now = Effect.map(Clock.currentTimeMillis, (millis) => BigInt(millis) * UnixNanos.PerMilli)

const make = (store: MarketStore["Service"], options: RegistryOptions): Effect.Effect<Service, StoreError> =>
  Effect.map(Ref.make<IndexedTables | undefined>(undefined), (cache) => {
    const all = allEntries(store, options)
    const reload = Effect.tap(Effect.map(store.loadInstruments(), indexed), (known) => Ref.set(cache, known))
    const tables = Effect.flatMap(Ref.get(cache), (cached) =>
      cached === undefined ? reload : Effect.succeed(cached)
    )
    const lookup: Service["lookup"] = (text, range) =>
      Effect.flatMap(tables, (known) => {
        const found = lookupIn(known, text, range)
        // The registry may have learned of it since it was read.
        return "_tag" in found
          ? Effect.map(reload, (fresh) => lookupIn(fresh, text, range))
          : Effect.succeed(found)
      })
    const change = changeEntry(store, all)
    const looks = differences(all, options.pollInterval ?? "5 seconds", changesOf(options.configured))
    return {
      entries: (filter = {}) =>
        Effect.map(all, (entries) =>
          entries.filter(
            (entry) =>
              (filter.removed === true || entry.removedAt === undefined) &&
              (filter.provider === undefined || entry.provider === filter.provider) &&
              (filter.enabled === undefined || entry.enabled === filter.enabled)
          )
        ),
      add: (entry) => addEntry(store, entry),
      remove: (symbol) => Effect.flatMap(now, (at) => change("remove symbol", symbol, { removedAt: at })),
      setEnabled: (symbol, enabled) => change("enable symbol", symbol, { enabled }),
      lookup,
      resolve: (text, range) =>
        Effect.flatMap(lookup(text, range), (found) =>
          "_tag" in found
            ? Effect.fail(badRequest("resolve symbol", SymbolText.describe(found)))
            : Effect.succeed(found)
        ),
      get: (id) =>
        Effect.flatMap(tables, (known) => {
          const instrument = known.instruments.get(id)
          return instrument === undefined
            ? Effect.map(reload, (fresh) => fresh.instruments.get(id))
            : Effect.succeed(instrument)
        }),
      directory: Effect.map(tables, ({ directory }) => directory),
      changes: Stream.drop(looks, 1).pipe(Stream.flattenIterable),
      follow: Stream.flattenIterable(looks)
    }
  })

/** The tables, with their listings by raw symbol: a service resolves thousands of texts at its start. */
interface IndexedTables extends InstrumentTables {
  readonly byRawSymbol: ReadonlyMap<string, ReadonlyArray<Listing>>
}

const indexed = (tables: InstrumentTables): IndexedTables => {
  const byRawSymbol = new Map<string, Array<Listing>>()
  for (const listing of tables.listings) {
    const listed = byRawSymbol.get(listing.rawSymbol)
    if (listed === undefined) byRawSymbol.set(listing.rawSymbol, [listing])
    else listed.push(listing)
  }
  return { ...tables, byRawSymbol }
}

const find = (tables: IndexedTables, text: string, range: TimeRange | undefined) => {
  const { rawSymbol } = SymbolText.parse(text)
  const texts = rawSymbol === text ? [text] : [rawSymbol, text]
  const near = texts.flatMap((each) => tables.byRawSymbol.get(each) ?? [])
  const found = SymbolText.resolve(text, near, tables.instruments, range)
  // Similar names are looked for among all of them.
  return "instrument" in found || found._tag !== "Unknown"
    ? found
    : SymbolText.resolve(text, tables.listings, tables.instruments, range)
}

const lookupIn = (
  tables: IndexedTables,
  text: string,
  range: TimeRange | undefined
): Instrument | SymbolText.SymbolProblem => {
  const found = find(tables, text, range)
  return "instrument" in found ? tables.instruments.get(found.instrument)! : found
}

const isFixed = (configured: ConfiguredEntries): configured is ReadonlyArray<SymbolEntry> =>
  Array.isArray(configured)

const entriesOf = (configured: ConfiguredEntries = []): Effect.Effect<ReadonlyArray<SymbolEntry>> =>
  isFixed(configured) ? Effect.succeed(configured) : SubscriptionRef.get(configured)

/** Told when the configured entries change. */
const changesOf = (configured: ConfiguredEntries = []): Stream.Stream<unknown> =>
  isFixed(configured) ? Stream.empty : Stream.drop(SubscriptionRef.changes(configured), 1)

/** Entries after precedence: what the database says of a symbol, else the configuration, else discovery. */
const allEntries = (
  store: MarketStore["Service"],
  { configured, databaseOverrides = true, remembered }: RegistryOptions
): Effect.Effect<ReadonlyArray<SymbolEntry>, StoreError> => {
  let last: { readonly stored: Entries; readonly fromFile: Entries; readonly all: Entries } | undefined
  return Effect.zipWith(storedEntries(store, remembered), entriesOf(configured), (stored, fromFile) => {
    if (last?.stored !== stored || last.fromFile !== fromFile)
      last = { stored, fromFile, all: together(stored, fromFile, databaseOverrides) }
    return last.all
  })
}

type Entries = ReadonlyArray<SymbolEntry>

const together = (stored: Entries, fromFile: Entries, databaseOverrides: boolean): Entries => {
  const discovered = stored.filter((entry) => entry.source === "discovery" && entry.removedAt === undefined)
  const byKey = new Map(discovered.map((entry) => [keyOf(entry), entry]))
  for (const entry of fromFile) byKey.set(keyOf(entry), entry)
  for (const entry of databaseOverrides ? stored : [])
    if (entry.source !== "discovery" || entry.removedAt !== undefined) byKey.set(keyOf(entry), entry)
  return [...byKey.values()].sort((a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0))
}

/** Entries of the database; those that are remembered until it is reached. */
const storedEntries = (
  store: MarketStore["Service"],
  remembered: RememberedSymbols | undefined
): Effect.Effect<ReadonlyArray<SymbolEntry>, StoreError> => {
  if (remembered === undefined) return store.symbolEntries
  let last: ReadonlyArray<SymbolEntry> | undefined
  return store.symbolEntries.pipe(
    Effect.tap((entries) => {
      const isNew = last === undefined || !areSame(last, entries)
      last = entries
      return isNew ? remembered.write(entries) : Effect.void
    }),
    Effect.catch((error) =>
      error.isRetryable && last === undefined
        ? Effect.map(remembered.read, (entries) => entries ?? [])
        : Effect.fail(error)
    )
  )
}

const addEntry = Effect.fnUntraced(function* (
  store: MarketStore["Service"],
  entry: Pick<SymbolEntry, "symbol" | "provider"> & Partial<SymbolEntry>
) {
  const dataset = entry.dataset ?? SymbolText.parse(entry.symbol).dataset
  if (dataset === undefined)
    return yield* Effect.fail(
      badRequest(
        "add symbol",
        `"${entry.symbol}" names no dataset; write DATASET:SYMBOL, such as GLBX.MDP3:ESM6`
      )
    )
  const added: SymbolEntry = {
    stypeIn: "raw_symbol",
    schemas: [],
    enabled: true,
    discoveredAt: yield* now,
    ...entry,
    symbol:
      SymbolText.parse(entry.symbol).dataset === undefined
        ? SymbolText.make(dataset, entry.symbol)
        : entry.symbol,
    dataset,
    source: "database",
    removedAt: undefined
  }
  yield* store.putSymbolEntries([added])
  return added
})

/** Changes the one entry of a symbol; it is a database entry from then on. */
const changeEntry = (
  store: MarketStore["Service"],
  all: Effect.Effect<ReadonlyArray<SymbolEntry>, StoreError>
) =>
  Effect.fnUntraced(function* (operation: string, symbol: string, difference: Partial<SymbolEntry>) {
    const known = (yield* all).filter((entry) => entry.removedAt === undefined)
    const exact = known.filter((entry) => entry.symbol === symbol)
    const found =
      exact.length > 0 ? exact : known.filter((entry) => SymbolText.parse(entry.symbol).rawSymbol === symbol)
    if (found.length === 0)
      return yield* Effect.fail(
        badRequest(operation, `"${symbol}" is not in the registry; see \`dm symbols list\``)
      )
    if (found.length > 1)
      return yield* Effect.fail(
        badRequest(
          operation,
          `"${symbol}" names several entries: ${found.map((entry) => entry.symbol).join(", ")}`
        )
      )
    const changed: SymbolEntry = { ...found[0]!, ...difference, source: "database" }
    yield* store.putSymbolEntries([changed])
    return changed
  })

/** A look that finds nothing new, in the order of the database. */
const areSame = (before: Entries, after: Entries): boolean =>
  before === after ||
  (before.length === after.length &&
    before.every((entry, i) => {
      const other = after[i]!
      return keyOf(entry) === keyOf(other) && entry.removedAt === other.removedAt && isSame(entry, other)
    }))

const isSame = (a: SymbolEntry, b: SymbolEntry): boolean =>
  a.enabled === b.enabled &&
  a.stypeIn === b.stypeIn &&
  a.schemas.join() === b.schemas.join() &&
  a.dataset === b.dataset

/** Differences between two looks; tombstones are removals. */
export const registryChanges = (
  before: ReadonlyArray<SymbolEntry>,
  after: ReadonlyArray<SymbolEntry>
): ReadonlyArray<RegistryChange> => {
  if (before === after) return []
  const live = (entries: ReadonlyArray<SymbolEntry>) =>
    new Map(entries.filter((entry) => entry.removedAt === undefined).map((entry) => [keyOf(entry), entry]))
  const old = live(before)
  const current = live(after)
  const changes: Array<RegistryChange> = []
  for (const [key, entry] of current) {
    const previous = old.get(key)
    if (previous === undefined) changes.push({ _tag: "Added", entry })
    else if (!isSame(previous, entry)) changes.push({ _tag: "Changed", before: previous, entry })
  }
  for (const [key, entry] of old) if (!current.has(key)) changes.push({ _tag: "Removed", entry })
  return changes
}

/**
 * What each look finds different from the one before; the first one finds everything new. A look that a database cannot
 * answer for a while is made again: a service that follows goes on.
 */
const differences = (
  all: Effect.Effect<ReadonlyArray<SymbolEntry>, StoreError>,
  interval: Duration.Input,
  sooner: Stream.Stream<unknown>
): Stream.Stream<ReadonlyArray<RegistryChange>, StoreError> => {
  const look = all.pipe(
    Effect.tapError((error) =>
      error.isRetryable ? Effect.logWarning(`registry: ${error.message}; it will be read again`) : Effect.void
    ),
    Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.spaced(interval) })
  )
  const ticks = Stream.fromSchedule(Schedule.spaced(interval))
  return Stream.concat(Stream.succeed(0), Stream.merge(ticks, sooner)).pipe(
    Stream.mapEffect(() => look),
    Stream.mapAccum(
      (): ReadonlyArray<SymbolEntry> => [],
      (before, after) => [after, [registryChanges(before, after)]] as const
    )
  )
}
