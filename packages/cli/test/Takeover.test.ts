import { assert, describe, it } from "vitest"
import { shown, takeOver } from "./Takeover.ts"

describe("two services on one database", () => {
  it("follow each other, killed and frozen, and store every trade once", { timeout: 300_000 }, async () => {
    const times = await takeOver(["kill", "freeze"], 60_000, 3000)
    console.log(shown(times))
    const [killed, frozen] = times
    assert.isBelow(killed!.lease, 1000, "after kill -9")
    assert.isBelow(frozen!.lease, 5000, "after SIGSTOP")
  })
})
