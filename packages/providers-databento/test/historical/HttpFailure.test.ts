import { inspect } from "node:util"
import { LocalInstruments } from "@data-manager/core"
import { Duration, Effect, Redacted, Stream } from "effect"
import { assert, describe, it } from "vitest"
import * as ApiKey from "../../src/ApiKey.ts"
import type { DataRequest } from "../../src/historical/HistoricalRequest.ts"
import type { Answer } from "./ScriptedService.ts"
import { failureOf, key, withService } from "./TestClient.ts"

const day = 1_700_000_000_000_000_000n
const request: DataRequest = {
  dataset: "GLBX.MDP3",
  symbols: ["ESH6"],
  schema: "trades",
  range: { start: day, end: day + 1_000_000_000n }
}

/** The error of a call that the service answers so. */
const failure = async (answer: Answer, retries = 0) => {
  const { result, asked } = await withService(
    () => answer,
    ({ metadata }) => failureOf(metadata.listDatasets()),
    { retries }
  )
  assert.notInclude(inspect(result, { depth: 20 }), key)
  assert.notInclude(JSON.stringify(result), key)
  return { error: result, calls: asked.length }
}

describe("a refused call", () => {
  it.each([
    [401, "ProviderUnauthorized", "DATABENTO_API_KEY"],
    [402, "ProviderUnauthorized", "payment"],
    [403, "ProviderUnauthorized", "licence"],
    [400, "ProviderBadRequest", "what the service says"],
    [404, "ProviderBadRequest", "what the service says"],
    [409, "ProviderBadRequest", "what the service says"],
    [422, "ProviderBadRequest", "what the service says"],
    [408, "ProviderUnavailable", "what the service says"],
    [429, "ProviderRateLimited", "what the service says"],
    [500, "ProviderUnavailable", "what the service says"],
    [504, "ProviderUnavailable", "what the service says"]
  ])("with status %i has the reason %s and says what to do", async (status, tag, text) => {
    const { error } = await failure({
      status,
      body: { detail: "what the service says" },
      headers: { "request-id": "abc-1" }
    })
    assert.strictEqual(error.reason._tag, tag)
    assert.include(error.message, text)
    assert.include(error.message, String(status))
    if (tag === "ProviderBadRequest" || tag === "ProviderUnavailable") assert.include(error.message, "abc-1")
  })

  it("is explained from every form of a body", async () => {
    const nested = {
      detail: {
        case: "data_start_before_available_start",
        message: "too early",
        status_code: 422,
        docs: "https://docs.example/x",
        payload: {}
      }
    }
    const { error } = await failure({ status: 422, body: nested })
    assert.include(error.message, "data_start_before_available_start: too early")
    assert.include(error.message, "https://docs.example/x")
    const list = await failure({
      status: 422,
      body: { detail: [{ loc: ["body", "start"], msg: "no date" }] }
    })
    assert.include(list.error.message, "body.start: no date")
    const html = await failure({ status: 502, body: "<html><body>Bad gateway</body></html>" })
    assert.include(html.error.message, "proxy")
    assert.include((await failure({ status: 500 })).error.message, "empty body")
    const long = await failure({ status: 400, body: "x".repeat(100_000) })
    assert.isBelow(long.error.message.length, 600)
  })

  it("is one too when a 2xx reply is something else", async () => {
    const page = await failure({ body: "<!doctype html><p>Log in to the network" })
    assert.strictEqual(page.error.reason._tag, "ProviderMalformed")
    assert.include(page.error.message, "proxy")
    const other = await failure({ body: { datasets: [] } })
    assert.include(other.error.message, "not a list of datasets")
    const { result } = await withService(
      () => ({ body: "minus one" }),
      ({ metadata }) => failureOf(metadata.recordCount(request))
    )
    assert.include(result.message, "not a number")
  })

  it("is repeated as often as allowed where that can help, and waits as long as told", async () => {
    assert.strictEqual((await failure({ status: 503 }, 2)).calls, 3)
    assert.strictEqual((await failure({ status: 400 }, 2)).calls, 1)
    const { result, asked } = await withService(
      (_, count) =>
        count === 1 ? { status: 429, headers: { "retry-after": "1" } } : { body: ["GLBX.MDP3"] },
      ({ metadata }) => Effect.timed(metadata.listDatasets())
    )
    assert.deepStrictEqual(result[1].value, ["GLBX.MDP3"])
    assert.lengthOf(asked, 2)
    assert.isAtLeast(Duration.toMillis(result[0]), 1_000)
  })

  it("is never repeated where it may have been billed", async () => {
    const { register } = LocalInstruments.make()
    const { result, asked } = await withService(
      () => ({ status: 500 }),
      ({ timeseries }) => failureOf(Stream.runDrain(timeseries.batches(request, { register })))
    )
    assert.strictEqual(result.reason._tag, "ProviderUnavailable")
    assert.lengthOf(asked, 1)
    const submitted = await withService(
      () => ({ status: 503 }),
      ({ batch }) => failureOf(batch.submit(request))
    )
    assert.lengthOf(submitted.asked, 1)
  })
})

