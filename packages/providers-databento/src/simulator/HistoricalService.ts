/** The historical HTTP service on loopback: one fiber per request around endpoints that are plain functions. */
import * as http from "node:http"
import * as https from "node:https"
import { Clock, Effect, FiberSet, type Scope } from "effect"
import type { DbnVersion } from "../dbn/Layout.ts"
import { BatchJobs } from "./BatchJobs.ts"
import type { Catalogue } from "./Catalogue.ts"
import type { ServerCertificate } from "./Certificate.ts"
import { type HttpFault, HttpFaults, httpFaultOf } from "./HttpFault.ts"
import { caseProblem, HttpProblem, type HttpReply, problemReply } from "./HttpReply.ts"
import { HOST, listen } from "./Listener.ts"
import { type Endpoint, metadataEndpoints } from "./MetadataEndpoint.ts"
import { RequestForm } from "./RequestForm.ts"
import type { SimulatorError } from "./SimulatorError.ts"
import { symbologyEndpoints } from "./SymbologyEndpoint.ts"
import { timeseriesEndpoints } from "./TimeseriesEndpoint.ts"

/** Settings of the service. */
export interface HistoricalServiceOptions {
  /** Default 0: any free one. */
  readonly port?: number | undefined
  /** DBN version of answers; default 3. */
  readonly version?: DbnVersion | undefined
  /** Milliseconds that a batch job is queued, and again processed, before it is done. Default 0. */
  readonly batchStepMillis?: number | undefined
  /** Serves https with this certificate; absent: http. */
  readonly certificate?: ServerCertificate | undefined
}

/** A running service. */
export interface HistoricalService {
  readonly port: number
  /** `http://127.0.0.1:PORT`, or https. */
  readonly url: string
  /** What goes wrong with the requests to come. */
  readonly faults: HttpFaults
  readonly jobs: BatchJobs
  /** Requests received so far whose path contains `path`. */
  readonly requests: (path: string) => number
  /** Requests whose answers are under way. */
  readonly open: () => number
}

/** Most bytes of a request's body; 2,000 symbols take a fraction. */
const MAX_BODY = 1 << 20

/** Starts a service that ends with its scope. */
export const makeHistoricalService = (
  catalogue: Catalogue,
  key: string,
  options: HistoricalServiceOptions = {}
): Effect.Effect<HistoricalService, SimulatorError, Scope.Scope> =>
  Effect.gen(function* () {
    const version = options.version ?? 3
    const faults = new HttpFaults()
    const jobs = new BatchJobs({ stepMillis: options.batchStepMillis, version })
    const counts = new Map<string, number>()
    const run = yield* FiberSet.makeRuntime()
    const endpoints = new Map<string, Endpoint>([
      ...named("metadata", metadataEndpoints),
      ...named("symbology", symbologyEndpoints),
      ...named("timeseries", timeseriesEndpoints(version))
    ])
    let received = 0
    let open = 0
    const { certificate } = options
    const scheme = certificate === undefined ? "http" : "https"
    const onRequest = (request: http.IncomingMessage, response: http.ServerResponse): void => {
      const path = (request.url ?? "/").replace(/\?.*$/, "")
      counts.set(path, (counts.get(path) ?? 0) + 1)
      received += 1
      open += 1
      response.on("close", () => {
        open -= 1
      })
      response.setHeader("request-id", received.toString(16).padStart(32, "0"))
      response.on("error", () => {})
      request.on("error", () => {})
      const own = faults.take(path)
      run(
        Effect.gen(function* () {
          const body = yield* readBody(request)
          const now = yield* Clock.currentTimeNanos
          const reply = answer({ request, body, path, key, catalogue, endpoints, jobs, scheme, now })
          yield* send(request, response, reply, own)
        }).pipe(Effect.onError(() => Effect.sync(() => response.destroy())))
      )
    }
    const server = yield* listen<http.Server | https.Server>(
      "historical service",
      () =>
        certificate === undefined
          ? http.createServer(onRequest)
          : https.createServer({ key: certificate.privateKey, cert: certificate.certificate }, onRequest),
      options.port ?? 0
    )
    return {
      port: server.port,
      url: `${scheme}://${HOST}:${server.port}`,
      faults,
      jobs,
      requests: (path) =>
        [...counts].reduce((sum, [known, count]) => (known.includes(path) ? sum + count : sum), 0),
      open: () => open
    }
  })

const named = (
  family: string,
  endpoints: { readonly [name: string]: Endpoint }
): ReadonlyArray<readonly [string, Endpoint]> =>
  Object.entries(endpoints).map(([name, endpoint]) => [`${family}.${name}`, endpoint])

/** A request with everything that its answer depends on. */
interface Call {
  readonly request: http.IncomingMessage
  /** Undefined where it was too long. */
  readonly body: string | undefined
  readonly path: string
  readonly key: string
  readonly catalogue: Catalogue
  readonly endpoints: ReadonlyMap<string, Endpoint>
  readonly jobs: BatchJobs
  readonly scheme: string
  readonly now: bigint
}

