/** A live stream that ends is begun again where it ended; what the provider repeats of that moment is given on once. */
import {
  Hub,
  LiveFeed,
  LocalInstruments,
  type Provider,
  ProviderError,
  ProviderUnavailable,
  selectTrades,
  type TradeBatch
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as TestProvider from "../src/TestProvider.ts"
import { TestVenue } from "../src/TestVenue.ts"

describe("a live feed", () => {
  it.effect("gives on what a stream repeats of the one before once", () =>
    Effect.gen(function* () {
      const venue = new TestVenue()
      const local = LocalInstruments.make()
      const inner = TestProvider.make(venue, { register: local.register })
      const asked: Array<bigint | undefined> = []
      const gone = new ProviderError({
        provider: "test",
        operation: "live",
        reason: new ProviderUnavailable({ detail: "gone" })
      })
      // The first stream ends after 200 rows; the second one has everything of that last moment once more.
      const provider: Provider = {
        ...inner,
        live: (selection, options) => {
          asked.push(options?.from)
          const from = options?.from
          if (from !== undefined) return inner.live(selection, { from: from - 20_000n })
          let rows = 0
          return inner.live(selection, options).pipe(
            Stream.takeUntil((event) => {
              if (event._tag === "Batch") rows += event.batch.length
              return rows >= 200
            }),
            Stream.concat(Stream.fail(gone))
          )
        }
      }
      const hub = Hub.make()
      const subscription = yield* hub.subscribe({ name: "test", policy: "fail" })
      const feed = LiveFeed.make({
        provider,
        hub,
        register: local.register,
        selection: { dataset: "TEST", schema: "trades", stypeIn: "raw_symbol", symbols: ["A", "B", "C"] },
        name: "feed"
      })
      yield* Effect.forkScoped(feed.run)
      const keys: Array<string> = []
      while (keys.length < 600) {
        yield* TestClock.adjust("2 seconds")
        for (const event of subscription.takeNow())
          if (event._tag === "HubEntry" && event.entry._tag === "FeedRows") {
            const { batch } = event.entry
            for (let i = 0; i < batch.length; i++)
              if (batch._tag === "TradeBatch")
                keys.push(`${batch.symbolAt(i)} ${batch.columns.tsEvent[i]} ${batch.columns.tradeKey[i]}`)
          }
      }
      assert.lengthOf(asked, 2)
      assert.isDefined(asked[1])
      assert.strictEqual(new Set(keys).size, 600)
      assert.lengthOf(keys, 600)
    })
  )

  it.effect("names trades that did not come, where a venue numbers them one by one", () =>
    Effect.gen(function* () {
      const venue = new TestVenue()
      const local = LocalInstruments.make()
      const inner = TestProvider.make(venue, {
        register: local.register,
        capabilities: { consecutiveIds: true }
      })
      const next = new Map<number, bigint>()
      let seen = 0
      let left = 0
      // Every trade gets the next number of its instrument; every twentieth is lost on the way.
      const numbered = (batch: TradeBatch): TradeBatch => {
        const kept: Array<number> = []
        for (let i = 0; i < batch.length; i++) {
          const id = batch.columns.instrument[i]!
          const number = (next.get(id) ?? 0n) + 1n
          next.set(id, number)
          batch.columns.tradeKey[i] = number
          seen += 1
          if (seen % 20 === 0 && number > 1n) left += 1
          else kept.push(i)
        }
        return selectTrades(batch, kept)
      }
      const provider: Provider = {
        ...inner,
        live: (selection, options) =>
          inner
            .live(selection, options)
            .pipe(
              Stream.map((event) =>
                event._tag === "Batch" && event.batch._tag === "TradeBatch"
                  ? { ...event, batch: numbered(event.batch) }
                  : event
              )
            )
      }
      const hub = Hub.make()
      const subscription = yield* hub.subscribe({ name: "test", policy: "fail" })
      const feed = LiveFeed.make({
        provider,
        hub,
        register: local.register,
        selection: { dataset: "TEST", schema: "trades", stypeIn: "raw_symbol", symbols: ["A", "B", "C"] },
        name: "feed"
      })
      yield* Effect.forkScoped(feed.run)
      let rows = 0
      const causes: Array<string> = []
      while (rows + left < 600) {
        yield* TestClock.adjust("1 seconds")
        for (const event of subscription.takeNow()) {
          if (event._tag !== "HubEntry") continue
          if (event.entry._tag === "FeedRows") rows += event.entry.batch.length
          if (event.entry._tag === "RowsMissing") causes.push(event.entry.cause)
        }
      }
      assert.isAbove(left, 20)
      // Two in a row are one hole; the last of an instrument does not show.
      assert.isAtMost(causes.length, left)
      assert.isAtLeast(causes.length, left - 6)
      assert.isTrue(causes.every((cause) => cause === "sequence"))
    })
  )

  it.effect(
    "begins where the session before ended, as soon as a replay shows that it reaches back to there",
    () =>
      Effect.gen(function* () {
        const venue = new TestVenue({ isManual: true })
        const local = LocalInstruments.make()
        const provider = TestProvider.make(venue, { register: local.register, batchRows: 8 })
        const hub = Hub.make()
        const subscription = yield* hub.subscribe({ name: "test", policy: "fail" })
        const heldUntil = (venue.tape[300]!.tsRecv / 1000n) * 1000n
        const feed = LiveFeed.make({
          provider,
          hub,
          register: local.register,
          selection: { dataset: "TEST", schema: "trades", stypeIn: "raw_symbol", symbols: ["A", "B", "C"] },
          name: "feed",
          heldUntil
        })
        yield* Effect.forkScoped(feed.run)
        const started: Array<bigint> = []
        const times: Array<bigint> = []
        const look = () => {
          for (const event of subscription.takeNow()) {
            if (event._tag !== "HubEntry") continue
            if (event.entry._tag === "SessionStarted") started.push(event.entry.at)
            if (event.entry._tag === "FeedRows" && event.entry.batch._tag === "TradeBatch")
              times.push(...event.entry.batch.columns.tsRecv)
          }
        }
        // Nothing has happened since: the session is there all the same, and has no rows.
        yield* venue.advance(300)
        yield* TestClock.adjust("1 seconds")
        look()
        assert.deepStrictEqual([started, times], [[heldUntil], []])
        const expected = venue.tape.map(({ tsRecv }) => tsRecv).filter((time) => time >= heldUntil)
        yield* venue.advance(300)
        for (let i = 0; i < 100 && times.length < expected.length; i++) {
          yield* TestClock.adjust("100 millis")
          look()
        }
        assert.deepStrictEqual(times, expected)
        assert.lengthOf(started, 1)
      })
  )
})
