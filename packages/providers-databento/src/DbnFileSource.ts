/**
 * DBN files as sources of `FileImport`: any version and container, fragments, several streams joined in one file.
 *
 * What a file claims to hold completely: the mapped instruments, in their mapping intervals, within start and end of its
 * header. A file that reached its limit, or ends early, claims up to the microsecond of its last record; a fragment, a
 * live capture, a mixed file and a file without mappings claim nothing.
 */
import { createHash } from "node:crypto"
import {
  batchContext,
  type Coverage,
  type FileEvent,
  type FileHeader,
  type FileSource,
  type ListingClaim,
  type MarketBatch,
  MarketSchema,
  ProviderBadRequest,
  ProviderError,
  type ProviderErrorReason,
  ProviderMalformed,
  type RegisterListings,
  type StoreError,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { type Cause, Effect, FileSystem, type PlatformError, Queue, type Scope, Stream } from "effect"
import { DbnBatches } from "./DbnBatches.ts"
import { decodeReason } from "./DbnFailure.ts"
import { CLAIMS_PER_REGISTRATION, DbnInstruments, type MappedInstruments } from "./DbnInstruments.ts"
import { DbnDecoder } from "./dbn/DbnDecoder.ts"
import { DbnError } from "./dbn/DbnError.ts"
import type { DbnMetadata } from "./dbn/DbnMetadata.ts"
import type { DbnVersion } from "./dbn/Layout.ts"
import { datasetOf, venueOf } from "./dbn/Publisher.ts"
import type { RecordBlock } from "./dbn/RecordBlock.ts"
import { Rtype, rtypeEntry, rtypeName } from "./dbn/Rtype.ts"
import { UNDEF_TIMESTAMP } from "./dbn/Sentinel.ts"
import { lastIndexTime } from "./IndexTime.ts"
import { PROVIDER_ID } from "./MappingClaim.ts"

/** Rows per batch, and so per transaction, of an import. */
export const IMPORT_BATCH_ROWS = 131_072

/** How a file is read. */
export interface DbnFileOptions {
  /** Dataset of a fragment whose publishers do not tell. */
  readonly dataset?: string | undefined
  /** Says that the file is a fragment, and of which version; a name with `.frag` says so, too. */
  readonly dbnVersion?: DbnVersion | undefined
  /** Records of the fragment end with a send time. */
  readonly tsOut?: boolean | undefined
  /** Default 131,072. Part of the fingerprint. */
  readonly batchRows?: number | undefined
}

const READ_BYTES = 1 << 20

/** A DBN file. `bytes` is its size, for progress; the file is opened when one of the effects runs. */
export const dbnFile = (
  path: string,
  bytes: number,
  options: DbnFileOptions = {}
): FileSource<FileSystem.FileSystem> => ({
  path,
  bytes,
  header: Effect.scoped(readHeader(path, options)),
  fingerprint: Effect.scoped(fingerprint(path, options)),
  events: (register) =>
    Stream.unwrap(
      Effect.map(readHeader(path, options), (header) =>
        Stream.callback<FileEvent, ProviderError | StoreError, FileSystem.FileSystem>(
          (queue) =>
            Effect.flatMap(new FileReader(path, header, options, register, queue).run(), () =>
              Queue.end(queue)
            ),
          { bufferSize: 1 }
        )
      )
    )
})

const isFragment = (path: string, options: DbnFileOptions): boolean =>
  options.dbnVersion !== undefined || options.tsOut === true || /\.frag(\.zst)?$/.test(path)

const decoderOf = (path: string, options: DbnFileOptions): DbnDecoder =>
  new DbnDecoder({
    upgrade: 3,
    fragment: isFragment(path, options) ? { version: options.dbnVersion, tsOut: options.tsOut } : undefined
  })

const failure = (path: string, reason: ProviderErrorReason, cause?: unknown): ProviderError =>
  new ProviderError({ provider: PROVIDER_ID, operation: `read ${path}`, reason, cause })

const decodeFailure = (path: string, cause: unknown): ProviderError =>
  failure(path, decodeReason(cause), cause)

const fileFailure = (path: string, error: PlatformError.PlatformError): ProviderError => {
  const missing = error.reason._tag === "NotFound"
  const detail = missing ? "no such file" : error.message
  const hint = missing ? "check the path" : "check that it is a readable file"
  return failure(path, new ProviderBadRequest({ detail, hint }), error)
}

const openFile = (
  path: string
): Effect.Effect<FileSystem.File, ProviderError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) =>
    Effect.mapError(fs.open(path, { flag: "r" }), (error) => fileFailure(path, error))
  )

/** Chunks of the file, one after another, into the same memory; 0 at its end. */
const reading = (
  path: string,
  file: FileSystem.File,
  buffer: Uint8Array
): Effect.Effect<number, ProviderError> =>
  Effect.mapError(Effect.map(file.read(buffer), Number), (error) => fileFailure(path, error))

