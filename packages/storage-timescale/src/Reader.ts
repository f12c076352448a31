/**
 * Reading trades, quotes and books back as batches, in (time, tsRecv, key, instrument) order.
 *
 * A read goes slice by slice (see `ReadSlice`): COPY of the slice's rows into columns, sorted there, cut into batches. Two
 * slices are read at a time, each in a session and snapshot of its own, while the consumer works on an earlier one; a
 * session is never held while the consumer takes its time. Memory is bounded by a few slices, whatever is asked for.
 *
 * A batch is of one dataset. Where a read spans several, the order of rows goes before the size of batches: a batch ends
 * wherever the next row is of another dataset.
 */
import {
  type BatchContext,
  BatchLayout,
  BookBatch,
  BookLayout,
  DefaultBatchRows,
  type InstrumentId,
  MarketSchema,
  type MarketStore,
  QuoteBatch,
  QuoteLayout,
  type ReadRequest,
  type SchemaReadRequest,
  StoreBadRequest,
  StoreError,
  StoreInvalidData,
  TimeRange,
  TradeBatch,
  TradeLayout,
  UnixNanos
} from "@data-manager/core"
import { Effect, Option, Stream } from "effect"
import { CopyDecoder } from "./CopyDecoder.ts"
import { storeError } from "./PgError.ts"
import { type PgConnection, type PgPool, timestampLiteral } from "./PgPool.ts"
import * as ReadContext from "./ReadContext.ts"
import {
  BookRows,
  bookSelection,
  idList,
  QuoteRows,
  quoteSelection,
  type RowExtras,
  type RowSelection,
  TradeRows,
  tradeSelection
} from "./ReadRows.ts"
import {
  clampRange,
  type DensitySource,
  type ReadSlice,
  slices,
  subdivide,
  timeCondition,
  windows
} from "./ReadSlice.ts"
import { type ReadableRows, RowOverflow, Unrepresentable } from "./RowColumns.ts"
import { readOrder } from "./RowOrder.ts"

/** How reads go about their work. */
export interface ReaderOptions {
  /** Sessions that one read uses at once. Default 2. */
  readonly concurrency?: number | undefined
  /** Column memory that one slice is cut for, in bytes; a slice of four times as much is cut again. Default 6 MiB. */
  readonly sliceBytes?: number | undefined
}

const DefaultConcurrency = 2
const DefaultSliceBytes = 6 * 1024 * 1024
/** How many times its expected size a slice may have before it is cut again, and into how many. */
const Slack = 4
const Parts = 8
/** More instruments than these are joined as a list: the planner looks at every element of `= ANY`. */
const LongList = 64

/** Rows of some instruments in one schema; a table without schemas has none. */
export interface RowSource {
  readonly ids: ReadonlyArray<InstrumentId>
  readonly schema: number | undefined
}

/** A kind of rows as it is read: what is selected, how it is decoded, what batches it makes. */
export interface RowKindReader<B, R extends ReadableRows> {
  readonly operation: string
  readonly selection: RowSelection
  /** Flag of the kind in `instruments.exact_kinds`; 0 where there is no exact table. */
  readonly exactFlag: number
  readonly layout: BatchLayout.BatchLayout
  readonly density: DensitySource
  readonly rows: (context: ReadContext.ReadContext, capacity: number, extras: RowExtras) => R
  /** Rows `[from, to)` in the given order as a batch. */
  readonly batch: (
    context: BatchContext,
    rows: R,
    order: Uint32Array | undefined,
    from: number,
    to: number
  ) => B
}

/** A read under way. */
interface Read<B, R extends ReadableRows> {
  readonly pool: PgPool
  readonly kind: RowKindReader<B, R>
  readonly context: ReadContext.ReadContext
  readonly sources: ReadonlyArray<RowSource>
  readonly texts: ReadonlyArray<InstrumentId>
  readonly batchRows: number
  /** Rows a slice is cut for, and how many it may have. */
  readonly target: number
  readonly limit: number
  readonly concurrency: number
  /** Columns that no slice is using. */
  readonly idle: Array<R>
}

/** What a slice gave: its batches, and what of its time has still to be read. */
interface SliceResult<B> {
  readonly batches: ReadonlyArray<B>
  readonly rest: ReadonlyArray<ReadSlice>
}

