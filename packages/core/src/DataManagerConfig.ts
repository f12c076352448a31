/**
 * The configuration of a Data Manager: the schema of `data-manager.toml`, its defaults, its environment overrides, and
 * the facts about every key from which the reference page is generated.
 *
 * It knows nothing of files: `decode` takes what a TOML parser made of one, and answers with all problems at once, as
 * dotted keys. Reading the file and finding the lines is the program's business.
 */
import { Cron, DateTime, Effect, Option, Redacted, Result, Schema, type SchemaAST, SchemaIssue } from "effect"
import type { ConfigIssue } from "./ConfigError.ts"
import * as MarketSchema from "./MarketSchema.ts"

/** What people need to know about one key. Values are written as in the file. */
export interface KeyDoc {
  /** Dotted path, `realtime.shm.ring_buffer_capacity`. */
  readonly key: string
  readonly type: ValueType
  /** What it does. */
  readonly description: string
  /** `seconds`, `rows`; absent where the value has no unit. */
  readonly unit?: string | undefined
  /** What may be written, completing "expected ...". */
  readonly allowed: string
  /** TOML text of the default; absent where a missing key means something of its own. */
  readonly default?: string | undefined
  /** What a missing key means, where there is no default value. */
  readonly absent?: string | undefined
  /** Why one would leave the key out, completing "delete this line to ...". */
  readonly omit: string
  /** Environment variables that override the key, strongest first. */
  readonly env: ReadonlyArray<string>
  /** The value is never shown. */
  readonly secret: boolean
}

/** A table of the file. */
export interface SectionDoc {
  readonly key: string
  readonly description: string
}

/** Shapes of values, as the environment has to parse them. */
export type ValueType = "text" | "integer" | "number" | "boolean" | "list"

interface Annotated {
  readonly description: string
  readonly type: ValueType
  readonly allowed: string
  readonly unit?: string
  readonly secret?: boolean
  readonly default?: unknown
  readonly absent?: string
  readonly omit?: string
  readonly aliases?: ReadonlyArray<string>
}

const KeyAnnotation = "dataManagerKey"
const SectionAnnotation = "dataManagerSection"

type Value<A, E> = Schema.Codec<A, E>

/** A key that always has a value. */
const withDefault = <A, E>(schema: Value<A, E>, fallback: E, about: Annotated) =>
  schema.pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(fallback)),
    Schema.annotate({ [KeyAnnotation]: { ...about, default: fallback } })
  )

/** A key whose absence says something. */
const whenGiven = <A, E>(schema: Value<A, E>, absent: string, about: Annotated) =>
  Schema.optionalKey(schema.pipe(Schema.annotate({ [KeyAnnotation]: { ...about, absent } })))

const section = <const F extends Schema.Struct.Fields>(description: string, fields: F) =>
  Schema.Struct(fields).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed({} as Schema.Struct<F>["Encoded"])),
    Schema.annotate({ [SectionAnnotation]: { description, fields } })
  )

interface Words {
  readonly description: string
  readonly unit?: string
}

const grouped = (n: number): string => n.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",")

const flag = (fallback: boolean, description: string) =>
  withDefault(Schema.Boolean, fallback, { description, type: "boolean", allowed: "true or false" })

const whole = (fallback: number, minimum: number, maximum: number, words: Words) =>
  withDefault(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum, maximum }))), fallback, {
    ...words,
    type: "integer",
    allowed: `a whole number from ${grouped(minimum)} to ${grouped(maximum)}`
  })

const amount = (fallback: number, minimum: number, maximum: number, words: Words) =>
  withDefault(Schema.Finite.pipe(Schema.check(Schema.isBetween({ minimum, maximum }))), fallback, {
    ...words,
    type: "number",
    allowed: `a number from ${grouped(minimum)} to ${grouped(maximum)}`
  })

const matching = (pattern: RegExp) => Schema.String.pipe(Schema.check(Schema.isPattern(pattern)))

