/**
 * A made-up market that never ends and goes by the wall clock: one trade every `step` nanoseconds since its begin, what they
 * are like taken over and over from a synthetic day. A pure function of its options: what was traded at a moment is the same
 * in every process, after every restart, so whoever received it can be compared with it row by row.
 *
 * Cheap by design: records are encoded once, and only their times and sequences change.
 */
import { dateOfDay, dayOfNanos, NANOS_PER_DAY } from "../dbn/IsoDate.ts"
import { SimulatedDataset } from "./Catalogue.ts"
import { SymbolDirectory } from "./SymbolDirectory.ts"
import { SyntheticMarket, type SyntheticMarketOptions, TICK, venueLatency } from "./SyntheticMarket.ts"

/** What the market is like. */
export interface EndlessMarketOptions extends Pick<SyntheticMarketOptions, "dataset" | "symbols" | "seed"> {
  /** Trades per second; the time between two of them is rounded to whole nanoseconds. */
  readonly rate: number
  /** When it began, ns since the epoch. */
  readonly since: bigint
  /** Trades until they repeat, other than by time and sequence; default 262,144 or more for many symbols. */
  readonly period?: number | undefined
}

/** One trade, as it is stored. */
export interface EndlessTrade {
  /** Place in `instruments` of the market. */
  readonly instrument: number
  readonly publisher: number
  readonly sequence: number
  /** Price in cents. */
  readonly ticks: number
  readonly size: number
  /** 0 none, 1 buy, 2 sell. */
  readonly side: 0 | 1 | 2
  /** ns since the epoch. */
  readonly tsEvent: bigint
  readonly tsRecv: bigint
}

/** What trades of one instrument add up to. */
export interface EndlessSum {
  rows: number
  /** Sum of sizes. */
  sizes: number
  /** Sum of prices in cents. */
  ticks: number
  /** Sum of the hashes of the rows, see `hashSql`. */
  hashes: number
}

/** Words of 4 bytes per record. */
export const TRADE_WORDS = 12
const LeastPeriod = 1 << 18
/** Days from the begin on for which symbols are known. */
const Days = 30
const Prime = 2_147_483_647
const Factor = 48_271
const TWO_32 = 4294967296
const NanosPerSecond = 1_000_000_000

/** One market. */
export class EndlessMarket {
  /** Instruments, dataset and publishers: those of the synthetic day. */
  readonly day: SyntheticMarket
  readonly since: bigint
  /** Time between two trades, ns. */
  readonly step: number
  /** Trades until they repeat. */
  readonly period: number
  /** The records of a period, times and sequences left open. */
  readonly words: Int32Array<ArrayBuffer>
  /** How much later than the venue each of them is received, ns. */
  readonly #lags: Int32Array
  readonly #firstId: number
  readonly #sinceLow: number
  readonly #sinceHigh: number

