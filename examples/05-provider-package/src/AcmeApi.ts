/**
 * Acme's HTTP service: what is listed, how many trades there are, and the trades. The key travels in `x-api-key`, a header that
 * Effect's HTTP client hides wherever it shows a request.
 *
 *     GET /v1/listing                                   {"start": NS, "end": NS, "symbols": [{"symbol", "listed"}]}
 *     GET /v1/count?symbols=A,B&start=NS&end=NS         {"count": N}
 *     GET /v1/trades?symbols=A,B&start=NS&end=NS        a line of JSON per trade, then {"end": N}
 */
import {
  ProviderBadRequest,
  ProviderDisconnected,
  ProviderError,
  type ProviderErrorReason,
  ProviderMalformed,
  ProviderRateLimited,
  ProviderUnauthorized,
  ProviderUnavailable,
  type TimeRange
} from "@data-manager/core"
import { Effect, Redacted } from "effect"
import { type HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { integer, NotAcme, parseLine } from "./AcmeTrade.ts"

/** Where the service is, and who asks. */
export interface AcmeAccess {
  readonly id: string
  readonly url: string
  readonly key: Redacted.Redacted<string>
}

/** A symbol, and since when there is one. */
export interface Listed {
  readonly symbol: string
  readonly since: bigint
}

/** What Acme has. */
export interface Listing {
  readonly range: TimeRange.TimeRange
  readonly symbols: ReadonlyArray<Listed>
}

/** Longest wait for the beginning of an answer, and for its next bytes. */
export const Patience = "30 seconds"

/** The service of one key. */
export class AcmeApi {
  readonly #client: HttpClient.HttpClient
  readonly #access: AcmeAccess

  constructor(client: HttpClient.HttpClient, access: AcmeAccess) {
    this.#client = client
    this.#access = access
  }

  failure(operation: string, reason: ProviderErrorReason): ProviderError {
    return new ProviderError({ provider: this.#access.id, operation, reason })
  }

  /** Asks, and gives an answer that is of the kind that was asked for, its body still unread. */
  get(
    path: string,
    params: { readonly [name: string]: string } = {},
    type = "application/json"
  ): Effect.Effect<HttpClientResponse.HttpClientResponse, ProviderError> {
    const request = HttpClientRequest.get(`${this.#access.url}${path}`).pipe(
      HttpClientRequest.setUrlParams(params),
      HttpClientRequest.setHeader("x-api-key", Redacted.value(this.#access.key))
    )
    return this.#client.execute(request).pipe(
      // The client's error holds the request, and so the key: it is not kept as the cause.
      Effect.mapError(() => this.#unreachable(path)),
      Effect.timeoutOrElse({ duration: Patience, orElse: () => Effect.fail(this.#unreachable(path)) }),
      Effect.flatMap((response) => {
        const reason = refusal(response)
        if (reason !== undefined) return Effect.fail(this.failure(path, reason))
        return (response.headers["content-type"] ?? "").startsWith(type)
          ? Effect.succeed(response)
          : Effect.fail(this.failure(path, new ProviderMalformed({ detail: foreign(type) })))
      })
    )
  }

  /** What can be asked for. */
  readonly listing: Effect.Effect<Listing, ProviderError> = Effect.suspend(() =>
    this.#json("/v1/listing", {}, ({ start, end, symbols }) => ({
      range: { start: integer(start, "start"), end: integer(end, "end") },
      symbols: (Array.isArray(symbols) ? symbols : []).map(({ symbol, listed }) => ({
        symbol: String(symbol),
        since: integer(listed, "listed")
      }))
    }))
  )

  /** How many trades a request would give. */
  count(params: { readonly [name: string]: string }): Effect.Effect<bigint, ProviderError> {
    return this.#json("/v1/count", params, ({ count }) => integer(count, "count"))
  }

  #json<A>(
    path: string,
    params: { readonly [name: string]: string },
    read: (document: { readonly [field: string]: unknown }) => A
  ): Effect.Effect<A, ProviderError> {
    return this.get(path, params).pipe(
      Effect.flatMap((response) => Effect.mapError(response.text, () => this.#unreachable(path))),
      Effect.flatMap((text) => this.attempt(path, () => read(parseLine(text))))
    )
  }

  /** Runs what reads Acme's bytes. */
  attempt<A>(operation: string, read: () => A): Effect.Effect<A, ProviderError> {
    return Effect.suspend(() => {
      try {
        return Effect.succeed(read())
      } catch (error) {
        if (!(error instanceof NotAcme)) throw error
        return Effect.fail(this.failure(operation, new ProviderMalformed({ detail: error.message })))
      }
    })
  }

  #unreachable(path: string): ProviderError {
    const detail = `${new URL(this.#access.url).host} does not answer: check the network, and url in [providers.${this.#access.id}]`
    return this.failure(path, new ProviderDisconnected({ detail }))
  }
}

const foreign = (type: string): string =>
  `the answer is not ${type}: something between here and the service, such as a proxy, answers in its place`

/** Why an answer is none. */
const refusal = ({
  headers,
  status
}: HttpClientResponse.HttpClientResponse): ProviderErrorReason | undefined => {
  const detail = `status ${status}`
  if (status === 401)
    return new ProviderUnauthorized({ detail: "Acme does not know the key", hint: "take a valid one" })
  if (status === 429) {
    const seconds = Number(headers["retry-after"] ?? "1")
    return new ProviderRateLimited({ detail, retryAfterMillis: seconds >= 0 ? seconds * 1000 : undefined })
  }
  if (status >= 500) return new ProviderUnavailable({ detail, requestId: headers["x-request-id"] })
  return status === 200 ? undefined : new ProviderBadRequest({ detail })
}
