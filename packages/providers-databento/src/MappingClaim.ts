/** What the registry is told of an instrument that a mapping names, or that nothing explains. */
import type { ListingClaim } from "@data-manager/core"
import { DEFAULT_PRICE_SCALE, DEFAULT_SIZE_SCALE } from "./DefinitionClaims.ts"
import type { SymbolMappingRecord } from "./dbn/DbnRecord.ts"
import { dayOfNanos, NANOS_PER_DAY } from "./dbn/IsoDate.ts"
import { UNDEF_TIMESTAMP } from "./dbn/Sentinel.ts"

/** Id of this provider in registries, runs and batches. */
export const PROVIDER_ID = "databento"

/** A claim on UTC days `[startDay, endDay)`; without `rawSymbol` the number stands alone until a definition names it. */
export const daysClaim = (
  dataset: string,
  nativeId: number,
  rawSymbol: string | undefined,
  startDay: number,
  endDay: number
): ListingClaim => ({
  provider: PROVIDER_ID,
  dataset,
  rawSymbol,
  nativeId,
  valid: { start: BigInt(startDay) * NANOS_PER_DAY, end: BigInt(endDay) * NANOS_PER_DAY },
  defaultPriceScale: DEFAULT_PRICE_SCALE,
  defaultSizeScale: DEFAULT_SIZE_SCALE
})

/**
 * Claim of a gateway's mapping record: the days of its interval, where it has one, and the day on which it was sent.
 * Undefined where the record names nothing.
 */
export const mappingClaim = (dataset: string, record: SymbolMappingRecord): ListingClaim | undefined => {
  if (record.stypeOutSymbol === "") return undefined
  const day = dayOfNanos(record.tsEvent === UNDEF_TIMESTAMP ? 0n : record.tsEvent)
  const defined =
    record.startTs !== UNDEF_TIMESTAMP && record.endTs !== UNDEF_TIMESTAMP && record.startTs < record.endTs
  const startDay = defined ? Math.min(day, dayOfNanos(record.startTs)) : day
  const endDay = defined ? Math.max(day, dayOfNanos(record.endTs - 1n)) + 1 : day + 1
  return daysClaim(dataset, record.instrumentId, record.stypeOutSymbol, startDay, endDay)
}
