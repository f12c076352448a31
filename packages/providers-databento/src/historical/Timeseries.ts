/**
 * Past data as a stream. Source: fact sheet, "timeseries.get_range".
 *
 * Bytes are decompressed and decoded as they come; memory is a few buffers and the batches that the consumer has not taken.
 * A reply that ends early is an error: neither its transport nor its format lets a cut pass for an end.
 */
import {
  batchContext,
  type Decimal,
  type MarketBatch,
  ProviderError,
  type ProviderErrorReason,
  type ProviderEvent,
  ProviderTruncated,
  type RegisterListings,
  type StoreError
} from "@data-manager/core"
import { type Cause, Effect, Queue, Stream } from "effect"
import { DbnBatches } from "../DbnBatches.ts"
import { decodeReason } from "../DbnFailure.ts"
import { CLAIMS_PER_REGISTRATION, DbnInstruments, isNaming } from "../DbnInstruments.ts"
import { DbnDecoder } from "../dbn/DbnDecoder.ts"
import type { DbnMetadata } from "../dbn/DbnMetadata.ts"
import { venueOf } from "../dbn/Publisher.ts"
import type { RecordBlock } from "../dbn/RecordBlock.ts"
import { type BlockSource, mergeBlocks } from "../dbn/RecordMerge.ts"
import { type SymbolInterval, symbolIntervals } from "../dbn/SymbolMap.ts"
import { rowsFrom } from "../IndexTime.ts"
import { PROVIDER_ID } from "../MappingClaim.ts"
import { checkCost } from "./CostLimit.ts"
import type { Call, HistoricalHttp, OpenReply, Warning } from "./HistoricalHttp.ts"
import { AllSymbols, checkData, type DataRequest, dataParams, symbolLists } from "./HistoricalRequest.ts"
import type { Metadata } from "./Metadata.ts"
import { claimsOfResolution, resolve } from "./Symbology.ts"
import { answersOf } from "./UnknownSymbols.ts"

/** Guards of a request that is billed. */
export interface RangeOptions {
  /** Refuse before anything is billed where the service asks for more, US dollars. */
  readonly maxCostUsd?: Decimal.Decimal | undefined
  /** Sees remarks of the service. Default: they are logged. */
  readonly onWarning?: ((warning: Warning) => Effect.Effect<void>) | undefined
}

/** How batches are made of a reply. */
export interface BatchOptions extends RangeOptions {
  /** Gives instruments their ids: that of the store, or `localRegistry` where there is none. */
  readonly register: RegisterListings
  /**
   * Time before the range, in nanoseconds, that is fetched (and billed) with it and dropped again: keys count from the start
   * of each group of rows, and a group may begin before the range does. Default 0.
   */
  readonly lead?: bigint | undefined
  /** Rows per batch, default 65,536; books and bars take an eighth of it. */
  readonly batchRows?: number | undefined
  /** Ask the service how many records there are, and fail where fewer came. */
  readonly verifyCount?: boolean | undefined
}

const path = "timeseries.get_range"
/** What the vendor's service and this client agree on at best: binary records, compressed. */
const wire = { encoding: "dbn", compression: "zstd", stype_out: "instrument_id" }

/** The data of the service. */
export class Timeseries {
  readonly #http: HistoricalHttp
  readonly #metadata: Metadata

  constructor(http: HistoricalHttp, metadata: Metadata) {
    this.#http = http
    this.#metadata = metadata
  }

