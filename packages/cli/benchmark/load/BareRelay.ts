/**
 * What two hops between processes cost on a machine when nothing is done with the bytes: a sender writes a piece every
 * millisecond, a relay writes what it reads to the next process, and that one takes the time. argv: one of these roles as JSON.
 */
import { connect, createServer, type Socket } from "node:net"

/** What a process does; `bytes` of a piece. */
export type RelayRole =
  | { readonly role: "send"; readonly bytes: number }
  | { readonly role: "relay"; readonly port: number; readonly path: string }
  | { readonly role: "receive"; readonly bytes: number; readonly path: string }

process.stdin.on("close", () => process.exit(0)).resume()

const role: RelayRole = JSON.parse(process.argv[2]!)
const say = (line: unknown, done = () => {}): void =>
  void process.stdout.write(`${JSON.stringify(line)}\n`, done)

/** Says its port; writes pieces that begin with the time of their writing. */
const send = (bytes: number): void => {
  const start = (socket: Socket): void => {
    const tick = (): void => {
      const piece = Buffer.alloc(bytes)
      piece.writeBigUInt64LE(process.hrtime.bigint())
      socket.write(piece)
      setTimeout(tick, 1)
    }
    socket.on("error", () => process.exit(0))
    tick()
  }
  const server = createServer({ noDelay: true }, start)
  server.listen(0, "127.0.0.1", () => say(server.address()))
}

const relay = (port: number, path: string): void => {
  const onward = connect(path, () => say("ready"))
  const buffer = new Uint8Array(256 * 1024)
  const callback = (length: number): boolean => {
    onward.write(buffer.slice(0, length))
    return true
  }
  connect({ host: "127.0.0.1", port, noDelay: true, onread: { buffer, callback } })
}

/** Says, for the signal to end, how long each piece was on its way, ns. */
const receive = (bytes: number, path: string): void => {
  const took: Array<number> = []
  const take = (socket: Socket): void => {
    let rest: Buffer = Buffer.alloc(0)
    socket.on("data", (chunk: Buffer) => {
      const now = process.hrtime.bigint()
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      for (; rest.length >= bytes; rest = rest.subarray(bytes))
        took.push(Number(now - rest.readBigUInt64LE()))
    })
  }
  createServer(take).listen(path, () => say("ready"))
  process.on("SIGTERM", () => say(took, () => process.exit(0)))
}

if (role.role === "send") send(role.bytes)
else if (role.role === "relay") relay(role.port, role.path)
else receive(role.bytes, role.path)
