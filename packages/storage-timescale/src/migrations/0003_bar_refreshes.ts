/**
 * Migration 3: times whose bars have to be made anew by the server. Where bars are continuous aggregates, rows that come
 * late change trades below what was made; the times of such rows stand here until it was made again.
 */
export const up = /* sql */ `
CREATE TABLE bar_refreshes (
  id       int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  starts   timestamptz NOT NULL,
  ends     timestamptz NOT NULL,
  noted_at timestamptz NOT NULL DEFAULT now(),
  CHECK (starts <= ends)
);
`

export const down = /* sql */ `
DROP TABLE bar_refreshes;
`
