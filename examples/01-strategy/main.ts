/**
 * A strategy on stored data: batches of columns and a plain loop, no Effect per trade. The first run makes a synthetic day
 * and stores it; later runs find it in the store.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { FileImport, InstrumentRegistry, MarketStore, UnixNanos } from "@data-manager/core"
import { dbnFile } from "@data-manager/providers-databento"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { TimescaleStore } from "@data-manager/storage-timescale"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Effect, Layer, Stream } from "effect"

const market = new SyntheticMarket({ symbols: 20, trades: 100_000 })
const day = { start: UnixNanos.parse("2026-01-05")!, end: UnixNanos.parse("2026-01-06")! }

/** Writes the day as a DBN file, imports it, and removes the file. */
const storeTheDay = Effect.scoped(
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "strategy-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    const path = join(folder, "trades.dbn")
    yield* Effect.sync(() => {
      for (const chunk of market.tradeFile()) writeFileSync(path, chunk, { flag: "a" })
    })
    yield* Stream.runForEach(FileImport.run([dbnFile(path, 0)]), (event) =>
      event._tag === "FileFailed" ? Effect.fail(event.error) : Effect.void
    )
  })
)

/** Crossings of two moving averages, weighted by size. */
class Crossings {
  fast = Number.NaN
  slow = Number.NaN
  crossings = 0
  trades = 0

  update(price: number): void {
    const before = this.fast > this.slow
    this.fast = Number.isNaN(this.fast) ? price : this.fast + (price - this.fast) / 20
    this.slow = Number.isNaN(this.slow) ? price : this.slow + (price - this.slow) / 200
    this.trades += 1
    if (this.trades > 200 && this.fast > this.slow !== before) this.crossings += 1
  }
}

const strategy = Effect.gen(function* () {
  yield* storeTheDay
  const store = yield* MarketStore
  const registry = yield* InstrumentRegistry
  const first = market.instruments[0]!
  const instrument = yield* registry.resolve(`${market.dataset}:${first.symbol}`, day)
  const signal = new Crossings()
  yield* store.readTrades({ instruments: [instrument.id], range: day }).pipe(
    Stream.runForEach((batch) =>
      Effect.sync(() => {
        for (let i = 0; i < batch.length; i++) signal.update(batch.priceAt(i))
      })
    )
  )
  yield* Console.log(`${instrument.symbol}: ${signal.trades} trades, ${signal.crossings} crossings`)
})

const Store = TimescaleStore.layerEmbedded({ dataDir: process.env.DM_DATA_DIR ?? "./data" })
const Live = InstrumentRegistry.layer.pipe(Layer.provideMerge(Store), Layer.provideMerge(NodeServices.layer))

NodeRuntime.runMain(strategy.pipe(Effect.provide(Live)))
