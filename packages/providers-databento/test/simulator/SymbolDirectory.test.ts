import { assert, describe, it } from "vitest"
import { ALL_SYMBOLS, SymbolDirectory } from "../../src/simulator/SymbolDirectory.ts"

const directory = (): SymbolDirectory => {
  const it = new SymbolDirectory()
  it.learn("raw_symbol", "A", 1, 10, 12)
  it.learn("raw_symbol", "A", 1, 12, 15)
  it.learn("raw_symbol", "A", 2, 15, 20)
  it.learn("raw_symbol", "B", 1, 15, 20)
  it.learn("parent", "X.FUT", 1, 10, 20)
  it.learn("parent", "X.FUT", 2, 15, 20)
  return it
}

describe("symbol directory", () => {
  it("joins days and tells numbers that are used again apart", () => {
    const { intervals, partial, notFound } = directory().resolve(["A"], "raw_symbol", "instrument_id", 10, 20)
    assert.deepEqual(intervals.get("A"), [
      { start: 10, end: 15, value: "1" },
      { start: 15, end: 20, value: "2" }
    ])
    assert.deepEqual([partial, notFound], [[], []])
    const names = directory().resolve(["1"], "instrument_id", "raw_symbol", 10, 20)
    assert.deepEqual(
      names.intervals.get("1")?.map((it) => it.value),
      ["A", "B"]
    )
    assert.equal(directory().rawSymbol(1, 14), "A")
    assert.equal(directory().rawSymbol(1, 15), "B")
    assert.isUndefined(directory().rawSymbol(1, 20))
  })

  it("goes from a parent to raw symbols by way of the instruments", () => {
    const { intervals } = directory().resolve(["X.FUT"], "parent", "raw_symbol", 14, 16)
    assert.deepEqual(intervals.get("X.FUT"), [
      { start: 14, end: 15, value: "A" },
      { start: 15, end: 16, value: "B" },
      { start: 15, end: 16, value: "A" }
    ])
  })

  it("tells what holds on a part of the range, and what on none", () => {
    const { partial, notFound } = directory().resolve(["B", "C", "A"], "raw_symbol", "instrument_id", 14, 20)
    assert.deepEqual([partial, notFound], [["B"], ["C"]])
    assert.deepEqual(directory().resolve(["9x"], "instrument_id", "raw_symbol", 0, 99).notFound, ["9x"])
  })

  it("knows everything", () => {
    const { intervals, partial } = directory().resolve([ALL_SYMBOLS], "raw_symbol", "instrument_id", 0, 99)
    assert.deepEqual([...intervals.keys()], ["A", "B"])
    assert.deepEqual(partial, [])
    assert.equal(directory().listings(14, 16).length, 3)
  })
})
