/**
 * What a user may get wrong, and what networks do: each is a typed error whose text tells what to do next, and none of them,
 * nor anything logged on the way, shows the key.
 */
import { inspect } from "node:util"
import {
  type HistoryRequest,
  LocalInstruments,
  type Provider,
  ProviderError,
  type ProviderErrorReason,
  UnixNanos
} from "@data-manager/core"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Clock, Effect, Layer, Logger, Redacted, References, Stream } from "effect"
import { afterAll, assert, describe, it } from "vitest"
import * as DatabentoProvider from "../src/DatabentoProvider.ts"
import { HistoricalClient } from "../src/historical/HistoricalClient.ts"
import { CatalogueBuilder } from "../src/simulator/Catalogue.ts"
import { DatabentoSimulator, SIMULATOR_KEY, type Simulator } from "../src/simulator/DatabentoSimulator.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"

const WRONG_KEY = "db-0123456789abcdefghijKLMNOPQRS"
const keys = [SIMULATOR_KEY, WRONG_KEY]

const catalogue = new CatalogueBuilder().addSynthetic(new SyntheticMarket({ trades: 200 })).build()
const day = { start: UnixNanos.parse("2026-01-05")!, end: UnixNanos.parse("2026-01-06")! }

/** Everything that was said: log lines with their annotations, errors with their causes. */
const said: Array<string> = []
const listener = Logger.make((entry) => {
  said.push(
    inspect([entry.message, entry.cause, entry.fiber.getRef(References.CurrentLogAnnotations)], { depth: 12 })
  )
})

interface Place {
  readonly key?: string
  readonly baseUrl?: (simulator: Simulator) => string
  readonly tls?: boolean
  /** The year of the simulator's clock, which its certificate is of. */
  readonly year?: number
  readonly trusts?: boolean
}

const yearClock = (year: number): Clock.Clock => {
  const millis = Date.UTC(year, 5, 1)
  const nanos = BigInt(millis) * 1_000_000n
  return {
    currentTimeMillisUnsafe: () => millis,
    currentTimeMillis: Effect.succeed(millis),
    currentTimeNanosUnsafe: () => nanos,
    currentTimeNanos: Effect.succeed(nanos),
    monotonicTimeNanosUnsafe: () => nanos,
    monotonicTimeNanos: Effect.succeed(nanos),
    sleep: () => Effect.never
  }
}

const provided = ({ key = SIMULATOR_KEY, baseUrl, tls = false, year, trusts = true }: Place) =>
  Effect.gen(function* () {
    const made = DatabentoSimulator.make({ catalogue, tls })
    const simulator = yield* year === undefined
      ? made
      : Effect.provideService(made, Clock.Clock, yearClock(year))
    const ca = trusts ? simulator.authority : undefined
    const client = yield* Layer.build(
      NodeHttpClient.layerUndiciOptions(ca === undefined ? {} : { connect: { ca } })
    )
    const historical = yield* HistoricalClient.make({
      key: Redacted.make(key),
      baseUrl: baseUrl?.(simulator) ?? simulator.http.url,
      retries: 0
    }).pipe(Effect.provide(client))
    const { register } = LocalInstruments.make()
    const address = { host: "127.0.0.1", port: simulator.live.port }
    const live = { apiKey: Redacted.make(key), address }
    return { simulator, provider: DatabentoProvider.make({ historical, register, live }) }
  })

/** The error of work with a provider. */
const failureOf = (
  place: Place,
  work: (provider: Provider, simulator: Simulator) => Effect.Effect<unknown, unknown>
): Promise<ProviderError> =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(
      Effect.flatMap(provided(place), ({ provider, simulator }) => Effect.asVoid(work(provider, simulator)))
    )
    said.push(inspect(error, { depth: 20, showHidden: true }), String(error), JSON.stringify(error))
    assert.instanceOf(error, ProviderError)
    said.push(error.message)
    return error
  }).pipe(
    Effect.scoped,
    Effect.provide(Logger.layer([listener])),
    Effect.provideService(References.MinimumLogLevel, "All"),
    Effect.runPromise
  )

const request = (change: Partial<HistoryRequest> = {}): HistoryRequest => ({
  dataset: "DBEQ.BASIC",
  symbols: ["AA"],
  stypeIn: "raw_symbol",
  schema: "trades",
  range: day,
  ...change
})

const history =
  (change: Partial<HistoryRequest> = {}) =>
  (provider: Provider): Effect.Effect<void, unknown> =>
    Stream.runDrain(provider.history(request(change)))

const live =
  (change: Partial<HistoryRequest> = {}) =>
  (provider: Provider): Effect.Effect<void, unknown> =>
    Stream.runDrain(provider.live(request(change)))

/** Live, with a fault of the gateway first. */
const faulty =
  (code: number, text: string) =>
  (provider: Provider, simulator: Simulator): Effect.Effect<void, unknown> => {
    simulator.live.faults.next({ type: "error", afterRecords: 0, code, text })
    return live()(provider)
  }

const html =
  (status: number) =>
  (provider: Provider, simulator: Simulator): Effect.Effect<void, unknown> => {
    const body = "<html><body>Sign in to the network</body></html>"
    simulator.http.faults.next("metadata", { type: "status", status, body, contentType: "text/html" })
    return history()(provider)
  }

