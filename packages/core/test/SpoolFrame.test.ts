import { assert, describe, it } from "@effect/vitest"
import { batchContext, directory, type FeedEntry, SpoolFrame, tradeBuilder } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"
import { assertSameBatch, context, kinds, layouts, notes, randomBatch, randomEntry } from "./SpoolEntries.ts"

interface Written {
  readonly memory: SpoolFrame.FrameMemory
  readonly end: number
}

const encoder = new SpoolFrame.FrameEncoder()

/** A frame behind `offset` bytes of noise, in memory with noise behind it. */
const write = (entry: FeedEntry, number = 1n, offset = 0): Written => {
  const size = encoder.measure(entry)
  const memory = SpoolFrame.FrameMemory.allocate(offset + size + 64)
  memory.u8.fill(0xa5)
  encoder.write(memory, offset, number, 77n)
  assert.isTrue(memory.u8.subarray(offset + size).every((byte) => byte === 0xa5))
  return { memory, end: offset + size }
}

const header = ({ memory, end }: Written, offset = 0): SpoolFrame.FrameHeader => {
  const found = SpoolFrame.inspect(memory, offset, end)
  if (typeof found === "string") return assert.fail(`the frame is ${found}`)
  return found
}

const decoder = new SpoolFrame.FrameDecoder()
const read = (written: Written, offset = 0): FeedEntry =>
  decoder.decode(written.memory, offset, header(written, offset))

