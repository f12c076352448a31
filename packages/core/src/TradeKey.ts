/**
 * The i64 that, beside instrument and time in microseconds, identifies a row.
 *
 *     63        48 47              16 15          0
 *     | publisher | sequence (u32)   | ordinal     |     publisher: 15 bits, so the key is never negative
 *
 * Venues whose ids are unique integers per instrument use those ids as they are. Where several rows share one
 * sequence (Databento), the ordinal counts the rows of one group: equal instrument, publisher, event time truncated to
 * microseconds, and sequence, in source order. A text id becomes a 47-bit hash and an ordinal, the text kept beside it.
 * Ordinals are right only from the start of a group on: a source is trusted from its first whole group.
 */

/** What a key is made of, so that a trade id can be shown again. */
export type TradeKeyKind = "sequenced" | "venue-id" | "text-hash"

/** Largest publisher, and largest number of rows in one group minus one. */
export const MaxPublisher = 0x7fff
export const MaxOrdinal = 0xffff

/** More than 65,536 rows in one group, or a publisher beyond 15 bits: the key cannot tell them apart. */
export class TradeKeyError extends Error {
  override readonly name = "TradeKeyError"
}

/** The key of publisher (0..32767), sequence (u32) and ordinal (0..65535). */
export const make = (publisher: number, sequence: number, ordinal: number): bigint => {
  check(publisher, ordinal)
  return (BigInt(publisher) << 48n) | (BigInt(sequence >>> 0) << 16n) | BigInt(ordinal)
}

/** Throws where publisher or ordinal does not fit. */
export const check = (publisher: number, ordinal: number): void => {
  if (publisher > MaxPublisher)
    throw new TradeKeyError(`publisher ${publisher} is beyond ${MaxPublisher}: it does not fit a trade key`)
  if (ordinal > MaxOrdinal)
    throw new TradeKeyError(
      `more than ${MaxOrdinal + 1} rows share instrument, publisher, microsecond and sequence: they cannot be told apart`
    )
}

/** Low 32-bit word of a sequenced key. */
export const lowWord = (sequence: number, ordinal: number): number => (sequence << 16) | ordinal
/** High 32-bit word of a sequenced key. */
export const highWord = (publisher: number, sequence: number): number => (publisher << 16) | (sequence >>> 16)

/** Publisher of a sequenced key. */
export const publisher = (key: bigint): number => Number((key >> 48n) & 0x7fffn)
/** Sequence of a sequenced key. */
export const sequence = (key: bigint): number => Number((key >> 16n) & 0xffffffffn)
/** Ordinal of a sequenced key. */
export const ordinal = (key: bigint): number => Number(key & 0xffffn)

/** The id shown to people: the venue's number, or sequence and `.ordinal` where the ordinal is not 0. */
export const text = (kind: TradeKeyKind, key: bigint): string => {
  if (kind !== "sequenced") return key.toString()
  const rest = ordinal(key)
  return rest === 0 ? sequence(key).toString() : `${sequence(key)}.${rest}`
}

/**
 * Counts ordinals as rows pass in source order.
 *
 * Per instrument and publisher it remembers the microsecond of the last row and every sequence seen in it; a row of
 * another microsecond starts afresh. The usual row (another microsecond, or a new sequence in an empty one) costs one
 * hash probe and no allocation. Not for use by two streams at once.
 */
export class OrdinalCounter {
  #size = 0
  /** 32 minus the number of bits that select an entry. */
  #shift = 32 - FIRST_BITS
  /**
   * One entry of eight words per instrument and publisher, so that a probe touches one cache line: instrument,
   * publisher + 1 (0 where free), low and high word of the time, first sequence of its microsecond, 0 while one row came in
   * it and otherwise 1 + the number of further sequences, the entry's region for those (0 where it never needed one),
   * ordinal of the first sequence.
   */
  #entries = new Int32Array(ENTRY_WORDS << FIRST_BITS)
  /** Regions of `REGION_PAIRS` pairs of sequence and ordinal. An entry keeps the one it has. Region 0 stays unused. */
  #regions = new Int32Array(64 * REGION_WORDS)
  #nextRegion = REGION_WORDS
  /** Pairs beyond those of a region, by region: microseconds of nine and more sequences. */
  readonly #more = new Map<number, Map<number, number>>()

