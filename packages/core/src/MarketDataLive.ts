/**
 * Stored rows, then live ones, joined exactly.
 *
 * The subscription begins at the first row that is not known to be stored. Once the store has everything before that, each row
 * is in the store, or is one that the subscription delivers, or both. So stored rows are read, and what is delivered meanwhile
 * waits; before a stored batch is looked at, everything published by then has been polled, and rows that are in both are taken
 * out of those that wait. What still waits at the end was not in the store when it was read: it follows, and then what comes.
 *
 * A long history is read in windows. Rows of later windows need not wait in memory: the store will have them when it comes to
 * that window, and the window is not read before that.
 */
import { Clock, type Duration, Effect, Schedule, Stream } from "effect"
import { InstrumentTranslation } from "./BatchRenumber.ts"
import { selectRows } from "./BatchSelection.ts"
import type { Instrument } from "./Instrument.ts"
import type { MarketDataError, MarketEvent, SubscribeRequest } from "./MarketData.ts"
import {
  fetchMissing,
  type MissingData,
  meant,
  missingIn,
  rowsOf,
  type StoredData,
  unfit
} from "./MarketDataStored.ts"
import * as MarketSchema from "./MarketSchema.ts"
import { PendingRows } from "./PendingRows.ts"
import { AllSymbols } from "./Provider.ts"
import { RecentRows } from "./RecentRows.ts"
import type { KeyedBatch } from "./RowIndex.ts"
import { StoreError, StoreUnavailable } from "./StoreError.ts"
import type { Subscription, SubscriptionEvent, SubscriptionHandle } from "./Subscription.ts"
import type * as TimeRange from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** Rows that may wait while the store is read; those beyond belong to a later window, or are lost, and told. */
const MostPending = 1_000_000
/** A window ends this long before now, so that what is still on its way belongs to a later one. */
const WindowMargin = 60n * UnixNanos.PerSecond
/** Rows that a restarted producer may repeat. */
const Remembered = 65_536
/** How long after a restart repeats are looked for. */
const RepeatMillis = 600_000
/** Rows asked of the subscription at once, and how often in a row: then others have their turn. */
const PollRows = 8_192
const MostPolls = 1_000

/** Stored rows since `from`, then live ones. */
export const liveRows = (
  data: StoredData,
  subscription: Subscription["Service"],
  request: SubscribeRequest
): Stream.Stream<MarketEvent, MarketDataError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { from, schema = "trades", symbols } = request
      const kind = MarketSchema.kind(schema)
      if (kind !== "trades" && kind !== "quotes") return yield* Effect.fail(unfit(schema))
      const live = new LiveRows(schema)
      if (from === undefined) {
        const handle = yield* subscription.subscribe({ _tag: "Topic", symbols })
        const begins: Stream.Stream<MarketEvent> = Stream.succeed({ _tag: "Live" })
        return Stream.concat(begins, following(handle, live))
      }
      return yield* joined(data, subscription, { ...request, from, schema }, live)
    })
  )

/** A request with its defaults. */
type JoinRequest = SubscribeRequest & {
  readonly from: bigint
  readonly schema: MarketSchema.MarketSchema
}

const nowNanos = Effect.map(Clock.currentTimeMillis, (millis) => BigInt(millis) * UnixNanos.PerMilli)

const joined = Effect.fnUntraced(function* (
  data: StoredData,
  subscription: Subscription["Service"],
  request: JoinRequest,
  live: LiveRows
) {
  const { from, maxWait = "1 minute", schema } = request
  const range = { start: from, end: yield* nowNanos }
  if (request.fetchMissing === true && from < range.end) yield* fetchMissing(data, { ...request, range })
  const named = yield* meant(data, request.symbols, range)
  const symbols = request.symbols.includes(AllSymbols)
    ? request.symbols
    : [...named.instruments.map(({ symbol }) => symbol), ...named.unknown]
  const handle = yield* subscription.subscribe({ _tag: "Topic", symbols }, { _tag: "Durable" })
  const join = new Join(handle, live, request)
  yield* Effect.forkScoped(
    Effect.repeat(Effect.sync(join.poll), { until: () => join.isOver, schedule: Schedule.spaced("5 millis") })
  )
  yield* awaitDurable(handle, (yield* handle.info).start, maxWait)
  // Asked again: instruments of what was published before are registered by now.
  const { instruments, unknown } = yield* meant(data, symbols, range)
  join.begin(instruments)
  const missing: Array<MissingData> = [...(yield* heldSoFar(data, schema, instruments, range))]
  if (unknown.length > 0) missing.push({ _tag: "Missing", schema, symbols: unknown, range, cause: "unknown" })
  const rest = Stream.suspend(() => Stream.fromIterable(join.finish()))
  return Stream.fromIterable<MarketEvent>(missing).pipe(
    Stream.concat(windows(data, join, { ...request, maxWait }, instruments)),
    Stream.concat(rest),
    Stream.concat(following(handle, live))
  )
})

