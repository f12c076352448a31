/**
 * The whole store suite where the ways of a TimescaleDB server are used to the full: trades in bulk, in bulk and not by turns,
 * and every row compressed as soon as it is there. What is stored and what is said of it must not depend on it.
 */
import { type AppendClaim, type MarketBatch, MarketStore, type StoreError } from "@data-manager/core"
import { StoreSuite } from "@data-manager/testing"
import { it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { TimescaleStore } from "../../src/index.ts"
import * as PgPool from "../../src/PgPool.ts"
import { clientConfig, type ServerAddress } from "../../src/ServerAddress.ts"
import { createDatabase } from "../TestServer.ts"
import { providedServers } from "./ProvidedServer.ts"

type Store = MarketStore["Service"]

/** A way to use a store. */
type Way = (store: Store, server: ServerAddress) => Effect.Effect<Store, StoreError, Scope.Scope>

/** Trades are appended in bulk where `chosen` says so and they fit. */
const inBulk =
  (chosen: (append: number) => boolean): Way =>
  (store) => {
    let appends = 0
    const append = (batch: MarketBatch, claim: AppendClaim) =>
      batch._tag === "TradeBatch" && chosen(appends++)
        ? Effect.catch(store.append(batch, { ...claim, profile: "bulk" }), (error) =>
            error.reason._tag === "StoreBadRequest" ? store.append(batch, claim) : Effect.fail(error)
          )
        : store.append(batch, claim)
    return Effect.succeed({ ...store, append })
  }

/** Compresses everything that there is. Two programs may do so at once, and one of them may do something else meanwhile. */
const compress = /* sql */ `
  SELECT compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass, if_not_compressed => true)
  FROM timescaledb_information.chunks
  WHERE hypertable_schema = current_schema() AND hypertable_name IN ('trade', 'trade_bulk', 'quote', 'book', 'bar')
  ORDER BY 1`

const compressed: Way = (store, server) =>
  Effect.map(PgPool.make({ client: clientConfig(server), maxConnections: 1 }), (pool) => ({
    ...store,
    append: (batch: MarketBatch, claim: AppendClaim) =>
      Effect.tap(store.append(batch, claim), () =>
        Effect.ignore(
          pool.transaction("compress", (connection) =>
            connection.script(`SET LOCAL lock_timeout = '1s'; ${compress}`)
          )
        )
      )
  }))

const ways: ReadonlyArray<readonly [name: string, way: Way]> = [
  ["in bulk", inBulk(() => true)],
  ["in bulk and not, by turns", inBulk((append) => append % 2 === 0)],
  ["compressed at once", compressed]
]

const databaseOn = (url: string, way: Way) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() => createDatabase(url)),
      (database) => Effect.promise(() => database.drop())
    ),
    ({ address: server }) => ({
      migrations: TimescaleStore.layerMigrations(server),
      store: Layer.effectContext(
        Effect.gen(function* () {
          const context = yield* Layer.build(TimescaleStore.layer({ server }))
          const store = Context.get(context, MarketStore)
          if (!store.capabilities.bulkProfile) return context
          return Context.add(context, MarketStore, yield* way(store, server))
        })
      )
    })
  )

const leases = Object.fromEntries(
  ["S-992", "S-994", "S-996"].map((id) => [id, "leases know nothing of the way of writing"])
)

const server = providedServers.find(({ extension }) => extension !== undefined)

for (const [name, way] of ways)
  if (server !== undefined)
    StoreSuite.run(
      `${server.name}, ${name}`,
      { database: databaseOn(server.url, way) },
      { timeout: 120_000, skip: leases }
    )
  else it(`StoreSuite: ${name}`, (context) => context.skip("no TimescaleDB server is named"))
