/**
 * Watches over live feeds symbol by symbol: learns from every batch that comes through the hub, and looks every few seconds
 * who has become silent. Such a symbol is told, and subscribed again by itself, with pauses that grow; one that is collected
 * as a part of everything, or of a parent, can only be told.
 *
 * What was learned is kept in a file, so that a restart does not begin with nothing.
 */
import { Clock, Duration, Effect, type FileSystem, type Scope } from "effect"
import { Freshness, type FreshRows } from "./Freshness.ts"
import { FreshnessFile } from "./FreshnessFile.ts"
import type { Hub, HubMessage } from "./Hub.ts"
import type { InstrumentDirectory, InstrumentId } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import * as MarketSchema from "./MarketSchema.ts"
import type { Provider } from "./Provider.ts"

/** Everything of one provider, dataset and schema. */
export interface WatchedFeed {
  readonly provider: string
  readonly dataset: string
  readonly schema: MarketSchema.MarketSchema
}

/** A symbol to subscribe again. */
export interface SilentSymbol {
  readonly symbol: string
  readonly instrument: InstrumentId
  /** Time of its last row on the index clock, ns: what came after it is in doubt. */
  readonly since: bigint | undefined
}

/** A symbol that is silent for too long. */
export interface StaleSymbol extends WatchedFeed {
  /** `DATASET:RAW_SYMBOL`. */
  readonly symbol: string
  readonly silentMillis: number
  readonly usualMillis: number
  /** How often it was subscribed again in this silence; undefined where it cannot be by itself. */
  readonly resubscribed: number | undefined
}

/** How symbols are doing. */
export interface FreshnessStatus {
  /** The longest silence first. */
  readonly stale: ReadonlyArray<StaleSymbol>
  /** Subscriptions that were made again since the start. */
  readonly resubscribed: number
  /** Feeds that do not trade at this hour, so that their silence says nothing. */
  readonly quiet: ReadonlyArray<WatchedFeed>
}

/** What a watch is made of. */
export interface FreshnessWatchOptions {
  readonly hub: Hub
  /** Names the instruments of the hub's batches. */
  readonly instruments: InstrumentDirectory
  readonly providers: ReadonlyArray<Provider>
  /** Silence that is never too long; also how long a feed may be silent before its clock stands still. */
  readonly quiet: Duration.Input
  /** A symbol is stale when it is silent for so many times its usual silence; default 10. */
  readonly factor?: number | undefined
  /** Time between two looks; default a quarter of `quiet`, 1 to 10 seconds. */
  readonly interval?: Duration.Input | undefined
  /** File that keeps what was learned. */
  readonly file: string
  /** Subscribes symbols again, apart from the others; answers with those for which it did. */
  readonly resubscribe: (
    feed: WatchedFeed,
    symbols: ReadonlyArray<SilentSymbol>
  ) => Effect.Effect<ReadonlyArray<SilentSymbol>>
}

/** A watch. */
export interface FreshnessWatch {
  /** Looks until interrupted. */
  readonly run: Effect.Effect<never>
  readonly status: () => FreshnessStatus
  /** A symbol is collected no longer. */
  readonly forget: (feed: WatchedFeed, rawSymbol: string) => void
}

/** Longest pause between two subscriptions of one symbol. */
const LongestPause = 3_600_000
/** What was learned is kept this often. */
const KeptEvery = Duration.minutes(10)
/** Symbols that are named in one message of the log. */
const Named = 5

/** What is done about a symbol that is stale. */
interface Case {
  resubscribed: number | undefined
  nextAt: number
}

interface Group {
  readonly feed: WatchedFeed
  readonly freshness: Freshness
  readonly clock: "ts_recv" | "ts_event"
  readonly cases: Map<InstrumentId, Case>
  stale: ReadonlyArray<StaleSymbol>
  isQuiet: boolean
}

const keyOf = ({ dataset, provider, schema }: WatchedFeed): string => `${provider}\n${dataset}\n${schema}`

/** A watch over a hub until the scope ends; it looks while it runs. */
export const attach = (
  options: FreshnessWatchOptions
): Effect.Effect<FreshnessWatch, never, Scope.Scope | FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const memory = yield* FreshnessFile.open(options.file)
    const watch = new Watch(options, clock, memory)
    yield* options.hub.attach({ name: "freshness", deliver: watch.deliver })
    yield* Effect.addFinalizer(() => watch.keep)
    return { run: watch.run, status: watch.status, forget: watch.forget }
  })

class Watch {
  readonly #options: FreshnessWatchOptions
  readonly #clock: Clock.Clock
  readonly #file: FreshnessFile
  readonly #quiet: number
  readonly #groups = new Map<string, Group>()
  readonly #sessions = new Map<string, Group>()
  #resubscribed = 0

  constructor(options: FreshnessWatchOptions, clock: Clock.Clock, file: FreshnessFile) {
    this.#options = options
    this.#clock = clock
    this.#file = file
    this.#quiet = Duration.toMillis(Duration.fromInputUnsafe(options.quiet))
    // Feeds of an earlier start: that they do not trade at this hour is known before they do.
    for (const key of file.keys) {
      const [provider = "", dataset = "", schema = ""] = key.split("\n")
      if (MarketSchema.is(schema)) this.#groupOf({ provider, dataset, schema })
    }
  }

