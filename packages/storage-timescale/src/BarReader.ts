/**
 * Reading bars: those made from trades, out of the finest stored level that divides the length asked for, and the
 * provider's own, which are series of their own and never mixed with them.
 *
 * Bars are few beside trades, so they come by a cursor instead of a COPY: a page at a time, in (start, instrument, publisher) order.
 */
import {
  ABSENT_I64,
  type BarBatch,
  BarFromProvider,
  BarFromTrades,
  type BarLayout,
  type BarReadRequest,
  type BatchBuilder,
  barBuilder,
  Decimal,
  MarketSchema,
  type MarketStore,
  StoreBadRequest,
  StoreError,
  StoreInvalidData,
  Timeframe,
  type TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Effect, Stream } from "effect"
import { storeError } from "./PgError.ts"
import { type PgConnection, type PgPool, type SqlRow, timestampParameter } from "./PgPool.ts"
import * as ReadContext from "./ReadContext.ts"
import { batchRowsOf } from "./Reader.ts"

/** One bar as SQL gives it. */
interface BarRow extends SqlRow {
  readonly start: bigint
  readonly ns: number
  readonly instrument_id: number
  readonly publisher: number
  readonly open: string | null
  readonly high: string | null
  readonly low: string | null
  readonly close: string | null
  readonly volume: string
  readonly trade_count: bigint | null
}

/** Level that bars of a length are made from: the longest stored one that divides it. */
const levelOf = (seconds: number): "bar_1m" | "bar_1h" | "bar_1d" | "trade" => {
  if (seconds % 86_400 === 0) return "bar_1d"
  if (seconds % 3600 === 0) return "bar_1h"
  return seconds % 60 === 0 ? "bar_1m" : "trade"
}

/** Microseconds since the epoch of the start of the bar that a time falls into. */
const bucketOf = (time: string, seconds: number): string =>
  `(floor(extract(epoch from ${time}) / ${seconds}) * ${seconds} * 1000000)::int8`

const stored = (table: string): string => /* sql */ `
  SELECT ${bucketOf("bucket", 1)} AS start, 0 AS ns, instrument_id, 0 AS publisher, open, high, low, close, volume, trade_count
  FROM ${table}
  WHERE instrument_id = ANY($1) AND bucket >= $2 AND bucket < $3`

/** First and last by (event time, receive time, key): the same order as everywhere. */
const merged = (table: string, seconds: number): string => /* sql */ `
  SELECT ${bucketOf("bucket", seconds)} AS start, 0 AS ns, instrument_id, 0 AS publisher,
         (array_agg(open ORDER BY open_at, open_recv, open_key))[1] AS open, max(high) AS high, min(low) AS low,
         (array_agg(close ORDER BY close_at DESC, close_recv DESC, close_key DESC))[1] AS close,
         sum(volume) AS volume, sum(trade_count)::int8 AS trade_count
  FROM ${table}
  WHERE instrument_id = ANY($1) AND bucket >= $2 AND bucket < $3
  GROUP BY 1, instrument_id`

/** Bars straight from the trades; a receive time that is absent sorts last, as NULLs do. */
const fromTrades = (seconds: number): string => /* sql */ `
  SELECT ${bucketOf("ts", seconds)} AS start, 0 AS ns, instrument_id, 0 AS publisher,
         (array_agg(price ORDER BY ts, ts_ns, ts_recv, ts_recv_ns, trade_key))[1] AS open,
         max(price) AS high, min(price) AS low,
         (array_agg(price ORDER BY ts DESC, ts_ns DESC, ts_recv DESC NULLS FIRST, ts_recv_ns DESC, trade_key DESC))[1] AS close,
         coalesce(sum(size), 0) AS volume, count(*) AS trade_count
  FROM (
    SELECT t.ts, t.ts_ns, t.ts_recv, t.ts_recv_ns, t.trade_key, t.instrument_id,
           coalesce(t.price * i.price_unit, e.price) AS price, coalesce(t.size * i.size_unit, e.size) AS size
    FROM trade t
    JOIN instruments i ON i.id = t.instrument_id
    LEFT JOIN trade_exact e ON (t.price IS NULL OR t.size IS NULL) AND e.instrument_id = t.instrument_id
      AND e.ts = t.ts AND e.trade_key = t.trade_key
    WHERE t.instrument_id = ANY($1) AND t.ts >= $2 AND t.ts < $3
  ) priced
  WHERE price IS NOT NULL
  GROUP BY 1, instrument_id`

