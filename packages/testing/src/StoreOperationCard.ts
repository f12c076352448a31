/** Cards S-910 to S-960: retention, statistics, migrations. */
import { Coverage, MarketStore, StoreMigrations, UnixNanos } from "@data-manager/core"
import { Context, Effect, Layer } from "effect"
import { assert } from "vitest"
import * as BarModel from "./BarModel.ts"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  append,
  appendAll,
  assertRows,
  at,
  card,
  during,
  inReadOrder,
  market,
  readBars,
  readTrades,
  type StoreCard,
  type StoreDatabase,
  StoreFixture
} from "./StoreCard.ts"

/**
 * Prerequisite: a database of its own; an instrument with trades in 1999 and in each month of 2001 and 2002, all of it
 * claimed as held; quotes of 1999.
 * Action: expire trades before the middle of June 2001, twice.
 * Pass: no trade at or after that moment is gone, and those of 1999 are. At every moment that was held the coverage is
 * either still held, with its rows, or expired, without any. Bars of 1m, 1h and 1d and quotes are still there. The
 * second time removes nothing.
 */
const expire = card(
  "S-910",
  "expired trades leave whole partitions, and their coverage says so",
  function* () {
    const { first: store, second } = yield* StoreFixture
    const { context, ids } = yield* market(store, "S.RETENTION")
    const held = during("1999-01-01", "2003-01-01")
    const months = ["1999-03", ...[2001, 2002].flatMap((year) => monthsOf(year))]
    const options = { context, instruments: ids, rows: 20, span: 20n * UnixNanos.PerDay }
    const batches = months.map((month, i) =>
      BatchArbitrary.trades(new SeededRandom(910 + i), { ...options, start: at(`${month}-04`) })
    )
    const quotes = BatchArbitrary.quotes(new SeededRandom(909), {
      ...options,
      schema: "mbp-1",
      start: at("1999-03-04")
    })
    yield* appendAll(store, [...batches, quotes])
    const instrument = ids[0]!
    yield* store.claimCoverage([
      { instrument, schema: "trades", range: held },
      { instrument, schema: "mbp-1", range: held }
    ])
    const before = at("2001-06-15T12:00:00Z")
    const { partitions } = yield* store.expireTrades(before)
    assert.isAtLeast(partitions, 1)
    const all = inReadOrder(batches)
    const left = yield* readTrades(second, ids)
    const spans = yield* second.coverage({ instruments: ids, schema: "trades" })
    const states = Coverage.resolve(spans, held, before)
    assert.deepStrictEqual([states.unknown, states.missing, states.none], [[], [], []])
    assert.isAbove(states.expired.length, 0)
    const isExpired = (time: bigint) =>
      states.expired.some((range) => time >= range.start && time < range.end)
    assertRows(
      left,
      all.filter((row) => !isExpired(row.time)),
      "rows are there exactly where they are held"
    )
    assert.isTrue(left.every((row) => row.time >= at("2000-01-01")))
    assertRows(
      left.filter((row) => row.time >= before),
      all.filter((row) => row.time >= before),
      "younger rows"
    )
    assert.isTrue(states.expired.every((range) => range.end <= before))
    const rows = batches.flatMap((batch) => [...batch.rows()])
    for (const timeframe of ["1m", "1h", "1d"] as const)
      assertRows(
        yield* readBars(second, ids, timeframe),
        BarModel.bars(rows, timeframe),
        `bars of ${timeframe}`
      )
    const mbp1 = yield* second.coverage({ instruments: ids, schema: "mbp-1" })
    assert.deepStrictEqual(
      mbp1.map((span) => [span.state, span.range]),
      [["held", held]]
    )
    assert.strictEqual((yield* store.expireTrades(before)).partitions, 0)
  },
  "own"
)

const monthsOf = (year: number): ReadonlyArray<string> =>
  Array.from({ length: 12 }, (_, i) => `${year}-${String(i + 1).padStart(2, "0")}`)

/**
 * Prerequisite: a database of its own.
 * Action: write trades with a conflict under one complete and one open run; read the statistics.
 * Pass: they count the conflict and the runs; every table has a size, and the tables together hold the rows.
 */
