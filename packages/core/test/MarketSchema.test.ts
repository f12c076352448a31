import { assert, describe, it } from "@effect/vitest"
import { MarketSchema, Side } from "../src/index.ts"

describe("MarketSchema", () => {
  // Codes stand in databases and frames: a line may be added here, never changed.
  const pinned = [
    ["trades", 1, "trades", "ts_event", 0],
    ["mbp-1", 10, "quotes", "ts_event", 0],
    ["tbbo", 11, "quotes", "ts_event", 0],
    ["bbo-1s", 12, "quotes", "ts_recv", 0],
    ["bbo-1m", 13, "quotes", "ts_recv", 0],
    ["cmbp-1", 14, "quotes", "ts_event", 0],
    ["tcbbo", 15, "quotes", "ts_event", 0],
    ["cbbo-1s", 16, "quotes", "ts_recv", 0],
    ["cbbo-1m", 17, "quotes", "ts_recv", 0],
    ["book-ticker", 18, "quotes", "ts_recv", 0],
    ["ohlcv-1s", 30, "bars", "ts_event", 1],
    ["ohlcv-1m", 31, "bars", "ts_event", 60],
    ["ohlcv-1h", 32, "bars", "ts_event", 3600],
    ["ohlcv-1d", 33, "bars", "ts_event", 86400],
    ["ohlcv-eod", 34, "bars", "ts_event", 0],
    ["mbp-10", 50, "book", "ts_event", 0],
    ["depth", 51, "book", "ts_recv", 0]
  ] as const

  it("keeps its names, codes, kinds, clocks and lengths", () => {
    assert.deepStrictEqual(
      MarketSchema.all.map((s) => [
        s,
        MarketSchema.code(s),
        MarketSchema.kind(s),
        MarketSchema.clock(s),
        MarketSchema.seconds(s)
      ]),
      pinned.map((entry) => [...entry])
    )
  })

  it("reads codes and names back, and knows no others", () => {
    for (const [name, code] of pinned) {
      assert.strictEqual(MarketSchema.fromCode(code), name)
      assert.isTrue(MarketSchema.is(name))
    }
    for (const code of [0, 2, 255, -1, Number.NaN]) assert.isUndefined(MarketSchema.fromCode(code))
    for (const name of ["", "TRADES", "mbo", "toString", "__proto__"]) assert.isFalse(MarketSchema.is(name))
  })
})

describe("Side", () => {
  it("is 0 none, 1 buy, 2 sell; what is neither stays none", () => {
    assert.deepStrictEqual([Side.None, Side.Buy, Side.Sell].map(Side.name), ["none", "buy", "sell"])
    assert.deepStrictEqual([Side.None, Side.Buy, Side.Sell].map(Side.letter), ["N", "B", "S"])
    assert.deepStrictEqual([3, 255].map(Side.name), ["none", "none"])
    assert.deepStrictEqual([3, 255].map(Side.letter), ["N", "N"])
  })
})
