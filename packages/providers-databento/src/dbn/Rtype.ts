/** Record types: the byte that tells which struct follows the header. Unknown ones are legal and passed through. */
import type { KnownSchema } from "./DbnSchema.ts"
import {
  type DbnVersion,
  HEADER_BYTES,
  type Layout,
  type LayoutName,
  layouts,
  TS_OUT_BYTES
} from "./Layout.ts"

/** One record type. */
export interface RtypeEntry {
  readonly rtype: number
  readonly name: string
  /** The schema whose files hold it; null for gateway records and the deprecated bar type. `tbbo` shares `mbp-1`'s. */
  readonly schema: KnownSchema | null
  /** Layout in version 1, 2 and 3. */
  readonly layouts: readonly [LayoutName, LayoutName, LayoutName]
}

const entry = (
  rtype: number,
  name: string,
  schema: KnownSchema | null,
  v3: LayoutName,
  v1: LayoutName = v3,
  v2: LayoutName = v3
): RtypeEntry => ({ rtype, name, schema, layouts: [v1, v2, v3] })

/** Every known record type. */
export const rtypes: ReadonlyArray<RtypeEntry> = [
  entry(0x00, "mbp-0", "trades", "trade"),
  entry(0x01, "mbp-1", "mbp-1", "mbp1"),
  entry(0x0a, "mbp-10", "mbp-10", "mbp10"),
  entry(0x11, "ohlcv-deprecated", null, "ohlcv"),
  entry(0x12, "status", "status", "status"),
  entry(0x13, "instrument-def", "definition", "instrument_def", "instrument_def_v1", "instrument_def_v2"),
  entry(0x14, "imbalance", "imbalance", "imbalance"),
  entry(0x15, "error", null, "error", "error_v1"),
  entry(0x16, "symbol-mapping", null, "symbol_mapping", "symbol_mapping_v1"),
  entry(0x17, "system", null, "system", "system_v1"),
  entry(0x18, "statistics", "statistics", "stat", "stat_v1", "stat_v1"),
  entry(0x20, "ohlcv-1s", "ohlcv-1s", "ohlcv"),
  entry(0x21, "ohlcv-1m", "ohlcv-1m", "ohlcv"),
  entry(0x22, "ohlcv-1h", "ohlcv-1h", "ohlcv"),
  entry(0x23, "ohlcv-1d", "ohlcv-1d", "ohlcv"),
  entry(0x24, "ohlcv-eod", "ohlcv-eod", "ohlcv"),
  entry(0xa0, "mbo", "mbo", "mbo"),
  entry(0xb1, "cmbp-1", "cmbp-1", "cmbp1"),
  entry(0xc0, "cbbo-1s", "cbbo-1s", "cbbo"),
  entry(0xc1, "cbbo-1m", "cbbo-1m", "cbbo"),
  // The struct is that of cmbp-1, not of the sampled cbbo beside which its number stands.
  entry(0xc2, "tcbbo", "tcbbo", "cmbp1"),
  entry(0xc3, "bbo-1s", "bbo-1s", "bbo"),
  entry(0xc4, "bbo-1m", "bbo-1m", "bbo")
]

/** Record types by the name that code reads best with. */
export const Rtype = {
  trade: 0x00,
  mbp1: 0x01,
  mbp10: 0x0a,
  ohlcvDeprecated: 0x11,
  status: 0x12,
  instrumentDef: 0x13,
  imbalance: 0x14,
  error: 0x15,
  symbolMapping: 0x16,
  system: 0x17,
  statistics: 0x18,
  ohlcv1s: 0x20,
  ohlcv1m: 0x21,
  ohlcv1h: 0x22,
  ohlcv1d: 0x23,
  ohlcvEod: 0x24,
  mbo: 0xa0,
  cmbp1: 0xb1,
  cbbo1s: 0xc0,
  cbbo1m: 0xc1,
  tcbbo: 0xc2,
  bbo1s: 0xc3,
  bbo1m: 0xc4
} as const

const byRtype: ReadonlyArray<RtypeEntry | undefined> = Array.from({ length: 256 }, (_, rtype) =>
  rtypes.find((known) => known.rtype === rtype)
)

const layoutTable: ReadonlyArray<ReadonlyArray<Layout | undefined>> = [1, 2, 3].map((version) =>
  byRtype.map((known) =>
    known === undefined ? undefined : layouts[known.layouts[version - 1] as LayoutName]
  )
)

/** The entry of a record type, undefined where it is unknown. */
export const rtypeEntry = (rtype: number): RtypeEntry | undefined => byRtype[rtype]

/** Name of a record type; `rtype-NN` where it is unknown. */
export const rtypeName = (rtype: number): string => byRtype[rtype]?.name ?? `rtype-${rtype}`

/** Layout of a record type in a version; undefined where the type is unknown. */
export const layoutOf = (rtype: number, version: DbnVersion): Layout | undefined =>
  layoutTable[version - 1]?.[rtype]

/** The record type that files of a schema hold. */
export const rtypeOfSchema = (schema: KnownSchema): number => {
  const own = schema === "tbbo" ? "mbp-1" : schema
  return (rtypes.find((known) => known.schema === own) as RtypeEntry).rtype
}

const minimumTables = ([1, 2, 3] as const).flatMap((version) =>
  [0, TS_OUT_BYTES].map((suffix) =>
    Uint8Array.from(byRtype, (_, rtype) => ((layoutOf(rtype, version)?.size ?? HEADER_BYTES) + suffix) / 4)
  )
)

/**
 * Smallest legal length in words by record type; that of a bare header for unknown types. Records may be longer than their
 * struct (they grow over the years), never shorter. Not to be written to.
 */
export const minimumWords = (version: DbnVersion, tsOut: boolean): Uint8Array =>
  minimumTables[(version - 1) * 2 + (tsOut ? 1 : 0)] as Uint8Array
