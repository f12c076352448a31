/** Where the control plane of a configuration is, and what it asks for. */
import { join, resolve } from "node:path"
import { ConfigError, ControlAccess } from "@data-manager/core"
import { Effect, Redacted } from "effect"
import type { LoadedConfig } from "./ConfigFile.ts"
import { dataDirectory } from "./Database.ts"
import type { Session } from "./Session.ts"

/** A Unix socket's path is limited by the system: 108 bytes at the most, 104 on some. */
const LongestPath = 100

/** Where a control plane is. */
export interface ControlPlace {
  /** Undefined where the data folder's path is too long for one, and none is configured. */
  readonly socket: string | undefined
  /** Undefined where the port is switched off. */
  readonly tcp:
    | { readonly host: string; readonly port: number; readonly access: ControlAccess.ControlAccess }
    | undefined
}

const refuse = (loaded: LoadedConfig, key: string, problem: string): Effect.Effect<never, ConfigError> =>
  Effect.fail(new ConfigError({ source: loaded.file ?? "configuration", issues: [{ key, problem }] }))

const socketOf = (session: Session, loaded: LoadedConfig): Effect.Effect<string | undefined, ConfigError> => {
  const { socket } = loaded.config.control
  const path = resolve(session.cwd, socket ?? join(dataDirectory(loaded), "control.sock"))
  if (Buffer.byteLength(path) <= LongestPath) return Effect.succeed(path)
  return socket === undefined
    ? Effect.succeed(undefined)
    : refuse(
        loaded,
        "control.socket",
        `${path} is too long for a socket; expected at most ${LongestPath} bytes`
      )
}

/** The place that a configuration names; a port that others can reach, and no token, is a mistake. */
export const controlPlace = (
  session: Session,
  loaded: LoadedConfig
): Effect.Effect<ControlPlace, ConfigError> =>
  Effect.gen(function* () {
    const { host, port, tokenEnv } = loaded.config.control
    const socket = yield* socketOf(session, loaded)
    if (port === 0) return { socket, tcp: undefined }
    const token = session.env[tokenEnv]?.trim() ?? ""
    if (token === "" && !ControlAccess.isLoopback(host))
      return yield* refuse(
        loaded,
        "control.host",
        `${host} can be reached by others, and the environment variable ${tokenEnv} is not set: put a secret there, ` +
          "listen on 127.0.0.1, or switch the port off with port = 0"
      )
    const access: ControlAccess.ControlAccess =
      token === "" ? { _tag: "Loopback" } : { _tag: "Token", token: Redacted.make(token) }
    return { socket, tcp: { host, port, access } }
  })
