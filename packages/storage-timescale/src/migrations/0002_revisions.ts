/** In which revision a provider had the data of a time when it was last asked. */
export const up = /* sql */ `
CREATE TABLE data_revisions (
  provider   text NOT NULL,
  dataset    text NOT NULL,
  schema     int2 NOT NULL,
  range      tstzrange NOT NULL,
  revision   text NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (provider, dataset, schema, range)
);
`

export const down = /* sql */ `
DROP TABLE data_revisions CASCADE;
`