const ofProvider = (code: number): string => /* sql */ `
  SELECT ${bucketOf("b.ts", 1)} AS start, b.ts_ns AS ns, b.instrument_id, b.publisher,
         coalesce(b.open * i.price_unit, e.open) AS open, coalesce(b.high * i.price_unit, e.high) AS high,
         coalesce(b.low * i.price_unit, e.low) AS low, coalesce(b.close * i.price_unit, e.close) AS close,
         b.volume, b.trade_count
  FROM bar b
  JOIN instruments i ON i.id = b.instrument_id
  LEFT JOIN bar_exact e ON i.exact_kinds & 4 <> 0 AND e.instrument_id = b.instrument_id AND e.schema = b.schema
    AND e.ts = b.ts AND e.publisher = b.publisher
  WHERE b.instrument_id = ANY($1) AND b.ts >= $2 AND b.ts < $3 AND b.schema = ${code}`

/**
 * Between the bars of a series, one for every length of time without trades: the last close four times, nothing traded.
 * A bar opens a group; the bars put in belong to the group of the bar before them.
 */
const filled = (query: string, seconds: number): string => /* sql */ `
  WITH bars AS (${query}), series AS (
    SELECT instrument_id, publisher, generate_series(min(start), max(start), ${seconds} * 1000000::int8) AS start
    FROM bars GROUP BY instrument_id, publisher
  ), grid AS (
    SELECT s.start, coalesce(b.ns, 0) AS ns, s.instrument_id, s.publisher, b.open, b.high, b.low, b.close, b.volume,
           b.trade_count, b.start IS NULL AS missing,
           count(b.start) OVER (PARTITION BY s.instrument_id, s.publisher ORDER BY s.start) AS bar
    FROM series s LEFT JOIN bars b ON b.instrument_id = s.instrument_id AND b.publisher = s.publisher AND b.start = s.start
  ), carried AS (
    SELECT *, first_value(close) OVER (PARTITION BY instrument_id, publisher, bar ORDER BY start) AS before FROM grid
  )
  SELECT start, ns, instrument_id, publisher,
         CASE WHEN missing THEN before ELSE open END AS open, CASE WHEN missing THEN before ELSE high END AS high,
         CASE WHEN missing THEN before ELSE low END AS low, CASE WHEN missing THEN before ELSE close END AS close,
         CASE WHEN missing THEN 0 ELSE volume END AS volume, CASE WHEN missing THEN 0 ELSE trade_count END AS trade_count
  FROM carried`

const bad = (detail: string, allowed: ReadonlyArray<string>): StoreError =>
  new StoreError({ operation: "read bars", reason: new StoreBadRequest({ detail, allowed }) })

/** Schema of the provider's bars of a length. */
const providerSchema = (timeframe: Timeframe.Timeframe): MarketSchema.MarketSchema | undefined =>
  MarketSchema.all.find(
    (schema) =>
      MarketSchema.kind(schema) === "bars" && MarketSchema.seconds(schema) === Timeframe.seconds(timeframe)
  )

const queryOf = (request: BarReadRequest): Effect.Effect<string, StoreError> => {
  const seconds = Timeframe.seconds(request.timeframe)
  if (request.source === "provider") {
    const schema = providerSchema(request.timeframe)
    const offered = Timeframe.all.filter((timeframe) => providerSchema(timeframe) !== undefined)
    return schema === undefined
      ? Effect.fail(bad(`providers have no bars of ${request.timeframe}`, offered))
      : Effect.succeed(ofProvider(MarketSchema.code(schema)))
  }
  const level = levelOf(seconds)
  if (level === "trade") return Effect.succeed(fromTrades(seconds))
  const isStored =
    (level === "bar_1m" && seconds === 60) || (level === "bar_1h" && seconds === 3600) || level === "bar_1d"
  return Effect.succeed(isStored ? stored(level) : merged(level, seconds))
}