const bad = (operation: string, detail: string, allowed?: ReadonlyArray<string>): StoreError =>
  new StoreError({
    operation,
    reason: new StoreBadRequest({ detail, ...(allowed === undefined ? {} : { allowed }) })
  })

/** Rows per batch as asked for, or the reason why not. */
export const batchRowsOf = (operation: string, request: ReadRequest): Effect.Effect<number, StoreError> => {
  const { batchRows = DefaultBatchRows } = request
  return Number.isInteger(batchRows) && batchRows >= 1
    ? Effect.succeed(batchRows)
    : Effect.fail(bad(operation, `batchRows is ${batchRows}; it is a whole number of rows, at least 1`))
}

/** The rows of these sources within the range, as a stream of batches in read order. */
export const readRows = <B, R extends ReadableRows>(
  pool: PgPool,
  options: ReaderOptions,
  kind: RowKindReader<B, R>,
  request: ReadRequest,
  context: ReadContext.ReadContext,
  sources: ReadonlyArray<RowSource>
): Stream.Stream<B, StoreError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const batchRows = yield* batchRowsOf(kind.operation, request)
      const range = clampRange(request.range)
      const ids = sources.flatMap((source) => source.ids)
      if (TimeRange.isEmpty(range) || ids.length === 0) return Stream.empty
      const rowBytes = BatchLayout.rowBytes(kind.layout)
      const target = Math.max(1, Math.floor((options.sliceBytes ?? DefaultSliceBytes) / rowBytes))
      const read: Read<B, R> = {
        pool,
        kind,
        context,
        sources,
        texts: withTextIds(context, ids),
        batchRows,
        target,
        limit: target * Slack,
        concurrency: Math.max(1, options.concurrency ?? DefaultConcurrency),
        idle: []
      }
      const cuts = yield* windows(pool, kind.selection.storedIn ?? [kind.selection.table], range, ids.length)
      return Stream.fromIterable(cuts).pipe(
        Stream.mapEffect((window, i) => slices(pool, window, ids, kind.density, target, i === 0)),
        Stream.flatMap((found) => Stream.fromIterable(found)),
        Stream.mapEffect((slice) => readSlice(read, slice), { concurrency: read.concurrency }),
        Stream.flatMap((result) => resultStream(read, result))
      )
    })
  )

/** Those of the instruments whose trades have text ids. */
const withTextIds = (
  context: ReadContext.ReadContext,
  ids: ReadonlyArray<InstrumentId>
): ReadonlyArray<InstrumentId> =>
  ids.filter((id) => context.contexts[context.instruments.get(id)?.dataset ?? -1]?.keyKind === "text-hash")

/** Batches of a slice, and after them those of what it left: that is rare, so it is read one after another. */
const resultStream = <B, R extends ReadableRows>(
  read: Read<B, R>,
  result: SliceResult<B>
): Stream.Stream<B, StoreError> => {
  const batches = Stream.fromIterable(result.batches)
  if (result.rest.length === 0) return batches
  const rest = Stream.fromIterable(result.rest).pipe(
    Stream.flatMap((slice) =>
      isMicrosecond(slice)
        ? readPages(read, slice)
        : Stream.unwrap(Effect.map(readSlice(read, slice), (inner) => resultStream(read, inner)))
    )
  )
  return Stream.concat(batches, rest)
}

const isMicrosecond = (slice: ReadSlice): boolean =>
  UnixNanos.ceilMicros(slice.end) - UnixNanos.floorMicros(slice.start) <= 1n

/** Reads a slice whole. One that turns out to be too large gives what it can and leaves the rest. */
const readSlice = <B, R extends ReadableRows>(
  read: Read<B, R>,
  slice: ReadSlice
): Effect.Effect<SliceResult<B>, StoreError> => {
  const isSingle = read.sources.length === 1 && read.sources[0]!.ids.length === 1
  return snapshot(read, slice.rows, (rows, copy, extras) => {
    if (isSingle) {
      // The index gives one instrument's rows in time order: what comes first is complete even if there is too much.
      const { time } = read.kind.selection
      const statement = `${select(read, slice, extras)} ORDER BY t.${time} LIMIT ${read.limit}`
      return Effect.map(copy(statement), (count) =>
        count < read.limit
          ? { batches: batchesOf(read, rows, rows.length), rest: [] }
          : completeMicroseconds(read, rows, slice)
      )
    }
    rows.limit = read.limit
    return Effect.map(copy(select(read, slice, extras)), () => ({
      batches: batchesOf(read, rows, rows.length),
      rest: []
    }))
  }).pipe(
    Effect.catch((error) =>
      error.cause instanceof RowOverflow
        ? Effect.succeed({ batches: [], rest: subdivide(slice, Parts) })
        : Effect.fail(error)
    )
  )
}

