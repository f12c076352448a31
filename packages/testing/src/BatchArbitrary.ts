/**
 * Seeded, deterministic generators of batches for tests: realistic rows with bursts of equal timestamps and shared
 * sequences, and on request every extreme that a column can hold. The same seed and options give the same batch.
 *
 * Rows come in the order of their store time and their keys are unique per instrument, schema and microsecond, so a
 * batch can be cut anywhere and appended in parts. Callers own the batches.
 */
import {
  ABSENT_I32,
  ABSENT_I64,
  ABSENT_U16,
  ABSENT_U32,
  type BarBatch,
  BarFromProvider,
  type BatchContext,
  type BookBatch,
  BookLevels,
  barBuilder,
  bookBuilder,
  type InstrumentId,
  MarketSchema,
  type QuoteBatch,
  quoteBuilder,
  TradeBatch,
  TradeKey,
  tradeBuilder,
  UnixNanos
} from "@data-manager/core"
import type { SeededRandom } from "./SeededRandom.ts"

/** What to generate. */
export interface BatchOptions {
  readonly context: BatchContext
  /** Instruments of the rows, each as likely as the others. */
  readonly instruments: ReadonlyArray<InstrumentId>
  readonly rows: number
  /** Start of the period that the rows lie in, nanoseconds since the epoch. */
  readonly start: bigint
  /** Length of that period in nanoseconds; default one hour. */
  readonly span?: bigint | undefined
  /**
   * "grid" (default): prices are positive multiples of 0.25 below 10,000 and sizes whole numbers, so that two decimal
   * places hold every price. "extreme": every column takes its smallest and largest values, exponents are -18..6.
   */
  readonly values?: "grid" | "extreme" | undefined
  /** Exponent of grid prices, -9 (Databento) by default; at most -2. */
  readonly priceExponent?: number | undefined
  /** Exponent of grid sizes, 0 by default; at most 0. */
  readonly sizeExponent?: number | undefined
  /** Probability that a value that may be absent is; default 0.05. */
  readonly absent?: number | undefined
  /** Probability that a row shares nanosecond or microsecond with the row before; default 0.3. */
  readonly bursts?: number | undefined
}

/** Quotes and books of one market schema. */
export interface SchemaBatchOptions<S extends MarketSchema.MarketSchema> extends BatchOptions {
  readonly schema: S
}

/** Bars of one length in seconds. */
export interface BarOptions extends Omit<BatchOptions, "span" | "bursts"> {
  /** 1, 60, 3600, 86400, or 0 for session bars. */
  readonly seconds: number
}

const I64_MIN = -9223372036854775808n
/** Smallest and largest exponent of extreme values. */
export const ExponentMin = -18
export const ExponentMax = 6

/** Mantissas at the edges of an i64 and of a double, none of them the absent one. */
export const extremeMantissas: ReadonlyArray<bigint> = [
  I64_MIN,
  I64_MIN + 1n,
  -9007199254740993n,
  -1n,
  0n,
  1n,
  9007199254740993n,
  1_000_000_000_000_000_000n,
  ABSENT_I64 - 2n,
  ABSENT_I64 - 1n
]

/** One value: absent, on the grid, or extreme. */
interface Values {
  readonly absent: () => boolean
  readonly price: () => bigint
  readonly size: () => bigint
  readonly priceExponent: () => number
  readonly sizeExponent: () => number
  /** 0..largest in grid batches half as often as not; the edges in extreme ones. */
  readonly count: (largest: number) => number
  readonly nanosNear: (time: bigint) => bigint
}

const valuesOf = (random: SeededRandom, options: BatchOptions | BarOptions): Values => {
  const probability = options.absent ?? 0.05
  const absent = () => random.chance(probability)
  if (options.values === "extreme") {
    const exponent = () => random.between(ExponentMin, ExponentMax)
    const mantissa = () => (random.chance(0.7) ? random.pick(extremeMantissas) : random.anyI64())
    const present = () => {
      const value = mantissa()
      return value === ABSENT_I64 ? 0n : value
    }
    return {
      absent,
      price: present,
      size: present,
      priceExponent: exponent,
      sizeExponent: exponent,
      count: (largest) => random.pick([0, 1, largest - 1, largest, random.below(largest)]),
      nanosNear: () => present()
    }
  }
  const priceExponent = options.priceExponent ?? -9
  const sizeExponent = options.sizeExponent ?? 0
  const quarter = 25n * 10n ** BigInt(-2 - priceExponent)
  const one = 10n ** BigInt(-sizeExponent)
  return {
    absent,
    price: () => BigInt(random.between(1, 39_999)) * quarter,
    size: () => BigInt(random.between(1, 500)) * one,
    priceExponent: () => priceExponent,
    sizeExponent: () => sizeExponent,
    count: (largest) => random.below(Math.min(largest, 100)),
    nanosNear: (time) => time + BigInt(random.below(1_000_000))
  }
}

