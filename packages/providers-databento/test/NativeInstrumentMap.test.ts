import { assert, describe, it } from "vitest"
import { NANOS_PER_DAY } from "../src/dbn/IsoDate.ts"
import { NativeInstrumentMap } from "../src/NativeInstrumentMap.ts"

const startOfDay = (day: number): bigint => BigInt(day) * NANOS_PER_DAY

const words = (times: ReadonlyArray<bigint>): Int32Array => new Int32Array(new BigInt64Array(times).buffer)

describe("NativeInstrumentMap", () => {
  it("replaces ids by the interval of each row's day, to the nanosecond", () => {
    const map = new NativeInstrumentMap()
    map.add(7, 20_000, 20_001, 1)
    map.add(7, 20_001, 20_003, 2)
    map.add(8, 20_000, 20_003, 3)
    const midnight = startOfDay(20_001)
    const times = [
      midnight - 1n,
      midnight,
      midnight,
      midnight + 1n,
      startOfDay(20_003) - 1n,
      startOfDay(20_003)
    ]
    const ids = new Uint32Array([7, 7, 8, 9, 7, 7])
    const unknown = map.assign(ids, words(times))
    assert.deepStrictEqual([...ids], [1, 2, 3, 9, 2, 7])
    assert.deepStrictEqual(unknown, [3, 5])
    assert.deepStrictEqual(map.unknownOf(ids, words(times), unknown), [
      { nativeId: 9, day: 20_001 },
      { nativeId: 7, day: 20_003 }
    ])
  })

  it("agrees with exact days for times close to midnight on either side", () => {
    const map = new NativeInstrumentMap()
    for (let day = 0; day < 60_000; day += 1_000) map.add(5, day, day + 1, day + 100)
    for (let day = 0; day < 60_000; day += 1_000) {
      for (const distance of [0n, 1n, 100n, 255n, 256n, 9_999n, 10_001n, 1_000_000n]) {
        const ids = new Uint32Array([5, 5])
        const times = [startOfDay(day) + distance, startOfDay(day + 1) - 1n - distance]
        assert.deepStrictEqual(map.assign(ids, words(times)), [], `day ${day} distance ${distance}`)
        assert.deepStrictEqual([...ids], [day + 100, day + 100])
      }
    }
  })

  it("finds thousands of ids, also 0 and the largest, and what is added in between", () => {
    const map = new NativeInstrumentMap()
    const natives = [0, 4294967295, ...Array.from({ length: 5_000 }, (_, i) => (i * 2_654_435 + 17) >>> 0)]
    for (const [i, native] of natives.entries()) map.add(native, 20_000, 20_001, i)
    const rows = [...natives, ...natives.toReversed()]
    const times = words(
      rows.map((_, i) => startOfDay(20_000) + ((BigInt(i) * 10_000_000_000n) % NANOS_PER_DAY))
    )
    const ids = new Uint32Array(rows)
    assert.deepStrictEqual(map.assign(ids, times), [])
    assert.deepStrictEqual([...ids], [...natives.keys(), ...[...natives.keys()].reverse()])
    map.add(17, 20_000, 20_001, 99)
    const again = new Uint32Array([17, 0])
    assert.deepStrictEqual([map.assign(again, times.subarray(0, 4)), [...again]], [[], [99, 0]])
  })

  it("lets a later addition win", () => {
    const map = new NativeInstrumentMap()
    map.add(1, 10, 20, 100)
    map.add(1, 12, 13, 200)
    assert.deepStrictEqual(
      [11, 12, 13, 20].map((day) => map.get(1, day)),
      [100, 200, 100, undefined]
    )
  })
})
