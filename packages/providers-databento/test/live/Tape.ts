/** Made-up trades as a venue sends them, with everything that makes keys and repeats hard. */
import { SeededRandom } from "@data-manager/testing"
import {
  blankRecord,
  type DbnMetadataInit,
  encodeMetadata,
  encodeRecord,
  type TradeRecord
} from "../../src/dbn/index.ts"

export const DATASET = "GLBX.MDP3"
export const KEY = "db-0123456789abcdefghijKLMNOPQRS"

/** 2026-03-04T15:00:00Z */
export const TAPE_START = 1772636400_000_000_000n

/** Instruments of the tape: the vendor's number, and its name. */
export const tapeSymbols: ReadonlyArray<readonly [number, string]> = [
  [5482, "ESH6"],
  [5483, "NQH6"],
  [7001, "ESM6"],
  [7002, "NQM6"]
]

export const trade = (fields: Partial<Omit<TradeRecord, "type">>): TradeRecord =>
  blankRecord("trade", {
    publisherId: 1,
    instrumentId: 5482,
    tsEvent: TAPE_START,
    tsRecv: TAPE_START + 1000n,
    price: 6_000_000_000_000n,
    size: 1,
    action: "T",
    side: "A",
    tsInDelta: 10,
    ...fields
  })

/**
 * Trades in the order of sending: times advance, stand still and, now and then, lie back; sequences repeat within a
 * microsecond; several publishers share instruments. `pace` stretches the time between them.
 */
export const tape = (seed: number, count: number, lateShare = 0.05, pace = 1): ReadonlyArray<TradeRecord> => {
  const random = new SeededRandom(seed)
  const trades: Array<TradeRecord> = []
  let now = TAPE_START
  let sequence = 1000
  for (let i = 0; i < count; i++) {
    if (random.chance(0.5)) now += BigInt(random.pick([1, 300, 700, 1500, 40_000 * pace, 3_000_000 * pace]))
    if (random.chance(0.4)) sequence += 1
    const late = random.chance(lateShare) ? BigInt(random.between(1, 5000)) : 0n
    trades.push(
      trade({
        publisherId: random.pick([1, 1, 1, 2]),
        instrumentId: random.pick(tapeSymbols)[0],
        tsEvent: now - late,
        tsRecv: now + 500n,
        sequence,
        price: BigInt(6_000_000_000_000 + i * 250_000_000),
        size: 1 + random.below(9)
      })
    )
  }
  return trades
}

export const encode = (
  ...records: ReadonlyArray<Parameters<typeof encodeRecord>[0]>
): Uint8Array<ArrayBuffer> => concat(records.map((record) => encodeRecord(record, { version: 3 })))

export const metadata = (start: bigint, init: Partial<DbnMetadataInit> = {}): Uint8Array =>
  encodeMetadata(
    { dataset: DATASET, schema: null, stypeIn: null, stypeOut: "instrument_id", start, ...init },
    3
  )

export const system = (code: number, msg: string, tsEvent: bigint): Uint8Array<ArrayBuffer> =>
  encode(blankRecord("system", { code, msg, tsEvent }))

export const gatewayError = (code: number, err: string, tsEvent = TAPE_START): Uint8Array<ArrayBuffer> =>
  encode(blankRecord("error", { code, err, isLast: 1, tsEvent }))

export const mapping = (
  id: number,
  requested: string,
  symbol: string,
  tsEvent: bigint
): Uint8Array<ArrayBuffer> =>
  encode(
    blankRecord("symbol_mapping", {
      instrumentId: id,
      stypeIn: 4,
      stypeInSymbol: requested,
      stypeOut: 1,
      stypeOutSymbol: symbol,
      tsEvent
    })
  )

export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
