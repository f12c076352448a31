/** An HTTP server of a few lines that answers as a test says, and remembers what it was asked. */
import { once } from "node:events"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface Asked {
  readonly method: string
  /** `/v0/metadata.list_datasets` */
  readonly path: string
  /** Query and form together. */
  readonly params: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
}

export interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | object | number
  /** Takes over the response. */
  readonly write?: (response: ServerResponse) => void
}

export interface Service {
  readonly url: string
  readonly asked: Array<Asked>
  readonly close: () => Promise<void>
}

export const serve = async (answer: (asked: Asked, count: number) => Answer): Promise<Service> => {
  const asked: Array<Asked> = []
  const server = createServer((request, response) => {
    const parts: Array<Buffer> = []
    request.on("data", (part: Buffer) => parts.push(part))
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://localhost")
      const form = new URLSearchParams(Buffer.concat(parts).toString())
      const one: Asked = {
        method: request.method ?? "",
        path: url.pathname,
        params: Object.fromEntries([...url.searchParams, ...form]),
        headers: request.headers
      }
      asked.push(one)
      const { status = 200, headers = {}, body = "", write } = answer(one, asked.length)
      response.writeHead(status, headers)
      if (write !== undefined) write(response)
      else response.end(typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body))
    })
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    }
  }
}
