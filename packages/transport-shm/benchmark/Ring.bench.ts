// The ring against its C twin (same ABI, same functions, no Node) and against the alternatives, in interleaved rounds;
// medians. Exit code 1 when a ratio misses its target. Times say what the machine can do at the moment: what they should be
// on a quiet one of its time stands beside them, and the same work of the twin in the same rounds judges them. See
// docs/decisions/0036. `--rounds=N` (default 5), `--quick` for a tenth of the rows.
// Receivers of rates read 1 s each; with more processes than cores the rates of readers are those of a crowded machine.
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { type TradeBatch, tradeBuilder } from "@data-manager/core"
import { RingReader, RingWriter } from "@data-manager/transport-shm"
import { compiled } from "../test/process/NativeProgram.ts"
import { contextOf, trades } from "../test/TestBatch.ts"
import { alternatives } from "./Alternatives.ts"

const flag = (name: string): string | undefined =>
  process.argv.find((arg) => arg.startsWith(`--${name}`))?.split("=")[1]
const rounds = Number(flag("rounds") ?? 5)
const scale = process.argv.includes("--quick") ? 0.1 : 1
const dir = mkdtempSync("/dev/shm/dm-bench-")
const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!
/** Nanoseconds of processor time, all threads of the process together: other programs on the machine do not count. */
const cpuNs = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1_000
}
const ns = (work: () => void, rows: number): number => {
  const start = cpuNs()
  work()
  return (cpuNs() - start) / rows
}
const twin = compiled("ring_bench")
/** What the twin prints: nanoseconds per row, or rows per second. */
const c = (mode: string, ...numbers: ReadonlyArray<number>): number =>
  Number(execFileSync(twin, [mode, dir, ...numbers.map(String)], { encoding: "utf8" }).split(" ")[0])

const context = contextOf(64)
// Enough rounds of the ring for the compiler to have done its work.
const rowCount = Math.round(8_000_000 * scale)

const publishing = (batch: number) => {
  const tape = Array.from({ length: 64 }, (_, k) => trades(context, 64, k * batch, batch))
  const writer = new RingWriter({ dir, name: `p${batch}`, capacity: 1 << 16 })
  const times = Math.ceil(rowCount / batch / (batch === 1 ? 4 : 1))
  return () =>
    ns(() => {
      for (let i = 0; i < times; i++) writer.publish(tape[i & 63]!)
    }, times * batch)
}

/** Writes rows as a decoder does, by 32-bit words. */
const encode = ({ columns, words }: Pick<TradeBatch, "columns" | "words">, t: number, rows: number): void => {
  const { tsEvent, tsRecv, tradeKey, price, size } = words
  const { instrument, priceExponent, side } = columns
  for (let i = 0; i < rows; i++) {
    const at = 2 * i
    tsEvent[at] = t
    tsEvent[at + 1] = 1
    tsRecv[at] = t
    tsRecv[at + 1] = 1
    tradeKey[at] = i
    tradeKey[at + 1] = t
    price[at] = i
    price[at + 1] = 0
    size[at] = t
    size[at + 1] = 0
    instrument[i] = 1000 + (i & 63)
    priceExponent[i] = -9
    side[i] = 1
  }
}

/** Encodes and publishes, through a builder or into the memory of one batch: `publish` copies, so it may be written again. */
const encoding = (batch: number, fresh: boolean) => {
  const writer = new RingWriter({ dir, name: `encode${fresh}`, capacity: 1 << 16 })
  const builder = tradeBuilder(context, batch)
  const one = trades(context, 64, 0, batch)
  const times = Math.ceil(rowCount / batch)
  return () =>
    ns(() => {
      for (let t = 0; t < times; t++) {
        encode(fresh ? builder : one, t, batch)
        builder.length = batch
        writer.publish(fresh ? builder.flush() : one)
      }
    }, times * batch)
}

/** Polls batches and reads price and size of every row by words. */
const polling = (batch: number, reuseMemory: boolean) => {
  const name = `r${batch}${reuseMemory}`
  const writer = new RingWriter({ dir, name, capacity: 1 << 16 })
  const reader = new RingReader({ dir, name, reuseMemory })
  const tape = Array.from({ length: 64 }, (_, k) => trades(context, 64, k * 256, 256))
  let sum = 0
  return () => {
    let spent = 0
    let rows = 0
    for (let r = 0; r < rowCount / 32_768; r++) {
      for (let k = 0; k < 128; k++) writer.publish(tape[k & 63]!)
      const start = cpuNs()
      for (let events = reader.poll(batch); events.length > 0; events = reader.poll(batch))
        for (const event of events) {
          if (event._tag !== "Batch") continue
          const { words, length } = event.batch as TradeBatch
          // Columns in variables and a sum of its own, as any loop that is to be fast: else this loop costs more than the poll.
          const { price, size } = words
          let part = 0
          for (let i = 0; i < length; i++) part += price[2 * i]! + size[2 * i]!
          sum += part
          rows += length
        }
      spent += cpuNs() - start
    }
    return spent / rows + (sum === 0.5 ? 1 : 0)
  }
}

