/**
 * Where every field of every record stands: the one table that decoding, encoding, text, upgrading and the layout
 * tests are driven by. Offsets count from the start of the record; all integers are little-endian; no struct has
 * hidden padding. What no field covers is reserved: written as zero, ignored on read.
 *
 *     0       1      2             4               8           16
 *     | length | rtype | publisher_id | instrument_id | ts_event  | fields of the struct ...  | ts_out (if the stream has it) |
 *
 * `length` counts 4-byte words, `ts_out` included. Field names are the vendor's; record objects use the same words in
 * camelCase. Source: DBN 1 to 3, `databento/dbn` 0.54.
 */

/** Version of the DBN encoding. */
export type DbnVersion = 1 | 2 | 3

/**
 * Type of a field on the wire.
 *
 * - `u8` `i8` `u16` `i16` `u32` `i32` `u64` `i64`: integers
 * - `px` i64 count of 1e-9, `ts` u64 nanoseconds since the epoch
 * - `char` one byte, NUL for none; `cstr` NUL-padded text of a fixed number of bytes, at least one of them NUL
 */
export type WireType =
  | "u8"
  | "i8"
  | "u16"
  | "i16"
  | "u32"
  | "i32"
  | "u64"
  | "i64"
  | "px"
  | "ts"
  | "char"
  | "cstr"

/** Offset, name, type, and for `cstr` the number of bytes. */
export type FieldSpec = readonly [offset: number, name: string, type: WireType, bytes?: number]

const widths: { readonly [T in Exclude<WireType, "cstr">]: number } = {
  u8: 1,
  i8: 1,
  char: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  u64: 8,
  i64: 8,
  px: 8,
  ts: 8
}

/** Bytes that a field takes. */
export const fieldBytes = (field: FieldSpec): number =>
  field[2] === "cstr" ? (field[3] as number) : widths[field[2]]

/** The 16 bytes in front of every record. */
export const headerFields = [
  [0, "length", "u8"],
  [1, "rtype", "u8"],
  [2, "publisher_id", "u16"],
  [4, "instrument_id", "u32"],
  [8, "ts_event", "ts"]
] as const satisfies ReadonlyArray<FieldSpec>

/** Bytes of the header. */
export const HEADER_BYTES = 16
/** Bytes that `ts_out` adds to every record of a stream that has it. */
export const TS_OUT_BYTES = 8
/** Bytes of the longest record that the length byte can describe. */
export const MAX_RECORD_BYTES = 1020

/** One side pair of a price level; offsets count from the start of the level. */
export const bidAskFields = [
  [0, "bid_px", "px"],
  [8, "ask_px", "px"],
  [16, "bid_sz", "u32"],
  [20, "ask_sz", "u32"],
  [24, "bid_ct", "u32"],
  [28, "ask_ct", "u32"]
] as const satisfies ReadonlyArray<FieldSpec>

/** A consolidated level: the venue (publisher) of each side in place of order counts. */
export const consolidatedBidAskFields = [
  [0, "bid_px", "px"],
  [8, "ask_px", "px"],
  [16, "bid_sz", "u32"],
  [20, "ask_sz", "u32"],
  [24, "bid_pb", "u16"],
  [28, "ask_pb", "u16"]
] as const satisfies ReadonlyArray<FieldSpec>

/** Bytes of one level. */
export const LEVEL_BYTES = 32

const mbo = [
  [16, "order_id", "u64"],
  [24, "price", "px"],
  [32, "size", "u32"],
  [36, "flags", "u8"],
  [37, "channel_id", "u8"],
  [38, "action", "char"],
  [39, "side", "char"],
  [40, "ts_recv", "ts"],
  [48, "ts_in_delta", "i32"],
  [52, "sequence", "u32"]
] as const satisfies ReadonlyArray<FieldSpec>

const trade = [
  [16, "price", "px"],
  [24, "size", "u32"],
  [28, "action", "char"],
  [29, "side", "char"],
  [30, "flags", "u8"],
  [31, "depth", "u8"],
  [32, "ts_recv", "ts"],
  [40, "ts_in_delta", "i32"],
  [44, "sequence", "u32"]
] as const satisfies ReadonlyArray<FieldSpec>

