/**
 * The producer of one ring: batches in, one native call each. Holds the lease of the ring's name for its life; a second
 * producer is refused. Not for use by two threads.
 */
import {
  type BatchContext,
  BatchLayout,
  type Gap,
  type Instrument,
  type MarketBatch,
  type QuoteBatch,
  QuoteLayout,
  type Repaired,
  type ReplayMark,
  type TradeBatch,
  TradeLayout
} from "@data-manager/core"
import { AllInstruments, encodeGap, encodeRepaired, MaxDataset } from "./GapRecord.ts"
import * as NativeAddon from "./NativeAddon.ts"
import { EntryType } from "./RingDictionary.ts"
import {
  assetClasses,
  keyKinds,
  MaxCapacity,
  MaxInstruments,
  MaxTextId,
  MinCapacity,
  quoteColumns,
  quoteRowOffsets,
  RecordSchema,
  type RingKind,
  replayCauses,
  segmentName,
  tradeColumns,
  tradeRowOffsets
} from "./RingLayout.ts"
import { type RingLocation, resolveLocation } from "./RingLocation.ts"
import * as ShmError from "./ShmError.ts"

/** Shape of a ring. A ring found under the name with another shape is retired; its readers move to the new one. */
export interface RingWriterOptions extends Omit<RingLocation, "owner"> {
  readonly kind?: RingKind | undefined
  /** Slots, rounded up to a power of two, 16 to 16,777,216; default 1,048,576 (trades: 64 MiB, quotes: 128 MiB). */
  readonly capacity?: number | undefined
  /** Instruments and named publishers the dictionary can hold, 1 to 65,535; default 32,768 (6 MiB). */
  readonly instruments?: number | undefined
  /** Records between two entries of the time index, at most; default 4,096. */
  readonly timeInterval?: number | undefined
  /** Longest wait per publish for readers that ask not to be overtaken, microseconds, 0 (never) to 100,000. */
  readonly blockMicros?: number | undefined
  /** Whether members of the directory's group may read. Default: the owner alone. */
  readonly groupReadable?: boolean | undefined
}

const Word = NativeAddon.ProducerWord
/** Two renewals of the dictionary within this time mean that the live instruments alone do not fit. */
const renewalPauseMs = 1_000
const provisionalCheckMs = 100
const heartbeatMs = 1_000
const encoder = new TextEncoder()

const inRange = (name: string, value: number, low: number, high: number): number => {
  if (Number.isInteger(value) && value >= low && value <= high) return value
  throw ShmError.badRequest("open", `${name} is ${value}; give a whole number from ${low} to ${high}`)
}

interface Provisional {
  readonly context: number
  readonly id: number
  readonly batch: BatchContext
}

const checkDataset = (operation: string, dataset: string): void => {
  if (encoder.encode(dataset).length > MaxDataset)
    throw ShmError.badRequest(operation, `dataset "${dataset}" is longer than ${MaxDataset} bytes`)
}

/** Publishes into one ring. Methods throw `TransportError`. */
export class RingWriter {
  readonly name: string
  readonly kind: RingKind
  readonly where: string
  readonly #native: NativeAddon.NativeProducer
  readonly #control: Float64Array
  /** Where the columns of the next batch lie. */
  readonly #offsets: Uint32Array
  readonly #entries = new Map<string, number>()
  /** Numbers of contexts in dictionary entries. */
  readonly #contexts = new Map<string, number>()
  /** Numbers under which the native side knows instruments: rows of a replay may number them in another way than live ones. */
  readonly #bindings = new Map<string, number>()
  readonly #marks = new Map<ReplayMark, number>()
  #replay: ReplayMark | undefined
  readonly #provisional = new Map<string, Provisional>()
  readonly #timer: NodeJS.Timeout
  #lastContext: BatchContext | undefined
  #lastNumber = 0
  #renewedAt = Number.NEGATIVE_INFINITY
  #checkedAt = 0

