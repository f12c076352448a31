import { assert, describe, it } from "@effect/vitest"
import {
  ABSENT_I32,
  ABSENT_I64,
  ABSENT_U16,
  ABSENT_U32,
  BarFromProvider,
  BarFromTrades,
  BookLevels,
  barBuilder,
  batchContext,
  bookBuilder,
  directory,
  type Instrument,
  MarketSchema,
  quoteBuilder,
  rowKind,
  Side,
  TradeKey,
  tradeBuilder
} from "../src/index.ts"

const es: Instrument = {
  id: 7,
  provider: "databento",
  dataset: "GLBX.MDP3",
  rawSymbol: "ESH1",
  symbol: "GLBX.MDP3:ESH1",
  priceScale: 2,
  sizeScale: 0,
  assetClass: "future",
  exchange: "XCME"
}
const context = batchContext({
  provider: "databento",
  dataset: "GLBX.MDP3",
  instruments: directory([es]),
  venueOf: (publisher) => (publisher === 1 ? "GLBX" : undefined)
})

describe("context", () => {
  it("has defaults: nobody known, sequenced keys, unnamed publishers", () => {
    const plain = batchContext({ provider: "p", dataset: "d" })
    assert.isUndefined(plain.instruments.get(0))
    assert.strictEqual(plain.keyKind, "sequenced")
    assert.isUndefined(plain.venueOf(1))
  })
})

describe("TradeBatch", () => {
  const builder = tradeBuilder(context, 8)
  const { columns: c } = builder
  const key = TradeKey.make(1, 4042, 3)
  c.tsEvent[0] = 1609160400000429831n
  c.tsRecv[0] = 1609160400000704060n
  c.tradeKey[0] = key
  c.price[0] = 3720250000000n
  c.priceExponent[0] = -9
  c.size[0] = 5n
  c.instrument[0] = 7
  c.tsInDelta[0] = 22993
  c.publisher[0] = 1
  c.side[0] = Side.Sell
  c.flags[0] = 129
  c.depth[0] = 2
  // Row 1: everything that can be absent is, and nothing else is known.
  c.tsEvent[1] = -1n
  for (const name of ["tsRecv", "price", "size"] as const) c[name][1] = ABSENT_I64
  c.tsInDelta[1] = ABSENT_I32
  c.instrument[1] = 99
  c.publisher[1] = 2
  c.side[1] = 200
  // Row 2: the largest values a row can have, none of them absent.
  c.tsEvent[2] = ABSENT_I64 - 1n
  c.tsRecv[2] = -(2n ** 63n)
  c.price[2] = -(2n ** 63n)
  c.priceExponent[2] = -128
  c.size[2] = ABSENT_I64 - 1n
  c.sizeExponent[2] = 127
  c.tradeKey[2] = ABSENT_I64
  c.tsInDelta[2] = ABSENT_I32 + 1
  c.instrument[2] = 7
  c.publisher[2] = ABSENT_U16
  c.side[2] = Side.Buy
  c.flags[2] = 255
  c.depth[2] = 255
  builder.length = 3
  const batch = builder.flush()

  it("shows a row for people", () => {
    assert.deepStrictEqual(batch.row(0), {
      tsEvent: 1609160400000429831n,
      tsRecv: 1609160400000704060n,
      instrument: 7,
      symbol: "GLBX.MDP3:ESH1",
      rawSymbol: "ESH1",
      provider: "databento",
      dataset: "GLBX.MDP3",
      exchange: "GLBX",
      price: { mantissa: 3720250000000n, exponent: -9 },
      size: { mantissa: 5n, exponent: 0 },
      side: "sell",
      tradeId: "4042.3",
      tradeKey: key,
      publisher: 1,
      flags: 129,
      depth: 2,
      tsInDelta: 22993
    })
    assert.deepStrictEqual(
      [batch.priceAt(0), batch.sizeAt(0), batch.priceText(0), batch.sizeText(0), batch.symbolAt(0)],
      [3720.25, 5, "3720.25", "5", "GLBX.MDP3:ESH1"]
    )
  })

  it("shows what is absent as absent, and never as a number", () => {
    const row = batch.row(1)
    assert.deepStrictEqual(
      [row.tsRecv, row.price, row.size, row.tsInDelta, row.exchange],
      [undefined, undefined, undefined, undefined, undefined]
    )
    assert.deepStrictEqual([row.symbol, row.rawSymbol, row.side, row.tsEvent], ["#99", "#99", "none", -1n])
    assert.isNaN(batch.priceAt(1))
    assert.isNaN(batch.sizeAt(1))
    assert.isUndefined(batch.priceDecimal(1))
    assert.isUndefined(batch.sizeDecimal(1))
    assert.deepStrictEqual([batch.priceText(1), batch.sizeText(1)], ["", ""])
  })

  it("keeps extremes apart from absent", () => {
    const row = batch.row(2)
    assert.deepStrictEqual(row.price, { mantissa: -(2n ** 63n), exponent: -128 })
    assert.deepStrictEqual(row.size, { mantissa: 2n ** 63n - 2n, exponent: 127 })
    assert.strictEqual(row.tradeKey, 2n ** 63n - 1n)
    assert.deepStrictEqual(
      [row.tsInDelta, row.flags, row.depth, row.publisher],
      [ABSENT_I32 + 1, 255, 255, 65535]
    )
    // The publisher is not named: the venue is the instrument's.
    assert.strictEqual(row.exchange, "XCME")
    assert.strictEqual(batch.priceText(2).length, "-0.".length + 128)
    assert.strictEqual(batch.sizeText(2), `9223372036854775806${"0".repeat(127)}`)
    assert.strictEqual(batch.priceAt(2), Number("-9223372036854775808e-128"))
  })

  it("iterates its rows", () => {
    assert.deepStrictEqual([...batch.rows()], [batch.row(0), batch.row(1), batch.row(2)])
    assert.deepStrictEqual([...batch.slice(1, 2).rows()], [batch.row(1)])
    assert.strictEqual(rowKind(batch), "trades")
  })
})

