/** The API key: how it looks, and what of it may be shown. Source: fact sheet of the vendor's clients, "Basics" of the HTTP API. */
import { ProviderError, ProviderUnauthorized } from "@data-manager/core"
import { Redacted, Result } from "effect"

/** Characters of a key, `db-` included. */
export const KeyLength = 32

const hint = "set DATABENTO_API_KEY to the key shown on the account's API keys page"

const refuse = (detail: string): Result.Result<never, ProviderError> =>
  Result.fail(
    new ProviderError({
      provider: "databento",
      operation: "read the API key",
      reason: new ProviderUnauthorized({ detail, hint })
    })
  )

/** Checks a key before it is sent anywhere. The text of a refusal never holds the key. */
export const check = (
  key: Redacted.Redacted<string>
): Result.Result<Redacted.Redacted<string>, ProviderError> => {
  const text = Redacted.value(key).trim()
  if (text === "") return refuse("the API key is empty")
  if (/^\$|YOUR|<.*>/i.test(text)) return refuse("the API key is a placeholder")
  if (!text.startsWith("db-")) return refuse('the API key does not begin with "db-"')
  if (text.length !== KeyLength)
    return refuse(`the API key has ${text.length} characters, it must have ${KeyLength}`)
  if (!/^[\x21-\x7e]+$/.test(text)) return refuse("the API key has characters that no key has")
  return Result.succeed(Redacted.make(text))
}

/** The last five characters: all of a key that may be shown, and the bucket by which a gateway finds it. */
export const bucket = (key: Redacted.Redacted<string>): string => Redacted.value(key).slice(-5)
