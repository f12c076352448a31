/** Authentication and subscription lines as what they ask for, or what is wrong with them. */
import { UnixNanos } from "@data-manager/core"
import { type KnownSchema, schemas } from "../dbn/DbnSchema.ts"
import { type KnownSType, knownStype, stypes } from "../dbn/SType.ts"
import { ErrorCode } from "../GatewayCode.ts"
import type { LineFields } from "./GatewayLine.ts"

/** Most symbols of one line. */
export const MAX_SYMBOLS_PER_LINE = 500

/** What a session was opened with. */
export interface SessionOptions {
  readonly dataset: string
  readonly tsOut: boolean
  readonly isZstd: boolean
  readonly heartbeatSeconds: number
  readonly slowReader: "warn" | "skip"
}

/** One subscription line. */
export interface Subscription {
  readonly schema: KnownSchema
  readonly stypeIn: KnownSType
  readonly symbols: ReadonlyArray<string>
  /** ns since the epoch; undefined for now. */
  readonly start: bigint | undefined
  readonly snapshot: boolean
  readonly id: string | undefined
  /** Further lines of the same request follow. */
  readonly isLast: boolean
}

/** What is wrong with a line, and the code of the error that tells it in the stream. */
export class LineProblem {
  readonly text: string
  readonly code: number

  constructor(text: string, code: number = ErrorCode.invalidSubscription) {
    this.text = text
    this.code = code
  }
}

const choice = <T extends string>(
  fields: LineFields,
  name: string,
  allowed: ReadonlyArray<T>,
  absent?: T
): T | LineProblem => {
  const text = fields.get(name) ?? absent ?? ""
  const known = allowed.find((value) => value === text)
  return known ?? new LineProblem(`Invalid ${name} ${JSON.stringify(text)}, expected ${allowed.join(" or ")}`)
}

const HEARTBEAT_MIN = 5
const HEARTBEAT_MAX = 1800
const HEARTBEAT_DEFAULT = 30

/** The options of an authentication line; the proof of the key is looked at elsewhere. */
export const sessionOptions = (fields: LineFields): SessionOptions | LineProblem => {
  const encoding = choice(fields, "encoding", ["dbn"], "dbn")
  const tsOut = choice(fields, "ts_out", ["0", "1"], "0")
  const compression = choice(fields, "compression", ["none", "zstd"], "none")
  const slowReader = choice(fields, "slow_reader_behavior", ["warn", "skip"], "skip")
  const heartbeat = fields.get("heartbeat_interval_s") ?? String(HEARTBEAT_DEFAULT)
  const seconds = Number(heartbeat)
  for (const it of [encoding, tsOut, compression, slowReader]) if (it instanceof LineProblem) return it
  if (!/^\d+$/.test(heartbeat) || seconds < HEARTBEAT_MIN || seconds > HEARTBEAT_MAX)
    return new LineProblem(
      `Invalid heartbeat_interval_s ${JSON.stringify(heartbeat)}, expected ${HEARTBEAT_MIN} to ${HEARTBEAT_MAX}`
    )
  return {
    dataset: fields.get("dataset") ?? "",
    tsOut: tsOut === "1",
    isZstd: compression === "zstd",
    heartbeatSeconds: seconds,
    slowReader: slowReader as "warn" | "skip"
  }
}

const NANOS = /^\d{1,20}$/

/** Nanoseconds, or ISO text as one of the vendor's clients sends it. */
const startTime = (text: string | undefined): bigint | undefined | LineProblem => {
  if (text === undefined || text === "") return undefined
  if (NANOS.test(text)) return BigInt(text)
  return UnixNanos.parse(text) ?? new LineProblem(`Invalid start ${JSON.stringify(text)}`)
}

/** A subscription line. */
export const subscription = (fields: LineFields): Subscription | LineProblem => {
  const schema = choice(fields, "schema", schemas)
  const stypeIn = knownStype(fields.get("stype_in") ?? "") ?? choice(fields, "stype_in", stypes, "raw_symbol")
  const snapshot = choice(fields, "snapshot", ["0", "1"], "0")
  const isLast = choice(fields, "is_last", ["0", "1"], "1")
  const start = startTime(fields.get("start"))
  const symbols = (fields.get("symbols") ?? "").split(",").filter((symbol) => symbol !== "")
  if (schema instanceof LineProblem) return schema
  if (stypeIn instanceof LineProblem) return stypeIn
  if (start instanceof LineProblem) return start
  for (const it of [snapshot, isLast]) if (it instanceof LineProblem) return it
  if (symbols.length === 0) return new LineProblem("No symbols in the subscription")
  if (symbols.length > MAX_SYMBOLS_PER_LINE)
    return new LineProblem(
      `${symbols.length} symbols in one request, at most ${MAX_SYMBOLS_PER_LINE} are allowed`
    )
  if (snapshot === "1" && (schema !== "mbo" || start !== undefined))
    return new LineProblem("snapshot is for schema mbo without start")
  return {
    schema,
    stypeIn,
    symbols,
    start,
    snapshot: snapshot === "1",
    id: fields.get("id"),
    isLast: isLast === "1"
  }
}
