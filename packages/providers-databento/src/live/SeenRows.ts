/**
 * Which rows a live stream has given, by schema, publisher and instrument: what is needed to go on after a break without
 * loss or repeat, and, in the same entry, the instrument of the registry. So one look per row does both.
 *
 * An entry of eight words, found by open addressing, one cache line at most:
 *
 *     0 the vendor's instrument id          4 ... high word
 *     1 publisher | schema code << 16       5 rows with exactly that time
 *     2 instrument, -1 where not known      6 rows after the last of those that are older than it
 *     3 newest time, low word               7 microseconds from the oldest of these to the newest time
 *
 * The time is that of the schema's clock. Rows of one entry come in the order of the venue, so a repeated transmission
 * passes the same rows in the same order: everything up to the last row with the newest time, and then the older ones.
 */
import { type MarketBatch, MarketSchema } from "@data-manager/core"
import { dayOfWords } from "../dbn/IsoDate.ts"

export const ENTRY_WORDS = 8
const FIRST_BITS = 8
const UNKNOWN = -1
/** High word of a time before every other. */
const NEVER = -2147483648

/** Whether the rows of a schema code are ordered by ts_recv (sampled quotes) and not by ts_event. */
const isByReceive: ReadonlyArray<boolean> = Array.from({ length: 256 }, (_, code) => {
  const schema = MarketSchema.fromCode(code)
  return schema !== undefined && MarketSchema.clock(schema) === "ts_recv"
})

/** Schema code of provider bars by their length in seconds; 0 for session bars. */
const barCodes: ReadonlyMap<number, number> = new Map(
  MarketSchema.all
    .filter((schema) => MarketSchema.kind(schema) === "bars")
    .map((schema) => [MarketSchema.seconds(schema), MarketSchema.code(schema)])
)

/** Where probing for an instrument and tag starts. */
export const slotOf = (native: number, tag: number, shift: number): number =>
  Math.imul(native + Math.imul(tag, 0x85ebca6b), 0x9e3779b1) >>> shift

/** A time of two words. */
export const nanosOf = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0)

/** What was given of one schema. */
export interface SeenTimes {
  /** From here on every instrument's rows have to be sent again to find those that were not given. */
  readonly lowest: bigint
  /** Newest time of all. */
  readonly newest: bigint
}

/** Looks up an instrument that is not in the table yet. */
export type FindInstrument = (nativeId: number, day: number) => number | undefined

/** The rows given so far. */
export class SeenRows {
  #entries = new Int32Array(ENTRY_WORDS << FIRST_BITS)
  #shift = 32 - FIRST_BITS
  #size = 0
  /** UTC day that the instruments in the entries are of. */
  #day = Number.NaN

  /** Whether a row of this instrument was given. */
  has(native: number, publisher: number, code: number): boolean {
    const at = this.#find(native | 0, publisher | (code << 16))
    return this.#entries[at + 1] !== 0 && this.#entries[at + 4] !== NEVER
  }

  /** Counts the rows of a batch whose instrument column holds the vendor's ids. */
  count(batch: MarketBatch): void {
    this.#each(batch, undefined, [])
  }

