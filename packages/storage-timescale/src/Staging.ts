/**
 * The second way in, for batches whose keys are partly there: the rows go to a temporary table and are sorted out in SQL.
 *
 * A row whose key is free is inserted; ON CONFLICT makes that safe beside other writers. A row whose key is taken is a
 * duplicate where its content is equal - numbers compared as numbers, values from the exact tables and text ids included -
 * and a conflict where it is not. Of several rows of one key within the batch the first one counts. What only the capture
 * tells (see `CaptureColumns`) may be absent on one side: a duplicate that knows more completes the stored row.
 *
 * "Replace" removes, before that, the stored rows of the batch's microseconds that the batch does not have as they are.
 */
import type { StoreError } from "@data-manager/core"
import { Effect } from "effect"
import { type Hold, NeedsHold } from "./AppendAttempt.ts"
import type { BatchScan } from "./BatchScan.ts"
import type { EncodedBatch } from "./CopyEncoder.ts"
import { exactChunks, exactColumns, textIdChunks } from "./ExactRows.ts"
import { type PgConnection, type SqlRow, timestampParameter } from "./PgPool.ts"
import { equal, isLevels, qualified, type RowTable, rowKey, venueColumns } from "./RowTable.ts"
import type { RowWriter } from "./RowWriter.ts"

/** Temporary tables of a session for one row kind, emptied at the end of every transaction. */
export const temporaryTables = ({ exactTable, kind, table }: RowTable): string => /* sql */ `
  CREATE TEMP TABLE IF NOT EXISTS new_${table} (LIKE ${table}, n int4 PRIMARY KEY) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS new_${exactTable} (LIKE ${exactTable}, n int4 PRIMARY KEY) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS gone_${table} (LIKE ${table}, in_batch boolean NOT NULL) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS fresh_row (n int4 PRIMARY KEY) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS lost_row (n int4 PRIMARY KEY) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS more_row (n int4 PRIMARY KEY) ON COMMIT DELETE ROWS;
  ${
    kind === "trades"
      ? "CREATE TEMP TABLE IF NOT EXISTS new_text_id (LIKE trade_text_id, n int4 PRIMARY KEY) ON COMMIT DELETE ROWS;"
      : ""
  }`

/** Sends the batch to the temporary tables. */
export const stage = Effect.fnUntraced(function* (
  connection: PgConnection,
  writer: RowWriter,
  table: RowTable,
  scan: BatchScan,
  encoded: EncodedBatch
) {
  yield* connection.copyIn(
    `COPY new_${table.table} (${encoded.columns.join(", ")}) FROM STDIN (FORMAT binary)`,
    encoded.chunks
  )
  if (encoded.exact.length > 0)
    yield* connection.copyIn(
      `COPY new_${table.exactTable} (${exactColumns(table, true).join(", ")}) FROM STDIN (FORMAT binary)`,
      exactChunks(writer, table, scan, encoded.exact, true)
    )
  if (textIdsOf(scan) !== undefined)
    yield* connection.copyIn(
      "COPY new_text_id (instrument_id, ts, trade_key, trade_id, n) FROM STDIN (FORMAT binary)",
      textIdChunks(writer, table, scan, textIdsOf(scan)!, true)
    )
})

/** Text ids of a batch, where it has any. */
export const textIdsOf = ({ batch }: BatchScan): ReadonlyArray<string> | undefined =>
  batch._tag === "TradeBatch" ? batch.textIds : undefined

/** What became of the staged rows. */
export interface Sorted {
  /** 1 for every row that was inserted, by row number; undefined where all were. */
  readonly fresh: Uint8Array | undefined
  readonly inserted: number
  readonly duplicates: number
  readonly conflicts: number
  /** Whether stored rows were completed. */
  readonly completed: boolean
}

/** What the staged rows meet, as far as SQL has to know. */
export interface StagedBatch {
  readonly table: RowTable
  readonly scan: BatchScan
  readonly run: bigint
  /** Whether the batch has values in the exact staging table, or the stored ones may. */
  readonly exact: boolean
  readonly textIds: boolean
  /**
   * Whether stored rows of the batch's instruments and times are read once and compared as a whole: in the columnstore,
   * where looking up one row means to decompress a thousand. Elsewhere each is looked up by its key.
   */
  readonly isScanned: boolean
}

/**
 * Inserts the rows whose key is free, and counts and keeps what the others are. `lacking`: what the attempt does not hold and
 * needs before stored rows may be completed; undefined where it holds that.
 */
