/** A strategy: it knows `MarketData`, and not where that comes from. */
import { MarketData, UnixNanos } from "@data-manager/core"
import { Effect, Stream } from "effect"

export const symbol = "DBEQ.BASIC:AA"
export const day = { start: UnixNanos.parse("2026-01-05")!, end: UnixNanos.parse("2026-01-06")! }
/** The strategy ends after so many trades of its symbol. */
const Trades = 2_000

/** Two moving averages that cross. A plain loop over columns: no object and no Effect per trade. */
class Crossings {
  readonly signals: Array<string> = []
  trades = 0
  #fast = Number.NaN
  #slow = Number.NaN

  update(time: bigint, price: number): void {
    const before = this.#fast > this.#slow
    this.#fast = Number.isNaN(this.#fast) ? price : this.#fast + (price - this.#fast) / 20
    this.#slow = Number.isNaN(this.#slow) ? price : this.#slow + (price - this.#slow) / 200
    this.trades += 1
    const after = this.#fast > this.#slow
    if (this.trades > 200 && after !== before)
      this.signals.push(`${UnixNanos.toIso(time)} ${after ? "buy" : "sell"} at ${price}`)
  }
}

/** Runs the strategy on the day from its start: what is stored first, and then what comes. Gives its signals. */
export const strategy = Effect.gen(function* () {
  const data = yield* MarketData
  const crossings = new Crossings()
  yield* data.subscribe({ symbols: [symbol], from: day.start }).pipe(
    Stream.takeUntil((event) => {
      if (event._tag === "Lost") throw new Error(`lost ${event.to - event.from} rows`)
      if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch") return false
      const { batch } = event
      for (let i = 0; i < batch.length && crossings.trades < Trades; i++)
        crossings.update(batch.columns.tsEvent[i]!, batch.priceAt(i))
      return crossings.trades === Trades
    }),
    Stream.runDrain
  )
  return crossings.signals
})
