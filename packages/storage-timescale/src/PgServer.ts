/**
 * Which PostgreSQL server is used and how it is reached: the one a URL names, or the embedded one.
 *
 * A URL is read as libpq reads it (`postgresql://user:password@host:5432/database?sslmode=verify-full`), with errors that
 * say which part is wrong and never repeat the password.
 */
import { createConnection } from "node:net"
import { userInfo } from "node:os"
import { StoreBadRequest, StoreError } from "@data-manager/core"
import { Effect, Redacted, type Scope } from "effect"
import { connectFailure } from "./ConnectFailure.ts"
import { defaultDataDirectory } from "./embedded/DataDirectory.ts"
import * as EmbeddedServer from "./embedded/EmbeddedServer.ts"
import { clientConfig, isSocket, type ServerAddress, type ServerSsl } from "./ServerAddress.ts"
import { readTls } from "./TlsParameters.ts"

export * from "./ServerAddress.ts"

const operation = "read database url"
const form = "write it as postgresql://user:password@host:5432/database"
const parameterNames = [
  "host",
  "port",
  "user",
  "password",
  "dbname",
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "application_name",
  "options",
  "connect_timeout",
  "channel_binding"
] as const
type ParameterName = (typeof parameterNames)[number]
type Parameters = { readonly [name in ParameterName]?: string }

const refuse = (detail: string, allowed?: ReadonlyArray<string>): StoreError =>
  new StoreError({
    operation,
    reason: new StoreBadRequest({ detail, ...(allowed === undefined ? {} : { allowed }) })
  })

/** The parts of a URL as text, with `%xx` resolved; throws `StoreError`. */
const split = (url: string): Parameters => {
  const scheme = /^postgres(?:ql)?:\/\//i.exec(url)
  if (scheme === null) throw refuse(`the url does not start with postgresql://; ${form}`)
  const rest = url.slice(scheme[0].length)
  const [, authority = "", path = "", query = ""] = /^([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(rest) ?? []
  // A password may hold an unescaped "@": the last one ends the login.
  const at = authority.lastIndexOf("@")
  const login = at < 0 ? "" : authority.slice(0, at)
  const colon = login.indexOf(":")
  const [host, port] = splitHost(authority.slice(at + 1))
  const fromPath: Record<string, string> = {
    host: decode(host, "host"),
    port,
    user: decode(colon < 0 ? login : login.slice(0, colon), "user"),
    password: colon < 0 ? "" : decode(login.slice(colon + 1), "password"),
    dbname: decode(path, "database name")
  }
  const given = Object.fromEntries(Object.entries(fromPath).filter(([, value]) => value !== ""))
  return { ...given, ...splitQuery(query) }
}

const splitHost = (text: string): readonly [string, string] => {
  if (text.includes(",")) throw refuse("the url names several hosts; name one")
  const found = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(text)
  if (found === null)
    throw refuse(`the host of the url is not readable: put an IPv6 address into brackets; ${form}`)
  const [, host = "", port = ""] = found
  return [host.replace(/^\[(.*)\]$/s, "$1"), port]
}

const splitQuery = (query: string): Parameters => {
  const found: Record<string, string> = {}
  for (const pair of query.split("&").filter((text) => text !== "")) {
    const equals = pair.indexOf("=")
    const name = decode(equals < 0 ? pair : pair.slice(0, equals), "parameters")
    if (!(parameterNames as ReadonlyArray<string>).includes(name)) {
      // A password with an unescaped "?" ends up here: its text must not be shown.
      const shown = /^[a-z_]{1,40}$/.test(name) ? ` "${name}"` : ""
      throw refuse(`the url has an unknown parameter${shown}`, parameterNames)
    }
    if (equals < 0) throw refuse(`parameter "${name}" of the url has no value`)
    found[name] = decode(pair.slice(equals + 1), `parameter "${name}"`)
  }
  return found
}

const decode = (text: string, part: string): string => {
  try {
    const decoded = decodeURIComponent(text)
    if (!decoded.includes("\0")) return decoded
  } catch {
    // reported below
  }
  throw refuse(`the ${part} of the url is not readable; write special characters as %xx (% itself as %25)`)
}

const wholeNumber = (text: string, what: string, from: number, to: number): number => {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= from && value <= to) return value
  // Not shown: an unescaped "/" in a password makes a piece of it look like the port.
  throw refuse(
    `the ${what} of the url is not a whole number from ${from} to ${to}; special characters in user and password are written as %xx`
  )
}

const oneOf = <A extends string>(text: string, name: string, allowed: ReadonlyArray<A>): A => {
  const found = allowed.find((item) => item === text)
  if (found === undefined) throw refuse(`${name} of the url is not one of the known values`, allowed)
  return found
}

const systemUser = (): string => {
  try {
    return userInfo().username
  } catch {
    // A uid without an entry in the user database.
    throw refuse(`the url names no user; ${form}`)
  }
}

const read = (url: string): ServerAddress => {
  const given = split(url)
  const host = given.host ?? "localhost"
  const user = given.user ?? systemUser()
  const timeout = given.connect_timeout
  return {
    host,
    port: given.port === undefined ? 5432 : wholeNumber(given.port, "port", 1, 65_535),
    database: given.dbname ?? user,
    user,
    ...(given.password === undefined ? {} : { password: Redacted.make(given.password) }),
    ssl: readTls(given, host.startsWith("/"), refuse),
    ...(given.application_name === undefined ? {} : { applicationName: given.application_name }),
    ...(given.options === undefined ? {} : { options: given.options }),
    ...(timeout === undefined
      ? {}
      : { connectTimeoutSeconds: wholeNumber(timeout, "connect_timeout", 0, 86_400) }),
    ...(given.channel_binding === undefined
      ? {}
      : {
          channelBinding:
            oneOf(given.channel_binding, "channel_binding", ["disable", "prefer", "require"]) !== "disable"
        })
  }
}

/**
 * Reads a `postgres://` or `postgresql://` URL. Unix sockets: `postgresql:///db?host=/run/postgresql` or the path
 * percent-encoded as host. `sslmode` defaults to `prefer`; `verify-ca` and `verify-full` check against `sslrootcert`,
 * else `~/.postgresql/root.crt`; `sslrootcert=system` stands for the authorities that the machine and Node trust.
 * A missing host is `localhost`, a missing user the system's, a missing database the user's name.
 *
 * Fails with `StoreBadRequest`; messages name the part that is wrong, never the password.
 */
export const parse = (url: Redacted.Redacted<string> | string): Effect.Effect<ServerAddress, StoreError> =>
  Effect.try({
    try: () => read(typeof url === "string" ? url : Redacted.value(url)),
    // Whatever else may be thrown could quote the url: it is not kept as cause.
    catch: (cause) => (cause instanceof StoreError ? cause : refuse(`the url is not readable; ${form}`))
  })

const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])