const bbo = [
  [16, "price", "px"],
  [24, "size", "u32"],
  [29, "side", "char"],
  [30, "flags", "u8"],
  [32, "ts_recv", "ts"],
  [44, "sequence", "u32"]
] as const satisfies ReadonlyArray<FieldSpec>

const cmbp1 = [
  [16, "price", "px"],
  [24, "size", "u32"],
  [28, "action", "char"],
  [29, "side", "char"],
  [30, "flags", "u8"],
  [32, "ts_recv", "ts"],
  [40, "ts_in_delta", "i32"]
] as const satisfies ReadonlyArray<FieldSpec>

const cbbo = [
  [16, "price", "px"],
  [24, "size", "u32"],
  [29, "side", "char"],
  [30, "flags", "u8"],
  [32, "ts_recv", "ts"]
] as const satisfies ReadonlyArray<FieldSpec>

const ohlcv = [
  [16, "open", "px"],
  [24, "high", "px"],
  [32, "low", "px"],
  [40, "close", "px"],
  [48, "volume", "u64"]
] as const satisfies ReadonlyArray<FieldSpec>

const status = [
  [16, "ts_recv", "ts"],
  [24, "action", "u16"],
  [26, "reason", "u16"],
  [28, "trading_event", "u16"],
  [30, "is_trading", "char"],
  [31, "is_quoting", "char"],
  [32, "is_short_sell_restricted", "char"]
] as const satisfies ReadonlyArray<FieldSpec>

const imbalance = [
  [16, "ts_recv", "ts"],
  [24, "ref_price", "px"],
  [32, "auction_time", "ts"],
  [40, "cont_book_clr_price", "px"],
  [48, "auct_interest_clr_price", "px"],
  [56, "ssr_filling_price", "px"],
  [64, "ind_match_price", "px"],
  [72, "upper_collar", "px"],
  [80, "lower_collar", "px"],
  [88, "paired_qty", "u32"],
  [92, "total_imbalance_qty", "u32"],
  [96, "market_imbalance_qty", "u32"],
  [100, "unpaired_qty", "u32"],
  [104, "auction_type", "char"],
  [105, "side", "char"],
  [106, "auction_status", "u8"],
  [107, "freeze_status", "u8"],
  [108, "num_extensions", "u8"],
  [109, "unpaired_side", "char"],
  [110, "significant_imbalance", "char"]
] as const satisfies ReadonlyArray<FieldSpec>

const statV1 = [
  [16, "ts_recv", "ts"],
  [24, "ts_ref", "ts"],
  [32, "price", "px"],
  [40, "quantity", "i32"],
  [44, "sequence", "u32"],
  [48, "ts_in_delta", "i32"],
  [52, "stat_type", "u16"],
  [54, "channel_id", "u16"],
  [56, "update_action", "u8"],
  [57, "stat_flags", "u8"]
] as const satisfies ReadonlyArray<FieldSpec>

const stat = [
  [16, "ts_recv", "ts"],
  [24, "ts_ref", "ts"],
  [32, "price", "px"],
  [40, "quantity", "i64"],
  [48, "sequence", "u32"],
  [52, "ts_in_delta", "i32"],
  [56, "stat_type", "u16"],
  [58, "channel_id", "u16"],
  [60, "update_action", "u8"],
  [61, "stat_flags", "u8"]
] as const satisfies ReadonlyArray<FieldSpec>

const errorV1 = [[16, "err", "cstr", 64]] as const satisfies ReadonlyArray<FieldSpec>
const error = [
  [16, "err", "cstr", 302],
  [318, "code", "u8"],
  [319, "is_last", "u8"]
] as const satisfies ReadonlyArray<FieldSpec>

const systemV1 = [[16, "msg", "cstr", 64]] as const satisfies ReadonlyArray<FieldSpec>
const system = [
  [16, "msg", "cstr", 303],
  [319, "code", "u8"]
] as const satisfies ReadonlyArray<FieldSpec>

