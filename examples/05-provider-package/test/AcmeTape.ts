/** The trades that Acme has on this machine: made up, the same for the same seed, and made into batches without the provider. */
import {
  ABSENT_I64,
  batchContext,
  Decimal,
  LocalInstruments,
  Side,
  type TradeBatch,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"

/** One trade, as Acme writes it. */
export interface TapeTrade {
  readonly symbol: string
  readonly id: string
  readonly time: string
  readonly price: string
  readonly size: string
  readonly side: "buy" | "sell" | "none"
}

export const symbols = ["BTC-EUR", "ETH-EUR", "SOL-EUR"]
/** Time of the first trade. */
export const start = UnixNanos.parse("2026-01-05T14:30")!

/** Numbers of a linear congruential generator: enough for made-up trades. */
const numbers = (seed: number) => {
  let state = seed >>> 0
  return (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** Trades a few milliseconds apart; every third shares its microsecond with the one before. */
export const makeTape = (count: number, seed = 1): ReadonlyArray<TapeTrade> => {
  const random = numbers(seed)
  const ids = symbols.map((_, i) => 1000n * BigInt(i + 1))
  const prices = [8_123_456n, 250_000n, 14_000n]
  const tape: Array<TapeTrade> = []
  let time = start
  for (let i = 0; i < count; i++) {
    const which = i < symbols.length ? i : random(symbols.length)
    if (i > 0) {
      const inMicro = 999 - UnixNanos.nanosOfMicro(time)
      time += BigInt(i % 3 === 0 ? random(inMicro + 1) : 1_000 + random(5_000_000))
    }
    ids[which]! += 1n
    prices[which]! += BigInt(random(7) - 3)
    tape.push({
      symbol: symbols[which]!,
      id: `${ids[which]}`,
      time: `${time}`,
      price: Decimal.format(Decimal.make(prices[which]!, -2)),
      size: Decimal.format(Decimal.make(BigInt(random(1_000_000) + 1), -6)),
      side: (["buy", "sell", "none"] as const)[random(3)]!
    })
  }
  return tape
}

/** The tape as one batch of a provider with this id. */
export const batchOf = (tape: ReadonlyArray<TapeTrade>, provider: string, dataset: string): TradeBatch => {
  const { directory, register } = LocalInstruments.make()
  const valid = { start, end: UnixNanos.Max }
  const claims = symbols.map((rawSymbol) => ({
    provider,
    dataset,
    rawSymbol,
    valid,
    defaultPriceScale: 8,
    defaultSizeScale: 8
  }))
  const ids = new Map(Effect.runSync(register(claims)).map(({ id, rawSymbol }) => [rawSymbol, id]))
  const context = batchContext({ provider, dataset, keyKind: "venue-id", instruments: directory })
  const builder = tradeBuilder(context, tape.length)
  const c = builder.columns
  for (const [i, { id, price, side, size, symbol, time }] of tape.entries()) {
    const exactPrice = Decimal.parse(price)!
    const exactSize = Decimal.parse(size)!
    c.instrument[i] = ids.get(symbol)!
    c.tsEvent[i] = BigInt(time)
    c.tsRecv[i] = ABSENT_I64
    c.tradeKey[i] = BigInt(id)
    c.price[i] = exactPrice.mantissa
    c.priceExponent[i] = exactPrice.exponent
    c.size[i] = exactSize.mantissa
    c.sizeExponent[i] = exactSize.exponent
    c.side[i] = side === "buy" ? Side.Buy : side === "sell" ? Side.Sell : Side.None
  }
  builder.length = tape.length
  return builder.flush()
}
