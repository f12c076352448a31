/** What the HTTP service answers: JSON, streams of bytes, and the vendor's forms of errors. */

/** An answer. A body that is a list of chunks is made while it is sent. */
export interface HttpReply {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: string | Uint8Array | Iterable<Uint8Array>
}

const JSON_TYPE = { "content-type": "application/json" }

/** A JSON document. */
export const json = (value: unknown, status = 200): HttpReply => ({
  status,
  headers: JSON_TYPE,
  body: JSON.stringify(value)
})

/** A stream of bytes without a length: chunked. */
export const stream = (chunks: Iterable<Uint8Array>, type: string, status = 200): HttpReply => ({
  status,
  headers: { "content-type": type },
  body: chunks
})

/** A request that is answered by an error. Thrown by whoever finds it. */
export class HttpProblem extends Error {
  readonly status: number
  readonly detail: unknown

  constructor(status: number, detail: unknown) {
    super(typeof detail === "string" ? detail : JSON.stringify(detail))
    this.status = status
    this.detail = detail
  }
}

/** The error as most endpoints tell it: a case for programs, a message for people. */
export const caseProblem = (status: number, name: string, message: string, payload?: unknown): HttpProblem =>
  new HttpProblem(status, {
    case: name,
    message,
    status_code: status,
    docs: "https://databento.com/docs/api-reference-historical",
    ...(payload === undefined ? {} : { payload })
  })

/** A parameter that is missing or malformed: the list form of `detail`. */
export const parameterProblem = (place: "body" | "query", name: string, message: string): HttpProblem =>
  new HttpProblem(422, [{ loc: [place, name], msg: message, type: "value_error" }])

/** The answer that tells a problem. */
export const problemReply = (problem: HttpProblem): HttpReply =>
  json({ detail: problem.detail }, problem.status)
