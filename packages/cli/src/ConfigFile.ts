/**
 * Reads `data-manager.toml`: finds the file, parses it, lays the environment and the command line over it, and tells
 * every problem with file, line, key, value and what is allowed.
 *
 * Precedence: command line, environment, file, defaults.
 */
import { existsSync } from "node:fs"
import { open } from "node:fs/promises"
import { dirname, isAbsolute, resolve } from "node:path"
import { ConfigError, type ConfigIssue, DataManagerConfig } from "@data-manager/core"
import { Effect, Result } from "effect"
import { Toml } from "effect/encoding"
import { scanToml, type TomlEntry } from "./TomlLines.ts"

/** Where a configuration is looked for, and what goes before it. */
export interface ConfigRequest {
  /** `--config`. A named file must exist. */
  readonly path?: string | undefined
  /** Look for a file where none is named; default true. */
  readonly search?: boolean | undefined
  /** `--data-dir`. */
  readonly dataDir?: string | undefined
  readonly env: { readonly [name: string]: string | undefined }
  readonly cwd: string
}

/** A configuration and where it came from. */
export interface LoadedConfig {
  readonly config: DataManagerConfig.DataManagerConfig
  /** Absolute path of the file; undefined where the built-in defaults are used. */
  readonly file: string | undefined
  /** Environment variables that were used, by name. */
  readonly variables: ReadonlyArray<string>
}

/** Files that are used when none is named, first hit first. */
export const usualFiles: ReadonlyArray<string> = ["data-manager.toml", "config/data-manager.toml"]

/** No configuration is larger; a device or a wrong file must not fill the memory. */
const largestFile = 1_048_576

const fail = (source: string, ...issues: Array<ConfigIssue>): Effect.Effect<never, ConfigError> =>
  Effect.fail(new ConfigError({ source, issues }))

/** The file that a request means: the named one, or the first usual one that exists. */
const find = (request: ConfigRequest): string | undefined => {
  const named = request.path ?? (request.env.DM_CONFIG || undefined)
  if (named !== undefined) return resolve(request.cwd, named)
  if (request.search === false) return undefined
  return usualFiles.map((name) => resolve(request.cwd, name)).find((path) => existsSync(path))
}

const unreadable = (path: string, cause: unknown): Effect.Effect<never, ConfigError> => {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined
  const problem =
    code === "ENOENT"
      ? "no such file; `dm init` writes one"
      : code === "EISDIR"
        ? "is a folder, not a file"
        : `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`
  return fail(path, { key: "", problem })
}

const readText = (path: string): Effect.Effect<string, ConfigError> =>
  Effect.tryPromise({
    try: async () => {
      const file = await open(path)
      try {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(largestFile + 1), 0, largestFile + 1, null)
        return buffer.subarray(0, bytesRead)
      } finally {
        await file.close()
      }
    },
    catch: (cause) => cause
  }).pipe(
    Effect.catch((cause) => unreadable(path, cause)),
    Effect.flatMap((bytes) =>
      bytes.length > largestFile
        ? fail(path, { key: "", problem: "is larger than 1 MiB: this is no configuration" })
        : Effect.succeed(bytes.toString("utf8"))
    )
  )

/** A literal null, which TOML does not have, with what to do instead. */
const nullIssue = (entry: TomlEntry): ConfigIssue => {
  const doc = DataManagerConfig.keys.find(({ key }) => key === entry.key)
  return {
    key: entry.key,
    line: entry.line,
    problem: `TOML has no null; delete this line to ${doc?.omit ?? "use the default"}`
  }
}

/** The parser's complaint with its line, without the text it met there: that could be part of a password. */
const syntaxIssue = (message: string): ConfigIssue => {
  const match = /^(.*?) at line (\d+), column (\d+)$/s.exec(message)
  if (match === null) return { key: "", problem: "is not valid TOML" }
  const what = match[1]!.replace(/\s*'[^']{4,}'/s, "").trim()
  return { key: "", line: Number(match[2]), problem: `not valid TOML: ${what} (column ${match[3]})` }
}

