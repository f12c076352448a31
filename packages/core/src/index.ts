/** Public modules of @data-manager/core, in layering order: a section imports from itself and those above it. */

// section: domain
export * from "./Absent.ts"
export * from "./BarBatch.ts"
export * from "./BatchBuilder.ts"
export * from "./BatchContext.ts"
export * as BatchLayout from "./BatchLayout.ts"
export * from "./BatchSelection.ts"
export * from "./BookBatch.ts"
export * from "./ColumnValue.ts"
export * from "./ConfigError.ts"
export * as Coverage from "./Coverage.ts"
export * as Decimal from "./Decimal.ts"
export * from "./Instrument.ts"
export * from "./MarketBatch.ts"
export * as MarketSchema from "./MarketSchema.ts"
export * from "./ProviderError.ts"
export * from "./QuoteBatch.ts"
export * as Side from "./Side.ts"
export * from "./StoreError.ts"
export * as SymbolText from "./SymbolText.ts"
export * as Timeframe from "./Timeframe.ts"
export * as TimeRange from "./TimeRange.ts"
export * from "./TradeBatch.ts"
export * as TradeKey from "./TradeKey.ts"
export * from "./TransportError.ts"
export * as UnixNanos from "./UnixNanos.ts"

// section: contracts
export * from "./FileSource.ts"
export * from "./InstrumentRegistry.ts"
export * as LocalInstruments from "./LocalInstruments.ts"
export * from "./MarketStore.ts"
export * from "./Provider.ts"
export * from "./ProviderRegistry.ts"
export * from "./Publication.ts"
export * from "./Subscription.ts"
export * from "./SubscriptionKindFiltered.ts"
export * from "./SubscriptionKindSnapshotDelta.ts"
export * from "./SubscriptionKindTopic.ts"

// section: engine
export * as BarAggregator from "./BarAggregator.ts"
export * as FileImport from "./FileImport.ts"

// section: operation
export * as DataManagerConfig from "./DataManagerConfig.ts"
