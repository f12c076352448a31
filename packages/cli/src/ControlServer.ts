/** The HTTP server under a control plane: Node's, on a TCP port or a Unix socket. Requests are small, and so is their time. */
import { mkdirSync, rmSync, statSync } from "node:fs"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { connect, type ListenOptions } from "node:net"
import { dirname } from "node:path"
import { Effect, type Scope } from "effect"

/** Answers a request. */
export type Handler = (request: Request) => Promise<Response>

/** Larger requests are refused: no order is near to it. */
const LargestBody = 65_536
/** Most connections at the same time. */
const MostConnections = 64
/** Time that requests under way have at the end. */
const Grace = 500

/** The body of a request; undefined where it is too large. */
const bodyOf = async (request: IncomingMessage): Promise<Buffer | undefined> => {
  const parts: Array<Buffer> = []
  let size = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length
    if (size > LargestBody) return undefined
    parts.push(part)
  }
  return Buffer.concat(parts)
}

const headersOf = ({ rawHeaders }: IncomingMessage): Headers => {
  const headers = new Headers()
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!)
  return headers
}

const answer = async (
  handler: Handler,
  request: IncomingMessage,
  response: ServerResponse
): Promise<void> => {
  const { method = "GET", url = "/" } = request
  const body = method === "GET" || method === "HEAD" ? undefined : await bodyOf(request)
  if (body === undefined && method !== "GET" && method !== "HEAD") {
    response.writeHead(413, { connection: "close" }).end()
    return
  }
  const aborted = new AbortController()
  response.once("close", () => aborted.abort())
  const given = await handler(
    new Request(new URL(url, "http://control"), {
      method,
      headers: headersOf(request),
      signal: aborted.signal,
      ...(body === undefined || body.length === 0 ? {} : { body })
    })
  )
  const content = Buffer.from(await given.arrayBuffer())
  response.writeHead(given.status, Object.fromEntries(given.headers)).end(content)
}

const serverOf = (handler: Handler): Server => {
  const server = createServer(
    {
      requestTimeout: 10_000,
      headersTimeout: 10_000,
      connectionsCheckingInterval: 5_000,
      maxHeaderSize: 16_384
    },
    (request, response) => {
      // What cannot be answered is a client that is gone, or a request that makes no sense.
      answer(handler, request, response).catch(() => {
        if (response.headersSent) response.destroy()
        else response.writeHead(400, { connection: "close" }).end()
      })
    }
  )
  server.maxConnections = MostConnections
  return server
}

const listen = (server: Server, options: ListenOptions): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    server.once("error", (error) => resume(Effect.fail(error)))
    server.listen(options, () => resume(Effect.void))
  })

const close = (server: Server): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const cut = setTimeout(() => server.closeAllConnections(), Grace)
    server.close(() => {
      clearTimeout(cut)
      resume(Effect.void)
    })
  })

const serve = (server: Server, options: ListenOptions): Effect.Effect<Server, Error, Scope.Scope> =>
  Effect.acquireRelease(Effect.as(listen(server, options), server), () => close(server))

/** Serves on a TCP port until the scope ends; answers with the port. */
export const onPort = (
  handler: Handler,
  options: { readonly host: string; readonly port: number }
): Effect.Effect<number, Error, Scope.Scope> =>
  Effect.map(serve(serverOf(handler), options), (server) => {
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : options.port
  })

/** Whether somebody answers on a socket. */
const isAnswered = (path: string): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = connect(path)
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(true))
    })
    socket.once("error", () => resume(Effect.succeed(false)))
  })

/** Removes the socket that a process which was killed has left; a file of another kind is somebody's. */
const removeLeftover = (path: string): Effect.Effect<void, Error> =>
  Effect.gen(function* () {
    const found = statSync(path, { throwIfNoEntry: false })
    if (found === undefined) return
    if (!found.isSocket()) return yield* Effect.fail(new Error("something that is no socket is there"))
    if (yield* isAnswered(path)) return yield* Effect.fail(new Error("another service answers there"))
    yield* Effect.try({ try: () => rmSync(path, { force: true }), catch: (cause) => cause as Error })
  })

/** Serves on a Unix socket that is this user's alone (mode 0600), until the scope ends. */
export const onSocket = (handler: Handler, path: string): Effect.Effect<void, Error, Scope.Scope> =>
  Effect.gen(function* () {
    yield* Effect.try({
      try: () => mkdirSync(dirname(path), { recursive: true, mode: 0o700 }),
      catch: (cause) => cause as Error
    })
    yield* removeLeftover(path)
    const server = serverOf(handler)
    // The file has its mode from its first moment on: it is made within the call.
    const begin = server.listen.bind(server) as (...args: ReadonlyArray<unknown>) => Server
    server.listen = ((...args: ReadonlyArray<unknown>) => {
      const before = process.umask(0o177)
      try {
        return begin(...args)
      } finally {
        process.umask(before)
      }
    }) as Server["listen"]
    yield* serve(server, { path })
  })
