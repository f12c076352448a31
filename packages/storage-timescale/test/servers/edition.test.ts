import { MarketStore, StoreMigrations } from "@data-manager/core"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { assert } from "vitest"
import { TimescaleStore } from "../../src/index.ts"
import { databaseOn } from "../StoreDatabase.ts"
import { createDatabase } from "../TestServer.ts"
import { noServer, providedServers } from "./ProvidedServer.ts"

for (const { name, url, extension } of providedServers) {
  it.effect(`the store says what the server of ${name} is`, () =>
    Effect.gen(function* () {
      const { migrations, store } = yield* databaseOn(url)
      yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(migrations))
      const found = yield* MarketStore.useSync(({ capabilities }) => capabilities).pipe(Effect.provide(store))
      assert.match(
        found.edition,
        extension === undefined ? /^postgresql$/ : /^timescaledb-(apache|community)$/
      )
      assert.strictEqual(found.extensionVersion === undefined, extension === undefined)
      assert.strictEqual(found.partitioning, extension === undefined ? "range" : "hypertable")
      const isCommunity = found.edition === "timescaledb-community"
      assert.deepStrictEqual([found.compression, found.continuousAggregates], [isCommunity, isCommunity])
      assert.isFalse(found.embedded)
    })
  )

  it.effect(`a store that migrates by itself says what the database on the server of ${name} became`, () =>
    Effect.gen(function* () {
      const database = yield* Effect.acquireRelease(
        Effect.promise(() => createDatabase(url)),
        (made) => Effect.promise(() => made.drop())
      )
      const store = TimescaleStore.layer({ server: database.address, migrate: "auto" })
      const found = yield* MarketStore.useSync(({ capabilities }) => capabilities).pipe(Effect.provide(store))
      assert.strictEqual(found.extensionVersion === undefined, extension === undefined)
      assert.strictEqual(found.partitioning, extension === undefined ? "range" : "hypertable")
    })
  )
}
if (providedServers.length === 0) it("edition of a server", (context) => context.skip(noServer))
