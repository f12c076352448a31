/** The HTTP server under the control plane, and where it may listen. */
import { statSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { createServer } from "node:net"
import { join } from "node:path"
import { DataManagerConfig } from "@data-manager/core"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Redacted, Result } from "effect"
import { controlPlace } from "../src/ControlPlace.ts"
import * as ControlServer from "../src/ControlServer.ts"
import { plain } from "../src/Paint.ts"
import type { Session } from "../src/Session.ts"

interface Answer {
  readonly status: number
  readonly text: string
}

const ask = (
  target: { readonly socketPath?: string; readonly port?: number },
  options: { readonly method?: string; readonly body?: string } = {}
): Effect.Effect<Answer> =>
  Effect.callback((resume) => {
    const sent = request(
      { host: "127.0.0.1", ...target, path: "/a?b=c", method: options.method ?? "GET" },
      (response) => {
        const parts: Array<Buffer> = []
        response.on("data", (part: Buffer) => parts.push(part))
        response.on("end", () =>
          resume(Effect.succeed({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }))
        )
      }
    )
    sent.on("error", (error) => resume(Effect.succeed({ status: 0, text: error.message })))
    sent.end(options.body)
  })

/** Says what was asked. */
const echo = async (asked: Request): Promise<Response> =>
  new Response(`${asked.method} ${new URL(asked.url).pathname} ${(await asked.text()).length}`, {
    status: 202
  })

const inFolder = <A, E>(use: (folder: string) => Effect.Effect<A, E, import("effect").Scope.Scope>) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.flatMap(fs.makeTempDirectoryScoped(), use)).pipe(
    Effect.scoped,
    Effect.provide(NodeServices.layer)
  )

describe("the control server", () => {
  it.live("answers on a port, and takes small requests alone", () =>
    Effect.gen(function* () {
      const port = yield* ControlServer.onPort(echo, { host: "127.0.0.1", port: 0 })
      assert.deepStrictEqual(yield* ask({ port }), { status: 202, text: "GET /a 0" })
      const largest = "x".repeat(65_536)
      assert.deepStrictEqual(yield* ask({ port }, { method: "POST", body: largest }), {
        status: 202,
        text: "POST /a 65536"
      })
      assert.strictEqual((yield* ask({ port }, { method: "POST", body: `${largest}x` })).status, 413)
      const taken = yield* Effect.flip(ControlServer.onPort(echo, { host: "127.0.0.1", port }))
      assert.include(taken.message, "EADDRINUSE")
    }).pipe(Effect.scoped)
  )

  it.live("answers on a socket of this user alone, which goes with it", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const socketPath = join(folder, "new", "control.sock")
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* ControlServer.onSocket(echo, socketPath)
            assert.strictEqual(statSync(socketPath).mode & 0o777, 0o600)
            assert.strictEqual((yield* ask({ socketPath }, { method: "PUT", body: "abc" })).text, "PUT /a 3")
            const second = yield* Effect.flip(Effect.scoped(ControlServer.onSocket(echo, socketPath)))
            assert.include(second.message, "another service answers there")
            assert.strictEqual((yield* ask({ socketPath })).status, 202, "the first one goes on")
          })
        )
        assert.isUndefined(statSync(socketPath, { throwIfNoEntry: false }))
      })
    )
  )

  it.live("takes the place of a socket that a killed process left, and of nothing else", () =>
    inFolder((folder) =>
      Effect.gen(function* () {
        const socketPath = join(folder, "control.sock")
        // A server in a process that is gone leaves its file: one whose file came back is the same.
        const left = createServer()
        yield* Effect.callback<void>((resume) => void left.listen(socketPath, () => resume(Effect.void)))
        const kept = join(folder, "kept.sock")
        yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.link(socketPath, kept)).pipe(Effect.orDie)
        yield* Effect.callback<void>((resume) => void left.close(() => resume(Effect.void)))
        yield* ControlServer.onSocket(echo, kept)
        assert.strictEqual((yield* ask({ socketPath: kept })).status, 202)
        const file = join(folder, "data.txt")
        writeFileSync(file, "kept")
        yield* Effect.flip(ControlServer.onSocket(echo, file))
        assert.strictEqual(statSync(file).size, 4)
      }).pipe(Effect.provide(NodeServices.layer))
    )
  )
})

describe("the place of the control plane", () => {
  const session = (env: Session["env"]): Session => ({
    configPath: undefined,
    useConfig: true,
    dataDir: undefined,
    json: false,
    out: plain,
    err: plain,
    watched: false,
    columns: 80,
    logLevel: undefined,
    cwd: "/work",
    env
  })
  const placeOf = (control: object, env: Session["env"] = {}, dataDir = "/data") =>
    controlPlace(session(env), {
      file: "/etc/data-manager.toml",
      variables: [],
      config: Result.getOrThrow(DataManagerConfig.decode({ control, database: { data_dir: dataDir } }))
    })

  it.effect("is a socket in the data folder, and a port for programs of this machine", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* placeOf({}), {
        socket: "/data/control.sock",
        tcp: { host: "127.0.0.1", port: 7420, access: { _tag: "Loopback" } }
      })
      const other = yield* placeOf({ socket: "/run/dm.sock", port: 0, host: "0.0.0.0" })
      assert.deepStrictEqual(other, { socket: "/run/dm.sock", tcp: undefined })
      assert.isUndefined((yield* placeOf({}, {}, `/${"long/".repeat(30)}`)).socket)
      const long = yield* Effect.flip(placeOf({ socket: `/${"long/".repeat(30)}` }))
      assert.include(long.message, "too long for a socket")
    })
  )

  it.effect("asks for a token where others can reach it", () =>
    Effect.gen(function* () {
      for (const host of ["0.0.0.0", "::", "10.1.2.3", "dm.example"]) {
        const refused = yield* Effect.flip(placeOf({ host }))
        assert.include(refused.message, "DM_CONTROL_TOKEN is not set")
      }
      yield* Effect.flip(placeOf({ host: "0.0.0.0" }, { DM_CONTROL_TOKEN: "  " }))
      const named = yield* placeOf({ host: "0.0.0.0", token_env: "SECRET" }, { SECRET: "s3cret" })
      const access = named.tcp?.access
      assert.strictEqual(access?._tag === "Token" && Redacted.value(access.token), "s3cret")
      assert.strictEqual((yield* placeOf({}, { DM_CONTROL_TOKEN: "x" })).tcp?.access._tag, "Token")
    })
  )

  it("takes the token's variable for a secret, not for a setting", () => {
    const { issues, settings } = DataManagerConfig.environment({ DM_CONTROL_TOKEN: "s3cret" })
    assert.deepStrictEqual([settings, issues], [[], []])
    assert.lengthOf(DataManagerConfig.environment({ DM_CONTROL_TOKN: "s3cret" }).issues, 1)
  })
})
