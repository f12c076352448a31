/** Options of a server for tests. */

/** Small and without fsync: starts in a moment. */
export const fast = {
  unsafe: true,
  settings: { shared_buffers: "16MB", max_locks_per_transaction: "64", max_connections: "20" }
} as const
