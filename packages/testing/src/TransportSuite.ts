/**
 * The conformance suite of `Publication` and `Subscription`: numbered cards, each a requirement. Numbers are spaced, so
 * that cards can be inserted; a number never changes its meaning.
 *
 *     TransportSuite.run("my transport", { make: (name) => ({ publication, subscription }), overtake: 10_000 })
 *
 * Every card uses a publication of its own. Tests that need a second process (killed and stopped producers) belong to
 * the package of the transport.
 */
import {
  AllSymbols,
  type BatchContext,
  batchContext,
  Decimal,
  directory,
  type Gap,
  type Instrument,
  Publication,
  type Repaired,
  type StartPosition,
  Subscription,
  type SubscriptionEvent,
  type SubscriptionHandle,
  type SubscriptionKind,
  type TradeBatch,
  type TransportError,
  tradeBuilder
} from "@data-manager/core"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope, Stream } from "effect"
import { assert } from "vitest"

/** How programs connect to one publication of trades. Each build of a layer is one program. */
export interface TransportEnds {
  readonly publication: Layer.Layer<Publication, TransportError>
  readonly subscription: Layer.Layer<Subscription, TransportError>
}

/** What is tested. */
export interface TransportUnderTest {
  /** A publication that nobody else uses; called once per card. */
  readonly make: (card: string) => TransportEnds
  /** So many rows published at once overtake a subscriber that does not read meanwhile; undefined: nothing is lost. */
  readonly overtake: number | undefined
  /** Whether the transport keeps rows for those who come later: start positions other than Latest. */
  readonly history: boolean
}

const symbolCount = 8

const instrument = (id: number): Instrument => ({
  id,
  provider: "test",
  dataset: "TEST.SUITE",
  rawSymbol: `S${id}`,
  symbol: `TEST.SUITE:S${id}`,
  priceScale: 2,
  sizeScale: 0,
  assetClass: "equity"
})

const context: BatchContext = batchContext({
  provider: "test",
  dataset: "TEST.SUITE",
  instruments: directory(Array.from({ length: symbolCount }, (_, id) => instrument(id))),
  keyKind: "venue-id"
})

/** The context of a replay, in which instruments are numbered from the other end. */
const replayed: BatchContext = {
  ...context,
  instruments: directory(
    Array.from({ length: symbolCount }, (_, id) => ({ ...instrument(symbolCount - 1 - id), id }))
  ),
  replay: { cause: "window", range: { start: 1_000n, end: 2_000n }, speed: 2.5 }
}

/** Trades `[first, first + rows)`: key n, instrument n % 8, price n / 100, size n. */
const trades = (first: number, rows: number, of: BatchContext = context): TradeBatch => {
  const builder = tradeBuilder(of, rows)
  const c = builder.columns
  for (let i = 0; i < rows; i++) {
    const n = first + i
    c.tsEvent[i] = BigInt(n) * 1_000n
    c.tsRecv[i] = BigInt(n) * 1_000n + 7n
    c.tradeKey[i] = BigInt(n)
    c.price[i] = BigInt(n)
    c.size[i] = BigInt(n)
    c.instrument[i] = n % symbolCount
    c.priceExponent[i] = -2
    c.side[i] = n % 3
    c.tsInDelta[i] = -n
    c.flags[i] = n & 255
    c.depth[i] = n & 3
  }
  builder.length = rows
  return builder.flush()
}

const all: SubscriptionKind = { _tag: "Topic", symbols: [AllSymbols] }
const rowsOf = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<TradeBatch> =>
  events.flatMap((event) =>
    event._tag === "Batch" || event._tag === "Snapshot" ? [event.batch as TradeBatch] : []
  )
const keys = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<number> =>
  rowsOf(events).flatMap((batch) => Array.from(batch.columns.tradeKey, Number))
const range = (from: number, to: number, step = 1): ReadonlyArray<number> =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step)

/** Events of the stream until there are as many rows. */
const receive = (handle: SubscriptionHandle, rows: number) =>
  Effect.suspend(() => {
    let seen = 0
    return handle.receive.pipe(
      Stream.takeUntil((event) => {
        if (event._tag === "Batch" || event._tag === "Snapshot") seen += event.batch.length
        return seen >= rows
      }),
      Stream.runCollect
    )
  })