const statistics = card(
  "S-920",
  "statistics count runs, conflicts and sizes",
  function* () {
    const { first: store } = yield* StoreFixture
    const empty = yield* store.statistics
    assert.deepStrictEqual([empty.conflicts, empty.runs], [0n, { completed: 0n, open: 0n }])
    const { context, ids } = yield* market(store, "S.STATISTICS")
    const batch = BatchArbitrary.trades(new SeededRandom(920), {
      context,
      instruments: ids,
      rows: 500,
      start: at("2024-03-05")
    })
    yield* appendAll(store, [batch])
    const run = yield* store.beginRun({
      kind: "live",
      source: "open",
      provider: "conformance",
      dataset: "S.STATISTICS"
    })
    const changed = batch.slice(0, 1)
    changed.columns.size[0] = 999_999n
    const result = yield* append(store, changed, { run: run.id, segment: 0 })
    assert.strictEqual(result.conflicts, 1)
    const after = yield* store.statistics
    assert.deepStrictEqual([after.conflicts, after.runs], [1n, { completed: 1n, open: 1n }])
    assert.isTrue(after.databaseBytes > 0n)
    assert.isAbove(after.tables.length, 0)
    for (const table of after.tables)
      assert.isTrue(table.bytes >= 0n && table.rows >= 0n && table.partitions >= 0, table.table)
    assert.isTrue(store.capabilities.serverVersion.length > 0)
  },
  "own"
)

/** A program of its own: it lives as long as the card. */
const open = (database: StoreDatabase) =>
  Effect.map(Layer.build(Layer.fresh(database.migrations)), (context) =>
    Context.get(context, StoreMigrations)
  )

const versions = (
  states: ReadonlyArray<{ readonly version: number; readonly appliedAt?: bigint | undefined }>
) => states.filter((state) => state.appliedAt !== undefined).map((state) => state.version)

/**
 * Prerequisite: a database without a schema.
 * Action: ask for the status; apply everything, twice; use the store; take everything back; apply it again.
 * Pass: the status lists the migrations in order, first none and then all of them applied, none drifted; applying again
 * changes nothing; after taking everything back the store starts anew, empty.
 */
const upAndDown: StoreCard = {
  id: "S-940",
  title: "migrations go up, tell their status, and go down",
  database: "empty",
  check: (database) =>
    Effect.gen(function* () {
      const migrations = yield* open(database)
      const none = yield* migrations.status
      assert.isAbove(none.length, 0)
      assert.deepStrictEqual(
        none.map((state) => [state.version, state.appliedAt, state.drifted]),
        none.map((_, i) => [none[0]!.version + i, undefined, false])
      )
      const all = none.map((state) => state.version)
      assert.deepStrictEqual(versions(yield* migrations.up()), all)
      const applied = yield* migrations.status
      assert.deepStrictEqual(versions(applied), all)
      assert.deepStrictEqual(yield* migrations.up(), applied)
      const write = (expected: number) =>
        Effect.gen(function* () {
          const store = yield* MarketStore
          const { context, ids } = yield* market(store, "S.MIGRATED")
          const batch = BatchArbitrary.trades(new SeededRandom(940), {
            context,
            instruments: ids,
            rows: 50,
            start: at("2024-03-05")
          })
          const [result] = yield* appendAll(store, [batch])
          assert.strictEqual(result!.inserted, expected)
          assertRows(yield* readTrades(store, ids), inReadOrder([batch]), "trades")
        }).pipe(Effect.provide(Layer.fresh(database.store)), Effect.scoped)
      yield* write(50)
      yield* write(0)
      assert.deepStrictEqual(versions(yield* migrations.down(0)), [])
      assert.deepStrictEqual(versions(yield* migrations.status), [])
      assert.deepStrictEqual(versions(yield* migrations.up()), all)
      yield* write(50)
      // Without a version `down` takes back the newest one alone.
      assert.deepStrictEqual(versions(yield* migrations.down()), all.slice(0, -1))
      assert.deepStrictEqual(versions(yield* migrations.up()), all)
    })
}

/**
 * Prerequisite: a database without a schema, three programs.
 * Action: all three apply the migrations at the same time.
 * Pass: all three succeed, and everything is applied once.
 */
const together: StoreCard = {
  id: "S-950",
  title: "several programs migrate one database at once",
  database: "empty",
  check: (database) =>
    Effect.gen(function* () {
      const programs = yield* Effect.all([0, 1, 2].map(() => open(database)))
      const states = yield* Effect.all(
        programs.map((migrations) => migrations.up()),
        { concurrency: "unbounded" }
      )
      const status = yield* programs[0]!.status
      assert.deepStrictEqual(
        versions(status),
        status.map((state) => state.version)
      )
      for (const state of states) assert.deepStrictEqual(versions(state), versions(status))
    })
}

/** Cards S-910 to S-960. */
export const cards: ReadonlyArray<StoreCard> = [expire, statistics, upAndDown, together]
