/**
 * Past data as a stream. Source: fact sheet, "timeseries.get_range".
 *
 * Bytes are decompressed and decoded as they come; memory is a few buffers and the batches that the consumer has not taken.
 * A reply that ends early is an error: neither its transport nor its format lets a cut pass for an end.
 */
import type { ProviderError, ProviderEvent, RegisterListings, StoreError } from "@data-manager/core"
import { Effect, Queue, Stream } from "effect"
import { checkLimits, type RequestLimits } from "./CostLimit.ts"
import type { Call, HistoricalHttp, OpenReply, Warning } from "./HistoricalHttp.ts"
import { checkData, type DataRequest, dataParams, symbolLists } from "./HistoricalRequest.ts"
import type { Metadata } from "./Metadata.ts"
import { type EventQueue, RangeReader } from "./RangeReader.ts"
import { answersOf } from "./UnknownSymbols.ts"

/** Guards of a request that is billed. */
export interface RangeOptions extends RequestLimits {
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
    return Effect.flatMap(this.#lists(request, options), (lists) =>
      this.#http.open(this.#call(request, lists[0]!))
    )
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
        // As asked for: with its lead an empty range would be fetched, and paid for, in vain.
        yield* checkData(path, request)
        const lists = yield* this.#lists(asked, options)
        const expected =
          options.verifyCount === true ? (yield* this.#metadata.recordCount(asked)).value : undefined
        const replies = yield* answersOf(
          this.#http,
          asked,
          lists,
          (symbols) => this.#http.openUntimed(this.#call(asked, symbols)),
          lists.length
        )
        for (const warning of replies.flatMap((reply) => reply.warnings))
          yield* options.onWarning?.(warning) ?? Effect.logWarning(`${warning.category}: ${warning.message}`)
        const watched = this.#http.watch(this.#call(asked, ""))
        const reader = (queue: EventQueue) =>
          new RangeReader({ http: this.#http, request, options, replies, queue, ...watched })
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
      Effect.tap(() => checkLimits(this.#metadata, request, options))
    )
  }

  #call(request: DataRequest, symbols: string): Call {
    return {
      kind: "timeseries",
      method: "POST",
      path,
      params: { ...dataParams(request, symbols), ...wire },
      headers: { accept: "application/octet-stream" },
      isBilled: true
    }
  }
}
