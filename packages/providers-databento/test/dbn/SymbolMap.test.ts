import { assert, describe, it } from "vitest"
import {
  blankRecord,
  DbnError,
  type DbnMetadata,
  type DbnRecord,
  dateOfDay,
  dayOfDate,
  dayOfWords,
  decodeBlocks,
  decodeMetadata,
  encodeMetadata,
  encodeStream,
  isDate,
  NANOS_PER_DAY,
  PitSymbolMap,
  type SymbolInterval,
  type SymbolMapping,
  TsSymbolMap
} from "../../src/dbn/index.ts"
import { forSeeds } from "./RecordArbitrary.ts"

const metadata = (mappings: ReadonlyArray<SymbolMapping>, rest: Partial<DbnMetadata> = {}): DbnMetadata =>
  decodeMetadata(
    encodeMetadata({ dataset: "X", stypeIn: "raw_symbol", stypeOut: "instrument_id", mappings, ...rest })
  )

const day = (date: number): number => dayOfDate(date)!

const continuous: ReadonlyArray<SymbolMapping> = [
  {
    rawSymbol: "ES.c.0",
    intervals: [
      { startDate: 20251201, endDate: 20251219, symbol: "5482" },
      { startDate: 20251219, endDate: 20260101, symbol: "10252" }
    ]
  },
  {
    rawSymbol: "NQ.c.0",
    intervals: [
      { startDate: 20251201, endDate: 20251210, symbol: "" },
      { startDate: 20251210, endDate: 20260101, symbol: "3403" }
    ]
  }
]

describe("the map of a file", () => {
  it("finds the symbol of an id on each day, ends being exclusive", () => {
    const map = TsSymbolMap.fromMetadata(metadata(continuous))
    assert.strictEqual(map.size, 3)
    assert.strictEqual(map.onDay(5482, day(20251201)), "ES.c.0")
    assert.strictEqual(map.onDay(5482, day(20251218)), "ES.c.0")
    assert.isUndefined(map.onDay(5482, day(20251219)))
    assert.isUndefined(map.onDay(5482, day(20251130)))
    assert.strictEqual(map.onDay(10252, day(20251219)), "ES.c.0")
    assert.isUndefined(map.onDay(3403, day(20251209)))
    assert.isUndefined(map.onDay(1, day(20251209)))
  })

  it("takes the UTC day of a time to the nanosecond", () => {
    const map = TsSymbolMap.fromMetadata(metadata(continuous))
    const midnight = BigInt(day(20251219)) * NANOS_PER_DAY
    assert.strictEqual(map.at(5482, midnight - 1n), "ES.c.0")
    assert.isUndefined(map.at(5482, midnight))
    assert.strictEqual(map.at(10252, midnight), "ES.c.0")
    assert.isUndefined(map.at(10252, midnight - 1n))
  })

  it("reads mappings from ids to symbols as well", () => {
    const inverse = metadata(
      [{ rawSymbol: "5482", intervals: [{ startDate: 20251201, endDate: 20251202, symbol: "ESZ5" }] }],
      { stypeIn: "instrument_id", stypeOut: "raw_symbol" }
    )
    assert.strictEqual(TsSymbolMap.fromMetadata(inverse).onDay(5482, day(20251201)), "ESZ5")
  })

  it("refuses mappings without ids, ids that are none, and intervals that end before they begin", () => {
    const interval = (symbol: string, startDate = 20251201, endDate = 20251202) => [
      { rawSymbol: "A", intervals: [{ startDate, endDate, symbol }] }
    ]
    const both = metadata(interval("B"), { stypeIn: "parent", stypeOut: "raw_symbol" })
    assert.throws(() => TsSymbolMap.fromMetadata(both), /has to be instrument_id/)
    for (const text of ["B", "-1", "1.5", "4294967296", "1e3", " 7"])
      assert.throws(() => TsSymbolMap.fromMetadata(metadata(interval(text))), DbnError, undefined, text)
    assert.throws(
      () => TsSymbolMap.fromMetadata(metadata(interval("1", 20251202, 20251201))),
      /before it begins/
    )
    assert.strictEqual(TsSymbolMap.fromMetadata(metadata(interval("1", 20251202, 20251202))).size, 0)
    assert.strictEqual(TsSymbolMap.fromMetadata(metadata([], { stypeIn: null })).size, 0)
  })

  it("equals a map of days written in order, for any intervals", () => {
    forSeeds(300, (random) => {
      const intervals: Array<SymbolInterval> = Array.from({ length: random.below(40) }, (_, i) => {
        const start = random.below(60)
        return {
          instrumentId: random.below(3),
          start,
          end: start + 1 + random.below(20),
          symbol: `S${i % 7}`
        }
      })
      const days = new Map<string, string>()
      for (const { instrumentId, start, end, symbol } of intervals)
        for (let d = start; d < end; d++) days.set(`${instrumentId}/${d}`, symbol)
      const map = new TsSymbolMap(intervals)
      for (let id = 0; id < 4; id++)
        for (let d = -1; d < 85; d++) assert.strictEqual(map.onDay(id, d), days.get(`${id}/${d}`))
    })
  })

  it("is made from very many overlapping intervals within the time of a test", () => {
    const intervals = Array.from({ length: 100_000 }, (_, i) => ({
      instrumentId: 1,
      start: i % 5000,
      end: 20_000 + (i % 7919),
      symbol: `S${i}`
    }))
    assert.strictEqual(new TsSymbolMap(intervals).onDay(1, 6000), "S99999")
  })
})

