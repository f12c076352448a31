import { Effect } from "effect"
import { TimescaleStore } from "../src/index.ts"
import { createDatabase } from "./TestServer.ts"

/** For `StoreSuite`: makes a new database as `createDatabase` does. */
export const databaseOn = (url?: string, extension?: string) =>
  Effect.acquireRelease(
    Effect.promise(() => createDatabase(url, extension)),
    (database) => Effect.promise(() => database.drop())
  ).pipe(
    Effect.map(({ address: server }) => ({
      migrations: TimescaleStore.layerMigrations(server),
      store: TimescaleStore.layer({ server })
    }))
  )
