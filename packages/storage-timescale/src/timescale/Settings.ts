/** What a TimescaleDB server is told to do by itself: how rows are cut, when they are compressed, when they go. */

/** Settings of the tables; those of a server without TimescaleDB, or of its Apache edition, take what applies to them. */
export interface StoreSettings {
  /** Hours that one chunk of trades, quotes or books covers. Default 24. */
  readonly chunkHours?: number | undefined
  /** Age in days at which chunks are compressed. Default 7. */
  readonly compressAfterDays?: number | undefined
  /** Age in days at which trades are removed. Default: they are kept for ever. */
  readonly tradesRetentionDays?: number | undefined
}

/** Default of `[database] chunk_interval_hours`. */
export const DEFAULT_CHUNK_HOURS = 24
/** Default of `[retention] compress_after_days`. */
export const DEFAULT_COMPRESS_AFTER_DAYS = 7
