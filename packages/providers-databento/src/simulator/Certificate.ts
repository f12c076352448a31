/**
 * A certificate for loopback from an authority made on the spot: what a client needs that insists on https. Node makes
 * keys and signatures but no certificates, so their few fields are written here in DER (RFC 5280).
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto"

/** A server's certificate, its key, and the authority that clients have to trust. All in PEM. */
export interface ServerCertificate {
  readonly privateKey: string
  readonly certificate: string
  readonly authority: string
}

// ---------------------------------------------------------------------------------------------------------------------
// DER

const tagged = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const content = Buffer.concat(parts)
  const { length } = content
  const lengthBytes =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Uint8Array.of(tag, ...lengthBytes), content])
}

const sequence = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => tagged(0x30, ...parts)
const setOf = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => tagged(0x31, ...parts)
const integer = (bytes: Uint8Array): Uint8Array => tagged(0x02, bytes)
const octets = (bytes: Uint8Array): Uint8Array => tagged(0x04, bytes)
const bits = (bytes: Uint8Array, unused = 0): Uint8Array => tagged(0x03, Uint8Array.of(unused), bytes)
const text = (tag: number, value: string): Uint8Array => tagged(tag, Buffer.from(value))
const TRUE = Uint8Array.of(0x01, 0x01, 0xff)

/** Object identifiers, encoded. */
const oid = (hex: string): Uint8Array => tagged(0x06, Buffer.from(hex, "hex"))
const ECDSA_WITH_SHA256 = oid("2a8648ce3d040302")
const COMMON_NAME = oid("550403")
const SUBJECT_KEY_ID = oid("551d0e")
const KEY_USAGE = oid("551d0f")
const SUBJECT_ALT_NAME = oid("551d11")
const BASIC_CONSTRAINTS = oid("551d13")
const AUTHORITY_KEY_ID = oid("551d23")
const EXTENDED_KEY_USAGE = oid("551d25")
const SERVER_AUTH = oid("2b06010505070301")

// ---------------------------------------------------------------------------------------------------------------------
// Certificates

const name = (value: string): Uint8Array => sequence(setOf(sequence(COMMON_NAME, text(0x0c, value))))

/** YYYYMMDDHHMMSSZ */
const time = (date: Date): Uint8Array => text(0x18, `${date.toISOString().replaceAll(/[-:T]|\.\d+Z/g, "")}Z`)

const extension = (id: Uint8Array, isCritical: boolean, value: Uint8Array): Uint8Array =>
  isCritical ? sequence(id, TRUE, octets(value)) : sequence(id, octets(value))

const keyInfo = (key: KeyObject): Uint8Array => key.export({ type: "spki", format: "der" })

const keyId = (key: KeyObject): Uint8Array => createHash("sha1").update(keyInfo(key)).digest()

interface CertificateInit {
  readonly issuer: string
  readonly subject: string
  readonly publicKey: KeyObject
  readonly signer: KeyObject
  readonly extensions: ReadonlyArray<Uint8Array>
  readonly notBefore: Date
  readonly notAfter: Date
}

const certificate = (init: CertificateInit): Uint8Array => {
  const algorithm = sequence(ECDSA_WITH_SHA256)
  // A serial number is positive: its first bit is clear, and no leading byte is zero.
  const serial = randomBytes(16)
  serial[0] = (serial[0]! & 0x3f) | 0x40
  const body = sequence(
    tagged(0xa0, integer(Uint8Array.of(2))),
    integer(serial),
    algorithm,
    name(init.issuer),
    sequence(time(init.notBefore), time(init.notAfter)),
    name(init.subject),
    keyInfo(init.publicKey),
    tagged(0xa3, sequence(...init.extensions))
  )
  return sequence(body, algorithm, bits(sign("sha256", body, init.signer)))
}

const pem = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${(
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? []
  ).join("\n")}\n-----END CERTIFICATE-----\n`

const keyPair = () => generateKeyPairSync("ec", { namedCurve: "P-256" })

const AUTHORITY = "Data Manager simulator authority"
const DAY_MILLIS = 86_400_000
const LOOPBACK = Uint8Array.of(127, 0, 0, 1)

/** A certificate for `localhost` and 127.0.0.1 that holds for a year from `now` on; the authority's key is thrown away. */
export const loopbackCertificate = (now: Date): ServerCertificate => {
  const authority = keyPair()
  const server = keyPair()
  const notBefore = new Date(now.getTime() - DAY_MILLIS)
  const notAfter = new Date(now.getTime() + 365 * DAY_MILLIS)
  const issued = { issuer: AUTHORITY, signer: authority.privateKey, notBefore, notAfter }
  const authorityId = extension(AUTHORITY_KEY_ID, false, sequence(tagged(0x80, keyId(authority.publicKey))))
  const root = certificate({
    ...issued,
    subject: AUTHORITY,
    publicKey: authority.publicKey,
    extensions: [
      extension(BASIC_CONSTRAINTS, true, sequence(TRUE)),
      // keyCertSign and cRLSign.
      extension(KEY_USAGE, true, bits(Uint8Array.of(0x06), 1)),
      extension(SUBJECT_KEY_ID, false, octets(keyId(authority.publicKey))),
      authorityId
    ]
  })
  const leaf = certificate({
    ...issued,
    subject: "localhost",
    publicKey: server.publicKey,
    extensions: [
      extension(BASIC_CONSTRAINTS, true, sequence()),
      // digitalSignature.
      extension(KEY_USAGE, true, bits(Uint8Array.of(0x80), 7)),
      extension(EXTENDED_KEY_USAGE, false, sequence(SERVER_AUTH)),
      extension(SUBJECT_ALT_NAME, false, sequence(text(0x82, "localhost"), tagged(0x87, LOOPBACK))),
      extension(SUBJECT_KEY_ID, false, octets(keyId(server.publicKey))),
      authorityId
    ]
  })
  return {
    privateKey: server.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    certificate: pem(leaf),
    authority: pem(root)
  }
}
