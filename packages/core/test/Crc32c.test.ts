import { assert, describe, it } from "@effect/vitest"
import { Crc32c } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

const hex = (value: number): string => value.toString(16).padStart(8, "0")

/** The definition, bit by bit. */
const bitwise = (bytes: Uint8Array): number => {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return (crc ^ 0xffffffff) >>> 0
}

describe("Crc32c", () => {
  it("gives the check value of the catalogue and the examples of RFC 3720, B.4", () => {
    assert.strictEqual(hex(Crc32c.of(new TextEncoder().encode("123456789"))), "e3069283")
    assert.strictEqual(hex(Crc32c.of(new Uint8Array(32))), "8a9136aa")
    assert.strictEqual(hex(Crc32c.of(new Uint8Array(32).fill(0xff))), "62a8ab43")
    assert.strictEqual(hex(Crc32c.of(Uint8Array.from({ length: 32 }, (_, i) => i))), "46dd794e")
    assert.strictEqual(hex(Crc32c.of(Uint8Array.from({ length: 32 }, (_, i) => 31 - i))), "113fdb5c")
    assert.strictEqual(hex(Crc32c.of(new Uint8Array(0))), "00000000")
  })

  it("is the same over words as over bytes, and in parts as in one", () => {
    const random = new SeededRandom(1)
    for (let words = 0; words <= 64; words += 2) {
      const data = Int32Array.from({ length: words }, () => random.u32() | 0)
      const bytes = new Uint8Array(data.buffer)
      const split = 2 * random.below(words / 2 + 1)
      const first = Crc32c.overWords(Crc32c.Start, data, 0, split)
      assert.strictEqual(Crc32c.finish(Crc32c.overWords(first, data, split, words)), bitwise(bytes))
      assert.strictEqual(Crc32c.of(bytes), bitwise(bytes))
    }
  })
})
