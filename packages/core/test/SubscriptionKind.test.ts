// The pure operators of subscriptions against models that look at every row on its own.
import { assert, describe, it } from "vitest"
import {
  AllSymbols,
  batchContext,
  Decimal,
  directory,
  type FilterConditions,
  type Instrument,
  priceMoved,
  SnapshotBuffer,
  SymbolSelection,
  type TradeBatch,
  TradeFilter,
  topic,
  tradeBuilder
} from "../src/index.ts"

const instrument = (id: number, dataset: string, rawSymbol: string): Instrument => ({
  id,
  provider: "test",
  dataset,
  rawSymbol,
  symbol: `${dataset}:${rawSymbol}`,
  priceScale: 2,
  sizeScale: 0,
  assetClass: "equity"
})
const context = batchContext({
  provider: "test",
  dataset: "A",
  keyKind: "venue-id",
  instruments: directory(Array.from({ length: 5 }, (_, id) => instrument(id, "A", `S${id}`)))
})
const ABSENT = 9223372036854775807n

interface Row {
  readonly key: number
  readonly id: number
  readonly price: bigint
  readonly priceExponent: number
  readonly size: bigint
  readonly at: number
}

/** A reproducible generator of numbers below `n`. */
const random = (seed: number) => {
  let state = seed * 2654435761 + 1
  return (n: number): number => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) | 0
    return (state >>> 0) % n
  }
}

const rowsOf = (seed: number, count: number): ReadonlyArray<Row> => {
  const next = random(seed)
  let at = 0
  return Array.from({ length: count }, (_, key) => {
    at += next(4) === 0 ? next(30) : 0
    const priceExponent = -next(4)
    const price =
      next(25) === 0
        ? ABSENT
        : BigInt(90 + next(30)) * 10n ** BigInt(-priceExponent) * (next(50) === 0 ? 0n : 1n)
    return { key, id: next(5), price, priceExponent, size: next(25) === 0 ? ABSENT : BigInt(next(20)), at }
  })
}

const batchOf = (rows: ReadonlyArray<Row>): TradeBatch => {
  const builder = tradeBuilder(context, Math.max(1, rows.length))
  rows.forEach((row, i) => {
    const c = builder.columns
    c.tradeKey[i] = BigInt(row.key)
    c.instrument[i] = row.id
    c.price[i] = row.price
    c.priceExponent[i] = row.priceExponent
    c.size[i] = row.size
  })
  builder.length = rows.length
  return builder.flush()
}

const keys = (batches: ReadonlyArray<TradeBatch>): ReadonlyArray<number> =>
  batches.flatMap((batch) => Array.from(batch.columns.tradeKey, Number))

/** Rows of one moment are one batch, or several: it must not matter. */
const chunked = (rows: ReadonlyArray<Row>, size: number): ReadonlyArray<ReadonlyArray<Row>> => {
  const chunks: Array<Array<Row>> = []
  for (const row of rows) {
    const last = chunks.at(-1)
    if (last === undefined || last.length === size || last[0]!.at !== row.at) chunks.push([row])
    else last.push(row)
  }
  return chunks
}

const filtered = (conditions: FilterConditions, rows: ReadonlyArray<Row>, size: number) => {
  const filter = new TradeFilter(conditions)
  const delivered: Array<readonly [key: number, at: number]> = []
  for (const chunk of chunked(rows, size))
    for (const batch of filter.apply(batchOf(chunk), chunk[0]!.at))
      for (const key of keys([batch])) delivered.push([key, chunk[0]!.at])
  const pending = filter.pending
  for (const key of keys(filter.flush(Number.MAX_SAFE_INTEGER)))
    delivered.push([key, Number.MAX_SAFE_INTEGER])
  return { filter, delivered, pending }
}

const rational = (row: Row): { n: bigint; d: bigint } => ({
  n: row.price,
  d: 10n ** BigInt(-row.priceExponent)
})