export const insertFresh = Effect.fnUntraced(function* (
  connection: PgConnection,
  batch: StagedBatch,
  lacking: Exclude<Hold, "shared"> | undefined
) {
  const { scan } = batch
  yield* connection.query(insertStatement(batch))
  const [{ rows } = { rows: 0 }] = yield* connection.query<SqlRow & { readonly rows: number }>(
    "SELECT count(*)::int4 AS rows FROM fresh_row"
  )
  yield* insertSides(connection, batch)
  if (rows === scan.length) {
    const sorted: Sorted = {
      fresh: undefined,
      inserted: rows,
      duplicates: 0,
      conflicts: 0,
      completed: false
    }
    return sorted
  }
  let met = yield* compare(connection, batch)
  const completed = met.more > 0
  if (completed && lacking !== undefined) return yield* new NeedsHold({ hold: lacking })
  while (met.more > 0) {
    yield* complete(connection, batch)
    met = yield* compare(connection, batch)
  }
  if (met.differ > 0) yield* connection.query(keepConflicts(batch), [batch.run])
  const sorted: Sorted = {
    fresh: rows === 0 ? new Uint8Array(scan.length) : yield* freshRows(connection, scan.length),
    inserted: rows,
    duplicates: met.met - met.differ,
    conflicts: met.differ,
    completed
  }
  return sorted
})

/** Staged rows whose key is taken, those among them with other content, and those that know more than the stored row. */
interface Met extends SqlRow {
  readonly met: number
  readonly differ: number
  readonly more: number
}

const compare = (connection: PgConnection, batch: StagedBatch): Effect.Effect<Met, StoreError> =>
  Effect.map(connection.query<Met>(compareStatement(batch)), ([met]) => met!)

/**
 * Completes stored rows by what the first staged row that knows more of each has. Trades that change are put aside as
 * they were: the order of a bar's first and last trade goes by `ts_recv`, too.
 */
const complete = (connection: PgConnection, batch: StagedBatch): Effect.Effect<unknown, StoreError> => {
  const { table } = batch
  const { key, columns } = table
  const more = `(SELECT DISTINCT ON (${key.join(", ")}) s.* FROM new_${table.table} s JOIN more_row USING (n)
    ORDER BY ${key.join(", ")}, n)`
  const names = table.capture.flatMap((capture) => capture.names)
  const values = names.map((name) => `${name} = coalesce(t.${name}, m.${name})`).join(", ")
  const aside =
    table.kind === "trades"
      ? [
          `INSERT INTO gone_${table.table} (${columns.join(", ")}, in_batch)
           SELECT ${qualified("t", columns)}, true FROM ${more} m
           JOIN ${table.table} t ON ${equal("t", "m", key)} AND ${bounds(batch, "t")}`
        ]
      : []
  return changing(connection, batch, [
    ...aside,
    `UPDATE ${table.table} t SET ${values} FROM ${more} m WHERE ${equal("t", "m", key)} AND ${bounds(batch, "t")}`,
    "DELETE FROM more_row",
    "DELETE FROM lost_row"
  ])
}

const insertStatement = (batch: StagedBatch): string => {
  const { columns, hasUniqueKey, key, table } = batch.table
  const names = key.join(", ")
  const isFree = batch.isScanned
    ? ` WHERE NOT EXISTS (SELECT FROM ${stored(batch, "r")} WHERE ${equal("r", "first", key)})`
    : ""
  return /* sql */ `
  WITH first AS MATERIALIZED (
    SELECT DISTINCT ON (${names}) * FROM new_${table} ORDER BY ${names}, n
  ), added AS (
    INSERT INTO ${table} (${columns.join(", ")}) SELECT ${columns.join(", ")} FROM first${isFree}
    ${hasUniqueKey ? `ON CONFLICT (${names}) DO NOTHING` : ""} RETURNING ${qualified(table, key)}
  )
  INSERT INTO fresh_row (n) SELECT first.n FROM added JOIN first USING (${names})`
}

