/**
 * Aggressor side of a trade, as the u8 stored in batches, rings and SQL.
 * Sources: Databento trade `side` A = the aggressor sold, B = bought, N = unknown; Binance `m` true = taker sold.
 */

/** 0 none, 1 buy, 2 sell. None stays none: it is never guessed. */
export type Side = 0 | 1 | 2

/** Unknown or not applicable: auctions, off-book prints. */
export const None: Side = 0
/** The aggressor bought. */
export const Buy: Side = 1
/** The aggressor sold. */
export const Sell: Side = 2

const names = ["none", "buy", "sell"] as const
const letters = ["N", "B", "S"] as const

/** "none", "buy" or "sell"; anything else reads as "none". */
export const name = (side: number): "none" | "buy" | "sell" => names[side as Side] ?? "none"

/** "N", "B" or "S", as in the SQL view `trades`. */
export const letter = (side: number): "N" | "B" | "S" => letters[side as Side] ?? "N"
