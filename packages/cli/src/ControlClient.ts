/** Asks the service of a configuration how it is doing, where one runs. */
import { type ClientRequest, request as httpRequest } from "node:http"
import { StatusDocument } from "@data-manager/core"
import { Effect, Option, Redacted, Schema } from "effect"
import type { ControlPlace } from "./ControlPlace.ts"

/** What the service answers. */
export type ServiceStatus = typeof StatusDocument.Type

/** A service that does not answer in this time is none. Milliseconds. */
const Patience = 5000

interface Target {
  readonly socketPath?: string
  readonly host?: string
  readonly port?: number
  readonly headers?: { readonly [name: string]: string }
}

/** The text of an answer with code 200; undefined where there is none. */
const get = (target: Target, path: string): Effect.Effect<string | undefined> =>
  Effect.callback((resume) => {
    const request: ClientRequest = httpRequest({ ...target, path, timeout: Patience }, (response) => {
      const parts: Array<Buffer> = []
      response.on("data", (part: Buffer) => parts.push(part))
      response.on("end", () =>
        resume(
          Effect.succeed(response.statusCode === 200 ? Buffer.concat(parts).toString("utf8") : undefined)
        )
      )
      response.on("error", () => resume(Effect.succeed(undefined)))
    })
    request.on("timeout", () => request.destroy(new Error("no answer")))
    request.on("error", () => resume(Effect.succeed(undefined)))
    request.end()
    return Effect.sync(() => request.destroy())
  })

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(StatusDocument))

/**
 * The socket, which is this configuration's alone. A port may be another program's by now, which would get the token: it is
 * asked only where there is no socket.
 */
const targetOf = ({ socket, tcp }: ControlPlace): Target | undefined => {
  if (socket !== undefined) return { socketPath: socket, headers: { host: "localhost" } }
  if (tcp === undefined) return undefined
  const { access, host, port } = tcp
  const token = access._tag === "Token" ? { authorization: `Bearer ${Redacted.value(access.token)}` } : {}
  return { host, port, headers: token }
}

/** How the service at a place is doing; undefined where none answers. */
export const serviceStatus = (place: ControlPlace): Effect.Effect<ServiceStatus | undefined> => {
  const target = targetOf(place)
  return target === undefined
    ? Effect.succeed(undefined)
    : Effect.map(get(target, "/status"), (text) =>
        text === undefined ? undefined : Option.getOrUndefined(decode(text))
      )
}
