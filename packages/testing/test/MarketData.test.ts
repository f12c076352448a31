/** Stored and live rows as one stream: each row once, whatever the store has by then. */
import {
  batchContext,
  directory,
  InstrumentRegistry,
  type ListingClaim,
  MarketData,
  type MarketEvent,
  MarketStore,
  MemoryTransport,
  StoredSnapshots,
  StoreMigrations,
  Subscription,
  type SubscriptionEvent,
  type TradeBatch,
  tradeBuilder
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Ref, Schedule, Stream } from "effect"
import { SeededRandom } from "../src/SeededRandom.ts"
import { memoryDatabase } from "./MemoryStore.ts"

type Store = MarketStore["Service"]

const symbols = ["A", "B", "C"]
const always = { start: 0n, end: 4_000_000_000_000_000_000n }
const claims: ReadonlyArray<ListingClaim> = symbols.map((rawSymbol) => ({
  provider: "test",
  dataset: "TEST",
  rawSymbol,
  valid: always,
  defaultPriceScale: 2,
  defaultSizeScale: 0
}))

/** As the publisher numbers its instruments: other than the store does. */
const published = batchContext({
  provider: "test",
  dataset: "TEST",
  keyKind: "venue-id",
  instruments: directory(
    symbols.map((rawSymbol, i) => ({
      id: 100 + i,
      provider: "test",
      dataset: "TEST",
      rawSymbol,
      symbol: `TEST:${rawSymbol}`,
      priceScale: 2,
      sizeScale: 0,
      assetClass: "unknown" as const
    }))
  )
})

/** Trades with keys `[first, first + rows)`, at these times. */
const trades = (first: number, times: ReadonlyArray<bigint>): TradeBatch => {
  const builder = tradeBuilder(published, times.length)
  const c = builder.columns
  for (const [i, time] of times.entries()) {
    c.tsEvent[i] = time
    c.tsRecv[i] = time + 500n
    c.tradeKey[i] = BigInt(first + i)
    c.price[i] = BigInt(first + i)
    c.size[i] = 1n
    c.priceExponent[i] = -2
    c.instrument[i] = 100 + ((first + i) % symbols.length)
  }
  builder.length = times.length
  return builder.flush()
}

/** A publisher whose rows come into the store later, in order. */
class Publisher {
  readonly #store: Store
  readonly #transport: MemoryTransport.MemoryTransport
  readonly #numbers: ReadonlyMap<number, number>
  readonly #run: bigint
  #stored = 0n
  readonly #waiting: Array<readonly [batch: TradeBatch, position: bigint]> = []
  next = 0

  constructor(
    store: Store,
    transport: MemoryTransport.MemoryTransport,
    numbers: ReadonlyMap<number, number>,
    run: bigint
  ) {
    this.#store = store
    this.#transport = transport
    this.#numbers = numbers
    this.#run = run
  }

