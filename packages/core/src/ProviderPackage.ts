/**
 * How a program makes a provider that it knows by the name of its package alone: a package of a provider exports a
 * `ProviderPackage` as `provider`, and `[providers.acme] package = "acme-provider"` names it.
 */
import type { Effect, Scope } from "effect"
import type { ConfigError } from "./ConfigError.ts"
import type { RegisterListings } from "./FileSource.ts"
import type { Provider } from "./Provider.ts"
import type { ProviderError } from "./ProviderError.ts"

/** What a program gives to a provider that it makes. */
export interface ProviderSetup {
  /** The id that the configuration gave it, `acme` in `[providers.acme]`; the id of the provider. */
  readonly id: string
  /** The keys of that table as the file has them, without `package` and `enabled`. The package checks them. */
  readonly options: { readonly [key: string]: unknown }
  /** Environment variables: where keys and passwords come from, never from the file. */
  readonly env: { readonly [name: string]: string | undefined }
  /** Gives instruments their ids: the store's, or that of `LocalInstruments` where there is none. */
  readonly register: RegisterListings
}

/** What a package of a provider exports as `provider`. */
export interface ProviderPackage {
  /** Datasets that it serves, where they do not depend on options: shown to users who name none. */
  readonly datasets?: ReadonlyArray<string> | undefined
  /**
   * Makes the provider; what it opens closes with the scope. Fails with `ConfigError` where an option is wrong (its keys
   * as in the file: `providers.acme.url`), and with `ProviderUnauthorized` where a key is missing.
   */
  readonly make: (setup: ProviderSetup) => Effect.Effect<Provider, ConfigError | ProviderError, Scope.Scope>
}
