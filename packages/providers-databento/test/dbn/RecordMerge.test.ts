import { assert, describe, it } from "vitest"
import { PlainSource } from "../../src/dbn/ByteSource.ts"
import { blankRecord, encodeMetadata, encodeRecord, StreamDecoder } from "../../src/dbn/index.ts"
import type { RecordBlock } from "../../src/dbn/RecordBlock.ts"
import { type BlockSource, mergeBlocks } from "../../src/dbn/RecordMerge.ts"

/** A stream of trades with these receive times, given out in blocks of at most `perBlock` records. */
const source = (id: number, times: ReadonlyArray<bigint>, perBlock: number): BlockSource => {
  const plain = new PlainSource()
  const decoder = new StreamDecoder(plain, {})
  const pending: Array<Uint8Array> = [encodeMetadata({ dataset: "XNAS.ITCH", schema: "trades" })]
  for (let at = 0; at < times.length; at += perBlock)
    pending.push(
      ...times.slice(at, at + perBlock).map((tsRecv, i) => {
        const trade = { ...blankRecord("trade"), instrumentId: id, sequence: at + i, tsEvent: 5n, tsRecv }
        return encodeRecord(trade, { version: 3 })
      })
    )
  return {
    next: async () => {
      for (;;) {
        const block = decoder.take()
        if (block !== undefined) return block
        const bytes = pending.shift()
        if (bytes === undefined) return undefined
        plain.push(bytes)
      }
    }
  }
}

const collect = async (sources: ReadonlyArray<BlockSource>): Promise<ReadonlyArray<string>> => {
  const out: Array<string> = []
  let records = 0
  const note = (block: RecordBlock): void => {
    records += block.length
    for (const record of block.records())
      if (record.type === "trade") out.push(`${record.tsRecv} ${record.instrumentId} ${record.sequence}`)
  }
  for await (const block of mergeBlocks(sources)) note(block)
  assert.strictEqual(records, out.length)
  return out
}

describe("mergeBlocks", () => {
  it("gives every record of every source, by time and at equal times by source", async () => {
    let state = 7
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 4294967296) * below)
    }
    for (let round = 0; round < 40; round++) {
      const tapes = Array.from({ length: 1 + random(5) }, () => {
        let time = BigInt(random(50)) + 4_294_967_000n
        return Array.from({ length: random(60) }, () => {
          time += BigInt(random(4) === 0 ? random(900) : random(2))
          return time
        })
      })
      const expected = tapes
        .flatMap((times, id) => times.map((time, i) => ({ time, id, text: `${time} ${id} ${i}` })))
        .sort((a, b) => (a.time === b.time ? a.id - b.id : a.time < b.time ? -1 : 1))
        .map(({ text }) => text)
      const sources = tapes.map((times, id) => source(id, times, 1 + random(20)))
      assert.deepStrictEqual(await collect(sources), expected, `round ${round}`)
    }
  })

  it("compares times beyond 2^63 as what they are", async () => {
    const late = 2n ** 64n - 2n
    assert.deepStrictEqual(await collect([source(0, [late], 1), source(1, [1n, 2n ** 63n], 1)]), [
      "1 1 0",
      `${2n ** 63n} 1 1`,
      `${late} 0 0`
    ])
  })
})