const textMatching = (fallback: string, pattern: RegExp, allowed: string, description: string) =>
  withDefault(matching(pattern), fallback, { description, type: "text", allowed })

const holds = (check: (text: string) => boolean) =>
  Schema.String.pipe(Schema.check(Schema.makeFilter((text: string) => check(text))))

/** The store reads the parts of a URL and tells which is wrong; here only its kind is checked. */
const isUrl = (text: string): boolean => /^postgres(ql)?:\/\/./i.test(text)

const directory = matching(/\S/)
const environmentVariable = /^[A-Za-z_][A-Za-z0-9_]*$/
const datasetPattern = /^[A-Z0-9]+(\.[A-Z0-9]+)+$/

/** Log levels, most talkative first. */
export const logLevels = ["all", "trace", "debug", "info", "warn", "error", "fatal", "none"] as const

/** Schema of the file, keys as written in it. Providers of other packages are checked beside it, see `ProviderOptions`. */
export const schema = Schema.Struct({
  service: section("The service as a whole.", {
    name: textMatching(
      "data-manager",
      /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/,
      "1 to 63 letters, digits, dots, dashes or underscores",
      "Name of this installation in logs, metrics and database sessions."
    ),
    log_level: withDefault(Schema.Literals(logLevels), "info", {
      description: "Least important log messages that are written. Logs go to standard error.",
      type: "text",
      allowed: logLevels.map((level) => `"${level}"`).join(", "),
      aliases: ["DM_LOG_LEVEL"]
    }),
    log_format: withDefault(Schema.Literals(["text", "json"]), "text", {
      description: "Form of the log of `dm start`: lines for people, or a JSON document per line.",
      type: "text",
      allowed: '"text" or "json"',
      aliases: ["DM_LOG_FORMAT"]
    })
  }),
  database: section("Where market data is stored.", {
    url: whenGiven(
      Schema.RedactedFromValue(holds(isUrl)),
      "the embedded PostgreSQL in `data_dir` is used, started and migrated when needed",
      {
        description: "An outside PostgreSQL 15 or newer, with or without TimescaleDB.",
        type: "text",
        allowed: "a URL such as postgresql://user:password@host:5432/database",
        omit: "use the embedded database",
        secret: true
      }
    ),
    max_connections: whole(20, 2, 1000, {
      unit: "connections",
      description: "Most connections to the server, all pools of a process together."
    }),
    min_connections: whole(5, 0, 1000, {
      unit: "connections",
      description: "Connections a running service keeps open when idle."
    }),
    data_dir: whenGiven(directory, "the usual place of the platform for application data", {
      description: "Folder of the embedded server, its password and the spool.",
      type: "text",
      allowed: "a path",
      aliases: ["DM_DATA_DIR"]
    }),
    chunk_interval_hours: whole(24, 1, 720, {
      unit: "hours",
      description:
        "Time one TimescaleDB chunk of trades covers. The indexes of the newest chunk should fit in shared_buffers; plain PostgreSQL always partitions by day."
    })
  }),
  providers: section("Sources of data. Further tables name provider packages, see below.", {
    databento: section("Databento: CME, NASDAQ and other venues over DBN.", {
      enabled: flag(true, "Whether this provider is used."),
      api_key_env: textMatching(
        "DATABENTO_API_KEY",
        environmentVariable,
        "the name of an environment variable, not the key itself",
        "Environment variable that holds the API key."
      ),
      historical_url: textMatching(
        "https://hist.databento.com",
        /^https?:\/\/[^\s/]+\/?$/,
        "an http or https address without a path",
        "Address of the historical service; another one for a simulator or a proxy."
      ),
      live_address: whenGiven(matching(/^\S+:\d{1,5}$/), "the gateway of each dataset at the vendor", {
        description: "Address of the live service; another one for a simulator.",
        type: "text",
        allowed: "host:port",
        omit: "use the vendor's gateways"
      }),
      datasets: withDefault(
        Schema.Array(matching(datasetPattern)).pipe(
          Schema.check(Schema.isMinLength(1)),
          Schema.check(Schema.isUnique())
        ),
        ["GLBX.MDP3", "XNAS.ITCH"],
        {
          description: "Datasets that are collected, backfilled and discovered.",
          type: "list",
          allowed: "a list of different dataset names such as GLBX.MDP3"
        }
      )
    }),
    binance: section("Binance: spot and USD-margined futures.", {
      enabled: flag(false, "Whether this provider is used.")
    })
  }),
  symbols: section("Which symbols are known and collected.", {
    config_file: textMatching(
      "config/symbols.toml",
      /\S/,
      "a path",
      "File of the symbols to collect. A relative path is looked for beside this file, then in the working directory."
    ),
    database_enabled: flag(
      true,
      "Whether additions and removals made with `dm symbols` override the file. Off, the database still stores data."
    ),
    discovery_enabled: flag(true, "Whether providers are asked for new symbols."),
    discovery_interval_hours: whole(24, 1, 8760, { unit: "hours", description: "Time between discoveries." }),
    include: withDefault(Schema.Array(matching(/\S/)), [], {
      description:
        "Discovered symbols to collect, as patterns with `*` such as `GLBX.MDP3:ES*`. Others stay known but uncollected.",
      type: "list",
      allowed: "a list of patterns"
    }),
    default_schemas: withDefault(
      Schema.Array(holds(MarketSchema.is)).pipe(
        Schema.check(Schema.isMinLength(1)),
        Schema.check(Schema.isUnique())
      ),
      ["trades"],
      {
        description: "Schemas collected for symbols that name none.",
        type: "list",
        allowed: `a list of different schemas out of ${MarketSchema.all.join(", ")}`
      }
    )
  }),
  realtime: section("Distribution of live data.", {
    transport: withDefault(Schema.Literals(["shm"]), "shm", {
      description:
        "How other processes receive live data. `grpc` is refused: its package is not part of this version.",
      type: "text",
      allowed: '"shm"'
    }),
    reload_window_minutes: whole(60, 0, 10_080, {
      unit: "minutes",
      description:
        "How much recent data is put back into an empty ring, as after a reboot, before live rows and marked as a replay. 0 means none."
    }),
    shm: section("The shared-memory ring.", {
      name: textMatching(
        "data_manager_trades",
        /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
        "1 to 64 letters, digits, dashes or underscores",
        "Name of the ring of trades. Rings of other kinds append theirs."
      ),
      ring_buffer_capacity: whole(1_000_000, 1024, 1_073_741_824, {
        unit: "rows",
        description: "Rows the ring holds, rounded up to a power of two; 64 bytes of memory each."
      }),
      dir: whenGiven(directory, "a folder of this user in /dev/shm, or in the runtime folder", {
        description: "Folder of the ring's files. Readers need the same value.",
        type: "text",
        allowed: "a path"
      }),
      owner: whenGiven(
        matching(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/),
        "readers expect the ring to belong to their own user",
        {
          description: "User name or number that a reader expects as the ring's owner.",
          type: "text",
          allowed: "a user name or number"
        }
      )
    }),
    grpc: section("Network transport. Not part of this version.", {
      bind_address: textMatching(
        "0.0.0.0:50051",
        /^\S+:\d{1,5}$/,
        "host:port",
        'Address the gRPC transport would listen on; read with `transport = "grpc"` only.'
      )
    })
  }),
  backfill: section("Fetching history.", {
    enabled: flag(true, "Whether the service fills holes on a schedule."),
    schedule: withDefault(
      holds((text) => Result.isSuccess(Cron.parse(text))),
      "0 2 * * *",
      {
        description: "When the service looks for holes.",
        type: "text",
        allowed: 'a cron expression such as "0 2 * * *" (minute, hour, day of month, month, day of week)'
      }
    ),
    timezone: withDefault(
      holds((text) => Option.isSome(DateTime.zoneMakeNamed(text))),
      "UTC",
      {
        description: "Time zone of the schedule. Data is always in UTC.",
        type: "text",
        allowed: "a time zone such as UTC or America/Chicago"
      }
    ),
    lookback_days: whole(7, 1, 36_500, {
      unit: "days",
      description: "How far back a scheduled run looks for holes."
    }),
    max_concurrent_requests: whole(5, 1, 100, {
      unit: "requests",
      description: "Requests to one provider at the same time."
    }),
    chunk_size_days: whole(7, 1, 366, { unit: "days", description: "Longest time of one request." }),
    max_cost_usd: amount(10, 0, 1_000_000, {
      unit: "US dollars",
      description: "Most that one scheduled run may spend at a billed provider; a dearer plan is not started."
    })
  }),
  gap_repair: section(
    "Repair of holes that live collection leaves: lost connections, crashes, a full spool.",
    {
      enabled: flag(true, "Whether the service repairs holes by itself. Needs `[backfill] enabled` as well."),
      delay_minutes: whole(15, 0, 10_080, {
        unit: "minutes",
        description: "Time after the end of a hole before it is asked for: vendors publish history later."
      }),
      look_back_days: whole(7, 1, 36_500, {
        unit: "days",
        description: "How far back holes are looked for. Older ones are the scheduled backfill's."
      }),
      interval_seconds: whole(60, 1, 86_400, {
        unit: "seconds",
        description: "Time between two looks. Tries that fail are repeated after 1 minute to 1 hour."
      }),
      max_cost_usd: amount(10, 0, 1_000_000, {
        unit: "US dollars",
        description: "Most that the repairs of one day may cost at a billed provider."
      })
    }
  ),
  retention: section("How long rows are kept.", {
    trades_retention_days: whenGiven(
      Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 36_500 }))),
      "trades are kept for ever",
      {
        description: "Trades older than this are removed, and their coverage is marked as expired.",
        type: "integer",
        unit: "days",
        allowed: "a whole number from 1 to 36,500",
        omit: "keep data for ever"
      }
    ),
    compress_after_days: whole(7, 1, 36_500, {
      unit: "days",
      description: "Age at which TimescaleDB compresses trades. Plain PostgreSQL does not compress."
    })
  }),
  spool: section("Live data on its way to the database, safe on disk while that is slow or away.", {
    dir: whenGiven(directory, "`spool` in the data folder", {
      description: "Folder of the spool's segment files.",
      type: "text",
      allowed: "a path"
    }),
    max_size_gb: amount(10, 0.1, 100_000, {
      unit: "gigabytes",
      description: "Most disk the spool may take. Beyond it new data is dropped and recorded as a hole."
    }),
    disk_floor_gb: amount(2, 0, 100_000, {
      unit: "gigabytes",
      description: "Free disk the spool leaves to everybody else."
    }),
    fsync_interval_ms: whole(20, 0, 60_000, {
      unit: "milliseconds",
      description: "Longest time between a row's arrival and its being safe on disk. 0 syncs every batch."
    })
  }),
  ha: section("A standby that takes over. Both sides use one database.", {
    enabled: flag(
      false,
      "Whether this process competes for the lease before it collects. Needs a database that `[database] url` names."
    ),
    name: textMatching(
      "data-manager",
      /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
      "1 to 63 letters, digits, dashes or underscores",
      "Name of the lease: services of one name are one that is active and its standbys."
    ),
    lease_seconds: whole(4, 2, 3600, {
      unit: "seconds",
      description:
        "Silence of the active side after which the standby takes over. One whose process has ended is noticed at once."
    }),
    heartbeat_seconds: whole(1, 1, 600, {
      unit: "seconds",
      description: "Time between renewals of the lease."
    })
  }),
  control: section("The running service answers `dm status` and metrics here.", {
    socket: whenGiven(directory, "`control.sock` in the data folder", {
      description:
        "Unix socket to listen on. Its file belongs to the user of the service alone, so that no token is needed.",
      type: "text",
      allowed: "a path of at most 100 bytes"
    }),
    host: textMatching(
      "127.0.0.1",
      /^\S+$/,
      "a host name or address",
      "Address to listen on beside the socket. One that other machines reach needs a token."
    ),
    port: whole(7420, 0, 65_535, { description: "TCP port. 0 means none." }),
    token_env: textMatching(
      "DM_CONTROL_TOKEN",
      environmentVariable,
      "the name of an environment variable, not the token itself",
      "Environment variable that holds the token which requests to the TCP port have to bear. Not set: no token, on a loopback address alone."
    )
  }),
  health: section("What counts as unhealthy.", {
    freshness_seconds: whole(60, 0, 86_400, {
      unit: "seconds",
      description:
        "Age of the newest live data above which a feed is unhealthy, in hours in which it is known to trade. 0 switches this check and that of symbols off."
    }),
    symbol_silence_factor: whole(10, 0, 10_000, {
      description:
        "A symbol is stale when it is silent for so many times its usual silence, and longer than `freshness_seconds`, while its feed trades. It is subscribed again by itself. 0 switches this check off, and what is learned of trading hours with it."
    })
  })
})

