import { createHash } from "node:crypto"
import { assert, describe, it } from "vitest"
import {
  DbnError,
  type DbnRecord,
  dayOfDate,
  decodeBlocks,
  type InstrumentDefRecord,
  type Mbp1Record,
  NANOS_PER_DAY,
  publisherOf,
  type RecordBlock,
  type TradeRecord,
  TsSymbolMap
} from "../../src/dbn/index.ts"
import { SyntheticMarket, TICK } from "../../src/simulator/SyntheticMarket.ts"

const records = <R extends DbnRecord>(chunks: Iterable<Uint8Array>): Array<R> => {
  const list: Array<R> = []
  for (const block of decodeBlocks(chunks)) for (const record of block.records()) list.push(record as R)
  return list
}

const hash = (chunks: Iterable<Uint8Array>): string => {
  const sum = createHash("sha256")
  for (const chunk of chunks) sum.update(chunk)
  return sum.digest("hex")
}

const market = new SyntheticMarket({ trades: 20_000, symbols: 50 })
const trades = records<TradeRecord>(market.tradeFile())

describe("a synthetic day", () => {
  it("is the same wherever it is made", () => {
    // Goldens: they change when the market is changed on purpose.
    const small = new SyntheticMarket({ trades: 5_000, symbols: 40, seed: 7, date: 20240229 })
    assert.strictEqual(
      hash(small.tradeFile()),
      "816bb009242424df850b3004ffc10ddefc09bb2f68a3eb75e6f4cd8c95574786"
    )
    assert.strictEqual(
      hash(small.quoteFile(2_000)),
      "d0e395eb6b794fda3b381a57f19efc4b4529481faeec0d8c49223a9371167a2c"
    )
    assert.strictEqual(
      hash([small.definitionFile()]),
      "d92cf6447507d93d399300214bf32162a3c753df85aff0e834d4cfb95c3540a8"
    )
    const cut = new SyntheticMarket({ trades: 5_000, symbols: 40, seed: 7, date: 20240229, chunkBytes: 1000 })
    assert.strictEqual(hash(cut.tradeFile()), hash(small.tradeFile()))
    const other = new SyntheticMarket({ trades: 5_000, symbols: 40, seed: 8, date: 20240229 })
    assert.notStrictEqual(hash(other.tradeFile()), hash(small.tradeFile()))
  })

  it("holds the trades that were asked for, within the day, in the order of ts_recv", () => {
    assert.strictEqual(trades.length, 20_000)
    const start = BigInt(dayOfDate(market.date)!) * NANOS_PER_DAY
    let last = start
    for (const trade of trades) {
      assert.isTrue(trade.tsRecv >= last && trade.tsRecv < start + NANOS_PER_DAY)
      assert.isTrue(trade.tsEvent <= trade.tsRecv && trade.tsEvent >= start)
      assert.strictEqual(trade.action, "T")
      last = trade.tsRecv
    }
  })

  it("goes up as often as down", () => {
    const last = new Map<number, bigint>()
    let [ups, downs] = [0, 0]
    for (const { instrumentId, price } of trades) {
      const before = last.get(instrumentId) ?? price
      last.set(instrumentId, price)
      if (price > before) ups += 1
      if (price < before) downs += 1
    }
    assert.isAbove(ups + downs, trades.length / 4)
    // Five standard deviations of as many fair coins.
    assert.isBelow(Math.abs(ups - downs), 5 * Math.sqrt(ups + downs))
  })

  it("moves in ticks, trades on every venue and side, and favours few symbols", () => {
    const perSymbol = new Map<number, number>()
    for (const trade of trades) {
      assert.strictEqual(trade.price % BigInt(TICK), 0n)
      assert.isTrue(trade.price > 0n && trade.size > 0)
      perSymbol.set(trade.instrumentId, (perSymbol.get(trade.instrumentId) ?? 0) + 1)
    }
    assert.strictEqual(perSymbol.size, 50)
    assert.isAbove(perSymbol.get(market.instruments[0]!.id)!, 10 * perSymbol.get(market.instruments[49]!.id)!)
    assert.strictEqual(new Set(trades.map((trade) => trade.publisherId)).size, 4)
    assert.deepStrictEqual([...new Set(trades.map((trade) => trade.side))].sort(), ["A", "B", "N"])
    for (const { id } of market.publishers) assert.strictEqual(publisherOf(id)?.dataset, market.dataset)
  })

  it("has one burst of trades that share a sequence within one microsecond, some to the nanosecond", () => {
    const { row, rows } = market.burst
    const burst = trades.slice(row, row + rows)
    assert.isAtLeast(burst.length, 10)
    const key = (trade: TradeRecord) => `${trade.instrumentId}/${trade.publisherId}/${trade.sequence}`
    const groups = new Map<string, number>()
    for (const trade of trades) groups.set(key(trade), (groups.get(key(trade)) ?? 0) + 1)
    assert.deepStrictEqual(
      [...groups].filter(([, count]) => count > 1),
      [[key(burst[0]!), rows]]
    )
    const times = burst.map((trade) => trade.tsEvent)
    assert.strictEqual(new Set(times.map((t) => t / 1000n)).size, 1)
    const distinct = new Set(times).size
    assert.isTrue(distinct > 3 && distinct < rows)
  })

  it("maps every symbol for the day, and defines it", () => {
    const definitions = records<InstrumentDefRecord>([market.definitionFile()])
    assert.strictEqual(definitions.length, 50)
    let first: RecordBlock | undefined
    for (const block of decodeBlocks(market.tradeFile())) first ??= block
    const map = TsSymbolMap.fromMetadata(first!.metadata!)
    for (const [i, definition] of definitions.entries()) {
      const { id, symbol } = market.instruments[i]!
      assert.strictEqual(definition.instrumentId, id)
      assert.strictEqual(definition.rawSymbol, symbol)
      assert.strictEqual(definition.minPriceIncrement, BigInt(TICK))
      assert.strictEqual(map.onDay(id, dayOfDate(market.date)!), symbol)
      assert.isUndefined(map.onDay(id, dayOfDate(market.date)! + 1))
    }
    assert.strictEqual(new Set(market.instruments.map((instrument) => instrument.symbol)).size, 50)
  })

  it("has quotes whose bid is below the ask", () => {
    const quotes = records<Mbp1Record>(market.quoteFile(3_000))
    assert.strictEqual(quotes.length, 3_000)
    for (const { levels } of quotes) assert.isTrue(levels[0]!.bidPx < levels[0]!.askPx)
    assert.deepStrictEqual([...new Set(quotes.map((quote) => quote.action))].sort(), ["A", "C", "M", "T"])
  })

  it("may be empty, of one symbol, or of any dataset with publishers", () => {
    const empty = new SyntheticMarket({ trades: 0, symbols: 1 })
    assert.deepStrictEqual(records([...empty.tradeFile()]), [])
    const futures = new SyntheticMarket({ trades: 100, symbols: 1, dataset: "GLBX.MDP3", venues: 5 })
    assert.deepStrictEqual(new Set(records(futures.tradeFile()).map((r) => r.publisherId)), new Set([1]))
  })

  it("refuses what makes no day", () => {
    for (const options of [
      { date: 20230229 },
      { date: 19691231 },
      { trades: -1 },
      { trades: 1.5 },
      { symbols: 0 },
      { venues: 0 },
      { dataset: "NO.SUCH" },
      { chunkBytes: 0 }
    ])
      assert.throws(() => new SyntheticMarket(options), DbnError, undefined, JSON.stringify(options))
  })
})
