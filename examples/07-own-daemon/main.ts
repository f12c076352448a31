/**
 * A daemon of your own: the live service as a layer, with a sink of your own beside store and ring - here one that counts
 * volume per minute. With a key in DATABENTO_API_KEY it collects E-mini futures until Ctrl-C; without one it starts a simulator,
 * and ends after ten thousand trades.
 */
import { randomUUID } from "node:crypto"
import { join } from "node:path"
import { InstrumentRegistry, LiveService, MarketStore, type SymbolEntry } from "@data-manager/core"
import { DatabentoProvider, HistoricalClient } from "@data-manager/providers-databento"
import {
  CatalogueBuilder,
  DatabentoSimulator,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import { TimescaleStore } from "@data-manager/storage-timescale"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Config, Console, Effect, Layer, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"

const Trades = 10_000
const dataDir = process.env.DM_DATA_DIR ?? "./data"

/** Volume per minute, of whatever is collected. A sink that is too slow loses rows and is told; nobody waits for it. */
const countVolume = Effect.gen(function* () {
  const { hub } = yield* LiveService.LiveService
  const subscription = yield* hub.subscribe({ name: "volume", policy: "drop-oldest" })
  const volume = new Map<number, number>()
  let rows = 0
  while (rows < Trades || process.env.DATABENTO_API_KEY !== undefined)
    for (const event of yield* subscription.take) {
      if (event._tag === "HubLoss") yield* Console.log(`lost ${event.rows} rows`)
      else if (event.entry._tag === "FeedRows" && event.entry.batch._tag === "TradeBatch") {
        const { batch } = event.entry
        for (let i = 0; i < batch.length; i++) {
          const minute = Number(batch.columns.tsEvent[i]! / 60_000_000_000n)
          volume.set(minute, (volume.get(minute) ?? 0) + batch.sizeAt(i))
        }
        rows += batch.length
      }
    }
  return { rows, minutes: volume.size }
})

const entry = (symbol: string, dataset: string, stypeIn: string): SymbolEntry => ({
  symbol: `${dataset}:${symbol}`,
  provider: "databento",
  dataset,
  stypeIn,
  schemas: ["trades"],
  enabled: true,
  source: "config",
  discoveredAt: 0n
})

/** Where the data comes from, and which symbols. */
const source = Effect.gen(function* () {
  if (process.env.DATABENTO_API_KEY !== undefined)
    return {
      key: yield* Config.Redacted("DATABENTO_API_KEY"),
      symbols: [entry("ES.FUT", "GLBX.MDP3", "parent")]
    }
  const catalogue = new CatalogueBuilder().addSynthetic(new SyntheticMarket({ trades: Trades })).build()
  const { http, key, live } = yield* DatabentoSimulator.make({ catalogue })
  return {
    key: Redacted.make(key),
    symbols: [entry("ALL_SYMBOLS", "DBEQ.BASIC", "raw_symbol")],
    baseUrl: `http://127.0.0.1:${http.port}`,
    address: { host: "127.0.0.1", port: live.port }
  }
})

const program = Effect.gen(function* () {
  const { address, baseUrl, key, symbols } = yield* source
  const live = LiveService.layer({
    instance: randomUUID(),
    spool: { folder: join(dataDir, "spool"), maxBytes: 1e9 },
    providers: (register) =>
      HistoricalClient.make({ key, baseUrl }).pipe(
        Effect.map((historical) => [
          DatabentoProvider.make({ historical, register, live: { apiKey: key, address } })
        ]),
        Effect.provide(FetchHttpClient.layer)
      )
  })
  const daemon = live.pipe(
    Layer.provideMerge(InstrumentRegistry.layerWith({ configured: symbols })),
    Layer.provideMerge(TimescaleStore.layerEmbedded({ dataDir })),
    Layer.provide(NodeServices.layer)
  )
  // Leaving the scope of the service drains it: what the sink has seen is in the store afterwards.
  const { store, rows, minutes } = yield* Effect.scoped(
    Effect.gen(function* () {
      const context = yield* Layer.build(daemon)
      const counted = yield* countVolume.pipe(Effect.provide(context))
      const { status } = yield* LiveService.LiveService.pipe(Effect.provide(context))
      while ((yield* status).writer.rows < counted.rows) yield* Effect.sleep("50 millis")
      const stored = yield* MarketStore.pipe(Effect.provide(context))
      return { ...counted, store: (yield* stored.statistics).tables[0]?.table }
    })
  )
  yield* Console.log(`${rows} trades in ${minutes} minutes, all of them in the table ${store}`)
})

NodeRuntime.runMain(Effect.scoped(program))
