import { batchContext, type MarketBatch, MarketSchema, TradeBatch } from "@data-manager/core"
import { SeededRandom } from "@data-manager/testing"
import { assert, describe, it } from "vitest"
import { DbnBatches } from "../../src/DbnBatches.ts"
import {
  blankRecord,
  decodeBlocks,
  encodeStream,
  type RecordBlock,
  type TradeRecord
} from "../../src/dbn/index.ts"
import { RecordFilter } from "../../src/live/RecordFilter.ts"
import { SeenRows } from "../../src/live/SeenRows.ts"
import { DATASET, TAPE_START, tape, trade } from "./Tape.ts"

const TRADES = MarketSchema.code("trades")
const context = batchContext({ provider: "databento", dataset: DATASET })

/** A stream without sockets: filter, batches, memory of what was given. */
class Pipeline {
  readonly seen = new SeenRows()
  readonly filter = new RecordFilter(this.seen, "mbp-1")
  readonly rows: Array<string> = []
  readonly #batches = new DbnBatches({ context, batchRows: 16 })

  feed(records: ReadonlyArray<TradeRecord>): void {
    for (const block of decodeBlocks([encodeStream({ dataset: DATASET }, records)], { bufferBytes: 4096 }))
      this.#batches.add(this.filter.isActive ? this.filter.apply(block) : block, this.#emit)
    this.#batches.flush(this.#emit)
  }

  readonly #emit = (batch: MarketBatch): void => {
    this.seen.count(batch)
    assert(batch instanceof TradeBatch)
    for (const row of batch.rows())
      this.rows.push(
        `${row.instrument} ${row.publisher} ${row.tsEvent} ${row.tradeKey} ${row.price?.mantissa}`
      )
  }
}

const rowsOf = (records: ReadonlyArray<TradeRecord>): ReadonlyArray<string> => {
  const pipeline = new Pipeline()
  pipeline.feed(records)
  return pipeline.rows
}

describe("going on after a break", () => {
  it("gives every row once, with the keys of the unbroken tape, wherever it breaks", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SeededRandom(seed)
      const all = tape(seed, 120, 0.15)
      const expected = rowsOf(all)
      const pipeline = new Pipeline()
      let given = 0
      while (given < all.length) {
        const to = Math.min(all.length, given + random.below(40))
        pipeline.feed(all.slice(given, to))
        given = to
        // The gateway sends again what lies at or after some time up to the lowest one; then goes on.
        const times = pipeline.seen.timesOf(TRADES)
        if (times === undefined) continue
        // Rows lie back 5 us at most: from a little further on back nothing new is missing in a replay.
        const start = times.lowest - BigInt(random.pick([5000, 6000, 10_000_000]))
        pipeline.filter.restart(new Map([[TRADES, start]]))
        const published = Math.min(all.length, given + random.below(10))
        const again = all.slice(0, published).filter((record) => record.tsEvent >= start)
        // A replay may be cut off, too.
        if (random.chance(0.3)) {
          const part = again.slice(0, random.below(again.length + 1))
          const fresh = part.filter((record) => all.indexOf(record) >= given)
          pipeline.feed(part)
          assert.deepStrictEqual(pipeline.rows.length, given + fresh.length, `seed ${seed}`)
          pipeline.filter.restart(new Map([[TRADES, start]]))
        }
        pipeline.feed(again)
        given = published
        if (random.chance(0.5)) pipeline.filter.finishReplay(TRADES)
      }
      assert.deepStrictEqual(pipeline.rows, expected, `seed ${seed}`)
    }
  })

  it("drops nothing once a replay is over, and stops working", () => {
    const pipeline = new Pipeline()
    pipeline.feed([trade({ sequence: 1 }), trade({ instrumentId: 9, tsEvent: TAPE_START + 5n, sequence: 2 })])
    pipeline.filter.restart(new Map([[TRADES, TAPE_START]]))
    assert.isTrue(pipeline.filter.isActive)
    pipeline.filter.finishReplay(TRADES)
    assert.isFalse(pipeline.filter.isActive)
    pipeline.filter.restart(new Map([[TRADES, TAPE_START]]))
    pipeline.feed([
      trade({ tsEvent: TAPE_START + 1n, sequence: 3 }),
      trade({ instrumentId: 9, tsEvent: TAPE_START + 6n, sequence: 4 })
    ])
    assert.isFalse(pipeline.filter.isActive, "every instrument has passed where it was")
    assert.strictEqual(pipeline.rows.length, 4)
  })

  it("repeats older rows rather than losing new ones, where not all of the older ones come again", () => {
    const pipeline = new Pipeline()
    const rows = [0n, 9000n, 2000n].map((after) => trade({ tsEvent: TAPE_START + after }))
    pipeline.feed(rows)
    assert.deepStrictEqual(pipeline.seen.timesOf(TRADES), {
      lowest: TAPE_START + 2000n,
      newest: TAPE_START + 9000n
    })
    pipeline.filter.restart(new Map([[TRADES, TAPE_START + 3000n]]))
    pipeline.feed([rows[1]!, trade({ tsEvent: TAPE_START + 4000n })])
    assert.strictEqual(pipeline.rows.length, 4)
    pipeline.filter.restart(new Map([[TRADES, TAPE_START + 2000n]]))
    pipeline.feed([
      rows[1]!,
      rows[2]!,
      trade({ tsEvent: TAPE_START + 4000n }),
      trade({ tsEvent: TAPE_START + 5000n })
    ])
    assert.strictEqual(pipeline.rows.length, 5)
    // Half an hour and more: only that it is long.
    pipeline.feed([trade({ tsEvent: TAPE_START - 3_600_000_000_000n })])
    assert.strictEqual(pipeline.seen.timesOf(TRADES)?.lowest, 0n)
  })

  it("does not count what gives no row", () => {
    const pipeline = new Pipeline()
    const cancel = trade({ action: "C", tsEvent: TAPE_START })
    pipeline.feed([trade({ sequence: 1 }), cancel, cancel])
    pipeline.filter.restart(new Map([[TRADES, TAPE_START]]))
    pipeline.feed([cancel, trade({ sequence: 1 }), cancel, trade({ sequence: 2 })])
    assert.strictEqual(pipeline.rows.length, 2)
    assert.isTrue(pipeline.rows[1]?.includes(`${(1n << 48n) | (2n << 16n)}`))
  })

  it("leaves other schemas alone", () => {
    const pipeline = new Pipeline()
    pipeline.feed([trade({ sequence: 1 })])
    pipeline.filter.restart(new Map([[MarketSchema.code("mbp-1"), TAPE_START]]))
    assert.isFalse(pipeline.filter.isActive)
  })
})

