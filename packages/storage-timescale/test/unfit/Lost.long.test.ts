/** A server that goes away in the middle of things, and one whose lock table is too small. */
import { type StoreError, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Migrations from "../../src/Migrations.ts"
import * as PgPool from "../../src/PgPool.ts"
import * as Reader from "../../src/Reader.ts"
import { clientConfig } from "../../src/ServerAddress.ts"
import { missing } from "../embedded/Fixture.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { type Cluster, Clusters, databaseOf } from "./Cluster.ts"
import { assertSays, failureOf } from "./Refusal.ts"

const clusters = new Clusters()
afterAll(() => clusters.clear())
if (missing !== undefined) it("a server that goes away", (context) => context.skip(missing))

const start = UnixNanos.parse("2024-03-04T00:00:00Z")!

describe.skipIf(missing !== undefined)("a server that goes away", () => {
  let server: Cluster
  let store: StoreFixture
  let market: Awaited<ReturnType<typeof instruments>>
  const scope = Scope.makeUnsafe()

  const batch = (day: number, rows = 5_000) =>
    BatchArbitrary.trades(new SeededRandom(day), {
      context: market.context,
      instruments: market.ids,
      rows,
      start: start + BigInt(day) * UnixNanos.PerDay,
      span: UnixNanos.PerDay
    })
  const poolOn = (maxConnections: number) =>
    Effect.runPromise(
      Scope.provide(PgPool.make({ client: clientConfig(server.address()), maxConnections }), scope)
    )

  beforeAll(async () => {
    server = await clusters.create()
    await server.start()
    store = await openStore(databaseOf(server))
    market = await instruments(store, [
      [2, 0],
      [4, 3]
    ])
    await store.run(appendAll(store.writer, [batch(0), batch(40, 100_000)]))
  }, 60_000)
  afterAll(async () => {
    await store?.close()
    await Effect.runPromise(Scope.close(scope, Exit.void))
  })

  /** Waits until a session waits for a lock, and ends it. */
  const endWaiting = Effect.gen(function* () {
    const waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while ((yield* Effect.promise(() => server.sql(waiting))).length === 0) yield* Effect.sleep("10 millis")
  })

  it("in the middle of a read: the read fails as unavailable, the pool goes on", async () => {
    const pool = await poolOn(1)
    let rows = 0
    const read = Reader.make(pool, { concurrency: 1 })
      .readTrades({ instruments: market.ids, range: { start, end: start + 60n * UnixNanos.PerDay } })
      .pipe(
        Stream.runForEach(({ length }) =>
          Effect.sync(() => {
            rows += length
          })
        )
      )
    // Ends the session while it sends rows; a read that was faster is read again.
    const watcher = await poolOn(1)
    const endCopy = watcher.query<{ readonly ended: bigint }>(
      `SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
       WHERE query LIKE 'COPY%' AND state = 'active' AND pid <> pg_backend_pid()`
    )
    const error: StoreError = await Effect.runPromise(
      Effect.gen(function* () {
        const reading = yield* Effect.forkChild(Effect.flip(Effect.forever(read)), { startImmediately: true })
        while ((yield* endCopy)[0]!.ended === 0n) yield* Effect.sleep("1 millis")
        return yield* Fiber.join(reading)
      })
    )
    assertSays(
      error,
      "StoreUnavailable",
      /^read trades: terminating connection due to administrator command; .*try again/
    )
    assert.isTrue(error.isRetryable)
    rows = 0
    await Effect.runPromise(read)
    assert.strictEqual(rows, 105_000)
  })

  it("in the middle of an append: it is tried again, and its rows are there once", async () => {
    const run = await store.run(
      store.writer.ledger.beginRun({ kind: "import", source: "cut", provider: "test", dataset: "TEST" })
    )
    // The lock keeps the append waiting in its transaction until its session is ended.
    const holder = await poolOn(1)
    await Effect.runPromise(
      Effect.gen(function* () {
        const appended = yield* holder.transaction("hold", (connection) =>
          Effect.gen(function* () {
            yield* connection.query("LOCK TABLE trade IN ACCESS EXCLUSIVE MODE")
            const fiber = yield* Effect.forkDetach(
              store.writer.append(batch(1), { run: run.id, segment: 0 }),
              { startImmediately: true }
            )
            yield* endWaiting
            return fiber
          })
        )
        assert.strictEqual((yield* Fiber.join(appended)).inserted, 5_000)
      })
    )
    const [stored] = await store.sql(
      "SELECT count(*) AS n FROM trade WHERE ts >= '2024-03-05' AND ts < '2024-03-06'"
    )
    const [ledger] = await store.sql("SELECT sum(inserted) AS n FROM ingest_segments WHERE run_id = $1", [
      run.id
    ])
    assert.deepStrictEqual([stored!.n, Number(ledger!.n)], [5_000n, 5_000])
  })

  it("for longer than an append waits: it fails as unavailable, has written nothing, and can be repeated", async () => {
    const run = await store.run(
      store.writer.ledger.beginRun({ kind: "import", source: "gone", provider: "test", dataset: "TEST" })
    )
    // Known before the server goes: what is left to do is the transaction alone.
    await store.run(store.writer.append(batch(2), { run: run.id, segment: 0 }))
    await server.stop("SIGQUIT")
    const error = await failureOf(store.writer.append(batch(2, 4_000), { run: run.id, segment: 1 }))
    assertSays(error, "StoreUnavailable", /no server listens at|terminated|closed|stopping/)
    assert.isTrue(error.isRetryable)
    await server.start()
    const again = await store.run(store.writer.append(batch(2, 4_000), { run: run.id, segment: 1 }))
    assert.strictEqual(again.inserted + again.duplicates + again.conflicts, 4_000)
    assert.isFalse(again.skipped)
  })

  it("in the middle of a migration: nothing of it is there, and it can be repeated", async () => {
    await server.sql("CREATE DATABASE migrated")
    const address = server.address({ database: "migrated" })
    const pool = await Effect.runPromise(
      Scope.provide(PgPool.make({ client: clientConfig(address), maxConnections: 2 }), scope)
    )
    // The event trigger keeps the migration waiting in the middle until its session is ended.
    await server.sql(
      [
        "CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1) WHERE to_regclass('trade') IS NOT NULL; END $$",
        "CREATE EVENT TRIGGER wait ON ddl_command_end EXECUTE FUNCTION wait()"
      ],
      "migrated"
    )
    const error: StoreError = await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* pool.connection("hold")
          yield* connection.query("SELECT pg_advisory_lock(1)")
          const fiber = yield* Effect.forkChild(Effect.flip(Migrations.make(pool).up()), {
            startImmediately: true
          })
          const waiting =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = 'migrated'"
          while ((yield* Effect.promise(() => server.sql(waiting))).length === 0)
            yield* Effect.sleep("10 millis")
          return yield* Fiber.join(fiber)
        })
      )
    )
    assertSays(error, "StoreUnavailable", /^migrate up: terminating connection.*try again/)
    assert.isTrue(error.isRetryable)
    assert.isEmpty(
      await server.sql("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace", "migrated")
    )
    await server.sql("DROP EVENT TRIGGER wait", "migrated")
    const states = await Effect.runPromise(Migrations.make(pool).up())
    assert.isTrue(states.every(({ appliedAt }) => appliedAt !== undefined))
  })

  it("that has too few locks says which setting is too small, and to what it should be set", async () => {
    await server.stop()
    const small = {
      max_connections: "6",
      max_worker_processes: "0",
      max_wal_senders: "0",
      autovacuum_worker_slots: "1"
    }
    await server.start({ ...small, max_locks_per_transaction: "10" })
    const run = await store.run(
      store.writer.ledger.beginRun({ kind: "import", source: "locks", provider: "test", dataset: "TEST" })
    )
    const wide = BatchArbitrary.trades(new SeededRandom(9), {
      context: market.context,
      instruments: market.ids,
      rows: 3_000,
      start: UnixNanos.parse("2001-01-01T00:00:00Z")!,
      span: 15n * 365n * UnixNanos.PerDay
    })
    const append = store.writer.append(wide, { run: run.id, segment: 0 })
    const error = await failureOf(append)
    assertSays(
      error,
      "StoreExhausted",
      /the server's table of locks is full \(out of shared memory\); ALTER SYSTEM SET max_locks_per_transaction = 1024 .*restart the server, then repeat/
    )
    assert.isTrue(error.isRetryable)
    await server.stop()
    await server.start({ max_locks_per_transaction: "1024" })
    assert.strictEqual((await store.run(append)).inserted, 3_000)
  })
})
