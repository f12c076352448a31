/**
 * Records that are left out before they become rows: repeated ones after a break, ones of a microsecond that began before
 * the session did, ones of symbols that nobody wants any more. Works on records, not on rows of batches, so that trade
 * keys count what is given and nothing else. A session that filters nothing does not pass through here.
 */
import { MarketSchema, UnixNanos } from "@data-manager/core"
import { RecordBlock } from "../dbn/RecordBlock.ts"
import { Rtype } from "../dbn/Rtype.ts"
import { ReplayFilter } from "./ReplayFilter.ts"
import { nanosOf, type SeenRows } from "./SeenRows.ts"
import type { MutedIds } from "./SubscriptionSet.ts"

/** Rows this much older than the session's start are no longer in flight when it starts. */
const IN_FLIGHT_NANOS = 60_000_000_000n

/** 'T' */
const TRADE = 0x54
const ABSENT_HIGH = 0x7fffffff

/** Rows of one schema that were left out behind others: times in which their instruments are not complete. */
export interface LeftOut {
  readonly code: number
  /** Vendor ids. */
  readonly ids: Set<number>
  /** From the first to the last of them, on the index clock, ns. */
  first: bigint
  last: bigint
}

interface RowRecord {
  readonly code: number
  /** Word of the index clock in the record. */
  readonly indexWord: number
  /** Word of the schema's clock in the record. */
  readonly timeWord: number
}

const rowRecord = (schema: MarketSchema.MarketSchema): RowRecord => ({
  code: MarketSchema.code(schema),
  indexWord: MarketSchema.kind(schema) === "bars" ? 2 : 8,
  timeWord: MarketSchema.clock(schema) === "ts_recv" ? 8 : 2
})

/** Record types that become rows. Of rtype 1 is what the session asked for: mbp-1 or tbbo. */
const rowRecords = (mbp1Schema: "mbp-1" | "tbbo"): ReadonlyArray<RowRecord | undefined> => {
  const table = new Array<RowRecord | undefined>(256).fill(undefined)
  table[Rtype.trade] = rowRecord("trades")
  table[Rtype.mbp1] = rowRecord(mbp1Schema)
  table[Rtype.mbp10] = rowRecord("mbp-10")
  table[Rtype.cmbp1] = rowRecord("cmbp-1")
  table[Rtype.tcbbo] = rowRecord("tcbbo")
  table[Rtype.bbo1s] = rowRecord("bbo-1s")
  table[Rtype.bbo1m] = rowRecord("bbo-1m")
  table[Rtype.cbbo1s] = rowRecord("cbbo-1s")
  table[Rtype.cbbo1m] = rowRecord("cbbo-1m")
  table[Rtype.ohlcv1s] = rowRecord("ohlcv-1s")
  table[Rtype.ohlcv1m] = rowRecord("ohlcv-1m")
  table[Rtype.ohlcv1h] = rowRecord("ohlcv-1h")
  table[Rtype.ohlcv1d] = rowRecord("ohlcv-1d")
  table[Rtype.ohlcvEod] = rowRecord("ohlcv-eod")
  return table
}

/** From which rows on an instrument that has just been subscribed is complete. */
interface Beginning {
  /** Gateway time of the subscription, ns, a whole microsecond; and its words. */
  readonly start: bigint
  readonly startLow: number
  readonly startHigh: number
  readonly codes: ReadonlySet<number>
  /** Instruments that gave rows before were subscribed before; false where the whole session is new. */
  readonly spareSeen: boolean
  /** Microsecond being left out by instrument and publisher, per schema; -1 once rows are taken. */
  readonly left: Map<number, Map<number, bigint>>
}

const none: ReadonlyArray<never> = []

/** What a session leaves out, at the moment. */
export class RecordFilter {
  readonly #seen: SeenRows
  readonly #table: ReadonlyArray<RowRecord | undefined>
  #replay: ReplayFilter | undefined
  #beginnings: Array<Beginning> = []
  /** Vendor ids nobody wants, by schema code. */
  #muted: ReadonlyMap<number, MutedIds> = new Map()
  #words: Int32Array<ArrayBuffer> = new Int32Array(0)
  /** Whether the session has given a row. */
  #hasKept = false
  #leftOut: Array<LeftOut> = []

  constructor(seen: SeenRows, mbp1Schema: "mbp-1" | "tbbo") {
    this.#seen = seen
    this.#table = rowRecords(mbp1Schema)
  }

  /** Whether anything is left out: only then `apply` has to be called. */
  get isActive(): boolean {
    return this.#replay !== undefined || this.#beginnings.length > 0 || this.#muted.size > 0
  }

