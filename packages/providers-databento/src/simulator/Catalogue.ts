/**
 * The data that a simulator serves: DBN of any version and container, decoded once and kept in memory, by dataset and
 * schema; and which symbols mean which instruments on which days.
 */

import { Effect, FileSystem, type PlatformError, Stream } from "effect"
import { DbnDecoder } from "../dbn/DbnDecoder.ts"
import { DbnError } from "../dbn/DbnError.ts"
import type { DbnMetadata } from "../dbn/DbnMetadata.ts"
import { decodeRecord, type InstrumentDefRecord, type SymbolMappingRecord } from "../dbn/DbnRecord.ts"
import { type KnownSchema, schemas } from "../dbn/DbnSchema.ts"
import { dayOfNanos, NANOS_PER_DAY } from "../dbn/IsoDate.ts"
import { datasetOf } from "../dbn/Publisher.ts"
import type { RecordBlock } from "../dbn/RecordBlock.ts"
import { Rtype, rtypeEntry } from "../dbn/Rtype.ts"
import { UNDEF_TIMESTAMP } from "../dbn/Sentinel.ts"
import { stypeFromCode } from "../dbn/SType.ts"
import { symbolIntervals } from "../dbn/SymbolMap.ts"
import { barTable } from "./BarTable.ts"
import type { EndlessMarket } from "./EndlessMarket.ts"
import { entryOf } from "./MapEntry.ts"
import { type RecordTable, RecordTableBuilder } from "./RecordTable.ts"
import { SimulatorError } from "./SimulatorError.ts"
import { SymbolDirectory } from "./SymbolDirectory.ts"
import type { SyntheticMarket } from "./SyntheticMarket.ts"

/** Settings of a catalogue. */
export interface CatalogueOptions {
  /** Most bytes of records; default 2 GiB, at most 4 GiB. More is refused. */
  readonly maxBytes?: number | undefined
}

/** One dataset. */
export class SimulatedDataset {
  readonly name: string
  readonly tables: ReadonlyMap<KnownSchema, RecordTable>
  readonly symbols: SymbolDirectory
  /** Available range, ns since the epoch, end exclusive. */
  readonly start: bigint
  readonly end: bigint
  /** Where its live trades come from, instead of the tables. */
  readonly endless: EndlessMarket | undefined

  constructor(
    name: string,
    tables: ReadonlyMap<KnownSchema, RecordTable>,
    symbols: SymbolDirectory,
    range: { readonly start: bigint; readonly end: bigint },
    endless?: EndlessMarket
  ) {
    this.endless = endless
    this.name = name
    this.tables = tables
    this.symbols = symbols
    this.start = range.start
    this.end = range.end
  }

  /** Schemas that have records, in the vendor's order. */
  get schemas(): ReadonlyArray<KnownSchema> {
    return schemas.filter((schema) => this.tables.has(schema))
  }

  /** Index time of the first record. */
  get firstTime(): bigint {
    return [...this.tables.values()].reduce(
      (first, table) => (table.times[0]! < first ? table.times[0]! : first),
      this.end
    )
  }

  /** Days of the available range, since the epoch, `[first, end)`. */
  get days(): { readonly first: number; readonly end: number } {
    return { first: dayOfNanos(this.start), end: dayOfNanos(this.end - 1n) + 1 }
  }
}

/** What is there. */
export class Catalogue {
  readonly datasets: ReadonlyMap<string, SimulatedDataset>

  constructor(datasets: Iterable<SimulatedDataset>) {
    this.datasets = new Map([...datasets].map((dataset) => [dataset.name, dataset]))
  }

  /** A dataset by its code. */
  get(name: string): SimulatedDataset | undefined {
    return this.datasets.get(name)
  }
}

/** One dataset while it is gathered. */
class DatasetBuilder {
  readonly name: string
  readonly tables = new Map<KnownSchema, RecordTableBuilder>()
  readonly symbols = new SymbolDirectory()
  /** Definitions by instrument: day and names. */
  readonly definitions = new Map<number, Array<Definition>>()
  start: bigint | undefined
  end: bigint | undefined

  constructor(name: string) {
    this.name = name
  }

  table(schema: KnownSchema): RecordTableBuilder {
    return entryOf(this.tables, schema, () => new RecordTableBuilder(schema))
  }

