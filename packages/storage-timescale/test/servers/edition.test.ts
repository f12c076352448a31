import { MarketStore, StoreMigrations } from "@data-manager/core"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { assert } from "vitest"
import { databaseOn } from "../StoreDatabase.ts"
import { noServer, providedServers } from "./ProvidedServer.ts"

for (const { name, url, extension } of providedServers)
  it.effect(`the store says what the server of ${name} is`, () =>
    Effect.gen(function* () {
      const { migrations, store } = yield* databaseOn(url, extension)
      yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(migrations))
      const found = yield* MarketStore.useSync(({ capabilities }) => capabilities).pipe(Effect.provide(store))
      assert.match(
        found.edition,
        extension === undefined ? /^postgresql$/ : /^timescaledb-(apache|community)$/
      )
      assert.strictEqual(found.extensionVersion === undefined, extension === undefined)
      assert.isFalse(found.embedded)
    })
  )
if (providedServers.length === 0) it("edition of a server", (context) => context.skip(noServer))
