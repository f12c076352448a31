/** Shows what is in DBN files: header, counts and first records, or every record as JSON lines or CSV. */
import { Decimal } from "@data-manager/core"
import {
  CsvLines,
  DbnError,
  type DbnMetadata,
  type DbnRecord,
  type DbnVersion,
  decodeRecord,
  JsonLines,
  layoutOf,
  metadataToJson,
  type RecordBlock,
  type SymbolSource,
  TsSymbolMap,
  UNDEF_TIMESTAMP,
  upgradeMetadata
} from "@data-manager/providers-databento/dbn"
import { Effect } from "effect"
import type { Action } from "../Action.ts"
import { DbnContent, type DbnOptions, kindName, readBlocks, standardInput } from "../DbnFile.ts"
import { type CommandError, partlyFailed, UsageError } from "../ExitCode.ts"
import { grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import type { Session } from "../Session.ts"
import { facts, printable, table } from "../Table.ts"
import { short } from "../TimeText.ts"

interface Options extends DbnOptions {
  readonly files: ReadonlyArray<string>
  readonly metadata: boolean
  readonly csv: boolean
  readonly pretty: boolean
  readonly limit: number | undefined
}

/** Prints every record, at most `limit`, through a text writer. */
const printRecords = (
  path: string,
  options: Options,
  lines: { readonly render: (block: RecordBlock) => Uint8Array }
): Effect.Effect<void, CommandError> => {
  let left = options.limit ?? Number.POSITIVE_INFINITY
  return readBlocks(path, options, (block) =>
    Effect.gen(function* () {
      const shown = block.first(left)
      left -= shown.length
      yield* Output.write(lines.render(shown))
      return left > 0
    })
  )
}

const printMetadata = (path: string, options: Options, json: boolean): Effect.Effect<void, CommandError> =>
  Effect.gen(function* () {
    let found: DbnMetadata | undefined
    yield* readBlocks(path, options, (block) =>
      Effect.sync(() => {
        found = block.metadata
        return false
      })
    )
    const shown = found === undefined || !options.upgrade ? found : upgradeMetadata(found, 3)
    const value = shown === undefined ? null : metadataToJson(shown)
    yield* Output.writeLine(JSON.stringify(value, null, json ? undefined : 2))
  })

const symbolsOf = (metadata: DbnMetadata | undefined): SymbolSource | undefined => {
  try {
    return metadata === undefined ? undefined : TsSymbolMap.fromMetadata(metadata)
  } catch (cause) {
    // A map between other kinds of symbols names no instrument; the numbers are shown then.
    if (cause instanceof DbnError) return undefined
    throw cause
  }
}

const undefinedPrice = 9223372036854775807n

/** Kinds of values by the camel-case name of their field: prices and times are written as such. */
const fieldTypes = (rtype: number, version: DbnVersion): ReadonlyMap<string, string> => {
  const layout = layoutOf(rtype, version)
  const fields = [...(layout?.fields ?? []), ...(layout?.levels?.fields ?? [])]
  return new Map(
    fields.map(([, name, type]) => [
      name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      type
    ])
  )
}

const valueText = (type: string | undefined, value: unknown): string => {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex")
  if (typeof value !== "bigint") return String(value)
  if (value === UNDEF_TIMESTAMP || (type === "px" && value === undefinedPrice)) return ""
  return type === "px" ? Decimal.shortText(value, -9) : type === "ts" ? short(value) : value.toString()
}

const longestFields = 160

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const fieldsText = (record: DbnRecord, version: DbnVersion): string => {
  const types = fieldTypes(record.rtype, version)
  const top = "levels" in record ? { ...record.levels[0] } : {}
  const named = Object.entries({ ...record, ...top }).filter(([name]) => !headNames.has(name))
  const text = named
    .map(([name, value]) => [name, valueText(name === "tsOut" ? "ts" : types.get(name), value)] as const)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${snakeCase(name)} ${value}`)
    .join(", ")
  return text.length > longestFields ? `${text.slice(0, longestFields)}…` : text
}

const headNames = new Set(["type", "rtype", "publisherId", "instrumentId", "tsEvent", "levels"])

/** A record in one line: when, what it is, of what, and its fields as far as they fit. */
const recordRow = (
  block: RecordBlock,
  position: number,
  symbols: SymbolSource | undefined
): ReadonlyArray<string> => {
  const record = decodeRecord(block, position)
  const symbol = symbols?.symbolOf(block, position) ?? `#${record.instrumentId}`
  const time = record.tsEvent === UNDEF_TIMESTAMP ? "" : short(record.tsEvent)
  return [time, kindName(record.rtype), symbol, fieldsText(record, block.version)]
}

const rangeText = (metadata: DbnMetadata): string => {
  const start = metadata.start === UNDEF_TIMESTAMP ? "open" : short(metadata.start)
  return `${start} .. ${metadata.end === null ? "open" : short(metadata.end)}`
}

const listText = (items: ReadonlyArray<string>): string =>
  items.length <= 8
    ? items.join(", ")
    : `${items.slice(0, 8).join(", ")} and ${grouped(items.length - 8)} more`

const headerFacts = ({
  container,
  metadata,
  version
}: DbnContent): ReadonlyArray<readonly [string, string]> => {
  if (metadata === undefined)
    return [
      ["container", container],
      ["header", `none: a fragment, read as DBN version ${version}`]
    ]
  const counted = (name: string, items: ReadonlyArray<string>): ReadonlyArray<readonly [string, string]> =>
    items.length === 0 ? [] : [[name, listText(items)]]
  return [
    ["container", container],
    ["version", metadata.version === 0 ? "DBZ (legacy)" : `DBN ${metadata.version}`],
    ["dataset", metadata.dataset],
    ["schema", metadata.schema ?? "mixed"],
    ["range", rangeText(metadata)],
    ["symbols", `${metadata.stypeIn ?? "any"} -> ${metadata.stypeOut ?? "any"}`],
    ...counted("asked for", metadata.symbols),
    ...counted("in part", metadata.partial),
    ...counted("not found", metadata.notFound),
    ["mappings", grouped(metadata.mappings.length)],
    ...(metadata.limit === null ? [] : [["limit", grouped(metadata.limit)] as const]),
    ...(metadata.tsOut ? [["ts_out", "yes"] as const] : [])
  ]
}

const kindRows = (content: DbnContent): ReadonlyArray<ReadonlyArray<string>> =>
  content
    .kinds()
    .map(({ rtype, count, range }) => [
      kindName(rtype),
      grouped(count),
      range === undefined ? "" : short(range[0]),
      range === undefined ? "" : short(range[1])
    ])

const summaryLines = (
  path: string,
  content: DbnContent,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  session: Session
): ReadonlyArray<string> => {
  const { out } = session
  const kinds = table(
    [
      { header: "records" },
      { header: "count", align: "right" },
      { header: "first ts_event" },
      { header: "last ts_event" }
    ],
    kindRows(content),
    out
  )
  const records = table(
    [{ header: "ts_event" }, { header: "record" }, { header: "symbol" }, { header: "fields" }],
    rows,
    out
  )
  const { count, more } = content.instruments
  const total = `${plural(content.total, "record")} of ${more ? "at least " : ""}${plural(count, "instrument")}`
  return [
    out.bold(printable(path === standardInput ? "standard input" : path)),
    ...facts(headerFacts(content), out),
    "",
    ...(content.total === 0
      ? ["no records"]
      : [...kinds, "", total, ...(rows.length === 0 ? [] : ["", ...records])])
  ]
}

const defaultRecords = 10

const printSummary = (
  path: string,
  options: Options,
  session: Session,
  isFirst: boolean
): Effect.Effect<void, CommandError> =>
  Effect.gen(function* () {
    const content = new DbnContent()
    const rows: Array<ReadonlyArray<string>> = []
    const wanted = options.limit ?? defaultRecords
    let symbols: SymbolSource | undefined
    let symbolsFor: DbnMetadata | undefined
    const result = yield* Effect.result(
      readBlocks(path, options, (block, container) =>
        Effect.sync(() => {
          content.add(block, container)
          if (block.metadata !== symbolsFor) {
            symbolsFor = block.metadata
            symbols = symbolsOf(block.metadata)
          }
          for (const position of block.first(wanted - rows.length).positions())
            rows.push(recordRow(block, position, symbols))
          return true
        })
      )
    )
    if (result._tag === "Success" || content.total > 0 || content.metadata !== undefined) {
      const lines = summaryLines(path, content, rows, session)
      yield* Output.writeLine([...(isFirst ? [] : [""]), ...lines].join("\n"))
    }
    if (result._tag === "Failure") return yield* Effect.fail(result.failure)
  })

const one = (
  path: string,
  options: Options,
  session: Session,
  isFirst: boolean
): Effect.Effect<void, CommandError> => {
  const text = { prettyPx: options.pretty, prettyTs: options.pretty }
  if (options.metadata) return printMetadata(path, options, session.json)
  if (options.csv) return printRecords(path, options, new CsvLines({ ...text, mixed: "header" }))
  if (session.json) return printRecords(path, options, new JsonLines(text))
  return printSummary(path, options, session, isFirst)
}

export const dbn = (session: Session, options: Options): Action =>
  Effect.gen(function* () {
    if (options.csv && session.json)
      return yield* new UsageError({ message: "dbn: --csv and --json exclude each other" })
    if (options.files.filter((path) => path === standardInput).length > 1)
      return yield* new UsageError({ message: "dbn: standard input (-) can be read once" })
    let failures = 0
    for (const [index, path] of options.files.entries()) {
      const result = yield* Effect.result(one(path, options, session, index === 0))
      if (result._tag === "Success") continue
      failures += 1
      yield* Output.note(`dm: ${result.failure.message}`)
    }
    if (failures > 0) return yield* partlyFailed
  })
