/**
 * Why a session could not be had: what was found, on which server, and what to do next. The words of the server and of
 * the TLS library name neither, and some of them mean several things.
 */
import { statfsSync } from "node:fs"
import {
  StoreAccessDenied,
  StoreError,
  type StoreErrorReason,
  StoreExhausted,
  StoreIncompatible,
  StoreUnavailable
} from "@data-manager/core"
import type pg from "pg"
import { codeOf, reasonOf, textOf } from "./PgError.ts"

/** What was tried, as texts for messages. */
interface Attempt {
  /** `db.example:5432`, or the path of a socket. */
  readonly place: string
  readonly host: string
  readonly database: string
  readonly user: string
  readonly isSocket: boolean
  readonly seconds: number
}

/** How the server is named in every hint. */
const url = "[database] url (or DM_DATABASE_URL)"

const attemptOf = (client: pg.ClientConfig): Attempt => {
  const { database = "", host = "", port = 5432, user = "" } = client
  const isSocket = host.startsWith("/")
  return {
    place: isSocket ? `${host}/.s.PGSQL.${port}` : `${host.includes(":") ? `[${host}]` : host}:${port}`,
    host,
    database,
    user,
    isSocket,
    seconds: (client.connectionTimeoutMillis ?? 0) / 1000
  }
}

const unavailable = (detail: string, hint: string) => new StoreUnavailable({ detail, hint })
const denied = (detail: string, hint: string) => new StoreAccessDenied({ detail, hint })

const noAnswer = ({ place, seconds }: Attempt, code: string): StoreErrorReason =>
  unavailable(
    `no answer from ${place}${code === "timeout" ? ` within ${seconds} s` : ` (${code})`}`,
    `check host and port in ${url}, the network and firewalls between here and there`
  )

/** The server was not reached. */
const ofSocket = (code: string, attempt: Attempt): StoreErrorReason | undefined => {
  const { host, isSocket, place } = attempt
  switch (code) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return unavailable(
        `the host name ${host} is not known here (${code})`,
        `correct the host in ${url}, or check this machine's name resolution`
      )
    case "ENOENT":
    case "ECONNREFUSED":
      return isSocket
        ? unavailable(
            `no server listens at the socket ${place} (${code})`,
            `start it, or correct ${url}: its host is the folder of the socket, its port is in the socket's name`
          )
        : unavailable(
            `no server listens at ${place} (${code})`,
            `start it, or correct host and port in ${url}; for other machines it listens as its listen_addresses says`
          )
    case "EACCES":
    case "EPERM":
      return denied(
        `${place} may not be opened (${code})`,
        "use a user who may, or a host name instead of a socket"
      )
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return noAnswer(attempt, code)
    case "ECONNRESET":
    case "EPIPE":
      return unavailable(
        `${place} closed the connection at once (${code})`,
        "see the server's log; try again when it runs"
      )
  }
  return undefined
}

/** The certificate cannot be led back to an authority that is trusted. */
const untrusted =
  /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_\w+|CERT_(SIGNATURE_FAILURE|UNTRUSTED|REJECTED)|INVALID_CA|CERT_CHAIN_TOO_LONG|HOSTNAME_MISMATCH)$/

/** TLS could not be agreed on. */
const ofTls = (code: string, text: string, { host, place }: Attempt): StoreErrorReason | undefined => {
  if (untrusted.test(code))
    return denied(
      `the certificate of ${place} is not of a trusted authority (${code})`,
      "give the file of the server's authority as sslrootcert; where that is the right one already, this is another server"
    )
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID")
    return denied(
      `the certificate of ${place} is ${code === "CERT_HAS_EXPIRED" ? "out of date" : "not valid yet"} (${code})`,
      "renew it on the server; check the clocks of both machines"
    )
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return denied(
      `the certificate of ${place} is for other names, not for ${host}`,
      "use a host name that stands in it, or have it made for this one; sslmode=verify-ca does not look at the name"
    )
  if (/ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|UNSUPPORTED_CERTIFICATE|DECRYPT_ERROR)/.test(code))
    return denied(
      `${place} refuses the certificate of this client (${code})`,
      "give one as sslcert and sslkey that an authority of the server's ssl_ca_file has signed"
    )
  if (/^ERR_(SSL|OSSL|TLS)_/.test(code))
    return new StoreIncompatible({
      detail: `${place} and this client do not agree on TLS (${code}: ${text})`,
      hint: "check that the port is PostgreSQL's, and the server's ssl_min_protocol_version and ssl_ciphers"
    })
  return undefined
}

