/**
 * One strategy, three ways to run it: with the service in its own process, attached to a service on this host, and as a backtest.
 * The strategy is the same file each time, one layer differs, and so do not its signals.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { LiveService, MarketData } from "@data-manager/core"
import { ShmSubscription } from "@data-manager/transport-shm"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { serviceLayer, storeLayer } from "./service.ts"
import { day, strategy } from "./strategy.ts"

const folder = (name: string): string => {
  const path = join(process.env.DM_DATA_DIR ?? "./data", name)
  mkdirSync(path, { recursive: true })
  return path
}

/** The service runs in this process; the strategy gets its rows from memory. */
const embedded = (dataDir: string) =>
  MarketData.layer.pipe(
    Layer.provide(LiveService.subscription()),
    Layer.provide(serviceLayer(dataDir)),
    Layer.provide(storeLayer(dataDir))
  )

/** The service is another process; its rows come through the ring, and what was before from its database. */
const attached = (dataDir: string, ring: string) =>
  MarketData.layer.pipe(
    Layer.provide(ShmSubscription.layer({ name: ring, dir: dataDir })),
    Layer.provide(storeLayer(dataDir))
  )

/** Nothing is live: the day comes from the database. */
const backtest = (dataDir: string) => MarketData.layerStored(day).pipe(Layer.provide(storeLayer(dataDir)))

/** A service in a process of its own, for the scope. */
const daemon = (dataDir: string, ring: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const child = spawn(
        process.execPath,
        [...process.execArgv, join(import.meta.dirname, "daemon.ts"), dataDir, ring],
        { stdio: ["ignore", "pipe", "inherit"] }
      )
      await once(child.stdout, "data")
      return child
    }),
    (child) =>
      Effect.promise(async () => {
        child.kill("SIGTERM")
        if (child.exitCode === null) await once(child, "exit")
      })
  )

const program = Effect.gen(function* () {
  const own = yield* Effect.provide(strategy, embedded(folder("own")))
  yield* Console.log(`with its own service: ${own.length} signals, the last ${own.at(-1)}`)

  const shared = folder("shared")
  const ring = `example_${process.pid}`
  const other = yield* Effect.scoped(
    Effect.andThen(daemon(shared, ring), Effect.provide(strategy, attached(shared, ring)))
  )
  yield* Console.log(`attached to a service: ${other.length} signals, the last ${other.at(-1)}`)

  const past = yield* Effect.provide(strategy, backtest(shared))
  yield* Console.log(`as a backtest: ${past.length} signals, the last ${past.at(-1)}`)

  const same = own.join() === other.join() && own.join() === past.join()
  yield* Console.log(same ? "the same signals, three times" : "the signals differ")
  if (!same) process.exitCode = 1
})

NodeRuntime.runMain(program)
