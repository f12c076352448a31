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
  #capacity = 1024
  #size = 0
  #keys = new Float64Array(this.#capacity).fill(-1)
  #low = new Int32Array(this.#capacity)
  #high = new Int32Array(this.#capacity)
  #sequence = new Uint32Array(this.#capacity)
  #ordinal = new Int32Array(this.#capacity)
  #seen: Array<Map<number, number> | undefined> = new Array(this.#capacity)

  /**
   * The ordinal of the next row: `timeLow`/`timeHigh` are the 32-bit words of its event time in nanoseconds.
   * Throws `TradeKeyError` past 65,535.
   */
  next(instrument: number, publisher: number, timeLow: number, timeHigh: number, sequence: number): number {
    // A larger publisher would share its hash key with another instrument's.
    if (publisher > MaxPublisher) check(publisher, 0)
    const key = (instrument >>> 0) * 32768 + publisher
    const mask = this.#capacity - 1
    let slot = slotOf(instrument, publisher, mask)
    while (this.#keys[slot] !== key) {
      if (this.#keys[slot] === -1) return this.#open(slot, key, publisher, timeLow, timeHigh, sequence)
      slot = (slot + 1) & mask
    }
    if (!sameMicrosecond(this.#low[slot]!, this.#high[slot]!, timeLow, timeHigh)) {
      this.#low[slot] = timeLow
      this.#high[slot] = timeHigh
      this.#sequence[slot] = sequence
      this.#ordinal[slot] = 0
      if (this.#seen[slot] !== undefined) this.#seen[slot] = undefined
      return 0
    }
    return this.#within(slot, publisher, sequence >>> 0)
  }

  /** A further row of the microsecond that the slot is in. */
  #within(slot: number, publisher: number, sequence: number): number {
    if (this.#seen[slot] === undefined && this.#sequence[slot] === sequence) {
      const ordinal = ++this.#ordinal[slot]!
      if (ordinal > MaxOrdinal) check(publisher, ordinal)
      return ordinal
    }
    let seen = this.#seen[slot]
    if (seen === undefined) {
      seen = new Map([[this.#sequence[slot]!, this.#ordinal[slot]!]])
      this.#seen[slot] = seen
    }
    const before = seen.get(sequence)
    const ordinal = before === undefined ? 0 : before + 1
    check(publisher, ordinal)
    seen.set(sequence, ordinal)
    return ordinal
  }

  #open(slot: number, key: number, publisher: number, low: number, high: number, sequence: number): number {
    if (this.#size * 2 >= this.#capacity) {
      this.#grow()
      const mask = this.#capacity - 1
      slot = slotOf(Math.floor(key / 32768), publisher, mask)
      while (this.#keys[slot] !== -1) slot = (slot + 1) & mask
    }
    this.#size += 1
    this.#keys[slot] = key
    this.#low[slot] = low
    this.#high[slot] = high
    this.#sequence[slot] = sequence
    this.#ordinal[slot] = 0
    this.#seen[slot] = undefined
    return 0
  }

  #grow(): void {
    const old = {
      keys: this.#keys,
      low: this.#low,
      high: this.#high,
      sequence: this.#sequence,
      ordinal: this.#ordinal,
      seen: this.#seen
    }
    this.#capacity *= 2
    this.#keys = new Float64Array(this.#capacity).fill(-1)
    this.#low = new Int32Array(this.#capacity)
    this.#high = new Int32Array(this.#capacity)
    this.#sequence = new Uint32Array(this.#capacity)
    this.#ordinal = new Int32Array(this.#capacity)
    this.#seen = new Array(this.#capacity)
    const mask = this.#capacity - 1
    for (let i = 0; i < old.keys.length; i++) {
      const key = old.keys[i]!
      if (key === -1) continue
      const instrument = Math.floor(key / 32768)
      let slot = slotOf(instrument, key - instrument * 32768, mask)
      while (this.#keys[slot] !== -1) slot = (slot + 1) & mask
      this.#keys[slot] = key
      this.#low[slot] = old.low[i]!
      this.#high[slot] = old.high[i]!
      this.#sequence[slot] = old.sequence[i]!
      this.#ordinal[slot] = old.ordinal[i]!
      this.#seen[slot] = old.seen[i]
    }
  }
}

/** Where probing starts. All bits of the id reach the low ones: venues number instruments in steps of 2^n, too. */
const slotOf = (instrument: number, publisher: number, mask: number): number => {
  const mixed = Math.imul(instrument, 0x9e3779b1) ^ Math.imul(publisher, 0x85ebca6b)
  const spread = Math.imul(mixed ^ (mixed >>> 16), 0x7feb352d)
  return (spread ^ (spread >>> 15)) & mask
}

/** Whether two times, as 32-bit words of i64 nanoseconds, fall into one microsecond. */
const sameMicrosecond = (aLow: number, aHigh: number, bLow: number, bHigh: number): boolean => {
  if (aLow === bLow && aHigh === bHigh) return true
  const difference = (bHigh - aHigh) * 4294967296 + ((bLow >>> 0) - (aLow >>> 0))
  if (difference >= 1000 || difference <= -1000) return false
  return micros(aLow, aHigh) === micros(bLow, bHigh)
}

const micros = (low: number, high: number): bigint => {
  const nanos = (BigInt(high) << 32n) | BigInt(low >>> 0)
  const quotient = nanos / 1000n
  return nanos % 1000n < 0n ? quotient - 1n : quotient
}
