/**
 * What the spool costs. Each figure stands beside a yardstick of the same interleaved run: plain writes of as many bytes to one
 * file, with the same time between two syncs. Files lie in `DM_BENCH_DIR`, else in the folder for temporary files.
 *
 *     npm run bench -- core/spool
 */
import { mkdtempSync, rmSync } from "node:fs"
import { type FileHandle, open } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { Effect, Layer, Stream } from "effect"
import { batchContext, type FeedEntry, Spool, SpoolFrame, tradeBuilder } from "../src/index.ts"

const Files = Layer.mergeAll(NodeFileSystem.layer, NodePath.layer)
const Rounds = 5
const SyncMillis = 20
const context = batchContext({ provider: "bench", dataset: "BENCH", venueOf: () => "XBEN" })

const entryOf = (rows: number): FeedEntry => {
  const builder = tradeBuilder(context, rows)
  for (let i = 0; i < rows; i++) {
    builder.words.tsEvent[2 * i] = i
    builder.words.tsEvent[2 * i + 1] = 400_000_000
    builder.words.price[2 * i] = i * 250
    builder.columns.instrument[i] = i % 2_000
    builder.columns.publisher[i] = 1 + (i % 3)
  }
  builder.length = rows
  return { _tag: "FeedRows", session: "bench/1", batch: builder.flush() }
}

interface Times {
  /** From the first append until everything is on disk, ms. */
  readonly synced: number
  /** Processor time in `append` alone, ms. */
  readonly append: number
  readonly read: number
  readonly plain: number
  readonly bytes: number
}

type OpenSpool = Spool.Spool["Service"]

/** Processor time of this process so far, ms: what it does with its own hands does not depend on who else is at work. */
const busy = (): number => {
  const { system, user } = process.cpuUsage()
  return (system + user) / 1_000
}

/** Appends all batches; lets other fibers work after every 64, as a socket does between two reads. */
const appendAll = (spool: OpenSpool, entry: FeedEntry, batches: number) =>
  Effect.gen(function* () {
    let inAppend = 0
    for (let done = 0; done < batches; ) {
      const started = busy()
      const until = Math.min(batches, done + 64)
      for (; done < until; done++) {
        const appended = yield* spool.append(entry)
        if (appended._tag === "Dropped") throw new Error(`dropped: ${appended.cause}`)
      }
      inAppend += busy() - started
      yield* Effect.yieldNow
    }
    return inAppend
  })

const spoolTimes = (folder: string, entry: FeedEntry, batches: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const spool = yield* Spool.make({
        folder,
        maxBytes: 4e9,
        memoryBytes: 1e9,
        fsyncInterval: SyncMillis
      })
      const started = performance.now()
      const append = yield* appendAll(spool, entry, batches)
      yield* spool.flush
      const synced = performance.now() - started
      const reading = performance.now()
      yield* Stream.runDrain(Stream.take(spool.read(1n), batches))
      const read = performance.now() - reading
      return { synced, append, read, bytes: (yield* spool.depth).bytes }
    })
  ).pipe(Effect.provide(Files))

/** As many bytes in pieces of a megabyte, or of a batch where that is larger. */
const plainWrite = async (folder: string, bytes: number): Promise<number> => {
  const file: FileHandle = await open(join(folder, "plain"), "w")
  const piece = new Uint8Array(1 << 20).fill(1)
  const started = performance.now()
  let syncedAt = started
  for (let written = 0; written < bytes; written += piece.length) {
    await file.write(piece, 0, Math.min(piece.length, bytes - written))
    if (performance.now() - syncedAt < SyncMillis) continue
    await file.sync()
    syncedAt = performance.now()
  }
  await file.sync()
  const took = performance.now() - started
  await file.close()
  return took
}

const round = async (rows: number, batches: number): Promise<Times> => {
  const folder = mkdtempSync(join(process.env.DM_BENCH_DIR ?? tmpdir(), "dm-spool-bench-"))
  try {
    const times = await Effect.runPromise(spoolTimes(join(folder, "spool"), entryOf(rows), batches))
    return { ...times, plain: await plainWrite(folder, times.bytes) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Encoding into memory and decoding, without a file. */
const codec = (rows: number, batches: number) => {
  const entry = entryOf(rows)
  const encoder = new SpoolFrame.FrameEncoder()
  const decoder = new SpoolFrame.FrameDecoder()
  const memory = SpoolFrame.FrameMemory.allocate(encoder.measure(entry))
  let started = busy()
  for (let i = 0; i < batches; i++) {
    encoder.measure(entry)
    encoder.write(memory, 0, 1n, 1n)
  }
  const encode = busy() - started
  started = busy()
  let found = 0
  for (let i = 0; i < batches; i++) {
    const header = SpoolFrame.inspect(memory, 0, memory.length)
    if (typeof header !== "string") found += decoder.decode(memory, 0, header)._tag.length
  }
  if (found === 0) throw new Error("nothing was decoded")
  return { encode, decode: busy() - started }
}

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

const cases = [
  { rows: 1, batches: 20_000 },
  { rows: 100, batches: 4_000 },
  { rows: 1_024, batches: 1_000 },
  { rows: 65_536, batches: 20 }
] as const

console.log(
  `\nsync every ${SyncMillis} ms; plain: as many bytes in pieces of 1 MiB; us: processor time a batch; medians of ${Rounds} rounds\n`
)
console.log(
  "rows/batch    MB   synced rows/s    read rows/s   us/append  us/encode  us/decode   synced:plain   read:plain"
)
for (const { rows, batches } of cases) {
  const times: Array<Times & { readonly encode: number; readonly decode: number }> = []
  for (let i = -1; i < Rounds; i++) {
    const all = { ...(await round(rows, batches)), ...codec(rows, batches) }
    if (i >= 0) times.push(all)
  }
  const of = (value: (each: (typeof times)[number]) => number): number => median(times.map(value))
  const perSecond = (millis: number) => Math.round((rows * batches * 1_000) / millis).toLocaleString("en")
  const micros = (millis: number) => ((millis * 1_000) / batches).toFixed(2)
  console.log(
    `${String(rows).padStart(10)} ${(times[0]!.bytes / 1e6).toFixed(0).padStart(5)}` +
      `${perSecond(of((each) => each.synced)).padStart(16)}${perSecond(of((each) => each.read)).padStart(15)}` +
      `${micros(of((each) => each.append)).padStart(12)}${micros(of((each) => each.encode)).padStart(11)}` +
      `${micros(of((each) => each.decode)).padStart(11)}` +
      `${of((each) => each.synced / each.plain)
        .toFixed(2)
        .padStart(14)}x` +
      `${of((each) => each.read / each.plain)
        .toFixed(2)
        .padStart(12)}x`
  )
}
