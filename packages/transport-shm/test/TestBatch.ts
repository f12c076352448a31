// Batches whose every column follows from one number, so that a torn or misplaced row shows itself.
import {
  batchContext,
  directory,
  type Instrument,
  type QuoteBatch,
  quoteBuilder,
  type TradeBatch,
  tradeBuilder
} from "@data-manager/core"

const instrument = (id: number, dataset: string, rawSymbol: string): Instrument => ({
  id,
  provider: "binance",
  dataset,
  rawSymbol,
  symbol: `${dataset}:${rawSymbol}`,
  priceScale: 2,
  sizeScale: 6,
  assetClass: "crypto",
  exchange: "BINANCE"
})

/** `count` instruments with ids from 1000 on. */
export const instruments = (count: number, dataset = "BINANCE.SPOT"): ReadonlyArray<Instrument> =>
  Array.from({ length: count }, (_, i) => instrument(1000 + i, dataset, `SYM${i}`))

export const contextOf = (count: number, dataset = "BINANCE.SPOT") =>
  batchContext({
    provider: "binance",
    dataset,
    instruments: directory(instruments(count, dataset)),
    keyKind: "venue-id",
    venueOf: (publisher) => (publisher === 7 ? "XVEN" : undefined)
  })

/** A well mixed 64-bit number for row `n` and column `k`, as i64. */
export const mixed = (n: number, k: number): bigint =>
  BigInt.asIntN(64, (BigInt(n) * 0x9e3779b97f4a7c15n + BigInt(k) * 0xbf58476d1ce4e5b9n) ^ 0x94d049bb133111ebn)

type Context = ReturnType<typeof contextOf>

/** Trades `[first, first + rows)` of an endless test tape over `symbols` instruments. */
export const trades = (context: Context, symbols: number, first: number, rows: number): TradeBatch => {
  const builder = tradeBuilder(context, rows)
  const c = builder.columns
  for (let i = 0; i < rows; i++) {
    const n = first + i
    c.tsEvent[i] = mixed(n, 1)
    c.tsRecv[i] = mixed(n, 2)
    c.tradeKey[i] = BigInt(n)
    c.price[i] = mixed(n, 3)
    c.size[i] = mixed(n, 4)
    c.instrument[i] = 1000 + (n % symbols)
    c.tsInDelta[i] = n | 0
    c.publisher[i] = n % 2 === 0 ? 7 : 0
    c.priceExponent[i] = -(n % 12)
    c.sizeExponent[i] = -(n % 9)
    c.side[i] = n % 3
    c.flags[i] = n & 255
    c.depth[i] = (n >> 3) & 255
  }
  builder.length = rows
  return builder.flush()
}

/** Whether row `i` is trade `n` of the tape in every column except the instrument's number. */
export const isTrade = (batch: TradeBatch, i: number, n: number, symbols: number): boolean => {
  const c = batch.columns
  return (
    c.tradeKey[i] === BigInt(n) &&
    c.tsEvent[i] === mixed(n, 1) &&
    c.tsRecv[i] === mixed(n, 2) &&
    c.price[i] === mixed(n, 3) &&
    c.size[i] === mixed(n, 4) &&
    c.tsInDelta[i] === (n | 0) &&
    c.publisher[i] === (n % 2 === 0 ? 7 : 0) &&
    c.priceExponent[i] === 0 - (n % 12) &&
    c.sizeExponent[i] === 0 - (n % 9) &&
    c.side[i] === n % 3 &&
    c.flags[i] === (n & 255) &&
    c.depth[i] === ((n >> 3) & 255) &&
    batch.symbolAt(i) === `${batch.context.dataset}:SYM${n % symbols}`
  )
}

/** Quotes `[first, first + rows)` of the test tape. */
export const quotes = (context: Context, symbols: number, first: number, rows: number): QuoteBatch => {
  const builder = quoteBuilder(context, rows)
  const c = builder.columns
  for (let i = 0; i < rows; i++) {
    const n = first + i
    c.tsEvent[i] = mixed(n, 1)
    c.tsRecv[i] = mixed(n, 2)
    c.quoteKey[i] = BigInt(n)
    c.bidPrice[i] = mixed(n, 3)
    c.askPrice[i] = mixed(n, 4)
    c.price[i] = mixed(n, 5)
    c.bidSize[i] = mixed(n, 6)
    c.askSize[i] = mixed(n, 7)
    c.size[i] = mixed(n, 8)
    c.bidCount[i] = n
    c.askCount[i] = n * 3
    c.instrument[i] = 1000 + (n % symbols)
    c.tsInDelta[i] = -n
    c.publisher[i] = 7
    c.bidPublisher[i] = n & 65535
    c.askPublisher[i] = (n * 5) & 65535
    c.priceExponent[i] = -2
    c.sizeExponent[i] = -6
    c.schema[i] = 10
    c.side[i] = n % 3
    c.action[i] = 65
    c.flags[i] = n & 255
    c.depth[i] = n & 7
  }
  builder.length = rows
  return builder.flush()
}
