import type { SymbolEntry } from "@data-manager/core"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as SymbolEntryTable from "../src/SymbolEntryTable.ts"
import { openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture
beforeAll(async () => {
  store = await openStore()
}, 120_000)
afterAll(() => store.close())

const entry = (symbol: string): SymbolEntry => ({
  symbol,
  provider: "test",
  dataset: "TEST",
  stypeIn: "raw_symbol",
  schemas: ["trades"],
  enabled: true,
  source: "discovery",
  discoveredAt: 1_700_000_000_000_000_000n,
  removedAt: undefined,
  assetClass: undefined,
  exchange: undefined,
  metadata: undefined
})

describe("symbol entries", () => {
  it("are read again after every change, whoever makes it, and only then", async () => {
    const table = SymbolEntryTable.make(store.writer.pool)
    const other = SymbolEntryTable.make(store.writer.pool)
    let last = await store.run(table.symbolEntries)
    const isRead = async (): Promise<boolean> => {
      const before = last
      last = await store.run(table.symbolEntries)
      return last !== before
    }
    assert.isFalse(await isRead())
    const changes: ReadonlyArray<() => Promise<unknown>> = [
      () => store.run(other.putSymbolEntries(["TEST:A", "TEST:B", "TEST:C"].map(entry))),
      () => store.run(table.putSymbolEntries([{ ...entry("TEST:A"), enabled: false }])),
      () => store.sql("UPDATE symbol_entries SET enabled = true WHERE symbol = 'TEST:A'"),
      () => store.sql("UPDATE symbol_entries SET enabled = NOT enabled"),
      () => store.sql("DELETE FROM symbol_entries WHERE symbol = 'TEST:B'"),
      () => store.run(other.putSymbolEntries([entry("TEST:B")]))
    ]
    for (const [i, change] of changes.entries()) {
      await change()
      assert.isTrue(await isRead(), `change ${i}`)
      assert.isFalse(await isRead(), `after change ${i}`)
    }
    assert.deepStrictEqual(
      last.map(({ enabled, symbol }) => [symbol, enabled]),
      [
        ["TEST:A", false],
        ["TEST:B", true],
        ["TEST:C", false]
      ]
    )
  })
})
