/** Bytes gathered piece by piece: memory grows with what arrived, never with what a length field announces. */

/** A growing byte array. */
export class ByteCollector {
  #bytes = new Uint8Array(256)
  length = 0

  /** Adds `source[from, to)`. */
  append(source: Uint8Array, from: number, to: number): void {
    const needed = this.length + (to - from)
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2))
      grown.set(this.#bytes.subarray(0, this.length))
      this.#bytes = grown
    }
    this.#bytes.set(source.subarray(from, to), this.length)
    this.length = needed
  }

  /** The first four bytes as a little-endian word; undefined before they are there. */
  word(): number | undefined {
    const b = this.#bytes
    if (this.length < 4) return undefined
    return (b[0]! | (b[1]! << 8) | (b[2]! << 16) | (b[3]! << 24)) >>> 0
  }

  /** What was gathered, as a view of this collector's memory: valid until the next `append`. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length)
  }
}
