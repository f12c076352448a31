import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { CliConfig, CliOutput, Command } from "effect/cli"
import type { Action } from "../src/Action.ts"
import { dbn } from "../src/actions/Dbn.ts"
import { exportRows } from "../src/actions/Export.ts"
import { migrate } from "../src/actions/Migrate.ts"
import { query } from "../src/actions/Query.ts"
import { add } from "../src/actions/Symbols.ts"
import { cliConfig, dm } from "../src/Cli.ts"
import { plain } from "../src/Paint.ts"
import type { Session } from "../src/Session.ts"
import { Workplace } from "./Dm.ts"

const place = new Workplace()
afterAll(() => place.close())

describe("the command line", () => {
  it.concurrent("shows help on request, and for dm alone", async () => {
    const [asked, alone] = await Promise.all([place.run(["--help"]), place.run([])])
    assert.deepStrictEqual([asked.code, asked.stderr], [0, ""])
    assert.include(asked.stdout, "EXAMPLES")
    assert.deepStrictEqual(alone, asked)
  })

  it.concurrent("answers mistakes on standard error with exit code 2 and what to do", async () => {
    const [word, group, range] = await Promise.all([
      place.run(["imprt"]),
      place.run(["query"]),
      place.run(["query", "trades", "X", "--start", "2026-01-06", "--end", "2026-01-06"])
    ])
    for (const { code, stdout } of [word, group, range]) assert.deepStrictEqual([code, stdout], [2, ""])
    assert.match(word.stderr, /Unknown subcommand "imprt"[\s\S]*import/)
    assert.match(group.stderr, /Usage\n {2}dm query <subcommand>/)
    assert.match(range.stderr, /is not after --start/)
    // Nothing of this needed a database.
    assert.isFalse(existsSync(place.dataDir))
  })
})

/** What parsing alone refuses. */
const refusal = (args: ReadonlyArray<string>): Effect.Effect<string> =>
  Command.runWith(dm, { version: "0", renderErrors: false })(args).pipe(
    Effect.provideService(CliOutput.Presenter, { present: () => Effect.void }),
    Effect.provideService(CliConfig.CliConfig, cliConfig),
    Effect.provide(NodeServices.layer),
    Effect.flip,
    Effect.map((error) =>
      error._tag === "ShowHelp" ? error.errors.map(({ message }) => message).join("\n") : error.message
    ),
    Effect.orDie
  )

describe("parsing", () => {
  const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, message: RegExp]> = [
    [["query", "trades"], /Missing required argument: SYMBOL/],
    [["query", "trades", "X", "--start", "yesterday"], /--start: "yesterday"[\s\S]*2026-01-05/],
    [["query", "trades", "X", "--start", "2026-02-30"], /--start: "2026-02-30"/],
    [["query", "bars", "X", "--timeframe", "7m"], /1m.*5m.*15m/],
    [["query", "trades", "X", "--limit", "-1"], /--limit[\s\S]*whole number/],
    [["export", "trades", "X", "--format", "xlsx"], /csv/],
    [["symbols", "add", "GLBX.MDP3:ES.FUT"], /provider/],
    [["status", "--nonsense"], /Unrecognized flag: --nonsense/],
    [["import"], /FILE/]
  ]
  it.effect.each(cases)("refuses %j", ([args, message]) =>
    Effect.map(refusal(args), (text) => assert.match(text, message))
  )
})

