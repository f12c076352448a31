/**
 * Databento's historical service: what there is, what it costs, and the data, as a stream or as files. Usable alone: it
 * needs an `HttpClient` and nothing else of Data Manager.
 *
 * Every reply carries the service's warnings. Calls that are free of charge are repeated when the service or the network
 * fails; calls that may be billed never are, once they were sent.
 */
import type { ProviderError } from "@data-manager/core"
import { Config, Context, Effect, Layer, type Redacted } from "effect"
import { HttpClient } from "effect/http"
import * as ApiKey from "../ApiKey.ts"
import { BatchJobs } from "./BatchJobs.ts"
import { HistoricalHttp, type HistoricalHttpOptions, type Reply } from "./HistoricalHttp.ts"
import { Metadata } from "./Metadata.ts"
import { type Resolution, type ResolveRequest, resolve } from "./Symbology.ts"
import { Timeseries } from "./Timeseries.ts"

/** How the client reaches the service; a key is all that is needed. */
export type HistoricalClientOptions = HistoricalHttpOptions

/** The client: one per key, because pace and connections are counted in it. */
export class HistoricalClient extends Context.Service<HistoricalClient>()(
  "@data-manager/providers-databento/HistoricalClient",
  {
    make: Effect.fnUntraced(function* (options: HistoricalClientOptions) {
      const key = yield* Effect.fromResult(ApiKey.check(options.key))
      const http = new HistoricalHttp(yield* HttpClient.HttpClient, { ...options, key })
      const metadata = new Metadata(http)
      return {
        metadata,
        /** From symbols to other symbols, day by day. */
        resolve: (request: ResolveRequest): Effect.Effect<Reply<Resolution>, ProviderError> =>
          resolve(http, request),
        timeseries: new Timeseries(http, metadata),
        batch: new BatchJobs(http, metadata)
      }
    })
  }
) {
  static readonly layer = (
    options: HistoricalClientOptions
  ): Layer.Layer<HistoricalClient, ProviderError, HttpClient.HttpClient> =>
    Layer.effect(HistoricalClient, HistoricalClient.make(options))

  /** The key from `DATABENTO_API_KEY`, or from wherever the configuration says. */
  static readonly layerConfig = (
    options: Omit<HistoricalClientOptions, "key"> & {
      readonly key?: Config.Config<Redacted.Redacted<string>> | undefined
    } = {}
  ): Layer.Layer<HistoricalClient, ProviderError | Config.ConfigError, HttpClient.HttpClient> =>
    Layer.effect(
      HistoricalClient,
      Effect.flatMap(options.key ?? Config.Redacted("DATABENTO_API_KEY"), (key) =>
        HistoricalClient.make({ ...options, key })
      )
    )
}
