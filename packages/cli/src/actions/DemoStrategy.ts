/** A small strategy on the ring of a service: it says when two averages cross, and how old a trade is when it gets there. */
import { MarketData, type MarketEvent, type TradeBatch } from "@data-manager/core"
import { ShmSubscription } from "@data-manager/transport-shm"
import { Clock, Effect, Layer, Stream } from "effect"
import type { Action } from "../Action.ts"
import { loadConfig, withStoreOf } from "../Database.ts"
import { grouped, plural } from "../NumberText.ts"
import * as Output from "../Output.ts"
import { ringPlace } from "../RingPlace.ts"
import type { Session } from "../Session.ts"

/** What the strategy trades. */
export interface StrategyOptions {
  readonly symbols: ReadonlyArray<string>
}

/** How far back it begins with stored trades. */
const WarmUp = 300_000_000_000n
/** Signals are printed this often at most; all are counted. Milliseconds. */
const ShownEvery = 1_000

/** Counts of times by powers of the twelfth root of two: within 6 %, whatever their number. */
class Latencies {
  readonly #counts = new Float64Array(512)
  count = 0

  /** Microseconds. */
  add(micros: number): void {
    const bucket = micros <= 1 ? 0 : Math.min(511, Math.round(Math.log2(micros) * 12))
    this.#counts[bucket]! += 1
    this.count += 1
  }

  /** Microseconds below which this share of them lies. */
  quantile(share: number): number {
    let left = this.count * share
    for (let bucket = 0; bucket < 512; bucket++) {
      left -= this.#counts[bucket]!
      if (left <= 0) return 2 ** (bucket / 12)
    }
    return Number.NaN
  }
}

/** Wall-clock time in microseconds. */
const nowMicros = (): number => (performance.timeOrigin + performance.now()) * 1000

/** Moving averages of every instrument, in arrays by its number. */
class Averages {
  readonly #fast = new Map<number, number>()
  readonly #slow = new Map<number, number>()
  readonly latencies = new Latencies()
  stored = 0
  live = 0
  signals = 0
  lost = 0n
  isLive = false
  #shownAt = 0
  readonly #show: (line: string) => void

  constructor(show: (line: string) => void) {
    this.#show = show
  }

  take(event: MarketEvent): void {
    if (event._tag === "Live") {
      this.isLive = true
      this.#show(`  ${plural(this.stored, "trade")} from the database, and live from here on`)
    }
    if (event._tag === "Lost") this.lost += event.to - event.from
    if (event._tag === "ProducerLost") this.#show("  the service is gone; waiting for it")
    if (event._tag === "Batch" && event.batch._tag === "TradeBatch") this.#update(event.batch)
  }

  #update(batch: TradeBatch): void {
    if (this.isLive) this.live += batch.length
    else this.stored += batch.length
    const now = nowMicros()
    const { instrument, tsRecv } = batch.columns
    for (let i = 0; i < batch.length; i++) {
      const price = batch.priceAt(i)
      const age = now - Number(tsRecv[i]!) / 1000
      if (this.isLive) this.latencies.add(age)
      const signal = this.#crossing(instrument[i]!, price)
      if (signal !== undefined) this.#signal(`${signal} ${batch.symbolAt(i)} at ${price.toFixed(2)}`, age)
    }
  }

  /** What to do where the averages change their order with this price. */
  #crossing(id: number, price: number): "buy" | "sell" | undefined {
    const fast = this.#fast.get(id) ?? price
    const slow = this.#slow.get(id) ?? price
    const nextFast = fast + (price - fast) / 20
    const nextSlow = slow + (price - slow) / 200
    this.#fast.set(id, nextFast)
    this.#slow.set(id, nextSlow)
    if (nextFast > nextSlow === fast > slow) return undefined
    return nextFast > nextSlow ? "buy" : "sell"
  }

  #signal(text: string, age: number): void {
    this.signals += 1
    const now = performance.now()
    if (!this.isLive || now < this.#shownAt + ShownEvery) return
    this.#shownAt = now
    this.#show(`  ${text}, ${Math.round(age)} us after the trade was captured`)
  }

  get summary(): string {
    const { latencies, live, lost, signals, stored } = this
    const time = (share: number): string => `${Math.round(latencies.quantile(share))} us`
    const ages = live === 0 ? "" : `; from capture to strategy ${time(0.5)} (median), ${time(0.99)} (99 %)`
    return `strategy: ${grouped(stored)} stored and ${grouped(live)} live trades, ${plural(signals, "signal")}, ${lost} lost${ages}`
  }
}

/** The strategy on the service of the configuration, until it is ended. */
export const demoStrategy = (session: Session, options: StrategyOptions): Action =>
  Effect.gen(function* () {
    const loaded = yield* loadConfig(session)
    const ring = yield* ringPlace(session, { dir: undefined, owner: undefined })
    const averages = new Averages((line) => process.stdout.write(`${line}\n`))
    const symbols = options.symbols.length === 0 ? ["ALL_SYMBOLS"] : options.symbols
    const run = Effect.gen(function* () {
      const data = yield* MarketData
      const from = (yield* Clock.currentTimeNanos) - WarmUp
      yield* Stream.runForEachArray(data.subscribe({ symbols, from }), (events) =>
        Effect.sync(() => {
          for (const event of events) averages.take(event)
        })
      )
    }).pipe(
      Effect.provide(MarketData.layer.pipe(Layer.provide(ShmSubscription.layer(ring)))),
      Effect.ensuring(
        Effect.suspend(() => (averages.isLive ? Output.writeLine(averages.summary) : Effect.void))
      )
    )
    yield* withStoreOf(session, loaded, run)
  })
