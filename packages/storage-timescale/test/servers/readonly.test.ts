/** A login that takes no writes, as on a standby: bars of late trades cannot be made there, and are read all the same. */
import { MarketStore, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect, Stream } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import type { ServerAddress } from "../../src/ServerAddress.ts"
import * as TimescaleStore from "../../src/TimescaleStore.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { createDatabase } from "../TestServer.ts"
import { noServer, providedServers } from "./ProvidedServer.ts"

const server = providedServers.find(({ extension }) => extension !== undefined)
const start = UnixNanos.parse("2024-09-02T08:00:00Z")!

describe.skipIf(server === undefined)("a login that takes no writes", () => {
  let store: StoreFixture
  let market: Awaited<ReturnType<typeof instruments>>

  beforeAll(async () => {
    store = await openStore(await createDatabase(server!.url))
    market = await instruments(store, [[2, 0]])
    const batch = BatchArbitrary.trades(new SeededRandom(1), {
      context: market.context,
      instruments: market.ids,
      rows: 500,
      start,
      span: UnixNanos.PerDay
    })
    await store.run(appendAll(store.writer, [batch]))
  }, 60_000)
  afterAll(() => store?.close())

  const bars = (address: ServerAddress) =>
    MarketStore.use((service) =>
      Stream.runCollect(
        service.readBars({
          instruments: market.ids,
          timeframe: "1h",
          range: { start: start - UnixNanos.PerDay, end: start + 2n * UnixNanos.PerDay },
          source: "trades"
        })
      )
    ).pipe(
      Effect.map((batches) => batches.map(({ columns }) => columns)),
      Effect.provide(TimescaleStore.layer({ server: address })),
      Effect.runPromise
    )

  it("reads the bars that others read, also those that wait to be made", async () => {
    const { address } = store.database
    const there = await bars({ ...address, options: "-c default_transaction_read_only=on" })
    assert.isNotEmpty(there)
    // Whoever may write makes them first.
    assert.deepStrictEqual(await bars(address), there)
  })
})

if (server === undefined) it("a login that takes no writes", (context) => context.skip(noServer))
