/** What the options before any command say: configuration, form of output, colours, log level. */
import { Effect, Option } from "effect"
import { Flag, GlobalFlag } from "effect/cli"
import { type Paint, plain, vivid } from "./Paint.ts"

export const ConfigPath = GlobalFlag.Setting("config")({
  flag: Flag.String("config").pipe(
    Flag.withAlias("c"),
    Flag.withMetavar("FILE"),
    Flag.optional,
    Flag.withDescription(
      "Configuration file. Default: DM_CONFIG, ./data-manager.toml, ./config/data-manager.toml, else built-in defaults"
    )
  )
})

export const DataDir = GlobalFlag.Setting("data-dir")({
  flag: Flag.String("data-dir").pipe(
    Flag.withMetavar("DIR"),
    Flag.optional,
    Flag.withDescription(
      "Folder of the embedded database. Default: DM_DATA_DIR, else the platform's usual place"
    )
  )
})

export const Json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withoutNegation,
    Flag.withDefault(false),
    Flag.withDescription("Print for programs: one JSON document, or one JSON line per row; numbers exact")
  )
})

export const NoColor = GlobalFlag.Setting("no-color")({
  flag: Flag.Boolean("no-color").pipe(
    Flag.withoutNegation,
    Flag.withDefault(false),
    Flag.withDescription("No colours. Also: NO_COLOR")
  )
})

/** Log levels, most talkative first; the same as in the configuration file. */
export const logLevels = ["all", "trace", "debug", "info", "warn", "error", "fatal", "none"] as const

export const LogLevelFlag = GlobalFlag.Setting("log-level")({
  flag: Flag.Literals("log-level", logLevels).pipe(
    Flag.withMetavar("LEVEL"),
    Flag.optional,
    Flag.withDescription(
      "Least important log messages to write to standard error. Default: configuration, else info"
    )
  )
})

/** Options that every command takes. */
export const globalFlags = [ConfigPath, DataDir, Json, NoColor, LogLevelFlag] as const

/** The same for everybody, read once per command. */
export interface Session {
  readonly configPath: string | undefined
  /** Whether a configuration file is looked for; the demo keeps away from it. */
  readonly useConfig: boolean
  readonly dataDir: string | undefined
  readonly json: boolean
  /** Colours for standard output and standard error. */
  readonly out: Paint
  readonly err: Paint
  /** Whether somebody watches standard error, and how wide it is. */
  readonly watched: boolean
  readonly columns: number
  readonly logLevel: (typeof logLevels)[number] | undefined
  readonly cwd: string
  readonly env: { readonly [name: string]: string | undefined }
}

/** Whether a stream is a terminal that wants colours. */
export const colorAllowed = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY === true && (process.env.NO_COLOR ?? "") === "" && process.env.TERM !== "dumb"

const paintFor = (stream: NodeJS.WriteStream, noColor: boolean): Paint =>
  colorAllowed(stream) && !noColor ? vivid : plain

/** The session that the command line describes. */
export const session = Effect.gen(function* () {
  const noColor = yield* NoColor
  return {
    configPath: Option.getOrUndefined(yield* ConfigPath),
    useConfig: true,
    dataDir: Option.getOrUndefined(yield* DataDir),
    json: yield* Json,
    out: paintFor(process.stdout, noColor),
    err: paintFor(process.stderr, noColor),
    watched: process.stderr.isTTY === true,
    columns: process.stdout.columns ?? 100,
    logLevel: Option.getOrUndefined(yield* LogLevelFlag),
    cwd: process.cwd(),
    env: process.env
  } satisfies Session
})
