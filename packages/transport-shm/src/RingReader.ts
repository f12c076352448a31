/**
 * A reader of one ring. Three ways to receive: `poll(limit)` for a loop of one's own, `for await`, or a callback.
 *
 * Loss is an event with the exact sequences. When the producer ends or dies the reader says so once and waits; when it
 * comes back, in the same memory or in a new segment, the reader goes on there and says so. Not for use by two threads.
 */
import { Socket } from "node:net"
import {
  AllSymbols,
  type Instrument,
  type StartPosition,
  type SubscriptionEvent,
  SymbolSelection
} from "@data-manager/core"
import { decodeControl } from "./GapRecord.ts"
import { CursorWord, type NativeCursor, PollStatus } from "./NativeAddon.ts"
import { BatchAllocator, emptyBatch, takeBatch } from "./RingBatch.ts"
import { quoteRowOffsets, type RingKind, tradeRowOffsets } from "./RingLayout.ts"
import type { RingLocation } from "./RingLocation.ts"
import { type RingSegment, RingSource, startSequence } from "./RingSegment.ts"
import * as ShmError from "./ShmError.ts"

/** How to wait: sleep at once, poll for `lingerMicros` first, or never sleep (one core at 100 %). */
export type WaitMode = "park" | "linger" | "spin"

/** A reader and what it reads. */
export interface RingReaderOptions extends RingLocation {
  readonly kind?: RingKind | undefined
  /** `DATASET:RAW_SYMBOL`, a raw symbol where unique, or `ALL_SYMBOLS` (the default). */
  readonly symbols?: ReadonlyArray<string> | undefined
  readonly start?: StartPosition | undefined
  readonly mode?: WaitMode | undefined
  /** How long `linger` polls before it sleeps; default 200. */
  readonly lingerMicros?: number | undefined
  /** Ask the producer to wait for this reader, as far as its `blockMicros` allow. */
  readonly blocking?: boolean | undefined
  /**
   * Use the memory of batches again with the next poll: for a strategy that keeps no batch. Much cheaper, because fresh
   * memory is most of the cost of a poll. Default: every batch keeps its memory.
   */
  readonly reuseMemory?: boolean | undefined
  /** How often a waiting reader looks whether the producer still lives, milliseconds; default 100. */
  readonly watchMillis?: number | undefined
  /** Name shown by `dm ring inspect`, 47 bytes at most. */
  readonly client?: string | undefined
  /** Shared between readers of one ring in a process, so that it is mapped once. */
  readonly source?: RingSource | undefined
  /** Without a row in the control file nobody wakes this reader or sees its lag; for tools that only look. */
  readonly anonymous?: boolean | undefined
}

/** Counters of a reader over all segments. */
export interface RingReaderStats {
  readonly delivered: number
  /** Records of other symbols. */
  readonly unwanted: number
  readonly lost: number
  readonly gaps: number
  /** Records published and not yet read. */
  readonly lag: number
  /** Records that referred to nothing in the dictionary: the file was tampered with. */
  readonly corrupt: number
  /** Times the producer gave up waiting for this reader. */
  readonly demoted: number
  readonly position: number
  /** Everything before this is committed in the store. */
  readonly durable: number
}

const modes = { park: 0, linger: 1, spin: 2 } as const
const Closed = 2
const Retired = 3
const spinSliceMicros = 50
const scanRounds = 16
const none: ReadonlyArray<SubscriptionEvent> = Object.freeze([])

