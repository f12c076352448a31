/**
 * Live trades over TCP: sessions that are made again however they end. What to ask for, and what was missed, is the business of
 * `AcmeFeed`; here are the socket, the clock and the errors.
 */
import { connect, type Socket } from "node:net"
import {
  ProviderDisconnected,
  type ProviderError,
  type ProviderEvent,
  type ProviderHealth
} from "@data-manager/core"
import { Clock, Effect, type Redacted, Schedule, type Scope, Stream } from "effect"
import type { AcmeApi } from "./AcmeApi.ts"
import { AcmeFeed } from "./AcmeFeed.ts"
import type { Opened } from "./AcmeRequest.ts"

/** Where the gateway is. */
export interface LiveAddress {
  readonly host: string
  readonly port: number
}

/** A heartbeat comes each second; after this time without a byte the connection is dead, whatever the socket says. */
const Silence = "10 seconds"

/** Half a second, doubled up to half a minute; from the beginning again after a session that gave something. */
const backoff = Schedule.jittered(
  Schedule.min([Schedule.exponential("500 millis"), Schedule.spaced("30 seconds")])
)

/** Live streams of one provider. */
export class AcmeLive {
  readonly #api: AcmeApi
  readonly #id: string
  readonly #key: Redacted.Redacted<string>
  readonly #address: LiveAddress
  #streams = 0
  #sessions = 0
  #reconnects = 0
  #lastDataAt: bigint | undefined

  constructor(api: AcmeApi, id: string, key: Redacted.Redacted<string>, address: LiveAddress) {
    this.#api = api
    this.#id = id
    this.#key = key
    this.#address = address
  }

  readonly health: Effect.Effect<ProviderHealth> = Effect.sync(() => ({
    state: this.#streams === 0 ? "idle" : this.#sessions === this.#streams ? "healthy" : "degraded",
    lastDataAt: this.#lastDataAt,
    reconnects: this.#reconnects,
    detail: `${this.#sessions} of ${this.#streams} live streams are connected`
  }))

  /** Trades until interrupted, from now on or from a time on. */
  trades(opened: Opened, from: bigint | undefined): Stream.Stream<ProviderEvent, ProviderError> {
    return Stream.unwrap(
      Effect.gen({ self: this }, function* (this: AcmeLive) {
        yield* this.#count((by) => (this.#streams += by))
        const feed = new AcmeFeed(this.#id, this.#key, opened.instruments, from)
        return Stream.retry(
          Stream.suspend(() => this.#session(feed)),
          ($) => Schedule.while($(backoff), ({ input }) => this.#isWorthRepeating(input))
        )
      })
    )
  }

  #count(change: (by: number) => void): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => change(1)),
      () => Effect.sync(() => change(-1))
    )
  }

  #isWorthRepeating(error: ProviderError): Effect.Effect<boolean> {
    if (!error.isRetryable) return Effect.succeed(false)
    this.#reconnects += 1
    return Effect.as(Effect.logWarning(`${error.message}; connecting again`), true)
  }

  /** One session. It never ends well: the stream above it decides whether there is another one. */
  #session(feed: AcmeFeed): Stream.Stream<ProviderEvent, ProviderError> {
    const failure = (detail: string) => this.#api.failure("live", new ProviderDisconnected({ detail }))
    return Stream.unwrap(
      Effect.gen({ self: this }, function* (this: AcmeLive) {
        const socket = yield* Effect.mapError(open(this.#address), failure)
        yield* this.#count((by) => (this.#sessions += by))
        feed.begin()
        const receive = Effect.fnUntraced({ self: this }, function* (this: AcmeLive, chunk: Uint8Array) {
          const { events, refusal, replies } = yield* this.#api.attempt("live", () => feed.receive(chunk))
          if (refusal !== undefined) return yield* this.#api.failure("live", refusal)
          for (const reply of replies) socket.write(`${JSON.stringify(reply)}\n`)
          if (events.length > 0) this.#lastDataAt = yield* Clock.currentTimeNanos
          return events
        })
        return Stream.fromEffectRepeat(Effect.mapError(nextChunk(socket), failure)).pipe(
          Stream.timeoutOrElse({
            duration: Silence,
            orElse: () => Stream.fail(failure(`nothing came for ${Silence}`))
          }),
          Stream.mapEffect(receive),
          Stream.flattenIterable
        )
      })
    )
  }
}

/** A connection that closes with the scope; fails with what the system says. */
const open = ({ host, port }: LiveAddress): Effect.Effect<Socket, string, Scope.Scope> =>
  Effect.gen(function* () {
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => connect({ host, port, noDelay: true })),
      (opened) => Effect.sync(() => opened.destroy())
    )
    const connected = Effect.callback<void, string>((resume) => {
      socket.once("connect", () => resume(Effect.void))
      // It stays for the whole life of the socket, which tells its failures to whoever reads next.
      socket.on("error", (error) => resume(Effect.fail(error.message)))
    })
    yield* Effect.timeoutOrElse(connected, {
      duration: "10 seconds",
      orElse: () => Effect.fail(`${host}:${port} does not answer`)
    })
    return socket
  })

/** What has arrived, or what comes next. Nothing is read that nobody asks for: a slow reader slows the gateway down. */
const nextChunk = (socket: Socket): Effect.Effect<Uint8Array, string> =>
  Effect.callback<Uint8Array, string>((resume) => {
    const events = ["readable", "end", "close"] as const
    const leave = (): void => {
      for (const event of events) socket.off(event, look)
    }
    const finish = (result: Effect.Effect<Uint8Array, string>): void => {
      leave()
      resume(result)
    }
    const look = (): void => {
      const chunk: Uint8Array | null = socket.read()
      if (chunk !== null) finish(Effect.succeed(chunk))
      else if (socket.errored) finish(Effect.fail(socket.errored.message))
      else if (socket.readableEnded || socket.destroyed) finish(Effect.fail("the gateway ended the session"))
    }
    for (const event of events) socket.on(event, look)
    look()
    return Effect.sync(leave)
  })
