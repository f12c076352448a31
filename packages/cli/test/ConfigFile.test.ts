import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DataManagerConfig } from "@data-manager/core"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as ConfigFile from "../src/ConfigFile.ts"

const folder = mkdtempSync(join(tmpdir(), "dm-config-"))
afterAll(() => rmSync(folder, { recursive: true }))

const original = readFileSync(new URL("./fixtures/original-data-manager.toml", import.meta.url), "utf8")
const originalWithoutNull = original
  .split("\n")
  .filter((line) => !line.includes("null"))
  .join("\n")

let files = 0
const fileWith = (text: string): string => {
  const path = join(folder, `file-${files++}.toml`)
  writeFileSync(path, text)
  return path
}

const request = (
  path?: string,
  env: Record<string, string> = {},
  dataDir?: string
): ConfigFile.ConfigRequest => ({
  path,
  env,
  cwd: folder,
  dataDir
})

const loaded = (text: string, env: Record<string, string> = {}) =>
  ConfigFile.load(request(fileWith(text), env))
const refused = (text: string, env: Record<string, string> = {}) => Effect.flip(loaded(text, env))

describe("the original file", () => {
  it.effect("loads without its null, with the values it states, which are the defaults", () =>
    Effect.gen(function* () {
      const { config } = yield* loaded(originalWithoutNull)
      const { database, ...rest } = config
      const { url, ...connections } = database
      assert.strictEqual(Redacted.value(url!), "postgresql://user:pass@localhost/trading_data")
      const { database: defaultDatabase, ...defaults } = DataManagerConfig.defaults
      assert.deepStrictEqual(connections, defaultDatabase)
      assert.deepStrictEqual(rest, defaults)
    })
  )

  it.effect("as it is: its null is answered with what to do", () =>
    Effect.gen(function* () {
      const error = yield* refused(original)
      assert.strictEqual(error.issues.length, 1)
      assert.strictEqual(error.issues[0]!.key, "retention.trades_retention_days")
      assert.strictEqual(original.split("\n")[error.issues[0]!.line! - 1], "trades_retention_days = null")
      assert.match(error.message, /delete this line to keep data for ever/)
    })
  )
})

describe("which file", () => {
  it.effect("a named file that is missing is an error, by option and by variable", () =>
    Effect.gen(function* () {
      for (const missing of [request("nowhere.toml"), request(undefined, { DM_CONFIG: "nowhere.toml" })]) {
        const error = yield* Effect.flip(ConfigFile.load(missing))
        assert.strictEqual(error.source, join(folder, "nowhere.toml"))
        assert.match(error.message, /no such file; `dm init` writes one/)
      }
    })
  )

  it.effect("none named and none there: the defaults", () =>
    Effect.gen(function* () {
      const { config, file } = yield* ConfigFile.load(request())
      assert.strictEqual(file, undefined)
      assert.deepStrictEqual(config, DataManagerConfig.defaults)
    })
  )

  it.effect("option before variable before ./data-manager.toml before ./config/data-manager.toml", () =>
    Effect.gen(function* () {
      const cwd = join(folder, "which")
      mkdirSync(join(cwd, "config"), { recursive: true })
      const put = (path: string) =>
        writeFileSync(join(cwd, path), `[service]\nname = "${path.replace(/\W/g, "-")}"\n`)
      const name = (path: string | undefined, env: Record<string, string>) =>
        Effect.map(ConfigFile.load({ path, env, cwd }), ({ config }) => config.service.name)
      put("config/data-manager.toml")
      assert.strictEqual(yield* name(undefined, {}), "config-data-manager-toml")
      put("data-manager.toml")
      assert.strictEqual(yield* name(undefined, {}), "data-manager-toml")
      put("by-variable.toml")
      assert.strictEqual(yield* name(undefined, { DM_CONFIG: "by-variable.toml" }), "by-variable-toml")
      put("by-option.toml")
      assert.strictEqual(yield* name("by-option.toml", { DM_CONFIG: "by-variable.toml" }), "by-option-toml")
    })
  )

  it.effect("a folder, a device and a huge file are refused", () =>
    Effect.gen(function* () {
      assert.match((yield* Effect.flip(ConfigFile.load(request(folder)))).message, /is a folder/)
      assert.match((yield* refused("#".repeat(2_000_000))).message, /larger than 1 MiB/)
      const endless = join(folder, "endless.toml")
      symlinkSync("/dev/zero", endless)
      assert.match((yield* Effect.flip(ConfigFile.load(request(endless)))).message, /larger than 1 MiB/)
    })
  )
})

