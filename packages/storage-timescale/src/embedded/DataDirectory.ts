/**
 * The data directory and what lies where in it. Everything here is checked before anything is changed.
 *
 *     <data directory>/        of the user who uses it
 *       .data-manager          says whose directory this is
 *       postgres/              appears as a whole, by one rename, when it is complete
 *         data/                the cluster, of the server's user
 *         run/                 the unix socket, of the server's user
 *         log/                 one file per server start
 *         pgpass               logins, mode 0600
 *       postgres.init-*        a first start under way, or the remains of one that was killed
 */
import { chmodSync, lchownSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs"
import { rm, writeFile } from "node:fs/promises"
import { homedir } from "node:os"
import { dirname, isAbsolute, join, resolve } from "node:path"
import { StoreAccessDenied, StoreError, StoreIncompatible } from "@data-manager/core"
import { Clock, Effect } from "effect"
import { codeOf, failure, fileFailure, ownServer } from "./EmbeddedFailure.ts"
import {
  canReach,
  current,
  forDirectory,
  isRoot,
  nameOf,
  nearestOwner,
  type ServerUser
} from "./ServerUser.ts"

/** The paths of one data directory and the users it belongs to. */
export interface DataDirectory {
  /** Absolute, without symbolic links. */
  readonly path: string
  /** `postgres/`: everything of the embedded server. */
  readonly home: string
  readonly cluster: string
  readonly run: string
  readonly log: string
  readonly pgpass: string
  /** Owner of the directory: files of this process are given to it. */
  readonly owner: ServerUser
  /** The user the server runs as. */
  readonly user: ServerUser
}

const operation = "open data directory"
const marker = ".data-manager"
const markerText = "This directory belongs to Data Manager. The embedded PostgreSQL lies in postgres/.\n"
const initPrefix = "postgres.init-"
/** What may lie in a directory that is as good as empty. */
const ignorable = new Set(["lost+found", ".DS_Store"])

/** What the choice of the usual place depends on. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
  readonly home: string
  readonly root: boolean
}

/**
 * The data directory where none is named: `DM_DATA_DIR`, else the platform's usual place. Linux:
 * `$XDG_DATA_HOME/data-manager`, else `~/.local/share/data-manager`; root: `/var/lib/data-manager`. macOS:
 * `~/Library/Application Support/data-manager`; root: the same under `/Library`. (root's home is closed to the user that
 * the server runs as.)
 */
export const defaultDataDirectory = (
  { env, platform, home, root }: Surroundings = {
    env: process.env,
    platform: process.platform,
    home: homedir(),
    root: isRoot()
  }
): string => {
  const named = env.DM_DATA_DIR
  if (named !== undefined && named !== "") return resolve(named)
  if (platform === "darwin") {
    return join(root ? "/" : home, "Library", "Application Support", "data-manager")
  }
  if (root) return "/var/lib/data-manager"
  const xdg = env.XDG_DATA_HOME
  // The XDG specification says to ignore a relative path.
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, ".local", "share"), "data-manager")
}

const layout = (path: string): DataDirectory => {
  const home = join(path, "postgres")
  const user = forDirectory(path, join(home, "data"))
  const owner = isRoot() ? ownerOf(path) : current()
  return { ...homeLayout(home), path, owner, user }
}

const ownerOf = (path: string): ServerUser => {
  const { uid, gid } = statSync(path)
  return { uid, gid }
}

/** Paths of everything under one `postgres/`, also while it has its temporary name. */
export const homeLayout = (
  home: string
): Pick<DataDirectory, "home" | "cluster" | "run" | "log" | "pgpass"> => ({
  home,
  cluster: join(home, "data"),
  run: join(home, "run"),
  log: join(home, "log"),
  pgpass: join(home, "pgpass")
})

const refuse = (detail: string, hint: string): StoreError =>
  failure(operation, new StoreIncompatible({ detail, hint }))

const another = "choose an empty or new directory (--data-dir, DM_DATA_DIR)"

/** Fails where the directory holds something that is not ours. */
const checkContent = (path: string): void => {
  const entries = readdirSync(path).filter((name) => !ignorable.has(name))
  if (entries.includes(marker) || entries.every((name) => name.startsWith(initPrefix))) return
  throw entries.includes("PG_VERSION")
    ? refuse(
        `${path} is itself a PostgreSQL data directory, not one of Data Manager`,
        `${another}, or start that server and name it: [database] url or DM_DATABASE_URL`
      )
    : refuse(`${path} is not empty and does not belong to Data Manager (${entries[0]} lies in it)`, another)
}

/** Fails where the cluster is of another major version, damaged, or somebody else's. Reads only. */
const checkCluster = (directory: DataDirectory, major: number): void => {
  const { cluster, home, user } = directory
  if (statSync(home, { throwIfNoEntry: false }) === undefined) return
  const version = readVersion(cluster)
  if (version === undefined) {
    throw refuse(
      `${cluster} holds no PostgreSQL cluster (PG_VERSION is missing)`,
      "restore it from a backup, or move it away to start with an empty database"
    )
  }
  if (version !== String(major)) {
    throw refuse(
      `${cluster} was made by PostgreSQL ${version}; the embedded server is PostgreSQL ${major}, which cannot open it (nothing was changed)`,
      `dump it with the version of Data Manager that made it (or PostgreSQL ${version}'s pg_dump), move ${home} away, start again and restore the dump; or run PostgreSQL ${version} on it and name that server: [database] url or DM_DATABASE_URL`
    )
  }
  const owner = ownerOf(cluster)
  if (owner.uid !== user.uid) {
    throw failure(
      operation,
      new StoreAccessDenied({
        detail: `${cluster} belongs to ${nameOf(owner)}, the server would run as ${nameOf(user)}`,
        hint: `run dm as ${nameOf(owner)} or as root, or choose another data directory (--data-dir, DM_DATA_DIR)`
      })
    )
  }
}

