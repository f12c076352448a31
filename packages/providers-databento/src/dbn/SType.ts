/** Symbology types: what a symbol text or number is. */
import { numbered } from "./DbnSchema.ts"
import { NULL_STYPE } from "./Sentinel.ts"

/** Symbology types in the order of their codes. */
export const stypes = [
  "instrument_id",
  "raw_symbol",
  "smart",
  "continuous",
  "parent",
  "nasdaq_symbol",
  "cms_symbol",
  "isin",
  "us_code",
  "bbg_comp_id",
  "bbg_comp_ticker",
  "figi",
  "figi_ticker",
  "listing_id",
  "issuer_id",
  "security_id"
] as const

/** A symbology type that this codec knows by name. */
export type KnownSType = (typeof stypes)[number]

/** A symbology type as metadata tells it; codes without a name here read `stype-NN`. */
export type SType = KnownSType | `stype-${number}`

/** Older spellings that the vendor accepts on input. */
const aliases: { readonly [text: string]: KnownSType } = {
  product_id: "instrument_id",
  native: "raw_symbol",
  nasdaq: "nasdaq_symbol",
  cms: "cms_symbol"
}

/** The type that a text names, older spellings included; undefined where it names none that this codec knows. */
export const knownStype = (text: string): KnownSType | undefined => stypes[stypeCode(text) ?? -1]

/** Name of a code; null for the null code. */
export const stypeFromCode = (code: number): SType | null =>
  code === NULL_STYPE ? null : (stypes[code] ?? `stype-${code}`)

/** Code of a name, older spellings included (null gives the null code); undefined where the text names none. */
export const stypeCode = (stype: string | null): number | undefined => {
  if (stype === null) return NULL_STYPE
  const index = (stypes as ReadonlyArray<string>).indexOf(aliases[stype] ?? stype)
  return index >= 0 ? index : numbered("stype-", stype, NULL_STYPE)
}
