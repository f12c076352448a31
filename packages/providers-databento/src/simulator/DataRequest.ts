/** A request for market data, resolved: what `timeseries.get_range`, the counting calls and batch jobs have in common. */

import { decodeMetadata, encodeMetadata } from "../dbn/DbnMetadata.ts"
import type { KnownSchema } from "../dbn/DbnSchema.ts"
import type { DbnVersion } from "../dbn/Layout.ts"
import type { RecordBlock } from "../dbn/RecordBlock.ts"
import { CsvLines, JsonLines } from "../dbn/RecordText.ts"
import { rtypeOfSchema } from "../dbn/Rtype.ts"
import type { KnownSType } from "../dbn/SType.ts"
import { indexDay, type SymbolSource, TsSymbolMap } from "../dbn/SymbolMap.ts"
import { zstdChunks } from "../dbn/ZstdEncoder.ts"
import type { Catalogue, SimulatedDataset } from "./Catalogue.ts"
import { caseProblem } from "./HttpReply.ts"
import { entryOf } from "./MapEntry.ts"
import { type RecordTable, RecordTableBuilder } from "./RecordTable.ts"
import { daysOf, type Range, type RequestForm } from "./RequestForm.ts"
import { filterOf, Selection } from "./Selection.ts"
import { ALL_SYMBOLS, metadataIntervals, type Resolution } from "./SymbolDirectory.ts"

/** How records are written. */
export interface TextForm {
  readonly encoding: "dbn" | "csv" | "json"
  readonly compression: "none" | "zstd"
  readonly prettyPx: boolean
  readonly prettyTs: boolean
  readonly mapSymbols: boolean
}

/** What was asked for. */
export interface DataRequest {
  readonly dataset: SimulatedDataset
  readonly schema: KnownSchema
  readonly symbols: ReadonlyArray<string>
  readonly stypeIn: KnownSType
  readonly stypeOut: KnownSType
  readonly range: Range
  readonly limit: number | undefined
  readonly resolution: Resolution
}

const isAll = (symbols: ReadonlyArray<string>): boolean => symbols.length === 1 && symbols[0] === ALL_SYMBOLS

/** Reads and resolves a request. Throws `HttpProblem`. */
export const dataRequest = (form: RequestForm, catalogue: Catalogue): DataRequest => {
  const dataset = form.dataset(catalogue)
  const schema = form.schema()
  const symbols = form.symbols()
  const stypeIn = form.stype("stype_in")
  const stypeOut = form.stype("stype_out")
  const range = form.range(dataset)
  const limit = form.count("limit")
  const days = daysOf(range)
  const resolution = dataset.symbols.resolve(symbols, stypeIn, stypeOut, days.first, days.end)
  if (!isAll(symbols) && resolution.intervals.size === 0)
    throw caseProblem(422, "symbology_invalid_request", "None of the symbols could be resolved")
  return { dataset, schema, symbols, stypeIn, stypeOut, range, limit, resolution }
}

/** 206 where some of the symbols were resolved in part or not at all. */
export const statusOf = (request: DataRequest): number =>
  request.resolution.partial.length + request.resolution.notFound.length > 0 ? 206 : 200

const empty = new Map<KnownSchema, RecordTable>()

const emptyTable = (schema: KnownSchema): RecordTable =>
  entryOf(empty, schema, () => new RecordTableBuilder(schema).build())

/** The records of a request, of a part of its range where one is given. */
export const selectionOf = (request: DataRequest, version: DbnVersion, range = request.range): Selection => {
  const { dataset, schema, symbols, stypeIn, limit } = request
  const days = daysOf(request.range)
  const table = (dataset.tables.get(schema) ?? emptyTable(schema)).inVersion(version)
  return Selection.of(
    table,
    filterOf(dataset, symbols, stypeIn, days.first, days.end),
    range.start,
    range.end,
    limit
  )
}

/** Header of a DBN answer. Requests for everything carry no mappings. */
const header = (request: DataRequest, range: Range, version: DbnVersion): Uint8Array => {
  const { resolution } = request
  return encodeMetadata(
    {
      dataset: request.dataset.name,
      schema: request.schema,
      start: range.start,
      end: range.end,
      limit: request.limit === undefined ? null : BigInt(request.limit),
      stypeIn: request.stypeIn,
      stypeOut: request.stypeOut,
      symbols: request.symbols,
      partial: resolution.partial,
      notFound: resolution.notFound,
      mappings: isAll(request.symbols)
        ? []
        : [...resolution.intervals].map(([rawSymbol, list]) => ({
            rawSymbol,
            intervals: metadataIntervals(list)
          }))
    },
    version
  )
}

/**
 * Symbols of records as text answers print them: what was asked for, as the header of the same answer in DBN maps it; the
 * raw symbol of the day where everything was asked for.
 */
const symbolsOf = (request: DataRequest, range: Range, version: DbnVersion): SymbolSource => {
  const { symbols } = request.dataset
  if (!isAll(request.symbols) && [request.stypeIn, request.stypeOut].includes("instrument_id"))
    return TsSymbolMap.fromMetadata(decodeMetadata(header(request, range, version)))
  return {
    symbolOf: (block, position) =>
      symbols.rawSymbol(block.words[position + 1]! >>> 0, indexDay(block, position))
  }
}

/** Positions `[from, to)` of a selection as bytes of a whole file or answer, in bounded pieces. */
export function* encoded(
  request: DataRequest,
  selection: Selection,
  form: TextForm,
  range = request.range,
  from = 0,
  to = selection.length
): Generator<Uint8Array, void, undefined> {
  const plain = plainBytes(request, selection, form, range, from, to)
  if (form.compression === "zstd") yield* zstdChunks(plain)
  else yield* plain
}

function* plainBytes(
  request: DataRequest,
  selection: Selection,
  form: TextForm,
  range: Range,
  from: number,
  to: number
): Generator<Uint8Array, void, undefined> {
  const { version, schema } = selection.table
  if (form.encoding === "dbn") {
    yield header(request, range, version)
    yield* selection.chunks(from, to)
    return
  }
  const options = {
    prettyPx: form.prettyPx,
    prettyTs: form.prettyTs,
    symbols: form.mapSymbols ? symbolsOf(request, range, version) : undefined
  }
  const lines =
    form.encoding === "csv" ? new CsvLines(options) : new JsonLines({ ...options, shape: "vendor" })
  if (lines instanceof CsvLines && from === to)
    yield new TextEncoder().encode(lines.header(rtypeOfSchema(schema), version))
  yield* gathered(selection.blocks(from, to), (block) => lines.render(block))
}

const PIECE_BYTES = 1 << 16

/** The texts of blocks, small ones joined, in memory of their own. */
function* gathered(
  blocks: Iterable<RecordBlock>,
  render: (block: RecordBlock) => Uint8Array
): Generator<Uint8Array, void, undefined> {
  let parts: Array<Uint8Array> = []
  let length = 0
  for (const block of blocks) {
    const text = render(block).slice()
    parts.push(text)
    length += text.length
    if (length < PIECE_BYTES) continue
    yield Buffer.concat(parts)
    parts = []
    length = 0
  }
  if (length > 0) yield Buffer.concat(parts)
}

/** How an answer is to be written. */
export const textForm = (form: RequestForm): TextForm => {
  const encoding = form.choice("encoding", ["dbn", "csv", "json"], "dbn")
  return {
    encoding,
    compression: form.choice("compression", ["none", "zstd"], "none"),
    prettyPx: form.flag("pretty_px"),
    prettyTs: form.flag("pretty_ts"),
    mapSymbols: form.flag("map_symbols")
  }
}
