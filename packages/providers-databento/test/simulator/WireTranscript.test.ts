/** The kit's recorder between a client without TLS and the https service: an answer written down without the key, and played. */
import { get } from "node:http"
import { WireRecorder, WireReplay, WireSplit, WireTranscript } from "@data-manager/testing"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { DatabentoSimulator } from "../../src/simulator/DatabentoSimulator.ts"
import { syntheticCatalogue } from "./TestCatalogue.ts"

const path = "/v0/metadata.list_datasets"

const ask = (port: number, authorization: string): Effect.Effect<string> =>
  Effect.callback<string>((resume) => {
    const request = get(
      {
        host: "127.0.0.1",
        port,
        path,
        agent: false,
        headers: { authorization, host: "hist", connection: "close" }
      },
      (response) => {
        let body = ""
        response.setEncoding("utf8").on("data", (part) => {
          body += part
        })
        response.once("end", () => resume(Effect.succeed(`${response.statusCode} ${body}`)))
      }
    )
    request.once("error", (error) => resume(Effect.die(error)))
    return Effect.sync(() => request.destroy())
  })

it.live("an answer over TLS is recorded without the key, and played at every split of its head", () =>
  Effect.gen(function* () {
    const {
      authority = "",
      http,
      key
    } = yield* DatabentoSimulator.make({
      catalogue: syntheticCatalogue,
      tls: true
    })
    const encoded = Buffer.from(`${key}:`).toString("base64")
    const recorder = yield* WireRecorder.make({
      host: "localhost",
      port: http.port,
      tls: { ca: authority },
      secrets: [key, encoded]
    })
    const answer = yield* ask(recorder.port, `Basic ${encoded}`)
    assert.match(answer, /^200 \[/)
    const text = WireTranscript.format(yield* recorder.transcript)
    assert.include(text, "GET /v0/metadata\\.list_datasets HTTP")
    assert.notInclude(text, encoded)
    const transcript = WireTranscript.parse(text)
    for (const cuts of WireSplit.every(WireTranscript.serverBytes(transcript).length).slice(0, 80)) {
      const replay = yield* WireReplay.make(transcript, { cuts })
      assert.strictEqual(yield* ask(replay.port, `Basic ${encoded}`), answer)
    }
  })
)