  widen(start: bigint, end: bigint): void {
    if (start >= end) return
    if (this.start === undefined || start < this.start) this.start = start
    if (this.end === undefined || end > this.end) this.end = end
  }

  build(): SimulatedDataset | undefined {
    const tables = new Map<KnownSchema, RecordTable>()
    for (const [schema, builder] of this.tables) {
      const table = builder.build()
      tables.set(schema, table)
      this.#widenBy(table)
    }
    if (this.start === undefined || this.end === undefined) return undefined
    this.#learnDefinitions(dayOfNanos(this.end - 1n) + 1)
    const trades = tables.get("trades")
    if (trades !== undefined)
      for (const schema of ["ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d"] as const)
        if (!tables.has(schema)) tables.set(schema, barTable(schema, trades))
    return new SimulatedDataset(this.name, tables, this.symbols, { start: this.start, end: this.end })
  }

  /** Records outside the ranges that headers told: whole days of theirs are available as well. */
  #widenBy(table: RecordTable): void {
    if (table.length === 0) return
    const first = table.times[0]!
    const last = table.times[table.length - 1]!
    if (this.start !== undefined && this.end !== undefined && first >= this.start && last < this.end) return
    this.widen(BigInt(dayOfNanos(first)) * NANOS_PER_DAY, BigInt(dayOfNanos(last) + 1) * NANOS_PER_DAY)
  }

  /** A definition holds from its day until the next one of its instrument. */
  #learnDefinitions(endDay: number): void {
    for (const [id, list] of this.definitions) {
      list.sort((a, b) => a.day - b.day)
      list.forEach((definition, i) => {
        const end = Math.max(definition.day + 1, list[i + 1]?.day ?? endDay)
        for (const [stype, symbol] of definition.names)
          this.symbols.learn(stype, symbol, id, definition.day, end)
      })
    }
  }
}

interface Definition {
  readonly day: number
  readonly names: ReadonlyArray<readonly [stype: string, symbol: string]>
}

/** Parents by instrument class: futures and their spreads, options and theirs, spot. */
const parentSuffix: { readonly [instrumentClass: string]: string } = {
  F: "FUT",
  S: "FUT",
  M: "FUT",
  C: "OPT",
  P: "OPT",
  T: "OPT",
  X: "SPOT",
  Y: "SPOT"
}

const GIB = 1024 ** 3

/** Gathers DBN into a catalogue. */
export class CatalogueBuilder {
  readonly #datasets = new Map<string, DatasetBuilder>()
  readonly #maxBytes: number
  #bytes = 0

  constructor(options: CatalogueOptions = {}) {
    this.#maxBytes = Math.min(options.maxBytes ?? 2 * GIB, 4 * GIB - 1)
  }

  /** A reader of one DBN input in chunks. Throws `DbnError` for what is no DBN, is cut off, or does not fit. */
  reader(isFragment = false): { push(chunk: Uint8Array): void; end(): void } {
    const decoder = new DbnDecoder({ upgrade: 3, ...(isFragment ? { fragment: {} } : {}) })
    let header: DbnMetadata | undefined
    const drain = (): void => {
      for (let block = decoder.take(); block !== undefined; block = decoder.take()) {
        if (block.metadata !== undefined && block.metadata !== header) {
          header = block.metadata
          this.#header(header)
        }
        this.#block(block)
      }
    }
    return {
      push: (chunk) => {
        decoder.push(chunk)
        drain()
      },
      end: () => {
        decoder.end()
        drain()
        decoder.close()
      }
    }
  }

  /** Adds one whole DBN input. */
  add(chunks: Iterable<Uint8Array>, isFragment = false): this {
    const reader = this.reader(isFragment)
    for (const chunk of chunks) reader.push(chunk)
    reader.end()
    return this
  }

  /** Adds a synthetic day: trades, half as many top-of-book updates, definitions; bars follow from the trades. */
  addSynthetic(market: SyntheticMarket): this {
    return this.add([market.definitionFile()])
      .add(market.tradeFile())
      .add(market.quoteFile(Math.ceil(market.trades / 2)))
  }