  /**
   * Counts the rows and replaces the vendor's ids by instruments. Gives the rows whose instrument is not known, which keep
   * the vendor's id; undefined, with nothing done, where the rows are of more than one UTC day, or some lack the time that
   * says of which.
   */
  assign(batch: MarketBatch, find: FindInstrument): Array<number> | undefined {
    const day = dayOfAll(batch._tag === "BarBatch" ? batch.words.tsEvent : batch.words.tsRecv, batch.length)
    if (day === undefined) return undefined
    if (day !== this.#day) this.forgetInstruments()
    this.#day = day
    const unknown: Array<number> = []
    this.#each(batch, find, unknown)
    return unknown
  }

  /** Looks every instrument up again: a mapping has changed. */
  forgetInstruments(): void {
    for (let at = 2; at < this.#entries.length; at += ENTRY_WORDS) this.#entries[at] = UNKNOWN
  }

  /** What was given of a schema; undefined where nothing was. */
  timesOf(code: number): SeenTimes | undefined {
    let lowest: bigint | undefined
    let newest: bigint | undefined
    const entries = this.#entries
    for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
      if (entries[at + 1]! >>> 16 !== code || entries[at + 4] === NEVER) continue
      const time = nanosOf(entries[at + 3]!, entries[at + 4]!)
      const first = lateFrom(entries, at) ?? time
      if (lowest === undefined || first < lowest) lowest = first
      if (newest === undefined || time > newest) newest = time
    }
    return lowest === undefined || newest === undefined ? undefined : { lowest, newest }
  }

  /** A copy of the entries, for `ReplayFilter`. */
  snapshot(): { readonly entries: Int32Array; readonly shift: number } {
    return { entries: this.#entries.slice(), shift: this.#shift }
  }

  /** Splits a batch where its rows change schema, and goes through the parts. */
  #each(batch: MarketBatch, find: FindInstrument | undefined, unknown: Array<number>): void {
    if (batch._tag === "TradeBatch") {
      this.#run(batch, batch.words.tsEvent, TRADES, 0, batch.length, find, unknown)
      return
    }
    if (batch._tag === "BarBatch") {
      const { seconds } = batch.columns
      for (let from = 0, to = 0; from < batch.length; from = to) {
        while (to < batch.length && seconds[to] === seconds[from]) to++
        const code = barCodes.get(seconds[from]!)!
        this.#run(batch, batch.words.tsEvent, code, from, to, find, unknown)
      }
      return
    }
    const { schema } = batch.columns
    for (let from = 0, to = 0; from < batch.length; from = to) {
      while (to < batch.length && schema[to] === schema[from]) to++
      const code = schema[from]!
      const times = isByReceive[code] === true ? batch.words.tsRecv : batch.words.tsEvent
      this.#run(batch, times, code, from, to, find, unknown)
    }
  }

  /** Rows `[from, to)`, all of one schema. */
  #run(
    batch: MarketBatch,
    times: Int32Array,
    code: number,
    from: number,
    to: number,
    find: FindInstrument | undefined,
    unknown: Array<number>
  ): void {
    const { instrument, publisher } = batch.columns
    const schema = code << 16
    for (let row = from; row < to; row++) {
      if (find !== undefined) {
        row = usualRows(this.#entries, this.#shift, schema, instrument, publisher, times, row, to)
        if (row === to) return
      }
      const native = instrument[row]! | 0
      const at = this.#entry(native, publisher[row]! | schema)
      const entries = this.#entries
      seen(entries, at, times[2 * row]!, times[2 * row + 1]!)
      if (find === undefined) continue
      if (entries[at + 2] === UNKNOWN) entries[at + 2] = find(native >>> 0, this.#day) ?? UNKNOWN
      if (entries[at + 2] === UNKNOWN) unknown.push(row)
      else instrument[row] = entries[at + 2]!
    }
  }

  /** Position of the entry, made where there is none. */
  #entry(native: number, tag: number): number {
    const at = this.#find(native, tag)
    return this.#entries[at + 1] === 0 ? this.#open(native, tag) : at
  }

  /** Position of the entry, or of the free one where it belongs. */
  #find(native: number, tag: number): number {
    const entries = this.#entries
    let at = slotOf(native, tag, this.#shift) * ENTRY_WORDS
    while (entries[at + 1] !== 0 && (entries[at] !== native || entries[at + 1] !== tag))
      at = (at + ENTRY_WORDS) & (entries.length - 1)
    return at
  }

  #open(native: number, tag: number): number {
    if (this.#size * 2 * ENTRY_WORDS >= this.#entries.length) this.#grow()
    this.#size += 1
    const at = this.#find(native, tag)
    this.#entries[at] = native
    this.#entries[at + 1] = tag
    this.#entries[at + 2] = UNKNOWN
    this.#entries[at + 4] = NEVER
    return at
  }

  #grow(): void {
    const old = this.#entries
    this.#shift -= 1
    this.#entries = new Int32Array(old.length * 2)
    for (let from = 0; from < old.length; from += ENTRY_WORDS)
      if (old[from + 1] !== 0)
        this.#entries.set(old.subarray(from, from + ENTRY_WORDS), this.#find(old[from]!, old[from + 1]!))
  }
}

