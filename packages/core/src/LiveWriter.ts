/**
 * From the spool into the store: entries in order, put together into appends of many rows, each in one transaction with the
 * spool's position and with what is known about its sessions. The store is away for as long as it is; the spool grows
 * meanwhile, and live data goes on.
 */
import { Clock, Effect, Schedule, Stream } from "effect"
import { concat } from "./BatchConcat.ts"
import { batchContext } from "./BatchContext.ts"
import { allocate, first as firstRows } from "./BatchLayout.ts"
import {
  crashNotes,
  type FeedNote,
  type FeedSessionKey,
  type OpenFeedSession,
  type Watermark
} from "./FeedEntry.ts"
import type { InstrumentId } from "./Instrument.ts"
import type { LiveInstruments } from "./LiveInstruments.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { IngestSource, MarketStore } from "./MarketStore.ts"
import type { Spool, Spooled, SpooledEntry, SpoolHole } from "./Spool.ts"
import type { SpoolError } from "./SpoolError.ts"
import { StoreError, StoreInvalidData } from "./StoreError.ts"
import { TradeBatch, TradeLayout } from "./TradeBatch.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What a writer is made of. */
export interface LiveWriterOptions {
  readonly store: MarketStore["Service"]
  readonly instruments: LiveInstruments
  readonly spool: Spool["Service"]
  /**
   * What the keys of this process' sessions begin with, after the spool's id and a slash. Sessions of this spool that other
   * processes left open are ended when one of the same data begins: what was not collected in between is missing.
   */
  readonly instance: string
  /**
   * Sessions of other spools that are over as well: of those who had the lease before. They are ended like those of this spool.
   */
  readonly isOver?: ((session: FeedSessionKey) => boolean) | undefined
  /** Rows of one append at most; default 65,536. */
  readonly appendRows?: number | undefined
  /** Time between appends that is used to gather rows, ms; default 50. */
  readonly gatherMillis?: number | undefined
  /** Called after each commit: everything up to this frame is in the store. */
  readonly onCommitted?: ((frame: bigint) => Effect.Effect<void>) | undefined
}

/** How a writer is doing. */
export interface LiveWriterStatus {
  /** The last frame of the spool that is in the store. */
  readonly committed: bigint
  readonly rows: bigint
  readonly duplicates: bigint
  readonly conflicts: bigint
  /** Rows that the store refused: told in the log, recorded as missing. */
  readonly refused: bigint
  readonly appends: bigint
  /** Why the store did not take the last piece; undefined while all is well. */
  readonly problem: string | undefined
}

/** A writer that runs. */
export interface LiveWriter {
  /** Writes until interrupted; fails where the spool does. */
  readonly run: Effect.Effect<never, SpoolError | StoreError>
  readonly status: () => LiveWriterStatus
  /** Waits until everything up to a frame of the spool is in the store. */
  readonly written: (frame: bigint) => Effect.Effect<void>
}

/** Entries that are written together: their rows are of one kind and dataset. */
type Piece = ReadonlyArray<SpooledEntry>

/** A writer; nothing happens before it runs. */
export const make = (options: LiveWriterOptions): LiveWriter => {
  const writer = new Writer(options)
  const written = (frame: bigint): Effect.Effect<void> =>
    Effect.sync(writer.status).pipe(
      Effect.repeat({ until: ({ committed }) => committed >= frame, schedule: Schedule.spaced("10 millis") }),
      Effect.asVoid
    )
  return { run: writer.run, status: writer.status, written }
}

/** Whether rows may stand together in one append. */
const isAlike = (a: MarketBatch, b: MarketBatch): boolean =>
  a._tag === b._tag &&
  a.context.dataset === b.context.dataset &&
  a.context.provider === b.context.provider &&
  a.context.keyKind === b.context.keyKind

const batchOf = ({ entry }: SpooledEntry): MarketBatch | undefined =>
  entry._tag === "FeedRows" ? entry.batch : undefined

