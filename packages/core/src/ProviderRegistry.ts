/** The explicit list of providers that a program was composed with. */
import { Context, Effect, Layer } from "effect"
import { ConfigError } from "./ConfigError.ts"
import type { Provider } from "./Provider.ts"

/** Providers by id. */
export class ProviderRegistry extends Context.Service<
  ProviderRegistry,
  {
    readonly all: ReadonlyArray<Provider>
    /** The provider of an id; an unknown id is answered with those that there are. */
    readonly get: (id: string) => Effect.Effect<Provider, ConfigError>
  }
>()("@data-manager/core/ProviderRegistry") {
  /** A registry of these providers. Two of one id are a configuration error. */
  static readonly layer = (providers: ReadonlyArray<Provider>): Layer.Layer<ProviderRegistry, ConfigError> =>
    Layer.effect(
      ProviderRegistry,
      Effect.gen(function* () {
        const byId = new Map(providers.map((provider) => [provider.id, provider]))
        if (byId.size < providers.length) return yield* issue("two providers have the same id")
        const known = [...byId.keys()].join(", ")
        return ProviderRegistry.of({
          all: providers,
          get: (id) => {
            const provider = byId.get(id)
            return provider === undefined
              ? issue(`no provider "${id}"; configured: ${known === "" ? "none" : known}`)
              : Effect.succeed(provider)
          }
        })
      })
    )
}

const issue = (problem: string): Effect.Effect<never, ConfigError> =>
  Effect.fail(new ConfigError({ source: "providers", issues: [{ key: "", problem }] }))
