/** Made-up trades of a made-up venue: the same for the same seed, with everything in them that providers trip over. */
import { type BatchContext, Side, type TradeBatch, TradeKey, tradeBuilder } from "@data-manager/core"
import { SeededRandom } from "./SeededRandom.ts"

/** One trade of a tape. Prices are counts of 0.01, sizes whole. */
export interface TapeTrade {
  readonly symbol: string
  /** Venue clock, ns since the epoch. */
  readonly tsEvent: bigint
  /** Capture, never before that of the trade before: the index clock of the tape. */
  readonly tsRecv: bigint
  /** The venue's number; several trades may share one, and are told apart by their order. */
  readonly sequence: number
  /** Which of the trades that share symbol, microsecond and sequence this is, from 0 on. */
  readonly ordinal: number
  readonly price: bigint
  readonly size: bigint
  readonly side: number
}

/** What a tape looks like. */
export interface TapeOptions {
  readonly symbols: ReadonlyArray<string>
  readonly trades: number
  /** Time of the first trade, ns since the epoch. */
  readonly start: bigint
  /** Any integer; default 1. */
  readonly seed?: number | undefined
}

/**
 * Trades about ten microseconds apart; about a third shares its microsecond with the one before, some of those symbol and
 * sequence, too, and some the nanosecond. The first trades take the symbols in turn, so that each has some.
 */
export const makeTape = ({ symbols, trades, start, seed = 1 }: TapeOptions): ReadonlyArray<TapeTrade> => {
  const random = new SeededRandom(seed)
  const prices = symbols.map((_, i) => BigInt(10_000 * (i + 1)))
  const tape: Array<TapeTrade> = []
  for (let i = 0; i < trades; i++) {
    const before = tape[i - 1]
    const index = i < symbols.length ? i : random.below(symbols.length)
    tape.push(next(before, i, symbols[index]!, prices[index]!, start, random))
    prices[index]! += BigInt(random.between(-3, 3))
  }
  return tape
}

const next = (
  before: TapeTrade | undefined,
  i: number,
  symbol: string,
  price: bigint,
  start: bigint,
  random: SeededRandom
): TapeTrade => {
  const values = {
    price,
    size: BigInt(random.between(1, 500)),
    side: random.pick([Side.Buy, Side.Sell, Side.None])
  }
  if (before === undefined)
    return { symbol, tsEvent: start, tsRecv: start + 300n, sequence: 1, ordinal: 0, ...values }
  if (random.chance(0.35)) {
    const step = random.chance(0.5) ? 0n : BigInt(random.below(Number(999n - (before.tsEvent % 1000n)) + 1))
    const times = { tsEvent: before.tsEvent + step, tsRecv: before.tsRecv + step }
    if (random.chance(0.6))
      return { ...before, ...times, ...values, price: before.price, ordinal: before.ordinal + 1 }
    return { symbol, ...times, sequence: before.sequence + 1, ordinal: 0, ...values }
  }
  const tsEvent = before.tsEvent + BigInt(random.between(2_000, 20_000))
  const received = tsEvent + BigInt(random.between(200, 900))
  const tsRecv = received > before.tsRecv ? received : before.tsRecv
  return { symbol, tsEvent, tsRecv, sequence: 1000 + i * 2, ordinal: 0, ...values }
}

/** Trades as a batch. */
export const batchOf = (
  context: BatchContext,
  trades: ReadonlyArray<TapeTrade>,
  instrumentOf: (symbol: string) => number
): TradeBatch => {
  const builder = tradeBuilder(context, trades.length)
  const { columns: c } = builder
  trades.forEach((trade, i) => {
    c.instrument[i] = instrumentOf(trade.symbol)
    c.tsEvent[i] = trade.tsEvent
    c.tsRecv[i] = trade.tsRecv
    c.tradeKey[i] = TradeKey.make(1, trade.sequence, trade.ordinal)
    c.price[i] = trade.price
    c.priceExponent[i] = -2
    c.size[i] = trade.size
    c.side[i] = trade.side
    c.publisher[i] = 1
  })
  builder.length = trades.length
  return builder.flush()
}
