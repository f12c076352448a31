/**
 * The providers of a configuration, over the store at hand: the built-in ones, and those that come in packages.
 *
 * Only what is asked for is made. A provider that nobody asked for may lack its key.
 */
import {
  ConfigError,
  MarketStore,
  type Provider,
  ProviderError,
  ProviderUnauthorized,
  type RegisterListings
} from "@data-manager/core"
import { DatabentoProvider, HistoricalClient } from "@data-manager/providers-databento"
import { Effect, Redacted, Result, type Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import type { LoadedConfig } from "./ConfigFile.ts"
import { loadConfig, withStoreOf } from "./Database.ts"
import * as ProviderPackages from "./ProviderPackages.ts"
import type { Session } from "./Session.ts"

/** A provider, and what is asked of it where nobody says more. */
export interface ConfiguredProvider {
  readonly provider: Provider
  readonly datasets: ReadonlyArray<string>
}

/** A provider that could not be made. */
export interface FailedProvider {
  readonly id: string
  readonly error: ConfigError | ProviderError
}

/** A provider that is ready to be made. */
interface Source {
  readonly datasets: ReadonlyArray<string>
  readonly make: (
    register: RegisterListings
  ) => Effect.Effect<Provider, ConfigError | ProviderError, Scope.Scope>
}

/** What is enabled, by id; the built-in ones first. */
type Sources = ReadonlyMap<string, Effect.Effect<Source, ConfigError | ProviderError>>

const sourcesOf = (session: Session, loaded: LoadedConfig): Sources => {
  const { providerPackages, providers } = loaded.config
  const sources = new Map<string, Effect.Effect<Source, ConfigError | ProviderError>>()
  if (providers.databento.enabled) sources.set("databento", databento(session, loaded))
  for (const [id, { enabled }] of Object.entries(providerPackages))
    if (enabled) sources.set(id, ProviderPackages.load(session, loaded, id))
  return sources
}

const databento = (session: Session, loaded: LoadedConfig): Effect.Effect<Source, ProviderError> => {
  const { apiKeyEnv, datasets, historicalUrl, liveAddress } = loaded.config.providers.databento
  const key = session.env[apiKeyEnv]
  if (key === undefined || key.trim() === "")
    return Effect.fail(
      new ProviderError({
        provider: "databento",
        operation: "read the API key",
        reason: new ProviderUnauthorized({
          detail: `the environment variable ${apiKeyEnv} is not set`,
          hint:
            `export ${apiKeyEnv}=db-..., or name another variable in [providers.databento] api_key_env; without an ` +
            "account there, write enabled = false in that table"
        })
      })
    )
  return Effect.succeed({
    datasets,
    make: (register) =>
      HistoricalClient.make({ key: Redacted.make(key), baseUrl: historicalUrl }).pipe(
        Effect.provide(FetchHttpClient.layer),
        Effect.map((historical) =>
          DatabentoProvider.make({
            historical,
            register,
            live: {
              apiKey: Redacted.make(key),
              address: liveAddress === undefined ? undefined : addressOf(liveAddress)
            }
          })
        )
      )
  })
}

const addressOf = (text: string): { readonly host: string; readonly port: number } => {
  const at = text.lastIndexOf(":")
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) }
}

/** The source of an id; without one the first. */
const sourceOf = (
  loaded: LoadedConfig,
  sources: Sources,
  id: string | undefined
): Effect.Effect<Source, ConfigError | ProviderError> => {
  const source = sources.get(id ?? [...sources.keys()][0] ?? "")
  if (source !== undefined) return source
  const known = sources.size === 0 ? "none" : [...sources.keys()].join(", ")
  const { providerPackages, providers } = loaded.config
  const isOff = id !== undefined && (Object.hasOwn(providerPackages, id) || Object.hasOwn(providers, id))
  const problem =
    id === undefined
      ? "no provider is enabled"
      : isOff
        ? `the provider "${id}" is switched off, or not a part of this version; enabled: ${known}`
        : `no provider "${id}"; configured: ${known}. One of another package needs [providers.${id}] package = "its npm name"`
  const place = loaded.file ?? "providers"
  return Effect.fail(new ConfigError({ source: place, issues: [{ key: "", problem }] }))
}

