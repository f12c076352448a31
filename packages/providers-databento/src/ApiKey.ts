/**
 * The API key: what one looks like, the answer to the gateway's challenge, and keeping it out of every text. The key itself
 * goes to the historical service alone, and never crosses the wire to a gateway.
 */
import { createHash } from "node:crypto"
import { ProviderError, ProviderUnauthorized } from "@data-manager/core"
import { Redacted, Result } from "effect"

/** Characters of a key, and of its last part that the gateway finds it by. */
const KEY_LENGTH = 32
const BUCKET_LENGTH = 5

/** What is wrong with a key; undefined where it has the form of one. Never repeats the key. */
export const apiKeyProblem = (key: string): string | undefined => {
  if (key === "") return "the API key is empty"
  if (/^\$|YOUR|<.*>/i.test(key)) return "the API key is a placeholder"
  if (!key.startsWith("db-")) return 'the API key does not begin with "db-"'
  if (key.length !== KEY_LENGTH) return `the API key has ${key.length} characters, ${KEY_LENGTH} are needed`
  return /^[\x21-\x7e]+$/.test(key) && !key.includes("|")
    ? undefined
    : "the API key holds characters that no key has"
}

/** A key as it may be sent, without blanks around it; or why not. */
export const check = (
  key: Redacted.Redacted<string>
): Result.Result<Redacted.Redacted<string>, ProviderError> => {
  const text = Redacted.value(key).trim()
  const detail = apiKeyProblem(text)
  return detail === undefined
    ? Result.succeed(Redacted.make(text))
    : Result.fail(
        new ProviderError({
          provider: "databento",
          operation: "read the API key",
          reason: new ProviderUnauthorized({
            detail,
            hint: "set DATABENTO_API_KEY to the key shown on the account's API keys page"
          })
        })
      )
}

/**
 * Answer to a challenge: the hash of challenge and key, and the last five characters of the key.
 * Source: Databento, raw live protocol, "Authentication" (challenge-response).
 */
export const challengeReply = (challenge: string, key: string): string =>
  `${createHash("sha256").update(`${challenge}|${key}`).digest("hex")}-${bucketOf(key)}`

/** The last five characters: all of a key that may be shown, and the bucket by which a gateway finds it. */
export const bucketOf = (key: string): string => key.slice(-BUCKET_LENGTH)

/** A text of the gateway in which the key, should it ever stand there, is replaced by its last five characters. */
export const withoutKey = (text: string, key: string): string =>
  key === "" ? text : text.replaceAll(key, `db-*${bucketOf(key)}`)
