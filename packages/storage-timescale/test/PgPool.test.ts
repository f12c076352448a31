import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import * as PgPool from "../src/PgPool.ts"

/** A message of the server: type, length, body (PostgreSQL documentation, "Message Formats"). */
const message = (type: string, body: string): Buffer => {
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length + 4)
  return Buffer.concat([Buffer.from(type), length, Buffer.from(body, "latin1")])
}

describe("a pool", () => {
  it("survives a server that ends a session in the moment in which it is ready", async () => {
    const ended = "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    const greeting = [message("R", "\0\0\0\0"), message("Z", "I"), message("E", ended)]
    const server = createServer((socket) => {
      socket.on("error", () => {})
      socket.once("data", () => socket.end(Buffer.concat(greeting)))
    })
    await once(server.listen(0, "127.0.0.1"), "listening")
    const { port } = server.address() as AddressInfo
    const client = { host: "127.0.0.1", port, user: "dm", database: "dm", password: "", ssl: false }
    const asked = Effect.flatMap(PgPool.make({ client, maxConnections: 1 }), (pool) => pool.query("SELECT 1"))
    const error = await Effect.runPromise(Effect.flip(Effect.scoped(asked)))
    assert.isTrue(error.isRetryable, error.message)
    server.close()
  })
})
