/**
 * Replay: stored rows go out again through a hub, in the order of the store, as fast as they came, so many times as fast, or as
 * fast as possible. Who subscribes gets them as live ones, marked as a replay (`ReplayMark`).
 *
 *     MarketStore -> rows of all schemas merged by time -> [clock] -> Hub -> publication, subscribers
 *
 * Rows that are due at the same moment go out together: there is no timer per row. A row is never early, and late by a timer's
 * grain, one to two milliseconds, where store and subscribers keep up; where they do not, what is late follows as fast as they
 * can take it, and `behind` says how late. The first row is due at once, however long after the begin of the window it is.
 */
import { Clock, Duration, Effect, Option, Schedule, Stream } from "effect"
import * as Coverage from "./Coverage.ts"
import type { Hub } from "./Hub.ts"
import type { InstrumentId } from "./Instrument.ts"
import * as MarketSchema from "./MarketSchema.ts"
import type { MarketStore } from "./MarketStore.ts"
import type { Publication } from "./Publication.ts"
import { type ReplayMark, replayMarker } from "./ReplayMark.ts"
import { firstBehind, type MomentBatch, mergeRows, orderOf } from "./RowMerge.ts"
import { StoreBadRequest, StoreError } from "./StoreError.ts"
import type { TimeRange } from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What of a store is played back. */
export interface ReplayWindow {
  readonly instruments: ReadonlyArray<InstrumentId>
  /** Trades, quotes and books. */
  readonly schemas: ReadonlyArray<MarketSchema.MarketSchema>
  readonly range: TimeRange
}

/** How it is played. */
export interface ReplayOptions extends ReplayWindow {
  readonly store: MarketStore["Service"]
  /** Of its own: entries are rows alone, without the notes of a live feed. Subscribers that block slow the replay down. */
  readonly hub: Hub
  /** Times real time, above 0; "max" is as fast as possible. */
  readonly speed: number | "max"
  /** Longest wait between two rows, in real time: longer silence is cut to it. Default: none is. */
  readonly maxGap?: Duration.Input | undefined
  /** Rows per read of the store at most; default 65,536. */
  readonly batchRows?: number | undefined
}

/** How a replay is doing. Times are ns. */
export interface ReplayStatus {
  readonly state: "waiting" | "playing" | "ended"
  readonly rows: bigint
  /** Batches in which the rows went out. */
  readonly batches: bigint
  /** Market time of the last row that went out; undefined before there was one. */
  readonly position: bigint | undefined
  /** Market time from the first row to the last one, without what was cut. */
  readonly played: bigint
  /** Silence that was cut, in market time. */
  readonly cut: bigint
  /** Real time since the first row. */
  readonly elapsed: bigint
  /** How late the last batch began to go out, the worst one, and all together; 0 at "max". */
  readonly behind: bigint
  readonly worstBehind: bigint
  readonly sumBehind: bigint
}

/** A replay. */
export interface Replay {
  /** Plays to the end of the window, once. Interrupting it ends it between two batches. */
  readonly run: Effect.Effect<ReplayStatus, StoreError>
  readonly status: () => ReplayStatus
}

/** The session that entries of a replay name. */
export const ReplaySession = "replay"

/** A replay; nothing happens before it runs. Fails for what cannot be played. */
export const make = (options: ReplayOptions): Effect.Effect<Replay, StoreError> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const problem = problemOf(options)
    if (problem !== undefined) return Effect.fail(badRequest(problem))
    const player = new Player(options, clock)
    return Effect.succeed({ run: player.run, status: player.status })
  })

const problemOf = ({ schemas, speed }: ReplayOptions): string | undefined => {
  if (speed !== "max" && !(speed > 0 && Number.isFinite(speed)))
    return `speed is ${speed}; give a number above 0, or "max"`
  if (schemas.length === 0) return "no schemas; give some, such as trades"
  const bars = schemas.find((schema) => MarketSchema.kind(schema) === "bars")
  return bars === undefined
    ? undefined
    : `${bars} cannot be replayed: a bar is known at its end and stored at its start`
}

const badRequest = (detail: string): StoreError =>
  new StoreError({ operation: "replay", reason: new StoreBadRequest({ detail }) })

