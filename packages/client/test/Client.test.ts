/** The client on a service in this process: its database, its ring, and what happens where one of them is not there. */
import { randomUUID } from "node:crypto"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { InstrumentRegistry, LiveService, type SymbolEntry } from "@data-manager/core"
import { DatabentoProvider, HistoricalClient } from "@data-manager/providers-databento"
import {
  CatalogueBuilder,
  DatabentoSimulator,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import { TimescaleStore } from "@data-manager/storage-timescale"
import { EmbeddedServer } from "@data-manager/storage-timescale/embedded"
import { ShmPublication } from "@data-manager/transport-shm"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, ManagedRuntime, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { type DataManager, open, StoreError, TransportError } from "../src/index.ts"

const Trades = 4_000
const folder = mkdtempSync(join(tmpdir(), "dm-client-"))
chmodSync(folder, 0o711)
const dataDir = join(folder, "data")
const ring = { name: `client_${process.pid}`, dir: join(folder, "ring") }

const everything: SymbolEntry = {
  symbol: "DBEQ.BASIC:ALL_SYMBOLS",
  provider: "databento",
  dataset: "DBEQ.BASIC",
  stypeIn: "raw_symbol",
  schemas: ["trades"],
  enabled: true,
  source: "config",
  discoveredAt: 0n
}

const service = Layer.unwrap(
  Effect.gen(function* () {
    const market = new SyntheticMarket({ symbols: 5, trades: Trades })
    const catalogue = new CatalogueBuilder().addSynthetic(market).build()
    const { http, key, live } = yield* DatabentoSimulator.make({ catalogue })
    const apiKey = Redacted.make(key)
    return LiveService.layer({
      instance: randomUUID(),
      spool: { folder: join(folder, "spool"), maxBytes: 1e9 },
      providers: (register) =>
        HistoricalClient.make({ key: apiKey, baseUrl: `http://127.0.0.1:${http.port}` }).pipe(
          Effect.map((historical) => [
            DatabentoProvider.make({
              historical,
              register,
              live: { apiKey, address: { host: "127.0.0.1", port: live.port } }
            })
          ]),
          Effect.provide(FetchHttpClient.layer)
        )
    })
  })
).pipe(
  Layer.provide(ShmPublication.layer({ ...ring, capacity: 16_384 })),
  Layer.provide(InstrumentRegistry.layerWith({ configured: [everything] })),
  Layer.provide(TimescaleStore.layerEmbedded({ dataDir })),
  Layer.provide(NodeServices.layer)
)

describe("the client", () => {
  const running = ManagedRuntime.make(service)
  let market: DataManager
  beforeAll(async () => {
    await running.runPromise(Effect.asVoid(LiveService.LiveService))
    market = await open({ dataDir, ring })
  }, 120_000)
  afterAll(async () => {
    await market?.close()
    await running.dispose()
    await Effect.runPromise(EmbeddedServer.stop(dataDir, { force: true }))
    rmSync(folder, { recursive: true, force: true })
  }, 60_000)

  it("gives every trade once, from the store into the stream", { timeout: 60_000 }, async () => {
    const keys = new Set<string>()
    let rows = 0
    for await (const event of market.subscribe({ symbols: ["ALL_SYMBOLS"], from: "2026-01-05" })) {
      if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch") continue
      for (const trade of event.batch.rows())
        keys.add(`${trade.instrument} ${trade.tsEvent} ${trade.tradeKey}`)
      rows += event.batch.length
      if (rows >= Trades) break
    }
    assert.deepStrictEqual([rows, keys.size], [Trades, Trades])
  })

  it("answers questions about what is stored", { timeout: 60_000 }, async () => {
    const day = { start: "2026-01-05", end: new Date("2026-01-06T00:00:00Z") }
    // What has come live is stored a moment later: its instruments first, then its rows.
    let names: ReadonlyArray<string> = []
    let trades: Awaited<ReturnType<DataManager["trades"]>> = []
    while (trades.length < Trades) {
      names = (await market.instruments()).map(({ symbol }) => symbol).sort()
      trades = await market.trades({ symbols: names, ...day })
    }
    assert.lengthOf(names, 5)
    assert.lengthOf(trades, Trades)
    const bars = await market.bars({ symbols: [names[0]!], timeframe: "1h", ...day })
    assert.strictEqual(
      bars.reduce((sum, bar) => sum + Number(bar.tradeCount), 0),
      trades.filter(({ symbol }) => symbol === names[0]).length
    )
    const last = await market.lastTrades([names[0]!], 3)
    const own = trades.filter(({ symbol }) => symbol === names[0])
    assert.deepStrictEqual(
      last.map(({ tradeKey }) => tradeKey),
      own.slice(-3).map(({ tradeKey }) => tradeKey)
    )
    assert.isAbove((await market.coverage(names[0]!)).length, 0)
  })

  it("ends a stream by signal, by callback, and with itself", { timeout: 60_000 }, async () => {
    const stop = new AbortController()
    const seen: Array<string> = []
    setTimeout(() => stop.abort(), 100)
    for await (const event of market.subscribe({ symbols: ["ALL_SYMBOLS"], signal: stop.signal }))
      seen.push(event._tag)
    assert.deepStrictEqual(seen, ["Live"])
    const told: Array<string> = []
    const end = market.listen({ symbols: ["ALL_SYMBOLS"] }, (event) => told.push(event._tag))
    await new Promise((done) => setTimeout(done, 100))
    end()
    assert.deepStrictEqual(told, ["Live"])
  })

  it("says what is wrong", { timeout: 60_000 }, async () => {
    const rejected = async (work: Promise<unknown>): Promise<unknown> => {
      try {
        await work
      } catch (error) {
        return error
      }
      return undefined
    }
    const unknown = await rejected(market.lastTrades(["NOPE"], 1))
    assert.instanceOf(unknown, StoreError)
    assert.include((unknown as Error).message, "NOPE")
    const time = await rejected(market.trades({ symbols: ["ALL_SYMBOLS"], start: "yesterday" }))
    assert.include((time as Error).message, '"yesterday" is no time')
    const refused = await rejected(open({ database: "postgresql://nobody@127.0.0.1:1/none" }))
    assert.instanceOf(refused, StoreError)
    await using other = await open({ dataDir, ring: { name: "nobody_publishes_here", dir: ring.dir } })
    const errors: Array<Error> = []
    other.listen({ symbols: ["ALL_SYMBOLS"] }, () => {}, { onError: (error) => errors.push(error) })
    while (errors.length === 0) await new Promise((done) => setTimeout(done, 10))
    assert.instanceOf(errors[0], TransportError)
  })
})
