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

const textOf = (cause: unknown): string => {
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
  "EPIPE"
])

const reachable = "check that the database server runs and that [database] url (or DM_DATABASE_URL) is right"

const reasonOf = (code: string | undefined, detail: string): StoreErrorReason => {
  if (code === undefined) {
    return /terminated|timeout|ended|closed/i.test(detail)
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
    case "42501":
      return new StoreAccessDenied({
        detail,
        hint: "grant the right to this role, or use the owner of the database"
      })
    case "55P03":
      return new StoreContention({ detail })
    case "57P01":
    case "57P02":
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
        hint: "this server is read-only (a standby?); write to the primary"
      })
    case "53100":
      return new StoreExhausted({
        resource: "disk",
        detail,
        hint: "free space on the server's disk, then repeat"
      })
    case "53200":
      return /lock/i.test(detail)
        ? new StoreExhausted({ resource: "locks", detail, hint: "raise max_locks_per_transaction" })
        : new StoreExhausted({ resource: "memory", detail, hint: "give the server more memory, then repeat" })
    case "53300":
      return new StoreExhausted({
        resource: "connections",
        detail,
        hint: "lower [database] max_connections or raise the server's max_connections"
      })
    case "42P01":
      return new StoreIncompatible({ detail, hint: "run `dm migrate --up`" })
    case "22023":
      return new StoreBadRequest({ detail })
    case "XX000":
      // Catalog entries that another session, such as a job of TimescaleDB, has changed meanwhile.
      if (/tuple concurrently (updated|deleted)/.test(detail)) return new StoreContention({ detail })
  }
  return new StoreServerFault({ detail, code })
}

/** Whatever the driver threw during `operation`, typed. A `StoreError` stays as it is. */
export const storeError = (operation: string, cause: unknown): StoreError => {
  if (cause instanceof StoreError) return cause
  const code = codeOf(cause)
  return new StoreError({ operation, reason: reasonOf(code, textOf(cause)), cause })
}
