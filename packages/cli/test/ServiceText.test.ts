/** How people read a service: its gaps, and symbols that are silent. */
import { assert, describe, it } from "vitest"
import type { ServiceStatus } from "../src/ControlClient.ts"
import { plain } from "../src/Paint.ts"
import { serviceLines } from "../src/ServiceText.ts"

const now = 1_767_623_400_000_000_000n

const service = (difference: Partial<ServiceStatus>): ServiceStatus => ({
  version: "1.2.3",
  pid: 7,
  config_file: null,
  started_at: `${now}`,
  uptime_seconds: 4000,
  log_level: "info",
  ha: null,
  health: {
    healthy: true,
    state: "healthy",
    reasons: [],
    warnings: [],
    feeds: [],
    spool: { rows: "0", bytes: 1, age_seconds: 0 },
    store: { rows: "5", problem: null }
  },
  feeds: [],
  providers: [],
  spool: { frames: "0", rows: "0", bytes: 1, limit_bytes: 100, age_seconds: 0, problem: null },
  dropped: { overflow: "0", disk_full: "0" },
  writer: {
    committed: "1",
    rows: "5",
    duplicates: "0",
    conflicts: "0",
    refused: "0",
    appends: "1",
    problem: null
  },
  publication: null,
  subscribers: [],
  gap_repair: null,
  freshness: null,
  ...difference
})

const repair = {
  open: 0,
  oldest_age_seconds: null,
  repaired: 3,
  failed: 2,
  rows: "1234",
  looked_at: `${now}`,
  problem: null,
  gaps: []
}
const gap = {
  provider: "databento",
  dataset: "X",
  schema: "trades",
  symbol: "X:A",
  symbols: 20,
  start: `${now}`,
  end: `${now + 60_000_000_000n}`,
  cause: "crash",
  attempts: 2,
  next_at: `${now}`,
  problem: "not published yet"
}

const lines = (difference: Partial<ServiceStatus>): ReadonlyArray<string> =>
  serviceLines(service(difference), now, plain)
const gapsLine = (found: ReadonlyArray<string>) => found.find((line) => line.startsWith("gaps"))

describe("a service in words", () => {
  it("tells how gaps are doing, and each open one", () => {
    assert.match(gapsLine(lines({}))!, /not repaired: \[gap_repair\] or \[backfill\] is off/)
    assert.match(gapsLine(lines({ gap_repair: repair }))!, /none open; 3 repaired, 1,234 rows/)
    const open = lines({ gap_repair: { ...repair, open: 1, oldest_age_seconds: 7300, gaps: [gap] } })
    assert.match(gapsLine(open)!, /1 open, the oldest 2h 1m old; 3 repaired/)
    assert.include(
      open,
      "gap: X:A and 19 more trades, 2026-01-05 14:30 to 2026-01-05 14:31 (crash): not published yet"
    )
  })

  it("names symbols that are silent, and what was done", () => {
    const stale = {
      provider: "databento",
      symbol: "X:B",
      schema: "trades",
      silent_seconds: 90.5,
      usual_seconds: 1.25,
      resubscribed: 2
    }
    const told = lines({
      freshness: {
        stale: 2,
        resubscribed: 2,
        quiet: [],
        symbols: [stale, { ...stale, symbol: "X:C", resubscribed: null }]
      }
    })
    assert.include(told, "stale: X:B trades: silent for 90.5 s, usually 1.25 s; subscribed again 2 times")
    assert.include(told, "stale: X:C trades: silent for 90.5 s, usually 1.25 s")
  })
})