  constructor(options: RingWriterOptions) {
    const { dir, name } = resolveLocation(options)
    this.kind = options.kind ?? "trades"
    this.name = name
    this.where = `ring "${segmentName(name, this.kind)}" in ${dir}`
    const capacity = inRange("capacity", options.capacity ?? 1 << 20, MinCapacity, MaxCapacity)
    const instruments = inRange("instruments", options.instruments ?? 32_768, 1, MaxInstruments)
    const interval = inRange("timeInterval", options.timeInterval ?? 4_096, 1, MaxCapacity)
    const block = inRange("blockMicros", options.blockMicros ?? 0, 0, 100_000)
    const group = options.groupReadable === true ? 1 : 0
    const schema = RecordSchema[this.kind]
    this.#native = this.#attempt("open", (addon) =>
      addon.openProducer(
        dir,
        segmentName(name, this.kind),
        capacity,
        schema,
        instruments,
        interval,
        block,
        group,
        this.kind === "trades" ? tradeRowOffsets : quoteRowOffsets
      )
    )
    this.#control = this.#native.control
    this.#offsets = this.#native.controlWords.subarray(2 * Word.firstColumn, 2 * Word.firstMiss)
    this.#adoptEntries()
    this.#timer = setInterval(() => this.#native.heartbeat(), heartbeatMs).unref()
  }

  /** Position after the last row, over all generations. */
  get position(): number {
    return this.#control[Word.writeSeq]!
  }

  /** Generation of the producer, from 1. */
  get epoch(): number {
    return this.#control[Word.epoch]!
  }

  /** Whether this generation continues the memory of an earlier one. */
  get takenOver(): boolean {
    return this.#native.takenOver
  }

  /** Instruments whose newest row had to be found again because an earlier producer died in mid-batch. */
  get repaired(): number {
    return this.#native.repaired
  }

  /** Bytes of the ring's file. */
  get bytes(): number {
    return this.#native.bytes
  }

  /** Slots. */
  get capacity(): number {
    return this.#native.capacity
  }

  /** Rows that readers which come now can still have. */
  get kept(): number {
    return Math.min(this.capacity, this.position - this.#native.baseSeq)
  }

  /** How many times a sleeping reader was woken. */
  get wakes(): number {
    return this.#control[Word.wakes]!
  }

  /** How many times a blocking reader was given up. */
  get demotions(): number {
    return this.#control[Word.demotions]!
  }

  /** Readers connected now. */
  get connections(): number {
    return this.#native.connections()
  }

  /** Publishes all rows of a batch. Cost: one native call; dictionary work only for instruments not seen before. */
  publish(batch: MarketBatch): void {
    if (this.#provisional.size > 0) this.#nameProvisional()
    const context = batch.context === this.#lastContext ? this.#lastNumber : this.#enterContext(batch.context)
    if (batch._tag === "TradeBatch" && this.kind === "trades") this.#publishTrades(batch, context)
    else if (batch._tag === "QuoteBatch" && this.kind === "quotes") this.#publishQuotes(batch, context)
    else
      throw ShmError.badRequest("publish", `${this.where} holds ${this.kind}, the batch is a ${batch._tag}`)
  }

  /** Tells readers of rows that were lost before they came here. */
  publishGap(gap: Gap): void {
    checkDataset("publishGap", gap.dataset)
    const instruments = gap.symbols?.map((symbol) => this.#indexOfSymbol(gap.dataset, symbol)) ?? [
      AllInstruments
    ]
    // A symbol that was never published has no index: then the gap is told for all, which errs on the safe side.
    const known = instruments.includes(undefined) ? [AllInstruments] : instruments
    for (const index of known) this.#native.publishGap(encodeGap(gap, index!))
  }

  /** Tells readers that lost rows are in the store. Of symbols that were never published nobody knows, and nothing is told. */
  publishRepaired(repaired: Repaired): void {
    const { dataset, symbols } = repaired
    checkDataset("publishRepaired", dataset)
    const instruments = symbols?.flatMap((symbol) => this.#indexOfSymbol(dataset, symbol) ?? [])
    for (const index of instruments ?? [AllInstruments])
      this.#native.publishGap(encodeRepaired(repaired, index))
  }

  /** Everything before `position` is committed in the store. */
  markDurable(position: number): void {
    this.#native.markDurable(position)
  }

  /** Ends the generation in order and tells the readers. The files stay for them and for the next producer. */
  close(): void {
    clearInterval(this.#timer)
    this.#native.close()
  }

  #attempt<A>(operation: string, work: (addon: NativeAddon.NativeAddon) => A): A {
    try {
      return work(NativeAddon.load())
    } catch (cause) {
      throw ShmError.fromThrown(operation, this.where, cause)
    }
  }

  #publishTrades(batch: TradeBatch, context: number): void {
    const control = this.#control
    const memory = batch.room > 0 ? batch.buffer! : this.#locate(batch, TradeLayout, tradeColumns)
    control[Word.rows] = batch.length
    control[Word.context] = context
    control[Word.room] = batch.room
    const texts = batch.textIds === undefined ? undefined : encodeTexts(batch.textIds, batch.length)
    for (;;) {
      if (texts === undefined) this.#native.publishTrades(memory)
      else this.#native.publishTrades(memory, texts.bytes, texts.lengths)
      if (control[Word.missing] === 0) return
      this.#learn(batch, context)
    }
  }

  #publishQuotes(batch: QuoteBatch, context: number): void {
    const control = this.#control
    const memory = batch.room > 0 ? batch.buffer! : this.#locate(batch, QuoteLayout, quoteColumns)
    control[Word.rows] = batch.length
    control[Word.context] = context
    control[Word.room] = batch.room
    for (;;) {
      this.#native.publishQuotes(memory)
      if (control[Word.missing] === 0) return
      this.#learn(batch, context)
    }
  }

  /** Tells where each column lies. Returns their buffer: the one that they share, or where they lie in several, a copy in one. */
  #locate(
    batch: TradeBatch | QuoteBatch,
    layout: BatchLayout.BatchLayout,
    names: ReadonlyArray<string>
  ): ArrayBuffer {
    const columns = batch.columns as unknown as Record<string, Int8Array<ArrayBuffer>>
    const offsets = this.#offsets
    const { buffer } = columns[names[0]!]!
    // An offset beyond 4 GiB has no place in the control block.
    let shared = buffer.byteLength < 2 ** 32
    for (let k = 0; k < names.length; k++) {
      const column = columns[names[k]!]!
      offsets[k] = column.byteOffset
      shared &&= column.buffer === buffer
    }
    if (shared) return buffer
    const set = BatchLayout.allocate(layout, batch.length)
    names.forEach((name, k) => {
      const target = set.columns[name] as unknown as Int8Array
      target.set(columns[name]!.subarray(0, batch.length))
      offsets[k] = target.byteOffset
    })
    return set.buffer
  }

  /** Puts the instruments and publishers of rows that the native side did not know into the dictionary. */
  #learn(batch: TradeBatch | QuoteBatch, context: number): void {
    const { instrument, publisher } = batch.columns
    const rows = this.#control.slice(Word.firstMiss, Word.firstMiss + this.#control[Word.missing]!)
    try {
      for (const row of rows) {
        this.#nameInstrument(batch.context, context, instrument[row]!)
        this.#namePublisher(batch.context, context, publisher[row]!)
      }
    } catch (cause) {
      if (!(cause instanceof DictionaryFull)) throw cause
      this.#renew()
    }
  }

  #nameInstrument(context: BatchContext, number: number, id: number): void {
    const instrument = context.instruments.get(id)
    if (instrument === undefined)
      this.#provisional.set(`${number}\0${id}`, { context: number, id, batch: context })
    const symbol = instrument?.symbol ?? `${context.dataset}:#${id}`
    const index = this.#entryOf(EntryType.instrument, context, symbol, 0, id, instrument)
    this.#native.bindInstrument(number, id, index)
  }

  #namePublisher(context: BatchContext, number: number, publisher: number): void {
    const venue = context.venueOf(publisher)
    if (venue !== undefined)
      this.#entryOf(EntryType.publisher, context, `${context.dataset}:${venue}`, publisher, 0, undefined)
    this.#native.bindPublisher(number, publisher)
  }

  /** Ids that were published before the registry could name them get their own entry once it can. */
  #nameProvisional(): void {
    const now = performance.now()
    if (now - this.#checkedAt < provisionalCheckMs) return
    this.#checkedAt = now
    for (const [key, { context, id, batch }] of this.#provisional) {
      if (batch.instruments.get(id) === undefined) continue
      this.#provisional.delete(key)
      try {
        this.#nameInstrument(batch, context, id)
      } catch (cause) {
        if (!(cause instanceof DictionaryFull)) throw cause
        this.#renew()
        return
      }
    }
  }

  #entryOf(
    type: number,
    context: BatchContext,
    symbol: string,
    publisher: number,
    id: number,
    instrument: Instrument | undefined
  ): number {
    const entryContext = this.#contextNumber(context)
    const key = entryKey(type, entryContext, symbol, publisher)
    const known = this.#entries.get(key)
    if (known !== undefined) return known
    const index = this.#native.addEntry(
      type,
      id,
      keyKinds.indexOf(context.keyKind),
      instrument?.priceScale ?? 0,
      instrument?.sizeScale ?? 0,
      Math.max(0, assetClasses.indexOf(instrument?.assetClass ?? "unknown")),
      entryContext,
      publisher,
      symbol,
      context.provider,
      instrument?.exchange ?? "",
      encoder.encode(context.dataset).length
    )
    if (index === -9) throw new DictionaryFull()
    if (index < 0)
      throw ShmError.badRequest(
        "publish",
        `symbol "${symbol}" of ${context.provider} does not fit a dictionary entry`
      )
    this.#entries.set(key, index)
    return index
  }

  /** Goes on in a new segment with an empty dictionary; readers follow without a gap. */
  #renew(): void {
    const now = performance.now()
    if (now - this.#renewedAt < renewalPauseMs)
      throw ShmError.fromCode(
        "publish",
        this.where,
        "DM_FULL",
        "more live instruments than the dictionary can hold"
      )
    this.#renewedAt = now
    try {
      this.#native.renew()
    } catch (cause) {
      throw ShmError.fromThrown("publish", this.where, cause)
    }
    this.#entries.clear()
    this.#provisional.clear()
  }

  /** Rows of another context than before: the number to publish them under, and whether they are a replay. */
  #enterContext(context: BatchContext): number {
    const key = `${contextKey(context)}\0${this.#numberOfMark(context.replay)}`
    let number = this.#bindings.get(key)
    if (number === undefined) {
      number = context.replay === undefined ? this.#contextNumber(context) : this.#nextNumber()
      this.#bindings.set(key, number)
    }
    this.#markReplay(context.replay)
    this.#lastContext = context
    this.#lastNumber = number
    return number
  }

  /** Each replay numbers its instruments in a way of its own. */
  #numberOfMark(mark: ReplayMark | undefined): number {
    if (mark === undefined) return 0
    const known = this.#marks.get(mark)
    if (known !== undefined) return known
    const number = this.#marks.size + 1
    this.#marks.set(mark, number)
    return number
  }

  #markReplay(mark: ReplayMark | undefined): void {
    if (mark === this.#replay) return
    this.#replay = mark
    if (mark === undefined) {
      this.#native.endReplay()
      return
    }
    const { cause, range, speed } = mark
    const thousandths = Math.min(Math.round(speed * 1_000), 0xffff_ffff)
    this.#native.beginReplay(
      toI64(range.start),
      toI64(range.end),
      thousandths,
      replayCauses.indexOf(cause) + 1
    )
  }

  #contextNumber(context: BatchContext): number {
    const key = contextKey(context)
    const known = this.#contexts.get(key)
    if (known !== undefined) return known
    const number = this.#nextNumber()
    this.#contexts.set(key, number)
    return number
  }

  #nextNumber(): number {
    const number = Math.max(-1, ...this.#contexts.values(), ...this.#bindings.values()) + 1
    if (number >= 4_096) throw ShmError.badRequest("publish", "more than 4096 datasets in one ring")
    return number
  }

  /** What an earlier generation wrote into the dictionary stays as it is. */
  #adoptEntries(): void {
    let from = 0
    for (let more = this.#native.entries(0); more.length > 0; more = this.#native.entries(from)) {
      from += more.length
      for (const entry of more) {
        if (entry === null) continue
        this.#entries.set(entryKey(entry.type, entry.context, entry.symbol, entry.publisher), entry.index)
        const { context, dataset, keyKind, provider } = entry
        this.#contexts.set(contextKey({ provider, dataset, keyKind: keyKinds[keyKind] }), context)
      }
    }
  }

  #indexOfSymbol(dataset: string, text: string): number | undefined {
    const symbol = text.startsWith(`${dataset}:`) ? text : `${dataset}:${text}`
    for (const number of this.#contexts.values()) {
      const index = this.#entries.get(entryKey(EntryType.instrument, number, symbol, 0))
      if (index !== undefined) return index
    }
    return undefined
  }
}

class DictionaryFull extends Error {}

const contextKey = (context: { provider: string; dataset: string; keyKind: string | undefined }): string =>
  `${context.provider}\0${context.dataset}\0${context.keyKind}`

const toI64 = (value: bigint): bigint => BigInt.asIntN(64, value)

const entryKey = (type: number, context: number, symbol: string, publisher: number): string =>
  `${type}\0${context}\0${publisher}\0${symbol}`

const encodeTexts = (
  ids: ReadonlyArray<string>,
  length: number
): { bytes: Uint8Array; lengths: Uint8Array } => {
  const lengths = new Uint8Array(length)
  const parts: Array<Uint8Array> = []
  let total = 0
  for (let i = 0; i < length; i++) {
    const bytes = encoder.encode(ids[i] ?? "")
    if (bytes.length > MaxTextId)
      throw ShmError.badRequest("publish", `trade id "${ids[i]}" is longer than ${MaxTextId} bytes`)
    parts.push(bytes)
    lengths[i] = bytes.length
    total += bytes.length
  }
  const bytes = new Uint8Array(total)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return { bytes, lengths }
}
