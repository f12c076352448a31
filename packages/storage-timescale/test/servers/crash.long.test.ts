/**
 * Imports on TimescaleDB that are killed, in the ordinary profile, in bulk, and by turns on the same days: the writer at a
 * hundred random moments; and the server at ten, where it may be.
 *
 * `DM_TEST_TIMESCALE_RESTART` names a shell command that starts the server of `DM_TEST_TIMESCALE_URL` again and ends. With it
 * the first process of that server is killed with SIGKILL, so it must run on this machine, and be nobody else's; the user of
 * the URL must be allowed to read its `postmaster.pid`.
 */
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { SeededRandom } from "@data-manager/testing"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { timestampParameter } from "../../src/PgPool.ts"
import { assertConsistent, awaitWriter, killWriter, startWriter } from "../CrashRun.ts"
import { batchOf, type CrashPlan, rangeOf } from "../CrashWriter.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { createDatabase } from "../TestServer.ts"
import { providedServers } from "./ProvidedServer.ts"

const server = providedServers.find(({ extension }) => extension !== undefined)
const restart = process.env.DM_TEST_TIMESCALE_RESTART ?? ""

const scales = [
  [2, 0],
  [4, 3],
  [9, 3]
] as const

type Profile = NonNullable<CrashPlan["profile"]>

/** What is written; by turns every day is begun in bulk and then moved. */
const planOf = (store: StoreFixture, ids: ReadonlyArray<number>, profile: Profile): CrashPlan => ({
  url: store.database.url,
  instruments: ids,
  fingerprint: "crash",
  segments: 5000,
  rowsPerSegment: 300,
  segmentSeconds: profile === "turns" ? 3 * 3600 : 1800,
  profile,
  exact: ids.slice(-1),
  maintains: true
})

/** Parts that are there already when the import comes to them, put in as the profile does. */
const prepare = async (store: StoreFixture, plan: CrashPlan): Promise<void> => {
  const parts = Array.from({ length: 20 }, (_, i) => batchOf(plan, i * 15 + 4).slice(0, 120))
  const inBulk =
    plan.profile === "bulk" ? parts : parts.filter((_, i) => plan.profile === "turns" && i % 2 === 0)
  const others = parts.filter((part) => !inBulk.includes(part))
  await store.run(appendAll(store.writer, inBulk, { profile: "bulk" }))
  await store.run(appendAll(store.writer, others))
}

const seedOf = (): SeededRandom => {
  const seed = Date.now() % 100_000
  console.log(`seed ${seed}`)
  return new SeededRandom(seed)
}

/** The rest of the plan is as long as what was written and some more; the next writer ends. */
const finish = async (store: StoreFixture, plan: CrashPlan, done: number): Promise<void> => {
  const whole = { ...plan, segments: done + 20 }
  assert.isTrue(await awaitWriter(await startWriter(whole)), "the last writer came to its end")
  assert.strictEqual(await assertConsistent(store, whole), whole.segments)
  const end = timestampParameter(rangeOf(plan, whole.segments).start)
  const [rows] = await store.sql<{ readonly stored: bigint; readonly bulk: bigint; readonly given: bigint }>(
    `SELECT (SELECT count(*) FROM trade_rows WHERE ts < $1) AS stored, (SELECT count(*) FROM trade_bulk) AS bulk,
            (SELECT sum(rows)::int8 FROM ingest_segments s JOIN ingest_runs r ON r.id = s.run_id
             WHERE r.fingerprint = $2) AS given`,
    [end, plan.fingerprint]
  )
  console.log(
    `${plan.profile}: ${whole.segments} segments, ${rows!.stored} rows, ${rows!.bulk} of them in bulk`
  )
  assert.strictEqual(rows!.stored, rows!.given, "every row of the import stands once")
}

describe.skipIf(server === undefined)("an import on TimescaleDB", () => {
  let store: StoreFixture
  beforeEach(async () => {
    store = await openStore(await createDatabase(server!.url))
  }, 120_000)
  afterEach(() => store.close(), 60_000)

  for (const profile of ["ordinary", "bulk", "turns"] as const) {
    it(`${profile}: killed a hundred times, leaves what its ledger says`, {
      timeout: 3_600_000
    }, async (context) => {
      if (!(await isCommunity(store)))
        return context.skip("this edition has no bulk profile and makes no bars")
      const plan = planOf(store, (await instruments(store, scales)).ids, profile)
      await prepare(store, plan)
      const random = seedOf()
      let done = 0
      let within = 1000
      for (let kill = 0; kill < 100; kill++) {
        await killWriter(await startWriter(plan), random, within)
        const before = done
        done = await assertConsistent(store, plan)
        // A busy machine needs longer for a segment: it gets that, lest it be killed in the same one for ever.
        within = done > before ? 1000 : Math.ceil(within * 1.5)
      }
      assert.isAbove(done, 50, "segments that were committed between kills")
      await finish(store, plan, done)
    })

    it(`${profile}: its server killed ten times, has what the ledger says`, {
      timeout: 3_600_000
    }, async (context) => {
      if (restart === "")
        return context.skip("DM_TEST_TIMESCALE_RESTART names no command that starts the server again")
      if (!(await isCommunity(store)))
        return context.skip("this edition has no bulk profile and makes no bars")
      const plan = planOf(store, (await instruments(store, scales)).ids, profile)
      await prepare(store, plan)
      const random = seedOf()
      let done = 0
      for (let kill = 0; kill < 10; kill++) {
        const pid = await postmaster(store)
        const writer = await startWriter(plan)
        await sleep(random.below(3000))
        process.kill(pid, "SIGKILL")
        writer.kill("SIGKILL")
        await awaitWriter(writer)
        await startAgain(store, pid)
        done = await assertConsistent(store, plan)
      }
      assert.isAbove(done, 10, "segments that were committed between kills")
      await finish(store, plan, done)
    })
  }
})

const isCommunity = async (store: StoreFixture): Promise<boolean> => {
  const [row] = await store.sql("SELECT to_regclass('trade_bulk') IS NOT NULL AS found")
  return row!.found as boolean
}

/** The server's first process. In another container its number would mean some other process here. */
const postmaster = async (store: StoreFixture): Promise<number> => {
  const [row] = await store.sql<{ readonly pid: number }>(
    "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int4 AS pid"
  )
  const command = execFileSync("ps", ["-o", "comm=", "-p", String(row!.pid)], { encoding: "utf8" }).trim()
  assert.match(command, /postgres/, `process ${row!.pid} of this machine is the server`)
  return row!.pid
}

/** Starts the server again: as soon as the processes that it left behind have ended. */
const startAgain = async (store: StoreFixture, killed: number): Promise<void> => {
  for (let tries = 0; tries < 60; tries++) {
    const command = spawn("sh", ["-c", restart], { stdio: "ignore" })
    await once(command, "exit")
    const answer = await postmaster(store).catch(() => undefined)
    if (answer !== undefined && answer !== killed) return
    await sleep(1000)
  }
  throw new Error(`the server did not start again: ${restart}`)
}

if (server === undefined)
  it("an import on TimescaleDB that is killed", (context) => context.skip("no TimescaleDB server is named"))
