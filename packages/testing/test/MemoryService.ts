/** The venue in memory as a service to test providers against. */
import type { Provider } from "@data-manager/core"
import { Effect } from "effect"
import type { ProviderService } from "../src/ProviderService.ts"
import * as TestProvider from "../src/TestProvider.ts"
import { TestVenue, type TestVenueOptions } from "../src/TestVenue.ts"

/** A service; `change` makes another provider of the right one. */
export const memoryService = (
  options: TestProvider.TestProviderOptions & TestVenueOptions = {},
  change: (provider: Provider, venue: TestVenue) => Provider = (provider) => provider
): ProviderService => {
  const venue = new TestVenue(options)
  return {
    connect: (credentials) =>
      Effect.sync(() =>
        change(TestProvider.make(venue, { ...options, isAuthorized: credentials === "valid" }), venue)
      ),
    dataset: venue.dataset,
    symbols: venue.symbols,
    unknownSymbol: "NONE",
    rows: (schema) => (schema === "trades" ? venue.rows("test") : []),
    range: venue.range,
    clock: () => "ts_recv",
    fault: venue.fault,
    open: Effect.sync(() => venue.open),
    historyRequests: Effect.sync(() => venue.historyRequests),
    secrets: ["the key"]
  }
}
