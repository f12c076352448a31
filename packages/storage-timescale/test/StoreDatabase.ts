import { Effect } from "effect"
import { StoreLease, TimescaleStore } from "../src/index.ts"
import { createDatabase } from "./TestServer.ts"

/** For `StoreSuite`: makes a new database as `createDatabase` does. */
export const databaseOn = (url?: string) =>
  Effect.acquireRelease(
    Effect.promise(() => createDatabase(url)),
    (database) => Effect.promise(() => database.drop())
  ).pipe(
    Effect.map(({ address: server }) => ({
      migrations: TimescaleStore.layerMigrations(server),
      store: TimescaleStore.layer({ server }),
      leases: {
        lease: (options: Omit<StoreLease.StoreLeaseOptions, "server">) =>
          StoreLease.layer({ server, ...options }),
        store: (fence: TimescaleStore.StoreFence) => TimescaleStore.layer({ server, fence })
      }
    }))
  )
