/** One subscription of a transport in memory: a place in the log, with the operator of its kind behind it. */
import { batchContext } from "./BatchContext.ts"
import type { MarketBatch } from "./MarketBatch.ts"
import type { RowKind } from "./MarketSchema.ts"
import type { MemoryLog } from "./MemoryLog.ts"
import { AllSymbols } from "./Provider.ts"
import { quoteBuilder } from "./QuoteBatch.ts"
import type {
  StartPosition,
  SubscriptionEvent,
  SubscriptionId,
  SubscriptionInfo,
  SubscriptionKind
} from "./Subscription.ts"
import { filterEvents, TradeFilter } from "./SubscriptionKindFiltered.ts"
import { SymbolSelection, topic } from "./SubscriptionKindTopic.ts"
import { startPosition } from "./SubscriptionRequest.ts"
import * as SymbolText from "./SymbolText.ts"
import { tradeBuilder } from "./TradeBatch.ts"

/** What is published of one kind of rows. */
export interface MemoryChannelState {
  readonly kind: RowKind
  readonly log: MemoryLog
  /** Everything before this position is in the store. */
  readonly durable: number
  /** Nobody publishes any more. */
  readonly isClosed: boolean
}

/** Who subscribes, and to what. */
export interface MemoryCursorOptions {
  readonly kind: SubscriptionKind
  readonly start: StartPosition | undefined
  readonly clientId: string
  /** ns since the epoch. */
  readonly createdAt: bigint
}

const noneSuppressed = { quantity: 0n, priceChange: 0n, throttle: 0n }
const none: ReadonlyArray<SubscriptionEvent> = []

/** A subscription. For one reader. */
export class MemoryCursor {
  readonly id: SubscriptionId = globalThis.crypto.randomUUID()
  readonly #channel: MemoryChannelState
  readonly #options: MemoryCursorOptions
  readonly #selection: SymbolSelection
  readonly #filter: TradeFilter | undefined
  readonly #start: number
  /** Position of the next row, and the entry that has it. */
  #position: number
  #entry: number
  #pending: Array<SubscriptionEvent> = []
  #delivered = 0n
  #lost = 0n
  #gaps = 0n
  #isEndTold = false
  #closed = false
  #waiter: (() => void) | undefined

