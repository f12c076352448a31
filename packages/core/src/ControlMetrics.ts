/**
 * Metrics of a running service: taken from its status when somebody asks, so that rows cost nothing on their way. The
 * definitions are data, from which `docs/metrics.md` is made as well. Pure.
 */
import { Duration } from "effect"
import { healthReasons } from "./ControlApi.ts"
import type { HealthReason } from "./ControlHealth.ts"
import type { ControlWatch } from "./ControlWatch.ts"
import type { GapRepairStatus } from "./GapRepair.ts"
import { gapCauses } from "./GapScan.ts"
import type { LiveServiceStatus } from "./LiveService.ts"
import * as UnixNanos from "./UnixNanos.ts"

/** A metric. */
export interface MetricDefinition {
  readonly type: "counter" | "gauge"
  readonly unit: string
  /** What it tells, in one sentence. */
  readonly meaning: string
  /** What to do about it; absent where there is nothing to do. */
  readonly action?: string | undefined
}

const define = (
  type: MetricDefinition["type"],
  unit: string,
  meaning: string,
  action?: string
): MetricDefinition => ({ type, unit, meaning, action })

/** Every metric, by its name. */
export const definitions = {
  dm_info: define("gauge", "", "1; `version` and `name` say what runs"),
  dm_uptime_seconds: define(
    "gauge",
    "seconds",
    "Time since the start",
    "Small values again and again: the service is restarted; look at its log."
  ),
  dm_healthy: define(
    "gauge",
    "",
    "1 while nothing is wrong, as `/health` tells",
    "Alert when it is 0 for minutes; `dm_unhealthy` says why."
  ),
  dm_unhealthy: define(
    "gauge",
    "",
    "1 while this `reason` holds",
    "See the reason in `dm status`; each is described with its metric below."
  ),
  dm_ha_active: define(
    "gauge",
    "",
    "1 where this service has the lease, 0 on a standby; absent without `[ha] enabled`",
    "The sum over all sides of a `lease` has to be 1: alert when it is not for longer than `[ha] lease_seconds`."
  ),
  dm_ha_epoch: define(
    "gauge",
    "",
    "Epoch of the lease: it grows by one whenever another service becomes active"
  ),
  dm_ha_heartbeat_age_seconds: define(
    "gauge",
    "seconds",
    "Time since the holder of the lease was heard of",
    "Above `[ha] lease_seconds`: the database is away, or nobody is active."
  ),
  dm_store_away: define(
    "gauge",
    "",
    "1 while the database has not been reached since the start",
    "Start it; rows wait in the spool meanwhile."
  ),
  dm_feeds: define("gauge", "feeds", "Feeds of this provider, dataset and schema"),
  dm_feeds_running: define(
    "gauge",
    "feeds",
    "Those that run",
    "Below `dm_feeds` for minutes: `last_error` in `dm status` says why; the feed is tried again by itself."
  ),
  dm_feed_rows_total: define(
    "counter",
    "rows",
    "Rows received",
    "Its rate is 0 while the market is open: see `dm_feed_last_row_timestamp_seconds`."
  ),
  dm_feed_gaps_total: define(
    "counter",
    "gaps",
    "Losses that the provider told",
    "They are recorded as missing; gap repair fills them where it is enabled, else `dm backfill`."
  ),
  dm_feed_failures: define(
    "gauge",
    "streams",
    "Streams that ended in a row without having brought anything",
    "Above 3: the key, the subscription or the network; see `last_error` in `dm status`."
  ),
  dm_feed_last_row_timestamp_seconds: define(
    "gauge",
    "seconds since 1970",
    "When the newest row came",
    "Older than the market's pauses: `[health] freshness_seconds` makes it unhealthy."
  ),
  dm_stale_symbols: define(
    "gauge",
    "symbols",
    "Symbols that are silent for much longer than usual while their feed trades",
    "Alert when it stays above 0; `dm status` names them. They are subscribed again by themselves, where that can be."
  ),
  dm_resubscribed_symbols_total: define(
    "counter",
    "symbols",
    "Subscriptions that were made again for the silence of a symbol",
    "Often, and rows come after it: the provider loses subscriptions; report it there."
  ),
  dm_gaps_open: define(
    "gauge",
    "gaps",
    "Holes in what is collected that are not repaired yet, by `cause`",
    "For hours: `dm status` has the reason of each."
  ),
  dm_gap_oldest_age_seconds: define(
    "gauge",
    "seconds",
    "Age of the oldest open hole",
    "Above a day: the provider does not have it, or the budget is too small; see `dm status`."
  ),
  dm_gaps_repaired_total: define("counter", "gaps", "Holes that were closed"),
  dm_gap_repairs_failed_total: define(
    "counter",
    "tries",
    "Tries that did not close a hole, also because the provider did not have it yet",
    "Grows while `dm_gaps_repaired_total` does not: see the reasons in `dm status`."
  ),
  dm_gap_repaired_rows_total: define("counter", "rows", "Rows that repairs have added to the store"),
  dm_provider_reconnects_total: define(
    "counter",
    "reconnects",
    "Connections that the provider's client has made anew",
    "More than a few an hour: the network, or the vendor's maintenance."
  ),
  dm_provider_receive_lag_seconds: define(
    "gauge",
    "seconds",
    "Receive time minus the venue's time of the newest row",
    "Grows: this machine is too slow, or the network is; negative: synchronise the clock."
  ),
  dm_hub_subscriber_waiting_rows: define(
    "gauge",
    "rows",
    "Rows that wait for a subscriber in this process",
    "Near its capacity: the subscriber is too slow and will lose rows."
  ),
  dm_hub_subscriber_delivered_rows_total: define("counter", "rows", "Rows that the subscriber took"),
  dm_hub_subscriber_dropped_rows_total: define(
    "counter",
    "rows",
    "Rows that the subscriber lost because it was too slow",
    "Make it faster or its capacity larger. The store has them."
  ),
  dm_spool_frames: define("gauge", "entries", "Entries on their way into the store"),
  dm_spool_rows: define(
    "gauge",
    "rows",
    "Rows on their way into the store",
    "Grows: the store is slower than the data, or away; see `dm_writer_problem`."
  ),
  dm_spool_bytes: define(
    "gauge",
    "bytes",
    "Disk and memory that the spool takes",
    "Above half of `dm_spool_limit_bytes`: mend the store, or raise `[spool] max_size_gb`, before rows are dropped."
  ),
  dm_spool_limit_bytes: define("gauge", "bytes", "Most that it may take"),
  dm_spool_oldest_age_seconds: define(
    "gauge",
    "seconds",
    "How long the oldest row has been waiting for the store",
    "Above a minute: the store is away or too slow."
  ),
  dm_spool_problem: define(
    "gauge",
    "",
    "1 while the disk takes nothing",
    "Look at the disk; rows wait in memory and are dropped when that is full."
  ),
  dm_spool_dropped_rows_total: define(
    "counter",
    "rows",
    "Rows that found no room, by `cause`: overflow (limit) or disk-full (floor)",
    "They are recorded as missing. Make room, then `dm backfill` the hole."
  ),
  dm_writer_rows_total: define("counter", "rows", "Rows that are new in the store"),
  dm_writer_duplicates_total: define(
    "counter",
    "rows",
    "Rows that the store had already",
    "Usual after a restart or a replay; at other times a feed is collected twice."
  ),
  dm_writer_conflicts_total: define(
    "counter",
    "rows",
    "Rows that met another content under their key",
    "Kept in the conflicts table: `dm query conflicts`."
  ),
  dm_writer_refused_rows_total: define(
    "counter",
    "rows",
    "Rows that the store refused",
    "The log has the reason for each piece; they are recorded as missing."
  ),
  dm_writer_appends_total: define("counter", "transactions", "Appends to the store"),
  dm_writer_problem: define(
    "gauge",
    "",
    "1 while the store does not take the next piece",
    "Rows wait in the spool and are written when it does; `dm status` has the reason."
  ),
  dm_publication_rows_total: define("counter", "rows", "Rows that were published"),
  dm_publication_not_taken_rows_total: define(
    "counter",
    "rows",
    "Rows of kinds that the publication does not take"
  ),
  dm_publication_failures_total: define(
    "counter",
    "batches",
    "Batches and gaps that could not be published",
    "See `last_error` in `dm status`; the store has the rows."
  ),
  dm_publication_connections: define("gauge", "readers", "Readers of the publication"),
  dm_process_resident_memory_bytes: define(
    "gauge",
    "bytes",
    "Memory of the process",
    "Grows without end: report it."
  ),
  dm_process_heap_used_bytes: define("gauge", "bytes", "Memory of its objects"),
  dm_event_loop_delay_seconds: define(
    "gauge",
    "seconds",
    "How late the process comes to its work, since the last look, by `quantile`",
    "Above 0.1: the machine is busy, or too small."
  )
} as const satisfies { readonly [name: string]: MetricDefinition }