/** Cuts entries, which are in order, into pieces of so many rows at most. */
const piecesOf = (entries: ReadonlyArray<SpooledEntry>, appendRows: number): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  let piece: Array<SpooledEntry> = []
  let first: MarketBatch | undefined
  let count = 0
  for (const entry of entries) {
    const batch = batchOf(entry)
    if (batch !== undefined && first !== undefined)
      if (count + batch.length > appendRows || !isAlike(first, batch)) {
        pieces.push(piece)
        piece = []
        first = undefined
        count = 0
      }
    piece.push(entry)
    first ??= batch
    count += batch?.length ?? 0
  }
  if (piece.length > 0) pieces.push(piece)
  return pieces
}

class Writer {
  readonly #options: LiveWriterOptions
  /** The store's numbers of instruments. */
  readonly #numbers = new Map<InstrumentId, InstrumentId>()
  #claims = 0
  #committed = 0n
  #rows = 0n
  #duplicates = 0n
  #conflicts = 0n
  #refused = 0n
  #appends = 0n
  #problem: string | undefined
  #run = 0n
  #stream = ""
  /** Sessions that processes before this one have left open; undefined until one of ours begins. */
  #abandoned: ReadonlyArray<OpenFeedSession> | undefined
  /** Sessions of which frames were lost since their watermark, which it is. */
  readonly #doubtful = new Map<FeedSessionKey, bigint>()

  constructor(options: LiveWriterOptions) {
    this.#options = options
  }

  readonly status = (): LiveWriterStatus => ({
    committed: this.#committed,
    rows: this.#rows,
    duplicates: this.#duplicates,
    conflicts: this.#conflicts,
    refused: this.#refused,
    appends: this.#appends,
    problem: this.#problem
  })

  readonly run: Effect.Effect<never, SpoolError | StoreError> = Effect.suspend(() =>
    Effect.gen({ self: this }, function* () {
      const { spool } = this.#options
      yield* this.#findPlace
      yield* Stream.runForEachArray(spool.read(this.#committed + 1n), (spooled) => this.#take(spooled))
      return yield* Effect.never
    })
  )

  /** Where the store is in the spool. A store that is ahead of the disk means that the disk lost frames: numbers begin anew. */
  get #findPlace(): Effect.Effect<void, SpoolError | StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { spool, store } = this.#options
      this.#stream = yield* spool.id
      let position = yield* this.#persistently(store.streamPosition(this.#stream))
      if (position > spool.opened.next) {
        yield* Effect.logError("the disk of the spool has lost what the store has: the spool begins anew")
        this.#stream = yield* spool.renew
        position = 0n
      }
      this.#committed = position > 0n ? position - 1n : spool.opened.first - 1n
      if (position > 0n) yield* spool.release(this.#committed)
      this.#run = (yield* this.#persistently(store.beginRun(sourceOf(this.#stream)))).id
    })
  }

