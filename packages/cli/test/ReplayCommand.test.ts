// `dm replay` against a real store and a real ring, with readers in this process: every row once, in the order of the store,
// marked as a replay.
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import {
  Decimal,
  type QuoteBatch,
  type SubscriptionEvent,
  type SubscriptionKind,
  type TradeBatch
} from "@data-manager/core"
import { SyntheticMarket } from "@data-manager/providers-databento/simulator"
import { RingInspection, RingReader, RingWriter, ShmSubscription } from "@data-manager/transport-shm"
import { Effect, Schedule, Stream } from "effect"
import { afterAll, afterEach, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { rowWriter } from "../src/RowText.ts"
import { jsonLines, outcome, Workplace } from "./Dm.ts"

const trades = 6_000
const noCompiler = spawnSync(process.env.CC ?? "cc", ["--version"]).error !== undefined

const place = new Workplace()
let dir = ""
/** Every trade of the store, as lines, in its order. */
let stored: ReadonlyArray<string> = []
let symbols: ReadonlyArray<string> = []

const dm = (...args: ReadonlyArray<string>) => place.run(args)

beforeAll(async () => {
  const market = new SyntheticMarket({ symbols: 4, trades, seed: 11 })
  writeFileSync(place.path("day.dbn"), Buffer.concat([...market.tradeFile()]))
  const imported = await dm("import", "day.dbn")
  assert.strictEqual(imported.code, 0, imported.stderr)
  const listed = jsonLines((await dm("coverage", "--json")).stdout)
  symbols = [
    ...new Set((listed[0]!.coverage as ReadonlyArray<{ symbol: string }>).map(({ symbol }) => symbol))
  ]
  const exported = await dm("export", "trades", ...symbols, "--format", "jsonl")
  stored = exported.stdout.trim().split("\n")
  assert.strictEqual(stored.length, trades, exported.stderr)
}, 120_000)
afterAll(() => place.close())
beforeEach((context) => {
  if (noCompiler && process.env.CI === undefined)
    return context.skip("there is no C compiler to build the ring with")
  dir = mkdtempSync("/dev/shm/dm-cli-")
})
afterEach(() => {
  if (dir !== "") rmSync(dir, { recursive: true, force: true })
})

/** Subscribes as soon as the ring is there, and reads until the producer has closed it. */
const readAll = (name: string, kind: SubscriptionKind) =>
  Effect.gen(function* () {
    const options = { name, dir, blocking: true }
    const connection = yield* ShmSubscription.make(options).pipe(
      Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 2_000 })
    )
    const handle = yield* connection.subscribe(kind)
    return yield* handle.receive.pipe(
      Stream.takeUntil((event) => event._tag === "ProducerLost"),
      Stream.runCollect
    )
  }).pipe(Effect.scoped, Effect.runPromise)

type Rows = TradeBatch | QuoteBatch

const batchesOf = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<Rows> =>
  events.flatMap((event) =>
    event._tag === "Batch" || event._tag === "Snapshot" ? [event.batch as Rows] : []
  )

const { json } = rowWriter("trades")
const linesOf = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<string> =>
  batchesOf(events).flatMap((batch) =>
    Array.from({ length: batch.length }, (_, i) => json(batch as TradeBatch, i))
  )

const all: SubscriptionKind = { _tag: "Topic", symbols: ["ALL_SYMBOLS"] }