const TRADES = MarketSchema.code("trades")

/**
 * Rows from `row` on whose instrument is known and whose time is the newest one or later: nearly all. Replaces their ids
 * and gives the first other row. A loop of its own, so that nothing in it can change the table that it looks into.
 */
const usualRows = (
  entries: Int32Array,
  shift: number,
  schema: number,
  instrument: Uint32Array,
  publisher: Uint16Array,
  times: Int32Array,
  from: number,
  to: number
): number => {
  let row = from
  for (; row < to; row++) {
    const native = instrument[row]! | 0
    const tag = publisher[row]! | schema
    let at = slotOf(native, tag, shift) * 8
    while (entries[at] !== native || entries[at + 1] !== tag) {
      if (entries[at + 1] === 0) return row
      at = (at + 8) & (entries.length - 1)
    }
    const known = entries[at + 2]!
    if (known === -1) break
    const low = times[2 * row]!
    const high = times[2 * row + 1]!
    const newestHigh = entries[at + 4]!
    if (high === newestHigh) {
      const newestLow = entries[at + 3]!
      if (low >>> 0 > newestLow >>> 0) {
        entries[at + 3] = low
        entries[at + 5] = 1
      } else if (low === newestLow) entries[at + 5]! += 1
      else break
    } else if (high > newestHigh) {
      entries[at + 3] = low
      entries[at + 4] = high
      entries[at + 5] = 1
    } else break
    entries[at + 6] = 0
    instrument[row] = known
  }
  return row
}

/** Counts one row of an entry. */
const seen = (entries: Int32Array, at: number, low: number, high: number): void => {
  const newestHigh = entries[at + 4]!
  const newestLow = entries[at + 3]!
  if (high === newestHigh && low === newestLow) {
    entries[at + 5]! += 1
    entries[at + 6] = 0
  } else if (high > newestHigh || (high === newestHigh && low >>> 0 > newestLow >>> 0)) {
    entries[at + 3] = low
    entries[at + 4] = high
    entries[at + 5] = 1
    entries[at + 6] = 0
  } else {
    const back = microOf(newestLow, newestHigh) - microOf(low, high)
    const before = entries[at + 6] === 0 ? 0 : entries[at + 7]!
    entries[at + 7] = Math.max(before, back < MAX_BACK ? Number(back) : Number(MAX_BACK))
    entries[at + 6]! += 1
  }
}

/** Microseconds of about half an hour: rows that lie further back are not told apart. */
const MAX_BACK = 0x7fffffffn

const microOf = (low: number, high: number): bigint => nanosOf(low, high) / 1000n

/** The microsecond of the oldest row behind the newest time, in ns; undefined where no row came behind it. */
export const lateFrom = (entries: Int32Array, at: number): bigint | undefined => {
  if (entries[at + 6] === 0) return undefined
  const back = BigInt(entries[at + 7]!)
  return back === MAX_BACK ? 0n : (microOf(entries[at + 3]!, entries[at + 4]!) - back) * 1000n
}

/**
 * The UTC day of all times; undefined where they may be of several days. Decided by their high words alone (4.3 s each), so
 * a few seconds around midnight count as undecided; an absent time is centuries away from every other.
 */
const dayOfAll = (times: Int32Array, length: number): number | undefined => {
  if (length === 0) return undefined
  let least = times[1]!
  let most = least
  for (let at = 1; at < 2 * length; at += 2) {
    const high = times[at]!
    if (high < least) least = high
    else if (high > most) most = high
  }
  const day = dayOfWords(0, least)
  return least >= 0 && dayOfWords(-1, most) === day ? day : undefined
}