/** Exact values and text ids of the rows that were inserted. */
const insertSides = Effect.fnUntraced(function* (connection: PgConnection, batch: StagedBatch) {
  const { table } = batch
  const { key, scaled } = table
  const columns = [...key, ...scaled.map((column) => column.name)].join(", ")
  if (batch.exact) {
    yield* connection.query(
      `INSERT INTO ${table.exactTable} (${columns})
       SELECT ${columns} FROM new_${table.exactTable} JOIN fresh_row USING (n)
       ON CONFLICT (${key.join(", ")}) DO UPDATE
         SET (${scaled.map((c) => c.name).join(", ")}) = ROW (${qualified(
           "EXCLUDED",
           scaled.map((c) => c.name)
         )})`
    )
    yield* flagInstruments(
      connection,
      table,
      `SELECT instrument_id FROM new_${table.exactTable} JOIN fresh_row USING (n)`
    )
  }
  if (batch.textIds)
    yield* connection.query(
      `INSERT INTO trade_text_id (instrument_id, ts, trade_key, trade_id)
       SELECT instrument_id, ts, trade_key, trade_id FROM new_text_id JOIN fresh_row USING (n)
       ON CONFLICT (instrument_id, ts, trade_key) DO UPDATE SET trade_id = EXCLUDED.trade_id`
    )
})

/** Marks instruments as having entries in the exact table. `ids` is a query of instrument ids. */
export const flagInstruments = (connection: PgConnection, { exactBit }: RowTable, ids: string) =>
  connection.query(
    `UPDATE instruments SET exact_kinds = exact_kinds | ${exactBit}
     WHERE id IN (SELECT id FROM instruments WHERE id IN (${ids}) AND exact_kinds & ${exactBit} = 0
                  ORDER BY id FOR NO KEY UPDATE)`
  )

/** SQL: the content of a staged row `a` differs from that of the stored row `b`. */
const differs = (batch: StagedBatch, a: string, b: string): string => {
  const content = venueColumns(batch.table)
  const exact = batch.table.scaled.map((column) => column.name)
  const tests = [`ROW (${qualified(a, content)}) IS DISTINCT FROM ROW (${qualified(b, content)})`]
  if (batch.exact)
    tests.push(`ROW (${qualified(`${a}x`, exact)}) IS DISTINCT FROM ROW (${qualified(`${b}x`, exact)})`)
  if (batch.textIds) tests.push(`${a}t.trade_id IS DISTINCT FROM ${b}t.trade_id`)
  for (const { names, when } of batch.table.capture) {
    const both = `${a}.${names[0]} IS NOT NULL AND ${b}.${names[0]} IS NOT NULL`
    const distinct = `ROW (${qualified(a, names)}) IS DISTINCT FROM ROW (${qualified(b, names)})`
    tests.push(`${distinct} AND (NOT ${when(a)} OR ${both})`)
  }
  return tests.map((test) => `(${test})`).join(" OR ")
}

/** SQL: the staged row `a` has something of the capture that the stored row `b` lacks. */
const knowsMore = ({ capture }: RowTable, a: string, b: string): string =>
  capture
    .map(({ names, when }) => `(${a}.${names[0]} IS NOT NULL AND ${b}.${names[0]} IS NULL AND ${when(a)})`)
    .concat("false")
    .join(" OR ")

/** SQL: exact values and text ids of the staged row `a` and of the stored row `b`. */
const sides = (batch: StagedBatch, a: string, b: string): string => {
  const { exactTable, key } = batch.table
  const joins: Array<string> = []
  if (batch.exact)
    joins.push(
      `LEFT JOIN new_${exactTable} ${a}x ON ${a}x.n = ${a}.n`,
      `LEFT JOIN LATERAL (SELECT * FROM ${exactTable} x WHERE ${equal("x", b, key)} OFFSET 0) ${b}x ON true`
    )
  if (batch.textIds)
    joins.push(
      `LEFT JOIN new_text_id ${a}t ON ${a}t.n = ${a}.n`,
      `LEFT JOIN LATERAL (SELECT * FROM trade_text_id x WHERE ${equal("x", b, key)} OFFSET 0) ${b}t ON true`
    )
  return joins.join("\n  ")
}

/** SQL: the exact values, and where asked for the text id, of the row `a` of the table. */
export const storedSides = ({ exactTable, key }: RowTable, a: string, textId: boolean): string => {
  const side = (table: string, alias: string): string =>
    `LEFT JOIN LATERAL (SELECT * FROM ${table} x WHERE ${equal("x", a, key)} OFFSET 0) ${alias} ON true`
  return [side(exactTable, `${a}x`), ...(textId ? [side("trade_text_id", `${a}t`)] : [])].join("\n  ")
}

/** Instruments are named up to this many: beyond, their times are enough. */
const MOST_NAMED = 2000

/**
 * Constant bounds, so that the planner looks at the partitions of the batch alone, and the columnstore at the segments of its
 * instruments.
 */
