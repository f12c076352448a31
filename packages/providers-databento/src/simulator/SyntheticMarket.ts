/**
 * A made-up trading day as DBN bytes: trades, top-of-book updates and the definitions of the same instruments. Pure and
 * deterministic: the same options give the same bytes on every machine. Memory does not grow with the number of rows.
 *
 * What it imitates: activity spread over symbols by Zipf's law and over the day with busy ends, prices that walk in ticks,
 * several publishers with their own sequences and latencies, sweeps (several trades of one instant), and once a day a burst
 * of trades that share one sequence number, some of them to the nanosecond and all within one microsecond: the case
 * that identity of trades has to survive.
 */
import { DbnError } from "../dbn/DbnError.ts"
import { type DbnMetadataInit, encodeMetadata } from "../dbn/DbnMetadata.ts"
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import { dateOfDay, dayOfDate, NANOS_PER_DAY } from "../dbn/IsoDate.ts"
import { type Publisher, publishers } from "../dbn/Publisher.ts"
import { blankRecord, RecordWriter } from "../dbn/RecordEncoder.ts"

/** What the day looks like. */
export interface SyntheticMarketOptions {
  /** Number of instruments, default 200. */
  readonly symbols?: number | undefined
  /** Number of trades, default 1,000,000. */
  readonly trades?: number | undefined
  /** Number of publishers; default 4, at most as many as the dataset has. */
  readonly venues?: number | undefined
  /** The UTC day, YYYYMMDD; default 20260105. */
  readonly date?: number | undefined
  /** Trading hours as nanoseconds of the day: begin and length. Default: 14:30 to 21:00. */
  readonly hours?: { readonly start: number; readonly length: number } | undefined
  /** Any integer; default 1. */
  readonly seed?: number | undefined
  /** A dataset of the publishers table; default `DBEQ.BASIC`. */
  readonly dataset?: string | undefined
  /** Bytes per chunk, default 1 MiB. */
  readonly chunkBytes?: number | undefined
}

/** One instrument of the day. */
export interface SyntheticInstrument {
  readonly id: number
  readonly symbol: string
  /** First price in ticks. */
  readonly openTicks: number
}

/** Price increment: 0.01, as a count of 1e-9. */
export const TICK = 10_000_000

const TRADE_WORDS = 12
const QUOTE_WORDS = 20
const HOUR_NANOS = 3600 * 1e9
/** Trading hours: 14:30 to 21:00 UTC. */
const HOURS = { start: 14.5 * HOUR_NANOS, length: 6.5 * HOUR_NANOS }
/** How much later than at the venue of this place among the publishers its records are received, ns: one value per venue keeps its event times in order. */
export const venueLatency = (venue: number): number => 35_000 + 61_803 * venue

/** Trades of the burst, as nanoseconds behind the first: equal ones, neighbours, all in one microsecond. */
const BURST_OFFSETS = [0, 0, 0, 1, 1, 7, 120, 120, 120, 450, 451, 451, 700, 700, 998, 999]
const FIRST_INSTRUMENT = 10_001
const TWO_32 = 4294967296

/** sfc32: small, fast, and the same everywhere because it is integer arithmetic. */
class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number, stream: number) {
    this.#a = seed | 0
    this.#b = Math.floor(seed / TWO_32) | 0
    this.#c = stream | 0
    for (let i = 0; i < 15; i++) this.next()
  }

  /** An unsigned 32-bit integer. */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    return Math.floor((this.next() / TWO_32) * bound)
  }
}

/** Draws an index with probability proportional to 1 / (index + 1), in constant time (alias method). */
class Zipf {
  readonly #threshold: Float64Array
  readonly #alias: Int32Array

