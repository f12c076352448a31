/**
 * What `get_range` costs. First its time: the client takes two million trades from the simulator in another process, beside
 * decompressing and decoding the bytes of the same reply from memory. Then its memory: a service in one process streams a
 * reply of gigabytes to a client in another, which tells the most that was resident.
 *
 *     npm run bench -- databento/history [-- --gigabytes=10]
 *
 * Times are processor time of the thread that reads: the clock would also count waiting for a simulator that compresses.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { batchContext, LocalInstruments, type MarketBatch, UnixNanos } from "@data-manager/core"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Effect, Logger, Redacted, Stream } from "effect"
import { build } from "tsup"
import { DbnBatches } from "../src/DbnBatches.ts"
import { DbnDecoder, zstdFrame } from "../src/dbn/index.ts"
import { HistoricalClient } from "../src/historical/HistoricalClient.ts"
import type { DataRequest } from "../src/historical/HistoricalRequest.ts"
import { CatalogueBuilder } from "../src/simulator/Catalogue.ts"
import { DatabentoSimulator, SIMULATOR_KEY } from "../src/simulator/DatabentoSimulator.ts"
import { SyntheticMarket } from "../src/simulator/SyntheticMarket.ts"

const flag = (name: string, fallback: string): string =>
  process.argv.find((argument) => argument.startsWith(`--${name}=`))?.slice(name.length + 3) ?? fallback

const Rows = 2_000_000
const Rounds = 5
const RecordBytes = 48
/** Bytes of records per zstd frame of the long reply. */
const FrameBytes = RecordBytes * 21_845
const gigabytes = Number(flag("gigabytes", "2"))
const market = new SyntheticMarket({ trades: Rows })
const request: DataRequest = {
  dataset: "DBEQ.BASIC",
  symbols: market.instruments.map(({ symbol }) => symbol),
  schema: "trades",
  range: { start: UnixNanos.parse("2026-01-05")!, end: UnixNanos.parse("2026-01-06")! }
}

// ---------------------------------------------------------------------------------------------------------------------
// The other processes: each tells its port, then serves

const simulator = Effect.gen(function* () {
  const catalogue = new CatalogueBuilder().addSynthetic(market).build()
  const { http } = yield* DatabentoSimulator.make({ catalogue })
  process.send?.(http.port)
  return yield* Effect.never
}).pipe(Effect.scoped)

/** A reply of so many bytes of DBN: the frames of a day, as often as it takes. */
const longReply = async (): Promise<void> => {
  const file = Buffer.concat([...market.tradeFile()])
  const start = file.length - Rows * RecordBytes
  const frames: Array<Uint8Array> = []
  for (let at = start; at < file.length; at += FrameBytes)
    frames.push(zstdFrame(file.subarray(at, at + FrameBytes), { level: 1 }))
  const server = createServer(async (incoming, response) => {
    incoming.resume()
    await once(incoming, "end")
    let wire = 0
    const write = async (bytes: Uint8Array): Promise<void> => {
      wire += bytes.length
      if (!response.write(bytes) && !response.destroyed) await once(response, "drain")
    }
    await write(zstdFrame(file.subarray(0, start)))
    for (let sent = 0, i = 0; sent < gigabytes * 1e9 && !response.destroyed; i++) {
      await write(frames[i % frames.length]!)
      sent += i % frames.length === frames.length - 1 ? (Rows * RecordBytes) % FrameBytes : FrameBytes
    }
    response.end()
    process.send?.(wire)
  })
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port))
}

// ---------------------------------------------------------------------------------------------------------------------
// Reading

const fetchAll = (port: number, onBatch: (batch: MarketBatch) => void): Promise<void> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const { timeseries } = yield* HistoricalClient.make({
        key: Redacted.make(SIMULATOR_KEY),
        baseUrl: `http://127.0.0.1:${port}`
      })
      const { register } = LocalInstruments.make()
      yield* Stream.runForEach(timeseries.batches(request, { register }), (event) =>
        Effect.sync(() => event._tag === "Batch" && onBatch(event.batch))
      )
    }).pipe(Effect.provide(NodeHttpClient.layerUndici), Effect.provide(Logger.layer([])))
  )

/** The reply's own bytes, as the transport cut them. */
const replyOf = (port: number): Promise<ReadonlyArray<Uint8Array>> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const { timeseries } = yield* HistoricalClient.make({
        key: Redacted.make(SIMULATOR_KEY),
        baseUrl: `http://127.0.0.1:${port}`
      })
      const reply = yield* timeseries.open(request)
      return yield* Stream.runCollect(Stream.map(reply.value, (bytes) => bytes.slice()))
    }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  )

/** Takes a reply and throws it away: what the transport alone costs. */
const drain = (port: number): Promise<void> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const { timeseries } = yield* HistoricalClient.make({
        key: Redacted.make(SIMULATOR_KEY),
        baseUrl: `http://127.0.0.1:${port}`
      })
      yield* Stream.runDrain((yield* timeseries.open(request)).value)
    }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  )

