import type { SubscriptionEvent, TradeBatch } from "@data-manager/core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { RingReader } from "../src/RingReader.ts"
import { TestProcess, testDirectory } from "./process/TestProcess.ts"
import { isTrade } from "./TestBatch.ts"

const place = { dir: "", remove: () => {} }
const started: Array<TestProcess> = []
const readers: Array<RingReader> = []

beforeEach(() => Object.assign(place, testDirectory()))
afterEach(async () => {
  for (const reader of readers.splice(0)) reader.close()
  for (const process of started.splice(0)) await process.end()
  place.remove()
})

const writer = async (
  options: object = {}
): Promise<TestProcess & { readonly first: Record<string, unknown> }> => {
  const process = new TestProcess("writer.ts", [place.dir, "t", JSON.stringify(options)])
  started.push(process)
  const first = await process.answer()
  return Object.assign(process, { first })
}

const reader = (options: Partial<ConstructorParameters<typeof RingReader>[0]> = {}): RingReader => {
  const made = new RingReader({ dir: place.dir, name: "t", ...options })
  readers.push(made)
  return made
}

const until = async (from: RingReader, enough: (events: ReadonlyArray<SubscriptionEvent>) => boolean) => {
  const all: Array<SubscriptionEvent> = []
  const signal = AbortSignal.timeout(10_000)
  for await (const events of from.events({ signal })) {
    all.push(...events)
    if (enough(all)) return all
  }
  assert.fail(`timed out with ${all.map((event) => event._tag).join(" ")}`)
}

const rows = (events: ReadonlyArray<SubscriptionEvent>): number =>
  events.reduce(
    (sum, event) => sum + (event._tag === "Batch" || event._tag === "Snapshot" ? event.batch.length : 0),
    0
  )
const batches = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<TradeBatch> =>
  events.flatMap((event) =>
    event._tag === "Batch" || event._tag === "Snapshot" ? [event.batch as TradeBatch] : []
  )
const tags = (events: ReadonlyArray<SubscriptionEvent>) =>
  events.map((event) => event._tag).filter((tag) => tag !== "Batch")

const assertTape = (events: ReadonlyArray<SubscriptionEvent>, first: number, symbols = 8): void => {
  let n = first
  for (const batch of batches(events))
    for (let i = 0; i < batch.length; i++) assert.isTrue(isTrade(batch, i, n++, symbols), `row ${n - 1}`)
}

describe("two processes", () => {
  it("delivers every column of every row", async () => {
    const process = await writer({ capacity: 4096 })
    const from = reader()
    process.tell("publish 0 1000")
    const events = await until(from, (all) => rows(all) >= 1000)
    assertTape(events, 0)
    assert.strictEqual(batches(events)[0]!.row(0).exchange, "XVEN")
    assert.strictEqual(batches(events)[0]!.context.provider, "binance")
    assert.deepStrictEqual(tags(events), [])
  })
})
