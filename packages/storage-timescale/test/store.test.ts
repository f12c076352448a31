import { StoreSuite } from "@data-manager/testing"
import { it } from "@effect/vitest"
import { databaseOn } from "./StoreDatabase.ts"
import { whyMissing } from "./TestServer.ts"

const missing = await whyMissing()
if (missing === undefined) StoreSuite.run("embedded PostgreSQL", { database: databaseOn() })
else it("StoreSuite: embedded PostgreSQL", (context) => context.skip(missing))