const symbolMappingV1 = [
  [16, "stype_in_symbol", "cstr", 22],
  [38, "stype_out_symbol", "cstr", 22],
  [64, "start_ts", "ts"],
  [72, "end_ts", "ts"]
] as const satisfies ReadonlyArray<FieldSpec>
const symbolMapping = [
  [16, "stype_in", "u8"],
  [17, "stype_in_symbol", "cstr", 71],
  [88, "stype_out", "u8"],
  [89, "stype_out_symbol", "cstr", 71],
  [160, "start_ts", "ts"],
  [168, "end_ts", "ts"]
] as const satisfies ReadonlyArray<FieldSpec>

const instrumentDefV1 = [
  [16, "ts_recv", "ts"],
  [24, "min_price_increment", "px"],
  [32, "display_factor", "px"],
  [40, "expiration", "ts"],
  [48, "activation", "ts"],
  [56, "high_limit_price", "px"],
  [64, "low_limit_price", "px"],
  [72, "max_price_variation", "px"],
  [80, "trading_reference_price", "px"],
  [88, "unit_of_measure_qty", "px"],
  [96, "min_price_increment_amount", "px"],
  [104, "price_ratio", "px"],
  [112, "inst_attrib_value", "i32"],
  [116, "underlying_id", "u32"],
  [120, "raw_instrument_id", "u32"],
  [124, "market_depth_implied", "i32"],
  [128, "market_depth", "i32"],
  [132, "market_segment_id", "u32"],
  [136, "max_trade_vol", "u32"],
  [140, "min_lot_size", "i32"],
  [144, "min_lot_size_block", "i32"],
  [148, "min_lot_size_round_lot", "i32"],
  [152, "min_trade_vol", "u32"],
  [160, "contract_multiplier", "i32"],
  [164, "decay_quantity", "i32"],
  [168, "original_contract_size", "i32"],
  [176, "trading_reference_date", "u16"],
  [178, "appl_id", "i16"],
  [180, "maturity_year", "u16"],
  [182, "decay_start_date", "u16"],
  [184, "channel_id", "u16"],
  [186, "currency", "cstr", 4],
  [190, "settl_currency", "cstr", 4],
  [194, "secsubtype", "cstr", 6],
  [200, "raw_symbol", "cstr", 22],
  [222, "group", "cstr", 21],
  [243, "exchange", "cstr", 5],
  [248, "asset", "cstr", 7],
  [255, "cfi", "cstr", 7],
  [262, "security_type", "cstr", 7],
  [269, "unit_of_measure", "cstr", 31],
  [300, "underlying", "cstr", 21],
  [321, "strike_price_currency", "cstr", 4],
  [325, "instrument_class", "char"],
  [328, "strike_price", "px"],
  [342, "match_algorithm", "char"],
  [343, "md_security_trading_status", "u8"],
  [344, "main_fraction", "u8"],
  [345, "price_display_format", "u8"],
  [346, "settl_price_type", "u8"],
  [347, "sub_fraction", "u8"],
  [348, "underlying_product", "u8"],
  [349, "security_update_action", "char"],
  [350, "maturity_month", "u8"],
  [351, "maturity_day", "u8"],
  [352, "maturity_week", "u8"],
  [353, "user_defined_instrument", "char"],
  [354, "contract_multiplier_unit", "i8"],
  [355, "flow_schedule_type", "i8"],
  [356, "tick_rule", "u8"]
] as const satisfies ReadonlyArray<FieldSpec>