/** Names of metrics. */
export type MetricName = keyof typeof definitions

/** One value of a metric. */
export interface MetricSample {
  readonly name: MetricName
  readonly labels: { readonly [name: string]: string }
  readonly value: number | bigint
}

/** What the process tells about itself. */
export interface ProcessFacts {
  readonly residentBytes: number
  readonly heapUsedBytes: number
  /** Seconds by quantile: `0.5`, `0.99`, `1.0`. */
  readonly eventLoopDelay: { readonly [quantile: string]: number }
}

/** What metrics are made from. */
export interface MetricSource {
  readonly status: LiveServiceStatus
  readonly reasons: ReadonlyArray<HealthReason>
  readonly repair?: GapRepairStatus | undefined
  readonly watch: ControlWatch
  readonly process: ProcessFacts
  readonly name: string
  readonly version: string
  /** ns since the epoch. */
  readonly now: bigint
}

const sample = (
  name: MetricName,
  value: number | bigint | boolean,
  labels: MetricSample["labels"] = {}
): MetricSample => ({ name, labels, value: typeof value === "boolean" ? Number(value) : value })

const inSeconds = (nanos: bigint): number => Number(nanos / 1000n) / 1e6

/** All values. */
export const samples = (source: MetricSource): ReadonlyArray<MetricSample> => [
  ...serviceSamples(source),
  ...leaseSamples(source),
  ...feedSamples(source),
  ...freshnessSamples(source.status),
  ...repairSamples(source),
  ...source.status.providers.flatMap(({ id, lag, reconnects }) => [
    sample("dm_provider_reconnects_total", reconnects, { provider: id }),
    ...(lag === undefined
      ? []
      : [sample("dm_provider_receive_lag_seconds", inSeconds(lag), { provider: id })])
  ]),
  ...subscriberSamples(source.status),
  ...storeSamples(source.status),
  ...publicationSamples(source.status)
]

