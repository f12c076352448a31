/**
 * Names of the values of enumerated fields. Every enumeration is open: the vendor adds values several times a year, so
 * an unknown value is carried as it is and merely has no name.
 */

/** Names by value: the key is the character or the number on the wire. */
export type EnumNames = { readonly [value: string]: string }

/** `action` of order book and trade records. Trades and fills do not change the book. */
export const Action = {
  A: "add",
  M: "modify",
  C: "cancel",
  R: "clear",
  T: "trade",
  F: "fill",
  N: "none"
} as const satisfies EnumNames

/** `side`: of a resting order, except in a trade, where it is the aggressor's (A sold, B bought). */
export const Side = { A: "ask", B: "bid", N: "none" } as const satisfies EnumNames

/** `instrument_class` of a definition. */
export const InstrumentClass = {
  B: "bond",
  C: "call",
  F: "future",
  I: "index",
  K: "stock",
  M: "mixed_spread",
  P: "put",
  S: "future_spread",
  T: "option_spread",
  X: "fx_spot",
  Y: "commodity_spot"
} as const satisfies EnumNames

/** `match_algorithm` of a definition. */
export const MatchAlgorithm = {
  " ": "undefined",
  F: "fifo",
  K: "configurable",
  C: "pro_rata",
  T: "fifo_lmm",
  O: "threshold_pro_rata",
  S: "fifo_top_lmm",
  Q: "threshold_pro_rata_lmm",
  Y: "eurodollar_futures",
  P: "time_pro_rata",
  V: "institutional_prioritization",
  A: "allocation"
} as const satisfies EnumNames

/** `security_update_action` of a definition. */
export const SecurityUpdateAction = {
  A: "add",
  M: "modify",
  D: "delete",
  "~": "invalid"
} as const satisfies EnumNames

/** `user_defined_instrument` of a definition. */
export const UserDefinedInstrument = { Y: "yes", N: "no" } as const satisfies EnumNames

/** `is_trading`, `is_quoting`, `is_short_sell_restricted` of a status. */
export const TriState = { "~": "not_available", N: "no", Y: "yes" } as const satisfies EnumNames

/** `update_action` of a statistic. */
export const StatUpdateAction = { 1: "new", 2: "delete" } as const satisfies EnumNames

/** `stat_type` of a statistic. */
export const StatType = {
  1: "opening_price",
  2: "indicative_opening_price",
  3: "settlement_price",
  4: "trading_session_low_price",
  5: "trading_session_high_price",
  6: "cleared_volume",
  7: "lowest_offer",
  8: "highest_bid",
  9: "open_interest",
  10: "fixing_price",
  11: "close_price",
  12: "net_change",
  13: "vwap",
  14: "volatility",
  15: "delta",
  16: "uncrossing_price",
  17: "upper_price_limit",
  18: "lower_price_limit",
  19: "block_volume",
  20: "indicative_close_price",
  21: "mwcb_level_1",
  22: "mwcb_level_2",
  23: "mwcb_level_3",
  24: "auction_collar_reference_price",
  25: "auction_collar_upper_price",
  26: "auction_collar_lower_price",
  10001: "venue_specific_volume_1",
  10002: "venue_specific_price_1"
} as const satisfies EnumNames

/** `action` of a status. */
export const StatusAction = {
  0: "none",
  1: "pre_open",
  2: "pre_cross",
  3: "quoting",
  4: "cross",
  5: "rotation",
  6: "new_price_indication",
  7: "trading",
  8: "halt",
  9: "pause",
  10: "suspend",
  11: "pre_close",
  12: "close",
  13: "post_close",
  14: "ssr_change",
  15: "not_available_for_trading"
} as const satisfies EnumNames

/** `reason` of a status. */
export const StatusReason = {
  0: "none",
  1: "scheduled",
  2: "surveillance_intervention",
  3: "market_event",
  4: "instrument_activation",
  5: "instrument_expiration",
  6: "recovery_in_process",
  10: "regulatory",
  11: "administrative",
  12: "non_compliance",
  13: "filings_not_current",
  14: "sec_trading_suspension",
  15: "new_issue",
  16: "issue_available",
  17: "issues_reviewed",
  18: "filing_reqs_satisfied",
  30: "news_pending",
  31: "news_released",
  32: "news_and_resumption_times",
  33: "news_not_forthcoming",
  40: "order_imbalance",
  50: "luld_pause",
  60: "operational",
  70: "additional_information_requested",
  80: "merger_effective",
  90: "etf",
  100: "corporate_action",
  110: "new_security_offering",
  120: "market_wide_halt_level1",
  121: "market_wide_halt_level2",
  122: "market_wide_halt_level3",
  123: "market_wide_halt_carryover",
  124: "market_wide_halt_resumption",
  130: "quotation_not_available"
} as const satisfies EnumNames

/** `trading_event` of a status. */
export const TradingEvent = {
  0: "none",
  1: "no_cancel",
  2: "change_trading_session",
  3: "implied_matching_on",
  4: "implied_matching_off"
} as const satisfies EnumNames

/** `code` of an error record of the live gateway. */
export const ErrorCode = {
  1: "auth_failed",
  2: "api_key_deactivated",
  3: "connection_limit_exceeded",
  4: "symbol_resolution_failed",
  5: "invalid_subscription",
  6: "internal_error",
  7: "skipped_records_after_slow_reading",
  8: "replay_data_aged_out",
  255: "unset"
} as const satisfies EnumNames

/** `code` of a system record of the live gateway. */
export const SystemCode = {
  0: "heartbeat",
  1: "subscription_ack",
  2: "slow_reader_warning",
  3: "replay_completed",
  4: "end_of_interval",
  5: "unsubscribe_ack",
  255: "unset"
} as const satisfies EnumNames

/** The name of a value, undefined where this codec has none. */
export const enumName = (names: EnumNames, value: string | number): string | undefined =>
  Object.hasOwn(names, value) ? names[value] : undefined
