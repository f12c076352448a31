import { assert, describe, it } from "vitest"
import { shown, takeOver } from "./Takeover.ts"

describe("two services on one database", () => {
  it("follow each other, one killed with -9, and store every trade once", { timeout: 240_000 }, async () => {
    const times = await takeOver(["kill"], 20_000, 800)
    console.log(shown(times))
    assert.lengthOf(times, 1)
  })
})
