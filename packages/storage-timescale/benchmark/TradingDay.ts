/**
 * Trades as feeds bring them, the same ones in every run: symbols by Zipf's law, bursts of one aggressor, prices that walk in
 * ticks of 0.01.
 *
 * - `equities`: a direct feed. Nanoseconds; captures some 100 us after the event, with a tail; sequence numbers that count
 *   every message of the venue, some thirty to a trade; odd and round lots.
 * - `crypto`: an exchange's archive. Microseconds, no captures, ids that count the trades of a symbol, sizes of 0.00001.
 */
import {
  ABSENT_I32,
  ABSENT_I64,
  type BatchContext,
  batchContext,
  type TradeBatch,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"

/** What a day is like. */
export interface DayOptions {
  readonly rows: number
  /** Default `equities`. */
  readonly feed?: keyof typeof feeds | undefined
  /** Ids of the instruments, the most traded one first. */
  readonly ids: ReadonlyArray<number>
  /** All of them as they happen, or one symbol after the other, each in time order. Default `time`. */
  readonly order?: "time" | "symbol" | undefined
  /** Every symbol trades as often as any other. Default false: by Zipf's law. */
  readonly even?: boolean | undefined
  /** Venues at which every symbol trades, as in a consolidated feed. Default 1. */
  readonly publishers?: number | undefined
  /** 00:00 UTC. Default 2026-01-05. */
  readonly day?: bigint | undefined
}

/** Datasets of the feeds, and the scales that their ticks and lots need. */
export const feeds = {
  equities: { dataset: "BENCH.EQUITIES", keyKind: "sequenced", priceScale: 2, sizeScale: 0 },
  crypto: { dataset: "BENCH.CRYPTO", keyKind: "venue-id", priceScale: 2, sizeScale: 5 }
} as const

/** Who provides them. */
export const provider = "bench"

export const defaultDay = UnixNanos.parse("2026-01-05")!
const open = 14.5 * 3600e9
const sessionNanos = 6.5 * 3600e9

/** The time in which the trades of a day lie. */
export const sessionOf = (day: bigint = defaultDay) => ({
  start: day + BigInt(open),
  end: day + BigInt(open + sessionNanos)
})

/** Share of the trades that go on with the one before. */
const inBurst = 0.35
const messagesPerTrade = 30

/** Numbers from 0 to 1 that look random (xorshift). */
const randomOf = (seed: number): (() => number) => {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 0x1_0000_0000
  }
}

const sharesOf = ({ ids, even }: DayOptions): ReadonlyArray<number> => {
  const weights = ids.map((_, i) => (even ? 1 : 1 / (i + 1)))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / total)
}

/** Rows of each symbol: at least one, and all of them together. */
export const countsOf = (options: DayOptions): ReadonlyArray<number> => {
  const counts = sharesOf(options).map((share) => Math.max(1, Math.floor(share * options.rows)))
  counts[0] = counts[0]! + options.rows - counts.reduce((sum, count) => sum + count, 0)
  return counts
}

/** Which symbol trades next, in time order: the first whose part of all rows reaches beyond a random number. */
const chooserOf = (options: DayOptions, random: () => number): (() => number) => {
  let reached = 0
  const ends = Float64Array.from(sharesOf(options), (share) => (reached += share))
  return () => {
    const wanted = random() * reached
    let first = 0
    let last = ends.length - 1
    while (first < last) {
      const middle = (first + last) >>> 1
      if (ends[middle]! > wanted) last = middle
      else first = middle + 1
    }
    return first
  }
}

/** One day, in batches. Its memory does not grow with the rows. */
export class TradingDay {
  readonly #options: DayOptions
  readonly #context: BatchContext
  readonly #random = randomOf(20_260_105)
  readonly #choose: () => number
  readonly #counts: ReadonlyArray<number> | undefined
  readonly #ticks: Float64Array
  /** Trades of each symbol so far. */
  readonly #traded: Float64Array
  readonly #opened: bigint
  #row = 0
  /** Rows that the symbol still has where symbols come one after the other. */
  #left = 0
  /** Of the trade before. */
  #symbol = -1
  #elapsed = 0
  #sequence = 0
  #publisher = 1
  #side = 1

  constructor(options: DayOptions) {
    const { dataset, keyKind } = feeds[options.feed ?? "equities"]
    this.#options = options
    this.#context = batchContext({ provider, dataset, keyKind })
    this.#choose = chooserOf(options, this.#random)
    this.#counts = options.order === "symbol" ? countsOf(options) : undefined
    this.#ticks = Float64Array.from(options.ids, () => 2_000 + Math.floor(this.#random() * 30_000))
    this.#traded = new Float64Array(options.ids.length).fill(1_000_000_000)
    this.#opened = sessionOf(options.day).start
  }