/** The first provider that says that it has a dataset; undefined where none says so, or can be made. */
const idOfDataset = Effect.fnUntraced(function* (sources: Sources, dataset: string | undefined) {
  if (dataset === undefined || sources.size < 2) return undefined
  for (const [id, source] of sources) {
    const found = yield* Effect.result(source)
    if (Result.isSuccess(found) && found.success.datasets.includes(dataset)) return id
  }
  return undefined
})

const make = (
  source: Source
): Effect.Effect<ConfiguredProvider, ConfigError | ProviderError, MarketStore | Scope.Scope> =>
  Effect.gen(function* () {
    const store = yield* MarketStore
    return { provider: yield* source.make(store.registerListings), datasets: source.datasets }
  })

/** Which provider is meant. */
interface Wanted {
  readonly id: string | undefined
  /** A dataset that it has, where no id is given. */
  readonly dataset: string | undefined
}

/**
 * Runs `use` with the store and one provider of the configuration: that of the id, else one that has the dataset, or else the
 * first.
 */
export const withProvider = <A, E, R>(
  session: Session,
  wanted: Wanted,
  use: (loaded: LoadedConfig, configured: ConfiguredProvider) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function* () {
    const loaded = yield* loadConfig(session)
    const sources = sourcesOf(session, loaded)
    const id = wanted.id ?? (yield* idOfDataset(sources, wanted.dataset))
    const source = yield* sourceOf(loaded, sources, id)
    const work = Effect.flatMap(make(source), (configured) => use(loaded, configured))
    return yield* withStoreOf(session, loaded, Effect.scoped(work))
  })

/** Runs `use` with the store and every provider of the configuration; those that cannot be made are told beside. */
export const withProviders = <A, E, R>(
  session: Session,
  use: (
    loaded: LoadedConfig,
    configured: ReadonlyArray<ConfiguredProvider>,
    failed: ReadonlyArray<FailedProvider>
  ) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function* () {
    const loaded = yield* loadConfig(session)
    const sources = sourcesOf(session, loaded)
    const work = Effect.gen(function* () {
      const configured: Array<ConfiguredProvider> = []
      const failed: Array<FailedProvider> = []
      for (const [id, source] of sources) {
        const made = yield* Effect.result(Effect.flatMap(source, make))
        if (Result.isSuccess(made)) configured.push(made.success)
        else failed.push({ id, error: made.failure })
      }
      return yield* use(loaded, configured, failed)
    })
    return yield* withStoreOf(session, loaded, Effect.scoped(work))
  })

/**
 * Every provider of the configuration, with numbers of instruments from `register`. Those that cannot be made are told in the
 * log; where none can, the first one's failure is that of all.
 */
export const makeConfigured = (session: Session, loaded: LoadedConfig, register: RegisterListings) =>
  Effect.gen(function* () {
    const made: Array<ConfiguredProvider> = []
    let failure: ConfigError | ProviderError | undefined
    for (const [id, source] of sourcesOf(session, loaded)) {
      const one = yield* Effect.result(
        Effect.flatMap(source, ({ datasets, make: makeOne }) =>
          Effect.map(makeOne(register), (provider): ConfiguredProvider => ({ provider, datasets }))
        )
      )
      if (Result.isSuccess(one)) made.push(one.success)
      else {
        failure ??= one.failure
        yield* Effect.logWarning(`provider ${id} is left out: ${one.failure.message}`)
      }
    }
    if (made.length > 0) return made
    return yield* failure ??
      new ConfigError({
        source: loaded.file ?? "providers",
        issues: [{ key: "", problem: "no provider is enabled: there is nothing to collect" }]
      })
  })

/** The providers of `makeConfigured` alone. */
export const makeAll = (session: Session, loaded: LoadedConfig, register: RegisterListings) =>
  Effect.map(makeConfigured(session, loaded, register), (made) => made.map(({ provider }) => provider))
