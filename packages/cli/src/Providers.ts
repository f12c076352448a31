/** The providers that the configuration names, over the store at hand. */
import {
  type ConfigError,
  MarketStore,
  type Provider,
  ProviderError,
  ProviderRegistry,
  ProviderUnauthorized
} from "@data-manager/core"
import { DatabentoProvider, HistoricalClient } from "@data-manager/providers-databento"
import { Effect, Layer, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import type { LoadedConfig } from "./ConfigFile.ts"
import { loadConfig, withStoreOf } from "./Database.ts"
import type { Session } from "./Session.ts"

/** Every enabled provider. One that cannot be made, such as for want of a key, fails the layer. */
const layer = (
  session: Session,
  loaded: LoadedConfig
): Layer.Layer<ProviderRegistry, ConfigError | ProviderError, MarketStore> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const store = yield* MarketStore
      const providers: Array<Provider> = []
      if (loaded.config.providers.databento.enabled) providers.push(yield* databento(session, loaded, store))
      return ProviderRegistry.layer(providers)
    })
  )

const databento = Effect.fnUntraced(function* (
  session: Session,
  loaded: LoadedConfig,
  store: MarketStore["Service"]
) {
  const { apiKeyEnv, historicalUrl } = loaded.config.providers.databento
  const key = session.env[apiKeyEnv]
  if (key === undefined || key.trim() === "")
    return yield* new ProviderError({
      provider: "databento",
      operation: "read the API key",
      reason: new ProviderUnauthorized({
        detail: `the environment variable ${apiKeyEnv} is not set`,
        hint: `export ${apiKeyEnv}=db-..., or name another variable in [providers.databento] api_key_env`
      })
    })
  const historical = yield* HistoricalClient.make({ key: Redacted.make(key), baseUrl: historicalUrl }).pipe(
    Effect.provide(FetchHttpClient.layer)
  )
  return DatabentoProvider.make({
    historical,
    register: store.registerListings,
    live: { apiKey: Redacted.make(key) }
  })
})

/** Runs `use` with the store, the registry and the providers of the configuration that the command line means. */
export const withProviders = <A, E, R>(
  session: Session,
  use: (loaded: LoadedConfig) => Effect.Effect<A, E, R>
) =>
  Effect.flatMap(loadConfig(session), (loaded) =>
    withStoreOf(session, loaded, Effect.provide(use(loaded), layer(session, loaded)))
  )