/** Options of a provider that comes in a package of its own; the package checks its further keys. */
export const ProviderOptions = Schema.StructWithRest(
  Schema.Struct({
    package: matching(/^(@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*$/),
    enabled: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(true)))
  }),
  [Schema.Record(Schema.String, Schema.Unknown)]
)

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S

/** The same value with its keys in camel case. */
export type CamelKeys<T> = T extends Redacted.Redacted<unknown> | ReadonlyArray<unknown>
  ? T
  : T extends object
    ? { readonly [K in keyof T as K extends string ? Camel<K> : K]: CamelKeys<T[K]> }
    : T

/** A complete configuration: every key of the file in camel case, defaults filled in. */
export type DataManagerConfig = CamelKeys<typeof schema.Type> & {
  /** Providers that come in packages of their own, by id. */
  readonly providerPackages: { readonly [id: string]: typeof ProviderOptions.Type }
}

// ---------------------------------------------------------------------------------------------------------------------
// The keys as data

const reserved = ["databento", "binance"]

interface SectionAnnotations {
  readonly description: string
  readonly fields: Schema.Struct.Fields
}

const tomlText = (value: unknown): string =>
  Array.isArray(value) ? `[${value.map(tomlText).join(", ")}]` : JSON.stringify(value)

const envName = (path: string): string => `DM_${path.replaceAll(".", "_").toUpperCase()}`

