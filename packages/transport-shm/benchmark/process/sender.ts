// The other process of the benchmarks. argv: what, directory or path, name or rows per write. "go" on stdin starts it.
import { once } from "node:events"
import { connect } from "node:net"
import { RingWriter } from "@data-manager/transport-shm"
import { contextOf, trades } from "../../test/TestBatch.ts"

// Whoever measured is gone: nobody would end this process.
process.stdin.on("close", () => process.exit(0)).resume()

const [what, at, detail] = process.argv.slice(2) as [string, string, string]
const context = contextOf(64)

const ring = async (): Promise<void> => {
  const writer = new RingWriter({ dir: at, name: detail, capacity: 1 << 20 })
  const tape = Array.from({ length: 64 }, (_, k) => trades(context, 64, k * 256, 256))
  process.stdout.write("ready\n")
  await once(process.stdin, "data")
  for (let k = 0; ; k++) {
    writer.publish(tape[k & 63]!)
    if ((k & 4095) === 0) await new Promise((resolve) => setImmediate(resolve))
  }
}

const latency = async (): Promise<void> => {
  const writer = new RingWriter({ dir: at, name: detail, capacity: 1 << 16 })
  process.stdout.write("ready\n")
  await once(process.stdin, "data")
  const batch = trades(context, 64, 0, 1)
  for (;;) {
    const until = performance.now() + 0.5
    while (performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 0))
    batch.columns.tsEvent[0] = process.hrtime.bigint()
    writer.publish(batch)
  }
}

const socket = async (): Promise<void> => {
  const to = connect(at)
  const frame = Buffer.alloc(64 * Number(detail), 1)
  await once(to, "connect")
  for (;;) if (!to.write(frame)) await once(to, "drain")
}

const ipc = async (): Promise<void> => {
  const records = Buffer.alloc(64 * Number(detail), 1)
  for (;;) {
    const sent = new Promise((resolve) => process.send!(records, resolve))
    // A few messages under way at a time, as a careful program would.
    for (let k = 1; k < 16; k++) process.send!(records)
    await sent
  }
}

const nats = async (): Promise<void> => {
  const to = connect(Number(at), "127.0.0.1")
  await once(to, "connect")
  to.on("data", (data) => {
    if (data.includes("PING\r\n")) to.write("PONG\r\n")
  })
  to.write('CONNECT {"verbose":false}\r\n')
  const payload = Buffer.alloc(64 * Number(detail), 1)
  const message = Buffer.concat([Buffer.from(`PUB t ${payload.length}\r\n`), payload, Buffer.from("\r\n")])
  // Single messages leave in groups, as a client library sends them.
  const frame = Buffer.concat(Array.from({ length: Number(detail) === 1 ? 64 : 1 }, () => message))
  for (;;) if (!to.write(frame)) await once(to, "drain")
}

await { ring, latency, socket, ipc, nats }[what]!()
