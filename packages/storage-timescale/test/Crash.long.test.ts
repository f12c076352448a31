import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SeededRandom } from "@data-manager/testing"
import { Effect, Exit, Redacted, Scope } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { EmbeddedServer } from "../src/embedded/index.ts"
import { toUrl } from "../src/PgServer.ts"
import { assertConsistent, awaitWriter, killWriter, startWriter } from "./CrashRun.ts"
import { batchOf, type CrashPlan } from "./CrashWriter.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "./StoreFixture.ts"

const planOf = (store: StoreFixture, ids: ReadonlyArray<number>, segments: number): CrashPlan => ({
  url: store.database.url,
  instruments: ids,
  fingerprint: "crash",
  segments,
  rowsPerSegment: 600
})

const scales = [
  [2, 0],
  [9, 3]
] as const

describe("a writer that is killed a hundred times", () => {
  let store: StoreFixture
  beforeAll(async () => {
    store = await openStore()
  }, 120_000)
  afterAll(() => store.close())

  // A round takes a second on an idle machine and many on a busy one: most of it is the start of the writer.
  it("leaves what its ledger says every time", { timeout: 3_600_000 }, async () => {
    const { ids } = await instruments(store, scales)
    const plan = planOf(store, ids, 1000)
    const there = Array.from({ length: 20 }, (_, i) => batchOf(plan, i * 50 + 3).slice(0, 200))
    await store.run(appendAll(store.writer, there))
    const random = new SeededRandom(Date.now() % 100_000)
    let kills = 0
    while (kills < 100) {
      if (await killWriter(await startWriter(plan), random, 400)) break
      await assertConsistent(store, plan)
      kills += 1
    }
    assert.isAtLeast(kills, 50)
    assert.isTrue(await awaitWriter(await startWriter(plan)))
    assert.strictEqual(await assertConsistent(store, plan), 1000)
  })
})

describe("a server that is killed ten times under a writer", () => {
  let dataDir: string
  beforeAll(() => {
    dataDir = mkdtempSync(join(tmpdir(), "dm-crash-"))
    chmodSync(dataDir, 0o755)
  })
  afterAll(() => rmSync(dataDir, { recursive: true, force: true }))

  /** The store on the server, which is started, or recovered, for it. */
  const open = async (): Promise<StoreFixture> => {
    const scope = Effect.runSync(Scope.make())
    const address = await Effect.runPromise(
      Scope.provide(EmbeddedServer.acquire({ dataDir: join(dataDir, "data"), linger: "0 seconds" }), scope)
    )
    return openStore({
      address,
      url: Redacted.value(toUrl(address)),
      drop: () => Effect.runPromise(Scope.close(scope, Exit.void))
    })
  }

  it("has what the ledger says every time", { timeout: 3_600_000 }, async () => {
    const random = new SeededRandom(Date.now() % 100_000)
    let store = await open()
    const { ids } = await instruments(store, scales)
    const segments = 500
    for (let kill = 0; kill < 10; kill++) {
      const writer = await startWriter(planOf(store, ids, segments))
      await new Promise((resolve) => setTimeout(resolve, random.below(1500)))
      const { pid } = await Effect.runPromise(EmbeddedServer.status(join(dataDir, "data")))
      if (pid !== undefined) process.kill(pid, "SIGKILL")
      writer.kill("SIGKILL")
      await awaitWriter(writer)
      await store.close().catch(() => {})
      store = await open()
      await assertConsistent(store, planOf(store, ids, segments))
    }
    assert.isTrue(await awaitWriter(await startWriter(planOf(store, ids, segments))))
    assert.strictEqual(await assertConsistent(store, planOf(store, ids, segments)), segments)
    await store.close()
  })
})