const walk = (
  fields: Schema.Struct.Fields,
  prefix: string,
  onKey: (doc: KeyDoc) => void,
  onSection: (doc: SectionDoc) => void
): void => {
  for (const [name, field] of Object.entries(fields)) {
    const path = prefix === "" ? name : `${prefix}.${name}`
    const annotations = Schema.resolveAnnotations(field)
    const inner = annotations?.[SectionAnnotation] as SectionAnnotations | undefined
    if (inner !== undefined) {
      onSection({ key: path, description: inner.description })
      walk(inner.fields, path, onKey, onSection)
      continue
    }
    const about = annotations?.[KeyAnnotation] as Annotated
    onKey({
      key: path,
      type: about.type,
      description: about.description,
      unit: about.unit,
      allowed: about.allowed,
      default: about.default === undefined ? undefined : tomlText(about.default),
      absent: about.absent,
      omit: about.omit ?? "use the default",
      env: [envName(path), ...(about.aliases ?? [])],
      secret: about.secret === true
    })
  }
}

const collected = (() => {
  const keys: Array<KeyDoc> = []
  const sections: Array<SectionDoc> = []
  walk(
    schema.fields,
    "",
    (key) => keys.push(key),
    (found) => sections.push(found)
  )
  return { keys, sections }
})()

