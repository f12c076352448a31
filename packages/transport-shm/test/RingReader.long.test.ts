// Long forms of what RingReader.test.ts shows in short.
import type { SubscriptionEvent } from "@data-manager/core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { RingReader } from "../src/RingReader.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { TestProcess, testDirectory } from "./process/TestProcess.ts"

beforeEach(needsAddon)

const place = { dir: "", remove: () => {} }
const started: Array<TestProcess> = []
beforeEach(() => Object.assign(place, testDirectory()))
afterEach(async () => {
  for (const process of started.splice(0)) await process.end()
  place.remove()
})

const writer = async (capacity: number): Promise<TestProcess> => {
  const process = new TestProcess("writer.ts", [place.dir, "t", JSON.stringify({ capacity })])
  started.push(process)
  await process.answer()
  return process
}

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

describe("for long", { timeout: 600_000 }, () => {
  it("a producer stopped for 5 s is not taken for dead, and no row is missing when it goes on", async () => {
    const process = await writer(1 << 16)
    const reader = new RingReader({ dir: place.dir, name: "t", watchMillis: 20 })
    const others: Array<SubscriptionEvent> = []
    let next = 0n
    reader.listen((events) => {
      for (const event of events) {
        if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch") others.push(event)
        else for (const key of event.batch.columns.tradeKey) if (key === next) next++
      }
    })
    process.tell("forever 64 1000")
    while (next < 1_000n) await pause(10)
    process.signal("SIGSTOP")
    await pause(200)
    const before = next
    assert.strictEqual(Number(before), reader.position)
    await pause(5_000)
    assert.strictEqual(next, before)
    process.signal("SIGCONT")
    while (next < before + 10_000n) await pause(10)
    assert.deepStrictEqual(others, [])
    assert.strictEqual(reader.stats.lost, 0)
    reader.close()
  })

  it("a Node reader follows producers killed at random: every row once, every restart told", async () => {
    const reader = new RingReader({ dir: place.dir, name: "t", ...(await first()) })
    let next = 0n
    let restarts = 0
    reader.listen((events) => {
      for (const event of events) {
        if (event._tag === "Lost") assert.fail(`lost ${event.from} to ${event.to}`)
        if (event._tag === "ProducerRestarted") {
          assert.isAtLeast(Number(event.position), Number(next))
          restarts++
        }
        if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch") continue
        for (const key of event.batch.columns.tradeKey) assert.strictEqual(key, next++)
      }
    })
    const kills = 30
    for (let k = 0; k < kills; k++) {
      await pause(50 + ((k * 37) % 100))
      await started.pop()!.end("SIGKILL")
      const process = await writer(1 << 16)
      process.tell("forever 64 1000")
    }
    const goal = next + 1_000n
    while (next < goal) await pause(10)
    assert.strictEqual(restarts, kills)
    reader.close()
  })
})

/** The first producer, running; options of a reader that misses none of its rows. */
const first = async () => {
  const process = await writer(1 << 16)
  process.tell("forever 64 1000")
  return { start: { _tag: "Sequence", sequence: 0n } } as const
}
