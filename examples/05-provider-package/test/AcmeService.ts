/**
 * Acme on this machine, for the tests of its provider: the HTTP service and the live gateway over a tape whose rows are known,
 * with every fault that the cards ask for. It speaks the protocol from the venue's side and shares no code with the provider.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { pipeline, Readable } from "node:stream"
import { LocalInstruments, UnixNanos } from "@data-manager/core"
import type { Credentials, ProviderFault, ProviderService } from "@data-manager/testing"
import { Effect, type Scope } from "effect"
import { provider } from "../src/index.ts"
import { AcmeGateway, type LiveFault } from "./AcmeGateway.ts"
import { batchOf, makeTape, start, symbols, type TapeTrade } from "./AcmeTape.ts"

const dataset = "ACME.SPOT"
const id = "acme"

/** Keys that somebody might have. None of them may appear in anything that is told. */
export const keys = {
  valid: "acme-0123456789abcdef",
  wrong: "acme-fedcba9876543210",
  malformed: "acme?0123"
} as const

/** How the service is made. */
export interface AcmeServiceOptions {
  /** Default 400. */
  readonly trades?: number | undefined
  /** Default: any free ones. */
  readonly httpPort?: number | undefined
  readonly livePort?: number | undefined
}

/** A service, and where it is. */
export interface AcmeService extends ProviderService {
  /** The keys of `[providers.acme]`, and the environment that goes with them. */
  readonly options: { readonly url: string; readonly live: string }
  readonly env: { readonly ACME_KEY: string }
}

/** Starts a service, which ends with the scope. */
export const make = (options: AcmeServiceOptions = {}): Effect.Effect<AcmeService, never, Scope.Scope> =>
  Effect.gen(function* () {
    const tape = makeTape(options.trades ?? 400)
    // A venue tells what it has in whole seconds.
    const last = BigInt(tape[tape.length - 1]!.time)
    const range = { start, end: (last / UnixNanos.PerSecond + 1n) * UnixNanos.PerSecond }
    const http = new HttpService(tape, range)
    const gateway = new AcmeGateway(tape, keys.valid)
    const url = `http://127.0.0.1:${yield* http.listen(options.httpPort ?? 0)}`
    const live = `127.0.0.1:${yield* gateway.listen(options.livePort ?? 0)}`
    const connect = (credentials: Credentials) => {
      const env = credentials === "missing" ? {} : { ACME_KEY: keys[credentials] }
      return provider.make({ id, options: { url, live }, env, register: LocalInstruments.make().register })
    }
    return {
      options: { url, live },
      env: { ACME_KEY: keys.valid },
      connect,
      dataset,
      symbols,
      unknownSymbol: "DOGE-EUR",
      rows: (schema) => (schema === "trades" ? [batchOf(tape, id, dataset)] : []),
      range,
      clock: () => "ts_event",
      fault: (fault) =>
        Effect.sync(() => {
          if (isLive(fault)) gateway.faults.push(fault)
          else http.faults.push(fault)
        }),
      open: Effect.sync(() => http.open + gateway.sessions.size),
      historyRequests: Effect.sync(() => http.historyRequests),
      secrets: Object.values(keys)
    }
  })

const isLive = (fault: ProviderFault): fault is LiveFault => "afterRows" in fault

/** `/v1/listing`, `/v1/count` and `/v1/trades`. */
class HttpService {
  readonly faults: Array<Exclude<ProviderFault, LiveFault>> = []
  open = 0
  historyRequests = 0
  readonly #tape: ReadonlyArray<TapeTrade>
  readonly #range: { readonly start: bigint; readonly end: bigint }

  constructor(tape: ReadonlyArray<TapeTrade>, range: { readonly start: bigint; readonly end: bigint }) {
    this.#tape = tape
    this.#range = range
  }

  /** Listens until the scope closes; gives the port. */
  readonly listen = (port: number): Effect.Effect<number, never, Scope.Scope> =>
    Effect.gen({ self: this }, function* (this: HttpService) {
      const server = createServer((request, response) => {
        this.open += 1
        response.once("close", () => {
          this.open -= 1
        })
        this.#answer(request, response)
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(port, "127.0.0.1", () => resume(Effect.void))
        }),
        () =>
          Effect.callback<void>((resume) => {
            server.close(() => resume(Effect.void))
            server.closeAllConnections()
          })
      )
      return (server.address() as { readonly port: number }).port
    })

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://acme")
    const isTrades = pathname === "/v1/trades"
    if (isTrades) this.historyRequests += 1
    if (request.headers["x-api-key"] !== keys.valid) json(response, 401, { error: "unknown key" })
    else if (pathname === "/v1/listing") json(response, 200, this.#listing())
    else if (pathname === "/v1/count") json(response, 200, { count: `${this.#select(searchParams).length}` })
    else if (isTrades) this.#trades(response, this.#select(searchParams))
    else json(response, 404, { error: "no such path" })
  }

  #trades(response: ServerResponse, trades: ReadonlyArray<TapeTrade>): void {
    const fault = this.faults.shift()?.type
    if (fault === "historyUnavailable") json(response, 503, { error: "out of order" })
    else if (fault === "historyRateLimited")
      json(response, 429, { error: "slow down" }, { "retry-after": "2" })
    else if (fault === "historyGarbage") response.setHeader("content-type", "text/html").end("<h1>Proxy</h1>")
    else send(response, trades, fault === "historyCut")
  }

  #listing(): object {
    const { end, start } = this.#range
    const listed = symbols.map((symbol) => ({ symbol, listed: `${start}` }))
    return { start: `${start}`, end: `${end}`, symbols: listed }
  }

  #select(params: URLSearchParams): ReadonlyArray<TapeTrade> {
    const asked = (params.get("symbols") ?? "").split(",")
    const [from, to] = [BigInt(params.get("start") ?? 0), BigInt(params.get("end") ?? 0)]
    return this.#tape.filter(
      ({ symbol, time }) => asked.includes(symbol) && from <= BigInt(time) && BigInt(time) < to
    )
  }
}

const json = (
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {}
): void =>
  void response
    .writeHead(status, { "content-type": "application/json", ...headers })
    .end(JSON.stringify(body))

/** Lines as fast as the client reads them; a cut answer ends in the middle of one. */
const send = (response: ServerResponse, trades: ReadonlyArray<TapeTrade>, isCut: boolean): void => {
  response.setHeader("content-type", "application/x-ndjson")
  const lines = [...trades, { end: trades.length }].map((line) => `${JSON.stringify(line)}\n`)
  if (isCut) {
    const text = lines.slice(0, trades.length >> 1).join("")
    response.write(text.slice(0, -10), () => response.destroy())
  } else pipeline(Readable.from(lines), response, () => {})
}
