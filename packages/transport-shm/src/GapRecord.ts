/** Gaps upstream of the ring as 64 bytes of a control record; see `dm_gap_record` in the header. */
import { type Gap, MarketSchema } from "@data-manager/core"
import { gapCauses } from "./RingLayout.ts"

/** Dictionary index that stands for all instruments. */
export const AllInstruments = 65_535
/** Longest dataset name in a control record, in bytes. */
export const MaxDataset = 16
const KindControl = 3

const clampI64 = (value: bigint): bigint => BigInt.asIntN(64, value)

/** The record of a gap for one instrument, or for all. */
export const encodeGap = (gap: Gap, instrument: number): Uint8Array => {
  const record = new Uint8Array(64)
  const view = new DataView(record.buffer)
  view.setBigInt64(8, clampI64(gap.range.start), true)
  view.setBigInt64(16, clampI64(gap.range.end), true)
  view.setBigInt64(24, gap.rows ?? -1n, true)
  record.set(new TextEncoder().encode(gap.dataset).subarray(0, MaxDataset), 32)
  view.setUint16(48, instrument, true)
  view.setUint16(50, MarketSchema.code(gap.schema), true)
  view.setUint8(58, KindControl)
  view.setUint8(59, gapCauses.indexOf(gap.cause) + 1)
  return record
}

/** The gap of a control record; `symbolOf` names an instrument. Codes of a newer version read as trades and "provider". */
export const decodeGap = (record: ArrayBuffer, symbolOf: (index: number) => string): Gap => {
  const view = new DataView(record)
  const text = new Uint8Array(record, 32, MaxDataset)
  const end = text.indexOf(0)
  const rows = view.getBigInt64(24, true)
  const instrument = view.getUint16(48, true)
  return {
    _tag: "Gap",
    dataset: new TextDecoder().decode(end < 0 ? text : text.subarray(0, end)),
    schema: MarketSchema.fromCode(view.getUint16(50, true)) ?? "trades",
    symbols: instrument === AllInstruments ? undefined : [symbolOf(instrument)],
    range: { start: view.getBigInt64(8, true), end: view.getBigInt64(16, true) },
    rows: rows < 0n ? undefined : rows,
    cause: gapCauses[view.getUint8(59) - 1] ?? "provider"
  }
}