/** The line of a key, or of the nearest table above it. */
const lineOf = (entries: ReadonlyArray<TomlEntry>, key: string): number | undefined => {
  for (let path = key; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
    const entry = entries.find((candidate) => candidate.key === path)
    if (entry !== undefined) return entry.line
    const inside = entries.find((candidate) => candidate.key.startsWith(`${path}.`))
    if (inside !== undefined) return inside.line
  }
  return undefined
}

interface Parsed {
  readonly raw: { readonly [key: string]: unknown }
  readonly issues: ReadonlyArray<ConfigIssue>
}

/** Parses and checks a file's text. All problems are found, in the order of their lines. */
export const parse = (text: string): Parsed => {
  const entries = scanToml(text)
  const nulls = entries.filter(({ value }) => value === "null")
  const lines = text.split("\n")
  for (const { line } of nulls) lines[line - 1] = ""
  const parsed = Toml.parse(lines.join("\n"))
  const issues = nulls.map(nullIssue)
  if (Result.isFailure(parsed)) return { raw: {}, issues: [...issues, syntaxIssue(parsed.failure.message)] }
  const decoded = DataManagerConfig.decode(parsed.success)
  if (Result.isFailure(decoded))
    issues.push(...decoded.failure.map((issue) => ({ ...issue, line: lineOf(entries, issue.key) })))
  return { raw: parsed.success, issues: issues.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)) }
}

/** Keys that hold paths: what the file says is relative to the file, what the shell says to the working directory. */
const pathKeys = ["database.data_dir", "spool.dir", "realtime.shm.dir", "control.socket"]

type Setting = { readonly key: string; readonly value: unknown }

const absolute = (base: string, { key, value }: Setting): Setting =>
  pathKeys.includes(key) && typeof value === "string" ? { key, value: resolve(base, value) } : { key, value }

const pathsOf = (raw: Parsed["raw"], base: string): ReadonlyArray<Setting> =>
  pathKeys.flatMap((key) => {
    const value = key
      .split(".")
      .reduce<unknown>((at, name) => (at as { [key: string]: unknown } | undefined)?.[name], raw)
    return typeof value === "string" ? [absolute(base, { key, value })] : []
  })

/** The symbols file of a configuration: beside the file that names it, else in the working directory. */
export const symbolsFile = (loaded: LoadedConfig, cwd: string): string => {
  const { configFile } = loaded.config.symbols
  if (isAbsolute(configFile)) return configFile
  const beside = loaded.file === undefined ? undefined : resolve(dirname(loaded.file), configFile)
  return beside !== undefined && existsSync(beside) ? beside : resolve(cwd, configFile)
}

/** Loads the configuration that a request means. */
export const load = (request: ConfigRequest): Effect.Effect<LoadedConfig, ConfigError> =>
  Effect.gen(function* () {
    const file = find(request)
    const { raw, issues } = file === undefined ? { raw: {}, issues: [] } : parse(yield* readText(file))
    if (file !== undefined && issues.length > 0) return yield* fail(file, ...issues)
    const environment = DataManagerConfig.environment(request.env)
    const settings = [
      ...(file === undefined ? [] : pathsOf(raw, dirname(file))),
      ...environment.settings.map((setting) => absolute(request.cwd, setting)),
      ...(request.dataDir === undefined
        ? []
        : [absolute(request.cwd, { key: "database.data_dir", value: request.dataDir })])
    ]
    const decoded = DataManagerConfig.decode(DataManagerConfig.withSettings(raw, settings))
    const wrong = Result.isFailure(decoded) ? decoded.failure : []
    // The file is right by itself, so what is wrong now comes from a variable.
    const renamed = wrong.map((issue) => ({
      ...issue,
      key: environment.settings.find(({ key }) => key === issue.key)?.variable ?? issue.key
    }))
    if (Result.isFailure(decoded) || environment.issues.length > 0)
      return yield* fail("environment", ...environment.issues, ...renamed)
    return { config: decoded.success, file, variables: environment.settings.map(({ variable }) => variable) }
  })
