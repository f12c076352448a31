/**
 * Which symbols of a feed are silent for longer than they should be. It learns how each of them trades: in which hours of the UTC
 * week, and how long it is usually silent in each hour of the day. Pure, and cheap: typed arrays by instrument number, no
 * object per row.
 *
 * Time is counted while the feed as a whole brings rows and stands still while it does not: a closed market makes nobody
 * late. The usual silence is the mean of the silences, each weighted by its own length: what a look at a random
 * moment finds. Of bursts that are minutes apart it is the minutes, not the microseconds.
 */
import type { InstrumentId } from "./Instrument.ts"

/** How silence is judged. */
export interface FreshnessOptions {
  /** Shorter silences are none; also how long a feed may be silent before its clock stands still. Milliseconds. */
  readonly quietMillis: number
  /** A symbol is stale when it is silent for so many times its usual silence; default 10. */
  readonly factor?: number | undefined
}

/** A symbol that is silent for too long. */
export interface StaleInstrument {
  readonly instrument: InstrumentId
  /** How long it has been silent, and how long it usually is, in milliseconds of the feed's own clock. */
  readonly silentMillis: number
  readonly usualMillis: number
}

/** Whether rows are expected in an hour of the week. "unknown": neither this one nor one like it was watched before. */
export type Expectation = "open" | "closed" | "unknown"

const HourMillis = 3_600_000
const DayMillis = 24 * HourMillis
const DaysPerWeek = 7

const HoursPerDay = 24

/** What is learned of an hour of the day is that of its last times. */
const MemoryMillis = 6 * HourMillis

/** A symbol is judged in an hour of which so many times the silence was watched that it may have. */
const Evidence = 5

/** An hour counts as watched when it was so from its first minutes on. */
const HourBegins = 5 * 60_000

/** Sunday is 0. */
const dayOf = (now: number): number => (Math.floor(now / DayMillis) + 4) % DaysPerWeek
const hourOf = (now: number): number => Math.floor(now / HourMillis) % 24

/**
 * Days whose hours are alike: Monday to Thursday, and Friday until its evening. Markets that trade around the clock end their
 * week on Friday evening and begin it on Sunday.
 */
const isUsualDay = (day: number, hour: number): boolean => (day >= 1 && day <= 4) || (day === 5 && hour < 20)

/** Hours as a bit each, a word per day; `offset` is the first word. */
const expectation = (
  traded: Uint32Array,
  offset: number,
  watched: Uint32Array,
  day: number,
  hour: number
): Expectation => {
  const bit = 1 << hour
  if ((traded[offset + day]! & bit) !== 0) return "open"
  if ((watched[day]! & bit) !== 0) return "closed"
  if (!isUsualDay(day, hour)) return "unknown"
  let isWatched = false
  for (let other = 1; other <= 5; other++) {
    if (!isUsualDay(other, hour)) continue
    if ((traded[offset + other]! & bit) !== 0) return "open"
    isWatched ||= (watched[other]! & bit) !== 0
  }
  return isWatched ? "closed" : "unknown"
}

/** The rows of a batch that freshness looks at. */
export interface FreshRows {
  readonly instrument: Uint32Array
  /** Times of the rows on the index clock of the feed, two words each, low first. */
  readonly times: Int32Array
  readonly length: number
}

/** What is learned, to be kept over a restart. Arrays are views: copy them. */
export interface FreshnessMemory {
  /** Usual silence, and the time over which it was learned, ms: by instrument number, 24 hours of the day each. */
  readonly usual: Float32Array
  readonly observed: Float32Array
  /** Hours in which it traded, by instrument number: seven words each. */
  readonly traded: Uint32Array
  /** Hours in which anything of the feed traded, and such as were watched. */
  readonly feedTraded: Uint32Array
  readonly watched: Uint32Array
}

