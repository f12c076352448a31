import { readFileSync } from "node:fs"
import { join } from "node:path"
import { inspect } from "node:util"
import {
  type ListingClaim,
  MarketSchema,
  type ProviderEvent,
  StoreBadRequest,
  StoreError,
  StoreUnavailable
} from "@data-manager/core"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Logger, Redacted, Stream } from "effect"
import { TestClock } from "effect/testing"
import { blankRecord, decodeBlocks, ZstdEncoder } from "../../src/dbn/index.ts"
import { liveEvents, openLive } from "../../src/live/LiveFeed.ts"
import type { LiveOptions } from "../../src/live/LiveOptions.ts"
import { testData } from "../TestData.ts"
import { fastClock, options, realSleep, registry, rowsOf, tradeBatches, until } from "./LiveTest.ts"
import { type Connection, scriptedGateway } from "./ScriptedGateway.ts"
import { concat, encode, gatewayError, KEY, mapping, metadata, system, TAPE_START, trade } from "./Tape.ts"

const at = TAPE_START + 60_000_000_000n
const oneTrade = (n: number, fields: Parameters<typeof trade>[0] = {}) =>
  trade({ tsEvent: at + BigInt(n) * 1000n, tsRecv: at + BigInt(n) * 1000n + 300n, sequence: n, ...fields })

/** A session up to its first record. */
const begin = async (connection: Connection, start = TAPE_START) => {
  const authentication = await connection.authenticate()
  const subscriptions = await connection.subscriptions()
  await connection.write(metadata(start))
  return { authentication, subscriptions }
}

/** Many trades, a microsecond apart. */
const manyTrades = (count: number): Uint8Array => {
  const one = encode(oneTrade(0))
  const out = new Uint8Array(count * one.length)
  const view = new DataView(out.buffer)
  for (let n = 0; n < count; n++) {
    out.set(one, n * one.length)
    view.setBigUint64(n * one.length + 8, at + BigInt(n) * 1000n, true)
    view.setUint32(n * one.length + 44, n, true)
  }
  return out
}

const ack = (id: number) => system(1, `Subscription request ${id} for trades data succeeded`, TAPE_START)
const names = () =>
  concat([mapping(5482, "ES.FUT", "ESH6", TAPE_START), mapping(5483, "NQ.FUT", "NQH6", TAPE_START)])

/** A stream being read into an array, on a fast clock. */
const reading = (live: LiveOptions) =>
  Effect.gen(function* () {
    const events: Array<ProviderEvent> = []
    const feed = yield* openLive(live)
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(feed.events, (event) => Effect.sync(() => void events.push(event)))
    )
    return { feed, events, fiber, rows: () => rowsOf(tradeBatches(events)) }
  })

const onFastClock = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => Effect.provideService(Effect.scoped(effect), Clock.Clock, fastClock())).pipe(
    Effect.provide(Logger.layer([]))
  )