/** The rows of a window in the order of the store, of all schemas together. */
export const readWindow = (
  store: MarketStore["Service"],
  { instruments, range, schemas }: ReplayWindow,
  batchRows?: number | undefined
): Stream.Stream<MomentBatch, StoreError> =>
  mergeRows(
    schemas.map((schema): Stream.Stream<MomentBatch, StoreError> => {
      const request = { instruments, range, batchRows }
      const kind = MarketSchema.kind(schema)
      if (kind === "trades") return store.readTrades(request)
      return kind === "quotes"
        ? store.readQuotes({ ...request, schema })
        : store.readBook({ ...request, schema })
    })
  )

/** Time of the first row of a window; undefined where there is none. */
export const firstRow = (
  store: MarketStore["Service"],
  window: ReplayWindow
): Effect.Effect<bigint | undefined, StoreError> =>
  Effect.map(Stream.runHead(Stream.filter(readWindow(store, window), ({ length }) => length > 0)), (first) =>
    Option.match(first, { onNone: () => undefined, onSome: (batch) => orderOf(batch).time[0] })
  )

/** Times of a window that are not known to be complete. */
export interface ReplayHole {
  readonly instrument: InstrumentId
  readonly schema: MarketSchema.MarketSchema
  readonly ranges: Coverage.RangeSet
}

/** The holes of a window: what is neither held nor known to have no data. */
export const holes = (
  store: MarketStore["Service"],
  { instruments, range, schemas }: ReplayWindow
): Effect.Effect<ReadonlyArray<ReplayHole>, StoreError> =>
  Effect.gen(function* () {
    const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
    const spans = yield* store.coverage({ instruments, range })
    return schemas.flatMap((schema) =>
      instruments.flatMap((instrument) => {
        const own = spans.filter((span) => span.instrument === instrument && span.schema === schema)
        const { expired, missing, unknown } = Coverage.resolve(own, range, now)
        const ranges = Coverage.union(Coverage.union(expired, missing), unknown)
        return ranges.length === 0 ? [] : [{ instrument, schema, ranges }]
      })
    )
  })

/** Waits until so many subscribers are connected. */
export const awaitReaders = (publication: Publication["Service"], count: number): Effect.Effect<void> =>
  Effect.flatMap(publication.connectionCount, (connected) =>
    connected >= count ? Effect.void : Effect.fail("too few" as const)
  ).pipe(Effect.retry(Schedule.spaced("20 millis")), Effect.orDie)

/** A timer's grain: shorter waits are not worth one. */
const Grain = 1_000_000n
/** Waits are cut into such pieces: timers know no longer ones. */
const LongestSleep = 3_600_000_000_000n

/** Where market time is in real time. Both begin with the first row. */
class Pace {
  readonly #speed: number
  readonly #longestGap: bigint | undefined
  readonly startedAt: bigint
  readonly first: bigint
  cut = 0n
  #last: bigint

  constructor(speed: number, maxGap: Duration.Duration | undefined, startedAt: bigint, first: bigint) {
    this.#speed = speed
    this.#longestGap =
      maxGap === undefined || !Duration.isFinite(maxGap)
        ? undefined
        : this.#inMarket(Duration.toNanosUnsafe(maxGap))
    this.startedAt = startedAt
    this.first = first
    this.#last = first
  }

