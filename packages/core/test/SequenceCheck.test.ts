import { assert, describe, it } from "vitest"
import { batchContext, SequenceCheck, type TradeBatch, tradeBuilder } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

const context = batchContext({ provider: "test", dataset: "TEST", keyKind: "venue-id" })

type Row = readonly [instrument: number, key: number]

const batchOf = (rows: ReadonlyArray<Row>): TradeBatch => {
  const builder = tradeBuilder(context, rows.length)
  for (const [i, [instrument, key]] of rows.entries()) {
    builder.columns.instrument[i] = instrument
    builder.columns.tradeKey[i] = BigInt(key)
    builder.columns.tsEvent[i] = BigInt(key) * 1_000n
  }
  builder.length = rows.length
  return builder.flush()
}

describe("trades that are numbered one by one", () => {
  it("say what did not come, with how many and when", () => {
    const check = new SequenceCheck()
    assert.deepStrictEqual(
      check.holes(
        batchOf([
          [7, 100],
          [3, 5],
          [7, 101]
        ])
      ),
      []
    )
    const [hole, ...others] = check.holes(
      batchOf([
        [3, 6],
        [7, 105]
      ])
    )
    assert.deepStrictEqual(hole, { instrument: 7, rows: 3n, range: { start: 101_000n, end: 105_001n } })
    assert.deepStrictEqual(others, [])
    // Repeats, and what comes late, say nothing.
    assert.deepStrictEqual(
      check.holes(
        batchOf([
          [7, 103],
          [7, 105],
          [7, 106]
        ])
      ),
      []
    )
  })

  it("name each lost trade once, whatever is lost and repeated", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new SeededRandom(seed)
      const check = new SequenceCheck()
      const next = [1, 1, 1]
      const lost = [0n, 0n, 0n]
      const named = [0n, 0n, 0n]
      const come = new Set<number>()
      let rows: Array<Row> = []
      for (let i = 0; i < 300; i++) {
        const instrument = random.below(3)
        const key = next[instrument]!
        next[instrument]! += 1
        // The first of an instrument cannot be missed: nobody knows where its numbers begin.
        if (come.has(instrument) && random.chance(0.1)) {
          lost[instrument]! += 1n
          continue
        }
        come.add(instrument)
        rows.push([instrument, key])
        if (random.chance(0.1)) rows.push([instrument, Math.max(1, key - random.below(4))])
        if (random.chance(0.2)) {
          for (const hole of check.holes(batchOf(rows))) named[hole.instrument]! += hole.rows
          rows = []
        }
      }
      for (const id of [0, 1, 2]) rows.push([id, next[id]!])
      for (const hole of check.holes(batchOf(rows))) named[hole.instrument]! += hole.rows
      assert.deepStrictEqual(
        named,
        lost.map((count, id) => (come.has(id) ? count : 0n)),
        `seed ${seed}`
      )
    }
  })
})
