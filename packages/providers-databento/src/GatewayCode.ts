/** Codes in the live gateway's own records. Source: Databento, live API, "Error codes" and system records. */

/** Codes of error records. */
export const ErrorCode = {
  authFailed: 1,
  keyDeactivated: 2,
  connectionLimit: 3,
  symbolResolutionFailed: 4,
  invalidSubscription: 5,
  internalError: 6,
  skippedRecords: 7,
  replayAgedOut: 8
} as const

/** Codes of system records. */
export const SystemCode = {
  heartbeat: 0,
  subscriptionAck: 1,
  slowReader: 2,
  replayCompleted: 3,
  endOfInterval: 4
} as const
