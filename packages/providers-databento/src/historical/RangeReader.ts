/**
 * Turns the replies of one request into events. The records of several replies are merged by time; those of one, which is
 * the rule, are decoded as they come, with no promise or fiber between the transport and the batch.
 */
import {
  batchContext,
  type MarketBatch,
  ProviderError,
  type ProviderErrorReason,
  type ProviderEvent,
  ProviderTruncated,
  type StoreError
} from "@data-manager/core"
import { type Cause, Effect, Pull, Queue, Stream } from "effect"
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
import type { HistoricalHttp, OpenReply } from "./HistoricalHttp.ts"
import { AllSymbols, type DataRequest } from "./HistoricalRequest.ts"
import type { SilenceWatch } from "./SilenceWatch.ts"
import { claimsOfResolution, resolve } from "./Symbology.ts"
import type { BatchOptions } from "./Timeseries.ts"

const failed = (request: DataRequest, reason: ProviderErrorReason, cause?: unknown): ProviderError =>
  new ProviderError({
    provider: PROVIDER_ID,
    operation: `timeseries.get_range ${request.dataset} ${request.schema}`,
    reason,
    cause
  })

const failure = (request: DataRequest, cause: unknown): ProviderError =>
  cause instanceof ProviderError ? cause : failed(request, decodeReason(cause), cause)

/** The symbol of the request that an interval answers. */
const requestedText = (metadata: DbnMetadata, interval: SymbolInterval): string =>
  metadata.stypeIn === "instrument_id" ? String(interval.instrumentId) : interval.symbol

/** A body as blocks of records, for merging. */
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

/** Where events go. */
export type EventQueue = Queue.Queue<ProviderEvent, ProviderError | StoreError | Cause.Done>

/** What a reader works with. */
export interface RangeReaderOptions {
  readonly http: HistoricalHttp
  readonly request: DataRequest
  readonly options: BatchOptions
  /** Untimed: the reader watches for silence. */
  readonly replies: ReadonlyArray<OpenReply>
  readonly queue: EventQueue
  readonly watch: SilenceWatch
  /** The error of a reply that has become silent. */
  readonly silent: ProviderError
}

/** Batches that have become full, and what ended the reading: undefined goes on, "end" is the end of the data. */
interface Piece {
  readonly batches: ReadonlyArray<MarketBatch>
  readonly ended: "end" | ProviderError | undefined
}

/** Turns the replies of one request into events. */
export class RangeReader {
  readonly #http: HistoricalHttp
  readonly #request: DataRequest
  readonly #replies: ReadonlyArray<OpenReply>
  readonly #queue: EventQueue
  readonly #watch: SilenceWatch
  readonly #silent: ProviderError
  readonly #instruments: DbnInstruments
  readonly #batches: DbnBatches
  /** Headers that came and were not registered yet. */
  readonly #headers: Array<RecordBlock> = []

  constructor({ http, request, options, replies, queue, watch, silent }: RangeReaderOptions) {
    this.#http = http
    this.#request = request
    this.#replies = replies
    this.#queue = queue
    this.#watch = watch
    this.#silent = silent
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
  }

  readonly run = Effect.fnUntraced(
    { self: this },
    function* (this: RangeReader, expected: bigint | undefined) {
      if (this.#request.symbols.includes(AllSymbols)) yield* this.#learnAll()
      // What came whole before a failure is given out before it.
      const ended = yield* Effect.result(this.#watch.guard(this.#readAll(), this.#silent))
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
    const [reply, ...others] = this.#replies
    if (reply === undefined) return
    const next = yield* others.length === 0 ? this.#decoded(reply) : this.#merged()
    for (;;) {
      this.#watch.waits()
      const { batches, ended } = yield* next
      this.#watch.goesOn()
      yield* this.#learnHeaders()
      for (const batch of batches) yield* this.#give(batch)
      yield* this.#instruments.registerDefinitions(CLAIMS_PER_REGISTRATION)
      if (ended === "end") return
      if (ended !== undefined) return yield* ended
    }
  })

  /** The pieces of one reply: what the transport has at hand is decoded in one go. */
  readonly #decoded = Effect.fnUntraced({ self: this }, function* (this: RangeReader, reply: OpenReply) {
    const decoder = new DbnDecoder({ upgrade: 3 })
    yield* Effect.addFinalizer(() => Effect.sync(() => decoder.close()))
    const pull = yield* Stream.toPull(reply.value)
    let segment = -1
    const decode = (chunks: ReadonlyArray<Uint8Array>, isEnd: boolean): Piece => {
      const batches: Array<MarketBatch> = []
      const emit = (batch: MarketBatch): void => void batches.push(batch)
      const takeAll = (): void => {
        for (let block = decoder.take(); block !== undefined; block = decoder.take()) {
          if (block.segment !== segment) this.#headers.push(block)
          segment = block.segment
          this.#batches.add(block, emit)
        }
      }
      try {
        for (const chunk of chunks) {
          decoder.push(chunk)
          takeAll()
        }
        if (isEnd) decoder.end()
        if (isEnd) takeAll()
        return { batches, ended: isEnd ? "end" : undefined }
      } catch (cause) {
        return { batches, ended: failure(this.#request, cause) }
      }
    }
    return pull.pipe(
      Effect.map((chunks) => decode(chunks, false)),
      Pull.catchDone(() => Effect.sync(() => decode([], true)))
    )
  })

  /** The pieces of several replies, merged by time. */
  readonly #merged = Effect.fnUntraced({ self: this }, function* (this: RangeReader) {
    const bodies = yield* Effect.forEach(this.#replies, (reply) => Stream.toAsyncIterableEffect(reply.value))
    const sources = bodies.map((body) => new BodyBlocks(body, (block) => this.#headers.push(block)))
    yield* Effect.addFinalizer(() =>
      Effect.promise(() => Promise.all(sources.map((source) => source.close())))
    )
    const blocks = mergeBlocks(sources)
    return Effect.tryPromise({
      try: async (): Promise<Piece> => {
        const { value: block, done } = await blocks.next()
        if (done === true || block === undefined) return { batches: [], ended: "end" }
        const batches: Array<MarketBatch> = []
        this.#batches.add(block, (batch) => batches.push(batch))
        return { batches, ended: undefined }
      },
      catch: (cause) => failure(this.#request, cause)
    })
  })

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