describe("the map of a day", () => {
  it("takes the mappings of that day, which has to be inside the range", () => {
    const own = metadata(continuous, {
      start: BigInt(day(20251201)) * NANOS_PER_DAY,
      end: BigInt(day(20260101)) * NANOS_PER_DAY
    })
    const map = PitSymbolMap.fromMetadata(own, day(20251220))
    assert.deepStrictEqual(
      [...map.entries()].sort(([a], [b]) => a - b),
      [
        [3403, "NQ.c.0"],
        [10252, "ES.c.0"]
      ]
    )
    assert.throws(() => PitSymbolMap.fromMetadata(own, day(20251130)), /outside the range/)
    // The end is midnight: that day is no longer part of it.
    assert.throws(() => PitSymbolMap.fromMetadata(own, day(20260101)), /outside the range/)
    const longer = { ...own, end: BigInt(day(20260101)) * NANOS_PER_DAY + 1n }
    assert.strictEqual(PitSymbolMap.fromMetadata(longer, day(20260101)).size, 0)
  })

  it("follows mapping and definition records of every version, the last one winning", () => {
    const streams = [
      encodeStream({ dataset: "X" }, [
        blankRecord("symbol_mapping", { instrumentId: 7, stypeInSymbol: "ES.FUT", stypeOutSymbol: "ESH6" }),
        blankRecord("symbol_mapping", { instrumentId: 8, stypeOutSymbol: "ESM6" }),
        blankRecord("instrument_def", { instrumentId: 7, rawSymbol: "ESU6" })
      ]),
      encodeStream(
        { dataset: "X" },
        [
          blankRecord("symbol_mapping_v1", { instrumentId: 9, stypeOutSymbol: "NQH6" }) as DbnRecord,
          blankRecord("instrument_def_v1", { instrumentId: 10, rawSymbol: "NQM6" }) as DbnRecord
        ],
        1
      )
    ]
    const map = new PitSymbolMap()
    const seen: Array<string | undefined> = []
    for (const stream of streams)
      for (const block of decodeBlocks([stream]))
        for (const p of block.positions()) seen.push(map.symbolOf(block, p))
    assert.deepStrictEqual(seen, ["ESH6", "ESM6", "ESU6", "NQH6", "NQM6"])
    assert.strictEqual(map.get(7), "ESU6")
    map.onRecord(blankRecord("symbol_mapping", { instrumentId: 7, stypeOutSymbol: "ESZ6" }))
    assert.strictEqual(map.get(7), "ESZ6")
  })

  it("looks records of a file up by ts_recv where they have one, otherwise by ts_event", () => {
    const map = TsSymbolMap.fromMetadata(metadata(continuous))
    const midnight = BigInt(day(20251219)) * NANOS_PER_DAY
    const bytes = encodeStream({ dataset: "X" }, [
      blankRecord("trade", { instrumentId: 5482, tsEvent: midnight - 5n, tsRecv: midnight }),
      blankRecord("trade", { instrumentId: 10252, tsEvent: midnight - 5n, tsRecv: midnight }),
      blankRecord("ohlcv", { rtype: 0x20, instrumentId: 10252, tsEvent: midnight })
    ])
    const symbols: Array<string | undefined> = []
    for (const block of decodeBlocks([bytes]))
      for (const p of block.positions()) symbols.push(map.symbolOf(block, p))
    assert.deepStrictEqual(symbols, [undefined, "ES.c.0", "ES.c.0"])
  })
})

describe("days", () => {
  it("are those of the calendar", () => {
    for (let d = -800_000; d < 2_900_000; d += 997) {
      const date = new Date(d * 86_400_000)
      if (date.getUTCFullYear() < 1 || date.getUTCFullYear() > 9999) continue
      const number = date.getUTCFullYear() * 10000 + (date.getUTCMonth() + 1) * 100 + date.getUTCDate()
      assert.strictEqual(dateOfDay(d), number)
      assert.strictEqual(dayOfDate(number), d)
    }
    for (const none of [0, 20230229, 20231301, 20230100, 20230132, 20230431, -1, 1.5, 99991232])
      assert.isFalse(isDate(none), String(none))
    assert.isTrue(isDate(20240229))
  })

  it("are exact for every u64 around midnight", () => {
    const check = (nanos: bigint): void => {
      const words = new Uint32Array(new BigUint64Array([nanos]).buffer)
      assert.strictEqual(dayOfWords(words[0]! | 0, words[1]! | 0), Number(nanos / NANOS_PER_DAY))
    }
    for (let d = 0n; d <= 213_503n; d += 97n)
      for (const shift of [-1n, 0n, 1n, 65_535n]) if (d > 0n || shift >= 0n) check(d * NANOS_PER_DAY + shift)
    check(2n ** 64n - 1n)
  })
})
