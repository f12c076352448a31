import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  ConfigError,
  type Provider,
  ProviderBadRequest,
  ProviderBudgetExceeded,
  ProviderDisconnected,
  ProviderError,
  type ProviderErrorReason,
  ProviderMalformed,
  ProviderRateLimited,
  ProviderRegistry,
  ProviderTruncated,
  ProviderUnauthorized,
  ProviderUnavailable,
  StoreAccessDenied,
  StoreBadRequest,
  StoreContention,
  StoreError,
  type StoreErrorReason,
  StoreExhausted,
  StoreIncompatible,
  StoreInvalidData,
  StoreServerFault,
  StoreUnavailable,
  TransportBadRequest,
  TransportClosed,
  TransportError,
  type TransportErrorReason,
  TransportExhausted,
  TransportIncompatible,
  TransportNotConnected
} from "../src/index.ts"

describe("StoreError", () => {
  const cases: ReadonlyArray<readonly [StoreErrorReason, string, boolean]> = [
    [
      new StoreUnavailable({ detail: "connection refused", hint: "is it running? see `dm doctor`" }),
      "append trades: connection refused; is it running? see `dm doctor`",
      true
    ],
    [new StoreUnavailable({ detail: "connection lost", hint: "" }), "append trades: connection lost", true],
    [
      new StoreAccessDenied({ detail: "no CREATE", hint: "GRANT it" }),
      "append trades: no CREATE; GRANT it",
      false
    ],
    [
      new StoreIncompatible({ detail: "schema 3 is newer", hint: "upgrade" }),
      "append trades: schema 3 is newer; upgrade",
      false
    ],
    [
      new StoreExhausted({ resource: "disk", detail: "no space left", hint: "free some" }),
      "append trades: no space left; free some",
      true
    ],
    [new StoreContention({ detail: "deadlock" }), "append trades: deadlock", true],
    [
      new StoreBadRequest({ detail: "no timeframe 2m", allowed: ["1m", "1h"] }),
      "append trades: no timeframe 2m; offered: 1m, 1h",
      false
    ],
    [new StoreBadRequest({ detail: "no such instrument" }), "append trades: no such instrument", false],
    [new StoreInvalidData({ detail: "row 3 has no time" }), "append trades: row 3 has no time", false],
    [new StoreServerFault({ detail: "boom", code: "XX000" }), "append trades: boom (SQLSTATE XX000)", false],
    [new StoreServerFault({ detail: "boom" }), "append trades: boom", false]
  ]
  it.each(cases)("%s", (reason, message, retryable) => {
    const error = new StoreError({ operation: "append trades", reason })
    assert.strictEqual(error.message, message)
    assert.strictEqual(error.isRetryable, retryable)
    assert.strictEqual(error._tag, "StoreError")
    assert.include(String(error), message)
  })
})

describe("ProviderError", () => {
  const cases: ReadonlyArray<readonly [ProviderErrorReason, string, boolean]> = [
    [
      new ProviderUnauthorized({ detail: "key revoked", hint: "make one" }),
      "acme history: key revoked; make one",
      false
    ],
    [new ProviderRateLimited({ detail: "slow down", retryAfterMillis: 1 }), "acme history: slow down", true],
    [new ProviderDisconnected({ detail: "socket closed" }), "acme history: socket closed", true],
    [new ProviderUnavailable({ detail: "503", requestId: "r-1" }), "acme history: 503 (request r-1)", true],
    [
      new ProviderBadRequest({ detail: "no symbol X", hint: "see list", requestId: "r-2" }),
      "acme history: no symbol X (request r-2); see list",
      false
    ],
    [new ProviderBadRequest({ detail: "no symbol X" }), "acme history: no symbol X", false],
    [new ProviderMalformed({ detail: "length 0", offset: 0 }), "acme history: length 0 at byte 0", false],
    [
      new ProviderTruncated({ detail: "ended in a record", offset: 1234 }),
      "acme history: ended in a record at byte 1234",
      false
    ],
    [
      new ProviderBudgetExceeded({ detail: "9 USD > 5", costUsd: 9, limitUsd: 5 }),
      "acme history: 9 USD > 5",
      false
    ]
  ]
  it.each(cases)("%s", (reason, message, retryable) => {
    const error = new ProviderError({ provider: "acme", operation: "history", reason })
    assert.strictEqual(error.message, message)
    assert.strictEqual(error.isRetryable, retryable)
  })
})

describe("TransportError", () => {
  const cases: ReadonlyArray<readonly [TransportErrorReason, string, boolean]> = [
    [
      new TransportNotConnected({ detail: "nobody publishes dm", hint: "dm start" }),
      "shm open: nobody publishes dm; dm start",
      true
    ],
    [
      new TransportIncompatible({ detail: "layout 2", hint: "upgrade" }),
      "shm open: layout 2; upgrade",
      false
    ],
    [
      new TransportExhausted({ detail: "no reader slot", hint: "close one" }),
      "shm open: no reader slot; close one",
      false
    ],
    [new TransportClosed({ detail: "producer left" }), "shm open: producer left", true],
    [new TransportBadRequest({ detail: "count 0" }), "shm open: count 0", false]
  ]
  it.each(cases)("%s", (reason, message, retryable) => {
    const error = new TransportError({ transport: "shm", operation: "open", reason })
    assert.strictEqual(error.message, message)
    assert.strictEqual(error.isRetryable, retryable)
  })
})

describe("ConfigError", () => {
  it("lists every issue with its place", () => {
    const error = new ConfigError({
      source: "dm.toml",
      issues: [
        { key: "realtime.shm.capacity", line: 12, problem: '"many" is not a number' },
        { key: "", problem: "file is empty" },
        { key: "a.b", problem: "unknown key" }
      ]
    })
    assert.strictEqual(
      error.message,
      'dm.toml:12: realtime.shm.capacity: "many" is not a number\ndm.toml: file is empty\ndm.toml: a.b: unknown key'
    )
  })
})

describe("ProviderRegistry", () => {
  // The registry reads nothing of a provider but its id.
  const provider = (id: string) => ({ id }) as Provider

  it.effect("finds providers by id and names the known ones otherwise", () =>
    Effect.gen(function* () {
      const registry = yield* ProviderRegistry
      assert.strictEqual((yield* registry.get("b")).id, "b")
      assert.deepStrictEqual(
        registry.all.map((p) => p.id),
        ["a", "b"]
      )
      const error = yield* Effect.flip(registry.get("c"))
      assert.strictEqual(error.message, 'providers: no provider "c"; configured: a, b')
    }).pipe(Effect.provide(ProviderRegistry.layer([provider("a"), provider("b")])))
  )

  it.effect("says that there are none", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip((yield* ProviderRegistry).get("c"))
      assert.strictEqual(error.message, 'providers: no provider "c"; configured: none')
    }).pipe(Effect.provide(ProviderRegistry.layer([])))
  )

  it.effect("refuses two providers of one id", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        ProviderRegistry.pipe(Effect.provide(ProviderRegistry.layer([provider("a"), provider("a")])))
      )
      assert.strictEqual(error.message, "providers: two providers have the same id")
    })
  )
})
