/** Servers on loopback that live as long as a scope. */
import type { Server, Socket } from "node:net"
import { Effect, type Scope } from "effect"
import { SimulatorError } from "./SimulatorError.ts"

/** Loopback only: a simulator is nobody else's business. */
export const HOST = "127.0.0.1"

/** A server that listens. */
export interface Listener<S extends Server> {
  readonly server: S
  readonly port: number
  readonly sockets: ReadonlySet<Socket>
}

/** Makes a server and binds it; at the end of the scope it is closed and its connections are cut. */
export const listen = <S extends Server>(
  what: string,
  make: () => S,
  port: number
): Effect.Effect<Listener<S>, SimulatorError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Listener<S>, SimulatorError>((resume) => {
      const server = make()
      const sockets = new Set<Socket>()
      server.on("connection", (socket) => {
        sockets.add(socket)
        socket.once("close", () => sockets.delete(socket))
      })
      const failed = (cause: Error): void =>
        resume(
          Effect.fail(
            new SimulatorError({ operation: `${what} on port ${port}`, detail: cause.message, cause })
          )
        )
      server.once("error", failed)
      server.listen({ port, host: HOST }, () => {
        server.off("error", failed)
        const address = server.address()
        const bound = typeof address === "object" ? (address?.port ?? port) : port
        resume(Effect.succeed({ server, port: bound, sockets }))
      })
    }),
    ({ server, sockets }) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
  )
