/**
 * One live feed: a provider's stream for a selection of symbols, turned into entries of feed sessions, and kept running. A
 * stream that ends is opened again after a pause that grows; one that ends again and again is reported and tried more
 * rarely: it never spins.
 *
 * A session is one stream from its first row to its end, over the provider's own reconnects: what it lost in between it tells
 * as gaps, and they are missing in the session.
 */
import { Clock, Effect, Random, Schedule, Stream } from "effect"
import { concat } from "./BatchConcat.ts"
import { isSelectable, selectRows } from "./BatchSelection.ts"
import type { FeedSessionKey } from "./FeedEntry.ts"
import type { RegisterListings } from "./FileSource.ts"
import { type Hub, logBroken } from "./Hub.ts"
import { LiveSession } from "./LiveSession.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import * as MarketSchema from "./MarketSchema.ts"
import type { Provider, ProviderEvent, Selection } from "./Provider.ts"
import { ProviderError, ProviderUnavailable } from "./ProviderError.ts"
import { RecentRows } from "./RecentRows.ts"
import { SequenceCheck } from "./SequenceCheck.ts"
import type { StoreError } from "./StoreError.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What a feed is made of. */
export interface LiveFeedOptions {
  readonly provider: Provider
  readonly selection: Selection
  readonly hub: Hub
  /** Numbers of instruments, the same that the provider's batches use. */
  readonly register: RegisterListings
  /** Begins the keys of its sessions, unique per process: they become `NAME/1`, `NAME/2`. */
  readonly name: string
  /** Ask the provider to replay what happened since this time, ns. */
  readonly from?: bigint | undefined
  /**
   * Up to where an earlier session holds everything, ns on the index clock: the provider is asked to replay what happened around
   * then, and rows from before are left out. Where the replay reaches back beyond it, the first session begins there.
   */
  readonly heldUntil?: bigint | undefined
}

/** How a feed is doing. */
export interface LiveFeedStatus {
  /** That of its options: begins the keys of its sessions. */
  readonly name: string
  readonly provider: string
  readonly selection: Selection
  /** "waiting": between two tries. */
  readonly state: "starting" | "running" | "waiting"
  readonly session: FeedSessionKey | undefined
  readonly rows: bigint
  readonly gaps: bigint
  /** Streams that ended, in a row, without having brought anything. */
  readonly failures: number
  /** When the stream that runs was begun, ns; undefined while none does. */
  readonly runningSince: bigint | undefined
  readonly lastRowAt: bigint | undefined
  readonly lastError: string | undefined
}

/** A feed that runs. */
export interface LiveFeed {
  /** Collects until interrupted. */
  readonly run: Effect.Effect<never>
  /** Leaves out rows of symbols from now on: a provider that cannot take them out of a stream goes on sending them. */
  readonly exclude: (symbols: ReadonlyArray<string>) => Effect.Effect<void>
  /** What came of symbols since a time is in doubt: up to now it is missing, for silence. Times on the index clock, ns. */
  readonly doubt: (symbols: ReadonlyArray<string>, since: bigint) => Effect.Effect<void>
  readonly status: () => LiveFeedStatus
}

/**
 * Rows are received later than they happened, and providers replay by either time: so much earlier a replay begins, so that what
 * was not received is in it.
 */
const LongestLag = 10n * UnixNanos.PerSecond

/** Rows that a stream which begins again may repeat: those of the moment at which it is asked to begin. */
const Remembered = 8_192
/** How long repeats are looked for after that. */
const RepeatMillis = 60_000

/** Pauses between tries: from one second, doubled, up to a minute; half of each is chance. */
const FirstPause = 1000
const LongestPause = 60_000

const pauseAfter = (failures: number): Effect.Effect<number> =>
  Effect.map(Random.next, (chance) => {
    const longest = Math.min(LongestPause, FirstPause * 2 ** Math.min(failures, 10))
    return Math.round(longest * (0.5 + chance / 2))
  })