/** Bars that begin in the range: a bound inside a bar leaves that bar out at the start and in at the end. */
const startsWithin = (range: TimeRange.TimeRange, seconds: number): TimeRange.TimeRange => {
  const length = BigInt(seconds) * UnixNanos.PerSecond
  const up = (time: bigint): bigint => -floorDiv(-time, length) * length
  return { start: up(range.start), end: up(range.end) }
}

const floorDiv = (a: bigint, b: bigint): bigint => (a % b < 0n ? a / b - 1n : a / b)

/** Times that PostgreSQL and nanoseconds in an i64 both hold. */
const clamp = (time: bigint): bigint =>
  time < UnixNanos.Min ? UnixNanos.Min : time > UnixNanos.Max ? UnixNanos.Max : time

type Builder = BatchBuilder<typeof BarLayout, BarBatch>

/** Fills builders, one per dataset, and hands one out when the dataset changes: the order over all of them stays. */
class BarRows {
  readonly #context: ReadContext.ReadContext
  readonly #builders: ReadonlyArray<Builder>
  readonly #seconds: number
  readonly #source: number
  readonly #batchRows: number
  #dataset = -1
  /** Batches that are full, or were cut where the dataset changed. */
  readonly ready: Array<BarBatch> = []

  constructor(context: ReadContext.ReadContext, request: BarReadRequest, batchRows: number) {
    this.#context = context
    this.#seconds = Timeframe.seconds(request.timeframe)
    this.#source = request.source === "provider" ? BarFromProvider : BarFromTrades
    this.#builders = context.contexts.map((batchContext) => barBuilder(batchContext, batchRows))
    this.#batchRows = batchRows
  }

  add(row: BarRow): void {
    const instrument = this.#context.instruments.get(row.instrument_id)!
    const builder = this.#builderOf(instrument.dataset)
    const c = builder.columns
    const i = builder.length++
    c.tsEvent[i] = row.start * UnixNanos.PerMicro + BigInt(row.ns)
    c.instrument[i] = row.instrument_id
    c.seconds[i] = this.#seconds
    c.publisher[i] = row.publisher & 0xffff
    c.source[i] = this.#source
    c.tradeCount[i] = row.trade_count ?? ABSENT_I64
    setPrices(c, i, row, instrument.priceExponent)
    setVolume(c, i, row)
    if (builder.length >= this.#batchRows) this.ready.push(builder.flush())
  }

  /** The builder of a dataset; what another one holds goes first. */
  #builderOf(dataset: number): Builder {
    if (dataset !== this.#dataset) {
      const before = this.#builders[this.#dataset]
      if (before !== undefined && before.length > 0) this.ready.push(before.flush())
      this.#dataset = dataset
    }
    return this.#builders[dataset]!
  }

