/** What finds no room in a spool is recorded as missing, whenever and as often as there is none. */
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import {
  batchContext,
  type FeedEntry,
  Hub,
  HubSpool,
  type Provider,
  type Spool,
  type TradeBatch,
  tradeBuilder
} from "../src/index.ts"
import { LiveSession } from "../src/LiveSession.ts"
import { SeededRandom } from "./SeededRandom.ts"

const context = batchContext({ provider: "test", dataset: "TEST" })

const batchOf = (times: ReadonlyArray<bigint>): TradeBatch => {
  const builder = tradeBuilder(context, times.length)
  for (const [i, time] of times.entries()) {
    builder.columns.tsEvent[i] = time - 1_000n
    builder.columns.tsRecv[i] = time
  }
  builder.length = times.length
  return builder.flush()
}

/** A spool that has room or not, by chance and for a while. */
const moody = (random: SeededRandom, kept: Array<FeedEntry>): Spool.Spool["Service"] => {
  let isFull = false
  return {
    append: (entry: FeedEntry) =>
      Effect.sync((): Spool.SpoolAppended => {
        if (random.below(8) === 0) isFull = !isFull
        // Notes find room where rows do not, most of the time.
        if (isFull && (entry._tag === "FeedRows" || random.below(4) === 0))
          return { _tag: "Dropped", cause: random.below(2) === 0 ? "overflow" : "disk-full" }
        kept.push(entry)
        return { _tag: "Appended", frame: BigInt(kept.length) }
      })
  } as unknown as Spool.Spool["Service"]
}

const timesOf = (batch: TradeBatch): ReadonlyArray<bigint> => [
  ...batch.columns.tsRecv.subarray(0, batch.length)
]

describe("a spool behind a hub", () => {
  it("holds no time of a row that found no room", async () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new SeededRandom(seed)
      const kept: Array<FeedEntry> = []
      const published: Array<bigint> = []
      await Effect.runPromise(
        Effect.scoped(
          Effect.gen(function* () {
            const hub = Hub.make()
            const spooling = yield* HubSpool.attach(hub, moody(random, kept))
            const session = new LiveSession("test/1", {
              provider: { id: "test", capabilities: {} } as Provider,
              selection: { dataset: "TEST", schema: "trades", stypeIn: "raw_symbol", symbols: ["A"] },
              hub
            })
            let time = 1_767_623_400_000_000_000n
            let now = 0
            for (let i = 0; i < 200; i++) {
              const times = Array.from({ length: 1 + random.below(4) }, () => {
                time += BigInt(random.below(3) * random.below(900))
                return time
              })
              published.push(...times)
              session.add(batchOf(times), now)
              now += random.below(30)
              if (random.below(10) === 0) session.mark(now)
              if (random.below(10) === 0) (spooling as unknown as { readonly settle: () => void }).settle()
            }
            session.end()
          })
        )
      )
      const stored = new Map<bigint, number>()
      for (const entry of kept)
        if (entry._tag === "FeedRows")
          for (const time of timesOf(entry.batch as TradeBatch)) stored.set(time, (stored.get(time) ?? 0) + 1)
      const start = kept.find((entry) => entry._tag === "SessionStarted")?.at
      const watermark = kept.reduce(
        (most, entry) => (entry._tag === "Watermark" && entry.at > most ? entry.at : most),
        start ?? 0n
      )
      const missing = kept.flatMap((entry) => (entry._tag === "RowsMissing" ? [entry.range] : []))
      const counts = new Map<bigint, number>()
      for (const time of published) counts.set(time, (counts.get(time) ?? 0) + 1)
      for (const [time, count] of counts) {
        if ((stored.get(time) ?? 0) === count || start === undefined) continue
        const micro = (time / 1_000n) * 1_000n
        const isHeld =
          start <= micro &&
          micro < watermark &&
          !missing.some((each) => each.start <= micro && micro < each.end)
        assert.isFalse(isHeld, `seed ${seed}: ${time} is held, from ${start} to ${watermark}`)
      }
    }
  })
})
