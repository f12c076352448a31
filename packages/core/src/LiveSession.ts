/**
 * A session of a live feed: what a provider tells, as entries of the hub. No Effect per batch: what it publishes is handed on
 * at once.
 */
import { ABSENT_I64, ABSENT_I64_HIGH, ABSENT_I64_LOW } from "./Absent.ts"
import { isSelectable, selectRows } from "./BatchSelection.ts"
import type { FeedEntry, FeedSessionKey } from "./FeedEntry.ts"
import type { BrokenSink, Hub } from "./Hub.ts"
import type { InstrumentId, ListingClaim } from "./Instrument.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { Gap, Provider, Selection } from "./Provider.ts"
import type { SequenceHole } from "./SequenceCheck.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What a session belongs to. */
export interface LiveSessionOptions {
  readonly provider: Provider
  readonly selection: Selection
  readonly hub: Hub
  /** Up to where the session before holds everything, see `LiveFeedOptions.heldUntil`. */
  readonly heldUntil?: bigint | undefined
}

/** Time between two watermarks while rows come: each is an entry of its own, and rows can be many batches. */
const MarkMillis = 50

/** A session, which begins with its first rows. */
export class LiveSession {
  readonly key: FeedSessionKey
  readonly #options: LiveSessionOptions
  readonly #listed = new Map<string, InstrumentId>()
  /** Instruments that were named before the session has begun: they join with its begin. */
  #early: Array<InstrumentId> = []
  /** Up to where everything was given on, and the part of it that was told. */
  #watermark: bigint | undefined
  #told = 0n
  #toldAt = Number.NEGATIVE_INFINITY
  /** Rows from before are left out; undefined once others have come. */
  #heldUntil: bigint | undefined
  #broken: Array<BrokenSink> = []

  constructor(key: FeedSessionKey, options: LiveSessionOptions) {
    this.key = key
    this.#options = options
    this.#heldUntil = options.heldUntil
  }

  /** Up to where everything is there; undefined before the session has begun. */
  get watermark(): bigint | undefined {
    return this.#watermark
  }

  /** Sinks of the hub that failed since the last question. */
  takeBroken(): ReadonlyArray<BrokenSink> {
    const broken = this.#broken
    this.#broken = []
    return broken
  }

  #publish(entry: FeedEntry): void {
    const broken = this.#options.hub.publishNow(entry)
    if (broken.length > 0) this.#broken.push(...broken)
  }

  /** Instruments are named, claim by claim, and collected from now on. */
  list(claims: ReadonlyArray<ListingClaim>, instruments: ReadonlyArray<InstrumentId>): void {
    const fresh: Array<InstrumentId> = []
    for (const [i, { nativeId, rawSymbol }] of claims.entries()) {
      const id = instruments[i]!
      if (rawSymbol !== undefined && !this.#listed.has(rawSymbol)) fresh.push(id)
      if (rawSymbol !== undefined) this.#listed.set(rawSymbol, id)
      if (nativeId !== undefined) this.#listed.set(String(nativeId), id)
    }
    if (fresh.length === 0) return
    if (this.#watermark === undefined) this.#early.push(...fresh)
    else this.#join(fresh, this.#watermark)
  }

  #join(instruments: ReadonlyArray<InstrumentId>, at: bigint): void {
    this.#publish({ _tag: "InstrumentsJoined", session: this.key, instruments, at })
  }

  /** Rows, and with them the proof that everything before them was there. `now`: milliseconds of any clock. */
  add(told: MarketBatch, now: number): void {
    const clock = this.#options.provider.capabilities.indexClock ?? "ts_recv"
    const batch = this.#heldUntil === undefined ? told : this.#skip(told, clock, this.#heldUntil)
    if (batch.length === 0) return
    const { first, last } = indexTimes(batch, clock)
    if (this.#watermark === undefined) this.#begin((UnixNanos.floorMicros(first) + 1n) * UnixNanos.PerMicro)
    this.#publish({ _tag: "FeedRows", session: this.key, batch })
    const at = UnixNanos.floorMicros(last) * UnixNanos.PerMicro
    if (at <= this.#watermark!) return
    this.#watermark = at
    this.mark(now)
  }

  /** Leaves out what the session before holds. Where such rows come, whatever follows its end is complete. */
  #skip(batch: MarketBatch, clock: "ts_recv" | "ts_event", heldUntil: bigint): MarketBatch {
    const fresh = since(batch, clock, heldUntil)
    if (fresh.length < batch.length && this.#watermark === undefined) this.#begin(heldUntil)
    if (fresh.length > 0) this.#heldUntil = undefined
    return fresh
  }

  /** Tells the watermark, where that is due. */
  mark(now: number): void {
    if (this.#watermark === undefined || this.#watermark <= this.#told) return
    if (now < this.#toldAt + MarkMillis && now >= this.#toldAt) return
    this.#told = this.#watermark
    this.#toldAt = now
    this.#publish({ _tag: "Watermark", session: this.key, at: this.#watermark })
  }

  /**
   * The session holds what comes after the microsecond of its first row: others of that moment may have come before it. Where a
   * replay began before the end of the session before, it holds everything from there on.
   */
  #begin(at: bigint): void {
    const { provider, selection } = this.#options
    this.#watermark = at
    this.#told = at
    const { dataset, schema } = selection
    this.#publish({
      _tag: "SessionStarted",
      session: this.key,
      provider: provider.id,
      dataset,
      schema,
      at
    })
    if (this.#early.length > 0) this.#join(this.#early, at)
    this.#early = []
  }

  /** Symbols that are collected no longer. */
  leave(symbols: ReadonlyArray<string>): void {
    const instruments = symbols.flatMap((symbol) => this.#listed.get(symbol) ?? [])
    if (instruments.length === 0) return
    if (this.#watermark === undefined) this.#early = this.#early.filter((id) => !instruments.includes(id))
    else this.#publish({ _tag: "InstrumentsLeft", session: this.key, instruments, at: this.#watermark })
  }

  /** A loss that the provider tells. Symbols that the session does not know were never held: they need no exception. */
  miss({ cause, range, symbols }: Gap): void {
    if (this.#watermark === undefined) return
    const instruments = symbols?.flatMap((symbol) => this.#listed.get(symbol) ?? [])
    if (instruments?.length === 0) return
    this.#publish({ _tag: "RowsMissing", session: this.key, instruments, range, cause })
  }

  /** Trades whose numbers show that they did not come. */
  missRows({ instrument, range }: SequenceHole): void {
    if (this.#watermark === undefined) return
    const instruments = [instrument]
    this.#publish({ _tag: "RowsMissing", session: this.key, instruments, range, cause: "sequence" })
  }

  /** The end, where it has begun. */
  end(): void {
    if (this.#watermark === undefined) return
    this.mark(Number.POSITIVE_INFINITY)
    this.#publish({ _tag: "SessionEnded", session: this.key })
  }
}

/** The rows of a batch from a time on, on the index clock; the batch itself where all are. */
const since = (batch: MarketBatch, clock: "ts_recv" | "ts_event", time: bigint): MarketBatch => {
  if (!isSelectable(batch)) return batch
  const { tsEvent, tsRecv } = batch.columns
  const rows: Array<number> = []
  for (let row = 0; row < batch.length; row++) {
    const captured = clock === "ts_recv" && tsRecv[row] !== ABSENT_I64 ? tsRecv[row]! : tsEvent[row]!
    if (captured >= time) rows.push(row)
  }
  return rows.length === batch.length ? batch : selectRows(batch, rows)
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
