// Stretches of replay in a ring: where they begin and end, over generations, segments and crashes, for readers that come at any
// time.
import { execFileSync } from "node:child_process"
import { join } from "node:path"
import {
  type BatchContext,
  Publication,
  type ReplayMark,
  replayMarker,
  type SubscriptionEvent
} from "@data-manager/core"
import { Context, Effect, Layer, Scope } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { RingReader, type RingReaderOptions } from "../src/RingReader.ts"
import { RingWriter, type RingWriterOptions } from "../src/RingWriter.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { PublicationProcess } from "./process/RemotePublication.ts"
import { testDirectory } from "./process/TestProcess.ts"
import { contextOf, trades } from "./TestBatch.ts"

beforeEach(needsAddon)

const place = { dir: "", remove: () => {} }
beforeEach(() => Object.assign(place, testDirectory()))
afterEach(() => place.remove())

const symbols = 4
const context = contextOf(symbols)
const markOf = (n: number): ReplayMark => ({
  cause: n % 2 === 0 ? "window" : "reload",
  range: { start: BigInt(n), end: BigInt(n + 1) },
  speed: n / 4
})

const open = (options: Partial<RingWriterOptions> = {}) =>
  new RingWriter({ dir: place.dir, name: "t", capacity: 1 << 14, ...options })

/** Publishes so many rows behind those that are there; a mark makes them a replay. */
const publish = (writer: RingWriter, rows: number, mark?: ReplayMark, of: BatchContext = context): void => {
  const batch = trades(of, symbols, writer.position, rows)
  writer.publish(mark === undefined ? batch : replayMarker(mark)(batch))
}

/** What a reader is given: runs of rows, with the number of their replay, or "live". */
const runs = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<readonly [string, number]> =>
  events.flatMap((event) => {
    if (event._tag !== "Batch") return []
    const { replay } = event.batch.context
    return [
      [replay === undefined ? "live" : `${replay.cause} ${replay.range.start}`, event.batch.length] as const
    ]
  })

const readAll = (options: Partial<RingReaderOptions> = {}): ReadonlyArray<SubscriptionEvent> => {
  const reader = new RingReader({
    dir: place.dir,
    name: "t",
    start: { _tag: "Sequence", sequence: 0n },
    ...options
  })
  const events: Array<SubscriptionEvent> = []
  for (let empty = 0; empty < 2; ) {
    const some = reader.poll(8_192)
    empty = some.length === 0 ? empty + 1 : 0
    events.push(...some)
  }
  reader.close()
  return events
}

describe("a stretch of replay", { timeout: 120_000 }, () => {
  it("begins and ends between two rows, for readers that follow and for those that come later", () => {
    const writer = open()
    const follower = new RingReader({ dir: place.dir, name: "t" })
    publish(writer, 10)
    publish(writer, 5, markOf(1))
    publish(writer, 6, markOf(2))
    publish(writer, 7)
    publish(writer, 3, markOf(4))
    const expected = [
      ["live", 10],
      ["reload 1", 5],
      ["window 2", 6],
      ["live", 7],
      ["window 4", 3]
    ] as const
    const followed: Array<SubscriptionEvent> = []
    for (let i = 0; i < 6; i++) followed.push(...follower.poll(8_192))
    assert.deepStrictEqual(runs(followed), expected)
    assert.deepStrictEqual(runs(readAll()), expected)
    const batches = followed.flatMap((event) => (event._tag === "Batch" ? [event.batch] : []))
    assert.deepStrictEqual(batches[1]!.context.replay, markOf(1))
    assert.deepStrictEqual(batches[4]!.context.replay, markOf(4))
    follower.close()
    writer.close()
    assert.deepStrictEqual(runs(readAll()), expected)
  })

  it("stays whole for a reader of few symbols, whatever it leaves out", () => {
    const writer = open()
    for (let n = 1; n <= 8; n++) publish(writer, 100, n % 2 === 0 ? markOf(n) : undefined)
    const seen = runs(readAll({ symbols: ["BINANCE.SPOT:SYM1"] }))
    const expected = Array.from(
      { length: 8 },
      (_, i) => [i % 2 === 1 ? `window ${i + 1}` : "live", 25] as const
    )
    assert.deepStrictEqual(seen, expected)
    writer.close()
  })

  it("ends with an orderly end of its producer; the rows of the next one are live", () => {
    const first = open()
    publish(first, 10, markOf(2))
    first.close()
    const second = open()
    assert.isTrue(second.takenOver)
    publish(second, 10)
    assert.deepStrictEqual(runs(readAll()), [
      ["window 2", 10],
      ["live", 10]
    ])
    second.close()
  })

  it("ends with the death of its producer", async () => {
    const other = new PublicationProcess()
    const scope = Effect.runSync(Scope.make())
    const built = Layer.buildWithScope(other.layer({ dir: place.dir, name: "t", capacity: 1 << 14 }), scope)
    const publication = Context.get(await Effect.runPromise(built), Publication)
    await Effect.runPromise(publication.publish(replayMarker(markOf(2))(trades(context, symbols, 0, 10))))
    await other.end()
    const second = open()
    assert.isTrue(second.takenOver)
    publish(second, 10)
    assert.deepStrictEqual(runs(readAll()), [
      ["window 2", 10],
      ["live", 10]
    ])
    second.close()
  })

  it("goes on in the next segment when the dictionary is full", () => {
    const writer = open({ instruments: 8 })
    publish(writer, 10, markOf(1))
    publish(writer, 10)
    const mark = markOf(2)
    publish(writer, 10, mark)
    const reader = new RingReader({ dir: place.dir, name: "t", start: { _tag: "Sequence", sequence: 20n } })
    // Instruments of a further dataset do not fit beside the others.
    const further = contextOf(symbols, "BINANCE.USDM")
    publish(writer, 10, mark, further)
    publish(writer, 10, undefined, further)
    const events: Array<SubscriptionEvent> = []
    for (let i = 0; i < 20; i++) events.push(...reader.poll(8_192))
    assert.deepStrictEqual(runs(events), [
      ["window 2", 10],
      ["window 2", 10],
      ["live", 10]
    ])
    assert.isTrue(events.some(({ _tag }) => _tag === "ProducerRestarted"))
    reader.close()
    writer.close()
  })

  it("is remembered as one of the last sixteen", () => {
    const writer = open()
    for (let n = 1; n <= 20; n++) publish(writer, 1, markOf(2 * n))
    const seen = runs(readAll())
    // What is older is a replay to be on the safe side: of nothing that is known.
    assert.deepStrictEqual(seen[0], ["window 0", 4])
    assert.deepStrictEqual(
      seen.slice(1),
      Array.from({ length: 16 }, (_, i) => [`window ${2 * (i + 5)}`, 1] as const)
    )
    writer.close()
  })

  it("without rows changes nothing", () => {
    const writer = open()
    publish(writer, 0, markOf(2))
    publish(writer, 10)
    assert.deepStrictEqual(runs(readAll()), [["live", 10]])
    writer.close()
  })

  it("is told by the reader in Python", () => {
    const writer = open()
    publish(writer, 2)
    publish(writer, 2, markOf(2))
    publish(writer, 1)
    const script = join(import.meta.dirname, "..", "readers", "python", "dm_ring.py")
    const lines = execFileSync("python3", [script, place.dir, "t", "5"], { encoding: "utf8" })
      .trim()
      .split("\n")
    assert.deepStrictEqual(
      lines.map((line) => /"replay": true/.test(line)),
      [false, false, true, true, false]
    )
    writer.close()
  })
})