  constructor(size: number) {
    const weights = Float64Array.from({ length: size }, (_, i) => 1 / (i + 1))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    this.#threshold = weights.map((weight) => (weight / total) * size)
    this.#alias = new Int32Array(size)
    const small: Array<number> = []
    const large: Array<number> = []
    for (let i = 0; i < size; i++) (this.#threshold[i]! < 1 ? small : large).push(i)
    while (small.length > 0 && large.length > 0) {
      const less = small.pop()!
      const more = large[large.length - 1]!
      this.#alias[less] = more
      this.#threshold[more]! -= 1 - this.#threshold[less]!
      if (this.#threshold[more]! < 1) small.push(large.pop()!)
    }
    for (const rest of [...small, ...large]) this.#threshold[rest] = 1
  }

  draw(random: Random): number {
    const i = random.below(this.#threshold.length)
    return random.next() / TWO_32 < this.#threshold[i]! ? i : this.#alias[i]!
  }
}

/** Ticker of an index: AA, AB, ... with as many letters as it takes. */
const ticker = (index: number): string => {
  let text = ""
  for (let rest = index + 26; rest >= 0; rest = Math.floor(rest / 26) - 1)
    text = String.fromCharCode(65 + (rest % 26)) + text
  return text
}

/**
 * Share of the session that has passed when a share of its activity has: slow in the middle, fast at both ends. A cubic
 * rather than a sine, because the last bit of Math.sin differs between engines.
 */
const clock = (share: number): number => share * (0.4 + share * (1.8 - 1.2 * share))

const usage = (text: string): DbnError => new DbnError("usage", `synthetic market: ${text}`)

const count = (value: number, what: string, least: number): number => {
  if (!Number.isSafeInteger(value) || value < least)
    throw usage(`${what} is ${value}, an integer from ${least} on is needed`)
  return value
}

/** One synthetic day. */
export class SyntheticMarket {
  readonly dataset: string
  /** YYYYMMDD, UTC. */
  readonly date: number
  readonly hours: { readonly start: number; readonly length: number }
  readonly trades: number
  readonly instruments: ReadonlyArray<SyntheticInstrument>
  readonly publishers: ReadonlyArray<Publisher>
  /** Row of the first trade of the burst, and how many trades share its sequence; 0 rows where the day is too short. */
  readonly burst: { readonly row: number; readonly rows: number }
  readonly #seed: number
  readonly #chunkBytes: number
  readonly #day: number
  readonly #zipf: Zipf

  /** Throws `DbnError` `usage` for options that make no day. */
  constructor(options: SyntheticMarketOptions = {}) {
    this.dataset = options.dataset ?? "DBEQ.BASIC"
    this.date = options.date ?? 20260105
    this.hours = options.hours ?? HOURS
    this.trades = count(options.trades ?? 1_000_000, "trades", 0)
    this.#seed = options.seed ?? 1
    this.#chunkBytes = count(options.chunkBytes ?? 1024 * 1024, "chunkBytes", 1)
    const day = dayOfDate(this.date)
    if (day === undefined || day < 0) throw usage(`${this.date} is no day since 1970, YYYYMMDD`)
    this.#day = day
    const all = publishers().filter((publisher) => publisher.dataset === this.dataset)
    if (all.length === 0) throw usage(`dataset ${JSON.stringify(this.dataset)} has no publishers`)
    this.publishers = all.slice(0, count(options.venues ?? 4, "venues", 1))
    const symbols = count(options.symbols ?? 200, "symbols", 1)
    const random = new Random(this.#seed, 1)
    this.instruments = Array.from({ length: symbols }, (_, i) => ({
      id: FIRST_INSTRUMENT + i,
      symbol: ticker(i),
      openTicks: 500 + random.below(80_000)
    }))
    this.#zipf = new Zipf(symbols)
    const rows = this.trades >= 4 * BURST_OFFSETS.length ? BURST_OFFSETS.length : 0
    this.burst = { row: Math.floor(this.trades / 2), rows }
  }

  /** Header fields of the day's files: all symbols, each mapped for the day. */
  metadata(schema: KnownSchema): DbnMetadataInit {
    const endDate = dateOfDay(this.#day + 1)
    return {
      dataset: this.dataset,
      schema,
      start: BigInt(this.#day) * NANOS_PER_DAY,
      end: BigInt(this.#day + 1) * NANOS_PER_DAY,
      stypeIn: "raw_symbol",
      stypeOut: "instrument_id",
      symbols: this.instruments.map((instrument) => instrument.symbol),
      mappings: this.instruments.map((instrument) => ({
        rawSymbol: instrument.symbol,
        intervals: [{ startDate: this.date, endDate, symbol: String(instrument.id) }]
      }))
    }
  }

  /** The definitions as one DBN file: one record per instrument, at the beginning of the day. */
  definitionFile(): Uint8Array<ArrayBuffer> {
    const writer = new RecordWriter({ version: 3 })
    writer.raw(encodeMetadata(this.metadata("definition")))
    const tsRecv = BigInt(this.#day) * NANOS_PER_DAY
    const publisher = this.publishers[0] as Publisher
    for (const instrument of this.instruments)
      writer.record(
        blankRecord("instrument_def", {
          publisherId: publisher.id,
          instrumentId: instrument.id,
          tsEvent: tsRecv,
          tsRecv,
          rawSymbol: instrument.symbol,
          exchange: publisher.venue,
          instrumentClass: "K",
          currency: "USD",
          securityType: "CS",
          minPriceIncrement: BigInt(TICK),
          displayFactor: 1_000_000_000n,
          minLotSizeRoundLot: 100,
          rawInstrumentId: BigInt(instrument.id)
        })
      )
    return writer.flush()
  }

  /** The trades as one DBN file, in chunks of their own memory; the header is the first. In the order of ts_recv. */
  *tradeFile(): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
    yield encodeMetadata(this.metadata("trades")) as Uint8Array<ArrayBuffer>
    const walk = new Walk(this, this.#zipf, this.#seed, this.#day, this.trades)
    yield* this.#chunks(this.trades, TRADE_WORDS, (words, at, row) => {
      const k = row - this.burst.row
      if (k >= 0 && k < this.burst.rows) walk.burst(k, row)
      else walk.step(row)
      walk.write(words, at, TRADE_WORDS, 0, 0x54)
    })
  }

  /** Top-of-book updates (mbp-1) as one DBN file, in chunks; every fourth of them is a trade. */
  *quoteFile(rows: number): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
    yield encodeMetadata(this.metadata("mbp-1")) as Uint8Array<ArrayBuffer>
    const walk = new Walk(this, this.#zipf, this.#seed + 1, this.#day, rows)
    yield* this.#chunks(count(rows, "rows", 0), QUOTE_WORDS, (words, at, row) => {
      walk.step(row)
      walk.write(words, at, QUOTE_WORDS, 1, row % 4 === 0 ? 0x54 : "ACM".charCodeAt(row % 3))
      walk.writeLevel(words, at + TRADE_WORDS)
    })
  }

  *#chunks(
    rows: number,
    rowWords: number,
    write: (words: Int32Array, at: number, row: number) => void
  ): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
    const perChunk = Math.max(1, Math.floor(this.#chunkBytes / (rowWords * 4)))
    for (let first = 0; first < rows; first += perChunk) {
      const last = Math.min(rows, first + perChunk)
      const words = new Int32Array((last - first) * rowWords)
      for (let row = first; row < last; row++) write(words, (row - first) * rowWords, row)
      yield new Uint8Array(words.buffer)
    }
  }
}

/** State of the day while its rows are made. */
class Walk {
  readonly #market: SyntheticMarket
  readonly #zipf: Zipf
  readonly #random: Random
  readonly #rows: number
  readonly #ticks: Int32Array
  readonly #sequences: Uint32Array
  readonly #latencies: ReadonlyArray<number>
  readonly #dayLow: number
  readonly #dayHigh: number
  /** The row being made. */
  #instrument = 0
  #publisher = 0
  #received = 0
  #size = 0
  #side = 0
  #delta = 0

  constructor(market: SyntheticMarket, zipf: Zipf, seed: number, day: number, rows: number) {
    this.#market = market
    this.#zipf = zipf
    this.#random = new Random(seed, 2)
    this.#rows = rows
    this.#ticks = Int32Array.from(market.instruments, (instrument) => instrument.openTicks)
    this.#sequences = Uint32Array.from(market.publishers, (_, i) => 1000 * (i + 1))
    this.#latencies = market.publishers.map((_, i) => venueLatency(i))
    const midnight = BigInt(day) * NANOS_PER_DAY
    this.#dayLow = Number(midnight & 0xffffffffn)
    this.#dayHigh = Number(midnight >> 32n)
  }

  /** The next ordinary row. */
  step(row: number): void {
    const random = this.#random
    const isSweep = row > 0 && (random.next() & 15) === 0
    if (!isSweep) {
      this.#instrument = this.#zipf.draw(random)
      this.#publisher = random.below(this.#latencies.length)
      const share = (row + random.next() / TWO_32) / this.#rows
      const { length, start } = this.#market.hours
      const at = start + Math.floor(length * clock(share))
      this.#received = Math.max(this.#received, at)
      this.#side = sideOf(random.next() & 31)
      this.#delta = 8_000 + random.below(12_000)
    }
    this.#sequences[this.#publisher]! += isSweep ? 1 : 1 + (random.next() & 3)
    const move = isSweep ? sweepStep(this.#side) : stepOf(random.next() & 31)
    const ticks = this.#ticks[this.#instrument]! + move
    this.#ticks[this.#instrument] = Math.max(ticks, 100)
    this.#size = sizeOf(random)
  }

  /** Row `k` of the burst: one instrument, one venue, one sequence, one microsecond of event time. */
  burst(k: number, row: number): void {
    if (k === 0) {
      this.step(row)
      this.#publisher = 0
      this.#sequences[0]! += 1
      const event = this.#received - this.#latencies[0]!
      this.#received += (1000 - (event % 1000)) % 1000
    } else {
      this.#received += BURST_OFFSETS[k]! - BURST_OFFSETS[k - 1]!
      this.#size = sizeOf(this.#random)
    }
  }

  /** Writes the fields that trades and book updates share. */
  write(words: Int32Array, at: number, length: number, rtype: number, action: number): void {
    const publisher = this.#market.publishers[this.#publisher]!.id
    const price = this.#ticks[this.#instrument]! * TICK
    words[at] = length | (rtype << 8) | (publisher << 16)
    words[at + 1] = this.#market.instruments[this.#instrument]!.id
    this.#time(words, at + 2, this.#received - this.#latencies[this.#publisher]!)
    words[at + 4] = price | 0
    words[at + 5] = Math.floor(price / TWO_32)
    words[at + 6] = this.#size
    // Flags: last record of the event; depth 0.
    words[at + 7] = action | (this.#side << 8) | (0x80 << 16)
    this.#time(words, at + 8, this.#received)
    words[at + 10] = this.#delta
    words[at + 11] = this.#sequences[this.#publisher]!
  }

  /** Writes one level around the price. */
  writeLevel(words: Int32Array, at: number): void {
    const ticks = this.#ticks[this.#instrument]!
    const bid = (ticks - 1) * TICK
    const ask = (ticks + 1) * TICK
    words[at] = bid | 0
    words[at + 1] = Math.floor(bid / TWO_32)
    words[at + 2] = ask | 0
    words[at + 3] = Math.floor(ask / TWO_32)
    words[at + 4] = 100 * (1 + this.#random.below(20))
    words[at + 5] = 100 * (1 + this.#random.below(20))
    words[at + 6] = 1 + this.#random.below(9)
    words[at + 7] = 1 + this.#random.below(9)
  }

  /** Nanoseconds of the day as 64 bits since the epoch. */
  #time(words: Int32Array, at: number, nanos: number): void {
    const low = this.#dayLow + (nanos % TWO_32)
    words[at] = low | 0
    words[at + 1] = this.#dayHigh + Math.floor(nanos / TWO_32) + (low >= TWO_32 ? 1 : 0)
  }
}

/** Buyers and sellers alike; two in thirty-two unknown, as auctions and off-exchange prints are. */
const sideOf = (draw: number): number => (draw < 2 ? 0x4e : draw % 2 === 0 ? 0x41 : 0x42)

/** Price moves in ticks: mostly none, rarely two, as often up as down. `draw` is one of 32. */
const stepOf = (draw: number): number =>
  draw < 18 ? 0 : draw < 24 ? 1 : draw < 30 ? -1 : draw === 30 ? 2 : -2

/** An order that takes level after level: buyers move the price up, sellers down. */
const sweepStep = (side: number): number => (side === 0x42 ? 1 : side === 0x41 ? -1 : 0)

/** Round lots mostly, odd lots often. */
const sizeOf = (random: Random): number => {
  const draw = random.next()
  return (draw & 3) === 0 ? 1 + ((draw >>> 8) % 99) : 100 * (1 + ((draw >>> 8) & 7))
}

/**
 * Date and hours of a day whose trading has just ended at `now` (ns since the epoch): a gateway still replays all of it. At most four
 * hours, within one UTC day.
 */
export const recentDay = (
  now: bigint
): { readonly date: number; readonly hours: { readonly start: number; readonly length: number } } => {
  const today = Number(now / NANOS_PER_DAY)
  const passed = Number(now % NANOS_PER_DAY)
  // A minute for clocks, and for records that are received a little later than they happened.
  const end = passed - HOUR_NANOS / 60
  return end >= HOUR_NANOS
    ? { date: dateOfDay(today), hours: hoursUntil(end) }
    : { date: dateOfDay(today - 1), hours: hoursUntil(24 * HOUR_NANOS - HOUR_NANOS / 60) }
}

const hoursUntil = (end: number) => {
  const start = Math.max(0, end - 4 * HOUR_NANOS)
  return { start: Math.floor(start), length: Math.floor(end - start) }
}