const instrumentDefV2 = [
  [16, "ts_recv", "ts"],
  [24, "min_price_increment", "px"],
  [32, "display_factor", "px"],
  [40, "expiration", "ts"],
  [48, "activation", "ts"],
  [56, "high_limit_price", "px"],
  [64, "low_limit_price", "px"],
  [72, "max_price_variation", "px"],
  [80, "trading_reference_price", "px"],
  [88, "unit_of_measure_qty", "px"],
  [96, "min_price_increment_amount", "px"],
  [104, "price_ratio", "px"],
  [112, "strike_price", "px"],
  [120, "inst_attrib_value", "i32"],
  [124, "underlying_id", "u32"],
  [128, "raw_instrument_id", "u32"],
  [132, "market_depth_implied", "i32"],
  [136, "market_depth", "i32"],
  [140, "market_segment_id", "u32"],
  [144, "max_trade_vol", "u32"],
  [148, "min_lot_size", "i32"],
  [152, "min_lot_size_block", "i32"],
  [156, "min_lot_size_round_lot", "i32"],
  [160, "min_trade_vol", "u32"],
  [164, "contract_multiplier", "i32"],
  [168, "decay_quantity", "i32"],
  [172, "original_contract_size", "i32"],
  [176, "trading_reference_date", "u16"],
  [178, "appl_id", "i16"],
  [180, "maturity_year", "u16"],
  [182, "decay_start_date", "u16"],
  [184, "channel_id", "u16"],
  [186, "currency", "cstr", 4],
  [190, "settl_currency", "cstr", 4],
  [194, "secsubtype", "cstr", 6],
  [200, "raw_symbol", "cstr", 71],
  [271, "group", "cstr", 21],
  [292, "exchange", "cstr", 5],
  [297, "asset", "cstr", 7],
  [304, "cfi", "cstr", 7],
  [311, "security_type", "cstr", 7],
  [318, "unit_of_measure", "cstr", 31],
  [349, "underlying", "cstr", 21],
  [370, "strike_price_currency", "cstr", 4],
  [374, "instrument_class", "char"],
  [375, "match_algorithm", "char"],
  [376, "md_security_trading_status", "u8"],
  [377, "main_fraction", "u8"],
  [378, "price_display_format", "u8"],
  [379, "settl_price_type", "u8"],
  [380, "sub_fraction", "u8"],
  [381, "underlying_product", "u8"],
  [382, "security_update_action", "char"],
  [383, "maturity_month", "u8"],
  [384, "maturity_day", "u8"],
  [385, "maturity_week", "u8"],
  [386, "user_defined_instrument", "char"],
  [387, "contract_multiplier_unit", "i8"],
  [388, "flow_schedule_type", "i8"],
  [389, "tick_rule", "u8"]
] as const satisfies ReadonlyArray<FieldSpec>

const instrumentDef = [
  [16, "ts_recv", "ts"],
  [24, "min_price_increment", "px"],
  [32, "display_factor", "px"],
  [40, "expiration", "ts"],
  [48, "activation", "ts"],
  [56, "high_limit_price", "px"],
  [64, "low_limit_price", "px"],
  [72, "max_price_variation", "px"],
  [80, "unit_of_measure_qty", "px"],
  [88, "min_price_increment_amount", "px"],
  [96, "price_ratio", "px"],
  [104, "strike_price", "px"],
  [112, "raw_instrument_id", "u64"],
  [120, "leg_price", "px"],
  [128, "leg_delta", "px"],
  [136, "inst_attrib_value", "i32"],
  [140, "underlying_id", "u32"],
  [144, "market_depth_implied", "i32"],
  [148, "market_depth", "i32"],
  [152, "market_segment_id", "u32"],
  [156, "max_trade_vol", "u32"],
  [160, "min_lot_size", "i32"],
  [164, "min_lot_size_block", "i32"],
  [168, "min_lot_size_round_lot", "i32"],
  [172, "min_trade_vol", "u32"],
  [176, "contract_multiplier", "i32"],
  [180, "decay_quantity", "i32"],
  [184, "original_contract_size", "i32"],
  [188, "leg_instrument_id", "u32"],
  [192, "leg_ratio_price_numerator", "i32"],
  [196, "leg_ratio_price_denominator", "i32"],
  [200, "leg_ratio_qty_numerator", "i32"],
  [204, "leg_ratio_qty_denominator", "i32"],
  [208, "leg_underlying_id", "u32"],
  [212, "appl_id", "i16"],
  [214, "maturity_year", "u16"],
  [216, "decay_start_date", "u16"],
  [218, "channel_id", "u16"],
  [220, "leg_count", "u16"],
  [222, "leg_index", "u16"],
  [224, "currency", "cstr", 4],
  [228, "settl_currency", "cstr", 4],
  [232, "secsubtype", "cstr", 6],
  [238, "raw_symbol", "cstr", 71],
  [309, "group", "cstr", 21],
  [330, "exchange", "cstr", 5],
  [335, "asset", "cstr", 11],
  [346, "cfi", "cstr", 7],
  [353, "security_type", "cstr", 7],
  [360, "unit_of_measure", "cstr", 31],
  [391, "underlying", "cstr", 21],
  [412, "strike_price_currency", "cstr", 4],
  [416, "leg_raw_symbol", "cstr", 71],
  [487, "instrument_class", "char"],
  [488, "match_algorithm", "char"],
  [489, "main_fraction", "u8"],
  [490, "price_display_format", "u8"],
  [491, "sub_fraction", "u8"],
  [492, "underlying_product", "u8"],
  [493, "security_update_action", "char"],
  [494, "maturity_month", "u8"],
  [495, "maturity_day", "u8"],
  [496, "maturity_week", "u8"],
  [497, "user_defined_instrument", "char"],
  [498, "contract_multiplier_unit", "i8"],
  [499, "flow_schedule_type", "i8"],
  [500, "tick_rule", "u8"],
  [501, "leg_instrument_class", "char"],
  [502, "leg_side", "char"]
] as const satisfies ReadonlyArray<FieldSpec>

