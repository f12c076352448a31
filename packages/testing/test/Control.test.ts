/** The control plane of a live service that runs: every endpoint, who is let in, and what is said when something is wrong. */
import {
  BackfillJobs,
  type ControlAccess,
  ControlExport,
  ControlHandlers,
  type DataManagerConfig,
  Decimal,
  InstrumentRegistry,
  LiveService,
  MarketStore,
  ProviderRegistry,
  StoreError,
  StoreMigrations,
  StoreUnavailable
} from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  Effect,
  Fiber,
  FileSystem,
  Layer,
  Metric,
  Redacted,
  Schedule,
  type Scope,
  Stream
} from "effect"
import * as TestProvider from "../src/TestProvider.ts"
import { TestVenue } from "../src/TestVenue.ts"
import { memoryDatabase } from "./MemoryStore.ts"

const away = new StoreError({
  operation: "append",
  reason: new StoreUnavailable({ detail: "the database is away", hint: "" })
})

/** What an answer is. */
interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // Tests look into it as they like.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly json: any
}

const json = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

type Level = (typeof DataManagerConfig.logLevels)[number]

/** A service over a venue whose trades the test lets happen, with its control plane. */
const start = Effect.fnUntraced(function* (
  options: {
    readonly databaseOverrides?: boolean
    readonly access?: ControlAccess.ControlAccess
    readonly maxBytes?: number
  } = {}
) {
  const fs = yield* FileSystem.FileSystem
  const database = yield* memoryDatabase()
  yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(database.migrations))
  const memory = yield* Effect.map(MarketStore, (each) => each).pipe(Effect.provide(database.store))
  const state: { isAway: boolean; level: Level } = { isAway: false, level: "info" }
  const store: MarketStore["Service"] = {
    ...memory,
    append: (batch, claim) =>
      Effect.suspend(() => (state.isAway ? Effect.fail(away) : memory.append(batch, claim)))
  }
  const venue = new TestVenue({ isManual: true })
  const service = LiveService.layer({
    instance: "test",
    spool: { folder: `${yield* fs.makeTempDirectoryScoped()}/spool`, maxBytes: options.maxBytes ?? 1e9 },
    providers: (register) =>
      Effect.succeed([TestProvider.make(venue, { register, capabilities: { replaySeconds: 0 } })]),
    drainTimeout: "1 second"
  })
  const control = ControlHandlers.layerControl({
    name: "test",
    version: "1.2.3",
    pid: 7,
    configFile: undefined,
    freshnessSeconds: 3600,
    databaseOverrides: options.databaseOverrides ?? true,
    process: Effect.succeed({ residentBytes: 1, heapUsedBytes: 1, eventLoopDelay: { "0.5": 0 } }),
    logLevel: {
      get: () => state.level,
      set: (level) => {
        state.level = level
      }
    }
  })
  const jobs = BackfillJobs.layer({ most: 1 }).pipe(
    Layer.provide(ProviderRegistry.layer([TestProvider.make(venue, { register: memory.registerListings })]))
  )
  const services = Layer.mergeAll(control, jobs).pipe(
    Layer.provideMerge(service),
    Layer.provideMerge(InstrumentRegistry.layerWith({ pollInterval: "20 millis" })),
    Layer.provideMerge(Layer.succeed(MarketStore, store))
  )
  const context = yield* Layer.build(services)
  const handler = yield* Effect.provide(
    ControlHandlers.webHandler(options.access ?? { _tag: "Everybody" }),
    context
  )
  const ask = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    Effect.promise(async (): Promise<Answer> => {
      const response = await handler(
        new Request(`http://localhost:7420${path}`, {
          method,
          headers: {
            host: "localhost:7420",
            ...(body === undefined ? {} : { "content-type": "application/json" }),
            ...headers
          },
          ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) })
        })
      )
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, json: json(text) }
    })
  return { venue, state, ask, context }
})