  constructor(channel: MemoryChannelState, options: MemoryCursorOptions) {
    this.#channel = channel
    this.#options = options
    const { kind, start } = options
    this.#selection = new SymbolSelection(kind.symbols)
    this.#filter = kind._tag === "Filtered" ? new TradeFilter(kind) : undefined
    const { log } = channel
    const at = startPosition(kind, start)
    this.#start = at._tag === "Sequence" ? Number(at.sequence) : placeOf(channel, at)
    this.#position = Math.max(this.#start, log.oldest)
    this.#entry = this.#position === log.written ? log.nextEntry : log.entryAt(this.#position)
    if (this.#position > this.#start) this.#pending.push(this.#lose(this.#start, this.#position, "expired"))
    if (at._tag === "LastPerSymbol") this.#pending.push(...this.#snapshot(at.count))
  }

  get isClosed(): boolean {
    return this.#closed
  }

  get info(): SubscriptionInfo {
    const { clientId, createdAt, kind } = this.#options
    return {
      id: this.id,
      clientId,
      kind: { ...kind, symbols: this.#selection.symbols },
      createdAt,
      delivered: this.#filter?.delivered ?? this.#delivered,
      suppressed: this.#filter?.suppressed ?? noneSuppressed,
      lost: this.#lost,
      gaps: this.#gaps,
      lag: BigInt(this.#channel.log.written - this.#position),
      durable: BigInt(this.#channel.durable),
      position: BigInt(this.#position),
      start: BigInt(this.#start)
    }
  }

  /** Milliseconds until a throttled trade is due, or undefined. */
  get dueIn(): number | undefined {
    const due = this.#filter?.nextDue
    return due === undefined ? undefined : Math.max(0, due - performance.now())
  }

  /** What has arrived, at most `limit` rows. */
  poll(limit: number): ReadonlyArray<SubscriptionEvent> {
    if (this.#closed) return none
    const events = this.#read(limit)
    return this.#filter === undefined ? events : filterEvents(this.#filter, events, performance.now())
  }

  /** Wants further symbols; says what speaks against it. */
  addSymbols(symbols: ReadonlyArray<string>): string | undefined {
    if (this.#options.kind._tag === "SnapshotDelta") return onlyOnce
    this.#selection.add(symbols)
    return undefined
  }

  /** Wants symbols no longer; says what speaks against it. */
  removeSymbols(symbols: ReadonlyArray<string>): string | undefined {
    if (this.#options.kind._tag === "SnapshotDelta") return onlyOnce
    const problem = this.#selection.removalProblem(symbols)
    if (problem === undefined) this.#selection.remove(symbols)
    return problem
  }

  /** Calls back once, as soon as `poll` may have something. Returns how to stop waiting. */
  wait(callback: () => void): () => void {
    if (this.#hasSomething || this.#closed) {
      callback()
      return () => {}
    }
    this.#waiter = callback
    return () => {
      this.#waiter = undefined
    }
  }

  /** Something was published. */
  wake(): void {
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.()
  }

  close(): void {
    this.#closed = true
    this.wake()
  }

  get #hasSomething(): boolean {
    const { isClosed, log } = this.#channel
    return this.#pending.length > 0 || this.#entry < log.nextEntry || (isClosed && !this.#isEndTold)
  }

  #read(limit: number): ReadonlyArray<SubscriptionEvent> {
    if (this.#pending.length > 0) {
      const events = this.#pending
      this.#pending = []
      return events
    }
    const { isClosed, log } = this.#channel
    const events: Array<SubscriptionEvent> = []
    if (this.#entry < log.firstEntry) {
      const { first } = log.entry(log.firstEntry)
      if (first > this.#position) events.push(this.#lose(this.#position, first, "overrun"))
      this.#position = first
      this.#entry = log.firstEntry
    }
    let room = limit
    while (room > 0 && this.#entry < log.nextEntry) room -= this.#readEntry(room, events)
    if (events.length === 0 && isClosed && !this.#isEndTold) {
      this.#isEndTold = true
      events.push({ _tag: "ProducerLost", cause: "closed" })
    }
    return events
  }

  /** Takes at most `room` rows of the entry at hand; gives how many were looked at. */
  #readEntry(room: number, events: Array<SubscriptionEvent>): number {
    const { event, first, rows } = this.#channel.log.entry(this.#entry)
    if (event._tag !== "Batch") {
      this.#entry += 1
      const { dataset, symbols } = event._tag === "Gap" ? event.gap : event.repaired
      if (this.#concerns(symbols, dataset)) events.push(event)
      return 0
    }
    const from = this.#position - first
    const to = Math.min(rows, from + room)
    const part = from === 0 && to === rows ? event.batch : event.batch.slice(from, to)
    this.#position = first + to
    if (to === rows) this.#entry += 1
    const wanted = topic(this.#selection, part)
    if (wanted !== undefined) {
      this.#delivered += BigInt(wanted.length)
      events.push({ _tag: "Batch", batch: wanted })
    }
    return to - from
  }

  /** Whether a gap is one of wanted symbols; of all symbols it concerns everybody. */
  #concerns(symbols: ReadonlyArray<string> | undefined, dataset: string): boolean {
    if (symbols === undefined || this.#selection.isAll) return true
    return symbols.some((symbol) => {
      const { rawSymbol } = SymbolText.parse(symbol)
      return this.#selection.matches(SymbolText.make(dataset, rawSymbol), rawSymbol)
    })
  }

  #lose(from: number, to: number, cause: string): SubscriptionEvent {
    this.#lost += BigInt(to - from)
    this.#gaps += 1n
    return { _tag: "Lost", from: BigInt(from), to: BigInt(to), cause }
  }

  #snapshot(depth: number): ReadonlyArray<SubscriptionEvent> {
    const known = this.#channel.log.last(this.#selection, depth)
    const events: Array<SubscriptionEvent> = []
    const seen = new Set<string>()
    for (const [symbol, { batch, replayed }] of known) {
      seen.add(symbol).add(SymbolText.parse(symbol).rawSymbol)
      const complete = batch.length >= depth
      events.push({ _tag: "Snapshot", symbol, batch, complete, ...(replayed === 0 ? {} : { replayed }) })
      this.#delivered += BigInt(batch.length)
    }
    events.sort((a, b) => (symbolOf(a) < symbolOf(b) ? -1 : 1))
    for (const symbol of this.#selection.symbols)
      if (symbol !== AllSymbols && !seen.has(symbol))
        events.push({
          _tag: "Snapshot",
          symbol,
          batch: noRows(this.#channel.kind, symbol),
          complete: depth === 0
        })
    return events
  }
}

const onlyOnce = "a snapshot is taken once: subscribe to the other symbols anew"

const symbolOf = (event: SubscriptionEvent): string => (event._tag === "Snapshot" ? event.symbol : "")

/** Where reading starts that is not at a number. */
const placeOf = ({ durable, log }: MemoryChannelState, start: StartPosition): number => {
  switch (start._tag) {
    case "Oldest":
      return log.oldest
    case "Time":
      return log.positionAt(Number(start.time / 1_000_000n))
    case "Durable":
      return Math.max(durable, log.oldest)
    default:
      return log.written
  }
}

const noRows = (kind: RowKind, symbol: string): MarketBatch => {
  const context = batchContext({ provider: "", dataset: SymbolText.parse(symbol).dataset ?? "" })
  return kind === "quotes" ? quoteBuilder(context, 1).flush() : tradeBuilder(context, 1).flush()
}