/** Rows in time order that were cut off: those before the last microsecond, which may lack some; from it on is left. */
const completeMicroseconds = <B, R extends ReadableRows>(
  read: Read<B, R>,
  rows: R,
  slice: ReadSlice
): SliceResult<B> => {
  const last = microsAt(rows, rows.length - 1)
  let complete = rows.length
  while (complete > 0 && microsAt(rows, complete - 1) === last) complete -= 1
  const start = last * UnixNanos.PerMicro
  const next = start + UnixNanos.PerMicro
  const from = start > slice.start ? start : slice.start
  const to = next < slice.end ? next : slice.end
  const tail = { ...slice, start: from }
  return {
    batches: batchesOf(read, rows, complete),
    rest:
      complete > 0
        ? [tail]
        : [{ ...slice, start: from, end: to }, ...(to < slice.end ? [{ ...tail, start: to }] : [])]
  }
}

const microsAt = (rows: ReadableRows, row: number): bigint =>
  UnixNanos.floorMicros((BigInt(rows.time[2 * row + 1]!) << 32n) | BigInt(rows.time[2 * row]! >>> 0))

/**
 * The rows of one microsecond, more than a slice may hold: page after page, sorted by the server. Only data that stands
 * on the grid of a coarse clock gets here.
 */
const readPages = <B, R extends ReadableRows>(
  read: Read<B, R>,
  slice: ReadSlice
): Stream.Stream<B, StoreError> => {
  const order = read.kind.selection.ties.join(", ")
  return Stream.paginate("", (after: string) =>
    snapshot(read, read.limit, (rows, copy, extras) => {
      const next = after === "" ? "" : ` AND (${order}) > (${after})`
      const statement = `${select(read, slice, extras, next)} ORDER BY ${order} LIMIT ${read.limit}`
      return Effect.map(copy(statement), (count) => {
        const position = count < read.limit ? undefined : rows.position(rows.length - 1)
        return [
          batchesOf(read, rows, rows.length),
          position === undefined ? Option.none<string>() : Option.some(position)
        ] as const
      })
    })
  )
}

/** `SELECT ... FROM ... WHERE ...` of the rows of a slice; `more` is a further condition. */
const select = <B, R extends ReadableRows>(
  read: Read<B, R>,
  slice: TimeRange.TimeRange,
  extras: RowExtras,
  more = ""
): string => {
  const { selection } = read.kind
  const fields = selection.fields(extras).join(", ")
  const time = timeCondition(slice, selection.time, selection.hasRest)
  const [first] = read.sources
  if (read.sources.length === 1 && first!.ids.length <= LongList) {
    const { ids, schema } = first!
    const instruments = ids.length === 1 ? `= ${ids[0]}` : `= ANY (${idList(ids)})`
    const schemas = schema === undefined ? "" : ` AND t.schema = ${schema}`
    return `SELECT ${fields} FROM ${selection.table} t WHERE t.instrument_id ${instruments}${schemas} AND ${time}${more}`
  }
  const ids = idList(read.sources.flatMap((source) => source.ids))
  const schemas = read.sources.flatMap((source) => source.ids.map(() => source.schema))
  const list =
    first!.schema === undefined
      ? `unnest(${ids}) AS q(id) JOIN ${selection.table} t ON t.instrument_id = q.id`
      : `unnest(${ids}, '{${schemas.join(",")}}'::int2[]) AS q(id, schema)
         JOIN ${selection.table} t ON t.instrument_id = q.id AND t.schema = q.schema`
  return `SELECT ${fields} FROM ${list} WHERE ${time}${more}`
}

/** Sends `SELECT ...` as a COPY into the rows; gives their number. */
type CopyRows = (statement: string) => Effect.Effect<number, StoreError>

/**
 * Runs one statement in a snapshot of its own. The flags of the instruments are read in the same snapshot: a value that
 * moved to the exact table a moment ago is then looked for there.
 */