/** Every key, in the order of the file. */
export const keys: ReadonlyArray<KeyDoc> = collected.keys

/** Every table, in the order of the file. */
export const sections: ReadonlyArray<SectionDoc> = collected.sections

const keyByPath = new Map(keys.map((doc) => [doc.key, doc]))
const sectionPaths = new Set(sections.map((doc) => doc.key))

// ---------------------------------------------------------------------------------------------------------------------
// Decoding

type Raw = { readonly [key: string]: unknown }

const isTable = (value: unknown): value is Raw =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date)

/** Smallest number of single-character edits (with swaps of neighbours) between two words. */
const distance = (a: string, b: string): number => {
  let before: Array<number> = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, before[j - 2]! + 1)
      row.push(cost)
    }
    before = previous
    previous = row
  }
  return previous[b.length]!
}

/** The candidate that a mistyped word most likely meant, if any is near. */
export const suggest = (word: string, candidates: Iterable<string>): string | undefined => {
  let best: string | undefined
  let least = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const edits = word.length > 64 ? least : distance(word.toLowerCase(), candidate.toLowerCase())
    if (edits < least) {
      best = candidate
      least = edits
    }
  }
  return best
}

const namesIn = (path: string): ReadonlyArray<string> => {
  const depth = path === "" ? 0 : path.split(".").length
  return [...sectionPaths, ...keyByPath.keys()]
    .filter((key) => (path === "" || key.startsWith(`${path}.`)) && key.split(".").length === depth + 1)
    .map((key) => key.split(".")[depth]!)
}

