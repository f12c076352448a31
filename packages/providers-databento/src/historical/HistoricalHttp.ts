/**
 * Requests to the historical service: address, login, pace, retries, warnings and errors, the same for every endpoint.
 * Source: fact sheet, sections "Basics", "Value formats" and "Errors and warnings" of the HTTP API.
 */
import { ProviderDisconnected, ProviderError, type ProviderErrorReason } from "@data-manager/core"
import { type Duration, Effect, Redacted, Schema, Semaphore, Stream } from "effect"
import {
  type HttpClient,
  type HttpClientError,
  HttpClientRequest,
  type HttpClientResponse
} from "effect/http"
import { RateWindow } from "../RateWindow.ts"
import * as HttpFailure from "./HttpFailure.ts"
import { SilenceWatch } from "./SilenceWatch.ts"

/** A remark of the service: `{ category: "DeprecationWarning", message: "..." }`. */
export interface Warning {
  readonly category: string
  readonly message: string
}

/** What a reply says beside its value. */
export interface Reply<A> {
  readonly value: A
  readonly warnings: ReadonlyArray<Warning>
  /** Status 206: only part of the symbols was resolved. */
  readonly isPartial: boolean
  /** For the vendor's support. */
  readonly requestId: string | undefined
}

/** The answers to the parts of one question as one. */
export const together = <A, B>(
  replies: ReadonlyArray<Reply<A>>,
  add: (values: ReadonlyArray<A>) => B
): Reply<B> => ({
  value: add(replies.map((reply) => reply.value)),
  warnings: replies.flatMap((reply) => reply.warnings),
  isPartial: replies.some((reply) => reply.isPartial),
  requestId: replies[0]?.requestId
})

/** Kinds of requests, as the service limits them: per second for each team, submissions per minute. */
const rates = {
  metadata: { requests: 20, millis: 1_000 },
  symbology: { requests: 100, millis: 1_000 },
  timeseries: { requests: 100, millis: 1_000 },
  jobs: { requests: 20, millis: 1_000 },
  submit: { requests: 20, millis: 60_000 }
} as const

/** A kind of requests with a limit of its own. */
export type RequestKind = keyof typeof rates

/** One call. Parameters that are undefined are not sent. */
export interface Call {
  readonly kind: RequestKind
  readonly method: "GET" | "POST"
  /** `metadata.list_datasets`, or a whole URL that an earlier reply gave. */
  readonly path: string
  readonly params?: Readonly<Record<string, string | undefined>> | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  /**
   * Each of these calls may be billed: only a refusal because of the rate (429), which nothing was done for, is answered
   * by another try.
   */
  readonly isBilled?: boolean | undefined
}

/** How the client reaches the service. */
export interface HistoricalHttpOptions {
  readonly key: Redacted.Redacted<string>
  /** Default `https://hist.databento.com`. */
  readonly baseUrl?: string | undefined
  /** Longest wait for the beginning of a reply, and for its next bytes. Default 100 seconds, as the vendor's clients. */
  readonly timeout?: Duration.Input | undefined
  /** Further tries of a call that may be repeated. Default 4. */
  readonly retries?: number | undefined
}

/** A reply whose body is still to be read. */
export interface OpenReply extends Reply<Stream.Stream<Uint8Array, ProviderError>> {
  readonly status: number
  readonly header: (name: string) => string | undefined
}

const DefaultBaseUrl = "https://hist.databento.com"
/** Connections at a time; the service allows a team 100. */
const MaxConnections = 32
const UserAgent = "data-manager"

/** Makes calls. One instance per key: pace and connections are counted in it. */
export class HistoricalHttp {
  readonly #client: HttpClient.HttpClient
  readonly #options: HistoricalHttpOptions
  readonly #baseUrl: string
  readonly #timeout: Duration.Input
  readonly #paces = new Map<RequestKind, RateWindow>()
  readonly #connections = Semaphore.makeUnsafe(MaxConnections)

  constructor(client: HttpClient.HttpClient, options: HistoricalHttpOptions) {
    this.#client = client
    this.#options = options
    this.#baseUrl = (options.baseUrl ?? DefaultBaseUrl).replace(/\/+$/, "")
    this.#timeout = options.timeout ?? "100 seconds"
  }

