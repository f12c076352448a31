import { describe, it } from "vitest"
import { followThroughCrashes } from "./MarketDataCrash.ts"

describe("a strategy on MarketData", () => {
  it("sees every trade once, whatever happens to the service", { timeout: 180_000 }, () =>
    followThroughCrashes(2, 20_000, 4_000)
  )
})