const fingerprint = Effect.fnUntraced(function* (path: string, options: DbnFileOptions) {
  const file = yield* openFile(path)
  const hash = createHash("sha256")
  const buffer = new Uint8Array(READ_BYTES)
  for (let n = yield* reading(path, file, buffer); n > 0; n = yield* reading(path, file, buffer))
    hash.update(buffer.subarray(0, n))
  const cut = `rows=${options.batchRows ?? IMPORT_BATCH_ROWS} keys=1`
  const told = isFragment(path, options)
    ? ` dataset=${options.dataset ?? ""} version=${options.dbnVersion ?? ""} ts_out=${options.tsOut ?? ""}`
    : ""
  return `dbn sha256:${hash.digest("hex")} ${cut}${told}`
})

/** Reads up to the first block: the header, or the first records of a fragment. */
const readHeader = Effect.fnUntraced(function* (path: string, options: DbnFileOptions) {
  const file = yield* openFile(path)
  const decoder = decoderOf(path, options)
  const buffer = new Uint8Array(READ_BYTES)
  for (;;) {
    const n = yield* reading(path, file, buffer)
    const header = yield* Effect.try({
      try: () => {
        if (n === 0) decoder.end()
        else decoder.push(buffer.subarray(0, n))
        const block = decoder.take()
        return block === undefined ? undefined : headerOf(block, options)
      },
      catch: (cause) => decodeFailure(path, cause)
    })
    if (header !== undefined || n === 0) {
      decoder.close()
      return (
        header ?? {
          provider: PROVIDER_ID,
          dataset: options.dataset ?? "",
          content: "empty",
          isDefinitions: false
        }
      )
    }
  }
})

const headerOf = (block: RecordBlock, options: DbnFileOptions): FileHeader => {
  const { metadata } = block
  if (metadata === undefined) return fragmentHeader(block, options)
  const content = metadata.schema ?? "mixed"
  return {
    provider: PROVIDER_ID,
    dataset: metadata.dataset,
    content,
    schema: MarketSchema.is(content) ? content : undefined,
    isDefinitions: content === "definition"
  }
}

const fragmentHeader = (block: RecordBlock, options: DbnFileOptions): FileHeader => {
  const rtype = (block.words[block.start]! >>> 8) & 0xff
  const publisher = block.words[block.start]! >>> 16
  const dataset = options.dataset ?? datasetOf(publisher)
  if (dataset === undefined)
    throw new DbnError(
      "usage",
      `publisher ${publisher} of this fragment is unknown: name its dataset (--dataset)`
    )
  const content = rtypeEntry(rtype)?.schema ?? rtypeName(rtype)
  return {
    provider: PROVIDER_ID,
    dataset,
    content,
    schema: MarketSchema.is(content) ? content : undefined,
    isDefinitions: rtype === Rtype.instrumentDef
  }
}

/** Instruments of one header's mappings, and the time it speaks for. */
interface Mapped extends MappedInstruments {
  readonly metadata: DbnMetadata
}

/** Reads one file once. */
class FileReader {
  readonly #path: string
  readonly #header: FileHeader
  readonly #options: DbnFileOptions
  readonly #queue: Queue.Queue<FileEvent, ProviderError | StoreError | Cause.Done>
  readonly #instruments: DbnInstruments
  readonly #batches: DbnBatches
  readonly #mapped: Array<Mapped> = []
  readonly #notes: Array<string> = []
  #bytesRead = 0
  #segment = -1
  /** Records in front of the current header, and the newest index time behind it. */
  #segmentRecords = 0
  #lastIndexTime: bigint | undefined