/** A feed of this process; nothing happens before it runs. */
export const make = (options: LiveFeedOptions): LiveFeed => {
  const feed = new Feed(options)
  return { run: feed.run, exclude: feed.exclude, doubt: feed.doubt, status: feed.status }
}

class Feed {
  readonly #options: LiveFeedOptions
  #state: LiveFeedStatus["state"] = "starting"
  #sessions = 0
  #session: LiveSession | undefined
  #rows = 0n
  #gaps = 0n
  #failures = 0
  #runningSince: bigint | undefined
  #lastRowAt: bigint | undefined
  #lastError: string | undefined
  /** Symbols whose rows are left out. */
  readonly #excluded = new Set<string>()
  /** Where the next stream asks for replay from. */
  #from: bigint | undefined
  /** Up to where the session before holds everything. */
  #heldUntil: bigint | undefined
  /** What was given on last: a replay begins with some of it. */
  readonly #recent: RecentRows
  #repeatsUntil = 0
  /** Where trades are numbered one by one. */
  readonly #sequence: SequenceCheck | undefined

  constructor(options: LiveFeedOptions) {
    this.#options = options
    this.#from = options.from
    if (options.heldUntil !== undefined) this.#hold(options.heldUntil)
    this.#recent = new RecentRows(Remembered, MarketSchema.clock(options.selection.schema))
    this.#sequence = options.provider.capabilities.consecutiveIds ? new SequenceCheck() : undefined
  }

  readonly status = (): LiveFeedStatus => ({
    name: this.#options.name,
    provider: this.#options.provider.id,
    selection: this.#options.selection,
    state: this.#state,
    session: this.#session?.key,
    rows: this.#rows,
    gaps: this.#gaps,
    failures: this.#failures,
    runningSince: this.#runningSince,
    lastRowAt: this.#lastRowAt,
    lastError: this.#lastError
  })

  readonly exclude = (symbols: ReadonlyArray<string>): Effect.Effect<void> =>
    Effect.suspend(() => {
      for (const symbol of symbols) this.#excluded.add(symbol)
      this.#session?.leave(symbols)
      return this.#logBroken
    })

