import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import {
  type AppendClaim,
  batchContext,
  type Coverage,
  type FileEvent,
  type FileHeader,
  FileImport,
  type FileSource,
  MarketStore,
  ProviderBadRequest,
  ProviderError,
  ProviderTruncated,
  StoreError,
  StoreUnavailable,
  type TradeBatch,
  tradeBuilder
} from "../src/index.ts"
import { capabilities } from "./StoreCapabilities.ts"

const batchOf = (rows: number): TradeBatch => {
  const builder = tradeBuilder(batchContext({ provider: "test", dataset: "TEST" }), rows)
  builder.length = rows
  return builder.flush()
}

const claim: Coverage.CoverageClaim = {
  instrument: 1,
  schema: "trades",
  range: { start: 0n, end: 1_000_000n }
}

const failure = (path: string, truncated: boolean): ProviderError =>
  new ProviderError({
    provider: "test",
    operation: `read ${path}`,
    reason: truncated
      ? new ProviderTruncated({ detail: "cut" })
      : new ProviderBadRequest({ detail: "no such file" })
  })

interface FileOptions {
  readonly batches?: ReadonlyArray<number>
  readonly coverage?: ReadonlyArray<Coverage.CoverageClaim>
  readonly missing?: boolean
  readonly truncated?: boolean
  readonly definitions?: boolean
  readonly fingerprint?: string
}

const fileOf = (path: string, options: FileOptions = {}): FileSource => {
  const { batches = [3, 2, 1], coverage = [claim], missing, truncated, definitions = false } = options
  const header: FileHeader = {
    provider: "test",
    dataset: "TEST",
    content: "trades",
    schema: "trades",
    isDefinitions: definitions
  }
  const events: ReadonlyArray<FileEvent> = [
    ...batches.map(
      (rows, i): FileEvent => ({ _tag: "Batch", batch: batchOf(rows), bytesRead: 10 * (i + 1) })
    ),
    {
      _tag: "End",
      records: batches.reduce((a, b) => a + b, 0),
      definitions: 0,
      notStored: new Map(),
      coverage,
      notes: [],
      failure: truncated === true ? failure(path, true) : undefined
    }
  ]
  return {
    path,
    bytes: 100,
    header: missing === true ? Effect.fail(failure(path, false)) : Effect.succeed(header),
    fingerprint: Effect.succeed(options.fingerprint ?? path),
    events: () => Stream.fromIterable(events)
  }
}

interface Run {
  readonly id: bigint
  segments: Array<{ rows: number; coverage: number }>
  complete: boolean
}

/** A ledger in memory; `fail` decides which appends the database refuses, `hang` which never answer. */
const setup = (
  options: { fail?: (claim: AppendClaim) => boolean; hang?: (claim: AppendClaim) => boolean } = {}
) => {
  const runs = new Map<string, Run>()
  const claimed: Array<Coverage.CoverageClaim> = []
  const order: Array<string> = []
  const runOf = (id: bigint): Run => [...runs.values()].find((run) => run.id === id)!
  const layer = Layer.mock(MarketStore)({
    capabilities,
    beginRun: ({ fingerprint, source }) =>
      Effect.sync(() => {
        order.push(source)
        const key = fingerprint ?? `${source} ${runs.size}`
        const run = runs.get(key) ?? { id: BigInt(runs.size + 1), segments: [], complete: false }
        runs.set(key, run)
        const rows = run.segments.reduce((n, segment) => n + BigInt(segment.rows), 0n)
        return {
          id: run.id,
          nextSegment: run.segments.length,
          completedAt: run.complete ? 1n : undefined,
          rows
        }
      }),
    append: (batch, claim) =>
      Effect.suspend(() => {
        if (options.hang?.(claim) === true) return Effect.never
        if (options.fail?.(claim) === true)
          return Effect.fail(
            new StoreError({
              operation: "append",
              reason: new StoreUnavailable({ detail: "away", hint: "" })
            })
          )
        const run = runOf(claim.run)
        assert.strictEqual(claim.segment, run.segments.length)
        run.segments.push({ rows: batch.length, coverage: claim.coverage?.length ?? 0 })
        return Effect.succeed({ inserted: batch.length, duplicates: 0, conflicts: 0, skipped: false })
      }),
    claimCoverage: (claims) => Effect.sync(() => void claimed.push(...claims)),
    completeRun: (id) =>
      Effect.sync(() => {
        runOf(id).complete = true
      }),
    registerListings: () => Effect.succeed([])
  })
  return { runs, claimed, order, layer }
}

const summaries = (events: ReadonlyArray<FileImport.ImportEvent>) =>
  events.flatMap((event) => (event._tag === "FileDone" || event._tag === "FileFailed" ? [event] : []))

