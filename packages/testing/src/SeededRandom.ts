/**
 * A small deterministic generator (mulberry32): one seed gives the same values on every machine, so that a failing case
 * can be told by its seed. Not for anything that must be unpredictable.
 */

/** Values from a seed; every call moves on. */
export class SeededRandom {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** Uniform u32. */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let z = this.#state
    z = Math.imul(z ^ (z >>> 15), z | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return (z ^ (z >>> 14)) >>> 0
  }

  /** Uniform integer in [0, bound). */
  below(bound: number): number {
    return Math.floor((this.u32() / 4294967296) * bound)
  }

  /** Integer in [from, to], both inclusive. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1)
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.u32() / 4294967296 < probability
  }

  /** Uniform over all of i64. */
  i64(): bigint {
    return BigInt.asIntN(64, (BigInt(this.u32()) << 32n) | BigInt(this.u32()))
  }

  /** Uniform bigint in [0, bound), for bounds below 2^64. */
  below64(bound: bigint): bigint {
    return (BigInt.asUintN(64, this.i64()) * bound) >> 64n
  }

  /** i64 with a magnitude of a random number of bits, so that small values are as frequent as large ones. */
  anyI64(): bigint {
    return BigInt.asIntN(64, this.i64() >> BigInt(this.below(64)))
  }

  /** One of these. */
  pick<T>(from: ReadonlyArray<T>): T {
    return from[this.below(from.length)]!
  }

  /** The same values in another order. */
  shuffle<T>(values: ReadonlyArray<T>): Array<T> {
    const out = [...values]
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const moved = out[i]!
      out[i] = out[j]!
      out[j] = moved
    }
    return out
  }
}