  /** All of its trades. */
  *batches(size: number): Generator<TradeBatch> {
    const { rows } = this.#options
    while (this.#row < rows) yield this.next(Math.min(size, rows - this.#row))
  }

  /** The next trades. */
  next(rows: number): TradeBatch {
    const builder = tradeBuilder(this.#context, rows)
    for (; builder.length < rows; builder.length++) this.#write(builder)
    return builder.flush()
  }

  #exponential(mean: number): number {
    return -Math.log(1 - this.#random()) * mean
  }

  /** The next aggressor: which symbol, when, where, buying or selling. */
  #aggress(): void {
    const { publishers = 1, rows } = this.#options
    if (this.#counts === undefined) this.#symbol = this.#choose()
    else if (this.#left === 0) {
      this.#symbol += 1
      this.#left = this.#counts[this.#symbol]!
      this.#elapsed = 0
      this.#sequence = 0
    }
    const share = this.#counts?.[this.#symbol] ?? rows
    // Bursts take no time. The last trades of a day may be late.
    const gap = this.#exponential(sessionNanos / share / (1 - inBurst))
    this.#elapsed = Math.floor(Math.min(this.#elapsed + gap, sessionNanos + 7200e9))
    this.#sequence = Math.max(
      this.#sequence + 1,
      Math.floor((this.#elapsed / sessionNanos) * rows * messagesPerTrade)
    )
    this.#publisher = 1 + Math.floor(this.#random() * publishers)
    this.#side = this.#random() < 0.06 ? 0 : 1 + Math.floor(this.#random() * 2)
  }

  #advance(): void {
    const goesOn =
      this.#random() < inBurst && this.#symbol >= 0 && (this.#counts === undefined || this.#left > 0)
    if (goesOn) {
      this.#elapsed += 1_000 + Math.floor(this.#exponential(8_000))
      this.#sequence += 1
    } else this.#aggress()
    this.#left -= 1
    this.#row += 1
  }

  /** Odd lots, round ones, and some large ones. */
  #lots(): number {
    const kind = this.#random()
    if (kind < 0.4) return 100
    if (kind < 0.85) return 1 + Math.floor(this.#random() * 99)
    return 100 * (1 + Math.floor(this.#exponential(4)))
  }

  #write(builder: ReturnType<typeof tradeBuilder>): void {
    this.#advance()
    if (this.#random() < 0.3) this.#ticks[this.#symbol]! += this.#random() < 0.5 ? -1 : 1
    const { columns: c, length: i } = builder
    c.instrument[i] = this.#options.ids[this.#symbol]!
    c.side[i] = this.#side
    if (this.#options.feed === "crypto") this.#writeCrypto(builder)
    else this.#writeEquity(builder)
  }

  #writeEquity({ columns: c, length: i }: ReturnType<typeof tradeBuilder>): void {
    const time = this.#opened + BigInt(this.#elapsed)
    c.tsEvent[i] = time
    c.tsRecv[i] = time + BigInt(90_000 + Math.floor(this.#exponential(30_000)))
    c.tsInDelta[i] = 15_000 + Math.floor(this.#exponential(5_000))
    c.tradeKey[i] = TradeKey.make(this.#publisher, this.#sequence, 0)
    c.price[i] = BigInt(this.#ticks[this.#symbol]!) * 10_000_000n
    c.priceExponent[i] = -9
    c.size[i] = BigInt(this.#lots())
    c.publisher[i] = this.#publisher
    c.flags[i] = 128
  }

  #writeCrypto({ columns: c, length: i }: ReturnType<typeof tradeBuilder>): void {
    c.tsEvent[i] = this.#opened + BigInt(Math.floor(this.#elapsed / 1_000)) * 1_000n
    c.tsRecv[i] = ABSENT_I64
    c.tsInDelta[i] = ABSENT_I32
    c.tradeKey[i] = BigInt(++this.#traded[this.#symbol]!)
    c.price[i] = BigInt(this.#ticks[this.#symbol]! * 1_000_000)
    c.priceExponent[i] = -8
    // From a lot to ten units, each power of ten as often as the next.
    c.size[i] = BigInt(Math.floor(10 ** (6 * this.#random()))) * 1_000n
    c.sizeExponent[i] = -8
  }
}