const importAll = (
  layer: Layer.Layer<MarketStore>,
  files: ReadonlyArray<FileSource>,
  options?: FileImport.ImportOptions
) => Effect.map(Effect.provide(Stream.runCollect(FileImport.run(files, options)), layer), summaries)

describe("FileImport", () => {
  it.effect("commits batches in order and claims coverage with the last one alone", () => {
    const { layer, runs, claimed } = setup()
    return Effect.gen(function* () {
      const [done] = yield* importAll(layer, [fileOf("a")])
      assert.strictEqual(done?._tag, "FileDone")
      assert.strictEqual(done?.summary.inserted, 6)
      assert.deepStrictEqual(runs.get("a"), {
        id: 1n,
        segments: [
          { rows: 3, coverage: 0 },
          { rows: 2, coverage: 0 },
          { rows: 1, coverage: 1 }
        ],
        complete: true
      })
      assert.deepStrictEqual(claimed, [])
    })
  })

  it.effect("claims the coverage of a file without rows", () => {
    const { layer, claimed, runs } = setup()
    return Effect.gen(function* () {
      yield* importAll(layer, [fileOf("empty", { batches: [] })])
      assert.deepStrictEqual(claimed, [claim])
      assert.isTrue(runs.get("empty")?.complete)
    })
  })

  it.effect("answers a complete file from the ledger, unless asked to read it again", () => {
    const { layer, runs } = setup()
    return Effect.gen(function* () {
      yield* importAll(layer, [fileOf("a")])
      const [again] = yield* importAll(layer, [fileOf("copy", { fingerprint: "a" })])
      assert.isTrue(again?.summary.alreadyImported)
      assert.strictEqual(again?.summary.inserted, 0)
      const [forced] = yield* importAll(layer, [fileOf("a")], { again: true })
      assert.strictEqual(forced?.summary.inserted, 6)
      assert.strictEqual(runs.size, 2)
    })
  })

  it.effect("continues behind the last committed segment, and claims what the broken run could not", () => {
    const broken = (segment: number) => {
      let away = true
      const { layer, runs, claimed } = setup({ fail: (claim) => away && claim.segment === segment })
      return Effect.gen(function* () {
        const [failed] = yield* importAll(layer, [fileOf("a")])
        assert.strictEqual(failed?._tag, "FileFailed")
        assert.isFalse(runs.get("a")?.complete)
        away = false
        const [done] = yield* importAll(layer, [fileOf("a")])
        assert.strictEqual(done?._tag, "FileDone")
        assert.strictEqual(done!.summary.resumed, [0, 3, 5][segment])
        assert.strictEqual(done!.summary.inserted + done!.summary.resumed, 6)
        assert.deepStrictEqual(
          runs.get("a")?.segments.map(({ rows }) => rows),
          [3, 2, 1]
        )
        assert.strictEqual(runs.get("a")!.segments.at(-1)!.coverage + claimed.length, 1)
      })
    }
    return Effect.forEach([0, 1, 2], broken, { discard: true })
  })

  it.effect("claims again where every segment was committed but the run was not completed", () => {
    const { layer, runs, claimed } = setup()
    return Effect.gen(function* () {
      yield* importAll(layer, [fileOf("a")])
      runs.get("a")!.complete = false
      const [done] = yield* importAll(layer, [fileOf("a")])
      assert.strictEqual(done?.summary.resumed, 6)
      assert.deepStrictEqual(claimed, [claim])
      assert.isTrue(runs.get("a")?.complete)
    })
  })

  it.effect("reports a file that cannot be read, keeps what a truncated one held, and goes on", () => {
    const { layer, runs } = setup()
    return Effect.gen(function* () {
      const results = yield* importAll(layer, [
        fileOf("missing", { missing: true }),
        fileOf("cut", { truncated: true, coverage: [] }),
        fileOf("good")
      ])
      assert.deepStrictEqual(
        results.map((event) => [event.summary.path, event._tag, event.summary.inserted]),
        [
          ["missing", "FileFailed", 0],
          ["cut", "FileFailed", 6],
          ["good", "FileDone", 6]
        ]
      )
      assert.isFalse(runs.get("cut")?.complete)
    })
  })

  it.effect("imports definitions before everything else", () => {
    const { layer, order } = setup()
    return Effect.gen(function* () {
      yield* importAll(layer, [fileOf("a"), fileOf("b", { definitions: true }), fileOf("c")])
      assert.deepStrictEqual(order, ["b", "a", "c"])
    })
  })

  it.live("leaves nothing claimed and no run complete when it is interrupted", () => {
    const { layer, runs, claimed } = setup({ hang: ({ segment }) => segment === 1 })
    return Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(importAll(layer, [fileOf("a")]), { startImmediately: true })
      yield* Effect.sleep("20 millis")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(runs.get("a")?.segments, [{ rows: 3, coverage: 0 }])
      assert.isFalse(runs.get("a")?.complete)
      assert.deepStrictEqual(claimed, [])
    })
  })
})