const serviceSamples = ({ name, now, process, reasons, status, version }: MetricSource) => [
  sample("dm_info", 1, { name, version }),
  sample("dm_uptime_seconds", inSeconds(now - status.startedAt)),
  sample("dm_healthy", reasons.length === 0),
  sample("dm_store_away", status.storeAway !== undefined),
  ...healthReasons.map((reason) =>
    sample(
      "dm_unhealthy",
      reasons.some((each) => each.name === reason),
      { reason }
    )
  ),
  sample("dm_process_resident_memory_bytes", process.residentBytes),
  sample("dm_process_heap_used_bytes", process.heapUsedBytes),
  ...Object.entries(process.eventLoopDelay).map(([quantile, value]) =>
    sample("dm_event_loop_delay_seconds", value, { quantile })
  )
]

const leaseSamples = ({ now, status }: MetricSource): ReadonlyArray<MetricSample> => {
  if (status.lease === undefined) return []
  const { epoch, heartbeatAt, name, role } = status.lease
  const labels = { lease: name }
  return [
    sample("dm_ha_active", role === "active", labels),
    ...(epoch === undefined ? [] : [sample("dm_ha_epoch", epoch, labels)]),
    ...(heartbeatAt === undefined
      ? []
      : [sample("dm_ha_heartbeat_age_seconds", inSeconds(now - heartbeatAt), labels)])
  ]
}

/** By provider, dataset and schema: a feed of its own for symbols that came later is no series of its own. */
const feedSamples = ({ status, watch }: MetricSource): ReadonlyArray<MetricSample> =>
  watch.totals.flatMap(({ dataset, gaps, provider, rows, schema }) => {
    const labels = { provider, dataset, schema }
    const feeds = status.feeds.filter(
      ({ provider: of, selection }) =>
        of === provider && selection.dataset === dataset && selection.schema === schema
    )
    const newest = feeds.reduce((max, { lastRowAt = 0n }) => (lastRowAt > max ? lastRowAt : max), 0n)
    return [
      sample("dm_feeds", feeds.length, labels),
      sample("dm_feeds_running", feeds.filter(({ state }) => state === "running").length, labels),
      sample("dm_feed_rows_total", rows, labels),
      sample("dm_feed_gaps_total", gaps, labels),
      sample("dm_feed_failures", Math.max(0, ...feeds.map(({ failures }) => failures)), labels),
      ...(newest === 0n ? [] : [sample("dm_feed_last_row_timestamp_seconds", inSeconds(newest), labels)])
    ]
  })

const freshnessSamples = ({ freshness }: LiveServiceStatus): ReadonlyArray<MetricSample> =>
  freshness === undefined
    ? []
    : [
        sample("dm_stale_symbols", freshness.stale.length),
        sample("dm_resubscribed_symbols_total", freshness.resubscribed)
      ]

const repairSamples = ({ now, repair }: MetricSource): ReadonlyArray<MetricSample> => {
  if (repair === undefined) return []
  const causes = new Map<string, number>(gapCauses.map((cause) => [cause, 0]))
  for (const { cause } of repair.open) causes.set(cause, (causes.get(cause) ?? 0) + 1)
  const oldest = repair.open[0]?.range.start ?? now
  return [
    ...[...causes].map(([cause, count]) => sample("dm_gaps_open", count, { cause })),
    sample("dm_gap_oldest_age_seconds", inSeconds(now - oldest)),
    sample("dm_gaps_repaired_total", repair.repaired),
    sample("dm_gap_repairs_failed_total", repair.failed),
    sample("dm_gap_repaired_rows_total", repair.rows)
  ]
}