type Case = readonly [
  what: string,
  place: Place,
  work: Parameters<typeof failureOf>[1],
  reason: ProviderErrorReason["_tag"],
  ...texts: ReadonlyArray<string>
]

const cases: ReadonlyArray<Case> = [
  ["a missing key", { key: "" }, history(), "ProviderUnauthorized", "is empty", "set DATABENTO_API_KEY"],
  [
    "a malformed key",
    { key: WRONG_KEY.slice(0, 20) },
    history(),
    "ProviderUnauthorized",
    "20 characters",
    "set DATABENTO_API_KEY"
  ],
  [
    "a placeholder",
    { key: "$DATABENTO_API_KEY" },
    history(),
    "ProviderUnauthorized",
    "placeholder",
    "set DATABENTO_API_KEY"
  ],
  [
    "a wrong key, history",
    { key: WRONG_KEY },
    history(),
    "ProviderUnauthorized",
    "401",
    "check DATABENTO_API_KEY"
  ],
  ["a wrong key, live", { key: WRONG_KEY }, live(), "ProviderUnauthorized", "check the API key"],
  [
    "a revoked key, live",
    {},
    faulty(2, "User or API key deactivated"),
    "ProviderUnauthorized",
    "deactivated",
    "make a new API key"
  ],
  ["an unknown dataset, history", {}, history({ dataset: "NO.SUCH" }), "ProviderBadRequest", "NO.SUCH"],
  [
    "an unknown dataset, live",
    {},
    live({ dataset: "NO.SUCH" }),
    "ProviderBadRequest",
    "check the dataset's name"
  ],
  [
    "an unknown schema, history",
    {},
    history({ schema: "depth" }),
    "ProviderBadRequest",
    "no schema depth",
    "there are trades"
  ],
  ["an unknown schema, live", {}, live({ schema: "depth" }), "ProviderBadRequest", "depth"],
  [
    "an unknown symbol, history",
    {},
    history({ symbols: ["NOPE"] }),
    "ProviderBadRequest",
    "NOPE",
    "check the spelling"
  ],
  [
    "an end before the start",
    {},
    history({ range: { start: day.end, end: day.start } }),
    "ProviderBadRequest",
    "empty",
    "must be after its start"
  ],
  [
    "a range outside what exists",
    {},
    history({ range: { start: UnixNanos.parse("1999-01-01")!, end: UnixNanos.parse("1999-01-02")! } }),
    "ProviderBadRequest",
    "422",
    "available"
  ],
  ["a page of a proxy, refused", {}, html(502), "ProviderUnavailable", "HTML", "proxy"],
  ["a page of a proxy, as if all were well", {}, html(200), "ProviderMalformed", "HTML page", "proxy"],
  [
    "a certificate of nobody",
    { tls: true, trusts: false },
    history(),
    "ProviderBadRequest",
    "certificate",
    "NODE_EXTRA_CA_CERTS"
  ],
  [
    "a clock that is wrong by years",
    { tls: true, year: 2019 },
    history(),
    "ProviderBadRequest",
    "certificate",
    "check this machine's clock"
  ],
  [
    "a clock that is behind",
    { tls: true, year: 2090 },
    history(),
    "ProviderBadRequest",
    "certificate",
    "check this machine's clock"
  ],
  [
    "https where there is none",
    { baseUrl: ({ http }) => `https://127.0.0.1:${http.port}` },
    history(),
    "ProviderBadRequest",
    "no https",
    "http://"
  ],
  [
    "a name that does not exist",
    { baseUrl: () => "https://no-such-host.invalid" },
    history(),
    "ProviderDisconnected",
    "cannot be resolved",
    "DNS"
  ],
  [
    "a port that nobody listens at",
    { baseUrl: () => "http://127.0.0.1:1" },
    history(),
    "ProviderDisconnected",
    "refuses the connection",
    "check the address"
  ],
  [
    "an address that is none",
    { baseUrl: () => "hist.databento.com" },
    history(),
    "ProviderBadRequest",
    "no address",
    "https://"
  ],
  [
    "a live stream from the future",
    {},
    (provider) => Stream.runDrain(provider.live(request(), { from: UnixNanos.parse("2200-01-01")! })),
    "ProviderBadRequest",
    "in the future"
  ]
]

describe("bad input", () => {
  it.each(cases.map((one) => [one[0], one] as const))("%s", async (_, [, place, work, reason, ...texts]) => {
    const error = await failureOf(place, work)
    assert.strictEqual(error.reason._tag, reason, error.message)
    for (const text of texts) assert.include(error.message, text)
  })

  it("partial resolution is told: rows of what is known, and mappings for that alone", async () => {
    const requested = await Effect.gen(function* () {
      const { provider } = yield* provided({})
      const events = yield* Stream.runCollect(provider.history(request({ symbols: ["AA", "NOPE"] })))
      return events.flatMap((event) => (event._tag === "Mapping" ? [event.requested] : []))
    }).pipe(Effect.scoped, Effect.runPromise)
    assert.deepStrictEqual(requested, ["AA"])
  })
})

afterAll(() => {
  assert.isAbove(said.length, cases.length)
  for (const text of said) for (const key of keys) assert.notInclude(text, key)
  for (const text of said)
    for (const key of keys) assert.notInclude(text, Buffer.from(`${key}:`).toString("base64"))
})
