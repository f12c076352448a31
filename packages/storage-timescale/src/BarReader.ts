/**
 * Reading bars: those made from trades, and the provider's own.
 *
 * From trades: 1m, 1h and 1d are stored; 5m, 15m and 30m are made from 1m, 4h from 1h, 1s from the trades themselves. The
 * provider's: 1s, 1m, 1h and 1d are as the provider gave them, and the others are made from its shorter ones (each
 * instrument's from the stored schema that has most days within the range, the longest of several). The two sources are
 * never mixed. Asked for by its schema, a series of the provider's comes as it is stored, session bars included.
 *
 * A bar belongs to a range when it starts in it; it always has its whole length. `fill` repeats the last close, with
 * volume 0, between a bar and the next one of its series.
 */
import {
  BarBatch,
  BarLayout,
  type BarReadRequest,
  type InstrumentId,
  MarketSchema,
  type MarketStore,
  StoreBadRequest,
  StoreError,
  StoreInvalidData,
  Timeframe,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Effect, Option, Stream } from "effect"
import { BarFold, floor, seriesKey } from "./BarFold.ts"
import {
  type BarRelation,
  ProviderBarRows,
  providerBarSelection,
  RollupBarRows,
  rollupSelection
} from "./BarRows.ts"
import { storeError } from "./PgError.ts"
import { microsOf, type PgPool } from "./PgPool.ts"
import * as ReadContext from "./ReadContext.ts"
import {
  batchRowsOf,
  type ReaderOptions,
  type RowKindReader,
  type RowSource,
  readRows,
  tradeKind
} from "./Reader.ts"
import { idList } from "./ReadRows.ts"
import { clampRange, timeCondition } from "./ReadSlice.ts"
import { type ReadableRows, Unrepresentable } from "./RowColumns.ts"
import { refreshForReading } from "./timescale/BarRefresh.ts"

const operation = "read bars"

const bad = (detail: string, allowed: ReadonlyArray<string>): StoreError =>
  new StoreError({ operation, reason: new StoreBadRequest({ detail, allowed }) })

/** Where bars from trades of each length come from; 1s comes from the trades. */
const rollups: { readonly [T in Exclude<Timeframe.Timeframe, "1s">]: BarRelation } = {
  "1m": "bars_1m",
  "5m": "bars_1m",
  "15m": "bars_1m",
  "30m": "bars_1m",
  "1h": "bars_1h",
  "4h": "bars_1h",
  "1d": "bars_1d"
}

const secondsOf = { bars_1m: 60, bars_1h: 3600, bars_1d: 86400 } as const

const tradeSchema = MarketSchema.code("trades")

const batch: RowKindReader<BarBatch, RollupBarRows | ProviderBarRows>["batch"] = (
  context,
  rows,
  order,
  from,
  to
) => new BarBatch(context, rows.copy(order, from, to), to - from)

const rollupKind = (table: BarRelation): RowKindReader<BarBatch, RollupBarRows> => ({
  operation,
  selection: rollupSelection(table),
  exactFlag: 0,
  layout: BarLayout,
  // An instrument has at most so many bars a day, and no more than trades.
  density: { _tag: "Days", schema: tradeSchema, most: 86400 / secondsOf[table] },
  rows: (context, capacity) => new RollupBarRows(ReadContext.lookup(context), capacity, secondsOf[table]),
  batch
})

const providerKind = (seconds: number, schema: number): RowKindReader<BarBatch, ProviderBarRows> => ({
  operation,
  selection: providerBarSelection,
  exactFlag: 4,
  layout: BarLayout,
  density: { _tag: "Days", schema },
  rows: (context, capacity, { exact }) =>
    new ProviderBarRows(ReadContext.lookup(context), capacity, seconds, exact.length > 0),
  batch
})

/** A read of bars under way. */
interface Read {
  readonly pool: PgPool
  readonly options: ReaderOptions
  readonly request: BarReadRequest
  readonly context: ReadContext.ReadContext
  readonly range: TimeRange.TimeRange
  readonly seconds: number
  readonly batchRows: number
}

