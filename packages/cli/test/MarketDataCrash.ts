/** A strategy on `MarketData` beside a service that is killed with -9 and started again: it sees every trade once. */
import { once } from "node:events"
import { createInterface } from "node:readline"
import { InstrumentRegistry, MarketData, type MarketEvent, MarketStore } from "@data-manager/core"
import { TimescaleStore } from "@data-manager/storage-timescale"
import { ShmSubscription } from "@data-manager/transport-shm"
import { Effect, Fiber, Layer, Schedule, Stream } from "effect"
import { assert } from "vitest"
import { outcome, Workplace } from "./Dm.ts"
import { startSimulator, writeConfig } from "./StartCrash.ts"

const sleep = (millis: number): Promise<void> => new Promise((done) => setTimeout(done, millis))

/** What a strategy saw: keys by symbol and time, and what it was told beside rows. */
class Seen {
  readonly rows = new Map<string, number>()
  readonly told: Array<string> = []
  count = 0
  /** Rows before `Live`. */
  stored = 0
  isLive = false

  readonly take = (event: MarketEvent): void => {
    if (event._tag !== "Batch") {
      if (event._tag === "Live") this.isLive = true
      this.told.push(event._tag)
      return
    }
    const { batch } = event
    if (batch._tag !== "TradeBatch") return
    for (let i = 0; i < batch.length; i++) {
      const key = `${batch.columns.instrument[i]} ${batch.columns.tsEvent[i]} ${batch.columns.tradeKey[i]}`
      this.rows.set(key, (this.rows.get(key) ?? 0) + 1)
    }
    this.count += batch.length
    if (!this.isLive) this.stored += batch.length
  }

  get repeated(): number {
    return [...this.rows.values()].filter((times) => times > 1).length
  }
}

/** Kills the service `kills` times while a strategy that began in the middle follows it. */
export const followThroughCrashes = async (kills: number, trades: number, rate: number): Promise<void> => {
  const place = new Workplace()
  const ring = `follow_${process.pid}`
  const simulator = await startSimulator(place, trades, rate)
  try {
    assert.strictEqual((await place.run(["migrate", "--up"])).code, 0)
    writeConfig(place, simulator, ring)
    const env = { DATABENTO_API_KEY: simulator.key }
    const start = async () => {
      const service = place.start(["start"], { env })
      const ended = outcome(service)
      await once(createInterface({ input: service.stderr }), "line")
      return { service, ended }
    }
    let running = await start()
    await sleep(700)
    const store = TimescaleStore.layerEmbedded({ dataDir: place.dataDir, maxConnections: 4 })
    const layer = MarketData.layer.pipe(
      Layer.provide(ShmSubscription.layer({ name: ring, dir: place.path("ring") })),
      Layer.provideMerge(InstrumentRegistry.layer.pipe(Layer.provideMerge(store)))
    )
    const seen = new Seen()
    const following = Effect.gen(function* () {
      const data = yield* MarketData
      const fiber = yield* Effect.forkScoped(
        Stream.runForEach(data.subscribe({ symbols: ["ALL_SYMBOLS"], from: 0n }), (event) =>
          Effect.sync(() => seen.take(event))
        )
      )
      for (let i = 0; i < kills; i++)
        yield* Effect.promise(async () => {
          await sleep(300 + Math.random() * 1500)
          running.service.kill("SIGKILL")
          assert.strictEqual((await running.ended).signal, "SIGKILL")
          running = await start()
        })
      yield* Effect.repeat(Effect.void, {
        until: () => seen.count >= trades || fiber.pollUnsafe() !== undefined,
        schedule: Schedule.spaced("50 millis")
      }).pipe(Effect.timeout("90 seconds"))
      yield* Effect.sleep("300 millis")
      if (fiber.pollUnsafe() !== undefined) yield* Fiber.join(fiber)
      const known = yield* (yield* MarketStore).statistics
      return known.tables.length
    })
    await Effect.runPromise(Effect.scoped(Effect.provide(following, layer)))
    running.service.kill("SIGTERM")
    const { stderr } = await running.ended
    assert.deepStrictEqual([seen.rows.size, seen.repeated], [trades, 0], `${seen.told.join()}\n${stderr}`)
    assert.include(seen.told, "Live")
    assert.notInclude(seen.told, "Lost")
    assert.isAtLeast(seen.told.filter((tag) => tag === "ProducerRestarted").length, kills)
  } finally {
    simulator.process.kill("SIGTERM")
    await place.close()
  }
}
