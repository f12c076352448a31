/** Entries for the spool's tests: batches whose columns hold random bits, notes of every kind, and comparisons of both. */
import { assert } from "@effect/vitest"
import {
  BarBatch,
  BarLayout,
  type BatchContext,
  BatchLayout,
  BookBatch,
  BookLayout,
  batchContext,
  type FeedEntry,
  type FeedNote,
  type MarketBatch,
  QuoteBatch,
  QuoteLayout,
  rowKind,
  TradeBatch,
  TradeLayout
} from "../src/index.ts"
import type { SeededRandom } from "./SeededRandom.ts"

const venues = ["XNAS", undefined, "ARCX", "Börse €"] as const

/** One publisher of four has no venue. */
export const context: BatchContext = batchContext({
  provider: "test",
  dataset: "TEST.SPOT",
  keyKind: "venue-id",
  venueOf: (publisher) => venues[publisher % 4]
})
const textContext: BatchContext = { ...context, keyKind: "text-hash" }

export const layouts = { trades: TradeLayout, quotes: QuoteLayout, bars: BarLayout, book: BookLayout }
export type Kind = keyof typeof layouts
export const kinds = Object.keys(layouts) as ReadonlyArray<Kind>

const filled = <const L extends BatchLayout.BatchLayout>(random: SeededRandom, layout: L, rows: number) => {
  const set = BatchLayout.allocateExactly(layout, rows)
  const words = new Uint32Array(set.buffer)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return set
}

/** A batch of random bits; publishers are few, as they are. */
export const randomBatch = (random: SeededRandom, kind: Kind, rows: number): MarketBatch => {
  const batch = batchOf(random, kind, rows)
  for (let i = 0; i < rows; i++) batch.columns.publisher[i] = random.below(6)
  return batch
}

const batchOf = (random: SeededRandom, kind: Kind, rows: number): MarketBatch => {
  switch (kind) {
    case "quotes":
      return new QuoteBatch(context, filled(random, QuoteLayout, rows), rows)
    case "bars":
      return new BarBatch(context, filled(random, BarLayout, rows), rows)
    case "book":
      return new BookBatch(context, filled(random, BookLayout, rows), rows)
    case "trades": {
      const hasText = random.chance(0.3)
      const ids = Array.from({ length: rows }, () => `é-${random.u32()}`)
      const set = filled(random, TradeLayout, rows)
      return new TradeBatch(hasText ? textContext : context, set, rows, hasText ? ids : undefined)
    }
  }
}

/** One note of every kind, and the variants of those. */
export const notes: ReadonlyArray<FeedNote> = [
  {
    _tag: "SessionStarted",
    session: "7f/1",
    provider: "test",
    dataset: "TEST.SPOT",
    schema: "mbp-10",
    at: 1_767_603_600_000_000_001n
  },
  { _tag: "InstrumentsJoined", session: "7f/1", instruments: [], at: 0n },
  { _tag: "InstrumentsJoined", session: "7f/1", instruments: [0, 4_294_967_295], at: -1n },
  { _tag: "InstrumentsLeft", session: "7f/1", instruments: [7], at: 9_223_372_036_854_775_807n },
  { _tag: "Watermark", session: "Sitzung „é“", at: 1n },
  { _tag: "RowsMissing", session: "7f/1", range: { start: -5n, end: 5n }, cause: "disk-full" },
  {
    _tag: "RowsMissing",
    session: "7f/1",
    instruments: [1, 2],
    range: { start: 0n, end: 1n },
    cause: "slow-reader"
  },
  { _tag: "SessionEnded", session: "" }
]

export const randomEntry = (random: SeededRandom, rows: number): FeedEntry =>
  random.chance(0.2)
    ? random.pick(notes)
    : { _tag: "FeedRows", session: "7f/1", batch: randomBatch(random, random.pick(kinds), rows) }

const bytesOf = (column: ArrayBufferView, count: number): Uint8Array =>
  new Uint8Array(
    column.buffer,
    column.byteOffset,
    (count * column.byteLength) / (column as unknown as ArrayLike<unknown>).length
  )

/** Every column, the texts, and what the context says about the rows. */
export const assertSameBatch = (actual: MarketBatch, expected: MarketBatch): void => {
  assert.strictEqual(actual._tag, expected._tag)
  assert.strictEqual(actual.length, expected.length)
  const columns = actual.columns as unknown as Record<string, ArrayBufferView>
  const wanted = expected.columns as unknown as Record<string, ArrayBufferView>
  for (const [name, { lanes }] of Object.entries<BatchLayout.ColumnSpec>(layouts[rowKind(expected)])) {
    const count = expected.length * lanes
    assert.strictEqual((columns[name] as unknown as ArrayLike<unknown>).length, count)
    if (count > 0 && Buffer.compare(bytesOf(columns[name]!, count), bytesOf(wanted[name]!, count)) !== 0)
      assert.fail(`column ${name} differs`)
  }
  for (const [name, words] of Object.entries(actual.words as Record<string, Int32Array>))
    assert.strictEqual(words.byteOffset, columns[name]!.byteOffset)
  const { provider, dataset, keyKind } = actual.context
  assert.deepStrictEqual(
    [provider, dataset, keyKind],
    [expected.context.provider, expected.context.dataset, expected.context.keyKind]
  )
  for (const publisher of new Set(expected.columns.publisher.subarray(0, expected.length)))
    assert.strictEqual(actual.context.venueOf(publisher), expected.context.venueOf(publisher))
  if (actual._tag === "TradeBatch" && expected._tag === "TradeBatch")
    assert.deepStrictEqual(actual.textIds, expected.textIds)
}

export const assertSameEntry = (actual: FeedEntry, expected: FeedEntry): void => {
  if (actual._tag !== "FeedRows" || expected._tag !== "FeedRows") assert.deepStrictEqual(actual, expected)
  else {
    assert.strictEqual(actual.session, expected.session)
    assertSameBatch(actual.batch, expected.batch)
  }
}