const readBody = (request: http.IncomingMessage): Effect.Effect<string | undefined> =>
  Effect.callback<string | undefined>((resume) => {
    const chunks: Array<Buffer> = []
    let length = 0
    request.on("data", (chunk: Buffer) => {
      length += chunk.length
      if (length <= MAX_BODY) chunks.push(chunk)
    })
    request.on("end", () =>
      resume(Effect.succeed(length > MAX_BODY ? undefined : Buffer.concat(chunks).toString()))
    )
    request.on("close", () => resume(Effect.interrupt))
  })

const answer = (call: Call): HttpReply => {
  try {
    return route(call)
  } catch (error) {
    if (error instanceof HttpProblem) return problemReply(error)
    return problemReply(new HttpProblem(500, error instanceof Error ? error.message : String(error)))
  }
}

const isAuthorized = (header: string | undefined, key: string): boolean =>
  header === `Basic ${Buffer.from(`${key}:`).toString("base64")}`

const route = (call: Call): HttpReply => {
  const { request, path, jobs, catalogue, now } = call
  if (!isAuthorized(request.headers.authorization, call.key))
    throw caseProblem(401, "auth_authentication_failed", "Authentication failed.")
  if (call.body === undefined) throw new HttpProblem(413, "The request is too long")
  const file = /^\/v0\/batch\/download\/(.+)$/.exec(path)
  if (file !== null) return jobs.download(file[1] as string, request.headers.range, now)
  const [, family = "", name = ""] = /^\/v0\/(\w+)\.(\w+)$/.exec(path) ?? []
  const form = requestForm(call)
  const base = `${call.scheme}://${request.headers.host ?? HOST}`
  const reply =
    family === "batch"
      ? jobs.answer(name, form, catalogue, base, now)
      : call.endpoints.get(`${family}.${name}`)?.(form, catalogue)
  if (reply === undefined) throw new HttpProblem(404, "Not Found")
  return reply
}

/** Parameters of the body for POST, of the query for GET. */
const requestForm = ({ request, body }: Call): RequestForm => {
  if (request.method === "POST") return new RequestForm("body", new URLSearchParams(body))
  if (request.method !== "GET") throw new HttpProblem(405, "Method Not Allowed")
  const at = request.url?.indexOf("?") ?? -1
  return new RequestForm("query", new URLSearchParams(at < 0 ? "" : request.url?.slice(at)))
}

const faultReply = (fault: Extract<HttpFault, { type: "status" }>): HttpReply => ({
  status: fault.status,
  headers: {
    "content-type": fault.contentType ?? (fault.body === undefined ? "application/json" : "text/html"),
    ...(fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) })
  },
  body: fault.body ?? JSON.stringify({ detail: fault.detail ?? `Simulated error ${fault.status}` })
})

/** Sends an answer, with what is to go wrong. */
const send = (
  request: http.IncomingMessage,
  response: http.ServerResponse,
  sound: HttpReply,
  faults: ReadonlyArray<HttpFault>
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const delay = httpFaultOf(faults, "delay")
    if (delay !== undefined) yield* Effect.sleep(delay.millis)
    const status = httpFaultOf(faults, "status")
    const reply = status === undefined ? sound : faultReply(status)
    const warning = httpFaultOf(faults, "warning")
    if (warning !== undefined) response.setHeader("X-Warning", JSON.stringify(warning.warnings))
    response.writeHead(reply.status, reply.headers)
    response.flushHeaders()
    const body = typeof reply.body === "string" ? [Buffer.from(reply.body)] : reply.body
    yield* sendBody(request, response, body instanceof Uint8Array ? [body] : body, faults)
  })

/** The fault that ends a body early. */
const endingOf = (faults: ReadonlyArray<HttpFault>) =>
  httpFaultOf(faults, "cut") ??
  httpFaultOf(faults, "shortBody") ??
  httpFaultOf(faults, "reset") ??
  httpFaultOf(faults, "stall")

const sendBody = (
  request: http.IncomingMessage,
  response: http.ServerResponse,
  chunks: Iterable<Uint8Array>,
  faults: ReadonlyArray<HttpFault>
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const ending = endingOf(faults)
    const piece = httpFaultOf(faults, "split")?.bytes ?? Number.POSITIVE_INFINITY
    let left = ending?.afterBytes ?? Number.POSITIVE_INFINITY
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length && left > 0 && !response.destroyed; ) {
        const size = Math.min(piece, left, chunk.length - at)
        yield* writeOut(response, chunk.subarray(at, at + size))
        at += size
        left -= size
      }
      if (left <= 0 || response.destroyed) break
    }
    if (ending === undefined || ending.type === "shortBody") response.end()
    else if (ending.type === "cut") response.destroy()
    else if (ending.type === "reset") request.socket.resetAndDestroy()
  })

/** Waits until bytes were taken by the system, or the connection is gone. */
const writeOut = (response: http.ServerResponse, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (response.destroyed) return resume(Effect.void)
    const done = (): void => resume(Effect.void)
    response.once("close", done)
    response.write(bytes, () => {
      response.off("close", done)
      done()
    })
  })
