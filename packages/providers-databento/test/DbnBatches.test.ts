import {
  ABSENT_I32,
  ABSENT_I64,
  ABSENT_U16,
  ABSENT_U32,
  BarBatch,
  BookBatch,
  batchContext,
  type MarketBatch,
  MarketSchema,
  QuoteBatch,
  TradeBatch,
  TradeKey
} from "@data-manager/core"
import type { SeededRandom } from "@data-manager/testing"
import { assert, describe, it } from "vitest"
import { DbnBatches, type DbnBatchOptions } from "../src/DbnBatches.ts"
import {
  blankRecord,
  type DbnMetadataInit,
  type DbnRecord,
  decodeBlocks,
  encodeStream,
  type KnownSchema,
  type RecordOf,
  Rtype,
  UNDEF_ORDER_SIZE,
  UNDEF_PRICE,
  UNDEF_TIMESTAMP
} from "../src/dbn/index.ts"
import { anySplit, forSeeds, recordOf } from "./dbn/RecordArbitrary.ts"

const context = batchContext({ provider: "databento", dataset: "TEST" })

interface Gathered {
  readonly batches: Array<MarketBatch>
  readonly notStored: ReadonlyMap<string, number>
  readonly records: number
}

const gather = (
  records: ReadonlyArray<DbnRecord>,
  metadata: Partial<DbnMetadataInit> = {},
  options: Partial<DbnBatchOptions> & { readonly split?: SeededRandom } = {}
): Gathered => {
  const bytes = encodeStream({ dataset: "TEST", ...metadata }, records)
  const chunks = options.split === undefined ? [bytes] : anySplit(options.split, bytes)
  const gatherer = new DbnBatches({ context, ...options })
  const batches: Array<MarketBatch> = []
  const emit = (batch: MarketBatch): void => {
    batches.push(batch)
  }
  for (const block of decodeBlocks(chunks, { bufferBytes: 4096 })) gatherer.add(block, emit)
  gatherer.flush(emit)
  return { batches, notStored: gatherer.notStored, records: gatherer.records }
}

const time = (value: bigint): bigint => (value > 2n ** 63n - 1n ? ABSENT_I64 : value)
const size = (value: number): bigint => (value === UNDEF_ORDER_SIZE ? ABSENT_I64 : BigInt(value))
const side = (letter: string): number => (letter === "B" ? 1 : letter === "A" ? 2 : 0)
const ascii = (letter: string): number => (letter === "" ? 0 : letter.charCodeAt(0))
const storable = (value: bigint): boolean => value < 2n ** 63n - 1n

/** Makes records of a kind whose clock is in range, with few instruments and times, so that groups form. */
const clocked = (random: SeededRandom, rtype: number, field: "tsEvent" | "tsRecv"): DbnRecord => {
  const record = recordOf(random, rtype, { version: 3 }) as DbnRecord & { sequence?: number; tsRecv?: bigint }
  record.instrumentId = 1 + random.below(3)
  record.publisherId = 1 + random.below(2)
  if ("sequence" in record) record.sequence = random.pick([1, 2, 4294967295])
  const near = 1_700_000_000_000_000_000n + BigInt(random.below(3)) * 1000n + BigInt(random.below(3))
  const clock = random.chance(0.05) ? random.pick([UNDEF_TIMESTAMP, 2n ** 63n, 2n ** 63n - 1n]) : near
  Object.assign(record, { [field]: clock })
  return record
}

/** Ordinals as their definition has them: rows of one group counted in order, a group ending with its microsecond. */
class Groups {
  readonly #last = new Map<string, { micro: bigint; counts: Map<number, number> }>()

  next(instrument: number, publisher: number, nanos: bigint, sequence: number): number {
    const key = `${instrument}/${publisher}`
    const micro = nanos / 1000n
    let group = this.#last.get(key)
    if (group === undefined || group.micro !== micro) {
      group = { micro, counts: new Map() }
      this.#last.set(key, group)
    }
    const ordinal = group.counts.get(sequence) ?? 0
    group.counts.set(sequence, ordinal + 1)
    return ordinal
  }
}

