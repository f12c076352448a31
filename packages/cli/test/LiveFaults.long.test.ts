/**
 * Live collection under faults, with real processes: whatever is killed, stopped or slow, the database ends with rows that
 * are those that were traded, says of no time that it is held where a row of it is missing, and a strategy is told of
 * everything that it does not see.
 *
 * `DM_FAULT_ROUNDS` says how often each fault strikes (the service, a strategy and the simulator 50 times, the database 10
 * times, for a release), `DM_FAULT_SEED` at which moments.
 */
import { assert, it } from "vitest"
import { moments, roundsOr, sleep, tell, withFaults } from "./FaultRun.ts"

const Minute = 60_000

it("a service that is killed again and again", { timeout: 30 * Minute }, () =>
  withFaults({}, async (run) => {
    const random = moments("service killed")
    run.startService()
    await run.awaitRow(0)
    const strategy = await run.startStrategy()
    for (let round = roundsOr(8); round > 0; round--) {
      await sleep(random(500, 6_000))
      assert.strictEqual((await run.endService("SIGKILL")).signal, "SIGKILL")
      run.startService()
    }
    await run.awaitRow(run.now() + 2_000)
    await run.finish()
    const report = await run.endStrategy(strategy)
    tell("service killed", await run.compare(), report)
  })
)

it("a strategy that is killed again and again goes on where it was", { timeout: 30 * Minute }, () =>
  withFaults({ capacity: 1 << 18 }, async (run) => {
    const random = moments("strategy killed")
    run.startService()
    await run.awaitRow(0)
    const journal = run.place.path("journal")
    let strategy = await run.startStrategy({ journal })
    for (let round = roundsOr(8); round > 0; round--) {
      await sleep(random(100, 2_500))
      await strategy.end("SIGKILL")
      strategy = await run.startStrategy({ journal })
    }
    await run.finish()
    await sleep(500)
    const report = await run.endStrategy(strategy)
    const stored = await run.compare()
    tell("strategy killed", stored, report)
    assert.strictEqual(stored.missing, 0)
    assert.deepStrictEqual([report.ranges.length, report.lost], [1, 0], "no row is missing, none came twice")
  })
)

it(
  "a simulator that is killed again and again: the provider makes good what was missed",
  { timeout: 40 * Minute },
  () =>
    withFaults({}, async (run) => {
      const random = moments("simulator killed")
      run.startService()
      await run.awaitRow(0)
      const strategy = await run.startStrategy()
      for (let round = roundsOr(5); round > 0; round--) {
        await sleep(random(500, 6_000))
        await run.endMarket("SIGKILL")
        await sleep(random(0, 3_000))
        await run.resumeMarket()
      }
      await run.awaitRow(run.now(), 180)
      await run.finish()
      const report = await run.endStrategy(strategy)
      const stored = await run.compare()
      tell("simulator killed", stored, report)
      assert.strictEqual(stored.missing, 0, run.tail())
    })
)

it("a database that is killed again and again", { timeout: 30 * Minute }, () =>
  withFaults({}, async (run) => {
    const random = moments("database killed")
    run.startService()
    await run.awaitRow(0)
    const strategy = await run.startStrategy()
    for (let round = roundsOr(3); round > 0; round--) {
      await sleep(random(1_000, 6_000))
      await run.killDatabase()
      await run.awaitRow(run.now(), 120)
    }
    await run.finish()
    const report = await run.endStrategy(strategy)
    const stored = await run.compare()
    tell("database killed", stored, report)
    assert.strictEqual(stored.missing, 0)
    assert.strictEqual(report.ranges.length, 1, "nobody noticed")
  })
)
