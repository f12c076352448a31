import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { type FeedEntry, Hub } from "../src/index.ts"

const mark = (at: number): FeedEntry => ({ _tag: "Watermark", session: "s", at: BigInt(at) })

/** Times of the entries, and the losses as text. */
const seen = (events: ReadonlyArray<Hub.HubEvent>): ReadonlyArray<string> =>
  events.map((event) =>
    event._tag === "HubLoss"
      ? `lost ${event.first}..${event.last}`
      : event.entry._tag === "Watermark"
        ? `${event.number}:${event.entry.at}`
        : event.entry._tag
  )

const publishAll = (hub: Hub.Hub, from: number, to: number) =>
  Effect.forEach(
    Array.from({ length: to - from }, (_, i) => mark(from + i)),
    hub.publish,
    { discard: true }
  )

describe("a hub", () => {
  it.effect("gives every entry to every subscriber, in order", () =>
    Effect.gen(function* () {
      const hub = Hub.make()
      const first = yield* hub.subscribe({ name: "first", policy: "drop-oldest" })
      yield* publishAll(hub, 0, 2)
      const second = yield* hub.subscribe({ name: "second", policy: "fail" })
      yield* publishAll(hub, 2, 4)
      assert.deepStrictEqual(seen(yield* first.take), ["1:0", "2:1", "3:2", "4:3"])
      assert.deepStrictEqual(seen(yield* second.take), ["3:2", "4:3"])
      assert.deepStrictEqual(first.takeNow(), [])
      assert.strictEqual(hub.published(), 4n)
    })
  )

  it.effect("wakes a subscriber that waits", () =>
    Effect.gen(function* () {
      const hub = Hub.make()
      const subscription = yield* hub.subscribe({ name: "waiting", policy: "fail" })
      const taking = yield* Effect.forkChild(subscription.take, { startImmediately: true })
      yield* hub.publish(mark(7))
      assert.deepStrictEqual(seen(yield* Fiber.join(taking)), ["1:7"])
    })
  )

  it.effect("drops the oldest entries of a slow subscriber, tells them, and spares the others", () =>
    Effect.gen(function* () {
      const hub = Hub.make()
      const slow = yield* hub.subscribe({ name: "slow", policy: "drop-oldest", capacity: 3 })
      const other = yield* hub.subscribe({ name: "other", policy: "drop-oldest" })
      yield* publishAll(hub, 0, 10)
      assert.deepStrictEqual(seen(yield* slow.take), ["lost 1..7", "8:7", "9:8", "10:9"])
      assert.lengthOf(yield* other.take, 10)
      yield* publishAll(hub, 10, 11)
      assert.deepStrictEqual(seen(yield* slow.take), ["11:10"])
    })
  )

  it.effect("ends a subscription that must not lose anything, with what it lost", () =>
    Effect.gen(function* () {
      const hub = Hub.make()
      const strict = yield* hub.subscribe({ name: "strict", policy: "fail", capacity: 3 })
      yield* publishAll(hub, 0, 4)
      assert.deepStrictEqual(yield* Effect.flip(strict.take), {
        _tag: "HubOverflow",
        subscriber: "strict",
        rows: 4
      })
      yield* publishAll(hub, 4, 5)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(strict.take)))
      assert.strictEqual(strict.status().dropped, 4n)
    })
  )

  it.effect("makes the publisher wait for a subscriber that blocks, until there is room or it ends", () =>
    Effect.gen(function* () {
      const hub = Hub.make()
      const blocking = yield* hub.subscribe({ name: "blocking", policy: "block", capacity: 2 })
      const publishing = yield* Effect.forkChild(publishAll(hub, 0, 5), { startImmediately: true })
      yield* Effect.yieldNow
      assert.strictEqual(hub.published(), 2n)
      assert.deepStrictEqual(seen(yield* blocking.take), ["1:0", "2:1"])
      assert.deepStrictEqual(seen(yield* blocking.take), ["3:2", "4:3"])
      yield* Fiber.join(publishing)
      assert.strictEqual(hub.published(), 5n)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* hub.subscribe({ name: "leaving", policy: "block", capacity: 1 })
          yield* blocking.take
          yield* hub.publish(mark(5))
          yield* Effect.forkDetach(publishAll(hub, 6, 8), { startImmediately: true })
          assert.strictEqual(hub.published(), 6n)
        })
      )
      // One that has left keeps nobody waiting; the other one still does.
      yield* Effect.yieldNow
      assert.strictEqual(hub.published(), 7n)
      yield* blocking.take
      yield* Effect.yieldNow
      assert.strictEqual(hub.published(), 8n)
    })
  )

  it.effect("serves sinks within the call, and goes on without one that throws", () =>
    Effect.gen(function* () {
      const hub = Hub.make()
      const got: Array<string> = []
      yield* hub.attach({
        name: "broken",
        deliver: ({ number }) => {
          if (number === 2n) throw new Error("no more")
          got.push(`broken ${number}`)
        }
      })
      yield* hub.attach({ name: "sound", deliver: ({ number }) => void got.push(`sound ${number}`) })
      yield* publishAll(hub, 0, 3)
      assert.deepStrictEqual(got, ["broken 1", "sound 1", "sound 2", "sound 3"])
    })
  )
})