  constructor(
    path: string,
    header: FileHeader,
    options: DbnFileOptions,
    register: RegisterListings,
    queue: Queue.Queue<FileEvent, ProviderError | StoreError | Cause.Done>
  ) {
    this.#path = path
    this.#header = header
    this.#options = options
    this.#queue = queue
    this.#instruments = new DbnInstruments(header.dataset, register)
    this.#batches = new DbnBatches({
      context: batchContext({
        provider: PROVIDER_ID,
        dataset: header.dataset,
        instruments: this.#instruments.directory,
        venueOf
      }),
      batchRows: options.batchRows ?? IMPORT_BATCH_ROWS,
      onOther: (block, position) => this.#instruments.note(block, position)
    })
  }

  readonly run = Effect.fnUntraced({ self: this }, function* (this: FileReader) {
    const file = yield* openFile(this.#path)
    const decoder = decoderOf(this.#path, this.#options)
    yield* Effect.addFinalizer(() => Effect.sync(() => decoder.close()))
    const buffer = new Uint8Array(READ_BYTES)
    let failed: ProviderError | undefined
    for (;;) {
      const n = yield* reading(this.#path, file, buffer)
      this.#bytesRead += n
      if (n === 0) decoder.end()
      else decoder.push(buffer.subarray(0, n))
      failed = yield* this.#drain(decoder)
      if (n === 0 || failed !== undefined) break
      const records = this.#batches.records
      yield* Queue.offer(this.#queue, { _tag: "Advanced", bytesRead: this.#bytesRead, records })
    }
    const rest: Array<MarketBatch> = []
    this.#batches.flush((batch) => rest.push(batch))
    for (const batch of rest) yield* this.#give(batch)
    yield* this.#instruments.registerDefinitions(0)
    yield* Queue.offer(this.#queue, this.#end(failed))
  })

  /** Decodes everything that the decoder has; the error, where the input is damaged or incomplete. */
  readonly #drain = Effect.fnUntraced({ self: this }, function* (this: FileReader, decoder: DbnDecoder) {
    const full: Array<MarketBatch> = []
    for (;;) {
      let block: RecordBlock | undefined
      try {
        block = decoder.take()
        if (block === undefined) return undefined
        if (block.segment === this.#segment || block.metadata === undefined)
          this.#batches.add(block, (batch) => full.push(batch))
      } catch (cause) {
        return decodeFailure(this.#path, cause)
      }
      if (block.segment !== this.#segment && block.metadata !== undefined) {
        // A header is announced by a block of its own, without records.
        const problem = yield* this.#enter(block, block.metadata)
        if (problem !== undefined) return problem
      }
      for (const batch of full) yield* this.#give(batch)
      full.length = 0
      yield* this.#instruments.registerDefinitions(CLAIMS_PER_REGISTRATION)
    }
  })

  /** A header: its mappings become known before any row behind it. */
  readonly #enter = Effect.fnUntraced(
    { self: this },
    function* (this: FileReader, block: RecordBlock, metadata: DbnMetadata) {
      if (metadata.dataset !== this.#header.dataset)
        return failure(
          this.#path,
          new ProviderMalformed({
            detail: `two datasets joined in one file, ${this.#header.dataset} and ${metadata.dataset}: import them separately`
          })
        )
      this.#segment = block.segment
      this.#segmentRecords = this.#batches.records
      const claims = this.#claimsOf(metadata)
      const instruments = yield* this.#instruments.learn(claims)
      this.#mapped.push({ metadata, claims, instruments })
      if (metadata.notFound.length > 0) this.#notes.push(`symbols not found: ${some(metadata.notFound)}`)
      return undefined
    }
  )

  #claimsOf(metadata: DbnMetadata): ReadonlyArray<ListingClaim> {
    try {
      return this.#instruments.claimsOf(metadata)
    } catch (cause) {
      this.#notes.push(`mappings not usable: ${cause instanceof Error ? cause.message : String(cause)}`)
      return []
    }
  }

  /** Turns a batch's vendor ids into instruments and hands it on. */
  readonly #give = Effect.fnUntraced({ self: this }, function* (this: FileReader, batch: MarketBatch) {
    yield* this.#instruments.assign(batch)
    this.#lastIndexTime = lastIndexTime(batch) ?? this.#lastIndexTime
    yield* Queue.offer(this.#queue, { _tag: "Batch", batch, bytesRead: this.#bytesRead })
  })

  #end(failed: ProviderError | undefined): FileEvent {
    const notStored = new Map(this.#batches.notStored)
    notStored.delete(rtypeName(Rtype.instrumentDef))
    notStored.delete(rtypeName(Rtype.symbolMapping))
    return {
      _tag: "End",
      records: this.#batches.records,
      definitions: this.#instruments.definitions,
      notStored,
      coverage: this.#coverage(failed),
      notes: this.#notes,
      failure: failed
    }
  }

  #coverage(failed: ProviderError | undefined): ReadonlyArray<Coverage.CoverageClaim> {
    // After damage nothing tells whether what was read before it is all that was there.
    if (failed !== undefined && failed.reason._tag !== "ProviderTruncated") return []
    return this.#mapped.flatMap((mapped, i) => {
      const isLast = i === this.#mapped.length - 1
      return this.#coverageOf(mapped, isLast && failed !== undefined, isLast)
    })
  }

  #coverageOf(mapped: Mapped, isTruncated: boolean, isLast: boolean): ReadonlyArray<Coverage.CoverageClaim> {
    const { schema, start, limit } = mapped.metadata
    let { end } = mapped.metadata
    if (schema === null || end === null || !MarketSchema.is(schema) || start === UNDEF_TIMESTAMP) return []
    const records = this.#batches.records - this.#segmentRecords
    const isLimited = limit !== null && (!isLast || BigInt(records) >= limit)
    if (isTruncated || isLimited) {
      if (!isLast || this.#lastIndexTime === undefined) return []
      end = UnixNanos.floorMicros(this.#lastIndexTime) * UnixNanos.PerMicro
      const why = isTruncated ? "the file is incomplete" : `the file stops at its limit of ${limit} records`
      this.#notes.push(`coverage claimed up to ${UnixNanos.toIso(end)} only: ${why}`)
    }
    const asked = TimeRange.make(start, end)
    if (asked === undefined) return []
    return mapped.claims.flatMap((claim, i) => {
      const shared = TimeRange.intersect(claim.valid, asked)
      const range = shared === undefined ? undefined : TimeRange.inwardMicros(shared)
      return range === undefined ? [] : [{ instrument: mapped.instruments[i]!.id, schema, range }]
    })
  }
}

const some = (symbols: ReadonlyArray<string>): string =>
  symbols.length <= 5
    ? symbols.join(", ")
    : `${symbols.slice(0, 5).join(", ")} and ${symbols.length - 5} more`
