import {
  ABSENT_I32,
  ABSENT_I64,
  type AppendResult,
  type BatchContext,
  type MarketBatch,
  StoreError,
  TradeBatch,
  UnixNanos
} from "@data-manager/core"
import { BatchArbitrary, BatchRow, SeededRandom } from "@data-manager/testing"
import { Effect, Fiber } from "effect"
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import * as Retention from "../src/Retention.ts"
import { assertRollups } from "./NaiveRollup.ts"
import { appendAll, instruments as makeInstruments, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture

beforeAll(async () => {
  store = await openStore()
}, 16_000)
afterAll(() => store.close())

/** Instruments of the test that runs: its bars and day counts are checked behind it. */
let used: ReadonlyArray<number> = []
const instruments: typeof makeInstruments extends (store: StoreFixture, ...rest: infer A) => infer R
  ? (...rest: A) => R
  : never = async (...rest) => {
  const made = await makeInstruments(store, ...rest)
  used = made.ids
  return made
}
afterEach(() => assertRollups(store, used))

const start = UnixNanos.parse("2024-03-05T13:30:00Z")!

const totals = (results: ReadonlyArray<AppendResult>): string => {
  const sum = (key: "inserted" | "duplicates" | "conflicts") =>
    results.reduce((total, result) => total + result[key], 0)
  return `${sum("inserted")}/${sum("duplicates")}/${sum("conflicts")}`
}

const put = async (batches: ReadonlyArray<MarketBatch>, onConflict?: "keep" | "replace"): Promise<string> =>
  totals(await store.run(appendAll(store.writer, batches, { onConflict })))

const trades = (
  to: { readonly ids: ReadonlyArray<number>; readonly context: BatchContext },
  seed: number,
  options: Partial<BatchArbitrary.BatchOptions> = {}
): TradeBatch =>
  BatchArbitrary.trades(new SeededRandom(seed), {
    context: to.context,
    instruments: to.ids,
    rows: 300,
    start,
    ...options
  })

/** The stored trades of instruments as text, one line each. */
const stored = async (ids: ReadonlyArray<number>): Promise<ReadonlyArray<string>> => {
  const rows = await store.sql<{ readonly line: string }>(
    `SELECT concat_ws(' ', instrument_id, (extract(epoch FROM ts) * 1000000000 + ts_ns)::int8, trade_key,
              coalesce(x.price, t.price * price_unit)::float8, coalesce(x.size, t.size * size_unit)::float8, side) AS line
     FROM trade t JOIN instruments i ON i.id = t.instrument_id
     LEFT JOIN trade_exact x USING (instrument_id, ts, trade_key)
     WHERE instrument_id = ANY($1) ORDER BY 1`,
    [ids]
  )
  return rows.map((row) => row.line)
}

const linesOf = (batches: ReadonlyArray<TradeBatch>): ReadonlyArray<string> =>
  batches
    .flatMap((batch) =>
      Array.from({ length: batch.length }, (_, i) => {
        const c = batch.columns
        const values = [batch.priceAt(i), batch.sizeAt(i)].filter((value) => !Number.isNaN(value))
        return [c.instrument[i], c.tsEvent[i], c.tradeKey[i], ...values, c.side[i]].join(" ")
      })
    )
    .sort()

describe("append", () => {
  it("writes new rows directly, and repeated ones as duplicates", async () => {
    const to = await instruments([
      [2, 0],
      [9, 3]
    ])
    const batch = trades(to, 1)
    assert.strictEqual(await put([batch]), "300/0/0")
    assert.strictEqual(await put([batch]), "0/300/0")
    assert.deepStrictEqual(await stored(to.ids), linesOf([batch]))
  })

  it("finds the new rows among repeated ones, whatever the order and the cut", async () => {
    const to = await instruments([
      [2, 0],
      [4, 0]
    ])
    const batch = trades(to, 2, { rows: 600, span: 50n * UnixNanos.PerDay })
    const random = new SeededRandom(2)
    const order = random.shuffle(Array.from({ length: 600 }, (_, i) => i))
    assert.strictEqual(await put([BatchRow.select(batch, order.slice(0, 200))]), "200/0/0")
    assert.strictEqual(await put([BatchRow.select(batch, order.slice(100, 400))]), "200/100/0")
    await assertRollups(store, to.ids)
    assert.strictEqual(await put([batch]), "200/400/0")
    assert.deepStrictEqual(await stored(to.ids), linesOf([batch]))
  })

  it("keeps values beyond the scale exactly and compares them as numbers", async () => {
    const to = await instruments([
      [2, 0],
      [0, 18]
    ])
    const batch = trades(to, 3, { values: "extreme", start: UnixNanos.parse("2021-06-01T00:00:00Z")! })
    assert.strictEqual(await put([batch.slice(0, 150)]), "150/0/0")
    assert.strictEqual(await put([batch]), "150/150/0")
    const [counts] = await store.sql<{ readonly exact: bigint; readonly flagged: bigint }>(
      `SELECT (SELECT count(*) FROM trade_exact WHERE instrument_id = ANY($1)) AS exact,
              (SELECT count(*) FROM instruments WHERE id = ANY($1) AND exact_kinds & 1 = 1) AS flagged`,
      [to.ids]
    )
    assert.isAbove(Number(counts!.exact), 100)
    assert.strictEqual(counts!.flagged, 2n)
    // One digit far behind the point makes another content.
    const changed = BatchRow.select(batch, [7])
    changed.columns.price[0] = changed.columns.price[0]! === 0n ? 1n : changed.columns.price[0]! - 1n
    changed.columns.priceExponent[0] = -18
    assert.strictEqual(await put([changed]), "0/0/1")
  })

  it("writes quotes, bars and books with the same guarantees", async () => {
    const to = await instruments([
      [2, 0],
      [6, 2]
    ])
    const options = { context: to.context, instruments: to.ids, rows: 120, start, values: "extreme" as const }
    const random = () => new SeededRandom(4)
    for (const batch of [
      BatchArbitrary.quotes(random(), { ...options, schema: "mbp-1" }),
      BatchArbitrary.quotes(random(), { ...options, schema: "bbo-1s" }),
      BatchArbitrary.bars(random(), { ...options, seconds: 3600 }),
      BatchArbitrary.books(random(), { ...options, schema: "mbp-10" })
    ]) {
      assert.strictEqual(await put([batch.slice(0, 70)]), "70/0/0", batch._tag)
      assert.strictEqual(await put([batch]), "50/70/0", batch._tag)
      const changed = BatchRow.select(batch as unknown as TradeBatch, [3, 100])
      changed.columns.flags?.fill(99)
      if (changed._tag !== ("TradeBatch" as string) && "open" in changed.columns)
        (changed.columns.open as BigInt64Array).fill(77n)
      assert.strictEqual(await put([changed]), "0/0/2", batch._tag)
    }
  })

  it("keeps what lost a conflict, with every value as text, once", async () => {
    const to = await instruments([[2, 0]])
    const batch = trades(to, 5, { rows: 3, absent: 0 })
    await put([batch])
    const other = BatchRow.select(batch, [0, 1, 2])
    other.columns.price[1] = 123_456_789_012n
    other.columns.priceExponent[1] = -9
    assert.strictEqual(await put([other]), "0/2/1")
    assert.strictEqual(await put([other]), "0/2/1")
    const conflicts = await store.sql<{ readonly lost: string; readonly content: Record<string, unknown> }>(
      "SELECT lost, content FROM row_conflicts WHERE instrument_id = ANY($1)",
      [to.ids]
    )
    assert.strictEqual(conflicts.length, 1)
    assert.strictEqual(conflicts[0]!.lost, "new")
    assert.strictEqual(conflicts[0]!.content.price, "123.456789012")
  })

  it("replaces whole microseconds and makes bars and counts anew", async () => {
    const to = await instruments([
      [2, 0],
      [2, 0]
    ])
    const live = trades(to, 6, { rows: 200, absent: 0 })
    await put([live])
    const history = BatchRow.select(
      live,
      Array.from({ length: 200 }, (_, i) => i)
    )
    for (let i = 0; i < 200; i += 9) history.columns.size[i]! += 1000n
    // A key that history does not have: the same row under another one.
    history.columns.tradeKey[50] = 999_999_999n
    const result = await put([history], "replace")
    assert.strictEqual(result, "1/176/23")
    assert.deepStrictEqual(await stored(to.ids), linesOf([history]))
    await assertRollups(store, to.ids)
    assert.strictEqual(await put([history], "replace"), "0/200/0")
    const [lost] = await store.sql<{ readonly n: bigint }>(
      "SELECT count(*) AS n FROM row_conflicts WHERE lost = 'stored' AND instrument_id = ANY($1)",
      [to.ids]
    )
    assert.strictEqual(lost!.n, 24n)
  })

  it("does not take its own rows for foreign ones where a segment cuts a microsecond", async () => {
    const to = await instruments([[2, 0]])
    const batch = trades(to, 7, { rows: 90, span: 1000n, absent: 0 })
    assert.strictEqual(await put([batch.slice(0, 41), batch.slice(41)], "replace"), "90/0/0")
    assert.deepStrictEqual(await stored(to.ids), linesOf([batch]))
  })

  it("removes exact values and text ids with the rows that are replaced", async () => {
    const to = await instruments([[0, 0]], { keyKind: "text-hash" })
    const base = trades(to, 8, { rows: 4, absent: 0, bursts: 0 })
    const withTexts = (batch: TradeBatch, texts: ReadonlyArray<string>) =>
      new TradeBatch(batch.context, batch, batch.length, texts)
    base.columns.priceExponent.fill(-1)
    base.columns.price.fill(15n)
    assert.strictEqual(await put([withTexts(base, ["a", "b", "c", "d"])]), "4/0/0")
    assert.strictEqual(await put([withTexts(base, ["a", "b", "c", "d"])]), "0/4/0")
    assert.strictEqual(await put([withTexts(base, ["a", "X", "c", "d"])]), "0/3/1")
    const whole = BatchRow.select(base, [0, 1, 2, 3])
    whole.columns.price.fill(2n)
    whole.columns.priceExponent.fill(0)
    assert.strictEqual(await put([withTexts(whole, ["a", "b", "c", "e"])], "replace"), "0/0/4")
    const left = await store.sql<{ readonly kind: string; readonly n: bigint }>(
      `SELECT 'exact' AS kind, count(*) AS n FROM trade_exact WHERE instrument_id = ANY($1)
       UNION ALL SELECT string_agg(trade_id, '' ORDER BY trade_id), count(*) FROM trade_text_id
       WHERE instrument_id = ANY($1)`,
      [to.ids]
    )
    assert.deepStrictEqual(
      left.map((row) => `${row.kind} ${row.n}`),
      ["exact 0", "abce 4"]
    )
  })

  it("ends in the exact union whatever several writers do at once", async () => {
    const to = await instruments([
      [2, 0],
      [4, 1]
    ])
    const batch = trades(to, 9, { rows: 900 })
    const random = new SeededRandom(9)
    const writers = await Promise.all([store.connect(), store.connect(), store.connect()])
    // The one that replaces must not cut a microsecond: it would take the rest of it for foreign.
    const micros = (row: number) => UnixNanos.floorMicros(batch.columns.tsEvent[row]!)
    const whole = (row: number): number =>
      row > 0 && row < batch.length && micros(row) === micros(row - 1) ? whole(row + 1) : row
    const parts = writers.map(() =>
      Array.from({ length: 9 }, () => {
        const from = random.below(800)
        return batch.slice(whole(from), whole(from + 100))
      })
    )
    parts[0]!.push(batch)
    const results = await Promise.all(
      writers.map((writer, i) =>
        store.run(appendAll(writer, parts[i]!, { onConflict: i === 1 ? "replace" : "keep" }))
      )
    )
    assert.deepStrictEqual(await stored(to.ids), linesOf([batch]))
    assert.match(totals(results.flat()), /^900\/\d+\/0$/)
  })

  it("ends with every capture time that any of several writers at once knows, and with the bars of their order", async () => {
    const to = await instruments([
      [2, 0],
      [4, 1]
    ])
    const batch = trades(to, 19, { rows: 600, bursts: 0.6, absent: 0 })
    const random = new SeededRandom(19)
    const forgetful = (): TradeBatch => {
      const copy = BatchRow.select(
        batch,
        Array.from({ length: batch.length }, (_, i) => i)
      )
      for (let i = 0; i < copy.length; i++) {
        if (random.chance(0.7)) copy.columns.tsRecv[i] = ABSENT_I64
        if (random.chance(0.7)) copy.columns.tsInDelta[i] = ABSENT_I32
      }
      return copy
    }
    const writers = await Promise.all([store.connect(), store.connect(), store.connect()])
    const results = await Promise.all(
      writers.map((writer, i) => {
        const parts = [forgetful(), forgetful(), ...(i === 0 ? [batch] : [])]
        return store.run(appendAll(writer, parts, { onConflict: i === 1 ? "replace" : "keep" }))
      })
    )
    assert.strictEqual(totals(results.flat()), `600/${6 * 600}/0`)
    const rows = await store.sql<{ readonly line: string }>(
      `SELECT concat_ws(' ', instrument_id, trade_key, (extract(epoch FROM ts) * 1000000000 + ts_ns)::int8,
                (extract(epoch FROM ts_recv) * 1000000000 + ts_recv_ns)::int8, ts_in_delta) AS line
       FROM trade WHERE instrument_id = ANY($1)`,
      [to.ids]
    )
    const { columns: c } = batch
    assert.sameMembers(
      rows.map((row) => row.line),
      Array.from({ length: 600 }, (_, i) =>
        [c.instrument[i], c.tradeKey[i], c.tsEvent[i], c.tsRecv[i], c.tsInDelta[i]].join(" ")
      )
    )
  })

  it("makes partitions that another process removed", async () => {
    const to = await instruments([[2, 0]])
    const day = UnixNanos.parse("2019-01-05T00:00:00Z")!
    const batch = trades(to, 10, { rows: 20, start: day })
    await put([batch.slice(0, 10)])
    await store.sql("DROP TABLE trade_p201901")
    await store.sql("DELETE FROM row_days WHERE instrument_id = ANY($1)", [to.ids])
    for (const table of ["bar_1m", "bar_1h", "bar_1d"])
      await store.sql(`DELETE FROM ${table} WHERE instrument_id = ANY($1)`, [to.ids])
    assert.strictEqual(await put([batch.slice(10)]), "10/0/0")
    assert.deepStrictEqual(await stored(to.ids), linesOf([batch.slice(10)]))
  })

  it("does not count trades twice that come back after retention", async () => {
    const to = await instruments([
      [2, 0],
      [2, 0]
    ])
    const day = UnixNanos.parse("2018-05-05T13:30:00Z")!
    const batch = trades(to, 11, { rows: 400, start: day, span: 40n * UnixNanos.PerDay })
    await put([batch])
    const bars = () =>
      store.sql("SELECT * FROM bar_1m WHERE instrument_id = ANY($1) ORDER BY instrument_id, bucket", [to.ids])
    const before = await bars()
    const { partitions } = await store.run(
      Retention.expireTrades(store.writer.pool, UnixNanos.parse("2018-07-01T00:00:00Z")!)
    )
    assert.isAtLeast(partitions, 2)
    assert.deepStrictEqual(await stored(to.ids), [])
    assert.deepStrictEqual(await bars(), before)
    // Back in parts, one of them twice: bars never show more than there was.
    const parts = [batch.slice(0, 130), batch.slice(100, 300), batch.slice(0, 130), batch.slice(300)]
    assert.strictEqual(await put(parts), "400/160/0")
    assert.deepStrictEqual(await bars(), before)
    const further = trades(to, 12, { rows: 50, start: day, span: 40n * UnixNanos.PerDay })
    await put([further])
  })

  it("leaves nothing of an interrupted append, or all of it", async () => {
    const to = await instruments([[2, 0]])
    const batch = trades(to, 13, { rows: 6_000 })
    for (const delay of [1, 20, 60, 150]) {
      const fiber = Effect.runFork(appendAll(store.writer, [batch]))
      await new Promise((resolve) => setTimeout(resolve, delay))
      await store.run(Fiber.interrupt(fiber))
      const rows = (await stored(to.ids)).length
      assert.include([0, 6_000], rows)
      await assertRollups(store, to.ids)
    }
    await put([batch])
    assert.strictEqual((await stored(to.ids)).length, 6_000)
  })

  it("answers an append whose session was killed with what it did", async () => {
    const to = await instruments([[2, 0]])
    const writer = await store.connect()
    const batch = trades(to, 14, { rows: 6_000 })
    const { id } = await store.run(
      writer.ledger.beginRun({ kind: "import", source: "kill", provider: "t", dataset: "T" })
    )
    const fiber = Effect.runFork(writer.append(batch, { run: id, segment: 0 }))
    for (let kills = 0; kills < 2; ) {
      const killed = await store.sql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'COPY trade %' AND state = 'active'`
      )
      kills += killed.length
      if (fiber.pollUnsafe() !== undefined) break
    }
    assert.deepStrictEqual(await store.run(Fiber.join(fiber)), {
      inserted: 6_000,
      duplicates: 0,
      conflicts: 0,
      skipped: false
    })
    assert.strictEqual((await stored(to.ids)).length, 6_000)
  })

  it("refuses what it has no place for, before anything is written", async () => {
    const to = await instruments([[2, 0]])
    const refused = async (batch: MarketBatch): Promise<string> => {
      const error = await store.run(Effect.flip(appendAll(store.writer, [batch])))
      assert.instanceOf(error, StoreError)
      assert.strictEqual(error.reason._tag, "StoreInvalidData")
      return error.message
    }
    const timeless = trades(to, 15, { rows: 5 })
    timeless.columns.tsEvent[3] = ABSENT_I64
    assert.match(await refused(timeless), /row 3 .* has no time/)
    const stranger = trades(to, 16, { rows: 5 })
    stranger.columns.instrument[4] = 4_294_967_295
    assert.match(await refused(stranger), /#4294967295.* not registered/)
    const options = { context: to.context, instruments: to.ids, rows: 5, start }
    const ours = BatchArbitrary.bars(new SeededRandom(17), { ...options, seconds: 60 })
    ours.columns.source.fill(1)
    assert.match(await refused(ours), /made by the store/)
    const odd = BatchArbitrary.bars(new SeededRandom(18), { ...options, seconds: 60 })
    odd.columns.seconds[2] = 7
    assert.match(await refused(odd), /7 seconds/)
    const foreign = BatchArbitrary.quotes(new SeededRandom(19), { ...options, schema: "mbp-1" })
    foreign.columns.schema[1] = 50
    assert.match(await refused(foreign), /mbp-10/)
    const texts = new TradeBatch(to.context, trades(to, 20, { rows: 2 }), 2, ["x".repeat(401), "y"])
    assert.match(await refused(texts), /longer than 400/)
    assert.deepStrictEqual(await stored(to.ids), [])
  })

  it("writes names of publishers and how trade keys are made", async () => {
    const to = await instruments([[2, 0]], {
      keyKind: "venue-id",
      venueOf: (publisher) => (publisher === 0 ? undefined : `V${publisher}`)
    })
    const batch = trades(to, 21, { rows: 4 })
    batch.columns.publisher.set([0, 7, 65_535, 7])
    await put([batch])
    await put([batch])
    const rows = await store.sql(
      `SELECT d.key_kind, p.id & 65535 AS id, p.venue FROM publishers p JOIN datasets d ON d.id = p.dataset_id
       WHERE d.name = $1 ORDER BY 2`,
      [to.context.dataset]
    )
    assert.deepStrictEqual(rows, [
      { key_kind: "venue-id", id: 7, venue: "V7" },
      { key_kind: "venue-id", id: 65_535, venue: "V65535" }
    ])
  })
})
