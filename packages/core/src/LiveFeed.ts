/**
 * One live feed: a provider's stream for a selection of symbols, turned into entries of feed sessions, and kept running. A
 * stream that ends is opened again after a pause that grows; one that ends again and again is reported and tried more
 * rarely: it never spins.
 *
 * A session is one stream from its first row to its end, over the provider's own reconnects: what it lost in between it tells
 * as gaps, and they are missing in the session.
 */
import { Clock, Effect, Random, Stream } from "effect"
import { ABSENT_I64_HIGH, ABSENT_I64_LOW } from "./Absent.ts"
import { concat } from "./BatchConcat.ts"
import { isSelectable, selectRows } from "./BatchSelection.ts"
import type { FeedSessionKey } from "./FeedEntry.ts"
import type { RegisterListings } from "./FileSource.ts"
import type { Hub } from "./Hub.ts"
import type { InstrumentId, ListingClaim } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { Gap, Provider, ProviderEvent, Selection } from "./Provider.ts"
import { ProviderError, ProviderUnavailable } from "./ProviderError.ts"
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
  /** Ask the provider to replay what happened since this time, ns: where an earlier session ended. */
  readonly from?: bigint | undefined
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
  readonly status: () => LiveFeedStatus
}

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
  return { run: feed.run, exclude: feed.exclude, status: feed.status }
}

class Feed {
  readonly #options: LiveFeedOptions
  #state: LiveFeedStatus["state"] = "starting"
  #sessions = 0
  #session: Session | undefined
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

