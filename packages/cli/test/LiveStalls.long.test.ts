/**
 * Live collection while something does not answer, is full, or the clock jumps, with real processes: the same proofs as
 * under kills. Processes are stopped with SIGSTOP, as a machine that hangs or a network that is cut looks from outside.
 */
import { execFileSync } from "node:child_process"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { assert, it, type TestContext } from "vitest"
import { Workplace } from "./Dm.ts"
import { type FaultRun, sleep, tell, withFaults } from "./FaultRun.ts"
import { inDatabase } from "./InDatabase.ts"

const Minute = 60_000

const signal = (pids: ReadonlyArray<number>, name: NodeJS.Signals): void => {
  for (const pid of pids)
    try {
      process.kill(pid, name)
    } catch {
      // It has ended meanwhile.
    }
}

/** Stops processes for a time. */
const stall = async (pids: ReadonlyArray<number>, seconds: number): Promise<void> => {
  signal(pids, "SIGSTOP")
  try {
    await sleep(seconds * 1_000)
  } finally {
    signal(pids, "SIGCONT")
  }
}

/** Exceptions that the database has, by cause. */
const causes = async (run: FaultRun): Promise<ReadonlyArray<string>> => {
  const row = await inDatabase<{ readonly causes: ReadonlyArray<string> | null }>(
    run.place,
    "SELECT array_agg(DISTINCT cause) AS causes FROM coverage_ranges WHERE state = 'missing'"
  )
  return row.causes ?? []
}

it(
  "a network that is cut, shortly and for long: the provider makes good what was missed",
  { timeout: 10 * Minute },
  () =>
    withFaults({ capacity: 1 << 20 }, async (run) => {
      run.startService()
      await run.awaitRow(0)
      const strategy = await run.startStrategy()
      // Longer than two heartbeats: the session is given up, and the next one is not answered at first.
      for (const seconds of [3, 30]) {
        await stall([run.simulatorProcess.pid!], seconds)
        await run.awaitRow(run.now(), 180)
      }
      await run.finish()
      const report = await run.endStrategy(strategy)
      const stored = await run.compare()
      tell("network cut", stored, report)
      assert.strictEqual(stored.missing, 0, run.tail())
      assert.strictEqual(report.ranges.length, 1, "the strategy saw everything")
    })
)

it("a service that hangs is sent everything afterwards", { timeout: 10 * Minute }, () =>
  withFaults({ capacity: 1 << 20 }, async (run) => {
    const service = run.startService()
    await run.awaitRow(0)
    const strategy = await run.startStrategy()
    await stall([service.pid!], 15)
    await run.awaitRow(run.now(), 120)
    await run.finish()
    const report = await run.endStrategy(strategy)
    const stored = await run.compare()
    tell("service hung", stored, report)
    assert.strictEqual(stored.missing, 0, run.tail())
  })
)

it("a strategy that hangs is told what it lost, and holds nobody up", { timeout: 10 * Minute }, () =>
  withFaults({ capacity: 16_384 }, async (run) => {
    run.startService()
    await run.awaitRow(0)
    const strategy = await run.startStrategy()
    const other = await run.startStrategy()
    await stall([strategy.process.pid!], 10)
    await sleep(2_000)
    await run.finish()
    const [hung, well] = [await run.endStrategy(strategy), await run.endStrategy(other)]
    const stored = await run.compare()
    tell("strategy hung", stored, hung)
    assert.isAbove(hung.lost, 10_000)
    assert.deepStrictEqual([stored.missing, well.lost, well.ranges.length], [0, 0, 1])
  })
)

it("a database that hangs: rows wait in the spool", { timeout: 10 * Minute }, () =>
  withFaults({}, async (run) => {
    run.startService()
    await run.awaitRow(0)
    const strategy = await run.startStrategy()
    await stall(run.databasePids(), 20)
    await run.awaitRow(run.now(), 120)
    await run.finish()
    const report = await run.endStrategy(strategy)
    const stored = await run.compare()
    tell("database hung", stored, report)
    assert.deepStrictEqual([stored.missing, report.ranges.length], [0, 1])
  })
)