const unknownKey = (path: string): ConfigIssue => {
  const at = path.lastIndexOf(".")
  const parent = at < 0 ? "" : path.slice(0, at)
  const name = path.slice(at + 1)
  const known = namesIn(parent)
  const near = suggest(name, known)
  const namesakes = [...keyByPath.keys()].filter((key) => key.endsWith(`.${name}`))
  const elsewhere = namesakes.find((key) => key.startsWith(`${parent}.`)) ?? namesakes[0]
  const hint =
    near !== undefined
      ? `did you mean ${near}?`
      : elsewhere !== undefined
        ? `did you mean ${elsewhere}?`
        : `known here: ${known.join(", ")}`
  return { key: path, problem: `unknown key; ${hint}` }
}

const shown = (value: unknown): string => {
  const text = value instanceof Date ? value.toISOString() : (JSON.stringify(value) ?? String(value))
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** What is wrong with the value at a known path; a secret, and text where only a name belongs, is not repeated. */
const wrongValue = (path: string, value: unknown): ConfigIssue => {
  const doc = keyByPath.get(path)
  if (doc === undefined) return { key: path, problem: `${shown(value)} is not allowed; expected a table` }
  if (path === "realtime.transport" && value === "grpc")
    return {
      key: path,
      problem: '"grpc" needs a transport package that this version does not have; use "shm"'
    }
  const unit = doc.unit === undefined || doc.unit === "" ? "" : ` (${doc.unit})`
  const hidden = doc.secret || path.endsWith("_env")
  const what = hidden ? "the value is" : `${shown(value)} is`
  return { key: path, problem: `${what} not allowed; expected ${doc.allowed}${unit}` }
}

const valueAt = (raw: unknown, path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((at, name) => (isTable(at) ? at[name] : undefined), raw)

/** The nearest key or table of the schema at or above a path: issues within a list belong to its key. */
const ownerOf = (path: ReadonlyArray<string>): ReadonlyArray<string> => {
  for (let n = path.length; n > 0; n--) {
    const key = path.slice(0, n).join(".")
    if (keyByPath.has(key) || sectionPaths.has(key)) return path.slice(0, n)
  }
  return path
}

const standardIssues = SchemaIssue.makeFormatterStandardSchemaV1()
const parseOptions: SchemaAST.ParseOptions = { errors: "all", onExcessProperty: "error" }
const decodeFile = Schema.decodeUnknownResult(schema, parseOptions)
const decodeProvider = Schema.decodeUnknownResult(ProviderOptions, parseOptions)

const issuesOf = (raw: Raw, issue: SchemaIssue.Issue): Array<ConfigIssue> => {
  const found = new Map<string, ConfigIssue>()
  for (const { path } of standardIssues(issue).issues) {
    const names = (path ?? []).map(String)
    const owner = ownerOf(names)
    const key = owner.join(".")
    if (found.has(key)) continue
    const known = keyByPath.has(key) || sectionPaths.has(key)
    const excess = !keyByPath.has(key) && isTable(valueAt(raw, owner)) && names.length > owner.length
    if (excess) {
      const unknown = names.slice(0, owner.length + 1).join(".")
      found.set(unknown, unknownKey(unknown))
    } else found.set(key, known ? wrongValue(key, valueAt(raw, owner)) : unknownKey(key))
  }
  return [...found.values()]
}

const thirdParties = (raw: Raw): { readonly [id: string]: unknown } => {
  const providers = raw.providers
  if (!isTable(providers)) return {}
  return Object.fromEntries(Object.entries(providers).filter(([id]) => !reserved.includes(id)))
}

const withoutThirdParties = (raw: Raw): Raw => {
  const providers = raw.providers
  if (!isTable(providers)) return raw
  const own = Object.fromEntries(Object.entries(providers).filter(([id]) => reserved.includes(id)))
  return { ...raw, providers: own }
}

const providerIssue = (id: string, value: unknown): ConfigIssue => {
  const key = `providers.${id}`
  if (!isTable(value)) return unknownKey(key)
  if (typeof value.package === "string" && typeof (value.enabled ?? true) !== "boolean")
    return {
      key: `${key}.enabled`,
      problem: `${shown(value.enabled)} is not allowed; expected true or false`
    }
  const near = suggest(id, reserved)
  const hint = near === undefined ? "" : ` (did you mean providers.${near}?)`
  return {
    key,
    problem: `a provider of another package needs package = "its npm name"${hint}`
  }
}

const camel = (name: string): string =>
  name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

const camelKeys = (value: unknown): unknown =>
  isTable(value) && !Redacted.isRedacted(value)
    ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [camel(name), camelKeys(inner)]))
    : value