describe("QuoteBatch", () => {
  const builder = quoteBuilder(context, 8)
  const { columns: c } = builder
  c.schema[0] = MarketSchema.code("mbp-1")
  c.tsEvent[0] = 1000n
  c.tsRecv[0] = 2000n
  c.quoteKey[0] = 5n
  c.bidPrice[0] = 372025n
  c.askPrice[0] = 372050n
  c.price[0] = 372050n
  c.priceExponent[0] = -2
  c.bidSize[0] = 24n
  c.askSize[0] = 10n
  c.size[0] = 1n
  c.bidCount[0] = 15
  c.askCount[0] = 8
  c.instrument[0] = 7
  c.tsInDelta[0] = -5
  c.publisher[0] = 1
  c.bidPublisher[0] = 39
  c.askPublisher[0] = ABSENT_U16
  c.side[0] = Side.Buy
  c.action[0] = "A".charCodeAt(0)
  c.flags[0] = 128
  c.depth[0] = 1
  c.schema[1] = MarketSchema.code("bbo-1s")
  for (const name of ["tsEvent", "bidPrice", "askPrice", "price", "bidSize", "askSize", "size"] as const)
    c[name][1] = ABSENT_I64
  c.tsRecv[1] = 3000n
  c.bidCount[1] = ABSENT_U32
  c.askCount[1] = ABSENT_U32
  c.bidPublisher[1] = ABSENT_U16
  c.askPublisher[1] = ABSENT_U16
  c.tsInDelta[1] = ABSENT_I32
  c.schema[2] = 250
  c.tsEvent[2] = 4000n
  c.tsRecv[2] = 5000n
  builder.length = 3
  const batch = builder.flush()

  it("shows a row for people", () => {
    const px = (mantissa: bigint) => ({ mantissa, exponent: -2 })
    const sz = (mantissa: bigint) => ({ mantissa, exponent: 0 })
    assert.deepStrictEqual(batch.row(0), {
      schema: "mbp-1",
      tsEvent: 1000n,
      tsRecv: 2000n,
      instrument: 7,
      symbol: "GLBX.MDP3:ESH1",
      quoteKey: 5n,
      bidPrice: px(372025n),
      askPrice: px(372050n),
      bidSize: sz(24n),
      askSize: sz(10n),
      bidCount: 15,
      askCount: 8,
      bidPublisher: 39,
      askPublisher: undefined,
      price: px(372050n),
      size: sz(1n),
      side: "buy",
      action: "A",
      publisher: 1,
      flags: 128,
      depth: 1,
      tsInDelta: -5
    })
    assert.deepStrictEqual([batch.bidAt(0), batch.askAt(0)], [3720.25, 3720.5])
  })

  it("shows absent sides as absent", () => {
    const row = batch.row(1)
    const absent = [
      row.tsEvent, row.bidPrice, row.askPrice, row.bidSize, row.askSize, row.bidCount, row.askCount, row.bidPublisher,
      row.askPublisher, row.price, row.size, row.tsInDelta
    ] // biome-ignore format: a list
    assert.deepStrictEqual(absent, new Array(12).fill(undefined))
    assert.deepStrictEqual([row.schema, row.action, row.symbol], ["bbo-1s", "", "#0"])
    assert.isNaN(batch.bidAt(1))
    assert.isNaN(batch.askAt(1))
  })

  it("stands in the store at the clock of its schema", () => {
    assert.deepStrictEqual([batch.timeAt(0), batch.timeAt(1), batch.timeAt(2)], [1000n, 3000n, 4000n])
    assert.isUndefined(batch.row(2).schema)
    assert.strictEqual(batch.slice(1).timeAt(0), 3000n)
    assert.strictEqual(rowKind(batch), "quotes")
    assert.strictEqual([...batch.rows()].length, 3)
  })
})

