/** One TCP session: connect, authenticate, subscribe, start, and carry records into the intake until it ends. */
import { ProviderMalformed, TradeKey } from "@data-manager/core"
import { Clock, Deferred, Effect, type Scope, Semaphore } from "effect"
import { withoutKey } from "../ApiKey.ts"
import type { DbnMetadata } from "../dbn/DbnMetadata.ts"
import { RateWindow } from "../RateWindow.ts"
import type { ByteBudget } from "./EventQueue.ts"
import { connectionTurn, SUBSCRIPTIONS_PER_SECOND } from "./GatewayRate.ts"
import { connectGateway, type GatewayAddress, type GatewaySocket, type SocketEnd } from "./GatewaySocket.ts"
import type { LiveIntake } from "./LiveIntake.ts"
import { type GatewayMessage, LiveProtocol } from "./LiveProtocol.ts"
import {
  type LiveSubscription,
  type SessionRequest,
  START_SESSION,
  subscriptionLines
} from "./LiveRequest.ts"
import type { SessionEnd } from "./SessionEnd.ts"

/** From the connection to the reply to our authentication. Official clients wait as long. */
const AUTHENTICATION_TIMEOUT = "30 seconds"
/** A session is hung this long after a heartbeat is due. */
const SILENCE_GRACE_SECONDS = 10
/** For the socket to be read after the process was held up. */
const WAKING_MILLIS = 100
/** How long a session's start may still meet what began before it. */
const BEGINNING_MILLIS = 5000

/** A subscription as it is sent. */
export interface SessionSubscription {
  readonly subscription: LiveSubscription
  readonly id: number
  /** Replay from there, ns; undefined: from now on. */
  readonly start: bigint | undefined
}

/** What a session works with. */
export interface SessionOptions {
  readonly address: GatewayAddress
  readonly request: SessionRequest
  readonly key: string
  /** What to ask for, called once when the key is accepted. */
  readonly subscriptions: () => ReadonlyArray<SessionSubscription>
  readonly intake: LiveIntake
  readonly budget: ByteBudget
  /** The header has come: data follows. */
  readonly onStarted: (metadata: DbnMetadata) => void
}

/** One session; `run` it once. */
export class LiveSession {
  readonly #options: SessionOptions
  readonly #protocol: LiveProtocol
  readonly #authenticated = Deferred.makeUnsafe<void>()
  readonly #ended = Deferred.makeUnsafe<void>()
  readonly #rate = new RateWindow(SUBSCRIPTIONS_PER_SECOND)
  /** Lines of one request stay together. */
  readonly #sending = Semaphore.makeUnsafe(1)
  readonly #silenceMillis: number
  #clock: Clock.Clock | undefined
  #socket: GatewaySocket | undefined
  #end: SessionEnd | undefined
  #isStarted = false
  #startedAt = 0
  /** When the last bytes came, milliseconds. */
  lastBytesAt = 0
  isPaused = false
  /** What is wanted beyond `subscriptions` has to be sent by `subscribe` from now on. */
  acceptsSubscriptions = false
  /** Data was asked for. */
  isStreaming = false
  sessionId: string | undefined

  constructor(options: SessionOptions) {
    this.#options = options
    this.#protocol = new LiveProtocol(options.request, options.key)
    this.#silenceMillis = (options.request.heartbeatSeconds + SILENCE_GRACE_SECONDS) * 1000
  }

  /** Runs the session to its end. Leaving the scope, or interruption, closes the connection. */
  readonly run: Effect.Effect<SessionEnd, never, Scope.Scope> = Effect.suspend(() => {
    const { host, port } = this.#options.address
    const unreachable = ({ code, detail }: SocketEnd): Effect.Effect<SessionEnd> =>
      Effect.succeed({ _tag: "Unreachable", code, detail })
    return Effect.andThen(connectionTurn(host, port), Effect.catch(this.#session(), unreachable))
  })

  /** Ends the session, for a reason found outside. */
  finish(end: SessionEnd): void {
    this.#end ??= end
    this.isStreaming = false
    this.acceptsSubscriptions = false
    Deferred.doneUnsafe(this.#ended, Effect.void)
  }

  /** Reads on after the budget was used up. */
  resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    this.lastBytesAt = this.#now()
    this.#socket?.resume()
  }

  /** Sends a further subscription, at the pace that the gateway allows. Once begun, it is sent to its last line. */
  subscribe(subscription: LiveSubscription, id: number): Effect.Effect<void> {
    return this.#sending.withPermits(1)(Effect.uninterruptible(this.#send(subscription, id)))
  }

  /** The lines of a request are one: the gateway's rate is of requests, and beyond it they are late, not lost. */
  #send(subscription: LiveSubscription, id: number, start?: bigint): Effect.Effect<void> {
    return Effect.andThen(
      this.#rate.turn,
      Effect.sync(() => {
        for (const line of subscriptionLines(subscription, id, start)) this.#socket?.write(line)
      })
    )
  }

  #now(): number {
    return this.#clock?.currentTimeMillisUnsafe() ?? 0
  }

