import { StoreSuite } from "@data-manager/testing"
import { it } from "@effect/vitest"
import { databaseOn } from "../StoreDatabase.ts"
import { noServer, providedServers } from "./ProvidedServer.ts"

for (const { name, url, extension } of providedServers)
  StoreSuite.run(`server of ${name}`, { database: databaseOn(url, extension) }, { timeout: 60_000 })
if (providedServers.length === 0)
  it("StoreSuite: servers that somebody provides", (context) => context.skip(noServer))
