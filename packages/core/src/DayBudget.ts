/** Money that may be spent on one UTC day. */
import * as Decimal from "./Decimal.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What was spent on the present UTC day, by provider. */
export class DayBudget {
  #day = -1n
  readonly #spent = new Map<string, Decimal.Decimal>()

  /** What a provider may still cost at a time, ns. */
  left(provider: string, limit: Decimal.Decimal, at: bigint): Decimal.Decimal {
    const day = at / UnixNanos.PerDay
    if (day !== this.#day) this.#spent.clear()
    this.#day = day
    const { mantissa, exponent } = this.#spent.get(provider) ?? Decimal.make(0n, 0)
    const left = Decimal.add(limit, Decimal.make(-mantissa, exponent))
    return left.mantissa < 0n ? Decimal.make(0n, 0) : left
  }

  spend(provider: string, cost: Decimal.Decimal): void {
    this.#spent.set(provider, Decimal.add(this.#spent.get(provider) ?? Decimal.make(0n, 0), cost))
  }
}
