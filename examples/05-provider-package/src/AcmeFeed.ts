/**
 * The live dialogue without a socket: bytes in, events and replies out. It lives as long as the stream, over all of its
 * sessions, and so knows which trade of each symbol is the next one.
 *
 *     <- {"type":"hello","challenge":"5f1c..."}                          each session has another one
 *     -> {"op":"login","proof":"..."}                                   HMAC-SHA256 of the challenge, by the key
 *     <- {"type":"welcome"}                                             or {"type":"error","code":"...","text":"..."}
 *     -> {"op":"subscribe","symbols":{"BTC-EUR":{"next":"17"}}}         or "from": a time, or neither: from now on
 *     <- {"type":"subscribed","symbols":{"BTC-EUR":{"next":"17","time":"..."}}}
 *     <- {"type":"trade","symbol":"BTC-EUR","id":"17","time":"...",...}
 *     <- {"type":"heartbeat","last":{"BTC-EUR":{"id":"17","time":"..."}}}
 *
 * Ids of a symbol have no holes, so an id that is too high proves a loss, and so does a heartbeat that knows of later ids.
 */
import { createHmac } from "node:crypto"
import {
  type Gap,
  type GapCause,
  type Instrument,
  ProviderBadRequest,
  type ProviderErrorReason,
  type ProviderEvent,
  ProviderUnauthorized,
  ProviderUnavailable
} from "@data-manager/core"
import { Redacted } from "effect"
import { Dataset, integer, LineReader, NotAcme, parseLine, TradeIntake } from "./AcmeTrade.ts"

/** What bytes lead to. */
export interface Received {
  readonly events: ReadonlyArray<ProviderEvent>
  /** Lines of JSON to send. */
  readonly replies: ReadonlyArray<object>
  /** The gateway refuses to go on. */
  readonly refusal: ProviderErrorReason | undefined
}

type Fields = { readonly [field: string]: unknown }

/** Where one symbol is: the id that comes next, and the time up to which everything was given or told as lost. */
interface Position {
  next: bigint | undefined
  time: bigint | undefined
}

const BatchRows = 1024

/** What one stream has heard. */
export class AcmeFeed {
  readonly #key: Redacted.Redacted<string>
  readonly #positions: ReadonlyMap<string, Position>
  readonly #intake: TradeIntake
  #lines = new LineReader()
  #events: Array<ProviderEvent> = []
  #replies: Array<object> = []
  #refusal: ProviderErrorReason | undefined

