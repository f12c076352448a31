import { describe, it } from "vitest"
import { followThroughCrashes } from "./MarketDataCrash.ts"

describe("a strategy on MarketData, for long", () => {
  for (let round = 1; round <= 10; round++)
    it(`sees every trade once while the service is killed, round ${round}`, { timeout: 300_000 }, () =>
      followThroughCrashes(5, 40_000, 4_000)
    )
})
