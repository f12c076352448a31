/** Cards S-992 to S-996: one service is active on a database, and one that was cannot write any more. */
import {
  LeaderLease,
  type Leadership,
  MarketStore,
  type StoreError,
  StoreMigrations,
  type SymbolEntry,
  type TradeBatch
} from "@data-manager/core"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { assert } from "vitest"
import * as BatchArbitrary from "./BatchArbitrary.ts"
import { SeededRandom } from "./SeededRandom.ts"
import {
  assertRefused,
  at,
  cut,
  during,
  market,
  readTrades,
  type StoreCard,
  type StoreDatabase,
  type StoreLeases
} from "./StoreCard.ts"

type Store = MarketStore["Service"]

/** A service that may have the lease: what it has is given back when `end` runs. */
interface Candidate {
  readonly leadership: Effect.Effect<Leadership, StoreError>
  readonly lease: LeaderLease["Service"]
  readonly end: Effect.Effect<void>
}

const migrated = (database: StoreDatabase): Effect.Effect<StoreLeases, StoreError> =>
  Effect.gen(function* () {
    yield* Effect.scoped(
      Effect.flatMap(Layer.build(Layer.fresh(database.migrations)), (context) =>
        Context.get(context, StoreMigrations).up()
      )
    )
    if (database.leases === undefined)
      return assert.fail("a store without leases skips the cards S-992 to S-996, with the reason")
    return database.leases
  })

const candidate = (
  leases: StoreLeases,
  holder: string,
  heartbeat = 100
): Effect.Effect<Candidate, StoreError> =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const built = yield* Scope.provide(
      Layer.build(Layer.fresh(leases.lease({ name: "suite", holder, heartbeat, silence: 1500 }))),
      scope
    )
    const lease = Context.get(built, LeaderLease)
    return {
      lease,
      leadership: Scope.provide(lease.acquire, scope),
      end: Scope.close(scope, Exit.void)
    }
  })

const fencedStore = (leases: StoreLeases, epoch: bigint): Effect.Effect<Store, StoreError, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(leases.store({ name: "suite", epoch }))), (context) =>
    Context.get(context, MarketStore)
  )

/** Still waiting after so long. */
const waits = <A, E>(fiber: Fiber.Fiber<A, E>, millis: number): Effect.Effect<boolean> =>
  Effect.map(
    Effect.timeoutOption(Effect.exit(Fiber.join(fiber)), `${millis} millis`),
    (found) => found._tag === "None"
  )

/**
 * S-992. Prerequisite: an empty lease. Action: two acquire it, the first gives it back. Pass: the first has epoch 1, the second
 * waits until it is given back and has epoch 2 within a second; a store of the first epoch cannot write from then on, one of the second can.
 */
const handOver: StoreCard = {
  id: "S-992",
  title: "a lease is held by one, and goes to the next with a higher epoch",
  database: "empty",
  check: (database) =>
    Effect.gen(function* () {
      const leases = yield* migrated(database)
      const first = yield* candidate(leases, "first")
      const second = yield* candidate(leases, "second")
      assert.strictEqual((yield* first.leadership).epoch, 1n)
      assert.strictEqual(first.lease.status().role, "active")
      const old = yield* fencedStore(leases, 1n)
      yield* market(old, "LEASE.A")
      const waiting = yield* Effect.forkChild(second.leadership)
      assert.isTrue(yield* waits(waiting, 1000), "the second waits while the first beats")
      assert.strictEqual(second.lease.status().role, "standby")
      assert.strictEqual(second.lease.status().holder, "first")
      yield* first.end
      const next = yield* Effect.timeout(Fiber.join(waiting), "1 second").pipe(Effect.orDie)
      assert.strictEqual(next.epoch, 2n)
      yield* assertRefused(
        market(old, "LEASE.B"),
        ["StoreFenced", "StoreUnavailable"],
        "a store of the epoch before"
      )
      yield* market(yield* fencedStore(leases, 2n), "LEASE.B")
      yield* second.end
    })
}

const symbol: SymbolEntry = {
  symbol: "LEASE.C:SYM0",
  provider: "conformance",
  dataset: "LEASE.C",
  stypeIn: "raw_symbol",
  schemas: [],
  enabled: true,
  source: "database",
  discoveredAt: at("2024-09-02")
}

