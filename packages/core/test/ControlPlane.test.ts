/** Health, rates and metrics, from statuses as they can be. */
import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import * as Access from "../src/ControlAccess.ts"
import * as Health from "../src/ControlHealth.ts"
import * as Metrics from "../src/ControlMetrics.ts"
import { ControlWatch } from "../src/ControlWatch.ts"
import type { GapRepairStatus } from "../src/GapRepair.ts"
import { isOfLeaseBefore, leaseInstance } from "../src/LeaderLease.ts"
import type { LiveFeedStatus } from "../src/LiveFeed.ts"
import type { LiveServiceStatus } from "../src/LiveService.ts"

const second = 1_000_000_000n
const now = 1_000_000n * second

const feed = (difference: Partial<LiveFeedStatus> = {}): LiveFeedStatus => ({
  name: "feed/1",
  provider: "test",
  selection: { dataset: "TEST", schema: "trades", stypeIn: "raw_symbol", symbols: ["A"] },
  state: "running",
  session: undefined,
  rows: 0n,
  gaps: 0n,
  failures: 0,
  runningSince: now - 3600n * second,
  lastRowAt: now - second,
  lastError: undefined,
  ...difference
})

const status = (difference: Partial<LiveServiceStatus> = {}): LiveServiceStatus => ({
  startedAt: now - 7200n * second,
  feeds: [feed()],
  providers: [],
  spool: {
    frames: 0n,
    rows: 0n,
    bytes: 0,
    age: Duration.zero,
    dropped: { overflow: { entries: 0, rows: 0 }, "disk-full": { entries: 0, rows: 0 } }
  },
  spoolLimit: 1000,
  dropped: { overflow: 0n, "disk-full": 0n },
  writer: {
    committed: 0n,
    rows: 0n,
    duplicates: 0n,
    conflicts: 0n,
    refused: 0n,
    appends: 1n,
    problem: undefined
  },
  publication: undefined,
  subscribers: [],
  ...difference
})

const staleSymbol = {
  provider: "test",
  dataset: "TEST",
  schema: "trades",
  symbol: "TEST:A",
  silentMillis: 90_000,
  usualMillis: 1500,
  resubscribed: 1
} as const

const repairing: GapRepairStatus = {
  open: [
    {
      provider: "test",
      dataset: "TEST",
      schema: "trades",
      range: { start: now - 3600n * second, end: now - 1800n * second },
      cause: "crash",
      instruments: [1],
      symbols: ["A"],
      foundAt: now,
      attempts: 1,
      nextAt: now,
      problem: "not published yet"
    }
  ],
  repaired: 2,
  failed: 1,
  rows: 10,
  lookedAt: now,
  problem: undefined
}

const limits = { freshnessSeconds: 60, now, droppedAt: undefined }

const names = (of: LiveServiceStatus, difference: Partial<Health.HealthLimits> = {}) =>
  Health.reasons(of, { ...limits, ...difference }).map(({ name }) => name)

const spool = (difference: Partial<LiveServiceStatus["spool"]>) =>
  status({ spool: { ...status().spool, ...difference } })