describe("options that contradict each other", () => {
  const session: Session = {
    configPath: undefined,
    useConfig: false,
    dataDir: place.path("never-made"),
    json: false,
    out: plain,
    err: plain,
    watched: false,
    columns: 80,
    logLevel: undefined,
    cwd: place.folder,
    env: {}
  }
  const range = { start: undefined, end: undefined }
  const noDbn = {
    metadata: false,
    pretty: false,
    upgrade: false,
    limit: undefined,
    dbnVersion: undefined,
    tsOut: false
  }
  const exported = {
    ...range,
    names: [],
    symbols: [],
    format: "auto",
    output: "-",
    compress: "auto",
    force: false
  } as const
  const bars = {
    kind: "bars",
    symbol: "X",
    timeframe: "5m",
    source: "provider",
    fill: false,
    limit: 1
  } as const
  const cases: ReadonlyArray<readonly [name: string, action: Action, message: RegExp]> = [
    ["bars", query(session, { ...bars, ...range }), /providers make bars of 1s, 1m, 1h, 1d/],
    [
      "bars of a schema from trades",
      query(session, { ...bars, ...range, timeframe: "ohlcv-eod", source: "trades" }),
      /ohlcv-eod are bars of the provider/
    ],
    [
      "sessions filled",
      query(session, { ...bars, ...range, timeframe: "ohlcv-eod", fill: true }),
      /ohlcv-eod have no length/
    ],
    ["export", exportRows(session, { kind: "trades", ...exported }), /name at least one symbol/],
    [
      "migrate",
      migrate(session, { up: true, down: true, status: false, to: undefined, roles: undefined }),
      /choose one/
    ],
    [
      "migrate --to",
      migrate(session, { up: false, down: false, status: false, to: 1, roles: undefined }),
      /--to goes with/
    ],
    ["dbn", dbn({ ...session, json: true }, { ...noDbn, files: ["x"], csv: true }), /exclude each other/],
    ["dbn -", dbn(session, { ...noDbn, files: ["-", "-"], csv: true }), /can be read once/],
    [
      "symbols add",
      add(session, {
        symbol: "ES.FUT",
        provider: "databento",
        stypeIn: "auto",
        schemas: [],
        disabled: false
      }),
      /does not name its dataset/
    ]
  ]
  it.effect.each(cases)("%s", ([, action, message]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(action)
      assert.strictEqual(error._tag, "UsageError")
      assert.match(error.message, message)
      assert.isFalse(existsSync(place.path("never-made")))
    })
  )
})

describe("configuration", () => {
  it.concurrent("that is missing or wrong ends with exit code 2 before anything is done", async () => {
    writeFileSync(place.path("bad.toml"), '[database]\nmax_conections = 3\n[realtime]\ntransport = "grpc"\n')
    const [missing, wrong, variable] = await Promise.all([
      place.run(["status", "-c", "nowhere.toml"]),
      place.run(["status", "--config", "bad.toml"]),
      place.run(["coverage"], { env: { DM_DATABASE_URL: "mysql://user:s3cret@localhost/x" } })
    ])
    assert.deepStrictEqual([missing.code, wrong.code, variable.code], [2, 2, 2])
    assert.match(missing.stderr, /nowhere\.toml: no such file/)
    assert.match(
      wrong.stderr,
      /bad\.toml:2: database\.max_conections: unknown key; did you mean max_connections\?/
    )
    assert.match(wrong.stderr, /bad\.toml:4: realtime\.transport: .*use "shm"/)
    assert.match(variable.stderr, /DM_DATABASE_URL: the value is not allowed/)
    assert.isFalse(variable.stderr.includes("s3cret"))
  })
})

describe("dm init", () => {
  it.concurrent("writes files that dm then uses, and never overwrites them", async () => {
    mkdirSync(place.path("fresh"))
    const cwd = place.path("fresh")
    const first = await place.run(["init"], { cwd })
    assert.deepStrictEqual([first.code, first.stdout], [0, "wrote data-manager.toml\nwrote symbols.toml\n"])
    assert.deepStrictEqual(readdirSync(cwd).sort(), ["data-manager.toml", "symbols.toml"])
    writeFileSync(place.path("fresh", "symbols.toml"), "# mine\n")
    const second = await place.run(["init"], { cwd })
    assert.strictEqual(second.code, 1)
    assert.match(second.stderr, /exists and was not changed; --force replaces it/)
    assert.strictEqual(readFileSync(place.path("fresh", "symbols.toml"), "utf8"), "# mine\n")
    const forced = await place.run(["init", "--force", "--json"], { cwd })
    assert.strictEqual(JSON.parse(forced.stdout).written.length, 2)
    assert.notStrictEqual(readFileSync(place.path("fresh", "symbols.toml"), "utf8"), "# mine\n")
    const used = await place.run(["doctor", "--json"], { cwd })
    const config = JSON.parse(used.stdout).checks.find(
      (check: { name: string }) => check.name === "configuration"
    )
    assert.include(config.detail, place.path("fresh", "data-manager.toml"))
  })
})