/** Rules that concern more than one key. */
const contradictions = (config: DataManagerConfig): Array<ConfigIssue> => {
  const issues: Array<ConfigIssue> = []
  const { database, ha } = config
  if (database.minConnections > database.maxConnections)
    issues.push({
      key: "database.min_connections",
      problem: `${database.minConnections} is more than max_connections = ${database.maxConnections}`
    })
  if (ha.heartbeatSeconds * 2 > ha.leaseSeconds)
    issues.push({
      key: "ha.heartbeat_seconds",
      problem: `${ha.heartbeatSeconds} is not allowed; expected at most half of lease_seconds = ${ha.leaseSeconds}`
    })
  return issues
}

/**
 * The configuration that a parsed file describes, or everything that is wrong with it. Takes any value: what is no
 * table is an issue, too. Issues carry dotted keys and no lines.
 */
export const decode = (raw: unknown): Result.Result<DataManagerConfig, ReadonlyArray<ConfigIssue>> => {
  if (!isTable(raw)) return Result.fail([{ key: "", problem: "not a table of settings" }])
  const decoded = decodeFile(withoutThirdParties(raw))
  const issues = Result.isFailure(decoded) ? issuesOf(raw, decoded.failure.issue) : []
  const providerPackages: Record<string, typeof ProviderOptions.Type> = {}
  for (const [id, value] of Object.entries(thirdParties(raw))) {
    const options = decodeProvider(value)
    if (Result.isSuccess(options)) providerPackages[id] = options.success
    else issues.push(providerIssue(id, value))
  }
  if (Result.isFailure(decoded)) return Result.fail(issues)
  const config = { ...(camelKeys(decoded.success) as CamelKeys<typeof schema.Type>), providerPackages }
  issues.push(...contradictions(config))
  return issues.length > 0 ? Result.fail(issues) : Result.succeed(config)
}

/** What holds where no file and no variable says otherwise. */
export const defaults: DataManagerConfig = Result.getOrThrow(decode({}))