const onlyBatch = (gathered: Gathered): MarketBatch => {
  assert.strictEqual(gathered.batches.length, 1)
  return gathered.batches[0]!
}

describe("trades", () => {
  it("become rows field by field, absent values and keys included", () => {
    forSeeds(60, (random) => {
      const records = Array.from({ length: random.below(600) }, () => {
        const record = clocked(random, Rtype.trade, "tsEvent") as RecordOf<"trade">
        if (random.chance(0.95)) record.action = "T"
        return record
      })
      const { batches, notStored } = gather(records, { schema: "trades" }, { split: random, batchRows: 64 })
      const kept = records.filter((record) => record.action === "T" && storable(record.tsEvent))
      const groups = new Groups()
      const expected = kept.map((r) => [
        r.tsEvent,
        time(r.tsRecv),
        TradeKey.make(
          r.publisherId,
          r.sequence,
          groups.next(r.instrumentId, r.publisherId, r.tsEvent, r.sequence)
        ),
        r.price,
        size(r.size),
        r.instrumentId,
        r.tsInDelta,
        r.publisherId,
        -9,
        0,
        side(r.side),
        r.flags,
        r.depth
      ])
      const rows = batches.flatMap((batch) => {
        assert.instanceOf(batch, TradeBatch)
        const c = (batch as TradeBatch).columns
        return Array.from({ length: batch.length }, (_, i) => [
          c.tsEvent[i],
          c.tsRecv[i],
          c.tradeKey[i],
          c.price[i],
          c.size[i],
          c.instrument[i],
          c.tsInDelta[i],
          c.publisher[i],
          c.priceExponent[i],
          c.sizeExponent[i],
          c.side[i],
          c.flags[i],
          c.depth[i]
        ])
      })
      assert.deepStrictEqual(rows, expected as typeof rows)
      const left = [...notStored.values()].reduce((sum, count) => sum + count, 0)
      assert.strictEqual(left, records.length - kept.length)
    })
  })

  it("that are none are counted by what they are", () => {
    const at = { tsEvent: 5n, action: "T" }
    const { notStored, records, batches } = gather([
      blankRecord("trade", at),
      blankRecord("trade", { ...at, action: "C" }),
      blankRecord("trade", { ...at, action: "" }),
      blankRecord("trade", { action: "T" }),
      blankRecord("trade", { ...at, action: "C" })
    ])
    assert.deepStrictEqual(
      [...notStored],
      [
        ["trades with action C", 2],
        ["trades with action none", 1],
        ["trades without ts_event", 1]
      ]
    )
    assert.strictEqual(records, 5)
    assert.strictEqual(batches[0]?.length, 1)
  })

  it("show their price, side and id as people write them", () => {
    const fields = { tsEvent: 1_000n, action: "T", side: "A", size: 3, sequence: 9, publisherId: 1 }
    const { batches } = gather([
      blankRecord("trade", { ...fields, price: 4_500_250_000_000n }),
      blankRecord("trade", { ...fields, tsEvent: 1_999n, price: UNDEF_PRICE, size: UNDEF_ORDER_SIZE }),
      blankRecord("trade", { ...fields, tsEvent: 2_000n, side: "N" })
    ])
    const batch = batches[0] as TradeBatch
    assert.strictEqual(batch.priceText(0), "4500.25")
    assert.strictEqual(batch.row(0).side, "sell")
    assert.deepStrictEqual(
      [0, 1, 2].map((i) => batch.tradeIdAt(i)),
      ["9", "9.1", "9"]
    )
    assert.isUndefined(batch.row(1).price)
    assert.isUndefined(batch.row(1).size)
    assert.strictEqual(batch.row(2).side, "none")
  })

  it("whose key cannot be made fail with a typed error", () => {
    assert.throws(
      () => gather([blankRecord("trade", { action: "T", tsEvent: 1n, publisherId: 40_000 })]),
      TradeKey.TradeKeyError
    )
  })
})

