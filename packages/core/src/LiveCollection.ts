/**
 * What is collected live: every enabled symbol of the registry, as the registry changes. Symbols of one provider, dataset,
 * schema and kind are one feed. Symbols that come later get a feed of their own, so that those which run are not disturbed;
 * rows of symbols that are removed are left out from then on, and a feed without any is ended.
 */
import { Effect, Fiber, type Scope, Stream } from "effect"
import type { RegisterListings } from "./FileSource.ts"
import type { SilentSymbol, WatchedFeed } from "./FreshnessWatch.ts"
import type { Hub } from "./Hub.ts"
import type { InstrumentRegistry, RegistryChange } from "./InstrumentRegistry.ts"
import * as LiveFeed from "./LiveFeed.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import type { SymbolEntry } from "./MarketStore.ts"
import type { Provider, SymbolType } from "./Provider.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"

/** What a collection is made of. */
export interface LiveCollectionOptions {
  readonly registry: InstrumentRegistry["Service"]
  readonly providers: ReadonlyArray<Provider>
  readonly hub: Hub
  readonly register: RegisterListings
  /** Names this process among all that ever collect into one store: it begins the keys of sessions. */
  readonly instance: string
  /** Schemas of symbols that name none. Default: trades. */
  readonly defaultSchemas?: ReadonlyArray<MarketSchema> | undefined
  /** Called for each symbol that is collected no longer. */
  readonly onLeft?: ((feed: WatchedFeed, symbol: string) => void) | undefined
  /** Up to where earlier sessions hold data, ns, asked at the start of its first feed; see `LiveFeedOptions.heldUntil`. */
  readonly heldUntil?: ((data: CollectedData) => bigint | undefined) | undefined
}

/** Data of one kind. */
export interface CollectedData {
  readonly provider: string
  readonly dataset: string
  readonly schema: MarketSchema
}

/** A collection that runs. */
export interface LiveCollection {
  /** Follows the registry until interrupted. */
  readonly run: Effect.Effect<never, StoreError>
  readonly feeds: () => ReadonlyArray<LiveFeed.LiveFeedStatus>
  /**
   * Subscribes symbols again, in a feed of their own, with replay from their last rows where the provider has it; what they
   * brought since then is in doubt and noted as missing. Answers with those for which it did: raw symbols that are
   * collected by their names. Not while there are many such feeds already.
   */
  readonly resubscribe: (
    feed: WatchedFeed,
    symbols: ReadonlyArray<SilentSymbol>
  ) => Effect.Effect<ReadonlyArray<SilentSymbol>>
}

/** Feeds of one provider, dataset and schema at most, before symbols get another one for their silence. */
const MostFeeds = 4

/** One thing to collect. */
interface Wish {
  readonly provider: Provider
  readonly dataset: string
  readonly schema: MarketSchema
  readonly stypeIn: SymbolType
  readonly symbol: string
}

const groupOf = ({ provider, dataset, schema, stypeIn }: Wish): string =>
  [provider.id, dataset, schema, stypeIn].join("\n")

interface Running {
  readonly feed: LiveFeed.LiveFeed
  readonly group: string
  readonly symbols: Set<string>
  readonly fiber: Fiber.Fiber<never>
}

const holdsAll = ({ symbols }: Running, all: ReadonlyArray<SilentSymbol>): boolean =>
  all.every(({ symbol }) => symbols.has(symbol))

/** A collection; its feeds end with the scope. */
export const make = (options: LiveCollectionOptions): Effect.Effect<LiveCollection, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const collection = new Collection(options, scope)
    return { run: collection.run, feeds: collection.feeds, resubscribe: collection.resubscribe }
  })

class Collection {
  readonly #options: LiveCollectionOptions
  readonly #scope: Scope.Scope
  #running: Array<Running> = []
  #feeds = 0
  /** Groups whose first feed was started: later ones begin with what comes. */
  readonly #begun = new Set<string>()
  /** Said once: what a provider does not collect. */
  readonly #told = new Set<string>()

  constructor(options: LiveCollectionOptions, scope: Scope.Scope) {
    this.#options = options
    this.#scope = scope
  }

  readonly feeds = (): ReadonlyArray<LiveFeed.LiveFeedStatus> =>
    this.#running.map(({ feed }) => feed.status())

  readonly run: Effect.Effect<never, StoreError> = Effect.suspend(() =>
    this.#options.registry.follow.pipe(
      Stream.runForEachArray((changes) => this.#apply(changes)),
      Effect.andThen(Effect.never)
    )
  )

