/** Gaps upstream of the ring, and their repairs, as 64 bytes of a control record; see `dm_gap_record` in the header. */
import { type Gap, MarketSchema, type Repaired } from "@data-manager/core"
import { gapCauses } from "./RingLayout.ts"

/** Dictionary index that stands for all instruments. */
export const AllInstruments = 65_535
/** Longest dataset name in a control record, in bytes. */
export const MaxDataset = 16
const KindControl = 3

/** Stands in place of a cause: lost time that was repaired. `DM_GAP_REPAIRED` of the header. */
const CodeRepaired = 128

const clampI64 = (value: bigint): bigint => BigInt.asIntN(64, value)

const encode = (
  { dataset, range, rows = -1n, schema }: Pick<Gap, "dataset" | "schema" | "range" | "rows">,
  instrument: number,
  code: number
): Uint8Array => {
  const record = new Uint8Array(64)
  const view = new DataView(record.buffer)
  view.setBigInt64(8, clampI64(range.start), true)
  view.setBigInt64(16, clampI64(range.end), true)
  view.setBigInt64(24, rows, true)
  record.set(new TextEncoder().encode(dataset).subarray(0, MaxDataset), 32)
  view.setUint16(48, instrument, true)
  view.setUint16(50, MarketSchema.code(schema), true)
  view.setUint8(58, KindControl)
  view.setUint8(59, code)
  return record
}

/** The record of a gap for one instrument, or for all. */
export const encodeGap = (gap: Gap, instrument: number): Uint8Array =>
  encode(gap, instrument, gapCauses.indexOf(gap.cause) + 1)

/** The record of a repair for one instrument, or for all. */
export const encodeRepaired = (repaired: Repaired, instrument: number): Uint8Array =>
  encode(repaired, instrument, CodeRepaired)

/**
 * The gap or repair of a control record; `symbolOf` names an instrument. Codes of a newer version read as trades and "provider".
 */
export const decodeControl = (record: ArrayBuffer, symbolOf: (index: number) => string): Gap | Repaired => {
  const view = new DataView(record)
  const text = new Uint8Array(record, 32, MaxDataset)
  const end = text.indexOf(0)
  const rows = view.getBigInt64(24, true)
  const instrument = view.getUint16(48, true)
  const code = view.getUint8(59)
  const about = {
    dataset: new TextDecoder().decode(end < 0 ? text : text.subarray(0, end)),
    schema: MarketSchema.fromCode(view.getUint16(50, true)) ?? ("trades" as const),
    symbols: instrument === AllInstruments ? undefined : [symbolOf(instrument)],
    range: { start: view.getBigInt64(8, true), end: view.getBigInt64(16, true) }
  }
  return code === CodeRepaired
    ? { _tag: "Repaired", ...about, rows }
    : {
        _tag: "Gap",
        ...about,
        rows: rows < 0n ? undefined : rows,
        cause: gapCauses[code - 1] ?? "provider"
      }
}
