import { assert, describe, it } from "@effect/vitest"
import {
  BatchBuilder,
  BatchLayout,
  batchContext,
  TradeBatch,
  TradeLayout,
  tradeBuilder
} from "../src/index.ts"

const context = batchContext({ provider: "test", dataset: "TEST" })

const put = (builder: ReturnType<typeof tradeBuilder>, count: number, from = 0): void => {
  for (let n = 0; n < count; n++) {
    const i = builder.length
    builder.columns.tsEvent[i] = BigInt(from + n)
    builder.columns.price[i] = BigInt(-(from + n))
    builder.columns.instrument[i] = from + n
    builder.columns.depth[i] = (from + n) % 256
    builder.length += 1
  }
}

const instruments = (batch: TradeBatch): Array<number> => [...batch.columns.instrument]
const span = (count: number, from = 0): Array<number> => Array.from({ length: count }, (_, n) => from + n)

describe("BatchBuilder", () => {
  it("has a capacity that is a multiple of 8 and says when it is full", () => {
    const builder = tradeBuilder(context, 10)
    assert.strictEqual(builder.capacity, 16)
    assert.isFalse(builder.isFull)
    put(builder, 15)
    assert.isFalse(builder.isFull)
    put(builder, 1)
    assert.isTrue(builder.isFull)
  })

  // 64 rows: 16 and more hand their memory over, fewer are copied into memory of their own.
  for (const rows of [64, 40, 16, 15, 3, 1])
    it(`hands over ${rows} of 64 rows; later writes do not touch them`, () => {
      const builder = tradeBuilder(context, 64)
      put(builder, rows)
      const before = builder.columns
      const batch = builder.flush()
      assert.strictEqual(batch.length, rows)
      assert.strictEqual(batch.columns.instrument.length, rows)
      assert.strictEqual(builder.length, 0)
      put(builder, 64, 1_000)
      const second = builder.flush()
      put(builder, 64, 2_000)
      assert.deepStrictEqual(instruments(batch), span(rows))
      assert.deepStrictEqual(
        [...batch.columns.price],
        span(rows).map((n) => BigInt(-n))
      )
      assert.deepStrictEqual(instruments(second), span(64, 1_000))
      assert.notStrictEqual(batch.columns.price.buffer, second.columns.price.buffer)
      assert.notStrictEqual(batch.columns.price.buffer, builder.columns.price.buffer)
      if (rows >= 16) assert.strictEqual(batch.columns.price.buffer, before.price.buffer)
    })

  it("gives a sparse batch memory of its own size", () => {
    const builder = tradeBuilder(context, 65_536)
    put(builder, 1)
    const batch = builder.flush()
    assert.strictEqual(batch.columns.price.buffer.byteLength, 8 * BatchLayout.rowBytes(TradeLayout))
    put(builder, 40_000)
    assert.strictEqual(
      builder.flush().columns.price.buffer.byteLength,
      65_536 * BatchLayout.rowBytes(TradeLayout)
    )
  })

  it("says how many rows its memory is laid out for, as long as every column is in its place", () => {
    const places = (batch: TradeBatch): ReadonlyArray<number> => {
      let bytes = 0
      return Object.entries(TradeLayout).map(([name, { type }]) => {
        const at = bytes * batch.room
        bytes += Number(type.slice(1)) / 8
        return batch.columns[name as keyof typeof TradeLayout].byteOffset - at
      })
    }
    for (const [rows, room] of [
      [64, 64],
      [40, 64],
      [15, 16],
      [1, 8]
    ] as const) {
      const builder = tradeBuilder(context, 64)
      put(builder, rows)
      const batch = builder.flush()
      assert.strictEqual(batch.room, room)
      assert.isTrue(places(batch).every((distance) => distance === 0))
      assert.strictEqual(batch.slice(0, 1).room, room)
      if (rows > 1) assert.strictEqual(batch.slice(1).room, 0)
      const { columns } = batch
      const swapped = { ...batch, columns: { ...columns, price: columns.size } }
      assert.strictEqual(new TradeBatch(context, swapped, rows).room, 0)
    }
  })

  it("gives zeros to the writer that follows a sparse flush", () => {
    const builder = tradeBuilder(batchContext({ provider: "test", dataset: "TEST" }), 1024)
    for (let i = 0; i < 3; i++) {
      builder.columns.depth[i] = 7
      builder.columns.price[i] = 9n
    }
    builder.length = 3
    const first = builder.flush()
    builder.length = 3
    const second = builder.flush()
    assert.deepStrictEqual([...first.columns.depth, ...second.columns.depth], [7, 7, 7, 0, 0, 0])
    assert.deepStrictEqual([...first.columns.price, ...second.columns.price], [9n, 9n, 9n, 0n, 0n, 0n])
  })

  it("flushes nothing as an empty batch, as often as asked", () => {
    const builder = tradeBuilder(context, 64)
    for (let n = 0; n < 3; n++) {
      const batch = builder.flush()
      assert.strictEqual(batch.length, 0)
      assert.strictEqual(batch.columns.price.length, 0)
      assert.deepStrictEqual([...batch.rows()], [])
    }
  })

  it("keeps word views and values in step through a flush", () => {
    const builder = tradeBuilder(context, 8)
    builder.words.tradeKey[0] = -2
    builder.words.tradeKey[1] = 3
    builder.length = 1
    const batch = builder.flush()
    assert.strictEqual(batch.columns.tradeKey[0], (3n << 32n) + 0xfffffffen)
    assert.deepStrictEqual([...batch.words.tradeKey], [-2, 3])
  })

  it("builds any class over any layout", () => {
    const layout = { wide: BatchLayout.column("i64"), narrow: BatchLayout.lanes("u8", 3) } as const
    const builder = new BatchBuilder(layout, 8, (set, length) => [
      ...set.columns.narrow.subarray(0, length * 3)
    ])
    builder.columns.narrow.set([1, 2, 3, 4, 5, 6])
    builder.length = 2
    assert.deepStrictEqual(builder.flush(), [1, 2, 3, 4, 5, 6])
  })
})