  #inMarket(real: bigint): bigint {
    return BigInt(Math.round(Number(real) * this.#speed))
  }

  /** Market time of the row that goes out next: silence before it that is too long is cut. */
  meet(time: bigint): void {
    if (this.#longestGap === undefined) return
    const excess = time - this.#last - this.#longestGap
    if (excess > 0n) this.cut += excess
    this.#last = time
  }

  /** Market time up to which rows are due. */
  dueAt(now: bigint): bigint {
    return this.first + this.cut + this.#inMarket(now - this.startedAt)
  }

  /** Real time from `now` until a row is due; below zero: so late it is. */
  until(time: bigint, now: bigint): bigint {
    const real = Number(time - this.first - this.cut) / this.#speed
    return this.startedAt + BigInt(Math.ceil(real)) - now
  }
}

class Player {
  readonly #options: ReplayOptions
  readonly #clock: Clock.Clock
  readonly #speed: number
  readonly #maxGap: Duration.Duration | undefined
  readonly #mark: <B extends MomentBatch>(batch: B) => B
  #pace: Pace | undefined
  #state: ReplayStatus["state"] = "waiting"
  #rows = 0n
  #batches = 0n
  #position: bigint | undefined
  #endedAt: bigint | undefined
  #behind = 0n
  #worstBehind = 0n
  #sumBehind = 0n

  constructor(options: ReplayOptions, clock: Clock.Clock) {
    this.#options = options
    this.#clock = clock
    this.#speed = options.speed === "max" ? 0 : options.speed
    this.#maxGap = options.maxGap === undefined ? undefined : Duration.fromInputUnsafe(options.maxGap)
    const mark: ReplayMark = { cause: "window", range: options.range, speed: this.#speed }
    this.#mark = replayMarker(mark)
  }

  readonly status = (): ReplayStatus => {
    const cut = this.#pace?.cut ?? 0n
    const since = this.#pace?.startedAt
    return {
      state: this.#state,
      rows: this.#rows,
      batches: this.#batches,
      position: this.#position,
      played:
        this.#pace === undefined || this.#position === undefined
          ? 0n
          : this.#position - this.#pace.first - cut,
      cut,
      elapsed: since === undefined ? 0n : (this.#endedAt ?? this.#now) - since,
      behind: this.#behind,
      worstBehind: this.#worstBehind,
      sumBehind: this.#sumBehind
    }
  }

  get #now(): bigint {
    return this.#clock.monotonicTimeNanosUnsafe()
  }

  readonly run: Effect.Effect<ReplayStatus, StoreError> = Effect.suspend(() => {
    const { batchRows, store } = this.#options
    this.#state = "playing"
    return readWindow(store, this.#options, batchRows).pipe(
      Stream.runForEach((batch) => this.#play(this.#mark(batch))),
      Effect.ensuring(
        Effect.sync(() => {
          this.#state = "ended"
          this.#endedAt = this.#now
        })
      ),
      Effect.map(() => this.status())
    )
  })

  #play(batch: MomentBatch): Effect.Effect<void> {
    if (batch.length === 0) return Effect.void
    const { time } = orderOf(batch)
    this.#pace ??= new Pace(this.#speed, this.#maxGap, this.#now, time[0]!)
    return this.#speed === 0 ? this.#publish(batch, time) : this.#playFrom(batch, time, 0)
  }

  /** Publishes what is due, waits for what is not. */
  #playFrom(batch: MomentBatch, time: BigInt64Array, row: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (row === batch.length) return Effect.void
      const pace = this.#pace!
      pace.meet(time[row]!)
      const now = this.#now
      const wait = pace.until(time[row]!, now)
      if (wait > 0n) return Effect.andThen(this.#sleep(wait), this.#playFrom(batch, time, row))
      this.#late(-wait)
      const end = this.#dueEnd(time, row, batch.length, now)
      const due = row === 0 && end === batch.length ? batch : batch.slice(row, end)
      return Effect.andThen(this.#publish(due, time.subarray(row, end)), this.#playFrom(batch, time, end))
    })
  }

  /** The row behind those that are due. Where silence may have to be cut, rows are looked at one after another. */
  #dueEnd(time: BigInt64Array, row: number, length: number, now: bigint): number {
    const pace = this.#pace!
    if (this.#maxGap === undefined) {
      const due = pace.dueAt(now)
      return firstBehind(row + 1, length, (i) => time[i]! > due)
    }
    let end = row + 1
    for (; end < length; end++) {
      pace.meet(time[end]!)
      if (time[end]! > pace.dueAt(now)) break
    }
    return end
  }

  #late(late: bigint): void {
    this.#behind = late
    this.#sumBehind += late
    if (late > this.#worstBehind) this.#worstBehind = late
  }

  #sleep(wait: bigint): Effect.Effect<void> {
    const grains = (wait + Grain - 1n) / Grain
    return Effect.sleep(Number((grains * Grain < LongestSleep ? grains * Grain : LongestSleep) / Grain))
  }

  #publish(batch: MomentBatch, time: BigInt64Array): Effect.Effect<void> {
    return Effect.map(this.#options.hub.publish({ _tag: "FeedRows", session: ReplaySession, batch }), () => {
      this.#rows += BigInt(batch.length)
      this.#batches += 1n
      this.#position = time[time.length - 1]!
    })
  }
}