/** Ascending times within the period, some of them equal or within one microsecond. */
const timesOf = (random: SeededRandom, options: BatchOptions): Array<bigint> => {
  const span = options.span ?? 3_600n * UnixNanos.PerSecond
  const ascending = (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0)
  const times = Array.from({ length: options.rows }, () => options.start + random.below64(span)).sort(
    ascending
  )
  for (let i = 1; i < times.length; i++) {
    if (!random.chance(options.bursts ?? 0.3)) continue
    const before = times[i - 1]!
    const rest = 999 - UnixNanos.nanosOfMicro(before)
    times[i] = random.chance(0.5) ? before : before + BigInt(random.below(rest + 1))
  }
  return times.sort(ascending).map((time) => (time < options.start + span ? time : options.start + span - 1n))
}

/** Sequenced keys for rows in time order: publisher, a sequence that is sometimes shared, and the ordinal. */
const keysOf = (random: SeededRandom) => {
  const counter = new TradeKey.OrdinalCounter()
  let sequence = random.below(1_000)
  return (instrument: InstrumentId, publisher: number, time: bigint): bigint => {
    if (!random.chance(0.4)) sequence = (sequence + 1) >>> 0
    const low = Number(BigInt.asIntN(32, time))
    const high = Number(BigInt.asIntN(32, time >> 32n))
    return TradeKey.make(publisher, sequence, counter.next(instrument, publisher, low, high, sequence))
  }
}

const orAbsent = (values: Values, value: () => bigint): bigint => (values.absent() ? ABSENT_I64 : value())
const deltaOf = (random: SeededRandom, values: Values): number =>
  values.absent()
    ? ABSENT_I32
    : values.count(2) === 0
      ? -random.below(2 ** 31 - 1)
      : random.below(2 ** 31 - 1)

/** Trades. Keys follow `context.keyKind`: sequenced, consecutive venue ids, or hashes with text ids. */
export const trades = (random: SeededRandom, options: BatchOptions): TradeBatch => {
  const values = valuesOf(random, options)
  const sequenced = keysOf(random)
  const builder = tradeBuilder(options.context, options.rows)
  const { columns: c } = builder
  const textIds: Array<string> = []
  timesOf(random, options).forEach((time, i) => {
    const instrument = random.pick(options.instruments)
    const publisher = random.between(1, 3)
    c.tsEvent[i] = time
    c.tsRecv[i] = orAbsent(values, () => values.nanosNear(time))
    c.price[i] = orAbsent(values, values.price)
    c.size[i] = orAbsent(values, values.size)
    c.priceExponent[i] = values.priceExponent()
    c.sizeExponent[i] = values.sizeExponent()
    c.instrument[i] = instrument
    c.tsInDelta[i] = deltaOf(random, values)
    c.publisher[i] = publisher
    c.side[i] = random.below(3)
    c.flags[i] = values.count(255)
    c.depth[i] = values.count(255)
    const hash = (BigInt(random.u32()) << 31n) | BigInt(i)
    if (options.context.keyKind === "text-hash") textIds.push(`id/${i} é ${hash}`)
    c.tradeKey[i] =
      options.context.keyKind === "sequenced"
        ? sequenced(instrument, publisher, time)
        : options.context.keyKind === "venue-id"
          ? 5_000_000_000n + BigInt(i)
          : (hash & ((1n << 47n) - 1n)) << 16n
  })
  builder.length = options.rows
  const batch = builder.flush()
  return textIds.length === 0 ? batch : new TradeBatch(batch.context, batch, batch.length, textIds)
}

const quoteActions = "ACMRTFN".split("").map((letter) => letter.charCodeAt(0))

/** The columns that quotes and books share: times by the clock of the schema, key, update. */
const fillUpdate = (
  random: SeededRandom,
  values: Values,
  clock: MarketSchema.RowClock,
  c: Pick<ReturnType<typeof bookBuilder>["columns"], UpdateColumn>,
  i: number,
  time: bigint
): void => {
  const other = orAbsent(values, () => values.nanosNear(time))
  c.tsEvent[i] = clock === "ts_event" ? time : other
  c.tsRecv[i] = clock === "ts_event" ? other : time
  c.price[i] = orAbsent(values, values.price)
  c.size[i] = orAbsent(values, values.size)
  c.priceExponent[i] = values.priceExponent()
  c.sizeExponent[i] = values.sizeExponent()
  c.tsInDelta[i] = deltaOf(random, values)
  c.side[i] = random.below(3)
  c.action[i] = values.absent() ? 0 : random.pick(quoteActions)
  c.flags[i] = values.count(255)
  c.depth[i] = values.count(255)
}
type UpdateColumn =
  | "tsEvent"
  | "tsRecv"
  | "price"
  | "size"
  | "priceExponent"
  | "sizeExponent"
  | "tsInDelta"
  | "side"
  | "action"
  | "flags"
  | "depth"