describe("filtered", () => {
  it("quantity and price change are what a row-by-row model with exact fractions says", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rows = rowsOf(seed, 200)
      const pct = { mantissa: BigInt(seed % 13), exponent: seed % 2 === 0 ? 0 : -1 }
      const minQuantity = { mantissa: BigInt(seed % 7), exponent: 0 }
      const last = new Map<number, Row>()
      const expected: Array<number> = []
      let quantity = 0n
      let priceChange = 0n
      for (const row of rows) {
        if (row.size === ABSENT || row.size < minQuantity.mantissa) {
          quantity++
          continue
        }
        const before = last.get(row.id)
        let passes = row.price !== ABSENT
        if (passes && before !== undefined) {
          const [a, b] = [rational(row), rational(before)]
          const change = a.n * b.d - b.n * a.d
          const size = change < 0n ? -change : change
          const scale = pct.exponent === 0 ? 1n : 10n
          passes =
            b.n === 0n
              ? change !== 0n || pct.mantissa === 0n
              : size * 100n * scale >= b.n * a.d * pct.mantissa
        }
        if (!passes) {
          priceChange++
          continue
        }
        last.set(row.id, row)
        expected.push(row.key)
      }
      for (const size of [1, 7, 1000]) {
        const { filter, delivered } = filtered({ minPriceChangePct: pct, minQuantity }, rows, size)
        assert.deepStrictEqual(
          delivered.map(([key]) => key),
          expected,
          `seed ${seed}`
        )
        assert.deepStrictEqual(filter.suppressed, { quantity, priceChange, throttle: 0n })
      }
    }
  })

  it("throttle: the first at once, the last of each window at its end, never two within a window", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rows = rowsOf(seed, 300)
      const window = 5 + (seed % 40)
      const { filter, delivered, pending } = filtered({ throttleMillis: window }, rows, 1 + (seed % 9))
      assert.strictEqual(BigInt(delivered.length) + filter.suppressed.throttle, BigInt(rows.length))
      assert.isAtMost(pending, 5)
      for (let id = 0; id < 5; id++) {
        const own = rows.filter((row) => row.id === id)
        const expected: Array<number> = []
        let end = Number.NEGATIVE_INFINITY
        let held: Row | undefined
        for (const row of own) {
          while (held !== undefined && end <= row.at) {
            expected.push(held.key)
            held = undefined
            end += window
          }
          if (row.at < end) held = row
          else {
            expected.push(row.key)
            end = row.at + window
          }
        }
        if (held !== undefined) expected.push(held.key)
        const got = delivered.map(([key]) => key).filter((key) => rows[key]!.id === id)
        assert.deepStrictEqual(got, expected, `seed ${seed}, symbol ${id}`)
      }
    }
  })

  it("every trade is delivered, counted once, or pending", () => {
    for (let seed = 100; seed <= 130; seed++) {
      const rows = rowsOf(seed, 200)
      const conditions = {
        minPriceChangePct: Decimal.make(5n, 0),
        minQuantity: Decimal.make(3n, 0),
        throttleMillis: 20
      }
      const { filter } = filtered(conditions, rows, 5)
      const { quantity, priceChange, throttle } = filter.suppressed
      assert.strictEqual(filter.delivered + quantity + priceChange + throttle, 200n)
      assert.strictEqual(filter.pending, 0)
    }
  })

  it("percent is exact at the edge, and any change from 0 passes", () => {
    const d = (text: string) => Decimal.parse(text)!
    assert.isTrue(priceMoved(d("100.5"), d("100"), d("0.5")))
    assert.isFalse(priceMoved(d("100.49999999999999999999"), d("100"), d("0.5")))
    assert.isTrue(priceMoved(d("-101"), d("-100"), d("1")))
    assert.isTrue(priceMoved(d("0.000000001"), d("0"), d("1000000")))
    assert.isFalse(priceMoved(d("0"), d("0.00"), d("1")))
  })
})

describe("topic", () => {
  it("full and short forms; the batch itself where all are wanted", () => {
    const batch = batchOf(rowsOf(3, 100))
    assert.strictEqual(topic(new SymbolSelection([AllSymbols]), batch), batch)
    const some = topic(new SymbolSelection(["A:S1", "S3", "B:S2"]), batch)!
    assert.deepStrictEqual(
      keys([some]),
      rowsOf(3, 100)
        .filter((row) => row.id === 1 || row.id === 3)
        .map((row) => row.key)
    )
    assert.isUndefined(topic(new SymbolSelection(["S9"]), batch))
  })
  it("a short form stays with the dataset that it found first", () => {
    const selection = new SymbolSelection(["S1"])
    assert.isTrue(selection.matches("A:S1", "S1"))
    assert.isFalse(selection.matches("B:S1", "S1"))
    assert.isTrue(selection.matches("A:S1", "S1"))
  })
})

describe("snapshot + delta", () => {
  it("a snapshot and what follows are every row from there on, none missing and none twice", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const rows = rowsOf(seed, 300)
      const depth = 1 + (seed % 20)
      const join = seed * 7
      const buffer = new SnapshotBuffer(["A:S1", "S2"], depth)
      for (const chunk of chunked(rows.slice(0, join), 11)) buffer.apply(batchOf(chunk))
      const snapshot = new Map(buffer.snapshot().map((each) => [each.symbol, each]))
      for (const id of [1, 2]) {
        const wanted = rows
          .slice(0, join)
          .filter((row) => row.id === id)
          .map((row) => row.key)
        const got = snapshot.get(`A:S${id}`)
        assert.deepStrictEqual(keys(got?.batches ?? []), wanted.slice(-depth))
        assert.strictEqual(got?.complete ?? false, wanted.length >= depth)
      }
      const delta = chunked(rows.slice(join), 11).flatMap((chunk) => buffer.apply(batchOf(chunk)) ?? [])
      assert.deepStrictEqual(
        keys(delta),
        rows
          .slice(join)
          .filter((row) => row.id === 1 || row.id === 2)
          .map((row) => row.key)
      )
    }
  })
})
