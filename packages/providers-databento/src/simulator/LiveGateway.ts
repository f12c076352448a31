/** The live gateway: raw TCP on loopback, one fiber per connection around a `GatewaySession`. */
import * as net from "node:net"
import { Clock, Effect, FiberSet, Latch, type Scope } from "effect"
import type { DbnVersion } from "../dbn/Layout.ts"
import type { Catalogue } from "./Catalogue.ts"
import { newChallenge } from "./ChallengeCheck.ts"
import { GatewaySession, type SentStretch } from "./GatewaySession.ts"
import { listen } from "./Listener.ts"
import { faultOf, type LiveFault, LiveFaults } from "./LiveFault.ts"
import { type MarketClock, PrivateMarket, SharedMarket } from "./MarketClock.ts"
import type { SimulatorError } from "./SimulatorError.ts"

/** Settings of a live gateway. */
export interface LiveGatewayOptions {
  /** Default 0: any free one. */
  readonly port?: number | undefined
  /** Live records per second and session; absent: as fast as the client reads. Replays are never slowed down. */
  readonly rate?: number | undefined
  /** DBN version that is spoken; default 3. */
  readonly version?: DbnVersion | undefined
  /** Time, ns since the epoch, at which the market is when the first session starts; default the first record's. */
  readonly liveFrom?: bigint | undefined
  /**
   * `private` (default): every session has the market for itself and sees everything from `liveFrom` on. `shared`: a
   * session starts where the furthest one was, so that a reconnecting client has a gap to fill by replay.
   */
  readonly market?: "private" | "shared" | undefined
  /** What happens behind the last record: `idle` (default) sends heartbeats for ever, `close` ends the session. */
  readonly atEnd?: "idle" | "close" | undefined
  /** New connections per second; more are closed at once, as the vendor does. Default 5. */
  readonly connectionsPerSecond?: number | undefined
  /** Sessions at a time; more get error 3. Default 10. */
  readonly maxSessions?: number | undefined
  /** Told of each stretch of an endless market as it is sent. */
  readonly onSent?: ((sent: SentStretch) => void) | undefined
}

/** A running gateway. */
export interface LiveGateway {
  readonly port: number
  /** What goes wrong in the sessions to come. */
  readonly faults: LiveFaults
  /** Where the market is. */
  readonly market: MarketClock
  /** Connections that are open. */
  readonly connections: () => number
  /** Connections accepted since the start, refused ones included. */
  readonly accepted: () => number
}

const SECOND = 1_000_000_000n

/** Starts a gateway that ends with its scope, its sessions with it. */
export const makeLiveGateway = (
  catalogue: Catalogue,
  key: string,
  options: LiveGatewayOptions = {}
): Effect.Effect<LiveGateway, SimulatorError, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const faults = new LiveFaults()
    const market =
      options.market === "shared" ? new SharedMarket(options.liveFrom) : new PrivateMarket(options.liveFrom)
    const run = yield* FiberSet.makeRuntime()
    const recent: Array<bigint> = []
    let accepted = 0
    let sessions = 0
    const isTooFast = (now: bigint): boolean => {
      while (recent.length > 0 && now - recent[0]! >= SECOND) recent.shift()
      recent.push(now)
      return recent.length > (options.connectionsPerSecond ?? 5)
    }
    const accept = (socket: net.Socket): void => {
      const now = clock.currentTimeNanosUnsafe()
      const own = faults.take()
      accepted += 1
      socket.on("error", () => {})
      if (isTooFast(now) || faultOf(own, "refuse") !== undefined) {
        socket.destroy()
        return
      }
      sessions += 1
      socket.on("close", () => {
        sessions -= 1
      })
      const session = new GatewaySession({
        catalogue,
        key,
        challenge: newChallenge(),
        sessionId: String(1_700_000_000 + accepted),
        market,
        rate: options.rate,
        version: options.version ?? 3,
        atEnd: options.atEnd ?? "idle",
        faults: own,
        isExcess: sessions > (options.maxSessions ?? 10),
        now
      })
      run(serve(socket, session, own, options.onSent))
    }
    const server = yield* listen(
      "live gateway",
      () => net.createServer({ noDelay: true, allowHalfOpen: true }, accept),
      options.port ?? 0
    )
    return { port: server.port, faults, market, connections: () => sessions, accepted: () => accepted }
  })

/** Runs one connection until either side ends it. */
const serve = (
  socket: net.Socket,
  session: GatewaySession,
  faults: ReadonlyArray<LiveFault>,
  onSent?: (sent: SentStretch) => void
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const wake = Latch.makeUnsafe(true)
    const open = (): void => void wake.openUnsafe()
    socket.on("data", (chunk: Uint8Array) => {
      session.receive(chunk)
      open()
    })
    socket.on("end", () => {
      session.endInput()
      open()
    })
    socket.on("drain", open)
    socket.on("close", open)
    while (!socket.destroyed) {
      wake.closeUnsafe()
      const turn = session.step(yield* Clock.currentTimeNanos, socket.writableLength)
      if (onSent !== undefined) turn.stretches.forEach(onSent)
      yield* write(socket, turn.chunks, faults)
      if (turn.end === "reset") return yield* Effect.sync(() => void socket.resetAndDestroy())
      if (turn.end === "close") return yield* finish(socket)
      if (turn.wait === 0) yield* breathe
      else if (turn.wait === undefined) yield* wake.await
      else yield* Effect.raceFirst(wake.await, Effect.sleep(turn.wait))
    }
  }).pipe(
    Effect.ensuring(
      Effect.sync(() => {
        session.dispose()
        socket.destroy()
      })
    )
  )

/** Lets sockets and timers have their turn. */
const breathe: Effect.Effect<void> = Effect.callback<void>((resume) => {
  const handle = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(handle))
})

/** Waits until a write was taken by the system, or the connection is gone. */
const writeOut = (socket: net.Socket, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    const done = (): void => resume(Effect.void)
    socket.once("close", done)
    socket.write(bytes, () => {
      socket.off("close", done)
      done()
    })
  })

const write = (
  socket: net.Socket,
  chunks: ReadonlyArray<Uint8Array>,
  faults: ReadonlyArray<LiveFault>
): Effect.Effect<void> => {
  if (chunks.length === 0) return Effect.void
  const delay = faultOf(faults, "delay")
  const split = faultOf(faults, "split")
  const plain = Effect.sync(() => {
    socket.cork()
    for (const chunk of chunks) socket.write(chunk)
    socket.uncork()
  })
  const written = split === undefined ? plain : writeSplit(socket, chunks, split.bytes)
  return delay === undefined ? written : Effect.andThen(Effect.sleep(delay.millis), written)
}

/** Writes piece by piece, each in a packet of its own as far as the system allows. */
const writeSplit = (
  socket: net.Socket,
  chunks: ReadonlyArray<Uint8Array>,
  size: number
): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (const chunk of chunks)
      for (let at = 0; at < chunk.length && !socket.destroyed; at += size) {
        yield* writeOut(socket, chunk.subarray(at, at + size))
        yield* breathe
      }
  })

/** Ends in order: everything written is delivered, then FIN. Waits a while for the client's. */
const finish = (socket: net.Socket): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    socket.once("close", () => resume(Effect.void))
    socket.resume()
    socket.end()
    if (socket.destroyed) resume(Effect.void)
  }).pipe(Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => Effect.void }))
