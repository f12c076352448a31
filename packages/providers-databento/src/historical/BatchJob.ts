/** A batch job as the service tells it. Source: fact sheet, "Batch". */
import { UnixNanos } from "@data-manager/core"
import { Schema } from "effect"
import * as ReplyShape from "./ReplyShape.ts"

/** Where a job stands. */
export type BatchState = "queued" | "processing" | "done" | "expired"

/** A request that the service turns into files. Values that are not known yet are undefined. */
export interface BatchJob {
  readonly id: string
  readonly state: BatchState
  /** 0 to 100, where told. */
  readonly progress: number | undefined
  readonly dataset: string
  readonly schema: string
  readonly symbols: ReadonlyArray<string>
  readonly stypeIn: string
  readonly stypeOut: string
  readonly start: bigint
  readonly end: bigint
  readonly limit: number | undefined
  readonly encoding: string
  readonly compression: string | undefined
  readonly splitDuration: string | undefined
  readonly splitSymbols: boolean
  readonly splitSize: number | undefined
  readonly costUsd: number | undefined
  readonly recordCount: number | undefined
  readonly billedSize: number | undefined
  readonly actualSize: number | undefined
  readonly packageSize: number | undefined
  readonly receivedAt: bigint | undefined
  readonly doneAt: bigint | undefined
  readonly expiresAt: bigint | undefined
  /** The reply itself, with keys that are unknown here. */
  readonly raw: Readonly<Record<string, unknown>>
}

const { maybe, Time } = ReplyShape
const text = maybe(Schema.String)
const number = maybe(Schema.Finite)
const time = maybe(Time)

const JobReply = Schema.Struct({
  id: Schema.String,
  state: Schema.Literals(["queued", "processing", "done", "expired"]),
  progress: number,
  dataset: Schema.String,
  schema: Schema.String,
  // One text or a list, as the job was asked for.
  symbols: maybe(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  stype_in: Schema.String,
  stype_out: Schema.String,
  start: Time,
  end: Time,
  limit: number,
  encoding: Schema.String,
  compression: text,
  split_duration: text,
  split_symbols: maybe(Schema.Boolean),
  split_size: number,
  cost_usd: number,
  record_count: number,
  billed_size: number,
  actual_size: number,
  package_size: number,
  ts_received: time,
  ts_process_done: time,
  ts_expiration: time
})

/** The reply of an endpoint that gives one job. */
export const Job = Schema.Record(Schema.String, Schema.Unknown)

const decodeJob = Schema.decodeUnknownSync(JobReply)

/** A job from its reply; undefined where the reply is no job. */
export const jobOf = (raw: Readonly<Record<string, unknown>>): BatchJob | undefined => {
  let job: typeof JobReply.Type
  try {
    job = decodeJob(raw)
  } catch {
    return undefined
  }
  return {
    id: job.id,
    state: job.state,
    progress: job.progress ?? undefined,
    dataset: job.dataset,
    schema: job.schema,
    symbols: typeof job.symbols === "string" ? job.symbols.split(",") : (job.symbols ?? []),
    stypeIn: job.stype_in,
    stypeOut: job.stype_out,
    start: job.start,
    end: job.end,
    limit: job.limit ?? undefined,
    encoding: job.encoding,
    compression: named(job.compression),
    splitDuration: named(job.split_duration),
    splitSymbols: job.split_symbols ?? false,
    splitSize: job.split_size ?? undefined,
    costUsd: job.cost_usd ?? undefined,
    recordCount: job.record_count ?? undefined,
    billedSize: job.billed_size ?? undefined,
    actualSize: job.actual_size ?? undefined,
    packageSize: job.package_size ?? undefined,
    receivedAt: job.ts_received ?? undefined,
    doneAt: job.ts_process_done ?? undefined,
    expiresAt: job.ts_expiration ?? undefined,
    raw
  }
}

/** `none` and null both say that there is none. */
const named = (value: string | null | undefined): string | undefined =>
  value === null || value === undefined || value === "none" ? undefined : value

/** One line about a job, for people. */
export const describe = (job: BatchJob): string =>
  `${job.id}: ${job.dataset} ${job.schema}, ${UnixNanos.toDate(job.start)} to ${UnixNanos.toDate(job.end)}, ${job.state}`
