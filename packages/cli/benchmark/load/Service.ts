/**
 * Live collection without a store, as a process of its own: Databento's live client -> feed -> hub -> ring, and a spool where
 * there is to be one. argv: the options as JSON. Says "ready", a line of JSON every second, and ends with a signal.
 */
import { Hub, HubPublication, HubSpool, LiveFeed, LocalInstruments, Spool } from "@data-manager/core"
import { DatabentoProvider, HistoricalClient } from "@data-manager/providers-databento"
import { ShmPublication } from "@data-manager/transport-shm"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Redacted, Schedule } from "effect"
import { FetchHttpClient } from "effect/http"

/** What it is told. */
export interface ServiceOptions {
  readonly port: number
  readonly key: string
  readonly dataset: string
  readonly dir: string
  readonly name: string
  readonly capacity: number
  /** Folder of a spool. */
  readonly spool?: string | undefined
}

/** What it says every second. */
export interface ServiceLine {
  readonly rows: number
  /** Monotonic, ms. */
  readonly at: number
  /** Processor time of all its threads since its start, ms. */
  readonly cpu: number
  readonly rss: number
  readonly dropped: number
}

process.stdin.on("close", () => process.exit(0)).resume()

const options: ServiceOptions = JSON.parse(process.argv[2]!)
const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`)

const program = Effect.gen(function* () {
  const { capacity, dataset, dir, key, name, port } = options
  const local = LocalInstruments.make()
  const historical = yield* HistoricalClient.make({ key: Redacted.make(key) })
  const provider = DatabentoProvider.make({
    historical,
    register: local.register,
    live: { apiKey: Redacted.make(key), address: { host: "127.0.0.1", port } }
  })
  const hub = Hub.make()
  const spooling =
    options.spool === undefined
      ? undefined
      : yield* HubSpool.attach(hub, yield* Spool.make({ folder: options.spool, maxBytes: 20e9 }))
  const publication = yield* ShmPublication.make({ dir, name, capacity })
  yield* HubPublication.attach(hub, publication, local.directory)
  const feed = LiveFeed.make({
    provider,
    hub,
    register: local.register,
    selection: { dataset, schema: "trades", stypeIn: "raw_symbol", symbols: ["ALL_SYMBOLS"] },
    name: "load"
  })
  yield* Effect.forkScoped(feed.run)
  say("ready")
  const line = Effect.sync(() => {
    const { system, user } = process.cpuUsage()
    const { rows } = feed.status()
    const dropped =
      Number(spooling?.dropped().overflow ?? 0n) + Number(spooling?.dropped()["disk-full"] ?? 0n)
    const all: ServiceLine = {
      rows: Number(rows),
      at: performance.now(),
      cpu: (user + system) / 1_000,
      rss: process.memoryUsage.rss(),
      dropped
    }
    say(all)
  })
  return yield* Effect.andThen(Effect.repeat(line, Schedule.spaced("1 second")), Effect.never)
})

const fiber = Effect.runFork(
  Effect.scoped(program).pipe(Effect.provide(FetchHttpClient.layer), Effect.provide(NodeServices.layer))
)
fiber.addObserver(() => process.exit(0))
process.on("SIGTERM", () => fiber.interruptUnsafe())