  /**
   * The reply as it comes: zstd-compressed DBN, for a file or a decoder of one's own. Billed. At most 2,000 symbols.
   */
  open(request: DataRequest, options: RangeOptions = {}): Effect.Effect<OpenReply, ProviderError> {
    return Effect.flatMap(this.#lists(request, options), (lists) => this.#open(request, lists[0]!))
  }

  /**
   * The rows as batches in index-clock order, with a `Mapping` for each symbol of the reply before its rows. Billed. Lists
   * of more than 2,000 symbols are several requests whose records are merged; their symbols must not overlap.
   */
  batches(
    request: DataRequest,
    options: BatchOptions
  ): Stream.Stream<ProviderEvent, ProviderError | StoreError> {
    const { start, end } = request.range
    const lead = options.lead ?? 0n
    const asked =
      lead === 0n ? request : { ...request, range: { start: start > lead ? start - lead : 0n, end } }
    return Stream.unwrap(
      Effect.gen({ self: this }, function* (this: Timeseries) {
        const lists = yield* this.#lists(asked, options)
        const expected =
          options.verifyCount === true ? (yield* this.#metadata.recordCount(asked)).value : undefined
        const replies = yield* answersOf(
          this.#http,
          asked,
          lists,
          (symbols) => this.#open(asked, symbols),
          lists.length
        )
        for (const warning of replies.flatMap((reply) => reply.warnings))
          yield* options.onWarning?.(warning) ?? Effect.logWarning(`${warning.category}: ${warning.message}`)
        const bodies = yield* Effect.forEach(replies, (reply) => Stream.toAsyncIterableEffect(reply.value))
        const reader = (queue: EventQueue) => new RangeReader(this.#http, request, options, bodies, queue)
        return Stream.callback<ProviderEvent, ProviderError | StoreError>(
          (queue) => Effect.andThen(reader(queue).run(expected), Queue.end(queue)),
          { bufferSize: 1 }
        )
      })
    )
  }

  #lists(request: DataRequest, options: RangeOptions): Effect.Effect<ReadonlyArray<string>, ProviderError> {
    return checkData(path, request).pipe(
      Effect.andThen(symbolLists(path, request.symbols)),
      Effect.tap(() => checkCost(this.#metadata, request, options.maxCostUsd))
    )
  }

  #open(request: DataRequest, symbols: string): Effect.Effect<OpenReply, ProviderError> {
    const call: Call = {
      kind: "timeseries",
      method: "POST",
      path,
      params: { ...dataParams(request, symbols), ...wire },
      headers: { accept: "application/octet-stream" },
      isBilled: true
    }
    return this.#http.open(call)
  }
}

const failed = (request: DataRequest, reason: ProviderErrorReason, cause?: unknown): ProviderError =>
  new ProviderError({
    provider: PROVIDER_ID,
    operation: `${path} ${request.dataset} ${request.schema}`,
    reason,
    cause
  })

const failure = (request: DataRequest, cause: unknown): ProviderError =>
  cause instanceof ProviderError ? cause : failed(request, decodeReason(cause), cause)

/** The symbol of the request that an interval answers. */
const requestedText = (metadata: DbnMetadata, interval: SymbolInterval): string =>
  metadata.stypeIn === "instrument_id" ? String(interval.instrumentId) : interval.symbol

/** A body as blocks of records. */
class BodyBlocks implements BlockSource {
  readonly #chunks: AsyncIterator<Uint8Array>
  readonly #onHeader: (block: RecordBlock) => void
  readonly #decoder = new DbnDecoder({ upgrade: 3 })
  #ended = false
  #segment = -1

  constructor(body: AsyncIterable<Uint8Array>, onHeader: (block: RecordBlock) => void) {
    this.#chunks = body[Symbol.asyncIterator]()
    this.#onHeader = onHeader
  }

  readonly next = async (): Promise<RecordBlock | undefined> => {
    for (;;) {
      const block = this.#decoder.take()
      if (block !== undefined) {
        if (block.segment !== this.#segment) this.#onHeader(block)
        this.#segment = block.segment
        return block
      }
      if (this.#ended) return undefined
      const chunk = await this.#chunks.next()
      if (chunk.done === true) {
        this.#ended = true
        this.#decoder.end()
      } else this.#decoder.push(chunk.value)
    }
  }

  readonly close = async (): Promise<void> => {
    this.#decoder.close()
    await this.#chunks.return?.()
  }
}

type EventQueue = Queue.Queue<ProviderEvent, ProviderError | StoreError | Cause.Done>

/** Turns the bodies of one request into events. */
class RangeReader {
  readonly #http: HistoricalHttp
  readonly #request: DataRequest
  readonly #queue: EventQueue
  readonly #instruments: DbnInstruments
  readonly #batches: DbnBatches
  readonly #sources: ReadonlyArray<BodyBlocks>
  /** Headers that came and were not registered yet. */
  readonly #headers: Array<RecordBlock> = []

  constructor(
    http: HistoricalHttp,
    request: DataRequest,
    options: BatchOptions,
    bodies: ReadonlyArray<AsyncIterable<Uint8Array>>,
    queue: EventQueue
  ) {
    this.#http = http
    this.#request = request
    this.#queue = queue
    this.#instruments = new DbnInstruments(request.dataset, options.register)
    this.#batches = new DbnBatches({
      context: batchContext({
        provider: PROVIDER_ID,
        dataset: request.dataset,
        instruments: this.#instruments.directory,
        venueOf
      }),
      batchRows: options.batchRows,
      onOther: (block, position) => this.#instruments.note(block, position)
    })
    this.#sources = bodies.map((body) => new BodyBlocks(body, (block) => this.#headers.push(block)))
  }

  readonly run = Effect.fnUntraced(
    { self: this },
    function* (this: RangeReader, expected: bigint | undefined) {
      yield* Effect.addFinalizer(() =>
        Effect.promise(() => Promise.all(this.#sources.map((source) => source.close())))
      )
      if (this.#request.symbols.includes(AllSymbols)) yield* this.#learnAll()
      // What came whole before a failure is given out before it.
      const ended = yield* Effect.result(this.#readAll())
      const rest: Array<MarketBatch> = []
      this.#batches.flush((batch) => rest.push(batch))
      for (const batch of rest) yield* this.#give(batch)
      yield* this.#instruments.registerDefinitions(0)
      if (ended._tag === "Failure") return yield* Effect.fail(ended.failure)
      const { records } = this.#batches
      if (expected === undefined || BigInt(records) >= expected) return
      const detail = `the service counts ${expected} records and sent ${records}: fetch the range again`
      yield* failed(this.#request, new ProviderTruncated({ detail }))
    }
  )

  readonly #readAll = Effect.fnUntraced({ self: this }, function* (this: RangeReader) {
    const blocks = mergeBlocks(this.#sources)
    for (;;) {
      const full = yield* this.#next(blocks)
      yield* this.#learnHeaders()
      if (full === undefined) return
      for (const batch of full) yield* this.#give(batch)
      yield* this.#instruments.registerDefinitions(CLAIMS_PER_REGISTRATION)
    }
  })

  /** The batches that the next block makes full; undefined at the end. */
  #next(
    blocks: AsyncGenerator<RecordBlock>
  ): Effect.Effect<ReadonlyArray<MarketBatch> | undefined, ProviderError> {
    return Effect.tryPromise({
      try: async () => {
        const { value: block, done } = await blocks.next()
        if (done === true || block === undefined) return undefined
        const full: Array<MarketBatch> = []
        this.#batches.add(block, (batch) => full.push(batch))
        return full
      },
      catch: (cause) => failure(this.#request, cause)
    })
  }

  /** Replies to `ALL_SYMBOLS` have no mappings. */
  readonly #learnAll = Effect.fnUntraced({ self: this }, function* (this: RangeReader) {
    const claims = yield* this.#named([AllSymbols], "raw_symbol")
    yield* this.#instruments.learn(claims)
    for (const claim of claims)
      yield* Queue.offer(this.#queue, { _tag: "Mapping", claim, requested: claim.rawSymbol ?? "" })
  })

  /** The mappings of a header become known before any of its rows is given out. */
  readonly #learnHeaders = Effect.fnUntraced({ self: this }, function* (this: RangeReader) {
    for (const { metadata } of this.#headers.splice(0)) {
      if (metadata === undefined || metadata.mappings.length === 0) continue
      const [intervals, claims] = yield* Effect.try({
        try: () => [symbolIntervals(metadata), this.#instruments.claimsOf(metadata)] as const,
        catch: (cause) => failure(this.#request, cause)
      })
      const asked = new Map(intervals.map((one) => [one.instrumentId, requestedText(metadata, one)]))
      const named = isNaming(metadata)
        ? claims
        : [...claims, ...(yield* this.#named([...asked.keys()].map(String), "instrument_id"))]
      yield* this.#instruments.learn(named)
      for (const claim of isNaming(metadata) ? claims : named.slice(claims.length))
        yield* Queue.offer(this.#queue, {
          _tag: "Mapping",
          claim,
          requested: asked.get(claim.nativeId ?? -1) ?? ""
        })
    }
  })

  /** Asks for the raw symbols that a reply does not name: those of `ALL_SYMBOLS`, and those behind parents and others. */
  readonly #named = Effect.fnUntraced(
    { self: this },
    function* (this: RangeReader, symbols: ReadonlyArray<string>, stypeIn: "raw_symbol" | "instrument_id") {
      const { dataset, range } = this.#request
      const stypeOut = stypeIn === "raw_symbol" ? "instrument_id" : "raw_symbol"
      const { value } = yield* resolve(this.#http, { dataset, symbols, stypeIn, stypeOut, range })
      return claimsOfResolution(dataset, value, stypeIn)
    }
  )

  readonly #give = Effect.fnUntraced({ self: this }, function* (this: RangeReader, whole: MarketBatch) {
    const batch = rowsFrom(whole, this.#request.range.start)
    if (batch.length === 0) return
    yield* this.#instruments.assign(batch)
    yield* Queue.offer(this.#queue, { _tag: "Batch", batch })
  })
}
