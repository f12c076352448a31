import { SeededRandom } from "@data-manager/testing"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { assertConsistent, awaitWriter, killWriter, startWriter } from "./CrashRun.ts"
import { batchOf, type CrashPlan } from "./CrashWriter.ts"
import { appendAll, instruments, openStore, type StoreFixture } from "./StoreFixture.ts"

let store: StoreFixture

beforeAll(async () => {
  store = await openStore()
}, 120_000)
afterAll(() => store.close())

describe("a writer that is killed", () => {
  it("leaves what its ledger says, and goes on behind it", { timeout: 180_000 }, async () => {
    const { ids } = await instruments(store, [
      [2, 0],
      [9, 3]
    ])
    const plan: CrashPlan = {
      url: store.database.url,
      instruments: ids,
      fingerprint: "crash",
      segments: 60,
      rowsPerSegment: 400
    }
    // Parts that are there already, so that some segments take the staged way.
    await store.run(
      appendAll(
        store.writer,
        [3, 17, 30, 45].map((segment) => batchOf(plan, segment).slice(0, 150))
      )
    )
    const random = new SeededRandom(Date.now() % 100_000)
    const committed: Array<number> = []
    while (committed.length < 5) {
      // The first one may be killed before it has committed anything; a busy machine takes its time to commit.
      const writer = await startWriter(plan, Math.min(committed.length, 2))
      if (await killWriter(writer, random, 100 * (committed.length + 1))) break
      committed.push(await assertConsistent(store, plan))
    }
    assert.isAtLeast(committed.length, 2, "the writer was killed at work")
    assert.isAbove(Math.max(...committed), 0, "something was committed before")
    assert.isTrue(await awaitWriter(await startWriter(plan)))
    assert.strictEqual(await assertConsistent(store, plan), 60)
    const [rows] = await store.sql("SELECT count(*) AS n FROM trade WHERE instrument_id = ANY($1)", [ids])
    assert.deepStrictEqual(rows, { n: 24_000n })
  })
})
