/** Public modules of @data-manager/core, in layering order: a section imports from itself and those above it. */

// section: domain
export * from "./Absent.ts"
export * from "./BarBatch.ts"
export * from "./BatchBuilder.ts"
export * from "./BatchConcat.ts"
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
export * from "./BatchRenumber.ts"
export * from "./RowIndex.ts"
export * from "./ReplayMark.ts"
export * as Side from "./Side.ts"
export * from "./SpoolError.ts"
export * from "./StoreError.ts"
export * as SymbolText from "./SymbolText.ts"
export * as Timeframe from "./Timeframe.ts"
export * as TimeRange from "./TimeRange.ts"
export * from "./TradeBatch.ts"
export * as TradeKey from "./TradeKey.ts"
export * from "./TransportError.ts"
export * as UnixNanos from "./UnixNanos.ts"

// section: contracts
export * from "./FeedEntry.ts"
export * from "./FileSource.ts"
export * from "./InstrumentRegistry.ts"
export * as LocalInstruments from "./LocalInstruments.ts"
export * from "./MarketStore.ts"
export * from "./Provider.ts"
export * from "./ProviderPackage.ts"
export * from "./ProviderRegistry.ts"
export * from "./Publication.ts"
export * from "./Subscription.ts"
export * from "./SubscriptionKindFiltered.ts"
export * from "./SubscriptionKindSnapshotDelta.ts"
export * from "./SubscriptionKindTopic.ts"
export * from "./SubscriptionRequest.ts"

// section: engine
export * as Backfill from "./Backfill.ts"
export * as BackfillJobs from "./BackfillJobs.ts"
export * as BackfillPlan from "./BackfillPlan.ts"
export * as BackfillSchedule from "./BackfillSchedule.ts"
export * as BarAggregator from "./BarAggregator.ts"
export * as Crc32c from "./Crc32c.ts"
export * as Discovery from "./Discovery.ts"
export * as FileImport from "./FileImport.ts"
export * as Hub from "./Hub.ts"
export * as HubPublication from "./HubPublication.ts"
export * as HubSpool from "./HubSpool.ts"
export * as LiveCollection from "./LiveCollection.ts"
export * as LiveFeed from "./LiveFeed.ts"
export * as LiveInstruments from "./LiveInstruments.ts"
export * as LiveReload from "./LiveReload.ts"
export * as LiveService from "./LiveService.ts"
export * as LiveWriter from "./LiveWriter.ts"
export {
  type HistoryDataRequest,
  type LiveBegins,
  MarketData,
  type MarketDataError,
  type MarketDataRequest,
  type MarketEvent,
  type MarketRows,
  type MissingData,
  type SubscribeRequest
} from "./MarketData.ts"
export * as MemoryTransport from "./MemoryTransport.ts"
export * as Reload from "./Reload.ts"
export * as Replay from "./Replay.ts"
export * from "./RowMerge.ts"
export * as Spool from "./Spool.ts"
export * as StoredSnapshots from "./StoredSnapshots.ts"
export * as SpoolFile from "./SpoolFile.ts"
export * as SpoolFrame from "./SpoolFrame.ts"

// section: operation
export * as ControlAccess from "./ControlAccess.ts"
export * from "./ControlApi.ts"
export * as ControlDocument from "./ControlDocument.ts"
export * as ControlExport from "./ControlExport.ts"
export * as ControlHandlers from "./ControlHandlers.ts"
export * as ControlHealth from "./ControlHealth.ts"
export * as ControlMetrics from "./ControlMetrics.ts"
export * from "./ControlWatch.ts"
export * as DataManagerConfig from "./DataManagerConfig.ts"
