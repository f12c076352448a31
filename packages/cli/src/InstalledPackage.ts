/**
 * Packages as Node finds them from a folder: where they lie, what their manifest says, which file an import means.
 *
 * Node's own resolvers answer for the module that asks, and `dm` asks for somebody else: for the folder of a configuration.
 * `createRequire` could, and refuses packages that are for `import` alone.
 */
import { readFileSync, realpathSync } from "node:fs"
import { dirname, join, resolve } from "node:path"

/** What is read of a package.json. */
export interface Manifest {
  readonly name?: string | undefined
  readonly version?: string | undefined
  readonly main?: string | undefined
  readonly exports?: unknown
  readonly dependencies?: { readonly [name: string]: string } | undefined
  readonly devDependencies?: { readonly [name: string]: string } | undefined
}

/** A package on disk. */
export interface InstalledPackage {
  /** Where it really lies: what a linked package depends on is found from there. */
  readonly folder: string
  readonly manifest: Manifest
}

/** The manifest of a folder; undefined where there is none that can be read. */
export const readManifest = (folder: string): Manifest | undefined => {
  try {
    const found: unknown = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
    return isObject(found) ? (found as Manifest) : undefined
  } catch {
    return undefined
  }
}

/**
 * The package of a name, as a module in `folder` would get it: from the `node_modules` of the folder and of those above it.
 * A folder that is inside of the package itself finds it, too: that is where one works on a provider.
 */
export const findPackage = (name: string, folder: string): InstalledPackage | undefined => {
  for (let at = resolve(folder); ; at = dirname(at)) {
    for (const candidate of [at, join(at, "node_modules", name)]) {
      const manifest = readManifest(candidate)
      if (manifest !== undefined && (candidate !== at || manifest.name === name))
        return { folder: realpathSync(candidate), manifest }
    }
    if (at === dirname(at)) return undefined
  }
}

/** The file that `import(name)` means, or undefined where the package exports nothing of that kind. */
export const entryOf = ({ folder, manifest }: InstalledPackage): string | undefined => {
  const { exports } = manifest
  if (exports === undefined || exports === null) return join(folder, manifest.main ?? "index.js")
  const hasSubpaths = isObject(exports) && Object.keys(exports).some((key) => key.startsWith("."))
  const target = targetOf(hasSubpaths ? (exports as { readonly ".": unknown })["."] : exports, conditions())
  return target === undefined ? undefined : join(folder, target)
}

/** The first target whose conditions hold, in the order of the manifest. */
const targetOf = (value: unknown, holding: ReadonlySet<string>): string | undefined => {
  if (typeof value === "string") return value
  if (Array.isArray(value)) {
    for (const one of value) {
      const target = targetOf(one, holding)
      if (target !== undefined) return target
    }
    return undefined
  }
  if (!isObject(value)) return undefined
  for (const [condition, inner] of Object.entries(value)) {
    if (condition !== "default" && !holding.has(condition)) continue
    const target = targetOf(inner, holding)
    if (target !== undefined) return target
  }
  return undefined
}

/** Node's conditions of an import, and those that this process was started with. */
const conditions = (): ReadonlySet<string> =>
  new Set([
    ...["node", "node-addons", "import", "module-sync"],
    ...process.execArgv.flatMap((text) => /^--conditions=(.+)$/.exec(text)?.[1] ?? [])
  ])

const isObject = (value: unknown): value is { readonly [key: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value)
