/**
 * How many bytes a trade takes: as a row with its indexes, and compressed; with values as int8 mantissas at the scale of the
 * tick, at finer scales, and as float8, the same trades in all of them; and what each column takes.
 *
 * Needs TimescaleDB's community edition: only it compresses.
 *
 *     DM_TEST_TIMESCALE_URL=postgresql://... npm run bench -- storage-timescale/bytes [-- --rows=1000000]
 */
import { type MarketStore, UnixNanos } from "@data-manager/core"
import type pg from "pg"
import { optionsOf } from "../src/timescale/Columnstore.ts"
import { type BenchStore, check, runWith, withBenchStore } from "./BenchStore.ts"
import { defaultDay, feeds, provider, TradingDay } from "./TradingDay.ts"

const url = process.env.DM_BENCH_URL || process.env.DM_TEST_TIMESCALE_URL || ""
const rows = Number(process.argv.find((argument) => argument.startsWith("--rows="))?.slice(7) ?? 1_000_000)

/** What is measured, each on a day of its own. Compression is meant for symbols of 1,000 rows a day and more. */
const kinds = [
  { name: "equities by Zipf's law", feed: "equities", symbols: 150, rows, even: false },
  { name: "equities, symbol by symbol", feed: "equities", symbols: 150, rows, even: false, order: "symbol" },
  { name: "equities, four venues", feed: "equities", symbols: 150, rows, even: false, publishers: 4 },
  { name: "equities, 1,000 rows each", feed: "equities", symbols: Math.ceil(rows / 1_000), rows, even: true },
  {
    name: "equities, 20 rows each",
    feed: "equities",
    symbols: Math.ceil(rows / 100),
    rows: rows / 5,
    even: true
  },
  { name: "crypto by Zipf's law", feed: "crypto", symbols: 150, rows, even: false },
  { name: "crypto, 1,000 rows each", feed: "crypto", symbols: Math.ceil(rows / 1_000), rows, even: true }
] as const

type Feed = keyof typeof feeds

const dayOf = (index: number): bigint => defaultDay + BigInt(index) * UnixNanos.PerDay

const literal = (time: bigint): string => `timestamptz '${UnixNanos.toIso(time)}'`
const within = (index: number): string =>
  `ts >= ${literal(dayOf(index))} AND ts < ${literal(dayOf(index + 1))}`

const listed = (store: MarketStore["Service"], { feed, symbols }: (typeof kinds)[number]) => {
  const { dataset, priceScale, sizeScale } = feeds[feed]
  const claims = Array.from({ length: symbols }, (_, i) => ({
    provider,
    dataset,
    rawSymbol: `S${i}`,
    valid: { start: defaultDay, end: dayOf(365) },
    defaultPriceScale: priceScale,
    defaultSizeScale: sizeScale
  }))
  return runWith(store, store.registerListings(claims))
}

const fill = async (store: MarketStore["Service"]): Promise<void> => {
  for (const [index, kind] of kinds.entries()) {
    const ids = (await listed(store, kind)).map(({ id }) => id)
    const { dataset } = feeds[kind.feed]
    const source = { kind: "import", source: kind.name, provider, dataset } as const
    const { id: run } = await runWith(store, store.beginRun(source))
    let segment = 0
    for (const batch of new TradingDay({ ...kind, ids, day: dayOf(index) }).batches(262_144))
      await runWith(store, store.append(batch, { run, segment: segment++ }))
  }
}

/** The columns of a trade as the store has them, and in another shape. */
const columns =
  "ts trade_key price size ts_recv instrument_id ts_in_delta ts_ns ts_recv_ns publisher side flags depth".split(
    " "
  )

/** Price and size of a row at another scale, and where such a scale is used. */
const atScales =
  (scales: { readonly [K in Feed]?: readonly [price: number, size: number] }) => (feed: Feed) => {
    const wanted = scales[feed]
    const { priceScale, sizeScale } = feeds[feed]
    return wanted === undefined
      ? undefined
      : {
          price: `price * ${10 ** (wanted[0] - priceScale)}`,
          size: `size * ${10 ** (wanted[1] - sizeScale)}`
        }
  }

const doubles = (feed: Feed) => {
  const { priceScale, sizeScale } = feeds[feed]
  return { price: `price / 1e${priceScale}::float8`, size: `size / 1e${sizeScale}::float8` }
}

