import { assert, describe, it } from "vitest"
import { BatchAllocator } from "../src/RingBatch.ts"

describe("memory of batches", () => {
  it("fresh: no two batches share a byte, and what is allocated weighs as much in the heap", () => {
    const allocator = new BatchAllocator("trades")
    const taken: Array<{ buffer: ArrayBuffer; from: number; to: number }> = []
    for (const rows of [1, 8, 9, 297, 298, 1024, 3, 8192]) {
      const { room, used, slab } = allocator
      const { buffer, offset, capacity } = allocator.allocate(rows)
      const bytes = capacity * 55
      assert.isAtLeast(capacity, rows)
      assert.strictEqual(offset % 8, 0)
      assert.isAtMost(offset + bytes, buffer.byteLength)
      // The native side places rows where there is room, and the next allocation must be just there.
      if (bytes <= room) assert.deepStrictEqual([buffer, offset], [slab, used])
      for (const other of taken)
        assert.isTrue(
          other.buffer !== buffer || other.to <= offset || offset + bytes <= other.from,
          `${rows}`
        )
      taken.push({ buffer, from: offset, to: offset + bytes })
      if (bytes > 16_384) assert.strictEqual(allocator.weight, Math.min(bytes & ~7, 128_000))
    }
  })

  it("reused: the same memory after a reset, more only where a poll is larger", () => {
    const allocator = new BatchAllocator("trades", true)
    const first = allocator.allocate(100)
    const second = allocator.allocate(100)
    assert.strictEqual(second.buffer, first.buffer)
    assert.isAbove(second.offset, first.offset)
    allocator.reset()
    assert.deepStrictEqual(allocator.allocate(4_000), { ...first, capacity: 4_000 })
    allocator.reset()
    assert.notStrictEqual(allocator.allocate(8_192).buffer, first.buffer)
    assert.strictEqual(allocator.weight, 0)
  })
})
