/** What this package says about itself: the version of `dm`, and the versions of what it was built with. */
import { fileURLToPath } from "node:url"
import { findPackage, readManifest } from "./InstalledPackage.ts"

/** Folder of the package: the files of `dist`, and those of `src`, lie one below it. */
export const folder = fileURLToPath(new URL("..", import.meta.url))

const manifest = readManifest(folder)

/** Version of `dm`, and with it of every `@data-manager` package. */
export const version = manifest?.version ?? "0.0.0"

/**
 * The exact version of a package that `dm` was built with. A published manifest has it; in the workspace, where the catalog
 * has it, the installed package does.
 */
export const versionOf = (name: string): string => {
  const declared = manifest?.dependencies?.[name] ?? manifest?.devDependencies?.[name]
  const known =
    declared !== undefined && /^\d/.test(declared) ? declared : findPackage(name, folder)?.manifest.version
  if (known === undefined) throw new Error(`dm was not built with ${name}`)
  return known
}
