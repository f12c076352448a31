/** `dm start` against the simulator, killed with -9 at random moments and started again: every trade is stored once. */
import type { ChildProcessWithoutNullStreams } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { assert } from "vitest"
import { outcome, Workplace } from "./Dm.ts"
import { inDatabase } from "./InDatabase.ts"
import { type Sections, writeServiceConfig } from "./ServiceConfig.ts"

const dataset = "DBEQ.BASIC"

/** What the simulator says when it is ready. */
export interface Simulator {
  readonly process: ChildProcessWithoutNullStreams
  readonly livePort: number
  readonly httpPort: number
  readonly key: string
}

export const startSimulator = async (place: Workplace, trades: number, rate: number): Promise<Simulator> => {
  const child = place.start(["sim", "databento", "--synthetic", "--trades", `${trades}`, "--rate", `${rate}`])
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string]
  const { live_port, http_port, key } = JSON.parse(line) as Record<string, number> & { readonly key: string }
  return { process: child, livePort: live_port!, httpPort: http_port!, key }
}

/** A configuration for the simulator. */
export const writeConfig = (
  place: Workplace,
  { httpPort, livePort }: Pick<Simulator, "httpPort" | "livePort">,
  ring: string,
  sections?: Sections
): void =>
  writeServiceConfig(place.folder, {
    dataset,
    httpPort,
    livePort,
    ring: { name: ring, dir: place.path("ring") },
    sections
  })

const content = /* sql */ `
  SELECT count(*)::int4 AS rows, count(DISTINCT (instrument_id, ts, trade_key))::int4 AS keys,
         coalesce(sum(t.price * i.price_unit), 0)::numeric(30, 9)::text AS prices, coalesce(sum(size), 0)::text AS sizes,
         (SELECT coalesce(sum(trade_count), 0)::int4 FROM bar_1m) AS minutes,
         (SELECT coalesce(sum(rows), 0)::int4 FROM row_days) AS counted,
         (SELECT count(*)::int4 FROM row_conflicts) AS conflicts
  FROM trade t JOIN instruments i ON i.id = t.instrument_id`

interface Content {
  readonly rows: number
  readonly keys: number
  readonly prices: string
  readonly sizes: string
  readonly minutes: number
  readonly counted: number
  readonly conflicts: number
}

const sleep = (millis: number): Promise<void> => new Promise((done) => setTimeout(done, millis))

/** Waits until the database has so many trades; fails after a while, or where the service has ended. */
const awaitRows = async (
  place: Workplace,
  service: ChildProcessWithoutNullStreams,
  rows: number
): Promise<void> => {
  for (const end = Date.now() + 120_000; Date.now() < end; await sleep(300)) {
    if (service.exitCode !== null) throw new Error(`the service ended with ${service.exitCode}`)
    const found = await inDatabase<Content>(place, content)
    if (found.rows >= rows) return
  }
  throw new Error(`the database never had ${rows} trades`)
}

/**
 * Waits until the session that the running service has begun is in the database: with its beginning, those that killed ones have
 * left open are ended.
 */
const awaitOwnSession = async (place: Workplace): Promise<void> => {
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(300)) {
    const { code, stdout } = await place.run(["status", "--json"])
    const key: string | null = code === 0 ? (JSON.parse(stdout).service?.feeds[0]?.session ?? null) : null
    const sql = `SELECT count(*)::int4 AS found FROM feed_sessions WHERE key = '${key}'`
    if (key !== null && (await inDatabase<{ readonly found: number }>(place, sql)).found === 1) return
  }
  throw new Error("the service never began a session")
}

/** Kills a service `kills` times, lets it collect the rest of the day, and compares with the same day from the archive. */
export const killAndCollect = async (kills: number, trades: number, rate: number): Promise<void> => {
  const place = new Workplace()
  let simulator: Simulator | undefined
  try {
    assert.strictEqual((await place.run(["migrate", "--up"])).code, 0)
    simulator = await startSimulator(place, trades, rate)
    writeConfig(place, simulator, `start_${process.pid}`)
    const env = { DATABENTO_API_KEY: simulator.key }
    for (let i = 0; i < kills; i++) {
      const service = place.start(["start"], { env })
      const ended = outcome(service)
      await once(createInterface({ input: service.stderr }), "line")
      await sleep(500 + Math.random() * 2500)
      service.kill("SIGKILL")
      assert.strictEqual((await ended).signal, "SIGKILL")
    }
    const service = place.start(["start"], { env })
    const ended = outcome(service)
    // All may be stored already: a signal before the first line would meet a process without handlers.
    await once(createInterface({ input: service.stderr }), "line")
    await awaitRows(place, service, trades)
    await awaitOwnSession(place)
    service.kill("SIGTERM")
    const { code, signal, stderr } = await ended
    assert.deepStrictEqual([code, signal], [0, null], stderr)
    const stored = await inDatabase<Content>(place, content)
    const { rows, keys, minutes, counted, conflicts } = stored
    assert.deepStrictEqual(
      [rows, keys, minutes, counted, conflicts],
      [trades, trades, trades, trades, 0],
      stderr
    )
    const sessions = await inDatabase<{ readonly open: number; readonly missing: number }>(
      place,
      `SELECT (SELECT count(*)::int4 FROM feed_sessions WHERE ended_at IS NULL) AS open,
              (SELECT count(*)::int4 FROM coverage_marks WHERE state = 'missing' AND cause = 'crash') AS missing`
    )
    assert.strictEqual(sessions.open, 0, "every session has ended")
  } finally {
    simulator?.process.kill("SIGTERM")
    await place.close()
  }
}
