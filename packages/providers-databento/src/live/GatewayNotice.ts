/** What the gateway says in records of its own, among the data. */
import { MarketSchema } from "@data-manager/core"
import { decodeRecord } from "../dbn/DbnRecord.ts"
import type { RecordBlock } from "../dbn/RecordBlock.ts"
import { ErrorCode, SystemCode } from "../GatewayCode.ts"

/** After these the gateway closes. */
const fatalCodes: ReadonlyArray<number> = [
  ErrorCode.authFailed,
  ErrorCode.keyDeactivated,
  ErrorCode.connectionLimit,
  ErrorCode.invalidSubscription,
  ErrorCode.internalError,
  ErrorCode.replayAgedOut
]

/** A record of the gateway. `at` is its send time, ns. */
export type GatewayNotice =
  | { readonly _tag: "Heartbeat" }
  /** A subscription was accepted; the id where its text tells one. */
  | {
      readonly _tag: "Acknowledged"
      readonly text: string
      readonly id: number | undefined
      readonly at: bigint
    }
  /** We read too slowly; nothing is lost yet. */
  | { readonly _tag: "SlowReader"; readonly text: string }
  /** The history of a schema is sent, real time follows; the schema where the text tells it. */
  | {
      readonly _tag: "ReplayCompleted"
      readonly text: string
      readonly schema: MarketSchema.MarketSchema | undefined
    }
  | { readonly _tag: "EndOfInterval" }
  /** A symbol means nothing at the moment; the session goes on. */
  | { readonly _tag: "Unresolved"; readonly text: string }
  /** Records were left out because we read too slowly; the session goes on. */
  | { readonly _tag: "Skipped"; readonly text: string; readonly at: bigint }
  /** The session is over. */
  | { readonly _tag: "Fatal"; readonly code: number; readonly text: string }
  /** Anything else: kept for the log. */
  | { readonly _tag: "Other"; readonly text: string }

/** Reads an error or system record; undefined where the record is neither. */
export const readNotice = (block: RecordBlock, position: number): GatewayNotice | undefined => {
  const record = decodeRecord(block, position)
  if (record.type === "error") return errorNotice(record.code, record.err, record.tsEvent)
  if (record.type === "system") return systemNotice(record.code, record.msg, record.tsEvent)
  return undefined
}

const errorNotice = (code: number, text: string, at: bigint): GatewayNotice => {
  if (code === ErrorCode.symbolResolutionFailed) return { _tag: "Unresolved", text }
  if (code === ErrorCode.skippedRecords) return { _tag: "Skipped", text, at }
  return fatalCodes.includes(code) ? { _tag: "Fatal", code, text } : { _tag: "Other", text }
}

const systemNotice = (code: number, text: string, at: bigint): GatewayNotice => {
  switch (code) {
    case SystemCode.heartbeat:
      return { _tag: "Heartbeat" }
    case SystemCode.subscriptionAck:
      return { _tag: "Acknowledged", text, id: requestId(text), at }
    case SystemCode.slowReader:
      return { _tag: "SlowReader", text }
    case SystemCode.replayCompleted:
      return { _tag: "ReplayCompleted", text, schema: schemaIn(text) }
    case SystemCode.endOfInterval:
      return { _tag: "EndOfInterval" }
    default:
      return { _tag: "Other", text }
  }
}

const requestId = (text: string): number | undefined => {
  const match = /\brequest (\d+)\b/i.exec(text)
  return match === null ? undefined : Number(match[1])
}

const schemaIn = (text: string): MarketSchema.MarketSchema | undefined =>
  text.split(/[^a-z0-9-]+/i).find((word): word is MarketSchema.MarketSchema => MarketSchema.is(word))
