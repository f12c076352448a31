/** What a live stream is asked for, and what makes no sense to ask. */
import type { RegisterListings } from "@data-manager/core"
import { type Duration, Redacted } from "effect"
import { apiKeyProblem } from "../ApiKey.ts"
import type { GatewayAddress } from "./GatewaySocket.ts"
import {
  type LiveSubscription,
  requestProblem,
  type SessionRequest,
  type SlowReaderBehavior
} from "./LiveRequest.ts"

/** What to collect, and how. */
export interface LiveOptions {
  /** Never appears in errors, logs or events. */
  readonly apiKey: Redacted.Redacted<string>
  /** One stream is of one dataset: `GLBX.MDP3`. */
  readonly dataset: string
  readonly subscriptions: ReadonlyArray<LiveSubscription>
  /** Turns listings into instruments; batches refer to these. */
  readonly register: RegisterListings
  /** Begin with what happened since then, ns (within the last 24 hours). Default: from now on. */
  readonly from?: bigint | undefined
  /** Default: the dataset's gateway of the vendor. */
  readonly address?: Partial<GatewayAddress> | undefined
  /** Seconds between heartbeats of a quiet session, 5 to 1800; default 10. It is given up 10 s after one is missing. */
  readonly heartbeatSeconds?: number | undefined
  /** Default "none"; "zstd" takes a fraction of the bytes and some processor time. */
  readonly compression?: "none" | "zstd" | undefined
  /** Default "warn": nothing is left out. With "skip" the gateway drops quotes and books that we are late for, as a `Gap`. */
  readonly slowReader?: SlowReaderBehavior | undefined
  /** Records carry the gateway's send time; default false. */
  readonly tsOut?: boolean | undefined
  /** Name in the gateway's log; default `data-manager`. */
  readonly client?: string | undefined
  /** Rows per batch at most; default 5,632. A batch is what one read of the socket brought, if less. */
  readonly batchRows?: number | undefined
  /** Memory for events that the reader has not taken yet; default 64 MiB. Beyond it the socket is not read. */
  readonly queueBytes?: number | undefined
  /** Ask for what was missed after a break; default true. Without, every break is a `Gap`. */
  readonly resume?: boolean | undefined
  /** How far back instruments without recent rows are asked for again after a break; default 5 minutes. */
  readonly overlap?: Duration.Input | undefined
}

/** Memory for events not yet read, where the options do not tell. */
export const DEFAULT_QUEUE_BYTES = 64 * 1024 * 1024
/** One read brings 5,462 trades at most: a builder of this size hands its memory on, nearly full, without a copy. */
export const DEFAULT_BATCH_ROWS = 5632
/** A user's clock may be wrong by as much. */
const CLOCK_NANOS = 60_000_000_000n

/** What every session of the stream says of itself. */
export const sessionRequest = (options: LiveOptions): SessionRequest => ({
  dataset: options.dataset,
  tsOut: options.tsOut ?? false,
  compression: options.compression ?? "none",
  heartbeatSeconds: options.heartbeatSeconds ?? 10,
  slowReader: options.slowReader ?? "warn",
  client: options.client ?? "data-manager"
})

/** What is wrong with options beside the key, at `now` in ns; undefined where they can be used. */
export const optionProblem = (options: LiveOptions, now: bigint): string | undefined => {
  const { batchRows, queueBytes, subscriptions, from } = options
  if (batchRows !== undefined && !(Number.isInteger(batchRows) && batchRows > 0))
    return `batches of ${batchRows} rows: a whole number from 1 on is needed`
  if (queueBytes !== undefined && !(queueBytes > 0))
    return `a queue of ${queueBytes} bytes: a number above 0 is needed`
  if (from !== undefined && from > now + CLOCK_NANOS)
    return `a stream from ${from} ns on, which is in the future: leave \`from\` out to begin now`
  if (subscriptions.length === 0) return "no subscription: name schema and symbols"
  return requestProblem(sessionRequest(options), Redacted.value(options.apiKey))
}

/** What is wrong with the key. */
export const keyProblem = (options: LiveOptions): string | undefined =>
  apiKeyProblem(Redacted.value(options.apiKey))