interface Card {
  readonly id: string
  readonly title: string
  readonly needs?: "history" | "overtake"
  readonly check: (
    ends: {
      readonly publication: Publication["Service"]
      readonly subscription: Subscription["Service"]
      readonly subscribe: (
        kind: SubscriptionKind,
        start?: StartPosition
      ) => Effect.Effect<SubscriptionHandle, TransportError>
      readonly stopPublication: Effect.Effect<void>
    },
    target: TransportUnderTest
  ) => Effect.Effect<void, TransportError, Scope.Scope>
}

const conditions = (part: object): SubscriptionKind => ({ _tag: "Filtered", symbols: [AllSymbols], ...part })

/** Every card, by number. */
export const cards: ReadonlyArray<Card> = [
  {
    id: "T-010",
    title: "every column of every row arrives, in order, in batches of one dataset",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(all)
      yield* publication.publish(trades(0, 100))
      yield* publication.publish(trades(100, 1))
      const got = yield* receive(handle, 101)
      assert.deepStrictEqual(keys(got), range(0, 101))
      const sent = [...trades(0, 101).rows()].map((row) => ({ ...row, instrument: 0 }))
      const rows = rowsOf(got).flatMap((batch) => [...batch.rows()].map((row) => ({ ...row, instrument: 0 })))
      assert.deepStrictEqual(rows, sent)
    })
  },
  {
    id: "T-020",
    title: "the position counts rows; a subscriber that comes later starts with the next row",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const before = yield* publication.publish(trades(0, 10))
      const handle = yield* subscribe(all)
      const after = yield* publication.publish(trades(10, 5))
      assert.strictEqual(after.position - before.position, 5n)
      assert.deepStrictEqual(keys(yield* receive(handle, 5)), range(10, 15))
    })
  },
  {
    id: "T-030",
    title: "a topic delivers its symbols alone, by full and by short form",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe({ _tag: "Topic", symbols: ["TEST.SUITE:S1", "S3"] })
      yield* publication.publish(trades(0, 80))
      const wanted = range(0, 80).filter((n) => n % 8 === 1 || n % 8 === 3)
      assert.deepStrictEqual(keys(yield* receive(handle, wanted.length)), wanted)
    })
  },
  {
    id: "T-040",
    title: "poll returns what has arrived, at most the limit, and nothing when there is nothing",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(all)
      assert.deepStrictEqual(handle.poll(10), [])
      yield* publication.publish(trades(0, 100))
      const got: Array<number> = []
      for (let i = 0; i < 1_000 && got.length < 100; i++) {
        const some = keys(handle.poll(16))
        assert.isAtMost(some.length, 16)
        got.push(...some)
        if (some.length === 0) yield* Effect.sleep("1 millis")
      }
      assert.deepStrictEqual(got, range(0, 100))
      assert.deepStrictEqual(handle.poll(10), [])
    })
  },
  {
    id: "T-050",
    title: "several subscribers each get everything",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handles = yield* Effect.all([subscribe(all), subscribe(all), subscribe(all)])
      yield* publication.publish(trades(0, 50))
      for (const handle of handles) assert.deepStrictEqual(keys(yield* receive(handle, 50)), range(0, 50))
      assert.isAtLeast(yield* publication.connectionCount, 1)
    })
  },
  {
    id: "T-100",
    title: "filter: at least the quantity; what is held back is counted by cause",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(conditions({ minQuantity: Decimal.make(900n, -1) }))
      yield* publication.publish(trades(0, 100))
      assert.deepStrictEqual(keys(yield* receive(handle, 10)), range(90, 100))
      const info = yield* handle.info
      assert.deepStrictEqual(info.suppressed, { quantity: 90n, priceChange: 0n, throttle: 0n })
      assert.strictEqual(info.delivered, 10n)
    })
  },
  {
    id: "T-110",
    title: "filter: price change in percent against the last delivered price of the symbol",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const kind = conditions({ symbols: ["S0"], minPriceChangePct: Decimal.make(100n, 0) })
      const handle = yield* subscribe(kind)
      yield* publication.publish(trades(8, 600))
      // 0.08 passes as the first; from then on the price must double.
      assert.deepStrictEqual(keys(yield* receive(handle, 7)), [8, 16, 32, 64, 128, 256, 512])
    })
  },
  {
    id: "T-120",
    title: "filter: throttle delivers the first at once and the last of the window at its end",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(conditions({ symbols: ["S0"], throttleMillis: 50 }))
      yield* publication.publish(trades(0, 80))
      assert.deepStrictEqual(keys(yield* receive(handle, 2)), [0, 72])
      assert.deepStrictEqual((yield* handle.info).suppressed, { quantity: 0n, priceChange: 0n, throttle: 8n })
    })
  },
  {
    id: "T-200",
    title: "start positions: oldest and sequence",
    needs: "history",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const { position } = yield* publication.publish(trades(0, 100))
      const oldest = yield* subscribe(all, { _tag: "Oldest" })
      const later = yield* subscribe(all, { _tag: "Sequence", sequence: position - 10n })
      yield* publication.publish(trades(100, 10))
      assert.deepStrictEqual(keys(yield* receive(oldest, 110)), range(0, 110))
      assert.deepStrictEqual(keys(yield* receive(later, 20)), range(90, 110))
    })
  },
  {
    id: "T-210",
    title:
      "snapshot + delta: the newest rows of each symbol, then every later row, none missing and none twice",
    needs: "history",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      yield* publication.publish(trades(0, 200))
      const handle = yield* subscribe({ _tag: "SnapshotDelta", symbols: ["S2", "S5"], snapshotDepth: 3 })
      yield* publication.publish(trades(200, 16))
      const events = yield* receive(handle, 10)
      const snapshots = events.flatMap((event) =>
        event._tag === "Snapshot" ? [[event.symbol, event.complete]] : []
      )
      assert.deepStrictEqual(snapshots, [
        ["TEST.SUITE:S2", true],
        ["TEST.SUITE:S5", true]
      ])
      assert.deepStrictEqual(keys(events), [178, 186, 194, 181, 189, 197, 202, 205, 210, 213])
    })
  },
  {
    id: "T-220",
    title: "a snapshot that cannot be as deep as asked says so",
    needs: "history",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      yield* publication.publish(trades(0, 16))
      const handle = yield* subscribe({ _tag: "SnapshotDelta", symbols: ["S2"], snapshotDepth: 3 })
      const [event] = yield* receive(handle, 2)
      assert.isTrue(event?._tag === "Snapshot" && !event.complete)
    })
  },
  {
    id: "T-230",
    title: "where store and stream meet: from the first row that is not known to be committed",
    needs: "history",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const { position } = yield* publication.publish(trades(0, 60))
      yield* publication.publish(trades(60, 40))
      yield* publication.markDurable("trades", position)
      const handle = yield* subscribe(all, { _tag: "Durable" })
      assert.strictEqual((yield* handle.info).start, position)
      assert.deepStrictEqual(keys(yield* receive(handle, 40)), range(60, 100))
      const everything = yield* publication.publish(trades(100, 1))
      yield* publication.markDurable("trades", everything.position)
      const later = yield* subscribe(all, { _tag: "Durable" })
      assert.strictEqual((yield* later.info).start, everything.position)
      yield* publication.publish(trades(101, 3))
      assert.deepStrictEqual(keys(yield* receive(later, 3)), range(101, 104))
    })
  },
  {
    id: "T-240",
    title: "symbols come and go while a subscription runs",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe({ _tag: "Topic", symbols: ["S1"] })
      yield* publication.publish(trades(0, 16))
      assert.deepStrictEqual(keys(yield* receive(handle, 2)), [1, 9])
      yield* handle.addSymbols(["TEST.SUITE:S3"])
      yield* publication.publish(trades(16, 16))
      assert.deepStrictEqual(keys(yield* receive(handle, 4)), [17, 19, 25, 27])
      assert.deepStrictEqual((yield* handle.info).kind.symbols, ["S1", "TEST.SUITE:S3"])
      yield* handle.removeSymbols(["S1"])
      yield* publication.publish(trades(32, 8))
      assert.deepStrictEqual(keys(yield* receive(handle, 1)), [35])
      for (const symbols of [["S1"], ["TEST.SUITE:S3"]]) {
        const error = yield* Effect.orDie(Effect.flip(handle.removeSymbols(symbols)))
        assert.strictEqual(error.reason._tag, "TransportBadRequest")
      }
      yield* handle.addSymbols([AllSymbols])
      yield* publication.publish(trades(40, 8))
      assert.deepStrictEqual(keys(yield* receive(handle, 8)), range(40, 48))
    })
  },
  {
    id: "T-300",
    title: "an overtaken subscriber is told exactly what it lost, and the publisher does not wait",
    needs: "overtake",
    check: Effect.fnUntraced(function* ({ publication, subscribe }, { overtake = 0 }) {
      const handle = yield* subscribe(all)
      yield* publication.publish(trades(0, overtake))
      yield* publication.publish(trades(overtake, overtake))
      let lost = 0
      let rows = 0
      for (let i = 0; i < 10_000 && rows + lost < 2 * overtake; i++)
        for (const event of handle.poll(1_024)) {
          if (event._tag === "Lost") lost += Number(event.to - event.from)
          if (event._tag !== "Batch") continue
          const seen = keys([event])
          assert.strictEqual(seen[0], rows + lost)
          rows += seen.length
        }
      assert.isAbove(lost, 0)
      assert.strictEqual(rows + lost, 2 * overtake)
      assert.strictEqual((yield* handle.info).lost, BigInt(lost))
    })
  },
  {
    id: "T-310",
    title: "loss before the transport arrives as a gap",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(all)
      const gap: Gap = {
        _tag: "Gap",
        dataset: "TEST.SUITE",
        schema: "trades",
        symbols: undefined,
        range: { start: 1n, end: 5n },
        rows: undefined,
        cause: "disconnect"
      }
      yield* publication.publishGap(gap)
      const [event] = yield* handle.receive.pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(event, { _tag: "Gap", gap })
    })
  },
  {
    id: "T-315",
    title: "the repair of a loss arrives, from a transport that tells it",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      if (publication.publishRepaired === undefined) return
      const handle = yield* subscribe(all)
      const repaired: Repaired = {
        _tag: "Repaired",
        dataset: "TEST.SUITE",
        schema: "trades",
        symbols: undefined,
        range: { start: 1n, end: 5n },
        rows: 3n
      }
      yield* publication.publishRepaired(repaired)
      const [event] = yield* handle.receive.pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(event, { _tag: "Repaired", repaired })
    })
  },
  {
    id: "T-320",
    title: "subscribers are told when the publication ends",
    check: Effect.fnUntraced(function* ({ publication, subscribe, stopPublication }) {
      const handle = yield* subscribe(all)
      yield* publication.publish(trades(0, 5))
      yield* receive(handle, 5)
      yield* stopPublication
      const [event] = yield* handle.receive.pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(event, { _tag: "ProducerLost", cause: "closed" })
    })
  },
  {
    id: "T-330",
    title: "what is committed in the store is told to subscribers, and never taken back",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(all)
      const durable = Effect.map(handle.info, (info) => info.durable)
      assert.strictEqual(yield* durable, 0n)
      const { position } = yield* publication.publish(trades(0, 10))
      yield* publication.publish(trades(10, 10))
      yield* publication.markDurable("trades", position)
      assert.strictEqual(yield* durable, position)
      yield* publication.markDurable("trades", position - 5n)
      assert.strictEqual(yield* durable, position)
    })
  },
  {
    id: "T-340",
    title: "rows of a replay say so with what is played back, live ones do not",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(all)
      yield* publication.publish(trades(0, 10))
      yield* publication.publish(trades(10, 10, replayed))
      yield* publication.publish(trades(20, 10))
      const seen = rowsOf(yield* receive(handle, 30)).map((batch) => [
        batch.columns.tradeKey[0],
        batch.context.replay
      ])
      assert.deepStrictEqual(seen, [
        [0n, undefined],
        [10n, replayed.replay],
        [20n, undefined]
      ])
    })
  },
  {
    id: "T-350",
    title:
      "rows of a replay may number their instruments in another way than live ones: symbols stay themselves",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe({ _tag: "Topic", symbols: ["S1"] })
      yield* publication.publish(trades(0, 16, replayed))
      yield* publication.publish(trades(16, 16))
      const got = rowsOf(yield* receive(handle, 4)).flatMap((batch) =>
        [...batch.rows()].map(({ symbol, tradeKey }) => [symbol, Number(tradeKey)])
      )
      // Number 6 is S1 in the replay: it counts from the end.
      assert.deepStrictEqual(
        got,
        [6, 14, 17, 25].map((key) => ["TEST.SUITE:S1", key])
      )
    })
  },
  {
    id: "T-360",
    title: "a snapshot says how many of its rows, the oldest ones, are a replay",
    needs: "history",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      yield* publication.publish(trades(0, 16, replayed))
      yield* publication.publish(trades(16, 8))
      const snapshot = yield* Effect.map(
        Effect.flatMap(subscribe(all, { _tag: "LastPerSymbol", count: 3 }), (handle) => receive(handle, 24)),
        (events) => events.find((event) => event._tag === "Snapshot" && event.symbol === "TEST.SUITE:S1")
      )
      if (snapshot?._tag !== "Snapshot") return assert.fail("no snapshot")
      assert.deepStrictEqual(keys([snapshot]), [6, 14, 17])
      assert.deepStrictEqual([snapshot.replayed, snapshot.batch.context.replay], [2, undefined])
      const older = yield* subscribe(all, { _tag: "LastPerSymbol", count: 1 })
      const live = (yield* receive(older, 8)).filter((event) => event._tag === "Snapshot")
      assert.deepStrictEqual(
        live.map((event) => event.replayed),
        live.map(() => undefined)
      )
    })
  },
  {
    id: "T-400",
    title: "a subscription ends with unsubscribe; its stream then ends, and it is listed no more",
    check: Effect.fnUntraced(function* ({ subscription, subscribe }) {
      const handle = yield* subscribe(all)
      const { id } = yield* handle.info
      assert.deepStrictEqual(
        (yield* subscription.list).map((info) => info.id),
        [id]
      )
      yield* subscription.unsubscribe(id)
      assert.deepStrictEqual(yield* handle.receive.pipe(Stream.runCollect), [])
      assert.deepStrictEqual(yield* subscription.list, [])
      const error = yield* Effect.orDie(Effect.flip(subscription.unsubscribe(id)))
      assert.strictEqual(error.reason._tag, "TransportBadRequest")
    })
  },
  {
    id: "T-410",
    title: "a request that cannot be served is a typed error",
    check: Effect.fnUntraced(function* ({ subscribe }) {
      for (const kind of [
        { _tag: "Topic", symbols: [] } as const,
        conditions({ throttleMillis: -1 }),
        conditions({ minQuantity: Decimal.make(-1n, 0) }),
        { _tag: "SnapshotDelta", symbols: ["S1"], snapshotDepth: -1 } as const
      ]) {
        const error = yield* Effect.orDie(Effect.flip(subscribe(kind)))
        assert.strictEqual(error.reason._tag, "TransportBadRequest")
        assert.isFalse(error.isRetryable)
      }
    })
  },
  {
    id: "T-420",
    title: "receiving can be interrupted at any time, and goes on afterwards",
    check: Effect.fnUntraced(function* ({ publication, subscribe }) {
      const handle = yield* subscribe(all)
      yield* Effect.ignore(Effect.timeout(handle.receive.pipe(Stream.runDrain), "20 millis"))
      yield* publication.publish(trades(0, 5))
      assert.deepStrictEqual(keys(yield* receive(handle, 5)), range(0, 5))
    })
  }
]