const within = <A, E>(work: Effect.Effect<A, E, Scope.Scope | NodeServices.NodeServices>) =>
  work.pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const until = (what: string, condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(condition, (holds) => (holds ? Effect.void : Effect.fail("not yet" as const))).pipe(
    Effect.retry({ schedule: Schedule.spaced("10 millis"), times: 1500 }),
    Effect.catch(() => Effect.die(new Error(`never: ${what}`)))
  )

const symbolA = { symbol: "TEST:A", provider: "test" }

describe("the control plane", () => {
  it.live("shows how a service comes up, and what it has done", () =>
    within(
      Effect.gen(function* () {
        const { ask, venue } = yield* start()
        const early = yield* ask("GET", "/ready")
        assert.deepStrictEqual(
          [early.status, early.json],
          [503, { ready: false, detail: "no feed runs yet" }]
        )
        assert.strictEqual((yield* ask("POST", "/symbols", symbolA)).status, 201)
        yield* venue.advance(300)
        const rows = venue.tape.slice(0, 300).filter(({ symbol }) => symbol === "A").length
        yield* until(
          "all written",
          Effect.map(ask("GET", "/status"), (got) => got.json.writer.rows === `${rows}`)
        )
        assert.strictEqual((yield* ask("GET", "/ready")).status, 200)
        const health = yield* ask("GET", "/health")
        assert.deepStrictEqual([health.status, health.json.healthy, health.json.reasons], [200, true, []])
        assert.notInclude(health.text, "\n")
        const { json: status } = yield* ask("GET", "/status")
        assert.deepStrictEqual(
          [status.version, status.pid, status.config_file, status.log_level, status.health.healthy],
          ["1.2.3", 7, null, "info", true]
        )
        const [feed] = status.feeds
        assert.deepStrictEqual(
          [feed.provider, feed.dataset, feed.schema, feed.symbols, feed.state, feed.rows],
          ["test", "TEST", "trades", 1, "running", `${rows}`]
        )
        assert.isTrue(BigInt(feed.last_row_at) >= BigInt(feed.running_since))
      })
    )
  )

  it.live("changes what is collected", () =>
    within(
      Effect.gen(function* () {
        const { ask } = yield* start()
        const added = yield* ask("POST", "/symbols", {
          ...symbolA,
          schemas: ["trades"],
          asset_class: "stock"
        })
        assert.deepInclude(added.json, {
          symbol: "TEST:A",
          dataset: "TEST",
          source: "database",
          asset_class: "stock"
        })
        const feeds = Effect.map(ask("GET", "/status"), (got) => got.json.feeds.length as number)
        yield* until(
          "a feed",
          Effect.map(feeds, (count) => count === 1)
        )
        assert.lengthOf((yield* ask("GET", "/symbols")).json.symbols, 1)
        const removed = yield* ask("DELETE", `/symbols/${encodeURIComponent("TEST:A")}`)
        assert.deepStrictEqual([removed.status, removed.json.symbol], [200, "TEST:A"])
        yield* until(
          "no feed",
          Effect.map(feeds, (count) => count === 0)
        )
        assert.strictEqual((yield* ask("DELETE", "/symbols/TEST:A")).status, 404)
        const short = yield* ask("POST", "/symbols", { symbol: "A", provider: "test" })
        assert.deepStrictEqual([short.status, short.json._tag], [400, "Refused"])
        assert.include(short.json.message, "names no dataset")
      })
    )
  )

  it.live("refuses symbols that would have no effect", () =>
    within(
      Effect.gen(function* () {
        const { ask } = yield* start({ databaseOverrides: false })
        for (const [method, path, body] of [
          ["POST", "/symbols", symbolA],
          ["DELETE", "/symbols/TEST:A", undefined]
        ] as const) {
          const answer = yield* ask(method, path, body)
          assert.strictEqual(answer.status, 409)
          assert.include(answer.json.message, "database_enabled = false")
        }
      })
    )
  )

  it.live("says why it is unhealthy, and that it is over", () =>
    within(
      Effect.gen(function* () {
        const { ask, state, venue } = yield* start({ maxBytes: 15_000 })
        const names = Effect.map(ask("GET", "/health"), (got) =>
          (got.json.reasons as ReadonlyArray<{ readonly name: string }>).map(({ name }) => name)
        )
        for (const symbol of ["TEST:A", "TEST:B", "TEST:C"])
          yield* ask("POST", "/symbols", { symbol, provider: "test" })
        yield* venue.advance(30)
        yield* until(
          "something written",
          Effect.map(ask("GET", "/status"), (got) => got.json.writer.rows !== "0")
        )
        state.isAway = true
        yield* venue.advance(500)
        yield* until(
          "all that goes wrong",
          Effect.map(names, (found) => found.length === 3)
        )
        assert.sameMembers([...(yield* names)], ["spool_filling", "rows_dropped", "writer_problem"])
        const sick = yield* ask("GET", "/health")
        assert.deepStrictEqual([sick.status, sick.json.healthy], [503, false])
        assert.include(sick.json.store.problem, "the database is away")
        assert.match((yield* ask("GET", "/metrics")).text, /^dm_unhealthy\{reason="writer_problem"\} 1$/m)
        state.isAway = false
        // The loss is told for a while.
        yield* until(
          "the rest is over",
          Effect.map(names, (found) => found.join() === "rows_dropped")
        )
      })
    )
  )

  it.live("fetches history on request", () =>
    within(
      Effect.gen(function* () {
        const { ask, venue } = yield* start()
        const order = { symbols: ["TEST:A", "B"], dataset: "TEST", start: "2026-01-05", end: "2026-01-06" }
        const begun = yield* ask("POST", "/backfill", order)
        assert.deepStrictEqual([begun.status, begun.json.provider], [202, "test"])
        const path = `/backfill/${begun.json.id}`
        yield* until(
          "an end",
          Effect.map(ask("GET", path), (got) => got.json.ended_at !== null)
        )
        const { json: done } = yield* ask("GET", path)
        const rows = venue.tape.filter(({ symbol }) => symbol !== "C").length
        assert.deepStrictEqual([done.state, done.rows, done.errors], ["done", rows, []])
        assert.deepStrictEqual(done.chunks, { total: 1, done: 1, failed: 0 })
        for (const wrong of [
          { ...order, symbols: ["B"], dataset: undefined },
          { ...order, start: "soon" },
          { ...order, end: "2026-01-04" },
          { ...order, symbols: [] },
          { ...order, provider: "nobody" },
          { ...order, schema: "ticks" }
        ])
          assert.strictEqual((yield* ask("POST", "/backfill", wrong)).status, 400, JSON.stringify(wrong))
        assert.strictEqual((yield* ask("GET", "/backfill/none")).status, 404)
        assert.strictEqual((yield* ask("DELETE", "/backfill/none")).status, 404)
        assert.strictEqual(
          (yield* ask("DELETE", path)).json.state,
          "done",
          "what has ended stays as it ended"
        )
      })
    )
  )

  it.live("ends a backfill, and has so many at a time", () =>
    within(
      Effect.gen(function* () {
        const { ask, venue } = yield* start()
        // It is tried again after a second: time enough to end it.
        yield* venue.fault({ type: "historyUnavailable" })
        const order = { symbols: ["TEST:A"], start: "2026-01-05", end: "2026-01-06" }
        const { json: begun } = yield* ask("POST", "/backfill", order)
        yield* until(
          "the failure",
          Effect.sync(() => venue.historyRequests === 1)
        )
        assert.strictEqual((yield* ask("POST", "/backfill", order)).status, 409)
        const ended = yield* ask("DELETE", `/backfill/${begun.id}`)
        assert.deepStrictEqual(
          [ended.status, ended.json.state, ended.json.chunks.done],
          [200, "cancelled", 0]
        )
        assert.strictEqual((yield* ask("POST", "/backfill", order)).status, 202)
      })
    )
  )

  it.live("sets the log level, and answers what is no request of its own", () =>
    within(
      Effect.gen(function* () {
        const { ask, state } = yield* start()
        assert.deepStrictEqual((yield* ask("PUT", "/log-level", { level: "debug" })).json, { level: "debug" })
        assert.strictEqual(state.level, "debug")
        const wrong = yield* ask("PUT", "/log-level", { level: "loud" })
        assert.deepStrictEqual([wrong.status, wrong.json._tag], [400, "Refused"])
        assert.include(wrong.json.message, 'at ["level"]')
        assert.strictEqual((yield* ask("PUT", "/log-level", "{")).status, 400)
        assert.strictEqual(
          (yield* ask("PUT", "/log-level", "x", { "content-type": "text/plain" })).status,
          415
        )
        assert.strictEqual(state.level, "debug")
        assert.strictEqual((yield* ask("GET", "/nothing")).status, 404)
      })
    )
  )

  it.live("lists subscriptions, ends them, and forgets those of a client that is gone", () =>
    within(
      Effect.gen(function* () {
        const { ask, context, venue } = yield* start()
        const { memory } = Context.get(context, LiveService.LiveService)
        yield* ask("POST", "/symbols", symbolA)
        const list = Effect.map(ask("GET", "/subscriptions"), ({ json }) => json.subscriptions)
        assert.deepStrictEqual(yield* list, [])
        const client = yield* memory.connect({ clientId: "strategy 7" })
        const topic = yield* client.subscribe({ _tag: "Topic", symbols: ["TEST:A"] })
        const ended = yield* Effect.forkChild(Stream.runCollect(topic.receive))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const other = yield* memory.connect({ clientId: "visitor" })
            yield* other.subscribe({
              _tag: "Filtered",
              symbols: ["ALL_SYMBOLS"],
              minQuantity: Decimal.make(1_000_000n, 0)
            })
            yield* venue.advance(90)
            const rows = venue.tape.slice(0, 90).filter(({ symbol }) => symbol === "A").length
            yield* until(
              "the rows",
              Effect.map(list, (found) => found[0].delivered === `${rows}` && found[0].lag === "0")
            )
            const [mine, visitor] = yield* list
            assert.deepStrictEqual(
              [mine.client, mine.transport, mine.kind, mine.symbols, mine.lost],
              ["strategy 7", "memory", "topic", ["TEST:A"], "0"]
            )
            assert.isAbove(Number(mine.created_at), 0)
            assert.deepStrictEqual([visitor.client, visitor.kind], ["visitor", "filtered"])
          })
        )
        const [only, ...none] = yield* list
        assert.deepStrictEqual(none, [])
        assert.strictEqual((yield* ask("DELETE", `/subscriptions/${only.id}`)).status, 200)
        assert.isAbove((yield* Fiber.join(ended)).length, 0)
        assert.deepStrictEqual(yield* list, [])
        assert.strictEqual((yield* ask("DELETE", `/subscriptions/${only.id}`)).status, 404)
      })
    )
  )

  it.live("tells its metrics and its subscribers, and describes itself", () =>
    within(
      Effect.gen(function* () {
        const { ask, venue } = yield* start()
        yield* ask("POST", "/symbols", symbolA)
        yield* venue.advance(100)
        const rows = venue.tape.slice(0, 100).filter(({ symbol }) => symbol === "A").length
        yield* until(
          "the rows",
          Effect.map(ask("GET", "/status"), (got) => got.json.writer.rows === `${rows}`)
        )
        const metrics = yield* ask("GET", "/metrics")
        assert.include(metrics.headers.get("content-type"), "text/plain; version=0.0.4")
        assert.include(
          metrics.text,
          `\ndm_feed_rows_total{provider="test",dataset="TEST",schema="trades"} ${rows}\n`
        )
        assert.include(metrics.text, `\ndm_writer_rows_total ${rows}\n`)
        for (const line of metrics.text.trimEnd().split("\n"))
          assert.match(
            line,
            /^(# (HELP|TYPE) dm_\w+ .+|dm_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? -?[\d.e+-]+)$/
          )
        const { json: who } = yield* ask("GET", "/subscribers")
        assert.deepStrictEqual(who, { subscribers: [], publication: null })
        const { json: document } = yield* ask("GET", "/openapi.json")
        assert.deepStrictEqual(
          Object.entries<object>(document.paths).flatMap(([path, methods]) =>
            Object.keys(methods).map((method) => `${method} ${path}`)
          ),
          [
            "get /health",
            "get /ready",
            "get /status",
            "get /subscribers",
            "get /metrics",
            "get /symbols",
            "post /symbols",
            "delete /symbols/{symbol}",
            "get /subscriptions",
            "delete /subscriptions/{id}",
            "post /backfill",
            "get /backfill/{id}",
            "delete /backfill/{id}",
            "put /log-level"
          ]
        )
        assert.deepStrictEqual(document.components.securitySchemes, {
          bearer: { type: "http", scheme: "bearer" }
        })
      })
    )
  )
})