describe("problems", () => {
  it.effect("carry file, line, key, value and what is allowed, in the order of lines", () =>
    Effect.gen(function* () {
      const error = yield* refused(
        [
          "[databse]",
          "x = 1",
          "[database]",
          "max_connections = 0",
          "min_conections = 3",
          "[backfill]",
          'schedule = "at noon"',
          "[retention]",
          "compress_after_days = null"
        ].join("\n")
      )
      const lines = error.message.split("\n")
      assert.strictEqual(lines.length, 5)
      assert.match(lines[0]!, /file-\d+\.toml:1: databse: unknown key; did you mean database\?/)
      assert.match(
        lines[1]!,
        /:4: database\.max_connections: 0 is not allowed; expected a whole number from 2 to 1,000/
      )
      assert.match(lines[2]!, /:5: database\.min_conections: unknown key; did you mean min_connections\?/)
      assert.match(lines[3]!, /:7: backfill\.schedule: "at noon" is not allowed; expected a cron expression/)
      assert.match(lines[4]!, /:9: retention\.compress_after_days: .*delete this line to use the default/)
    })
  )

  it.effect("of values inside a list or an inline table point at their key", () =>
    Effect.gen(function* () {
      const list = yield* refused('[providers.databento]\ndatasets = [\n  "GLBX.MDP3",\n  7\n]\n')
      assert.deepStrictEqual([list.issues[0]!.key, list.issues[0]!.line], ["providers.databento.datasets", 2])
      const inline = yield* refused('\nrealtime = { shm = { name = "a b" } }\n')
      assert.deepStrictEqual([inline.issues[0]!.key, inline.issues[0]!.line], ["realtime.shm.name", 2])
    })
  )

  it.effect("of syntax name the line and never repeat the text", () =>
    Effect.gen(function* () {
      for (const line of [
        "url = postgresql://user:s3cret@localhost/x",
        'url = "postgresql://user:s3cret@localhost/x',
        "url = 'postgresql://user:s3cret@localhost/x",
        'url = "postgresql://user:\\s3cret@localhost/x"'
      ]) {
        const error = yield* refused(`[database]\n${line}\n`)
        assert.match(error.message, /:[23]: not valid TOML/)
        assert.isFalse(error.message.includes("s3cret"), error.message)
      }
    })
  )

  it.effect("of a variable name the variable", () =>
    Effect.gen(function* () {
      const error = yield* refused("", { DM_DATABASE_MAX_CONNECTIONS: "many", DM_SPOOL_DIRR: "x" })
      assert.strictEqual(error.source, "environment")
      assert.deepStrictEqual(error.issues.map(({ key }) => key).sort(), [
        "DM_DATABASE_MAX_CONNECTIONS",
        "DM_SPOOL_DIRR"
      ])
    })
  )

  it.effect("grpc is refused with the way out", () =>
    Effect.gen(function* () {
      const error = yield* refused('[realtime]\ntransport = "grpc"\n')
      assert.match(error.message, /:2: realtime\.transport: .*use "shm"/)
    })
  )
})

describe("layers and paths", () => {
  it.effect("command line before environment before file", () =>
    Effect.gen(function* () {
      const path = fileWith('[database]\ndata_dir = "from-file"\n')
      const dir = (env: Record<string, string>, option?: string) =>
        Effect.map(ConfigFile.load(request(path, env, option)), ({ config }) => config.database.dataDir)
      assert.strictEqual(yield* dir({}), join(folder, "from-file"))
      assert.strictEqual(yield* dir({ DM_DATA_DIR: "/from-env" }), "/from-env")
      assert.strictEqual(yield* dir({ DM_DATA_DIR: "/from-env" }, "from-option"), join(folder, "from-option"))
    })
  )

  it.effect("paths in a file are relative to it, the symbols file falls back to the working directory", () =>
    Effect.gen(function* () {
      const config = join(folder, "paths")
      mkdirSync(config)
      writeFileSync(
        join(config, "dm.toml"),
        '[spool]\ndir = "spool"\n[symbols]\nconfig_file = "symbols.toml"\n'
      )
      const result = yield* ConfigFile.load(request("paths/dm.toml"))
      assert.strictEqual(result.config.spool.dir, join(config, "spool"))
      assert.strictEqual(ConfigFile.symbolsFile(result, folder), join(folder, "symbols.toml"))
      writeFileSync(join(config, "symbols.toml"), "")
      assert.strictEqual(ConfigFile.symbolsFile(result, folder), join(config, "symbols.toml"))
    })
  )
})
