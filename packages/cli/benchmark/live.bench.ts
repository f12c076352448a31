/**
 * What the live service costs a row between the provider's stream and the ring, and into the spool, as symbols grow. The
 * yardstick of the same interleaved rounds: the same batches straight into a ring. Processor time of all threads.
 *
 *     npm run bench -- cli/live
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  batchContext,
  Hub,
  HubPublication,
  HubSpool,
  type Instrument,
  LiveFeed,
  type Provider,
  type ProviderEvent,
  Spool,
  type TradeBatch,
  tradeBuilder
} from "@data-manager/core"
import { RingWriter, ShmPublication } from "@data-manager/transport-shm"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Fiber, Stream } from "effect"

const Rounds = 5
const folder = mkdtempSync(join(tmpdir(), "dm-live-bench-"))
const capacity = 1 << 18

const cpuNs = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1_000
}
const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!

const instrumentsOf = (symbols: number): ReadonlyMap<number, Instrument> =>
  new Map(
    Array.from({ length: symbols }, (_, i) => {
      const rawSymbol = `SYM${i}`
      const instrument: Instrument = {
        id: i + 1,
        provider: "bench",
        dataset: "BENCH",
        rawSymbol,
        symbol: `BENCH:${rawSymbol}`,
        priceScale: 2,
        sizeScale: 0,
        assetClass: "equity"
      }
      return [i + 1, instrument] as const
    })
  )

/** Batches whose rows go over the symbols as Zipf's law has it, roughly: the square of a uniform number. */
const tapeOf = (symbols: number, rows: number, batches: number): ReadonlyArray<TradeBatch> => {
  const context = batchContext({
    provider: "bench",
    dataset: "BENCH",
    instruments: instrumentsOf(symbols)
  })
  let time = 1_767_623_400_000_000_000n
  return Array.from({ length: batches }, (_, k) => {
    const builder = tradeBuilder(context, rows)
    for (let i = 0; i < rows; i++) {
      time += 500n
      builder.columns.tsEvent[i] = time
      builder.columns.tsRecv[i] = time + 200n
      builder.columns.tradeKey[i] = BigInt(k * rows + i) << 16n
      builder.columns.price[i] = 10_000n + BigInt(i % 50)
      builder.columns.priceExponent[i] = -2
      builder.columns.size[i] = BigInt(1 + (i % 90))
      builder.columns.instrument[i] = 1 + Math.floor(((i * 7919 + k * 104_729) % 1000) ** 2 % symbols)
      builder.columns.side[i] = 1
    }
    builder.length = rows
    return builder.flush()
  })
}

const providerOf = (tape: ReadonlyArray<TradeBatch>): Provider => {
  const events = tape.map((batch): ProviderEvent => ({ _tag: "Batch", batch }))
  const unused = Effect.die(new Error("not a part of the bench"))
  return {
    id: "bench",
    capabilities: {
      history: [],
      live: ["trades"],
      symbolTypes: ["raw_symbol"],
      replaySeconds: 0,
      consecutiveIds: false,
      billed: false,
      maxSymbols: 0,
      maxDays: 0,
      addSymbolsLive: false
    },
    history: () => Stream.die(new Error("not a part of the bench")),
    // As a socket gives them: one read, one batch.
    live: () => Stream.fromIterable(events, { chunkSize: 1 }).pipe(Stream.concat(Stream.never)),
    discover: () => Stream.empty,
    availableRange: () => unused,
    estimate: () => unused,
    health: Effect.succeed({ state: "healthy", reconnects: 0, detail: "" })
  }
}

const rowsOf = (tape: ReadonlyArray<TradeBatch>): number => tape.reduce((sum, { length }) => sum + length, 0)

let rings = 0

/** ns per row straight into a ring. */
const straight = (tape: ReadonlyArray<TradeBatch>): number => {
  rings += 1
  const writer = new RingWriter({ dir: folder, name: `straight${rings}`, capacity })
  const start = cpuNs()
  for (const batch of tape) writer.publish(batch)
  const took = cpuNs() - start
  writer.close()
  return took / rowsOf(tape)
}

/** ns per row from a provider's stream through feed and hub into a ring, and into a spool where there is to be one. */
const collected = (tape: ReadonlyArray<TradeBatch>, hasSpool: boolean) =>
  Effect.scoped(
    Effect.gen(function* () {
      rings += 1
      const { instruments } = tape[0]!.context
      const hub = Hub.make()
      if (hasSpool)
        yield* HubSpool.attach(
          hub,
          yield* Spool.make({ folder: join(folder, `spool${rings}`), maxBytes: 8e9, memoryBytes: 2e9 })
        )
      const publication = yield* ShmPublication.make({ dir: folder, name: `hub${rings}`, capacity })
      yield* HubPublication.attach(hub, publication, instruments)
      const feed = LiveFeed.make({
        provider: providerOf(tape),
        selection: { dataset: "BENCH", schema: "trades", stypeIn: "raw_symbol", symbols: ["ALL_SYMBOLS"] },
        hub,
        register: () => Effect.succeed([]),
        name: "bench"
      })
      const rows = BigInt(rowsOf(tape))
      const start = cpuNs()
      const fiber = yield* Effect.forkChild(feed.run)
      while (feed.status().rows < rows) yield* Effect.sleep("1 millis")
      const took = cpuNs() - start
      yield* Fiber.interrupt(fiber)
      return took / Number(rows)
    })
  )

const measure = Effect.gen(function* () {
  console.log(
    "symbols  rows per batch   ring alone   feed, hub, ring      with spool   (ns of processor time per row)"
  )
  for (const symbols of [200, 2_000, 20_000])
    for (const rows of [1, 32, 1_024]) {
      const tape = tapeOf(symbols, rows, Math.min(40_000, Math.ceil(2_000_000 / rows)))
      const times = { ring: [] as Array<number>, hub: [] as Array<number>, spool: [] as Array<number> }
      for (let round = 0; round <= Rounds; round++) {
        const each = {
          ring: straight(tape),
          hub: yield* collected(tape, false),
          spool: yield* collected(tape, true)
        }
        // The first round is the compiler's.
        if (round > 0) for (const name of ["ring", "hub", "spool"] as const) times[name].push(each[name])
      }
      const [ring, hub, spool] = [median(times.ring), median(times.hub), median(times.spool)]
      const beside = (value: number): string =>
        `${value.toFixed(0).padStart(9)}  ${(value / ring).toFixed(2)}x`
      console.log(
        `${String(symbols).padStart(7)} ${String(rows).padStart(15)} ${ring.toFixed(0).padStart(12)} ${beside(hub).padStart(17)} ${beside(spool).padStart(15)}`
      )
    }
})

await Effect.runPromise(measure.pipe(Effect.provide(NodeServices.layer)))
rmSync(folder, { recursive: true, force: true })
