/** `batch.*`: jobs, their states over time, their files. */
import { UnixNanos } from "@data-manager/core"
import { dateOfDay } from "../dbn/IsoDate.ts"
import type { DbnVersion } from "../dbn/Layout.ts"
import { type BatchFile, dataFiles, jsonFile, type SplitForm, supportFiles } from "./BatchFile.ts"
import type { Catalogue } from "./Catalogue.ts"
import { type DataRequest, dataRequest, selectionOf, type TextForm } from "./DataRequest.ts"
import { caseProblem, type HttpReply, json, parameterProblem, stream } from "./HttpReply.ts"
import { costOf } from "./MetadataEndpoint.ts"
import { daysOf, type RequestForm } from "./RequestForm.ts"
import { ALL_SYMBOLS } from "./SymbolDirectory.ts"
import { zipArchive } from "./ZipArchive.ts"

/** The states of a job. */
export type JobState = "queued" | "processing" | "done" | "expired"
const states: ReadonlyArray<JobState> = ["queued", "processing", "done", "expired"]

/** Settings. */
export interface BatchOptions {
  /** Milliseconds that a job is queued, and again processed, before it is done. Default 0. */
  readonly stepMillis?: number | undefined
  readonly version: DbnVersion
}

const USER_ID = "SIMULATED"
/** Jobs that are kept; older ones expire. */
const MAX_JOBS = 100
/** Bytes of files that are kept, unless one job alone has more. */
const MAX_HELD = 512 * 1024 * 1024
/** Bounds of split_size, bytes. */
const SPLIT_MIN = 1_000_000_000
const SPLIT_MAX = 10_000_000_000
const EXPIRY_NANOS = 30n * 86_400n * 1_000_000_000n

interface Job {
  readonly id: string
  readonly request: DataRequest
  readonly form: TextForm
  readonly split: SplitForm
  readonly records: number
  readonly bytes: number
  /** Real time, ns. */
  readonly received: bigint
  isExpired: boolean
  /** Bytes of the files, once they were made. */
  size: number | undefined
}

/**
 * The jobs of the one user that a simulator has. Files are made when they are first asked for, and again, with the same
 * bytes, where they had to make room for those of other jobs.
 */
export class BatchJobs {
  readonly #jobs = new Map<string, Job>()
  readonly #files = new Map<string, ReadonlyArray<BatchFile>>()
  readonly #options: BatchOptions
  #count = 0

  constructor(options: BatchOptions) {
    this.#options = options
  }

  /** Takes a job's files away, as happens after a month. */
  expire(id: string): void {
    const job = this.#jobs.get(id)
    if (job === undefined) return
    job.isExpired = true
    this.#files.delete(id)
  }

