/** Errors of PostgreSQL and its driver as `StoreError`s: SQLSTATE and socket codes become reasons with advice. */
import {
  StoreAccessDenied,
  StoreBadRequest,
  StoreContention,
  StoreError,
  type StoreErrorReason,
  StoreExhausted,
  StoreIncompatible,
  StoreServerFault,
  StoreUnavailable
} from "@data-manager/core"

interface DriverError {
  readonly code?: unknown
  readonly message?: unknown
  readonly detail?: unknown
  readonly hint?: unknown
  readonly errors?: unknown
}

/** SQLSTATE or socket code of whatever the driver threw; undefined where it has none. */
export const codeOf = (cause: unknown): string | undefined => {
  const code = (cause as DriverError | undefined)?.code
  if (typeof code === "string") return code
  // Node wraps the failures of several addresses of one host into an AggregateError.
  const inner = (cause as DriverError | undefined)?.errors
  return Array.isArray(inner) && inner.length > 0 ? codeOf(inner[0]) : undefined
}

/** What was said, with the server's details. */
export const textOf = (cause: unknown): string => {
  const error = cause as DriverError | undefined
  const message = typeof error?.message === "string" && error.message !== "" ? error.message : undefined
  const inner = Array.isArray(error?.errors) && error.errors.length > 0 ? textOf(error.errors[0]) : undefined
  const detail = typeof error?.detail === "string" && error.detail !== "" ? ` (${error.detail})` : ""
  return `${message ?? inner ?? String(cause)}${detail}`
}

const socketCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EPIPE",
  // Node's, for a connection that broke just before something was written to it.
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_WRITE_AFTER_END"
])

const reachable = "check that the database server runs and that [database] url (or DM_DATABASE_URL) is right"

/** "out of shared memory" with the server's hint about its lock table, or memory that the system has not. */
const exhaustedMemory = (detail: string, cause: unknown): StoreExhausted =>
  /shared memory|max_locks|max_pred_locks/i.test(
    `${detail} ${(cause as DriverError | undefined)?.hint ?? ""}`
  )
    ? new StoreExhausted({
        resource: "locks",
        detail: `the server's table of locks is full (${detail})`,
        hint: "ALTER SYSTEM SET max_locks_per_transaction = 1024 (more where many years are kept), restart the server, then repeat"
      })
    : new StoreExhausted({
        resource: "memory",
        detail,
        hint: "give the server more memory or lower its work_mem, then repeat"
      })

/** The reason behind a SQLSTATE or socket code; `cause` is what the driver threw. */
export const reasonOf = (code: string | undefined, detail: string, cause: unknown): StoreErrorReason => {
  if (code === undefined) {
    return /terminated|timeout|ended|closed|connection error|not queryable/i.test(detail)
      ? new StoreUnavailable({ detail, hint: reachable })
      : new StoreServerFault({ detail })
  }
  if (socketCodes.has(code)) return new StoreUnavailable({ detail, hint: reachable })
  switch (code.slice(0, 2)) {
    case "08":
      return new StoreUnavailable({ detail, hint: reachable })
    case "28":
      return new StoreAccessDenied({ detail, hint: "check user and password in [database] url" })
    case "3D":
      return new StoreAccessDenied({
        detail,
        hint: "create the database, or name another one in [database] url"
      })
    case "40":
      return new StoreContention({ detail })
    case "0A":
      return new StoreIncompatible({ detail, hint: "see `dm doctor`" })
  }
  switch (code) {
    case "42P07":
    case "42710":
    case "42723":
      return new StoreIncompatible({
        detail,
        hint: "something of this name is not ours: rename or move it, or use a schema of its own"
      })
    case "42501":
      if (/temporary tables/.test(detail))
        return new StoreAccessDenied({
          detail,
          hint: "appends need them: GRANT TEMPORARY ON DATABASE ... TO this user"
        })
      return new StoreAccessDenied({
        detail,
        hint: "use the owner of the tables, or have this user made a member of its role (dm migrate --up --roles makes such roles)"
      })
    case "55P03":
      return new StoreContention({ detail })
    case "57P02":
      return new StoreUnavailable({
        detail,
        hint: "the server starts again by itself: see its log for the cause (a full disk under its WAL, say); try again"
      })
    case "57P01":
    case "57P03":
    case "57P05":
    case "25P03":
      return new StoreUnavailable({
        detail,
        hint: "the server is starting, stopping or ended this session; try again"
      })
    case "25006":
      return new StoreIncompatible({
        detail,
        hint: "this server takes no writes: where it is a standby, name the primary in [database] url; else default_transaction_read_only is on for this role or database"
      })
    case "53100":
      return new StoreExhausted({
        resource: "disk",
        detail: `the disk of the server is full (${detail})`,
        hint: "free space there (data, WAL in pg_wal, temporary files) or enlarge it, then repeat: nothing is half stored"
      })
    case "53200":
      return exhaustedMemory(detail, cause)
    case "53300":
      return new StoreExhausted({
        resource: "connections",
        detail,
        hint: "lower [database] max_connections or raise the server's max_connections"
      })
    case "42P01":
      return new StoreIncompatible({ detail, hint: "run `dm migrate --up`" })
    case "58P01":
      // A package of the server was updated; its old library, which this database still names, is gone.
      if (/timescaledb/.test(detail))
        return new StoreIncompatible({
          detail,
          hint: "the server's TimescaleDB is another version than this database's: run ALTER EXTENSION timescaledb UPDATE there, as the first statement of a new session"
        })
      break
    case "22023":
      return new StoreBadRequest({ detail })
    case "XX000":
      // Catalog entries that another session, such as a job of TimescaleDB, has changed meanwhile.
      if (/tuple concurrently (updated|deleted)/.test(detail)) return new StoreContention({ detail })
  }
  return new StoreServerFault({ detail, code })
}

/** Whether a table that a statement names is not there. */
export const isTableMissing = (error: StoreError): boolean => codeOf(error.cause) === "42P01"

/** Whatever the driver threw during `operation`, typed. A `StoreError` stays as it is. */
export const storeError = (operation: string, cause: unknown): StoreError => {
  if (cause instanceof StoreError) return cause
  const code = codeOf(cause)
  return new StoreError({ operation, reason: reasonOf(code, textOf(cause), cause), cause })
}
