/**
 * Filtered subscriptions: trades that move the price, are large enough, and not too many of them. A pure operator: state
 * per instrument, no clock of its own, exact decimals.
 *
 * - `minQuantity`: size >= it. A trade without a size fails.
 * - `minPriceChangePct`: |price - last| / |last| x 100 >= it, `last` being the price last *delivered* to this
 *   subscription. The first trade of a symbol passes. From a last price of 0 every change passes. A trade without a price fails.
 * - `throttleMillis`: leading edge. A trade that passes the other conditions opens a window and is delivered; of the
 *   passing trades within the window the last one is delivered at its end, which opens the next window.
 *
 * The conditions combine with AND. Every trade held back is counted once, under the first condition it failed in the
 * order quantity, price change, throttle. `delivered + suppressed + pending` is always the number of trades seen.
 */
import { ABSENT_I64 } from "./Absent.ts"
import { selectTrades } from "./BatchSelection.ts"
import * as Decimal from "./Decimal.ts"
import type { InstrumentId } from "./Instrument.ts"
import type { SubscriptionEvent, SubscriptionKind, Suppressed } from "./Subscription.ts"
import type { TradeBatch } from "./TradeBatch.ts"

/** The conditions of a filtered subscription. */
export type FilterConditions = Omit<
  Extract<SubscriptionKind, { readonly _tag: "Filtered" }>,
  "_tag" | "symbols"
>

interface Pending {
  readonly batch: TradeBatch
  readonly row: number
}

interface SymbolState {
  last: Decimal.Decimal | undefined
  windowEnd: number
  pending: Pending | undefined
}

/** |price - last| / |last| x 100 >= percent, without a division. */
export const priceMoved = (
  price: Decimal.Decimal,
  last: Decimal.Decimal,
  percent: Decimal.Decimal
): boolean => {
  const exponent = Math.min(price.exponent, last.exponent)
  const now = price.mantissa * Decimal.pow10(price.exponent - exponent)
  const before = last.mantissa * Decimal.pow10(last.exponent - exponent)
  const change = now > before ? now - before : before - now
  if (before === 0n) return change !== 0n || percent.mantissa <= 0n
  const base = before < 0n ? -before : before
  return (
    Decimal.compare(
      { mantissa: change * 100n, exponent: 0 },
      { mantissa: base * percent.mantissa, exponent: percent.exponent }
    ) >= 0
  )
}

/** What is wrong with conditions, or undefined. */
export const conditionProblem = (conditions: FilterConditions): string | undefined => {
  if (conditions.minPriceChangePct !== undefined && conditions.minPriceChangePct.mantissa < 0n)
    return "minPriceChangePct is below 0; give a percentage such as 0.5"
  if (conditions.minQuantity !== undefined && conditions.minQuantity.mantissa < 0n)
    return "minQuantity is below 0; give the smallest size to deliver"
  const throttle = conditions.throttleMillis
  if (throttle !== undefined && !(throttle >= 0 && throttle <= 86_400_000))
    return `throttleMillis is ${throttle}; give milliseconds from 0 to 86400000`
  return undefined
}

/** Filter state of one subscription. Times are milliseconds of any monotonic clock, the same for all calls. */
export class TradeFilter {
  readonly #conditions: FilterConditions
  readonly #throttle: number
  readonly #symbols = new Map<InstrumentId, SymbolState>()
  /** Instruments with a pending trade, by window end: windows have one length, so they end in the order they began. */
  readonly #windows: Array<{ readonly id: InstrumentId; readonly end: number }> = []
  #delivered = 0n
  #quantity = 0n
  #priceChange = 0n
  #throttled = 0n
  #pending = 0

  constructor(conditions: FilterConditions) {
    this.#conditions = conditions
    this.#throttle = conditions.throttleMillis ?? 0
  }

  get delivered(): bigint {
    return this.#delivered
  }

