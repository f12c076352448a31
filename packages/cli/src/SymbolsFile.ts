/**
 * Reads `symbols.toml`: the symbols that a configuration asks to collect. Problems are told as in `ConfigFile`: file, line,
 * key, value and what is allowed, all at once.
 */
import { readFile, stat } from "node:fs/promises"
import {
  ConfigError,
  type ConfigIssue,
  DataManagerConfig,
  MarketSchema,
  type SymbolEntry,
  SymbolText,
  symbolTypeOf
} from "@data-manager/core"
import { Effect, Result, Schema, SchemaIssue } from "effect"
import { Toml } from "effect/encoding"
import { problemText } from "./FileProblem.ts"
import { scanToml, type TomlEntry } from "./TomlLines.ts"

const largestFile = 16 * 1_048_576

const allowed: { readonly [key: string]: string } = {
  symbol: "text such as GLBX.MDP3:ES.FUT",
  provider: "the name of a provider such as databento",
  stype_in: '"raw_symbol", "parent", "continuous" or "instrument_id"',
  schemas: `a list of schemas out of ${MarketSchema.all.join(", ")}`,
  enabled: "true or false",
  asset_class: "text",
  exchange: "text"
}

const decode = Schema.decodeUnknownResult(DataManagerConfig.SymbolsFile, {
  errors: "all",
  onExcessProperty: "error"
})
const standardIssues = SchemaIssue.makeFormatterStandardSchemaV1()

/** Line of a key of the n-th `[[symbols]]`, or of its header where the key is not there. */
const lineOf = (
  entries: ReadonlyArray<TomlEntry>,
  index: number,
  key: string | undefined
): number | undefined => {
  const headers = entries.flatMap((entry, at) => (entry.key === "symbols" && entry.value === "" ? [at] : []))
  const from = headers[index]
  if (from === undefined) return undefined
  const own = entries.slice(from, headers[index + 1] ?? entries.length)
  return (own.find((entry) => entry.key === `symbols.${key}`) ?? own[0])?.line
}

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

const issueAt = (
  raw: unknown,
  path: ReadonlyArray<PropertyKey>,
  entries: ReadonlyArray<TomlEntry>
): ConfigIssue => {
  const [top, index, key] = path.map(String)
  if (top !== "symbols")
    return {
      key: top ?? "",
      line: entries.find((entry) => entry.key === top)?.line,
      problem: "unknown key; this file holds [[symbols]] entries"
    }
  const at = Number(index)
  if (index === undefined || key === undefined)
    return {
      key: "symbols",
      line: lineOf(entries, at || 0, undefined),
      problem: "expected [[symbols]] entries"
    }
  const line = lineOf(entries, at, key)
  const entry = (raw as { readonly symbols: ReadonlyArray<{ readonly [name: string]: unknown }> }).symbols[at]
  const value = entry?.[key]
  if (allowed[key] === undefined) {
    const near = DataManagerConfig.suggest(key, Object.keys(allowed))
    const hint = near === undefined ? `known: ${Object.keys(allowed).join(", ")}` : `did you mean ${near}?`
    return { key, line, problem: `unknown key; ${hint}` }
  }
  if (value === undefined) return { key, line, problem: `is missing; expected ${allowed[key]}` }
  return { key, line, problem: `${shown(value)} is not allowed; expected ${allowed[key]}` }
}

type FileEntry = (typeof DataManagerConfig.SymbolsFile.Type)["symbols"][number]

/** What cannot be said by the shape of a single key: every symbol names its dataset, and none comes twice. */
const contentIssues = (
  symbols: ReadonlyArray<FileEntry>,
  entries: ReadonlyArray<TomlEntry>
): Array<ConfigIssue> => {
  const seen = new Set<string>()
  return symbols.flatMap(({ symbol, provider }, index): ReadonlyArray<ConfigIssue> => {
    const line = lineOf(entries, index, "symbol")
    if (SymbolText.parse(symbol).dataset === undefined)
      return [{ key: "symbol", line, problem: `${shown(symbol)} names no dataset; write DATASET:SYMBOL` }]
    const key = `${provider}\n${symbol}`
    if (seen.has(key)) return [{ key: "symbol", line, problem: `${shown(symbol)} stands here a second time` }]
    seen.add(key)
    return []
  })
}

const toEntry = (entry: FileEntry, at: bigint): SymbolEntry => {
  const { dataset = "", rawSymbol } = SymbolText.parse(entry.symbol)
  return {
    symbol: entry.symbol,
    provider: entry.provider,
    dataset,
    stypeIn: entry.stype_in ?? symbolTypeOf(rawSymbol),
    schemas: (entry.schemas ?? []).filter(MarketSchema.is),
    enabled: entry.enabled ?? true,
    source: "config",
    discoveredAt: at,
    assetClass: entry.asset_class,
    exchange: entry.exchange
  }
}

/** Entries that a text describes, or everything that is wrong with it. `at` is when they were written down, ns. */
export const parse = (
  text: string,
  at: bigint
): Result.Result<ReadonlyArray<SymbolEntry>, ReadonlyArray<ConfigIssue>> => {
  const entries = scanToml(text)
  const parsed = Toml.parse(text)
  if (Result.isFailure(parsed)) {
    const match = /^(.*) at line (\d+), column \d+$/s.exec(parsed.failure.message)
    const line = match === null ? undefined : Number(match[2])
    return Result.fail([{ key: "", line, problem: `not valid TOML: ${match?.[1] ?? "cannot be read"}` }])
  }
  const decoded = decode(parsed.success)
  if (Result.isFailure(decoded)) {
    const issues = standardIssues(decoded.failure.issue).issues
    const told = new Map<string, ConfigIssue>()
    for (const { path } of issues) {
      const names = (path ?? []).map((part) => part as PropertyKey).slice(0, 3)
      told.set(names.join("."), issueAt(parsed.success, names, entries))
    }
    return Result.fail([...told.values()])
  }
  const issues = contentIssues(decoded.success.symbols, entries)
  return issues.length > 0
    ? Result.fail(issues)
    : Result.succeed(decoded.success.symbols.map((entry) => toEntry(entry, at)))
}

/** Entries of a file; none where the file does not exist. */
export const load = (path: string): Effect.Effect<ReadonlyArray<SymbolEntry>, ConfigError> =>
  Effect.gen(function* () {
    const fail = (...issues: ReadonlyArray<ConfigIssue>) =>
      Effect.fail(new ConfigError({ source: path, issues }))
    const info = yield* Effect.promise(() => stat(path).catch(() => undefined))
    if (info === undefined) return []
    if (!info.isFile()) return yield* fail({ key: "", problem: "is not a file" })
    if (info.size > largestFile) return yield* fail({ key: "", problem: "is larger than 16 MiB" })
    const text = yield* Effect.result(
      Effect.tryPromise({ try: () => readFile(path, "utf8"), catch: (cause) => problemText(cause) })
    )
    if (text._tag === "Failure") return yield* fail({ key: "", problem: text.failure })
    const entries = parse(text.success, BigInt(Math.trunc(info.mtimeMs)) * 1_000_000n)
    return Result.isFailure(entries) ? yield* fail(...entries.failure) : entries.success
  })
