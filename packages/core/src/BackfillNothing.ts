/**
 * What a provider has nothing for: times in which a symbol was not listed. Remembered, so that the next plan leaves them
 * out; and forgotten again after a while, because a provider may learn more about its past.
 */
import { Clock, Effect } from "effect"
import type { BackfillPlan } from "./BackfillPlan.ts"
import * as Coverage from "./Coverage.ts"
import type { InstrumentId } from "./Instrument.ts"
import type { MarketSchema } from "./MarketSchema.ts"
import { MarketStore } from "./MarketStore.ts"
import type { TimeRange } from "./TimeRange.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** How long the answer counts for times of the last week, which may still come in, and for older ones. */
const Recent = { age: 7n * UnixNanos.PerDay, counts: UnixNanos.PerDay }
const Old = { counts: 30n * UnixNanos.PerDay }

/** A symbol and when there is nothing under its name. */
interface Nothing {
  readonly symbol: string
  readonly range: TimeRange
}

/**
 * Collects the answers of a run. They are kept under an instrument of the symbol, which may become known only by a later
 * chunk; those of symbols that stay without one are dropped.
 */
export class BackfillNothing {
  readonly #schema: MarketSchema
  readonly #instruments = new Map<string, InstrumentId>()
  #waiting: Array<Nothing> = []

  constructor({ request, meant }: Pick<BackfillPlan, "request" | "meant">) {
    this.#schema = request.schema
    for (const [symbol, instruments] of meant) {
      const newest = instruments.reduce((a, b) => (b.valid.start > a.valid.start ? b : a))
      this.#instruments.set(symbol, newest.instrument)
    }
  }

  /** A symbol means this instrument at some time. */
  learn(symbol: string, instrument: InstrumentId): void {
    this.#instruments.set(symbol, instrument)
  }

  /** The provider was asked for a time of a symbol, and had data of it (possibly no rows) in `listed` alone. */
  add(symbol: string, asked: TimeRange, listed: Iterable<TimeRange>): void {
    for (const range of Coverage.subtract([asked], Coverage.ranges(listed)))
      this.#waiting.push({ symbol, range })
  }

  /** Writes down what belongs to symbols that are known by now. */
  readonly settle = Effect.fnUntraced({ self: this }, function* (this: BackfillNothing) {
    const store = yield* MarketStore
    const now = BigInt(Math.floor(yield* Clock.currentTimeMillis)) * UnixNanos.PerMilli
    const spans: Array<Coverage.CoverageSpan> = []
    const unknown: Array<Nothing> = []
    for (const one of this.#waiting) {
      const instrument = this.#instruments.get(one.symbol)
      if (instrument === undefined) unknown.push(one)
      else spans.push({ instrument, schema: this.#schema, state: "none", ...checked(one.range, now) })
    }
    this.#waiting = unknown
    if (spans.length > 0) yield* store.markCoverage(spans)
  })
}

const checked = (range: TimeRange, now: bigint) => {
  const { counts } = range.end > now - Recent.age ? Recent : Old
  return { range, checkedAt: now, expiresAt: now + counts }
}
