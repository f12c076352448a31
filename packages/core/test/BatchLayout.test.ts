import { assert, describe, it } from "@effect/vitest"
import { BarLayout, BatchLayout, BookLayout, QuoteLayout, TradeLayout } from "../src/index.ts"

const widths: Record<BatchLayout.ColumnType, number> = {
  i64: 8,
  u64: 8,
  i32: 4,
  u32: 4,
  u16: 2,
  i8: 1,
  u8: 1
}

/** Name, type, values per row and byte offset of every column in a batch of `rows` rows. */
const picture = (layout: BatchLayout.BatchLayout, rows: number): ReadonlyArray<string> => {
  const set = BatchLayout.allocate(layout, rows)
  return Object.entries(layout).map(([name, spec]) => {
    const view = set.columns[name]!
    assert.strictEqual(view.length, rows * spec.lanes)
    assert.strictEqual(view.buffer, set.buffer)
    assert.strictEqual(view.BYTES_PER_ELEMENT, widths[spec.type])
    return `${view.byteOffset} ${name} ${spec.type}${spec.lanes === 1 ? "" : ` x${spec.lanes}`}`
  })
}

// These pictures are the memory format of batches: transports and native readers rely on it.
const pins = [
  {
    name: "trade",
    layout: TradeLayout,
    bytes: 55,
    offsets: [
      "0 tsEvent i64", "64 tsRecv i64", "128 tradeKey i64", "192 price i64", "256 size i64", "320 instrument u32",
      "352 tsInDelta i32", "384 publisher u16", "400 priceExponent i8", "408 sizeExponent i8", "416 side u8",
      "424 flags u8", "432 depth u8"
    ]
  },
  {
    name: "quote",
    layout: QuoteLayout,
    bytes: 101,
    offsets: [
      "0 tsEvent i64", "64 tsRecv i64", "128 quoteKey i64", "192 bidPrice i64", "256 askPrice i64", "320 price i64",
      "384 bidSize i64", "448 askSize i64", "512 size i64", "576 bidCount u32", "608 askCount u32", "640 instrument u32",
      "672 tsInDelta i32", "704 publisher u16", "720 bidPublisher u16", "736 askPublisher u16", "752 priceExponent i8",
      "760 sizeExponent i8", "768 schema u8", "776 side u8", "784 action u8", "792 flags u8", "800 depth u8"
    ]
  },
  {
    name: "bar",
    layout: BarLayout,
    bytes: 77,
    offsets: [
      "0 tsEvent i64", "64 open i64", "128 high i64", "192 low i64", "256 close i64", "320 volumeLow u64",
      "384 volumeHigh i64", "448 tradeCount i64", "512 instrument u32", "544 seconds u32", "576 publisher u16",
      "592 priceExponent i8", "600 volumeExponent i8", "608 source u8"
    ]
  },
  {
    name: "book",
    layout: BookLayout,
    bytes: 457,
    offsets: [
      "0 tsEvent i64", "64 tsRecv i64", "128 bookKey i64", "192 price i64", "256 size i64", "320 bidPrice i64 x10",
      "960 askPrice i64 x10", "1600 bidSize i64 x10", "2240 askSize i64 x10", "2880 bidCount u32 x10",
      "3200 askCount u32 x10", "3520 instrument u32", "3552 tsInDelta i32", "3584 publisher u16",
      "3600 priceExponent i8", "3608 sizeExponent i8", "3616 schema u8", "3624 side u8", "3632 action u8",
      "3640 flags u8", "3648 depth u8"
    ]
  }
] as const // biome-ignore format: tables