describe("health", () => {
  it("names what is wrong", () => {
    assert.deepStrictEqual(names(status()), [])
    const waiting = status({
      feeds: [feed({ state: "waiting", runningSince: undefined, lastError: "no key" })]
    })
    assert.deepStrictEqual(names(waiting), ["feed_not_running"])
    assert.include(Health.reasons(waiting, limits)[0]?.detail, "no key")
    assert.deepStrictEqual(names(spool({ bytes: 501 })), ["spool_filling"])
    assert.deepStrictEqual(names(spool({ bytes: 500 })), [])
    assert.deepStrictEqual(names(spool({ age: Duration.seconds(61) })), ["spool_waiting"])
    assert.deepStrictEqual(names(spool({ problem: "no space" })), ["spool_problem"])
    assert.deepStrictEqual(names(status({ writer: { ...status().writer, problem: "away" } })), [
      "writer_problem"
    ])
  })

  it("gives a feed time to bring its first row, and takes silence for what it is after that", () => {
    const silent = (difference: Partial<LiveFeedStatus>, freshnessSeconds = 60) =>
      names(status({ feeds: [feed(difference)] }), { freshnessSeconds })
    assert.deepStrictEqual(silent({ lastRowAt: now - 61n * second }), ["feed_stale"])
    assert.deepStrictEqual(silent({ lastRowAt: now - 60n * second }), [])
    assert.deepStrictEqual(silent({ lastRowAt: undefined }), ["feed_stale"])
    const begun = { runningSince: now - 5n * second }
    assert.deepStrictEqual(silent({ ...begun, lastRowAt: undefined }), [])
    assert.deepStrictEqual(silent({ ...begun, lastRowAt: now - 900n * second }), [])
    assert.deepStrictEqual(silent({ lastRowAt: now - 900n * second }, 0), [])
  })

  it("takes no silence amiss of a feed that does not trade at this hour, or of which another stream is fresh", () => {
    const old = feed({ lastRowAt: now - 900n * second })
    const data = { provider: "test", dataset: "TEST", schema: "trades" } as const
    const watched = (quiet: ReadonlyArray<typeof data>, feeds = [old]) =>
      names(status({ feeds, freshness: { stale: [], resubscribed: 0, quiet } }))
    assert.deepStrictEqual(watched([]), ["feed_stale"])
    assert.deepStrictEqual(watched([data]), [])
    assert.deepStrictEqual(watched([], [old, feed({ lastRowAt: now - second })]), [])
    const other = { ...old, selection: { ...old.selection, schema: "mbp-1" as const } }
    assert.deepStrictEqual(watched([data], [old, other]), ["feed_stale"])
  })

  it("warns of stale symbols and of old gaps, and is healthy all the same", () => {
    const watched = status({ freshness: { stale: [staleSymbol], resubscribed: 0, quiet: [] } })
    assert.deepStrictEqual(names(watched), [])
    assert.deepStrictEqual(Health.warnings(status(), undefined, now), [])
    assert.deepStrictEqual(Health.warnings(watched, repairing, now), [
      { name: "symbols_stale", detail: "TEST:A: no trades for 90 s, usually 1.5 s" }
    ])
    const later = now + 100_000n * second
    assert.include(Health.warnings(status(), repairing, later)[0]?.detail, "(crash): not published yet")
  })

  it("tells a loss for five minutes", () => {
    assert.deepStrictEqual(names(status(), { droppedAt: now - 299n * second }), ["rows_dropped"])
    assert.deepStrictEqual(names(status(), { droppedAt: now - 300n * second }), [])
  })

  it("is ready when a feed runs and the store has taken something, or there was nothing to take", () => {
    const ready = (of: LiveServiceStatus) => Health.readiness(of).ready
    const untouched = { ...status().writer, appends: 0n }
    assert.isTrue(ready(status()))
    assert.isTrue(ready(status({ writer: untouched })))
    assert.isFalse(ready({ ...spool({ frames: 3n }), writer: untouched }))
    assert.isTrue(ready(spool({ frames: 3n })))
    assert.isFalse(ready(status({ feeds: [feed({ state: "starting" })] })))
    assert.isFalse(ready(status({ feeds: [] })))
  })
})

const lease = (difference: Partial<NonNullable<LiveServiceStatus["lease"]>> = {}) => ({
  name: "main",
  role: "active" as const,
  epoch: 3n,
  holder: "host process 1",
  heartbeatAt: now - second,
  problem: undefined,
  ...difference
})

describe("a service that is one of several, or waits for its database", () => {
  it("is degraded while what it collects is safe, and unhealthy where something is lost", () => {
    const state = (of: LiveServiceStatus) => Health.stateOf(Health.reasons(of, limits))
    assert.strictEqual(state(status({ lease: lease() })), "healthy")
    const away = status({ storeAway: "no server", writer: { ...status().writer, problem: "no server" } })
    assert.deepStrictEqual(names(away), ["store_away"])
    assert.strictEqual(state(away), "degraded")
    assert.deepStrictEqual(names(status({ lease: lease({ problem: "no answer" }) })), ["lease_problem"])
    assert.strictEqual(state(status({ lease: lease({ problem: "no answer" }) })), "degraded")
    assert.strictEqual(state({ ...away, feeds: [feed({ state: "waiting" })] }), "unhealthy")
  })

  it("is healthy and not ready as the standby", () => {
    const standby = status({ feeds: [], lease: lease({ role: "standby" }) })
    assert.deepStrictEqual(names(standby), [])
    const { detail, ready } = Health.readiness(standby)
    assert.isFalse(ready)
    assert.include(detail, "host process 1 is active")
  })

  it("knows sessions of those who had the lease before", () => {
    const own = leaseInstance({ name: "main", epoch: 3n }, "random")
    const isOver = isOfLeaseBefore({ name: "main", epoch: 3n })
    assert.isFalse(isOver(`spool/${own}/1/1`))
    assert.isTrue(isOver(`other/${leaseInstance({ name: "main", epoch: 2n }, "r")}/1/1`))
    assert.isFalse(isOver(`other/${leaseInstance({ name: "main2", epoch: 2n }, "r")}/1/1`))
    assert.isFalse(isOver(`other/${leaseInstance({ name: "main", epoch: 10n }, "r")}/1/1`))
    assert.isFalse(isOver("spool/5e4de5b6-0000-4000-8000-000000000000/1/1"))
    assert.isFalse(isOver("spool"))
  })
})

