/** A gateway on 127.0.0.1 that does what a test tells it, connection by connection. */
import { createServer, type Server, type Socket } from "node:net"
import { Effect, type Scope } from "effect"
import { challengeReply } from "../../src/ApiKey.ts"
import { controlFields } from "../../src/live/LiveProtocol.ts"
import { KEY } from "./Tape.ts"

const CHALLENGE = "t7kNhwj4xqR0QYjzFKtBEG2ec2pXJ4FK"

/** One connection, seen from the gateway. */
export class Connection {
  readonly #socket: Socket
  #text = ""
  #wake: () => void = () => {}
  closed = false
  /** Every line that came, for checks. */
  readonly lines: Array<string> = []

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on("data", (data) => {
      this.#text += data.toString("latin1")
      this.#wake()
    })
    socket.on("error", () => {})
    socket.on("close", () => {
      this.closed = true
      this.#wake()
    })
  }

  /** The next line; undefined once the client has gone. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#text.indexOf("\n")
      if (end >= 0) {
        const line = this.#text.slice(0, end)
        this.#text = this.#text.slice(end + 1)
        this.lines.push(line)
        return line
      }
      if (this.closed) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Writes and waits until the bytes have left. */
  write(bytes: Uint8Array | string): Promise<void> {
    return new Promise((resolve) => {
      if (this.closed) resolve()
      else this.#socket.write(bytes, () => resolve())
    })
  }

  end(): void {
    this.#socket.end()
  }

  reset(): void {
    this.#socket.resetAndDestroy()
  }

  async untilClosed(): Promise<void> {
    while (!this.closed)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
  }

  /** Greeting to authentication; the fields of the client's answer. */
  async authenticate(reply = "success=1|session_id=17\n"): Promise<ReadonlyMap<string, string>> {
    await this.write(`lsg_version=0.9.4\ncram=${CHALLENGE}\n`)
    const fields = controlFields((await this.line()) ?? "")
    const isRight = fields.get("auth") === challengeReply(CHALLENGE, KEY)
    await this.write(isRight ? reply : "success=0|error=Authentication failed.\n")
    return fields
  }

  /** Subscriptions up to the start of the session. */
  async subscriptions(): Promise<ReadonlyArray<ReadonlyMap<string, string>>> {
    const all: Array<ReadonlyMap<string, string>> = []
    for (
      let line = await this.line();
      line !== undefined && !line.startsWith("start_session");
      line = await this.line()
    )
      all.push(controlFields(line))
    return all
  }
}

export interface ScriptedGateway {
  readonly port: number
  readonly connections: Array<Connection>
}

/** A gateway that runs `script` for each connection, numbered from 0. */
export const scriptedGateway = (
  script: (connection: Connection, number: number) => Promise<void>
): Effect.Effect<ScriptedGateway, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(
      () =>
        new Promise<{ server: Server; gateway: ScriptedGateway; sockets: Set<Socket> }>((resolve) => {
          const connections: Array<Connection> = []
          const sockets = new Set<Socket>()
          const server = createServer((socket) => {
            socket.setNoDelay(true)
            sockets.add(socket)
            const connection = new Connection(socket)
            connections.push(connection)
            void script(connection, connections.length - 1)
          })
          server.listen(0, "127.0.0.1", () =>
            resolve({
              server,
              sockets,
              gateway: { port: (server.address() as { port: number }).port, connections }
            })
          )
        })
    ),
    ({ server, sockets }) =>
      Effect.promise(
        () =>
          new Promise<void>((resolve) => {
            for (const socket of sockets) socket.destroy()
            server.close(() => resolve())
          })
      )
  ).pipe(Effect.map(({ gateway }) => gateway))
