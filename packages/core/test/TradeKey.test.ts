import { assert, describe, it } from "@effect/vitest"
import { ABSENT_I64, TradeKey } from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

const low = (nanos: bigint): number => Number(BigInt.asIntN(32, nanos))
const high = (nanos: bigint): number => Number(BigInt.asIntN(32, nanos >> 32n))

/** One row of a source, as the counter and its model see it. */
interface Row {
  readonly instrument: number
  readonly publisher: number
  readonly nanos: bigint
  readonly sequence: number
}

const next = (counter: TradeKey.OrdinalCounter, row: Row): number =>
  counter.next(row.instrument, row.publisher, low(row.nanos), high(row.nanos), row.sequence)

/** The rule in its plainest form: rows of a group are counted until their instrument and publisher move on in time. */
const naiveCounter = () => {
  const at = new Map<string, bigint>()
  const counts = new Map<string, number>()
  return (row: Row): number => {
    const stream = `${row.instrument}/${row.publisher}`
    const micros = row.nanos >= 0n ? row.nanos / 1000n : -((-row.nanos + 999n) / 1000n)
    if (at.get(stream) !== micros)
      for (const group of counts.keys()) if (group.startsWith(`${stream}/`)) counts.delete(group)
    at.set(stream, micros)
    const group = `${stream}/${row.sequence}`
    const ordinal = counts.get(group) ?? 0
    counts.set(group, ordinal + 1)
    return ordinal
  }
}

describe("bit layout", () => {
  it("is publisher | sequence | ordinal, and never negative", () => {
    assert.strictEqual(TradeKey.make(1, 0, 0), 0x0001_0000_0000_0000n)
    assert.strictEqual(TradeKey.make(0, 1, 0), 0x1_0000n)
    assert.strictEqual(TradeKey.make(0, 0, 1), 1n)
    assert.strictEqual(TradeKey.make(0x1234, 0x89abcdef, 0x4567), 0x1234_89ab_cdef_4567n)
    assert.strictEqual(TradeKey.make(32767, 0xffffffff, 65535), 0x7fff_ffff_ffff_ffffn)
    // A key is never absent, so the largest one may share the bits of the absent value.
    assert.strictEqual(TradeKey.make(32767, 0xffffffff, 65535), ABSENT_I64)
    assert.strictEqual(TradeKey.make(1, -1, 0), TradeKey.make(1, 0xffffffff, 0))
  })

  it("comes apart again, and its words are those of the whole", () => {
    const random = new SeededRandom(31)
    for (let n = 0; n < 20_000; n++) {
      const [publisher, sequence, ordinal] = [random.below(32768), random.u32(), random.below(65536)]
      const key = TradeKey.make(publisher, sequence, ordinal)
      assert.isTrue(key >= 0n)
      assert.deepStrictEqual(
        [TradeKey.publisher(key), TradeKey.sequence(key), TradeKey.ordinal(key)],
        [publisher, sequence, ordinal]
      )
      assert.strictEqual(TradeKey.lowWord(sequence, ordinal), low(key))
      assert.strictEqual(TradeKey.highWord(publisher, sequence), high(key))
    }
  })

  it("refuses what does not fit", () => {
    assert.throws(() => TradeKey.make(32768, 0, 0), TradeKey.TradeKeyError, "publisher 32768 is beyond 32767")
    assert.throws(
      () => TradeKey.make(0, 0, 65536),
      TradeKey.TradeKeyError,
      "more than 65536 rows share instrument, publisher, microsecond and sequence"
    )
  })

  it("shows the venue's id, or the sequence and the ordinal", () => {
    assert.strictEqual(TradeKey.text("venue-id", 987654321n), "987654321")
    assert.strictEqual(TradeKey.text("sequenced", TradeKey.make(1, 4042, 0)), "4042")
    assert.strictEqual(TradeKey.text("sequenced", TradeKey.make(1, 4042, 7)), "4042.7")
    assert.strictEqual(TradeKey.text("sequenced", TradeKey.make(9, 0xffffffff, 65535)), "4294967295.65535")
  })
})

