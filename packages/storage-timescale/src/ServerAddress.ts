/**
 * Where a PostgreSQL server is and how to log in: one value for the embedded server and for one named by a URL, and its
 * form for node-postgres.
 */
import { getCACertificates } from "node:tls"
import { Redacted } from "effect"
import type pg from "pg"

/** How far the server's TLS certificate is trusted, as libpq's `sslmode`. */
export type SslMode = "disable" | "prefer" | "require" | "verify-ca" | "verify-full"

/** TLS of a connection. The certificate fields hold PEM text, not file names. */
export interface ServerSsl {
  readonly mode: SslMode
  /** Authorities that may have signed the server's certificate; absent = those that this machine and Node trust. */
  readonly ca?: string
  /** Client certificate and its key. */
  readonly cert?: string
  readonly key?: Redacted.Redacted<string>
}

/** A server, a database on it and a login. */
export interface ServerAddress {
  /** Host name, IP address, or the absolute path of the directory that holds the server's unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  /** Absent = the login needs none, or the driver finds it (`PGPASSWORD`, `~/.pgpass`). */
  readonly password?: Redacted.Redacted<string>
  readonly ssl: ServerSsl
  readonly applicationName?: string
  /** Command line settings of the session, as libpq's `options` (`-c statement_timeout=5s`). */
  readonly options?: string
  /** Bound on making one connection. Seconds, 0 = none; absent = 15. */
  readonly connectTimeoutSeconds?: number
  /** Bind the login to the TLS channel where the server offers it (SCRAM-SHA-256-PLUS). */
  readonly channelBinding?: boolean
}

/** Whether the server is reached through a unix socket. */
export const isSocket = (address: ServerAddress): boolean => address.host.startsWith("/")

/** One line for logs and `dm status`: who, where, which database. Holds no secret. */
export const describe = (address: ServerAddress): string => {
  const place = isSocket(address)
    ? `unix socket ${address.host}/.s.PGSQL.${address.port}`
    : `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`
  const tls = isSocket(address) || address.ssl.mode === "disable" ? "" : ` (sslmode ${address.ssl.mode})`
  return `database "${address.database}" as "${address.user}" at ${place}${tls}`
}

/** The address as a libpq URL with its password, for other programs. A secret: do not log it. */
export const toUrl = (address: ServerAddress): Redacted.Redacted<string> => {
  const login = [address.user, ...(address.password === undefined ? [] : [Redacted.value(address.password)])]
  const host = address.host.includes(":") ? `[${address.host}]` : encodeURIComponent(address.host)
  const parameters = new URLSearchParams()
  if (!isSocket(address)) parameters.set("sslmode", address.ssl.mode)
  if (address.applicationName !== undefined) parameters.set("application_name", address.applicationName)
  if (address.options !== undefined) parameters.set("options", address.options)
  // URLSearchParams writes a space as "+", which libpq reads as a plus sign.
  const query = parameters.size === 0 ? "" : `?${parameters.toString().replaceAll("+", "%20")}`
  const database = encodeURIComponent(address.database)
  return Redacted.make(
    `postgresql://${login.map(encodeURIComponent).join(":")}@${host}:${address.port}/${database}${query}`
  )
}

let authorities: Array<string> | undefined

/** Node alone trusts a list of its own, and not what an administrator has added to the system's. */
const systemAuthorities = (): Array<string> => {
  authorities ??= [...new Set([...getCACertificates("default"), ...getCACertificates("system")])]
  return authorities
}

/** TLS settings of node-postgres. It has no way back from a server without TLS: resolve `prefer` before. */
const sslConfig = (address: ServerAddress): pg.ClientConfig["ssl"] => {
  const { ssl } = address
  if (ssl.mode === "disable" || isSocket(address)) return false
  const files = {
    ...(ssl.ca === undefined ? {} : { ca: ssl.ca }),
    ...(ssl.cert === undefined ? {} : { cert: ssl.cert }),
    ...(ssl.key === undefined ? {} : { key: Redacted.value(ssl.key) })
  }
  if (ssl.mode === "verify-full")
    return { ...files, ca: ssl.ca ?? systemAuthorities(), rejectUnauthorized: true }
  // The chain is verified, the name on the certificate is not. As in libpq, `require` with a CA means that, too.
  if (ssl.mode === "verify-ca" || (ssl.mode === "require" && ssl.ca !== undefined))
    return { ...files, rejectUnauthorized: true, checkServerIdentity: () => undefined }
  return { ...files, rejectUnauthorized: false }
}

/**
 * Settings for `new pg.Client` or `new pg.Pool`. Everything is explicit, so that `PGOPTIONS`, `PGSSLMODE` and their kin
 * in the environment change nothing. `sslmode=prefer` is taken as `require`: see `PgServer.negotiate`.
 */
export const clientConfig = (address: ServerAddress, applicationName = "dm"): pg.ClientConfig =>
  ({
    host: address.host,
    port: address.port,
    database: address.database,
    user: address.user,
    ...(address.password === undefined ? {} : { password: Redacted.value(address.password) }),
    ssl: sslConfig(address),
    sslnegotiation: "postgres",
    application_name: address.applicationName ?? applicationName,
    // An empty string would let PGOPTIONS through; this setting is PostgreSQL's own default.
    options: address.options ?? "-c client_min_messages=notice",
    client_encoding: "UTF8",
    connectionTimeoutMillis: (address.connectTimeoutSeconds ?? 15) * 1000,
    keepAlive: !isSocket(address),
    ...(address.channelBinding === true ? { enableChannelBinding: true } : {})
  }) as pg.ClientConfig