  /** Datasets without a record or range are left out. */
  build(): Catalogue {
    return new Catalogue(
      [...this.#datasets.values()].map((it) => it.build()).filter((it) => it !== undefined)
    )
  }

  #dataset(name: string): DatasetBuilder {
    return entryOf(this.#datasets, name, () => new DatasetBuilder(name))
  }

  #header(metadata: DbnMetadata): void {
    const dataset = this.#dataset(metadata.dataset)
    if (metadata.end !== null && metadata.start !== UNDEF_TIMESTAMP)
      dataset.widen(metadata.start, metadata.end)
    const stype =
      metadata.stypeOut === "instrument_id" ? (metadata.stypeIn ?? "raw_symbol") : metadata.stypeOut
    for (const it of symbolIntervals(metadata))
      dataset.symbols.learn(stype ?? "raw_symbol", it.symbol, it.instrumentId, it.start, it.end)
  }

  #block(block: RecordBlock): void {
    const isTbbo = block.metadata?.schema === "tbbo"
    for (const position of block.positions()) {
      const head = block.words[position]!
      const rtype = (head >>> 8) & 0xff
      const name = block.metadata?.dataset ?? datasetOf(head >>> 16)
      if (name === undefined)
        throw new DbnError(
          "usage",
          `publisher ${head >>> 16} of a record without a header is unknown: its dataset cannot be told`
        )
      if (rtype === Rtype.symbolMapping) this.#mapping(this.#dataset(name), block, position)
      const own = rtype === Rtype.ohlcvDeprecated ? block.metadata?.schema : rtypeEntry(rtype)?.schema
      const schema = isTbbo && own === "mbp-1" ? "tbbo" : own
      if (schema == null || schema.startsWith("schema-")) continue
      const table = this.#dataset(name).table(schema as KnownSchema)
      const before = table.length
      table.add(block, position)
      this.#count(table.length - before)
      if (rtype === Rtype.instrumentDef) this.#definition(this.#dataset(name), block, position)
    }
  }

  #count(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes > this.#maxBytes)
      throw new DbnError(
        "too-large",
        `more than ${this.#maxBytes} bytes of records: give the simulator fewer files, or raise maxBytes`
      )
  }

  #definition(dataset: DatasetBuilder, block: RecordBlock, position: number): void {
    const record = decodeRecord(block, position) as InstrumentDefRecord
    const day = dayOfNanos(record.tsRecv)
    const suffix = parentSuffix[record.instrumentClass]
    const names: Array<readonly [string, string]> = [["raw_symbol", record.rawSymbol]]
    if (suffix !== undefined && record.asset !== "") names.push(["parent", `${record.asset}.${suffix}`])
    const list = entryOf(dataset.definitions, record.instrumentId, () => [])
    if (!list.some((known) => known.day === day)) list.push({ day, names })
  }

  /** Live captures map symbols by records; the mapping holds for its UTC days. */
  #mapping(dataset: DatasetBuilder, block: RecordBlock, position: number): void {
    const record = decodeRecord(block, position) as SymbolMappingRecord
    const start = record.startTs === UNDEF_TIMESTAMP ? block.metadata?.start : record.startTs
    if (start === undefined) return
    const first = dayOfNanos(start)
    const end = record.endTs === UNDEF_TIMESTAMP ? first + 1 : dayOfNanos(record.endTs - 1n) + 1
    dataset.symbols.learn("raw_symbol", record.stypeOutSymbol, record.instrumentId, first, end)
    const stypeIn = stypeFromCode(record.stypeIn)
    if (stypeIn === "parent" || stypeIn === "continuous")
      dataset.symbols.learn(stypeIn, record.stypeInSymbol, record.instrumentId, first, end)
  }
}

const problem = (path: string, cause: unknown): SimulatorError =>
  new SimulatorError({
    operation: `read ${path}`,
    detail: cause instanceof Error ? cause.message : String(cause),
    cause
  })

/** Reads DBN files into a catalogue; names with `.frag` are fragments. */
export const addFile = (
  builder: CatalogueBuilder,
  path: string
): Effect.Effect<void, SimulatorError, FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const reader = builder.reader(/\.frag(\.zst)?$/.test(path))
    const attempt = (body: () => void): Effect.Effect<void, SimulatorError> =>
      Effect.try({ try: body, catch: (cause) => problem(path, cause) })
    yield* files.stream(path, { chunkSize: 1 << 20 }).pipe(
      Stream.mapError((cause: PlatformError.PlatformError) => problem(path, cause)),
      Stream.runForEach((chunk) => attempt(() => reader.push(chunk)))
    )
    yield* attempt(() => reader.end())
  })
