/** Small catalogues for tests of the simulator, and what is in them by other means. */
import { decodeBlocks } from "../../src/dbn/DbnDecoder.ts"
import type { DbnMetadataInit } from "../../src/dbn/DbnMetadata.ts"
import { type DbnRecord, decodeRecord } from "../../src/dbn/DbnRecord.ts"
import { blankRecord, encodeStream } from "../../src/dbn/RecordEncoder.ts"
import { type Catalogue, CatalogueBuilder } from "../../src/simulator/Catalogue.ts"
import { SyntheticMarket } from "../../src/simulator/SyntheticMarket.ts"

export const DATASET = "DBEQ.BASIC"
export const DAY = 1_767_571_200_000_000_000n
export const SECOND = 1_000_000_000n

export const market = new SyntheticMarket({ trades: 2000, symbols: 20 })

export const syntheticCatalogue: Catalogue = new CatalogueBuilder().addSynthetic(market).build()

/** Records of a DBN input as objects. */
export const recordsOf = (chunks: Iterable<Uint8Array>): Array<DbnRecord> => {
  const records: Array<DbnRecord> = []
  for (const block of decodeBlocks(chunks))
    for (const position of block.positions()) records.push(decodeRecord(block, position))
  return records
}

/** The synthetic trades. */
export const trades = recordsOf(market.tradeFile())

/** Instrument id of a synthetic symbol. */
export const idOf = (symbol: string): number => market.instruments.find((it) => it.symbol === symbol)!.id

/** A catalogue of records of one's own. */
export const catalogueOf = (
  ...inputs: ReadonlyArray<{ readonly metadata: DbnMetadataInit; readonly records: ReadonlyArray<DbnRecord> }>
): Catalogue => {
  const builder = new CatalogueBuilder()
  for (const { metadata, records } of inputs) builder.add([encodeStream(metadata, records)])
  return builder.build()
}

/** Two futures of one parent on two days, the contract behind the continuous symbol changing between them. */
export const futures: DbnMetadataInit = {
  dataset: "GLBX.MDP3",
  schema: "trades",
  start: DAY,
  end: DAY + 2n * 86_400n * SECOND,
  stypeIn: "raw_symbol",
  stypeOut: "instrument_id",
  symbols: ["ESH6", "ESM6"],
  mappings: [
    { rawSymbol: "ESH6", intervals: [{ startDate: 20260105, endDate: 20260107, symbol: "1" }] },
    { rawSymbol: "ESM6", intervals: [{ startDate: 20260106, endDate: 20260107, symbol: "2" }] }
  ]
}

/** The same futures by other names. */
export const futureAliases: DbnMetadataInit = {
  ...futures,
  stypeIn: "continuous",
  symbols: ["ES.c.0"],
  mappings: [
    {
      rawSymbol: "ES.c.0",
      intervals: [
        { startDate: 20260105, endDate: 20260106, symbol: "1" },
        { startDate: 20260106, endDate: 20260107, symbol: "2" }
      ]
    }
  ]
}

export const futureParent: DbnMetadataInit = {
  ...futures,
  stypeIn: "parent",
  symbols: ["ES.FUT"],
  mappings: [
    {
      rawSymbol: "ES.FUT",
      intervals: [
        { startDate: 20260105, endDate: 20260107, symbol: "1" },
        { startDate: 20260106, endDate: 20260107, symbol: "2" }
      ]
    }
  ]
}

/** A trade `second` seconds after the beginning of the day. */
export const trade = (instrumentId: number, second: number, sequence = second): DbnRecord =>
  blankRecord("trade", {
    publisherId: 1,
    instrumentId,
    tsEvent: DAY + BigInt(second) * SECOND,
    tsRecv: DAY + BigInt(second) * SECOND + 1000n,
    price: 5_000_000_000_000n,
    size: 1,
    action: "T",
    side: "B",
    sequence
  })

export const futuresCatalogue: Catalogue = catalogueOf(
  {
    metadata: futures,
    records: [10, 20, 30, 86_400 + 10, 86_400 + 20].flatMap((second) => [
      trade(1, second),
      ...(second > 86_400 ? [trade(2, second)] : [])
    ])
  },
  { metadata: futureAliases, records: [] },
  { metadata: futureParent, records: [] }
)
