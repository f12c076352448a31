import { assert, it } from "vitest"
import { type Fault, shown, takeOver } from "./Takeover.ts"

const rounds = Array.from({ length: 20 }, (_, i): Fault => (i % 3 === 2 ? "freeze" : "kill"))

it("twenty takeovers, and every trade is stored once", { timeout: 1_800_000 }, async () => {
  const times = await takeOver(rounds, 600_000, 1500)
  console.log(shown(times))
  for (const { by, lease } of times) assert.isBelow(lease, by === "kill -9" ? 1000 : 5000, by)
})