  #take(spooled: ReadonlyArray<Spooled>): Effect.Effect<void, SpoolError | StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { appendRows = 65_536, gatherMillis = 50, spool } = this.#options
      const begin = yield* Clock.currentTimeMillis
      yield* this.#register
      let entries: Array<SpooledEntry> = []
      for (const each of spooled) {
        if (each._tag === "SpooledEntry") {
          entries.push(each)
          continue
        }
        yield* this.#writeAll(entries, appendRows)
        entries = []
        yield* this.#doubtSince(each)
      }
      yield* this.#writeAll(entries, appendRows)
      yield* spool.release(this.#committed)
      // A wall clock that was set back says nothing of how long it took.
      const rest = Math.min(gatherMillis, gatherMillis - ((yield* Clock.currentTimeMillis) - begin))
      if (rest > 0) yield* Effect.sleep(rest)
    })
  }

  #writeAll(
    entries: ReadonlyArray<SpooledEntry>,
    appendRows: number
  ): Effect.Effect<void, SpoolError | StoreError> {
    return Effect.gen({ self: this }, function* () {
      for (const piece of piecesOf(entries, appendRows)) {
        if (this.#abandoned === undefined && piece.some((each) => this.#isOwnStart(each)))
          yield* this.#findAbandoned
        yield* this.#write(piece)
      }
    })
  }

  /**
   * Frames cannot be read, and what was in them is lost. Everything before them is written: of each session that goes on, the time
   * from its watermark to the next one is not held.
   */
  #doubtSince({ detail, from, to }: SpoolHole): Effect.Effect<void, StoreError> {
    return Effect.gen({ self: this }, function* () {
      yield* Effect.logError(`frames ${from} to ${to} of the spool cannot be read: ${detail}`)
      const open = yield* this.#persistently(this.#options.store.openFeedSessions)
      for (const { session, watermark } of open)
        if (session.startsWith(`${this.#stream}/`)) this.#doubtful.set(session, watermark)
    })
  }

  /** Waits for a store that is away, or busy: says so once, and when it is over. */
  #persistently<A>(work: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> {
    return work.pipe(
      Effect.tapError((error) =>
        Effect.suspend(() => {
          const isNew = this.#problem !== error.message
          this.#problem = error.message
          return isNew && error.isRetryable
            ? Effect.logWarning(`live rows wait in the spool: ${error.message}`)
            : Effect.void
        })
      ),
      Effect.retry({
        while: (error) => error.isRetryable,
        schedule: Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]).pipe(
          Schedule.jittered
        )
      }),
      Effect.tap(() =>
        Effect.suspend(() => {
          if (this.#problem === undefined) return Effect.void
          this.#problem = undefined
          return Effect.logInfo("live rows are written again")
        })
      )
    )
  }

  #isOwnStart({ entry }: SpooledEntry): boolean {
    return entry._tag === "SessionStarted" && entry.session.startsWith(this.#ownPrefix)
  }

  get #ownPrefix(): string {
    return `${this.#stream}/${this.#options.instance}/`
  }

  /** Everything that others have left in the spool is written by now, so their watermarks are the last ones. */
  get #findAbandoned(): Effect.Effect<void, StoreError> {
    return Effect.map(this.#persistently(this.#options.store.openFeedSessions), (open) => {
      const { isOver = () => false } = this.#options
      this.#abandoned = open.filter(
        ({ session }) =>
          !session.startsWith(this.#ownPrefix) && (session.startsWith(`${this.#stream}/`) || isOver(session))
      )
    })
  }

  /** The notes that go before one: a session that begins ends those of its data that were left open. */
  #before(note: FeedNote, told: Set<FeedSessionKey>): ReadonlyArray<FeedNote> {
    if (note._tag === "Watermark") return this.#lostBefore(note, told)
    if (note._tag !== "SessionStarted" || !note.session.startsWith(this.#ownPrefix)) return []
    return (this.#abandoned ?? [])
      .filter(
        ({ dataset, provider, schema }) =>
          provider === note.provider && dataset === note.dataset && schema === note.schema
      )
      .flatMap((open) =>
        note.at > open.watermark
          ? crashNotes(open, note.at)
          : [{ _tag: "SessionEnded" as const, session: open.session }]
      )
  }

  /** What was lost with frames of the spool, where a session goes on behind them; rows of the watermark's own microsecond, too. */
  #lostBefore({ at, session }: Watermark, told: Set<FeedSessionKey>): ReadonlyArray<FeedNote> {
    const start = this.#doubtful.get(session)
    if (start === undefined || at <= start || told.has(session)) return []
    told.add(session)
    const range = { start, end: at + UnixNanos.PerMicro }
    return [{ _tag: "RowsMissing", session, range, cause: "crash" }]
  }

  /** Registers what was listed since the last look. */
  get #register(): Effect.Effect<void, StoreError> {
    return Effect.gen({ self: this }, function* () {
      const { instruments, store } = this.#options
      const claims = instruments.claimsFrom(this.#claims)
      if (claims.length === 0) return
      const stored = yield* this.#persistently(store.registerListings(claims.map(({ claim }) => claim)))
      for (const [i, { id }] of claims.entries()) this.#numbers.set(id, stored[i]!.id)
      this.#claims += claims.length
    })
  }

  #write(piece: Piece): Effect.Effect<void, StoreError> {
    const { onCommitted } = this.#options
    return this.#persistently(this.#append(piece, true)).pipe(
      Effect.andThen(
        Effect.suspend(() => {
          this.#committed = piece[piece.length - 1]!.frame
          for (const { entry } of piece) if (entry._tag === "Watermark") this.#doubtful.delete(entry.session)
          return onCommitted?.(this.#committed) ?? Effect.void
        })
      ),
      Effect.catch((error) =>
        error.reason._tag === "StoreInvalidData" ? this.#writeApart(piece, error) : Effect.fail(error)
      )
    )
  }

  /** A piece with something that the store refuses: its halves by themselves, until what is refused stands alone. */
  #writeApart(piece: Piece, error: StoreError): Effect.Effect<void, StoreError> {
    if (piece.length > 1) {
      const middle = Math.ceil(piece.length / 2)
      return Effect.andThen(this.#write(piece.slice(0, middle)), this.#write(piece.slice(middle)))
    }
    const rows = batchOf(piece[0]!)?.length ?? 0
    this.#refused += BigInt(rows)
    return Effect.logError(`${rows} live rows cannot be stored and are left out: ${error.message}`).pipe(
      Effect.andThen(this.#persistently(this.#append(piece, false))),
      Effect.tap(() =>
        Effect.sync(() => {
          this.#committed = piece[0]!.frame
        })
      )
    )
  }

  /** One append: the rows of the piece, unless they were refused, its notes, and the position behind it. */
  #append(piece: Piece, hasRows: boolean): Effect.Effect<void, StoreError> {
    const { store } = this.#options
    const batches = hasRows ? piece.flatMap((entry) => batchOf(entry) ?? []) : []
    const place = {
      run: this.#run,
      // Frames that cannot be read lie between pieces: the next one begins behind the last.
      stream: { name: this.#stream, from: this.#committed + 1n, to: piece[piece.length - 1]!.frame + 1n }
    }
    const told = new Set<FeedSessionKey>()
    const feed = piece.flatMap(({ entry }) =>
      entry._tag === "FeedRows" ? [] : [...this.#before(entry, told), this.#translated(entry)]
    )
    const batch = Effect.try({
      try: () => (batches.length === 0 ? nothing : this.#concat(batches)),
      catch: (cause) => cause as StoreError
    })
    const appended = Effect.flatMap(batch, (rows) => store.append(rows, { ...place, feed }))
    return Effect.map(appended, (result) => {
      this.#appends += 1n
      this.#rows += BigInt(result.inserted)
      this.#duplicates += BigInt(result.duplicates)
      this.#conflicts += BigInt(result.conflicts)
    })
  }

  /** The store's number of an instrument. Its claim is older than its rows, unless somebody has removed the file of claims. */
  readonly #numberOf = (id: InstrumentId): InstrumentId => {
    const number = this.#numbers.get(id)
    if (number !== undefined) return number
    const detail = `nothing tells what instrument ${id} of the spool is: instruments.jsonl beside it was removed or changed`
    throw new StoreError({ operation: "write live rows", reason: new StoreInvalidData({ detail }) })
  }

  #concat(batches: ReadonlyArray<MarketBatch>): MarketBatch {
    const { context } = batches[0]!
    return concat(batches, {
      context: { ...context, venueOf: venueOf(batches) },
      instrumentOf: this.#numberOf
    })
  }

  #translated(note: FeedNote): FeedNote {
    return "instruments" in note && note.instruments !== undefined
      ? { ...note, instruments: note.instruments.flatMap((id) => this.#numbers.get(id) ?? []) }
      : note
  }
}

/** Venues that any of the batches can name. */
const venueOf =
  (batches: ReadonlyArray<MarketBatch>): MarketBatch["context"]["venueOf"] =>
  (publisher) => {
    for (const { context } of batches) {
      const venue = context.venueOf(publisher)
      if (venue !== undefined) return venue
    }
    return undefined
  }

/** No rows: for pieces that only say something about sessions. */
const nothing = new TradeBatch(
  batchContext({ provider: "live", dataset: "live" }),
  firstRows(TradeLayout, allocate(TradeLayout, 0), 0),
  0
)

/** The run that conflicts of live rows are told of. */
const sourceOf = (stream: string): IngestSource => ({
  kind: "spool",
  source: `live collection, spool ${stream}`,
  provider: "live",
  dataset: "live",
  fingerprint: `spool ${stream}`
})