  readonly #session = Effect.fnUntraced({ self: this }, function* (this: LiveSession) {
    this.#clock = yield* Clock.Clock
    yield* Effect.addFinalizer(() => Effect.sync(() => this.#close()))
    const socket = yield* connectGateway(this.#options.address, this.#onBytes)
    this.#socket = socket
    this.lastBytesAt = this.#now()
    const closed = Effect.map(socket.ended, ({ detail }) => this.#onClosed(detail))
    yield* Effect.raceFirst(
      Effect.raceFirst(Deferred.await(this.#ended), closed),
      Effect.andThen(this.#start, this.#watch)
    )
    return this.#end ?? sessionOver
  })

  /** From the greeting to the start of the data. */
  readonly #start: Effect.Effect<void> = Effect.suspend(() =>
    Effect.gen({ self: this }, function* () {
      const isIn = yield* Effect.timeoutOption(Deferred.await(this.#authenticated), AUTHENTICATION_TIMEOUT)
      if (isIn._tag === "None") {
        this.finish({
          _tag: "Silent",
          detail: `no reply to the authentication within ${AUTHENTICATION_TIMEOUT}`
        })
        return yield* Effect.never
      }
      yield* this.#sending.withPermits(1)(this.#sendAll)
      this.lastBytesAt = this.#now()
      this.isStreaming = true
    })
  )

  readonly #sendAll: Effect.Effect<void> = Effect.suspend(() => {
    this.acceptsSubscriptions = true
    return Effect.andThen(
      Effect.forEach(
        this.#options.subscriptions(),
        (each) => this.#send(each.subscription, each.id, each.start),
        {
          discard: true
        }
      ),
      Effect.sync(() => this.#socket?.write(START_SESSION))
    )
  })

  /** Ends the session when nothing was heard for too long. While we do not read, nothing can be heard. */
  readonly #watch: Effect.Effect<never> = Effect.suspend(() => {
    const silent = this.#silentMillis()
    if (silent < this.#silenceMillis)
      return Effect.andThen(Effect.sleep(this.#silenceMillis - silent), this.#watch)
    // It may be us who were asleep: bytes that have come meanwhile are read first.
    return Effect.andThen(Effect.sleep(WAKING_MILLIS), this.#judgeSilence)
  })

  readonly #judgeSilence: Effect.Effect<never> = Effect.suspend(() => {
    const silent = this.#silentMillis()
    if (silent < this.#silenceMillis) return this.#watch
    const seconds = Math.round(silent / 1000)
    this.finish({
      _tag: "Silent",
      detail: `no byte for ${seconds} s, heartbeats were due: the session hangs`
    })
    return Effect.never
  })

  #silentMillis(): number {
    // A wall clock that was set back would count as hearing something until it has caught up.
    if (this.#now() < this.lastBytesAt) this.lastBytesAt = this.#now()
    return this.isPaused ? 0 : this.#now() - this.lastBytesAt
  }

  readonly #onBytes = (chunk: Uint8Array, socket: GatewaySocket): boolean => {
    if (this.#end !== undefined) return true
    this.#socket = socket
    this.lastBytesAt = this.#now()
    if (this.#isStarted && this.lastBytesAt - this.#startedAt > BEGINNING_MILLIS)
      this.#options.intake.filter.endBeginnings()
    try {
      this.#protocol.push(chunk)
      this.#drain()
    } catch (error) {
      this.#damaged(error)
    } finally {
      // Without waiting for more: what came is a batch.
      this.#options.intake.flush()
    }
    // The dialogue goes on even then: it takes no memory, and has a time limit.
    this.isPaused = this.#isStarted && this.#options.budget.isFull
    return !this.isPaused
  }

  #drain(): void {
    for (let message = this.#protocol.next(); message !== undefined; message = this.#protocol.next()) {
      this.#take(message)
      if (this.#end !== undefined) return
      const lines = this.#protocol.takeLines()
      if (lines !== "") this.#socket?.write(lines)
    }
    const lines = this.#protocol.takeLines()
    if (lines !== "") this.#socket?.write(lines)
  }

  #take(message: GatewayMessage): void {
    switch (message._tag) {
      case "Greeting":
        return
      case "Authenticated":
        this.sessionId = message.sessionId
        Deferred.doneUnsafe(this.#authenticated, Effect.void)
        return
      case "Refused":
        this.finish({ _tag: "Refused", detail: message.detail })
        return
      case "Records":
        if (!this.#isStarted && message.block.metadata !== undefined) this.#begin(message.block.metadata)
        if (this.#end === undefined) this.#options.intake.add(message.block)
    }
  }

  #begin(metadata: DbnMetadata): void {
    this.#isStarted = true
    this.#startedAt = this.#now()
    const { dataset } = this.#options.request
    if (metadata.dataset !== dataset)
      this.finish({
        _tag: "Malformed",
        detail: `the gateway sends ${metadata.dataset} where ${dataset} was asked for`
      })
    else this.#options.onStarted(metadata)
  }

  #damaged(error: unknown): void {
    const detail = withoutKey(error instanceof Error ? error.message : String(error), this.#options.key)
    if (error instanceof TradeKey.TradeKeyError)
      this.finish({ _tag: "Unusable", reason: new ProviderMalformed({ detail }) })
    else this.finish({ _tag: "Malformed", detail })
  }

  /** The other side is done; whole records before that were taken when they came. */
  #onClosed(detail: string): void {
    const phase = this.#protocol.phase
    const before = phase === "session" ? "" : ` before its ${phase}`
    this.finish({ _tag: "Closed", detail: `${detail}${before}${this.#cut()}` })
  }

  #cut(): string {
    try {
      this.#protocol.end()
      this.#protocol.next()
      return ""
    } catch {
      return " inside a record or frame, which is lost with it"
    }
  }

  #close(): void {
    this.finish(sessionOver)
    this.#protocol.close()
  }
}

const sessionOver: SessionEnd = { _tag: "Closed", detail: "the session was ended here" }