describe("memory format", () => {
  it.each(pins)("of a $name batch is pinned", ({ layout, bytes, offsets }) => {
    assert.strictEqual(BatchLayout.rowBytes(layout), bytes)
    assert.deepStrictEqual(picture(layout, 8), [...offsets])
    assert.strictEqual(BatchLayout.allocate(layout, 8).buffer.byteLength, 8 * bytes)
  })

  it.each(pins)("of a $name batch scales with the capacity and stays aligned", ({ layout, bytes }) => {
    for (const rows of [8, 16, 1000, 65_536]) {
      const set = BatchLayout.allocate<BatchLayout.BatchLayout>(layout, rows)
      assert.strictEqual(set.buffer.byteLength, rows * bytes)
      let end = 0
      for (const [name, spec] of Object.entries<BatchLayout.ColumnSpec>(layout)) {
        const view = set.columns[name]!
        assert.strictEqual(view.byteOffset, end)
        assert.strictEqual(view.byteOffset % widths[spec.type], 0)
        end = view.byteOffset + view.byteLength
      }
      assert.strictEqual(end, set.buffer.byteLength)
    }
  })

  it("puts wide columns before narrow ones", () => {
    for (const { layout } of pins) {
      const order = Object.values<BatchLayout.ColumnSpec>(layout).map((spec) => widths[spec.type])
      assert.deepStrictEqual(
        order,
        [...order].sort((a, b) => b - a)
      )
    }
  })

  it("rounds the capacity up to a multiple of 8, at least 8", () => {
    for (const [rows, capacity] of [
      [0, 8],
      [1, 8],
      [8, 8],
      [9, 16],
      [1000, 1000],
      [1001, 1008]
    ] as const)
      assert.strictEqual(BatchLayout.allocate(TradeLayout, rows).capacity, capacity)
  })

  it("is little-endian: the low word of a 64-bit column comes first", () => {
    const set = BatchLayout.allocate(TradeLayout, 8)
    set.columns.price[3] = 0x0123456789abcdefn
    assert.deepStrictEqual([set.words.price[6]! >>> 0, set.words.price[7]! >>> 0], [0x89abcdef, 0x01234567])
    assert.strictEqual(
      new DataView(set.buffer).getBigInt64(set.columns.price.byteOffset + 24, true),
      0x0123456789abcdefn
    )
    assert.deepStrictEqual(Object.keys(set.words), ["tsEvent", "tsRecv", "tradeKey", "price", "size"])
  })
})

describe("window", () => {
  it("shows rows of the same memory, lanes and words included", () => {
    const set = BatchLayout.allocate(BookLayout, 16)
    for (let i = 0; i < 160; i++) set.columns.bidPrice[i] = BigInt(i)
    for (let i = 0; i < 16; i++) set.columns.instrument[i] = i
    const part = BatchLayout.window(BookLayout, set, 3, 5)
    assert.deepStrictEqual([...part.columns.instrument], [3, 4])
    assert.deepStrictEqual(
      [...part.columns.bidPrice],
      Array.from({ length: 20 }, (_, i) => BigInt(30 + i))
    )
    assert.strictEqual(part.words.bidPrice.length, 40)
    assert.strictEqual(part.words.bidPrice[0], 30)
    assert.strictEqual(part.columns.bidPrice.buffer, set.buffer)
    const inner = BatchLayout.window(BookLayout, part, 1, 2)
    assert.deepStrictEqual([inner.columns.instrument[0], inner.columns.bidPrice[0]], [4, 40n])
  })
})

describe("packed", () => {
  it("shows columns that stand one after another, and is the layout of a batch for whole eights of rows alone", () => {
    for (const layout of [TradeLayout, QuoteLayout, BarLayout, BookLayout])
      for (const rows of [0, 1, 5, 8, 13, 16]) {
        const set = BatchLayout.packed(layout, new ArrayBuffer(rows * BatchLayout.rowBytes(layout)), rows)
        let offset = 0
        for (const [name, { lanes }] of Object.entries<BatchLayout.ColumnSpec>(layout)) {
          const column = (set.columns as unknown as Record<string, Uint8Array>)[name]!
          assert.deepStrictEqual([column.byteOffset, column.length], [offset, rows * lanes], name)
          offset += column.byteLength
        }
        assert.strictEqual(offset, set.buffer.byteLength)
        assert.strictEqual(set.room, rows % 8 === 0 ? rows : 0)
      }
  })
})
