import { assert, describe, it } from "@effect/vitest"
import { Timeframe, TimeRange } from "../src/index.ts"

const range = (start: number, end: number): TimeRange.TimeRange => ({
  start: BigInt(start),
  end: BigInt(end)
})

describe("TimeRange", () => {
  it("makes only ranges that hold time", () => {
    assert.deepStrictEqual(TimeRange.make(1n, 2n), { start: 1n, end: 2n })
    assert.isUndefined(TimeRange.make(2n, 2n))
    assert.isUndefined(TimeRange.make(3n, 2n))
    assert.isTrue(TimeRange.isEmpty(range(2, 2)))
    assert.isFalse(TimeRange.isEmpty(range(1, 2)))
  })

  it("is half-open", () => {
    assert.isTrue(TimeRange.contains(range(1, 3), 1n))
    assert.isTrue(TimeRange.contains(range(1, 3), 2n))
    assert.isFalse(TimeRange.contains(range(1, 3), 3n))
    assert.isFalse(TimeRange.contains(range(1, 3), 0n))
  })

  it("overlaps and intersects as the sets of its moments do", () => {
    const moments = (r: TimeRange.TimeRange) =>
      [0n, 1n, 2n, 3n, 4n, 5n].filter((t) => TimeRange.contains(r, t))
    for (let a = 0; a < 6; a++)
      for (let b = 0; b <= 6; b++)
        for (let c = 0; c < 6; c++)
          for (let e = 0; e <= 6; e++) {
            const [x, y] = [range(a, b), range(c, e)]
            const shared = moments(x).filter((t) => moments(y).includes(t))
            const met = TimeRange.intersect(x, y)
            assert.strictEqual(TimeRange.overlaps(x, y), shared.length > 0, `[${a},${b}) and [${c},${e})`)
            assert.deepStrictEqual(met === undefined ? [] : moments(met), shared)
          }
  })

  it("shrinks to whole microseconds", () => {
    assert.deepStrictEqual(TimeRange.inwardMicros(range(1, 2999)), range(1000, 2000))
    assert.deepStrictEqual(TimeRange.inwardMicros(range(1000, 3000)), range(1000, 3000))
    assert.deepStrictEqual(TimeRange.inwardMicros(range(-2999, -1)), range(-2000, -1000))
    assert.isUndefined(TimeRange.inwardMicros(range(1, 1999)))
    assert.isUndefined(TimeRange.inwardMicros(range(1, 999)))
  })

  it("reads as two times", () => {
    assert.strictEqual(
      TimeRange.format(range(0, 1)),
      "1970-01-01T00:00:00.000000000Z .. 1970-01-01T00:00:00.000000001Z"
    )
  })
})

describe("Timeframe", () => {
  it("offers eight lengths, shortest first", () => {
    assert.deepStrictEqual(
      Timeframe.all.map((timeframe) => [timeframe, Timeframe.seconds(timeframe)]),
      [
        ["1s", 1],
        ["1m", 60],
        ["5m", 300],
        ["15m", 900],
        ["30m", 1800],
        ["1h", 3600],
        ["4h", 14400],
        ["1d", 86400]
      ]
    )
  })

  it("knows its names and nothing else", () => {
    for (const timeframe of Timeframe.all) assert.isTrue(Timeframe.is(timeframe))
    for (const text of ["", "1M", "2m", "toString", "constructor", "__proto__"])
      assert.isFalse(Timeframe.is(text))
  })
})
