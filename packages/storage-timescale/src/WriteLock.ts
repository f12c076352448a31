/**
 * The lock of writers: held by all who append together, and alone by one who removes, completes or moves stored rows, so that
 * nobody adds to a bar that is being made anew.
 */

/** "dmrows" as a number. */
const key = 110_426_878_997_363n

/** SQL: waits for the lock and holds it until the transaction ends. */
export const take = (alone: boolean): string =>
  `SELECT pg_advisory_xact_lock${alone ? "" : "_shared"}(${key})`