/** Price levels that follow the fixed fields of a struct. */
export interface LevelsSpec {
  readonly offset: number
  readonly count: number
  readonly fields: ReadonlyArray<FieldSpec>
}

/** Layout of one struct in the versions that share it. */
export interface Layout {
  /** Name of the struct; `type` of its record objects. */
  readonly name: LayoutName
  /** Bytes without `ts_out`. */
  readonly size: number
  /** Fields after the header, by offset. */
  readonly fields: ReadonlyArray<FieldSpec>
  readonly levels: LevelsSpec | undefined
  /** Fields that text encodings (CSV, vendor JSON) put first; the others follow by offset, levels last. */
  readonly textFirst: ReadonlyArray<string>
  /** Versions that use this layout. */
  readonly versions: ReadonlyArray<DbnVersion>
}

/** Record structs. `_v1` marks a layout that a later version replaced. */
export type LayoutName =
  | "mbo"
  | "trade"
  | "mbp1"
  | "mbp10"
  | "bbo"
  | "cmbp1"
  | "cbbo"
  | "ohlcv"
  | "status"
  | "imbalance"
  | "stat_v1"
  | "stat"
  | "error_v1"
  | "error"
  | "symbol_mapping_v1"
  | "symbol_mapping"
  | "system_v1"
  | "system"
  | "instrument_def_v1"
  | "instrument_def_v2"
  | "instrument_def"

const every: ReadonlyArray<DbnVersion> = [1, 2, 3]

const layout = (
  name: LayoutName,
  size: number,
  fields: ReadonlyArray<FieldSpec>,
  rest: Partial<Pick<Layout, "levels" | "textFirst" | "versions">> = {}
): Layout => ({
  name,
  size,
  fields,
  levels: undefined,
  textFirst: [],
  versions: every,
  ...rest
})

const levels = (count: number, fields: ReadonlyArray<FieldSpec>): LevelsSpec => ({
  offset: 48,
  count,
  fields
})

const bookFirst = ["action", "side", "depth", "price", "size", "flags", "ts_in_delta", "sequence"]
const definitionFirst = ["raw_symbol", "security_update_action", "instrument_class"]
// The order of version 1 survives in the text of all versions, although later layouts moved these fields.
const definitionOrder = {
  v2: [...definitionFirst, ...instrumentDefV1.map((field) => field[1])],
  v3: [
    ...definitionFirst,
    ...instrumentDefV1.map((field) => field[1]),
    "leg_count",
    "leg_index",
    "leg_instrument_id",
    "leg_raw_symbol",
    "leg_instrument_class",
    "leg_side",
    "leg_price",
    "leg_delta",
    "leg_ratio_price_numerator",
    "leg_ratio_price_denominator",
    "leg_ratio_qty_numerator",
    "leg_ratio_qty_denominator",
    "leg_underlying_id"
  ]
}