/** Decompresses and decodes bytes in memory into the same batches. */
const decodeAlone = (chunks: ReadonlyArray<Uint8Array>, onBatch: (batch: MarketBatch) => void): void => {
  const decoder = new DbnDecoder({ upgrade: 3 })
  const batches = new DbnBatches({
    context: batchContext({ provider: "databento", dataset: request.dataset })
  })
  const take = (): void => {
    for (let block = decoder.take(); block !== undefined; block = decoder.take()) batches.add(block, onBatch)
  }
  for (const chunk of chunks) {
    decoder.push(chunk)
    take()
  }
  decoder.end()
  take()
  batches.flush(onBatch)
  decoder.close()
}

// ---------------------------------------------------------------------------------------------------------------------
// Measuring

const folder = mkdtempSync(join(tmpdir(), "dm-history-"))
const children: Array<ChildProcess> = []
const start = (role: string, ...more: ReadonlyArray<string>): ChildProcess => {
  const args = [...process.execArgv, import.meta.filename, `--role=${role}`, ...more]
  return spawned(args)
}

const spawned = (args: ReadonlyArray<string>): ChildProcess => {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  children.push(child)
  return child
}
const said = async (child: ChildProcess): Promise<unknown> => (await once(child, "message"))[0]

const cpuMillis = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

const timed = async (work: (onBatch: (batch: MarketBatch) => void) => Promise<void> | void) => {
  globalThis.gc?.()
  let rows = 0
  const from = cpuMillis()
  await work((batch) => {
    rows += batch.length
  })
  if (rows !== Rows && rows !== 0) throw new Error(`${rows} rows came, ${Rows} were served`)
  return cpuMillis() - from
}

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1]!

const check = (what: string, value: number, unit: string, most: number): void => {
  const isMet = value <= most
  console.log(
    `${what.padEnd(60)} ${value.toFixed(2).padStart(8)} ${unit} (at most ${most}) ${isMet ? "ok" : "MISSED"}`
  )
  if (!isMet) process.exitCode = 1
}

const measureTime = async (): Promise<void> => {
  const port = Number(await said(start("simulator")))
  const chunks = await replyOf(port)
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  const fetching: Array<number> = []
  const decoding: Array<number> = []
  const draining: Array<number> = []
  // The first two warm the compiler.
  for (let round = -2; round < Rounds; round++) {
    const fetched = await timed((onBatch) => fetchAll(port, onBatch))
    const decoded = await timed((onBatch) => decodeAlone(chunks, onBatch))
    const drained = await timed(() => drain(port))
    if (round < 0) continue
    draining.push(drained)
    fetching.push(fetched)
    decoding.push(decoded)
  }
  const rate = (millis: number): string => `${(Rows / millis / 1000).toFixed(1)} M trades/s`
  console.log(
    `${Rows.toLocaleString("en")} trades, ${(bytes / 1e6).toFixed(0)} MB of zstd, medians of ${Rounds} interleaved rounds: ` +
      `get_range ${rate(median(fetching))}, decompress and decode alone ${rate(median(decoding))}`
  )
  console.log(
    `taking the reply and throwing it away: ${median(draining.map((t, i) => t / decoding[i]!)).toFixed(2)}x of decompress and decode alone; ` +
      `get_range is ${median(fetching.map((t, i) => t / (decoding[i]! + draining[i]!))).toFixed(2)}x of both together`
  )
  check(
    "get_range: times decompress and decode alone",
    median(fetching.map((t, i) => t / decoding[i]!)),
    "x",
    1.3
  )
}

/** The reading program as one bundle, as `dm` is: from its sources, the compiler of the types would be measured as well. */
const bundledReader = async (): Promise<string> => {
  await build({
    config: false,
    entry: { reader: join(import.meta.dirname, "HistoryReader.ts") },
    outDir: folder,
    format: ["esm"],
    platform: "node",
    target: "node22",
    noExternal: [/./],
    silent: true,
    clean: false,
    esbuildOptions: (options) => {
      options.conditions = ["source"]
    }
  })
  return join(folder, "reader.js")
}

const measureMemory = async (): Promise<void> => {
  const service = start("long", `--gigabytes=${gigabytes}`)
  const port = Number(await said(service))
  const wire = said(service)
  const from = performance.now()
  // Started as `dm` starts itself.
  const client = spawned(["--max-semi-space-size=8", await bundledReader(), String(port)])
  const { rows, before, peak } = (await said(client)) as { rows: number; before: number; peak: number }
  const seconds = (performance.now() - from) / 1000
  if (rows * RecordBytes < gigabytes * 1e9) throw new Error(`${rows} rows came`)
  console.log(
    `a reply of ${((rows * RecordBytes) / 1e9).toFixed(1)} GB of DBN (${(Number(await wire) / 1e9).toFixed(1)} GB of zstd), ` +
      `${rows.toLocaleString("en")} trades in ${seconds.toFixed(0)} s; the client's program alone takes ${before.toFixed(0)} MB`
  )
  check("resident memory of the reading process, at its most", peak, "MB", 200)
}

const role = flag("role", "")
if (role === "simulator") await Effect.runPromise(simulator)
else if (role === "long") await longReply()
else {
  try {
    await measureTime()
    await measureMemory()
  } finally {
    for (const child of children) child.kill()
    rmSync(folder, { recursive: true, force: true })
  }
  process.exit()
}
