/**
 * What kinds of rows can be asked for, collected and stored. The codes are written into SQL and frames: they are
 * appended, never renumbered. `Schema` alone is Effect's word, hence `MarketSchema`.
 */

/** The four shapes of a row: each has a batch, a table and a read method. */
export type RowKind = "trades" | "quotes" | "bars" | "book"

/** Which clock of a row its time in the store is: the venue's event time or the first capture. */
export type RowClock = "ts_event" | "ts_recv"

interface Entry {
  readonly code: number
  readonly kind: RowKind
  /** Sampled and clockless quotes are stored at `ts_recv`: their `ts_event` is that of another event, or missing. */
  readonly clock: RowClock
  /** Bar length in seconds; 0 for session bars and rows that are not bars. */
  readonly seconds: number
}

const table = {
  trades: { code: 1, kind: "trades", clock: "ts_event", seconds: 0 },
  "mbp-1": { code: 10, kind: "quotes", clock: "ts_event", seconds: 0 },
  tbbo: { code: 11, kind: "quotes", clock: "ts_event", seconds: 0 },
  "bbo-1s": { code: 12, kind: "quotes", clock: "ts_recv", seconds: 0 },
  "bbo-1m": { code: 13, kind: "quotes", clock: "ts_recv", seconds: 0 },
  "cmbp-1": { code: 14, kind: "quotes", clock: "ts_event", seconds: 0 },
  tcbbo: { code: 15, kind: "quotes", clock: "ts_event", seconds: 0 },
  "cbbo-1s": { code: 16, kind: "quotes", clock: "ts_recv", seconds: 0 },
  "cbbo-1m": { code: 17, kind: "quotes", clock: "ts_recv", seconds: 0 },
  "book-ticker": { code: 18, kind: "quotes", clock: "ts_recv", seconds: 0 },
  "ohlcv-1s": { code: 30, kind: "bars", clock: "ts_event", seconds: 1 },
  "ohlcv-1m": { code: 31, kind: "bars", clock: "ts_event", seconds: 60 },
  "ohlcv-1h": { code: 32, kind: "bars", clock: "ts_event", seconds: 3600 },
  "ohlcv-1d": { code: 33, kind: "bars", clock: "ts_event", seconds: 86400 },
  "ohlcv-eod": { code: 34, kind: "bars", clock: "ts_event", seconds: 0 },
  "mbp-10": { code: 50, kind: "book", clock: "ts_event", seconds: 0 },
  depth: { code: 51, kind: "book", clock: "ts_recv", seconds: 0 }
} as const satisfies Record<string, Entry>

/** Name of a market schema: Databento's names where it has one. */
export type MarketSchema = keyof typeof table

/** Every schema, by code. */
export const all = Object.keys(table) as ReadonlyArray<MarketSchema>

const byCode = new Map<number, MarketSchema>(all.map((name) => [table[name].code, name]))

/** u8 code in batches, frames and SQL. */
export const code = (schema: MarketSchema): number => table[schema].code
/** The schema of a code; undefined for codes of a newer version. */
export const fromCode = (value: number): MarketSchema | undefined => byCode.get(value)
/** Trades, quotes, bars or book. */
export const kind = (schema: MarketSchema): RowKind => table[schema].kind
/** Which clock orders and partitions its rows in the store. */
export const clock = (schema: MarketSchema): RowClock => table[schema].clock
/** Bar length in seconds; 0 where it is not a bar of fixed length. */
export const seconds = (schema: MarketSchema): number => table[schema].seconds
/** Whether a text names a schema. */
export const is = (text: string): text is MarketSchema => Object.hasOwn(table, text)
