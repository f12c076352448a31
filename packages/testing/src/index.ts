/**
 * Conformance kit: the suites that every implementation of a contract passes, and generators of test data.
 * Needs vitest; for tests only.
 */
export * as BarModel from "./BarModel.ts"
export * as BatchArbitrary from "./BatchArbitrary.ts"
export * as BatchRow from "./BatchRow.ts"
export * as FastClock from "./FastClock.ts"
export type { ProviderCard } from "./ProviderCard.ts"
export type * from "./ProviderService.ts"
export * as ProviderSuite from "./ProviderSuite.ts"
export * from "./SeededRandom.ts"
export { type StoreCard, type StoreDatabase, StoreFixture } from "./StoreCard.ts"
export * as StoreSuite from "./StoreSuite.ts"
export * as TestProvider from "./TestProvider.ts"
export * from "./TestTape.ts"
export * from "./TestVenue.ts"
export * as TransportSuite from "./TransportSuite.ts"
export * as WireRecorder from "./WireRecorder.ts"
export * as WireReplay from "./WireReplay.ts"
export * as WireSplit from "./WireSplit.ts"
export * as WireTranscript from "./WireTranscript.ts"