/** Subscribers of one name are one. */
const subscriberSamples = ({ subscribers }: LiveServiceStatus): ReadonlyArray<MetricSample> =>
  [...new Set(subscribers.map(({ name }) => name))].flatMap((subscriber) => {
    const own = subscribers.filter(({ name }) => name === subscriber)
    const sum = (of: (one: (typeof own)[number]) => bigint): bigint =>
      own.reduce((all, one) => all + of(one), 0n)
    return [
      sample(
        "dm_hub_subscriber_waiting_rows",
        sum(({ waiting }) => BigInt(waiting)),
        { subscriber }
      ),
      sample(
        "dm_hub_subscriber_delivered_rows_total",
        sum(({ delivered }) => delivered),
        { subscriber }
      ),
      sample(
        "dm_hub_subscriber_dropped_rows_total",
        sum(({ dropped }) => dropped),
        { subscriber }
      )
    ]
  })

const storeSamples = ({ dropped, spool, spoolLimit, writer }: LiveServiceStatus) => [
  sample("dm_spool_frames", spool.frames),
  sample("dm_spool_rows", spool.rows),
  sample("dm_spool_bytes", spool.bytes),
  sample("dm_spool_limit_bytes", spoolLimit),
  sample("dm_spool_oldest_age_seconds", Duration.toMillis(spool.age) / 1000),
  sample("dm_spool_problem", spool.problem !== undefined),
  ...Object.entries(dropped).map(([cause, rows]) => sample("dm_spool_dropped_rows_total", rows, { cause })),
  sample("dm_writer_rows_total", writer.rows),
  sample("dm_writer_duplicates_total", writer.duplicates),
  sample("dm_writer_conflicts_total", writer.conflicts),
  sample("dm_writer_refused_rows_total", writer.refused),
  sample("dm_writer_appends_total", writer.appends),
  sample("dm_writer_problem", writer.problem !== undefined)
]

const publicationSamples = ({ publication }: LiveServiceStatus): ReadonlyArray<MetricSample> =>
  publication === undefined
    ? []
    : [
        sample("dm_publication_rows_total", publication.rows),
        sample("dm_publication_not_taken_rows_total", publication.notTaken),
        sample("dm_publication_failures_total", publication.failures),
        sample("dm_publication_connections", publication.connections)
      ]

const escaped = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")

const labelText = (labels: MetricSample["labels"]): string => {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`
}

/** Prometheus' text format, version 0.0.4: values of one metric stand together, below its help. */
export const prometheusText = (values: ReadonlyArray<MetricSample>): string => {
  const lines: Array<string> = []
  for (const [name, { meaning, type }] of Object.entries(definitions)) {
    const own = values.filter((value) => value.name === name)
    if (own.length === 0) continue
    lines.push(`# HELP ${name} ${meaning.replaceAll("\\", "\\\\")}`, `# TYPE ${name} ${type}`)
    for (const { labels, value } of own) lines.push(`${name}${labelText(labels)} ${value}`)
  }
  return `${lines.join("\n")}\n`
}

/** The text of `docs/metrics.md`. */
export const referencePage = (): string =>
  [
    "# Metrics",
    "",
    "<!-- Generated from packages/core/src/ControlMetrics.ts by packages/cli/scripts/write-config-docs.ts. -->",
    "",
    "A running `dm start` answers `GET /metrics` on its control port and socket in Prometheus' text format. Values are taken from",
    "the status of the service when they are asked for: rows cost nothing on their way. Counters begin at 0 with the service.",
    "Where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, the same metrics go there by OTLP (JSON over HTTP); the other `OTEL_*` variables of",
    "OpenTelemetry count as well (headers, interval, resource attributes). Logs are JSON lines with `--log-format json`.",
    "",
    "| metric | type | unit | meaning | what to do |",
    "|---|---|---|---|---|",
    ...Object.entries<MetricDefinition>(definitions).map(
      ([name, { action = "", meaning, type, unit }]) =>
        `| \`${name}\` | ${type} | ${unit} | ${meaning} | ${action} |`
    ),
    ""
  ].join("\n")

/** How far a process has been told of, in counters that only know how to add. */
export type Told = Map<string, number>

/** What to add to a counter that stood at an earlier value; what has begun anew adds its whole value. */
export const growth = (told: Told, { labels, name, value }: MetricSample): number => {
  const key = `${name}${labelText(labels)}`
  const before = told.get(key) ?? 0
  const current = Number(value)
  told.set(key, current)
  return current >= before ? current - before : current
}

/** ns since the epoch of a time in ms. */
export const atMillis = (millis: number): bigint => BigInt(Math.trunc(millis)) * UnixNanos.PerMilli