const readVersion = (cluster: string): string | undefined => {
  try {
    return readFileSync(join(cluster, "PG_VERSION"), "utf8").trim()
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined
    throw cause
  }
}

/** Makes a missing directory and those above it; as root they get the owner of the nearest one that existed. */
const makeDirectory = (path: string): void => {
  const owner = nearestOwner(path)
  const first = mkdirSync(path, { recursive: true, mode: 0o700 })
  if (first === undefined || !isRoot() || owner === undefined) return
  for (let at = path; at.length >= first.length; at = dirname(at)) {
    // A directory of root's own must let the server's user pass, not look.
    if (owner.uid === 0) chmodSync(at, 0o711)
    else lchownSync(at, owner.uid, owner.gid)
  }
}

/** Lets the server's user pass through a directory that root made for itself (0700, as `mktemp -d` does). */
const letPass = ({ path, owner }: DataDirectory): void => {
  const mode = statSync(path).mode & 0o7777
  if (isRoot() && owner.uid === 0 && (mode & 0o1) === 0) chmodSync(path, mode | 0o111)
}

const checkReach = (path: string, user: ServerUser): void => {
  if (canReach(user, path)) return
  throw failure(
    operation,
    new StoreAccessDenied({
      detail: `${path} cannot be reached by ${nameOf(user)}, the user the server runs as (root may not run it)`,
      hint: `choose a data directory outside private folders (--data-dir, DM_DATA_DIR), start dm as an ordinary user, or ${ownServer}`
    })
  )
}

/** Fails where the directory is foreign, or its cluster does not fit. Reads only. */
const inspect = (path: string, major: number): DataDirectory => {
  if (!statSync(path).isDirectory()) throw refuse(`${path} is not a directory`, another)
  const directory = layout(realpathSync(path))
  checkContent(directory.path)
  checkCluster(directory, major)
  checkReach(dirname(directory.path), directory.user)
  return directory
}

const attempt = <A>(path: string, body: () => A): Effect.Effect<A, StoreError> =>
  Effect.try({
    try: body,
    catch: (cause) => (cause instanceof StoreError ? cause : fileFailure(operation, path, cause))
  })

/** The directory as it is, for looking at it: nothing is made or changed. Undefined = does not exist. */
export const find = (path: string): Effect.Effect<DataDirectory | undefined, StoreError> =>
  attempt(path, () => {
    try {
      return layout(realpathSync(resolve(path)))
    } catch (cause) {
      if (codeOf(cause) === "ENOENT") return undefined
      throw cause
    }
  })

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined

/** The checks of `open` alone: makes and changes nothing. */
export const check = (path: string, major: number): Effect.Effect<void, StoreError> =>
  attempt(path, () => {
    const wanted = resolve(path)
    if (exists(wanted)) inspect(wanted, major)
  })

/** The user that a server on this directory runs as, whether it exists or not. */
export const userOf = (path: string): ServerUser =>
  forDirectory(resolve(path), join(resolve(path), "postgres", "data"))

/**
 * Makes sure that the data directory exists, is ours and can be used by a server of this major version. Fails, before
 * anything is changed, with `StoreIncompatible` for a foreign directory or another version and with `StoreAccessDenied`
 * where permissions are missing.
 */
export const open = (path: string, major: number): Effect.Effect<DataDirectory, StoreError> =>
  Effect.gen(function* () {
    const directory = yield* attempt(path, () => {
      const wanted = resolve(path)
      if (!exists(wanted)) makeDirectory(wanted)
      const found = inspect(wanted, major)
      letPass(found)
      checkReach(found.path, found.user)
      return found
    })
    yield* mark(directory)
    return directory
  })

const mark = (directory: DataDirectory): Effect.Effect<void, StoreError> => {
  const path = join(directory.path, marker)
  return Effect.tryPromise({
    try: async () => {
      if (statSync(path, { throwIfNoEntry: false }) !== undefined) return
      await writeFile(path, markerText, { mode: 0o644 })
      give(path, directory.owner)
    },
    catch: (cause) => fileFailure(operation, path, cause)
  })
}

/** Whether the cluster has been made. */
export const hasCluster = (directory: DataDirectory): boolean =>
  statSync(join(directory.cluster, "PG_VERSION"), { throwIfNoEntry: false }) !== undefined

/** Hands a file that root made to its user; nothing for everybody else. */
export const give = (path: string, user: ServerUser): void => {
  if (isRoot()) lchownSync(path, user.uid, user.gid)
}

/** Name of the folder for a first start of this process. */
export const initName = (nonce: string): string => `${initPrefix}${process.pid}-${nonce}`

/** Removes what first starts left behind that were killed: their process is gone and nothing changed for a while. */
export const removeRemains = (directory: DataDirectory): Effect.Effect<void, StoreError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.tryPromise({
      try: async () => {
        for (const name of readdirSync(directory.path).filter((name) => isRemains(directory.path, name, now)))
          await rm(join(directory.path, name), { recursive: true, force: true })
      },
      catch: (cause) => fileFailure(operation, directory.path, cause)
    })
  )

const quietTime = 30_000

const isRemains = (path: string, name: string, now: number): boolean => {
  if (!name.startsWith(initPrefix)) return false
  const pid = Number(name.slice(initPrefix.length).split("-")[0])
  const changed = statSync(join(path, name), { throwIfNoEntry: false })?.mtimeMs ?? 0
  return !isAlive(pid) && now - changed > quietTime
}

/** Whether a process with this id exists, whoever owns it. */
export const isAlive = (pid: number): boolean => {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return codeOf(cause) === "EPERM"
  }
}