it.live("metrics go into those of Effect, for exporters", () =>
  within(
    Effect.gen(function* () {
      const { ask, context, venue } = yield* start()
      const counted = Effect.map(Metric.snapshot, (snapshots) =>
        snapshots.find(({ attributes, id }) => id === "dm_feed_rows_total" && attributes?.provider === "test")
      )
      yield* Layer.build(Layer.provide(ControlExport.layer("10 millis"), Layer.succeedContext(context)))
      yield* ask("POST", "/symbols", symbolA)
      yield* venue.advance(90)
      const rows = venue.tape.slice(0, 90).filter(({ symbol }) => symbol === "A").length
      yield* until(
        "the rows",
        Effect.map(counted, (found) => found?.type === "Counter" && Number(found.state.count) === rows)
      )
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
)

describe("who may ask", () => {
  const everywhere = ["/health", "/metrics", "/openapi.json", "/nothing"]

  it.live("with a token: who bears it, and nobody else", () =>
    within(
      Effect.gen(function* () {
        const { ask } = yield* start({ access: { _tag: "Token", token: Redacted.make("the-token") } })
        const given = (path: string, authorization?: string) =>
          Effect.map(
            ask("GET", path, undefined, authorization === undefined ? {} : { authorization }),
            ({ status }) => status
          )
        for (const path of everywhere) {
          for (const wrong of [
            undefined,
            "Bearer",
            "Bearer the-toke",
            "Bearer the-token2",
            "Basic the-token",
            "Bearer tHe-token"
          ])
            assert.strictEqual(yield* given(path, wrong), 401, `${path} ${wrong}`)
          assert.notStrictEqual(yield* given(path, "bearer the-token"), 401, path)
        }
        const refused = yield* ask("DELETE", "/symbols/TEST:A")
        assert.deepStrictEqual([refused.status, refused.headers.get("www-authenticate")], [401, "Bearer"])
        assert.notInclude(refused.text, "the-token")
      })
    )
  )

  it.live("without one: programs of this machine, and no page in a browser", () =>
    within(
      Effect.gen(function* () {
        const { ask } = yield* start({ access: { _tag: "Loopback" } })
        const given = (headers: Record<string, string>) =>
          Effect.map(ask("GET", "/metrics", undefined, headers), ({ status }) => status)
        for (const host of ["localhost", "127.0.0.1:7420", "[::1]:7420", "LOCALHOST:7420"])
          assert.strictEqual(yield* given({ host }), 200, host)
        for (const host of ["evil.example", "127.0.0.1.evil.example:7420", "10.0.0.1"])
          assert.strictEqual(yield* given({ host }), 403, host)
        assert.strictEqual(yield* given({ origin: "http://localhost:3000" }), 403)
      })
    )
  )
})