describe("SpoolFrame", () => {
  it("keeps every bit of batches of every kind", () => {
    const random = new SeededRandom(11)
    for (const kind of kinds)
      for (const rows of [0, 1, 2, 7, 8, 9, 15, 16, 17, 100, 1_000]) {
        const batch = randomBatch(random, kind, rows)
        const offset = 8 * random.below(5)
        const entry = read(write({ _tag: "FeedRows", session: "s", batch }, 5n, offset), offset)
        if (entry._tag !== "FeedRows") return assert.fail(entry._tag)
        assertSameBatch(entry.batch, batch)
      }
  })

  it("writes the rows of a slice alone", () => {
    const random = new SeededRandom(12)
    for (const kind of kinds) {
      const batch = randomBatch(random, kind, 64)
      const slice = batch.slice(3, 40)
      const written = write({ _tag: "FeedRows", session: "s", batch: slice })
      const entry = read(written)
      if (entry._tag !== "FeedRows") return assert.fail(entry._tag)
      assertSameBatch(entry.batch, slice)
      assert.isBelow(written.end, encoder.measure({ _tag: "FeedRows", session: "s", batch }) * 0.75)
    }
  })

  it("keeps notes", () => {
    for (const note of notes) assert.deepStrictEqual(read(write(note)), note)
  })

  it("tells number, time, rows and the times of the rows", () => {
    const builder = tradeBuilder(context, 8)
    const times = [5n, -3n, 9_223_372_036_854_775_807n, 4_294_967_296n]
    builder.columns.tsEvent.set(times)
    builder.columns.tsRecv.set([4n, 9_223_372_036_854_775_807n, 4_294_967_297n, 0n])
    builder.length = 4
    const frame = header(
      write({ _tag: "FeedRows", session: "s", batch: builder.flush() }, 18_446_744_073_709_551_615n)
    )
    assert.deepInclude(frame, {
      kind: "trades",
      number: 18_446_744_073_709_551_615n,
      at: 77n,
      rows: 4,
      first: -3n,
      last: 4_294_967_297n
    })
    assert.deepInclude(header(write(notes[0]!)), { kind: "note", rows: 0, first: 0n, last: 0n })
  })

  it("looks instruments up where the reader says", () => {
    const known = directory([
      {
        id: 3,
        provider: "test",
        dataset: "TEST.SPOT",
        rawSymbol: "ABC",
        symbol: "TEST.SPOT:ABC",
        priceScale: 2,
        sizeScale: 0,
        assetClass: "equity"
      }
    ])
    const batch = randomBatch(new SeededRandom(1), "quotes", 1)
    batch.columns.instrument[0] = 3
    const written = write({ _tag: "FeedRows", session: "s", batch })
    const asked: Array<unknown> = []
    const knowing = new SpoolFrame.FrameDecoder((of) => {
      asked.push(of)
      return known
    })
    const entry = knowing.decode(written.memory, 0, header(written))
    assert.strictEqual(entry._tag === "FeedRows" && entry.batch.symbolAt(0), "TEST.SPOT:ABC")
    assert.deepStrictEqual(asked, [{ provider: "test", dataset: "TEST.SPOT" }])
    const unknown = read(written)
    assert.strictEqual(unknown._tag === "FeedRows" && unknown.batch.symbolAt(0), "#3")
  })

  it("gives batches of one description one context, and those of others others", () => {
    const random = new SeededRandom(4)
    const batch = randomBatch(random, "bars", 3)
    const contextOf = (session: string, of = batch) => {
      const entry = read(write({ _tag: "FeedRows", session, batch: of }))
      return entry._tag === "FeedRows" ? entry.batch.context : assert.fail(entry._tag)
    }
    assert.strictEqual(contextOf("s"), contextOf("s"))
    assert.notStrictEqual(contextOf("s"), contextOf("t"))
  })

  it("finds every cut", () => {
    const random = new SeededRandom(5)
    for (const entry of [
      notes[1]!,
      { _tag: "FeedRows", session: "s", batch: randomBatch(random, "trades", 3) }
    ] as const) {
      const { memory, end } = write(entry)
      for (let cut = 0; cut < end; cut++) assert.strictEqual(SpoolFrame.inspect(memory, 0, cut), "short")
    }
  })

  it("finds every flipped bit", () => {
    const { memory, end } = write({
      _tag: "FeedRows",
      session: "s",
      batch: randomBatch(new SeededRandom(6), "trades", 2)
    })
    for (let bit = 0; bit < end * 8; bit++) {
      memory.u8[bit >> 3]! ^= 1 << (bit & 7)
      assert.isString(SpoolFrame.inspect(memory, 0, end), `bit ${bit}`)
      memory.u8[bit >> 3]! ^= 1 << (bit & 7)
    }
  })

  it("finds the next whole frame behind damage", () => {
    const random = new SeededRandom(7)
    const { memory, end } = write(randomEntry(random, 5), 9n, 240)
    assert.deepInclude(SpoolFrame.find(memory, 0, end, 1n), { offset: 240 })
    assert.isUndefined(SpoolFrame.find(memory, 0, end, 10n))
    assert.isUndefined(SpoolFrame.find(memory, 0, end - 1, 1n))
  })

  it("refuses content that it does not understand, whatever it is", () => {
    const random = new SeededRandom(8)
    let refused = 0
    for (let round = 0; round < 600; round++) {
      const original = randomEntry(random, random.below(4))
      const written = write(original)
      const flips = 1 + random.below(3)
      for (let i = 0; i < flips; i++) written.memory.u8[5 + random.below(written.end - 5)] = random.u32()
      reseal(written)
      const found = SpoolFrame.inspect(written.memory, 0, written.end)
      if (typeof found === "string") continue
      try {
        decoder.decode(written.memory, 0, found)
      } catch (error) {
        assert.instanceOf(error, SpoolFrame.FrameContentError)
        refused += 1
      }
    }
    assert.isAbove(refused, 60)
  })

  it("finds no frame in noise, nor beyond the end", () => {
    const random = new SeededRandom(9)
    const memory = SpoolFrame.FrameMemory.allocate(4_096)
    let found = 0
    for (let round = 0; round < 100; round++) {
      for (let i = 0; i < memory.u32.length; i++)
        memory.u32[i] = random.chance(0.1) ? 0x46534d44 : random.u32()
      // Plausible versions and lengths, so that the check sum has to decide.
      for (let at = 0; at < 4_000; at += 56) {
        memory.u8[at + 4] = 1
        memory.view.setUint32(at + 8, 8 * random.below(600), true)
        memory.view.setUint32(at + 48, 0, true)
      }
      for (let at = 0; at < 4_096; at += 8)
        if (typeof SpoolFrame.inspect(memory, at, 4_096) !== "string") found += 1
    }
    assert.strictEqual(found, 0)
  })

  it("has rows of the size that readers expect", () => {
    for (const kind of kinds) {
      const batch = randomBatch(new SeededRandom(10), kind, 2)
      const { memory } = write({ _tag: "FeedRows", session: "s", batch })
      const { [kind]: layout } = layouts
      const bytes = Object.values(layout).reduce(
        (sum, { type, lanes }) => sum + (Number(/\d+/.exec(type)![0]) / 8) * lanes,
        0
      )
      assert.strictEqual(memory.view.getUint16(6, true), bytes)
    }
  })

  it("keeps the layout", () => {
    const builder = tradeBuilder(batchContext({ provider: "p", dataset: "D" }), 8)
    builder.columns.tsEvent[0] = 0x0102030405060708n
    builder.columns.depth[0] = 0xee
    builder.length = 1
    const { memory, end } = write({ _tag: "FeedRows", session: "s", batch: builder.flush() }, 2n)
    const hex = (from: number, to: number) => Buffer.from(memory.u8.subarray(from, to)).toString("hex")
    assert.strictEqual(hex(0, 16), "444d5346" + "01" + "02" + "3700" + "60000000" + "01000000")
    assert.strictEqual(hex(16, 32), "0200000000000000" + "4d00000000000000")
    assert.strictEqual(hex(32, 48), "0000000000000000" + "0807060504030201")
    assert.strictEqual(hex(48, 52), "00000000")
    assert.strictEqual(hex(56, 72), "1c000000" + "00000000" + "0807060504030201")
    assert.strictEqual(hex(118, 119), "ee")
    assert.strictEqual(
      Buffer.from(memory.u8.subarray(119, end)).toString(),
      `["s","p","D","sequenced",[]]${" ".repeat(end - 147)}`
    )
  })
})

/** Puts the check sum right again, as a program with a mistake in it would. */
const reseal = ({ memory, end }: Written): void => {
  memory.view.setUint32(8, end - SpoolFrame.HeaderBytes, true)
  memory.view.setUint32(48, 0, true)
  memory.u8[4] = 1
  const bytes = [...memory.u8.subarray(0, 48), ...memory.u8.subarray(56, end)]
  memory.view.setUint32(52, crcOf(Uint8Array.from(bytes)), true)
}

const crcOf = (bytes: Uint8Array): number => {
  let crc = -1
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return (crc ^ -1) >>> 0
}
