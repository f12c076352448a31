/**
 * Which system user the embedded server runs as. PostgreSQL refuses to run as root; root therefore runs it as the owner
 * of the data directory, or as `nobody` where that is root itself. Everybody else runs it as themselves.
 */
import { execFileSync } from "node:child_process"
import { readFileSync, statSync } from "node:fs"
import { dirname } from "node:path"

/** A user and its group. */
export interface ServerUser {
  readonly uid: number
  readonly gid: number
}

/** The user of this process. */
export const current = (): ServerUser => ({ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 })

/** Whether this process may act for other users. */
export const isRoot = (): boolean => process.geteuid?.() === 0

interface PasswdEntry extends ServerUser {
  readonly name: string
}

const passwdEntries = (): ReadonlyArray<PasswdEntry> => {
  try {
    return readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .map((line) => line.split(":"))
      .filter((fields) => fields.length >= 4 && fields[0]?.startsWith("#") === false)
      .map(([name = "", , uid, gid]) => ({ name, uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }))
  } catch {
    return []
  }
}

/** Name of the user for messages; its number where it has none. */
export const nameOf = (user: ServerUser): string =>
  passwdEntries().find(({ uid }) => uid === user.uid)?.name ?? `uid ${user.uid}`

const nobody = (): ServerUser => {
  const found = passwdEntries().find(({ name }) => name === "nobody")
  // Without a user database (a bare container) the number that Linux gives to nobody does as well.
  return found === undefined ? { uid: 65_534, gid: 65_534 } : { uid: found.uid, gid: found.gid }
}

const ownerOf = (path: string): ServerUser | undefined => {
  const found = statSync(path, { throwIfNoEntry: false })
  return found === undefined ? undefined : { uid: found.uid, gid: found.gid }
}

/** Owner of `path`, or of the nearest directory above it that exists. */
export const nearestOwner = (path: string): ServerUser | undefined => {
  for (let at = path; ; at = dirname(at)) {
    const owner = ownerOf(at)
    if (owner !== undefined || at === dirname(at)) return owner
  }
}

/** Whether the system knows a name for the user; `initdb` refuses to run without one. */
const hasName = (user: ServerUser): boolean => {
  if (passwdEntries().some(({ uid }) => uid === user.uid)) return true
  try {
    // Users may come from elsewhere than the file (LDAP, systemd, macOS' directory).
    execFileSync("id", ["-un", String(user.uid)], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

/**
 * The user for a server on `dataDir` whose cluster lies (or will lie) in `cluster`: for root the owner of the cluster,
 * else the owner of the data directory or of the nearest directory above it that exists, else `nobody`.
 */
export const forDirectory = (dataDir: string, cluster: string): ServerUser => {
  if (!isRoot()) return current()
  const made = ownerOf(cluster)
  if (made !== undefined && made.uid !== 0) return made
  const owner = nearestOwner(dataDir)
  // In a container a mounted directory may belong to a number that nobody has.
  return owner !== undefined && owner.uid !== 0 && hasName(owner) ? owner : nobody()
}

/** `spawn` options that make a child run as `user`; none where that is this process's own user. */
export const spawnOptions = (user: ServerUser): { uid?: number; gid?: number } =>
  // Node wants signed numbers: macOS' nobody is -2.
  user.uid === current().uid ? {} : { uid: user.uid | 0, gid: user.gid | 0 }

/** Whether `user` can open `path`: the execute bits of every directory above it and the read bit of itself. */
export const canReach = (user: ServerUser, path: string): boolean => {
  if (user.uid === current().uid) return true
  for (let at = path; ; at = dirname(at)) {
    const found = statSync(at, { throwIfNoEntry: false })
    if (found === undefined) return false
    const shift = found.uid === user.uid ? 6 : found.gid === user.gid ? 3 : 0
    const wanted = found.isDirectory() ? 0o1 : 0o4
    if (((found.mode >> shift) & wanted) === 0) return false
    if (at === dirname(at)) return true
  }
}