  /** A new session begins, in which these schemas are sent again, from when on. */
  restart(replayed: ReadonlyMap<number, bigint>): void {
    this.#beginnings = []
    this.#hasKept = false
    this.#muted = new Map()
    const replay = new ReplayFilter(this.#seen, replayed)
    this.#replay = replay.isDone ? undefined : replay
  }

  /** The replay of a schema is over. */
  finishReplay(code: number): void {
    this.#replay?.finish(code)
    if (this.#replay?.isDone === true) this.#replay = undefined
  }

  /**
   * Schemas were subscribed at `start`, without replay: an instrument's first microsecond may have lost its beginning, and
   * trade keys count from that. It is left out where it began before `start`.
   */
  begin(start: bigint, codes: ReadonlySet<number>, spareSeen: boolean): void {
    const whole = UnixNanos.ceilMicros(start) * UnixNanos.PerMicro
    this.#beginnings.push({
      start: whole,
      startLow: Number(whole & 0xffffffffn),
      startHigh: Number(whole >> 32n),
      codes,
      spareSeen,
      left: new Map()
    })
  }

  /** Whatever was in flight at the start has arrived by now. */
  endBeginnings(): void {
    this.#beginnings = []
  }

  /** What was left out of beginnings since the last question, though other rows had come before: to be told as missing. */
  takeLeftOut(): ReadonlyArray<LeftOut> {
    if (this.#leftOut.length === 0) return none
    const leftOut = this.#leftOut
    this.#leftOut = []
    return leftOut
  }

  /** Vendor ids to leave out from now on, by schema code. */
  mute(ids: ReadonlyMap<number, MutedIds>): void {
    this.#muted = ids
  }

  /** The block without what is left out. Uses memory of the filter: valid until the next call. */
  apply(block: RecordBlock): RecordBlock {
    const { words, start, end } = block
    let run = start
    let to = 0
    let dropped = 0
    for (let p = start; p < end; ) {
      const next = p + (words[p]! & 0xff)
      if (!this.#keeps(words, p)) {
        to = this.#copy(words, run, p, to, end - start)
        run = next
        dropped += 1
      }
      p = next
    }
    if (this.#replay?.isDone === true) this.#replay = undefined
    if (dropped === 0) return block
    to = this.#copy(words, run, end, to, end - start)
    const kept = this.#words
    const bytes = new Uint8Array(kept.buffer)
    return new RecordBlock({
      ...block,
      bytes,
      words: kept,
      start: 0,
      end: to,
      length: block.length - dropped
    })
  }

  /** Moves records `[from, until)` behind the ones kept so far; `most` is what may become of all. */
  #copy(words: Int32Array, from: number, until: number, to: number, most: number): number {
    if (this.#words.length < most) this.#words = new Int32Array(most)
    this.#words.set(words.subarray(from, until), to)
    return to + until - from
  }

  #keeps(words: Int32Array, p: number): boolean {
    const head = words[p]!
    const row = this.#table[(head >>> 8) & 0xff]
    if (row === undefined) return true
    const low = words[p + row.timeWord]!
    const high = words[p + row.timeWord + 1]!
    // What gives no row is not counted either.
    if (high >>> 0 >= ABSENT_HIGH) return true
    if ((head & 0xff00) === 0 && (words[p + 7]! & 0xff) !== TRADE) return true
    const native = words[p + 1]! >>> 0
    const publisher = head >>> 16
    if (this.#muted.get(row.code)?.has(native) === true) return false
    if (this.#replay !== undefined && !this.#replay.isNew(native, publisher, row.code, low, high))
      return false
    for (const beginning of this.#beginnings)
      if (!this.#isWhole(beginning, row.code, native, publisher, low, high)) {
        if (this.#hasKept)
          this.#leave(row.code, native, nanosOf(words[p + row.indexWord]!, words[p + row.indexWord + 1]!))
        return false
      }
    this.#hasKept = true
    return true
  }

  #leave(code: number, native: number, time: bigint): void {
    const known = this.#leftOut.find((each) => each.code === code)
    if (known === undefined) {
      this.#leftOut.push({ code, ids: new Set([native]), first: time, last: time })
      return
    }
    known.ids.add(native)
    if (time < known.first) known.first = time
    if (time > known.last) known.last = time
  }

  /** Whether a row belongs to a microsecond that the stream has from its beginning. */
  #isWhole(
    beginning: Beginning,
    code: number,
    native: number,
    publisher: number,
    low: number,
    high: number
  ): boolean {
    // Rows since the start are whole: the usual case, decided by two words.
    const { startLow, startHigh } = beginning
    if (high > startHigh || (high === startHigh && low >>> 0 >= startLow)) return true
    if (!beginning.codes.has(code)) return true
    const key = native * 65536 + publisher
    const left = beginning.left.get(code) ?? new Map<number, bigint>()
    beginning.left.set(code, left)
    const micros = nanosOf(low, high) / 1000n
    const dropped = left.get(key)
    if (dropped === undefined) {
      const start = beginning.start
      const isInFlight = micros * 1000n < start && micros * 1000n > start - IN_FLIGHT_NANOS
      const isKnown = beginning.spareSeen && this.#seen.has(native, publisher, code)
      left.set(key, isInFlight && !isKnown ? micros : -1n)
      return !isInFlight || isKnown
    }
    if (dropped === micros) return false
    if (dropped !== -1n) left.set(key, -1n)
    return true
  }
}
