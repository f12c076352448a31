/**
 * Batch jobs: the service makes files of a request, which are then downloaded. For more than about 5 GB.
 * Source: fact sheet, "Batch".
 */
import { ProviderBadRequest, ProviderDisconnected, ProviderError, type UnixNanos } from "@data-manager/core"
import { Clock, Duration, Effect, type FileSystem, Schema } from "effect"
import { type BatchJob, type BatchState, describe, Job, jobOf } from "./BatchJob.ts"
import { checkLimits, type RequestLimits } from "./CostLimit.ts"
import * as FileDownload from "./FileDownload.ts"
import type { Call, HistoricalHttp, Reply } from "./HistoricalHttp.ts"
import { checkData, type DataRequest, dataParams, symbolLists } from "./HistoricalRequest.ts"
import * as HttpFailure from "./HttpFailure.ts"
import type { Metadata } from "./Metadata.ts"

/** What files to make. */
export interface BatchRequest extends DataRequest, RequestLimits {
  readonly encoding?: "dbn" | "csv" | "json" | undefined
  readonly compression?: "zstd" | "none" | undefined
  /** A file per so much time; weeks begin on Sunday. Default: day. */
  readonly splitDuration?: "day" | "week" | "month" | "year" | "none" | undefined
  /** A file per symbol; not with `ALL_SYMBOLS`. */
  readonly splitSymbols?: boolean | undefined
  /** Largest file in bytes, 1e9 to 10e9. */
  readonly splitSize?: number | undefined
}

/** How to wait for a job. */
export interface WaitOptions {
  /** Default 5 seconds. */
  readonly every?: Duration.Input | undefined
  /** Default 24 hours. */
  readonly atMost?: Duration.Input | undefined
  /** Sees the job each time it was asked for. */
  readonly onProgress?: ((job: BatchJob) => Effect.Effect<void>) | undefined
}

const Files = Schema.Array(
  Schema.Struct({
    filename: Schema.String,
    size: Schema.Int,
    hash: Schema.String,
    urls: Schema.Struct({ https: Schema.String })
  })
)

/** The batch endpoints. */
export class BatchJobs {
  readonly #http: HistoricalHttp
  readonly #metadata: Metadata

  constructor(http: HistoricalHttp, metadata: Metadata) {
    this.#http = http
    this.#metadata = metadata
  }

  /** Orders files. Billed: a failed call is not repeated by itself; `list` tells whether the job was taken. */
  readonly submit = Effect.fnUntraced({ self: this }, function* (this: BatchJobs, request: BatchRequest) {
    const path = "batch.submit_job"
    yield* checkData(path, request)
    const lists = yield* symbolLists(path, request.symbols)
    if (lists.length > 1)
      return yield* refuse(path, "more than 2,000 symbols in one job", "submit several jobs, or ALL_SYMBOLS")
    yield* checkLimits(this.#metadata, request, request)
    const params = {
      ...dataParams(request, lists[0]!),
      stype_out: "instrument_id",
      encoding: request.encoding ?? "dbn",
      compression: request.compression ?? "zstd",
      split_duration: request.splitDuration ?? "day",
      split_symbols: String(request.splitSymbols ?? false),
      split_size: request.splitSize === undefined ? undefined : String(request.splitSize),
      delivery: "download"
    }
    return yield* this.#job({ kind: "submit", method: "POST", path, params, isBilled: true })
  })

  /** Jobs in these states (default: all that are not expired), submitted since a time. */
  list(
    options: {
      readonly states?: ReadonlyArray<BatchState> | undefined
      readonly since?: UnixNanos.UnixNanos | undefined
    } = {}
  ): Effect.Effect<Reply<ReadonlyArray<BatchJob>>, ProviderError> {
    const { states, since } = options
    const params = { states: states?.join(","), since: since === undefined ? undefined : String(since) }
    const call: Call = { kind: "jobs", method: "GET", path: "batch.list_jobs", params }
    return Effect.flatMap(this.#http.json(call, Schema.Array(Job), "a list of jobs"), (reply) =>
      Effect.map(
        Effect.forEach(reply.value, (raw) => this.#read(call, raw)),
        (value) => ({ ...reply, value })
      )
    )
  }

  details(id: string): Effect.Effect<Reply<BatchJob>, ProviderError> {
    return this.#job({ kind: "jobs", method: "GET", path: "batch.get_job_details", params: { job_id: id } })
  }

  listFiles(id: string): Effect.Effect<Reply<ReadonlyArray<FileDownload.RemoteFile>>, ProviderError> {
    const call: Call = { kind: "jobs", method: "GET", path: "batch.list_files", params: { job_id: id } }
    return Effect.map(this.#http.json(call, Files, "a list of files"), (reply) => ({
      ...reply,
      value: reply.value.map(({ filename, size, hash, urls }) => ({ filename, size, hash, url: urls.https }))
    }))
  }

  /** Asks until the job is done. Fails where it expired or takes longer than `atMost`. */
  readonly wait = Effect.fnUntraced(
    { self: this },
    function* (this: BatchJobs, id: string, options: WaitOptions = {}) {
      const { every = "5 seconds", atMost = "24 hours" } = options
      const until = (yield* Clock.currentTimeMillis) + Duration.toMillis(Duration.fromInputUnsafe(atMost))
      for (;;) {
        const { value: job } = yield* this.details(id)
        if (options.onProgress !== undefined) yield* options.onProgress(job)
        if (job.state === "done") return job
        if (job.state === "expired")
          return yield* refuse("batch.wait", `${describe(job)}`, "its files are gone: submit it again")
        if ((yield* Clock.currentTimeMillis) >= until)
          return yield* new ProviderError({
            provider: "databento",
            operation: "batch.wait",
            reason: new ProviderDisconnected({ detail: `${describe(job)} after the time given: wait again` })
          })
        yield* Effect.sleep(every)
      }
    }
  )

  /**
   * Downloads the files of a job into a directory, which is made; those that are there whole are left as they are. Gives
   * their paths. Interrupted or killed, the next call goes on where this one stopped.
   */
  download(
    id: string,
    directory: string,
    options: FileDownload.DownloadOptions & {
      /** Default: all files. */
      readonly only?: ((file: FileDownload.RemoteFile) => boolean) | undefined
    } = {}
  ): Effect.Effect<ReadonlyArray<string>, ProviderError, FileSystem.FileSystem> {
    return Effect.flatMap(this.listFiles(id), ({ value: files }) =>
      Effect.forEach(
        files.filter((file) => options.only?.(file) ?? true),
        (file) => FileDownload.download(this.#http, file, directory, options),
        { concurrency: 2 }
      )
    )
  }

  #job(call: Call): Effect.Effect<Reply<BatchJob>, ProviderError> {
    return Effect.flatMap(this.#http.json(call, Job, "a job"), (reply) =>
      Effect.map(this.#read(call, reply.value), (value) => ({ ...reply, value }))
    )
  }

  #read(call: Call, raw: Readonly<Record<string, unknown>>): Effect.Effect<BatchJob, ProviderError> {
    const job = jobOf(raw)
    return job === undefined
      ? Effect.fail(this.#http.failure(call, HttpFailure.fromBody(JSON.stringify(raw), "a job")))
      : Effect.succeed(job)
  }
}

const refuse = (operation: string, detail: string, hint: string): Effect.Effect<never, ProviderError> =>
  Effect.fail(
    new ProviderError({
      provider: "databento",
      operation,
      reason: new ProviderBadRequest({ detail, hint })
    })
  )