type QuoteSchema = Extract<KnownSchema, MarketSchema.MarketSchema>

const quoteKinds: ReadonlyArray<readonly [rtype: number, schema: QuoteSchema, clock: "tsEvent" | "tsRecv"]> =
  [
    [Rtype.mbp1, "mbp-1", "tsEvent"],
    [Rtype.mbp1, "tbbo", "tsEvent"],
    [Rtype.bbo1s, "bbo-1s", "tsRecv"],
    [Rtype.bbo1m, "bbo-1m", "tsRecv"],
    [Rtype.cmbp1, "cmbp-1", "tsEvent"],
    [Rtype.tcbbo, "tcbbo", "tsEvent"],
    [Rtype.cbbo1s, "cbbo-1s", "tsRecv"],
    [Rtype.cbbo1m, "cbbo-1m", "tsRecv"]
  ]

/** Fields of all top-of-book structs; those a struct lacks are absent. */
type AnyQuote = Partial<RecordOf<"mbp1">> &
  Partial<RecordOf<"cmbp1">> &
  Pick<RecordOf<"bbo">, "tsEvent" | "tsRecv">

const expectedQuote = (r: AnyQuote, schema: QuoteSchema, clock: bigint, groups: Groups): Array<unknown> => {
  const level = r.levels![0] as Partial<RecordOf<"mbp1">["levels"][0]> & RecordOf<"cmbp1">["levels"][0]
  const sequence = r.sequence ?? 0
  const ordinal = groups.next(r.instrumentId!, r.publisherId!, clock, sequence)
  return [
    MarketSchema.code(schema),
    time(r.tsEvent),
    time(r.tsRecv),
    TradeKey.make(r.publisherId!, sequence, ordinal),
    level.bidPx,
    level.askPx,
    r.price,
    size(level.bidSz),
    size(level.askSz),
    size(r.size!),
    level.bidCt ?? ABSENT_U32,
    level.askCt ?? ABSENT_U32,
    level.bidPb ?? ABSENT_U16,
    level.askPb ?? ABSENT_U16,
    r.instrumentId,
    r.tsInDelta ?? ABSENT_I32,
    r.publisherId,
    -9,
    0,
    side(r.side!),
    r.action === undefined ? 0 : ascii(r.action),
    r.flags,
    r.depth ?? 0
  ]
}

const quoteRows = (batch: MarketBatch): Array<Array<unknown>> => {
  assert.instanceOf(batch, QuoteBatch)
  const c = (batch as QuoteBatch).columns
  return Array.from({ length: batch.length }, (_, i) => [
    c.schema[i],
    c.tsEvent[i],
    c.tsRecv[i],
    c.quoteKey[i],
    c.bidPrice[i],
    c.askPrice[i],
    c.price[i],
    c.bidSize[i],
    c.askSize[i],
    c.size[i],
    c.bidCount[i],
    c.askCount[i],
    c.bidPublisher[i],
    c.askPublisher[i],
    c.instrument[i],
    c.tsInDelta[i],
    c.publisher[i],
    c.priceExponent[i],
    c.sizeExponent[i],
    c.side[i],
    c.action[i],
    c.flags[i],
    c.depth[i]
  ])
}

