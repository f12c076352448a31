/** Broken at random and mended by replay, a live stream gives what the unbroken tape gives: row by row, key by key. */
import { batchContext, type MarketBatch, type ProviderEvent } from "@data-manager/core"
import { SeededRandom } from "@data-manager/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Logger, Stream } from "effect"
import { DbnBatches } from "../../src/DbnBatches.ts"
import { decodeBlocks, encodeStream, type TradeRecord, ZstdEncoder } from "../../src/dbn/index.ts"
import { openLive } from "../../src/live/LiveFeed.ts"
import { fastClock, options, rowsOf, tradeBatches, until } from "./LiveTest.ts"
import { type Connection, scriptedGateway } from "./ScriptedGateway.ts"
import { concat, DATASET, encode, mapping, metadata, system, TAPE_START, tape, tapeSymbols } from "./Tape.ts"

/** What history gives for the same trades. */
const historyOf = (trades: ReadonlyArray<TradeRecord>): ReadonlyArray<string> => {
  const batches: Array<MarketBatch> = []
  const emit = (batch: MarketBatch): void => void batches.push(batch)
  const instruments = new Map(
    tapeSymbols.map(([id, rawSymbol]) => [
      id,
      {
        id,
        provider: "databento",
        dataset: DATASET,
        rawSymbol,
        symbol: `${DATASET}:${rawSymbol}`,
        priceScale: 9,
        sizeScale: 0,
        assetClass: "unknown" as const
      }
    ])
  )
  const gatherer = new DbnBatches({
    context: batchContext({ provider: "databento", dataset: DATASET, instruments })
  })
  for (const block of decodeBlocks([encodeStream({ dataset: DATASET }, trades)])) gatherer.add(block, emit)
  gatherer.flush(emit)
  return rowsOf(tradeBatches(batches.map((batch) => ({ _tag: "Batch", batch }))))
}

const mappings = concat(
  tapeSymbols.map(([id, symbol]) => mapping(id, `${symbol.slice(0, 2)}.FUT`, symbol, TAPE_START))
)

/** Plays a tape as a gateway does, and breaks off at random. */
class TapeGateway {
  readonly starts: Array<string | undefined> = []
  readonly #trades: ReadonlyArray<TradeRecord>
  readonly #random: SeededRandom
  readonly #zstd: boolean
  #cuts: number
  /** Trades that have happened. */
  #published = 0

  constructor(trades: ReadonlyArray<TradeRecord>, random: SeededRandom, cuts: number) {
    this.#trades = trades
    this.#random = random
    this.#cuts = cuts
    this.#zstd = random.chance(0.3)
  }

  readonly serve = async (connection: Connection): Promise<void> => {
    await connection.authenticate()
    const start = (await connection.subscriptions())[0]?.get("start")
    this.starts.push(start)
    // A stream that has not even begun yet, because a reset took its header away: the tape begins with it.
    if (start === undefined) this.#published = 0
    const replayed =
      start === undefined
        ? []
        : this.#trades.slice(0, this.#published).filter(({ tsEvent }) => tsEvent >= BigInt(start))
    const isLast = this.#cuts === 0
    this.#cuts -= 1
    const live = this.#trades.slice(
      this.#published,
      isLast ? undefined : this.#published + this.#random.below(120)
    )
    const head = concat([
      metadata(TAPE_START - 10_000n),
      mappings,
      encode(...replayed),
      start === undefined ? new Uint8Array(0) : system(3, "Finished trades replay", TAPE_START)
    ])
    const plain = concat([head, encode(...live)])
    // Even an outage of no time loses what was sent and not read.
    const cut = isLast ? plain.length : this.#random.below(plain.length + 1)
    const sent = Math.max(0, Math.ceil((cut - head.length) / 48))
    this.#published = Math.min(this.#trades.length, this.#published + sent + this.#random.below(30))
    await this.#send(connection, plain.subarray(0, cut))
    if (isLast) return
    if (this.#random.chance(0.5)) connection.end()
    else connection.reset()
  }

  async #send(connection: Connection, bytes: Uint8Array): Promise<void> {
    const zstd = this.#zstd ? new ZstdEncoder() : undefined
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + 1 + this.#random.below(3000))
      at += part.length
      await connection.write(zstd === undefined ? part : concat([zstd.push(part), zstd.flush()]))
    }
    zstd?.close()
  }
}

const play = (seed: number) =>
  Effect.gen(function* () {
    const random = new SeededRandom(seed)
    const trades = tape(seed, 400, 0.1, random.pick([1, 1000]))
    const expected = historyOf(trades)
    const tapeGateway = new TapeGateway(trades, random, 4)
    const gateway = yield* scriptedGateway(tapeGateway.serve)
    const events: Array<ProviderEvent> = []
    const feed = yield* openLive(options(gateway.port, { compression: "zstd" }))
    yield* Effect.forkScoped(
      Stream.runForEach(feed.events, (event) => Effect.sync(() => void events.push(event)))
    )
    const count = () => tradeBatches(events).reduce((sum, batch) => sum + batch.length, 0)
    yield* until(() => count() >= expected.length, `seed ${seed}: all ${expected.length} rows`)
    assert.deepStrictEqual(rowsOf(tradeBatches(events)), expected, `seed ${seed}`)
    assert.isFalse(
      events.some((event) => event._tag === "Gap"),
      `seed ${seed}`
    )
    return tapeGateway.starts
  })

describe("a live stream that breaks", () => {
  it.live("loses and repeats nothing", () =>
    Effect.gen(function* () {
      let resumed = 0
      for (let seed = 1; seed <= 12; seed++) {
        const starts = yield* Effect.provideService(Effect.scoped(play(seed)), Clock.Clock, fastClock())
        const begun = `${TAPE_START - 10_000n}`
        resumed += starts.filter((start) => start !== undefined && start !== begun).length
      }
      assert.isAbove(resumed, 5, "replays began behind the beginning of the tape, too")
    }).pipe(Effect.provide(Logger.layer([])))
  )
})
