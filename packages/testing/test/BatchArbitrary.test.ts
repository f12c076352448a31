import {
  ABSENT_I64,
  ABSENT_U32,
  batchContext,
  Decimal,
  type MarketBatch,
  MarketSchema,
  type Trade,
  UnixNanos
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { BarModel, BatchArbitrary, BatchRow, SeededRandom } from "../src/index.ts"

const context = batchContext({ provider: "test", dataset: "TEST" })
const start = UnixNanos.parse("2024-03-05T12:00:00Z")!
const options = { context, instruments: [3, 7, 9], rows: 700, start }

const generators: ReadonlyArray<
  readonly [string, (seed: number, values: "grid" | "extreme") => MarketBatch]
> = [
  ["trades", (seed, values) => BatchArbitrary.trades(new SeededRandom(seed), { ...options, values })],
  ...MarketSchema.all
    .filter((schema) => MarketSchema.kind(schema) === "quotes" || MarketSchema.kind(schema) === "book")
    .map(
      (schema) =>
        [
          schema,
          (seed: number, values: "grid" | "extreme"): MarketBatch =>
            MarketSchema.kind(schema) === "quotes"
              ? BatchArbitrary.quotes(new SeededRandom(seed), { ...options, values, schema })
              : BatchArbitrary.books(new SeededRandom(seed), { ...options, values, schema })
        ] as const
    ),
  ["bars", (seed, values) => BatchArbitrary.bars(new SeededRandom(seed), { ...options, values, seconds: 60 })]
]

const texts = (batch: MarketBatch): ReadonlyArray<string> => BatchRow.of(batch).map(BatchRow.text)

describe.each(generators)("generated %s", (_, make) => {
  it("are the same for one seed and others for another", () => {
    assert.deepStrictEqual(texts(make(1, "grid")), texts(make(1, "grid")))
    assert.notDeepEqual(texts(make(1, "grid")), texts(make(2, "grid")))
    assert.deepStrictEqual(texts(make(1, "extreme")), texts(make(1, "extreme")))
  })

  it("lie in the period, in time order, each row with an identity of its own", () => {
    for (const values of ["grid", "extreme"] as const) {
      const rows = BatchRow.of(make(3, values))
      assert.strictEqual(rows.length, 700)
      assert.strictEqual(new Set(rows.map(BatchRow.identity)).size, 700)
      assert.deepStrictEqual(new Set(rows.map((row) => row.instrument)), new Set([3, 7, 9]))
      for (const [i, row] of rows.entries()) {
        assert.isTrue(row.time >= start)
        assert.isTrue(i === 0 || rows[i - 1]!.time <= row.time)
      }
    }
  })
})

describe("generated trades", () => {
  const make = (more: object) =>
    BatchArbitrary.trades(new SeededRandom(5), { ...options, rows: 2_000, ...more })

  it("share nanoseconds, microseconds and sequences", () => {
    const rows = BatchRow.of(make({}))
    const pairs = rows.slice(1).map((row, i) => [rows[i]!, row] as const)
    const micro = (row: BatchRow.BatchRow) => UnixNanos.floorMicros(row.time)
    assert.isAbove(pairs.filter(([a, b]) => a.time === b.time).length, 100)
    assert.isAbove(pairs.filter(([a, b]) => a.time !== b.time && micro(a) === micro(b)).length, 100)
    assert.isAbove(rows.filter((row) => (row.key & 0xffffn) > 0n).length, 10)
    const lonely = BatchRow.of(make({ bursts: 0 }))
    assert.isBelow(lonely.slice(1).filter((row, i) => lonely[i]!.time === row.time).length, 3)
  })

  it("have absent values as often as asked", () => {
    const absent = (batch: ReturnType<typeof make>) =>
      [...batch.rows()].filter((row) => row.price === undefined).length
    assert.strictEqual(absent(make({ absent: 0 })), 0)
    const some = absent(make({ absent: 0.25 }))
    assert.isTrue(some > 400 && some < 600, `${some} of 2,000`)
  })

  it("fit two decimal places on the grid, and reach every edge in extremes", () => {
    for (const row of make({ priceExponent: -4, sizeExponent: -3 }).rows()) {
      if (row.price !== undefined)
        assert.isDefined(Decimal.rescale(row.price.mantissa, row.price.exponent, -2))
      if (row.size !== undefined) assert.isDefined(Decimal.rescale(row.size.mantissa, row.size.exponent, 0))
    }
    const extreme = make({ values: "extreme", rows: 3_000 })
    const mantissas = new Set(extreme.columns.price)
    for (const mantissa of [...BatchArbitrary.extremeMantissas, ABSENT_I64])
      assert.isTrue(mantissas.has(mantissa))
    const exponents = new Set(extreme.columns.priceExponent)
    assert.deepStrictEqual([Math.min(...exponents), Math.max(...exponents)], [-18, 6])
    assert.deepStrictEqual(new Set(extreme.columns.side), new Set([0, 1, 2]))
    assert.isTrue([...extreme.columns.flags].includes(255))
  })

  it("carry the ids that their context names", () => {
    const venue = make({ context: { ...context, keyKind: "venue-id" as const } })
    assert.strictEqual(venue.tradeIdAt(1), "5000000001")
    const text = make({ context: { ...context, keyKind: "text-hash" as const } })
    assert.match(text.tradeIdAt(1), /^id\/1 /)
    assert.strictEqual(text.textIds?.length, 2_000)
  })
})

describe("generated books and bars", () => {
  it("have 0 to 10 levels, whose empty ones have no price", () => {
    const book = BatchArbitrary.books(new SeededRandom(6), { ...options, schema: "mbp-10" })
    const filled = [...book.rows()].map((row) => row.bids.filter((level) => level.price !== undefined).length)
    assert.deepStrictEqual(new Set(filled), new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
    assert.isTrue([...book.columns.bidCount].includes(ABSENT_U32))
    for (const row of book.rows())
      assert.deepStrictEqual(
        row.bids.map((level) => level.price !== undefined).sort((a, b) => Number(b) - Number(a)),
        row.bids.map((level) => level.price !== undefined),
        "filled levels come first"
      )
  })

  it("start at multiples of their length, with volumes beyond 64 bits in extremes", () => {
    const bars = BatchArbitrary.bars(new SeededRandom(7), { ...options, seconds: 3600, values: "extreme" })
    for (const time of bars.columns.tsEvent) assert.strictEqual(time % 3_600_000_000_000n, 0n)
    assert.isTrue([...bars.rows()].some((row) => row.volume.mantissa > 2n ** 64n))
  })
})

describe("BarModel", () => {
  const trade = (
    seconds: number,
    price: number | undefined,
    size: number | undefined,
    more: Partial<Trade> = {}
  ): Trade => ({
    tsEvent: start + BigInt(Math.round(seconds * 1e9)),
    tsRecv: undefined,
    instrument: 1,
    symbol: "",
    rawSymbol: "",
    provider: "",
    dataset: "",
    exchange: undefined,
    price: price === undefined ? undefined : Decimal.parse(String(price)),
    size: size === undefined ? undefined : Decimal.parse(String(size)),
    side: "none",
    tradeId: "",
    tradeKey: 0n,
    publisher: 0,
    flags: 0,
    depth: 0,
    tsInDelta: undefined,
    ...more
  })
  const lines = (trades: ReadonlyArray<Trade>, timeframe: "1m" | "1h", fill?: boolean) =>
    BarModel.bars(trades, timeframe, fill).map(
      (row) => `${UnixNanos.toIso(row.time).slice(11, 19)} ${row.content}`
    )

  it("gives the bars that one computes by hand", () => {
    const trades = [
      trade(61, 10.5, 1),
      trade(0, 10, 2.5),
      trade(59.999999999, 9.75, 3),
      trade(30, 12, undefined),
      trade(20, undefined, 100),
      trade(300, 11, 1)
    ]
    assert.deepStrictEqual(lines(trades, "1m"), [
      "12:00:00 open 10 high 12 low 9.75 close 9.75 volume 5.5 trades 3",
      "12:01:00 open 10.5 high 10.5 low 10.5 close 10.5 volume 1 trades 1",
      "12:05:00 open 11 high 11 low 11 close 11 volume 1 trades 1"
    ])
    assert.deepStrictEqual(lines(trades, "1h"), [
      "12:00:00 open 10 high 12 low 9.75 close 11 volume 7.5 trades 5"
    ])
    assert.deepStrictEqual(lines(trades, "1m", true).slice(2, 5), [
      "12:02:00 open 10.5 high 10.5 low 10.5 close 10.5 volume 0 trades 0",
      "12:03:00 open 10.5 high 10.5 low 10.5 close 10.5 volume 0 trades 0",
      "12:04:00 open 10.5 high 10.5 low 10.5 close 10.5 volume 0 trades 0"
    ])
  })

  it("decides equal times by tsRecv, absent last, and key", () => {
    const trades = [
      trade(1, 1, 1, { tradeKey: 0n }),
      trade(1, 2, 1, { tsRecv: 5n, tradeKey: 9n }),
      trade(1, 3, 1, { tsRecv: 5n, tradeKey: 8n }),
      trade(1, 4, 1, { tradeKey: -1n })
    ]
    assert.deepStrictEqual(lines(trades, "1m"), ["12:00:00 open 3 high 4 low 1 close 1 volume 4 trades 4"])
  })
})

describe("BatchRow", () => {
  it("reads equal numbers as equal rows, and gathers rows of every kind", () => {
    for (const [name, make] of generators) {
      const batch = make(8, "grid")
      const rows = [5, 0, 5, 699]
      assert.deepStrictEqual(
        texts(BatchRow.select(batch, rows)),
        rows.map((i) => texts(batch)[i]!),
        name
      )
    }
    const batch = BatchArbitrary.trades(new SeededRandom(9), { ...options, rows: 1, absent: 0 })
    const other = BatchRow.select(batch, [0])
    other.columns.price[0]! *= 1000n
    other.columns.priceExponent[0]! -= 3
    assert.deepStrictEqual(texts(other), texts(batch))
    other.columns.price[0]! += 1n
    assert.notDeepEqual(texts(other), texts(batch))
  })
})
