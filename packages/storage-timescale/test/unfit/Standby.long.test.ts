/** A streaming standby: everything can be read there, nothing is changed, and a promoted one is a store like any other. */
import { MarketStore, type StoreError, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect, Stream } from "effect"
import pg from "pg"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { clientConfig } from "../../src/ServerAddress.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"
import { missing } from "../embedded/Fixture.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { admin, type Cluster, Clusters, databaseOf } from "./Cluster.ts"
import { assertSays, failureOf, migrate } from "./Refusal.ts"

const clusters = new Clusters()
if (missing !== undefined) it("a standby", (context) => context.skip(missing))

const start = UnixNanos.parse("2024-03-09T20:00:00Z")!

/** A copy of a running server that goes on to follow it. */
const follow = async (primary: Cluster): Promise<Cluster> => {
  const session = new pg.Client(clientConfig(primary.address()))
  await session.connect()
  try {
    await session.query("SELECT pg_backup_start('standby', true)")
    const standby = await clusters.copy(primary)
    const { rows } = await session.query("SELECT labelfile FROM pg_backup_stop()")
    standby.write("backup_label", rows[0].labelfile)
    standby.write("standby.signal", "")
    const conninfo = `host=127.0.0.1 port=${primary.port} user=${admin.user} password=${admin.password}`
    await standby.start({ primary_conninfo: conninfo })
    return standby
  } finally {
    await session.end()
  }
}

/** Waits until the standby has everything that the primary has written so far. */
const caughtUp = async (primary: Cluster, standby: Cluster): Promise<void> => {
  const [written] = await primary.sql("SELECT pg_current_wal_flush_lsn()::text AS lsn")
  for (let tries = 0; tries < 500; tries++) {
    const [replayed] = await standby.sql(
      `SELECT pg_last_wal_replay_lsn() >= '${written!.lsn}'::pg_lsn AS done`
    )
    if (replayed!.done === true) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error("the standby does not follow")
}

describe.skipIf(missing !== undefined)("a standby", () => {
  let primary: Cluster
  let standby: Cluster
  let store: StoreFixture
  let market: Awaited<ReturnType<typeof instruments>>

  const batch = (seed: number) =>
    BatchArbitrary.trades(new SeededRandom(seed), {
      context: market.context,
      instruments: market.ids,
      rows: 2_000,
      start: start + BigInt(seed) * UnixNanos.PerDay,
      span: UnixNanos.PerDay
    })

  /** Runs with the store as it opens on a server. */
  const on = <A, E>(cluster: Cluster, use: (store: MarketStore["Service"]) => Effect.Effect<A, E>) =>
    Effect.runPromise(
      Effect.scoped(
        Effect.provide(
          Effect.flatMap(MarketStore, use),
          TimescaleStore.layer({ server: cluster.address(), migrate: "auto" })
        )
      )
    )

  /** Everything that is read of trades, bars, coverage and days. */
  const readings = (service: MarketStore["Service"]) =>
    Effect.gen(function* () {
      const range = { start, end: start + 5n * UnixNanos.PerDay }
      const [id] = market.ids
      const trades = yield* Stream.runCollect(service.readTrades({ instruments: market.ids, range }))
      const bars = yield* Stream.runCollect(
        service.readBars({ instruments: [id!], timeframe: "1h", range, source: "trades" })
      )
      const last = yield* service.lastTrades(market.ids, 3)
      const tables = (yield* service.statistics).tables
      return {
        trades: trades.map(({ columns }) => columns),
        bars: bars.map(({ columns }) => columns),
        last: last.map(({ columns }) => columns),
        days: yield* service.availability({}),
        coverage: yield* service.coverage({}),
        instruments: (yield* service.loadInstruments()).instruments.size,
        entries: yield* service.symbolEntries,
        conflicts: (yield* Stream.runCollect(service.conflicts({}))).length,
        newest: tables.find(({ table }) => table === "trade")!.newest
      }
    })

  beforeAll(async () => {
    primary = await clusters.create({ access: ["host replication all 127.0.0.1/32 scram-sha-256"] })
    await primary.start()
    store = await openStore(databaseOf(primary))
    market = await instruments(store, [
      [2, 0],
      [4, 3]
    ])
    await store.run(appendAll(store.writer, [batch(0)]))
    standby = await follow(primary)
    await store.run(appendAll(store.writer, [batch(1)]))
    await caughtUp(primary, standby)
  }, 60_000)
  afterAll(async () => {
    await store?.close()
    await clusters.clear()
  })

  it("gives the same rows, bars, days and coverage as its primary", async () => {
    const here = await on(primary, readings)
    const there = await on(standby, readings)
    assert.isAbove(
      here.trades.reduce((rows, { instrument }) => rows + instrument.length, 0),
      3_999
    )
    assert.isNotEmpty(here.bars)
    assert.deepStrictEqual(there, here)
  })

  it("says that it is one", async () => {
    const found = await on(standby, ({ capabilities }) => Effect.succeed(capabilities))
    assert.isTrue(found.readOnly)
    assert.match(found.notes[0]!, /this server is a read-only standby: what is stored can be read/)
    assert.isFalse((await on(primary, ({ capabilities }) => Effect.succeed(capabilities))).readOnly)
  })

  it("refuses migrations and writes, and says where they belong", async () => {
    assertSays(
      await failureOf(migrate(standby.url())),
      "StoreIncompatible",
      /^migrate up: this server is a read-only standby; name the primary in \[database\] url; .*nothing was changed/
    )
    const run = { kind: "import", source: "x", provider: "test", dataset: "TEST" } as const
    const held = [
      { instrument: market.ids[0]!, schema: "trades", range: { start, end: start + UnixNanos.PerDay } }
    ] as const
    const writes: ReadonlyArray<(service: MarketStore["Service"]) => Effect.Effect<unknown, StoreError>> = [
      (service) => service.beginRun(run),
      (service) => service.append(batch(2), { run: 1n, segment: 1 }),
      (service) => service.claimCoverage(held),
      (service) => service.expireTrades(UnixNanos.parse("2030-01-01T00:00:00Z")!)
    ]
    for (const write of writes) {
      const error = await on(standby, (service) => Effect.flip(write(service)))
      assertSays(
        error,
        "StoreIncompatible",
        /takes no writes: where it is a standby, name the primary in \[database\] url/
      )
      assert.isFalse(error.isRetryable)
    }
  })

  it("is a store that takes rows once it was promoted", async () => {
    await standby.sql("SELECT pg_promote()")
    const counts = await on(standby, (service) =>
      Effect.gen(function* () {
        assert.isFalse(service.capabilities.readOnly)
        const run = yield* service.beginRun({
          kind: "import",
          source: "promoted",
          provider: "test",
          dataset: market.context.dataset
        })
        return yield* service.append(batch(3), { run: run.id, segment: 0 })
      })
    )
    assert.strictEqual(counts.inserted, 2_000)
  })
})