/** What values can be stored as; the first one is what they are. */
const shapes = [
  { name: "int8, tick and lot", table: "trade" },
  // The store keeps equities so: they trade between ticks.
  { name: "int8, four places", table: "trade_four", type: "int8", values: atScales({ equities: [4, 0] }) },
  {
    name: "int8, finest (9/0, 8/8)",
    table: "trade_finest",
    type: "int8",
    values: atScales({ equities: [9, 0], crypto: [8, 8] })
  },
  { name: "float8", table: "trade_float8", type: "float8", values: doubles }
]

interface Extension {
  readonly schema: string
  readonly version: string
}

/** A table like that of the trades, with the same rows in the same order, values in another shape. */
const makeShape = async (sql: pg.Client, { schema, version }: Extension, shape: (typeof shapes)[number]) => {
  const { table, type, values } = shape
  if (values === undefined) return
  await sql.query(`
    CREATE TABLE ${table} (LIKE trade);
    ALTER TABLE ${table} ALTER price TYPE ${type}, ALTER size TYPE ${type};
    CREATE UNIQUE INDEX ON ${table} (instrument_id, ts, trade_key);
    CREATE INDEX ON ${table} (ts);
    SELECT ${schema}.create_hypertable('${table}', ${schema}.by_range('ts', interval '1 day'), create_default_indexes => false);
    ALTER TABLE ${table} SET (${optionsOf("trade", version)})`)
  for (const [index, { feed }] of kinds.entries()) {
    const { price, size } = values(feed) ?? {}
    if (price === undefined) continue
    const selected = columns.map((name) => (name === "price" ? price : name === "size" ? size : name))
    await sql.query(
      `INSERT INTO ${table} (${columns.join(", ")}) SELECT ${selected.join(", ")} FROM trade WHERE ${within(index)}`
    )
  }
}

/** Bytes per row. */
interface Sizes {
  readonly table: number
  readonly identity: number
  readonly time: number
  readonly compressed: number
  /** Parts of `compressed`. */
  readonly columns: ReadonlyMap<string, number>
}

const firstRow = async <A extends pg.QueryResultRow>(sql: pg.Client, query: string): Promise<A> => {
  const { rows } = await sql.query<A>(query)
  if (rows.length !== 1) throw new Error(`${rows.length} rows instead of one: ${query}`)
  return rows[0]!
}

const chunkOf = async (sql: pg.Client, schema: string, table: string, index: number): Promise<string> => {
  const [from, to] = [dayOf(index), dayOf(index + 1)].map(literal)
  const { chunk } = await firstRow<{ readonly chunk: string }>(
    sql,
    `SELECT c::text AS chunk FROM ${schema}.show_chunks('${table}', newer_than => ${from}, older_than => ${to}) c`
  )
  return chunk
}

/** What the rows of a chunk take. */
const asRows = (sql: pg.Client, chunk: string) =>
  firstRow<{
    readonly rows: number
    readonly table: number
    readonly identity: number
    readonly time: number
  }>(
    sql,
    `SELECT n::float8 AS rows, pg_table_size('${chunk}') / n::float8 AS table, i.identity / n AS identity, i.time / n AS time
     FROM (SELECT count(*) AS n FROM ${chunk}) r,
       (SELECT sum(pg_relation_size(indexrelid)) FILTER (WHERE indisunique)::float8 AS identity,
               sum(pg_relation_size(indexrelid)) FILTER (WHERE NOT indisunique)::float8 AS time
        FROM pg_index WHERE indrelid = '${chunk}'::regclass) i`
  )

/** What a compressed chunk takes: the columns, what the server keeps beside them to find rows, and the rest of the pages. */
const asColumns = async (sql: pg.Client, chunk: string): Promise<ReadonlyMap<string, number>> => {
  const { relation } = await firstRow<{ readonly relation: string }>(
    sql,
    `SELECT compress_relid::regclass::text AS relation FROM _timescaledb_catalog.compression_settings
     WHERE relid = '${chunk}'::regclass`
  )
  const { names } = await firstRow<{ readonly names: ReadonlyArray<string> }>(
    sql,
    `SELECT array_agg(attname::text ORDER BY attnum) AS names FROM pg_attribute
     WHERE attrelid = '${relation}'::regclass AND attnum > 0 AND NOT attisdropped`
  )
  const found = await firstRow<Record<string, number>>(
    sql,
    `SELECT ${names.map((name) => `coalesce(sum(pg_column_size("${name}")), 0)::float8 AS "${name}"`).join(", ")},
       (pg_total_relation_size('${chunk}') + pg_total_relation_size('${relation}'))::float8 AS "all"
     FROM ${relation}`
  )
  const sizes = new Map(columns.map((name) => [name, found[name]!]))
  const isBloom = (name: string): boolean => name.includes("bloom")
  const others = names.filter((name) => !sizes.has(name))
  const sumOf = (some: ReadonlyArray<string>): number => some.reduce((sum, name) => sum + found[name]!, 0)
  const named = sumOf(names)
  return sizes
    .set("bloom filter", sumOf(others.filter(isBloom)))
    .set("bounds", sumOf(others.filter((name) => !isBloom(name))))
    .set("pages, index", found.all! - named)
}

