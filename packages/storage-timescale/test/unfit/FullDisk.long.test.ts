/** Disks that run full under the data or under the WAL: small file systems in memory, which root alone may mount. */
import { execFileSync } from "node:child_process"
import { chownSync, mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type StoreError, UnixNanos } from "@data-manager/core"
import { BatchArbitrary, SeededRandom } from "@data-manager/testing"
import { Effect, Schedule } from "effect"
import { afterAll, assert, describe, it } from "vitest"
import * as ServerUser from "../../src/embedded/ServerUser.ts"
import { isRoot, missing } from "../embedded/Fixture.ts"
import { instruments, openStore, type StoreFixture } from "../StoreFixture.ts"
import { type Cluster, Clusters, databaseOf } from "./Cluster.ts"
import { assertSays } from "./Refusal.ts"

const clusters = new Clusters()
const mounted: Array<string> = []

/** A file system of this size, in memory. */
const mount = (megabytes: number): string => {
  const folder = clusters.newFolder()
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=755`, "none", folder])
  mounted.push(folder)
  const user = ServerUser.forDirectory(folder, join(folder, "data"))
  chownSync(folder, user.uid, user.gid)
  return folder
}

const whyNot = (): string | undefined => {
  if (missing !== undefined) return missing
  if (process.platform !== "linux" || !isRoot) return "only root on Linux can mount a small file system"
  try {
    mount(1)
    return undefined
  } catch (cause) {
    return `a small file system cannot be mounted: ${String(cause)}`
  }
}
const reason = whyNot()
if (reason !== undefined) it("a full disk", (context) => context.skip(reason))

afterAll(async () => {
  await clusters.stop()
  for (const folder of mounted) execFileSync("umount", ["-l", folder])
  await clusters.clear()
})

const start = UnixNanos.parse("2024-03-04T00:00:00Z")!

/** A disk under a part of a server, and what the server is started with. */
interface Ground {
  readonly server: Cluster
  readonly disk: string
}

const grounds: ReadonlyArray<readonly [string, () => Promise<Ground>]> = [
  [
    "data",
    async () => {
      const disk = mount(160)
      const wal = join(clusters.newFolder(), "wal")
      const server = await clusters.create(
        { initdb: ["--encoding=UTF8", "--locale=C", `--waldir=${wal}`] },
        disk
      )
      return { server, disk }
    }
  ],
  [
    "WAL",
    async () => {
      const disk = mount(64)
      const wal = join(disk, "wal")
      mkdirSync(wal, { mode: 0o700 })
      const user = ServerUser.forDirectory(disk, wal)
      chownSync(wal, user.uid, user.gid)
      const server = await clusters.create({
        initdb: ["--encoding=UTF8", "--locale=C", "--wal-segsize=4", `--waldir=${wal}`]
      })
      return { server, disk }
    }
  ]
]

/** Leaves this much on a disk. */
const fill = (disk: string, megabytes: number): string => {
  const { bavail, bsize } = statfsSync(disk)
  const file = join(disk, "filler")
  writeFileSync(file, Buffer.alloc(Math.max(0, bavail * bsize - megabytes * 1024 ** 2)))
  return file
}

describe.skipIf(reason !== undefined)("a full disk", () => {
  for (const [what, open] of grounds)
    it(`under the ${what}: the append says so, nothing is half stored, and it goes on when there is room`, async () => {
      const { disk, server } = await open()
      await server.start({ max_wal_size: "1GB", fsync: "on", wal_recycle: "off", wal_init_zero: "on" })
      const store = await openStore(databaseOf(server))
      const market = await instruments(store, [[2, 0]])
      const source = { kind: "import", source: "big", provider: "test", dataset: "TEST" } as const
      const run = await store.run(store.writer.ledger.beginRun(source))
      const segment = (number: number) => {
        const from = start + BigInt(number) * UnixNanos.PerDay
        const range = { start: from, end: from + UnixNanos.PerDay }
        const batch = BatchArbitrary.trades(new SeededRandom(number), {
          context: market.context,
          instruments: market.ids,
          rows: 50_000,
          start: from,
          span: UnixNanos.PerDay
        })
        const coverage = [{ instrument: market.ids[0]!, schema: "trades", range }] as const
        return store.writer.append(batch, { run: run.id, segment: number, coverage })
      }
      await store.run(segment(0))
      const filler = fill(disk, 24)

      let done = 1
      let error: StoreError | undefined
      while (error === undefined) {
        const result = await Effect.runPromise(Effect.result(segment(done)))
        if (result._tag === "Success") done += 1
        else error = result.failure
        assert.isBelow(done, 60, "the disk does not run full")
      }
      assertSays(
        error,
        "StoreExhausted",
        /^append trades: the disk of the server is full \(could not .*No space left on device.*\); free space there .*then repeat: nothing is half stored/
      )
      assert.strictEqual(error.reason._tag === "StoreExhausted" && error.reason.resource, "disk")
      assert.isTrue(error.isRetryable)

      rmSync(filler)
      if (!server.isRunning) await server.start()
      // Without room for its WAL a server ends all sessions and starts again.
      await store.run(
        store.writer.pool.query("SELECT 1").pipe(
          Effect.retry({
            while: ({ isRetryable }) => isRetryable,
            times: 300,
            schedule: Schedule.spaced("100 millis")
          })
        )
      )
      await consistent(store, done)
      for (let number = done; number < done + 3; number++) await store.run(segment(number))
      await consistent(store, done + 3)
      await store.close()
      await server.stop()
    })
})

/** Ledger, coverage, rows, days and bars tell of so many segments of 50,000 rows and of nothing else. */
const consistent = async (store: StoreFixture, segments: number): Promise<void> => {
  const [found] = await store.sql(
    `SELECT (SELECT count(*)::int4 FROM trade) AS rows, (SELECT sum(rows)::int4 FROM row_days) AS in_days,
            (SELECT count(*)::int4 FROM ingest_segments) AS segments, (SELECT sum(rows)::int4 FROM ingest_segments) AS in_ledger,
            (SELECT sum(upper(r)::date - lower(r)::date)::int4 FROM coverage, unnest(ranges) r) AS days_held,
            (SELECT sum(trade_count) = (SELECT count(price) FROM trade) FROM bars_1d) AS bars`
  )
  const rows = segments * 50_000
  assert.deepStrictEqual(found, {
    rows,
    in_days: rows,
    segments,
    in_ledger: rows,
    days_held: segments,
    bars: true
  })
}