/** The smallest multiple of the bar's length that is not before `time`. */
const ceil = (time: bigint, seconds: number): bigint => -floor(-time, BigInt(seconds) * UnixNanos.PerSecond)

/** The time of the rows that make the bars which start in the range. */
const wholeBars = (read: Read): TimeRange.TimeRange => ({
  start: ceil(read.range.start, read.seconds),
  end: ceil(read.range.end, read.seconds)
})

const readBars = (
  pool: PgPool,
  options: ReaderOptions,
  request: BarReadRequest
): Stream.Stream<BarBatch, StoreError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const wrong = problemOf(request)
      if (wrong !== undefined) return yield* Effect.fail(wrong)
      const batchRows = yield* batchRowsOf(operation, request)
      const context = yield* ReadContext.load(pool, operation, request.instruments)
      const range = clampRange(request.range)
      const seconds =
        request.schema === undefined
          ? Timeframe.seconds(request.timeframe)
          : MarketSchema.seconds(request.schema)
      const read: Read = { pool, options, request, context, range, seconds, batchRows }
      if (TimeRange.isEmpty(range) || context.ids.length === 0) return Stream.empty
      if (request.schema !== undefined)
        return yield* provided(read, [{ ids: context.ids, schema: MarketSchema.code(request.schema) }])
      return request.source === "provider"
        ? yield* fromProvider(read)
        : yield* fromTrades(read, request.timeframe)
    })
  )

/** Why there can be no such bars, whatever is stored. */
const problemOf = (request: BarReadRequest): StoreError | undefined => {
  const { schema, timeframe, source, fill } = request
  if (schema === undefined)
    return Timeframe.is(String(timeframe))
      ? undefined
      : bad(`there are no bars of ${timeframe}; a series of the provider's is named by its schema`, [
          ...Timeframe.all,
          ...providerSchemas
        ])
  if (!providerSchemas.includes(schema)) return bad(`${schema} is no schema of bars`, providerSchemas)
  if (timeframe !== undefined || (source as string | undefined) === "trades")
    return bad(`${schema} names a series of the provider's; bars of a length are asked for without it`, [])
  return fill === true && MarketSchema.seconds(schema) === 0
    ? bad(`bars of ${schema} have no length, so that nothing can be filled in between them`, [])
    : undefined
}

const fromTrades = Effect.fnUntraced(function* (read: Read, timeframe: Timeframe.Timeframe) {
  if (timeframe !== "1s") yield* refreshForReading(read.pool, wholeBars(read))
  return yield* storedBars(read, timeframe)
})

const storedBars = (read: Read, timeframe: Timeframe.Timeframe) => {
  const sources = [{ ids: read.context.ids, schema: undefined }]
  if (timeframe === "1s")
    return Effect.map(lastStarts(read, lastTrade(read)), (fillUntil) =>
      folded(read, "trades", fillUntil, rowsOf(read, tradeKind, sources), (fold, each) => fold.trades(each))
    )
  const table = rollups[timeframe]
  const kind = rollupKind(table)
  if (secondsOf[table] === read.seconds && read.request.fill !== true)
    return Effect.succeed(readRows(read.pool, read.options, kind, read.request, read.context, sources))
  return Effect.map(lastStarts(read, lastRollup(read, table)), (fillUntil) =>
    folded(read, "trades", fillUntil, rowsOf(read, kind, sources), (fold, each) => fold.bars(each))
  )
}

const fromProvider = (read: Read) =>
  Effect.gen(function* () {
    const sources = yield* providerSources(read)
    return sources.length === 0 ? Stream.empty : yield* provided(read, sources)
  })

/** Bars out of the provider's bars of these series, of which there is at least one. */
const provided = (read: Read, sources: ReadonlyArray<RowSource & { readonly schema: number }>) =>
  Effect.gen(function* () {
    const [main] = sources
    const isPlain = sources.every((source) => secondsOfSchema(source.schema) === read.seconds)
    const kind = providerKind(read.seconds, main!.schema)
    if (isPlain && read.request.fill !== true)
      return readRows(read.pool, read.options, kind, read.request, read.context, sources)
    const fillUntil = yield* lastStarts(read, lastProvided(read, sources))
    return folded(read, "provider", fillUntil, rowsOf(read, kind, sources), (fold, each) => fold.bars(each))
  })

