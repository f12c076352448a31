/** Cards S-970 to S-990: whatever the order, the cuts and the repeats of appends, the content is the same. */
import { type MarketBatch, type MarketStore, type StoreError, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { assert } from "vitest"
import * as BarModel from "./BarModel.ts"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import * as BatchRow from "./BatchRow.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  append,
  appendAll,
  assertRows,
  at,
  card,
  inReadOrder,
  market,
  readBars,
  readSchema,
  readTrades,
  type StoreCard,
  StoreFixture,
  theStore
} from "./StoreCard.ts"

const Cases = 3
const noon = at("2024-11-20T12:00:00Z")

/** Cuts a batch at random places, repeats some parts, shuffles the rows of some and the parts among themselves. */
const pieces = <B extends MarketBatch>(random: SeededRandom, batch: B): Array<B> => {
  const parts: Array<B> = []
  for (let from = 0; from < batch.length; ) {
    const to = Math.min(batch.length, from + random.between(1, Math.ceil(batch.length / 3)))
    const rows = Array.from({ length: to - from }, (_, i) => from + i)
    parts.push(
      random.chance(0.5) ? (batch.slice(from, to) as B) : BatchRow.select(batch, random.shuffle(rows))
    )
    // The next part may begin before this one ends.
    from = random.chance(0.3) ? Math.max(from + 1, to - random.below(20)) : to
  }
  return random.shuffle([...parts, ...parts.filter(() => random.chance(0.3))])
}

/** Deals the parts out to one to three writers, and lets some begin a run of their own in between. */
const write = (
  random: SeededRandom,
  stores: ReadonlyArray<MarketStore["Service"]>,
  parts: ReadonlyArray<MarketBatch>
): Effect.Effect<void, StoreError> => {
  const writers = Array.from({ length: random.between(1, 3) }, (): Array<MarketBatch> => [])
  for (const part of parts) random.pick(writers).push(part)
  const cuts = random.between(1, 5)
  return Effect.forEach(
    writers,
    (mine, w) =>
      Effect.gen(function* () {
        const store = stores[w % stores.length]!
        for (let from = 0; from < mine.length; from += cuts)
          yield* appendRun(store, mine.slice(from, from + cuts))
      }),
    { concurrency: "unbounded", discard: true }
  )
}

const appendRun = (store: MarketStore["Service"], parts: ReadonlyArray<MarketBatch>) =>
  Effect.gen(function* () {
    const run = yield* store.beginRun({
      kind: "import",
      source: "interleaving",
      provider: "conformance",
      dataset: "S.PIECES"
    })
    for (const [segment, part] of parts.entries()) {
      const result = yield* Effect.retry(append(store, part, { run: run.id, segment }), {
        times: 20,
        while: (error) => error.isRetryable
      })
      assert.strictEqual(result.conflicts, 0)
    }
  })

/**
 * Prerequisite: three times, two new instruments.
 * Action: one set of trades, quotes, provider bars and books, each time cut, repeated, reordered and dealt out to
 * writers in two programs in another way.
 * Pass: rows, bars of every timeframe and daily availability are the same every time.
 */
const anyOrder = card(
  "S-970",
  "any cuts, repeats and orders of appends end in the same content",
  function* () {
    const { first, second } = yield* StoreFixture
    for (let n = 0; n < Cases; n++) {
      const random = new SeededRandom(970 + n)
      const { context, ids } = yield* market(first, `S.PIECES.${n}`, { symbols: 2 })
      const options = {
        context,
        instruments: ids,
        start: noon,
        span: 26n * 3_600n * UnixNanos.PerSecond,
        rows: 150
      }
      const trades = BatchArbitrary.trades(new SeededRandom(1), { ...options, rows: 400 })
      const quotes = BatchArbitrary.quotes(new SeededRandom(2), { ...options, schema: "mbp-1" })
      const bars = BatchArbitrary.bars(new SeededRandom(3), { ...options, seconds: 60 })
      const books = BatchArbitrary.books(new SeededRandom(4), { ...options, schema: "mbp-10" })
      const parts = random.shuffle<MarketBatch>(
        [trades, quotes, bars, books].flatMap((each) => pieces(random, each))
      )
      yield* write(random, [first, second], parts)
      assertRows(yield* readTrades(second, ids), inReadOrder([trades]), `case ${n}: trades`)
      assertRows(yield* readSchema(first, "quotes", ids, "mbp-1"), inReadOrder([quotes]), `case ${n}: quotes`)
      assertRows(
        yield* readBars(first, ids, "1m", { source: "provider" }),
        inReadOrder([bars]),
        `case ${n}: provider bars`
      )
      assertRows(yield* readSchema(first, "book", ids, "mbp-10"), inReadOrder([books]), `case ${n}: books`)
      for (const timeframe of ["1s", "1m", "1h", "1d"] as const)
        assertRows(
          yield* readBars(first, ids, timeframe),
          BarModel.bars(trades.rows(), timeframe),
          `case ${n}: ${timeframe}`
        )
      const days = yield* second.availability({ instruments: ids })
      const count = days
        .filter((day) => day.schema === "trades")
        .reduce((sum, day) => sum + Number(day.rows), 0)
      assert.strictEqual(count, trades.length, `case ${n}: availability`)
    }
  }
)

/**
 * Prerequisite: three times, one new instrument.
 * Action: live trades, some with wrong prices, kept, and the history of the same keys, replacing, in parts and in any
 * order relative to each other.
 * Pass: rows and bars are those of history every time.
 */
const historyWins = card("S-980", "authoritative history wins in any order", function* () {
  const store = yield* theStore
  for (let n = 0; n < Cases; n++) {
    const random = new SeededRandom(980 + n)
    const { context, ids } = yield* market(store, `S.WINS.${n}`)
    const make = () =>
      BatchArbitrary.trades(new SeededRandom(5), { context, instruments: ids, start: noon, rows: 200 })
    const [history, live] = [make(), make()]
    for (let i = 0; i < live.length; i++) if (i % 7 === 0) live.columns.size[i] = 777_777n
    // Whole microseconds are replaced, so that history comes in parts that do not cut one.
    const micros = (i: number) => UnixNanos.floorMicros(history.columns.tsEvent[i]!)
    const cuts = Array.from({ length: 200 }, (_, i) => i).filter(
      (i) => i === 0 || (i % 50 < 24 && i % 8 === 0 && micros(i) !== micros(i - 1))
    )
    const parts = cuts.map((from, i) => history.slice(from, cuts[i + 1] ?? 200))
    const all = random.shuffle([
      ...parts.map((batch) => ({ batch, onConflict: "replace" as const })),
      ...pieces(random, live).map((batch) => ({ batch, onConflict: "keep" as const }))
    ])
    for (const { batch, onConflict } of all) yield* appendAll(store, [batch], { onConflict })
    assertRows(yield* readTrades(store, ids), inReadOrder([history]), `case ${n}: trades`)
    for (const timeframe of ["1s", "1m", "1d"] as const)
      assertRows(
        yield* readBars(store, ids, timeframe),
        BarModel.bars(history.rows(), timeframe),
        `case ${n}: ${timeframe}`
      )
  }
})

/** Cards S-970 to S-990. */
export const cards: ReadonlyArray<StoreCard> = [anyOrder, historyWins]
