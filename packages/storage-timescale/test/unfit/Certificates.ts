/** Certificates of authorities, servers and clients, made by openssl when a test wants them. */
import { execFileSync } from "node:child_process"
import { chmodSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** A certificate and its key, as files. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

/** Whether certificates can be made here. */
export const canMake = (): boolean => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

const openssl = (folder: string, ...args: ReadonlyArray<string>): void => {
  execFileSync("openssl", args, { cwd: folder, stdio: "ignore" })
}

const newKey = (folder: string, name: string): Certificate => {
  const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) }
  openssl(folder, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", files.key)
  chmodSync(files.key, 0o600)
  return files
}

/** A certificate authority. */
export const authority = (folder: string, name: string): Certificate => {
  const files = newKey(folder, name)
  openssl(
    folder,
    "req",
    "-x509",
    "-new",
    "-key",
    files.key,
    "-subj",
    `/CN=${name}`,
    "-days",
    "2",
    "-out",
    files.cert
  )
  return files
}

/** A certificate that `by` has signed; without names it is a client's, whose user is `subject`. */
export const signed = (
  folder: string,
  by: Certificate,
  subject: string,
  names: string | undefined,
  days = 2
): Certificate => {
  const files = newKey(folder, `${subject}-${Math.random().toString(36).slice(2, 8)}`)
  const request = `${files.cert}.csr`
  const extensions = `${files.cert}.ext`
  openssl(folder, "req", "-new", "-key", files.key, "-subj", `/CN=${subject}`, "-out", request)
  writeFileSync(extensions, names === undefined ? "" : `subjectAltName=${names}\n`)
  const issuer = ["-CA", by.cert, "-CAkey", by.key, "-CAcreateserial"]
  openssl(
    folder,
    ...[
      "x509",
      "-req",
      "-in",
      request,
      ...issuer,
      "-days",
      String(days),
      "-extfile",
      extensions,
      "-out",
      files.cert
    ]
  )
  return files
}

export const text = (path: string): string => readFileSync(path, "utf8")