  constructor(
    id: string,
    key: Redacted.Redacted<string>,
    instruments: ReadonlyArray<Instrument>,
    from: bigint | undefined
  ) {
    this.#key = key
    this.#positions = new Map(
      instruments.map(({ rawSymbol }) => [rawSymbol, { next: undefined, time: from }])
    )
    this.#intake = new TradeIntake(id, instruments, BatchRows)
  }

  /** A new connection: half a line of the old one means nothing. */
  begin(): void {
    this.#lines = new LineReader()
  }

  /** Takes bytes, cut anywhere. Throws `NotAcme` where they are none of Acme's. */
  receive(chunk: Uint8Array): Received {
    for (const line of this.#lines.push(chunk)) this.#hear(parseLine(line))
    this.#events.push(...this.#intake.take())
    const received = { events: this.#events, replies: this.#replies, refusal: this.#refusal }
    this.#events = []
    this.#replies = []
    this.#refusal = undefined
    return received
  }

  #hear(message: Fields): void {
    // Messages of other types are for newer clients.
    if (message.type === "trade") this.#trade(message)
    else if (message.type === "heartbeat") this.#heartbeat(message)
    else if (message.type === "subscribed") this.#subscribed(message)
    else if (message.type === "hello") this.#login(message)
    else if (message.type === "welcome") this.#subscribe()
    else if (message.type === "error") this.#refusal = refusalOf(message)
  }

  #login({ challenge }: Fields): void {
    if (typeof challenge !== "string") throw new NotAcme("a greeting without a challenge")
    const proof = createHmac("sha256", Redacted.value(this.#key)).update(challenge).digest("hex")
    this.#replies.push({ op: "login", proof })
  }

  /** Asks for what comes next: by id where one is known, by time where one was asked for. */
  #subscribe(): void {
    const symbols = [...this.#positions].map(([symbol, { next, time }]) => {
      const begin = next !== undefined ? { next: `${next}` } : time !== undefined ? { from: `${time}` } : {}
      return [symbol, begin]
    })
    this.#replies.push({ op: "subscribe", symbols: Object.fromEntries(symbols) })
  }

  #positionOf(symbol: unknown): readonly [symbol: string, position: Position] {
    const position = typeof symbol === "string" ? this.#positions.get(symbol) : undefined
    if (position === undefined) throw new NotAcme("a message about a symbol that was not asked for")
    return [symbol as string, position]
  }

  /** The gateway begins at `next`; where that is later than what was asked for, the trades between cannot be had. */
  #subscribed({ symbols }: Fields): void {
    for (const [name, begin] of entriesOf(symbols, "symbols")) {
      const [symbol, position] = this.#positionOf(name)
      const next = integer(begin.next, "next")
      const time = integer(begin.time, "time")
      if (position.next !== undefined) this.#lost(symbol, position, next, time, "disconnect")
      else if (position.time !== undefined && position.time < time)
        this.#gap(symbol, position.time, time, undefined, "provider")
      position.next = next
      position.time ??= time
    }
  }

  #trade(message: Fields): void {
    const [symbol, position] = this.#positionOf(message.symbol)
    const id = integer(message.id, "id")
    const time = integer(message.time, "time")
    // What was given already comes again where two sessions overlap.
    if (position.next !== undefined && id < position.next) return
    this.#lost(symbol, position, id, time, "sequence")
    this.#intake.add(message)
    if (this.#intake.isFull) this.#events.push(...this.#intake.take())
    position.next = id + 1n
    position.time = time
  }

  /** It comes after the trades that it knows of. */
  #heartbeat({ last }: Fields): void {
    for (const [name, { id, time }] of entriesOf(last, "last")) {
      const [symbol, position] = this.#positionOf(name)
      this.#lost(symbol, position, integer(id, "id") + 1n, integer(time, "time"), "sequence")
    }
  }

  /** Everything of a symbol from its position up to the trade `id`, which has that time, is lost; nothing where none is. */
  #lost(symbol: string, position: Position, id: bigint, time: bigint, cause: GapCause): void {
    const { next, time: known = time } = position
    if (next === undefined || id <= next) return
    this.#gap(symbol, known, time + 1n, id - next, cause)
    position.next = id
    position.time = time
  }

  #gap(symbol: string, start: bigint, end: bigint, rows: bigint | undefined, cause: GapCause): void {
    // What came before the loss goes before it.
    this.#events.push(...this.#intake.take(), {
      _tag: "Gap",
      dataset: Dataset,
      schema: "trades",
      symbols: [symbol],
      range: { start, end },
      rows,
      cause
    } satisfies Gap)
  }
}

/** An object by symbol. */
const entriesOf = (
  value: unknown,
  field: string
): ReadonlyArray<readonly [symbol: string, fields: Fields]> => {
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value)
    if (entries.every(([, fields]) => typeof fields === "object" && fields !== null)) return entries
  }
  throw new NotAcme(`the field "${field}" does not say it symbol by symbol`)
}

const refusalOf = ({ code, text }: Fields): ProviderErrorReason => {
  const detail = `the gateway says ${code}: ${text}`
  if (code === "unauthorized") return new ProviderUnauthorized({ detail, hint: "take a valid key" })
  return code === "unavailable" ? new ProviderUnavailable({ detail }) : new ProviderBadRequest({ detail })
}
