/**
 * The logins of one embedded server, in a file of libpq's password format with mode 0600. It is made with the cluster
 * and never changes, and other programs can use it: `PGPASSFILE=.../postgres/pgpass psql -h .../postgres/run -U
 * data_manager data_manager`.
 */
import { randomBytes } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { StoreAccessDenied, StoreError, StoreIncompatible } from "@data-manager/core"
import { Effect, Redacted } from "effect"
import { codeOf, failure, fileFailure } from "./EmbeddedFailure.ts"

/** Role and database that hold the market data. */
export const owner = "data_manager"
/** Role that made the cluster: it sets up the other one and runs the watchdog. */
export const supervisor = "dm_supervisor"
/** Database of the supervisor's and the reference sessions. Advisory locks belong to a database. */
export const maintenanceDatabase = "postgres"

/** Passwords by role. */
export interface Credentials {
  readonly owner: Redacted.Redacted<string>
  readonly supervisor: Redacted.Redacted<string>
}

// 144 random bits, in characters that need no escaping in this file, in SQL or in a URL.
const password = (): Redacted.Redacted<string> => Redacted.make(randomBytes(18).toString("base64url"))

/** New passwords. */
export const make = (): Credentials => ({ owner: password(), supervisor: password() })

/** Writes them to a new file that only its owner can read. */
export const write = async (path: string, credentials: Credentials): Promise<void> => {
  const line = (role: string, secret: Redacted.Redacted<string>) =>
    `*:*:*:${role}:${Redacted.value(secret)}\n`
  const text = line(owner, credentials.owner) + line(supervisor, credentials.supervisor)
  await writeFile(path, text, { mode: 0o600, flag: "wx" })
}

const operation = "read password of embedded server"

const parse = (path: string, text: string): Credentials => {
  const found = new Map(text.split("\n").map((line) => [line.split(":")[3], line.split(":")[4]]))
  const ownerSecret = found.get(owner)
  const supervisorSecret = found.get(supervisor)
  if (ownerSecret === undefined || supervisorSecret === undefined) {
    throw failure(
      operation,
      new StoreIncompatible({
        detail: `${path} lacks a line for ${ownerSecret === undefined ? owner : supervisor}`,
        hint: "restore the file from a backup"
      })
    )
  }
  return { owner: Redacted.make(ownerSecret), supervisor: Redacted.make(supervisorSecret) }
}

/** Reads them; fails with `StoreAccessDenied` where the file is another user's. */
export const read = (path: string): Effect.Effect<Credentials, StoreError> =>
  Effect.tryPromise({
    try: async () => parse(path, await readFile(path, "utf8")),
    catch: (cause) => {
      if (cause instanceof StoreError) return cause
      if (codeOf(cause) !== "EACCES") return fileFailure(operation, path, cause)
      return failure(
        operation,
        new StoreAccessDenied({
          detail: `${path} belongs to another user`,
          hint: "run dm as the user who owns the data directory, or as root"
        }),
        cause
      )
    }
  })
