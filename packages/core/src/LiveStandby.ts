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
import type * as Spool from "./Spool.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What is known of a spool that is looked at by nobody. */
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

/** The service of a standby. `spoolLimit`: most bytes that its spool may take once it is active. */
export const layer = (options: {
  readonly spoolLimit: number
}): Layer.Layer<LiveService | BackfillJobs, never, LeaderLease | StoreReach> =>
  Layer.merge(layerService(options.spoolLimit), layerJobs)

const layerService = (spoolLimit: number): Layer.Layer<LiveService, never, LeaderLease | StoreReach> =>
  Layer.effect(
    LiveService,
    Effect.gen(function* () {
      const lease = yield* LeaderLease
      const reach = yield* StoreReach
      const startedAt = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
      const failure = yield* Deferred.make<never>()
      const status = Effect.sync(
        (): LiveServiceStatus => ({
          startedAt,
          feeds: [],
          providers: [],
          spool: emptySpool,
          spoolLimit,
          dropped: { overflow: 0n, "disk-full": 0n },
          writer: idleWriter,
          publication: undefined,
          subscribers: [],
          lease: lease.status(),
          storeAway: reach.problem()
        })
      )
      return LiveService.of({ status, hub: Hub.make(), failure: Deferred.await(failure) })
    })
  )

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
export const drain = (
  spool: Omit<Spool.SpoolOptions, "instruments">
): Effect.Effect<void, never, MarketStore | FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(MarketStore, (store) => LiveDrain.run(spool, store)).pipe(
    Effect.flatMap(({ duplicates, frames, rows }) =>
      frames === 0n
        ? Effect.void
        : Effect.logInfo(
            `what the spool had left is written: ${rows} rows, and ${duplicates} that were there already`
          )
    ),
    Effect.catch((error) => Effect.logWarning(`the spool is left as it is: ${error.message}`))
  )