const snapshot = <B, R extends ReadableRows, A>(
  read: Read<B, R>,
  expected: number,
  use: (rows: R, copy: CopyRows, extras: RowExtras) => Effect.Effect<A, StoreError>
): Effect.Effect<A, StoreError> => {
  const { pool, kind, context } = read
  return pool.transaction(kind.operation, (connection) =>
    Effect.gen(function* () {
      const exact = yield* flagged(connection, kind.exactFlag, context.ids)
      const extras = { exact, texts: read.texts }
      const capacity = Math.max(64, Math.min(read.limit, Math.ceil(expected * 1.2)))
      const idle = exact.length === 0 ? read.idle.pop() : undefined
      const rows = idle ?? kind.rows(context, capacity, extras)
      const result = yield* use(
        rows,
        (statement) => copyRows(connection, kind.operation, statement, rows),
        extras
      )
      // Columns fit another slice only where it selects the same fields; those with extras are rare.
      if (exact.length === 0) {
        rows.clear()
        read.idle.push(rows)
      }
      return result
    })
  )
}

/** Begins the snapshot, and the ids of the flagged instruments in it. */
const flagged = (
  connection: PgConnection,
  flag: number,
  ids: ReadonlyArray<InstrumentId>
): Effect.Effect<ReadonlyArray<InstrumentId>, StoreError> => {
  const isolation = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
  if (flag === 0) return Effect.as(connection.script(isolation), [])
  const among = ids.length > 1000 ? "" : ` AND id = ANY (${idList(ids)})`
  return Effect.map(
    connection.script(`${isolation}; SELECT id FROM instruments WHERE exact_kinds & ${flag} <> 0${among}`),
    (results) => {
      const asked = new Set(ids)
      return results[1]!.map((row) => row.id as InstrumentId).filter((id) => asked.has(id))
    }
  )
}

const copyRows = (
  connection: PgConnection,
  operation: string,
  statement: string,
  rows: ReadableRows
): Effect.Effect<number, StoreError> =>
  Effect.flatMap(
    Effect.sync(() => new CopyDecoder(rows)),
    (decoder) =>
      Effect.flatMap(connection.copyInto(`COPY (${statement}) TO STDOUT (FORMAT binary)`, decoder), () =>
        Effect.try({
          try: () => {
            decoder.finish()
            return rows.length
          },
          catch: (cause) => storeError(operation, cause)
        })
      )
  ).pipe(
    Effect.mapError((error) =>
      error.cause instanceof Unrepresentable ? unrepresentable(operation, error.cause, rows) : error
    )
  )

/** The error of a row that was being decoded. */
const unrepresentable = (operation: string, cause: Unrepresentable, rows: ReadableRows): StoreError => {
  const row = rows.length
  const time = (BigInt(rows.time[2 * row + 1]!) << 32n) | BigInt(rows.time[2 * row]! >>> 0)
  const what = `a row of instrument #${rows.columns.instrument[row]} at ${UnixNanos.toIso(time)}`
  return new StoreError({
    operation,
    reason: new StoreInvalidData({
      detail: `${what} is stored but cannot be given exactly: ${cause.message}`
    }),
    cause
  })
}

/** The first `count` rows as batches, in read order: each of one dataset and at most `batchRows` rows. */
const batchesOf = <B, R extends ReadableRows>(
  read: Pick<Read<B, R>, "kind" | "context" | "batchRows">,
  rows: R,
  count: number
): ReadonlyArray<B> => {
  const order = readOrder({ length: count, time: rows.time, ties: (a, b) => rows.ties(a, b) })
  const { contexts } = read.context
  const { instrument } = rows.columns
  const datasetOf = (i: number): number =>
    contexts.length === 1 ? 0 : rows.instruments.of(instrument[order === undefined ? i : order[i]!]!).dataset
  const out: Array<B> = []
  let from = 0
  while (from < count) {
    const dataset = datasetOf(from)
    const most = Math.min(count, from + read.batchRows)
    let to = from + 1
    if (contexts.length === 1) to = most
    else while (to < most && datasetOf(to) === dataset) to += 1
    out.push(read.kind.batch(contexts[dataset]!, rows, order, from, to))
    from = to
  }
  return out
}

