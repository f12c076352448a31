/** `--bulk`: refused before anything is read or paid for where the store cannot do it. */
import { MarketStore, StoreError, StoreIncompatible } from "@data-manager/core"
import { Effect } from "effect"

const editions = {
  postgresql: "PostgreSQL without TimescaleDB",
  "timescaledb-apache": "TimescaleDB's Apache edition",
  "timescaledb-community": "an older TimescaleDB, or a schema that is not up to date (`dm migrate --up`)"
} as const

/** Fails where the bulk profile is wanted and the store has none. */
export const requireBulkProfile = (isWanted: boolean): Effect.Effect<void, StoreError, MarketStore> =>
  Effect.flatMap(MarketStore, ({ capabilities }) =>
    !isWanted || capabilities.bulkProfile
      ? Effect.void
      : Effect.fail(
          new StoreError({
            operation: "write in bulk",
            reason: new StoreIncompatible({
              detail: `--bulk takes TimescaleDB 2.21 or newer, community edition; this is ${editions[capabilities.edition]}`,
              hint: "leave --bulk out"
            })
          })
        )
  )