const check = (card: Card, target: TransportUnderTest) =>
  Effect.scoped(
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const producing = yield* Scope.make()
      yield* Effect.addFinalizer(() => Scope.close(producing, Exit.void))
      const ends = target.make(card.id)
      const publication = Context.get(yield* Layer.buildWithScope(ends.publication, producing), Publication)
      const subscription = Context.get(yield* Layer.buildWithScope(ends.subscription, scope), Subscription)
      const subscribe = (kind: SubscriptionKind, start?: StartPosition) =>
        Scope.provide(subscription.subscribe(kind, start), scope)
      const stopPublication = Scope.close(producing, Exit.void)
      yield* card.check({ publication, subscription, subscribe, stopPublication }, target)
    })
  )

/** How the suite is run. */
export interface TransportSuiteOptions {
  /** Cards that are left out, each with the reason. */
  readonly skip?: { readonly [id: string]: string } | undefined
}

/** Registers one test per card with vitest. */
export const run = (name: string, target: TransportUnderTest, options: TransportSuiteOptions = {}): void => {
  describe(`TransportSuite: ${name}`, () => {
    for (const card of cards) {
      const title = `${card.id} ${card.title}`
      const reason = options.skip?.[card.id] ?? missing(card, target)
      if (reason === undefined) it.live(title, () => check(card, target))
      else it.live(title, (test) => Effect.sync(() => test.skip(reason)))
    }
  })
}

const missing = (card: Card, target: TransportUnderTest): string | undefined => {
  if (card.needs === "history" && !target.history) return "the transport keeps no history"
  if (card.needs === "overtake" && target.overtake === undefined) return "the transport never loses"
  return undefined
}
