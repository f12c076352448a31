import { type FeedNote, type StoreError, UnixNanos } from "@data-manager/core"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as CoverageReader from "../src/CoverageReader.ts"
import * as CoverageTable from "../src/CoverageTable.ts"
import * as FeedSessionTable from "../src/FeedSessionTable.ts"
import * as Retention from "../src/Retention.ts"
import * as RevisionTable from "../src/RevisionTable.ts"
import { instruments, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture
let ids: ReadonlyArray<number>
let dataset: string
beforeAll(async () => {
  store = await openStore()
  const market = await instruments(store, new Array(200).fill([2, 0]))
  ids = market.ids
  dataset = market.context.dataset
}, 120_000)
afterAll(() => store.close())

const noon = UnixNanos.parse("2024-10-07T12:00:00Z")!
const hour = 3_600n * UnixNanos.PerSecond

const begin = (session: string): ReadonlyArray<FeedNote> => [
  { _tag: "SessionStarted", session, provider: "test", dataset, schema: "trades", at: noon },
  { _tag: "InstrumentsJoined", session, instruments: ids, at: noon }
]

const watermark = (session: string, at: bigint): FeedNote => ({ _tag: "Watermark", session, at })

describe("feed sessions", () => {
  it("move one row per flush, whatever the number of instruments", async () => {
    const feed = FeedSessionTable.make(store.writer.pool)
    await store.run(feed.noteFeed([...begin("one row"), watermark("one row", noon + 1n)]))
    const versions = (table: string) =>
      store.sql(`SELECT ctid::text AS place, xmin::text AS version FROM ${table} ORDER BY ctid`)
    const tables = ["feed_session_instruments", "feed_session_gaps", "coverage", "coverage_marks"]
    const before = [await versions("feed_sessions"), await Promise.all(tables.map(versions))] as const
    assert.strictEqual(before[1][0]!.length, ids.length)
    await store.run(feed.noteFeed([watermark("one row", noon + UnixNanos.PerSecond)]))
    assert.deepStrictEqual(await Promise.all(tables.map(versions)), before[1])
    assert.notDeepEqual(await versions("feed_sessions"), before[0])
  })

  it("leave no rows of their instruments behind at their end", async () => {
    const feed = FeedSessionTable.make(store.writer.pool)
    const missing: FeedNote = {
      _tag: "RowsMissing",
      session: "gone",
      range: { start: noon, end: noon + 10n * UnixNanos.PerSecond },
      cause: "disconnect"
    }
    await store.run(feed.noteFeed([...begin("gone"), missing, watermark("gone", noon + hour)]))
    await store.run(feed.noteFeed([{ _tag: "SessionEnded", session: "gone" }]))
    for (const table of ["feed_session_instruments", "feed_session_gaps"]) {
      const left = await store.sql(
        `SELECT FROM ${table} t JOIN feed_sessions f ON f.id = t.session_id WHERE f.key = 'gone'`
      )
      assert.strictEqual(left.length, 0, table)
    }
  })

  it("are noted while others claim, mark, revise and expire the same time, and nobody fails", {
    timeout: 120_000
  }, async () => {
    const pools = [store.writer.pool, (await store.connect()).pool, (await store.connect()).pool] as const
    const work = (n: number, step: number): Effect.Effect<unknown, StoreError> => {
      const range = { start: noon + BigInt(step) * hour, end: noon + BigInt(step + 1) * hour }
      const instruments = n % 2 === 0 ? ids : ids.toReversed()
      const pool = pools[n % pools.length]!
      if (n < 3) {
        const session = `crowded ${n}`
        const { noteFeed } = FeedSessionTable.make(pool)
        const gap: FeedNote = { _tag: "RowsMissing", session, range, cause: "overflow" }
        return Effect.andThen(
          noteFeed([watermark(session, range.end + BigInt(n) * UnixNanos.PerSecond)]),
          step % 3 === 0 ? noteFeed([gap]) : Effect.void
        )
      }
      const { claimCoverage, markCoverage } = CoverageTable.make(pool)
      const spans = instruments.map((instrument) => ({ instrument, schema: "trades" as const, range }))
      if (n === 3) return claimCoverage(spans)
      if (n === 4) return markCoverage(spans.map((span) => ({ ...span, state: "expired" as const })))
      if (n === 5)
        return RevisionTable.make(pool).noteRevisions({
          provider: "test",
          dataset,
          schema: "trades",
          revisions: [{ range: { start: noon, end: noon + hour }, revision: `${step}` }]
        })
      return Effect.andThen(
        pool.query("SELECT forget_trades_before($1)", [UnixNanos.toIso(range.start)]),
        Retention.expireTrades(pool, range.start)
      )
    }
    const feed = FeedSessionTable.make(store.writer.pool)
    for (let n = 0; n < 3; n++) await store.run(feed.noteFeed(begin(`crowded ${n}`)))
    await store.run(
      Effect.all(
        Array.from({ length: 7 }, (_, n) =>
          Effect.forEach(
            Array.from({ length: 12 }, (__, step) => step),
            (step) => work(n, step)
          )
        ),
        { concurrency: "unbounded", discard: true }
      )
    )
    // What nobody holds any more, no fold brings back.
    const range = { start: noon, end: noon + 12n * hour }
    const whole = ids.map((instrument) => ({ instrument, schema: "trades" as const, range }))
    await store.run(
      CoverageTable.make(store.writer.pool).markCoverage(
        whole.map((span) => ({ ...span, state: "expired" as const }))
      )
    )
    await store.run(
      feed.noteFeed([0, 1, 2].map((n) => ({ _tag: "SessionEnded", session: `crowded ${n}` }) as const))
    )
    const held = await store.run(
      CoverageReader.make(store.writer.pool).coverage({ instruments: ids, states: ["held"], range })
    )
    assert.deepStrictEqual(held, [])
  })
})