/** Reads one ring. Methods throw `TransportError`. */
export class RingReader {
  readonly kind: RingKind
  readonly source: RingSource
  /** Sequence at which reading began. */
  readonly start: number
  readonly #options: RingReaderOptions
  readonly #selection: SymbolSelection
  readonly #allocator: BatchAllocator
  readonly #mode: WaitMode
  readonly #spinMicros: number
  #segment: RingSegment
  #cursor: NativeCursor
  #control: Float64Array
  #known = 0
  #wanted: Array<number> = []
  /** Whether the native side was ever told what is wanted; it takes everything before. */
  #isFiltering = false
  #pending: Array<SubscriptionEvent> = []
  #epoch: number
  #restart: { readonly epoch: number; readonly position: number } | undefined
  #lost: "closed" | "died" | undefined
  #checkedAt = 0
  #before = { delivered: 0, unwanted: 0, lost: 0, gaps: 0, corrupt: 0, demoted: 0 }
  #lingerUntil = 0
  #bell: Socket | undefined
  #watch: NodeJS.Timeout | undefined
  #waiter: (() => void) | undefined
  readonly #watchMillis: number
  #closed = false

  constructor(options: RingReaderOptions) {
    this.#options = options
    this.kind = options.kind ?? options.source?.kind ?? "trades"
    this.#allocator = new BatchAllocator(this.kind, options.reuseMemory)
    this.#mode = options.mode ?? "park"
    this.#spinMicros = this.#mode === "spin" ? spinSliceMicros : 0
    this.#watchMillis = options.watchMillis ?? 100
    const symbols = options.symbols ?? [AllSymbols]
    if (symbols.length === 0)
      throw ShmError.badRequest("subscribe", `no symbols; give some, or "${AllSymbols}"`)
    this.#selection = new SymbolSelection(symbols)
    this.source = options.source ?? new RingSource(options, this.kind)
    this.#segment = this.source.open()
    this.#refuseAmbiguous(symbols)
    const start = options.start ?? { _tag: "Latest" }
    this.#cursor = this.#attach(this.#segment, startSequence(this.#segment, start))
    this.#control = this.#cursor.control
    this.#epoch = this.#segment.native.info().epoch
    this.#enter()
    this.start = start._tag === "Sequence" ? Number(start.sequence) : this.position
    if (start._tag === "Sequence" && Number(start.sequence) < this.position)
      this.#pending.push({ _tag: "Lost", from: start.sequence, to: BigInt(this.position), cause: "expired" })
    if (start._tag === "LastPerSymbol") this.#pending.push(...this.snapshot(start.count))
  }

  /** The symbols that are wanted, as they were given. */
  get symbols(): ReadonlyArray<string> {
    return this.#selection.symbols
  }

  /** Wants further symbols, from the next record that has not been read on. */
  addSymbols(symbols: ReadonlyArray<string>): void {
    this.#refuseAmbiguous(symbols)
    this.#selection.add(symbols)
    this.#chooseAgain()
  }

  /** Wants these symbols no longer. */
  removeSymbols(symbols: ReadonlyArray<string>): void {
    const problem = this.#selection.removalProblem(symbols)
    if (problem !== undefined) throw ShmError.badRequest("unsubscribe", problem)
    this.#selection.remove(symbols)
    this.#chooseAgain()
  }

  /** Sequence to be read next. */
  get position(): number {
    return this.#control[CursorWord.next]!
  }

  /** Whether `close` was called. */
  get isClosed(): boolean {
    return this.#closed
  }

  get stats(): RingReaderStats {
    const control = this.#control
    const before = this.#before
    const { writeSeq, durableSeq } = this.#closed
      ? { writeSeq: control[CursorWord.written]!, durableSeq: control[CursorWord.durable]! }
      : this.#segment.native.info()
    return {
      delivered: before.delivered + control[CursorWord.delivered]!,
      unwanted: before.unwanted + control[CursorWord.suppressed]!,
      lost: before.lost + control[CursorWord.lost]!,
      gaps: before.gaps + control[CursorWord.gaps]!,
      corrupt: before.corrupt + control[CursorWord.corrupt]!,
      demoted: before.demoted + control[CursorWord.demoted]!,
      lag: Math.max(0, writeSeq - this.position),
      position: this.position,
      durable: durableSeq
    }
  }

