/** Acme behind the provider contract: what is asked is checked by `AcmeRequest`, the rows come from `AcmeHistory` and `AcmeLive`. */
import {
  type Provider,
  ProviderError,
  type ProviderEvent,
  ProviderUnauthorized,
  type RegisterListings,
  TimeRange
} from "@data-manager/core"
import { Effect, Redacted, Stream } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { AcmeApi } from "./AcmeApi.ts"
import { tradesOf } from "./AcmeHistory.ts"
import { AcmeLive, type LiveAddress } from "./AcmeLive.ts"
import { AcmeRequest, claimOf, type Opened, query } from "./AcmeRequest.ts"

/** What the provider is made of. */
export interface AcmeOptions {
  readonly id: string
  readonly url: string
  readonly live: LiveAddress
  readonly key: Redacted.Redacted<string> | undefined
  /** The variable that holds the key, for messages. */
  readonly keyName: string
  readonly register: RegisterListings
}

/** Makes the provider. A key that cannot be one is refused here, without being shown to anybody. */
export const make = (options: AcmeOptions): Effect.Effect<Provider, ProviderError> =>
  Effect.gen(function* () {
    const { id, key, keyName } = options
    const problem =
      key === undefined
        ? `the environment variable ${keyName} is not set`
        : /^acme-[0-9a-f]{16}$/.test(Redacted.value(key))
          ? undefined
          : `${keyName} holds no key of Acme: acme- and 16 hexadecimal digits`
    if (key === undefined || problem !== undefined)
      return yield* new ProviderError({
        provider: id,
        operation: "read the key",
        reason: new ProviderUnauthorized({ detail: `${problem}`, hint: `export ${keyName}=acme-...` })
      })
    const client = yield* HttpClient.HttpClient
    const api = new AcmeApi(client, { id, url: options.url, key })
    return providerOf(api, new AcmeLive(api, id, key, options.live), options)
  }).pipe(Effect.provide(FetchHttpClient.layer))

const providerOf = (api: AcmeApi, live: AcmeLive, { id, register }: AcmeOptions): Provider => {
  const requests = new AcmeRequest(api, id, register)
  return {
    id,
    capabilities: {
      history: ["trades"],
      live: ["trades"],
      symbolTypes: ["raw_symbol"],
      replaySeconds: 24 * 3600,
      consecutiveIds: true,
      billed: false,
      maxSymbols: 0,
      maxDays: 0,
      addSymbolsLive: false
    },
    history: (request) =>
      withMappings(requests.openHistory(request), (opened) => tradesOf(api, id, opened, request.range)),
    live: (selection, { from } = {}) =>
      withMappings(requests.open("live", selection), (opened) => live.trades(opened, from)),
    discover: (dataset) =>
      Stream.unwrap(
        Effect.gen(function* () {
          yield* requests.checkDataset("discover", dataset)
          const { symbols } = yield* api.listing
          return Stream.fromIterable(symbols.map((listed) => claimOf(id, listed)))
        })
      ),
    availableRange: (selection) =>
      Effect.map(requests.open("availableRange", selection), ({ listing }) => listing.range),
    estimate: (request) =>
      Effect.gen(function* () {
        const opened = yield* requests.openHistory(request)
        const range = TimeRange.intersect(request.range, opened.listing.range)
        return { requests: 1, records: range === undefined ? 0n : yield* api.count(query(opened, range)) }
      }),
    health: live.health
  }
}

/** A stream that first says which instruments its rows are of. */
const withMappings = <O extends Opened>(
  opening: Effect.Effect<O, ProviderError>,
  rows: (opened: O) => Stream.Stream<ProviderEvent, ProviderError>
): Stream.Stream<ProviderEvent, ProviderError> =>
  Stream.unwrap(
    Effect.map(opening, (opened) =>
      Stream.concat(Stream.fromIterable<ProviderEvent>(opened.mappings), rows(opened))
    )
  )