/** All rows that the bars are made of, in batches of the usual size. */
const rowsOf = <B, R extends ReadableRows>(
  read: Read,
  kind: RowKindReader<B, R>,
  sources: ReadonlyArray<RowSource>
): Stream.Stream<B, StoreError> =>
  readRows(
    read.pool,
    read.options,
    kind,
    { instruments: read.context.ids, range: wholeBars(read) },
    read.context,
    sources
  )

/** Feeds rows to a fold and gives the bars that come out. */
const folded = <B>(
  read: Read,
  source: "trades" | "provider",
  fillUntil: ReadonlyMap<number, bigint> | undefined,
  rows: Stream.Stream<B, StoreError>,
  feed: (fold: BarFold, rows: B) => Generator<BarBatch>
): Stream.Stream<BarBatch, StoreError> =>
  Stream.suspend(() => {
    const { context, seconds, batchRows } = read
    const fold = new BarFold({ context, seconds, source, batchRows, fillUntil })
    return Stream.concat(
      Stream.flatMap(rows, (each) => generated(() => feed(fold, each))),
      generated(() => fold.finish())
    )
  })

/** One element at a time: a gap may be filled with any number of them. */
const generated = (make: () => Generator<BarBatch>): Stream.Stream<BarBatch, StoreError> =>
  Stream.suspend(() =>
    Stream.paginate(make(), (generator) =>
      Effect.try({
        try: () => {
          const { done, value } = generator.next()
          return done === true
            ? ([[], Option.none<Generator<BarBatch>>()] as const)
            : ([[value], Option.some(generator)] as const)
        },
        catch: (cause) =>
          cause instanceof Unrepresentable
            ? new StoreError({ operation, reason: new StoreInvalidData({ detail: cause.message }), cause })
            : storeError(operation, cause)
      })
    )
  )

const secondsOfSchema = (code: number): number => {
  const schema = MarketSchema.fromCode(code)
  return schema === undefined ? 0 : MarketSchema.seconds(schema)
}

/** Every schema of bars that a provider may give. */
const providerSchemas = MarketSchema.all.filter((schema) => MarketSchema.kind(schema) === "bars")

/** Those of fixed length, coarsest first. */
const levels = providerSchemas
  .filter((schema) => MarketSchema.seconds(schema) > 0)
  .map((schema) => MarketSchema.code(schema))
  .sort((a, b) => secondsOfSchema(b) - secondsOfSchema(a))

interface Level {
  readonly id: InstrumentId
  readonly schema: number
  readonly days: bigint
  readonly [column: string]: unknown
}

/**
 * Which stored schema each instrument's bars are made of; those without any in the range are left out. A length that the
 * provider has a schema of is never made from others: the provider's day, say, is what it says it is.
 */
const providerSources = (
  read: Read
): Effect.Effect<ReadonlyArray<RowSource & { readonly schema: number }>, StoreError> =>
  Effect.flatMap(
    read.pool.query<Level>(
      `SELECT instrument_id AS id, schema, count(*) AS days FROM row_days
       WHERE instrument_id = ANY ($1::int4[]) AND schema = ANY ($2::int2[]) AND day >= $3::date AND day <= $4::date
       GROUP BY instrument_id, schema`,
      [read.context.ids, levels, UnixNanos.toDate(read.range.start), UnixNanos.toDate(read.range.end)]
    ),
    (held) => {
      const isOwn = levels.some((schema) => secondsOfSchema(schema) === read.seconds)
      const fitting = held.filter(({ schema }) =>
        isOwn ? secondsOfSchema(schema) === read.seconds : read.seconds % secondsOfSchema(schema) === 0
      )
      if (!isOwn && held.length > 0 && fitting.length === 0) return Effect.fail(notOffered(read, held))
      const best = new Map<InstrumentId, Level>()
      for (const level of fitting.sort((a, b) => levels.indexOf(a.schema) - levels.indexOf(b.schema))) {
        const other = best.get(level.id)
        if (other === undefined || level.days > other.days) best.set(level.id, level)
      }
      const chosen = levels.map((schema) => ({
        schema,
        ids: [...best.values()].filter((level) => level.schema === schema).map((level) => level.id)
      }))
      return Effect.succeed(
        chosen.filter((source) => source.ids.length > 0).sort((a, b) => b.ids.length - a.ids.length)
      )
    }
  )

