/** The documents of the control plane, made from what the service knows. Pure. */
import { Duration } from "effect"
import type { BackfillJobStatus } from "./BackfillJobs.ts"
import type {
  BackfillDocument,
  FeedDocument,
  FreshnessDocument,
  GapRepairDocument,
  HealthDocument,
  LeaseDocument,
  PublicationDocument,
  StatusDocument,
  SubscribersDocument,
  SubscriptionDocument,
  SymbolDocument
} from "./ControlApi.ts"
import { type HealthReason, type HealthWarning, stateOf } from "./ControlHealth.ts"
import type { ControlWatch } from "./ControlWatch.ts"
import * as Decimal from "./Decimal.ts"
import type { FreshnessStatus } from "./FreshnessWatch.ts"
import type { GapRepairStatus } from "./GapRepair.ts"
import type { LiveFeedStatus } from "./LiveFeed.ts"
import type { LiveServiceStatus } from "./LiveService.ts"
import type { RowKind } from "./MarketSchema.ts"
import type { SymbolEntry } from "./MarketStore.ts"
import type { PublicationReader } from "./Publication.ts"
import type { SubscriptionInfo } from "./Subscription.ts"
import * as SymbolText from "./SymbolText.ts"
import * as UnixNanos from "./UnixNanos.ts"

const text = (value: bigint | undefined): string | null => value?.toString() ?? null

/** To a thousandth. */
const seconds = (duration: Duration.Duration): number => Math.round(Duration.toMillis(duration)) / 1000

/** Whether the service is healthy. */
export const health = (
  { feeds, spool, writer }: LiveServiceStatus,
  reasons: ReadonlyArray<HealthReason>,
  warnings: ReadonlyArray<HealthWarning> = []
): typeof HealthDocument.Type => ({
  healthy: reasons.length === 0,
  state: stateOf(reasons),
  reasons,
  warnings,
  feeds: feeds.map(({ provider, selection, state }) => ({
    provider,
    dataset: selection.dataset,
    schema: selection.schema,
    state
  })),
  spool: { rows: spool.rows.toString(), bytes: spool.bytes, age_seconds: seconds(spool.age) },
  store: { rows: writer.rows.toString(), problem: writer.problem ?? null }
})

const feed = (status: LiveFeedStatus, watch: ControlWatch): typeof FeedDocument.Type => ({
  provider: status.provider,
  dataset: status.selection.dataset,
  schema: status.selection.schema,
  stype_in: status.selection.stypeIn,
  symbols: status.selection.symbols.length,
  state: status.state,
  session: status.session ?? null,
  rows: status.rows.toString(),
  rows_per_second: Math.round(watch.rate(status.name) * 10) / 10,
  gaps: status.gaps.toString(),
  failures: status.failures,
  running_since: text(status.runningSince),
  last_row_at: text(status.lastRowAt),
  last_error: status.lastError ?? null
})

const publication = (found: LiveServiceStatus["publication"]): typeof PublicationDocument.Type | null =>
  found === undefined
    ? null
    : {
        name: found.name,
        connections: found.connections,
        rows: found.rows.toString(),
        not_taken: found.notTaken.toString(),
        failures: found.failures.toString(),
        last_error: found.lastError ?? null
      }

/** Who gets live rows beside the store. */
export const subscribers = (status: LiveServiceStatus): typeof SubscribersDocument.Type => ({
  subscribers: status.subscribers.map((each) => ({
    ...each,
    delivered: each.delivered.toString(),
    dropped: each.dropped.toString()
  })),
  publication: publication(status.publication)
})

const kinds = { Topic: "topic", Filtered: "filtered", SnapshotDelta: "snapshot" } as const

/** A subscription within the process. */
export const subscription = (
  { clientId, createdAt, kind, suppressed, ...info }: SubscriptionInfo,
  rows: RowKind
): typeof SubscriptionDocument.Type => ({
  id: info.id,
  client: clientId,
  transport: "memory",
  rows,
  pid: null,
  kind: kinds[kind._tag],
  symbols: kind.symbols,
  created_at: createdAt.toString(),
  delivered: info.delivered.toString(),
  suppressed: {
    quantity: suppressed.quantity.toString(),
    price_change: suppressed.priceChange.toString(),
    throttle: suppressed.throttle.toString()
  },
  lost: info.lost.toString(),
  gaps: info.gaps.toString(),
  lag: info.lag.toString()
})

/** A reader of the publication. */
export const reader = (
  { client, delivered, gaps, id, kind, lag, lost, pid }: PublicationReader,
  transport: string
): typeof SubscriptionDocument.Type => ({
  id: `${transport}:${id}`,
  client,
  transport,
  rows: kind,
  pid: pid ?? null,
  kind: null,
  symbols: null,
  created_at: null,
  delivered: delivered.toString(),
  suppressed: null,
  lost: lost.toString(),
  gaps: gaps.toString(),
  lag: lag.toString()
})

