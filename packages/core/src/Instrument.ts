/**
 * Instruments and listings. An instrument is one tradable thing of one dataset; a listing says which text and which
 * native id meant it during which time. Text is not identity: `ESM6` is June 2016 and June 2026.
 */
import type * as Decimal from "./Decimal.ts"
import type { TimeRange } from "./TimeRange.ts"

/** Dense u32 given by the registry; local to one store. Text travels with it wherever it leaves the process. */
export type InstrumentId = number

/** What kind of thing is traded; "unknown" where no definition told. */
export type AssetClass =
  | "equity"
  | "future"
  | "option"
  | "spread"
  | "fx"
  | "crypto"
  | "bond"
  | "commodity"
  | "index"
  | "unknown"

/** One instrument as rows refer to it. */
export interface Instrument {
  readonly id: InstrumentId
  /** Who delivered it: `databento`, `binance`. */
  readonly provider: string
  /** `GLBX.MDP3`, `BINANCE.SPOT`. */
  readonly dataset: string
  /** The venue's own text, as published: `ESH6`, `BTCUSDT`. May contain spaces. */
  readonly rawSymbol: string
  /** `DATASET:RAW_SYMBOL`. */
  readonly symbol: string
  /** Decimal places at which the store keeps its prices and sizes as integers; fixed at registration. */
  readonly priceScale: number
  readonly sizeScale: number
  readonly assetClass: AssetClass
  /** Primary venue (MIC-like code), where known. */
  readonly exchange?: string | undefined
}

/** Facts from a definition. Relations are attributes, never guessed from names. */
export interface InstrumentDetails {
  readonly assetClass?: AssetClass | undefined
  readonly exchange?: string | undefined
  readonly currency?: string | undefined
  readonly base?: string | undefined
  readonly underlying?: string | undefined
  readonly tickSize?: Decimal.Decimal | undefined
  readonly lotSize?: Decimal.Decimal | undefined
  readonly multiplier?: Decimal.Decimal | undefined
  readonly strike?: Decimal.Decimal | undefined
  /** First and last moment it trades, where the definition says so. */
  readonly activation?: bigint | undefined
  readonly expiration?: bigint | undefined
  /** Further provider fields, JSON-safe. */
  readonly metadata?: { readonly [key: string]: unknown } | undefined
}

/** One text of one dataset, meaning one instrument for a time. Listings of one text never overlap. */
export interface Listing {
  readonly instrument: InstrumentId
  readonly dataset: string
  readonly rawSymbol: string
  /** The provider's number for it during this time, where it has one. */
  readonly nativeId?: number | undefined
  readonly valid: TimeRange
}

/** What a source says about a listing before the registry has given it an id. */
export interface ListingClaim {
  readonly provider: string
  readonly dataset: string
  /** Absent where the source knows the number alone; a later definition names it. */
  readonly rawSymbol?: string | undefined
  readonly nativeId?: number | undefined
  readonly valid: TimeRange
  /** The provider's finest decimal places, used where no tick or lot size is known. */
  readonly defaultPriceScale: number
  readonly defaultSizeScale: number
  readonly details?: InstrumentDetails | undefined
}

/** Looks an id up; batches carry one so that a row can tell its symbol. */
export interface InstrumentDirectory {
  readonly get: (id: InstrumentId) => Instrument | undefined
}

/** A directory over a fixed set. */
export const directory = (instruments: Iterable<Instrument>): InstrumentDirectory => {
  const byId = new Map<InstrumentId, Instrument>()
  for (const instrument of instruments) byId.set(instrument.id, instrument)
  return byId
}

/** A directory that knows nobody: rows then show `#id`. */
export const emptyDirectory: InstrumentDirectory = directory([])
