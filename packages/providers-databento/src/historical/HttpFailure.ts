/** What went wrong with a request, as a typed reason whose text says what to do. Source: fact sheet, "Errors and warnings". */
import {
  ProviderBadRequest,
  ProviderDisconnected,
  type ProviderErrorReason,
  ProviderMalformed,
  ProviderRateLimited,
  ProviderUnauthorized,
  ProviderUnavailable
} from "@data-manager/core"

/** What an error reply says. */
export interface ErrorReply {
  readonly status: number
  readonly body: string
  readonly requestId: string | undefined
  readonly retryAfter: string | undefined
  /** What the request was for, where that can be told; the service's own texts do not name symbols. */
  readonly asked?: string | undefined
}

/** Longest part of a foreign body that is repeated in a message. */
const MaxQuote = 300

/** The reason for a reply that is not 2xx. */
export const fromReply = (reply: ErrorReply): ProviderErrorReason => {
  const { status, requestId } = reply
  const { text, docs } = detailOf(reply)
  const detail = `${status}: ${text}`
  switch (status) {
    case 401:
      return new ProviderUnauthorized({
        detail,
        hint: "check DATABENTO_API_KEY: the key is wrong or was revoked"
      })
    case 402:
      return new ProviderUnauthorized({ detail, hint: "settle the account's payment, then try again" })
    case 403:
      return new ProviderUnauthorized({
        detail,
        hint: "the key's account has no licence or permission for this"
      })
    case 429:
      return new ProviderRateLimited({ detail, retryAfterMillis: retryAfterMillis(reply.retryAfter) })
    case 408:
      return new ProviderUnavailable({ detail, requestId })
    default:
      return status >= 500
        ? new ProviderUnavailable({ detail, requestId })
        : new ProviderBadRequest({
            detail: reply.asked === undefined ? detail : `${detail} (asked for ${reply.asked})`,
            requestId,
            hint: docs === undefined ? undefined : `see ${docs}`
          })
  }
}

/** Symbols that are named in a message. */
const MaxNamed = 10

/** `DBEQ.BASIC trades AAPL, MSFT and 12 more`: dataset, schema and symbols of a request's parameters. */
export const askedFor = ({
  dataset,
  schema,
  symbols
}: {
  readonly [name: string]: string | undefined
}): string | undefined => {
  const list = symbols?.split(",") ?? []
  const named = list.slice(0, MaxNamed).join(", ")
  const more = list.length > MaxNamed ? ` and ${list.length - MaxNamed} more` : ""
  const parts = [dataset, schema, `${named}${more}`].filter((part) => part !== undefined && part !== "")
  return parts.length === 0 ? undefined : parts.join(" ")
}

/** `Retry-After` in seconds; the vendor's clients assume one second where it is missing. */
const retryAfterMillis = (header: string | undefined): number => {
  const seconds = header === undefined ? Number.NaN : Number(header)
  return Number.isFinite(seconds) && seconds >= 0 ? Math.ceil(seconds * 1000) : 1000
}

/** The text of `{"detail": ...}` in any of its forms; of whatever else answered, its beginning. */
const detailOf = ({ body, status }: ErrorReply): { readonly text: string; readonly docs?: string } => {
  const parsed = parseJson(body)
  if (isObject(parsed) && "detail" in parsed) {
    const { detail } = parsed
    if (typeof detail === "string") return { text: detail }
    if (Array.isArray(detail)) return { text: detail.map(validationText).join("; ") }
    if (isObject(detail)) {
      const text = [detail.case, detail.message].filter((part) => typeof part === "string").join(": ")
      const docs = typeof detail.docs === "string" ? { docs: detail.docs } : {}
      return { text: text === "" ? quoted(JSON.stringify(detail)) : text, ...docs }
    }
  }
  if (body.trim() === "") return { text: `no explanation (HTTP status ${status}, empty body)` }
  if (/^\s*</.test(body)) return { text: `an HTML page instead of the service's answer: ${proxyHint}` }
  return { text: quoted(body) }
}

const proxyHint = "something between here and the service, such as a proxy, answers in its place"

const validationText = (item: unknown): string => {
  if (!isObject(item)) return quoted(String(item))
  const where = Array.isArray(item.loc) ? `${item.loc.join(".")}: ` : ""
  return typeof item.msg === "string" ? `${where}${item.msg}` : quoted(JSON.stringify(item))
}

const quoted = (text: string): string =>
  text.length > MaxQuote ? `${text.slice(0, MaxQuote)}... (${text.length} characters)` : text

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The reason for a 2xx reply whose body is not what the endpoint gives. */
export const fromBody = (body: string, expected: string): ProviderErrorReason =>
  new ProviderMalformed({
    detail: /^\s*</.test(body)
      ? `the reply is an HTML page, ${expected} was expected: ${proxyHint}`
      : `the reply is not ${expected}: ${quoted(body.trim())}`
  })

/** The reason for a request that got no reply. `cause` is the transport's own error. */
export const fromTransport = (cause: unknown, host: string): ProviderErrorReason => {
  const code = codeOf(cause)
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return new ProviderDisconnected({
      detail: `the name ${host} cannot be resolved (${code}): check the network and its DNS`
    })
  if (code === "ECONNREFUSED")
    return new ProviderDisconnected({ detail: `${host} refuses the connection: check the address` })
  if (code === "ERR_INVALID_URL")
    return new ProviderBadRequest({ detail: `"${host}" is no address`, hint: "write https://HOST" })
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG")
    return new ProviderBadRequest({
      detail: `${host} speaks no https (${code})`,
      hint: "check the port, and whether the address begins with http://"
    })
  if (code !== undefined && isCertificateCode(code))
    return new ProviderBadRequest({
      detail: `the certificate of ${host} is not accepted (${code})`,
      hint: "check this machine's clock; behind an inspecting proxy, name its authority in NODE_EXTRA_CA_CERTS"
    })
  const text = cause instanceof Error && cause.message !== "" ? cause.message : "the connection failed"
  return new ProviderDisconnected({ detail: `${host}: ${text}${code === undefined ? "" : ` (${code})`}` })
}

const isCertificateCode = (code: string): boolean =>
  /CERT|SIGNATURE|^ERR_TLS|^ERR_SSL|UNABLE_TO_GET_ISSUER|SELF_SIGNED/.test(code)

/** The first system or TLS code in a chain of causes. */
const codeOf = (error: unknown): string | undefined => {
  for (let at: unknown = error, depth = 0; depth < 8 && at instanceof Error; depth++) {
    if ("code" in at && typeof at.code === "string") return at.code
    if (at instanceof AggregateError && at.errors.length > 0) at = at.errors[0]
    else at = at.cause
  }
  return undefined
}
