import { unlinkSync } from "node:fs"
import { join } from "node:path"
import {
  batchContext,
  type Gap,
  type Instrument,
  type QuoteBatch,
  QuoteLayout,
  type Repaired,
  type SubscriptionEvent,
  TradeBatch
} from "@data-manager/core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { inspect } from "../src/RingInspection.ts"
import { RingReader } from "../src/RingReader.ts"
import { RingWriter } from "../src/RingWriter.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { TestProcess, testDirectory } from "./process/TestProcess.ts"
import { contextOf, instruments, isTrade, quotes, trades } from "./TestBatch.ts"

beforeEach(needsAddon)

const place = { dir: "", remove: () => {} }
const started: Array<TestProcess> = []
const readers: Array<RingReader> = []

beforeEach(() => Object.assign(place, testDirectory()))
afterEach(async () => {
  for (const reader of readers.splice(0)) reader.close()
  for (const process of started.splice(0)) await process.end()
  place.remove()
})

const writer = async (
  options: object = {}
): Promise<TestProcess & { readonly first: Record<string, unknown> }> => {
  const process = new TestProcess("writer.ts", [place.dir, "t", JSON.stringify(options)])
  started.push(process)
  const first = await process.answer()
  return Object.assign(process, { first })
}

const location = () => ({ dir: place.dir, name: "t" })

const reader = (options: Partial<ConstructorParameters<typeof RingReader>[0]> = {}): RingReader => {
  const made = new RingReader({ dir: place.dir, name: "t", ...options })
  readers.push(made)
  return made
}

const until = async (from: RingReader, enough: (events: ReadonlyArray<SubscriptionEvent>) => boolean) => {
  const all: Array<SubscriptionEvent> = []
  const signal = AbortSignal.timeout(60_000)
  for await (const events of from.events({ signal })) {
    all.push(...events)
    if (enough(all)) return all
  }
  assert.fail(`timed out with ${all.map((event) => event._tag).join(" ")}`)
}

const rows = (events: ReadonlyArray<SubscriptionEvent>): number =>
  events.reduce(
    (sum, event) => sum + (event._tag === "Batch" || event._tag === "Snapshot" ? event.batch.length : 0),
    0
  )
const batches = (events: ReadonlyArray<SubscriptionEvent>): ReadonlyArray<TradeBatch> =>
  events.flatMap((event) =>
    event._tag === "Batch" || event._tag === "Snapshot" ? [event.batch as TradeBatch] : []
  )
const tags = (events: ReadonlyArray<SubscriptionEvent>) =>
  events.map((event) => event._tag).filter((tag) => tag !== "Batch")

const assertTape = (events: ReadonlyArray<SubscriptionEvent>, first: number, symbols = 8): void => {
  let n = first
  for (const batch of batches(events))
    for (let i = 0; i < batch.length; i++) assert.isTrue(isTrade(batch, i, n++, symbols), `row ${n - 1}`)
}

