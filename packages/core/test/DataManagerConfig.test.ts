import { assert, describe, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import * as Config from "../src/DataManagerConfig.ts"

const problems = (raw: unknown): ReadonlyMap<string, string> => {
  const decoded = Config.decode(raw)
  assert.isTrue(Result.isFailure(decoded), "expected issues")
  return new Map(Result.isFailure(decoded) ? decoded.failure.map(({ key, problem }) => [key, problem]) : [])
}

const decoded = (raw: unknown): Config.DataManagerConfig => Result.getOrThrow(Config.decode(raw))

describe("defaults", () => {
  it("are those of the original file", () => {
    const { service, database, providers, symbols, realtime, backfill, retention } = Config.defaults
    assert.deepStrictEqual(service, { name: "data-manager", logLevel: "info", logFormat: "text" })
    assert.strictEqual(database.url, undefined)
    assert.deepStrictEqual([database.maxConnections, database.minConnections], [20, 5])
    assert.deepStrictEqual(providers.databento, {
      enabled: true,
      apiKeyEnv: "DATABENTO_API_KEY",
      historicalUrl: "https://hist.databento.com",
      datasets: ["GLBX.MDP3", "XNAS.ITCH"]
    })
    assert.isFalse(providers.binance.enabled)
    assert.strictEqual(symbols.configFile, "config/symbols.toml")
    assert.deepStrictEqual([symbols.databaseEnabled, symbols.discoveryEnabled], [true, true])
    assert.strictEqual(symbols.discoveryIntervalHours, 24)
    assert.strictEqual(realtime.transport, "shm")
    assert.deepStrictEqual(realtime.shm, { name: "data_manager_trades", ringBufferCapacity: 1_000_000 })
    assert.strictEqual(realtime.grpc.bindAddress, "0.0.0.0:50051")
    assert.deepStrictEqual([backfill.enabled, backfill.schedule], [true, "0 2 * * *"])
    assert.deepStrictEqual([backfill.maxConcurrentRequests, backfill.chunkSizeDays], [5, 7])
    assert.strictEqual(retention.tradesRetentionDays, undefined)
    assert.strictEqual(retention.compressAfterDays, 7)
  })

  it("as written in the reference decode to themselves", () => {
    for (const doc of Config.keys) {
      if (doc.default === undefined) continue
      const raw = Config.withSettings({}, [{ key: doc.key, value: JSON.parse(doc.default) }])
      assert.deepStrictEqual(decoded(raw), Config.defaults, doc.key)
    }
  })

  it("fill a table of which one key is given", () => {
    const { database } = decoded({ database: { max_connections: 7 } })
    assert.deepStrictEqual([database.maxConnections, database.minConnections], [7, 5])
  })
})

describe("values", () => {
  it("keeps the database address out of anything that prints", () => {
    const config = decoded({ database: { url: "postgresql://user:s3cret@localhost/trading" } })
    assert.isFalse(JSON.stringify(config).includes("s3cret"))
    assert.isFalse(String(config.database.url).includes("s3cret"))
    assert.strictEqual(Redacted.value(config.database.url!), "postgresql://user:s3cret@localhost/trading")
  })

  it("passes a provider package its own options untouched", () => {
    const config = decoded({ providers: { acme: { package: "@acme/feed", base_url: "https://x" } } })
    assert.deepStrictEqual(config.providerPackages, {
      acme: { package: "@acme/feed", enabled: true, base_url: "https://x" }
    })
  })

  it("takes the bounds of every number and refuses what lies beyond", () => {
    assert.strictEqual(decoded({ control: { port: 0 } }).control.port, 0)
    assert.strictEqual(decoded({ control: { port: 65_535 } }).control.port, 65_535)
    for (const port of [-1, 65_536, 1.5, "80", true, null, Number.NaN, [80]])
      assert.isTrue(problems({ control: { port } }).has("control.port"), String(port))
  })
})

describe("problems", () => {
  it("are all reported, each with key, value and what is allowed", () => {
    const found = problems({
      service: { log_level: "verbose" },
      database: { min_connections: -1, max_conections: 3 },
      providers: { databento: { datasets: ["glbx"] } },
      backfill: { schedule: "at noon", timezone: "Mars" },
      realtime: { shm: 3 }
    })
    assert.deepStrictEqual([...found.keys()].sort(), [
      "backfill.schedule",
      "backfill.timezone",
      "database.max_conections",
      "database.min_connections",
      "providers.databento.datasets",
      "realtime.shm",
      "service.log_level"
    ])
    assert.match(found.get("service.log_level")!, /"verbose".*"debug"/)
    assert.match(found.get("database.min_connections")!, /-1.*0 to 1,000 \(connections\)/)
    assert.match(found.get("database.max_conections")!, /did you mean max_connections\?/)
    assert.match(found.get("realtime.shm")!, /expected a table/)
  })

  it("names the table an unknown key belongs to", () => {
    assert.match(
      problems({ ring_buffer_capacity: 2 }).get("ring_buffer_capacity")!,
      /did you mean realtime\.shm\.ring_buffer_capacity\?/
    )
    assert.match(problems({ realtime: { name: "x" } }).get("realtime.name")!, /realtime\.shm\.name/)
    assert.match(problems({ databse: {} }).get("databse")!, /did you mean database\?/)
  })

  it("never repeat a secret or a key written where its variable's name belongs", () => {
    const found = problems({
      database: { url: "mysql://user:s3cret@localhost/x" },
      providers: { databento: { api_key_env: "db-s3cret" } }
    })
    assert.deepStrictEqual([...found.keys()].sort(), ["database.url", "providers.databento.api_key_env"])
    assert.isFalse([...found.values()].join("\n").includes("s3cret"))
  })

  it("answers grpc with shm", () => {
    assert.match(problems({ realtime: { transport: "grpc" } }).get("realtime.transport")!, /use "shm"/)
  })

  it("sees contradictions between keys", () => {
    assert.match(
      problems({ database: { max_connections: 2 } }).get("database.min_connections")!,
      /more than max_connections = 2/
    )
    assert.match(problems({ ha: { heartbeat_seconds: 10 } }).get("ha.heartbeat_seconds")!, /half/)
  })

  it("tells a mistyped provider from one of another package", () => {
    assert.match(
      problems({ providers: { binence: { enabled: true } } }).get("providers.binence")!,
      /package = .*did you mean providers\.binance\?/
    )
  })

  it("survive any input", () => {
    for (const raw of [
      undefined,
      null,
      3,
      "x",
      [],
      new Date(),
      { "": 1 },
      { service: [] },
      { service: null }
    ])
      assert.isTrue(Result.isFailure(Config.decode(raw)), String(raw))
    const long = "k".repeat(100_000)
    assert.isTrue(problems({ [long]: 1 }).has(long))
  })
})

describe("environment", () => {
  it("overrides every key by its path", () => {
    const samples: Record<Config.ValueType, string> = {
      text: "x",
      integer: "12",
      number: "1.5",
      boolean: "off",
      list: "a, b"
    }
    const values = { text: "x", integer: 12, number: 1.5, boolean: false, list: ["a", "b"] }
    for (const doc of Config.keys) {
      const { settings, issues } = Config.environment({ [doc.env[0]!]: samples[doc.type] })
      assert.deepStrictEqual(settings, [{ variable: doc.env[0]!, key: doc.key, value: values[doc.type] }])
      assert.deepStrictEqual(issues, [])
    }
  })

  it("goes before the file, and the full name before the short one", () => {
    const raw = { service: { log_level: "warn" }, database: { min_connections: 1 } }
    const { settings } = Config.environment({
      DM_LOG_LEVEL: "debug",
      DM_DATA_DIR: "/data",
      DM_CONFIG: "x.toml"
    })
    const config = decoded(Config.withSettings(raw, settings))
    assert.strictEqual(config.service.logLevel, "debug")
    assert.strictEqual(config.database.dataDir, "/data")
    assert.strictEqual(config.database.minConnections, 1)
    assert.deepStrictEqual(raw, { service: { log_level: "warn" }, database: { min_connections: 1 } })
    const both = Config.environment({ DM_LOG_LEVEL: "debug", DM_SERVICE_LOG_LEVEL: "error" })
    assert.deepStrictEqual(
      both.settings.map(({ value }) => value),
      ["error"]
    )
  })

  it("counts an empty variable as not set", () => {
    assert.deepStrictEqual(Config.environment({ DM_DATABASE_URL: "" }), { settings: [], issues: [] })
  })

  it("reports a variable that names no setting, and keeps to its own", () => {
    const { issues } = Config.environment({ DM_DATABASE_MAX_CONECTIONS: "3", DM_OTHER: "1", PATH: "/bin" })
    assert.deepStrictEqual(
      issues.map(({ key }) => key),
      ["DM_DATABASE_MAX_CONECTIONS"]
    )
    assert.match(issues[0]!.problem, /DM_DATABASE_MAX_CONNECTIONS/)
  })

  it("leaves text that is no number for the schema to refuse", () => {
    const { settings } = Config.environment({ DM_DATABASE_MAX_CONNECTIONS: "many" })
    assert.match(problems(Config.withSettings({}, settings)).get("database.max_connections")!, /"many"/)
  })
})

describe("suggest", () => {
  it("finds near words and nothing far", () => {
    const words = ["retention", "realtime", "backfill"]
    assert.strictEqual(Config.suggest("retenton", words), "retention")
    assert.strictEqual(Config.suggest("realtmie", words), "realtime")
    assert.strictEqual(Config.suggest("kitchen", words), undefined)
  })
})
