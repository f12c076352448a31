import { assert, describe, it } from "@effect/vitest"
import { BigDecimal } from "effect"
import { Decimal } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

const d = Decimal.make

describe("parse", () => {
  const accepted: ReadonlyArray<readonly [string, bigint, number]> = [
    ["12", 12n, 0],
    ["+12", 12n, 0],
    ["-12", -12n, 0],
    ["0", 0n, 0],
    ["-0", 0n, 0],
    ["-0.5", -5n, -1],
    [".5", 5n, -1],
    ["1.", 1n, 0],
    ["1.50", 150n, -2],
    ["0.00000001", 1n, -8],
    ["1e-8", 1n, -8],
    ["1E3", 1n, 3],
    ["1.25e+2", 125n, 0],
    [" 7.0\n", 70n, -1],
    ["00012.3", 123n, -1],
    ["92233720368547758.07", 9223372036854775807n, -2],
    ["123456789012345678901234567890.123456789", 123456789012345678901234567890123456789n, -9],
    ["1e-9999", 1n, -9999]
  ]
  it.each(accepted)("reads %j", (text, mantissa, exponent) => {
    assert.deepStrictEqual(Decimal.parse(text), { mantissa, exponent })
  })

  const refused = [
    "", " ", ".", "-", "+.", "e5", "1e", "1e+", "--1", "+-1", "1.2.3", "1,5", "1_000", "0x10", "1n", "NaN", "Infinity",
    "1e12345", "12 3", "١٢", "1.5f", "-e1", "1\u00002", "9".repeat(1_001)
  ] // biome-ignore format: a list of texts
  it.each(refused)("refuses %j", (text) => {
    assert.isUndefined(Decimal.parse(text))
  })

  it("reads text of the largest accepted length exactly", () => {
    const digits = "9".repeat(Decimal.MaxTextLength)
    assert.strictEqual(Decimal.parse(digits)?.mantissa.toString(), digits)
  })
})

describe("text", () => {
  const cases: ReadonlyArray<readonly [bigint, number, string, string]> = [
    [372025n, -2, "3720.25", "3720.25"],
    [5n, 3, "5000", "5000"],
    [0n, -3, "0.000", "0"],
    [0n, 4, "0", "0"],
    [-5n, -2, "-0.05", "-0.05"],
    [-50n, -2, "-0.50", "-0.5"],
    [3720250000000n, -9, "3720.250000000", "3720.25"],
    [5000n, -3, "5.000", "5"],
    [100n, 0, "100", "100"],
    [10000n, -2, "100.00", "100"],
    [9223372036854775806n, -9, "9223372036.854775806", "9223372036.854775806"],
    [-9223372036854775808n, -9, "-9223372036.854775808", "-9223372036.854775808"],
    [-9223372036854775808n, 6, "-9223372036854775808000000", "-9223372036854775808000000"],
    [1n, -18, "0.000000000000000001", "0.000000000000000001"]
  ]
  it.each(cases)("%s x 10^%s", (mantissa, exponent, full, short) => {
    assert.strictEqual(Decimal.text(mantissa, exponent), full)
    assert.strictEqual(Decimal.shortText(mantissa, exponent), short)
    assert.strictEqual(Decimal.format(d(mantissa, exponent)), full)
  })

  it("comes back through parse as the same digits", () => {
    const random = new SeededRandom(1)
    for (let n = 0; n < 20_000; n++) {
      const mantissa = random.anyI64()
      const exponent = random.between(-128, 127)
      const again = Decimal.parse(Decimal.text(mantissa, exponent))!
      assert.isTrue(Decimal.equals(again, d(mantissa, exponent)), `${mantissa} x 10^${exponent}`)
      assert.strictEqual(again.exponent, mantissa === 0n && exponent > 0 ? 0 : Math.min(0, exponent))
      const short = Decimal.parse(Decimal.shortText(mantissa, exponent))!
      assert.isTrue(Decimal.equals(short, d(mantissa, exponent)), `short ${mantissa} x 10^${exponent}`)
      assert.notMatch(Decimal.shortText(mantissa, exponent), /\.\d*0$|\.$|^-?0\d|^-0$/)
    }
  })
})