/** Quotes of one schema, in the order of its clock. */
export const quotes = (
  random: SeededRandom,
  options: SchemaBatchOptions<MarketSchema.MarketSchema>
): QuoteBatch => {
  const values = valuesOf(random, options)
  const key = keysOf(random)
  const clock = MarketSchema.clock(options.schema)
  const builder = quoteBuilder(options.context, options.rows)
  const { columns: c } = builder
  timesOf(random, options).forEach((time, i) => {
    const instrument = random.pick(options.instruments)
    const publisher = random.between(1, 3)
    fillUpdate(random, values, clock, c, i, time)
    c.quoteKey[i] = key(instrument, publisher, time)
    c.instrument[i] = instrument
    c.publisher[i] = publisher
    c.schema[i] = MarketSchema.code(options.schema)
    c.bidPrice[i] = orAbsent(values, values.price)
    c.askPrice[i] = orAbsent(values, values.price)
    c.bidSize[i] = orAbsent(values, values.size)
    c.askSize[i] = orAbsent(values, values.size)
    c.bidCount[i] = values.absent() ? ABSENT_U32 : values.count(ABSENT_U32 - 1)
    c.askCount[i] = values.absent() ? ABSENT_U32 : values.count(ABSENT_U32 - 1)
    c.bidPublisher[i] = values.absent() ? ABSENT_U16 : values.count(TradeKey.MaxPublisher)
    c.askPublisher[i] = values.absent() ? ABSENT_U16 : values.count(TradeKey.MaxPublisher)
  })
  builder.length = options.rows
  return builder.flush()
}

/** Books of one schema, in the order of its clock, with 0 to 10 filled levels a side. */
export const books = (
  random: SeededRandom,
  options: SchemaBatchOptions<MarketSchema.MarketSchema>
): BookBatch => {
  const values = valuesOf(random, options)
  const key = keysOf(random)
  const clock = MarketSchema.clock(options.schema)
  const builder = bookBuilder(options.context, options.rows)
  const { columns: c } = builder
  const fillSide = (i: number, price: BigInt64Array, size: BigInt64Array, count: Uint32Array): void => {
    const filled = random.below(BookLevels + 1)
    for (let at = i * BookLevels; at < (i + 1) * BookLevels; at++) {
      const empty = at - i * BookLevels >= filled
      price[at] = empty ? ABSENT_I64 : values.price()
      size[at] = empty ? random.pick([0n, ABSENT_I64]) : values.size()
      count[at] = empty ? random.pick([0, ABSENT_U32]) : values.count(ABSENT_U32 - 1)
    }
  }
  timesOf(random, options).forEach((time, i) => {
    const instrument = random.pick(options.instruments)
    const publisher = random.between(1, 3)
    fillUpdate(random, values, clock, c, i, time)
    c.bookKey[i] = key(instrument, publisher, time)
    c.instrument[i] = instrument
    c.publisher[i] = publisher
    c.schema[i] = MarketSchema.code(options.schema)
    fillSide(i, c.bidPrice, c.bidSize, c.bidCount)
    fillSide(i, c.askPrice, c.askSize, c.askCount)
  })
  builder.length = options.rows
  return builder.flush()
}

/**
 * Bars of a provider: one per instrument and bar start, starts at multiples of the length from `start` on. Volumes are
 * beyond 64 bits in extreme batches.
 */
export const bars = (random: SeededRandom, options: BarOptions): BarBatch => {
  const values = valuesOf(random, options)
  const builder = barBuilder(options.context, options.rows)
  const { columns: c } = builder
  const step = BigInt(options.seconds === 0 ? 86_400 : options.seconds) * UnixNanos.PerSecond
  const first = options.start - (((options.start % step) + step) % step)
  for (let i = 0; i < options.rows; i++) {
    c.tsEvent[i] = first + step * BigInt(Math.floor(i / options.instruments.length))
    c.instrument[i] = options.instruments[i % options.instruments.length]!
    c.seconds[i] = options.seconds
    for (const name of ["open", "high", "low", "close"] as const) c[name][i] = orAbsent(values, values.price)
    c.priceExponent[i] = values.priceExponent()
    const size = values.size()
    const volume = options.values === "extreme" ? size * size : size
    c.volumeLow[i] = BigInt.asUintN(64, volume)
    c.volumeHigh[i] = volume >> 64n
    c.volumeExponent[i] = values.sizeExponent()
    c.tradeCount[i] = orAbsent(values, () => BigInt(values.count(1_000_000)))
    c.publisher[i] = random.between(1, 3)
    c.source[i] = BarFromProvider
  }
  builder.length = options.rows
  return builder.flush()
}
