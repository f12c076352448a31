/**
 * Several writers at once on the same and overlapping times, in bulk and not, keeping and replacing, while chunks are
 * compressed and bars are made: in random rounds on TimescaleDB. Every trade stands once in the end, with the content that one
 * of the writers had, and the counts of all of them add up.
 */
import { type AppendClaim, type AppendResult, type TradeBatch, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, BatchRow, SeededRandom } from "@data-manager/testing"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as BarRefresh from "../../src/timescale/BarRefresh.ts"
import { assertRollups } from "../NaiveRollup.ts"
import { assertOwnership } from "../Ownership.ts"
import { instruments, openStore, type StoreFixture, type Writer } from "../StoreFixture.ts"
import { createDatabase } from "../TestServer.ts"
import { providedServers } from "./ProvidedServer.ts"

const server = providedServers.find(({ extension }) => extension !== undefined)

const ROUNDS = 40
const ROWS = 900

/** A batch and how it is appended. */
type Part = readonly [batch: TradeBatch, claim: Pick<AppendClaim, "onConflict" | "profile">]

const lines = (batch: TradeBatch): ReadonlyArray<string> =>
  Array.from({ length: batch.length }, (_, i) => {
    const { instrument, tradeKey } = batch.columns
    return [instrument[i], tradeKey[i], batch.columns.tsEvent[i], batch.sizeAt(i)].join(" ")
  })

const storedLines = async (store: StoreFixture, ids: ReadonlyArray<number>) =>
  (
    await store.sql<{ readonly line: string }>(
      `SELECT concat_ws(' ', instrument_id, trade_key, (extract(epoch FROM ts) * 1000000)::int8 * 1000 + ts_ns, size) AS line
       FROM trade_rows WHERE instrument_id = ANY($1)`,
      [ids]
    )
  ).map(({ line }) => line)

/** What a round is about: the same trades twice, some of them with other sizes. */
const versionsOf = ({ context, ids }: Awaited<ReturnType<typeof instruments>>, random: SeededRandom) => {
  const first = BatchArbitrary.trades(random, {
    context,
    instruments: ids,
    rows: ROWS,
    // Around a midnight, where most of it happens.
    start: UnixNanos.parse("2024-09-02T22:00:00Z")!,
    span: random.pick([4n, 60n]) * 3600n * UnixNanos.PerSecond,
    absent: 0
  })
  const second = BatchRow.select(
    first,
    Array.from({ length: ROWS }, (_, i) => i)
  )
  for (let i = 0; i < ROWS; i++) if (random.chance(0.1)) second.columns.size[i]! += 100_000n
  return [first, second] as const
}

/** A random part of one version. What replaces must not cut a microsecond: it would take the rest of it for foreign. */
const partOf = (versions: ReadonlyArray<TradeBatch>, random: SeededRandom): Part => {
  const batch = random.pick(versions)
  const micros = (row: number) => UnixNanos.floorMicros(batch.columns.tsEvent[row]!)
  const whole = (row: number): number =>
    row > 0 && row < ROWS && micros(row) === micros(row - 1) ? whole(row + 1) : row
  const from = whole(random.below(ROWS - 100))
  const to = Math.max(from + 1, whole(from + random.between(1, 500)))
  const onConflict = random.pick(["keep", "replace"] as const)
  if (random.chance(0.4)) return [batch.slice(from, to), { onConflict }]
  // One instrument in bulk. Rows of the others stay: they are not foreign to it.
  const id = batch.columns.instrument[from]!
  const rows = Array.from({ length: ROWS }, (_, i) => i).filter(
    (row) => row >= from && row < to && batch.columns.instrument[row] === id
  )
  return [BatchRow.select(batch, rows), { onConflict, profile: "bulk" }]
}

const appendParts = Effect.fnUntraced(function* ({ append, ledger }: Writer, parts: ReadonlyArray<Part>) {
  const results: Array<AppendResult> = []
  const run = yield* ledger.beginRun({ kind: "import", source: "test", provider: "test", dataset: "TEST" })
  for (const [segment, [batch, claim]] of parts.entries()) {
    const result = yield* append(batch, { run: run.id, segment, ...claim })
    assert.strictEqual(
      result.inserted + result.duplicates + result.conflicts,
      batch.length,
      "counts of a batch"
    )
    results.push(result)
  }
  return results
})

const compress = /* sql */ `
  SET LOCAL lock_timeout = '200ms';
  SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('trade') c;
  SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('trade_bulk') c`

/** What the server does meanwhile. It gives way. */
const maintain = ({ pool }: Writer) =>
  Effect.gen(function* () {
    yield* Effect.sleep("100 millis")
    yield* Effect.ignore(pool.transaction("compress", (connection) => connection.script(compress)))
    yield* BarRefresh.refreshPending(pool)
  })

describe.skipIf(server === undefined)("writers at once on TimescaleDB", () => {
  let store: StoreFixture
  let writers: ReadonlyArray<Writer>
  beforeAll(async () => {
    store = await openStore(await createDatabase(server!.url))
    writers = await Promise.all([1, 2, 3, 4].map(() => store.connect()))
  }, 120_000)
  afterAll(() => store.close())

  const deadlocks = async (): Promise<bigint> => {
    const [row] = await store.sql<{ readonly n: bigint }>(
      "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()"
    )
    return row!.n
  }

  it(`leave the exact union in ${ROUNDS} random rounds`, { timeout: 3_600_000 }, async (context) => {
    const [bulk] = await store.sql("SELECT to_regclass('trade_bulk') IS NOT NULL AS found")
    if (!bulk!.found) return context.skip("this edition has no bulk profile")
    for (let round = 0; round < ROUNDS; round++) {
      const random = new SeededRandom(7000 + round)
      const market = await instruments(store, [
        [2, 0],
        [4, 0]
      ])
      const versions = versionsOf(market, random)
      const parts = writers.map(() => Array.from({ length: 4 }, () => partOf(versions, random)))
      parts[0]!.push([versions[0], {}])
      const [results] = await Promise.all([
        Promise.all(writers.map((writer, i) => store.run(appendParts(writer, parts[i]!)))),
        store.run(maintain(store.writer))
      ])
      const inserted = results.flat().reduce((sum, result) => sum + result.inserted, 0)
      assert.strictEqual(inserted, ROWS, `rows that were inserted in round ${round}`)
      const known = new Set(versions.flatMap(lines))
      const stored = await storedLines(store, market.ids)
      assert.strictEqual(stored.length, ROWS, `rows that are stored after round ${round}`)
      assert.deepStrictEqual(
        stored.filter((line) => !known.has(line)),
        [],
        `content after round ${round}`
      )
      await assertOwnership(store, market.ids)
      await assertRollups(store, market.ids)
    }
    console.log(`${await deadlocks()} deadlocks were met and retried`)
  })
})

if (server === undefined)
  it("writers at once on TimescaleDB", (context) => context.skip("no TimescaleDB server is named"))