  /**
   * The ordinal of the next row: `timeLow`/`timeHigh` are the 32-bit words of its event time in nanoseconds.
   * Throws `TradeKeyError` past 65,535.
   */
  next(instrument: number, publisher: number, timeLow: number, timeHigh: number, sequence: number): number {
    const entries = this.#entries
    const id = instrument | 0
    const tag = publisher + 1
    let at = slotOf(id, publisher, this.#shift) * ENTRY_WORDS
    while (entries[at] !== id || entries[at + 1] !== tag) {
      if (entries[at + 1] === 0) return this.#open(at, id, publisher, timeLow, timeHigh, sequence)
      at = (at + ENTRY_WORDS) & (entries.length - 1)
    }
    // Times less than a microsecond apart differ by as little in their low words, whatever their high words are.
    const step = (timeLow - entries[at + 2]!) | 0
    if (step < 1000 && step > -1000 && sameMicrosecond(entries[at + 2]!, entries[at + 3]!, timeLow, timeHigh))
      return this.#within(at, publisher, sequence | 0)
    entries[at + 2] = timeLow
    entries[at + 3] = timeHigh
    entries[at + 4] = sequence
    if (entries[at + 5] !== 0) {
      if (entries[at + 5]! > REGION_PAIRS) this.#more.delete(entries[at + 6]!)
      entries[at + 5] = 0
      entries[at + 7] = 0
    }
    return 0
  }

  /**
   * Keys of rows `[from, to)`, for loops over whole batches: the low words of `key` hold the rows' sequences and are
   * replaced, with the high words, by keys. The columns are those of a batch under construction, `time` and `key` as 32-bit
   * words. The same as a `next` per row, without a call for most of them. Throws `TradeKeyError` as `next` does.
   */
  fill(
    instrument: Uint32Array,
    publisher: Uint16Array,
    time: Int32Array,
    key: Int32Array,
    from: number,
    to: number
  ): void {
    for (let row = from; ; row++) {
      row = this.#fillRun(instrument, publisher, time, key, row, to)
      if (row >= to) return
      const j = row * 2
      const source = publisher[row]!
      const sequence = key[j]!
      const ordinal = this.next(instrument[row]!, source, time[j]!, time[j + 1]!, sequence)
      key[j] = lowWord(sequence, ordinal)
      key[j + 1] = highWord(source, sequence)
    }
  }

  /**
   * Keys of rows that each begin a microsecond of an instrument already known: nearly all. Returns the first other row.
   * A loop of its own, so that nothing in it can change the table that it looks into.
   */
  #fillRun(
    instrument: Uint32Array,
    publisher: Uint16Array,
    time: Int32Array,
    key: Int32Array,
    from: number,
    to: number
  ): number {
    const entries = this.#entries
    const shift = this.#shift
    let row = from
    for (; row < to; row++) {
      const j = row * 2
      const id = instrument[row]! | 0
      const source = publisher[row]!
      const at = slotOf(id, source, shift) * ENTRY_WORDS
      if (entries[at] !== id || entries[at + 1] !== source + 1) break
      const low = time[j]!
      const step = (low - entries[at + 2]!) | 0
      if (step < 1000 && step > -1000) break
      const further = entries[at + 5]!
      if (further !== 0) {
        if (further > REGION_PAIRS) break
        entries[at + 5] = 0
        entries[at + 7] = 0
      }
      const sequence = key[j]!
      entries[at + 2] = low
      entries[at + 3] = time[j + 1]!
      entries[at + 4] = sequence
      key[j] = sequence << 16
      key[j + 1] = (source << 16) | (sequence >>> 16)
    }
    return row
  }