describe("the beginning of a stream", () => {
  const at = TAPE_START + 10_000n

  it("leaves out a microsecond that began before, and no other", () => {
    const pipeline = new Pipeline()
    pipeline.filter.begin(at, new Set([TRADES]), false)
    pipeline.feed([
      trade({ tsEvent: at - 1900n, sequence: 5 }),
      trade({ tsEvent: at - 1300n, sequence: 5 }),
      trade({ tsEvent: at - 200n, sequence: 6 }),
      trade({ instrumentId: 7, tsEvent: at, sequence: 7 }),
      trade({ tsEvent: at + 700n, sequence: 6 }),
      trade({ instrumentId: 8, tsEvent: at - 100_000_000_000n, sequence: 6 })
    ])
    assert.deepStrictEqual(
      pipeline.rows.map((row) => row.split(" ")[0]),
      ["5482", "7", "5482", "8"]
    )
  })

  it("tells what it left out behind the first row, and that alone", () => {
    const pipeline = new Pipeline()
    pipeline.filter.restart(new Map())
    pipeline.filter.begin(at, new Set([TRADES]), false)
    pipeline.feed([trade({ instrumentId: 6, tsEvent: at - 500n, tsRecv: at + 20n, sequence: 1 })])
    assert.deepStrictEqual(pipeline.filter.takeLeftOut(), [])
    pipeline.feed([
      trade({ instrumentId: 7, tsEvent: at + 1n, tsRecv: at + 50n, sequence: 2 }),
      trade({ instrumentId: 8, tsEvent: at - 500n, tsRecv: at + 2_060n, sequence: 3 }),
      trade({ instrumentId: 9, tsEvent: at - 100n, tsRecv: at + 70n, sequence: 4 })
    ])
    const leftOut = [{ code: TRADES, ids: new Set([8, 9]), first: at + 70n, last: at + 2_060n }]
    assert.deepStrictEqual(pipeline.filter.takeLeftOut(), leftOut)
    assert.deepStrictEqual(pipeline.filter.takeLeftOut(), [])
    assert.strictEqual(pipeline.rows.length, 1)
  })

  it("spares instruments that were there before, when symbols are added", () => {
    const pipeline = new Pipeline()
    pipeline.feed([trade({ tsEvent: at - 5000n, sequence: 4 })])
    pipeline.filter.begin(at, new Set([TRADES]), true)
    pipeline.feed([
      trade({ tsEvent: at - 1000n, sequence: 5 }),
      trade({ instrumentId: 7, tsEvent: at - 1000n, sequence: 5 }),
      trade({ instrumentId: 7, tsEvent: at + 1000n, sequence: 5 })
    ])
    assert.strictEqual(pipeline.rows.length, 3)
    pipeline.filter.endBeginnings()
    assert.isFalse(pipeline.filter.isActive)
  })

  it("mutes what nobody wants any more", () => {
    const pipeline = new Pipeline()
    pipeline.filter.mute(new Map([[TRADES, new Set([7])]]))
    pipeline.feed([trade({ sequence: 1 }), trade({ instrumentId: 7 }), trade({ sequence: 2 })])
    assert.strictEqual(pipeline.rows.length, 2)
  })
})

