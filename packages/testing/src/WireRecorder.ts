/**
 * Writes a dialogue down: a proxy on this machine between a client and a real service. What is secret does not get into the
 * transcript: where the client said it, the transcript has a pattern; where the server did, as many `x`.
 */
import { connect, createServer, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import { Deferred, Effect, type Scope } from "effect"
import { merged, type WireStep, type WireTranscript } from "./WireTranscript.ts"

/** Between whom. */
export interface RecorderOptions {
  /** The service. */
  readonly host: string
  readonly port: number
  /** The service speaks TLS; the client speaks without it. `ca`: an authority to trust beside the system's. */
  readonly tls?: boolean | { readonly ca: string } | undefined
  /** Texts that must not be written down, such as keys. */
  readonly secrets?: ReadonlyArray<string> | undefined
}

/** A recorder of one connection. */
export interface Recorder {
  /** Where the client has to connect to, on 127.0.0.1. */
  readonly port: number
  /** The dialogue, once both sides have closed. */
  readonly transcript: Effect.Effect<WireTranscript>
}

/** Listens for one connection until the scope closes. */
export const make = (options: RecorderOptions): Effect.Effect<Recorder, never, Scope.Scope> =>
  Effect.gen(function* () {
    const steps: Array<WireStep> = []
    const sockets = new Set<Socket>()
    const done = Deferred.makeUnsafe<WireTranscript>()
    const server = createServer((client) => {
      server.close()
      const service = reach(options)
      for (const socket of [client, service]) sockets.add(socket.setNoDelay(true))
      let open = 2
      const closed = (): void => {
        open -= 1
        if (open === 0)
          void Deferred.doneUnsafe(
            done,
            Effect.succeed({ steps: redacted(merged(steps), options.secrets ?? []) })
          )
      }
      follow("client", client, service, steps, closed)
      follow("server", service, client, steps, closed)
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.sync(() => {
          for (const socket of sockets) socket.destroy()
          server.close()
        })
    )
    const { port } = server.address() as { readonly port: number }
    return { port, transcript: Deferred.await(done) }
  })

const reach = ({ host, port, tls = false }: RecorderOptions): Socket =>
  tls === false ? connect({ host, port }) : connectTls({ host, port, ...(tls === true ? {} : tls) })

/** Writes down what one side says and does, and tells it to the other. */
const follow = (
  from: "client" | "server",
  socket: Socket,
  other: Socket,
  steps: Array<WireStep>,
  onClose: () => void
): void => {
  let hasEnded = false
  const end = (how: "close" | "reset"): void => {
    if (hasEnded) return
    hasEnded = true
    steps.push({ from, end: how })
    if (how === "close") other.end()
    else other.resetAndDestroy()
  }
  socket.on("data", (bytes: Uint8Array) => {
    steps.push({ from, bytes: Uint8Array.from(bytes) })
    // What one side does not read the other must not have to keep in this process.
    if (!other.write(bytes)) socket.pause()
  })
  other.on("drain", () => socket.resume())
  socket.on("end", () => end("close"))
  socket.on("error", () => end("reset"))
  socket.once("close", () => {
    end("close")
    onClose()
  })
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1")

const literally = (text: string): string =>
  text
    .replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")
    .replace(/\n/g, "\\n")
    .replace(/\r/g, "\\r")
    .replace(/[^\x20-\x7e]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`)

/** Without what is secret. */
const redacted = (
  steps: ReadonlyArray<WireStep>,
  secrets: ReadonlyArray<string>
): ReadonlyArray<WireStep> => {
  const texts = secrets.filter((secret) => secret !== "").map((secret) => latin1(Buffer.from(secret)))
  return steps.map((step) => {
    if (!("bytes" in step)) return step
    const text = latin1(step.bytes)
    const found = texts.filter((secret) => text.includes(secret))
    if (found.length === 0) return step
    // The longest first: one secret may be a part of another.
    found.sort((a, b) => b.length - a.length)
    if (step.from === "client") {
      const source = found.reduce(
        (rest, secret) => rest.replaceAll(literally(secret), "[^\\r\\n]*?"),
        literally(text)
      )
      return { from: "client", pattern: new RegExp(source, "y") }
    }
    const hidden = found.reduce((rest, secret) => rest.replaceAll(secret, "x".repeat(secret.length)), text)
    return { from: "server", bytes: Uint8Array.from(Buffer.from(hidden, "latin1")) }
  })
}
