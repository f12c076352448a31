import { assert, describe, it } from "vitest"
import { PassedMarks } from "../src/PassedMarks.ts"

describe("marks of what has passed", () => {
  it("give the last one that is not above what is asked for, once", () => {
    const marks = new PassedMarks()
    for (const [key, value] of [
      [2n, 20n],
      [2n, 21n],
      [5n, 50n],
      [9n, 90n]
    ] as const)
      marks.add(key, value)
    assert.deepStrictEqual(
      [1n, 2n, 2n, 8n, 9n, 100n].map((key) => marks.take(key)),
      [undefined, 21n, undefined, 50n, 90n, undefined]
    )
    assert.strictEqual(marks.length, 0)
  })

  it("stay few when nothing is confirmed for long, are never too far, and exact in the end", () => {
    const marks = new PassedMarks()
    const count = 1_000_000
    for (let i = 1; i <= count; i++) marks.add(BigInt(i), BigInt(i * 10))
    assert.isBelow(marks.length, 8_192)
    let before = 0n
    for (let asked = 100_000n; asked < count; asked += 100_000n) {
      const value = marks.take(asked)!
      assert.isAtMost(Number(value), Number(asked) * 10)
      assert.isAbove(Number(value), Number(before))
      assert.isAbove(Number(value), Number(asked) * 10 * 0.99 - 10_000)
      before = value
    }
    assert.strictEqual(marks.take(BigInt(count)), BigInt(count * 10))
    marks.add(BigInt(count + 1), 1n)
    assert.strictEqual(marks.take(BigInt(count + 1)), 1n)
  })
})
