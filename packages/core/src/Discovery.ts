/**
 * Asks providers what is tradable and adds what is unknown to the symbol registry. Never changes, re-enables or brings back
 * anything: an entry of the database or a tombstone stays as it is.
 */
import { Clock, Effect, Stream } from "effect"
import { MarketStore, type SymbolEntry } from "./MarketStore.ts"
import type { Provider } from "./Provider.ts"
import type { ProviderError } from "./ProviderError.ts"
import type { StoreError } from "./StoreError.ts"
import * as SymbolText from "./SymbolText.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** What to ask, and what becomes of the answers. */
export interface DiscoveryRequest<R> {
  readonly provider: Provider<R>
  readonly datasets: ReadonlyArray<string>
  /** Whether a discovered symbol (`GLBX.MDP3:ESM6`) is collected from now on; the others are known alone. Default: none. */
  readonly includes?: ((symbol: string) => boolean) | undefined
}

/** What became of one dataset. A failure does not stop the others. */
export type DiscoveryOutcome =
  | {
      readonly _tag: "Discovered"
      readonly provider: string
      readonly dataset: string
      /** Symbols that the provider lists. */
      readonly listed: number
      /** Those that were unknown, and of them those that are collected. */
      readonly added: number
      readonly included: number
    }
  | {
      readonly _tag: "Failed"
      readonly provider: string
      readonly dataset: string
      readonly error: ProviderError | StoreError
    }

/** Entries written in one transaction. */
const EntriesAtATime = 10_000

/** Discovers dataset after dataset, an outcome each. */
export const run = <R>(
  requests: ReadonlyArray<DiscoveryRequest<R>>
): Stream.Stream<DiscoveryOutcome, never, MarketStore | R> =>
  Stream.fromIterable(
    requests.flatMap((request) => request.datasets.map((dataset) => ({ request, dataset })))
  ).pipe(
    Stream.mapEffect(({ request, dataset }) =>
      Effect.catch(discover(request, dataset), (error) =>
        Effect.succeed<DiscoveryOutcome>({
          _tag: "Failed",
          provider: request.provider.id,
          dataset,
          error
        })
      )
    )
  )

const discover = Effect.fnUntraced(function* <R>(
  { provider, includes }: DiscoveryRequest<R>,
  dataset: string
) {
  const store = yield* MarketStore
  const known = new Set<string>()
  for (const entry of yield* store.symbolEntries) if (entry.provider === provider.id) known.add(entry.symbol)
  const now = BigInt(yield* Clock.currentTimeMillis) * UnixNanos.PerMilli
  const seen = new Set<string>()
  let fresh: Array<SymbolEntry> = []
  let [added, included] = [0, 0]
  yield* Stream.runForEachArray(provider.discover(dataset), (claims) => {
    for (const { rawSymbol, details } of claims) {
      if (rawSymbol === undefined) continue
      const symbol = SymbolText.make(dataset, rawSymbol)
      if (seen.has(symbol)) continue
      seen.add(symbol)
      if (known.has(symbol)) continue
      const enabled = includes?.(symbol) ?? false
      added += 1
      if (enabled) included += 1
      fresh.push({
        symbol,
        provider: provider.id,
        dataset,
        stypeIn: "raw_symbol",
        schemas: [],
        enabled,
        source: "discovery",
        discoveredAt: now,
        assetClass: details?.assetClass,
        exchange: details?.exchange
      })
    }
    if (fresh.length < EntriesAtATime) return Effect.void
    const full = fresh
    fresh = []
    return store.putSymbolEntries(full)
  })
  if (fresh.length > 0) yield* store.putSymbolEntries(fresh)
  return {
    _tag: "Discovered",
    provider: provider.id,
    dataset,
    listed: seen.size,
    added,
    included
  } satisfies DiscoveryOutcome
})
