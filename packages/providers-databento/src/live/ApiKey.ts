/**
 * The API key: what one looks like, the answer to the gateway's challenge, and keeping it out of every text. The key itself
 * never crosses the wire.
 */
import { createHash } from "node:crypto"

/** Characters of a key, and of its last part that the gateway finds it by. */
const KEY_LENGTH = 32
const BUCKET_LENGTH = 5

/** What is wrong with a key; undefined where it has the form of one. Never repeats the key. */
export const apiKeyProblem = (key: string): string | undefined => {
  if (key === "") return "the API key is empty"
  if (!key.startsWith("db-")) return 'the API key does not begin with "db-"'
  if (key.length !== KEY_LENGTH) return `the API key has ${key.length} characters, ${KEY_LENGTH} are needed`
  return /^[\x21-\x7e]+$/.test(key) && !key.includes("|")
    ? undefined
    : "the API key holds characters that no key has"
}

/**
 * Answer to a challenge: the hash of challenge and key, and the last five characters of the key.
 * Source: Databento, raw live protocol, "Authentication" (challenge-response).
 */
export const challengeReply = (challenge: string, key: string): string =>
  `${createHash("sha256").update(`${challenge}|${key}`).digest("hex")}-${key.slice(-BUCKET_LENGTH)}`

/** A text of the gateway in which the key, should it ever stand there, is replaced by its last five characters. */
export const withoutKey = (text: string, key: string): string =>
  key === "" ? text : text.replaceAll(key, `db-*${key.slice(-BUCKET_LENGTH)}`)
