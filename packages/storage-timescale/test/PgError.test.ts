import { assert, describe, it } from "vitest"
import { storeError } from "../src/PgError.ts"

const lost: ReadonlyArray<readonly [message: string, code?: string]> = [
  ["Connection terminated unexpectedly"],
  // Said of a session whose server was killed while nobody waited for it.
  ["Client has encountered a connection error and is not queryable"],
  ["Client was closed and is not queryable"],
  ["Query read timeout"],
  ["write EPIPE", "EPIPE"],
  ["Cannot call write after a stream was destroyed", "ERR_STREAM_DESTROYED"],
  ["write after end", "ERR_STREAM_WRITE_AFTER_END"]
]

describe("errors of the driver", () => {
  it("say of a lost session that the server is away, which is tried again", () => {
    for (const [message, code] of lost) {
      const error = storeError("append trades", Object.assign(new Error(message), { code }))
      assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["StoreUnavailable", true], message)
    }
  })

  it("are faults of the server where nothing else is known", () => {
    const error = storeError("append trades", new Error("something new"))
    assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["StoreServerFault", false])
  })
})
