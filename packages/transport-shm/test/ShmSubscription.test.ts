// What core's `Subscription` over a ring does beyond the suite.
import {
  AllSymbols,
  Decimal,
  type SubscriptionEvent,
  type SubscriptionHandle,
  type TradeBatch
} from "@data-manager/core"
import { Effect } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { RingWriter } from "../src/RingWriter.ts"
import * as ShmSubscription from "../src/ShmSubscription.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { testDirectory } from "./process/TestProcess.ts"
import { contextOf, trades } from "./TestBatch.ts"

beforeEach(needsAddon)

const place = { dir: "", remove: () => {} }
beforeEach(() => Object.assign(place, testDirectory()))
afterEach(() => place.remove())

const context = contextOf(4)
const batchOf = (events: ReadonlyArray<SubscriptionEvent>): TradeBatch => {
  const [event] = events
  return event?._tag === "Batch" ? (event.batch as TradeBatch) : assert.fail(`no batch: ${event?._tag}`)
}

const withRing = (
  work: (writer: RingWriter, topic: SubscriptionHandle, filtered: SubscriptionHandle) => void
) =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const writer = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
        const made = yield* ShmSubscription.make({ dir: place.dir, name: "t", reuseMemory: true })
        const symbols = [AllSymbols]
        const topic = yield* made.subscribe({ _tag: "Topic", symbols })
        const filtered = yield* made.subscribe({
          _tag: "Filtered",
          symbols,
          throttleMillis: 50,
          minQuantity: Decimal.make(0n, 0)
        })
        yield* Effect.sync(() => work(writer, topic, filtered))
        writer.close()
      })
    )
  )

const busyFor = (millis: number): void => {
  const end = performance.now() + millis
  while (performance.now() < end);
}

describe("memory that is used again", { timeout: 60_000 }, () => {
  it("is that of the next poll: a batch is valid until then", () =>
    withRing((writer, topic) => {
      writer.publish(trades(context, 4, 0, 8))
      const first = batchOf(topic.poll(64))
      assert.strictEqual(first.columns.tradeKey[0], 0n)
      writer.publish(trades(context, 4, 8, 8))
      const second = batchOf(topic.poll(64))
      assert.strictEqual(second.columns.tradeKey[0], 8n)
      assert.strictEqual(second.columns.tradeKey.buffer, first.columns.tradeKey.buffer)
    }))

  it("is not used by filtered subscriptions, which hold trades back over many polls", () =>
    withRing((writer, _, filtered) => {
      const one = (n: number) => {
        const batch = trades(context, 1, n, 1)
        batch.columns.size[0] = BigInt(n + 1)
        batch.columns.sizeExponent[0] = 0
        return batch
      }
      writer.publish(one(0))
      assert.strictEqual(batchOf(filtered.poll(64)).columns.tradeKey[0], 0n)
      writer.publish(one(1)) // within the window: held back
      assert.deepStrictEqual(filtered.poll(64), [])
      busyFor(60)
      const held = batchOf(filtered.poll(64))
      assert.deepStrictEqual([...held.columns.tradeKey], [1n])
      // What comes next is written elsewhere.
      writer.publish(one(2))
      filtered.poll(64)
      assert.deepStrictEqual([...held.columns.tradeKey], [1n])
    }))
})
