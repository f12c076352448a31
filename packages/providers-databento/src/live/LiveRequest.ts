/**
 * What a session asks for, checked before anything is sent, and its control lines: `key=value` joined by `|`, ended by a
 * newline, without any escaping. So a value that holds `|` or a line break could say something else: it is refused.
 */
import { AllSymbols, MarketSchema, type SymbolType } from "@data-manager/core"
import { apiKeyProblem, challengeReply } from "../ApiKey.ts"

/** Symbols of one line at most; more go into several lines of one request. */
export const MAX_SYMBOLS_PER_LINE = 500
/** Heartbeat intervals that the gateway takes, seconds. */
const MIN_HEARTBEAT_SECONDS = 5
const MAX_HEARTBEAT_SECONDS = 1800

/** What the gateway does for a reader that falls behind: warn and wait, or skip records of quotes and books. */
export type SlowReaderBehavior = "warn" | "skip"

/** Options of one session. They cannot change while it lasts. */
export interface SessionRequest {
  readonly dataset: string
  /** Records end with the gateway's send time. */
  readonly tsOut: boolean
  readonly compression: "none" | "zstd"
  readonly heartbeatSeconds: number
  readonly slowReader?: SlowReaderBehavior | undefined
  /** Free text for the gateway's log. */
  readonly client: string
}

/** Symbols of one schema. */
export interface LiveSubscription {
  readonly schema: MarketSchema.MarketSchema
  readonly stypeIn: SymbolType
  /** As the vendor writes them; `["ALL_SYMBOLS"]` means every symbol of the dataset. */
  readonly symbols: ReadonlyArray<string>
}

/** Schemas that a live session can deliver. */
export const liveSchemas: ReadonlyArray<MarketSchema.MarketSchema> = MarketSchema.all.filter(
  (schema) => schema !== "book-ticker" && schema !== "depth"
)

const isPlain = (text: string): boolean => /^[\x20-\x7e]*$/.test(text) && !text.includes("|")

/** What is wrong with a request; undefined where it can be sent. */
export const requestProblem = (request: SessionRequest, key: string): string | undefined => {
  const { dataset, heartbeatSeconds: beat, client } = request
  if (!/^[A-Z0-9]+(\.[A-Z0-9]+)+$/.test(dataset) || dataset.length > 15)
    return `"${printable(dataset)}" is no dataset; one looks like GLBX.MDP3`
  if (!Number.isInteger(beat) || beat < MIN_HEARTBEAT_SECONDS || beat > MAX_HEARTBEAT_SECONDS)
    return `a heartbeat every ${beat} s: whole seconds from ${MIN_HEARTBEAT_SECONDS} to ${MAX_HEARTBEAT_SECONDS} are possible`
  if (!isPlain(client) || client.length > 256)
    return "the client name may hold printable ASCII without | only, at most 256 characters"
  return apiKeyProblem(key)
}

/** What is wrong with a subscription; undefined where it can be sent. */
export const subscriptionProblem = (subscription: LiveSubscription): string | undefined => {
  const { schema, symbols, stypeIn } = subscription
  if (!liveSchemas.includes(schema)) return `schema ${printable(schema)} is not available live`
  if (symbols.length === 0) return `the list of symbols for ${schema} is empty: name at least one`
  if (symbols.includes(AllSymbols) && symbols.length > 1)
    return `${AllSymbols} beside other symbols: it means all of them, name it alone`
  for (const symbol of symbols) {
    const problem = symbolProblem(symbol, stypeIn)
    if (problem !== undefined) return problem
  }
  return undefined
}

const symbolProblem = (symbol: string, stypeIn: SymbolType): string | undefined => {
  if (symbol.trim() === "") return "an empty symbol: name an instrument"
  if (!isPlain(symbol) || symbol.includes(",") || symbol.length > 70)
    return `symbol "${printable(symbol)}": at most 70 printable ASCII characters without | and comma are possible`
  if (stypeIn === "instrument_id" && symbol !== AllSymbols && !/^\d{1,10}$/.test(symbol))
    return `"${symbol}" is no instrument id: a number is needed with stype_in instrument_id`
  return undefined
}

/** A refused value, fit for one line of a message. */
const printable = (text: string): string => JSON.stringify(text).slice(1, -1).slice(0, 80)

/** Answers the challenge and says what the session shall be like. */
export const authenticationLine = (request: SessionRequest, challenge: string, key: string): string => {
  const fields = [
    `auth=${challengeReply(challenge, key)}`,
    `dataset=${request.dataset}`,
    "encoding=dbn",
    `ts_out=${request.tsOut ? 1 : 0}`,
    `compression=${request.compression}`,
    `client=${request.client}`,
    `heartbeat_interval_s=${request.heartbeatSeconds}`
  ]
  if (request.slowReader !== undefined) fields.push(`slow_reader_behavior=${request.slowReader}`)
  return `${fields.join("|")}\n`
}

/** Lines of one request. `start` (ns since epoch) asks for replay from there; `id` is echoed in the gateway's texts. */
export const subscriptionLines = (
  subscription: LiveSubscription,
  id: number,
  start?: bigint | undefined
): ReadonlyArray<string> => {
  const { schema, stypeIn, symbols } = subscription
  const lines: Array<string> = []
  for (let from = 0; from < symbols.length; from += MAX_SYMBOLS_PER_LINE) {
    const part = symbols.slice(from, from + MAX_SYMBOLS_PER_LINE)
    const isLast = from + MAX_SYMBOLS_PER_LINE >= symbols.length ? 1 : 0
    const replay = start === undefined ? "" : `|start=${start}`
    lines.push(
      `schema=${schema}|stype_in=${stypeIn}|symbols=${part.join(",")}|snapshot=0|is_last=${isLast}${replay}|id=${id}\n`
    )
  }
  return lines
}

/** Ends the dialogue of lines and begins the data. */
export const START_SESSION = "start_session\n"

/** Host of a dataset's gateway. */
export const gatewayHost = (dataset: string): string =>
  `${dataset.toLowerCase().replaceAll(".", "-")}.lsg.databento.com`

/** Port of every gateway. */
export const GATEWAY_PORT = 13000