describe("comparison", () => {
  it("is numeric: 2.50 equals 2.5", () => {
    assert.isTrue(Decimal.equals(d(250n, -2), d(25n, -1)))
    assert.isTrue(Decimal.equals(d(5n, 3), d(5000n, 0)))
    assert.isTrue(Decimal.equals(d(0n, -9), d(0n, 6)))
    assert.isFalse(Decimal.equals(d(9007199254740993n, 0), d(9007199254740992n, 0)))
  })

  it("orders like exact arithmetic on a common exponent", () => {
    const random = new SeededRandom(2)
    for (let n = 0; n < 20_000; n++) {
      const a = d(random.anyI64(), random.between(-18, 6))
      // Half of the pairs are equal or next to each other: where a wrong comparison shows.
      const b = random.chance(0.5)
        ? d(random.anyI64(), random.between(-18, 6))
        : d(a.mantissa * 10n ** 6n + BigInt(random.between(-1, 1)), a.exponent - 6)
      const x = a.mantissa * 10n ** BigInt(a.exponent + 30)
      const y = b.mantissa * 10n ** BigInt(b.exponent + 30)
      assert.strictEqual(Decimal.compare(a, b), x < y ? -1 : x > y ? 1 : 0)
      assert.strictEqual(Decimal.compare(b, a) + Decimal.compare(a, b), 0)
    }
  })
})

describe("rescale", () => {
  it("changes the exponent or refuses, never rounds", () => {
    assert.strictEqual(Decimal.rescale(25n, -1, -9), 2500000000n)
    assert.strictEqual(Decimal.rescale(2500000000n, -9, -1), 25n)
    assert.strictEqual(Decimal.rescale(2500000001n, -9, -1), undefined)
    assert.strictEqual(Decimal.rescale(-15n, -1, 0), undefined)
    assert.strictEqual(Decimal.rescale(-150n, -2, -1), -15n)
    assert.strictEqual(Decimal.rescale(0n, -9, 6), 0n)
    assert.strictEqual(Decimal.rescale(7n, 6, -18), 7n * 10n ** 24n)
  })

  it("keeps the value wherever it answers, and answers wherever the value fits", () => {
    const random = new SeededRandom(3)
    for (let n = 0; n < 20_000; n++) {
      const mantissa = random.anyI64() * 10n ** BigInt(random.below(6))
      const from = random.between(-18, 6)
      const to = random.between(-18, 6)
      const scaled = Decimal.rescale(mantissa, from, to)
      if (scaled !== undefined) assert.isTrue(Decimal.equals(d(mantissa, from), d(scaled, to)))
      else assert.isTrue(to > from && mantissa % 10n ** BigInt(to - from) !== 0n)
    }
  })
})

describe("normalize", () => {
  it("gives the shortest mantissa; zero is 0 x 10^0", () => {
    assert.deepStrictEqual(Decimal.normalize(d(1500n, -2)), d(15n, 0))
    assert.deepStrictEqual(Decimal.normalize(d(1505n, -2)), d(1505n, -2))
    assert.deepStrictEqual(Decimal.normalize(d(-1000n, 0)), d(-1n, 3))
    assert.deepStrictEqual(Decimal.normalize(d(0n, -9)), d(0n, 0))
  })

  it("tells the number of fraction digits", () => {
    assert.strictEqual(Decimal.scaleOf(d(25n, -2)), 2)
    assert.strictEqual(Decimal.scaleOf(d(250000000n, -9)), 2)
    assert.strictEqual(Decimal.scaleOf(d(5000n, 0)), 0)
    assert.strictEqual(Decimal.scaleOf(d(0n, -9)), 0)
    assert.strictEqual(Decimal.scaleOf(d(1n, -18)), 18)
  })
})

describe("BigDecimal bridge", () => {
  it("is exact both ways", () => {
    const random = new SeededRandom(4)
    for (let n = 0; n < 5_000; n++) {
      const value = d(random.anyI64(), random.between(-18, 6))
      const big = Decimal.toBigDecimal(value)
      assert.deepStrictEqual(Decimal.fromBigDecimal(big), value)
      assert.isTrue(BigDecimal.equals(big, BigDecimal.fromStringUnsafe(Decimal.format(value))))
    }
  })
})

describe("toNumber", () => {
  it("is the nearest double", () => {
    assert.strictEqual(Decimal.toNumber(d(372025n, -2)), 3720.25)
    assert.strictEqual(Decimal.toNumber(d(1n, -1)), 0.1)
    assert.strictEqual(Decimal.toNumber(d(1234567890123456789n, -9)), 1234567890.1234567)
    assert.strictEqual(Decimal.toNumber(d(5n, 3)), 5000)
  })
})
