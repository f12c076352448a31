/**
 * `dm start` on a bad day: the gateway leaves records out, the service is killed with -9 while the
 * market goes on, and started again. It repairs by itself: every trade is stored once, and all of the time is held.
 */
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import {
  CatalogueBuilder,
  DatabentoSimulator,
  SyntheticMarket
} from "@data-manager/providers-databento/simulator"
import { Effect, Exit, Scope } from "effect"
import { assert, describe, it } from "vitest"
import { outcome, Workplace } from "./Dm.ts"
import { inDatabase } from "./InDatabase.ts"
import { writeConfig } from "./StartCrash.ts"

const dataset = "DBEQ.BASIC"
const trades = 24_000
const Minute = 60_000_000_000n

const sleep = (millis: number): Promise<void> => new Promise((done) => setTimeout(done, millis))

/** A simulator in this process, so that its faults and its market are at hand. */
const startSimulator = async (scope: Scope.Scope) => {
  const catalogue = new CatalogueBuilder().addSynthetic(new SyntheticMarket({ symbols: 20, trades })).build()
  const live = { rate: 1500, market: "shared" } as const
  return Effect.runPromise(Scope.provide(DatabentoSimulator.make({ catalogue, live }), scope))
}

interface Stored {
  readonly rows: number
  readonly keys: number
}

const storedRows = (place: Workplace): Promise<Stored> =>
  inDatabase<Stored>(
    place,
    "SELECT count(*)::int4 AS rows, count(DISTINCT (instrument_id, ts, trade_key))::int4 AS keys FROM trade"
  )

interface Repairing {
  readonly open: number
  readonly repaired: number
  readonly rows: string
  readonly problem: string | null
  readonly gaps: ReadonlyArray<{ readonly cause: string; readonly problem: string | null }>
}

const repairing = async (place: Workplace): Promise<Repairing> => {
  const { stdout } = await place.run(["status", "--json"])
  return JSON.parse(stdout).service.gap_repair
}

/** Waits until a condition holds, or fails with what was seen last. */
const until = async <A>(look: () => Promise<A>, holds: (found: A) => boolean): Promise<A> => {
  for (const end = Date.now() + 90_000; ; await sleep(300)) {
    const found = await look()
    if (holds(found)) return found
    if (Date.now() > end) throw new Error(`never: ${JSON.stringify(found)}`)
  }
}

/** The first repair that a reader of the ring is told, as `dm tail` prints it. */
const toldInRing = async (place: Workplace): Promise<string> => {
  const tail = place.start(["tail", "--from", "oldest", "--json"])
  try {
    for await (const line of createInterface({ input: tail.stdout }))
      if (line.includes('"event":"repaired"')) return line
    throw new Error("dm tail ended without a repair")
  } finally {
    tail.kill("SIGKILL")
  }
}

describe("dm start with gap repair", () => {
  it("repairs what the gateway and kill -9 have lost", { timeout: 240_000 }, async () => {
    const place = new Workplace()
    const scope = Scope.makeUnsafe()
    const services: Array<ChildProcess> = []
    try {
      assert.strictEqual((await place.run(["migrate", "--up"])).code, 0)
      const { catalogue, http, key, live } = await startSimulator(scope)
      writeConfig(place, { httpPort: http.port, livePort: live.port }, `repair_${process.pid}`, {
        backfill: ['schedule = "0 0 1 1 *"'],
        gap_repair: ["delay_minutes = 0", "look_back_days = 3650", "interval_seconds = 1"]
      })
      const env = { DATABENTO_API_KEY: key }

      // Lost connections are those of another test: replay goes by the clock of this machine, and these trades are old.
      live.faults.next({ type: "skip", afterRecords: 1000, records: 300 })
      const first = place.start(["start"], { env })
      services.push(first)
      const firstEnded = outcome(first)
      await until(
        () => storedRows(place),
        ({ rows }) => rows > 2000
      )
      first.kill("SIGKILL")
      const killed = await firstEnded
      assert.strictEqual(killed.signal, "SIGKILL")
      // The market goes on, and nobody listens.
      const market = live.market.now(catalogue.get(dataset)!)
      live.market.advanceTo(dataset, market + 30n * Minute)

      const second = place.start(["start"], { env })
      services.push(second)
      const ended = outcome(second)
      await once(createInterface({ input: second.stderr }), "line")
      await until(
        () => storedRows(place),
        ({ rows }) => rows >= trades
      )
      const done = await until(
        () => repairing(place),
        ({ open, repaired }) => open === 0 && repaired > 0
      )
      assert.include(await toldInRing(place), `"dataset":"${dataset}"`)
      second.kill("SIGTERM")
      const { code, stderr } = await ended
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(await storedRows(place), { rows: trades, keys: trades }, stderr)
      assert.isAbove(Number(done.rows), 0)
      // The first one may have been quick enough to repair what the gateway left out.
      const log = killed.stderr + stderr
      for (const cause of ["slow-reader", "crash"]) assert.match(log, new RegExp(`gap: .*: ${cause};`))

      const { stdout } = await place.run(["coverage", "--schema", "trades", "--json"])
      const held = (JSON.parse(stdout).coverage as ReadonlyArray<Held>).filter(
        ({ state }) => state === "held"
      )
      assert.lengthOf(held, 20)
      for (const { ranges, symbol } of held) assert.lengthOf(ranges, 1, `${symbol} is held without a hole`)
    } finally {
      for (const service of services) service.kill("SIGKILL")
      await Effect.runPromise(Scope.close(scope, Exit.void))
      await place.close()
    }
  })
})

interface Held {
  readonly symbol: string
  readonly state: string
  readonly ranges: ReadonlyArray<unknown>
}