  #apply(changes: ReadonlyArray<RegistryChange>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const wanted: Array<Wish> = []
      for (const change of changes) {
        if (change._tag !== "Added") {
          const before = change._tag === "Changed" ? change.before : change.entry
          for (const wish of yield* this.#wishes(before)) {
            yield* this.#leave(wish)
            this.#options.onLeft?.({ ...wish, provider: wish.provider.id }, wish.symbol)
          }
        }
        if (change._tag !== "Removed" && change.entry.enabled)
          wanted.push(...(yield* this.#wishes(change.entry)))
      }
      const groups = new Map<string, Array<Wish>>()
      for (const wish of wanted) {
        const group = groups.get(groupOf(wish))
        if (group === undefined) groups.set(groupOf(wish), [wish])
        else group.push(wish)
      }
      for (const group of groups.values()) yield* this.#start(group)
    })
  }

  /** What an entry asks for, as far as its provider has it. */
  #wishes(entry: SymbolEntry): Effect.Effect<ReadonlyArray<Wish>> {
    const { defaultSchemas = ["trades"], providers } = this.#options
    const provider = providers.find(({ id }) => id === entry.provider)
    if (provider === undefined)
      return Effect.as(this.#tell(`symbols of ${entry.provider} are not collected: it is not configured`), [])
    const schemas = entry.schemas.length === 0 ? defaultSchemas : entry.schemas
    const lacking = schemas.filter((schema) => !provider.capabilities.live.includes(schema))
    const { rawSymbol } = SymbolText.parse(entry.symbol)
    const wishes = schemas
      .filter((schema) => !lacking.includes(schema))
      .map((schema) => ({
        provider,
        schema,
        dataset: entry.dataset,
        stypeIn: entry.stypeIn as SymbolType,
        symbol: rawSymbol
      }))
    return lacking.length === 0
      ? Effect.succeed(wishes)
      : Effect.as(this.#tell(`${provider.id} has no live ${lacking.join(", ")}: not collected`), wishes)
  }

  #tell(what: string): Effect.Effect<void> {
    if (this.#told.has(what)) return Effect.void
    this.#told.add(what)
    return Effect.logWarning(what)
  }

  #start(wishes: ReadonlyArray<Wish>, from?: bigint): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { hub, instance, register } = this.#options
      const { provider, dataset, schema, stypeIn } = wishes[0]!
      const symbols = new Set(wishes.map(({ symbol }) => symbol))
      for (const { group, symbols: collected } of this.#running)
        if (group === groupOf(wishes[0]!)) for (const symbol of collected) symbols.delete(symbol)
      if (symbols.size === 0) return
      this.#feeds += 1
      const heldUntil = this.#heldUntil(wishes[0]!)
      const feed = LiveFeed.make({
        provider,
        hub,
        register,
        selection: { dataset, schema, stypeIn, symbols: [...symbols] },
        name: `${instance}/${this.#feeds}`,
        from,
        heldUntil
      })
      const fiber = yield* Effect.forkIn(feed.run, this.#scope)
      this.#running.push({ feed, symbols, fiber, group: groupOf(wishes[0]!) })
      yield* Effect.logInfo(
        `collecting ${schema} of ${symbols.size} symbols of ${dataset} from ${provider.id}`
      )
    })
  }

  readonly resubscribe: LiveCollection["resubscribe"] = ({ dataset, provider: id, schema }, symbols) =>
    Effect.gen({ self: this }, function* () {
      const provider = this.#options.providers.find((each) => each.id === id)
      if (provider === undefined) return []
      const wishOf = (symbol: string): Wish => ({ provider, dataset, schema, stypeIn: "raw_symbol", symbol })
      const feeds = this.#running.filter(({ group }) => group === groupOf(wishOf("")))
      const found = symbols.filter(({ symbol }) => feeds.some((feed) => feed.symbols.has(symbol)))
      const isAlone = feeds.some((feed) => feed.symbols.size === found.length && holdsAll(feed, found))
      if (found.length === 0 || (feeds.length >= MostFeeds && !isAlone)) return []
      for (const { since, symbol } of found) {
        const feed = feeds.find((each) => each.symbols.has(symbol))!.feed
        if (since !== undefined) yield* feed.doubt([symbol], since)
        yield* this.#leave(wishOf(symbol))
      }
      const since = found.flatMap((each) => each.since ?? [])
      const from = since.length === 0 ? undefined : since.reduce((a, b) => (b < a ? b : a))
      yield* this.#start(
        found.map(({ symbol }) => wishOf(symbol)),
        from
      )
      return found
    })

  /** Up to where this data is held when its first feed starts. */
  #heldUntil(wish: Wish): bigint | undefined {
    const { dataset, provider, schema } = wish
    if (this.#begun.has(groupOf(wish))) return undefined
    this.#begun.add(groupOf(wish))
    return this.#options.heldUntil?.({ provider: provider.id, dataset, schema })
  }

  #leave(wish: Wish): Effect.Effect<void> {
    const from = this.#running.find(
      ({ group, symbols }) => group === groupOf(wish) && symbols.has(wish.symbol)
    )
    if (from === undefined) return Effect.void
    from.symbols.delete(wish.symbol)
    if (from.symbols.size > 0) return from.feed.exclude([wish.symbol])
    this.#running = this.#running.filter((each) => each !== from)
    return Effect.asVoid(Fiber.interrupt(from.fiber))
  }
}
