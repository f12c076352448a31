/**
 * The way trades were first meant to be stored: rows of nine columns of text and NUMERIC, a unique index and two more, written
 * by INSERTs of 1,000 rows ON CONFLICT DO NOTHING, each a transaction.
 */
import type { TradeBatch } from "@data-manager/core"
import { UnixNanos } from "@data-manager/core"
import type pg from "pg"

const table = "original_trades"
const rowsOfInsert = 1_000

/** Makes its table; a hypertable of days on a server that has them. */
export const make = async (sql: pg.Client): Promise<void> => {
  await sql.query(`
    CREATE TABLE ${table} (
      time timestamptz NOT NULL, symbol text NOT NULL, price numeric(20, 10) NOT NULL, quantity numeric(20, 10) NOT NULL,
      side char(1) NOT NULL, trade_id text NOT NULL, provider text NOT NULL, raw_symbol text NOT NULL, exchange text,
      UNIQUE (symbol, trade_id, time)
    )`)
  const { rows } = await sql.query(
    "SELECT quote_ident(n.nspname) AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'"
  )
  if (rows.length > 0)
    await sql.query(
      `SELECT ${rows[0].schema}.create_hypertable('${table}', 'time', chunk_time_interval => interval '1 day')`
    )
  await sql.query(`CREATE INDEX ON ${table} (symbol, time DESC)`)
  await sql.query(`CREATE INDEX ON ${table} (provider, time DESC)`)
}

export const clear = (sql: pg.Client): Promise<unknown> => sql.query(`TRUNCATE ${table}`)

/** Values of the rows, an array for each INSERT. */
export const valuesOf = (batch: TradeBatch): ReadonlyArray<ReadonlyArray<string>> => {
  const { columns: c } = batch
  const inserts: Array<Array<string>> = []
  for (let i = 0; i < batch.length; i++) {
    if (i % rowsOfInsert === 0) inserts.push([])
    const symbol = `S${c.instrument[i]}`
    const cents = Number(c.price[i]! / 10_000_000n)
    inserts
      .at(-1)!
      .push(
        UnixNanos.toIso(c.tsEvent[i]!),
        `BENCH:${symbol}`,
        (cents / 100).toFixed(2),
        String(c.size[i]!),
        "NBS"[c.side[i]!]!,
        String((c.tradeKey[i]! >> 16n) & 0xffffffffn),
        "bench",
        symbol,
        "XNAS"
      )
  }
  return inserts
}

const statements = new Map<number, string>()

const statement = (rows: number): string => {
  const made = statements.get(rows)
  if (made !== undefined) return made
  const row = (at: number): string => `(${Array.from({ length: 9 }, (_, i) => `$${9 * at + i + 1}`).join()})`
  const text = `INSERT INTO ${table} (time, symbol, price, quantity, side, trade_id, provider, raw_symbol, exchange)
    VALUES ${Array.from({ length: rows }, (_, at) => row(at)).join()} ON CONFLICT (symbol, trade_id, time) DO NOTHING`
  statements.set(rows, text)
  return text
}

/** Inserts them. */
export const insert = async (
  sql: pg.Client,
  inserts: ReadonlyArray<ReadonlyArray<string>>
): Promise<void> => {
  for (const values of inserts) {
    const rows = values.length / 9
    // Named: the server parses it once.
    await sql.query({ name: `insert-${rows}`, text: statement(rows), values: [...values] })
  }
}
