import { StoreSuite } from "@data-manager/testing"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { TimescaleStore } from "../src/index.ts"
import { createDatabase, whyMissing } from "./TestServer.ts"

/** A new database on the embedded server, or on the server that `url` names. */
const databaseOn = (url?: string) =>
  Effect.acquireRelease(
    Effect.promise(() => createDatabase(url)),
    (database) => Effect.promise(() => database.drop())
  ).pipe(
    Effect.map(({ address: server }) => ({
      migrations: TimescaleStore.layerMigrations(server),
      store: TimescaleStore.layer({ server })
    }))
  )

const missing = await whyMissing()
if (missing === undefined) StoreSuite.run("embedded PostgreSQL", { database: databaseOn() })
else it("StoreSuite: embedded PostgreSQL", (context) => context.skip(missing))

// Servers that somebody provides: plain PostgreSQL, TimescaleDB of either licence.
for (const name of ["DM_TEST_DATABASE_URL", "DM_TEST_TIMESCALE_URL"]) {
  const url = process.env[name]
  if (url === undefined) it(`StoreSuite: server of ${name}`, (context) => context.skip(`${name} is not set`))
  else StoreSuite.run(`server of ${name}`, { database: databaseOn(url) }, { timeout: 60_000 })
}