describe("what several looks tell", () => {
  it("rates of the last seconds", () => {
    const watch = new ControlWatch()
    for (let i = 0n; i <= 30n; i++)
      watch.look(
        status({ feeds: [feed({ rows: i < 20n ? i * 1000n : 20_000n + (i - 20n) * 10n })] }),
        now + i * second
      )
    assert.strictEqual(watch.rate("feed/1"), 10)
    assert.strictEqual(watch.rate("another"), 0)
  })

  it("counts that do not go back when a feed ends, and another one begins", () => {
    const watch = new ControlWatch()
    watch.look(status({ feeds: [feed({ rows: 70n, gaps: 1n }), feed({ name: "feed/2", rows: 5n })] }), now)
    watch.look(status({ feeds: [feed({ name: "feed/2", rows: 9n })] }), now + second)
    watch.look(status({ feeds: [feed({ name: "feed/3", rows: 1n })] }), now + 2n * second)
    assert.deepStrictEqual(
      watch.totals.map(({ gaps, rows }) => [rows, gaps]),
      [[80n, 1n]]
    )
  })

  it("when rows were dropped", () => {
    const watch = new ControlWatch()
    watch.look(status(), now)
    assert.isUndefined(watch.droppedAt)
    watch.look(status({ dropped: { overflow: 3n, "disk-full": 0n } }), now + second)
    watch.look(status({ dropped: { overflow: 3n, "disk-full": 0n } }), now + 2n * second)
    assert.strictEqual(watch.droppedAt, now + second)
  })
})

describe("metrics", () => {
  it("escape labels, and are exact beyond 2^53", () => {
    const text = Metrics.prometheusText([
      { name: "dm_writer_rows_total", labels: {}, value: 9_007_199_254_740_993n },
      { name: "dm_info", labels: { name: 'a"b\\c\nd' }, value: 1 }
    ])
    assert.include(text, "dm_writer_rows_total 9007199254740993\n")
    assert.include(text, 'dm_info{name="a\\"b\\\\c\\nd"} 1\n')
  })

  it("add what is new to a counter, and all of it where it began anew", () => {
    const told: Metrics.Told = new Map()
    const grow = (value: number, cause = "overflow") =>
      Metrics.growth(told, { name: "dm_spool_dropped_rows_total", labels: { cause }, value })
    assert.deepStrictEqual([grow(5), grow(7), grow(7), grow(3, "disk-full"), grow(2)], [5, 2, 0, 3, 2])
  })

  it("of every kind are made, and each is described", () => {
    const subscriber = {
      policy: "drop-oldest" as const,
      capacity: 10,
      waiting: 1,
      delivered: 2n,
      dropped: 3n
    }
    const watch = new ControlWatch()
    const full = status({
      lease: lease(),
      providers: [{ id: "test", state: "healthy", reconnects: 2, lag: 1_500_000_000n, detail: "" }],
      publication: {
        name: "ring",
        connections: 1,
        rows: 1n,
        notTaken: 0n,
        failures: 0n,
        lastError: undefined
      },
      subscribers: [
        { ...subscriber, name: "a" },
        { ...subscriber, name: "a" }
      ],
      freshness: { stale: [staleSymbol], resubscribed: 1, quiet: [] }
    })
    watch.look(full, now)
    const samples = Metrics.samples({
      status: full,
      reasons: [],
      repair: repairing,
      watch,
      process: { residentBytes: 1, heapUsedBytes: 1, eventLoopDelay: { "0.5": 0 } },
      name: "test",
      version: "1",
      now
    })
    assert.sameMembers([...new Set(samples.map(({ name }) => name))], Object.keys(Metrics.definitions))
    const keys = samples.map(({ labels, name }) => JSON.stringify([name, labels]))
    assert.strictEqual(new Set(keys).size, keys.length, "no series twice")
    const open = samples.find(({ labels, name }) => name === "dm_gaps_open" && labels.cause === "crash")
    assert.strictEqual(open?.value, 1)
    assert.strictEqual(samples.find(({ name }) => name === "dm_gap_oldest_age_seconds")?.value, 3600)
    assert.strictEqual(samples.find(({ name }) => name === "dm_provider_receive_lag_seconds")?.value, 1.5)
  })
})

it("a token is compared whole", () => {
  for (const given of ["", "secre", "secrets", "Secret", "secretsecret", "sécret"])
    assert.isFalse(Access.isSameToken(given, "secret"), given)
  assert.isTrue(Access.isSameToken("secret", "secret"))
})