describe("two processes", { timeout: 120_000 }, () => {
  it("delivers every column of every row", async () => {
    const process = await writer({ capacity: 4096 })
    const from = reader()
    process.tell("publish 0 1000")
    const events = await until(from, (all) => rows(all) >= 1000)
    assertTape(events, 0)
    assert.strictEqual(batches(events)[0]!.row(0).exchange, "XVEN")
    assert.strictEqual(batches(events)[0]!.context.provider, "binance")
    assert.deepStrictEqual(tags(events), [])
  })

  it("a publication that died in the middle is continued in the same memory, and readers are told", async () => {
    const first = await writer({ capacity: 4096 })
    const from = reader()
    await first.ask("publish 0 500")
    await until(from, (all) => rows(all) >= 500)
    await first.end("SIGKILL")
    const lost = await until(from, (all) => all.length > 0)
    assert.deepStrictEqual(lost, [{ _tag: "ProducerLost", cause: "died" }])
    const second = await writer({ capacity: 4096 })
    assert.deepInclude(second.first, { takenOver: true, epoch: 2, position: 500 })
    second.tell("publish 500 100")
    const events = await until(from, (all) => rows(all) >= 100)
    assertTape(events, 500)
    assert.deepStrictEqual(events[0], { _tag: "ProducerRestarted", epoch: 2n, position: 500n })
  })

  it("reader and producer are killed and both come back: the next reader goes on where the last one stopped", async () => {
    const first = await writer({ capacity: 4096 })
    const readingProcess = async (options: object) => {
      const child = new TestProcess("reader.ts", [place.dir, "t", JSON.stringify(options)])
      started.push(child)
      await child.answer()
      return child
    }
    const before = await readingProcess({ start: { _tag: "Oldest" } })
    await first.ask("publish 0 500")
    const { position } = await before.ask("rows 500")
    assert.strictEqual(position, 500)
    await Promise.all([before.end("SIGKILL"), first.end("SIGKILL")])
    const second = await writer({ capacity: 4096 })
    assert.deepInclude(second.first, { takenOver: true, epoch: 2, position: 500 })
    await second.ask("publish 500 100")
    const after = await readingProcess({ from: position })
    assert.deepInclude(await after.ask("rows 100"), { rows: 100, lost: 0, position: 600 })
    assert.deepStrictEqual(
      inspect(location())
        .readers.filter((row) => row.alive)
        .map((row) => row.pid),
      [after.child.pid]
    )
  })

  it("quotes, too: every column of every row", async () => {
    const process = await writer({ kind: "quotes", capacity: 4096 })
    const from = reader({ kind: "quotes" })
    process.tell("publish 0 300")
    const got = (await until(from, (all) => rows(all) >= 300)).flatMap((event) =>
      event._tag === "Batch" ? [event.batch as QuoteBatch] : []
    )
    const sent = quotes(contextOf(8), 8, 0, 300)
    for (const name of Object.keys(QuoteLayout) as Array<keyof typeof QuoteLayout>) {
      if (name === "instrument") continue
      const column = got.flatMap((batch) => Array.from<bigint | number>(batch.columns[name]))
      assert.deepStrictEqual(column, Array.from<bigint | number>(sent.columns[name]), name)
    }
    const symbols = got.flatMap((batch) => Array.from(batch.columns.side, (_, i) => batch.symbolAt(i)))
    assert.deepStrictEqual(
      symbols,
      Array.from({ length: 300 }, (_, i) => sent.symbolAt(i))
    )
  })

  it.for(["park", "linger", "spin"] as const)(
    "%s: rows that come one by one arrive one after another, until the signal aborts",
    async (mode) => {
      const process = await writer({ capacity: 4096 })
      // The timer would wake a parked reader, too: here only the bell can.
      const from = reader({ mode, watchMillis: 60_000, lingerMicros: 500 })
      assert.strictEqual(inspect(location()).readers[0]!.mode, ["park", "linger", "spin"].indexOf(mode))
      process.tell("forever 1 2000")
      const stop = new AbortController()
      let next: bigint | undefined
      let seen = 0
      for await (const events of from.events({ signal: stop.signal }))
        for (const batch of batches(events))
          for (const key of batch.columns.tradeKey) {
            assert.strictEqual(key, next ?? key)
            next = key + 1n
            if (++seen === 100) stop.abort()
          }
      assert.isAtLeast(seen, 100)
      assert.strictEqual(from.stats.lost, 0)
    }
  )

  it("both may restart: a new reader starts where it says", async () => {
    const first = await writer({ capacity: 4096 })
    await first.ask("publish 0 500")
    await first.end("SIGKILL")
    const second = await writer({ capacity: 4096 })
    await second.ask("publish 500 100")
    assertTape(await until(reader({ start: { _tag: "Oldest" } }), (all) => rows(all) >= 600), 0)
    assertTape(
      await until(reader({ start: { _tag: "Sequence", sequence: 480n } }), (all) => rows(all) >= 120),
      480
    )
    assert.throws(() => reader({ start: { _tag: "Sequence", sequence: 601n } }), /not published yet/)
  })

  it("rows of the old generation come before the restart, those of the new one after it", async () => {
    const first = await writer({ capacity: 4096 })
    const from = reader()
    await first.ask("publish 0 100")
    await first.end("SIGKILL")
    const second = await writer({ capacity: 4096 })
    await second.ask("publish 100 50")
    const events: Array<SubscriptionEvent> = []
    for (let i = 0; i < 20; i++) events.push(...from.poll())
    const at = events.findIndex((event) => event._tag === "ProducerRestarted")
    assert.strictEqual(rows(events.slice(0, at)), 100)
    assert.strictEqual(rows(events.slice(at)), 50)
    assertTape(events, 0)
  })

  it("an orderly end is told as such", async () => {
    const process = await writer()
    const from = reader()
    await process.ask("close")
    assert.deepStrictEqual(await until(from, (all) => all.length > 0), [
      { _tag: "ProducerLost", cause: "closed" }
    ])
  })

  it("an overtaken reader loses exactly what it is told", async () => {
    const process = await writer({ capacity: 1024 })
    const from = reader()
    await process.ask("publish 0 100")
    await process.ask("publish 100 5000")
    const events: Array<SubscriptionEvent> = []
    while (from.position < 5100) events.push(...from.poll(256))
    let next = 0n
    for (const event of events) {
      if (event._tag === "Lost") {
        assert.strictEqual(event.from, next)
        next = event.to
      } else if (event._tag === "Batch")
        for (let i = 0; i < event.batch.length; i++)
          assert.isTrue(isTrade(event.batch as TradeBatch, i, Number(next++), 8))
    }
    assert.strictEqual(next, 5100n)
    assert.strictEqual(from.stats.lost, 5100 - rows(events))
    assert.isAbove(from.stats.gaps, 0)
  })

  it("a second producer is refused, and named as the reason", async () => {
    await writer()
    const second = await writer()
    assert.strictEqual(second.first.reason, "TransportNotConnected")
    assert.match(String(second.first.error), /another producer holds ring "t"/)
  })

  it("a killed reader gives its row back", async () => {
    const process = await writer()
    const children = Array.from({ length: 3 }, () => new TestProcess("reader.ts", [place.dir, "t"]))
    started.push(...children)
    for (const child of children) await child.answer()
    assert.strictEqual(inspect(location()).readers.filter((row) => row.alive).length, 3)
    await children[1]!.end("SIGKILL")
    const alive = inspect(location()).readers.filter((row) => row.alive)
    assert.deepStrictEqual(
      alive.map((row) => row.pid).sort(),
      [children[0]!.child.pid, children[2]!.child.pid].sort()
    )
    await process.ask("publish 0 10")
    assert.strictEqual((await children[2]!.ask("rows 10")).rows, 10)
  })

  it("a stopped producer (SIGSTOP) is not taken for dead, and goes on", async () => {
    const process = await writer({ capacity: 4096 })
    const from = reader({ watchMillis: 20 })
    await process.ask("publish 0 10")
    await until(from, (all) => rows(all) >= 10)
    process.signal("SIGSTOP")
    await new Promise((resolve) => setTimeout(resolve, 300))
    assert.deepStrictEqual(from.poll(), [])
    process.tell("publish 10 10")
    process.signal("SIGCONT")
    assertTape(await until(from, (all) => rows(all) >= 10), 10)
  })

  it("a deleted file does not disturb those who have it; a new producer under the name is found", async () => {
    const first = await writer({ capacity: 4096 })
    const from = reader({ watchMillis: 20 })
    unlinkSync(join(place.dir, "t.ring"))
    first.tell("publish 0 10")
    assertTape(await until(from, (all) => rows(all) >= 10), 0)
    await first.end("SIGKILL")
    assert.deepStrictEqual(tags(await until(from, (all) => all.length > 0)), ["ProducerLost"])
    const second = await writer({ capacity: 4096 })
    assert.deepInclude(second.first, { takenOver: false, epoch: 1 })
    assert.deepStrictEqual(tags(await until(from, (all) => all.length > 0)), ["ProducerRestarted"])
    second.tell("publish 0 10")
    assertTape(await until(from, (all) => rows(all) >= 10), 0)
  })

  it("another capacity retires the segment; readers move on and sequences continue", async () => {
    const first = await writer({ capacity: 1024 })
    const from = reader()
    await first.ask("publish 0 100")
    await first.ask("close")
    await first.end()
    const second = await writer({ capacity: 2048 })
    assert.deepInclude(second.first, { takenOver: false, epoch: 2, position: 100 })
    second.tell("publish 100 50")
    const events = await until(from, (all) => rows(all) >= 150)
    assertTape(events, 0)
    assert.include(tags(events), "ProducerRestarted")
    assert.strictEqual(from.stats.lost, 0)
  })

  it("a full dictionary moves the ring to a new segment without a gap", async () => {
    const process = await writer({ capacity: 4096, instruments: 9, symbols: 8 })
    const from = reader()
    await process.ask("publish 0 100")
    await process.end()
    const next = await writer({ capacity: 4096, instruments: 9, symbols: 7 })
    // Seven symbols of the first run are known; the eighth entry and the venue fill the dictionary.
    await next.ask("publish 100 50")
    assert.strictEqual(rows(await until(from, (all) => rows(all) >= 150)), 150)
    const local = new RingWriter({ dir: place.dir, name: "small", capacity: 256, instruments: 4 })
    const after = reader({ name: "small" })
    local.publish(trades(contextOf(3), 3, 0, 6))
    local.publish(trades(contextOf(3, "OTHER"), 3, 0, 6))
    const events: Array<SubscriptionEvent> = []
    for (let i = 0; i < 50; i++) events.push(...after.poll())
    assert.strictEqual(rows(events), 12)
    assert.strictEqual(after.stats.lost, 0)
    assert.throws(() => local.publish(trades(contextOf(5, "THIRD"), 5, 0, 10)), /dictionary/)
    local.close()
  })
})

