/** What can go wrong with an HTTP request, on request. */

/** One thing that goes wrong. `afterBytes` counts bytes of the body. */
export type HttpFault =
  /** An error instead of the answer. `body` (default: `{"detail": ...}`) may be HTML or empty. */
  | {
      readonly type: "status"
      readonly status: number
      readonly retryAfter?: number | undefined
      readonly detail?: unknown
      readonly body?: string | undefined
      readonly contentType?: string | undefined
    }
  /** The answer begins late. */
  | { readonly type: "delay"; readonly millis: number }
  /** The connection is cut inside the body: the chunked coding stays open, or the length is not reached. */
  | { readonly type: "cut"; readonly afterBytes: number }
  /** The body ends early although everything looks well: a stream without a length says nothing about it. */
  | { readonly type: "shortBody"; readonly afterBytes: number }
  /** The connection is reset (RST) inside the body. */
  | { readonly type: "reset"; readonly afterBytes: number }
  /** Nothing more comes, the connection stays open. */
  | { readonly type: "stall"; readonly afterBytes: number }
  /** The body comes in pieces of so many bytes. */
  | { readonly type: "split"; readonly bytes: number }
  /** An `X-Warning` header; texts are `Category: text`. */
  | { readonly type: "warning"; readonly warnings: ReadonlyArray<string> }

interface Rule {
  readonly path: string
  readonly faults: ReadonlyArray<HttpFault>
  times: number
}

/** Faults of the requests to come. */
export class HttpFaults {
  readonly #rules: Array<Rule> = []

  /** Faults of the next `times` requests (default 1) whose path contains `path`, such as `timeseries.get_range`. */
  next(path: string, faults: HttpFault | ReadonlyArray<HttpFault>, times = 1): void {
    this.#rules.push({ path, faults: Array.isArray(faults) ? faults : [faults as HttpFault], times })
  }

  /** Every later request is sound. */
  clear(): void {
    this.#rules.length = 0
  }

  /** The faults of a request that arrives now. */
  take(path: string): ReadonlyArray<HttpFault> {
    const at = this.#rules.findIndex((rule) => path.includes(rule.path))
    const rule = this.#rules[at]
    if (rule === undefined) return []
    rule.times -= 1
    if (rule.times <= 0) this.#rules.splice(at, 1)
    return rule.faults
  }
}

/** The fault of a type among those of a request. */
export const httpFaultOf = <T extends HttpFault["type"]>(
  faults: ReadonlyArray<HttpFault>,
  type: T
): Extract<HttpFault, { type: T }> | undefined =>
  faults.find((fault): fault is Extract<HttpFault, { type: T }> => fault.type === type)
