/** A running service as people read it. */
import { UnixNanos } from "@data-manager/core"
import type { ServiceStatus } from "./ControlClient.ts"
import { bytes, duration, grouped, plural } from "./NumberText.ts"
import type { Paint } from "./Paint.ts"
import { facts, table } from "./Table.ts"
import { short } from "./TimeText.ts"

type Lease = NonNullable<ServiceStatus["ha"]>

const age = (at: string | null, now: bigint): string => {
  if (at === null) return ""
  const passed = now - BigInt(at)
  // Milliseconds would be those of the way here.
  return passed < UnixNanos.PerSecond
    ? "now"
    : `${duration((passed / UnixNanos.PerSecond) * UnixNanos.PerSecond)} ago`
}

const feedTable = ({ feeds, ha }: ServiceStatus, now: bigint, paint: Paint): ReadonlyArray<string> =>
  ha?.role === "standby"
    ? ["nothing is collected: this is the standby"]
    : feeds.length === 0
      ? ["nothing is collected: no symbol is enabled; see dm symbols"]
      : table(
          [
            { header: "provider" },
            { header: "dataset" },
            { header: "schema" },
            { header: "symbols", align: "right" },
            { header: "state" },
            { header: "rows", align: "right" },
            { header: "rows/s", align: "right" },
            { header: "last row" },
            { header: "gaps", align: "right" }
          ],
          feeds.map((feed) => [
            feed.provider,
            feed.dataset,
            feed.schema,
            grouped(feed.symbols),
            feed.state,
            grouped(feed.rows),
            grouped(Math.round(feed.rows_per_second)),
            age(feed.last_row_at, now),
            grouped(feed.gaps)
          ]),
          paint
        )

const spoolText = ({ spool }: ServiceStatus): string => {
  const share = `${bytes(spool.bytes)} of ${bytes(spool.limit_bytes)}`
  const waiting = spool.rows === "0" ? "" : `, the oldest for ${spool.age_seconds} s`
  return `${plural(BigInt(spool.rows), "row")}${waiting} (${share})`
}

const writerText = ({ writer }: ServiceStatus): string =>
  [
    `${plural(BigInt(writer.rows), "row")} in ${plural(BigInt(writer.appends), "append")}`,
    ...(writer.duplicates === "0" ? [] : [`${plural(BigInt(writer.duplicates), "duplicate")}`]),
    ...(writer.conflicts === "0" ? [] : [`${plural(BigInt(writer.conflicts), "conflict")}`]),
    ...(writer.refused === "0" ? [] : [`${grouped(writer.refused)} refused`])
  ].join(", ")

const ringText = ({ publication }: ServiceStatus): string =>
  publication === null
    ? "none"
    : `${publication.name}, ${plural(BigInt(publication.rows), "row")}, ${plural(publication.connections, "reader")}`

const gapsText = ({ gap_repair: repair }: ServiceStatus): string => {
  if (repair === null) return "not repaired: [gap_repair] or [backfill] is off"
  const done = `${grouped(repair.repaired)} repaired, ${plural(BigInt(repair.rows), "row")}`
  if (repair.open === 0) return `none open; ${done}`
  const age = duration(BigInt(Math.round(repair.oldest_age_seconds ?? 0)) * UnixNanos.PerSecond)
  return `${grouped(repair.open)} open, the oldest ${age} old; ${done}`
}

/** Open holes and stale symbols, a line each. */
const troubleLines = ({ freshness, gap_repair: repair }: ServiceStatus): ReadonlyArray<string> => [
  ...(freshness?.symbols ?? []).map(
    ({ resubscribed, schema, silent_seconds, symbol, usual_seconds }) =>
      `stale: ${symbol} ${schema}: silent for ${silent_seconds} s, usually ${usual_seconds} s` +
      (resubscribed === null ? "" : `; subscribed again ${plural(resubscribed, "time")}`)
  ),
  ...(repair?.gaps ?? []).map(({ cause, end, problem, schema, start, symbol, symbols }) => {
    const more = symbols > 1 ? ` and ${symbols - 1} more` : ""
    const range = `${short(BigInt(start))} to ${short(BigInt(end))}`
    return `gap: ${symbol}${more} ${schema}, ${range} (${cause})${problem === null ? "" : `: ${problem}`}`
  })
]

/** `active, epoch 3`, or who is. */
const roleText = ({ epoch, heartbeat_age_seconds: since, holder, name, role }: Lease): string => {
  const heard = since === null ? "" : `, heard of ${since.toFixed(1)} s ago`
  const term = epoch === null ? "" : `, epoch ${epoch}`
  return role === "active"
    ? `active, lease ${name}${term}${heard}`
    : `standby, lease ${name}; active: ${holder ?? "nobody"}${term}${heard}`
}

/** The service: what it is, what it collects, and how rows get on. */
export const serviceLines = (service: ServiceStatus, now: bigint, paint: Paint): ReadonlyArray<string> => [
  ...facts(
    [
      ["service", `dm ${service.version}, process ${service.pid}`],
      ...(service.ha === null ? [] : [["role", roleText(service.ha)] as const]),
      ["running for", duration(BigInt(Math.round(service.uptime_seconds)) * UnixNanos.PerSecond)],
      ["spool", spoolText(service)],
      ["written", writerText(service)],
      ["ring", ringText(service)],
      ["gaps", gapsText(service)],
      ...service.subscribers.map(({ dropped, name, waiting }): readonly [string, string] => [
        "subscriber",
        `${name}: ${grouped(waiting)} waiting, ${grouped(dropped)} dropped`
      ])
    ],
    paint
  ),
  "",
  ...feedTable(service, now, paint),
  ...prefixed(troubleLines(service))
]

const prefixed = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", ...lines]

/** How well it is, in its colour. */
export const stateText = (state: ServiceStatus["health"]["state"], paint: Paint): string =>
  state === "healthy" ? paint.green(state) : state === "degraded" ? paint.yellow(state) : paint.red(state)

/** The service with its health. */
export const watchedLines = (service: ServiceStatus, now: bigint, paint: Paint): ReadonlyArray<string> => [
  stateText(service.health.state, paint),
  ...service.health.reasons.map(({ detail }) => `  ${detail}`),
  "",
  ...serviceLines(service, now, paint)
]