const notOffered = (read: Read, held: ReadonlyArray<Level>): StoreError => {
  const offered = Timeframe.all.filter((timeframe) =>
    held.some(({ schema }) => {
      const seconds = Timeframe.seconds(timeframe)
      return levels.some((each) => secondsOfSchema(each) === seconds)
        ? secondsOfSchema(schema) === seconds
        : seconds % secondsOfSchema(schema) === 0
    })
  )
  return bad(
    `the provider's bars that are stored cannot make bars of ${read.request.timeframe} (bars from trades may)`,
    offered
  )
}

interface Last {
  readonly id: InstrumentId
  readonly publisher: number
  /** Microseconds. */
  readonly last: bigint | null
  readonly [column: string]: unknown
}

/** Start of the last bar of each series, where gaps are to be filled. */
const lastStarts = (
  read: Read,
  statement: string
): Effect.Effect<ReadonlyMap<number, bigint> | undefined, StoreError> =>
  read.request.fill !== true
    ? Effect.succeed(undefined)
    : Effect.map(read.pool.query<Last>(statement), (rows) => {
        const length = BigInt(read.seconds) * UnixNanos.PerSecond
        return new Map(
          rows.flatMap(({ id, publisher, last }) =>
            last === null
              ? []
              : [[seriesKey(id, publisher), floor(last * UnixNanos.PerMicro, length)] as const]
          )
        )
      })

const lastTrade = (read: Read): string => {
  const hasPrice = `(t.price IS NOT NULL OR EXISTS (SELECT FROM trade_exact e WHERE e.instrument_id = t.instrument_id
    AND e.ts = t.ts AND e.trade_key = t.trade_key AND e.price IS NOT NULL))`
  return `SELECT q.id, 0 AS publisher, ${microsOf(`(SELECT t.ts FROM trade_rows t WHERE t.instrument_id = q.id
    AND ${timeCondition(clampRange(wholeBars(read)), "ts", true)} AND ${hasPrice} ORDER BY t.ts DESC LIMIT 1)`)} AS last
    FROM unnest(${idList(read.context.ids)}) q(id)`
}

const lastRollup = (read: Read, table: BarRelation): string =>
  `SELECT q.id, 0 AS publisher, ${microsOf(`(SELECT t.bucket FROM ${table} t WHERE t.instrument_id = q.id
    AND ${timeCondition(clampRange(wholeBars(read)), "bucket", false)} ORDER BY t.bucket DESC LIMIT 1)`)} AS last
    FROM unnest(${idList(read.context.ids)}) q(id)`

const lastProvided = (read: Read, sources: ReadonlyArray<RowSource>): string => {
  const among = sources.map(
    (source) => `(t.schema = ${source.schema} AND t.instrument_id = ANY (${idList(source.ids)}))`
  )
  return `SELECT t.instrument_id AS id, t.publisher::int4 & 65535 AS publisher, ${microsOf("max(t.ts)")} AS last
    FROM bar t WHERE (${among.join(" OR ")}) AND ${timeCondition(clampRange(wholeBars(read)), "ts", true)}
    GROUP BY t.instrument_id, t.publisher`
}

/** The bar part of a `MarketStore`. */
export type BarPart = Pick<MarketStore["Service"], "readBars">

/** Reads bars from the database behind a pool. */
export const make = (pool: PgPool, options: ReaderOptions = {}): BarPart => ({
  readBars: (request) => readBars(pool, options, request)
})