describe("a live session", () => {
  it.live("authenticates, subscribes, and gives mappings before the rows that need them", () =>
    onFastClock(
      Effect.gen(function* () {
        const seen: Array<Awaited<ReturnType<typeof begin>>> = []
        const gateway = yield* scriptedGateway(async (connection) => {
          seen.push(await begin(connection))
          await connection.write(concat([ack(1), names(), encode(oneTrade(1), oneTrade(2))]))
        })
        const live = yield* reading(options(gateway.port, { client: "test/1", heartbeatSeconds: 7 }))
        yield* until(() => live.rows().length === 2, "two rows")
        const [session] = seen
        assert(session !== undefined)
        assert.strictEqual(session.authentication.get("dataset"), "GLBX.MDP3")
        assert.strictEqual(session.authentication.get("heartbeat_interval_s"), "7")
        assert.strictEqual(session.authentication.get("slow_reader_behavior"), "warn")
        assert.deepStrictEqual(
          session.subscriptions.map((fields) => Object.fromEntries(fields)),
          [
            {
              schema: "trades",
              stype_in: "parent",
              symbols: "ES.FUT,NQ.FUT",
              snapshot: "0",
              is_last: "1",
              id: "1"
            }
          ]
        )
        const kinds = live.events.map((event) => event._tag)
        assert.deepStrictEqual(kinds, ["Mapping", "Mapping", "Batch"])
        const [first] = live.events
        assert(first?._tag === "Mapping")
        assert.strictEqual(first.requested, "ES.FUT")
        assert.strictEqual(first.claim.rawSymbol, "ESH6")
        assert.strictEqual(first.claim.nativeId, 5482)
        assert.match(live.rows()[0]!, /^GLBX.MDP3:ESH6 1 /)
        const health = yield* live.feed.health
        assert.strictEqual(health.state, "healthy")
        assert.strictEqual(health.sessionId, "17")
        assert.strictEqual(health.unacknowledged, 0)
        assert.strictEqual(health.reconnects, 0)
        assert.isDefined(health.lag)
        assert.notInclude(inspect([live.events, live.feed, health], { depth: 12, showHidden: true }), KEY)
      })
    )
  )

  it.live("gives a lone trade at once, raw and inside an endless zstd stream", () =>
    onFastClock(
      Effect.gen(function* () {
        for (const compression of ["none", "zstd"] as const) {
          let send: (bytes: Uint8Array) => Promise<void> = async () => {}
          const gateway = yield* scriptedGateway(async (connection) => {
            await connection.authenticate()
            await connection.subscriptions()
            const zstd = new ZstdEncoder()
            send = (bytes) =>
              connection.write(compression === "none" ? bytes : concat([zstd.push(bytes), zstd.flush()]))
            await send(concat([metadata(TAPE_START), names(), encode(oneTrade(1))]))
          })
          const live = yield* reading(options(gateway.port, { compression }))
          yield* until(() => live.rows().length === 1, "the first trade")
          for (let n = 2; n < 6; n++) {
            yield* Effect.promise(() => send(encode(oneTrade(n))))
            yield* until(() => live.rows().length === n, `trade ${n}`)
          }
          assert.deepStrictEqual(
            tradeBatches(live.events).map((batch) => batch.length),
            [1, 1, 1, 1, 1]
          )
        }
      })
    )
  )

  it.live("cuts a batch at the row cap", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(
            concat([names(), encode(...Array.from({ length: 40 }, (_, n) => oneTrade(n)))])
          )
        })
        const live = yield* reading(options(gateway.port, { batchRows: 16 }))
        yield* until(() => live.rows().length === 40, "all rows")
        assert.isTrue(tradeBatches(live.events).every((batch) => batch.length <= 16))
      })
    )
  )

  it.live("names rows without a mapping by their number, and follows mappings that change", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(
            concat([
              encode(oneTrade(1, { instrumentId: 99 })),
              mapping(5482, "ES.c.0", "ESH6", at),
              encode(oneTrade(2)),
              mapping(5482, "ES.c.0", "ESM6", at),
              encode(oneTrade(3)),
              encode(oneTrade(4, { tsEvent: at + 86_400_000_000_000n, tsRecv: at + 86_400_000_000_000n }))
            ])
          )
        })
        const { claims, register } = registry()
        const live = yield* reading(options(gateway.port, { register }))
        yield* until(() => live.rows().length === 4, "all rows")
        assert.deepStrictEqual(
          live.rows().map((row) => row.split(" ")[0]),
          ["GLBX.MDP3:#99", "GLBX.MDP3:ESH6", "GLBX.MDP3:ESM6", "GLBX.MDP3:ESM6"]
        )
        const days = claims.map(
          (claim) => `${claim.rawSymbol} ${(claim.valid.end - TAPE_START) / 86_400_000_000_000n}`
        )
        assert.deepStrictEqual(days, ["ESH6 0", "undefined 0", "ESM6 0", "ESM6 1"])
        const order = live.events.map((event) => event._tag).join(" ")
        assert.strictEqual(order, "Mapping Batch Mapping Mapping Batch")
      })
    )
  )

  it.live("waits with rows while the registry is away", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(concat([names(), encode(oneTrade(1))]))
        })
        const { register } = registry()
        let failures = 2
        const shaky = (claims: ReadonlyArray<ListingClaim>) =>
          Effect.suspend(() =>
            failures-- > 0
              ? Effect.fail(
                  new StoreError({
                    operation: "register",
                    reason: new StoreUnavailable({ detail: "away", hint: "wait" })
                  })
                )
              : register(claims)
          )
        const live = yield* reading(options(gateway.port, { register: shaky }))
        yield* until(() => failures === 1, "a first failure")
        yield* until(() => live.rows().length === 1, "the row")
        // What one read of the socket brought is registered in one go, here at the third attempt.
        assert.strictEqual(failures, -1)
      })
    )
  )

  it.live("ends with the registry's error where that does not pass", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(concat([names(), encode(oneTrade(1))]))
        })
        const reason = new StoreBadRequest({ detail: "no such table" })
        const register = () => Effect.fail(new StoreError({ operation: "register", reason }))
        const error = yield* Effect.flip(Stream.runDrain(liveEvents(options(gateway.port, { register }))))
        assert.strictEqual(error._tag, "StoreError")
        assert.match(error.message, /no such table/)
        yield* Effect.promise(() => gateway.connections[0]!.untilClosed())
      })
    )
  )

  it.live("stops reading while its reader is behind, says so, and loses nothing", () =>
    onFastClock(
      Effect.gen(function* () {
        const count = 400_000
        const bytes = manyTrades(count)
        let written = false
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(names())
          await connection.write(bytes)
          written = true
        })
        const feed = yield* openLive(options(gateway.port, { queueBytes: 200_000, heartbeatSeconds: 5 }))
        const pausedNow = Effect.map(feed.health, ({ paused, state }) => paused && state === "degraded")
        yield* Effect.repeat(Effect.andThen(realSleep(5), pausedNow), { until: (paused) => paused })
        // Longer than a session may be silent: it is not taken for hung while nobody reads it.
        yield* realSleep(500)
        assert.isBelow((yield* feed.health).queuedBytes, 200_000 + 300_000)
        assert.isFalse(written, "the gateway feels the back pressure")
        let rows = 0
        let isInOrder = true
        yield* feed.events.pipe(
          Stream.takeUntil((event) => {
            if (event._tag !== "Batch") return false
            const { tsEvent } = event.batch.columns
            for (const time of tsEvent) isInOrder &&= time === at + BigInt(rows++) * 1000n
            return rows >= count
          }),
          Stream.runDrain
        )
        assert.strictEqual(rows, count)
        assert.isTrue(isInOrder)
        assert.strictEqual(gateway.connections.length, 1)
        assert.isFalse((yield* feed.health).paused)
      })
    )
  )

  it.live("adds symbols to the running session, and removes them at once", () =>
    onFastClock(
      Effect.gen(function* () {
        let session: Connection | undefined
        const wanted: Array<string | undefined> = []
        const gateway = yield* scriptedGateway(async (connection, number) => {
          const { subscriptions } = await begin(connection)
          session = connection
          wanted.push(subscriptions[0]?.get("symbols"))
          if (number === 0)
            await connection.write(concat([ack(1), mapping(5482, "ES.FUT", "ESH6", TAPE_START)]))
        })
        const only = (symbols: ReadonlyArray<string>) =>
          ({ schema: "trades", stypeIn: "parent", symbols }) as const
        const live = yield* reading(options(gateway.port, { subscriptions: [only(["ES.FUT"])] }))
        yield* until(() => session !== undefined && live.events.length === 1, "the first mapping")
        yield* Effect.repeat(Effect.andThen(realSleep(2), live.feed.health), {
          until: ({ state }) => state === "healthy"
        })
        yield* live.feed.subscribe(only(["ES.FUT", "NQ.FUT"]))
        const line = yield* Effect.promise(() => session!.line())
        assert.strictEqual(line, "schema=trades|stype_in=parent|symbols=NQ.FUT|snapshot=0|is_last=1|id=2")
        assert.strictEqual((yield* live.feed.health).unacknowledged, 1)
        const nq = (n: number) => oneTrade(n, { instrumentId: 5483 })
        yield* Effect.promise(() =>
          session!.write(
            concat([
              encode(oneTrade(1)),
              system(1, "Subscription request 2 for trades data succeeded", at + 5000n),
              mapping(5483, "NQ.FUT", "NQH6", at),
              // Began before the subscription did: its first rows may be missing.
              encode(nq(4), nq(4), nq(6), oneTrade(7))
            ])
          )
        )
        yield* until(() => live.rows().length === 3, "rows of both")
        assert.deepStrictEqual(
          live.rows().map((row) => row.split(" ")[0]!.slice(-4)),
          ["ESH6", "NQH6", "ESH6"]
        )
        yield* live.feed.unsubscribe(only(["NQ.FUT"]))
        yield* Effect.promise(() => session!.write(encode(nq(8), oneTrade(9))))
        yield* until(() => live.rows().length === 4, "the row of ES")
        assert.match(live.rows()[3]!, /ESH6/)
        session?.end()
        yield* until(() => wanted.length === 2, "the next session")
        assert.deepStrictEqual(wanted, ["ES.FUT", "ES.FUT"])
        const wrong = yield* Effect.flip(live.feed.subscribe(only([])))
        assert.match(wrong.message, /empty/)
        assert.match(
          (yield* Effect.flip(live.feed.subscribe({ ...only(["A|B"]) }))).message,
          /printable ASCII/
        )
      })
    )
  )

  it.live("shows what the gateway says, and goes on after errors that are not fatal", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(
            concat([
              gatewayError(4, "Failed to resolve symbol XX.FUT"),
              system(2, "Warning: slow reading", TAPE_START),
              names(),
              encode(oneTrade(1), oneTrade(1, { action: "C" })),
              gatewayError(7, "Slow client detected for trades", at + 5_000_000n),
              encode(oneTrade(9000))
            ])
          )
        })
        const live = yield* reading(options(gateway.port))
        yield* until(() => live.rows().length === 2, "rows around the errors")
        const health = yield* live.feed.health
        assert.deepStrictEqual(health.unresolved, ["Failed to resolve symbol XX.FUT"])
        assert.strictEqual(health.slowReaderWarnings, 1)
        assert.deepStrictEqual([...health.notStored], [["trades with action C", 1]])
        assert.strictEqual(health.state, "degraded")
        const gap = live.events.find((event) => event._tag === "Gap")
        assert(gap?._tag === "Gap")
        assert.strictEqual(gap.cause, "slow-reader")
        assert.strictEqual(gap.schema, "trades")
        assert.isTrue(gap.range.start <= at + 1000n && gap.range.end === at + 5_000_000n)
        const tags = live.events.map((event) => event._tag).join(" ")
        assert.strictEqual(tags, "Mapping Mapping Batch Gap Batch")
        assert.strictEqual(gateway.connections.length, 1)
      })
    )
  )
})

