/** What may be asked of Acme, and what both streams begin with: the instruments of the symbols that there are. */
import {
  AllSymbols,
  type HistoryRequest,
  type Instrument,
  type ListingClaim,
  type Mapping,
  ProviderBadRequest,
  type ProviderError,
  type RegisterListings,
  type Selection,
  TimeRange,
  UnixNanos
} from "@data-manager/core"
import { Effect } from "effect"
import type { AcmeApi, Listed, Listing } from "./AcmeApi.ts"
import { Dataset } from "./AcmeTrade.ts"

/** A request that can be served. */
export interface Opened {
  readonly instruments: ReadonlyArray<Instrument>
  readonly mappings: ReadonlyArray<Mapping>
  readonly listing: Listing
}

/** The parameters of a request for rows. */
export const query = ({ instruments }: Opened, { end, start }: TimeRange.TimeRange) => ({
  symbols: instruments.map(({ rawSymbol }) => rawSymbol).join(","),
  start: `${start}`,
  end: `${end}`
})

/** What Acme says about a symbol. */
export const claimOf = (provider: string, { since, symbol }: Listed): ListingClaim => ({
  provider,
  dataset: Dataset,
  rawSymbol: symbol,
  // Acme never gives a symbol to another pair.
  valid: { start: since, end: UnixNanos.Max },
  defaultPriceScale: 8,
  defaultSizeScale: 8,
  details: { assetClass: "crypto" }
})

/** What may be asked for. Nothing of this costs a request for rows. */
export class AcmeRequest {
  readonly #api: AcmeApi
  readonly #id: string
  readonly #register: RegisterListings

  constructor(api: AcmeApi, id: string, register: RegisterListings) {
    this.#api = api
    this.#id = id
    this.#register = register
  }

  #refuse(operation: string, detail: string): Effect.Effect<never, ProviderError> {
    return Effect.fail(this.#api.failure(operation, new ProviderBadRequest({ detail })))
  }

  checkDataset(operation: string, dataset: string): Effect.Effect<void, ProviderError> {
    return dataset === Dataset
      ? Effect.void
      : this.#refuse(operation, `no dataset "${dataset}"; there is ${Dataset}`)
  }

  /** Checks a selection and registers its instruments. Unknown symbols are left out, unless all are. */
  readonly open = Effect.fnUntraced(
    { self: this },
    function* (this: AcmeRequest, operation: string, { dataset, schema, stypeIn, symbols }: Selection) {
      yield* this.checkDataset(operation, dataset)
      if (schema !== "trades") return yield* this.#refuse(operation, `no schema "${schema}"; there is trades`)
      if (stypeIn !== "raw_symbol")
        return yield* this.#refuse(operation, `symbols are meant as raw_symbol here, not as ${stypeIn}`)
      const listing = yield* this.#api.listing
      const isAsked = (symbol: string): boolean => symbols.includes(AllSymbols) || symbols.includes(symbol)
      const chosen = listing.symbols.filter(({ symbol }) => isAsked(symbol))
      if (chosen.length === 0)
        return yield* this.#refuse(operation, `no symbol of these is known: ${symbols.join(", ")}`)
      const claims = chosen.map((listed) => claimOf(this.#id, listed))
      // The registry behind `register` is a part of this provider: what it says is told as a failure of the request.
      const instruments = yield* Effect.catch(this.#register(claims), (error) =>
        this.#refuse(operation, `instruments cannot be registered: ${error.message}`)
      )
      const mappings = claims.map(
        (claim): Mapping => ({ _tag: "Mapping", claim, requested: claim.rawSymbol! })
      )
      return { instruments, mappings, listing } satisfies Opened
    }
  )

  readonly openHistory = Effect.fnUntraced(
    { self: this },
    function* (this: AcmeRequest, request: HistoryRequest) {
      if (TimeRange.isEmpty(request.range))
        return yield* this.#refuse("history", "the end of the range is not after its start")
      return yield* this.open("history", request)
    }
  )
}