describe("what a reader asks for", { timeout: 120_000 }, () => {
  it("only the wanted symbols, the rest unread", async () => {
    const process = await writer({ capacity: 4096, symbols: 100 })
    const from = reader({ symbols: ["BINANCE.SPOT:SYM3", "SYM42", "SYM1000"] })
    process.tell("publish 0 1000")
    const events = await until(from, (all) => rows(all) >= 20)
    const keys = batches(events).flatMap((batch) => [...batch.columns.tradeKey])
    assert.deepStrictEqual(
      keys,
      Array.from({ length: 1000 }, (_, n) => BigInt(n)).filter((n) => n % 100n === 3n || n % 100n === 42n)
    )
    assert.strictEqual(from.stats.unwanted, 980)
  })

  it("a short form that two datasets share is refused with the candidates", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    local.publish(trades(contextOf(2), 2, 0, 4))
    local.publish(trades(contextOf(2, "BINANCE.USDM"), 2, 0, 4))
    assert.throws(() => reader({ symbols: ["SYM1"] }), /BINANCE.SPOT:SYM1, BINANCE.USDM:SYM1/)
    const from = reader({ symbols: ["BINANCE.USDM:SYM1"], start: { _tag: "Oldest" } })
    assert.strictEqual(rows(from.poll()), 2)
    local.close()
  })

  it("two datasets in one poll are two batches, each with its own context", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    const from = reader()
    local.publish(trades(contextOf(2), 2, 0, 4))
    local.publish(trades(contextOf(2, "BINANCE.USDM"), 2, 4, 4))
    local.publish(trades(contextOf(2), 2, 8, 4))
    const got = batches(from.poll())
    assert.deepStrictEqual(
      got.map((batch) => [batch.context.dataset, [...batch.columns.tradeKey]]),
      [
        ["BINANCE.SPOT", [0n, 1n, 2n, 3n, 8n, 9n, 10n, 11n]],
        ["BINANCE.USDM", [4n, 5n, 6n, 7n]]
      ]
    )
    local.close()
  })

  it("the last N of each symbol, then every later row: exact boundary while the producer runs", async () => {
    const process = await writer({ capacity: 1 << 18, symbols: 8 })
    process.tell("forever 64 1000")
    for (let round = 0; round < 20; round++) {
      await until(reader(), (all) => rows(all) > 1000)
      const from = reader({ symbols: ["SYM1", "SYM5"], start: { _tag: "LastPerSymbol", count: 50 } })
      const events = await until(from, (all) => rows(all) > 300)
      assert.deepStrictEqual(
        events.slice(0, 2).map((event) => event._tag),
        ["Snapshot", "Snapshot"]
      )
      for (const index of [1, 5]) {
        const keys = batches(events).flatMap((batch) =>
          [...batch.rows()].filter((row) => row.rawSymbol === `SYM${index}`).map((row) => row.tradeKey)
        )
        assert.isAbove(keys.length, 100)
        assert.strictEqual(keys[0]! % 8n, BigInt(index))
        for (let i = 1; i < keys.length; i++) assert.strictEqual(keys[i]! - keys[i - 1]!, 8n)
      }
      const complete = events.filter((event) => event._tag === "Snapshot").map((event) => event.complete)
      assert.deepStrictEqual(complete, [true, true])
      assert.strictEqual(from.stats.lost, 0)
      from.close()
    }
  })

  it("snapshots say when they are not complete", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    local.publish(trades(contextOf(4), 4, 0, 12))
    const from = reader({ symbols: ["SYM1", "SYM9"], start: { _tag: "LastPerSymbol", count: 5 } })
    const events = from.poll()
    assert.deepStrictEqual(
      events.map((event) => event._tag === "Snapshot" && [event.symbol, event.batch.length, event.complete]),
      [
        ["BINANCE.SPOT:SYM1", 3, false],
        ["SYM9", 0, false]
      ]
    )
    assert.deepStrictEqual([...batches(events)[0]!.columns.tradeKey], [1n, 5n, 9n])
    local.publish(trades(contextOf(4), 4, 12, 4))
    assert.deepStrictEqual([...batches(from.poll())[0]!.columns.tradeKey], [13n])
    local.close()
  })

  it("from a time on: nothing published since is missing", async () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 4096, timeInterval: 16 })
    for (let k = 0; k < 10; k++) local.publish(trades(contextOf(4), 4, k * 32, 32))
    await new Promise((resolve) => setTimeout(resolve, 30))
    const time = BigInt(Date.now()) * 1_000_000n
    await new Promise((resolve) => setTimeout(resolve, 30))
    for (let k = 10; k < 20; k++) local.publish(trades(contextOf(4), 4, k * 32, 32))
    const from = reader({ start: { _tag: "Time", time } })
    const events = from.poll(8192)
    const first = Number(batches(events)[0]!.columns.tradeKey[0])
    assert.isAtMost(first, 320)
    assert.isAtLeast(first, 320 - 32)
    assertTape(events, first, 4)
    local.close()
  })

  it("text ids of any length up to 120 bytes come back", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 1024 })
    const from = reader()
    const context = batchContext({ ...contextOf(4), keyKind: "text-hash" })
    const plain = trades(context, 4, 0, 60)
    const ids = Array.from({ length: 60 }, (_, i) =>
      i === 7 ? "" : "é-".repeat(i % 40).slice(0, 80) + String(i)
    )
    local.publish(new TradeBatch(context, plain, 60, ids))
    const got: Array<string> = []
    for (let i = 0; i < 20; i++)
      for (const batch of batches(from.poll(16)))
        for (let r = 0; r < batch.length; r++) got.push(batch.tradeIdAt(r))
    assert.deepStrictEqual(
      got,
      ids.map((id, i) => (id === "" ? String(i) : id))
    )
    assert.throws(
      () =>
        local.publish(
          new TradeBatch(
            context,
            plain,
            60,
            ids.map(() => "x".repeat(121))
          )
        ),
      /longer than 120/
    )
    local.close()
  })

  it("columns may lie in one buffer or in several, be a slice, or come from another ring", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    const from = reader()
    const whole = trades(contextOf(4), 4, 0, 40)
    assert.strictEqual(whole.buffer, whole.columns.depth.buffer)
    const scattered = Object.fromEntries(
      Object.entries(whole.columns).map(([name, column]) => [name, column.slice()])
    )
    local.publish(whole)
    local.publish(
      new TradeBatch(whole.context, { ...whole, columns: scattered as never, buffer: undefined }, 40)
    )
    local.publish(new TradeBatch(whole.context, { ...whole, buffer: undefined }, 40))
    const middle = whole.slice(8, 24)
    assert.strictEqual(middle.buffer, whole.buffer)
    local.publish(middle)
    local.publish(whole.slice(0, 5))
    const [got] = batches(from.poll())
    local.publish(got!)
    const numbers = (first: number, end: number) => Array.from({ length: end - first }, (_, i) => first + i)
    const expected = [
      ...numbers(0, 40),
      ...numbers(0, 40),
      ...numbers(0, 40),
      ...numbers(8, 24),
      ...numbers(0, 5)
    ]
    for (const batch of [got!, batches(from.poll())[0]!]) {
      assert.strictEqual(batch.length, expected.length)
      for (const [i, n] of expected.entries()) assert.isTrue(isTrade(batch, i, n, 4), `row ${i}`)
    }
    const { columns } = whole
    const exchanged = { ...columns, price: columns.size, size: columns.price }
    local.publish(new TradeBatch(whole.context, { ...whole, columns: exchanged }, 40))
    assert.deepStrictEqual([...batches(from.poll())[0]!.columns.price], [...columns.size])
    local.close()
  })

  it("batches of every size, in fresh memory and in reused: each row once, in its place", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 1 << 15 })
    const context = contextOf(4)
    for (const reuseMemory of [false, true]) {
      const from = reader({ reuseMemory })
      let first = 0
      // Sizes around the padding of 8 rows, a quarter of a slab, a whole one and the reused memory.
      for (const size of [1, 7, 8, 9, 296, 297, 298, 305, 1191, 1192, 4096, 4766, 4767, 8192]) {
        local.publish(trades(context, 4, first, size))
        const kept: Array<TradeBatch> = []
        for (let count = 0; count < size; ) {
          const events = from.poll(8192)
          assertTape(events, first + count, 4)
          count += rows(events)
          kept.push(...batches(events))
        }
        if (!reuseMemory)
          assertTape(
            kept.map((batch) => ({ _tag: "Batch", batch })),
            first,
            4
          )
        first += size
      }
      from.close()
    }
    local.close()
  })

  it("a batch keeps its memory, unless the reader said that it may be used again", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    const from = reader()
    const reusing = reader({ reuseMemory: true })
    const poll = (one: RingReader) => batches(one.poll())[0]!
    local.publish(trades(contextOf(4), 4, 0, 16))
    const [kept, reused] = [poll(from), poll(reusing)]
    assert.deepStrictEqual([...reused.columns.tradeKey], [...kept.columns.tradeKey])
    local.publish(trades(contextOf(4), 4, 16, 16))
    assert.strictEqual(poll(from).columns.tradeKey[0], 16n)
    assert.strictEqual(poll(reusing).columns.tradeKey[0], 16n)
    assert.strictEqual(kept.columns.tradeKey[0], 0n)
    assert.strictEqual(reused.columns.tradeKey[0], 16n)
    local.close()
  })

  it("gaps upstream of the ring", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    const from = reader()
    local.publish(trades(contextOf(4), 4, 0, 4))
    const gap: Gap = {
      _tag: "Gap",
      dataset: "BINANCE.SPOT",
      schema: "trades",
      symbols: ["BINANCE.SPOT:SYM2"],
      range: { start: 5n, end: 9n },
      rows: 3n,
      cause: "disconnect"
    }
    local.publishGap(gap)
    local.publishGap({ ...gap, symbols: undefined, rows: undefined, cause: "disk-full" })
    const gaps = from
      .poll()
      .filter((event) => event._tag === "Gap")
      .map((event) => event.gap)
    assert.deepStrictEqual(gaps, [gap, { ...gap, symbols: undefined, rows: undefined, cause: "disk-full" }])
    local.close()
  })

  it("repairs of gaps, also in rings of quotes", () => {
    for (const kind of ["trades", "quotes"] as const) {
      const local = new RingWriter({ dir: place.dir, name: "t", kind, capacity: 256 })
      const from = reader({ kind })
      if (kind === "trades") local.publish(trades(contextOf(4), 4, 0, 4))
      else local.publish(quotes(contextOf(4), 4, 0, 4))
      const repaired: Repaired = {
        _tag: "Repaired",
        dataset: "BINANCE.SPOT",
        schema: kind === "trades" ? "trades" : "mbp-1",
        symbols: ["BINANCE.SPOT:SYM2"],
        range: { start: 5n, end: 9n },
        rows: 3n
      }
      local.publishRepaired(repaired)
      local.publishRepaired({ ...repaired, symbols: undefined, rows: 0n })
      // Nobody has heard of this one.
      local.publishRepaired({ ...repaired, symbols: ["BINANCE.SPOT:OTHER"] })
      const told = from.poll().flatMap((event) => (event._tag === "Repaired" ? [event.repaired] : []))
      assert.deepStrictEqual(told, [repaired, { ...repaired, symbols: undefined, rows: 0n }])
      local.close()
    }
  })

  it("quotes have a ring of their own, and every column of them comes back", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", kind: "quotes", capacity: 256 })
    const from = reader({ kind: "quotes" })
    const sent = quotes(contextOf(4), 4, 0, 100)
    local.publish(sent)
    const got = from
      .poll()
      .flatMap((event) => (event._tag === "Batch" ? [event.batch as QuoteBatch] : []))[0]!
    for (const name of Object.keys(QuoteLayout) as Array<keyof typeof QuoteLayout>) {
      if (name !== "instrument") assert.deepStrictEqual([...got.columns[name]], [...sent.columns[name]], name)
    }
    for (let i = 0; i < 100; i++) assert.strictEqual(got.symbolAt(i), sent.symbolAt(i))
    assert.throws(() => local.publish(trades(contextOf(4), 4, 0, 4)), /holds quotes/)
    local.close()
  })

  it("an instrument that gets its name late has it from then on", async () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    const from = reader()
    const names = new Map<number, Instrument>()
    const context = batchContext({ ...contextOf(1), instruments: names })
    local.publish(trades(context, 1, 0, 2))
    names.set(1000, instruments(1)[0]!)
    await new Promise((resolve) => setTimeout(resolve, 150))
    local.publish(trades(context, 1, 2, 2))
    const got = batches(from.poll())
    assert.deepStrictEqual(
      got.flatMap((batch) => [...batch.rows()].map((row) => row.symbol)),
      ["BINANCE.SPOT:#1000", "BINANCE.SPOT:#1000", "BINANCE.SPOT:SYM0", "BINANCE.SPOT:SYM0"]
    )
    local.close()
  })

  it("a blocking reader holds the producer for a bounded time, then loses and is told", async () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256, blockMicros: 20_000 })
    const from = reader({ blocking: true })
    from.poll()
    local.publish(trades(contextOf(4), 4, 0, 200))
    const start = performance.now()
    local.publish(trades(contextOf(4), 4, 200, 200))
    assert.isAtLeast(performance.now() - start, 19)
    assert.strictEqual(local.demotions, 1)
    local.publish(trades(contextOf(4), 4, 400, 200)) // no longer waited for
    assert.strictEqual(local.demotions, 1)
    from.poll()
    from.poll()
    assert.strictEqual(from.stats.demoted, 1)
    assert.isAbove(from.stats.lost, 0)
    local.close()
  })

  it("callback form: stops on abort, and wakes for every batch", async () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 4096 })
    const from = reader({ watchMillis: 60_000 })
    const stop = new AbortController()
    let got = 0
    from.listen(
      (events) => {
        got += rows(events)
      },
      { signal: stop.signal }
    )
    for (let k = 0; k < 300; k++) {
      local.publish(trades(contextOf(4), 4, k, 1))
      await new Promise((resolve) => (k % 3 === 0 ? setTimeout(resolve, 1) : setImmediate(resolve)))
    }
    const deadline = performance.now() + 60_000
    while (got < 300 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 1))
    assert.strictEqual(got, 300)
    stop.abort()
    local.publish(trades(contextOf(4), 4, 300, 1))
    await new Promise((resolve) => setTimeout(resolve, 20))
    assert.strictEqual(got, 300)
    local.close()
  })

  it("only readers that may sleep are woken", async () => {
    for (const mode of ["park", "spin"] as const) {
      const local = new RingWriter({ dir: place.dir, name: mode, capacity: 256 })
      const from = reader({ name: mode, mode })
      let got = 0
      from.listen((events) => {
        got += rows(events)
      })
      for (let k = 0; k < 20; k++) {
        local.publish(trades(contextOf(4), 4, k, 1))
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      while (got < 20) await new Promise((resolve) => setTimeout(resolve, 1))
      if (mode === "spin") assert.strictEqual(local.wakes, 0)
      else assert.isAbove(local.wakes, 0)
      from.close()
      local.close()
    }
  })

  it("the 129th reader is refused with a typed error", () => {
    const local = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    for (let k = 0; k < 128; k++) reader()
    assert.throws(() => reader(), /no free reader row/)
    assert.strictEqual(local.connections, 128)
    local.close()
  })
})
