import { assert, describe, it } from "@effect/vitest"
import { type Instrument, type Listing, SymbolText } from "../src/index.ts"

const instrument = (id: number, dataset: string, rawSymbol: string): Instrument => ({
  id,
  provider: "test",
  dataset,
  rawSymbol,
  symbol: SymbolText.make(dataset, rawSymbol),
  priceScale: 2,
  sizeScale: 0,
  assetClass: "future"
})

const listing = (id: number, dataset: string, rawSymbol: string, start: bigint, end: bigint): Listing => ({
  instrument: id,
  dataset,
  rawSymbol,
  valid: { start, end }
})

const all = [
  instrument(1, "GLBX.MDP3", "ESM6"),
  instrument(2, "GLBX.MDP3", "ESM6"),
  instrument(3, "XNAS.ITCH", "AAPL"),
  instrument(4, "ARCX.PILLAR", "AAPL"),
  instrument(5, "OPRA.PILLAR", "AAPL  260116C00100000"),
  instrument(6, "TEST", "A:B"),
  instrument(7, "A", "B"),
  instrument(8, "XNAS.ITCH", "MSFT")
]
const instruments = new Map(all.map((i) => [i.id, i]))
const listings = [
  listing(1, "GLBX.MDP3", "ESM6", 100n, 200n),
  listing(2, "GLBX.MDP3", "ESM6", 1_000n, 1_200n),
  listing(2, "GLBX.MDP3", "ESM6", 1_200n, 1_300n),
  listing(3, "XNAS.ITCH", "AAPL", 0n, 5_000n),
  listing(4, "ARCX.PILLAR", "AAPL", 0n, 5_000n),
  listing(5, "OPRA.PILLAR", "AAPL  260116C00100000", 0n, 5_000n),
  listing(6, "TEST", "A:B", 0n, 5_000n),
  listing(7, "A", "B", 0n, 5_000n),
  listing(8, "XNAS.ITCH", "MSFT", 0n, 5_000n)
]
const resolve = (text: string, start?: bigint, end?: bigint) =>
  SymbolText.resolve(
    text,
    listings,
    instruments,
    start === undefined || end === undefined ? undefined : { start, end }
  )

describe("parse", () => {
  it("splits at the first colon", () => {
    assert.deepStrictEqual(SymbolText.parse("GLBX.MDP3:ESM6"), { dataset: "GLBX.MDP3", rawSymbol: "ESM6" })
    assert.deepStrictEqual(SymbolText.parse("TEST:A:B"), { dataset: "TEST", rawSymbol: "A:B" })
    assert.deepStrictEqual(SymbolText.parse("ESM6"), { dataset: undefined, rawSymbol: "ESM6" })
    assert.deepStrictEqual(SymbolText.parse(":ESM6"), { dataset: undefined, rawSymbol: ":ESM6" })
    assert.deepStrictEqual(SymbolText.parse(""), { dataset: undefined, rawSymbol: "" })
  })

  it("reads what make wrote", () => {
    for (const i of all)
      assert.deepStrictEqual(SymbolText.parse(i.symbol), { dataset: i.dataset, rawSymbol: i.rawSymbol })
  })
})

describe("resolve", () => {
  it("finds a full form and a unique short form", () => {
    assert.deepStrictEqual(resolve("XNAS.ITCH:AAPL"), { instrument: 3 })
    assert.deepStrictEqual(resolve("ARCX.PILLAR:AAPL"), { instrument: 4 })
    assert.deepStrictEqual(resolve("MSFT"), { instrument: 8 })
    assert.deepStrictEqual(resolve("AAPL  260116C00100000"), { instrument: 5 })
    assert.deepStrictEqual(resolve("OPRA.PILLAR:AAPL  260116C00100000"), { instrument: 5 })
  })

  it("answers a short form of several datasets with the candidates, each of which resolves", () => {
    const problem = resolve("AAPL") as SymbolText.SymbolProblem
    assert.deepStrictEqual(problem, {
      _tag: "Ambiguous",
      text: "AAPL",
      candidates: ["ARCX.PILLAR:AAPL", "XNAS.ITCH:AAPL"]
    })
    assert.strictEqual(
      SymbolText.describe(problem),
      '"AAPL" names several instruments: ARCX.PILLAR:AAPL, XNAS.ITCH:AAPL; write one of these'
    )
  })

  it("prefers the full form where a raw symbol contains a colon", () => {
    assert.deepStrictEqual(resolve("A:B"), { instrument: 7 })
    assert.deepStrictEqual(resolve("TEST:A:B"), { instrument: 6 })
    const without = listings.filter((l) => l.dataset !== "A")
    assert.deepStrictEqual(SymbolText.resolve("A:B", without, instruments), { instrument: 6 })
  })

  it("tells two listings of one text apart by the time", () => {
    assert.deepStrictEqual(resolve("ESM6", 100n, 200n), { instrument: 1 })
    assert.deepStrictEqual(resolve("ESM6", 50n, 1_000n), { instrument: 1 })
    assert.deepStrictEqual(resolve("ESM6", 200n, 1_001n), { instrument: 2 })
    assert.deepStrictEqual(resolve("GLBX.MDP3:ESM6", 1_100n, 1_250n), { instrument: 2 })
  })

  it("answers a range over two listings with both of them", () => {
    const problem = resolve("ESM6", 150n, 1_100n) as SymbolText.SymbolProblem
    assert.strictEqual(problem._tag, "SeveralListings")
    assert.strictEqual(
      SymbolText.describe(problem),
      '"ESM6" named different instruments during this time: ' +
        "#1 in 1970-01-01T00:00:00.000000100Z .. 1970-01-01T00:00:00.000000200Z and " +
        "#2 in 1970-01-01T00:00:00.000001000Z .. 1970-01-01T00:00:00.000001200Z; ask for each period separately"
    )
  })

  it("needs a time where a text has named several instruments", () => {
    const problem = resolve("ESM6") as SymbolText.SymbolProblem
    assert.strictEqual(problem._tag, "SeveralListings")
    // A time at which neither was listed does not choose one of them.
    assert.strictEqual((resolve("ESM6", 300n, 400n) as SymbolText.SymbolProblem)._tag, "SeveralListings")
  })

  it("takes the only instrument of a text also outside its listing", () => {
    assert.deepStrictEqual(resolve("MSFT", 9_000n, 9_001n), { instrument: 8 })
  })

  it("suggests similar symbols for an unknown one", () => {
    assert.deepStrictEqual(resolve("MSF"), { _tag: "Unknown", text: "MSF", similar: ["XNAS.ITCH:MSFT"] })
    assert.deepStrictEqual(resolve("msftx"), { _tag: "Unknown", text: "msftx", similar: ["XNAS.ITCH:MSFT"] })
    assert.strictEqual(
      SymbolText.describe(resolve("MSF") as SymbolText.SymbolProblem),
      'unknown symbol "MSF"; did you mean XNAS.ITCH:MSFT?'
    )
    assert.strictEqual(
      SymbolText.describe(resolve("") as SymbolText.SymbolProblem),
      'unknown symbol ""; see `dm symbols list`'
    )
    assert.deepStrictEqual(resolve("XNAS.ITCH:ESM6"), {
      _tag: "Unknown",
      text: "XNAS.ITCH:ESM6",
      similar: ["GLBX.MDP3:ESM6"]
    })
  })
})
