/** Kills writers at random moments and checks after each that ledger, coverage, rows and bars say the same. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { SeededRandom } from "@data-manager/testing"
import { assert } from "vitest"
import { type CrashPlan, rangeOf } from "./CrashWriter.ts"
import { assertRollups } from "./NaiveRollup.ts"
import { assertOwnership } from "./Ownership.ts"
import type { StoreFixture } from "./StoreFixture.ts"

const program = fileURLToPath(new URL("./CrashWriter.ts", import.meta.url))

/** Starts a writer and waits until it writes, and then until it has committed so many segments, or has come to its end. */
export const startWriter = async (plan: CrashPlan, segments = 0): Promise<ChildProcess> => {
  const child = spawn(
    process.execPath,
    ["--conditions=source", "--disable-warning=ExperimentalWarning", program],
    {
      env: { ...process.env, CRASH_PLAN: JSON.stringify(plan) },
      stdio: ["ignore", "pipe", "inherit"]
    }
  )
  let lines = 0
  for await (const line of createInterface({ input: child.stdout! })) {
    lines += line === "writing" || line.startsWith("segment") ? 1 : 0
    if (lines <= segments) continue
    child.stdout!.resume()
    return child
  }
  if (lines > 0) return child
  throw new Error("the writer ended before it wrote")
}

/** Waits for a writer; true where it came to its end. */
export const awaitWriter = async (child: ChildProcess): Promise<boolean> => {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
  return child.exitCode === 0
}

/** Kills a writer at a random moment of the next milliseconds; true where it had come to its end before. */
export const killWriter = async (
  child: ChildProcess,
  random: SeededRandom,
  within: number
): Promise<boolean> => {
  const timer = setTimeout(() => child.kill("SIGKILL"), random.below(within))
  const ended = await awaitWriter(child)
  clearTimeout(timer)
  return ended
}

/** Number of committed segments, after everything of the plan's run was found to agree with the ledger. */
export const assertConsistent = async (store: StoreFixture, plan: CrashPlan): Promise<number> => {
  // A backend whose client is gone may still be at work: the run's lock tells when it is not.
  await store.sql("SELECT FROM ingest_runs WHERE fingerprint = $1 FOR UPDATE", [plan.fingerprint])
  const [ledger] = await store.sql<{ readonly segments: number; readonly inserted: bigint }>(
    `SELECT count(*)::int4 AS segments, coalesce(sum(s.inserted), 0) AS inserted
     FROM ingest_segments s JOIN ingest_runs r ON r.id = s.run_id WHERE r.fingerprint = $1`,
    [plan.fingerprint]
  )
  const { segments } = ledger!
  const [rows] = await store.sql<{ readonly here: bigint; readonly before: bigint }>(
    `SELECT (SELECT count(*) FROM trade_rows WHERE instrument_id = ANY($1)) AS here,
            (SELECT coalesce(sum(s.inserted), 0) FROM ingest_segments s JOIN ingest_runs r ON r.id = s.run_id
             WHERE r.source = 'test' AND r.dataset = 'TEST') AS before`,
    [plan.instruments]
  )
  assert.strictEqual(rows!.here, BigInt(ledger!.inserted) + BigInt(rows!.before), "rows")
  const held = await store.sql<{ readonly ranges: string }>(
    "SELECT ranges::text AS ranges FROM coverage WHERE instrument_id = ANY($1)",
    [plan.instruments]
  )
  const time = (nanos: bigint) =>
    `${new Date(Number(nanos / 1_000_000n)).toISOString().slice(0, 19).replace("T", " ")}+00`
  const expected = `{["${time(rangeOf(plan, 0).start)}","${time(rangeOf(plan, segments - 1).end)}")}`
  assert.deepStrictEqual(
    held.map((row) => row.ranges),
    segments === 0 ? [] : plan.instruments.map(() => expected),
    "coverage"
  )
  await assertOwnership(store, plan.instruments)
  await assertRollups(store, plan.instruments)
  return segments
}
