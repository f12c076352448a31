/** A live stream that ends is begun again where it ended; what the provider repeats of that moment is given on once. */
import {
  Hub,
  LiveFeed,
  LocalInstruments,
  type Provider,
  ProviderError,
  ProviderUnavailable
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
})