const child = (script: string, ...args: ReadonlyArray<string>) => {
  const options = ["--conditions=source", "--disable-warning=ExperimentalWarning"]
  const file = join(import.meta.dirname, "process", script)
  const process_ = spawn(process.execPath, [...options, file, ...args], {
    stdio: ["pipe", "pipe", "inherit"]
  })
  const lines = createInterface({ input: process_.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string> => (await lines.next()).value ?? ""
  return { process: process_, line }
}

const flowMillis = Math.max(300, 1_000 * scale)

/** Rows per second of each of so many reader processes, mean, while another process publishes without pause. */
const throughRing = async (readers: number): Promise<number> => {
  const sender = child("sender.ts", "ring", dir, "x")
  await sender.line()
  const receivers = Array.from({ length: readers }, () =>
    child("receiver.ts", "rate", dir, "x", String(flowMillis))
  )
  for (const receiver of receivers) await receiver.line()
  sender.process.stdin.write("go\n")
  const results = await Promise.all(receivers.map(({ line }) => line()))
  sender.process.kill("SIGKILL")
  await once(sender.process, "exit")
  return results.reduce((sum, text) => sum + JSON.parse(text).rate, 0) / readers
}

interface Latency {
  readonly p50: number
  readonly p99: number
  /** Of one processor, percent. */
  readonly cpu: number
}

/** Microseconds from before a record is published by another process, one in 500 us, until this one has it. */
const latency = async (name: string, mode: "park" | "spin"): Promise<Latency> => {
  const reader = new RingReader({ dir, name, mode })
  const delays: Array<number> = []
  const cpu = process.cpuUsage()
  const start = performance.now()
  for await (const events of reader.events()) {
    const now = process.hrtime.bigint()
    for (const event of events)
      if (event._tag === "Batch")
        delays.push(Number(now - (event.batch as TradeBatch).columns.tsEvent[0]!) / 1_000)
    if (delays.length >= wakes + 200) break
  }
  const used = process.cpuUsage(cpu)
  reader.close()
  const sorted = delays.slice(200).sort((a, b) => a - b)
  const share = (used.user + used.system) / 1_000 / (performance.now() - start)
  return {
    p50: sorted[sorted.length >> 1]!,
    p99: sorted[Math.floor(sorted.length * 0.99)]!,
    cpu: share * 100
  }
}

const wakes = Math.round(1_000 * scale)

/** This process and the twin in turn as readers of one sender in C, then a sender in Node. */
const wakeUps = async (note: (name: string, value: number) => void): Promise<void> => {
  const sender = spawn(twin, ["send", dir, "l", "500"], { stdio: ["ignore", "pipe", "inherit"] })
  await once(sender.stdout, "data")
  for (let round = 0; round < rounds; round++)
    for (const mode of ["park", "spin"] as const) {
      const out = execFileSync(twin, [mode, dir, "l", String(wakes)], { encoding: "utf8" })
      const [p50, p99] = out.split(" ").map(Number)
      note(`c ${mode} p50`, p50!)
      note(`c ${mode} p99`, p99!)
      const found = await latency("l", mode)
      note(`${mode} p50`, found.p50)
      note(`${mode} p99`, found.p99)
      note(`${mode} cpu`, found.cpu)
    }
  sender.kill("SIGKILL")
  const other = child("sender.ts", "latency", dir, "n")
  await other.line()
  other.process.stdin.write("go\n")
  for (const mode of ["park", "spin"] as const) {
    const found = await latency("n", mode)
    note(`node ${mode} p50`, found.p50)
    note(`node ${mode} p99`, found.p99)
  }
  other.process.kill("SIGKILL")
}

const idleCpu = async (): Promise<number> => {
  const writer = new RingWriter({ dir, name: "idle", capacity: 1024 })
  const reader = new RingReader({ dir, name: "idle" })
  const stop = reader.listen(() => {})
  const before = process.cpuUsage()
  await new Promise((resolve) => setTimeout(resolve, 3_000))
  const used = process.cpuUsage(before)
  stop()
  reader.close()
  writer.close()
  return (used.user + used.system) / 30_000
}

/** A ring of 64 MiB that is full: opening it, first record, snapshots, memory of a reader that reads all of it. */
const opening = async () => {
  const writer = new RingWriter({ dir, name: "big" })
  for (let k = 0; k < 4_096; k++) writer.publish(trades(contextOf(200), 200, k * 256, 256))
  const start = performance.now()
  const reader = new RingReader({ dir, name: "big" })
  const open = performance.now() - start
  const again = performance.now()
  const second = new RingReader({ dir, name: "big", start: { _tag: "Oldest" }, source: reader.source })
  second.poll()
  const first = performance.now() - again
  second.close()
  const symbols = Array.from({ length: 100 }, (_, i) => `SYM${i}`)
  const some = new RingReader({ dir, name: "big", symbols, source: reader.source })
  some.snapshot(100)
  const snapshots = Array.from({ length: 9 }, () => ns(() => some.snapshot(100), 1e6))
  some.close()
  reader.close()
  const memory = async (how: string): Promise<number> => {
    const { added } = JSON.parse(await child("receiver.ts", "memory", dir, "big", how).line())
    return (added - writer.bytes) / 2 ** 20
  }
  const [reused, fresh] = [await memory("reuse"), await memory("fresh")]
  writer.close()
  return { open, first, reused, fresh, snapshot: median(snapshots) }
}

/** 10 of 20,000 symbols are wanted: nanoseconds per record, wanted or not. */
const filtering = () => {
  const wide = contextOf(20_000)
  const writer = new RingWriter({ dir, name: "wide", capacity: 1 << 16 })
  const tape = Array.from({ length: 80 }, (_, k) => trades(wide, 20_000, k * 250, 250))
  for (const batch of tape) writer.publish(batch)
  const symbols = Array.from({ length: 10 }, (_, i) => `SYM${i * 1_999}`)
  const reader = new RingReader({ dir, name: "wide", symbols })
  return () => {
    let spent = 0
    const times = Math.ceil(rowCount / 20_000)
    for (let k = 0; k < times; k++) {
      for (const batch of tape) writer.publish(batch)
      spent += ns(() => {
        while (reader.stats.lag > 0) reader.poll(1_024)
      }, 20_000)
    }
    return spent / times
  }
}

const misses: Array<string> = []
const line = (what: string, value: string, target = "", ok = true): void => {
  console.log(`${what.padEnd(54)} ${value.padStart(22)}  ${target}${ok ? "" : "  MISSED"}`)
  if (!ok) misses.push(what)
}

try {
  const publish256 = publishing(256)
  const publish1 = publishing(1)
  const encode256 = encoding(256, false)
  const builder256 = encoding(256, true)
  const poll256 = polling(256, false)
  const reuse256 = polling(256, true)
  const filtered = filtering()
  const seen: Record<string, Array<number>> = {}
  const note = (name: string, value: number): void => {
    seen[name] = [...(seen[name] ?? []), value]
  }
  for (let round = 0; round < rounds; round++) {
    note("c publish 256", c("publish", rowCount, 256))
    note("publish 256", publish256())
    note("c publish 1", c("publish", rowCount / 4, 1))
    note("publish 1", publish1())
    note("encode 256", encode256())
    note("builder 256", builder256())
    note("c poll 256", c("poll", rowCount, 256))
    note("poll 256", poll256())
    note("reuse 256", reuse256())
    note("c filter", c("filter", rowCount, 256))
    note("filter", filtered())
    for (const readers of [1, 2, 4]) {
      note(`c flow ${readers}`, c("flow", flowMillis, 256, readers))
      note(`ring ${readers}`, await throughRing(readers))
    }
    for (const { name, skip, rate } of alternatives)
      if (skip === undefined) note(name, await rate(dir, flowMillis))
  }
  const m = (name: string): number => median(seen[name]!)
  const ratio = (a: string, b: string): number => median(seen[a]!.map((value, i) => value / seen[b]![i]!))
  const show = (value: number, unit: string): string => `${value.toFixed(value < 10 ? 2 : 1)} ${unit}`
  line("C: columns -> ring, batches of 256", show(m("c publish 256"), "ns/row"))
  line("C: the same, batches of 1", show(m("c publish 1"), "ns/row"))
  line("C: poll, batches of 256", show(m("c poll 256"), "ns/row"))
  /** A time, what it should be on a quiet machine, and the same work of the twin, which judges it. */
  const timed = (what: string, name: string, yardstick: string, quiet: string, most: number): void => {
    line(what, show(m(name), "ns/row"), quiet)
    const times = ratio(name, yardstick)
    line("    against C", show(times, "x"), `<= ${most} x`, times <= most)
  }
  timed("Node: publish, batches of 256", "publish 256", "c publish 256", "", 1.2)
  timed("Node: publish, batches of 1", "publish 1", "c publish 1", "quiet: 100", 3.4)
  timed("Node: encode + publish, batches of 256", "encode 256", "c publish 256", "quiet: 12", 4.8)
  line("    through a builder, fresh memory for each batch", show(m("builder 256"), "ns/row"))
  timed("Node: poll + read, batches of 256", "reuse 256", "c poll 256", "quiet: 12", 3.2)
  line("    with fresh memory for each batch", show(m("poll 256"), "ns/row"))
  const one = m("ring 1")
  line("Node -> Node, one reader", show(one / 1e6, "M/s"), "quiet: 40 M/s")
  const cTotal = m("c publish 256") + m("c poll 256")
  const endToEnd = 1e9 / one / cTotal
  line("    against C publish + poll", show(endToEnd, "x"), "<= 6 x", endToEnd <= 6)
  for (const readers of [1, 2, 4]) {
    const [node, twinRate] = [m(`ring ${readers}`), m(`c flow ${readers}`)]
    const share = ratio(`ring ${readers}`, `c flow ${readers}`)
    line(
      `one writer, ${readers} reader${readers > 1 ? "s" : ""}: each, Node / C`,
      `${(node / 1e6).toFixed(1)} / ${(twinRate / 1e6).toFixed(1)} M/s`,
      readers === 1 ? `${share.toFixed(2)} x, >= 0.7 x` : `${share.toFixed(2)} x`,
      readers > 1 || share >= 0.7
    )
  }
  for (const { name, target, skip } of alternatives) {
    if (skip !== undefined) {
      line(`    against ${name}`, "skipped", skip)
      continue
    }
    const times = ratio("ring 1", name)
    const rate = `${(m(name) / 1e6).toFixed(2)} M/s, ${show(times, "x")}`
    if (target === undefined) line(`    against ${name}`, rate)
    else {
      const most = ratio("c flow 1", name)
      line(`    against ${name}`, rate, `>= ${target} x (C: ${most.toFixed(1)} x)`, times >= target)
    }
  }
  await wakeUps(note)
  const micros = (name: string): string =>
    `${m(`${name} p50`).toFixed(1)} / ${m(`${name} p99`).toFixed(1)} us`
  for (const [mode, quiet, most] of [
    ["park", "quiet: 30 / 150 us", 5],
    ["spin", "quiet: 1 us", 10]
  ] as const) {
    line(`wake-up, ${mode}, C -> C: p50 / p99`, micros(`c ${mode}`))
    line(`wake-up, ${mode}, C -> Node`, micros(mode), quiet)
    const times = ratio(`${mode} p50`, `c ${mode} p50`)
    line("    p50 against C", show(times, "x"), `<= ${most} x`, times <= most)
    line(`wake-up, ${mode}, Node -> Node`, micros(`node ${mode}`))
  }
  line("    CPU of a parked reader, 2,000 records a second", show(m("park cpu"), "%"))
  const idle = await idleCpu()
  line("idle reader and writer, CPU", show(idle, "%"), "< 1 %", idle < 1)
  line(
    "20,000 symbols, filter of 10, per record: Node / C",
    `${m("filter").toFixed(2)} / ${show(m("c filter"), "ns")}`
  )
  const opened = await opening()
  line("open a 64 MiB ring", show(opened.open, "ms"), "< 100 ms", opened.open < 100)
  line("subscribe to first record", show(opened.first, "ms"), "< 5 ms", opened.first < 5)
  line("snapshot of 100 symbols x 100 trades", show(opened.snapshot, "ms"), "< 2 ms", opened.snapshot < 2)
  const { reused, fresh } = opened
  line("memory of a reader beyond the ring, reuseMemory", show(reused, "MiB"), "< 30 MiB", reused < 30)
  line("    with fresh memory for each batch, none kept", show(fresh, "MiB"), "< 30 MiB", fresh < 30)
} finally {
  rmSync(dir, { recursive: true, force: true })
}
if (misses.length > 0) console.log(`missed: ${misses.join("; ")}`)
process.exit(misses.length > 0 ? 1 : 0)
