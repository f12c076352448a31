/**
 * Databento's history without a database: what a request costs, then its trades as a stream of batches. With a key in
 * DATABENTO_API_KEY it asks the vendor; without one it starts a simulator of it, which costs nothing.
 */
import { Decimal, LocalInstruments, UnixNanos } from "@data-manager/core"
import { HistoricalClient } from "@data-manager/providers-databento"
import {
  CatalogueBuilder,
  DatabentoSimulator,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer, Redacted, Stream } from "effect"

const request = {
  dataset: "DBEQ.BASIC",
  symbols: ["AA"],
  schema: "trades",
  range: { start: UnixNanos.parse("2026-01-05T14:30")!, end: UnixNanos.parse("2026-01-05T15:30")! }
} as const

const averagePrice = Effect.gen(function* () {
  const client = yield* HistoricalClient
  const { value: cost } = yield* client.metadata.cost(request)
  yield* Console.log(`costs ${Decimal.format(cost)} USD`)
  const { register } = LocalInstruments.make()
  let [trades, volume, turnover] = [0, 0, 0]
  yield* client.timeseries.batches(request, { register, maxCostUsd: Decimal.parse("0.01") }).pipe(
    Stream.runForEach((event) =>
      Effect.sync(() => {
        if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch") return
        const { batch } = event
        for (let i = 0; i < batch.length; i++) {
          volume += batch.sizeAt(i)
          turnover += batch.priceAt(i) * batch.sizeAt(i)
        }
        trades += batch.length
      })
    )
  )
  yield* Console.log(`${trades} trades, average price ${(turnover / volume).toFixed(4)}`)
})

/** The vendor, where there is a key; else a Databento of one's own: one synthetic day, no key, no cost. */
const Client = Layer.unwrap(
  Effect.gen(function* () {
    if (process.env.DATABENTO_API_KEY !== undefined) return HistoricalClient.layerConfig()
    const catalogue = new CatalogueBuilder().addSynthetic(new SyntheticMarket({ trades: 50_000 })).build()
    const { http, key } = yield* DatabentoSimulator.make({ catalogue })
    return HistoricalClient.layer({ key: Redacted.make(key), baseUrl: http.url })
  })
)

NodeRuntime.runMain(averagePrice.pipe(Effect.provide(Client), Effect.provide(NodeHttpClient.layerUndici)))