/** One feed: everything of one provider, dataset and schema. Times are milliseconds since the epoch, rising. */
export class Freshness {
  readonly #quiet: number
  readonly #factor: number
  /** The feed's clock, and when it was advanced last. */
  #clock = 0
  #lastRows: number | undefined
  readonly #feedTraded = new Uint32Array(DaysPerWeek)
  readonly #watched = new Uint32Array(DaysPerWeek)
  #watchedHour: { readonly hour: number; readonly isWhole: boolean } | undefined
  #isFeedStale = false
  #size = 0
  /** By instrument number. Times of the feed's clock; the last row's is -1 before the first one. */
  #last = new Float64Array(0)
  /** Hour of the day of the last row. */
  #lastHour = new Uint8Array(0)
  #usual = new Float32Array(0)
  #observed = new Float32Array(0)
  #times = new Int32Array(0)
  #traded = new Uint32Array(0)
  #stale = new Uint8Array(0)

  constructor({ factor = 10, quietMillis }: FreshnessOptions) {
    this.#quiet = quietMillis
    this.#factor = factor
  }

  /** Rows came. Costs some nanoseconds a row. */
  add({ instrument, length, times }: FreshRows, now: number): void {
    if (length === 0) return
    this.#advance(now)
    const [day, hour] = [dayOf(now), hourOf(now)]
    const bit = 1 << hour
    this.#feedTraded[day]! |= bit
    const at = this.#clock
    for (let row = 0; row < length; row++) {
      const id = instrument[row]!
      if (id >= this.#size) this.#grow(id)
      this.#times[2 * id] = times[2 * row]!
      this.#times[2 * id + 1] = times[2 * row + 1]!
      const before = this.#last[id]!
      if (before === at) continue
      this.#last[id] = at
      this.#stale[id] = 0
      this.#traded[DaysPerWeek * id + day]! |= bit
      if (before >= 0) this.#learn(id, hour, at - before)
      this.#lastHour[id] = hour
    }
  }

  /** A silence has ended: it counts for each hour that it was in. */
  #learn(id: number, hour: number, silence: number): void {
    for (let each = this.#lastHour[id]!; ; each = (each + 1) % HoursPerDay) {
      const place = HoursPerDay * id + each
      const observed = Math.min(this.#observed[place]! + silence, MemoryMillis)
      this.#observed[place] = observed
      this.#usual[place]! += (silence / observed) * (silence - this.#usual[place]!)
      if (each === hour) return
    }
  }

  /** The feed's clock goes on while rows come, and for a moment after them. */
  #advance(now: number): void {
    if (this.#lastRows !== undefined) this.#clock += Math.max(0, Math.min(now - this.#lastRows, this.#quiet))
    this.#lastRows = this.#lastRows === undefined ? now : Math.max(now, this.#lastRows)
    this.#isFeedStale = false
  }

  #grow(id: number): void {
    const size = Math.max(64, 2 ** Math.ceil(Math.log2(id + 1)))
    const last = new Float64Array(size).fill(-1)
    last.set(this.#last)
    this.#last = last
    this.#lastHour = resized(this.#lastHour, new Uint8Array(size))
    this.#usual = resized(this.#usual, new Float32Array(HoursPerDay * size))
    this.#observed = resized(this.#observed, new Float32Array(HoursPerDay * size))
    this.#times = resized(this.#times, new Int32Array(2 * size))
    this.#traded = resized(this.#traded, new Uint32Array(DaysPerWeek * size))
    this.#stale = resized(this.#stale, new Uint8Array(size))
    this.#size = size
  }

  /** An instrument is collected no longer. */
  forget(id: InstrumentId): void {
    if (id >= this.#size) return
    this.#last[id] = -1
    this.#stale[id] = 0
    this.#usual.fill(0, HoursPerDay * id, HoursPerDay * (id + 1))
    this.#observed.fill(0, HoursPerDay * id, HoursPerDay * (id + 1))
    this.#traded.fill(0, DaysPerWeek * id, DaysPerWeek * (id + 1))
  }

  /** Instruments that have had rows. */
  known(): ReadonlyArray<InstrumentId> {
    const ids: Array<InstrumentId> = []
    for (let id = 0; id < this.#size; id++) if (this.#last[id]! >= 0) ids.push(id)
    return ids
  }

  /** Time of the last row of an instrument on the index clock, ns; undefined where there was none with a time. */
  lastTime(id: InstrumentId): bigint | undefined {
    if (id >= this.#size || this.#last[id]! < 0) return undefined
    const [low, high] = [this.#times[2 * id]!, this.#times[2 * id + 1]!]
    // The largest number means absent, also on the wire.
    return high === 0x7fffffff ? undefined : (BigInt(high) << 32n) | BigInt(low >>> 0)
  }

  /**
   * Looks at all symbols: those that are stale now. One that was found stale stays so until a row of it comes, its silence is
   * not long for the hour, or the hour is one in which it is known not to trade; while the feed as a whole is silent nothing changes.
   */
  check(now: number): ReadonlyArray<StaleInstrument> {
    this.#watch(now)
    const isActive = this.#lastRows !== undefined && now - this.#lastRows < this.#quiet
    const at = this.#clock + (isActive ? now - this.#lastRows! : 0)
    const [day, hour] = [dayOf(now), hourOf(now)]
    const found: Array<StaleInstrument> = []
    for (let id = 0; id < this.#size; id++) {
      if (this.#last[id]! < 0) continue
      if (isActive) this.#stale[id] = this.#isStale(id, at, day, hour) ? 1 : 0
      if (this.#stale[id] === 0) continue
      found.push({ instrument: id, silentMillis: at - this.#last[id]!, usualMillis: this.#usualOf(id, hour) })
    }
    return found
  }

  /** In the hour that it is, and in that in which the silence began: the longer one. */
  #usualOf(id: number, hour: number): number {
    const place = HoursPerDay * id
    return Math.max(this.#usual[place + hour]!, this.#usual[place + this.#lastHour[id]!]!)
  }

  #isStale(id: number, at: number, day: number, hour: number): boolean {
    const limit = Math.max(this.#quiet, this.#factor * this.#usualOf(id, hour))
    if (at - this.#last[id]! <= limit) return false
    const expected = expectation(this.#traded, DaysPerWeek * id, this.#watched, day, hour)
    if (expected === "closed") return false
    const isKnown = expected === "open" && this.#observed[HoursPerDay * id + hour]! >= Evidence * limit
    return isKnown || this.#stale[id] === 1
  }

  /** Whether the silence of the whole feed is no cause for concern: it does not trade at this hour. */
  isQuietTime(now: number): boolean {
    const expected = this.expected(now)
    // Where nothing was ever learned silence is suspect: it may be a connection that brings nothing.
    if (expected === "unknown") return this.#feedTraded.some((hours) => hours !== 0) && !this.#isFeedStale
    return expected === "closed"
  }

  /** Whether rows of the feed are expected now. */
  expected(now: number): Expectation {
    return expectation(this.#feedTraded, 0, this.#watched, dayOf(now), hourOf(now))
  }

  /** An hour that has passed under this watch is known from then on; and a feed that falls silent is noticed. */
  #watch(now: number): void {
    const hour = Math.floor(now / HourMillis)
    const before = this.#watchedHour
    if (before?.hour !== hour) {
      if (before?.isWhole === true && before.hour === hour - 1) {
        const passed = before.hour * HourMillis
        this.#watched[dayOf(passed)]! |= 1 << hourOf(passed)
      }
      this.#watchedHour = { hour, isWhole: now - hour * HourMillis < HourBegins }
    }
    const isSilent = this.#lastRows !== undefined && now - this.#lastRows > this.#quiet
    const expected = this.expected(now)
    if (expected === "closed") this.#isFeedStale = false
    if (isSilent && expected === "open") this.#isFeedStale = true
  }

  /** What is learned by now. */
  memory(): FreshnessMemory {
    return {
      usual: this.#usual,
      observed: this.#observed,
      traded: this.#traded,
      feedTraded: this.#feedTraded,
      watched: this.#watched
    }
  }

  /** Puts back what an earlier process has learned; before the first rows. */
  remember({ feedTraded, observed, traded, usual, watched }: FreshnessMemory): void {
    if (usual.length > 0) this.#grow(usual.length / HoursPerDay - 1)
    this.#usual.set(usual)
    this.#observed.set(observed)
    this.#traded.set(traded)
    this.#feedTraded.set(feedTraded)
    this.#watched.set(watched)
  }
}

const resized = <A extends Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array>(
  from: A,
  to: A
): A => {
  to.set(from as never)
  return to
}
