/**
 * A service that is one of several on a database: it waits for the lease as the standby, works while it has it, and waits again where
 * it has lost it, for it was frozen or cut off. See docs/high-availability.md.
 */
import { hostname } from "node:os"
import { ConfigError, type LeaderLease, type Leadership, StoreError } from "@data-manager/core"
import { StoreLease } from "@data-manager/storage-timescale"
import { Effect, Scope } from "effect"
import type { LoadedConfig } from "./ConfigFile.ts"
import { isEmbedded, outsideServer } from "./Database.ts"

/** The embedded database belongs to one process of one machine: there is nothing that a standby could take over. */
export const refuseEmbedded = (loaded: LoadedConfig): Effect.Effect<void, ConfigError> =>
  loaded.config.ha.enabled && isEmbedded(loaded)
    ? Effect.fail(
        new ConfigError({
          source: loaded.file ?? "configuration",
          issues: [
            {
              key: "ha.enabled",
              problem:
                "true needs a database that both sides reach, and the embedded one belongs to this machine: name a server in " +
                "[database] url (or DM_DATABASE_URL), or write enabled = false"
            }
          ]
        })
      )
    : Effect.void

/** The lease of the configuration. */
export const leaseOf = (loaded: LoadedConfig): LeaderLease["Service"] => {
  const { heartbeatSeconds, leaseSeconds, name } = loaded.config.ha
  return StoreLease.make({
    server: outsideServer(loaded),
    name,
    holder: `${hostname()} process ${process.pid}`,
    heartbeat: `${heartbeatSeconds} seconds`,
    silence: `${leaseSeconds} seconds`
  })
}

const isFenced = (error: unknown): error is StoreError =>
  error instanceof StoreError && error.reason._tag === "StoreFenced"

/** What a service does in each of its roles, until interrupted. */
export interface Roles<E, R> {
  readonly standby: Effect.Effect<never, E, R>
  readonly active: (leadership: Leadership) => Effect.Effect<never, E, R>
}

/** Standby and active by turns, as the lease says. Fails where waiting for the lease cannot help, or a role fails otherwise. */
export const takeTurns = <E, R>(
  lease: LeaderLease["Service"],
  { active, standby }: Roles<E, R>
): Effect.Effect<never, E | StoreError, R> => {
  const turn = Effect.scoped(
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      // The lease outlives the standby, and is given back after everything of the active side has ended.
      const leadership = yield* Effect.raceFirst(Scope.provide(lease.acquire, scope), standby)
      return yield* Effect.raceFirst(active(leadership), leadership.lost)
    })
  )
  return Effect.forever(
    Effect.catch(turn, (error) =>
      isFenced(error)
        ? Effect.logError(`${error.message}; this service is the standby from now on`)
        : Effect.fail(error)
    )
  )
}
