import { assert, describe, it } from "@effect/vitest"
import * as Core from "../src/index.ts"
import {
  ABSENT_I32,
  ABSENT_I64,
  ABSENT_I64_HIGH,
  ABSENT_I64_LOW,
  ABSENT_U16,
  ABSENT_U32
} from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

describe("absent values", () => {
  it("are one value of each width, and the two words of the i64 one", () => {
    assert.strictEqual(ABSENT_I64, 2n ** 63n - 1n)
    assert.strictEqual(ABSENT_I32, -(2 ** 31))
    assert.strictEqual(ABSENT_U32, 2 ** 32 - 1)
    assert.strictEqual(ABSENT_U16, 2 ** 16 - 1)
    const words = new Int32Array(new BigInt64Array([ABSENT_I64]).buffer)
    assert.deepStrictEqual([...words], [ABSENT_I64_LOW, ABSENT_I64_HIGH])
  })

  it("read as undefined, NaN or empty; their neighbours as themselves", () => {
    assert.deepStrictEqual(
      [
        Core.presentI64(ABSENT_I64),
        Core.presentI32(ABSENT_I32),
        Core.presentU32(ABSENT_U32),
        Core.presentU16(ABSENT_U16)
      ],
      [undefined, undefined, undefined, undefined]
    )
    assert.strictEqual(Core.presentI64(ABSENT_I64 - 1n), ABSENT_I64 - 1n)
    assert.strictEqual(Core.presentI64(-1n), -1n)
    assert.strictEqual(Core.presentI32(ABSENT_I32 + 1), ABSENT_I32 + 1)
    assert.strictEqual(Core.presentU32(0), 0)
    assert.strictEqual(Core.presentU16(65534), 65534)
    assert.isUndefined(Core.decimalOf(ABSENT_I64, -9))
    assert.deepStrictEqual(Core.decimalOf(-25n, -1), { mantissa: -25n, exponent: -1 })
    assert.strictEqual(Core.textOf(ABSENT_I64, -9), "")
    assert.strictEqual(Core.textOf(3720250000000n, -9), "3720.25")
  })
})

describe("toNumber", () => {
  it("is the double nearest to the exact value", () => {
    const random = new SeededRandom(41)
    for (let n = 0; n < 30_000; n++) {
      const mantissa = random.anyI64()
      const exponent = random.between(-40, 20)
      const words = new Int32Array(new BigInt64Array([0n, mantissa]).buffer)
      assert.strictEqual(Core.numberAt(words, 1, exponent), Core.toNumber(mantissa, exponent))
      // Reading the exact decimal text is correctly rounded by the language's own rules.
      assert.strictEqual(
        Core.toNumber(mantissa, exponent),
        Number(`${mantissa}e${exponent}`),
        `${mantissa}e${exponent}`
      )
    }
  })

  it("is exact at the edges of the fast path", () => {
    for (const mantissa of [2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n), -(2n ** 53n) - 1n, 0n, 1n, -1n])
      for (const exponent of [-23, -22, -1, 0, 1])
        assert.strictEqual(Core.toNumber(mantissa, exponent), Number(`${mantissa}e${exponent}`))
  })

  it("reads a column's words, NaN where absent alone", () => {
    const edges = [
      2n ** 53n - 1n,
      2n ** 53n,
      -(2n ** 53n),
      -(2n ** 53n) - 1n,
      2n ** 63n - 2n,
      -(2n ** 63n),
      -1n,
      0n
    ]
    const words = new Int32Array(new BigInt64Array([...edges, ABSENT_I64]).buffer)
    for (const exponent of [-128, -23, -22, -9, 0, 1, 127])
      edges.forEach((mantissa, i) => {
        assert.strictEqual(Core.numberAt(words, i, exponent), Number(`${mantissa}e${exponent}`))
      })
    for (const exponent of [-128, -9, 0, 127]) assert.isNaN(Core.numberAt(words, edges.length, exponent))
  })
})
