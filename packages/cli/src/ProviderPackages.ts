/**
 * Providers that come in packages of their own: `[providers.acme] package = "acme-provider"`.
 *
 * Such a package brings copies of `effect` and of `@data-manager/core` of its own, while those of `dm` are inside of its
 * bundle. Effects, streams, batches and errors of one copy work in another: they are told by their tags, not by their
 * classes. The insides of `effect` that carry them may change with a minor version, so the versions have to agree.
 */
import { existsSync } from "node:fs"
import { dirname } from "node:path"
import { pathToFileURL } from "node:url"
import {
  ConfigError,
  type ConfigIssue,
  type Provider,
  type ProviderError,
  type ProviderPackage,
  type RegisterListings
} from "@data-manager/core"
import { Effect, type Scope } from "effect"
import type { LoadedConfig } from "./ConfigFile.ts"
import { problemText } from "./FileProblem.ts"
import { entryOf, findPackage, type InstalledPackage } from "./InstalledPackage.ts"
import * as OwnPackage from "./OwnPackage.ts"
import type { Session } from "./Session.ts"

/** A package that was found and imported. */
export interface LoadedPackage {
  /** `acme-provider 1.2.3 (/where/it/lies)`. */
  readonly description: string
  /** Datasets to ask for where nobody names one: those of the configuration, else those of the package. */
  readonly datasets: ReadonlyArray<string>
  /** Makes its provider; what that opens closes with the scope. */
  readonly make: (
    register: RegisterListings
  ) => Effect.Effect<Provider, ConfigError | ProviderError, Scope.Scope>
}

/** Where something is told about. */
interface Place {
  readonly id: string
  readonly name: string
  readonly source: string
}

const refuse = (place: Place, problem: string, key = "package"): Effect.Effect<never, ConfigError> => {
  const issue: ConfigIssue = { key: `providers.${place.id}.${key}`, problem }
  return Effect.fail(new ConfigError({ source: place.source, issues: [issue] }))
}

/** Finds and imports the package of a provider of the configuration. Opens nothing yet. */
export const load = (
  session: Session,
  loaded: LoadedConfig,
  id: string
): Effect.Effect<LoadedPackage, ConfigError> =>
  Effect.gen(function* () {
    const { package: name, enabled: _, ...options } = loaded.config.providerPackages[id]!
    const place: Place = { id, name, source: loaded.file ?? "configuration" }
    const found = yield* find(place, foldersOf(session, loaded))
    yield* checkVersions(place, found)
    const exported = yield* importProvider(place, found)
    const datasets = yield* datasetsOf(place, options.datasets, exported)
    return {
      description: `${name} ${found.manifest.version ?? "of no version"} (${found.folder})`,
      datasets,
      make: (register) => make(place, exported.make({ id, options, env: session.env, register }))
    }
  })

/** Beside the configuration, where one works, beside `dm`. */
const foldersOf = (session: Session, loaded: LoadedConfig): ReadonlyArray<string> => [
  ...new Set([
    ...(loaded.file === undefined ? [] : [dirname(loaded.file)]),
    session.cwd,
    dirname(OwnPackage.folder)
  ])
]

const find = (place: Place, folders: ReadonlyArray<string>): Effect.Effect<InstalledPackage, ConfigError> => {
  for (const folder of folders) {
    const found = findPackage(place.name, folder)
    if (found !== undefined) return Effect.succeed(found)
  }
  return refuse(
    place,
    `"${place.name}" is not installed; run \`npm install ${place.name}\` in ${folders[0]} ` +
      `(looked for in the node_modules of ${folders.join(", of ")} and of the folders above)`
  )
}

/** Versions that can exchange values: of one major, and of one minor where that may change what they are made of. */
const checkVersions = (place: Place, found: InstalledPackage): Effect.Effect<void, ConfigError> => {
  const cores = OwnPackage.version
  const rules = [
    { name: "effect", own: OwnPackage.versionOf("effect"), digits: 2 },
    { name: "@data-manager/core", own: cores, digits: cores.startsWith("0.") ? 2 : 1 }
  ]
  for (const { name, own, digits } of rules) {
    const theirs = findPackage(name, found.folder)?.manifest.version
    const head = (version: string): string => version.split(".").slice(0, digits).join(".")
    if (theirs === undefined || head(theirs) === head(own)) continue
    return refuse(
      place,
      `"${place.name}" uses ${name} ${theirs}, and dm ${OwnPackage.version} needs ${head(own)}: run ` +
        `\`npm install ${name}@${head(own)}\` where it is installed (${found.folder}), or take the version of ` +
        `${place.name} that is for it`
    )
  }
  return Effect.void
}

const importProvider = (place: Place, found: InstalledPackage): Effect.Effect<ProviderPackage, ConfigError> =>
  Effect.gen(function* () {
    const entry = entryOf(found)
    if (entry === undefined)
      return yield* refuse(place, `the package.json in ${found.folder} exports nothing that can be imported`)
    if (!existsSync(entry))
      return yield* refuse(place, `${entry} does not exist: is the package built (\`npm run build\` there)?`)
    const module: { readonly provider?: unknown } = yield* Effect.tryPromise({
      try: () => import(pathToFileURL(entry).href),
      catch: (cause) => cause
    }).pipe(
      Effect.catch((cause) => refuse(place, `"${place.name}" cannot be imported: ${problemText(cause)}`))
    )
    const { provider } = module
    if (typeof provider === "object" && provider !== null && "make" in provider)
      if (typeof provider.make === "function") return provider as ProviderPackage
    const names = Object.keys(module).join(", ")
    return yield* refuse(
      place,
      `${entry} has no export "provider" with a function "make" (it has ${names === "" ? "none" : names}): ` +
        "it is no package of a provider, or is made for another version of dm"
    )
  })

const datasetsOf = (
  place: Place,
  option: unknown,
  exported: ProviderPackage
): Effect.Effect<ReadonlyArray<string>, ConfigError> => {
  if (option === undefined) return Effect.succeed(exported.datasets ?? [])
  return Array.isArray(option) && option.every((one) => typeof one === "string" && one !== "")
    ? Effect.succeed(option)
    : refuse(place, "expected a list of dataset names", "datasets")
}

/** The provider of a package, checked as far as it can be: what a package throws is its own fault, not one of `dm`. */
const make = <E>(
  place: Place,
  making: Effect.Effect<Provider, E, Scope.Scope>
): Effect.Effect<Provider, E | ConfigError, Scope.Scope> =>
  Effect.gen(function* () {
    const provider = yield* Effect.suspend(() => making).pipe(
      Effect.catchDefect((defect) => refuse(place, `"${place.name}" failed: ${problemText(defect)}`))
    )
    if (provider?.id !== place.id)
      return yield* refuse(
        place,
        `"${place.name}" made a provider with the id "${provider?.id}": it has to take the id of its setup, "${place.id}"`
      )
    return provider
  })
