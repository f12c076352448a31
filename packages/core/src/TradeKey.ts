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
  #mask = FIRST_CAPACITY - 1
  /**
   * One entry of eight words per instrument and publisher, so that a probe touches one cache line: instrument,
   * publisher + 1 (0 where free), low and high word of the time, first sequence of its microsecond and its ordinal, number
   * of the entry's region of further sequences (0 where it never needed one), how many of those there are.
   */
  #entries = new Int32Array(FIRST_CAPACITY * ENTRY_WORDS)
  /** Regions of `REGION_PAIRS` pairs of sequence and ordinal; an entry keeps the one it has. Region 0 stays unused. */
  #pairs = new Int32Array(64 * REGION_WORDS)
  #regions = 1
  /** Pairs beyond those of a region, by region: microseconds of ten and more sequences. */
  readonly #more = new Map<number, Map<number, number>>()

  /**
   * The ordinal of the next row: `timeLow`/`timeHigh` are the 32-bit words of its event time in nanoseconds.
   * Throws `TradeKeyError` past 65,535.
   */
  next(instrument: number, publisher: number, timeLow: number, timeHigh: number, sequence: number): number {
    const entries = this.#entries
    const id = instrument | 0
    const tag = publisher + 1
    let at = slotOf(id, publisher, this.#mask) * ENTRY_WORDS
    while (entries[at + 1] !== tag || entries[at] !== id) {
      if (entries[at + 1] === 0) return this.#open(at, id, publisher, timeLow, timeHigh, sequence)
      at = (at + ENTRY_WORDS) & (entries.length - 1)
    }
    // Times less than a microsecond apart differ by as little in their low words, whatever their high words are.
    const step = (timeLow - entries[at + 2]!) | 0
    if (step < 1000 && step > -1000 && sameMicrosecond(entries[at + 2]!, entries[at + 3]!, timeLow, timeHigh))
      return this.#within(at, publisher, sequence | 0)
    if (entries[at + 7]! > REGION_PAIRS) this.#more.delete(entries[at + 6]!)
    entries[at + 2] = timeLow
    entries[at + 3] = timeHigh
    entries[at + 4] = sequence
    entries[at + 5] = 0
    entries[at + 7] = 0
    return 0
  }

  /** A further row of the microsecond that the entry is in. */
  #within(at: number, publisher: number, sequence: number): number {
    const entries = this.#entries
    if (entries[at + 4] === sequence) return increment(entries, at + 5, publisher)
    const count = entries[at + 7]!
    const region = entries[at + 6]!
    const first = region * REGION_WORDS
    const end = first + 2 * Math.min(count, REGION_PAIRS)
    for (let pair = first; pair < end; pair += 2)
      if (this.#pairs[pair] === sequence) return increment(this.#pairs, pair + 1, publisher)
    if (count >= REGION_PAIRS) return this.#beyond(at, publisher, sequence)
    const free = region === 0 ? this.#openRegion(at) : end
    this.#pairs[free] = sequence
    this.#pairs[free + 1] = 0
    entries[at + 7] = count + 1
    return 0
  }

  /** Gives an entry its region; answers with the position of the first pair. */
  #openRegion(at: number): number {
    const region = this.#regions++
    this.#entries[at + 6] = region
    if (this.#regions * REGION_WORDS > this.#pairs.length) {
      const grown = new Int32Array(this.#pairs.length * 2)
      grown.set(this.#pairs)
      this.#pairs = grown
    }
    return region * REGION_WORDS
  }

  /** A row whose sequence found no room in the full region. */
  #beyond(at: number, publisher: number, sequence: number): number {
    const region = this.#entries[at + 6]!
    let more = this.#more.get(region)
    if (more === undefined) {
      more = new Map()
      this.#more.set(region, more)
      this.#entries[at + 7] = REGION_PAIRS + 1
    }
    const before = more.get(sequence)
    const ordinal = before === undefined ? 0 : before + 1
    check(publisher, ordinal)
    more.set(sequence, ordinal)
    return ordinal
  }

  #open(at: number, id: number, publisher: number, low: number, high: number, sequence: number): number {
    if (publisher > MaxPublisher) check(publisher, 0)
    let free = at
    if (this.#size * 2 > this.#mask) {
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
    let at = slotOf(id, publisher, this.#mask) * ENTRY_WORDS
    while (this.#entries[at + 1] !== 0) at = (at + ENTRY_WORDS) & (this.#entries.length - 1)
    return at
  }

  #grow(): void {
    const old = this.#entries
    this.#mask = this.#mask * 2 + 1
    this.#entries = new Int32Array(old.length * 2)
    for (let from = 0; from < old.length; from += ENTRY_WORDS)
      if (old[from + 1] !== 0)
        this.#entries.set(old.subarray(from, from + ENTRY_WORDS), this.#free(old[from]!, old[from + 1]! - 1))
  }
}

const FIRST_CAPACITY = 1024
const ENTRY_WORDS = 8
const REGION_PAIRS = 8
const REGION_WORDS = 2 * REGION_PAIRS

const increment = (counts: Int32Array, at: number, publisher: number): number => {
  const ordinal = counts[at]! + 1
  if (ordinal > MaxOrdinal) check(publisher, ordinal)
  counts[at] = ordinal
  return ordinal
}

/** Where probing starts. All bits of the id reach the low ones: venues number instruments in steps of 2^n, too. */
const slotOf = (instrument: number, publisher: number, mask: number): number => {
  const mixed = Math.imul(instrument, 0x9e3779b1) ^ Math.imul(publisher, 0x85ebca6b)
  const spread = Math.imul(mixed ^ (mixed >>> 16), 0x7feb352d)
  return (spread ^ (spread >>> 15)) & mask
}

/** Whether two times, as 32-bit words of i64 nanoseconds, fall into one microsecond. */
const sameMicrosecond = (aLow: number, aHigh: number, bLow: number, bHigh: number): boolean => {
  const difference = (bHigh - aHigh) * 4294967296 + ((bLow >>> 0) - (aLow >>> 0))
  if (difference >= 1000 || difference <= -1000) return false
  // 2^32 = 296 modulo 1000; all intermediate values are exact.
  const rest = ((aHigh % 1000) * 296 + (aLow >>> 0)) % 1000
  const moved = (rest < 0 ? rest + 1000 : rest) + difference
  return moved >= 0 && moved < 1000
}