it("a spool that is full drops the newest, and says so", { timeout: 10 * Minute }, () =>
  withFaults({ rate: 60_000, spool: ["disk_floor_gb = 0", "max_size_gb = 0.1"] }, async (run) => {
    run.startService()
    await run.awaitRow(0)
    const strategy = await run.startStrategy({ market: undefined })
    await stall(run.databasePids(), 35)
    await sleep(20_000)
    // The database may be slower than the market: what waits is waited for when that has ended.
    const last = run.now() - 2 * 60_000
    await run.endMarket("SIGTERM")
    await run.awaitRow(last, 240)
    await run.endService("SIGTERM")
    const report = await run.endStrategy(strategy)
    const stored = await run.compare()
    tell("spool full", stored, report)
    assert.isAbove(stored.missing, 0)
    assert.include(await causes(run), "overflow")
  })
)

// ---------------------------------------------------------------------------------------------------------------------
// Disks

/** Runs with a small file system at a path; only root on Linux may mount one. */
const onSmallDisk = async (
  context: TestContext,
  place: Workplace,
  { at, megabytes }: { readonly at: string; readonly megabytes: number },
  test: () => Promise<void>
): Promise<void> => {
  mkdirSync(at, { recursive: true })
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=755`, "none", at])
  } catch (cause) {
    await place.close()
    return context.skip(`a small file system cannot be mounted: ${String(cause)}`)
  }
  try {
    await test()
  } finally {
    await place.stop()
    execFileSync("umount", ["-l", at])
    await place.close()
  }
}

it("a full disk under the spool: the newest rows are dropped, and recorded as missing", {
  timeout: 10 * Minute
}, (context) => {
  const place = new Workplace()
  const at = join(place.folder, "small")
  return onSmallDisk(context, place, { at, megabytes: 24 }, () =>
    withFaults({ place, rate: 20_000, spool: ["disk_floor_gb = 0", `dir = "${at}/spool"`] }, async (run) => {
      run.startService()
      await run.awaitRow(0)
      await stall(run.databasePids(), 25)
      await run.awaitRow(run.now(), 180)
      await run.finish()
      const stored = await run.compare()
      tell("disk of the spool full", stored)
      assert.isAbove(stored.missing, 0)
      assert.include(await causes(run), "disk-full")
    })
  )
})

it("a full disk under the database: rows wait in the spool until there is room", {
  timeout: 15 * Minute
}, (context) => {
  const place = new Workplace()
  return onSmallDisk(context, place, { at: place.dataDir, megabytes: 230 }, () =>
    withFaults({ place, rate: 20_000, spool: ["disk_floor_gb = 0", 'dir = "spool"'] }, async (run) => {
      run.startService()
      await run.awaitRow(0)
      for (const end = Date.now() + 4 * Minute; !run.tail().includes("wait in the spool"); await sleep(500))
        assert.isBelow(Date.now(), end, "the disk is never full")
      await sleep(5_000)
      execFileSync("mount", ["-o", "remount,size=3g", place.dataDir])
      await run.awaitRow(run.now(), 240)
      await run.finish()
      const stored = await run.compare()
      tell("disk of the database full", stored)
      assert.strictEqual(stored.missing, 0, run.tail())
    })
  )
})

it("a clock that jumps an hour, forward and backward", { timeout: 10 * Minute }, () =>
  withFaults({}, async (run) => {
    const preload = join(import.meta.dirname, "ClockJump.ts")
    const service = run.startService({ NODE_OPTIONS: `--import=${preload}` })
    await run.awaitRow(0)
    const strategy = await run.startStrategy()
    for (let i = 0; i < 4; i++) {
      service.kill("SIGUSR2")
      await sleep(4_000)
      await run.awaitRow(run.now())
    }
    await run.finish()
    const report = await run.endStrategy(strategy)
    const stored = await run.compare()
    tell("clock jumped", stored, report)
    assert.deepStrictEqual([stored.missing, report.ranges.length], [0, 1])
  })
)
