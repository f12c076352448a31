/**
 * The same 64-byte records from one process to another by what people use instead: how many arrive in a second. Nothing is
 * decoded on arrival, which favours the alternatives.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { connect, createServer, type Server, type Socket } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Worker } from "node:worker_threads"

const recordBytes = 64
const script = (name: string): string => join(import.meta.dirname, "process", name)
const nodeOptions = ["--conditions=source", "--disable-warning=ExperimentalWarning"]

/** A way to send records, and its smallest allowed distance from the ring. */
export interface Alternative {
  readonly name: string
  /** The ring must be this many times faster; undefined: only shown. */
  readonly target: number | undefined
  /** Why it cannot be measured here. */
  readonly skip: string | undefined
  /** Records per second, measured for so long. `dir` is for sockets. */
  readonly rate: (dir: string, millis: number) => Promise<number>
}

const sender = (args: ReadonlyArray<string>, ipc = false): ChildProcess =>
  spawn(process.execPath, [...nodeOptions, script("sender.ts"), ...args], {
    stdio: ["pipe", "pipe", "inherit", ...(ipc ? (["ipc"] as const) : [])],
    serialization: "advanced"
  })

const stop = async (child: ChildProcess): Promise<void> => {
  const exited = once(child, "exit")
  child.kill("SIGKILL")
  await exited
}

/** Waits for the first record, then counts for so long. `count` answers with the bytes so far. */
const measured = async (count: () => number, millis: number): Promise<number> => {
  while (count() === 0) await sleep(1)
  const [before, start] = [count(), performance.now()]
  await sleep(millis)
  return ((count() - before) / recordBytes / (performance.now() - start)) * 1_000
}

const closed = (server: Server): Promise<unknown> => {
  const done = once(server, "close")
  server.close()
  return done
}

const throughSocket =
  (perWrite: number) =>
  async (dir: string, millis: number): Promise<number> => {
    const path = join(dir, `socket-${perWrite}`)
    let bytes = 0
    const server = createServer((socket: Socket) => {
      socket.on("error", () => {}) // the sender is killed
      socket.on("data", (data) => {
        bytes += data.length
      })
    })
    server.listen(path)
    await once(server, "listening")
    const child = sender(["socket", path, String(perWrite)])
    const rate = await measured(() => bytes, millis)
    await stop(child)
    await closed(server)
    return rate
  }

/** Buffers go to and fro, so that the sender allocates nothing. */
const throughWorker = async (_: string, millis: number): Promise<number> => {
  let bytes = 0
  const worker = new Worker(script("worker.ts"), {
    execArgv: [...nodeOptions],
    workerData: 256 * recordBytes
  })
  worker.on("message", (buffer: ArrayBuffer) => {
    bytes += buffer.byteLength
    worker.postMessage(buffer, [buffer])
  })
  const rate = await measured(() => bytes, millis)
  await worker.terminate()
  return rate
}

const throughIpc = async (_: string, millis: number): Promise<number> => {
  let bytes = 0
  const child = sender(["ipc", "", "256"], true)
  child.on("message", (message: Uint8Array) => {
    bytes += message.byteLength
  })
  const rate = await measured(() => bytes, millis)
  await stop(child)
  return rate
}

// ---------------------------------------------------------------------------------------------------------------------
// NATS, by its own protocol on a plain socket: less work per message than any client library does

const natsServer = ["nats-server", "/usr/sbin/nats-server", "/usr/local/bin/nats-server"].find(
  (file) => spawnSync(file, ["--version"]).error === undefined
)

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  await closed(server)
  return typeof address === "object" && address !== null ? address.port : 0
}

const connected = async (port: number): Promise<Socket> => {
  for (let tries = 0; ; tries++) {
    const socket = connect(port, "127.0.0.1")
    try {
      await once(socket, "connect")
      return socket
    } catch (error) {
      if (tries > 200) throw error
      await sleep(20)
    }
  }
}

const throughNats =
  (perMessage: number) =>
  async (_: string, millis: number): Promise<number> => {
    const port = await freePort()
    const server = spawn(natsServer!, ["-a", "127.0.0.1", "-p", String(port)], { stdio: "ignore" })
    const socket = await connected(port)
    // Of each message only the payload counts: its header line is a constant length for a constant size.
    const header = `MSG t 1 ${perMessage * recordBytes}\r\n`.length + 2
    const message = header + perMessage * recordBytes
    let bytes = 0
    socket.on("data", (data) => {
      if (data.toString("latin1", 0, 5) === "PING\r") socket.write("PONG\r\n")
      bytes += data.length
    })
    socket.write('CONNECT {"verbose":false}\r\nSUB t 1\r\nPING\r\n')
    await sleep(100)
    bytes = 0
    const child = sender(["nats", String(port), String(perMessage)])
    const rate = await measured(() => bytes, millis)
    await stop(child)
    socket.destroy()
    await stop(server)
    return (rate * perMessage * recordBytes) / message
  }

const withoutNats =
  natsServer === undefined ? "there is no nats-server here (Debian: apt-get install nats-server)" : undefined

/** Everything the ring is measured against. */
export const alternatives: ReadonlyArray<Alternative> = [
  { name: "Unix socket, 256 per write", target: 5, skip: undefined, rate: throughSocket(256) },
  { name: "Unix socket, one per write", target: 40, skip: undefined, rate: throughSocket(1) },
  {
    name: "worker_threads, 256 per transfer",
    target: undefined,
    skip: undefined,
    rate: throughWorker
  },
  { name: "child process IPC, 256 per message", target: undefined, skip: undefined, rate: throughIpc },
  { name: "NATS, 256 per message", target: 10, skip: withoutNats, rate: throughNats(256) },
  { name: "NATS, one per message", target: undefined, skip: withoutNats, rate: throughNats(1) }
]