  publish(times: ReadonlyArray<bigint>) {
    const batch = trades(this.next, times)
    this.next += times.length
    return Effect.map(Effect.orDie(this.#transport.publication.publish(batch)), ({ position }) => {
      this.#waiting.push([batch, position])
    })
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** The oldest batch that is not stored. */
  get commit() {
    return Effect.gen({ self: this }, function* () {
      const oldest = this.#waiting.shift()
      if (oldest === undefined) return
      const [batch, position] = oldest
      const own = tradeBuilder({ ...published, instruments: directory([]) }, batch.length)
      for (const [name, column] of Object.entries(batch.columns))
        (own.columns as unknown as Record<string, Int8Array>)[name]!.set(column as Int8Array)
      for (let i = 0; i < batch.length; i++)
        own.columns.instrument[i] = this.#numbers.get(batch.columns.instrument[i]!)!
      own.length = batch.length
      this.#stored += 1n
      yield* this.#store.append(own.flush(), {
        run: this.#run,
        stream: { name: "s", from: this.#stored, to: this.#stored + 1n }
      })
      yield* Effect.orDie(this.#transport.publication.markDurable("trades", position))
    })
  }
}

/** A store, a publisher, and the layer of `MarketData` on both. `slow`: pauses between the batches of a read. */
const setUp = Effect.fnUntraced(function* (
  options: { readonly slow?: number; readonly capacity?: number } = {}
) {
  const database = yield* memoryDatabase()
  yield* Effect.flatMap(StoreMigrations, (schema) => schema.up()).pipe(Effect.provide(database.migrations))
  const store = yield* Effect.map(MarketStore, (each) => each).pipe(Effect.provide(database.store))
  const stored = yield* store.registerListings(claims)
  const transport = yield* MemoryTransport.make({ name: "test", capacity: options.capacity ?? 1_000_000 })
  const run = yield* store.beginRun({
    kind: "spool",
    source: "test",
    provider: "test",
    dataset: "TEST",
    fingerprint: "test"
  })
  const numbers = new Map(stored.map(({ id }, i) => [100 + i, id]))
  const publisher = new Publisher(store, transport, numbers, run.id)
  const reading: Store = {
    ...store,
    // A server takes a moment to begin, and what is committed meanwhile is in its answer.
    readTrades: (request) =>
      Stream.unwrap(
        Effect.as(
          Effect.sleep(`${options.slow ?? 0} millis`),
          store.readTrades({ ...request, batchRows: 7 }).pipe(Stream.tap(() => Effect.sleep("1 millis")))
        )
      )
  }
  const registry = InstrumentRegistry.layer.pipe(Layer.provideMerge(Layer.succeed(MarketStore, reading)))
  const layer = MarketData.layer.pipe(
    Layer.provide(Layer.effect(Subscription, transport.connect())),
    Layer.provide(registry)
  )
  return { store, publisher, transport, layer, registry }
})

const keysOf = (events: ReadonlyArray<MarketEvent>): ReadonlyArray<number> =>
  events.flatMap((event) =>
    event._tag === "Batch" ? Array.from((event.batch as TradeBatch).columns.tradeKey, Number) : []
  )

const sorted = (keys: Iterable<number>): ReadonlyArray<number> => [...keys].sort((a, b) => a - b)

/** Collects in the background; `count` rows seen so far. */
const collecting = Effect.fnUntraced(function* (stream: Stream.Stream<MarketEvent, unknown>) {
  const events: Array<MarketEvent> = []
  const seen = yield* Ref.make(0)
  const fiber = yield* Effect.forkScoped(
    Stream.runForEach(stream, (event) =>
      Effect.andThen(
        Effect.sync(() => void events.push(event)),
        Ref.update(seen, (n) => n + (event._tag === "Batch" ? event.batch.length : 0))
      )
    )
  )
  const rows = (wanted: number) =>
    Effect.repeat(Ref.get(seen), {
      until: (n) => n >= wanted || fiber.pollUnsafe() !== undefined,
      schedule: Schedule.spaced("10 millis")
    })
  return { events, fiber, seen, rows }
})

const second = 1_000_000_000n

describe("MarketData", () => {
  it.live(
    "joins stored and live rows: every row once, at any moment of joining",
    () =>
      Effect.gen(function* () {
        for (let seed = 1; seed <= 40; seed++) {
          const random = new SeededRandom(seed)
          const within = (least: number, most: number) => random.between(least, most)
          const base = BigInt(Date.now()) * 1_000_000n - BigInt(within(0, 200)) * second
          // Where the store lags far behind, the transport has forgotten what was not stored when somebody subscribes.
          const lag = [0, 0, within(1, 3), within(60, 90)][within(0, 3)]!
          const { layer, publisher } = yield* setUp({
            slow: within(0, 12),
            capacity: lag > 3 ? 200 : 1_000_000
          })
          const times: Array<bigint> = []
          const step = Effect.suspend(() => {
            const rows = within(1, 9)
            const fresh = Array.from({ length: rows }, () => {
              // One row in ten is late: its time lies far back.
              const back = within(0, 2) === 0 ? within(0, 190) : 0
              return base + BigInt(times.length + 1) * 1_000_000n - BigInt(back) * second
            })
            times.push(...fresh)
            return publisher.publish(fresh)
          })
          const turn = Effect.gen(function* () {
            if (within(0, 2) > 0) yield* step
            if (publisher.waiting > lag) yield* publisher.commit
            yield* Effect.sleep(`${within(0, 1)} millis`)
          })
          for (let i = within(0, 150); i > 0; i--) yield* turn
          const from = base - BigInt(within(0, 100)) * second
          yield* Effect.gen(function* () {
            const data = yield* MarketData
            const { events, fiber, rows } = yield* collecting(
              data.subscribe({ symbols: ["TEST:A", "C"], from })
            )
            for (let i = 0; i < 120; i++) yield* turn
            while (publisher.waiting > 0) yield* publisher.commit
            for (let i = 0; i < 20; i++) yield* turn
            const subscribed = keysOf(events).length
            assert.isAtLeast(subscribed, 0)
            const isWanted = (key: number) => key % 3 !== 1
            const all = sorted(times.keys()).filter(isWanted)
            // Rows before `from` are wanted only where they came live.
            const needed = all.filter((key) => times[key]! >= from)
            yield* Effect.timeout(rows(needed.length), "10 seconds")
            yield* Effect.sleep("20 millis")
            yield* Fiber.interrupt(fiber)
            const keys = keysOf(events)
            assert.strictEqual(new Set(keys).size, keys.length, `seed ${seed}: none twice`)
            const seen = new Set(keys)
            assert.deepStrictEqual(
              needed.filter((key) => !seen.has(key)),
              [],
              `seed ${seed}: none missing`
            )
            assert.isTrue(keys.every(isWanted))
            assert.lengthOf(
              events.filter(({ _tag }) => _tag === "Live"),
              1
            )
            assert.lengthOf(
              events.filter(({ _tag }) => _tag === "Lost"),
              0
            )
            const live = events.findIndex(({ _tag }) => _tag === "Live")
            const storedTimes = keysOf(events.slice(0, live)).map((key) => times[key]!)
            for (let i = 1; i < storedTimes.length; i++)
              assert.isTrue(storedTimes[i - 1]! <= storedTimes[i]!, "stored rows are in order of time")
            const after = keysOf(events.slice(live))
            assert.deepStrictEqual(after, sorted(after), "live rows come as they were published")
          }).pipe(Effect.scoped, Effect.provide(layer))
        }
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("lets live rows wait in little memory: what later windows bring is read there", () =>
    Effect.gen(function* () {
      const now = BigInt(Date.now()) * 1_000_000n
      const { layer, publisher } = yield* setUp({ slow: 1 })
      const times: Array<bigint> = []
      const put = (fresh: ReadonlyArray<bigint>) => {
        times.push(...fresh)
        return publisher.publish(fresh)
      }
      for (let i = 0; i < 100; i++) {
        yield* put(
          Array.from({ length: 20 }, (_, k) => now - 3600n * second + BigInt(i * 20 + k) * 1_000_000n)
        )
        yield* publisher.commit
      }
      yield* Effect.gen(function* () {
        const data = yield* MarketData
        const from = now - 7200n * second
        const { events, fiber, rows } = yield* collecting(
          data.subscribe({ symbols: ["ALL_SYMBOLS"], from, maxPending: 40 })
        )
        for (let i = 0; i < 100; i++) {
          yield* put(Array.from({ length: 4 }, (_, k) => now + BigInt(i * 4 + k) * 1000n))
          yield* Effect.sleep("2 millis")
          if (publisher.waiting > 2) yield* publisher.commit
        }
        while (publisher.waiting > 0) yield* publisher.commit
        yield* Effect.timeout(rows(times.length), "10 seconds")
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(sorted(keysOf(events)), [...times.keys()])
        assert.lengthOf(
          events.filter(({ _tag }) => _tag === "Lost"),
          0
        )
      }).pipe(Effect.scoped, Effect.provide(layer))
    }).pipe(Effect.scoped)
  )

  it.live("says what is missing, and numbers instruments alike over the boundary", () =>
    Effect.gen(function* () {
      const now = BigInt(Date.now()) * 1_000_000n
      const start = now - 600n * second
      const { layer, publisher, store } = yield* setUp()
      const { instruments } = yield* store.loadInstruments()
      const idOf = (symbol: string) => [...instruments.values()].find((each) => each.rawSymbol === symbol)!.id
      yield* publisher.publish([start, start + 1000n, start + 2000n])
      yield* publisher.commit
      yield* store.claimCoverage([
        { instrument: idOf("A"), schema: "trades", range: { start: start - 100n * second, end: now } },
        { instrument: idOf("B"), schema: "trades", range: { start, end: start + 60n * second } },
        { instrument: idOf("B"), schema: "trades", range: { start: start + 120n * second, end: now } }
      ])
      yield* store.markCoverage([
        {
          instrument: idOf("B"),
          schema: "trades",
          state: "missing",
          cause: "disconnect",
          range: { start: start + 60n * second, end: start + 120n * second }
        }
      ])
      yield* Effect.gen(function* () {
        const data = yield* MarketData
        const request = { symbols: ["TEST:A", "TEST:B", "TEST:C", "TEST:X"], from: start }
        const { events, fiber, rows } = yield* collecting(data.subscribe(request))
        yield* Effect.timeout(rows(3), "5 seconds")
        yield* publisher.publish([now, now + 1000n, now + 2000n])
        yield* Effect.timeout(rows(6), "5 seconds")
        yield* Fiber.interrupt(fiber)
        const missing = events.flatMap((event) => (event._tag === "Missing" ? [event] : []))
        assert.deepStrictEqual(
          missing.map(({ cause, symbols: texts }) => `${texts.join()} ${cause}`),
          ["TEST:C unknown", "TEST:B disconnect", "TEST:X unknown"]
        )
        const ids = events.flatMap((event) =>
          event._tag === "Batch"
            ? [...event.batch.columns.instrument].map((id, i) => `${event.batch.symbolAt(i)} ${id}`)
            : []
        )
        assert.deepStrictEqual(
          [...new Set(ids)].sort(),
          ["A", "B", "C"].map((symbol) => `TEST:${symbol} ${idOf(symbol)}`)
        )
        const unheard = yield* Effect.flip(
          Stream.runDrain(data.history({ symbols: ["TEST:X"], range: { start, end: now } }))
        )
        assert.include(unheard.message, "TEST:X")
      }).pipe(Effect.scoped, Effect.provide(layer))
    }).pipe(Effect.scoped)
  )

  it.live("gives up where nobody stores what is published, and says so", () =>
    Effect.gen(function* () {
      const { layer, publisher, transport } = yield* setUp({ capacity: 3 })
      for (let i = 0; i < 4; i++) yield* publisher.publish([BigInt(i), BigInt(i), BigInt(i)])
      assert.strictEqual(transport.subscriptions().length, 0)
      yield* Effect.gen(function* () {
        const data = yield* MarketData
        const error = yield* Effect.flip(
          Stream.runDrain(data.subscribe({ symbols: ["TEST:A"], from: 0n, maxWait: "50 millis" }))
        )
        assert.include(error.message, "says of no row that it is stored")
      }).pipe(Effect.scoped, Effect.provide(layer))
      assert.strictEqual(transport.subscriptions().length, 0)
    }).pipe(Effect.scoped)
  )

  it.live("is the same for a backtest: stored rows of a range as if they were live, and then the end", () =>
    Effect.gen(function* () {
      const start = 1_767_623_400_000_000_000n
      const { publisher, registry } = yield* setUp()
      yield* publisher.publish(Array.from({ length: 50 }, (_, i) => start + BigInt(i) * second))
      yield* publisher.commit
      const range = { start: start + 20n * second, end: start + 40n * second }
      const events = yield* Effect.gen(function* () {
        const data = yield* MarketData
        return yield* Stream.runCollect(data.subscribe({ symbols: ["TEST:A"], from: start + 10n * second }))
      }).pipe(Effect.provide(MarketData.layerStored(range).pipe(Layer.provide(registry))))
      const live = events.findIndex(({ _tag }) => _tag === "Live")
      assert.deepStrictEqual(keysOf(events.slice(0, live)), [12, 15, 18])
      assert.deepStrictEqual(keysOf(events.slice(live)), [21, 24, 27, 30, 33, 36, 39])
    }).pipe(Effect.scoped)
  )

  it.live(
    "fills a snapshot that is deeper than the transport remembers from the store, exactly up to the boundary",
    () =>
      Effect.gen(function* () {
        const now = BigInt(Date.now()) * 1_000_000n
        const { publisher, registry, transport } = yield* setUp({ capacity: 120 })
        const put = (rows: number) =>
          publisher.publish(
            Array.from({ length: rows }, (_, i) => now + BigInt(publisher.next + i) * 1_000_000n)
          )
        for (let i = 0; i < 40; i++) {
          yield* put(6)
          if (i < 38) yield* publisher.commit
        }
        const layer = StoredSnapshots.layer().pipe(
          Layer.provide(Layer.effect(Subscription, transport.connect())),
          Layer.provide(registry)
        )
        yield* Effect.gen(function* () {
          const subscription = yield* Subscription
          const kind = { _tag: "SnapshotDelta", symbols: ["TEST:A", "TEST:X"], snapshotDepth: 50 } as const
          const opening = yield* Effect.forkChild(subscription.subscribe(kind))
          // Rows that come, and are stored, while the snapshot is made.
          while (opening.pollUnsafe() === undefined) {
            yield* Effect.sleep("1 millis")
            yield* put(6)
            yield* publisher.commit
          }
          const handle = yield* Fiber.join(opening)
          // Where it began: rows may have come before it did.
          const start = Number((yield* handle.info).start)
          yield* put(6)
          const events: Array<SubscriptionEvent> = []
          for (let polled = handle.poll(1000); polled.length > 0; polled = handle.poll(1000))
            events.push(...polled)
          const keys = (event: SubscriptionEvent) =>
            event._tag === "Batch" || event._tag === "Snapshot"
              ? Array.from((event.batch as TradeBatch).columns.tradeKey, Number)
              : []
          const of = (symbol: string) =>
            events.find(
              (event): event is Extract<SubscriptionEvent, { _tag: "Snapshot" }> =>
                event._tag === "Snapshot" && event.symbol === symbol
            )!
          const deep = of("TEST:A")
          assert.isTrue(deep.complete)
          assert.isFalse(of("TEST:X").complete)
          // Every third of the rows that were published before is one of A: the newest fifty of them.
          assert.isAtLeast(start, 240)
          assert.deepStrictEqual(
            keys(deep),
            Array.from({ length: 50 }, (_, i) => start - 3 * (50 - i))
          )
          const delta = events.flatMap((event) => (event._tag === "Batch" ? keys(event) : []))
          assert.deepStrictEqual(
            delta,
            Array.from({ length: (publisher.next - start) / 3 }, (_, i) => start + 3 * i)
          )
        }).pipe(Effect.scoped, Effect.provide(layer))
      }).pipe(Effect.scoped)
  )
})