describe("a longer session", () => {
  it.live("is kept by heartbeats, replays from where it is asked to, and takes one dataset only", () =>
    onFastClock(
      Effect.gen(function* () {
        const asked: Array<string | undefined> = []
        let beating = true
        const gateway = yield* scriptedGateway(async (connection, number) => {
          await connection.authenticate()
          asked.push((await connection.subscriptions())[0]?.get("start"))
          await connection.write(metadata(TAPE_START, number === 0 ? { dataset: "XNAS.ITCH" } : {}))
          await connection.write(
            concat([names(), encode(oneTrade(1)), system(3, "Finished trades replay", at)])
          )
          while (beating && !connection.closed) {
            await new Promise((resolve) => setTimeout(resolve, 40))
            await connection.write(system(0, "Heartbeat", at))
          }
        })
        const from = TAPE_START - 3_600_000_000_123n
        const live = yield* reading(options(gateway.port, { from, heartbeatSeconds: 5 }))
        yield* until(() => live.rows().length === 1, "a row")
        yield* realSleep(900)
        assert.strictEqual(
          gateway.connections.length,
          2,
          "one with the wrong dataset, one kept by heartbeats"
        )
        assert.deepStrictEqual(asked, [
          `${TAPE_START - 3_600_000_001_000n}`,
          `${TAPE_START - 3_600_000_001_000n}`
        ])
        assert.deepStrictEqual(
          live.events.map((event) => event._tag),
          ["Mapping", "Mapping", "Batch"]
        )
        assert.strictEqual((yield* live.feed.health).detail, "streaming")
        beating = false
      })
    )
  )

  it.live("sends many symbols in lines, ten requests a second, and what is added meanwhile behind them", () =>
    onFastClock(
      Effect.gen(function* () {
        const lines: Array<string> = []
        const times: Array<number> = []
        let isOpen = false
        const gateway = yield* scriptedGateway(async (connection) => {
          await connection.authenticate()
          isOpen = true
          for (let line = await connection.line(); line !== undefined; line = await connection.line()) {
            lines.push(line)
            times.push(performance.now())
          }
        })
        const symbols = Array.from({ length: 12_001 }, (_, n) => `S${n}`)
        const raw = (more: ReadonlyArray<string>) =>
          ({ schema: "trades", stypeIn: "raw_symbol", symbols: more }) as const
        const live = yield* reading(options(gateway.port, { subscriptions: [raw(symbols)] }))
        yield* until(() => isOpen, "the session")
        yield* until(() => lines.length > 0, "a line")
        for (let i = 0; i < 20; i++) yield* live.feed.subscribe(raw([`LATE${i}`]))
        yield* until(() => lines.length === 46, "all lines")
        assert.strictEqual(lines[25], "start_session")
        assert.match(lines[26]!, /symbols=LATE0\|snapshot=0\|is_last=1\|id=2$/)
        assert.deepStrictEqual(
          lines.slice(0, 25).flatMap((line) => /symbols=([^|]*)/.exec(line)![1]!.split(",")),
          symbols
        )
        // A second is 20 ms on this clock: 21 requests take two of them at least, the 25 lines of the first one count once.
        assert.isAtLeast(times[45]! - times[0]!, 38)
      })
    )
  )

  it.live("brings schemas of their own into batches of their own", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          const { subscriptions } = await begin(connection)
          assert.strictEqual(subscriptions.length, 3)
          await connection.write(
            concat([
              names(),
              encode(
                oneTrade(1),
                blankRecord("mbp1", {
                  instrumentId: 5482,
                  publisherId: 1,
                  tsEvent: at,
                  tsRecv: at,
                  action: "A"
                }),
                blankRecord("ohlcv", {
                  rtype: 0x21,
                  instrumentId: 5482,
                  publisherId: 1,
                  tsEvent: at,
                  open: 5n
                })
              )
            ])
          )
        })
        const of = (schema: "trades" | "tbbo" | "ohlcv-1m" | "mbp-1") =>
          ({ schema, stypeIn: "parent", symbols: ["ES.FUT"] }) as const
        const live = yield* reading(
          options(gateway.port, { subscriptions: [of("trades"), of("tbbo"), of("ohlcv-1m")] })
        )
        yield* until(() => live.events.length === 5, "three batches")
        const batches = live.events.flatMap((event) => (event._tag === "Batch" ? [event.batch] : []))
        assert.deepStrictEqual(
          batches.map((batch) => batch._tag),
          ["TradeBatch", "QuoteBatch", "BarBatch"]
        )
        const quotes = batches[1]!
        assert(quotes._tag === "QuoteBatch")
        assert.strictEqual(quotes.columns.schema[0], MarketSchema.code("tbbo"))
        assert.isTrue(batches.every((batch) => batch.columns.instrument[0] === 1))
        assert.match((yield* Effect.flip(live.feed.subscribe(of("mbp-1")))).message, /look alike/)
      })
    )
  )
})