/** Asks the server with one SSLRequest packet whether it speaks TLS. */
const speaksTls = (address: ServerAddress): Effect.Effect<boolean, StoreError> =>
  Effect.callback<boolean, StoreError>((resume) => {
    const socket = createConnection({ host: address.host, port: address.port })
    socket.setTimeout((address.connectTimeoutSeconds ?? 15) * 1000)
    socket.once("connect", () => socket.write(sslRequest))
    socket.once("data", (answer) => {
      socket.destroy()
      resume(Effect.succeed(answer[0] === 0x53))
    })
    socket.once("timeout", () => socket.destroy(new Error("no answer in time")))
    socket.once("end", () => socket.destroy(new Error("the server closed the connection")))
    socket.once("error", (cause) =>
      resume(Effect.fail(connectFailure("connect", clientConfig(address), cause)))
    )
    return Effect.sync(() => socket.destroy())
  })

/**
 * Resolves `sslmode=prefer`, which node-postgres cannot do by itself, into `require` or `disable` by asking the server.
 * Other addresses are returned as they are, without any connection. Fails with `StoreUnavailable`.
 */
export const negotiate = (address: ServerAddress): Effect.Effect<ServerAddress, StoreError> =>
  address.ssl.mode !== "prefer" || isSocket(address)
    ? Effect.succeed(address)
    : Effect.map(speaksTls(address), (tls) => ({
        ...address,
        // `require` with a CA would verify the chain; `prefer` never does.
        ssl: tls ? { ...withoutCa(address.ssl), mode: "require" as const } : { mode: "disable" as const }
      }))

const withoutCa = ({ ca: _, ...ssl }: ServerSsl): ServerSsl => ssl

/** How `open` chooses. */
export interface OpenOptions extends Omit<EmbeddedServer.AcquireOptions, "dataDir"> {
  /** `[database] url`; absent = `DM_DATABASE_URL`; neither = the embedded server. */
  readonly url?: Redacted.Redacted<string>
  /** Data directory of the embedded server; absent = `DM_DATA_DIR`, else the platform's usual place. */
  readonly dataDir?: string
}

/** A server ready to be connected to. */
export interface OpenServer {
  readonly address: ServerAddress
  /** Whether it is the embedded one, held running for the scope. */
  readonly embedded: boolean
}

/**
 * The server to use: the one `url` or `DM_DATABASE_URL` names, else the embedded one, which is started if needed and
 * kept running until the scope closes.
 */
export const open = (options: OpenOptions = {}): Effect.Effect<OpenServer, StoreError, Scope.Scope> => {
  const { url = environmentUrl(), ...embedded } = options
  return url === undefined
    ? EmbeddedServer.acquire({ ...embedded, dataDir: embedded.dataDir ?? defaultDataDirectory() }).pipe(
        Effect.map((address) => ({ address, embedded: true }))
      )
    : parse(url).pipe(
        Effect.flatMap(negotiate),
        Effect.map((address) => ({ address, embedded: false }))
      )
}

const environmentUrl = (): Redacted.Redacted<string> | undefined => {
  const url = process.env.DM_DATABASE_URL
  return url === undefined || url === "" ? undefined : Redacted.make(url)
}
