/** Acme's live gateway on this machine. It plays a tape, as fast as its clients read, and breaks where it is told to. */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import { createServer, type Socket } from "node:net"
import type { ProviderFault } from "@data-manager/testing"
import { Effect, type Scope } from "effect"
import type { TapeTrade } from "./AcmeTape.ts"

/** A fault of live data. */
export type LiveFault = Extract<ProviderFault, { readonly afterRows: number }>

/** Trades that happen while nobody is connected. */
const MissedTrades = 10

/** The gateway. */
export class AcmeGateway {
  readonly tape: ReadonlyArray<TapeTrade>
  readonly key: string
  readonly faults: Array<LiveFault> = []
  readonly sessions = new Set<Session>()
  /** The first trade that has not happened yet. */
  position = 0

  constructor(tape: ReadonlyArray<TapeTrade>, key: string) {
    this.tape = tape
    this.key = key
  }

  /** Listens until the scope closes; gives the port. A heartbeat goes out each second of the clock at hand. */
  readonly listen = (port: number): Effect.Effect<number, never, Scope.Scope> =>
    Effect.gen({ self: this }, function* (this: AcmeGateway) {
      const server = createServer((socket) => {
        const session = new Session(this, socket)
        this.sessions.add(session)
        socket.on("error", () => {}).once("close", () => this.sessions.delete(session))
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(port, "127.0.0.1", () => resume(Effect.void))
        }),
        () =>
          Effect.callback<void>((resume) => {
            for (const session of this.sessions) session.close()
            server.close(() => resume(Effect.void))
          })
      )
      const beat = Effect.sync(() => {
        for (const session of this.sessions) session.heartbeat()
      })
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep("1 second"), beat)))
      return (server.address() as { readonly port: number }).port
    })
}

/** One client. */
class Session {
  readonly #gateway: AcmeGateway
  readonly #socket: Socket
  readonly #challenge = randomBytes(16).toString("hex")
  readonly #fault: LiveFault | undefined
  /** The first trade of the tape that each symbol is sent from. */
  #begins: ReadonlyMap<string, number> = new Map()
  #rest = ""
  #isIn = false
  #cursor = 0
  #sent = 0
  #isStopped = false
  #isLossDone = false

  constructor(gateway: AcmeGateway, socket: Socket) {
    this.#gateway = gateway
    this.#socket = socket.setNoDelay(true).setEncoding("utf8")
    this.#fault = gateway.faults.shift()
    socket.on("drain", () => this.#play())
    socket.on("data", (text: Buffer | string) => {
      const lines = (this.#rest + text).split("\n")
      this.#rest = lines.pop() ?? ""
      for (const line of lines) this.#hear(JSON.parse(line))
    })
    this.#say({ type: "hello", challenge: this.#challenge })
  }

  close(): void {
    this.#socket.destroy()
  }

  /** What the client has to know by now. */
  heartbeat(): void {
    if (this.#begins.size === 0 || this.#isStopped || this.#socket.writableNeedDrain) return
    const last: Record<string, object> = {}
    for (const { id, symbol, time } of this.#gateway.tape.slice(0, this.#cursor))
      if (this.#begins.has(symbol)) last[symbol] = { id, time }
    this.#say({ type: "heartbeat", last })
  }

  #say(message: object): boolean {
    return this.#socket.write(`${JSON.stringify(message)}\n`)
  }

  #hear(message: {
    readonly op: string
    readonly proof: string
    readonly symbols: Record<string, Begin>
  }): void {
    if (message.op === "login") this.#login(message.proof)
    else if (message.op === "subscribe" && this.#isIn) this.#subscribe(message.symbols)
    else this.#end("bad_request", "log in, then subscribe")
  }

  #end(code: string, text: string): void {
    this.#say({ type: "error", code, text })
    this.#socket.end()
  }

  #login(proof: string): void {
    const expected = createHmac("sha256", this.#gateway.key).update(this.#challenge).digest()
    const given = Buffer.from(proof, "hex")
    this.#isIn = given.length === expected.length && timingSafeEqual(given, expected)
    if (this.#isIn) this.#say({ type: "welcome" })
    else this.#end("unauthorized", "the proof is not that of a key")
  }

  #subscribe(symbols: Record<string, Begin>): void {
    const { position, tape } = this.#gateway
    const begins = Object.entries(symbols).map(([symbol, { from, next }]) => {
      const isDue = (trade: TapeTrade): boolean =>
        next !== undefined
          ? trade.symbol === symbol && BigInt(trade.id) >= BigInt(next)
          : BigInt(trade.time) >= BigInt(from!)
      const found = next === undefined && from === undefined ? position : tape.findIndex(isDue)
      return [symbol, found === -1 ? tape.length : found] as const
    })
    const answers = begins.map(([symbol, begin]) => {
      const following = tape.slice(begin).find((trade) => trade.symbol === symbol)
      const before = tape.slice(0, begin).findLast((trade) => trade.symbol === symbol)
      const id = following?.id ?? `${BigInt(before?.id ?? "0") + 1n}`
      const time = symbols[symbol]?.from ?? (tape[begin] ?? tape[tape.length - 1])?.time
      return [symbol, { next: id, time }]
    })
    this.#begins = new Map(begins)
    this.#cursor = Math.min(...begins.map(([, begin]) => begin))
    this.#say({ type: "subscribed", symbols: Object.fromEntries(answers) })
    this.#play()
  }

  /** Sends until the client does not keep up, the tape is at its end, or something breaks. */
  #play(): void {
    const { tape } = this.#gateway
    while (this.#cursor < tape.length && !this.#isStopped && this.#begins.size > 0) {
      if (this.#fault !== undefined && this.#sent === this.#fault.afterRows && !this.#isLossDone) {
        this.#break(this.#fault)
        continue
      }
      const trade = tape[this.#cursor]!
      const begin = this.#begins.get(trade.symbol)
      const isDue = begin !== undefined && this.#cursor >= begin
      this.#cursor += 1
      this.#gateway.position = Math.max(this.#gateway.position, this.#cursor)
      if (!isDue) continue
      this.#sent += 1
      if (!this.#say({ type: "trade", ...trade })) return
    }
  }

  #break(fault: LiveFault): void {
    const { tape } = this.#gateway
    if (fault.type === "loss") {
      this.#isLossDone = true
      this.#cursor = Math.min(tape.length, this.#cursor + fault.rows)
      return
    }
    this.#isStopped = true
    this.#gateway.position = Math.min(tape.length, this.#gateway.position + MissedTrades)
    if (fault.type === "disconnect") this.#socket.end()
    if (fault.type === "reset") this.#socket.resetAndDestroy()
  }
}

/** From which trade on a symbol is asked for. */
interface Begin {
  readonly next?: string | undefined
  readonly from?: string | undefined
}
