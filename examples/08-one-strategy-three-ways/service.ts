/** The service as a layer: it collects a day from a simulator of the vendor's gateway, stores it, and publishes it. */
import { randomUUID } from "node:crypto"
import { join } from "node:path"
import { InstrumentRegistry, LiveService, type SymbolEntry } from "@data-manager/core"
import { DatabentoProvider, HistoricalClient } from "@data-manager/providers-databento"
import {
  CatalogueBuilder,
  DatabentoSimulator,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import { TimescaleStore } from "@data-manager/storage-timescale"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"

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

/** The database of a folder, and who is known in it. */
export const storeLayer = (dataDir: string) =>
  InstrumentRegistry.layerWith({ configured: [everything] }).pipe(
    Layer.provideMerge(TimescaleStore.layerEmbedded({ dataDir }))
  )

/** The service of a folder. Provide a `Publication`, and it publishes to other processes as well. */
export const serviceLayer = (dataDir: string) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const market = new SyntheticMarket({ symbols: 20, trades: 20_000 })
      const catalogue = new CatalogueBuilder().addSynthetic(market).build()
      const { http, key, live } = yield* DatabentoSimulator.make({ catalogue })
      const apiKey = Redacted.make(key)
      return LiveService.layer({
        instance: randomUUID(),
        spool: { folder: join(dataDir, "spool"), maxBytes: 1e9 },
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
  ).pipe(Layer.provide(NodeServices.layer))