  readonly doubt = (symbols: ReadonlyArray<string>, since: bigint): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { dataset, schema } = this.#options.selection
      const end = this.#session?.watermark ?? since
      if (end <= since) return Effect.void
      const range = { start: since, end }
      this.#session?.miss({ _tag: "Gap", dataset, schema, symbols, range, cause: "silence" })
      return this.#logBroken
    })

  readonly run: Effect.Effect<never> = Effect.suspend(() =>
    Effect.gen({ self: this }, function* () {
      while (true) {
        this.#state = "running"
        this.#runningSince = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
        const error = yield* Effect.flip(this.#collect)
        this.#lastError = error.message
        const pause = yield* pauseAfter(this.#failures)
        this.#failures += 1
        this.#state = "waiting"
        this.#runningSince = undefined
        yield* Effect.logWarning(`${this.#name}: ${error.message}; next try in ${Math.ceil(pause / 1000)} s`)
        yield* Effect.sleep(pause)
      }
    })
  )

  get #name(): string {
    const { provider, selection } = this.#options
    return `live ${selection.schema} of ${selection.dataset} from ${provider.id}`
  }

  get #logBroken(): Effect.Effect<void> {
    return Effect.suspend(() => logBroken(this.#session?.takeBroken() ?? []))
  }

  /** One stream. It fails when it ends: a live stream has no end. */
  get #collect(): Effect.Effect<never, ProviderError | StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { name, provider, selection } = this.#options
      const clock = yield* Clock.Clock
      this.#sessions += 1
      const session = new LiveSession(`${name}/${this.#sessions}`, {
        ...this.#options,
        heldUntil: this.#heldUntil
      })
      this.#session = session
      // The last rows of a burst are vouched for though none come after them.
      yield* Effect.forkScoped(
        Effect.repeat(
          Effect.sync(() => session.mark(clock.currentTimeMillisUnsafe())),
          Schedule.spaced("100 millis")
        )
      )
      const from = this.#from === undefined ? {} : { from: this.#from }
      this.#recent.beginRepeats()
      this.#repeatsUntil = clock.currentTimeMillisUnsafe() + RepeatMillis
      yield* provider.live(selection, from).pipe(
        Stream.runForEachArray((events) => this.#take(session, events, clock.currentTimeMillisUnsafe())),
        Effect.ensuring(Effect.suspend(() => this.#close(session)))
      )
      return yield* new ProviderError({
        provider: provider.id,
        operation: `live ${selection.dataset}`,
        reason: new ProviderUnavailable({ detail: "the stream ended" })
      })
    }).pipe(Effect.scoped)
  }

  #close(session: LiveSession): Effect.Effect<void> {
    session.end()
    if (session.watermark !== undefined) this.#hold(session.watermark)
    this.#session = undefined
    return logBroken(session.takeBroken())
  }

  #hold(until: bigint): void {
    this.#heldUntil = until
    this.#from = until - LongestLag
  }

  #take(
    session: LiveSession,
    events: ReadonlyArray<ProviderEvent>,
    now: number
  ): Effect.Effect<void, StoreError> {
    // Mappings come thousands at a time when a stream begins: registered together, before the rows that need them.
    const claims = events.flatMap((event) => (event._tag === "Mapping" ? [event.claim] : []))
    if (claims.length === 0) {
      this.#deliver(session, events, now)
      return this.#delivered
    }
    return Effect.flatMap(this.#options.register(claims), (instruments) => {
      // Of symbols that were left out a stream begun anew holds nothing, though it names them again.
      const isCollected = ({ rawSymbol }: (typeof claims)[number]): boolean =>
        rawSymbol === undefined || !this.#excluded.has(rawSymbol)
      session.list(
        claims.filter(isCollected),
        instruments.flatMap(({ id }, i) => (isCollected(claims[i]!) ? [id] : []))
      )
      this.#deliver(session, events, now)
      return this.#delivered
    })
  }

  /** What waited for a registration comes all at once: more than memory would take without the disk. */
  get #delivered(): Effect.Effect<void> {
    return Effect.andThen(this.#logBroken, this.#options.hub.room)
  }

  /** What of a batch was not given on before the stream began again. */
  #fresh(batch: MarketBatch, now: number): MarketBatch {
    if (!isSelectable(batch)) return batch
    if (now > this.#repeatsUntil) this.#recent.endRepeats()
    const fresh = this.#recent.without(batch)
    this.#recent.add(fresh)
    return fresh
  }

  #deliver(session: LiveSession, events: ReadonlyArray<ProviderEvent>, now: number): void {
    for (const event of events) {
      if (event._tag === "Mapping") continue
      if (event._tag === "Gap") {
        this.#gaps += 1n
        session.miss(event)
        continue
      }
      this.#rows += BigInt(event.batch.length)
      this.#lastRowAt = BigInt(now) * UnixNanos.PerMilli
      this.#failures = 0
      const batch = this.#fresh(event.batch, now)
      const holes = batch._tag === "TradeBatch" ? this.#sequence?.holes(batch) : undefined
      session.add(this.#excluded.size === 0 ? batch : without(batch, this.#excluded), now)
      for (const hole of holes ?? []) {
        this.#gaps += 1n
        session.missRows(hole)
      }
    }
  }
}

/** The rows of a batch whose symbols are not among these. */
const without = (batch: MarketBatch, symbols: ReadonlySet<string>): MarketBatch => {
  const { instrument } = batch.columns
  const { instruments } = batch.context
  const isLeft = (row: number): boolean => symbols.has(instruments.get(instrument[row]!)?.rawSymbol ?? "")
  const rows = Array.from({ length: batch.length }, (_, row) => row).filter((row) => !isLeft(row))
  if (rows.length === batch.length) return batch
  if (rows.length === 0) return batch.slice(0, 0)
  return isSelectable(batch)
    ? selectRows(batch, rows)
    : concat(
        rows.map((row) => batch.slice(row, row + 1)),
        { context: batch.context }
      )
}
