/** Leases of the store in memory, as simple as they can be: silence is told by the clock, and everybody looks every 20 ms. */
import {
  LeaderLease,
  type LeaseStatus,
  MarketStore,
  StoreError,
  StoreFenced,
  UnixNanos
} from "@data-manager/core"
import { Clock, Deferred, Effect, Layer } from "effect"
import type { StoreLeases } from "../src/StoreCard.ts"

/** What a sound lease does. */
export const soundLease = {
  /** Whether a lease that somebody has is waited for. */
  isWaitedFor: true,
  /** Whether a silent holder loses it. */
  isLostBySilence: true,
  /** Whether stores of epochs before are refused. */
  isFenced: true,
  /** How much the epoch grows when the lease is taken. */
  step: 1n
}

/** The rules of a lease. */
export type LeaseRules = typeof soundLease

/** A lease as everybody sees it. */
export class MemoryLease {
  readonly rules: LeaseRules
  epoch = 0n
  holder = ""
  heartbeatAt = Number.NEGATIVE_INFINITY

  constructor(rules: LeaseRules) {
    this.rules = rules
  }
}

type Options = Parameters<StoreLeases["lease"]>[0]

const fenced = (lease: MemoryLease, epoch: bigint, operation: string): StoreError =>
  new StoreError({
    operation,
    reason: new StoreFenced({
      lease: "suite",
      epoch,
      current: lease.epoch,
      detail: `the lease belongs to ${lease.holder} by now`
    })
  })

const candidate = (lease: MemoryLease, { heartbeat, holder, name, silence }: Options) => {
  let role: LeaseStatus["role"] = "standby"
  const isFree = (now: number): boolean =>
    lease.holder === "" ||
    !lease.rules.isWaitedFor ||
    (lease.rules.isLostBySilence && now - lease.heartbeatAt >= silence)
  const wait = Effect.gen(function* () {
    while (!isFree(yield* Clock.currentTimeMillis)) yield* Effect.sleep("20 millis")
    lease.epoch += lease.rules.step
    lease.holder = holder
    lease.heartbeatAt = yield* Clock.currentTimeMillis
    role = "active"
    return lease.epoch
  })
  const keep = (epoch: bigint) =>
    Effect.gen(function* () {
      yield* Effect.sleep(heartbeat)
      if (lease.epoch !== epoch) {
        role = "standby"
        return yield* fenced(lease, epoch, "hold lease")
      }
      lease.heartbeatAt = yield* Clock.currentTimeMillis
    })
  const giveBack = (epoch: bigint) =>
    Effect.sync(() => {
      role = "standby"
      if (lease.epoch === epoch) lease.holder = ""
    })
  const acquire = Effect.gen(function* () {
    const lost = yield* Deferred.make<never, StoreError>()
    const epoch = yield* wait
    yield* Effect.addFinalizer(() => giveBack(epoch))
    yield* Effect.forkScoped(Effect.catch(Effect.forever(keep(epoch)), (error) => Deferred.fail(lost, error)))
    return { epoch, lost: Deferred.await(lost) }
  })
  const status = (): LeaseStatus => ({
    name,
    role,
    epoch: lease.epoch,
    holder: lease.holder,
    heartbeatAt: BigInt(Math.max(0, lease.heartbeatAt)) * UnixNanos.PerMilli,
    problem: undefined
  })
  return LeaderLease.of({ name, status, acquire })
}

type Store = MarketStore["Service"]

/** A store whose calls fail where the lease is another's; reading is for everybody. */
const underLease = (store: Store, lease: MemoryLease, epoch: bigint): Store => {
  const guard = <A>(operation: string, work: Effect.Effect<A, StoreError>) =>
    Effect.suspend(() =>
      lease.rules.isFenced && lease.epoch !== epoch ? Effect.fail(fenced(lease, epoch, operation)) : work
    )
  return {
    ...store,
    beginRun: (source) => guard("begin run", store.beginRun(source)),
    completeRun: (run) => guard("complete run", store.completeRun(run)),
    append: (batch, claim) => guard("append", store.append(batch, claim)),
    claimCoverage: (claims) => guard("claim coverage", store.claimCoverage(claims)),
    markCoverage: (spans) => guard("mark coverage", store.markCoverage(spans)),
    noteRevisions: (look) => guard("note revisions", store.noteRevisions(look)),
    noteFeed: (notes) => guard("note feed", store.noteFeed(notes)),
    registerListings: (claims) => guard("register listings", store.registerListings(claims)),
    putSymbolEntries: (entries) => guard("put symbols", store.putSymbolEntries(entries)),
    expireTrades: (before) => guard("expire trades", store.expireTrades(before))
  }
}

/** The leases of a database in memory. */
export const memoryLeases = (store: Layer.Layer<MarketStore, StoreError>, rules: LeaseRules): StoreLeases => {
  const lease = new MemoryLease(rules)
  return {
    lease: (options) => Layer.sync(LeaderLease, () => candidate(lease, options)),
    store: ({ epoch }) =>
      Layer.effect(
        MarketStore,
        Effect.map(MarketStore, (plain) => underLease(plain, lease, epoch))
      ).pipe(Layer.provide(store))
  }
}
