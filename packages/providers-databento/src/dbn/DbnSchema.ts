/** Kinds of records that can be asked for. Codes are those of the metadata; new ones are appended by the vendor. */
import { NULL_SCHEMA } from "./Sentinel.ts"

/** Schemas in the order of their codes. */
export const schemas = [
  "mbo",
  "mbp-1",
  "mbp-10",
  "tbbo",
  "trades",
  "ohlcv-1s",
  "ohlcv-1m",
  "ohlcv-1h",
  "ohlcv-1d",
  "definition",
  "statistics",
  "status",
  "imbalance",
  "ohlcv-eod",
  "cmbp-1",
  "cbbo-1s",
  "cbbo-1m",
  "tcbbo",
  "bbo-1s",
  "bbo-1m"
] as const

/** A schema that this codec knows by name. */
export type KnownSchema = (typeof schemas)[number]

/** A schema as metadata tells it; codes without a name here (the vendor adds some) read `schema-NN`. */
export type DbnSchema = KnownSchema | `schema-${number}`

/** Name of a metadata code; null for the null code. */
export const schemaFromCode = (code: number): DbnSchema | null =>
  code === NULL_SCHEMA ? null : (schemas[code] ?? `schema-${code}`)

/** Metadata code of a name (null gives the null code); undefined where the text names no schema. */
export const schemaCode = (schema: string | null): number | undefined => {
  if (schema === null) return NULL_SCHEMA
  const index = (schemas as ReadonlyArray<string>).indexOf(schema)
  return index >= 0 ? index : numbered("schema-", schema, NULL_SCHEMA)
}

/** NN of `prefixNN` where 0 <= NN < limit and the text is canonical. */
export const numbered = (prefix: string, text: string, limit: number): number | undefined => {
  if (!text.startsWith(prefix)) return undefined
  const code = Number(text.slice(prefix.length))
  return Number.isInteger(code) && code >= 0 && code < limit && text === `${prefix}${code}` ? code : undefined
}