const measure = async (sql: pg.Client, schema: string, table: string, index: number): Promise<Sizes> => {
  const chunk = await chunkOf(sql, schema, table, index)
  const { rows, ...sizes } = await asRows(sql, chunk)
  await sql.query(`SELECT ${schema}.compress_chunk('${chunk}')`)
  const parts = Array.from(await asColumns(sql, chunk), ([name, bytes]) => [name, bytes / rows] as const)
  const compressed = parts.reduce((sum, [, bytes]) => sum + bytes, 0)
  return { ...sizes, compressed, columns: new Map(parts) }
}

interface Found {
  readonly kind: (typeof kinds)[number]
  readonly shape: string
  readonly sizes: Sizes
}

const cells = (values: ReadonlyArray<number>): string =>
  values.map((value) => value.toFixed(2).padStart(11)).join("")

const print = (found: ReadonlyArray<Found>, own: ReadonlyArray<Found>): void => {
  console.log(
    "\nbytes per trade                                           table  key index time index    as a row compressed"
  )
  for (const { kind, shape, sizes } of found) {
    const { compressed, identity, table, time } = sizes
    const row = cells([table, identity, time, table + identity + time, compressed])
    console.log(`${kind.name.padEnd(27)} ${shape.padEnd(24)}${row}`)
  }
  console.log("\ncompressed at the scale of tick and lot, by column:")
  for (const [index, { kind }] of own.entries()) console.log(`  ${index + 1} = ${kind.name}`)
  console.log(`${" ".repeat(14)}${own.map((_, index) => String(index + 1).padStart(11)).join("")}`)
  for (const name of own[0]!.sizes.columns.keys())
    console.log(`${name.padEnd(14)}${cells(own.map(({ sizes }) => sizes.columns.get(name)!))}`)
  console.log("")
}

const report = async ({ store, sql }: BenchStore): Promise<void> => {
  const { edition } = store.capabilities
  if (edition !== "timescaledb-community") {
    console.log(`skipped: ${edition} does not compress, TimescaleDB's community edition does`)
    return
  }
  const extension = await firstRow<Extension>(
    sql,
    "SELECT extnamespace::regnamespace::text AS schema, extversion AS version FROM pg_extension WHERE extname = 'timescaledb'"
  )
  await fill(store)
  for (const shape of shapes) await makeShape(sql, extension, shape)
  const found: Array<Found> = []
  for (const [index, kind] of kinds.entries())
    for (const { name, table, values } of shapes)
      if (values === undefined || values(kind.feed) !== undefined)
        found.push({ kind, shape: name, sizes: await measure(sql, extension.schema, table, index) })
  const own = found.filter(({ shape }) => shape === shapes[0]!.name)
  print(found, own)
  // What a feed's times cost: nanoseconds, captures and message counters are noise that no codec makes small.
  for (const { kind, sizes } of own) {
    check(`a row with its indexes, ${kind.name}`, sizes.table + sizes.identity + sizes.time, "B", 190)
    if (kind.name.includes(", 20 rows")) continue
    check(`compressed, ${kind.name}`, sizes.compressed, "B", kind.feed === "crypto" ? 14 : 27)
    for (const other of found.filter((one) => one.kind === kind && one.shape !== shapes[0]!.name))
      check(`against ${other.shape}, ${kind.name}`, sizes.compressed / other.sizes.compressed, "x", 1)
  }
}

if (url === "")
  console.log("skipped: it needs TimescaleDB's community edition, and DM_TEST_TIMESCALE_URL names no server")
else await withBenchStore(report, url)