describe("slice", () => {
  const builder = tradeBuilder(context, 64)
  put(builder, 64)
  const batch = builder.flush()

  it("shares the memory and shows the rows asked for", () => {
    const part = batch.slice(10, 20)
    assert.strictEqual(part.length, 10)
    assert.strictEqual(part.columns.price.buffer, batch.columns.price.buffer)
    assert.strictEqual(part.words.price.buffer, batch.columns.price.buffer)
    assert.deepStrictEqual(instruments(part), span(10, 10))
    assert.deepStrictEqual(
      [...part.words.tsEvent].filter((_, i) => i % 2 === 0),
      span(10, 10)
    )
    assert.deepStrictEqual(instruments(part.slice(2, 5)), span(3, 12))
    assert.deepStrictEqual(instruments(batch.slice(60)), span(4, 60))
  })

  it("clamps to the rows that there are", () => {
    assert.deepStrictEqual(instruments(batch.slice(-5, 2)), [0, 1])
    assert.deepStrictEqual(instruments(batch.slice(62, 1_000)), [62, 63])
    assert.strictEqual(batch.slice(10, 5).length, 0)
    assert.strictEqual(batch.slice(64).length, 0)
    assert.strictEqual(batch.slice(1_000, 2_000).length, 0)
    assert.strictEqual(batch.slice(0, 0).length, 0)
  })

  it("cuts text ids with their rows", () => {
    const texts = span(64).map((n) => `id-${n}`)
    const named = new TradeBatch(batch.context, batch, 64, texts)
    assert.strictEqual(named.tradeIdAt(5), "id-5")
    assert.strictEqual(named.slice(10, 20).tradeIdAt(0), "id-10")
    assert.deepStrictEqual(named.slice(62).textIds, ["id-62", "id-63"])
  })
})