/** Every layout by name. */
export const layouts: { readonly [N in LayoutName]: Layout } = {
  mbo: layout("mbo", 56, mbo, {
    textFirst: ["action", "side", "price", "size", "channel_id", "order_id", "flags"]
  }),
  trade: layout("trade", 48, trade, { textFirst: bookFirst }),
  mbp1: layout("mbp1", 80, trade, { levels: levels(1, bidAskFields), textFirst: bookFirst }),
  mbp10: layout("mbp10", 368, trade, { levels: levels(10, bidAskFields), textFirst: bookFirst }),
  bbo: layout("bbo", 80, bbo, { levels: levels(1, bidAskFields), textFirst: ["side"] }),
  cmbp1: layout("cmbp1", 80, cmbp1, {
    levels: levels(1, consolidatedBidAskFields),
    textFirst: ["action", "side"]
  }),
  cbbo: layout("cbbo", 80, cbbo, { levels: levels(1, consolidatedBidAskFields), textFirst: ["side"] }),
  ohlcv: layout("ohlcv", 56, ohlcv),
  status: layout("status", 40, status),
  imbalance: layout("imbalance", 112, imbalance),
  stat_v1: layout("stat_v1", 64, statV1, { versions: [1, 2] }),
  stat: layout("stat", 80, stat, { versions: [3] }),
  error_v1: layout("error_v1", 80, errorV1, { versions: [1] }),
  error: layout("error", 320, error, { versions: [2, 3] }),
  symbol_mapping_v1: layout("symbol_mapping_v1", 80, symbolMappingV1, { versions: [1] }),
  symbol_mapping: layout("symbol_mapping", 176, symbolMapping, { versions: [2, 3] }),
  system_v1: layout("system_v1", 80, systemV1, { versions: [1] }),
  system: layout("system", 320, system, { versions: [2, 3] }),
  instrument_def_v1: layout("instrument_def_v1", 360, instrumentDefV1, {
    textFirst: definitionFirst,
    versions: [1]
  }),
  instrument_def_v2: layout("instrument_def_v2", 400, instrumentDefV2, {
    textFirst: definitionOrder.v2,
    versions: [2]
  }),
  instrument_def: layout("instrument_def", 520, instrumentDef, {
    textFirst: definitionOrder.v3,
    versions: [3]
  })
}

/** Field tables by layout name, for deriving record types. */
export interface LayoutFields {
  readonly mbo: typeof mbo
  readonly trade: typeof trade
  readonly mbp1: typeof trade
  readonly mbp10: typeof trade
  readonly bbo: typeof bbo
  readonly cmbp1: typeof cmbp1
  readonly cbbo: typeof cbbo
  readonly ohlcv: typeof ohlcv
  readonly status: typeof status
  readonly imbalance: typeof imbalance
  readonly stat_v1: typeof statV1
  readonly stat: typeof stat
  readonly error_v1: typeof errorV1
  readonly error: typeof error
  readonly symbol_mapping_v1: typeof symbolMappingV1
  readonly symbol_mapping: typeof symbolMapping
  readonly system_v1: typeof systemV1
  readonly system: typeof system
  readonly instrument_def_v1: typeof instrumentDefV1
  readonly instrument_def_v2: typeof instrumentDefV2
  readonly instrument_def: typeof instrumentDef
}

/** Fields of a layout in the order of the text encodings, without header and levels. */
export const textOrder = (layout: Layout): ReadonlyArray<FieldSpec> => {
  const byName = new Map(layout.fields.map((field) => [field[1], field] as const))
  const names = new Set([
    ...layout.textFirst.filter((name) => byName.has(name)),
    ...layout.fields.map((field) => field[1])
  ])
  return [...names].map((name) => byName.get(name) as FieldSpec)
}

/** `ts_event` as `tsEvent`. */
export const camelCase = (name: string): string =>
  name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
