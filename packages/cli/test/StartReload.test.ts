// A service whose ring is gone, as after a reboot: real store, real ring, the simulator as venue, and a reader in this process.
import { type ChildProcessWithoutNullStreams, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, rmSync, writeFileSync } from "node:fs"
import { createInterface } from "node:readline"
import type { SubscriptionEvent, TradeBatch } from "@data-manager/core"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { RingReader } from "@data-manager/transport-shm"
import { afterAll, assert, beforeEach, describe, it } from "vitest"
import { outcome, Workplace } from "./Dm.ts"
import { type Simulator, writeConfig } from "./StartCrash.ts"

const place = new Workplace()
const ring = `reload_${process.pid}`
const noCompiler = spawnSync(process.env.CC ?? "cc", ["--version"]).error !== undefined
beforeEach((context) => {
  if (noCompiler && process.env.CI === undefined)
    context.skip("there is no C compiler to build the ring with")
})
afterAll(() => place.close())

/** A day `daysAgo`, whose trades have happened and are within the week that is put back. */
const writeDay = (file: string, daysAgo: number, trades: number): void => {
  const day = new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10).replaceAll("-", "")
  const market = new SyntheticMarket({ symbols: 3, trades, seed: daysAgo, date: Number(day) })
  writeFileSync(place.path(file), Buffer.concat([...market.tradeFile()]))
}

const simulate = async (file: string): Promise<Simulator> => {
  const child = place.start(["sim", "databento", "--data", file])
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string]
  const { live_port, http_port, key } = JSON.parse(line) as Record<string, number> & { readonly key: string }
  return { process: child, livePort: live_port!, httpPort: http_port!, key }
}

interface Row {
  readonly key: string
  readonly isReplay: boolean
}

const rowsOf = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<Row> =>
  events.flatMap((event) =>
    event._tag !== "Batch"
      ? []
      : [...(event.batch as TradeBatch).rows()].map(({ symbol, tradeKey, tsEvent }) => ({
          key: `${symbol} ${tsEvent} ${tradeKey}`,
          isReplay: event.batch.context.replay?.cause === "reload"
        }))
  )

/** Runs a service while `use` works with it, and ends it in order. */
const withService = async <A>(
  file: string,
  use: (service: ChildProcessWithoutNullStreams) => Promise<A>
): Promise<{ readonly result: A; readonly stderr: string }> => {
  const simulator = await simulate(file)
  try {
    writeConfig(place, simulator, ring, { realtime: ["reload_window_minutes = 10080"] })
    const service = place.start(["start"], { env: { DATABENTO_API_KEY: simulator.key } })
    const ended = outcome(service)
    const result = await use(service)
    service.kill("SIGTERM")
    const { code, stderr } = await ended
    assert.strictEqual(code, 0, stderr)
    return { result, stderr }
  } finally {
    const gone = once(simulator.process, "exit")
    simulator.process.kill("SIGTERM")
    await gone
  }
}

const dir = place.path("ring")

/** Reads from the oldest row on until there are so many; fails after a while. */
const readRows = async (count: number): Promise<ReadonlyArray<Row>> => {
  const end = Date.now() + 60_000
  const pause = () => new Promise((done) => setTimeout(done, 20))
  while (!existsSync(`${dir}/${ring}.ring`) && Date.now() < end) await pause()
  const reader = new RingReader({ dir, name: ring, start: { _tag: "Oldest" } })
  const rows: Array<Row> = []
  try {
    while (rows.length < count && Date.now() < end) {
      const events = reader.poll()
      if (events.length === 0) await pause()
      rows.push(...rowsOf(events))
    }
  } finally {
    reader.close()
  }
  return rows
}

const lastOf = (depth: number): ReadonlyArray<SubscriptionEvent> => {
  const reader = new RingReader({ dir, name: ring, start: { _tag: "LastPerSymbol", count: depth } })
  const events = reader.poll()
  reader.close()
  return events
}

describe("dm start after a reboot", { timeout: 240_000 }, () => {
  it("puts stored rows back into the ring, marked, before live ones; a ring that is still there is left alone", async () => {
    const migrated = await place.run(["migrate", "--up"])
    assert.strictEqual(migrated.code, 0, migrated.stderr)
    writeDay("first.dbn", 3, 2_000)
    writeDay("second.dbn", 2, 500)
    writeDay("third.dbn", 1, 300)

    const first = await withService("first.dbn", () => readRows(2_000))
    assert.isTrue(first.result.every(({ isReplay }) => !isReplay))

    rmSync(dir, { recursive: true })
    const second = await withService("second.dbn", () => readRows(2_500))
    assert.include(second.stderr, "put 2000 stored rows back into the ring")
    const [old, live] = [second.result.slice(0, 2_000), second.result.slice(2_000)]
    assert.isTrue(old.every(({ isReplay }) => isReplay))
    assert.isTrue(live.every(({ isReplay }) => !isReplay))
    assert.lengthOf(live, 500)
    assert.sameMembers(
      old.map(({ key }) => key),
      first.result.map(({ key }) => key)
    )
    assert.strictEqual(new Set(second.result.map(({ key }) => key)).size, 2_500)

    // The same memory, the next generation: nothing is put back.
    const third = await withService("third.dbn", () => readRows(2_800))
    assert.notInclude(third.stderr, "back into the ring")
    assert.lengthOf(third.result, 2_800)
    assert.deepStrictEqual(third.result.slice(0, 2_500), second.result)
    assert.isTrue(third.result.slice(2_500).every(({ isReplay }) => !isReplay))

    // Who comes late gets the past of each symbol, and knows which part of it is a replay.
    const snapshots = lastOf(1_000)
    assert.lengthOf(snapshots, 3)
    for (const event of snapshots) {
      if (event._tag !== "Snapshot") return assert.fail(event._tag)
      const own = third.result.filter(({ key }) => key.startsWith(`${event.symbol} `)).slice(-1_000)
      assert.strictEqual(event.batch.length, own.length)
      assert.strictEqual(event.replayed ?? 0, own.filter(({ isReplay }) => isReplay).length)
    }
  })
})
