/**
 * Who may ask a control plane. One guard stands before every request, also those for paths that there are not:
 *
 * - a token, where there is one, has to be borne (`Authorization: Bearer ...`);
 * - without one, a TCP port answers programs of this machine alone. A browser there runs other people's pages: a request that
 *   says that it comes from a page (`Origin`), or that was sent to another name than this machine's (DNS rebinding), is refused.
 *
 * A Unix socket needs neither: its file decides.
 */
import { Effect, Redacted } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"

/** Who is let in. */
export type ControlAccess =
  | { readonly _tag: "Token"; readonly token: Redacted.Redacted }
  | { readonly _tag: "Loopback" }
  | { readonly _tag: "Everybody" }

const encoder = new TextEncoder()

/** Compares in a time that tells nothing about the token but its length. */
export const isSameToken = (given: string, token: string): boolean => {
  const [a, b] = [encoder.encode(given), encoder.encode(token)]
  let difference = a.length ^ b.length
  for (let i = 0; i < b.length; i++) difference |= (a[i % Math.max(1, a.length)] ?? 0) ^ b[i]!
  return difference === 0
}

/** Whether an address is of this machine alone. */
export const isLoopback = (host: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?|\[?::ffff:127(\.\d{1,3}){3}\]?)$/i.test(host)

const hostOf = (header: string): string => header.replace(/:\d*$/, "")

const answer = (status: number, message: string, headers: { readonly [name: string]: string } = {}) =>
  HttpServerResponse.jsonUnsafe({ _tag: "Refused", message }, { status, headers })

type Headers = HttpServerRequest.HttpServerRequest["headers"]

/** The answer to a request that is not let in; undefined where it is. */
const refusal = (
  access: ControlAccess,
  headers: Headers
): HttpServerResponse.HttpServerResponse | undefined => {
  switch (access._tag) {
    case "Everybody":
      return undefined
    case "Token": {
      const [, given = ""] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "") ?? []
      if (isSameToken(given, Redacted.value(access.token))) return undefined
      return answer(401, "send the service's token: Authorization: Bearer TOKEN", {
        "www-authenticate": "Bearer"
      })
    }
    case "Loopback":
      if (headers.origin === undefined && isLoopback(hostOf(headers.host ?? ""))) return undefined
      return answer(403, "without a token, programs of this machine alone are answered")
  }
}

/** Puts the guard before everything that the router serves. */
export const layer = (access: ControlAccess) =>
  HttpRouter.middleware(
    (httpEffect) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
        const refused = refusal(access, headers)
        return refused === undefined ? httpEffect : Effect.succeed(refused)
      }),
    { global: true }
  )