const bounds = ({ isScanned, scan: { first, last, series } }: StagedBatch, alias: string): string => {
  const times = `${alias}.ts >= '${timestampParameter(first)}' AND ${alias}.ts <= '${timestampParameter(last)}'`
  const ids = isScanned ? new Set(series.instrument) : undefined
  return ids === undefined || ids.size > MOST_NAMED
    ? times
    : `${times} AND ${alias}.instrument_id = ANY ('{${[...ids].join(",")}}'::int4[])`
}

/** SQL: the stored rows of the batch's instruments and times, read once. */
const stored = (batch: StagedBatch, alias: string): string =>
  `(SELECT * FROM ${batch.table.table} c WHERE ${bounds(batch, "c")} OFFSET 0) ${alias}`

/** SQL: joins the stored row \`alias\` of each row of \`with\`, by some columns of the key. */
const joinStored = (batch: StagedBatch, alias: string, to: string, columns: ReadonlyArray<string>): string =>
  batch.isScanned
    ? `JOIN ${stored(batch, alias)} ON ${equal(alias, to, columns)}`
    : `CROSS JOIN LATERAL (
      SELECT * FROM ${batch.table.table} r WHERE ${equal("r", to, columns)} AND ${bounds(batch, "r")} OFFSET 0
    ) ${alias}`

/** Statement before those of a batch that is compared as a whole: no row by row, and no limit of what is changed. */
export const scanning =
  "SET LOCAL enable_nestloop = off; SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"

// OFFSET 0 keeps the planner from turning the look-ups by key into a scan of whole partitions: the temporary table has
// no statistics, and a wrong guess would read everything.
const compareStatement = (batch: StagedBatch): string => /* sql */ `
  WITH met AS MATERIALIZED (
    SELECT s.n, (${differs(batch, "s", "t")}) AS differs, (${knowsMore(batch.table, "s", "t")}) AS more
    FROM new_${batch.table.table} s
    ${joinStored(batch, "t", "s", batch.table.key)}
    ${sides(batch, "s", "t")}
    WHERE NOT EXISTS (SELECT FROM fresh_row f WHERE f.n = s.n)
  ), lost AS (
    INSERT INTO lost_row (n) SELECT n FROM met WHERE differs
  ), more AS (
    INSERT INTO more_row (n) SELECT n FROM met WHERE more AND NOT differs
  )
  SELECT count(*)::int4 AS met, count(*) FILTER (WHERE differs)::int4 AS differ,
         count(*) FILTER (WHERE more AND NOT differs)::int4 AS more
  FROM met`

const freshRows = Effect.fnUntraced(function* (connection: PgConnection, rows: number) {
  const [found] = yield* connection.query<SqlRow & { readonly n: ReadonlyArray<number> }>(
    "SELECT array_agg(n) AS n FROM fresh_row"
  )
  const fresh = new Uint8Array(rows)
  for (const n of found!.n) fresh[n] = 1
  return fresh
})

/** Columns beside the scaled ones that may have more digits than a number of JSON. */
const wide = new Set(["volume", "trade_count"])

/**
 * SQL: a row `a` of the table as JSON, values as exact decimal text, with the exact entries `ax` and, where asked for, the
 * text id of `at`.
 */
export const contentJson = (table: RowTable, a: string, textId: boolean): string => {
  const scaledNames = new Set(table.scaled.map((column) => column.name))
  const plain = table.columns.filter((column) => !scaledNames.has(column))
  const pairs = plain.map((column) => `'${column}', ${a}.${column}${wide.has(column) ? "::text" : ""}`)
  if (textId) pairs.push(`'trade_id', ${a}t.trade_id`)
  for (const column of table.scaled) {
    const { name, scale } = column
    const value = isLevels(table, column)
      ? `(SELECT jsonb_agg(coalesce(${a}x.${name}[l], ${a}.${name}[l] * i.${scale}_unit)::text ORDER BY l)
          FROM generate_subscripts(${a}.${name}, 1) l)`
      : `coalesce(${a}x.${name}, ${a}.${name} * i.${scale}_unit)::text`
    pairs.push(`'${name}', ${value}`)
  }
  // jsonb_build_object takes at most 100 arguments: 23 columns are 46.
  return `jsonb_build_object(${pairs.join(", ")})`
}

const keepConflicts = ({ table, textIds }: StagedBatch): string => /* sql */ `
  INSERT INTO row_conflicts (kind, instrument_id, schema, ts, row_key, run_id, lost, content)
  SELECT '${table.kind}', s.instrument_id, ${schemaOf(table, "s")}, s.ts, s.${rowKey(table)}, $1, 'new',
         ${contentJson(table, "s", textIds)}
  FROM lost_row JOIN new_${table.table} s USING (n)
  JOIN instruments i ON i.id = s.instrument_id
  LEFT JOIN new_${table.exactTable} sx ON sx.n = s.n
  ${textIds ? "LEFT JOIN new_text_id st ON st.n = s.n" : ""}
  ORDER BY s.n
  ON CONFLICT DO NOTHING`