/** The server has answered, and lets nobody in by this login. */
const ofLogin = (text: string, { database, place, user }: Attempt): StoreErrorReason | undefined => {
  const here = `database "${database}" at ${place}`
  if (/pg_hba\.conf/.test(text)) {
    const tls = /no encryption/.test(text)
      ? "; it may want TLS: sslmode=require"
      : /SSL encryption/.test(text)
        ? "; it may want none: sslmode=disable"
        : ""
    return denied(
      `${here}: ${text}`,
      `have a line for this user, database and address added to the server's pg_hba.conf, then reload it${tls}`
    )
  }
  if (/client certificate/.test(text))
    return denied(
      `${here}: ${text}`,
      "give a client certificate as sslcert and sslkey, signed by the server's authority"
    )
  if (/certificate authentication failed/.test(text))
    return denied(
      `${here}: ${text}`,
      `the name in the client certificate (CN) has to be "${user}"; see the server's pg_ident.conf`
    )
  if (/role .* does not exist/.test(text))
    return denied(`${here}: ${text}`, `make it (CREATE ROLE ... LOGIN), or name another user in ${url}`)
  if (/not permitted to log in/.test(text))
    return denied(`${here}: ${text}`, `ALTER ROLE "${user}" LOGIN, or name another user in ${url}`)
  return undefined
}

/** The server has answered with an error instead of a session. */
const ofServer = (code: string, text: string, attempt: Attempt): StoreErrorReason | undefined => {
  const { database, place, user } = attempt
  const here = `database "${database}" at ${place}`
  switch (code) {
    case "28000":
    case "28P01":
      return (
        ofLogin(text, attempt) ??
        denied(
          `${here}: ${text}`,
          `check user and password in ${url}; special characters are written as %xx; a user that is not there is told the same way`
        )
      )
    case "3D000":
      return denied(
        `${place}: ${text}`,
        `make it (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0), or name another one in ${url}`
      )
    case "42501":
      return denied(`${here}: ${text}`, `GRANT CONNECT ON DATABASE "${database}" TO "${user}"`)
    case "55000":
      return denied(
        `${place}: ${text}`,
        `name another database in ${url}: template databases take no sessions`
      )
    case "53300":
      return new StoreExhausted({
        resource: "connections",
        detail: `${here}: ${text}`,
        hint: "lower [database] max_connections, or raise the server's max_connections (or the CONNECTION LIMIT of role or database)"
      })
    case "08P01":
      if (!/unsupported startup parameter/.test(text)) return undefined
      return new StoreIncompatible({
        detail: `${place} is a connection pooler, not PostgreSQL itself (${text})`,
        hint: `name the server itself in ${url}: the store keeps settings, locks and temporary tables in its sessions`
      })
    case "57P03":
      return unavailable(`${place}: ${text}`, "the server is starting or stopping: try again in a moment")
  }
  return undefined
}

/** What the driver says without a code. */
const ofDriver = (text: string, attempt: Attempt): StoreErrorReason | undefined => {
  const { database, place, user } = attempt
  if (/does not support SSL|error establishing an SSL/.test(text))
    return new StoreIncompatible({
      detail: `${place} offers no TLS, and sslmode demands it`,
      hint: "switch it on in the server (ssl = on), or use sslmode=prefer or disable where the network may be trusted"
    })
  if (/password must be a string/.test(text))
    return denied(
      `database "${database}" at ${place} asks "${user}" for a password, and there is none`,
      `write it into ${url}, or set PGPASSWORD, or give ~/.pgpass a line`
    )
  if (/timeout|no answer in time/i.test(text)) return noAnswer(attempt, "timeout")
  return undefined
}

const mebibyte = 1024 * 1024
/** A server that cannot make its next WAL file (16 MB) ends, and does not come back. Bytes. */
const leastSpace = 16 * mebibyte

/** A server of this machine that is gone because its disk is full: the embedded one has its socket beside its data. */
const withoutRoom = ({ host, isSocket, place }: Attempt): StoreErrorReason | undefined => {
  if (!isSocket) return undefined
  try {
    const { bavail, bsize } = statfsSync(host)
    if (bavail * bsize >= leastSpace) return undefined
    return new StoreExhausted({
      resource: "disk",
      detail: `no server answers at ${place}, and the disk there is full (${Math.floor((bavail * bsize) / mebibyte)} MB free)`,
      hint: "free space there or enlarge it, then repeat: nothing is half stored"
    })
  } catch {
    return undefined
  }
}

/** The error of a session on the server of `client` that could not be had. A `StoreError` stays as it is. */
export const connectFailure = (operation: string, client: pg.ClientConfig, cause: unknown): StoreError => {
  if (cause instanceof StoreError) return cause
  const attempt = attemptOf(client)
  const code = codeOf(cause)
  const text = textOf(cause)
  const reason =
    code === undefined
      ? ofDriver(text, attempt)
      : (ofSocket(code, attempt) ?? ofTls(code, text, attempt) ?? ofServer(code, text, attempt))
  const { database, place } = attempt
  const found = reason ?? reasonOf(code, `database "${database}" at ${place}: ${text}`, cause)
  const isGone = found._tag === "StoreUnavailable"
  return new StoreError({ operation, reason: (isGone ? withoutRoom(attempt) : undefined) ?? found, cause })
}
