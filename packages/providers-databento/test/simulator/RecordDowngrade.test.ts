import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { decodeBlocks } from "../../src/dbn/DbnDecoder.ts"
import { type DbnRecord, decodeRecord } from "../../src/dbn/DbnRecord.ts"
import { blankRecord } from "../../src/dbn/RecordEncoder.ts"
import { downgraded } from "../../src/simulator/RecordDowngrade.ts"
import { testData } from "../TestData.ts"

const read = (name: string, upgrade?: 3): Array<DbnRecord> => {
  const records: Array<DbnRecord> = []
  for (const block of decodeBlocks(
    [readFileSync(join(testData!, "dbn", name))],
    upgrade === undefined ? {} : { upgrade }
  ))
    for (const position of block.positions()) records.push(decodeRecord(block, position))
  return records
}

/** Fields that version 3 does not have: they come back absent. */
const removed = new Set([
  "tradingReferencePrice",
  "tradingReferenceDate",
  "mdSecurityTradingStatus",
  "settlPriceType"
])
const kept = (record: DbnRecord) =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !removed.has(name)))

describe("downgrade", () => {
  for (const [name, version] of [
    ["test_data.definition.v1.dbn.zst", 1],
    ["test_data.definition.v2.dbn.zst", 2],
    ["test_data.statistics.v1.dbn.zst", 1],
    ["synthetic.live.v1.dbn", 1]
  ] as const)
    it(`undoes the upgrade of ${name}`, (context) => {
      if (testData === undefined) return context.skip("the folder ../shared/testdata is not here")
      const original = read(name)
      const back = read(name, 3).map((record) => downgraded(record, version))
      assert.isAbove(original.length, 0)
      assert.deepEqual(back.map(kept), original.map(kept))
    })

  it("keeps an absent quantity absent and cuts what is too long", () => {
    const stat = downgraded(blankRecord("stat", { quantity: 0x7fffffffffffffffn }), 2)
    assert.equal(stat.type === "stat_v1" && stat.quantity, 0x7fffffff)
    const large = downgraded(blankRecord("stat", { quantity: 1n << 40n }), 1)
    assert.equal(large.type === "stat_v1" && large.quantity, 0x7fffffff)
    const mapping = downgraded(blankRecord("symbol_mapping", { stypeOutSymbol: "X".repeat(60) }), 1)
    assert.equal(mapping.type === "symbol_mapping_v1" && mapping.stypeOutSymbol, "X".repeat(21))
  })

  it("leaves alone what is the same in every version", () => {
    const trade = blankRecord("trade")
    assert.strictEqual(downgraded(trade, 1), trade)
  })
})
