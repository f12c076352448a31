/**
 * The bars that are read, `bars_1m`, `bars_1h` and `bars_1d`, wherever they are kept: in tables of our own, or, on a server
 * with continuous aggregates, there, except for instruments with a bit that says otherwise.
 */

const columns = "bucket, instrument_id, open, high, low, close, volume, trade_count"

const plain = (length: string): string => `
CREATE OR REPLACE VIEW bars_${length} AS SELECT ${columns} FROM bar_${length}`

/** Bars that the server makes. A bar is of the rows of one table: see `BulkTable`. */
const made = (length: string): string =>
  ["trade_bar", "bulk_bar"].map((prefix) => `SELECT ${columns} FROM ${prefix}_${length}`).join(" UNION ALL ")

const united = (length: string, ownBit: number): string => `
CREATE OR REPLACE VIEW bars_${length} AS
SELECT a.bucket, a.instrument_id, a.open * i.price_unit AS open, a.high * i.price_unit AS high,
       a.low * i.price_unit AS low, a.close * i.price_unit AS close, a.volume * i.size_unit AS volume, a.trade_count
FROM (${made(length)}) a JOIN instruments i ON i.id = a.instrument_id
WHERE i.exact_kinds & ${ownBit} = 0
UNION ALL
SELECT ${columns
  .split(", ")
  .map((column) => `b.${column}`)
  .join(", ")}
FROM bar_${length} b JOIN instruments i ON i.id = b.instrument_id
WHERE i.exact_kinds & ${ownBit} <> 0`

/** Statements that make the views. `ownBit`: the bit of instruments whose bars are ours; undefined where all are. */
export const barStatements = (ownBit: number | undefined): ReadonlyArray<string> =>
  ["1m", "1h", "1d"].map((length) => (ownBit === undefined ? plain(length) : united(length, ownBit)))