/** Trades. */
export const tradeKind: RowKindReader<TradeBatch, TradeRows> = {
  operation: "read trades",
  selection: tradeSelection,
  exactFlag: 1,
  layout: TradeLayout,
  density: { _tag: "Hours" },
  rows: (context, capacity, { exact, texts }) =>
    new TradeRows(ReadContext.lookup(context), capacity, exact.length > 0, texts.length > 0),
  batch: (context, rows, order, from, to) => {
    const { texts } = rows
    const ids =
      texts === undefined || context.keyKind !== "text-hash"
        ? undefined
        : Array.from(
            { length: to - from },
            (_, i) => texts[order === undefined ? from + i : order[from + i]!]!
          )
    return new TradeBatch(context, rows.copy(order, from, to), to - from, ids)
  }
}

const quoteKind = (schema: MarketSchema.MarketSchema): RowKindReader<QuoteBatch, QuoteRows> => ({
  operation: "read quotes",
  selection: quoteSelection(schema),
  exactFlag: 2,
  layout: QuoteLayout,
  density: { _tag: "Days", schema: MarketSchema.code(schema) },
  rows: (context, capacity, { exact }) =>
    new QuoteRows(ReadContext.lookup(context), capacity, schema, exact.length > 0),
  batch: (context, rows, order, from, to) => new QuoteBatch(context, rows.copy(order, from, to), to - from)
})

const bookKind = (schema: MarketSchema.MarketSchema): RowKindReader<BookBatch, BookRows> => ({
  operation: "read book",
  selection: bookSelection(schema),
  exactFlag: 8,
  layout: BookLayout,
  density: { _tag: "Days", schema: MarketSchema.code(schema) },
  rows: (context, capacity, { exact }) =>
    new BookRows(ReadContext.lookup(context), capacity, schema, exact.length > 0),
  batch: (context, rows, order, from, to) => new BookBatch(context, rows.copy(order, from, to), to - from)
})

/** The read part of a `MarketStore` that is about rows. */
export type Reader = Pick<
  MarketStore["Service"],
  "readTrades" | "readQuotes" | "readBook" | "lastTrades" | "availability"
>

/** Reads from the database behind a pool. */
export const make = (pool: PgPool, options: ReaderOptions = {}): Reader => {
  const ofSchema = <B, R extends ReadableRows>(
    kindOf: (schema: MarketSchema.MarketSchema) => RowKindReader<B, R>,
    name: "quotes" | "book",
    request: SchemaReadRequest
  ): Stream.Stream<B, StoreError> =>
    Stream.unwrap(
      Effect.gen(function* () {
        const operation = `read ${name}`
        const offered = MarketSchema.all.filter((schema) => MarketSchema.kind(schema) === name)
        if (!offered.includes(request.schema))
          return yield* Effect.fail(bad(operation, `${request.schema} has no ${name}`, offered))
        const context = yield* ReadContext.load(pool, operation, request.instruments)
        const sources = [{ ids: context.ids, schema: MarketSchema.code(request.schema) }]
        return readRows(pool, options, kindOf(request.schema), request, context, sources)
      })
    )
  return {
    readTrades: (request) =>
      Stream.unwrap(
        Effect.map(ReadContext.load(pool, tradeKind.operation, request.instruments), (context) =>
          readRows(pool, options, tradeKind, request, context, [{ ids: context.ids, schema: undefined }])
        )
      ),
    readQuotes: (request) => ofSchema(quoteKind, "quotes", request),
    readBook: (request) => ofSchema(bookKind, "book", request),
    lastTrades: (instruments, count) => lastTrades(pool, instruments, count),
    availability: (request) => availability(pool, request)
  }
}

/** Largest number of rows that `lastTrades` may be asked for: they all stand in memory. */
const MaxLastTrades = 4_000_000

/** Instruments whose last trades lie between two days. */
interface LastGroup {
  readonly ids: Array<InstrumentId>
  first: number
  last: number
}

const lastTrades = Effect.fnUntraced(function* (
  pool: PgPool,
  instruments: ReadonlyArray<InstrumentId>,
  count: number
) {
  const operation = "read last trades"
  if (!Number.isInteger(count) || count < 0)
    return yield* Effect.fail(bad(operation, `${count} is not a number of trades`))
  const context = yield* ReadContext.load(pool, operation, instruments)
  if (count * context.ids.length > MaxLastTrades)
    return yield* Effect.fail(
      bad(
        operation,
        `${count} trades of ${context.ids.length} instruments are more than ${MaxLastTrades}; read a range`
      )
    )
  if (count === 0 || context.ids.length === 0) return []
  return yield* pool.transaction(operation, (connection) =>
    Effect.gen(function* () {
      const exact = yield* flagged(connection, tradeKind.exactFlag, context.ids)
      const extras = { exact, texts: withTextIds(context, context.ids) }
      const rows = tradeKind.rows(context, Math.min(count * context.ids.length, 65_536), extras)
      for (const group of lastGroups(yield* lastDays(connection, context.ids, count)))
        yield* copyRows(connection, operation, selectLast(group, count, extras), rows)
      return batchesOf({ kind: tradeKind, context, batchRows: DefaultBatchRows }, rows, rows.length)
    })
  )
})