  /** Host that calls go to, for messages. */
  get host(): string {
    return hostOf(this.#baseUrl)
  }

  /** A call whose reply is a JSON document of this shape. `expected` names it in errors. */
  json<A, I>(
    call: Call,
    schema: Schema.Codec<A, I>,
    expected: string
  ): Effect.Effect<Reply<A>, ProviderError> {
    const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema))
    return this.text(call, (body) =>
      Effect.mapError(decode(body), () => this.failure(call, HttpFailure.fromBody(body, expected)))
    )
  }

  /** A call whose reply is short text, read whole and then understood by `read`. */
  text<A>(
    call: Call,
    read: (body: string) => Effect.Effect<A, ProviderError>
  ): Effect.Effect<Reply<A>, ProviderError> {
    const once = Effect.flatMap(this.#send(call), (response) =>
      Effect.flatMap(this.#body(call, response), (body) =>
        Effect.map(read(body), (value) => ({ value, ...besides(response) }))
      )
    )
    return this.#repeated(call, this.#connections.withPermits(1)(once))
  }

  /**
   * A call whose reply is a stream of bytes. Only its beginning is repeated; the stream fails where the connection ends
   * before the reply is complete or stays silent for longer than the timeout.
   */
  open(call: Call): Effect.Effect<OpenReply, ProviderError> {
    return Effect.map(this.openUntimed(call), (reply) => ({
      ...reply,
      value: Stream.timeoutOrElse(reply.value, {
        duration: this.#timeout,
        orElse: () => Stream.fail(this.#silent(call))
      })
    }))
  }

  /** The same for a reader that watches for silence itself, as `watch` does. */
  openUntimed(call: Call): Effect.Effect<OpenReply, ProviderError> {
    const once = Effect.map(
      this.#send(call),
      (response): OpenReply => ({
        value: Stream.mapError(response.stream, (error) => this.#transport(call, error)),
        ...besides(response),
        status: response.status,
        header: (name) => response.headers[name]
      })
    )
    return this.#repeated(call, once)
  }

  /** A watch for the silence of a reply, and the error that it ends with. */
  watch(call: Call): { readonly watch: SilenceWatch; readonly silent: ProviderError } {
    return { watch: new SilenceWatch(this.#timeout), silent: this.#silent(call) }
  }

  /** The error of a call. */
  failure(call: Call, reason: ProviderErrorReason, cause?: unknown): ProviderError {
    return new ProviderError({ provider: "databento", operation: call.path, reason, cause })
  }

  #send(call: Call): Effect.Effect<HttpClientResponse.HttpClientResponse, ProviderError> {
    const answered = this.#client.execute(this.#request(call)).pipe(
      Effect.mapError((error) => this.#transport(call, error)),
      this.#inTime(call)
    )
    const checked = Effect.flatMap(answered, (response) =>
      response.status >= 200 && response.status < 300
        ? Effect.succeed(response)
        : Effect.flatMap(this.#body(call, response), (body) =>
            Effect.fail(
              this.failure(
                call,
                HttpFailure.fromReply({
                  status: response.status,
                  body,
                  requestId: response.headers["request-id"],
                  retryAfter: response.headers["retry-after"],
                  asked: HttpFailure.askedFor(call.params ?? {})
                })
              )
            )
          )
    )
    return Effect.andThen(this.#pace(call.kind).turn, checked)
  }

  #request(call: Call): HttpClientRequest.HttpClientRequest {
    const params = Object.entries(call.params ?? {}).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value] as const]
    )
    const url = call.path.includes("://") ? call.path : `${this.#baseUrl}/v0/${call.path}`
    const request = HttpClientRequest.make(call.method)(url).pipe(
      HttpClientRequest.setHeaders({ "user-agent": UserAgent, accept: "application/json", ...call.headers }),
      HttpClientRequest.basicAuth(Redacted.value(this.#options.key), "")
    )
    return call.method === "GET"
      ? HttpClientRequest.setUrlParams(request, params)
      : HttpClientRequest.bodyUrlParams(request, params)
  }

  #body(call: Call, response: HttpClientResponse.HttpClientResponse): Effect.Effect<string, ProviderError> {
    return response.text.pipe(
      Effect.mapError((error) => this.#transport(call, error)),
      this.#inTime(call)
    )
  }

  /** The client's own error holds the request, and so the key: only what caused it goes on. */
  #transport(call: Call, error: HttpClientError.HttpClientError): ProviderError {
    const cause = "cause" in error.reason ? error.reason.cause : undefined
    return this.failure(call, HttpFailure.fromTransport(cause, this.host), cause)
  }

  #silent(call: Call): ProviderError {
    const detail = `${this.host} sent nothing for too long: try again, or raise the timeout`
    return this.failure(call, new ProviderDisconnected({ detail }))
  }

  #inTime(call: Call) {
    return <A>(effect: Effect.Effect<A, ProviderError>): Effect.Effect<A, ProviderError> =>
      Effect.timeoutOrElse(effect, {
        duration: this.#timeout,
        orElse: () => Effect.fail(this.#silent(call))
      })
  }

  #pace(kind: RequestKind): RateWindow {
    const { requests, millis } = rates[kind]
    const known = this.#paces.get(kind) ?? new RateWindow(requests, millis)
    this.#paces.set(kind, known)
    return known
  }

  #repeated<A>(call: Call, once: Effect.Effect<A, ProviderError>): Effect.Effect<A, ProviderError> {
    const isRepeatable = (error: ProviderError): boolean =>
      call.isBilled === true ? error.reason._tag === "ProviderRateLimited" : error.isRetryable
    const { retries = 4 } = this.#options
    const attempt = (left: number): Effect.Effect<A, ProviderError> =>
      Effect.catch(once, (error) =>
        left > 0 && isRepeatable(error)
          ? Effect.andThen(Effect.sleep(pauseMillis(error, retries - left)), attempt(left - 1))
          : Effect.fail(error)
      )
    return attempt(retries)
  }
}

/** As long as the service says; where it does not, doubling from half a second. */
const pauseMillis = (error: ProviderError, failures: number): number =>
  error.reason._tag === "ProviderRateLimited" ? (error.reason.retryAfterMillis ?? 1_000) : 500 * 2 ** failures

const hostOf = (url: string): string => {
  try {
    return new URL(url).host
  } catch {
    return url
  }
}

const besides = (response: HttpClientResponse.HttpClientResponse): Omit<Reply<never>, "value"> => ({
  warnings: warningsOf(response.headers["x-warning"]),
  isPartial: response.status === 206,
  requestId: response.headers["request-id"]
})

/** `["Category: text", ...]`; what cannot be understood is given as it is. */
const warningsOf = (header: string | undefined): ReadonlyArray<Warning> => {
  if (header === undefined || header.trim() === "") return []
  let items: unknown
  try {
    items = JSON.parse(header)
  } catch {
    return [{ category: "Warning", message: header }]
  }
  return (Array.isArray(items) ? items : [items]).map((item): Warning => {
    const text = typeof item === "string" ? item : JSON.stringify(item)
    const [, category = "Warning", message = text] = /^(\w+): (.*)$/s.exec(text) ?? []
    return { category, message }
  })
}
