import { assert, describe, it } from "@effect/vitest"
import { UnixNanos } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

describe("toIso", () => {
  const cases: ReadonlyArray<readonly [bigint, string]> = [
    [0n, "1970-01-01T00:00:00.000000000Z"],
    [1n, "1970-01-01T00:00:00.000000001Z"],
    [-1n, "1969-12-31T23:59:59.999999999Z"],
    [-1_000_000_000n, "1969-12-31T23:59:59.000000000Z"],
    [1609160400006001487n, "2020-12-28T13:00:00.006001487Z"],
    [951782400000000000n, "2000-02-29T00:00:00.000000000Z"],
    [UnixNanos.Min, "1677-09-21T00:12:43.145224192Z"],
    [UnixNanos.Max, "2262-04-11T23:47:16.854775806Z"]
  ]
  it.each(cases)("%s is %s, and back", (nanos, text) => {
    assert.strictEqual(UnixNanos.toIso(nanos), text)
    assert.strictEqual(UnixNanos.parse(text), nanos)
    assert.strictEqual(UnixNanos.toDate(nanos), text.slice(0, 10))
  })

  it("comes back through parse anywhere in i64", () => {
    const random = new SeededRandom(11)
    for (let n = 0; n < 20_000; n++) {
      const nanos = random.anyI64()
      if (nanos > UnixNanos.Max) continue
      assert.strictEqual(UnixNanos.parse(UnixNanos.toIso(nanos)), nanos)
      assert.strictEqual(UnixNanos.parse(UnixNanos.toIso(nanos).replace("Z", "")), nanos)
    }
  })
})

describe("parse", () => {
  const accepted: ReadonlyArray<readonly [string, bigint]> = [
    ["1970-01-01", 0n],
    ["1970-01-01T00:00", 0n],
    ["1970-01-01 00:00:01", 1_000_000_000n],
    ["1970-01-01T00:00:00.5Z", 500_000_000n],
    ["1970-01-01T00:00:00,000000001Z", 1n],
    ["1969-12-31T23:59:59.999999999Z", -1n],
    ["1970-01-01T01:00+01:00", 0n],
    ["1970-01-01T01:00+0100", 0n],
    ["1969-12-31T19:30:00-04:30", 0n],
    ["1970-01-01T00:00:00.25-00:00", 250_000_000n],
    ["  2024-02-29  ", 1709164800000000000n],
    ["1609160400006001487", 1609160400006001487n],
    ["-1609160400006001487", -1609160400006001487n],
    ["9223372036854775806", UnixNanos.Max],
    ["-9223372036854775808", UnixNanos.Min]
  ]
  it.each(accepted)("reads %j", (text, nanos) => {
    assert.strictEqual(UnixNanos.parse(text), nanos)
  })

  const refused = [
    "", "yesterday", "2025", "2025-1-1", "2025-13-01", "2025-00-10", "2025-02-29", "2025-04-31", "2025-01-32", "2025-01-00",
    "2025-01-01T24:00", "2025-01-01T23:60", "2025-01-01T23:59:60", "2025-01-01T00:00:00.1234567890Z",
    "2025-01-01T00:00:00.Z", "2025-01-01T00:00:00+15:00", "2025-01-01T00:00:00+01:60", "2025-01-01Z", "2025-01-01T",
    "2025-01-01T00:00:00ZZ", "+2025-01-01", "0000-01-01", "0050-01-01", "0099-12-31", "1677-09-21T00:12:43.145224191Z",
    "2262-04-11T23:47:16.854775807Z", "9999-12-31", "9223372036854775807", "-9223372036854775809", "1e18", "1.5"
  ] // biome-ignore format: a list of texts
  it.each(refused)("refuses %j", (text) => {
    assert.isUndefined(UnixNanos.parse(text))
  })
})

describe("microseconds", () => {
  it("rounds down and up on both sides of 1970", () => {
    const cases: ReadonlyArray<readonly [bigint, bigint, bigint, number]> = [
      [0n, 0n, 0n, 0],
      [1n, 0n, 1n, 1],
      [999n, 0n, 1n, 999],
      [1000n, 1n, 1n, 0],
      [-1n, -1n, 0n, 999],
      [-999n, -1n, 0n, 1],
      [-1000n, -1n, -1n, 0],
      [-1001n, -2n, -1n, 999],
      [UnixNanos.Max, 9223372036854775n, 9223372036854776n, 806],
      [UnixNanos.Min, -9223372036854776n, -9223372036854775n, 192]
    ]
    for (const [nanos, floor, ceil, rest] of cases) {
      assert.strictEqual(UnixNanos.floorMicros(nanos), floor)
      assert.strictEqual(UnixNanos.ceilMicros(nanos), ceil)
      assert.strictEqual(UnixNanos.nanosOfMicro(nanos), rest)
    }
  })

  it("splits every time into microseconds and a rest of 0..999", () => {
    const random = new SeededRandom(12)
    for (let n = 0; n < 20_000; n++) {
      const nanos = random.anyI64()
      const rest = UnixNanos.nanosOfMicro(nanos)
      assert.isTrue(rest >= 0 && rest <= 999)
      assert.strictEqual(UnixNanos.fromMicros(UnixNanos.floorMicros(nanos), rest), nanos)
      assert.strictEqual(UnixNanos.ceilMicros(nanos) - UnixNanos.floorMicros(nanos), rest === 0 ? 0n : 1n)
    }
  })
})

describe("startOfDay", () => {
  it("is UTC midnight at or before", () => {
    const day = UnixNanos.PerDay
    assert.strictEqual(UnixNanos.startOfDay(0n), 0n)
    assert.strictEqual(UnixNanos.startOfDay(day - 1n), 0n)
    assert.strictEqual(UnixNanos.startOfDay(day), day)
    assert.strictEqual(UnixNanos.startOfDay(-1n), -day)
    assert.strictEqual(UnixNanos.startOfDay(-day), -day)
    assert.strictEqual(UnixNanos.startOfDay(-day - 1n), -2n * day)
  })
})