describe("top of book", () => {
  for (const [rtype, schema, clock] of quoteKinds)
    it(`of ${schema} becomes rows field by field, stored by its ${clock}`, () => {
      forSeeds(12, (random) => {
        const records = Array.from({ length: random.below(600) }, () => clocked(random, rtype, clock))
        const { batches, notStored } = gather(records, { schema }, { split: random, batchRows: 128 })
        const groups = new Groups()
        const kept = (records as unknown as ReadonlyArray<AnyQuote>).filter((r) => storable(r[clock]))
        const expected = kept.map((r) => expectedQuote(r, schema, r[clock], groups))
        assert.deepStrictEqual(batches.flatMap(quoteRows), expected)
        const cause = `${schema} without ${clock === "tsRecv" ? "ts_recv" : "ts_event"}`
        assert.strictEqual(notStored.get(cause) ?? 0, records.length - kept.length)
      })
    })

  it("is mbp-1 or tbbo in a live stream as the caller says", () => {
    const record = blankRecord("mbp1", { tsEvent: 1n })
    const schemaOf = (options: Partial<DbnBatchOptions>): unknown =>
      (onlyBatch(gather([record], {}, options)) as QuoteBatch).row(0).schema
    assert.strictEqual(schemaOf({}), "mbp-1")
    assert.strictEqual(schemaOf({ mbp1Schema: "tbbo" }), "tbbo")
  })

  it("counts keys of each schema on their own", () => {
    const fields = { tsEvent: 1n, tsRecv: 1n, instrumentId: 1, publisherId: 1 }
    const batch = onlyBatch(
      gather([
        blankRecord("cmbp1", { ...fields, rtype: Rtype.cmbp1 }),
        blankRecord("cmbp1", { ...fields, rtype: Rtype.tcbbo }),
        blankRecord("cmbp1", { ...fields, rtype: Rtype.cmbp1 })
      ])
    ) as QuoteBatch
    assert.deepStrictEqual(
      [0, 1, 2].map((i) => TradeKey.ordinal(batch.columns.quoteKey[i]!)),
      [0, 0, 1]
    )
  })
})

describe("books", () => {
  it("become rows with ten levels a side", () => {
    forSeeds(12, (random) => {
      const records = Array.from(
        { length: random.below(60) },
        () => clocked(random, Rtype.mbp10, "tsEvent") as RecordOf<"mbp10">
      )
      const { batches } = gather(records, { schema: "mbp-10" }, { split: random, batchRows: 64 })
      const kept = records.filter((record) => storable(record.tsEvent))
      const groups = new Groups()
      const rows = batches.flatMap((batch) => {
        assert.instanceOf(batch, BookBatch)
        return Array.from({ length: batch.length }, (_, i) => [batch as BookBatch, i] as const)
      })
      assert.strictEqual(rows.length, kept.length)
      kept.forEach((r, n) => {
        const [batch, i] = rows[n]!
        const c = batch.columns
        const ordinal = groups.next(r.instrumentId, r.publisherId, r.tsEvent, r.sequence)
        const head = [
          c.tsEvent[i],
          c.tsRecv[i],
          c.bookKey[i],
          c.price[i],
          c.size[i],
          c.instrument[i],
          c.publisher[i]
        ]
        const key = TradeKey.make(r.publisherId, r.sequence, ordinal)
        const wanted = [r.tsEvent, time(r.tsRecv), key, r.price, size(r.size), r.instrumentId, r.publisherId]
        assert.deepStrictEqual(head, wanted)
        const rest = [
          c.tsInDelta[i],
          c.side[i],
          c.action[i],
          c.flags[i],
          c.depth[i],
          c.schema[i],
          c.priceExponent[i]
        ]
        const code = MarketSchema.code("mbp-10")
        assert.deepStrictEqual(rest, [r.tsInDelta, side(r.side), ascii(r.action), r.flags, r.depth, code, -9])
        r.levels.forEach((level, l) => {
          const j = i * 10 + l
          const got = [c.bidPrice[j], c.askPrice[j], c.bidSize[j], c.askSize[j], c.bidCount[j], c.askCount[j]]
          const { bidPx, askPx, bidSz, askSz, bidCt, askCt } = level
          assert.deepStrictEqual(got, [bidPx, askPx, size(bidSz), size(askSz), bidCt, askCt])
        })
      })
    })
  })
})

