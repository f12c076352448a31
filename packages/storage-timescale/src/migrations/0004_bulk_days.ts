/**
 * Migration 4: the ledger of the bulk profile. A day of an instrument stands here while its trades are in `trade_bulk`, the
 * table without a unique key; all other trades are in `trade`.
 */
export const up = /* sql */ `
CREATE TABLE bulk_days (
  instrument_id int4 NOT NULL,
  day           date NOT NULL,
  -- ns since 1970 of its newest row
  last_at       int8 NOT NULL,
  -- the run that wrote all of them; NULL where there were several
  run_id        int8,
  PRIMARY KEY (instrument_id, day)
);
`

export const down = /* sql */ `
DROP TABLE bulk_days;
`