describe("rows seen", () => {
  it("counts each schema by its own clock, and grows", () => {
    const seen = new SeenRows()
    const records = [
      ...Array.from({ length: 3000 }, (_, i) =>
        trade({ instrumentId: i * 16, publisherId: i % 5, tsEvent: TAPE_START + BigInt(i) })
      ),
      blankRecord("bbo", {
        rtype: 0xc3,
        instrumentId: 1,
        publisherId: 1,
        tsRecv: TAPE_START - 50n,
        price: 1n,
        size: 1
      }),
      blankRecord("ohlcv", {
        rtype: 0x21,
        instrumentId: 1,
        publisherId: 1,
        tsEvent: TAPE_START - 99n,
        open: 1n
      }),
      blankRecord("mbp1", {
        instrumentId: 1,
        publisherId: 1,
        tsEvent: TAPE_START + 9n,
        tsRecv: TAPE_START + 70n
      })
    ]
    const batches = new DbnBatches({ context })
    const count = (batch: MarketBatch): void => seen.count(batch)
    for (const block of decodeBlocks([encodeStream({ dataset: DATASET }, records)])) batches.add(block, count)
    batches.flush(count)
    assert.deepStrictEqual(seen.timesOf(TRADES), { lowest: TAPE_START, newest: TAPE_START + 2999n })
    const at = (schema: MarketSchema.MarketSchema) => seen.timesOf(MarketSchema.code(schema))?.newest
    assert.strictEqual(at("bbo-1s"), TAPE_START - 50n)
    assert.strictEqual(at("ohlcv-1m"), TAPE_START - 99n)
    assert.strictEqual(at("mbp-1"), TAPE_START + 9n)
    assert.isUndefined(at("ohlcv-1s"))
    assert.isTrue(seen.has(2999 * 16, 2999 % 5, TRADES))
    assert.isFalse(seen.has(2999 * 16, 9, TRADES))
  })

  it("replaces ids of one day, and leaves batches of several days to the intervals", () => {
    const seen = new SeenRows()
    const asked: Array<string> = []
    const find = (native: number, day: number): number | undefined => {
      asked.push(`${native}/${day}`)
      return native === 9 ? undefined : native * 10
    }
    const day = Number(TAPE_START / 86_400_000_000_000n)
    const batch = batchOf([
      trade({ instrumentId: 1 }),
      trade({ instrumentId: 9 }),
      trade({ instrumentId: 1 })
    ])
    assert.deepStrictEqual(seen.assign(batch, find), [1])
    assert.deepStrictEqual([...batch.columns.instrument], [10, 9, 10])
    const again = batchOf([trade({ instrumentId: 1 }), trade({ instrumentId: 1 })])
    assert.deepStrictEqual(seen.assign(again, find), [])
    assert.deepStrictEqual(asked, [`1/${day}`, `9/${day}`])
    const later = trade({
      instrumentId: 1,
      tsEvent: TAPE_START + 86_400_000_000_000n,
      tsRecv: TAPE_START + 86_400_000_000_000n
    })
    const both = batchOf([trade({ instrumentId: 1 }), later])
    assert.isUndefined(seen.assign(both, find))
    const next = batchOf([later])
    assert.deepStrictEqual(seen.assign(next, find), [])
    assert.strictEqual(asked.at(-1), `1/${day + 1}`)
  })
})

const batchOf = (records: ReadonlyArray<TradeRecord>): TradeBatch => {
  const batches = new DbnBatches({ context })
  let out: MarketBatch | undefined
  const take = (batch: MarketBatch): void => {
    out = batch
  }
  for (const block of decodeBlocks([encodeStream({ dataset: DATASET }, records)]) as Iterable<RecordBlock>)
    batches.add(block, take)
  batches.flush(take)
  assert(out instanceof TradeBatch)
  return out
}
