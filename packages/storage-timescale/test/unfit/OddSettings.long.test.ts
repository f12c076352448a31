/** The whole suite of a store in a database whose settings are odd, also on servers that somebody provides. */
import { StoreSuite } from "@data-manager/testing"
import { Effect } from "effect"
import pg from "pg"
import { it } from "vitest"
import { clientConfig } from "../../src/ServerAddress.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"
import { providedServers } from "../servers/ProvidedServer.ts"
import { createDatabase, whyMissing } from "../TestServer.ts"
import { oddStatements } from "./OddSettings.ts"

const make = async (url: string | undefined) => {
  const database = await createDatabase(url)
  const { address } = database
  const client = new pg.Client(clientConfig(address))
  await client.connect()
  for (const statement of oddStatements(address.database, address.user)) await client.query(statement)
  await client.end()
  return database
}

const oddDatabase = (url?: string) =>
  Effect.acquireRelease(
    Effect.promise(() => make(url)),
    ({ drop }) => Effect.promise(drop)
  ).pipe(
    Effect.map(({ address: server }) => ({
      migrations: TimescaleStore.layerMigrations(server),
      store: TimescaleStore.layer({ server })
    }))
  )

const missing = await whyMissing()
if (missing === undefined) StoreSuite.run("odd settings", { database: oddDatabase() }, { timeout: 120_000 })
else it("StoreSuite: odd settings", (context) => context.skip(missing))

for (const { name, url } of providedServers)
  StoreSuite.run(
    `odd settings on the server of ${name}`,
    { database: oddDatabase(url) },
    { timeout: 120_000 }
  )