// ---------------------------------------------------------------------------------------------------------------------
// Environment

const booleans: { readonly [text: string]: boolean } = {
  true: true,
  yes: true,
  "1": true,
  on: true,
  false: false,
  no: false,
  "0": false,
  off: false
}

/** The raw value that the text of a variable stands for; text that does not fit stays text and fails in `decode`. */
const fromText = (type: ValueType, text: string): unknown => {
  switch (type) {
    case "text":
      return text
    case "boolean":
      return booleans[text.trim().toLowerCase()] ?? text
    case "list":
      return text
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== "")
    default:
      return /^\s*[+-]?\d[\d_]*(\.\d+)?\s*$/.test(text) ? Number(text.replaceAll("_", "")) : text
  }
}

/** One key that a variable sets. */
export interface EnvironmentSetting {
  readonly variable: string
  readonly key: string
  readonly value: unknown
}

/**
 * The keys that variables set: `DM_` and the path in capitals (`DM_DATABASE_URL`), lists separated by commas; an empty
 * variable counts as not set. A variable that begins like a table and names no key is an issue.
 */
export const environment = (env: {
  readonly [name: string]: string | undefined
}): { readonly settings: ReadonlyArray<EnvironmentSetting>; readonly issues: ReadonlyArray<ConfigIssue> } => {
  const settings: Array<EnvironmentSetting> = []
  const names = new Set<string>()
  for (const doc of keys) {
    for (const name of doc.env) names.add(name)
    // A secret in a variable of its usual name is no setting, and no mistake.
    if (doc.key.endsWith("_env") && doc.default !== undefined) names.add(JSON.parse(doc.default) as string)
    const variable = doc.env.find((name) => (env[name] ?? "") !== "")
    if (variable === undefined) continue
    settings.push({ variable, key: doc.key, value: fromText(doc.type, env[variable]!) })
  }
  const tables = sections.filter((doc) => doc.key !== "providers").map((doc) => `${envName(doc.key)}_`)
  const issues: Array<ConfigIssue> = []
  for (const [name, value] of Object.entries(env)) {
    if (names.has(name) || (value ?? "") === "" || !tables.some((table) => name.startsWith(table))) continue
    const near = suggest(name, names)
    issues.push({
      key: name,
      problem: `names no setting${near === undefined ? "" : `; did you mean ${near}?`}`
    })
  }
  return { settings, issues }
}

/** A parsed file with some keys replaced; the input is not changed. */
export const withSettings = (
  raw: Raw,
  settings: ReadonlyArray<{ readonly key: string; readonly value: unknown }>
): Raw => {
  const put = (table: Raw, path: ReadonlyArray<string>, value: unknown): Raw => {
    const name = path[0]!
    const rest = path.slice(1)
    if (rest.length === 0) return { ...table, [name]: value }
    const inner = table[name]
    return { ...table, [name]: put(isTable(inner) ? inner : {}, rest, value) }
  }
  return settings.reduce((table, { key, value }) => put(table, key.split("."), value), raw)
}

// ---------------------------------------------------------------------------------------------------------------------
// symbols.toml

/** One entry of `symbols.toml`: a symbol to collect. */
export const SymbolsFileEntry = Schema.Struct({
  symbol: matching(/\S/),
  provider: matching(/^[a-z0-9][a-z0-9_-]*$/),
  stype_in: Schema.optionalKey(Schema.Literals(["raw_symbol", "parent", "continuous", "instrument_id"])),
  schemas: Schema.optionalKey(Schema.Array(holds(MarketSchema.is))),
  enabled: Schema.optionalKey(Schema.Boolean),
  asset_class: Schema.optionalKey(Schema.String),
  exchange: Schema.optionalKey(Schema.String)
})

/** Schema of `symbols.toml`: a list of `[[symbols]]`. */
export const SymbolsFile = Schema.Struct({
  symbols: Schema.Array(SymbolsFileEntry).pipe(Schema.withDecodingDefaultKey(Effect.succeed([])))
})
