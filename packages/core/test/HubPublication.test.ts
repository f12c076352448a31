import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { batchContext } from "../src/BatchContext.ts"
import * as Hub from "../src/Hub.ts"
import * as HubPublication from "../src/HubPublication.ts"
import { Publication } from "../src/Publication.ts"
import { tradeBuilder } from "../src/TradeBatch.ts"

const context = batchContext({ provider: "test", dataset: "TEST" })

/** Rows of a session; their keys are counted on from `first`. */
const rows = (first: number, count: number) => {
  const builder = tradeBuilder(context, count)
  for (let i = 0; i < count; i++) builder.columns.tradeKey[i] = BigInt(first + i)
  builder.length = count
  return { _tag: "FeedRows", session: "s", batch: builder.flush() } as const
}

/** A publication that writes down keys and gaps, in their order. */
const recorder = () => {
  const seen: Array<number | string> = []
  let position = 0n
  let durable = 0n
  const publication = Publication.of({
    name: "recorder",
    kinds: ["trades"],
    publish: (batch) =>
      Effect.sync(() => {
        if (batch._tag === "TradeBatch") seen.push(...Array.from(batch.columns.tradeKey, Number))
        position += BigInt(batch.length)
        return { position, demoted: 0 }
      }),
    publishGap: ({ cause }) => Effect.sync(() => void seen.push(cause)),
    markDurable: (_, upTo) =>
      Effect.sync(() => {
        durable = upTo
      }),
    connectionCount: Effect.succeed(0)
  })
  return { publication, seen, durable: () => durable }
}

const started = {
  _tag: "SessionStarted",
  session: "s",
  provider: "test",
  dataset: "TEST",
  schema: "trades",
  at: 0n
} as const
const missing = {
  _tag: "RowsMissing",
  session: "s",
  range: { start: 1n, end: 2n },
  cause: "sequence"
} as const

const within = (work: Effect.Effect<void, never, import("effect").Scope.Scope>) =>
  Effect.runPromise(Effect.scoped(work))

describe("a publication behind a hub", () => {
  it("holds back what comes until it is released, and then gives everything in its order", () =>
    within(
      Effect.gen(function* () {
        const { publication, seen, durable } = recorder()
        const hub = Hub.make()
        const publishing = yield* HubPublication.attach(hub, publication, new Map(), { holdRows: 100 })
        for (const entry of [started, rows(1, 3), missing, rows(4, 2)]) hub.publishNow(entry)
        assert.deepStrictEqual(seen, [])
        assert.deepStrictEqual(
          publishing.held()?.map(({ length }) => length),
          [3, 2]
        )
        // The store has the first rows before they are published.
        yield* publishing.markDurable(2n)
        assert.strictEqual(durable(), 0n)
        yield* publishing.release
        assert.isUndefined(publishing.held())
        assert.deepStrictEqual(seen, [1, 2, 3, "sequence", 4, 5])
        assert.strictEqual(durable(), 3n)
        hub.publishNow(rows(6, 1))
        assert.strictEqual(seen.at(-1), 6)
        assert.strictEqual(publishing.status().rows, 6n)
      })
    ))

  it("holds no more rows back than it may: all of them go on", () =>
    within(
      Effect.gen(function* () {
        const { publication, seen } = recorder()
        const hub = Hub.make()
        const publishing = yield* HubPublication.attach(hub, publication, new Map(), { holdRows: 4 })
        hub.publishNow(rows(1, 4))
        assert.deepStrictEqual(seen, [])
        hub.publishNow(rows(5, 1))
        assert.deepStrictEqual(seen, [1, 2, 3, 4, 5])
        assert.isUndefined(publishing.held())
        yield* publishing.release
        assert.deepStrictEqual(seen, [1, 2, 3, 4, 5])
      })
    ))

  it("holds nothing back where it is not asked to", () =>
    within(
      Effect.gen(function* () {
        const { publication, seen } = recorder()
        const hub = Hub.make()
        const publishing = yield* HubPublication.attach(hub, publication, new Map())
        assert.isUndefined(publishing.held())
        hub.publishNow(rows(1, 1))
        assert.deepStrictEqual(seen, [1])
      })
    ))
})
