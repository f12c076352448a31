// Readers in other languages on a live ring: a Node process publishes, the C example and the Python reader read at the same
// time. Every record must come, whole, or a gap must cover it.
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { RingWriter } from "../src/RingWriter.ts"
import { compiled } from "./process/NativeProgram.ts"
import { needsAddon } from "./process/NeedsAddon.ts"
import { TestProcess, testDirectory } from "./process/TestProcess.ts"
import { mixed } from "./TestBatch.ts"

beforeEach(needsAddon)

const place = { dir: "", remove: () => {} }
const children: Array<TestProcess> = []
beforeEach(() => Object.assign(place, testDirectory()))
afterEach(async () => {
  for (const child of children.splice(0)) await child.end()
  place.remove()
})

const symbols = 8
const tapeBatches = 64

const writer = async (options: object): Promise<TestProcess> => {
  const child = new TestProcess("writer.ts", [place.dir, "t", JSON.stringify({ symbols, ...options })])
  children.push(child)
  await child.answer()
  return child
}

/** What a reader said in one line: a row, or a gap. */
type Said =
  | { readonly seq: number; readonly symbol: string; readonly price: bigint; readonly exponent: number }
  | { readonly from: number; readonly to: number }

interface Language {
  readonly name: string
  readonly start: (count: number) => ChildProcess
  readonly parse: (line: string) => Said
}

const script = join(import.meta.dirname, "..", "readers", "python", "dm_ring.py")
const output = (program: string, args: ReadonlyArray<string>): ChildProcess =>
  spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] })

const languages: ReadonlyArray<Language> = [
  {
    name: "C",
    start: (count) => output(compiled("tail"), [place.dir, "t", String(count)]),
    parse: (line) => {
      const gap = /^lost \[(\d+), (\d+)\)$/.exec(line)
      if (gap !== null) return { from: Number(gap[1]), to: Number(gap[2]) }
      const row = /^(\d+) (\S+) (-?\d+)e(-?\d+) x -?\d+e-?\d+$/.exec(line)
      if (row === null) return assert.fail(`the C example printed: ${line}`)
      return { seq: Number(row[1]), symbol: row[2]!, price: BigInt(row[3]!), exponent: Number(row[4]) }
    }
  },
  {
    name: "Python",
    start: (count) => output("python3", [script, place.dir, "t", String(count)]),
    parse: (line) => {
      const record = JSON.parse(line.replace(/: (-?\d{16,})/g, ': "$1"'))
      if (record.type === "Gap") return { from: record.start, to: record.end }
      const { seq, symbol, price, price_exponent: exponent } = record
      return { seq, symbol, price: BigInt(price), exponent }
    }
  }
]

/** Follows a reader to its end: every sequence once, whole, or within a gap. */
const follow = async (language: Language, child: ChildProcess, rowsPerBatch: number) => {
  let next: number | undefined
  let rows = 0
  let lost = 0
  const exited = once(child, "exit")
  for await (const line of createInterface({ input: child.stdout! })) {
    const said = language.parse(line)
    if ("from" in said) {
      assert.strictEqual(said.from, next ?? said.from, "a gap begins where reading stopped")
      assert.isAbove(said.to, said.from)
      lost += said.to - said.from
      next = said.to
      continue
    }
    assert.strictEqual(said.seq, next ?? said.seq, "a record is missing or came twice")
    const n = said.seq % (tapeBatches * rowsPerBatch)
    assert.strictEqual(said.symbol, `BINANCE.SPOT:SYM${n % symbols}`)
    assert.strictEqual(said.price, mixed(n, 3))
    assert.strictEqual(said.exponent, 0 - (n % 12))
    rows++
    next = said.seq + 1
  }
  const [code] = await exited
  assert.strictEqual(code, 0)
  return { rows, lost }
}

describe.each(languages)("$name on a live ring", { timeout: 120_000 }, (language) => {
  it("gets every record, also from a producer that takes over after a crash", async () => {
    const first = await writer({ capacity: 1 << 16 })
    first.tell("forever 64 4000")
    const reader = language.start(20_000)
    const followed = follow(language, reader, 64)
    await new Promise((resolve) => setTimeout(resolve, 500))
    await first.end("SIGKILL")
    const second = await writer({ capacity: 1 << 16 })
    second.tell("forever 64 2000")
    assert.deepStrictEqual(await followed, { rows: 20_000, lost: 0 })
  })

  it("overtaken, knows exactly what it lost", async () => {
    const fast = await writer({ capacity: 1024 })
    fast.tell("forever 256 500 16")
    const { rows, lost } = await follow(language, language.start(5_000), 256)
    assert.isAbove(rows, 100)
    assert.isAbove(lost, 0)
  })
})

describe("the Python reader", () => {
  it("tells gaps and their repairs apart", { timeout: 60_000 }, async () => {
    const ring = new RingWriter({ dir: place.dir, name: "t", capacity: 256 })
    try {
      const lost = {
        dataset: "TEST",
        schema: "trades",
        symbols: undefined,
        range: { start: 5n, end: 9n }
      } as const
      ring.publishGap({ _tag: "Gap", ...lost, cause: "silence" })
      ring.publishRepaired({ _tag: "Repaired", ...lost, rows: 3n })
      const lines: Array<unknown> = []
      const python = output("python3", [script, place.dir, "t", "2"])
      for await (const line of createInterface({ input: python.stdout! })) lines.push(JSON.parse(line))
      const about = { symbol: null, dataset: "TEST", schema: 1, start_ns: 5, end_ns: 9 }
      assert.deepStrictEqual(lines, [
        { type: "UpstreamGap", seq: 0, ...about, rows: null, cause: 8 },
        { type: "Repaired", seq: 1, ...about, rows: 3 }
      ])
    } finally {
      ring.close()
    }
  })
})