describe("bars", () => {
  it("become rows of the provider's, with the length of their type", () => {
    const lengths = new Map<number, number>([
      [Rtype.ohlcv1s, 1],
      [Rtype.ohlcv1m, 60],
      [Rtype.ohlcv1h, 3600],
      [Rtype.ohlcv1d, 86400],
      [Rtype.ohlcvEod, 0]
    ])
    forSeeds(20, (random) => {
      const records = Array.from(
        { length: random.below(300) },
        () => clocked(random, random.pick([...lengths.keys()]), "tsEvent") as RecordOf<"ohlcv">
      )
      const { batches } = gather(records, {}, { split: random, batchRows: 64 })
      const rows = batches.flatMap((batch) => {
        assert.instanceOf(batch, BarBatch)
        return [...(batch as BarBatch).rows()]
      })
      const expected = records
        .filter((record) => storable(record.tsEvent))
        .map((r) => {
          const price = (mantissa: bigint) =>
            mantissa === UNDEF_PRICE ? undefined : { mantissa, exponent: -9 }
          return {
            start: r.tsEvent,
            seconds: lengths.get(r.rtype)!,
            instrument: r.instrumentId,
            symbol: `#${r.instrumentId}`,
            open: price(r.open),
            high: price(r.high),
            low: price(r.low),
            close: price(r.close),
            volume: { mantissa: r.volume, exponent: 0 },
            tradeCount: undefined,
            publisher: r.publisherId,
            source: "provider" as const
          }
        })
      assert.deepStrictEqual(rows, expected)
    })
  })

  it("of the deprecated type have the length that the header names, and none without it", () => {
    const bar = blankRecord("ohlcv", { rtype: Rtype.ohlcvDeprecated, tsEvent: 1n })
    const batch = onlyBatch(gather([bar], { schema: "ohlcv-1h" })) as BarBatch
    assert.strictEqual(batch.columns.seconds[0], 3600)
    const { batches, notStored } = gather([bar])
    assert.deepStrictEqual(batches, [])
    assert.deepStrictEqual([...notStored], [["ohlcv-deprecated", 1]])
  })
})

describe("streams of many kinds", () => {
  const mix = (random: SeededRandom, count: number): Array<DbnRecord> =>
    Array.from({ length: count }, () => {
      const rtype = random.pick([0, 1, 10, 0x20, 0xa0, 0x12, 0x13, 0x42, 0xb1, 0xc0, 0xc3])
      const clock = rtype === 0xc0 || rtype === 0xc3 ? "tsRecv" : "tsEvent"
      const record = clocked(random, rtype, clock)
      if (record.type === "trade") record.action = "T"
      return record
    })

  it("count by name what has no table, and show it to whoever asks, in order", () => {
    forSeeds(10, (random) => {
      const records = mix(random, 200)
      const seen: Array<number> = []
      const { notStored, records: count } = gather(
        records,
        {},
        {
          onOther: (block, p) => {
            seen.push((block.words[p]! >>> 8) & 0xff)
          }
        }
      )
      const others = records.filter((record) => [0xa0, 0x12, 0x13, 0x42].includes(record.rtype))
      assert.deepStrictEqual(
        seen,
        others.map((record) => record.rtype)
      )
      assert.strictEqual(count, records.length)
      for (const [rtype, name] of [
        [0xa0, "mbo"],
        [0x12, "status"],
        [0x13, "instrument-def"],
        [0x42, "rtype-66"]
      ] as const)
        assert.strictEqual(notStored.get(name) ?? 0, others.filter((record) => record.rtype === rtype).length)
    })
  })

  it("give the same batches however the input is cut", () => {
    forSeeds(10, (random) => {
      const records = mix(random, 500)
      const whole = gather(records, {}, { batchRows: 64 })
      const cut = gather(records, {}, { batchRows: 64, split: random })
      const rows = ({ batches }: Gathered) => batches.map((batch) => [...batch.rows()])
      assert.deepStrictEqual(rows(cut), rows(whole))
      assert.deepStrictEqual(cut.notStored, whole.notStored)
      for (const batch of whole.batches) assert.isAtMost(batch.length, 64)
    })
  })
})