describe.skipIf(testData === undefined)("the vendor's live captures", () => {
  it.live("give their rows through a session, in versions 1 and 3, with and without ts_out", () =>
    onFastClock(
      Effect.gen(function* () {
        for (const name of [
          "synthetic.live.v1.dbn",
          "synthetic.live.v3.dbn",
          "synthetic.live-ts-out.v3.dbn"
        ]) {
          const bytes = readFileSync(join(testData as string, "dbn", name))
          const decoded = [...decodeBlocks([bytes], { upgrade: 3 })].flatMap((block) => [...block.records()])
          const trades = decoded.filter((record) => record.type === "trade" && record.action === "T").length
          const mappings = decoded.filter((record) => record.type === "symbol_mapping").length
          const gateway = yield* scriptedGateway(async (connection) => {
            await connection.authenticate()
            await connection.subscriptions()
            await connection.write(bytes)
          })
          const { dataset } = [...decodeBlocks([bytes])][0]!.metadata!
          const live = yield* reading(options(gateway.port, { dataset }))
          yield* until(
            () => tradeBatches(live.events).reduce((n, batch) => n + batch.length, 0) === trades,
            name
          )
          assert.isAbove(trades + mappings, 0, name)
          assert.isAtLeast(
            live.events.filter((event) => event._tag === "Mapping").length,
            Math.min(1, mappings),
            name
          )
        }
      })
    )
  )
})