  constructor(options: LiveFeedOptions) {
    this.#options = options
    this.#from = options.from
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
      return this.#session?.leave(symbols) ?? Effect.void
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

  /** One stream. It fails when it ends: a live stream has no end. */
  get #collect(): Effect.Effect<never, ProviderError | StoreError> {
    const { hub, provider, selection } = this.#options
    this.#sessions += 1
    const session = new Session(`${this.#options.name}/${this.#sessions}`, this.#options)
    this.#session = session
    const from = this.#from === undefined ? {} : { from: this.#from }
    return provider.live(selection, from).pipe(
      Stream.runForEachArray((events) => this.#take(session, events)),
      Effect.andThen(
        Effect.fail(
          new ProviderError({
            provider: provider.id,
            operation: `live ${selection.dataset}`,
            reason: new ProviderUnavailable({ detail: "the stream ended" })
          })
        )
      ),
      Effect.ensuring(
        Effect.suspend(() => {
          this.#session = undefined
          this.#from = session.watermark ?? this.#from
          return session.isOpen ? hub.publish({ _tag: "SessionEnded", session: session.key }) : Effect.void
        })
      )
    )
  }

  #take(session: Session, events: ReadonlyArray<ProviderEvent>): Effect.Effect<void, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const now = yield* Clock.currentTimeMillis
      // Mappings come thousands at a time when a stream begins: registered together, they are one note.
      let claims: Array<ListingClaim> = []
      for (const event of events) {
        if (event._tag === "Mapping") {
          claims.push(event.claim)
          continue
        }
        if (claims.length > 0) yield* session.list(claims)
        claims = []
        if (event._tag === "Gap") {
          this.#gaps += 1n
          yield* session.miss(event)
        } else {
          this.#rows += BigInt(event.batch.length)
          this.#lastRowAt = BigInt(now) * UnixNanos.PerMilli
          this.#failures = 0
          yield* session.add(this.#excluded.size === 0 ? event.batch : without(event.batch, this.#excluded))
        }
      }
      if (claims.length > 0) yield* session.list(claims)
    })
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

/** One session of a feed. */
class Session {
  readonly key: FeedSessionKey
  readonly #options: LiveFeedOptions
  readonly #listed = new Map<string, InstrumentId>()
  /** Instruments that were named before the session has begun: they join with its begin. */
  #early: Array<InstrumentId> = []
  #watermark: bigint | undefined

  constructor(key: FeedSessionKey, options: LiveFeedOptions) {
    this.key = key
    this.#options = options
  }

  /** Whether it has begun. */
  get isOpen(): boolean {
    return this.#watermark !== undefined
  }

  /** Up to where everything is there. */
  get watermark(): bigint | undefined {
    return this.#watermark
  }

  /** Instruments are named, and collected from now on. */
  list(claims: ReadonlyArray<ListingClaim>): Effect.Effect<void, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const instruments = (yield* this.#options.register(claims)).map(({ id }) => id)
      const fresh: Array<InstrumentId> = []
      claims.forEach(({ nativeId, rawSymbol }, i) => {
        const id = instruments[i]!
        if (rawSymbol !== undefined && !this.#listed.has(rawSymbol)) fresh.push(id)
        if (rawSymbol !== undefined) this.#listed.set(rawSymbol, id)
        if (nativeId !== undefined) this.#listed.set(String(nativeId), id)
      })
      if (fresh.length === 0) return
      if (this.#watermark === undefined) this.#early.push(...fresh)
      else yield* this.#join(fresh, this.#watermark)
    })
  }

  #join(instruments: ReadonlyArray<InstrumentId>, at: bigint): Effect.Effect<void> {
    return this.#options.hub.publish({ _tag: "InstrumentsJoined", session: this.key, instruments, at })
  }

  /** Rows, and with them the proof that everything before them was there. */
  add(batch: MarketBatch): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { hub } = this.#options
      if (batch.length === 0) return
      const { first, last } = indexTimes(batch, this.#options.provider.capabilities.indexClock ?? "ts_recv")
      if (this.#watermark === undefined) yield* this.#begin(first)
      yield* hub.publish({ _tag: "FeedRows", session: this.key, batch })
      const at = UnixNanos.floorMicros(last) * UnixNanos.PerMicro
      if (at <= this.#watermark!) return
      this.#watermark = at
      yield* hub.publish({ _tag: "Watermark", session: this.key, at })
    })
  }

  /** The session holds what comes after the microsecond of its first row: others of that moment may have come before it. */
  #begin(first: bigint): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { hub, provider, selection } = this.#options
      const at = (UnixNanos.floorMicros(first) + 1n) * UnixNanos.PerMicro
      this.#watermark = at
      const { dataset, schema } = selection
      yield* hub.publish({
        _tag: "SessionStarted",
        session: this.key,
        provider: provider.id,
        dataset,
        schema,
        at
      })
      if (this.#early.length > 0) yield* this.#join(this.#early, at)
      this.#early = []
    })
  }

  /** Symbols that are collected no longer. */
  leave(symbols: ReadonlyArray<string>): Effect.Effect<void> {
    const instruments = symbols.flatMap((symbol) => this.#listed.get(symbol) ?? [])
    if (instruments.length === 0) return Effect.void
    if (this.#watermark === undefined) {
      this.#early = this.#early.filter((id) => !instruments.includes(id))
      return Effect.void
    }
    return this.#options.hub.publish({
      _tag: "InstrumentsLeft",
      session: this.key,
      instruments,
      at: this.#watermark
    })
  }

  /** A loss that the provider tells. Symbols that the session does not know were never held: they need no exception. */
  miss({ cause, range, symbols }: Gap): Effect.Effect<void> {
    if (this.#watermark === undefined) return Effect.void
    const named = symbols?.flatMap((symbol) => this.#listed.get(symbol) ?? [])
    if (named?.length === 0) return Effect.void
    return this.#options.hub.publish({
      _tag: "RowsMissing",
      session: this.key,
      instruments: named,
      range,
      cause
    })
  }
}

/** First and last time of a batch on the index clock. Rows that were never captured count by the venue's clock. */
const indexTimes = (
  batch: MarketBatch,
  clock: "ts_recv" | "ts_event"
): { readonly first: bigint; readonly last: bigint } => {
  const event: Int32Array = batch.words.tsEvent
  const captured: Int32Array = clock === "ts_recv" && "tsRecv" in batch.words ? batch.words.tsRecv : event
  const isAbsent = (row: number): boolean =>
    captured[2 * row + 1] === ABSENT_I64_HIGH && captured[2 * row] === ABSENT_I64_LOW
  const wordsOf = (row: number): Int32Array => (isAbsent(row) ? event : captured)
  let first = 0
  let last = 0
  for (let row = 1; row < batch.length; row++) {
    const words = wordsOf(row)
    if (isBefore(words, row, wordsOf(first), first)) first = row
    if (isBefore(wordsOf(last), last, words, row)) last = row
  }
  return { first: nanos(wordsOf(first), first), last: nanos(wordsOf(last), last) }
}

const isBefore = (a: Int32Array, i: number, b: Int32Array, j: number): boolean => {
  const high = a[2 * i + 1]! - b[2 * j + 1]!
  return high !== 0 ? high < 0 : a[2 * i]! >>> 0 < b[2 * j]! >>> 0
}

const nanos = (words: Int32Array, row: number): bigint =>
  (BigInt(words[2 * row + 1]!) << 32n) | BigInt(words[2 * row]! >>> 0)
