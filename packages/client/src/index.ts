/** Market data of a Data Manager service for programs that do not use Effect: promises, async iterables and callbacks. */
export {
  type Bar,
  type BarBatch,
  type Coverage,
  type Instrument,
  type MarketEvent,
  type MarketRows,
  type MissingData,
  type QuoteBatch,
  StoreError,
  Timeframe,
  type Trade,
  type TradeBatch,
  TransportError
} from "@data-manager/core"
export {
  type BarQuery,
  DataManager,
  type DataQuery,
  type ListenOptions,
  type LiveQuery,
  type OpenOptions,
  open,
  type StoredQuery
} from "./DataManager.ts"
export type { Time } from "./Time.ts"
