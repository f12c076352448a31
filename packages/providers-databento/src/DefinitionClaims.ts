/**
 * Definition records as listing claims: what the registry learns from a definition file.
 *
 * A definition holds for the UTC day of its `ts_recv`; days in a row of one id and name become one claim. Strategies come
 * as one record per leg, all of one id: their legs are gathered.
 */
import type { AssetClass, Decimal, InstrumentDetails, ListingClaim } from "@data-manager/core"
import type { InstrumentDefRecord } from "./dbn/DbnRecord.ts"
import { dayOfNanos, NANOS_PER_DAY } from "./dbn/IsoDate.ts"
import { PRICE_EXPONENT, UNDEF_PRICE, UNDEF_TIMESTAMP } from "./dbn/Sentinel.ts"

/** Decimal places of Databento's prices and sizes, where no definition tells the tick. */
export const DEFAULT_PRICE_SCALE = 9
export const DEFAULT_SIZE_SCALE = 0

const UNDEF_I32 = 2147483647

const assetClasses: { readonly [instrumentClass: string]: AssetClass } = {
  B: "bond",
  C: "option",
  F: "future",
  I: "index",
  K: "equity",
  M: "spread",
  P: "option",
  S: "spread",
  T: "spread",
  X: "fx",
  Y: "commodity"
}

const decimal = (value: bigint): Decimal.Decimal | undefined =>
  value === UNDEF_PRICE || value === 0n ? undefined : { mantissa: value, exponent: PRICE_EXPONENT }

const time = (value: bigint): bigint | undefined =>
  value === UNDEF_TIMESTAMP || value === 0n ? undefined : value

const text = (value: string): string | undefined => (value === "" ? undefined : value)

/** Fields that have a place of their own in the details, in the claim, or in `legs`. */
const placed = new Set([
  "type",
  "rtype",
  "publisherId",
  "instrumentId",
  "tsEvent",
  "tsRecv",
  "tsOut",
  "rawSymbol",
  "expiration",
  "activation",
  "currency",
  "exchange",
  "underlying",
  "strikePrice"
])

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** What is left of a record, under the vendor's field names; 64-bit values as text, so that JSON keeps them. */
const remaining = (record: InstrumentDefRecord): { [key: string]: unknown } => {
  const out: { [key: string]: unknown } = {}
  for (const [name, value] of Object.entries(record)) {
    if (placed.has(name) || name.startsWith("leg")) continue
    out[snakeCase(name)] = typeof value === "bigint" ? value.toString() : value
  }
  return out
}

const leg = (record: InstrumentDefRecord): { [key: string]: unknown } => {
  const out: { [key: string]: unknown } = {}
  for (const [name, value] of Object.entries(record))
    if (name.startsWith("leg") && name !== "legCount")
      out[snakeCase(name)] = typeof value === "bigint" ? value.toString() : value
  return out
}

const details = (record: InstrumentDefRecord, legs: ReadonlyArray<unknown>): InstrumentDetails => ({
  assetClass: assetClasses[record.instrumentClass] ?? "unknown",
  exchange: text(record.exchange),
  currency: text(record.currency),
  underlying: text(record.underlying),
  tickSize: decimal(record.minPriceIncrement),
  multiplier:
    record.contractMultiplier === UNDEF_I32 || record.contractMultiplier === 0
      ? undefined
      : { mantissa: BigInt(record.contractMultiplier), exponent: 0 },
  strike: decimal(record.strikePrice),
  activation: time(record.activation),
  expiration: time(record.expiration),
  metadata: legs.length === 0 ? remaining(record) : { ...remaining(record), legs }
})

interface Pending {
  record: InstrumentDefRecord
  startDay: number
  endDay: number
  readonly legs: Map<number, unknown>
}

/** Gathers definitions of one dataset; `drain` gives what was gathered as claims. */
export class DefinitionClaims {
  readonly #dataset: string
  readonly #pending = new Map<string, Pending>()
  /** Definition records seen. */
  count = 0

  constructor(dataset: string) {
    this.#dataset = dataset
  }

  /** Claims waiting; drain them before they grow beyond what a transaction should hold. */
  get size(): number {
    return this.#pending.size
  }

  /** Takes a version 3 record; earlier ones are upgraded by the decoder. */
  add(record: InstrumentDefRecord): void {
    this.count += 1
    const day = dayOfNanos(record.tsRecv === UNDEF_TIMESTAMP ? record.tsEvent : record.tsRecv)
    const key = `${record.instrumentId}/${record.rawSymbol}/${record.expiration}`
    let pending = this.#pending.get(key)
    if (pending === undefined || day > pending.endDay || day < pending.startDay - 1) {
      // Not a day in a row: a stretch of its own, so that no claim speaks for days between.
      const stretch = pending === undefined ? key : `${key}/${pending.startDay}`
      if (pending !== undefined) this.#pending.set(stretch, pending)
      pending = { record, startDay: day, endDay: day + 1, legs: new Map() }
      this.#pending.set(key, pending)
    }
    pending.record = record
    pending.startDay = Math.min(pending.startDay, day)
    pending.endDay = Math.max(pending.endDay, day + 1)
    if (record.legCount > 0) pending.legs.set(record.legIndex, leg(record))
  }

  /** Everything gathered, as claims; empties the gatherer. */
  drain(): ReadonlyArray<ListingClaim> {
    const claims: Array<ListingClaim> = []
    for (const { record, startDay, endDay, legs } of this.#pending.values()) {
      const inOrder = [...legs.entries()].sort(([a], [b]) => a - b).map(([, value]) => value)
      claims.push({
        provider: "databento",
        dataset: this.#dataset,
        rawSymbol: text(record.rawSymbol),
        nativeId: record.instrumentId,
        valid: { start: BigInt(startDay) * NANOS_PER_DAY, end: BigInt(endDay) * NANOS_PER_DAY },
        defaultPriceScale: DEFAULT_PRICE_SCALE,
        defaultSizeScale: DEFAULT_SIZE_SCALE,
        details: details(record, inOrder)
      })
    }
    this.#pending.clear()
    return claims
  }
}
