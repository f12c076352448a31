/** Work that met others and can simply be done again. */
import { StoreError } from "@data-manager/core"
import { Effect, Schedule } from "effect"

/** Whether repeating the work later can succeed. */
export const isContention = (error: unknown): boolean =>
  error instanceof StoreError && error.reason._tag === "StoreContention"

/** Does a transaction again that deadlocked or was not granted a lock in time, up to six times. It must have no other effect. */
export const repeated = <A, E, R>(transaction: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.retry(transaction, {
    while: isContention,
    times: 6,
    schedule: Schedule.exponential("20 millis").pipe(Schedule.jittered)
  })