interface LastDay {
  readonly id: InstrumentId
  /** Days since 1970: from the first to the last, these are certain to hold the newest trades. */
  readonly first: number
  readonly last: number
  readonly [column: string]: unknown
}

/** Which days hold the newest `count` trades of each instrument, from the rows per day. */
const lastDays = (connection: PgConnection, ids: ReadonlyArray<InstrumentId>, count: number) =>
  connection.query<LastDay>(
    `SELECT q.id, min(d.day) - date '1970-01-01' AS first, max(d.day) - date '1970-01-01' AS last
     FROM unnest($1::int4[]) q(id) CROSS JOIN LATERAL (
       SELECT n.day, sum(n.rows) OVER (ORDER BY n.day DESC) - n.rows AS newer FROM (
         SELECT day, rows FROM row_days WHERE instrument_id = q.id AND schema = $2 ORDER BY day DESC LIMIT $3
       ) n
     ) d WHERE d.newer < $3 GROUP BY q.id`,
    [ids, MarketSchema.code("trades"), count]
  )

/** Instruments whose days fall into one month (of 32 days) are asked together: then few partitions are planned. */
const lastGroups = (days: ReadonlyArray<LastDay>): ReadonlyArray<LastGroup> => {
  const groups = new Map<number, LastGroup>()
  for (const { id, first, last } of days) {
    const month = Math.floor(last / 32)
    const group = groups.get(month)
    if (group === undefined) groups.set(month, { ids: [id], first, last })
    else {
      group.ids.push(id)
      group.first = Math.min(group.first, first)
      group.last = Math.max(group.last, last)
    }
  }
  return [...groups.values()]
}

const selectLast = (group: LastGroup, count: number, extras: RowExtras): string => {
  const from = timestampLiteral(BigInt(group.first) * UnixNanos.PerDay)
  const to = timestampLiteral(BigInt(group.last + 1) * UnixNanos.PerDay)
  return `SELECT ${tradeSelection.fields(extras).join(", ")} FROM unnest(${idList(group.ids)}) q(id)
    CROSS JOIN LATERAL (
      SELECT * FROM trade_rows n WHERE n.instrument_id = q.id AND n.ts >= ${from} AND n.ts < ${to}
      ORDER BY n.ts DESC, n.ts_ns DESC, n.ts_recv DESC NULLS FIRST, n.ts_recv_ns DESC NULLS FIRST, n.trade_key DESC
      LIMIT ${count}
    ) t`
}

const availability = (
  pool: PgPool,
  request: Parameters<Reader["availability"]>[0]
): ReturnType<Reader["availability"]> => {
  const range = clampRange(request.range ?? { start: UnixNanos.Min, end: UnixNanos.Max })
  if (TimeRange.isEmpty(range)) return Effect.succeed([])
  return Effect.map(
    pool.query<{
      readonly instrument_id: number
      readonly schema: number
      readonly day: number
      readonly rows: bigint
      readonly first_at: bigint
      readonly last_at: bigint
    }>(
      `SELECT instrument_id, schema, day - date '1970-01-01' AS day, rows, first_at, last_at FROM row_days
       WHERE ($1::int4[] IS NULL OR instrument_id = ANY($1)) AND day >= $2::date AND day <= $3::date
       ORDER BY day, instrument_id, schema`,
      [request.instruments ?? null, UnixNanos.toDate(range.start), UnixNanos.toDate(range.end - 1n)]
    ),
    (rows) =>
      rows.flatMap((row) => {
        const schema = MarketSchema.fromCode(row.schema)
        if (schema === undefined) return []
        return {
          instrument: row.instrument_id,
          schema,
          day: BigInt(row.day) * UnixNanos.PerDay,
          rows: row.rows,
          first: row.first_at,
          last: row.last_at
        }
      })
  )
}