describe("dm replay", { timeout: 120_000 }, () => {
  it("gives every reader what it subscribed to: each row once, in the order of the store, marked", async () => {
    const minQuantity = Decimal.make(100n, 0)
    const readers = [
      readAll("again", all),
      readAll("again", { _tag: "Filtered", symbols: ["ALL_SYMBOLS"], minQuantity }),
      readAll("again", { _tag: "SnapshotDelta", symbols: [symbols[0]!], snapshotDepth: 5 })
    ]
    const replayed = await place.run([
      ...["--json", "replay", ...symbols, "--speed", "max", "--ring", "again", "--dir", dir],
      ...["--wait-readers", "3"]
    ])
    assert.strictEqual(replayed.code, 0, replayed.stderr)
    const [topic, filtered, snapshot] = await Promise.all(readers)
    assert.deepStrictEqual(linesOf(topic!), stored)
    const [mark] = new Set(batchesOf(topic!).map(({ context }) => context.replay))
    assert.deepInclude(mark, { cause: "window", speed: 0 })
    assert.isTrue(batchesOf(topic!).every(({ context }) => context.replay !== undefined))
    const large = (line: string) => Number(JSON.parse(line).size) >= 100
    assert.deepStrictEqual(linesOf(filtered!), stored.filter(large))
    assert.isTrue(batchesOf(filtered!).every(({ context }) => context.replay !== undefined))
    const own = (line: string) => JSON.parse(line).symbol === symbols[0]
    assert.deepStrictEqual(linesOf(snapshot!), stored.filter(own))
    assert.deepInclude(jsonLines(replayed.stdout)[0], { ring: "again", complete: true, rows: trades })
  })

  it("keeps the pace, cuts silence, and says how exact it was", async () => {
    const [first, last] = [stored[0]!, stored.at(-1)!].map((line) => Date.parse(JSON.parse(line).ts_event))
    const speed = Math.ceil((last! - first!) / 2_000)
    const reading = readAll("pace", all)
    const replayed = await place.run([
      ...["--json", "replay", ...symbols, "--speed", `${speed}`, "--ring", "pace", "--dir", dir],
      ...["--wait-readers", "1"]
    ])
    assert.strictEqual(replayed.code, 0, replayed.stderr)
    assert.deepStrictEqual(linesOf(await reading), stored)
    const [summary] = jsonLines(replayed.stdout) as ReadonlyArray<Record<string, number>>
    // Never faster; how much slower is the machine's business.
    assert.isAtLeast(summary!.seconds!, (last! - first!) / 1_000 / speed - 0.05)
    assert.isAbove(summary!.batches!, 100)
    assert.isAtLeast(summary!.mean_late_ms!, 0)
    // Silence of more than a hundredth of a millisecond is cut: what takes seconds takes a moment.
    const cut = await place.run([
      ...["--json", "replay", ...symbols, "--speed", `${speed}`, "--ring", "pace", "--dir", dir],
      ...["--max-gap", "0.01ms"]
    ])
    assert.strictEqual(cut.code, 0, cut.stderr)
    const [short] = jsonLines(cut.stdout) as ReadonlyArray<Record<string, number>>
    assert.isBelow(short!.seconds!, summary!.seconds!)
    assert.isAbove(short!.cut_seconds!, 0)
    assert.strictEqual(short!.rows, trades)
  })

  it("trades and quotes together: each in a ring of its own, in its order", async () => {
    const quotes = 1_500
    const market = new SyntheticMarket({ symbols: 4, trades, seed: 11 })
    writeFileSync(place.path("quotes.dbn"), Buffer.concat([...market.quoteFile(quotes)]))
    assert.strictEqual((await dm("import", "quotes.dbn")).code, 0)
    const replayed = await place.run([
      ...["--json", "replay", ...symbols, "--schema", "trades,quotes", "--speed", "max"],
      ...["--ring", "both", "--dir", dir]
    ])
    assert.strictEqual(replayed.code, 0, replayed.stderr)
    assert.include(replayed.stderr, "(trades, mbp-1)")
    assert.deepInclude(jsonLines(replayed.stdout)[0], { rows: trades + quotes })
    const read = (kind: "trades" | "quotes") => {
      const reader = new RingReader({ name: "both", dir, kind, start: { _tag: "Oldest" } })
      const events: Array<SubscriptionEvent> = []
      while (
        batchesOf(events).reduce((sum, batch) => sum + batch.length, 0) <
        (kind === "trades" ? trades : quotes)
      )
        events.push(...reader.poll(8_192))
      reader.close()
      return batchesOf(events)
    }
    const exported = await dm("export", "quotes", ...symbols, "--format", "jsonl")
    const quoteText = rowWriter("quotes").json
    const lines = read("quotes").flatMap((batch) =>
      Array.from({ length: batch.length }, (_, i) => quoteText(batch as QuoteBatch, i))
    )
    assert.deepStrictEqual(lines, exported.stdout.trim().split("\n"))
    assert.isTrue(read("trades").every(({ context }) => context.replay?.cause === "window"))
    const [inspected] = jsonLines((await dm("--json", "ring", "inspect", "both_quotes", "--dir", dir)).stdout)
    assert.deepInclude((inspected!.replays as ReadonlyArray<object>)[0], {
      cause: "window",
      speed: "max",
      first: "0",
      last: `${quotes - 1}`
    })
  })

  it("Ctrl-C ends it between two rows and says how far it came", async () => {
    const child = place.start(["replay", symbols[0]!, "--speed", "0.001", "--ring", "slow", "--dir", dir])
    const ended = outcome(child)
    while (
      RingInspection.list(dir).length === 0 ||
      RingInspection.inspect({ dir, name: "slow" }).header.writeSeq === 0
    )
      await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill("SIGINT")
    const { code, stderr } = await ended
    assert.strictEqual(code, 130, stderr)
    assert.match(stderr, /interrupted after \d+ rows? of/)
    assert.strictEqual(RingInspection.inspect({ dir, name: "slow" }).state, "closed")
  })

  it("refuses the ring of live data by its name, and one that has a producer", async () => {
    const live = await dm("replay", symbols[0]!, "--ring", "data_manager_trades", "--dir", dir)
    assert.strictEqual(live.code, 2)
    assert.include(live.stderr, `"data_manager_trades" is the ring of live data`)
    const writer = new RingWriter({ dir, name: "busy", capacity: 1024 })
    try {
      const busy = await dm("replay", symbols[0]!, "--ring", "busy", "--dir", dir)
      assert.strictEqual(busy.code, 1)
      assert.include(busy.stderr, "another producer holds")
      assert.include(busy.stderr, "give another --ring")
    } finally {
      writer.close()
    }
  })

  it("an empty window is an error; holes are named, and refused where that is asked", async () => {
    const early = await dm(
      "replay",
      symbols[0]!,
      "--start",
      "2001-01-01",
      "--end",
      "2001-01-02",
      "--dir",
      dir
    )
    assert.strictEqual(early.code, 1)
    assert.match(early.stderr, /nothing is held from 2001-01-01|not listed|no instrument/)
    const none = await dm("replay", symbols[0]!, "--schema", "bbo-1s", "--dir", dir)
    assert.strictEqual(none.code, 1)
    assert.include(none.stderr, "nothing is held of")
    const wide = ["replay", symbols[0]!, "--speed", "max", "--dir", dir, "--end", "2030-01-01"]
    const warned = await dm(...wide)
    assert.strictEqual(warned.code, 0, warned.stderr)
    assert.match(warned.stderr, /warning: \d+ holes? in the window.*\n.* trades from .* to 2030-01-01/)
    const refused = await dm(...wide, "--strict")
    assert.strictEqual(refused.code, 1)
    assert.include(refused.stderr, "in the window, which dm backfill may fill")
  })

  it("dm tail shows that rows are a replay", async () => {
    const replayed = await dm("replay", ...symbols, "--speed", "max", "--ring", "shown", "--dir", dir)
    assert.strictEqual(replayed.code, 0, replayed.stderr)
    const text = await dm("tail", "shown", "--from", "oldest", "--limit", "3", "--dir", dir)
    assert.match(text.stdout, /^-- replay of .* to .*, as fast as possible\n/)
    const json = jsonLines(
      (await dm("--json", "tail", "shown", "--from", "oldest", "--limit", "3", "--dir", dir)).stdout
    )
    assert.deepInclude(json[0], { event: "replay", cause: "window", speed: "max" })
    assert.strictEqual(json.length, 4)
    const last = await dm("tail", "shown", "-s", symbols[0]!, "--last", "2", "--limit", "2", "--dir", dir)
    assert.include(last.stdout, "2 of them replayed")
  })
})
