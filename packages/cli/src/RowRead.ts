/**
 * Reading rows for `dm query` and `dm export`: which schema and which times are meant where the command line leaves them
 * open, and the newest rows of anything.
 */
import {
  type BarSource,
  type BatchByKind,
  type DailyAvailability,
  type InstrumentId,
  MarketSchema,
  MarketStore,
  type StoreError,
  Timeframe,
  type TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Effect, Stream } from "effect"
import { UsageError } from "./ExitCode.ts"

/** A kind of rows with what distinguishes rows within it. */
export type RowSelection =
  | { readonly kind: "trades" }
  | { readonly kind: "quotes"; readonly schema?: MarketSchema.MarketSchema | undefined }
  | { readonly kind: "book"; readonly schema?: MarketSchema.MarketSchema | undefined }
  | {
      readonly kind: "bars"
      /** A length, or a series of the provider's by its schema. */
      readonly timeframe: Timeframe.Timeframe | MarketSchema.MarketSchema
      /** Default: trades for a length, the provider for a schema. */
      readonly source?: BarSource | undefined
      readonly fill: boolean
    }

type BarSelection = Extract<RowSelection, { readonly kind: "bars" }>

/** A batch of any of the kinds. */
export type AnyBatch = BatchByKind[RowSelection["kind"]]

/** What is held of a selection. */
export interface Held {
  /** Schema that rows are read from: bars made from trades are read from `trades`. */
  readonly schema: MarketSchema.MarketSchema
  /** Other held schemas of the same kind, which `--schema` would choose. */
  readonly others: ReadonlyArray<MarketSchema.MarketSchema>
  /** First and last row, ns. */
  readonly first: bigint
  readonly last: bigint
  readonly rows: bigint
}

const providerBars: { readonly [T in Timeframe.Timeframe]?: MarketSchema.MarketSchema } = {
  "1s": "ohlcv-1s",
  "1m": "ohlcv-1m",
  "1h": "ohlcv-1h",
  "1d": "ohlcv-1d"
}

/** Where the bars of a selection come from. */
export const sourceOf = ({ source, timeframe }: BarSelection): BarSource =>
  source ?? (Timeframe.is(timeframe) ? "trades" : "provider")

/** Schemas whose rows can answer a selection, preferred first. */
export const candidates = (selection: RowSelection): ReadonlyArray<MarketSchema.MarketSchema> => {
  switch (selection.kind) {
    case "trades":
      return ["trades"]
    case "bars": {
      const { timeframe } = selection
      if (sourceOf(selection) === "trades") return ["trades"]
      const schema = Timeframe.is(timeframe) ? providerBars[timeframe] : timeframe
      return schema === undefined ? [] : [schema]
    }
    default:
      return selection.schema === undefined
        ? MarketSchema.all.filter((name) => MarketSchema.kind(name) === selection.kind)
        : [selection.schema]
  }
}

const summarise = (
  days: ReadonlyArray<DailyAvailability>,
  schemas: ReadonlyArray<MarketSchema.MarketSchema>
): Held | undefined => {
  const present = schemas.filter((schema) => days.some((day) => day.schema === schema))
  const [schema, ...others] = present
  if (schema === undefined) return undefined
  const own = days.filter((day) => day.schema === schema)
  return {
    schema,
    others,
    first: own.reduce((least, day) => (day.first < least ? day.first : least), own[0]!.first),
    last: own.reduce((most, day) => (day.last > most ? day.last : most), own[0]!.last),
    rows: own.reduce((sum, day) => sum + day.rows, 0n)
  }
}

/** What the store has of a selection; undefined where there is nothing. */
export const held = (
  selection: RowSelection,
  instruments: ReadonlyArray<InstrumentId>
): Effect.Effect<Held | undefined, StoreError, MarketStore> =>
  MarketStore.use((store) =>
    Effect.map(store.availability({ instruments }), (days) => summarise(days, candidates(selection)))
  )

/** Bars that nobody makes are a mistake of the command line. */
export const checkSelection = (selection: RowSelection): Effect.Effect<void, UsageError> => {
  const message = selection.kind === "bars" ? barProblem(selection) : undefined
  return message === undefined ? Effect.void : Effect.fail(new UsageError({ message }))
}

const barProblem = (selection: BarSelection): string | undefined => {
  const { timeframe, source, fill } = selection
  if (candidates(selection).length === 0)
    return `providers make bars of ${Object.keys(providerBars).join(", ")}; other lengths come with --source trades`
  if (Timeframe.is(timeframe)) return undefined
  if (source === "trades")
    return `${timeframe} are bars of the provider; from trades there are bars of ${Timeframe.all.join(", ")}`
  return fill && MarketSchema.seconds(timeframe) === 0
    ? `bars of ${timeframe} have no length, so that --fill has nothing to put between them`
    : undefined
}

