/**
 * Which number of one count belongs to which of another, while both grow: frames of a spool and entries of a hub, entries of
 * a hub and positions of a ring. Asked from the front, as what was written is confirmed.
 *
 * Bounded: a store that is away for hours leaves millions of entries open. Beyond a few thousand marks stand for several
 * entries each, and the answer is the mark before: never too far, and exact again once what is open has been confirmed.
 */

/** Marks that are kept, at most. Even, so that the last one stays when every second one goes. */
const Most = 8192
/** So few are left: each entry gets a mark of its own again. */
const Few = 1024

/** Pairs of growing numbers. */
export class PassedMarks {
  #keys: Array<bigint> = []
  #values: Array<bigint> = []
  #first = 0
  /** Entries that a mark stands for, and those that the last one stands for. */
  #stride = 1
  #inLast = 0

  /** Marks that are kept. */
  get length(): number {
    return this.#keys.length - this.#first
  }

  /** Adds a pair; neither is below the one before. */
  add(key: bigint, value: bigint): void {
    if (this.#inLast < this.#stride && this.length > 0) {
      this.#keys[this.#keys.length - 1] = key
      this.#values[this.#values.length - 1] = value
      this.#inLast += 1
      return
    }
    this.#keys.push(key)
    this.#values.push(value)
    this.#inLast = 1
    if (this.length >= Most) this.#thin()
  }

  /** The value of the last mark whose key is not above this one, which is forgotten with those before; undefined where there is none. */
  take(key: bigint): bigint | undefined {
    let next = this.#first
    while (next < this.#keys.length && this.#keys[next]! <= key) next += 1
    if (next === this.#first) return undefined
    const value = this.#values[next - 1]
    this.#first = next
    if (this.length < Few) this.#stride = 1
    if (this.#first * 2 >= this.#keys.length) this.#compact()
    return value
  }

  #compact(): void {
    this.#keys = this.#keys.slice(this.#first)
    this.#values = this.#values.slice(this.#first)
    this.#first = 0
  }

  #thin(): void {
    this.#compact()
    const isKept = (_: bigint, i: number): boolean => i % 2 === 1
    this.#keys = this.#keys.filter(isKept)
    this.#values = this.#values.filter(isKept)
    this.#stride *= 2
    this.#inLast = this.#stride
  }
}
