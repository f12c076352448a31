/** Whether a live service is healthy and ready, told from its status. Pure. */
import { Duration } from "effect"
import type { healthReasons, healthStates } from "./ControlApi.ts"
import type { LiveFeedStatus } from "./LiveFeed.ts"
import type { LiveServiceStatus } from "./LiveService.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** Something that is wrong. */
export interface HealthReason {
  readonly name: (typeof healthReasons)[number]
  readonly detail: string
}

/** What health is measured by. */
export interface HealthLimits {
  /** Age of the newest row above which a feed is unhealthy; 0: any. */
  readonly freshnessSeconds: number
  /** ns since the epoch. */
  readonly now: bigint
  /** When rows were dropped last, ns; undefined where none were. */
  readonly droppedAt: bigint | undefined
}

/** Rows that wait longer are told. */
const LongestWait = Duration.seconds(60)

/** A loss is told for so long: long enough to be seen, and a service that goes on well is healthy again. */
const LossIsTold = 5n * 60n * UnixNanos.PerSecond

/** How a feed is called in texts. */
export const feedName = ({ provider, selection }: LiveFeedStatus): string =>
  `${selection.schema} of ${selection.dataset} from ${provider}`

/** Everything that is wrong; empty where all is well. */
export const reasons = (status: LiveServiceStatus, limits: HealthLimits): ReadonlyArray<HealthReason> => [
  ...status.feeds.flatMap((feed) => feedReasons(feed, limits)),
  ...spoolReasons(status, limits),
  ...storeReasons(status)
]

/** With these, everything that comes is collected, and waits on disk at the worst. */
const harmless: ReadonlySet<HealthReason["name"]> = new Set([
  "spool_filling",
  "spool_waiting",
  "writer_problem",
  "store_away",
  "lease_problem"
])

/** How bad it is. */
export const stateOf = (found: ReadonlyArray<HealthReason>): (typeof healthStates)[number] =>
  found.length === 0 ? "healthy" : found.every(({ name }) => harmless.has(name)) ? "degraded" : "unhealthy"

/** A store that was never reached is told as that, and not as a problem of the writer as well. */
const storeReasons = ({ lease, storeAway, writer }: LiveServiceStatus): ReadonlyArray<HealthReason> => [
  ...(storeAway === undefined
    ? []
    : [{ name: "store_away", detail: `the database was not reached yet: ${storeAway}` } as const]),
  ...(writer.problem === undefined || storeAway !== undefined
    ? []
    : [{ name: "writer_problem", detail: writer.problem } as const]),
  ...(lease?.problem === undefined ? [] : [{ name: "lease_problem", detail: lease.problem } as const])
]

const feedReasons = (
  feed: LiveFeedStatus,
  { freshnessSeconds, now }: HealthLimits
): ReadonlyArray<HealthReason> => {
  const { lastError, lastRowAt, runningSince, state } = feed
  if (state !== "running" || runningSince === undefined) {
    const why = lastError === undefined ? "" : `: ${lastError}`
    return [{ name: "feed_not_running", detail: `${feedName(feed)} is ${state}${why}` }]
  }
  if (freshnessSeconds === 0) return []
  // A feed that has just begun anew has had no time to bring anything.
  const newest = lastRowAt === undefined || lastRowAt < runningSince ? runningSince : lastRowAt
  const age = (now - newest) / UnixNanos.PerSecond
  return age <= BigInt(freshnessSeconds)
    ? []
    : [{ name: "feed_stale", detail: `${feedName(feed)} has had no row for ${age} s` }]
}

const spoolReasons = (
  { dropped, spool, spoolLimit }: LiveServiceStatus,
  { droppedAt, now }: HealthLimits
): ReadonlyArray<HealthReason> => {
  const found: Array<HealthReason> = []
  if (spool.bytes > spoolLimit / 2)
    found.push({
      name: "spool_filling",
      detail: `the spool has ${Math.round((100 * spool.bytes) / spoolLimit)} % of its limit`
    })
  if (Duration.isGreaterThan(spool.age, LongestWait))
    found.push({
      name: "spool_waiting",
      detail: `rows have been waiting for the store for ${Math.round(Duration.toSeconds(spool.age))} s`
    })
  if (spool.problem !== undefined) found.push({ name: "spool_problem", detail: spool.problem })
  if (droppedAt !== undefined && now - droppedAt < LossIsTold)
    found.push({
      name: "rows_dropped",
      detail: `${dropped.overflow + dropped["disk-full"]} rows found no room in the spool since the start`
    })
  return found
}

/** Whether the service does its work yet, and what it waits for. */
export const readiness = ({
  feeds,
  lease,
  spool,
  writer
}: LiveServiceStatus): { readonly ready: boolean; readonly detail: string } => {
  if (lease?.role === "standby")
    return { ready: false, detail: `standby: ${lease.holder ?? "nobody"} is active` }
  if (!feeds.some(({ state }) => state === "running")) return { ready: false, detail: "no feed runs yet" }
  if (writer.appends === 0n && spool.frames > 0n)
    return { ready: false, detail: "the store has taken nothing yet" }
  return { ready: true, detail: "collecting" }
}
