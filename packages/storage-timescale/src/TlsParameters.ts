/**
 * TLS of a database URL, read as libpq reads it: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, and their files in
 * `~/.postgresql`. What cannot work is refused here, with the name of the parameter and its file: node-postgres would do
 * without the authority, or fail in the middle of a handshake.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"
import { readFileSync, statSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import type { StoreError } from "@data-manager/core"
import { Redacted } from "effect"
import type { ServerSsl, SslMode } from "./ServerAddress.ts"

/** The parameters of a URL that are about TLS. */
export interface TlsParameters {
  readonly sslmode?: string
  readonly sslrootcert?: string
  readonly sslcert?: string
  readonly sslkey?: string
}

type Refuse = (detail: string, allowed?: ReadonlyArray<string>) => StoreError

const modes: ReadonlyArray<SslMode> = ["disable", "prefer", "require", "verify-ca", "verify-full"]

interface PemFile {
  readonly path: string
  readonly text: string
}

const read = (name: string, path: string, refuse: Refuse): PemFile => {
  const full = path.startsWith("~/") ? join(homedir(), path.slice(2)) : path
  try {
    return { path: full, text: readFileSync(full, "utf8") }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "error"
    throw refuse(`${name} of the url: cannot read ${full} (${code})`)
  }
}

/** A file of `~/.postgresql`, where libpq looks by itself; undefined where it is not there. */
const usual = (name: string, file: string, refuse: Refuse): PemFile | undefined => {
  const path = join(homedir(), ".postgresql", file)
  return statSync(path, { throwIfNoEntry: false }) === undefined ? undefined : read(name, path, refuse)
}

const certificate = (name: string, { path, text }: PemFile, refuse: Refuse): X509Certificate => {
  try {
    return new X509Certificate(text)
  } catch {
    throw refuse(`${name} of the url: ${path} holds no certificate in PEM form`)
  }
}

/** The authority that has to have signed the server's certificate. */
const authority = (given: TlsParameters, mode: SslMode, refuse: Refuse): string | undefined => {
  if (mode === "disable" || given.sslrootcert === "system") return undefined
  const file =
    given.sslrootcert !== undefined
      ? read("sslrootcert", given.sslrootcert, refuse)
      : mode === "prefer"
        ? undefined
        : usual("sslrootcert", "root.crt", refuse)
  if (file === undefined) {
    if (mode !== "verify-ca" && mode !== "verify-full") return undefined
    throw refuse(
      `sslmode=${mode} of the url needs the certificate authority of the server: sslrootcert=FILE, or the file ` +
        "~/.postgresql/root.crt, or sslrootcert=system for the authorities that this machine trusts"
    )
  }
  certificate("sslrootcert", file, refuse)
  return file.text
}

/** A key that others can read is no secret: libpq refuses it, too. */
const checkSecret = (path: string, refuse: Refuse): void => {
  if (process.platform === "win32") return
  const { mode, uid } = statSync(path)
  if ((mode & (uid === 0 ? 0o037 : 0o077)) !== 0)
    throw refuse(`sslkey of the url: others can read ${path}; chmod 600 it (640 where it is root's)`)
}

const privateKey = ({ path, text }: PemFile, refuse: Refuse): KeyObject => {
  if (/ENCRYPTED/.test(text))
    throw refuse(
      `sslkey of the url: ${path} is encrypted; write it without a passphrase (openssl pkey -in FILE -out FILE)`
    )
  try {
    return createPrivateKey(text)
  } catch {
    throw refuse(`sslkey of the url: ${path} holds no private key in PEM form`)
  }
}

/** The certificate of this client and its key. */
const client = (given: TlsParameters, refuse: Refuse): Pick<ServerSsl, "cert" | "key"> => {
  const cert =
    given.sslcert === undefined
      ? usual("sslcert", "postgresql.crt", refuse)
      : read("sslcert", given.sslcert, refuse)
  if (cert === undefined && given.sslkey === undefined) return {}
  const key =
    given.sslkey === undefined
      ? usual("sslkey", "postgresql.key", refuse)
      : read("sslkey", given.sslkey, refuse)
  if (cert === undefined || key === undefined)
    throw refuse("sslcert and sslkey of the url belong together: give both or none")
  checkSecret(key.path, refuse)
  const isPair = certificate("sslcert", cert, refuse).checkPrivateKey(privateKey(key, refuse))
  if (!isPair)
    throw refuse(`sslkey of the url: ${key.path} is not the key of the certificate in ${cert.path}`)
  return { cert: cert.text, key: Redacted.make(key.text) }
}

/** Reads the parameters. `refuse` makes the error that is thrown. */
export const readTls = (given: TlsParameters, isSocket: boolean, refuse: Refuse): ServerSsl => {
  const isSystem = given.sslrootcert === "system"
  const asked = given.sslmode ?? (isSystem ? "verify-full" : "prefer")
  const mode = modes.find((item) => item === asked)
  if (mode === undefined) throw refuse("sslmode of the url is not one of the known values", modes)
  if (isSystem && mode !== "verify-full")
    throw refuse(
      "sslrootcert=system of the url goes with sslmode=verify-full alone: anybody can have a certificate of a public authority"
    )
  // libpq has no TLS on unix sockets.
  if (isSocket || mode === "disable") return { mode: "disable" }
  const ca = authority(given, mode, refuse)
  return { mode, ...(ca === undefined ? {} : { ca }), ...client(given, refuse) }
}
