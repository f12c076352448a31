/**
 * A TCP connection whose bytes are read into one buffer and handed over by a plain call: no allocation, promise or Effect
 * per chunk. (`effect/socket` costs several times as much per byte, see `live.bench.ts`.)
 */
import { connect, type LookupFunction, type Socket } from "node:net"
import { Deferred, Effect, type Scope } from "effect"

/** Bytes read at a time, and so the size of the batches of a busy session. */
export const READ_BYTES = 256 * 1024
/** Official clients wait as long. */
const CONNECT_TIMEOUT = "10 seconds"
/** For one of several addresses, before the next one is tried. */
const ADDRESS_TIMEOUT_MILLIS = 3000

/** Resolves a host to all of its addresses, as `dns.lookup` does. */
export type LookupHost = (
  host: string,
  options: object,
  done: (
    error: Error | null,
    addresses: ReadonlyArray<{ readonly address: string; readonly family: number }>
  ) => void
) => void

/** Where to connect. */
export interface GatewayAddress {
  readonly host: string
  readonly port: number
  /** Resolves the host; default: the system's resolver. All addresses that it gives are tried in turn. */
  readonly lookup?: LookupHost | undefined
}

/** How a connection ended. `code` is the system's (`ECONNRESET`, `ENOTFOUND`); absent where the other side closed. */
export interface SocketEnd {
  readonly code?: string | undefined
  readonly detail: string
}

/**
 * Takes a chunk; the memory is reused when it returns. After false nothing comes until `resume`.
 */
export type OnBytes = (chunk: Uint8Array, socket: GatewaySocket) => boolean

/** A connection. */
export interface GatewaySocket {
  /** Writes text; what is written before a close may be lost. */
  readonly write: (text: string) => void
  /** Goes on after `onBytes` said false. */
  readonly resume: () => void
  /** Completes when nothing more will come. */
  readonly ended: Effect.Effect<SocketEnd>
}

const endOf = (error: Error & { readonly code?: string }): SocketEnd => {
  // An error of several addresses tells of each.
  const all = error instanceof AggregateError ? (error.errors as ReadonlyArray<Error>) : [error]
  return { code: error.code, detail: all.map((each) => each.message).join("; ") }
}

/** Connects. Leaving the scope closes the connection at once. Fails with how it ended, where it never opened. */
export const connectGateway = (
  address: GatewayAddress,
  onBytes: OnBytes
): Effect.Effect<GatewaySocket, SocketEnd, Scope.Scope> =>
  Effect.gen(function* () {
    const ended = Deferred.makeUnsafe<SocketEnd>()
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => open(address, onBytes, ended)),
      ({ tcp }) => Effect.sync(() => tcp.destroy())
    )
    const connected = Effect.callback<void>((resume) => {
      socket.tcp.once("connect", () => resume(Effect.void))
    })
    yield* Effect.raceFirst(connected, Effect.flatMap(socket.ended, Effect.fail)).pipe(
      Effect.timeoutOrElse({
        duration: CONNECT_TIMEOUT,
        orElse: () => Effect.fail({ code: "ETIMEDOUT", detail: `no connection within ${CONNECT_TIMEOUT}` })
      })
    )
    return socket
  })

const open = (
  address: GatewayAddress,
  onBytes: OnBytes,
  ended: Deferred.Deferred<SocketEnd>
): GatewaySocket & { readonly tcp: Socket } => {
  const finish = (end: SocketEnd): void => void Deferred.doneUnsafe(ended, Effect.succeed(end))
  const tcp: Socket = connect({
    host: address.host,
    port: address.port,
    noDelay: true,
    keepAlive: true,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MILLIS,
    ...(address.lookup === undefined ? {} : { lookup: address.lookup as LookupFunction }),
    onread: {
      buffer: new Uint8Array(READ_BYTES),
      callback: (length, buffer) => onBytes(buffer.subarray(0, length), socket)
    }
  })
  const socket: GatewaySocket & { readonly tcp: Socket } = {
    tcp,
    write: (text: string) => void tcp.write(text),
    resume: () => void tcp.resume(),
    ended: Deferred.await(ended)
  }
  tcp.on("error", (error) => finish(endOf(error)))
  tcp.on("end", () => finish({ detail: "the gateway closed the connection" }))
  tcp.on("close", () => finish({ detail: "the connection was closed" }))
  return socket
}
