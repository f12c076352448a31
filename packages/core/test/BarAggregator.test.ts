import { assert, describe, it } from "vitest"
import {
  ABSENT_I64,
  BarAggregator,
  batchContext,
  Decimal,
  type TradeBatch,
  tradeBuilder
} from "../src/index.ts"
import { SeededRandom } from "./SeededRandom.ts"

interface Row {
  readonly tsEvent: bigint
  readonly tsRecv: bigint
  readonly key: bigint
  readonly instrument: number
  readonly price: bigint
  readonly priceExponent: number
  readonly size: bigint
  readonly sizeExponent: number
}

const batchOf = (rows: ReadonlyArray<Row>): TradeBatch => {
  const builder = tradeBuilder(batchContext({ provider: "test", dataset: "TEST" }), rows.length)
  for (const row of rows) {
    const i = builder.length++
    const c = builder.columns
    c.tsEvent[i] = row.tsEvent
    c.tsRecv[i] = row.tsRecv
    c.tradeKey[i] = row.key
    c.instrument[i] = row.instrument
    c.price[i] = row.price
    c.priceExponent[i] = row.priceExponent
    c.size[i] = row.size
    c.sizeExponent[i] = row.sizeExponent
  }
  return builder.flush()
}

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0)
const order = (a: Row, b: Row): number =>
  compare(a.tsEvent, b.tsEvent) || compare(a.tsRecv, b.tsRecv) || compare(a.key, b.key)
const price = (row: Row): Decimal.Decimal => ({ mantissa: row.price, exponent: row.priceExponent })
const floorDiv = (a: bigint, b: bigint): bigint => (a % b < 0n ? a / b - 1n : a / b)

/** Bars by sorting and BigInt alone. */
const naive = (rows: ReadonlyArray<Row>, seconds: number): Map<string, string> => {
  const groups = new Map<string, Array<Row>>()
  for (const row of rows) {
    if (row.price === ABSENT_I64) continue
    const bucket = floorDiv(row.tsEvent, BigInt(seconds) * 1_000_000_000n) * BigInt(seconds)
    const key = `${row.instrument}@${bucket}`
    groups.set(key, [...(groups.get(key) ?? []), row])
  }
  const bars = new Map<string, string>()
  for (const [key, group] of groups) {
    const sorted = [...group].sort(order)
    const byPrice = [...group].sort((a, b) => Decimal.compare(price(a), price(b)))
    let volume = 0n
    for (const row of group)
      if (row.size !== ABSENT_I64) volume += row.size * 10n ** BigInt(row.sizeExponent + 18)
    const text = (row: Row): string => Decimal.shortText(row.price, row.priceExponent)
    bars.set(
      key,
      [
        text(sorted[0]!),
        text(byPrice.at(-1)!),
        text(byPrice[0]!),
        text(sorted.at(-1)!),
        Decimal.shortText(volume, -18),
        group.length
      ].join(" ")
    )
  }
  return bars
}

const folded = (bars: BarAggregator.PartialBars): Map<string, string> => {
  const out = new Map<string, string>()
  for (let i = 0; i < bars.length; i++) {
    const volume = bars.volumeOf(i)
    const text = (row: number): string => bars.batch.priceText(row)
    out.set(
      `${bars.instrument[i]}@${bars.bucket[i]}`,
      [
        text(bars.openRow[i]!),
        text(bars.highRow[i]!),
        text(bars.lowRow[i]!),
        text(bars.closeRow[i]!),
        Decimal.shortText(volume.mantissa, volume.exponent),
        bars.tradeCount[i]
      ].join(" ")
    )
  }
  return out
}

const check = (rows: ReadonlyArray<Row>): void => {
  const minutes = BarAggregator.foldMinutes(batchOf(rows))
  assert.deepStrictEqual(folded(minutes), naive(rows, 60))
  const hours = BarAggregator.foldBars(minutes, 3600)
  assert.deepStrictEqual(folded(hours), naive(rows, 3600))
  assert.deepStrictEqual(folded(BarAggregator.foldBars(hours, 86400)), naive(rows, 86400))
}

describe("BarAggregator", () => {
  it("equals a naive exact computation over random trades", () => {
    const random = new SeededRandom(7)
    for (let round = 0; round < 60; round++) {
      const start = [1_767_603_600_000_000_000n, -1_000_000_000n, 0n][round % 3]!
      const mixed = round % 2 === 1
      const rows = Array.from({ length: 400 }, (_, i): Row => {
        const pick = random.below(20)
        return {
          tsEvent: start + BigInt(random.below(12)) * 30_000_000_000n + BigInt(random.below(3)) - 1n,
          tsRecv: pick === 0 ? ABSENT_I64 : start + BigInt(random.below(3)),
          key: BigInt(i % 7 === 0 ? -i : i),
          instrument: random.below(3) * 1_000_003,
          price: pick === 1 ? ABSENT_I64 : BigInt(random.below(2000) - 1000),
          priceExponent: mixed ? -random.below(3) : -2,
          size: pick === 2 ? ABSENT_I64 : pick === 3 ? 9_007_199_254_740_991n : BigInt(random.below(1000)),
          sizeExponent: mixed ? -random.below(3) : 0
        }
      })
      check(rows)
    }
  })

  it("is exact at the ends of the i64 range and around minute limits", () => {
    const base = { key: 1n, tsRecv: 0n, priceExponent: -9, sizeExponent: 0, instrument: 4_294_967_295 }
    const times = [-9223372036854775808n, 9223372036854775806n, -1n, 0n, 59_999_999_999n, 60_000_000_000n]
    const values = [-9223372036854775808n, 9223372036854775806n, 0n, -1n, 1n, 4_294_967_296n]
    check(
      times.flatMap((tsEvent, i) =>
        values.map((value, j) => ({ ...base, key: BigInt(i * 10 + j), tsEvent, price: value, size: value }))
      )
    )
  })

  it("counts selected rows alone", () => {
    const row = { key: 1n, tsRecv: 0n, priceExponent: 0, sizeExponent: 0, instrument: 1, tsEvent: 0n }
    const batch = batchOf([1n, 2n, 3n].map((value) => ({ ...row, key: value, price: value, size: value })))
    const bars = BarAggregator.foldMinutes(batch, new Uint8Array([0, 1, 1]))
    assert.deepStrictEqual(folded(bars), new Map([["1@0", "2 3 2 3 5 2"]]))
  })
})
