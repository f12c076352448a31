/** How large hypertables are: chunks, rows and bytes, compressed ones included. */

/**
 * SQL: table, partitions, bytes, rows, and what compression has done, for hypertables named in $1. `schema` is that of the
 * extension's functions.
 */
export const sizesQuery = (schema: string): string => /* sql */ `
  SELECT h.hypertable_name::text AS table, h.num_chunks AS partitions,
         coalesce(${schema}.hypertable_size(t.oid), 0)::int8 AS bytes,
         coalesce(${schema}.approximate_row_count(t.oid), 0)::int8 AS rows,
         c.compressed, c.before, c.after
  FROM timescaledb_information.hypertables h
  CROSS JOIN LATERAL (SELECT format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass AS oid) t
  LEFT JOIN LATERAL (
    SELECT number_compressed_chunks AS compressed, before_compression_total_bytes AS before,
           after_compression_total_bytes AS after
    FROM ${schema}.hypertable_compression_stats(t.oid)
  ) c ON h.compression_enabled
  WHERE h.hypertable_schema = current_schema() AND h.hypertable_name = ANY($1)`