/** Both ends of a range as given; an end that is not behind its start is a mistake of the command line. */
export const checkRange = (
  start: bigint | undefined,
  end: bigint | undefined
): Effect.Effect<void, UsageError> =>
  start !== undefined && end !== undefined && end <= start
    ? Effect.fail(
        new UsageError({
          message: `--end ${UnixNanos.toIso(end)} is not after --start ${UnixNanos.toIso(start)}; ranges exclude their end`
        })
      )
    : Effect.void

/** Length of a bar; a day for a session. */
const barLength = ({ timeframe }: BarSelection): bigint =>
  BigInt(
    (Timeframe.is(timeframe) ? Timeframe.seconds(timeframe) : MarketSchema.seconds(timeframe)) || 86_400
  ) * UnixNanos.PerSecond

const lengthOf = (selection: RowSelection): bigint => (selection.kind === "bars" ? barLength(selection) : 1n)

const floorTo = (t: bigint, length: bigint): bigint => t - (((t % length) + length) % length)

/** The range to read: what was given, else what is held. */
export const rangeOf = (
  selection: RowSelection,
  have: Held,
  start: bigint | undefined,
  end: bigint | undefined
): TimeRange.TimeRange => ({
  start: start ?? floorTo(have.first, lengthOf(selection)),
  end: end ?? have.last + 1n
})

/** The rows of a selection in time order. */
export const read = (
  selection: RowSelection,
  schema: MarketSchema.MarketSchema,
  instruments: ReadonlyArray<InstrumentId>,
  range: TimeRange.TimeRange,
  batchRows?: number | undefined
): Stream.Stream<AnyBatch, StoreError, MarketStore> =>
  Stream.unwrap(
    Effect.map(MarketStore, (store): Stream.Stream<AnyBatch, StoreError> => {
      const request = { instruments, range, batchRows }
      switch (selection.kind) {
        case "trades":
          return store.readTrades(request)
        case "quotes":
          return store.readQuotes({ ...request, schema })
        case "book":
          return store.readBook({ ...request, schema })
        case "bars": {
          const { timeframe, fill } = selection
          return Timeframe.is(timeframe)
            ? store.readBars({ ...request, fill, timeframe, source: sourceOf(selection) })
            : store.readBars({ ...request, fill, schema: timeframe })
        }
      }
    })
  )

const sliceOf = (batch: AnyBatch, start: number, end?: number): AnyBatch => batch.slice(start, end)

/** The last `count` rows of a stream, holding little more than them. */
export const last = <E, R>(
  rows: Stream.Stream<AnyBatch, E, R>,
  count: number
): Effect.Effect<ReadonlyArray<AnyBatch>, E, R> =>
  Effect.suspend(() => {
    const kept: Array<AnyBatch> = []
    let total = 0
    return rows.pipe(
      Stream.runForEach((batch) =>
        Effect.sync(() => {
          kept.push(batch)
          total += batch.length
          while (kept.length > 1 && total - kept[0]!.length >= count) total -= kept.shift()!.length
        })
      ),
      Effect.map(() => {
        const excess = total - count
        return excess > 0 && kept.length > 0 ? [sliceOf(kept[0]!, excess), ...kept.slice(1)] : kept
      })
    )
  })

/** The first `count` rows of a stream, and whether there are more. The stream is stopped as soon as that is known. */
export const firstRows = <E, R>(
  rows: Stream.Stream<AnyBatch, E, R>,
  count: number
): Effect.Effect<{ readonly batches: ReadonlyArray<AnyBatch>; readonly more: boolean }, E, R> =>
  Effect.suspend(() => {
    const batches: Array<AnyBatch> = []
    let left = count
    let more = false
    return rows.pipe(
      Stream.runForEachWhile((batch) =>
        Effect.sync(() => {
          if (batch.length > left) more = true
          if (left > 0) batches.push(sliceOf(batch, 0, left))
          left = Math.max(0, left - batch.length)
          return !more
        })
      ),
      Effect.map(() => ({ batches, more }))
    )
  })

const growth = 16n

/**
 * The newest `count` rows that begin before `end` (default: the end of what is held). Looks back in windows that grow
 * until they hold enough, so that the newest rows of a long history are found without reading it.
 */
export const newest = (
  selection: RowSelection,
  have: Held,
  instruments: ReadonlyArray<InstrumentId>,
  count: number,
  end: bigint | undefined
): Effect.Effect<ReadonlyArray<AnyBatch>, StoreError, MarketStore> =>
  Effect.gen(function* () {
    if (selection.kind === "trades" && end === undefined && instruments.length === 1)
      return yield* MarketStore.use((store) => store.lastTrades(instruments, count))
    const whole = rangeOf(selection, have, undefined, end)
    const length = lengthOf(selection)
    let window = selection.kind === "bars" ? length * BigInt(count) : UnixNanos.PerSecond
    for (;;) {
      const from = floorTo(whole.end - window, length)
      const start = from > whole.start ? from : whole.start
      const batches = yield* last(read(selection, have.schema, instruments, { start, end: whole.end }), count)
      const found = batches.reduce((sum, batch) => sum + batch.length, 0)
      if (found >= count || start <= whole.start) return batches
      window *= growth
    }
  })