  /**
   * What has arrived: batches of at most `limit` rows in all (4 to 8,192), gaps, restarts. Never waits; empty when there
   * is nothing. Cost without news: one native call.
   */
  poll(limit = 1_024): ReadonlyArray<SubscriptionEvent> {
    return this.#receive(limit, 0)
  }

  #receive(limit: number, spinMicros: number): ReadonlyArray<SubscriptionEvent> {
    if (this.#pending.length > 0) return this.#drainPending()
    const allocator = this.#allocator
    allocator.reset()
    for (let round = 0; round < scanRounds; round++) {
      const control = this.#control
      control[CursorWord.limit] = limit
      control[CursorWord.offset] = allocator.used
      control[CursorWord.room] = allocator.room
      if (spinMicros > 0) this.#cursor.spin(allocator.slab, spinMicros)
      else this.#cursor.poll(allocator.slab)
      const status = control[CursorWord.status]!
      if (status === PollStatus.Empty) {
        const idle = this.#idle()
        if (idle === undefined) continue
        return idle
      }
      if (status === PollStatus.Rows) return this.#rows()
      if (status === PollStatus.Gap) return [this.#lostEvent()]
      if (status === PollStatus.Dictionary) this.#learn()
      else if (status === PollStatus.Epoch) this.#newEpoch()
      else if (status < 0) throw ShmError.fromCode("poll", this.source.where, "DM_REWOUND", "write_seq")
      if (this.#pending.length > 0) return this.#drainPending()
    }
    return none
  }

  /**
   * The newest `depth` rows (1 to 8,192) of each wanted symbol before this reader's position, oldest first. Taken before the
   * first `poll` this is snapshot + delta: `poll` continues exactly behind it.
   */
  snapshot(depth: number): ReadonlyArray<SubscriptionEvent> {
    const events: Array<SubscriptionEvent> = []
    const seen = new Set<string>()
    const before = this.position
    for (const index of this.#snapshotIndexes()) {
      const instrument = this.#segment.dictionary.instruments[index]!
      seen.add(instrument.symbol).add(instrument.rawSymbol)
      events.push(this.#snapshotOf(index, instrument, before, depth))
    }
    for (const symbol of this.symbols) {
      if (symbol === AllSymbols || seen.has(symbol)) continue
      const batch = emptyBatch(this.kind, this.#segment.dictionary.emptyContext(symbol.split(":")[0]!))
      events.push({ _tag: "Snapshot", symbol, batch, complete: false })
    }
    return events
  }

  #snapshotOf(index: number, instrument: Instrument, before: number, depth: number): SubscriptionEvent {
    const control = this.#control
    const { symbol, dataset } = instrument
    const rows = this.#cursor.last(index, before, depth)
    if (rows === 0) {
      const none = emptyBatch(this.kind, this.#segment.dictionary.emptyContext(dataset))
      return { _tag: "Snapshot", symbol, batch: none, complete: false }
    }
    const taken = Math.min(rows, control[CursorWord.firstGroup + 1]!)
    const replayed = Math.min(taken, control[CursorWord.replayed]!)
    const stretch = replayed === taken ? control[CursorWord.replay]! : 0
    const context = this.#segment.context(control[CursorWord.firstGroup]!, stretch)
    const complete = control[CursorWord.complete] === 1 && taken >= depth
    const batch = takeBatch(this.kind, this.#cursor, this.#allocator, 0, taken, context)
    return { _tag: "Snapshot", symbol, batch, complete, ...(replayed === 0 ? {} : { replayed }) }
  }

  /** Calls back once, as soon as `poll` may have something. Returns how to stop waiting. One wait at a time. */
  wait(callback: () => void): () => void {
    if (this.#pending.length > 0 || this.#mode === "spin" || this.#lingers()) {
      const handle = setImmediate(callback)
      return () => clearImmediate(handle)
    }
    this.#listen()
    if (!this.#cursor.arm()) {
      const handle = setImmediate(callback)
      return () => clearImmediate(handle)
    }
    this.#waiter = callback
    this.#bell?.ref()
    this.#watch?.ref()
    return () => {
      this.#waiter = undefined
      this.#bell?.unref()
      this.#watch?.unref()
    }
  }

  /** Events until `signal` aborts or the reader is closed, as arrays of what came at once. */
  async *events(
    options: { readonly signal?: AbortSignal; readonly limit?: number } = {}
  ): AsyncGenerator<ReadonlyArray<SubscriptionEvent>> {
    const { signal, limit = 1_024 } = options
    while (!this.#closed && signal?.aborted !== true) {
      const events = this.#receive(limit, this.#spinMicros)
      if (events.length > 0) yield events
      else await this.#waited(signal)
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<ReadonlyArray<SubscriptionEvent>> {
    return this.events()
  }

  /**
   * Calls `handler` with what comes, until the returned function is called, `signal` aborts or the reader is closed. An
   * error of the ring goes to `onError`; without one it is thrown where nobody can catch it.
   */
  listen(
    handler: (events: ReadonlyArray<SubscriptionEvent>) => void,
    options: {
      readonly signal?: AbortSignal
      readonly limit?: number
      readonly onError?: (error: unknown) => void
    } = {}
  ): () => void {
    const { signal, limit = 1_024, onError } = options
    let stopped = false
    let cancel: () => void = () => {}
    const step = (): void => {
      try {
        // A busy ring must not keep the event loop from its other work: at most 16 polls in a row.
        for (let i = 0; i < 16 && !stopped && !this.#closed; i++) {
          const events = this.#receive(limit, this.#spinMicros)
          if (events.length === 0) break
          handler(events)
        }
        if (!stopped && !this.#closed) cancel = this.wait(step)
      } catch (error) {
        stop()
        if (onError === undefined) throw error
        onError(error)
      }
    }
    const stop = (): void => {
      stopped = true
      cancel()
      signal?.removeEventListener("abort", stop)
    }
    if (signal?.aborted === true) return stop
    signal?.addEventListener("abort", stop)
    step()
    return stop
  }

  /** Gives the row back and ends all waits. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#watch)
    this.#bell?.destroy()
    this.#cursor.close()
    if (this.#options.source === undefined) this.source.close()
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  // -------------------------------------------------------------------------------------------------- rows

  #drainPending(): ReadonlyArray<SubscriptionEvent> {
    const events = this.#pending
    this.#pending = []
    return events
  }

  #rows(): ReadonlyArray<SubscriptionEvent> {
    const control = this.#control
    this.#lost = undefined
    this.#lingerUntil = 0
    const events: Array<SubscriptionEvent> = []
    if (control[CursorWord.controls]! > 0) this.#gaps(events)
    const groups = control[CursorWord.groups]!
    for (let g = 0; g < groups; g++) {
      const context = this.#segment.context(
        control[CursorWord.firstGroup + 2 * g]!,
        control[CursorWord.replay]!
      )
      const rows = control[CursorWord.firstGroup + 2 * g + 1]!
      const placed = control[CursorWord.placed] === 1
      const batch = takeBatch(this.kind, this.#cursor, this.#allocator, g, rows, context, placed)
      events.push({ _tag: "Batch", batch })
    }
    return events
  }

  #gaps(events: Array<SubscriptionEvent>): void {
    const { instruments } = this.#segment.dictionary
    for (const record of this.#cursor.controls()) {
      const told = decodeControl(record, (i) => instruments[i]?.symbol ?? `#${i}`)
      events.push(told._tag === "Gap" ? { _tag: "Gap", gap: told } : { _tag: "Repaired", repaired: told })
    }
  }

  #lostEvent(): SubscriptionEvent {
    const from = BigInt(this.#control[CursorWord.gapFrom]!)
    const to = BigInt(this.#control[CursorWord.gapTo]!)
    return { _tag: "Lost", from, to, cause: "overrun" }
  }

  // -------------------------------------------------------------------------------------------------- dictionary

  #attach(segment: RingSegment, start: number): NativeCursor {
    const { client = `pid ${process.pid}`, blocking = false, anonymous = false } = this.#options
    const offsets = this.kind === "trades" ? tradeRowOffsets : quoteRowOffsets
    try {
      return segment.native.cursor(
        start,
        client,
        modes[this.#mode],
        blocking ? 1 : 0,
        anonymous ? 0 : 1,
        offsets
      )
    } catch (cause) {
      throw ShmError.fromThrown("subscribe", this.source.where, cause)
    }
  }

  /** A fresh cursor on the segment at hand: tell it what is wanted and which generation is known. */
  #enter(): void {
    this.#isFiltering = false
    this.#cursor.setEpoch(this.#epoch)
    this.#chooseAgain()
  }

  #chooseAgain(): void {
    this.#known = 0
    this.#wanted = []
    this.#learn()
  }

  #learn(): void {
    this.#segment.refresh()
    const { instruments } = this.#segment.dictionary
    for (; this.#known < instruments.length; this.#known++) {
      const instrument = instruments[this.#known]
      if (instrument === undefined) continue
      if (this.#selection.matches(instrument.symbol, instrument.rawSymbol)) this.#wanted.push(this.#known)
    }
    this.#cursor.setKnown(this.#known)
    this.#isFiltering ||= !this.#selection.isAll
    if (this.#isFiltering) this.#cursor.setFilter(Uint32Array.from(this.#wanted))
  }

  #snapshotIndexes(): ReadonlyArray<number> {
    if (!this.#selection.isAll) return this.#wanted
    const { instruments } = this.#segment.dictionary
    return instruments.flatMap((instrument, index) => (instrument === undefined ? [] : [index]))
  }

  #refuseAmbiguous(symbols: ReadonlyArray<string>): void {
    const short = new Set(symbols.filter((symbol) => !symbol.includes(":")))
    const found = new Map<string, Set<string>>()
    for (const instrument of this.#segment.dictionary.instruments) {
      if (instrument === undefined || !short.has(instrument.rawSymbol)) continue
      const full = found.get(instrument.rawSymbol) ?? new Set()
      found.set(instrument.rawSymbol, full.add(instrument.symbol))
    }
    for (const [text, full] of found) {
      if (full.size < 2) continue
      const candidates = [...full].sort().join(", ")
      throw ShmError.badRequest(
        "subscribe",
        `"${text}" names several instruments: ${candidates}; write one of these`
      )
    }
  }

  // -------------------------------------------------------------------------------------------------- producer

  /** A generation began: rows of the old one are read up to its start before the event is given. */
  #newEpoch(): void {
    const epoch = this.#segment.native.info().epoch
    const first = this.#segment.native.epochStart(epoch)
    const position = first < 0 ? this.position : first
    this.#epoch = epoch
    this.#lost = undefined
    this.#cursor.setEpoch(epoch)
    if (this.#control[CursorWord.next]! >= position) this.#pending.push(restarted(epoch, position))
    else {
      this.#cursor.setUntil(position)
      this.#restart = { epoch, position }
    }
  }

  /** Nothing to read. Undefined: look again. */
  #idle(): ReadonlyArray<SubscriptionEvent> | undefined {
    if (this.#restart !== undefined && this.position >= this.#restart.position) {
      const { epoch, position } = this.#restart
      this.#restart = undefined
      this.#cursor.setUntil(0)
      return [restarted(epoch, position)]
    }
    const state = this.#control[CursorWord.state]!
    if (state === Closed && this.#lost === undefined) return this.#tellLost("closed")
    const now = performance.now()
    if (now - this.#checkedAt < this.#watchMillis && !(state === Retired && this.#lost === undefined))
      return none
    this.#checkedAt = now
    if (state !== Closed && state !== Retired && this.#segment.native.alive()) return none
    if (this.#follow()) return this.#drainPending()
    return this.#lost === undefined ? this.#tellLost("died") : none
  }

  #tellLost(cause: "closed" | "died"): ReadonlyArray<SubscriptionEvent> {
    this.#lost = cause
    return [{ _tag: "ProducerLost", cause }]
  }

  /** Goes on in the segment that now has the name, if it is another one. */
  #follow(): boolean {
    let next: RingSegment
    try {
      next = this.source.open()
    } catch {
      return false // nobody is there yet, or not completely
    }
    if (next === this.#segment) return false
    const expected = this.position
    const continues = next.native.previousUuid === this.#segment.native.uuid
    const info = next.native.info()
    const start = continues
      ? Math.min(Math.max(expected, info.baseSeq), info.writeSeq)
      : Math.max(info.baseSeq, next.native.oldest())
    const cursor = this.#attach(next, start)
    this.#addUp()
    this.#cursor.close()
    this.#segment = next
    this.#cursor = cursor
    this.#control = cursor.control
    this.#epoch = info.epoch
    this.#restart = undefined
    this.#lost = undefined
    this.#bell?.destroy()
    this.#bell = undefined
    this.#enter()
    if (continues && start > expected) {
      this.#before.lost += start - expected
      this.#before.gaps += 1
      this.#pending.push({ _tag: "Lost", from: BigInt(expected), to: BigInt(start), cause: "overrun" })
    }
    this.#pending.push(restarted(info.epoch, start))
    return true
  }

  #addUp(): void {
    const control = this.#control
    const before = this.#before
    before.delivered += control[CursorWord.delivered]!
    before.unwanted += control[CursorWord.suppressed]!
    before.lost += control[CursorWord.lost]!
    before.gaps += control[CursorWord.gaps]!
    before.corrupt += control[CursorWord.corrupt]!
    before.demoted += control[CursorWord.demoted]!
  }

  // -------------------------------------------------------------------------------------------------- waiting

  #lingers(): boolean {
    if (this.#mode !== "linger") return false
    const now = performance.now()
    if (this.#lingerUntil === 0) this.#lingerUntil = now + (this.#options.lingerMicros ?? 200) / 1_000
    return now < this.#lingerUntil
  }

  /** Opens bell and timer; both live until the segment or the reader ends. */
  #listen(): void {
    if (this.#watch === undefined) this.#watch = setInterval(() => this.#tick(), this.#watchMillis)
    if (this.#bell !== undefined) return
    const fd = this.#cursor.bell()
    if (fd < 0) return
    const buffer = Buffer.allocUnsafe(256)
    const onread = { buffer, callback: () => this.#wake() || true }
    this.#bell = new Socket({ fd, readable: true, writable: false, onread } as ConstructorParameters<
      typeof Socket
    >[0])
    this.#bell.on("error", () => {}) // the timer still wakes this reader
    this.#bell.resume()
  }

  #wake(): boolean {
    const waiter = this.#waiter
    this.#waiter = undefined
    this.#bell?.unref()
    this.#watch?.unref()
    waiter?.()
    return true
  }

  /** Belt and braces: also finds a producer that died without ringing. */
  #tick(): void {
    if (this.#closed) return
    this.#cursor.heartbeat()
    this.#wake()
  }

  #waited(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      let cancel: () => void = () => {}
      const done = (): void => {
        cancel()
        signal?.removeEventListener("abort", done)
        resolve()
      }
      signal?.addEventListener("abort", done)
      cancel = this.wait(done)
    })
  }
}

const restarted = (epoch: number, position: number): SubscriptionEvent => ({
  _tag: "ProducerRestarted",
  epoch: BigInt(epoch),
  position: BigInt(position)
})