  /** Throws `DbnError` `usage` for options that make no market. */
  constructor(options: EndlessMarketOptions) {
    const { dataset, rate, seed, since } = options
    const symbols = options.symbols ?? 200
    this.since = since
    this.step = Math.max(1, Math.round(NanosPerSecond / rate))
    this.period = options.period ?? Math.max(LeastPeriod, 16 * symbols)
    const date = dateOfDay(dayOfNanos(since))
    this.day = new SyntheticMarket({ dataset, seed, symbols, date, trades: this.period })
    this.words = recordsOf(this.day)
    this.#firstId = this.day.instruments[0]!.id
    const lagOf = new Map(this.day.publishers.map(({ id }, i) => [id, venueLatency(i)]))
    this.#lags = Int32Array.from(
      { length: this.period },
      (_, row) => lagOf.get(this.words[row * TRADE_WORDS]! >>> 16)!
    )
    this.#sinceLow = Number(since & 0xffffffffn)
    this.#sinceHigh = Number(since >> 32n)
  }

  /** Number of the first trade at or after a time, from 0. */
  firstAt(time: bigint): number {
    const passed = time - this.since
    return passed <= 0n ? 0 : Math.ceil(Number(passed) / this.step)
  }

  /** When a trade is received, ns since the epoch. */
  timeOf(row: number): bigint {
    return this.since + BigInt(row) * BigInt(this.step)
  }

  /**
   * Writes times and sequences of trades `[row, row + rows)` into records of a period, of which they must be one stretch:
   * `row % period + rows <= period`.
   */
  stamp(words: Int32Array, row: number, rows: number): void {
    const first = row % this.period
    let at = first * TRADE_WORDS
    let received = this.#sinceLow + row * this.step
    for (let i = 0; i < rows; i++, at += TRADE_WORDS, received += this.step) {
      const event = received - this.#lags[first + i]!
      words[at + 2] = event | 0
      words[at + 3] = this.#sinceHigh + Math.floor(event / TWO_32)
      words[at + 8] = received | 0
      words[at + 9] = this.#sinceHigh + Math.floor(received / TWO_32)
      words[at + 11] = row + i
    }
  }

  /** A trade, for those who look at few. */
  trade(row: number): EndlessTrade {
    const place = row % this.period
    const at = place * TRADE_WORDS
    const tsRecv = this.timeOf(row)
    return {
      instrument: this.words[at + 1]! - this.#firstId,
      publisher: this.words[at]! >>> 16,
      sequence: row % TWO_32,
      ticks: this.#ticks(at),
      size: this.words[at + 6]!,
      side: this.#side(at),
      tsEvent: tsRecv - BigInt(this.#lags[place]!),
      tsRecv
    }
  }

  /** What trades `[from, to)` that pass add up to, by the place of their instrument. */
  sums(from: number, to: number, passes: (row: number) => boolean = () => true): ReadonlyArray<EndlessSum> {
    const sums = this.day.instruments.map(() => ({ rows: 0, sizes: 0, ticks: 0, hashes: 0 }))
    for (let row = from; row < to; row++) {
      if (!passes(row)) continue
      const at = (row % this.period) * TRADE_WORDS
      const sum = sums[this.words[at + 1]! - this.#firstId]!
      const ticks = this.#ticks(at)
      sum.rows += 1
      sum.sizes += this.words[at + 6]!
      sum.ticks += ticks
      sum.hashes += this.#hash(row, at, ticks)
    }
    return sums
  }

  #ticks(at: number): number {
    return (this.words[at + 5]! * TWO_32 + (this.words[at + 4]! >>> 0)) / TICK
  }

  #side(at: number): 0 | 1 | 2 {
    const letter = (this.words[at + 7]! >>> 8) & 0xff
    return letter === 0x42 ? 1 : letter === 0x41 ? 2 : 0
  }

  /** See `hashSql`: the same number from the same trade. All in doubles below 2^53. */
  #hash(row: number, at: number, ticks: number): number {
    const micros = Math.floor((Number(this.since % 1000n) + row * this.step) / 1000)
    const received = (Number((this.since / 1000n) % BigInt(Prime)) + micros) % Prime
    const content = (((row % TWO_32) * Factor + ticks) % Prime) * Factor
    const kept = (content + this.words[at + 6]! * 4 + this.#side(at)) % Prime
    return (((kept * Factor + received) % Prime) * Factor + this.#lags[row % this.period]!) % Prime
  }

  /** The market as a dataset of a simulator: live only, its past is had by replay. */
  dataset(): SimulatedDataset {
    const symbols = new SymbolDirectory()
    const first = dayOfNanos(this.since) - 1
    for (const { id, symbol } of this.day.instruments)
      symbols.learn("raw_symbol", symbol, id, first, first + Days)
    const range = {
      start: BigInt(first) * NANOS_PER_DAY,
      end: BigInt(first + Days) * NANOS_PER_DAY
    }
    return new SimulatedDataset(this.day.dataset, new Map(), symbols, range, this)
  }
}

/**
 * The hash of a stored trade in SQL, with the table of trades as `t` and of instruments as `i`: of its sequence, price,
 * size, side, and both times. Sums of it are equal where the rows are.
 */
export const hashSql = `(((
  ((((t.trade_key >> 16) & 4294967295) * ${Factor} + (t.price * i.price_unit * 100)::int8) % ${Prime}) * ${Factor}
  + t.size * 4 + t.side) % ${Prime} * ${Factor}
  + (extract(epoch FROM t.ts_recv) * 1000000)::int8 % ${Prime}) % ${Prime} * ${Factor}
  + (extract(epoch FROM t.ts_recv - t.ts) * 1000000)::int8 * 1000 + t.ts_recv_ns - t.ts_ns) % ${Prime}`

/** The trades of a day without their header. */
const recordsOf = (day: SyntheticMarket): Int32Array<ArrayBuffer> => {
  const words = new Int32Array(day.trades * TRADE_WORDS)
  const [, ...chunks] = day.tradeFile()
  let at = 0
  for (const chunk of chunks) {
    words.set(new Int32Array(chunk.buffer), at)
    at += chunk.byteLength / 4
  }
  return words
}