/** What the program adds to what the service knows. */
export interface StatusExtras {
  readonly version: string
  readonly pid: number
  readonly configFile: string | undefined
  readonly logLevel: (typeof StatusDocument.Type)["log_level"]
  readonly reasons: ReadonlyArray<HealthReason>
  readonly warnings: ReadonlyArray<HealthWarning>
  /** Undefined where holes are not repaired. */
  readonly repair: GapRepairStatus | undefined
  readonly watch: ControlWatch
  /** ns since the epoch. */
  readonly now: bigint
}

const lease = (found: LiveServiceStatus["lease"], now: bigint): typeof LeaseDocument.Type | null =>
  found === undefined
    ? null
    : {
        name: found.name,
        role: found.role,
        epoch: text(found.epoch),
        holder: found.holder ?? null,
        heartbeat_age_seconds:
          found.heartbeatAt === undefined ? null : Number((now - found.heartbeatAt) / 1_000_000n) / 1000,
        problem: found.problem ?? null
      }

/** Everything that the service tells about itself. */
export const status = (current: LiveServiceStatus, extras: StatusExtras): typeof StatusDocument.Type => ({
  version: extras.version,
  pid: extras.pid,
  config_file: extras.configFile ?? null,
  started_at: current.startedAt.toString(),
  uptime_seconds: Number((extras.now - current.startedAt) / UnixNanos.PerSecond),
  log_level: extras.logLevel,
  ha: lease(current.lease, extras.now),
  health: health(current, extras.reasons, extras.warnings),
  feeds: current.feeds.map((each) => feed(each, extras.watch)),
  providers: current.providers.map(({ detail, id, lag, lastDataAt, reconnects, state }) => ({
    id,
    state,
    last_data_at: text(lastDataAt),
    lag: text(lag),
    reconnects,
    detail
  })),
  ...storing(current),
  ...subscribers(current),
  gap_repair: extras.repair === undefined ? null : gapRepair(extras.repair, extras.now),
  freshness: current.freshness === undefined ? null : freshness(current.freshness)
})

/** Holes and symbols that are told by themselves. */
const Told = 20

const gapRepair = (repair: GapRepairStatus, now: bigint): typeof GapRepairDocument.Type => {
  const [oldest] = repair.open
  return {
    open: repair.open.length,
    oldest_age_seconds:
      oldest === undefined ? null : Number((now - oldest.range.start) / UnixNanos.PerSecond),
    repaired: repair.repaired,
    failed: repair.failed,
    rows: repair.rows.toString(),
    looked_at: text(repair.lookedAt),
    problem: repair.problem ?? null,
    gaps: repair.open.slice(0, Told).map((gap) => ({
      provider: gap.provider,
      dataset: gap.dataset,
      schema: gap.schema,
      symbol: SymbolText.make(gap.dataset, gap.symbols[0] ?? ""),
      symbols: gap.symbols.length,
      start: gap.range.start.toString(),
      end: gap.range.end.toString(),
      cause: gap.cause,
      attempts: gap.attempts,
      next_at: gap.nextAt.toString(),
      problem: gap.problem ?? null
    }))
  }
}

const freshness = ({ quiet, resubscribed, stale }: FreshnessStatus): typeof FreshnessDocument.Type => ({
  stale: stale.length,
  resubscribed,
  quiet,
  symbols: stale.slice(0, Told).map((one) => ({
    provider: one.provider,
    symbol: one.symbol,
    schema: one.schema,
    silent_seconds: Math.round(one.silentMillis) / 1000,
    usual_seconds: Math.round(one.usualMillis) / 1000,
    resubscribed: one.resubscribed ?? null
  }))
})

/** The way into the store. */
const storing = ({
  dropped,
  spool,
  spoolLimit,
  writer
}: LiveServiceStatus): Pick<typeof StatusDocument.Type, "spool" | "dropped" | "writer"> => ({
  spool: {
    frames: spool.frames.toString(),
    rows: spool.rows.toString(),
    bytes: spool.bytes,
    limit_bytes: spoolLimit,
    age_seconds: seconds(spool.age),
    problem: spool.problem ?? null
  },
  dropped: { overflow: dropped.overflow.toString(), disk_full: dropped["disk-full"].toString() },
  writer: {
    committed: writer.committed.toString(),
    rows: writer.rows.toString(),
    duplicates: writer.duplicates.toString(),
    conflicts: writer.conflicts.toString(),
    refused: writer.refused.toString(),
    appends: writer.appends.toString(),
    problem: writer.problem ?? null
  }
})

/** A symbol of the registry. */
export const symbol = (entry: SymbolEntry): typeof SymbolDocument.Type => ({
  symbol: entry.symbol,
  provider: entry.provider,
  dataset: entry.dataset,
  stype_in: entry.stypeIn,
  schemas: entry.schemas,
  enabled: entry.enabled,
  source: entry.source,
  asset_class: entry.assetClass ?? null,
  exchange: entry.exchange ?? null
})

/** How a backfill is going. */
export const backfill = (job: BackfillJobStatus): typeof BackfillDocument.Type => ({
  id: job.id,
  provider: job.provider,
  state: job.state,
  chunks: job.chunks,
  rows: job.rows,
  duplicates: job.duplicates,
  cost_usd: job.costUsd === undefined ? null : Decimal.format(job.costUsd),
  started_at: job.startedAt.toString(),
  ended_at: text(job.endedAt),
  errors: job.errors
})