describe("BarBatch", () => {
  const builder = barBuilder(context, 8)
  const { columns: c } = builder
  for (const i of [0, 1]) {
    c.tsEvent[i] = 60_000_000_000n * BigInt(i)
    c.seconds[i] = 60
    c.instrument[i] = 7
    c.priceExponent[i] = -2
    c.source[i] = BarFromTrades
  }
  c.open[0] = 100n
  c.high[0] = 130n
  c.low[0] = -90n
  c.close[0] = 110n
  // 2^64 + 5: more than any i64 or u64 holds.
  c.volumeLow[0] = 5n
  c.volumeHigh[0] = 1n
  c.volumeExponent[0] = -3
  c.tradeCount[0] = 12n
  for (const name of ["open", "high", "low", "close", "tradeCount"] as const) c[name][1] = ABSENT_I64
  c.volumeLow[1] = 2n ** 64n - 1n
  c.volumeHigh[1] = -1n
  c.source[1] = BarFromProvider
  c.publisher[1] = 3
  builder.length = 2
  const batch = builder.flush()

  it("shows a row for people, with a volume of 128 bits", () => {
    const px = (mantissa: bigint) => ({ mantissa, exponent: -2 })
    assert.deepStrictEqual(batch.row(0), {
      start: 0n,
      seconds: 60,
      instrument: 7,
      symbol: "GLBX.MDP3:ESH1",
      open: px(100n),
      high: px(130n),
      low: px(-90n),
      close: px(110n),
      volume: { mantissa: 18446744073709551621n, exponent: -3 },
      tradeCount: 12n,
      publisher: 0,
      source: "trades"
    })
    assert.strictEqual(batch.closeAt(0), 1.1)
  })

  it("shows absent prices and counts as absent, and negative volumes as negative", () => {
    const row = batch.row(1)
    assert.deepStrictEqual(
      [row.open, row.high, row.low, row.close, row.tradeCount],
      new Array(5).fill(undefined)
    )
    assert.deepStrictEqual([row.volume.mantissa, row.source, row.publisher], [-1n, "provider", 3])
    assert.isNaN(batch.closeAt(1))
    assert.strictEqual(rowKind(batch), "bars")
    assert.deepStrictEqual([...batch.slice(1).rows()], [row])
  })
})

describe("BookBatch", () => {
  const builder = bookBuilder(context, 8)
  const { columns: c } = builder
  for (let i = 0; i < 2; i++) {
    c.schema[i] = MarketSchema.code("mbp-10")
    c.tsEvent[i] = BigInt(1000 + i)
    c.tsRecv[i] = ABSENT_I64
    c.instrument[i] = 7
    c.priceExponent[i] = -2
    c.bookKey[i] = BigInt(i)
    for (let level = 0; level < BookLevels; level++) {
      const at = i * BookLevels + level
      const full = level < 8 + i
      c.bidPrice[at] = full ? BigInt(1000 * (i + 1) - level) : ABSENT_I64
      c.askPrice[at] = full ? BigInt(1000 * (i + 1) + level) : ABSENT_I64
      c.bidSize[at] = full ? BigInt(level + 1) : 0n
      c.askSize[at] = full ? BigInt(level + 11) : ABSENT_I64
      c.bidCount[at] = full ? level + 21 : 0
      c.askCount[at] = full ? level + 31 : ABSENT_U32
    }
  }
  c.action[1] = "M".charCodeAt(0)
  builder.length = 2
  const batch = builder.flush()

  it("shows ten levels a side, best first, each row its own", () => {
    const row = batch.row(1)
    assert.deepStrictEqual(
      [row.schema, row.tsEvent, row.tsRecv, row.action],
      ["mbp-10", 1001n, undefined, "M"]
    )
    assert.strictEqual(row.bids.length, 10)
    assert.strictEqual(row.asks.length, 10)
    assert.deepStrictEqual(row.bids[0], {
      price: { mantissa: 2000n, exponent: -2 },
      size: { mantissa: 1n, exponent: 0 },
      count: 21
    })
    assert.deepStrictEqual(row.asks[8], {
      price: { mantissa: 2008n, exponent: -2 },
      size: { mantissa: 19n, exponent: 0 },
      count: 39
    })
    assert.deepStrictEqual(row.bids[9], { price: undefined, size: { mantissa: 0n, exponent: 0 }, count: 0 })
    assert.deepStrictEqual(row.asks[9], { price: undefined, size: undefined, count: undefined })
    assert.strictEqual(batch.row(0).bids[8]?.price, undefined)
  })

  it("cuts levels with their rows", () => {
    assert.deepStrictEqual(batch.slice(1).row(0), batch.row(1))
    assert.deepStrictEqual([...batch.rows()], [batch.row(0), batch.row(1)])
    assert.strictEqual(rowKind(batch), "book")
    assert.strictEqual(batch.symbolAt(0), "GLBX.MDP3:ESH1")
  })
})
