/** Cards P-200 to P-290: credentials, and a service that fails - typed, told, and nothing half-done that looks whole. */
import type { Provider, ProviderErrorReason } from "@data-manager/core"
import { Effect, Exit, Stream } from "effect"
import { assert } from "vitest"
import { until } from "./FastClock.ts"
import {
  assertNoSecret,
  assertSame,
  type CardError,
  card,
  failsWith,
  linesOf,
  mainSchema,
  type ProviderCard,
  play,
  read,
  readAll,
  reasonIn,
  request,
  untilClosed
} from "./ProviderCard.ts"
import type { Credentials, ProviderFault, ProviderService } from "./ProviderService.ts"

/** A first request with credentials, or the refusal to connect with them. */
const firstUse = (service: ProviderService, credentials: Credentials) =>
  Effect.flatMap(service.connect(credentials), (provider) => {
    const [schema] = provider.capabilities.history
    return schema === undefined ? Effect.void : Stream.runDrain(provider.history(request(service, schema)))
  })

/**
 * Prerequisite: wrong, malformed and missing credentials.
 * Action: read with each.
 * Pass: `ProviderUnauthorized`, or `ConfigError` where they are refused without asking; neither is worth repeating, and
 * no text contains a key.
 */
const credentials = card(
  "P-200",
  "credentials that do not do are told without being shown",
  function* (service) {
    for (const kind of ["wrong", "malformed", "missing"] as const) {
      const error = yield* failsWith(
        firstUse(service, kind),
        kind === "wrong" ? ["ProviderUnauthorized"] : ["ProviderUnauthorized", "ConfigError"],
        `${kind} credentials`
      )
      if (error._tag === "ProviderError") assert.isFalse(error.isRetryable, `${kind} credentials: repeating`)
      assertNoSecret(service, [error.message, error])
    }
  }
)

/**
 * Prerequisite: wrong credentials.
 * Action: collect live data with them.
 * Pass: `ProviderUnauthorized` ends the stream; nothing is tried again, nothing stays open.
 */
const liveCredentials = card(
  "P-210",
  "live data with wrong credentials ends, and is not tried again",
  function* (service) {
    const provider = yield* service.connect("wrong")
    const { schema } = mainSchema(service, provider.capabilities.live)
    const playing = yield* play(service, provider, schema)
    yield* until(
      Effect.sync(() => playing.exit !== undefined),
      "an end"
    )
    if (playing.exit === undefined || Exit.isSuccess(playing.exit)) return assert.fail("it ended well")
    const error = reasonIn(playing.exit.cause, ["ProviderUnauthorized"], "wrong credentials")
    assertNoSecret(service, [error.message, error])
    yield* untilClosed(service, "after a refusal")
  },
  "live"
)

type Outcome = "whole" | CardError

/** One request during which something goes wrong: it gives everything, or fails for one of the reasons. */
const during = (
  service: ProviderService,
  provider: Provider,
  fault: ProviderFault,
  reasons: ReadonlyArray<ProviderErrorReason["_tag"]>
) =>
  Effect.gen(function* (): Generator<Effect.Effect<unknown, CardError>, Outcome, never> {
    const { schema, rows } = mainSchema(service, provider.capabilities.history)
    yield* service.fault(fault)
    const { exit, rows: got } = yield* readAll(service, provider, request(service, schema))
    const whole = new Set(rows.map(({ line }) => line))
    for (const { line } of got) assert.isTrue(whole.has(line), `a row that the tape does not have: ${line}`)
    assert.strictEqual(new Set(linesOf(got)).size, got.length, "a row came twice")
    let outcome: Outcome = "whole"
    if (Exit.isSuccess(exit)) assertSame(got, rows, `${fault.type}: it ended as if it were whole`)
    else outcome = reasonIn(exit.cause, reasons, fault.type)
    assertSame(yield* read(service, provider, request(service, schema)), rows, `after ${fault.type}`)
    return outcome
  })

/**
 * Prerequisite: a service whose answer is cut.
 * Action: read; then read again.
 * Pass: everything (asked for again where that costs nothing), or an error that says that it is a part, with rows of the
 * tape before it; a billed request is not repeated. Afterwards all is well.
 */
const cut = card("P-220", "an answer that is cut never looks whole", function* (service) {
  const provider = yield* service.connect("valid")
  const reasons = ["ProviderTruncated", "ProviderDisconnected", "ProviderUnavailable"] as const
  const outcome = yield* during(service, provider, { type: "historyCut" }, reasons)
  if (provider.capabilities.billed) {
    assert.notStrictEqual(outcome, "whole", "a billed request was repeated")
    assert.strictEqual(yield* service.historyRequests, 2, "one request for each read")
  }
})

/**
 * Prerequisite: a service that fails on its side, once.
 * Action: read; then read again.
 * Pass: everything, or a retryable error.
 */
const unavailable = card("P-230", "a service that fails is an error worth repeating", function* (service) {
  const provider = yield* service.connect("valid")
  const reasons = ["ProviderUnavailable", "ProviderDisconnected"] as const
  const outcome = yield* during(service, provider, { type: "historyUnavailable" }, reasons)
  if (outcome !== "whole") assert.isTrue(outcome._tag === "ProviderError" && outcome.isRetryable)
})

/**
 * Prerequisite: a service that says "too many requests", once.
 * Action: read; then read again.
 * Pass: everything, or `ProviderRateLimited`, which is retryable.
 */
const rateLimited = card("P-240", "too many requests is an error worth repeating", function* (service) {
  const provider = yield* service.connect("valid")
  const outcome = yield* during(service, provider, { type: "historyRateLimited" }, ["ProviderRateLimited"])
  if (outcome !== "whole") assert.isTrue(outcome._tag === "ProviderError" && outcome.isRetryable)
})

/**
 * Prerequisite: an answer that is not of the protocol.
 * Action: read; then read again.
 * Pass: a typed error, not a defect, and no rows.
 */
const garbage = card("P-250", "bytes that mean nothing are a typed error", function* (service) {
  const provider = yield* service.connect("valid")
  const outcome = yield* during(service, provider, { type: "historyGarbage" }, [
    "ProviderMalformed",
    "ProviderTruncated",
    "ProviderUnavailable",
    "ProviderBadRequest",
    "ProviderDisconnected"
  ])
  if (provider.capabilities.billed) assert.notStrictEqual(outcome, "whole", "a billed request was repeated")
})

/** Cards of failures. */
export const cards: ReadonlyArray<ProviderCard> = [
  credentials,
  liveCredentials,
  cut,
  unavailable,
  rateLimited,
  garbage
]
