/** One session's way through an endless market: records from a row on, as bytes that are ready to be sent. */
import { type EndlessMarket, TRADE_WORDS } from "./EndlessMarket.ts"
import type { InstrumentFilter } from "./Selection.ts"

/** Records sent at a time, at most. */
const MaxRows = 1 << 12
/** A period that takes less is copied before it is sent: it would come round again while the socket still has it. */
const RoundBytes = 8 << 20

/** Trades of one stretch of the market. */
export interface EndlessStretch {
  readonly bytes: Uint8Array
  /** Records in the bytes: fewer than rows where not every instrument is asked for. */
  readonly records: number
  /** Rows of the market that it stands for. */
  readonly rows: number
}

/** A position in a market, with records of its own. */
export class EndlessFeed {
  readonly market: EndlessMarket
  /** The next row. */
  row: number
  readonly #words: Int32Array<ArrayBuffer>
  readonly #isShort: boolean
  /** Which records of the period are asked for; undefined: all. */
  #wanted: Uint8Array | undefined

  constructor(market: EndlessMarket, row: number) {
    this.market = market
    this.row = row
    this.#words = market.words.slice()
    this.#isShort = market.words.byteLength < RoundBytes
    this.#wanted = new Uint8Array(market.period)
  }

  /** Adds instruments to those that are asked for. */
  add(filter: InstrumentFilter): void {
    if (filter.isAll) this.#wanted = undefined
    if (this.#wanted === undefined) return
    const now = this.market.timeOf(this.row)
    for (let place = 0; place < this.market.period; place++)
      if (filter.accepts(this.#words[place * TRADE_WORDS + 1]!, now)) this.#wanted[place] = 1
  }

  /**
   * The next rows, at most so many. The bytes are sent from where they lie: they hold until the market comes round to them
   * again, a whole period later.
   */
  take(limit: number): EndlessStretch {
    const { market } = this
    const place = this.row % market.period
    const rows = Math.min(limit, MaxRows, market.period - place)
    market.stamp(this.#words, this.row, rows)
    this.row += rows
    const words = this.#words.subarray(place * TRADE_WORDS, (place + rows) * TRADE_WORDS)
    if (this.#wanted === undefined)
      return { bytes: bytesOf(this.#isShort ? words.slice() : words), records: rows, rows }
    return this.#select(words, place, rows)
  }

  #select(words: Int32Array<ArrayBuffer>, place: number, rows: number): EndlessStretch {
    const selected = new Int32Array(words.length)
    let at = 0
    for (let i = 0; i < rows; i++) {
      if (this.#wanted![place + i] === 0) continue
      selected.set(words.subarray(i * TRADE_WORDS, (i + 1) * TRADE_WORDS), at)
      at += TRADE_WORDS
    }
    return { bytes: bytesOf(selected.subarray(0, at)), records: at / TRADE_WORDS, rows }
  }
}

const bytesOf = (words: Int32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