  get suppressed(): Suppressed {
    return { quantity: this.#quantity, priceChange: this.#priceChange, throttle: this.#throttled }
  }

  /** Trades waiting for the end of their window. */
  get pending(): number {
    return this.#pending
  }

  /** When the next pending trade is due, or undefined. */
  get nextDue(): number | undefined {
    return this.#pending === 0 ? undefined : this.#windows.find(({ id, end }) => this.#isDue(id, end))?.end
  }

  /** The trades of a batch to deliver now, after those whose window ended before `now`. */
  apply(batch: TradeBatch, now: number): ReadonlyArray<TradeBatch> {
    const due = this.flush(now)
    const rows: Array<number> = []
    for (let i = 0; i < batch.length; i++) if (this.#passes(batch, i, now)) rows.push(i)
    this.#delivered += BigInt(rows.length)
    if (rows.length === 0) return due
    const passed = rows.length === batch.length ? batch : selectTrades(batch, rows)
    return [...due, passed]
  }

  /** Pending trades whose window ends at `now` or earlier, each as a batch of one row, in order of their window. */
  flush(now: number): ReadonlyArray<TradeBatch> {
    const out: Array<TradeBatch> = []
    while (this.#windows.length > 0 && this.#windows[0]!.end <= now) {
      const { id, end } = this.#windows.shift()!
      const state = this.#symbols.get(id)!
      if (!this.#isDue(id, end)) continue
      const { batch, row } = state.pending!
      state.pending = undefined
      this.#pending -= 1
      this.#delivered += 1n
      out.push(batch.slice(row, row + 1))
      this.#deliver(state, id, batch.priceDecimal(row), end)
    }
    return out
  }

  #isDue(id: InstrumentId, end: number): boolean {
    const state = this.#symbols.get(id)!
    return state.windowEnd === end && state.pending !== undefined
  }

  #deliver(state: SymbolState, id: InstrumentId, price: Decimal.Decimal | undefined, start: number): void {
    if (price !== undefined) state.last = price
    if (this.#throttle === 0) return
    state.windowEnd = start + this.#throttle
    this.#windows.push({ id, end: state.windowEnd })
  }

  #passes(batch: TradeBatch, row: number, now: number): boolean {
    const { minQuantity, minPriceChangePct } = this.#conditions
    const columns = batch.columns
    if (minQuantity !== undefined) {
      const size = { mantissa: columns.size[row]!, exponent: columns.sizeExponent[row]! }
      if (size.mantissa === ABSENT_I64 || Decimal.compare(size, minQuantity) < 0) {
        this.#quantity += 1n
        return false
      }
    }
    const id = columns.instrument[row]!
    const state = this.#stateOf(id)
    const price = batch.priceDecimal(row)
    if (minPriceChangePct !== undefined) {
      const moved =
        price !== undefined && (state.last === undefined || priceMoved(price, state.last, minPriceChangePct))
      if (!moved) {
        this.#priceChange += 1n
        return false
      }
    }
    if (this.#throttle > 0 && now < state.windowEnd) {
      if (state.pending === undefined) this.#pending += 1
      else this.#throttled += 1n
      state.pending = { batch, row }
      return false
    }
    this.#deliver(state, id, price, now)
    return true
  }

  #stateOf(id: InstrumentId): SymbolState {
    let state = this.#symbols.get(id)
    if (state === undefined) {
      state = { last: undefined, windowEnd: Number.NEGATIVE_INFINITY, pending: undefined }
      this.#symbols.set(id, state)
    }
    return state
  }
}

/** What a filter leaves of events, and what has become due in it meanwhile. Events that are not trades pass. */
export const filterEvents = (
  filter: TradeFilter,
  events: ReadonlyArray<SubscriptionEvent>,
  now: number
): ReadonlyArray<SubscriptionEvent> => {
  const out: Array<SubscriptionEvent> = []
  if (events.length === 0 && filter.pending > 0)
    for (const batch of filter.flush(now)) out.push({ _tag: "Batch", batch })
  for (const event of events)
    if (event._tag !== "Batch" || event.batch._tag !== "TradeBatch") out.push(event)
    else for (const batch of filter.apply(event.batch, now)) out.push({ _tag: "Batch", batch })
  return out
}
