import { batchContext, type MarketBatch, UnixNanos } from "@data-manager/core"
import { assert, describe, it } from "vitest"
import { DbnBatches } from "../../src/DbnBatches.ts"
import { decodeBlocks, encodeStream, type TradeRecord } from "../../src/dbn/index.ts"
import { REPLAY_WINDOW, ResumePlan } from "../../src/live/ResumePlan.ts"
import { SeenRows } from "../../src/live/SeenRows.ts"
import { DATASET, TAPE_START, trade } from "./Tape.ts"

const second = UnixNanos.PerSecond
const minute = 60n * second

const setup = (options: { asked?: bigint; resumes?: boolean } = {}) => {
  const seen = new SeenRows()
  const plan = new ResumePlan(seen, options.asked, 5n * minute, options.resumes ?? true)
  const give = (...records: ReadonlyArray<TradeRecord>): void => {
    const batches = new DbnBatches({ context: batchContext({ provider: "databento", dataset: DATASET }) })
    const count = (batch: MarketBatch): void => seen.count(batch)
    for (const block of decodeBlocks([encodeStream({ dataset: DATASET }, records)])) batches.add(block, count)
    batches.flush(count)
  }
  return { plan, give }
}

describe("from where a stream goes on", () => {
  it("begins now, and remembers from when rows are whole", () => {
    const { plan } = setup()
    assert.deepStrictEqual(plan.plan("trades", TAPE_START), {
      start: undefined,
      lostFrom: undefined,
      cause: "disconnect"
    })
    assert.deepStrictEqual(plan.started("trades", TAPE_START + 1n), {
      from: TAPE_START + 1000n,
      hole: undefined
    })
    // Nothing came before the break: everything since the beginning is asked for.
    assert.strictEqual(plan.plan("trades", TAPE_START + minute).start, TAPE_START + 1000n)
  })

  it("reaches back to the lowest newest row, within the overlap, and at least the time that rows may be late", () => {
    const { plan, give } = setup({ asked: TAPE_START - 3600n * second + 7n })
    assert.strictEqual(plan.plan("trades", TAPE_START).start, TAPE_START - 3600n * second)
    plan.started("trades", TAPE_START)
    plan.caughtUp("trades", TAPE_START, 1)
    give(trade({ tsEvent: TAPE_START }))
    assert.strictEqual(plan.plan("trades", TAPE_START).start, TAPE_START - 10n * second)
    give(trade({ instrumentId: 7, tsEvent: TAPE_START - minute + 1n }))
    assert.strictEqual(plan.plan("trades", TAPE_START).start, TAPE_START - minute)
    give(trade({ instrumentId: 8, tsEvent: TAPE_START - 20n * minute }))
    assert.strictEqual(plan.plan("trades", TAPE_START).start, TAPE_START - 5n * minute)
    assert.isUndefined(plan.plan("trades", TAPE_START).lostFrom)
  })

  it("begins a replay again where it began, until it is complete", () => {
    const { plan, give } = setup({ asked: TAPE_START })
    plan.plan("trades", TAPE_START + 1800n * second)
    plan.started("trades", TAPE_START + 1800n * second)
    assert.deepStrictEqual(plan.catchingUp, ["trades"])
    give(trade({ tsEvent: TAPE_START + 900n * second }))
    assert.strictEqual(plan.plan("trades", TAPE_START + 1801n * second).start, TAPE_START)
    plan.caughtUp("trades", TAPE_START, 1)
    assert.strictEqual(plan.plan("trades", TAPE_START + 1801n * second).start, TAPE_START + 890n * second)
  })

  it("takes a replay of several lines for complete after as many words, or a while after the first", () => {
    const later = TAPE_START + 1800n * second
    for (const [words, wait, isComplete] of [
      [1, 0n, false],
      [3, 0n, true],
      [1, 601n * second, true],
      [0, 3600n * second, false]
    ] as const) {
      const { plan, give } = setup({ asked: TAPE_START })
      plan.plan("trades", later)
      plan.started("trades", later)
      give(trade({ tsEvent: TAPE_START + 900n * second }))
      for (let n = 0; n < words; n++) plan.caughtUp("trades", later, 3)
      const { start } = plan.plan("trades", later + wait)
      assert.strictEqual(
        start,
        isComplete ? TAPE_START + 890n * second : TAPE_START,
        `${words} words, ${wait} ns`
      )
    }
  })

  it("reports what is older than the gateway's replay", () => {
    const { plan, give } = setup()
    plan.plan("trades", TAPE_START)
    plan.started("trades", TAPE_START)
    give(trade({ tsEvent: TAPE_START + 60n * second }))
    const now = TAPE_START + 2n * UnixNanos.PerDay
    const planned = plan.plan("trades", now)
    assert.strictEqual(planned.start, now - REPLAY_WINDOW)
    assert.deepStrictEqual(plan.started("trades", now), {
      from: now - REPLAY_WINDOW,
      hole: { start: TAPE_START + 50n * second, end: now - REPLAY_WINDOW, cause: "disconnect" }
    })
    // The same for a beginning that was asked for.
    const late = setup({ asked: TAPE_START })
    late.plan.plan("trades", now)
    assert.deepStrictEqual(late.plan.started("trades", now).hole, {
      start: TAPE_START,
      end: now - REPLAY_WINDOW,
      cause: "provider"
    })
  })

  it("reports everything since the last row where there is no replay", () => {
    const { plan, give } = setup({ resumes: false })
    plan.plan("trades", TAPE_START)
    plan.started("trades", TAPE_START)
    give(trade({ tsEvent: TAPE_START + 60n * second }))
    const now = TAPE_START + 100n * second
    assert.isUndefined(plan.plan("trades", now).start)
    assert.deepStrictEqual(plan.started("trades", now + 1n), {
      from: now + 1000n,
      hole: { start: TAPE_START + 50n * second, end: now + 1000n, cause: "disconnect" }
    })
  })

  it("gives up a replay that has aged out, once", () => {
    const { plan, give } = setup({ asked: TAPE_START })
    plan.plan("trades", TAPE_START)
    plan.started("trades", TAPE_START)
    give(trade({ tsEvent: TAPE_START + 60n * second }))
    plan.agedOut()
    const now = TAPE_START + 100n * second
    assert.isUndefined(plan.plan("trades", now).start)
    assert.deepStrictEqual(plan.started("trades", now).hole, {
      start: TAPE_START,
      end: now,
      cause: "provider"
    })
    assert.strictEqual(plan.plan("trades", now).start, TAPE_START + 50n * second)
  })

  it("bounds what a slow reader lost", () => {
    const { plan, give } = setup({ asked: TAPE_START })
    plan.plan("trades", TAPE_START)
    plan.started("trades", TAPE_START)
    plan.caughtUp("trades", TAPE_START, 1)
    assert.deepStrictEqual(plan.skipped("trades", TAPE_START + 5n), {
      start: TAPE_START,
      end: TAPE_START + 1000n,
      cause: "slow-reader"
    })
    give(trade({ tsEvent: TAPE_START + 60n * second }))
    assert.strictEqual(plan.skipped("trades", TAPE_START + 70n * second)?.start, TAPE_START + 50n * second)
    assert.isUndefined(plan.skipped("mbp-1", TAPE_START))
  })
})