const schemaOf = (table: RowTable, alias: string): string =>
  table.schema === "schema" ? `${alias}.schema` : table.schema

/** What `findReplaced` found. */
export interface Replaced {
  /** Stored rows that the batch replaces or does not have. */
  readonly rows: number
  /** Those whose key the batch has with different content. */
  readonly inBatch: number
}

/**
 * Finds the stored rows of the batch's microseconds that the batch does not have as they are, and puts them aside.
 *
 * `after`: rows of microseconds up to this time are only replaced by rows of their own key. An earlier segment of the run
 * may have written a part of such a microsecond, and its rows are not in this batch.
 */
export const findReplaced = Effect.fnUntraced(function* (
  connection: PgConnection,
  batch: StagedBatch,
  after: bigint | undefined
) {
  const { table } = batch
  const { key, columns } = table
  const group = key.slice(0, -1)
  const foreign = after === undefined ? "true" : `t.ts > '${timestampParameter(after)}'`
  yield* connection.query(/* sql */ `
    WITH first AS MATERIALIZED (
      SELECT DISTINCT ON (${key.join(", ")}) * FROM new_${table.table} ORDER BY ${key.join(", ")}, n
    )
    INSERT INTO gone_${table.table} (${columns.join(", ")}, in_batch)
    SELECT ${qualified("t", columns)}, s.n IS NOT NULL
    FROM (SELECT DISTINCT ${group.join(", ")} FROM new_${table.table}) g
    ${joinStored(batch, "t", "g", group)}
    LEFT JOIN first s ON ${equal("s", "t", key)}
    ${sides(batch, "s", "t")}
    WHERE CASE WHEN s.n IS NULL THEN ${foreign} ELSE ${differs(batch, "s", "t")} END`)
  const [found] = yield* connection.query<SqlRow & { readonly rows: number; readonly in_batch: number }>(
    `SELECT count(*)::int4 AS rows, count(*) FILTER (WHERE in_batch)::int4 AS in_batch FROM gone_${table.table}`
  )
  const replaced: Replaced = { rows: found!.rows, inBatch: found!.in_batch }
  return replaced
})

/** Removes what `findReplaced` has put aside and keeps it as conflicts that the stored row has lost. */
export const removeReplaced = Effect.fnUntraced(function* (connection: PgConnection, batch: StagedBatch) {
  const { table } = batch
  const { key } = table
  yield* connection.query(
    `INSERT INTO row_conflicts (kind, instrument_id, schema, ts, row_key, run_id, lost, content)
     SELECT '${table.kind}', g.instrument_id, ${schemaOf(table, "g")}, g.ts, g.${rowKey(table)}, $1, 'stored',
            ${contentJson(table, "g", batch.textIds)}
     FROM gone_${table.table} g
     JOIN instruments i ON i.id = g.instrument_id
     ${storedSides(table, "g", batch.textIds)}
     ON CONFLICT DO NOTHING`,
    [batch.run]
  )
  const sideTables = [...(batch.exact ? [table.exactTable] : []), ...(batch.textIds ? ["trade_text_id"] : [])]
  yield* changing(connection, batch, [
    `DELETE FROM ${table.table} t USING gone_${table.table} g WHERE ${equal("t", "g", key)} AND ${bounds(batch, "t")}`,
    ...sideTables.map(
      (side) => `DELETE FROM ${side} t USING gone_${table.table} g WHERE ${equal("t", "g", key)}`
    )
  ])
})

/** Runs statements that change stored rows. */
const changing = (
  connection: PgConnection,
  { isScanned }: StagedBatch,
  statements: ReadonlyArray<string>
): Effect.Effect<unknown, StoreError> =>
  isScanned ? connection.script(statements.join(";")) : nestedLoops(connection, statements)

/** Runs statements that look many keys up by index, whatever the planner thinks of a table without statistics. */
export const nestedLoops = (
  connection: PgConnection,
  statements: ReadonlyArray<string>
): Effect.Effect<unknown, StoreError> =>
  connection.script(
    [
      "SET LOCAL enable_hashjoin = off",
      "SET LOCAL enable_mergejoin = off",
      ...statements,
      "SET LOCAL enable_hashjoin = on",
      "SET LOCAL enable_mergejoin = on"
    ].join(";")
  )
