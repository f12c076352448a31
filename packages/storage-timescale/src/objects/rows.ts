/** `trade_rows`: the rows of trades, in whichever of their tables they are. */

const columns =
  "ts, trade_key, price, size, ts_recv, instrument_id, ts_in_delta, ts_ns, ts_recv_ns, publisher, side, flags, depth"

/** Statement that makes the view. `hasBulk`: whether there is a table of the bulk profile. */
export const rowStatement = (hasBulk: boolean): string => `
CREATE OR REPLACE VIEW trade_rows AS
SELECT ${columns} FROM trade${hasBulk ? `\nUNION ALL\nSELECT ${columns} FROM trade_bulk` : ""}`