/** Every way in which a live writer writes. */
const writesOf = (store: Store, ids: ReadonlyArray<number>, append: Effect.Effect<unknown, StoreError>) =>
  [
    ["append", append],
    ["begin run", store.beginRun({ kind: "spool", source: "suite", provider: "conformance", dataset: "L" })],
    ["note feed", store.noteFeed([{ _tag: "SessionEnded", session: "never" }])],
    [
      "claim coverage",
      store.claimCoverage([
        {
          instrument: ids[0]!,
          schema: "trades",
          range: during("2024-09-02", "2024-09-03")
        }
      ])
    ],
    ["register", market(store, "LEASE.OTHER")],
    ["symbols", store.putSymbolEntries([symbol])]
  ] as const

/**
 * S-994. Prerequisite: a holder whose heartbeat stands still while its sessions live, as one that is frozen. Action: another one
 * waits. Pass: it has the lease soon after the time of silence; every write of the old one is refused as fenced, none of its rows
 * is stored, and it is told that it has lost the lease as soon as it looks.
 */
const frozen: StoreCard = {
  id: "S-994",
  title: "a holder that is silent loses the lease, and cannot write any more",
  database: "empty",
  check: (database) =>
    Effect.gen(function* () {
      const leases = yield* migrated(database)
      const sleeper = yield* candidate(leases, "sleeper", 5000)
      const { epoch, lost } = yield* sleeper.leadership
      const store = yield* fencedStore(leases, epoch)
      const { context, ids } = yield* market(store, "LEASE.C")
      const { id: run } = yield* store.beginRun({
        kind: "spool",
        source: "suite",
        provider: "conformance",
        dataset: "LEASE.C"
      })
      const [one, two] = cut(
        BatchArbitrary.trades(new SeededRandom(1020), {
          context,
          instruments: ids,
          rows: 20,
          start: at("2024-09-02T09:00:00Z")
        }),
        10
      ) as [TradeBatch, TradeBatch]
      const write = (batch: TradeBatch, from: bigint) =>
        store.append(batch, { run, stream: { name: "suite", from, to: from + 1n } })
      yield* write(one, 1n)
      const other = yield* candidate(leases, "other")
      const took = yield* Effect.timeout(other.leadership, "4 seconds").pipe(Effect.orDie)
      assert.strictEqual(took.epoch, epoch + 1n)
      for (const [what, refused] of writesOf(store, ids, write(two, 2n)))
        yield* assertRefused(refused, ["StoreFenced"], what)
      yield* assertRefused(
        Effect.timeout(lost, "10 seconds").pipe(Effect.catchTag("TimeoutError", Effect.die)),
        ["StoreFenced"],
        "the old holder"
      )
      assert.strictEqual(sleeper.lease.status().role, "standby")
      assert.strictEqual((yield* readTrades(yield* fencedStore(leases, took.epoch), ids)).length, 10)
      yield* sleeper.end
      yield* other.end
    })
}

/**
 * S-996. Prerequisite: a silent holder. Action: three others wait at the same time. Pass: one of them gets the lease, the epoch
 * grows by one, and the others go on waiting; the same when that one gives it back.
 */
const race: StoreCard = {
  id: "S-996",
  title: "of several who wait, one gets the lease",
  database: "empty",
  check: (database) =>
    Effect.gen(function* () {
      const leases = yield* migrated(database)
      const sleeper = yield* candidate(leases, "sleeper", 60_000)
      yield* sleeper.leadership
      const others = yield* Effect.forEach(["a", "b", "c"], (holder) => candidate(leases, holder))
      const fibers = yield* Effect.forEach(others, ({ leadership }) => Effect.forkChild(leadership))
      let left = others
      for (let round = 2n; round <= 3n; round++) {
        const isActive = ({ lease }: Candidate) => lease.status().role === "active"
        const haveLooked = () => left.every(({ lease }) => (lease.status().epoch ?? 0n) >= round)
        yield* Effect.sleep("50 millis").pipe(
          Effect.repeat({ until: () => left.some(isActive) && haveLooked() }),
          Effect.timeout("20 seconds"),
          Effect.orDie
        )
        // Time for another one to take it as well.
        yield* Effect.sleep("1 second")
        const active = left.filter(isActive)
        assert.strictEqual(active.length, 1, `active after round ${round}`)
        for (const { lease } of left) assert.strictEqual(lease.status().epoch, round)
        yield* active[0]!.end
        left = left.filter((each) => each !== active[0])
      }
      for (const fiber of fibers) yield* Fiber.interrupt(fiber)
      for (const { end } of [sleeper, ...others]) yield* end
    })
}

/** Cards S-992 to S-996. */
export const cards: ReadonlyArray<StoreCard> = [handOver, frozen, race]