  readonly deliver = ({ entry }: HubMessage): void => {
    if (entry._tag === "FeedRows") {
      const group = this.#sessions.get(entry.session)
      group?.freshness.add(rowsOf(entry.batch, group.clock), this.#clock.currentTimeMillisUnsafe())
    } else if (entry._tag === "SessionStarted") this.#sessions.set(entry.session, this.#groupOf(entry))
    else if (entry._tag === "SessionEnded") this.#sessions.delete(entry.session)
  }

  #groupOf({ dataset, provider, schema }: WatchedFeed): Group {
    const feed = { provider, dataset, schema }
    const known = this.#groups.get(keyOf(feed))
    if (known !== undefined) return known
    const { factor, providers } = this.#options
    const freshness = new Freshness({ quietMillis: this.#quiet, factor })
    const memory = this.#file.memoryOf(keyOf(feed))
    if (memory !== undefined) freshness.remember(memory)
    const clock = providers.find(({ id }) => id === provider)?.capabilities.indexClock ?? "ts_recv"
    const group: Group = { feed, freshness, clock, cases: new Map(), stale: [], isQuiet: false }
    this.#groups.set(keyOf(feed), group)
    return group
  }

  readonly status = (): FreshnessStatus => ({
    stale: [...this.#groups.values()]
      .flatMap(({ stale }) => stale)
      .sort((a, b) => b.silentMillis - a.silentMillis),
    resubscribed: this.#resubscribed,
    quiet: [...this.#groups.values()].flatMap(({ feed, isQuiet }) => (isQuiet ? [feed] : []))
  })

  readonly forget = (feed: WatchedFeed, rawSymbol: string): void => {
    const group = this.#groups.get(keyOf(feed))
    if (group === undefined) return
    for (const instrument of group.freshness.known())
      if (this.#options.instruments.get(instrument)?.rawSymbol === rawSymbol)
        group.freshness.forget(instrument)
  }

  readonly run: Effect.Effect<never> = Effect.suspend(() => {
    const { interval = Math.max(1000, Math.min(10_000, this.#quiet / 4)) } = this.#options
    const looking = Effect.forever(Effect.andThen(Effect.sleep(interval), this.#look))
    // Beside it: nobody's silence is told later because a disk is slow.
    const keeping = Effect.forever(Effect.andThen(Effect.sleep(KeptEvery), this.keep))
    return Effect.raceFirst(looking, keeping)
  })

  get #look(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const now = yield* Clock.currentTimeMillis
      for (const group of this.#groups.values()) yield* this.#judge(group, now)
    })
  }

  readonly keep: Effect.Effect<void> = Effect.suspend(() =>
    this.#file.write([...this.#groups].map(([key, { freshness }]) => ({ key, memory: freshness.memory() })))
  )

  #judge(group: Group, now: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { cases, feed, freshness } = group
      const found = freshness.check(now)
      group.isQuiet = freshness.isQuietTime(now)
      const isStale = new Set(found.map(({ instrument }) => instrument))
      const recovered = [...cases.keys()].filter((id) => !isStale.has(id))
      for (const id of recovered) cases.delete(id)
      const fresh = found.filter(({ instrument }) => !cases.has(instrument))
      for (const { instrument } of fresh) cases.set(instrument, { resubscribed: 0, nextAt: now })
      if (recovered.length > 0)
        yield* Effect.logInfo(`${this.#names(recovered)} of ${feed.dataset} is fresh again`)
      if (fresh.length > 0) yield* this.#warn(fresh, feed)
      yield* this.#resubscribe(group, now)
      group.stale = found.map(({ instrument, silentMillis, usualMillis }) => ({
        ...feed,
        symbol: this.#options.instruments.get(instrument)?.symbol ?? `#${instrument}`,
        silentMillis,
        usualMillis,
        resubscribed: cases.get(instrument)?.resubscribed
      }))
    })
  }

  #names(ids: ReadonlyArray<InstrumentId>): string {
    const named = ids.slice(0, Named).map((id) => this.#options.instruments.get(id)?.rawSymbol ?? `#${id}`)
    return ids.length > Named ? `${named.join(", ")} and ${ids.length - Named} more` : named.join(", ")
  }

  #warn(
    fresh: ReadonlyArray<{
      readonly instrument: InstrumentId
      readonly silentMillis: number
      readonly usualMillis: number
    }>,
    { dataset, provider, schema }: WatchedFeed
  ): Effect.Effect<void> {
    const { silentMillis, usualMillis } = fresh[0]!
    const names = this.#names(fresh.map(({ instrument }) => instrument))
    const often = `${(silentMillis / 1000).toFixed(0)} s, usually ${(usualMillis / 1000).toFixed(1)} s`
    return Effect.logWarning(`no ${schema} of ${names} of ${dataset} from ${provider} for ${often}`)
  }

  /** Those whose pause is over, together. */
  #resubscribe({ cases, feed, freshness }: Group, now: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const due: Array<SilentSymbol> = []
      for (const [instrument, { nextAt, resubscribed }] of cases) {
        const symbol = this.#options.instruments.get(instrument)?.rawSymbol
        if (resubscribed === undefined || nextAt > now || symbol === undefined) continue
        due.push({ symbol, instrument, since: freshness.lastTime(instrument) })
      }
      if (due.length === 0) return
      const done = new Set((yield* this.#options.resubscribe(feed, due)).map(({ instrument }) => instrument))
      for (const { instrument } of due) {
        const one = cases.get(instrument)!
        if (!done.has(instrument)) one.resubscribed = undefined
        else {
          one.nextAt = now + Math.min(LongestPause, this.#quiet * 2 ** Math.min(20, one.resubscribed!))
          one.resubscribed = one.resubscribed! + 1
          this.#resubscribed += 1
        }
      }
      if (done.size > 0)
        yield* Effect.logInfo(`${this.#names([...done])} of ${feed.dataset} is subscribed again`)
    })
  }
}

const rowsOf = (batch: MarketBatch, clock: "ts_recv" | "ts_event"): FreshRows => ({
  instrument: batch.columns.instrument,
  times: clock === "ts_recv" && "tsRecv" in batch.words ? batch.words.tsRecv : batch.words.tsEvent,
  length: batch.length
})
