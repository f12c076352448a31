import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { decodeRecord } from "../../src/dbn/DbnRecord.ts"
import { blankRecord, encodeStream } from "../../src/dbn/RecordEncoder.ts"
import { zstdFrame } from "../../src/dbn/ZstdEncoder.ts"
import { addFile, CatalogueBuilder } from "../../src/simulator/Catalogue.ts"
import type { RecordTable } from "../../src/simulator/RecordTable.ts"
import { testData } from "../TestData.ts"
import {
  catalogueOf,
  DAY,
  futures,
  futuresCatalogue,
  market,
  SECOND,
  syntheticCatalogue,
  trade,
  trades
} from "./TestCatalogue.ts"

const rows = (table: RecordTable) =>
  Array.from({ length: table.length }, (_, row) =>
    decodeRecord(table.block(row, row + 1), table.offsets[row]! / 4)
  )

describe("catalogue", () => {
  it("holds a synthetic day: what the market writes, and bars of it", () => {
    const dataset = syntheticCatalogue.get("DBEQ.BASIC")!
    assert.deepEqual(dataset.schemas, [
      "mbp-1",
      "trades",
      "ohlcv-1s",
      "ohlcv-1m",
      "ohlcv-1h",
      "ohlcv-1d",
      "definition"
    ])
    assert.deepEqual(rows(dataset.tables.get("trades")!), trades)
    assert.deepEqual(dataset.symbols.rawSymbols(), market.instruments.map((it) => it.symbol).sort())
    assert.deepEqual([dataset.start, dataset.end], [DAY, DAY + 86_400n * SECOND])
    const volume = trades.reduce((sum, it) => sum + (it.type === "trade" ? BigInt(it.size) : 0n), 0n)
    for (const schema of ["ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d"] as const) {
      const bars = rows(dataset.tables.get(schema)!)
      assert.equal(
        bars.reduce((sum, it) => sum + (it.type === "ohlcv" ? it.volume : 0n), 0n),
        volume
      )
    }
  })

  it("makes a bar per publisher and instrument with the first, last, highest and lowest price", () => {
    const prices = [5n, 9n, 2n, 7n]
    const dataset = catalogueOf({
      metadata: futures,
      records: prices.map((price, i) => ({ ...trade(1, 60 + i), price }) as ReturnType<typeof trade>)
    }).get("GLBX.MDP3")!
    const [bar] = rows(dataset.tables.get("ohlcv-1m")!)
    assert.deepInclude(bar as object, {
      rtype: 0x21,
      publisherId: 1,
      instrumentId: 1,
      tsEvent: DAY + 60n * SECOND,
      open: 5n,
      high: 9n,
      low: 2n,
      close: 7n,
      volume: 4n
    })
  })

  it("sorts by index time and keeps the order of equal times", () => {
    const dataset = catalogueOf(
      { metadata: futures, records: [trade(1, 30), trade(1, 10, 1), trade(1, 10, 2)] },
      { metadata: futures, records: [trade(2, 20), trade(2, 10, 3)] }
    ).get("GLBX.MDP3")!
    assert.deepEqual(
      rows(dataset.tables.get("trades")!).map((it) => it.type === "trade" && it.sequence),
      [1, 2, 3, 20, 30]
    )
    assert.equal(dataset.tables.get("trades")!.firstAt(DAY + 10n * SECOND + 1001n), 3)
  })

  it("learns symbols from definitions, parents among them, until the next one", () => {
    const definition = (day: number, rawSymbol: string, asset: string) =>
      blankRecord("instrument_def", {
        publisherId: 1,
        instrumentId: 7,
        tsEvent: DAY + BigInt(day) * 86_400n * SECOND,
        tsRecv: DAY + BigInt(day) * 86_400n * SECOND,
        rawSymbol,
        asset,
        instrumentClass: "F"
      })
    const { symbols } = catalogueOf({
      metadata: { dataset: "GLBX.MDP3", schema: "definition", start: DAY, end: DAY + 4n * 86_400n * SECOND },
      records: [definition(0, "OLD", "ES"), definition(2, "NEW", "ES")]
    }).get("GLBX.MDP3")!
    const first = Number(DAY / (86_400n * SECOND))
    assert.deepEqual(
      [0, 1, 2, 3].map((day) => symbols.rawSymbol(7, first + day)),
      ["OLD", "OLD", "NEW", "NEW"]
    )
    assert.deepEqual(symbols.instruments("parent", "ES.FUT", first, first + 4), [
      { start: first, end: first + 4, value: 7 }
    ])
  })

  it("reads zstd, older versions and live captures with ts_out, and refuses too much and too little", () => {
    const bytes = encodeStream({ ...futures, tsOut: true }, [{ ...trade(1, 5), tsOut: 1n }], 1)
    const dataset = new CatalogueBuilder()
      .add([zstdFrame(bytes)])
      .build()
      .get("GLBX.MDP3")!
    assert.deepEqual(rows(dataset.tables.get("trades")!), [trade(1, 5)])
    assert.throws(() => new CatalogueBuilder({ maxBytes: 47 }).add([bytes]), /more than 47 bytes/)
    assert.throws(
      () => new CatalogueBuilder().add([bytes.subarray(0, bytes.length - 1)]),
      /ends inside a record/
    )
  })

  it("lays the same rows out for older versions", () => {
    const table = syntheticCatalogue.get("DBEQ.BASIC")!.tables.get("definition")!.inVersion(1)
    const [first] = rows(table)
    assert.equal(first?.type, "instrument_def_v1")
    assert.equal(table.offsets[1], 360)
    const same = futuresCatalogue.get("GLBX.MDP3")!.tables.get("trades")!
    assert.strictEqual(same.inVersion(1).bytes, same.bytes)
  })

  it("reads the vendor's files", async (context) => {
    if (testData === undefined) return context.skip("the folder ../shared/testdata is not here")
    const builder = new CatalogueBuilder()
    const names = [
      "test_data.mbo.v3.dbn",
      "test_data.tbbo.v1.dbn.zst",
      "test_data.ohlcv-1h.dbz",
      "synthetic.live.v3.dbn"
    ]
    await Effect.runPromise(
      Effect.forEach(names, (name) => addFile(builder, join(testData!, "dbn", name)), { discard: true }).pipe(
        Effect.provide(NodeServices.layer)
      )
    )
    const catalogue = builder.build()
    assert.containSubset([...catalogue.get("GLBX.MDP3")!.schemas], ["mbo", "tbbo", "ohlcv-1h"])
    assert.isAbove(readFileSync(join(testData, "dbn", names[0]!)).length, 0)
    const error = await Effect.runPromise(
      Effect.flip(addFile(builder, "/no/such.dbn")).pipe(Effect.provide(NodeServices.layer))
    )
    assert.match(error.message, /databento simulator: read \/no\/such.dbn/)
  })
})