  /** A further row of the microsecond that the entry is in. */
  #within(at: number, publisher: number, sequence: number): number {
    const entries = this.#entries
    if (entries[at + 5] === 0) entries[at + 5] = 1
    if (entries[at + 4] === sequence) return increment(entries, at + 7, publisher)
    if (entries[at + 6] === 0) this.#openRegion(at)
    const region = entries[at + 6]!
    const count = entries[at + 5]! - 1
    const end = region + 2 * count
    for (let pair = region; pair < end; pair += 2)
      if (this.#regions[pair] === sequence) return increment(this.#regions, pair + 1, publisher)
    if (count === REGION_PAIRS) return this.#beyond(region, publisher, sequence)
    this.#regions[end] = sequence
    this.#regions[end + 1] = 0
    entries[at + 5] = count + 2
    return 0
  }

  #openRegion(at: number): void {
    this.#entries[at + 6] = this.#nextRegion
    this.#nextRegion += REGION_WORDS
    if (this.#nextRegion < this.#regions.length) return
    const grown = new Int32Array(this.#regions.length * 2)
    grown.set(this.#regions)
    this.#regions = grown
  }

  /** A row whose sequence found no room in its full region. */
  #beyond(region: number, publisher: number, sequence: number): number {
    const more = this.#more.get(region) ?? new Map<number, number>()
    const before = more.get(sequence)
    const ordinal = before === undefined ? 0 : before + 1
    check(publisher, ordinal)
    this.#more.set(region, more.set(sequence, ordinal))
    return ordinal
  }

  #open(at: number, id: number, publisher: number, low: number, high: number, sequence: number): number {
    if (publisher > MaxPublisher) check(publisher, 0)
    let free = at
    if (this.#size * 2 * ENTRY_WORDS >= this.#entries.length) {
      this.#grow()
      free = this.#free(id, publisher)
    }
    this.#size += 1
    const entries = this.#entries
    entries[free] = id
    entries[free + 1] = publisher + 1
    entries[free + 2] = low
    entries[free + 3] = high
    entries[free + 4] = sequence
    return 0
  }

  /** Position of the free entry where one that is not there yet belongs. */
  #free(id: number, publisher: number): number {
    let at = slotOf(id, publisher, this.#shift) * ENTRY_WORDS
    while (this.#entries[at + 1] !== 0) at = (at + ENTRY_WORDS) & (this.#entries.length - 1)
    return at
  }

  #grow(): void {
    const old = this.#entries
    this.#shift -= 1
    this.#entries = new Int32Array(old.length * 2)
    for (let from = 0; from < old.length; from += ENTRY_WORDS)
      if (old[from + 1] !== 0)
        this.#entries.set(old.subarray(from, from + ENTRY_WORDS), this.#free(old[from]!, old[from + 1]! - 1))
  }
}

const FIRST_BITS = 10
const ENTRY_WORDS = 8
const REGION_WORDS = 16
const REGION_PAIRS = 8

const increment = (counts: Int32Array, at: number, publisher: number): number => {
  const ordinal = counts[at]! + 1
  if (ordinal > MaxOrdinal) check(publisher, ordinal)
  counts[at] = ordinal
  return ordinal
}

/**
 * Where probing starts: the topmost bits of a product with 2^32 over the golden ratio, which all bits of the id reach.
 * Venues number instruments in steps of 2^n, too.
 */
const slotOf = (instrument: number, publisher: number, shift: number): number =>
  Math.imul(instrument + Math.imul(publisher, 0x85ebca6b), 0x9e3779b1) >>> shift

/** Whether two times, as 32-bit words of i64 nanoseconds, fall into one microsecond. */
const sameMicrosecond = (aLow: number, aHigh: number, bLow: number, bHigh: number): boolean => {
  const difference = (bHigh - aHigh) * 4294967296 + ((bLow >>> 0) - (aLow >>> 0))
  if (difference >= 1000 || difference <= -1000) return false
  // 2^32 = 296 modulo 1000; all intermediate values are exact.
  const rest = ((aHigh % 1000) * 296 + (aLow >>> 0)) % 1000
  const moved = (rest < 0 ? rest + 1000 : rest) + difference
  return moved >= 0 && moved < 1000
}
