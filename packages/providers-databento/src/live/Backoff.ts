/** How long to wait before the next session. */

const FIRST_MILLIS = 1000
const LONGEST_MILLIS = 60_000
/** After a refusal for too many sessions: others have to end first. */
const SLOW_MILLIS = 60_000
const SLOWEST_MILLIS = 600_000

/**
 * Milliseconds before attempt `failures + 1`: doubling from one second to a minute (or from one minute to ten), and up to
 * half as much again, so that clients that were cut off together do not come back together. `random` is in [0, 1). Never
 * below a second: the gateway refuses faster ones.
 */
export const backoffMillis = (failures: number, pace: "usual" | "slow", random: number): number => {
  const [first, longest] = pace === "slow" ? [SLOW_MILLIS, SLOWEST_MILLIS] : [FIRST_MILLIS, LONGEST_MILLIS]
  const base = Math.min(longest, first * 2 ** Math.min(Math.max(0, failures), 30))
  return Math.round(base * (1 + random / 2))
}