/** What is missing in a range, its end left out as far as nothing is known of it yet: that is on its way. */
const heldSoFar = Effect.fnUntraced(function* (
  data: StoredData,
  schema: MarketSchema.MarketSchema,
  instruments: ReadonlyArray<Instrument>,
  range: TimeRange.TimeRange
) {
  const missing = yield* missingIn(data, schema, instruments, range)
  return missing.filter(
    ({ cause, range: hole }) => cause !== "unknown" || hole.end < range.end || hole.start === range.start
  )
})

/** Waits until everything before a position is in the store. */
const awaitDurable = (
  handle: SubscriptionHandle,
  position: bigint,
  maxWait: Duration.Input
): Effect.Effect<void, StoreError> =>
  handle.info.pipe(
    Effect.repeat({ until: ({ durable }) => durable >= position, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOrElse({
      duration: maxWait,
      orElse: () => Effect.flatMap(handle.info, (info) => Effect.fail(notStored(info.durable, position)))
    }),
    Effect.asVoid
  )

const notStored = (durable: bigint, position: bigint): StoreError =>
  new StoreError({
    operation: "join stored and live rows",
    reason: new StoreUnavailable({
      detail:
        durable === 0n
          ? "whoever publishes says of no row that it is stored"
          : `the store lacks ${position - durable} rows that were published before`,
      hint: "is this the database of the service that publishes, and does it write? see `dm status`"
    })
  })

/** Stored rows, window by window, until one has everything that there is. */
const windows = (
  data: StoredData,
  join: Join,
  { from, maxWait, schema }: JoinRequest & { readonly maxWait: Duration.Input },
  instruments: ReadonlyArray<Instrument>
): Stream.Stream<MarketEvent, MarketDataError> => {
  const read = (start: bigint): Stream.Stream<MarketEvent, MarketDataError> =>
    Stream.unwrap(
      Effect.gen(function* () {
        const margin = (yield* nowNanos) - WindowMargin
        const isLast = margin - start < WindowMargin
        const range = { start, end: isLast ? UnixNanos.Max : margin }
        yield* awaitDurable(join.handle, join.forgotten, maxWait)
        join.enter(range.end)
        const rows = Stream.map(rowsOf(data, schema, instruments, range), join.meet)
        return isLast ? rows : Stream.concat(rows, read(range.end))
      })
    )
  return Stream.suspend(() => read(from))
}

/** Everything about live rows that does not depend on stored ones. */
class LiveRows {
  readonly schema: MarketSchema.MarketSchema
  readonly translation = new InstrumentTranslation([])
  readonly #recent: RecentRows
  readonly #code: number
  #repeatsUntil = 0

  constructor(schema: MarketSchema.MarketSchema) {
    this.schema = schema
    this.#code = MarketSchema.code(schema)
    this.#recent = new RecentRows(Remembered, MarketSchema.clock(schema))
  }

  /** A batch of the subscription, as the stream has it; undefined where nothing of it is wanted. */
  translate(batch: SubscriptionBatch): KeyedBatch | undefined {
    if (batch._tag !== "TradeBatch" && batch._tag !== "QuoteBatch") return undefined
    const wanted = batch._tag === "QuoteBatch" ? this.#ofSchema(batch) : batch
    return wanted.length === 0 ? undefined : this.translation.translate(wanted)
  }

  #ofSchema(batch: Extract<KeyedBatch, { readonly _tag: "QuoteBatch" }>): KeyedBatch {
    const { schema } = batch.columns
    const rows: Array<number> = []
    for (let row = 0; row < batch.length; row++) if (schema[row] === this.#code) rows.push(row)
    return rows.length === batch.length ? batch : selectRows(batch, rows)
  }

  /** Rows were given on that nobody may repeat later. */
  remember(batch: KeyedBatch): void {
    this.#recent.add(batch)
  }

  /** Rows are given on; those that a restarted producer repeats are left out. */
  given(batch: KeyedBatch): KeyedBatch | undefined {
    if (this.#recent.mayRepeat && performance.now() > this.#repeatsUntil) this.#recent.endRepeats()
    const fresh = this.#recent.without(batch)
    if (fresh.length === 0) return undefined
    this.#recent.add(fresh)
    return fresh
  }

  /** A producer has begun again: what it had published and not secured it may publish once more. */
  restarted(): void {
    this.#recent.beginRepeats()
    this.#repeatsUntil = performance.now() + RepeatMillis
  }
}

type SubscriptionBatch = Extract<SubscriptionEvent, { readonly _tag: "Batch" }>["batch"]

/** Live rows from here on. */
const following = (handle: SubscriptionHandle, live: LiveRows): Stream.Stream<MarketEvent, MarketDataError> =>
  handle.receive.pipe(
    Stream.map((event) => followed(event, live)),
    Stream.flattenIterable
  )

const followed = (event: SubscriptionEvent, live: LiveRows): ReadonlyArray<MarketEvent> => {
  if (event._tag === "ProducerRestarted") live.restarted()
  if (event._tag === "Snapshot") return []
  if (event._tag !== "Batch") return [event]
  // What a service puts back into an empty ring was published before: this stream has had it.
  if (event.batch.context.replay?.cause === "reload") return []
  const translated = live.translate(event.batch)
  const batch = translated === undefined ? undefined : live.given(translated)
  return batch === undefined ? [] : [{ _tag: "Batch", batch }]
}

/** Stored rows meet live ones. */
class Join {
  readonly handle: SubscriptionHandle
  readonly #live: LiveRows
  readonly #most: number
  readonly #pending: PendingRows
  /** What else came from the subscription, in order; told at the boundary. */
  readonly #told: Array<MarketEvent> = []
  /** Batches that came before it is known which instruments there are; undefined from then on. */
  #early: Array<SubscriptionBatch> | undefined = []
  #earlyRows = 0
  /** Rows of this time or later are read with a later window. */
  #windowEnd = UnixNanos.Min
  #forgotten = 0n
  #hasRestarted = false
  #isOver = false

  constructor(handle: SubscriptionHandle, live: LiveRows, { maxPending = MostPending, schema }: JoinRequest) {
    this.handle = handle
    this.#live = live
    this.#most = maxPending
    this.#pending = new PendingRows(MarketSchema.clock(schema))
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Everything before this position has to be in the store before the next window is read. */
  get forgotten(): bigint {
    return this.#forgotten
  }

  /** The instruments that the store has. */
  begin(instruments: ReadonlyArray<Instrument>): void {
    for (const instrument of instruments) this.#live.translation.know(instrument)
    const early = this.#early ?? []
    this.#early = undefined
    for (const batch of early) this.#add(batch)
  }

  /** A window up to `end` is read from now on. */
  enter(end: bigint): void {
    this.#windowEnd = end
  }

  /** Takes what has been published by now. */
  readonly poll = (): void => {
    if (this.#isOver) return
    for (let turn = 0; turn < MostPolls; turn++) {
      const events = this.handle.poll(PollRows)
      if (events.length === 0) return
      for (const event of events) this.#take(event)
      if (this.#earlyRows + this.#pending.rows > this.#most) this.#forget()
    }
  }

  #take(event: SubscriptionEvent): void {
    if (event._tag === "Batch") {
      if (this.#early === undefined) this.#add(event.batch)
      else {
        this.#early.push(event.batch)
        this.#earlyRows += event.batch.length
      }
      return
    }
    if (event._tag === "Snapshot") return
    if (event._tag === "ProducerRestarted") this.#hasRestarted = true
    // Before the first window is read, what is lost here is found in the store.
    if (event._tag === "Lost" && this.#windowEnd === UnixNanos.Min) this.#needs(event.to)
    else this.#told.push(event)
  }

  #add(batch: SubscriptionBatch): void {
    const translated = this.#live.translate(batch)
    if (translated !== undefined) this.#pending.add(translated)
  }

  #needs(position: bigint): void {
    if (position > this.#forgotten) this.#forgotten = position
  }

  /** Too much waits: what windows to come will bring is forgotten. */
  #forget(): void {
    const { position } = Effect.runSync(this.handle.info)
    if (this.#early !== undefined) {
      this.#early = []
      this.#earlyRows = 0
      this.#needs(position)
      return
    }
    if (this.#pending.forgetFrom(this.#windowEnd) > 0) this.#needs(position)
    if (this.#pending.rows <= this.#most) return
    const rows = this.#pending.take().reduce((sum, { length }) => sum + length, 0)
    this.#told.push({ _tag: "Lost", from: position - BigInt(rows), to: position, cause: "slow reader" })
  }

  /** A stored batch: what waits and is in it is not given again. */
  readonly meet = (batch: KeyedBatch): MarketEvent => {
    this.poll()
    this.#pending.takeOut(batch)
    this.#live.remember(batch)
    return { _tag: "Batch", batch }
  }

  /** The end of the stored rows: what was told meanwhile, the boundary, and what still waits. */
  finish(): ReadonlyArray<MarketEvent> {
    this.poll()
    this.#isOver = true
    if (this.#hasRestarted) this.#live.restarted()
    const rest = this.#pending.take(this.#hasRestarted).flatMap((waiting): ReadonlyArray<MarketEvent> => {
      const batch = this.#live.given(waiting)
      return batch === undefined ? [] : [{ _tag: "Batch", batch }]
    })
    return [...this.#told, { _tag: "Live" }, ...rest]
  }
}
