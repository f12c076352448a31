import { writeFileSync } from "node:fs"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { Workplace } from "./Dm.ts"
import { killAndCollect } from "./StartCrash.ts"

describe("dm start", () => {
  let place: Workplace
  beforeAll(() => {
    place = new Workplace()
  })
  afterAll(() => place.close())

  it("says what is wrong with a configuration, and starts nothing", async () => {
    writeFileSync(place.path("wrong.toml"), '[providers.databento]\nlive_address = "nowhere"\n')
    const wrong = await place.run(["-c", "wrong.toml", "start", "--check-config"])
    assert.strictEqual(wrong.code, 2)
    assert.include(wrong.stderr, "wrong.toml:2: providers.databento.live_address")
    const noKey = await place.run(["start", "--check-config"])
    assert.strictEqual(noKey.code, 1)
    assert.include(noKey.stderr, "the environment variable DATABENTO_API_KEY is not set")
    const good = await place.run(["start", "--check-config"], {
      env: { DATABENTO_API_KEY: "db-SimulatedKeyForTestsOnly00000" }
    })
    assert.strictEqual(good.code, 0, good.stderr)
    assert.include(good.stdout, "the configuration is good")
  }, 60_000)

  it("stores every trade once, killed in between", { timeout: 240_000 }, () =>
    killAndCollect(2, 20_000, 8_000)
  )
})
