import {
  ABSENT_I32,
  ABSENT_I64,
  ABSENT_U16,
  ABSENT_U32,
  barBuilder,
  batchContext,
  bookBuilder,
  directory,
  MarketSchema,
  quoteBuilder,
  Side,
  tradeBuilder
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { rowWriter } from "../src/RowText.ts"

const instrument = {
  id: 7,
  provider: "databento",
  dataset: "GLBX.MDP3",
  rawSymbol: 'ES,"H6"',
  symbol: 'GLBX.MDP3:ES,"H6"',
  priceScale: 9,
  sizeScale: 0,
  assetClass: "future",
  exchange: "XCME"
} as const

const context = batchContext({
  provider: "databento",
  dataset: "GLBX.MDP3",
  instruments: directory([instrument]),
  venueOf: (publisher) => (publisher === 1 ? "GLBX" : undefined)
})

const trade = () => {
  const builder = tradeBuilder(context, 2)
  const c = builder.columns
  const row = builder.length++
  c.tsEvent[row] = 1609160400098821953n
  c.tsRecv[row] = 1609160400099150057n
  c.tradeKey[row] = 9223372036854775806n
  c.price[row] = 3720250000001n
  c.priceExponent[row] = -9
  c.size[row] = 5n
  c.sizeExponent[row] = 0
  c.instrument[row] = 7
  c.tsInDelta[row] = 19251
  c.publisher[row] = 1
  c.side[row] = Side.Sell
  c.flags[row] = 129
  const absent = builder.length++
  c.tsEvent[absent] = 1609160400098821954n
  c.tsRecv[absent] = ABSENT_I64
  c.price[absent] = ABSENT_I64
  c.size[absent] = ABSENT_I64
  c.instrument[absent] = 8
  c.tsInDelta[absent] = ABSENT_I32
  return builder.flush()
}

describe("trades", () => {
  it("are exact in JSON, absent values are null", () => {
    const batch = trade()
    const { json } = rowWriter("trades")
    assert.deepStrictEqual(JSON.parse(json(batch, 0)), {
      ts_event: "2020-12-28T13:00:00.098821953Z",
      ts_recv: "2020-12-28T13:00:00.099150057Z",
      symbol: 'GLBX.MDP3:ES,"H6"',
      raw_symbol: 'ES,"H6"',
      provider: "databento",
      exchange: "GLBX",
      price: "3720.250000001",
      size: "5",
      side: "sell",
      trade_id: batch.tradeIdAt(0),
      trade_key: "9223372036854775806",
      publisher: 1,
      flags: 129,
      depth: 0,
      ts_in_delta: 19251
    })
    const absent = JSON.parse(json(batch, 1))
    assert.deepStrictEqual(
      [absent.ts_recv, absent.price, absent.size, absent.ts_in_delta, absent.exchange, absent.side],
      [null, null, null, null, null, "none"]
    )
    assert.strictEqual(absent.symbol, "#8")
  })

  it("are exact in CSV, absent values are nothing, text is quoted where it must be", () => {
    const batch = trade()
    const { csv, csvHeader } = rowWriter("trades")
    const names = csvHeader.split(",")
    const line = csv(batch, 0)
    assert.include(line, '"GLBX.MDP3:ES,""H6"""')
    assert.isTrue(line.startsWith("2020-12-28T13:00:00.098821953Z,2020-12-28T13:00:00.099150057Z,"))
    assert.include(line, ",3720.250000001,5,sell,")
    const cells = csv(batch, 1).split(",")
    assert.strictEqual(cells.length, names.length)
    assert.strictEqual(cells[names.indexOf("price")], "")
    assert.strictEqual(cells[names.indexOf("ts_in_delta")], "")
  })
})

describe("quotes", () => {
  it("have both sides and the update", () => {
    const builder = quoteBuilder(context, 1)
    const c = builder.columns
    const row = builder.length++
    c.tsEvent[row] = 1n
    c.tsRecv[row] = 2n
    c.quoteKey[row] = -5n
    c.bidPrice[row] = 372025n
    c.askPrice[row] = ABSENT_I64
    c.price[row] = ABSENT_I64
    c.bidSize[row] = 24n
    c.askSize[row] = ABSENT_I64
    c.size[row] = ABSENT_I64
    c.bidCount[row] = 15
    c.askCount[row] = ABSENT_U32
    c.bidPublisher[row] = ABSENT_U16
    c.askPublisher[row] = 3
    c.priceExponent[row] = -2
    c.instrument[row] = 7
    c.schema[row] = MarketSchema.code("mbp-1")
    c.action[row] = 65
    c.tsInDelta[row] = ABSENT_I32
    const parsed = JSON.parse(rowWriter("quotes").json(builder.flush(), 0))
    assert.deepInclude(parsed, {
      schema: "mbp-1",
      action: "A",
      bid_price: "3720.25",
      ask_price: null,
      bid_size: "24",
      ask_size: null,
      bid_count: 15,
      ask_count: null,
      bid_publisher: null,
      ask_publisher: 3,
      quote_key: "-5"
    })
  })
})

describe("bars", () => {
  it("have volumes of 128 bits", () => {
    const builder = barBuilder(context, 1)
    const c = builder.columns
    const row = builder.length++
    c.tsEvent[row] = 1609160400000000000n
    c.open[row] = 1n
    c.high[row] = 2n
    c.low[row] = -3n
    c.close[row] = ABSENT_I64
    c.volumeHigh[row] = 1n
    c.volumeLow[row] = 0n
    c.volumeExponent[row] = -2
    c.tradeCount[row] = ABSENT_I64
    c.instrument[row] = 7
    c.seconds[row] = 60
    c.source[row] = 2
    const batch = builder.flush()
    const { json, csv, csvHeader } = rowWriter("bars")
    assert.deepInclude(JSON.parse(json(batch, 0)), {
      bucket: "2020-12-28T13:00:00.000000000Z",
      seconds: 60,
      low: "-3",
      close: null,
      volume: "184467440737095516.16",
      trade_count: null,
      source: "provider"
    })
    assert.strictEqual(
      csv(batch, 0)
        .replace(/"[^"]*(""[^"]*)*"/g, "x")
        .split(",").length,
      csvHeader.split(",").length
    )
  })
})

describe("books", () => {
  it("have levels as arrays in JSON and as columns in CSV", () => {
    const builder = bookBuilder(context, 1)
    const c = builder.columns
    const row = builder.length++
    c.tsEvent[row] = 1n
    c.tsRecv[row] = ABSENT_I64
    c.instrument[row] = 7
    c.priceExponent[row] = -1
    c.schema[row] = MarketSchema.code("mbp-10")
    c.price[row] = ABSENT_I64
    c.size[row] = ABSENT_I64
    c.tsInDelta[row] = ABSENT_I32
    for (let level = 0; level < 10; level++) {
      const at = row * 10 + level
      c.bidPrice[at] = level < 2 ? BigInt(100 - level) : ABSENT_I64
      c.bidSize[at] = BigInt(level)
      c.bidCount[at] = ABSENT_U32
      c.askPrice[at] = level === 0 ? 105n : ABSENT_I64
      c.askSize[at] = ABSENT_I64
      c.askCount[at] = 9
    }
    const batch = builder.flush()
    const { json, csv, csvHeader } = rowWriter("book")
    const parsed = JSON.parse(json(batch, 0))
    assert.deepStrictEqual(
      parsed.bids,
      [
        { level: 0, price: "10.0", size: "0", count: null },
        { level: 1, price: "9.9", size: "1", count: null }
      ].map((level) => ({ ...level, price: level.price.replace(/\.0$/, "") }))
    )
    assert.deepStrictEqual(parsed.asks, [{ level: 0, price: "10.5", size: null, count: 9 }])
    const names = csvHeader.split(",")
    const cells = csv(batch, 0)
      .replace(/"[^"]*(""[^"]*)*"/g, "x")
      .split(",")
    assert.strictEqual(cells.length, names.length)
    assert.strictEqual(cells[names.indexOf("bid_price_01")], "9.9")
    assert.strictEqual(cells[names.indexOf("bid_price_02")], "")
    assert.strictEqual(cells[names.indexOf("ask_price_00")], "10.5")
  })
})
