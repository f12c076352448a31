import type { StoreCapabilities } from "../src/index.ts"

/** Capabilities of a store that a test replaces by a few members. */
export const capabilities: StoreCapabilities = {
  edition: "postgresql",
  serverVersion: "18.4",
  embedded: false,
  partitioning: "range",
  compression: false,
  continuousAggregates: false,
  bulkProfile: false,
  notes: []
}
