/**
 * Reading what lost a conflict, beside what is stored under its key.
 *
 * Conflicts are rare, so they are found by plain SQL, a page at a time in the order in which they were met, and each row
 * becomes a batch of its own. A page is one snapshot. What was set aside stands in `row_conflicts` as JSON, see
 * `Staging.contentJson`; the stored row is read as the same JSON, so that both take the same way into columns.
 */
import {
  ABSENT_I32,
  ABSENT_I64,
  ABSENT_U16,
  ABSENT_U32,
  BarFromProvider,
  BarLayout,
  type BatchContext,
  type BatchLayout,
  BookLayout,
  barBuilder,
  bookBuilder,
  type ConflictRequest,
  Decimal,
  type IngestSource,
  type MarketBatch,
  MarketSchema,
  type MarketStore,
  QuoteLayout,
  quoteBuilder,
  type RowConflict,
  StoreError,
  StoreInvalidData,
  TimeRange,
  TradeBatch,
  TradeLayout,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import { Effect, Option, Stream } from "effect"
import { microsOf, type PgConnection, type PgPool, type SqlRow, timestampParameter } from "./PgPool.ts"
import * as ReadContext from "./ReadContext.ts"
import { clampRange } from "./ReadSlice.ts"
import { equal, type RowTable, rowKey, rowTables } from "./RowTable.ts"
import { contentJson, storedSides } from "./Staging.ts"

const operation = "read conflicts"

/** Conflicts that are read at a time. */
const PageRows = 500

type Json = { readonly [column: string]: unknown }

interface ConflictRow extends SqlRow {
  readonly id: bigint
  readonly kind: MarketSchema.RowKind
  readonly instrument_id: number
  readonly schema: number
  /** Microseconds. */
  readonly at: bigint
  readonly row_key: bigint
  readonly run_id: bigint
  readonly lost: "new" | "stored"
  readonly content: Json
  readonly detected: bigint
  readonly run_kind: IngestSource["kind"]
  readonly source: string
  readonly provider: string
}

/** $1 the last id before, $2 instruments or NULL, $3 schema or NULL, $4 and $5 microseconds from and to or NULL. */
const pageQuery = /* sql */ `
  SELECT c.id, c.kind, c.instrument_id, c.schema, ${microsOf("c.ts")} AS at, c.row_key, c.run_id, c.lost, c.content,
         ${microsOf("c.detected_at")} AS detected, r.kind AS run_kind, r.source, r.provider
  FROM row_conflicts c JOIN ingest_runs r ON r.id = c.run_id
  WHERE c.id > $1 AND ($2::int4[] IS NULL OR c.instrument_id = ANY($2)) AND ($3::int2 IS NULL OR c.schema = $3)
    AND ($4::timestamptz IS NULL OR c.ts >= $4) AND ($5::timestamptz IS NULL OR c.ts <= $5)
  ORDER BY c.id LIMIT ${PageRows}`

/** $1 ids of conflicts of this kind, $2 and $3 the first and the last time of their rows: these bound the partitions. */
const storedQuery = (table: RowTable): string => {
  const hasTextIds = table.kind === "trades"
  const group = table.key.slice(0, -1)
  return /* sql */ `
    SELECT c.id, ${contentJson(table, "t", hasTextIds)} AS content
    FROM row_conflicts c
    JOIN instruments i ON i.id = c.instrument_id
    CROSS JOIN LATERAL (
      SELECT * FROM ${table.rows} r
      WHERE ${equal("r", "c", group)} AND r.${rowKey(table)} = c.row_key AND r.ts >= $2 AND r.ts <= $3 OFFSET 0
    ) t
    ${storedSides(table, "t", hasTextIds)}
    WHERE c.id = ANY($1::int8[])`
}

/** What is stored under the keys of these conflicts, by the conflict's id. */
const storedOf = Effect.fnUntraced(function* (connection: PgConnection, page: ReadonlyArray<ConflictRow>) {
  const stored = new Map<bigint, Json>()
  for (const kind of new Set(page.map((row) => row.kind))) {
    const rows = page.filter((row) => row.kind === kind)
    const times = rows.map((row) => row.at).sort((a, b) => (a < b ? -1 : 1))
    const found = yield* connection.query<SqlRow & { readonly id: bigint; readonly content: Json }>(
      storedQuery(rowTables[kind]),
      [
        rows.map((row) => row.id),
        ...[times[0]!, times.at(-1)!].map((time) => timestampParameter(time * UnixNanos.PerMicro))
      ]
    )
    for (const { id, content } of found) stored.set(id, content)
  }
  return stored
})

interface Page {
  readonly rows: ReadonlyArray<ConflictRow>
  readonly stored: ReadonlyMap<bigint, Json>
}

const readPage = (pool: PgPool, request: ConflictRequest, after: bigint): Effect.Effect<Page, StoreError> => {
  const { instruments, schema } = request
  const range = request.range === undefined ? undefined : clampRange(request.range)
  return pool.transaction(operation, (connection) =>
    Effect.gen(function* () {
      yield* connection.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
      const rows = yield* connection.query<ConflictRow>(pageQuery, [
        after,
        instruments ?? null,
        schema === undefined ? null : MarketSchema.code(schema),
        range === undefined ? null : timestampParameter(range.start),
        range === undefined ? null : timestampParameter(range.end)
      ])
      return { rows, stored: yield* storedOf(connection, rows) }
    })
  )
}

const conflictsOf = (
  pool: PgPool,
  request: ConflictRequest,
  { rows, stored }: Page
): Effect.Effect<ReadonlyArray<RowConflict>, StoreError> =>
  Effect.gen(function* () {
    const ids = [...new Set(rows.map((row) => row.instrument_id))]
    const context = yield* ReadContext.load(pool, operation, ids)
    return yield* Effect.try({
      try: () => rows.flatMap((row) => conflictOf(context, request, row, stored.get(row.id)) ?? []),
      catch: (cause) =>
        cause instanceof StoreError
          ? cause
          : new StoreError({ operation, reason: new StoreInvalidData({ detail: String(cause) }), cause })
    })
  })

/** A conflict, unless it is of a newer program's schema or just outside the range. */
const conflictOf = (
  context: ReadContext.ReadContext,
  request: ConflictRequest,
  row: ConflictRow,
  stored: Json | undefined
): RowConflict | undefined => {
  const schema = MarketSchema.fromCode(row.schema)
  const { range } = request
  if (schema === undefined) return undefined
  if (range !== undefined && !TimeRange.contains(range, timeOf(row, row.content))) return undefined
  const of = context.contexts[context.instruments.get(row.instrument_id)!.dataset]!
  return {
    instrument: row.instrument_id,
    schema,
    lost: row.lost,
    setAside: batchOf(of, schema, row, row.content),
    stored: stored === undefined ? undefined : batchOf(of, schema, row, stored),
    run: row.run_id,
    source: { kind: row.run_kind, source: row.source, provider: row.provider },
    detectedAt: row.detected * UnixNanos.PerMicro
  }
}

const timeOf = ({ at }: ConflictRow, content: Json): bigint =>
  at * UnixNanos.PerMicro + BigInt(content.ts_ns as number)

// ---------------------------------------------------------------------------------------------------------------------
// JSON into columns

const layouts = { trades: TradeLayout, quotes: QuoteLayout, bars: BarLayout, book: BookLayout } as const
const builders = { trades: tradeBuilder, quotes: quoteBuilder, bars: barBuilder, book: bookBuilder } as const

const absent = { i64: ABSENT_I64, i32: ABSENT_I32, u32: ABSENT_U32, u16: ABSENT_U16 } as const

/** `bid_price` to `bidPrice`: a column of a batch has the name of the SQL side in camel case. */
const camel = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** Columns of times, of which two make one column of a batch. */
const clocks = ["ts", "ts_ns", "ts_recv", "ts_recv_ns", "ts_other", "ts_other_ns"]

type Values = Record<string, BigInt64Array | Int32Array>

/** One row as a batch. */
const batchOf = (
  context: BatchContext,
  schema: MarketSchema.MarketSchema,
  row: ConflictRow,
  content: Json
): MarketBatch => {
  const table = rowTables[row.kind]
  const builder = builders[row.kind](context, 1)
  const layout: BatchLayout.BatchLayout = layouts[row.kind]
  const columns = builder.columns as unknown as Values
  const put = (name: string, values: ReadonlyArray<unknown>): void => {
    const spec = layout[name]
    if (spec !== undefined)
      for (const [i, value] of values.entries()) store(columns[name]!, spec.type, i, value)
  }
  const apart = new Set([...clocks, ...table.scaled.map(({ name }) => name)])
  for (const [name, value] of Object.entries(content))
    if (!apart.has(name)) put(camel(name), Array.isArray(value) ? value : [value])
  put("instrument", [row.instrument_id])
  put("schema", [row.schema])
  if (row.kind !== "bars") put(camel(rowKey(table)), [row.row_key])
  putTimes(put, schema, timeOf(row, content), content)
  for (const scale of ["price", "size"] as const) putScaled(put, table, scale, content)
  if (row.kind === "bars") putBar(put, schema, content)
  builder.length = 1
  const batch = builder.flush() as MarketBatch
  const { trade_id: textId } = content
  return batch._tag === "TradeBatch" && context.keyKind === "text-hash"
    ? new TradeBatch(context, batch, 1, [typeof textId === "string" ? textId : ""])
    : batch
}

type Put = (name: string, values: ReadonlyArray<unknown>) => void

const store = (
  column: BigInt64Array | Int32Array,
  type: BatchLayout.ColumnType,
  i: number,
  value: unknown
): void => {
  const given = value === null || value === undefined ? absent[type as keyof typeof absent] : value
  // A typed array keeps the low bits: an int2 of the table becomes the u16 of the same bits.
  ;(column as unknown as Array<bigint | number>)[i] =
    type === "i64" || type === "u64" ? BigInt(given as bigint | string | number) : Number(given)
}

/** Time in the store and the other clock. */
const putTimes = (put: Put, schema: MarketSchema.MarketSchema, time: bigint, content: Json): void => {
  const isReceived = MarketSchema.clock(schema) === "ts_recv"
  put(isReceived ? "tsRecv" : "tsEvent", [time])
  const other = "ts_recv" in content ? "ts_recv" : "ts_other"
  put(isReceived ? "tsEvent" : "tsRecv", [clock(content[other], content[`${other}_ns`])])
}

const clock = (text: unknown, rest: unknown): bigint | null => {
  if (typeof text !== "string") return null
  // The only microsecond that a time can be in and that is no i64 itself is that of the smallest time.
  const micros = UnixNanos.parse(text) ?? UnixNanos.floorMicros(UnixNanos.Min) * UnixNanos.PerMicro
  return micros + BigInt(rest as number)
}

/** Prices, or sizes, at one exponent; they came from a row that had one. */
const putScaled = (put: Put, table: RowTable, scale: "price" | "size", content: Json): void => {
  const columns = table.scaled
    .filter((column) => column.scale === scale)
    .map(({ name }) => {
      const value = content[name]
      const texts: ReadonlyArray<unknown> = Array.isArray(value) ? value : [value]
      return { name, values: texts.map((text) => (typeof text === "string" ? decimalOf(text) : undefined)) }
    })
  const exponents = columns.flatMap(({ values }) =>
    values.flatMap((value) => (value === undefined || value.mantissa === 0n ? [] : [value.exponent]))
  )
  const exponent = exponents.length === 0 ? 0 : Math.min(...exponents)
  put(`${scale}Exponent`, [exponent])
  for (const { name, values } of columns)
    put(
      camel(name),
      values.map((value) => (value === undefined ? null : mantissaAt(value, exponent)))
    )
}

const mantissaAt = ({ mantissa, exponent }: Decimal.Decimal, target: number): bigint => {
  const scaled = mantissa === 0n ? 0n : Decimal.rescale(mantissa, exponent, target)
  if (scaled === undefined || BigInt.asIntN(64, scaled) !== scaled)
    throw new Error(
      `a conflict has ${Decimal.format({ mantissa, exponent })} beside values far apart from it`
    )
  return scaled
}

const decimalOf = (text: string): Decimal.Decimal => {
  const value = Decimal.parse(text)
  if (value === undefined) throw new Error(`a conflict has "${text}" where a number is expected`)
  return Decimal.normalize(value)
}

const putBar = (put: Put, schema: MarketSchema.MarketSchema, content: Json): void => {
  const volume = decimalOf(String(content.volume))
  put("seconds", [MarketSchema.seconds(schema)])
  put("source", [BarFromProvider])
  put("volumeLow", [BigInt.asUintN(64, volume.mantissa)])
  put("volumeHigh", [volume.mantissa >> 64n])
  put("volumeExponent", [volume.exponent])
}

/** The part of the store that reads conflicts. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "conflicts"> => ({
  conflicts: (request) =>
    Stream.paginate(0n, (after: bigint) =>
      Effect.gen(function* () {
        const page = yield* readPage(pool, request, after)
        const next = page.rows.length < PageRows ? Option.none<bigint>() : Option.some(page.rows.at(-1)!.id)
        return [yield* conflictsOf(pool, request, page), next] as const
      })
    )
})
