/**
 * Records as an older version lays them out: what an old gateway or an old file has. The codec has no such thing,
 * because data is never made less; a simulator has to speak every version. Text and numbers too long for the version are
 * cut, an absent quantity stays absent.
 */
import type { DbnRecord } from "../dbn/DbnRecord.ts"
import { camelCase, type DbnVersion, fieldBytes } from "../dbn/Layout.ts"
import { blankRecord } from "../dbn/RecordEncoder.ts"
import { layoutOf } from "../dbn/Rtype.ts"
import { UNDEF_STAT_QUANTITY, UNDEF_STAT_QUANTITY_V1 } from "../dbn/Sentinel.ts"

const I32_MAX = 0x7fffffff

/** A value as a field of the given type holds it. */
const fitted = (value: unknown, type: string, bytes: number): unknown => {
  if (type === "cstr") return (value as string).slice(0, bytes - 1)
  if (typeof value !== "bigint" || bytes > 4) return value
  if (value === UNDEF_STAT_QUANTITY) return UNDEF_STAT_QUANTITY_V1
  const low = type.startsWith("i") ? -I32_MAX - 1 : 0
  const high = type.startsWith("i") ? I32_MAX : 0xffffffff
  return Math.min(high, Math.max(low, Number(value)))
}

/** A version 3 record in the struct that `version` has for its type; the record itself where that is the same. */
export const downgraded = (record: DbnRecord, version: DbnVersion): DbnRecord => {
  const layout = layoutOf(record.rtype, version)
  if (layout === undefined || layout.name === record.type) return record
  const { rtype, publisherId, instrumentId, tsEvent } = record
  const fields: { [name: string]: unknown } = { rtype, publisherId, instrumentId, tsEvent }
  const from = record as unknown as { readonly [name: string]: unknown }
  for (const field of layout.fields) {
    const name = camelCase(field[1])
    if (name in from) fields[name] = fitted(from[name], field[2], fieldBytes(field))
  }
  return blankRecord(layout.name, fields as object) as DbnRecord
}