describe("OrdinalCounter", () => {
  it("counts like the naive model over interleaved instruments, publishers, sequences and microseconds", () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = new SeededRandom(3_000 + seed)
      const counter = new TradeKey.OrdinalCounter()
      const model = naiveCounter()
      const times = random.pick([
        0n,
        1_700_000_000_000_000_000n,
        -5_000n,
        -(2n ** 63n),
        2n ** 63n - 50_000_000_000n,
        4_294_960_000n
      ])
      const [instruments, publishers, sequences] = [
        random.between(1, 5),
        random.between(1, 3),
        random.between(1, 4)
      ]
      const sparse = random.chance(0.5)
      let nanos = times
      for (let n = 0; n < 1_500; n++) {
        // Mostly within one microsecond or just beyond it, sometimes far on, sometimes back.
        if (random.chance(0.4)) nanos += BigInt(random.between(0, 700))
        if (random.chance(0.02)) nanos += BigInt(random.between(-2_000, 4_000)) * (sparse ? 1_000n : 1n)
        if (nanos < -(2n ** 63n)) nanos = -(2n ** 63n)
        const row: Row = {
          instrument: random.below(instruments) * (sparse ? 858_993_459 : 1),
          publisher: random.below(publishers) * (sparse ? 16_383 : 1),
          nanos,
          sequence: (random.below(sequences) * (sparse ? 1_431_655_765 : 1)) >>> 0
        }
        assert.strictEqual(
          next(counter, row),
          model(row),
          `seed ${seed}, row ${n}: ${JSON.stringify({ ...row, nanos: `${row.nanos}` })}`
        )
      }
    }
  })

  it("counts across nanoseconds of one microsecond and starts afresh in the next", () => {
    const counter = new TradeKey.OrdinalCounter()
    const at = (nanos: bigint, sequence = 7) =>
      next(counter, { instrument: 1, publisher: 1, nanos, sequence })
    assert.deepStrictEqual([at(1_000n), at(1_001n), at(1_999n), at(2_000n), at(2_000n)], [0, 1, 2, 0, 1])
    assert.deepStrictEqual([at(-1n), at(-1_000n), at(-1_001n), at(0n)], [0, 1, 0, 0])
    // The microsecond that the 32-bit low word wraps in.
    assert.deepStrictEqual(
      [at(4_294_967_000n), at(4_294_967_296n), at(4_294_967_999n), at(4_294_968_000n)],
      [0, 1, 2, 0]
    )
  })

  it("takes time words with or without a sign", () => {
    const counter = new TradeKey.OrdinalCounter()
    assert.strictEqual(counter.next(1, 1, -1, 0, 5), 0)
    assert.strictEqual(counter.next(1, 1, 0xffffffff, 0, 5), 1)
    assert.strictEqual(counter.next(0xffffffff, 1, 0, 0, 5), 0)
    assert.strictEqual(counter.next(-1, 1, 0, 0, 5), 1)
    assert.strictEqual(counter.next(1, 2, 0, 0, 0xffffffff), 0)
    assert.strictEqual(counter.next(1, 2, 0, 0, -1), 1)
  })

  it("keeps 65,536 rows of a group apart and refuses the next, for one sequence and for several", () => {
    for (const other of [false, true]) {
      const counter = new TradeKey.OrdinalCounter()
      const row: Row = { instrument: 3, publisher: 2, nanos: 5n, sequence: 9 }
      if (other) assert.strictEqual(next(counter, { ...row, sequence: 8 }), 0)
      for (let n = 0; n <= TradeKey.MaxOrdinal; n++) assert.strictEqual(next(counter, row), n)
      assert.throws(() => next(counter, row), TradeKey.TradeKeyError, "more than 65536 rows")
      assert.throws(() => next(counter, row), TradeKey.TradeKeyError, "more than 65536 rows")
      // Its neighbours are not affected.
      assert.strictEqual(next(counter, { ...row, nanos: 1_000n }), 0)
      assert.strictEqual(next(counter, { ...row, instrument: 4 }), 0)
    }
  })

  it("refuses a publisher beyond 15 bits, also where it would pass for another instrument's", () => {
    const counter = new TradeKey.OrdinalCounter()
    const row = (instrument: number, publisher: number): Row => ({
      instrument,
      publisher,
      nanos: 0n,
      sequence: 1
    })
    for (let instrument = 0; instrument < 90; instrument++)
      for (let publisher = 0; publisher < 9; publisher++) next(counter, row(instrument, publisher))
    // As one number, instrument 3 with publisher 32770 is instrument 4 with publisher 2.
    for (let instrument = 0; instrument < 89; instrument++)
      for (let publisher = 32768; publisher < 32777; publisher++)
        assert.throws(
          () => next(counter, row(instrument, publisher)),
          TradeKey.TradeKeyError,
          `publisher ${publisher}`
        )
    assert.throws(
      () => next(counter, { instrument: 7, publisher: 65535, nanos: 0n, sequence: 1 }),
      TradeKey.TradeKeyError
    )
  })

  it("remembers every instrument while it grows past thousands", () => {
    const random = new SeededRandom(32)
    const counter = new TradeKey.OrdinalCounter()
    const model = new Map<string, number>()
    for (let n = 0; n < 120_000; n++) {
      const instrument = random.chance(0.5) ? random.below(20_000) : random.below(20_000) * 65_536
      const publisher = random.below(3)
      const sequence = random.below(2)
      // One microsecond for all, so that every row of a group counts.
      const group = `${instrument >>> 0}/${publisher}/${sequence}`
      const expected = model.get(group) ?? 0
      model.set(group, expected + 1)
      assert.strictEqual(
        next(counter, { instrument, publisher, nanos: BigInt(n % 1_000), sequence }),
        expected
      )
    }
    assert.isAbove(model.size, 50_000)
  })

  it("finds instruments as fast when their numbers are far apart as when they are neighbours", () => {
    const time = (step: number): number => {
      const started = performance.now()
      const counter = new TradeKey.OrdinalCounter()
      for (let round = 0; round < 3; round++)
        for (let i = 0; i < 20_000; i++) counter.next(Math.imul(i, step), 1, round * 1_000, 0, round)
      return performance.now() - started
    }
    time(1)
    const neighbours = Math.max(time(1), 1)
    // Without mixing of the high bits all of these would stand in one run of slots: some thousand times slower.
    for (const step of [4_096, 65_536, 1 << 17]) assert.isBelow(time(step) / neighbours, 40, `step ${step}`)
  })
})