  /** Everything that is not handed out yet. */
  finish(): void {
    for (const builder of this.#builders) if (builder.length > 0) this.ready.push(builder.flush())
  }
}

/**
 * Prices of one bar share an exponent: the instrument's, unless one of them needs a finer one or is too large for it. A bar
 * whose prices have none in common is refused: a batch cannot hold it exactly.
 */
const setPrices = (c: Builder["columns"], i: number, row: BarRow, usual: number): void => {
  const prices = [row.open, row.high, row.low, row.close].map((text) =>
    text === null ? undefined : Decimal.normalize(Decimal.parse(text)!)
  )
  // The coarsest exponent that all are whole at; zero is whole at any.
  const coarsest = prices.reduce(
    (least, price) =>
      price === undefined || price.mantissa === 0n ? least : Math.min(least, price.exponent),
    127
  )
  const exponent = [Math.min(usual, coarsest), coarsest].find((at) =>
    prices.every((price) => fits(price, at))
  )
  if (exponent === undefined) throw tooWide(row)
  c.priceExponent[i] = exponent
  const mantissa = (price: Decimal.Decimal | undefined): bigint =>
    price === undefined ? ABSENT_I64 : (Decimal.rescale(price.mantissa, price.exponent, exponent) as bigint)
  c.open[i] = mantissa(prices[0])
  c.high[i] = mantissa(prices[1])
  c.low[i] = mantissa(prices[2])
  c.close[i] = mantissa(prices[3])
}

const fits = (price: Decimal.Decimal | undefined, exponent: number): boolean => {
  if (price === undefined) return true
  const mantissa = Decimal.rescale(price.mantissa, price.exponent, exponent)
  return mantissa !== undefined && mantissa >= -(2n ** 63n) && mantissa < ABSENT_I64
}

const tooWide = (row: BarRow): StoreError =>
  new StoreError({
    operation: "read bars",
    reason: new StoreInvalidData({
      detail:
        `the bar of instrument #${row.instrument_id} at ${UnixNanos.toIso(row.start * UnixNanos.PerMicro)} spans values ` +
        `from ${row.low} to ${row.high} and a volume of ${row.volume}, which one batch row cannot hold exactly; read it with SQL`
    })
  })

/** Volume at the exponent it was written with, or at its coarsest where that takes more than 128 bits. */
const setVolume = (c: Builder["columns"], i: number, row: BarRow): void => {
  const written = Decimal.parse(row.volume)!
  const volume = isI128(written.mantissa) ? written : Decimal.normalize(written)
  if (!isI128(volume.mantissa)) throw tooWide(row)
  c.volumeExponent[i] = volume.exponent
  c.volumeLow[i] = BigInt.asUintN(64, volume.mantissa)
  c.volumeHigh[i] = BigInt.asIntN(64, volume.mantissa >> 64n)
}

const isI128 = (value: bigint): boolean => BigInt.asIntN(128, value) === value

const PAGE_ROWS = 8192

/** Pages of the cursor, inside a transaction of its own. */
const pages = (connection: PgConnection): Stream.Stream<ReadonlyArray<BarRow>, StoreError> =>
  Stream.fromEffectRepeat(connection.query<BarRow>(`FETCH ${PAGE_ROWS} FROM bars`)).pipe(
    Stream.takeWhile((rows) => rows.length > 0)
  )

const open = Effect.fnUntraced(function* (
  connection: PgConnection,
  query: string,
  ids: ReadonlyArray<number>,
  range: TimeRange.TimeRange
) {
  const values = [ids, timestampParameter(clamp(range.start)), timestampParameter(clamp(range.end))]
  yield* connection.query("BEGIN READ ONLY")
  yield* connection.query(
    `DECLARE bars NO SCROLL CURSOR FOR ${query} ORDER BY start, ns, instrument_id, publisher`,
    values
  )
})

const read = (pool: PgPool, request: BarReadRequest): Stream.Stream<BarBatch, StoreError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const batchRows = yield* batchRowsOf("read bars", request)
      const plain = yield* queryOf(request)
      const query = request.fill === true ? filled(plain, Timeframe.seconds(request.timeframe)) : plain
      const context = yield* ReadContext.load(pool, "read bars", request.instruments)
      const range = startsWithin(request.range, Timeframe.seconds(request.timeframe))
      if (context.ids.length === 0 || range.start >= range.end) return Stream.empty
      const rows = new BarRows(context, request, batchRows)
      const connection = yield* pool.connection("read bars")
      yield* open(connection, query, context.ids, range)
      yield* Effect.addFinalizer(() => Effect.ignore(connection.query("ROLLBACK")))
      return pages(connection).pipe(
        Stream.mapEffect((page) =>
          Effect.try({ try: () => take(rows, page), catch: (cause) => storeError("read bars", cause) })
        ),
        Stream.concat(Stream.sync(() => finish(rows))),
        Stream.flatMap((batches) => Stream.fromIterable(batches))
      )
    })
  )

const take = (rows: BarRows, page: ReadonlyArray<BarRow>): ReadonlyArray<BarBatch> => {
  for (const row of page) rows.add(row)
  return rows.ready.splice(0)
}

const finish = (rows: BarRows): ReadonlyArray<BarBatch> => {
  rows.finish()
  return rows.ready.splice(0)
}

/** The part of the store that reads bars. */
export const make = (pool: PgPool): Pick<MarketStore["Service"], "readBars"> => ({
  readBars: (request) => read(pool, request)
})