  /** Answers `batch.NAME`; undefined where there is no such endpoint. `base` is the address of the service. */
  answer(
    name: string,
    form: RequestForm,
    catalogue: Catalogue,
    base: string,
    now: bigint
  ): HttpReply | undefined {
    switch (name) {
      case "submit_job":
        return json(this.#object(this.#submit(form, catalogue, now), now, "queued"))
      case "list_jobs":
        return json(this.#list(form, now))
      case "get_job_details":
        return json(this.#object(this.#job(form.required("job_id")), now))
      case "list_files":
        return json(
          this.#done(form.required("job_id"), now).map((file) =>
            this.#listed(form.required("job_id"), file, base)
          )
        )
      case "download":
        return this.#archive(form.required("job_id"), now)
      default:
        return undefined
    }
  }

  /** Answers the address of a file, `USER/JOB/FILE` or `JOB/FILE`, with the part of it that `range` asks for. */
  download(path: string, range: string | undefined, now: bigint): HttpReply {
    const [job = "", filename = ""] = path.split("/").slice(-2)
    const file = this.#done(job, now).find((it) => encodeURIComponent(it.filename) === filename)
    if (file === undefined) throw caseProblem(404, "batch_file_not_found", `${job} has no file ${filename}`)
    return fileReply(file.bytes, range)
  }

  #submit(form: RequestForm, catalogue: Catalogue, now: bigint): Job {
    form.required("symbols")
    const request = dataRequest(form, catalogue)
    const encoding = form.choice("encoding", ["dbn", "csv", "json"], "dbn")
    const textForm: TextForm = {
      encoding,
      compression: form.choice("compression", ["none", "zstd"], "none"),
      prettyPx: form.flag("pretty_px"),
      prettyTs: form.flag("pretty_ts"),
      mapSymbols: form.flag("map_symbols", encoding !== "dbn")
    }
    const split = splitForm(form, request)
    form.choice("delivery", ["download"], "download")
    const selection = selectionOf(request, this.#options.version)
    this.#count += 1
    const dataset = request.dataset.name.split(".")[0]
    const id = `${dataset}-${dateOfDay(daysOf(request.range).first)}-${String(this.#count).padStart(10, "0")}`
    const job: Job = {
      id,
      request,
      form: textForm,
      split,
      records: selection.length,
      bytes: selection.byteLength,
      received: now,
      isExpired: false,
      size: undefined
    }
    this.#jobs.set(id, job)
    const oldest = [...this.#jobs.keys()]
    for (const old of oldest.slice(0, Math.max(0, oldest.length - MAX_JOBS))) {
      this.#jobs.delete(old)
      this.#files.delete(old)
    }
    return job
  }

  #job(id: string): Job {
    const job = this.#jobs.get(id)
    if (job === undefined) throw caseProblem(404, "batch_job_not_found", `No job ${JSON.stringify(id)}`)
    return job
  }

  #state(job: Job, now: bigint): JobState {
    if (job.isExpired) return "expired"
    const step = BigInt(this.#options.stepMillis ?? 0) * 1_000_000n
    const age = now - job.received
    return age < step ? "queued" : age < 2n * step ? "processing" : "done"
  }

  /** The files of a job that is done. */
  #done(id: string, now: bigint): ReadonlyArray<BatchFile> {
    const job = this.#job(id)
    const state = this.#state(job, now)
    if (state === "expired") throw caseProblem(404, "batch_job_expired", `Job ${id} has expired`)
    if (state !== "done")
      throw caseProblem(404, "batch_job_not_done", `Job ${id} is ${state}: ask again later`)
    return this.#files.get(id) ?? this.#make(job)
  }

  #make(job: Job): ReadonlyArray<BatchFile> {
    const files = [
      ...dataFiles(job.request, job.form, job.split, this.#options.version),
      ...supportFiles(job.request, this.#description(job))
    ]
    const listed = files.map(({ filename, bytes, hash }) => ({ filename, size: bytes.length, hash }))
    const all = [...files, jsonFile("manifest.json", { job_id: job.id, files: listed })]
    job.size = all.reduce((sum, file) => sum + file.bytes.length, 0)
    this.#files.set(job.id, all)
    let held = [...this.#files.keys()].reduce((sum, id) => sum + (this.#jobs.get(id)?.size ?? 0), 0)
    for (const id of this.#files.keys()) {
      if (held <= MAX_HELD || id === job.id) break
      held -= this.#jobs.get(id)?.size ?? 0
      this.#files.delete(id)
    }
    return all
  }

  #listed(id: string, file: BatchFile, base: string): { readonly [key: string]: unknown } {
    const path = `/v0/batch/download/${USER_ID}/${id}/${encodeURIComponent(file.filename)}`
    return {
      filename: file.filename,
      size: file.bytes.length,
      hash: file.hash,
      urls: { https: `${base}${path}`, ftp: `ftp://ftp.databento.com/${USER_ID}/${id}/${file.filename}` }
    }
  }

  #archive(id: string, now: bigint): HttpReply {
    const files = this.#done(id, now)
    return stream(
      zipArchive(files.map((file) => ({ name: file.filename, bytes: file.bytes }))),
      "application/zip"
    )
  }

  #list(form: RequestForm, now: bigint): ReadonlyArray<unknown> {
    const wanted = form.text("states")?.split(",") ?? ["queued", "processing", "done"]
    for (const state of wanted)
      if (!(states as ReadonlyArray<string>).includes(state))
        throw parameterProblem("query", "states", `${JSON.stringify(state)} is no state of a job`)
    const since = form.time("since") ?? 0n
    const jobs = [...this.#jobs.values()].filter(
      (job) => wanted.includes(this.#state(job, now)) && job.received >= since
    )
    const objects = jobs.map((job) => this.#object(job, now))
    return form.flag("short")
      ? objects.map(({ id, state, ts_received }) => ({ id, state, ts_received }))
      : objects
  }

  /** What a job was asked to do. */
  #description({ id, request, form, split }: Job): { readonly [key: string]: unknown } {
    const { dataset, symbols, stypeIn, stypeOut, schema, range, limit } = request
    return {
      id,
      user_id: USER_ID,
      dataset: dataset.name,
      symbols: symbols.join(","),
      stype_in: stypeIn,
      stype_out: stypeOut,
      schema,
      start: UnixNanos.toIso(range.start),
      end: UnixNanos.toIso(range.end),
      limit: limit ?? null,
      encoding: form.encoding,
      compression: form.compression === "none" ? null : form.compression,
      pretty_px: form.prettyPx,
      pretty_ts: form.prettyTs,
      map_symbols: form.mapSymbols,
      split_symbols: split.symbols,
      split_duration: split.duration === "none" ? null : split.duration,
      split_size: split.size ?? null,
      delivery: "download"
    }
  }

  /** A job as the service tells it. */
  #object(job: Job, now: bigint, state = this.#state(job, now)): { readonly [key: string]: unknown } {
    const step = BigInt(this.#options.stepMillis ?? 0) * 1_000_000n
    const isDone = state === "done" || state === "expired"
    if (state === "done" && job.size === undefined) this.#make(job)
    const size = job.size ?? null
    const at = (time: bigint): string => UnixNanos.toIso(time)
    return {
      ...this.#description(job),
      cost_usd: isDone ? costOf(job.request.schema, job.bytes) : null,
      record_count: isDone ? job.records : null,
      billed_size: isDone ? job.bytes : null,
      actual_size: isDone ? size : null,
      package_size: isDone ? size : null,
      state,
      ts_received: at(job.received),
      ts_queued: at(job.received),
      ts_process_start: state === "queued" ? null : at(job.received + step),
      ts_process_done: isDone ? at(job.received + 2n * step) : null,
      ts_expiration: isDone ? at(job.received + EXPIRY_NANOS) : null,
      progress: isDone ? 100 : state === "processing" ? 50 : 0
    }
  }
}

const splitForm = (form: RequestForm, request: DataRequest): SplitForm => {
  const split = {
    symbols: form.flag("split_symbols"),
    duration: form.choice("split_duration", ["day", "week", "month", "year", "none"], "day"),
    size: form.count("split_size")
  } as const
  if (split.size !== undefined && (split.size < SPLIT_MIN || split.size > SPLIT_MAX))
    throw parameterProblem("body", "split_size", `an integer from ${SPLIT_MIN} to ${SPLIT_MAX} is needed`)
  if (split.symbols && request.symbols.includes(ALL_SYMBOLS))
    throw caseProblem(422, "batch_split_symbols_all", "split_symbols is not possible with ALL_SYMBOLS")
  return split
}

/** A file, or the part of it that a `Range: bytes=N-` or `bytes=N-M` header asks for. */
const fileReply = (bytes: Uint8Array, range: string | undefined): HttpReply => {
  const headers = { "content-type": "application/octet-stream", "accept-ranges": "bytes" }
  const asked = /^bytes=(\d+)-(\d*)$/.exec(range ?? "")
  if (asked === null)
    return { status: 200, headers: { ...headers, "content-length": String(bytes.length) }, body: bytes }
  const first = Number(asked[1])
  const last = Math.min(asked[2] === "" ? bytes.length - 1 : Number(asked[2]), bytes.length - 1)
  if (first > last)
    return { status: 416, headers: { ...headers, "content-range": `bytes */${bytes.length}` }, body: "" }
  return {
    status: 206,
    headers: {
      ...headers,
      "content-length": String(last - first + 1),
      "content-range": `bytes ${first}-${last}/${bytes.length}`
    },
    body: bytes.subarray(first, last + 1)
  }
}
