/** Whether a live service is healthy and ready, told from its status. Pure. */
import { Duration } from "effect"
import type { healthReasons, healthStates, healthWarnings } from "./ControlApi.ts"
import type { GapRepairStatus } from "./GapRepair.ts"
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
  ...status.feeds.flatMap((feed) => feedReasons(feed, status, limits)),
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

/** When the newest row of a feed came; where symbols are watched one by one, of all feeds of the same data. */
const newestOf = (feed: LiveFeedStatus, { feeds, freshness }: LiveServiceStatus): bigint | undefined => {
  if (freshness === undefined) return feed.lastRowAt
  return feeds
    .filter((one) => isSame(one, feed))
    .reduce<bigint | undefined>(
      (newest, { lastRowAt }) => (newest === undefined || (lastRowAt ?? 0n) > newest ? lastRowAt : newest),
      undefined
    )
}

const isSame = (a: LiveFeedStatus, b: LiveFeedStatus): boolean =>
  a.provider === b.provider &&
  a.selection.dataset === b.selection.dataset &&
  a.selection.schema === b.selection.schema

/** Whether a feed does not trade at this hour, as far as was learned. */
const isQuiet = ({ provider, selection }: LiveFeedStatus, { freshness }: LiveServiceStatus): boolean =>
  freshness?.quiet.some(
    (one) => one.provider === provider && one.dataset === selection.dataset && one.schema === selection.schema
  ) === true

const feedReasons = (
  feed: LiveFeedStatus,
  status: LiveServiceStatus,
  { freshnessSeconds, now }: HealthLimits
): ReadonlyArray<HealthReason> => {
  const { lastError, runningSince, state } = feed
  if (state !== "running" || runningSince === undefined) {
    const why = lastError === undefined ? "" : `: ${lastError}`
    return [{ name: "feed_not_running", detail: `${feedName(feed)} is ${state}${why}` }]
  }
  if (freshnessSeconds === 0 || isQuiet(feed, status)) return []
  const lastRowAt = newestOf(feed, status)
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

/** Something that is worth a look and makes nothing unhealthy. */
export interface HealthWarning {
  readonly name: (typeof healthWarnings)[number]
  readonly detail: string
}

/** A hole that is open for longer is told. */
const LongOpen = UnixNanos.PerDay

/** Everything that is worth a look. */
export const warnings = (
  { freshness }: LiveServiceStatus,
  repair: GapRepairStatus | undefined,
  now: bigint
): ReadonlyArray<HealthWarning> => {
  const found: Array<HealthWarning> = []
  const longest = freshness?.stale[0]
  if (freshness !== undefined && longest !== undefined) {
    const more = freshness.stale.length > 1 ? ` and ${freshness.stale.length - 1} more` : ""
    const silent = `no ${longest.schema} for ${Math.round(longest.silentMillis / 1000)} s`
    const usual = `usually ${(longest.usualMillis / 1000).toFixed(1)} s`
    found.push({ name: "symbols_stale", detail: `${longest.symbol}${more}: ${silent}, ${usual}` })
  }
  const old = (repair?.open ?? []).filter(({ range }) => now - range.end > LongOpen)
  if (old.length > 0) {
    const { cause, problem } = old[0]!
    const why = problem === undefined ? "" : `: ${problem}`
    found.push({
      name: "gaps_open",
      detail: `${old.length} gaps are older than a day, the oldest (${cause})${why}`
    })
  }
  if (repair?.problem !== undefined)
    found.push({ name: "gaps_open", detail: `gap repair cannot look for holes: ${repair.problem}` })
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