describe("a call that gets no answer", () => {
  it("says which host, and whether it is the name, the port or the certificate", async () => {
    const refused = await withService(
      () => ({}),
      ({ metadata }) => failureOf(metadata.listDatasets()),
      { baseUrl: "http://127.0.0.1:1", retries: 0 }
    )
    assert.strictEqual(refused.result.reason._tag, "ProviderDisconnected")
    assert.include(refused.result.message, "refuses the connection")
    const unknown = await withService(
      () => ({}),
      ({ metadata }) => failureOf(metadata.listDatasets()),
      { baseUrl: "http://no-such-host.invalid", retries: 0 }
    )
    assert.include(unknown.result.message, "cannot be resolved")
  })

  it("gives up after the timeout, and leaves the connection", async () => {
    let closed = false
    const { result } = await withService(
      () => ({
        write: (response) => {
          response.on("close", () => {
            closed = true
          })
          response.flushHeaders()
        }
      }),
      ({ metadata }) => failureOf(metadata.listDatasets()),
      { timeout: "200 millis", retries: 0 }
    )
    assert.include(result.message, "sent nothing for too long")
    for (let i = 0; i < 100 && !closed; i++) await new Promise((done) => setTimeout(done, 10))
    assert.isTrue(closed)
  })
})

describe("the API key", () => {
  it("is checked before it is sent, and never shown", () => {
    const refused = [
      "",
      "  ",
      "$DATABENTO_API_KEY",
      "YOUR_API_KEY",
      "db-short",
      "xx-0123456789abcdefghijKLMNOPQRS",
      "db-0123456789abcdefghijKLMNOPQRST",
      "db-0123456789abcdefghijKLMNOPQé "
    ]
    for (const text of refused) {
      const result = ApiKey.check(Redacted.make(text))
      assert.strictEqual(result._tag, "Failure", text)
      if (result._tag !== "Failure") continue
      assert.strictEqual(result.failure.reason._tag, "ProviderUnauthorized")
      if (text.trim() !== "") assert.notInclude(result.failure.message, text.trim())
    }
    const accepted = ApiKey.check(Redacted.make(` ${key}\n`))
    assert.strictEqual(accepted._tag === "Success" && Redacted.value(accepted.success), key)
    assert.strictEqual(ApiKey.bucketOf(key), "OPQRS")
  })
})

describe("a request", () => {
  it.each([
    [{ symbols: [] }, "no symbols"],
    [{ symbols: ["A,B"] }, '"A,B" is not a symbol'],
    [{ symbols: ["A", "ALL_SYMBOLS"] }, "give it alone"],
    [{ range: { start: day, end: day } }, "is empty"],
    [{ range: { start: day, end: day - 1n } }, "is empty"],
    [{ range: { start: -1n, end: day } }, "before 1970"],
    [{ limit: 0n }, "limit of 0"]
  ])("that cannot be meant is refused before anything is sent: %o", async (change, text) => {
    const { result, asked } = await withService(
      () => ({}),
      ({ metadata }) => failureOf(metadata.cost({ ...request, ...change }))
    )
    assert.strictEqual(result.reason._tag, "ProviderBadRequest")
    assert.include(result.message, text)
    assert.lengthOf(asked, 0)
  })
})