describe("the end of a session", () => {
  const ends: ReadonlyArray<readonly [string, (connection: Connection) => Promise<void> | void]> = [
    ["a clean close", (connection) => connection.end()],
    ["a reset", (connection) => connection.reset()],
    [
      "a close inside a record",
      async (connection) => {
        await connection.write(encode(oneTrade(2)).subarray(0, 20))
        connection.end()
      }
    ],
    ["silence", () => {}],
    ["an internal error", (connection) => connection.write(gatewayError(6, "Internal error"))],
    ["damaged bytes", (connection) => connection.write(new Uint8Array(64).fill(1))]
  ]
  for (const [name, end] of ends)
    it.live(`${name}: connects again and goes on where it was`, () =>
      onFastClock(
        Effect.gen(function* () {
          const starts: Array<string | undefined> = []
          const gateway = yield* scriptedGateway(async (connection, number) => {
            const { subscriptions } = await begin(connection)
            starts.push(subscriptions[0]?.get("start"))
            await connection.write(names())
            if (number === 0) {
              await connection.write(encode(oneTrade(1)))
              await end(connection)
              return
            }
            await connection.write(
              concat([
                encode(oneTrade(1), oneTrade(2), oneTrade(3)),
                system(3, "Finished trades replay", at),
                encode(oneTrade(4))
              ])
            )
          })
          const live = yield* reading(options(gateway.port, { heartbeatSeconds: 5 }))
          yield* until(() => live.rows().length === 4, "four rows")
          assert.deepStrictEqual(starts.slice(0, 2), [undefined, `${TAPE_START + 50_000_000_000n + 1000n}`])
          const sequences = live.rows().map((row) => (BigInt(row.split(" ")[3]!) >> 16n) & 0xffffffffn)
          assert.deepStrictEqual(sequences, [1n, 2n, 3n, 4n])
          assert.isFalse(live.events.some((event) => event._tag === "Gap"))
          assert.isAtLeast((yield* live.feed.health).reconnects, 1)
          assert.strictEqual(
            live.events.filter((event) => event._tag === "Mapping").length,
            2,
            "mappings are no news"
          )
        })
      )
    )

  it.live("without replay, or with one that has aged out: the hole is told before the next row", () =>
    onFastClock(
      Effect.gen(function* () {
        for (const resume of [true, false]) {
          const gateway = yield* scriptedGateway(async (connection, number) => {
            const { subscriptions } = await begin(connection, number === 0 ? TAPE_START : at + 10_000_000n)
            await connection.write(names())
            if (number === 0) {
              await connection.write(encode(oneTrade(1)))
              connection.end()
            } else if (subscriptions[0]?.has("start") === true) {
              await connection.write(gatewayError(8, "Replay data aged out"))
              connection.end()
            } else await connection.write(encode(oneTrade(20_000)))
          })
          const live = yield* reading(options(gateway.port, { resume }))
          yield* until(() => live.rows().length === 2, "two rows")
          const tags = live.events.map((event) => event._tag).join(" ")
          assert.strictEqual(tags, "Mapping Mapping Batch Gap Batch")
          const gap = live.events[3]
          assert(gap?._tag === "Gap")
          assert.strictEqual(gap.cause, resume ? "provider" : "disconnect")
          assert.isTrue(gap.range.start <= at + 1000n)
          assert.strictEqual(gap.range.end, at + 10_000_000n)
          assert.strictEqual(gateway.connections.length, resume ? 3 : 2)
        }
      })
    )
  )

  const hopeless: ReadonlyArray<readonly [string, string, (connection: Connection) => Promise<unknown>]> = [
    [
      "a refused key",
      "ProviderUnauthorized",
      (c) => c.authenticate(`success=0|error=Authentication failed ${KEY}\n`)
    ],
    [
      "a deactivated key",
      "ProviderUnauthorized",
      (c) => c.authenticate("success=0|error=User or API key deactivated\n")
    ],
    [
      "an unknown dataset",
      "ProviderBadRequest",
      (c) => c.authenticate("success=0|error=Unknown dataset GLBX.MDP3\n")
    ],
    [
      "error 2",
      "ProviderUnauthorized",
      async (c) => {
        await begin(c)
        await c.write(gatewayError(2, `deactivated ${KEY}`))
      }
    ],
    [
      "error 5",
      "ProviderBadRequest",
      async (c) => {
        await begin(c)
        await c.write(gatewayError(5, "Invalid subscription"))
      }
    ]
  ]
  for (const [name, reason, script] of hopeless)
    it.live(`${name}: fails with what to do, and is not tried again`, () =>
      onFastClock(
        Effect.gen(function* () {
          const logs: Array<string> = []
          const logger = Logger.make(({ message }) => void logs.push(String(message)))
          const gateway = yield* scriptedGateway(async (connection) => {
            await script(connection)
          })
          const error = yield* Effect.flip(Stream.runDrain(liveEvents(options(gateway.port)))).pipe(
            Effect.provide(Logger.layer([logger]))
          )
          assert(error._tag === "ProviderError")
          assert.strictEqual(error.reason._tag, reason)
          assert.isFalse(error.isRetryable)
          assert.match(error.message, /^databento live GLBX.MDP3: .*; (check|make)/)
          yield* realSleep(150)
          assert.strictEqual(gateway.connections.length, 1)
          const said = [error.message, JSON.stringify(error), error.stack, ...logs].join("\n")
          assert.notInclude(said, KEY)
        })
      )
    )

  it.live("a connection closed before its greeting, or at the limit of sessions, is made again later", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection, number) => {
          if (number === 0) return connection.end()
          if (number === 1) {
            await connection.authenticate("success=0|error=User has reached their open connection limit\n")
            return connection.end()
          }
          await begin(connection, TAPE_START + 3_600_000_000_000n)
          await connection.write(concat([names(), encode(oneTrade(1))]))
        })
        const live = yield* reading(options(gateway.port))
        yield* until(() => gateway.connections.length === 2, "the second connection")
        yield* until(() => live.rows().length === 1, "a row")
        const [gap] = live.events
        assert(gap?._tag === "Gap", "the stream was wanted before it could begin")
        assert.strictEqual(gap.range.end, TAPE_START + 3_600_000_000_000n)
        assert.isTrue(gap.range.start >= TAPE_START + 60_000_000_000n)
        assert.strictEqual(gateway.connections.length, 3)
      })
    )
  )

  it.live("a gateway that does not greet, or does not answer, is left after 30 seconds", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection, number) => {
          if (number === 0) return
          if (number === 1) return connection.write("lsg_version=0.9.4\n")
          await begin(connection)
          await connection.write(concat([names(), encode(oneTrade(1))]))
        })
        const live = yield* reading(options(gateway.port))
        yield* Effect.repeat(Effect.andThen(realSleep(2), live.feed.health), {
          until: ({ detail }) => detail.startsWith("no reply to the authentication within 30 seconds")
        })
        assert.strictEqual((yield* live.feed.health).state, "down")
        yield* until(() => live.rows().length === 1, "a row")
        assert.strictEqual(gateway.connections.length, 3)
      })
    )
  )

  it.live("an address that does not answer is left for the next one", () =>
    onFastClock(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(concat([names(), encode(oneTrade(1))]))
        })
        const addresses = [
          { address: "127.0.0.2", family: 4 },
          { address: "127.0.0.1", family: 4 }
        ]
        const live = yield* reading(
          options(gateway.port, {
            address: {
              host: "gateway.invalid",
              port: gateway.port,
              lookup: (_host, _options, done) => done(null, addresses)
            }
          })
        )
        yield* until(() => live.rows().length === 1, "a row")
      })
    )
  )

  it.effect("waits at least a second, longer each time", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => connection.end())
        const feed = yield* openLive(options(gateway.port))
        const connections = (count: number) =>
          until(() => gateway.connections.length === count, `${count} connections`)
        const downAgain = Effect.repeat(Effect.andThen(realSleep(2), feed.health), {
          until: ({ state, detail }) => state === "down" && detail.includes("connecting again")
        })
        yield* connections(1)
        for (const [n, least, most] of [
          [2, 999, 1501],
          [3, 1999, 3001],
          [4, 3999, 6001]
        ] as const) {
          yield* downAgain
          yield* TestClock.adjust(least)
          yield* realSleep(30)
          assert.strictEqual(gateway.connections.length, n - 1, `not before ${least} ms`)
          yield* TestClock.adjust(most - least)
          yield* connections(n)
          yield* realSleep(30)
        }
      })
    )
  )

  it.live("interruption closes the connection", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const gateway = yield* scriptedGateway(async (connection) => {
          await begin(connection)
          await connection.write(concat([names(), encode(oneTrade(1))]))
        })
        const rows: Array<ProviderEvent> = []
        const fiber = yield* Effect.forkChild(
          Stream.runForEach(liveEvents(options(gateway.port)), (event) =>
            Effect.sync(() => void rows.push(event))
          )
        )
        yield* until(() => rows.length === 3, "events")
        const exit = yield* Effect.andThen(Fiber.interrupt(fiber), Fiber.await(fiber))
        assert(Exit.isFailure(exit))
        yield* Effect.promise(() => gateway.connections[0]!.untilClosed())
      })
    ).pipe(Effect.provide(Logger.layer([])))
  )
})

describe("opening a stream", () => {
  const refused = (change: Partial<LiveOptions>) => Effect.flip(Effect.scoped(openLive(options(1, change))))

  it.live("refuses what cannot be sent, before connecting", () =>
    Effect.gen(function* () {
      const key = yield* refused({ apiKey: Redacted.make("secret-that-is-no-key") })
      assert.strictEqual(key.reason._tag, "ProviderUnauthorized")
      assert.notInclude(`${key.message} ${JSON.stringify(key)}`, "secret-that-is-no-key")
      const trades = { schema: "trades", stypeIn: "raw_symbol", symbols: ["A"] } as const
      for (const change of [
        { dataset: "nothing" },
        { subscriptions: [] },
        { subscriptions: [{ ...trades, symbols: [] }] },
        { heartbeatSeconds: 1 },
        { batchRows: 0 },
        { queueBytes: Number.NaN },
        { client: "a|b" }
      ] satisfies ReadonlyArray<Partial<LiveOptions>>)
        assert.strictEqual((yield* refused(change)).reason._tag, "ProviderBadRequest", JSON.stringify(change))
    })
  )
})
