/**
 * A service that waits for the lease: nothing is collected, and the control plane tells who is active. What an earlier turn has
 * left in the spool is written meanwhile.
 */
import { Clock, Deferred, Duration, Effect, type FileSystem, Layer, type Path } from "effect"
import { BackfillJobs } from "./BackfillJobs.ts"
import * as Hub from "./Hub.ts"
import { StoreReach } from "./LateStore.ts"
import { LeaderLease } from "./LeaderLease.ts"
import * as LiveDrain from "./LiveDrain.ts"
import { LiveService, type LiveServiceStatus } from "./LiveService.ts"
import { MarketStore } from "./MarketStore.ts"
import * as MemoryTransport from "./MemoryTransport.ts"
import type * as Spool from "./Spool.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** A spool with nothing in it, or that nobody looks at. */
const emptySpool: Spool.SpoolDepth = {
  frames: 0n,
  rows: 0n,
  bytes: 0,
  age: Duration.zero,
  dropped: {
    overflow: { entries: 0, rows: 0 },
    "disk-full": { entries: 0, rows: 0 }
  }
}

const idleWriter: LiveServiceStatus["writer"] = {
  committed: 0n,
  rows: 0n,
  duplicates: 0n,
  conflicts: 0n,
  refused: 0n,
  appends: 0n,
  problem: undefined
}

/** The service of a standby. `spool`: that of its earlier turns, and of those to come. */
export const layer = (
  spool: Omit<Spool.SpoolOptions, "instruments">
): Layer.Layer<
  LiveService | BackfillJobs,
  never,
  LeaderLease | StoreReach | MarketStore | FileSystem.FileSystem | Path.Path
> => Layer.merge(Layer.effect(LiveService, make(spool)), layerJobs)

const make = Effect.fnUntraced(function* (spool: Omit<Spool.SpoolOptions, "instruments">) {
  const lease = yield* LeaderLease
  const reach = yield* StoreReach
  const startedAt = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  const failure = yield* Deferred.make<never>()
  let depth: Effect.Effect<Spool.SpoolDepth> = Effect.succeed(emptySpool)
  const drained = drain(spool, (opened) => {
    depth = opened
  })
  yield* Effect.forkScoped(
    Effect.ensuring(
      drained,
      Effect.sync(() => {
        depth = Effect.succeed(emptySpool)
      })
    )
  )
  const status = Effect.gen(function* () {
    const current: LiveServiceStatus = {
      startedAt,
      feeds: [],
      providers: [],
      spool: yield* Effect.suspend(() => depth),
      spoolLimit: spool.maxBytes,
      dropped: { overflow: 0n, "disk-full": 0n },
      writer: idleWriter,
      publication: undefined,
      subscribers: [],
      lease: lease.status(),
      storeAway: reach.problem()
    }
    return current
  })
  return LiveService.of({
    status,
    hub: Hub.make(),
    memory: yield* MemoryTransport.make({ name: "standby", kinds: ["trades", "quotes"] }),
    readers: Effect.succeed([]),
    failure: Deferred.await(failure)
  })
})

/** A standby writes nothing: backfills are the business of the one that is active. */
const layerJobs: Layer.Layer<BackfillJobs> = Layer.succeed(
  BackfillJobs,
  BackfillJobs.of({
    start: () =>
      Effect.fail({
        _tag: "BackfillRefused",
        reason: "busy",
        message: "this service is the standby: ask the one that is active; dm status says which it is"
      }),
    get: () => undefined,
    cancel: () => Effect.succeed(undefined)
  })
)

/** Writes what the spool holds, and says so. Where it cannot be done now, it is done by the next turn as the active one. */
const drain = (
  spool: Omit<Spool.SpoolOptions, "instruments">,
  onOpened: (depth: Effect.Effect<Spool.SpoolDepth>) => void
): Effect.Effect<void, never, MarketStore | FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(MarketStore, (store) => LiveDrain.run(spool, store, onOpened)).pipe(
    Effect.flatMap(({ duplicates, rows }) =>
      Effect.logInfo(
        rows + duplicates === 0n
          ? "the spool has nothing left"
          : `what the spool had left is written: ${rows} rows, and ${duplicates} that were there already`
      )
    ),
    Effect.catch((error) => Effect.logWarning(`the spool is left as it is: ${error.message}`))
  )
